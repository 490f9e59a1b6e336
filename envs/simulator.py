"""The only stepping code: every view drives this simulator, which calls the system's pure methods."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..twin.arrays import Array, namespace, one_hot
from . import randomness
from .checks import unknown_name
from .system import System
from .trees import add_axis, stack

OPTIONS = ("draw", "episode")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one round brought, for a batch of B copies and N agents."""

    decision: Any
    cost: Any
    progress: Array
    reward: Array
    """`(B, N)`."""
    projected: Array
    """`(B, N)` booleans: the action was illegal and became the nearest legal one."""
    terminated: Array
    """`(B,)` booleans."""
    truncated: Array
    """`(B,)` booleans."""


class Simulator:
    """A batch of copies of one system.

    Copy i of a simulator seeded s draws what a single one seeded s + i draws. A round's draw depends on (seed, episode,
    round) alone.
    """

    def __init__(self, system: System, num_envs: int = 1) -> None:
        """Keep the system; nothing is drawn before `reset`."""
        self.system = system
        self.num_envs = num_envs
        self.state: Any = None
        self.partial: Any = None
        self.turn = 0
        self.shown: tuple[Any, Any] | None = None
        self._rng = randomness.RoundGenerator()
        self._seed: int | None = None
        self._episode = 0
        self._cycle = 0
        self._injected: list[Any] = []
        self._asked: Array = None

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Begin an episode: the first of `seed`, or the next of the seed used before.

        Args:
            seed: not negative; None goes on with the next episode (a fresh seed at the first reset).
            options: "draw" injects the first round's draw, or with a sequence those of the first rounds; "episode"
                goes to that episode of the seed instead of the next.

        Raises:
            ValueError: negative seed or episode, misspelt option, malformed draw.
        """
        options = options or {}
        for name, value in (("seed", seed), ("episode", options.get("episode"))):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0):
                raise ValueError(f"{name} is {value!r}, must be an integer of at least 0")
        self._injected = self._read_options(options)
        if seed is not None or self._seed is None:
            fresh = np.random.SeedSequence().generate_state(1)[0]
            self._seed, self._episode = int(fresh if seed is None else seed), 0
        else:
            self._episode += 1
        self._episode = int(options.get("episode", self._episode))
        self._cycle = 0
        self.state = self.system.start(self._draw())
        self._begin_round()
        self.shown = (self.state, self.partial)

    def _read_options(self, options: Mapping[str, Any]) -> list[Any]:
        for name in options:
            # Official suites pass an unknown option and expect it to be ignored: only a likely misspelling is an error.
            if name not in OPTIONS and any(name in valid or valid in name for valid in OPTIONS):
                raise unknown_name("reset option", name, OPTIONS)
        if "draw" not in options:
            return []
        given = options["draw"]
        draws = list(given) if isinstance(given, Sequence) else [given]
        for draw in draws:
            self.system.check_draw(draw)
        return [draw if self._is_batched(draw) else add_axis(draw) for draw in draws]

    def _is_batched(self, draw: Any) -> bool:
        batch = self.system.draw_batch(draw)
        if batch not in ((), (self.num_envs,)) or (batch == () and self.num_envs > 1):
            raise ValueError(f"the injected draw has batch shape {batch}, must be {(self.num_envs,)}")
        return bool(batch)

    def _draw(self) -> Any:
        if self._cycle < len(self._injected):
            return self._injected[self._cycle]
        assert self._seed is not None
        place = self._episode, self._cycle
        if self.num_envs == 1:
            return self.system.draw(self._rng.at(self._seed, *place), (1,))
        return stack([self.system.draw(self._rng.at(self._seed + copy, *place)) for copy in range(self.num_envs)])

    def _begin_round(self) -> None:
        self.turn = 0
        self.seen = self.system.believed(self.state)
        self.partial = self.system.undecided(self.state)
        self.order = self.system.turn_order(self.seen) if self.system.turns else None

    @property
    def turn_agent(self) -> Array:
        """Index `(B,)` of the agent whose turn it is."""
        assert self.order is not None
        return self.order[..., self.turn]

    def observations(self, agent: Array | None = None) -> Array:
        """Return what the agents see of the believed state: `(B, N, size)`, or `(B, size)` of one agent `(B,)`."""
        return self.system.observe(self.seen, self.partial, agent)

    def masks(self) -> Array:
        """Return the legal actions `(B, N, num_actions)` as int8."""
        return self.system.mask(self.state, self.partial)

    def step(self, actions: Array) -> Outcome:
        """Play a whole round with joint actions `(B, N)`."""
        return self.play(self.system.decide(self.seen, actions), actions)

    def take_turn(self, action: Array) -> Outcome | None:
        """Play one agent's turn with its action `(B,)`; the last turn of a round completes it."""
        xp = namespace(action)
        agent = self.turn_agent
        self.partial = self.system.decide_turn(self.seen, self.partial, agent, action)
        asked = self.system.actions_of(self.partial) if self.turn == 0 else self._asked
        self._asked = xp.where(one_hot(agent, len(self.system.agents)), action[..., None], asked)
        self.turn += 1
        if self.turn < len(self.system.agents):
            return None
        return self.play(self.partial, self._asked)

    def play(self, decision: Any, asked: Array | None = None) -> Outcome:
        """Play a whole round with a decision; `asked` are the actions it came from, where they may differ."""
        system, state = self.system, self.state
        cost = system.cost(state, decision, validate=False)
        progress = system.predict(state, decision)
        self._cycle += 1
        self.state = system.advance(state, decision, self._draw(), cost)
        self.shown = (state, decision)
        reward = system.reward(self.state, cost, progress)
        terminated, truncated = system.ended(self.state)
        made = system.actions_of(decision)
        projected = made != (made if asked is None else asked)
        self._begin_round()
        return Outcome(decision, cost, progress, reward, projected, terminated, truncated)
