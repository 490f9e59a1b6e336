"""The only stepping code: every view drives this simulator, which calls the system's pure methods."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from ..core import randomness
from ..core.arrays import Array, namespace, one_hot
from ..core.checks import to_numpy, unknown_name
from ..core.trees import add_axis, tree_map, where
from .learning import LiveLearning
from .system import System

OPTIONS = ("draw", "episode", "params")
UNSUPPORTED = ("reset_mask",)

Autoreset = Literal["next_step", "same_step"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one step brought, for a batch of B copies and N agents."""

    decision: Any
    cost: Any
    progress: Array
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
    learned: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    """What live learning measured: names with `(B,)`, or `(B, N)` per client; empty where progress is predicted."""
    final_observations: Array | None = None
    """`Simulator.visible` before the reset, where an episode ended and was begun anew in the same step."""
    final_masks: Array | None = None
    """`Simulator.legal` before the reset."""
    final_agent: Array | None = None
    """`Simulator.turn_agent` before the reset, where decisions are sequential."""


class Simulator:
    """A batch of copies of one system.

    A round's draw depends on (seed, episode, round) alone, and copy i of a simulator seeded s draws what a single one
    seeded s + i draws. With `shared_draws` one generator draws for the whole batch: faster, reproducible for the same
    seed and number of copies, and the only way on a device.
    """

    def __init__(
        self,
        system: System,
        num_envs: int = 1,
        *,
        autoreset: Autoreset | None = None,
        device: str | torch.device | None = None,
        shared_draws: bool | None = None,
        validate: bool | None = None,
        learning: LiveLearning | None = None,
    ) -> None:
        """Keep the settings; nothing is drawn before `reset`.

        Args:
            system: what is simulated.
            num_envs: copies B.
            autoreset: when a copy whose episode ended begins the next: in the next step, in the same step, or never.
            device: None for NumPy, else the torch device on which everything stays.
            shared_draws: whether one generator draws for all copies; None: on a device only.
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
        self.device = None if device is None else torch.device(device)
        self.shared_draws = self.device is not None if shared_draws is None else shared_draws
        self.validate = (self.device is None or self.device.type != "cuda") if validate is None else validate
        self.state: Any = None
        self.seen: Any = None
        self.partial: Any = None
        self.turn: Array = None
        self.order: Array = None
        self.shown: tuple[Any, Any] | None = None
        self._asked: Array = None
        self._over: Array = None
        self._bad: Array = None
        self._rng = randomness.RoundGenerator()
        self._batch_rng: Any = None
        self._seeds: np.ndarray | None = None
        self._episode = np.zeros(num_envs, np.int64)
        self._cycle = np.zeros(num_envs, np.int64)
        self._steps = 0
        self._resets = 0
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
            randomness.check_seed(episode, "episode")
        system = self._read_params(options)
        injected = self._read_draws(system, options)
        self.system, self._injected = system, injected
        if seeds is not None or self._seeds is None:
            first = int(np.random.SeedSequence().generate_state(1)[0]) + np.arange(self.num_envs)
            self._seeds = first if seeds is None else seeds
            self._episode[:], self._resets = 0, 0
        else:
            self._episode += 1
            self._resets += 1
        if episode is not None:
            self._episode[:], self._resets = int(episode), int(episode)
        self._cycle[:], self._steps = 0, 0
        if self.shared_draws:
            self._batch_rng = randomness.batch_generator(self.device, self._seeds.tolist(), self._resets)
        self.state = self.system.start(self._draw(self._episode, self._cycle))
        self._over = None
        self._begin_learning(range(self.num_envs))
        self._begin_round(None)
        self.shown = (self.state, self.partial)

    def _begin_learning(self, copies: Iterable[int]) -> None:
        """Begin live learning anew in some copies, at the first round of their episodes."""
        if self.learning is None:
            return
        assert self._seeds is not None
        for copy in copies:
            self.learning.begin(self.system, copy, int(self._seeds[copy]), int(self._episode[copy]))

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
            (each.agents, each.num_actions, each.action_size, each.observation_size, each.turns)
            for each in (base, system)
        ]
        if shapes[0] != shapes[1]:
            names = ", ".join(options["params"])
            raise ValueError(f"reset can not override parameters that change the spaces: {names}")
        system.observation_fields, system.normaliser = base.observation_fields, base.normaliser
        return system

    def _read_draws(self, system: System, options: Mapping[str, Any]) -> list[Any]:
        if "draw" not in options:
            return []
        given = options["draw"]
        draws = list(given) if isinstance(given, Sequence) else [given]
        return [self._read_draw(system, draw) for draw in draws]

    def _read_draw(self, system: System, draw: Any) -> Any:
        system.check_draw(draw)
        batch = system.draw_batch(draw)
        if batch == () and self.num_envs == 1:
            draw, batch = add_axis(draw), (1,)
        if batch != (self.num_envs,):
            raise ValueError(f"the injected draw has batch shape {batch}, must be {(self.num_envs,)}")
        return self._on_device(draw)

    def _on_device(self, tree: Any) -> Any:
        if self.device is None:
            return tree_map(to_numpy, tree)
        return tree_map(functools.partial(torch.as_tensor, device=self.device), tree)

    def _draw(self, episode: np.ndarray, cycle: np.ndarray) -> Any:
        """Draw for every copy: what was injected for this step, or what seed, episode and round say."""
        step, self._steps = self._steps, self._steps + 1
        if step < len(self._injected):
            return self._injected[step]
        assert self._seeds is not None
        if self.shared_draws:
            return self.system.draw(self._batch_rng, (self.num_envs,))
        places = list(zip(self._seeds.tolist(), episode.tolist(), cycle.tolist(), strict=True))
        rng = self._rng.at(*places[0]) if self.num_envs == 1 else randomness.CopyGenerator(self._rng, places)
        draw = self.system.draw(rng, (self.num_envs,))
        return draw if self.device is None else self._on_device(draw)

    def _look(self) -> None:
        self.seen = self.system.believed(self.state)
        self.system.remember(self.state, self.seen)

    def _begin_round(self, anew: Array | None) -> None:
        """Prepare the decisions of a round in the copies `anew` `(B,)`; None: in all."""
        self._look()
        undecided = self.system.undecided(self.state)
        if anew is None:
            self.partial = undecided
            self._asked = None
            self.turn = None
            self.order = self.system.turn_order(self.seen) if self.system.turns else None
            return
        self.partial = where(anew, undecided, self.partial)
        xp = namespace(self.turn)
        self.turn = xp.where(anew, 0, self.turn)
        self.order = xp.where(anew[..., None], self.system.turn_order(self.seen), self.order)

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
        arrays: dict[str, Array] = {"episode": self._episode.copy(), "cycle": self._cycle.copy(), "seeds": self._seeds}
        for name in ("turn", "order", "_asked", "_over"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        for label, tree in (("state", self.state), ("partial", self.partial)):
            arrays.update({f"{label}.{field.name}": getattr(tree, field.name) for field in dataclasses.fields(tree)})
        values: dict[str, Any] = {"steps": self._steps, "resets": self._resets}
        if self.learning is not None:
            tensors, values["learning"] = self.learning.state_dict()
            arrays.update({f"learning.{name}": tensor for name, tensor in tensors.items()})
        if self._batch_rng is not None:
            state = randomness.generator_state(self._batch_rng)
            if isinstance(state, torch.Tensor):
                arrays["generator"] = state
            else:
                values["generator"] = state
        return arrays, values

    def load_state_dict(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, in a simulator built alike."""
        self.reset(to_numpy(arrays["seeds"]).tolist())
        self._episode, self._cycle = (to_numpy(arrays[name]).copy() for name in ("episode", "cycle"))
        self._steps, self._resets = values["steps"], values["resets"]
        if self.learning is not None:
            stored = {n.removeprefix("learning."): t for n, t in arrays.items() if n.startswith("learning.")}
            self.learning.load_state_dict(stored, values["learning"])
        for label in ("state", "partial"):
            tree = getattr(self, label)
            stored = {field.name: arrays[f"{label}.{field.name}"] for field in dataclasses.fields(tree)}
            setattr(self, label, self._on_device(type(tree)(**stored)))
        self._look()
        self.shown = (self.state, self.partial)
        for name in ("turn", "order", "_asked", "_over"):
            array = arrays.get(name)
            if array is not None:
                array = to_numpy(array) if self.device is None else torch.as_tensor(array, device=self.device)
            setattr(self, name, array)
        if self._batch_rng is not None:
            state = arrays["generator"] if "generator" in arrays else values["generator"]
            randomness.restore_generator(self._batch_rng, state)

    def report(self, outcome: Outcome) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return what infos carry of a round: shared numbers `(B,)` and those of each agent `(B, N)`."""
        shared, own = self.system.report(outcome.cost)
        for name, value in outcome.learned.items():
            (shared if value.ndim == 1 else own)[name] = value
        return shared, own

    # Decisions.

    @property
    def turn_agent(self) -> Array:
        """Index `(B,)` of the agent whose turn it is."""
        if self.order is None:
            self.order = System.turn_order(self.system, self.seen)
        if self.turn is None:
            return self.order[..., 0]
        return namespace(self.order).take_along_axis(self.order, self.turn[..., None], axis=-1)[..., 0]

    def observations(self, agent: Array | None = None) -> Array:
        """Return what the agents see of the believed state: `(B, N, size)`, or `(B, size)` of one agent `(B,)`."""
        return self.system.observe(self.seen, self.partial, agent)

    def masks(self) -> Array:
        """Return the legal actions `(B, N, num_actions)` as int8, as the twin sees them.

        Raises:
            ValueError: before `reset`.
        """
        if self.state is None:
            raise ValueError("the episode has not begun: call reset() first")
        return self.system.mask(self.seen, self.partial)

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
            limits = "-1..1" if self.system.action_size else f"0..{self.system.num_actions - 1}"
            raise ValueError(
                f"an action was outside {limits} since the last check; it was clipped. "
                "Use validate=True to stop at the step that sends it"
            )

    def _legal(self, actions: Array, idle: Array | None) -> Array:
        """Give copies that only reset the action 0; on a device clip what is out of range and remember that it was."""
        xp = namespace(actions)
        if idle is not None:
            actions = xp.where(xp.reshape(idle, (-1, *(1,) * (actions.ndim - 1))), 0, actions)
        if not self.validate:
            if self.system.action_size:
                bounded = xp.clip(xp.where(xp.isnan(actions), xp.zeros_like(actions), actions), -1.0, 1.0)
            else:
                bounded = xp.clip(actions, 0, self.system.num_actions - 1)
            bad = xp.any(bounded != actions)
            self._bad = bad if self._bad is None else self._bad | bad
            actions = bounded
        return actions

    def step(self, actions: Array) -> Outcome:
        """Play a whole round in every copy with joint actions `(B, N)`, or `(B, N, action_size)`."""
        actions = self._legal(actions, self._over)
        decision = self.system.decide(self.seen, actions, validate=self.validate)
        return self.play(decision, actions)

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
        mine = one_hot(agent, agents)
        if system.action_size:
            self._asked = xp.where(mine[..., None], action[..., None, :], asked)
        else:
            self._asked = xp.where(mine, action[..., None], asked)
        self.turn = (xp.zeros_like(agent) if self.turn is None else self.turn) + 1
        if system.turns:
            self.partial = system.decide_turn(self.seen, self.partial, agent, action)
        completed = self.turn == agents
        idle = self._over
        if not bool(xp.any(completed if idle is None else completed | idle)):
            return None
        if not system.turns:
            return self.play(system.decide(self.seen, self._asked), self._asked)
        return self.play(self.partial, self._asked, completed if idle is None else completed & ~idle)

    # What follows from them.

    def play(self, decision: Any, asked: Array | None = None, completed: Array | None = None) -> Outcome:
        """Play a round with a decision.

        Args:
            decision: of every copy.
            asked: actions it came from, of all agents; None: it came from none.
            completed: copies `(B,)` whose round is complete; the others keep their state. None: all.
        """
        system, state, idle = self.system, self.state, self._over
        xp = namespace(system.agent_state(state))
        if completed is not None and idle is None and bool(xp.all(completed)):
            completed = None
        moved = completed if idle is None or completed is not None else ~idle
        self._count(moved, idle)
        cost = system.cost(state, decision, validate=False)
        learned: Mapping[str, Array] = {}
        progress = system.predict(state, decision)
        if self.learning is not None:
            progress, learned = self.learning.round(state, decision, moved)
        draw = self._draw(self._episode, self._cycle)
        after = system.advance(state, decision, draw, cost)
        reward = system.reward(after, cost, progress)
        terminated, truncated = system.ended(after)
        projected = xp.zeros_like(system.agent_state(state), dtype=xp.bool)
        violated = None
        if asked is not None:
            projected = system.projected(self.seen, decision, asked)
            violated = system.violated(self.seen, decision, asked) if system.action_size else projected
            penalty = system.penalty(self.seen, decision, asked)
            reward = reward if penalty is None else reward - penalty
        if moved is not None:
            after = where(moved, after, state)
            reward = xp.where(moved[..., None], reward, 0.0)
            terminated, truncated = terminated & moved, truncated & moved
            projected = projected & moved[..., None]
            violated = None if violated is None else violated & moved[..., None]
        if idle is not None:
            after = where(idle, system.start(draw), after)
            if self.learning is not None:
                self._begin_learning(np.flatnonzero(to_numpy(idle)).tolist())
        self.shown = (state, decision)
        self.state = after
        outcome = Outcome(decision, cost, progress, reward, projected, violated, terminated, truncated, moved, learned)
        outcome = self._end_episodes(outcome, draw)
        self._begin_round(None if completed is None else (completed if idle is None else completed | idle))
        return outcome

    def _count(self, moved: Array | None, idle: Array | None) -> None:
        """Move every copy's (episode, round) to the place of its next draw."""
        if self.shared_draws and self.learning is None:
            return
        self._cycle += 1 if moved is None else to_numpy(moved)
        if idle is not None:
            resetting = to_numpy(idle)
            self._episode += resetting
            self._cycle[resetting] = 0

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
        if not self.shared_draws or self.learning is not None:
            ended = to_numpy(over)
            self._episode += ended
            self._cycle[ended] = 0
        if self._steps > len(self._injected):
            draw = self._draw(self._episode, self._cycle)
        self.state = where(over, self.system.start(draw), self.state)
        if self.learning is not None:
            self._begin_learning(np.flatnonzero(to_numpy(over)).tolist())
        return final
