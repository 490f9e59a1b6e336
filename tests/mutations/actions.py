"""Mutations of declared actions, and of what every system gets from the mechanism."""

from mutate import Mutation

TESTS = ("tests/test_actions.py",)


def contract(name: str) -> tuple[str, ...]:
    """Return a test of the contract of any system."""
    return (f"tests/test_systems.py::test_{name}",)


LIMITS = contract("decisions_keep_every_limit_and_violations_are_what_exceeds_one")
PROGRESS = contract("progress_is_predicted_by_the_curve_and_weighed_in_the_reward")
BELIEF = contract("the_belief_is_off_by_the_stated_decibels_and_the_network_is_not")

MUTATIONS = (
    Mutation("a number of the round is the sum", "envs/parts.py", "axis=-1) / clip(count, 1.0)", "axis=-1)"),
    Mutation("absent agents have a say in the round", "envs/parts.py", "number = xp.sum(xp.where(present, number, 0.0), axis=-1)", "number = xp.sum(number, axis=-1)"),
    Mutation("linear numbers begin in the middle", "envs/parts.py", "low + (number + 1.0) * (0.5 *", "low + number * (0.5 *"),
    Mutation("whole numbers are cut off", "envs/parts.py", "xp.astype(xp.round(value), xp.int64)", "xp.astype(value, xp.int64)"),
    Mutation("absent agents have a share", "envs/parts.py", "weight = xp.where(present, xp.exp(self.sharpness * numbers[..., 0]), 0.0)", "weight = xp.exp(self.sharpness * numbers[..., 0])"),
    Mutation("shares without sharpness", "envs/parts.py", "xp.exp(self.sharpness * numbers[..., 0])", "xp.exp(numbers[..., 0])"),
    Mutation("splits without sharpness", "envs/parts.py", "weight = xp.exp(self.sharpness * numbers)", "weight = xp.exp(numbers)"),
    Mutation("splits need not sum up to 1", "envs/parts.py", "present & ~(abs(total - 1.0) <= slack)", "present & ~(abs(total - 1.0) <= 1.0)"),
    Mutation("shares may exceed what is shared", "envs/parts.py", "~(total <= 1.0 + slack)", "~(total <= 2.0 + slack)"),
    Mutation("numbers out of range pass", "envs/parts.py", "reject(present & ~inside, value, label=name, unit=self.unit", "reject(present & inside & ~inside, value, label=name, unit=self.unit"),
    Mutation("who chose no first thing chooses another", "envs/actions.py", "present = able & part.present(values)\n", "present = able\n"),
    Mutation("later choices may be left out", "envs/parts.py", "reject(present & ~chose,", "reject(present & ~present,"),
    Mutation("numbers of the round stand first", "envs/actions.py", "joint[..., : -self.of_round]", "joint[..., self.of_round :]"),
    Mutation("masks of absent agents allow all", "envs/system.py", "(present & legal) | (~present & idle)", "(present & legal) | ~present"),
    Mutation("limits are checked on the truth", "envs/system.py", "self._check_limits(problem if seen is state else self.problem(seen), decision)", "self._check_limits(problem, decision)", contract("float32_stays_float32")),
    Mutation("what was made is judged", "envs/system.py", "shares = [limit.used for limit in self.limits(problem, asked)]", "shares = [limit.used for limit in self.limits(problem, made)]", LIMITS),
    Mutation("violations are what got something else", "envs/system.py", "beyond = used > 1.0 + self.rounding", "beyond = projected", LIMITS),
    Mutation("limits of choices do not count", "envs/system.py", "projected | beyond if discrete", "projected if discrete"),
    Mutation("none asks for what stands behind it", "envs/actions.py", "actions[..., 0] == self.choices[0].count", "actions[..., 0] < 0"),
    Mutation("none is taken", "envs/actions.py", "xp.concat([free, xp.ones_like(free[..., :1])], axis=-1)", "xp.concat([free, xp.zeros_like(free[..., :1])], axis=-1)"),
    Mutation("no part is 0", "envs/parts.py", "(part >= self.least) & present", "(part >= 0.0) & present"),
    Mutation("the sign of a number says who takes part", "envs/parts.py", "xp.ones_like(values[0], dtype=xp.bool)", "values[0] > 0"),
    Mutation("only numbers above 0 have a tolerance", "envs/parts.py", "TOLERANCE * abs(asked[0])", "TOLERANCE * asked[0]"),
    Mutation("belief off by half", "envs/system.py", "decibel_to_ratio(state.estimate_error * self", "decibel_to_ratio(0.5 * state.estimate_error * self", BELIEF),
    Mutation("progress of an untrained model", "envs/system.py", "self.curve.decrease, learned, amount", "self.curve.decrease, 0.0 * learned, amount", ("tests/test_docs.py::test_toy_remembers_and_shows_what_was_learned",)),
    Mutation("progress is worth nothing", "envs/system.py", "self.params.progress_weight * progress.loss_decrease", "0.0 * progress.loss_decrease", PROGRESS),
    Mutation("draws are not checked", "envs/system.py", "check_record(draw, self.draw_type, self.sizes, self.params.dtype)", "pass", contract("bad_draws_are_refused")),
    Mutation("gains are not checked", "envs/system.py", 'if about["limits"] and not', 'if about["limits"] == "nothing" and not', contract("bad_gains_are_named")),
    Mutation("absent agents are slow", "envs/costs.py", "rounds.round_time(client_time=time)", "rounds.round_time(client_time=time + 1e-9)", contract("absent_agents_count_nothing_and_say_nothing")),
)  # fmt: skip
