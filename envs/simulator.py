"""The only stepping code: every view drives this simulator, which calls the system's pure methods.

A round asks for its problem twice at most, of the true state and of the believed one, and for its cost once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core import randomness
from ..core.arrays import Array, arange_like, as_tensor, namespace, one_hot, torch_device
from ..core.checks import check_integers, to_numpy, unknown_name
from ..core.records import batch_shape
from ..core.trees import add_axis, flatten, tree_map, unflatten, where
from .learning import LiveLearning
from .progress import Progress
from .system import Ruling, System

if TYPE_CHECKING:
    import torch

OPTIONS = ("draw", "episode", "params")
UNSUPPORTED = ("reset_mask",)
STORED = ("turn", "order", "_asked", "_over")

Autoreset = Literal["next_step", "same_step"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one step brought, for a batch of B copies and N agents."""

    decision: Any
    cost: Any
    progress: Progress
    reward: Array
    """`(B, N)`; 0 for copies that did not complete a round."""
    projected: Array
    """`(B, N)` booleans: the action was illegal and became the nearest legal one."""
    violated: Array | None
    """`(B, N)` booleans: the action, taken as it is, broke a limit; None: the decision came from no action."""
    terminated: Array
    """`(B,)` booleans."""
    truncated: Array
    """`(B,)` booleans."""
    completed: Array | None = None
    """`(B,)` booleans: copies that completed a round; None: all did."""
    final_observations: Array | None = None
    """`Simulator.visible` before the reset, where an episode ended and was begun anew in the same step."""
    final_masks: Array | None = None
    """`Simulator.legal` before the reset."""
    final_agent: Array | None = None
    """`Simulator.turn_agent` before the reset, where decisions are sequential."""


class Simulator:
    """A batch of copies of one system.

    A round's draw depends on (seed, episode, round) alone: copy i of a simulator seeded s draws what a single one
    seeded s + i draws, in either library and on any device.
    """

    def __init__(
        self,
        system: System,
        num_envs: int = 1,
        *,
        autoreset: Autoreset | None = None,
        device: "str | torch.device | None" = None,
        validate: bool | None = None,
        learning: LiveLearning | None = None,
    ) -> None:
        """Keep the settings; nothing is drawn before `reset`.

        Args:
            system: what is simulated.
            num_envs: copies B.
            autoreset: when a copy whose episode ended begins the next: in the next step, in the same step, or never.
            device: None for NumPy, else the torch device on which everything stays.
            validate: whether actions are checked at once; None: everywhere but on CUDA, where the check waits for
                `reset` or `check`.
            learning: trains in every round; None: the system predicts progress.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}, must be at least 1")
        self.base_system = self.system = system
        self.learning = learning
        self.num_envs = num_envs
        self.autoreset = autoreset
        self.device: torch.device | None = None if device is None else torch_device(device)
        self.validate = (self.device is None or self.device.type != "cuda") if validate is None else validate
        self.state: Any = None
        self.seen: Any = None
        self.problem: Any = None
        self.seen_problem: Any = None
        self.partial: Any = None
        self.turn: Array = None
        self.order: Array = None
        self.shown: tuple[Any, Any] | None = None
        self._asked: Array = None
        self._over: Array = None
        self._bad: Array = None
        self._seeds: Array = None
        self._episode: Array = None
        self._cycle: Array = None
        self._steps = 0
        self._injected: list[Any] = []

    # Episodes.

    def reset(self, seed: int | Sequence[int] | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Begin an episode in every copy: the first of `seed`, or the next of the seed used before.

        Args:
            seed: not negative; copy i takes seed + i, or the i-th of a sequence. None goes on with the next episode
                (a fresh seed at the first reset).
            options: "draw" injects a draw, or with a sequence those of the rounds since the reset; "episode" goes to
                that episode of the seed; "params" overrides parameters until the next reset, observations keep their
                scale.

        Raises:
            ValueError: negative seed or episode, misspelt option or parameter, malformed draw, parameters that change
                the spaces; actions of a device run that were out of range (`check`).
        """
        self.check()
        options = {} if options is None else options
        if not isinstance(options, Mapping):
            raise ValueError(f"reset options are {options!r}, must map names to values")
        seeds = self._read_seeds(seed)
        episode = options.get("episode")
        if episode is not None:
            randomness.check_seed(episode, "episode", below=randomness.EPISODES)
        system = self._read_params(options)
        injected = self._read_draws(system, options)
        self.system, self._injected = system, injected
        if seeds is not None or self._seeds is None:
            first = int(np.random.SeedSequence().generate_state(1)[0]) + np.arange(self.num_envs)
            self._seeds = self._array(first if seeds is None else seeds)
            self._episode = 0 * self._seeds
        else:
            self._episode = self._episode + 1
        if episode is not None:
            self._episode = 0 * self._seeds + int(episode)
        self._cycle, self._steps = 0 * self._seeds, 0
        self._begin_learning()
        self.state = self._started(self._draw())
        self._over = None
        self._begin_round(None)
        self.shown = (self.state, self.system.undecided(self.state))

    def _begin_learning(self, anew: Array | None = None) -> None:
        """Begin live learning anew in the copies `anew` `(B,)` (None: all), at the first round of their episodes."""
        if self.learning is None:
            return
        for copy in range(self.num_envs) if anew is None else np.flatnonzero(to_numpy(anew)).tolist():
            self.learning.begin(self.system, copy, int(self._seeds[copy]), int(self._episode[copy]))

    def _started(self, draw: Any) -> Any:
        """Return the state of a first round, with what clients report before it where learning is live."""
        state = self.system.start(draw)
        return state if self.learning is None else self.system.informed(state, self.learning.reports(state))

    def _read_seeds(self, seed: int | Sequence[int] | None) -> np.ndarray | None:
        if seed is None:
            return None
        if isinstance(seed, Sequence | np.ndarray):
            if len(seed) != self.num_envs:
                raise ValueError(f"seed has {len(seed)} values, must have one per copy: {self.num_envs}")
            return np.array([randomness.check_seed(value, "seed") for value in seed])
        first = randomness.check_seed(seed, "seed")
        randomness.check_seed(first + self.num_envs - 1, "seed of the last copy")
        return first + np.arange(self.num_envs)

    def _read_params(self, options: Mapping[str, Any]) -> System:
        for name in options:
            # Official suites pass an unknown option and expect it to be ignored: only a likely misspelling is an error.
            if name in UNSUPPORTED:
                raise ValueError(f"reset option {name!r} is not supported: copies begin anew by autoreset")
            if name not in OPTIONS and any(name in valid or valid in name for valid in OPTIONS):
                raise unknown_name("reset option", name, OPTIONS)
        if "params" not in options:
            return self.base_system
        base = self.base_system
        if not isinstance(options["params"], Mapping):
            raise ValueError(f"reset option params is {options['params']!r}, must map parameters to values")
        given = {field.name: getattr(base.params, field.name) for field in dataclasses.fields(base.params)}
        system = type(base)(type(base.params).create({**given, **options["params"]}))
        shapes = [
            (each.agents, each.actions.counts, each.action_size, each.observation_size, each.turns)
            for each in (base, system)
        ]
        if shapes[0] != shapes[1]:
            names = ", ".join(options["params"])
            raise ValueError(f"reset can not override parameters that change the spaces: {names}")
        system.normalize_as(base)
        return system

    def _read_draws(self, system: System, options: Mapping[str, Any]) -> list[Any]:
        if "draw" not in options:
            return []
        given = options["draw"]
        draws = list(given) if isinstance(given, Sequence) else [given]
        return [self._read_draw(system, draw) for draw in draws]

    def _read_draw(self, system: System, draw: Any) -> Any:
        system.check_draw(draw)
        batch = batch_shape(draw)
        if batch == () and self.num_envs == 1:
            draw, batch = add_axis(draw), (1,)
        if batch != (self.num_envs,):
            raise ValueError(f"the injected draw has batch shape {batch}, must be {(self.num_envs,)}")
        return self._on_device(draw)

    def _on_device(self, tree: Any) -> Any:
        return tree_map(self._array, tree)

    def _array(self, values: Any) -> Array:
        """Return values in the library and on the device of the copies."""
        return to_numpy(values) if self.device is None else as_tensor(values, self.device)

    def _draw(self) -> Any:
        """Draw for every copy: what was injected for this step, or what seed, episode and round say."""
        step, self._steps = self._steps, self._steps + 1
        if step < len(self._injected):
            return self._injected[step]
        return self.system.draw(randomness.Numbers(self._seeds, self._episode, self._cycle))

    def _look(self) -> None:
        """Compute the round's problem, and that of the state as the scheduler believes it."""
        self.seen = self.system.believed(self.state)
        self.problem = self.system.problem(self.state)
        self.seen_problem = self.problem if self.seen is self.state else self.system.problem(self.seen)

    def _begin_round(self, anew: Array | None) -> None:
        """Prepare the decisions of a round in the copies `anew` `(B,)`; None: in all."""
        self._look()
        undecided = self.system.undecided(self.state) if self.system.turns else None
        if anew is None:
            self.partial = undecided
            self._asked = None
            self.turn = None
            self.order = self.system.turn_order(self.seen_problem) if self.system.turns else None
            return
        self.partial = None if undecided is None else where(anew, undecided, self.partial)
        xp = namespace(self.turn)
        self.turn = xp.where(anew, 0, self.turn)
        self.order = xp.where(anew[..., None], self.system.turn_order(self.seen_problem), self.order)

    # Going on after an interruption.

    def state_dict(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return arrays and JSON-compatible values from which `load_state_dict` goes on exactly.

        Raises:
            ValueError: before `reset`, or while injected draws or parameters of one episode are in use.
        """
        if self.state is None:
            raise ValueError("the episode has not begun: call reset() first")
        if self._injected or self.system is not self.base_system:
            raise ValueError("injected draws and parameters of one episode can not be stored")
        arrays: dict[str, Array] = {"episode": self._episode, "cycle": self._cycle, "seeds": self._seeds}
        arrays.update({name: getattr(self, name) for name in STORED if getattr(self, name) is not None})
        for label, tree in (("state", self.state), ("partial", self.partial)):
            if tree is not None:
                arrays.update({f"{label}.{name}": array for name, array in flatten(tree).items()})
        values: dict[str, Any] = {"steps": self._steps}
        if self.learning is not None:
            tensors, values["learning"] = self.learning.state_dict()
            arrays.update({f"learning.{name}": tensor for name, tensor in tensors.items()})
        return arrays, values

    def load_state_dict(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, in a simulator built alike."""
        self.reset(to_numpy(arrays["seeds"]).tolist())
        self._episode, self._cycle = (self._array(arrays[name]) for name in ("episode", "cycle"))
        self._steps = values["steps"]
        if self.learning is not None:
            stored = {n.removeprefix("learning."): t for n, t in arrays.items() if n.startswith("learning.")}
            self.learning.load_state_dict(stored, values["learning"])
        for label in ("state", "partial"):
            tree = getattr(self, label)
            if tree is None:
                continue
            stored = {n.removeprefix(f"{label}."): a for n, a in arrays.items() if n.startswith(f"{label}.")}
            setattr(self, label, self._on_device(unflatten(tree, stored)))
        self._look()
        self.shown = (self.state, self.system.undecided(self.state))
        for name in STORED:
            array = arrays.get(name)
            setattr(self, name, None if array is None else self._array(array))

    def report(self, outcome: Outcome) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return what infos carry of a round: shared numbers `(B,)` and those of each agent `(B, N)`."""
        shared, own = self.system.report(outcome.cost)
        for name, value in outcome.progress.information.items():
            (shared if value.ndim == 1 else own)[name] = value
        return shared, own

    # Decisions.

    @property
    def turn_agent(self) -> Array:
        """Index `(B,)` of the agent whose turn it is."""
        if self.order is None:
            like = self.system.agent_state(self.seen)
            agents = arange_like(len(self.system.agents), like)
            self.order = namespace(like).zeros_like(like, dtype=agents.dtype) + agents
        if self.turn is None:
            return self.order[..., 0]
        return namespace(self.order).take_along_axis(self.order, self.turn[..., None], axis=-1)[..., 0]

    def observations(self, agent: Array | None = None) -> Array:
        """Return what the agents see of the believed state: `(B, N, size)`, or `(B, size)` of one agent `(B,)`."""
        return self.system.see(self.seen, self.seen_problem, self.partial, agent)

    def masks(self) -> Array:
        """Return the legal actions `(B, N, num_actions)` as int8, as the twin sees them.

        Raises:
            ValueError: before `reset`.
        """
        if self.state is None:
            raise ValueError("the episode has not begun: call reset() first")
        return self.system.masked(self.seen, self.seen_problem, self.partial)

    @property
    def idle(self) -> Array:
        """Copies `(B,)` that the next step only resets."""
        return self._over if self._over is not None else np.zeros(self.num_envs, np.bool_)

    def visible(self) -> Array:
        """Return what the next step's agents see: `(B, N, size)`, or `(B, size)` of the agents in turn."""
        return self.observations(self.turn_agent) if self.system.turns else self.observations()

    def legal(self) -> Array:
        """Return what the next step's agents may do: `(B, N, num_actions)`, or `(B, num_actions)` of those in turn."""
        masks = self.masks()
        if not self.system.turns:
            return masks
        return namespace(masks).take_along_axis(masks, self.turn_agent[..., None, None], axis=-2)[..., 0, :]

    def check(self) -> None:
        """Raise `ValueError` if an action was out of range since the last check (where that is not raised at once)."""
        if self._bad is not None and bool(self._bad):
            self._bad = None
            raise ValueError(
                f"an action was outside {self.system.actions.limits} since the last check; it was clipped. "
                "Use validate=True to stop at the step that sends it"
            )

    def _legal(self, actions: Array, idle: Array | None) -> Array:
        """Give copies that only reset the action 0; on a device clip what is out of range and remember that it was."""
        xp = namespace(actions)
        if idle is not None:
            actions = xp.where(xp.reshape(idle, (-1, *(1,) * (actions.ndim - 1))), 0, actions)
        if not self.validate:
            bounded = self.system.actions.bounded(actions)
            bad = xp.any(bounded != actions)
            self._bad = bad if self._bad is None else self._bad | bad
            actions = bounded
        return actions

    def check_turn(self, action: Array) -> None:
        """Raise `ValueError` for actions `(B,)` of the agents in turn outside their space, unless that is raised later.

        Copies that only begin anew are not looked at.
        """
        if self.validate:
            asked = to_numpy(action) * ~to_numpy(self.idle)
            check_integers(asked, asked.shape, 0, self.system.num_actions - 1, "action", "copy {}".format)

    def step(self, actions: Array) -> Outcome:
        """Play a whole round in every copy with joint actions `(B, N, *action_shape)`."""
        actions = self._legal(actions, self._over)
        if self.validate:
            self.system.check_actions(actions, (self.num_envs, len(self.system.agents)))
        ruling = self.system.rule(self.seen_problem, actions)
        return self.play(ruling.decision, ruling)

    def take_turn(self, action: Array) -> Outcome | None:
        """Play one agent's turn in every copy; None while no copy completes a round or resets.

        The action is `(B,)`, or `(B, action_size)`.

        Where decisions are simultaneous the agents' turns follow their indices and nobody sees what others chose.
        """
        system, agents = self.system, len(self.system.agents)
        agent = self.turn_agent
        xp = namespace(agent)
        action = self._legal(action, self._over)
        asked = system.no_actions(self.state) if self._asked is None else self._asked
        # (B, N, *action_shape) from (B, *action_shape): everybody's action, of which one is new.
        mine = one_hot(agent, agents)[(..., *(None,) * len(system.action_shape))]
        self._asked = xp.where(mine, action[:, None], asked)
        self.turn = (xp.zeros_like(agent) if self.turn is None else self.turn) + 1
        if system.turns:
            self.partial = system.decide_turn(self.seen_problem, self.partial, agent, action)
        completed = self.turn == agents
        idle = self._over
        if not bool(xp.any(completed if idle is None else completed | idle)):
            return None
        if not system.turns:
            return self.step(self._asked)
        wanted = system.asked(self.seen_problem, self._asked)
        ruling = system.judge(self.seen_problem, self._asked, wanted, self.partial)
        return self.play(self.partial, ruling, completed if idle is None else completed & ~idle)

    # What follows from them.

    def play(self, decision: Any, ruling: Ruling | None = None, completed: Array | None = None) -> Outcome:
        """Play a round with a decision.

        Args:
            decision: of every copy.
            ruling: what became of the actions that it came from; None: it came from none.
            completed: copies `(B,)` whose round is complete; the others keep their state. None: all.
        """
        system, state, idle = self.system, self.state, self._over
        if completed is not None and idle is None and bool(namespace(completed).all(completed)):
            completed = None
        moved = completed if idle is None or completed is not None else ~idle
        self._count(moved, idle)
        cost = system.price(self.problem, decision)
        progress = system.foresee(state, decision, cost)
        if self.learning is not None:
            progress = self.learning.round(state, decision, moved, progress)
        draw = self._draw()
        after = system.advance(state, decision, draw, cost, progress)
        outcome = self._outcome(after, (decision, cost, progress), ruling, moved)
        if moved is not None:
            after = where(moved, after, state)
        if idle is not None:
            self._begin_learning(idle)
            after = where(idle, self._started(draw), after)
        self.shown, self.state = (state, decision), after
        outcome = self._end_episodes(outcome, draw)
        self._begin_round(None if completed is None else (completed if idle is None else completed | idle))
        return outcome

    def _outcome(
        self, after: Any, played: tuple[Any, Any, Progress], ruling: Ruling | None, moved: Array | None
    ) -> Outcome:
        """Return what a round (decision, cost, progress) brought that led to `after`; nothing to copies left behind."""
        decision, cost, progress = played
        reward = self.system.reward(after, cost, progress)
        terminated, truncated = self.system.ended(after)
        xp = namespace(reward)
        if ruling is None:
            projected, violated = xp.zeros_like(reward, dtype=xp.bool), None
        else:
            projected, violated = ruling.projected, ruling.violated
            reward = reward if ruling.penalty is None else reward - ruling.penalty
        if moved is not None:
            each = moved[..., None]
            terminated, truncated, projected = terminated & moved, truncated & moved, projected & each
            reward, violated = xp.where(each, reward, 0.0), None if violated is None else violated & each
        return Outcome(decision, cost, progress, reward, projected, violated, terminated, truncated, moved)

    def _count(self, moved: Array | None, idle: Array | None) -> None:
        """Move every copy's (episode, round) to the place of its next draw."""
        self._cycle = self._cycle + (1 if moved is None else moved)
        if idle is not None:
            self._next_episode(idle)

    def _next_episode(self, over: Array) -> None:
        """Move the copies `over` `(B,)` to the first round of their next episode."""
        self._episode = self._episode + over
        self._cycle = namespace(self._cycle).where(over, 0, self._cycle)

    def _end_episodes(self, outcome: Outcome, draw: Any) -> Outcome:
        """Mark or begin anew the copies whose episode ended."""
        self._over = None
        if self.autoreset is None:
            return outcome
        over = outcome.terminated | outcome.truncated
        if self.device is None and not over.any():
            return outcome
        if self.autoreset == "next_step":
            self._over = over
            return outcome
        self._begin_round(outcome.completed)
        final = dataclasses.replace(
            outcome,
            final_observations=self.visible(),
            final_masks=self.legal(),
            final_agent=self.turn_agent if self.system.turns else None,
        )
        self._next_episode(over)
        if self._steps > len(self._injected):
            draw = self._draw()
        self._begin_learning(over)
        self.state = where(over, self._started(draw), self.state)
        return final
