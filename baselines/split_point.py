"""Classical solvers of the split point system: optimum, the published alternation, heuristics.

Split federated learning slides, part 2 (ASFL); SUBP1 to SUBP3 are theirs. Every solver reads the twin
(`system.believed`) and returns a feasible decision: the shares fit into the band, every vehicle keeps its budget and
the limits of frequency and power. All functions take problems of NumPy or torch with any leading batch axes and answer
in the problem's library.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.arrays import Array, at_choice
from ..core.checks import check_integers, reject, to_numpy
from ..core.trees import tree_map
from ..envs.split_point import Decision, Problem, computing_energy, drain, round_cost
from ..envs.split_point import least_energy as energy_at_least
from ..twin import compute, radio
from . import allocation
from . import solver as frame
from . import split_point_kernel as kernel
from .solver import Solver, solver

STILL = 1e-7
"""The alternation ends when the round's time falls by less than this share."""

ALTERNATIONS = 200
"""Limit of the alternation; it ends after a handful."""

ROUNDING = 1e-12
"""Share by which a budget or the band may be exceeded and still count as kept."""


ARRAYS = ("cycles", "uplink_bits", "fixed_time", "energy_budget", "snr_per_watt", "server_time")


def plain(problem: Problem) -> Problem:
    """Return the problem in contiguous float64 NumPy arrays.

    Raises:
        ValueError: a vehicle takes part whose budget or signal is NaN or not positive, or that has nothing to do.
    """
    arrays: dict[str, Any] = {name: frame.plain_array(getattr(problem, name)) for name in ARRAYS}
    present = to_numpy(problem.taking_part)
    for name, unit in (("energy_budget", "J"), ("snr_per_watt", "1/W"), ("cycles", ""), ("uplink_bits", "bit")):
        values = arrays[name]
        bad = present.reshape(present.shape + (1,) * (values.ndim - present.ndim)) & ~(values > 0.0)
        reject(bad, values, label=name, unit=unit, limit="above 0: the vehicle takes part")
    return dataclasses.replace(problem, taking_part=present, **arrays)


any_library = frame.any_library(plain, "cycles")


# What a budget allows.


def least_shares(problem: Problem) -> Array:
    """Return the share `(..., N, J)` that each budget asks for at each cut, however long the round takes.

    It is the share with which least frequency and least power just keep the budget; inf where none does; 0 for
    vehicles that do not take part.
    """
    share = problem.device.least_share(**problem.work, energy_budget=problem.energy_budget[..., None])
    return np.where(problem.taking_part[..., None], share, 0.0)


def check_budgets(problem: Problem, cut: Array | None = None) -> None:
    """Raise unless every budget can be kept, alone in the band and all together.

    Args:
        problem: NumPy arrays.
        cut: `(..., N)`, the cuts to be checked; None: any.

    Raises:
        ValueError: names the vehicle, its budget and the least energy it needs, or the band that all need together.
    """
    energy = energy_at_least(problem, np.ones_like(problem.energy_budget))
    shares = least_shares(problem)
    if cut is None:
        energy, shares, place = np.min(energy, axis=-1), np.min(shares, axis=-1), "at any cut"
    else:
        energy, shares, place = at_choice(energy, cut), at_choice(shares, cut), "at its cut"
    short = problem.taking_part & (energy > problem.energy_budget * (1.0 + ROUNDING))
    if np.any(short):
        index = tuple(np.argwhere(short)[0])
        raise ValueError(
            f"energy_budget{[int(i) for i in index]} of vehicle {index[-1]} is {problem.energy_budget[index]:g} J, "
            f"must be at least {energy[index]:g} J: it needs that much {place} with the whole band"
        )
    total = np.sum(shares, axis=-1)
    if np.any(total > 1.0):
        index = tuple(np.argwhere(total > 1.0)[0])
        vehicle = int(np.argmax(shares[index]))
        raise ValueError(
            f"the energy budgets ask for {total[index]:g} of the band, must be at most 1; the largest part, "
            f"{shares[index][vehicle]:g}, is that of vehicle {vehicle} with {problem.energy_budget[index][vehicle]:g} J"
        )


def affordable_cut(problem: Problem, cut: Array) -> Array:
    """Return `cut` with those vehicles moved to the cut that asks for the least share whose budgets need it.

    A vehicle moves if its budget can not be kept at its cut with the whole band; where the band is still too small
    for all, those move as well that gain most, as many as it takes.

    Args:
        problem: NumPy arrays.
        cut: `(..., N)`, integers in 0..J-1; any where a vehicle does not take part.

    Returns:
        Cuts `(..., N)`, -1 where a vehicle does not take part.

    Raises:
        ValueError: the budgets can not be kept at any cuts; see `check_budgets`.
    """
    check_budgets(problem)
    shares = least_shares(problem)
    asked, least = at_choice(shares, cut), np.min(shares, axis=-1)
    thrifty = np.argmin(shares, axis=-1)
    asked_too_much = asked > 1.0
    asked = np.where(asked_too_much, least, asked)
    gain = asked - least
    order = np.argsort(-gain, axis=-1, kind="stable")
    saved = np.cumsum(np.take_along_axis(gain, order, axis=-1), axis=-1)
    before = saved - np.take_along_axis(gain, order, axis=-1)
    moved = np.sum(asked, axis=-1, keepdims=True) - before > 1.0 - ROUNDING
    moves = np.zeros(cut.shape, np.bool_)
    np.put_along_axis(moves, order, moved, axis=-1)
    return np.where(problem.taking_part, np.where(moves | asked_too_much, thrifty, cut), -1)


def lifted(problem: Problem, weight: Array, floor: Array) -> Array:
    """Return shares in proportion to `weight` `(..., N)`, but at least `floor`, that fill the band.

    Raises:
        ValueError: `floor` sums up to more than the band; see `check_budgets`.
    """
    check_budgets(problem)
    weight = np.where(problem.taking_part, weight, 0.0)
    above = problem.taking_part
    for _ in range(weight.shape[-1]):
        room = 1.0 - np.sum(np.where(above, 0.0, floor), axis=-1, keepdims=True)
        total = np.sum(np.where(above, weight, 0.0), axis=-1, keepdims=True)
        share = np.where(above, weight * room / np.where(total > 0.0, total, 1.0), floor)
        below = above & (share < floor)
        if not np.any(below):
            break
        above = above & ~below
    return share


# The optimum.


def solve(problem: Problem, allowed: Array) -> Decision:
    """Return the fastest decision over the `allowed` cuts `(..., N, J)`, `plain` arrays.

    Raises:
        ValueError: the budgets can not be kept; see `check_budgets`.
    """
    *batch, vehicles, cuts = problem.cycles.shape
    rows, grid = (-1, vehicles), (-1, vehicles, cuts)
    rounds = kernel.Rounds(
        cycles=problem.cycles.reshape(grid),
        nats=(problem.uplink_bits * (math.log(2.0) / problem.bandwidth)).reshape(grid),
        fixed_time=problem.fixed_time.reshape(grid),
        budget=problem.energy_budget.reshape(rows),
        snr_per_watt=problem.snr_per_watt.reshape(rows),
        allowed=np.ascontiguousarray(allowed & problem.taking_part[..., None]).reshape(grid),
        coefficient=drain(problem, 1.0),
        frequency_min=float(problem.frequency_min),
        frequency_max=float(problem.frequency_max),
        power_min=float(problem.power_min),
        power_max=float(problem.power_max),
        psd=not radio.whole_band_noise(problem.noise),
    )
    cut = np.full(rounds.budget.shape, -1)
    share, frequency, power = (np.zeros(rounds.budget.shape) for _ in range(3))
    level = np.empty(math.prod(batch))
    kernel.settle_all(rounds, cut, share, frequency, power, level)
    if not np.all(np.isfinite(level)):
        check_budgets(problem, None if np.all(allowed) else np.argmax(allowed, axis=-1))
        raise ValueError("the energy budgets leave no band: no round ends in finite time")
    shape = (*batch, vehicles)
    return Decision(cut.reshape(shape), share.reshape(shape), frequency.reshape(shape), power.reshape(shape))


@any_library
def exact(problem: Problem) -> Decision:
    """Optimum: for the least time at which the least shares of all vehicles fit into the band.

    Raises:
        ValueError: a budget that can not be kept; see `check_budgets`.
    """
    return solve(problem, np.ones(problem.cycles.shape, np.bool_))


@any_library
def allocate(problem: Problem, cut: Array) -> Decision:
    """Return the exact share, frequency and power for given cuts `(..., N)`; a vehicle at -1 is left out.

    Raises:
        ValueError: a budget that can not be kept at these cuts; see `check_budgets` and `affordable_cut`.
    """
    cuts = problem.cycles.shape[-1]
    check_integers(cut, tuple(problem.energy_budget.shape), -1, cuts - 1, "cut", "vehicle_{}".format)
    chosen = to_numpy(cut)[..., None] == np.arange(cuts)
    return solve(problem, chosen)


def complete(problem: Problem, decision: Decision) -> Decision:
    """Give the cuts of a decision their exact shares, frequencies and powers; see `affordable_cut` for who moves."""
    return allocate(problem, affordable_cut(plain(problem), to_numpy(decision.cut)))


# The published alternation.


def at_every_cut(problem: Problem, share: Array, frequency: Array, power: Array) -> tuple[Array, Array]:
    """Return each cut's time in s and energy in J, `(..., N, J)`; share `(..., N)`, the others that or `(..., N, J)`.

    Both are 0 for vehicles that do not take part.
    """
    frequency, power = (
        np.broadcast_to(value if value.ndim == problem.cycles.ndim else value[..., None], problem.cycles.shape)
        for value in (frequency, power)
    )
    costs = [
        round_cost(problem, Decision(np.where(problem.taking_part, j, -1), share, frequency[..., j], power[..., j]))
        for j in range(problem.cycles.shape[-1])
    ]
    time, energy = ([getattr(cost, name) for cost in costs] for name in ("client_time", "client_energy"))
    return np.stack(time, axis=-1), np.stack(energy, axis=-1)


def fastest_cut(problem: Problem, share: Array, frequency: Array, power: Array) -> Array:
    """Return the cut `(..., N)` of each vehicle's least time within its budget.

    -1 for who does not take part, and for vehicles whose budget allows no cut. The arguments are those of
    `at_every_cut`.
    """
    time, energy = at_every_cut(problem, share, frequency, power)
    time = np.where(energy <= problem.energy_budget[..., None] * (1.0 + ROUNDING), time, np.inf)
    possible = problem.taking_part & np.isfinite(np.min(time, axis=-1))
    return np.where(possible, np.argmin(time, axis=-1), -1)


def cut_step(problem: Problem, decision: Decision) -> Decision:
    """SUBP1: try every cut for every vehicle, everything else given."""
    cut = fastest_cut(problem, decision.bandwidth_share, decision.frequency, decision.power)
    return dataclasses.replace(decision, cut=cut)


def power_step(problem: Problem, decision: Decision) -> Decision:
    """SUBP2: the largest power within the budget, everything else given.

    More power is never slower. Published is successive convex approximation; the tangent of the concave energy lies
    above it, so the approximation rises within the budget to where it is used up: that power in closed form.
    """
    present = decision.cut >= 0
    spent = computing_energy(problem, at_choice(problem.cycles, decision.cut), decision.frequency)
    power = problem.device.power_for_energy(
        bits=at_choice(problem.uplink_bits, decision.cut),
        energy=problem.energy_budget - spent,
        share=np.where(present, decision.bandwidth_share, 1.0),
        snr_per_watt=problem.snr_per_watt,
    )
    return dataclasses.replace(decision, power=np.where(present, np.maximum(power, decision.power), 0.0))


def frequency_and_share_step(problem: Problem, decision: Decision) -> Decision:
    """SUBP3: the optimal frequencies and shares, cuts and powers given.

    Given the round's time, the least share is that of the frequency at which time and energy are used up together,
    within its limits; the time is the level at which the shares fill the band.
    """
    present = decision.cut >= 0
    cycles, bits, fixed = (
        np.where(present, at_choice(values, decision.cut), 1.0)
        for values in (problem.cycles, problem.uplink_bits, problem.fixed_time)
    )
    power = np.where(present, decision.power, 1.0)

    def frequency_at(level: Array) -> Array:
        meeting = allocation.meeting_frequency(
            cycles=cycles,
            drain=drain(problem, cycles),
            time=level[..., None] - fixed,
            energy=problem.energy_budget,
            power=power,
        )
        return np.clip(meeting, problem.frequency_min, problem.frequency_max)

    def shares_at(level: Array) -> Array:
        frequency = frequency_at(level)
        time = level[..., None] - fixed - compute.cycles_delay(cycles=cycles, frequency=frequency)
        share = allocation.least_share(
            bits=bits,
            power=power,
            duration=np.minimum(time, (problem.energy_budget - computing_energy(problem, cycles, frequency)) / power),
            snr_per_watt=problem.snr_per_watt,
            bandwidth=problem.bandwidth,
            noise=problem.noise,
        )
        return np.where(present, share, 0.0)

    fastest = fixed + compute.cycles_delay(cycles=cycles, frequency=problem.frequency_max)
    level = allocation.water_level(shares_at, np.max(fastest, axis=-1))
    return dataclasses.replace(
        decision, bandwidth_share=shares_at(level), frequency=np.where(present, frequency_at(level), 0.0)
    )


def starting_point(problem: Problem) -> Decision:
    """Return a decision within the budgets: least power and frequency, equal shares, each vehicle's fastest cut.

    Where an equal share is too little for somebody, shares in proportion to U / log2(1 + p G) at the cut of least
    bits; where those are as well, in proportion to what the budgets ask for.

    Raises:
        ValueError: the budgets can not be kept; see `check_budgets`.
    """
    check_budgets(problem)
    present = problem.taking_part
    least = np.where(present, np.min(problem.uplink_bits, axis=-1), 0.0)
    sending = np.log1p(problem.power_min * problem.snr_per_watt)
    decision = Decision(
        cut=np.full(present.shape, -1),
        bandwidth_share=np.zeros(present.shape),
        frequency=np.where(present, problem.frequency_min, 0.0),
        power=np.where(present, problem.power_min, 0.0),
    )
    for weight in (np.min(least_shares(problem), axis=-1), least / sending, 1.0 * present):
        total = np.sum(weight, axis=-1, keepdims=True)
        share = weight / np.where(total > 0.0, total, 1.0)
        candidate = cut_step(problem, dataclasses.replace(decision, bandwidth_share=share))
        decision = chosen(np.all((candidate.cut >= 0) == present, axis=-1), candidate, decision)
    return decision


def chosen(condition: Array, decision: Decision, other: Decision) -> Decision:
    """Choose whole decisions by `condition` `(...)`."""
    return tree_map(lambda own, others: np.where(condition[..., None], own, others), decision, other)


@any_library
def alternating(problem: Problem) -> Decision:
    """The published alternation: cuts one by one, power by SCA, then frequency and shares, until nothing changes.

    It begins with least power and frequency at equal shares. The time never rises.

    Raises:
        ValueError: the budgets can not be kept; see `check_budgets`.
    """
    decision = starting_point(problem)
    time = round_cost(problem, decision).round_time
    running = np.ones(time.shape, np.bool_)
    for _ in range(ALTERNATIONS):
        following = frequency_and_share_step(problem, power_step(problem, cut_step(problem, decision)))
        found = round_cost(problem, following).round_time
        running = running & (found < time)
        decision = chosen(running, following, decision)
        running = running & (found < time * (1.0 - STILL))
        if not np.any(running):
            break
        time = np.where(running, found, time)
    return decision


# Heuristics.


def on_its_own(problem: Problem, share: Array) -> Decision:
    """Return the best cut, frequency and power of every vehicle for given shares `(..., N)`.

    Each share is the whole band of a round with one vehicle.

    Raises:
        ValueError: a budget that can not be kept with its share.
    """
    used = np.where(problem.taking_part, share, 1.0)[..., None]
    alone = dataclasses.replace(
        problem,
        cycles=problem.cycles[..., None, :],
        uplink_bits=problem.uplink_bits[..., None, :] / used[..., None],
        fixed_time=problem.fixed_time[..., None, :],
        server_time=problem.server_time[..., None, :],
        energy_budget=problem.energy_budget[..., None],
        snr_per_watt=problem.snr_per_watt[..., None] / (1.0 if radio.whole_band_noise(problem.noise) else used),
        taking_part=problem.taking_part[..., None],
    )
    decision = tree_map(lambda values: values[..., 0], solve(alone, np.ones(alone.cycles.shape, np.bool_)))
    return dataclasses.replace(decision, bandwidth_share=np.where(problem.taking_part, share, 0.0))


@any_library
def equal_share(problem: Problem) -> Decision:
    """Equal shares, more only where a budget needs it; then the best cut, frequency and power of each vehicle alone."""
    floor = np.min(least_shares(problem), axis=-1)
    return on_its_own(problem, lifted(problem, np.ones(floor.shape), floor))


@any_library
def proportional(problem: Problem) -> Decision:
    """Shares in proportion to U / log2(1 + p G) at full power; half of each budget computes, half sends; best cut.

    Shares rise where a budget needs it; computing gets less than half where least power sends for more.
    """
    weight = np.mean(problem.uplink_bits, axis=-1) / np.log1p(problem.power_max * problem.snr_per_watt)
    share = lifted(problem, weight, np.min(least_shares(problem), axis=-1))
    used = np.where(problem.taking_part, share, 1.0)
    budget, present = problem.energy_budget[..., None], problem.taking_part[..., None]
    cycles = np.where(present, problem.cycles, 1.0)
    sends = energy_at_least(problem, used) - computing_energy(problem, problem.cycles, problem.frequency_min)
    computing = np.maximum(np.minimum(0.5 * budget, budget - sends), 0.0)
    frequency = np.clip(np.sqrt(computing / drain(problem, cycles)), problem.frequency_min, problem.frequency_max)
    power = problem.device.power_for_energy(
        bits=problem.uplink_bits,
        energy=budget - computing_energy(problem, problem.cycles, frequency),
        share=used[..., None],
        snr_per_watt=problem.snr_per_watt[..., None],
    )
    cut = fastest_cut(problem, share, frequency, power)
    return Decision(cut, np.where(cut >= 0, share, 0.0), at_choice(frequency, cut), at_choice(power, cut))


def fixed_cut(place: int) -> Callable[[Problem], Decision]:
    """Build one cut for everybody, with the exact allocation; -1 is the last."""

    @any_library
    def fixed(problem: Problem) -> Decision:
        cut = np.full(problem.taking_part.shape, place % problem.cycles.shape[-1])
        return allocate(problem, affordable_cut(problem, cut))

    fixed.__doc__ = f"""The {"last" if place else "first"} cut for everybody, exact allocation.

    Vehicles whose budgets do not allow it take the cut that asks for the least share.
    """
    return fixed


@any_library
def common_cut(problem: Problem) -> Decision:
    """The best single cut for everybody, exact allocation; who can not afford it takes the thriftiest cut."""
    best = fixed_cut(0)(problem)
    for place in range(1, problem.cycles.shape[-1]):
        decision = fixed_cut(place)(problem)
        faster = round_cost(problem, decision).round_time < round_cost(problem, best).round_time
        best = chosen(faster, decision, best)
    return best


@any_library
def random_cut(problem: Problem, rng: np.random.Generator) -> Decision:
    """A random cut of those that each budget allows, exact allocation."""
    allowed = least_shares(problem) <= 1.0
    cut = np.argmax(np.where(allowed, rng.random(allowed.shape), -1.0), axis=-1)
    return allocate(problem, affordable_cut(problem, cut))


SOLVERS: dict[str, Solver] = {
    "exact": solver(exact),
    "alternating": solver(alternating),
    "fixed_first": solver(fixed_cut(0)),
    "fixed_last": solver(fixed_cut(-1)),
    "common_cut": solver(common_cut),
    "equal_share": solver(equal_share),
    "proportional": solver(proportional),
    "random": solver(random_cut, draws=True),
}

DEFAULTS = tuple(SOLVERS)
"""All of them: the optimum itself takes a millisecond."""

REFERENCES = ("exact",)
