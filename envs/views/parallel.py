"""The PettingZoo view: every agent acts at once, a step is a whole round."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from ...core.checks import unknown_name
from .base import AgentView

INTEGERS = frozenset({int, np.int64, np.int32})
"""Types that need no closer look."""


class ParallelView(AgentView, ParallelEnv[str, Any, int]):  # type: ignore[misc] # PettingZoo is untyped
    """A system as a `pettingzoo.ParallelEnv`.

    Every agent has the same spaces: a flat `Box` in [0, 1], and `Discrete(num_actions)`, or a flat `Box` in [-1, 1]
    where decisions are continuous or hybrid. The mask of legal actions is `info["action_mask"]` (of the discrete
    parts of a box `info["choice_mask"]`), or part of the observation with `mask="observation"`.
    """

    def _declare(self) -> None:
        super()._declare()
        size = self.system.observation_size * len(self.possible_agents)
        self.state_space = spaces.Box(0.0, 1.0, (size,), np.float32)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode; see `Simulator.reset` for seed and options.

        Returns:
            Observations and infos by agent.
        """
        self._simulator.reset(seed, options)
        self.agents = list(self.possible_agents)
        observations, masks = self._observe()
        self._renderer.follow()
        return observations, self._infos({}, {}, masks)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play a round with one action per agent.

        Returns:
            Observations, rewards, terminations, truncations and infos by agent. Infos carry the agent's mask, whether
            its action was projected to a legal one, and the round's costs.

        Raises:
            ValueError: an agent without an action, an unknown agent, or an action outside its space.
        """
        if not self.agents:
            if actions:
                raise ValueError("the episode is over, or has not begun: call reset() first")
            return {}, {}, {}, {}, {}
        outcome = self._simulator.step(self._joint_action(actions)[None])
        agents = self.agents
        observations, masks = self._observe()
        rewards = dict(zip(agents, outcome.reward[0].tolist(), strict=True))
        terminated = dict.fromkeys(agents, bool(outcome.terminated[0]))
        truncated = dict.fromkeys(agents, bool(outcome.truncated[0]))
        infos = self._infos(*self._facts(outcome), masks)
        if outcome.terminated[0] or outcome.truncated[0]:
            self.agents = []
        self._renderer.follow()
        return observations, rewards, terminated, truncated, infos

    def _joint_action(self, actions: Mapping[str, Any]) -> np.ndarray:
        for agent in self.agents:
            if agent not in actions:
                raise ValueError(f"{agent} has no action, every agent needs {self.system.actions.words}")
        if len(actions) != len(self.agents):
            raise unknown_name("agent", next(name for name in actions if name not in self.agents), self.agents)
        values = [actions[agent] for agent in self.agents]
        joint = self._joint_at_once(values)
        # The closer look names the agent.
        return np.stack([*map(self.system.actions.one, values, self.agents)]) if joint is None else joint

    def _joint_at_once(self, values: list[Any]) -> np.ndarray | None:
        """Return joint actions where all are of a usual type, and boxes in their range, else None."""
        shape = self.system.action_shape
        if self.system.actions.discrete:
            if shape or not INTEGERS.issuperset(map(type, values)):
                return None
            try:
                return np.array(values, np.int64)
            except OverflowError:
                return None
        if not all(type(v) is np.ndarray and v.dtype == np.float32 and v.shape == shape for v in values):
            return None
        joint = np.array(values)
        return joint if np.abs(joint).max() <= 1.0 else None

    def _observe(self) -> tuple[dict[str, Any], np.ndarray]:
        rows, masks = self._simulator.observations()[0], self._simulator.masks()[0]
        seen = rows if self.mask == "info" else itertools.starmap(self._with_mask, zip(rows, masks, strict=True))
        return dict(zip(self.possible_agents, seen, strict=True)), masks

    def _infos(
        self, shared: Mapping[str, Any], own: Mapping[str, np.ndarray], masks: np.ndarray
    ) -> dict[str, dict[str, Any]]:
        columns: dict[str, Iterable[Any]] = {name: value.tolist() for name, value in own.items()}
        if self.mask == "info":
            columns[self.system.mask_name] = masks
        infos = {agent: dict(shared) for agent in self.possible_agents}
        for info, row in zip(infos.values(), zip(*columns.values(), strict=True), strict=False):
            info.update(zip(columns, row, strict=True))
        return infos

    def action_masks(self) -> dict[str, np.ndarray]:
        """Return the legal actions of every agent as int8."""
        return dict(zip(self.possible_agents, self._simulator.masks()[0], strict=True))

    def state(self) -> np.ndarray:
        """Return all observations as one flat vector, for centralised training."""
        return np.asarray(self._simulator.observations()[0].reshape(-1))
