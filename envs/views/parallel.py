"""The PettingZoo view: every agent acts at once, a step is a whole round."""

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from ...core.checks import unknown_name
from ..learning import LearningMode, make_learning
from ..simulator import Simulator
from ..system import System
from .base import MaskStyle, check_mask_style, masked_space, one_action
from .rendering import Renderer

INTEGERS = frozenset({int, np.int64, np.int32})
"""Types that need no closer look."""


class ParallelView(ParallelEnv[str, Any, int]):  # type: ignore[misc] # PettingZoo is untyped
    """A system as a `pettingzoo.ParallelEnv`.

    Every agent has the same spaces: a flat `Box` in [0, 1], and `Discrete(num_actions)`, or a flat `Box` in [-1, 1]
    where decisions are continuous or hybrid. The mask of legal actions is `info["action_mask"]` (of the discrete
    parts of a box `info["choice_mask"]`), or part of the observation with `mask="observation"`.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 2, "is_parallelizable": True}  # noqa: RUF012 (PettingZoo's base declares an instance attribute)

    def __init__(
        self,
        system: System,
        render_mode: str | None = None,
        mask: MaskStyle = "info",
        learning: LearningMode = "analytic",
        task: Any = None,
    ) -> None:
        """Build the view.

        Args:
            system: what is simulated.
            render_mode: None, "human" or "rgb_array".
            mask: where the mask of legal actions goes.
            learning: "analytic" (progress is predicted) or "live" (every step trains a round).
            task: what is learned live: a name, a path or a `fedtwin.federated.tasks.Task`; None: the digits.
        """
        self.system = system
        self.metadata = {**self.metadata, "name": f"{system.name}_v{system.version}"}
        self.render_mode = render_mode
        self.mask = check_mask_style(mask)
        self._simulator = Simulator(system, learning=make_learning(system, learning, task, 1))
        self._renderer = Renderer(self._simulator, render_mode)
        self.possible_agents = list(system.agents)
        self.agents: list[str] = []
        seen = functools.partial(masked_space, size=system.num_actions, style=mask, name=system.mask_name)
        self.observation_spaces = {agent: seen(system.observation_space()) for agent in self.possible_agents}
        self.action_spaces = {agent: system.action_space() for agent in self.possible_agents}
        size = system.observation_size * len(system.agents)
        self.state_space = spaces.Box(0.0, 1.0, (size,), np.float32)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the observation space of `agent`; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the action space of `agent`; always the same object."""
        return self.action_spaces[agent]

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
        shared, own = self._simulator.report(outcome)
        infos = self._infos(shared, {**own, "projected": outcome.projected}, masks)
        if outcome.terminated[0] or outcome.truncated[0]:
            self.agents = []
        self._renderer.follow()
        return observations, rewards, terminated, truncated, infos

    def _joint_action(self, actions: Mapping[str, Any]) -> np.ndarray:
        legal = f"an integer in 0..{self.system.num_actions - 1}"
        if self.system.action_size:
            legal = f"{self.system.action_size} numbers in -1..1"
        for agent in self.agents:
            if agent not in actions:
                raise ValueError(f"{agent} has no action, every agent needs {legal}")
        if len(actions) != len(self.agents):
            raise unknown_name("agent", next(name for name in actions if name not in self.agents), self.agents)
        values = [actions[agent] for agent in self.agents]
        if self.system.action_size:
            pairs = zip(self.agents, values, strict=True)
            return np.stack([one_action(self.action_spaces[agent], value, agent) for agent, value in pairs])
        if not INTEGERS.issuperset(map(type, values)):
            for agent, value in zip(self.agents, values, strict=True):
                array = np.asarray(value)
                if array.shape != () or array.dtype.kind not in "iu":
                    raise ValueError(f"action of {agent} is {value!r}, must be {legal}")
        try:
            return np.array(values, dtype=np.int64)
        except OverflowError as error:
            raise ValueError(
                f"action of {self.agents[np.argmax(np.abs(values))]} is out of range, must be {legal}"
            ) from error

    def _observe(self) -> tuple[dict[str, Any], np.ndarray]:
        rows, masks = self._simulator.observations()[0], self._simulator.masks()[0]
        if self.mask == "info":
            return dict(zip(self.possible_agents, rows, strict=True)), masks
        pairs = zip(self.possible_agents, rows, masks, strict=True)
        return {agent: {"observation": row, self.system.mask_name: legal} for agent, row, legal in pairs}, masks

    def _infos(
        self, shared: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], masks: np.ndarray
    ) -> dict[str, dict[str, Any]]:
        names = [*shared, *own]
        columns: list[Iterable[Any]] = [itertools.repeat(value[0].item()) for value in shared.values()]
        columns += [value[0].tolist() for value in own.values()]
        if self.mask == "info":
            names.append(self.system.mask_name)
            columns.append(masks)
        if not columns:
            return {agent: {} for agent in self.possible_agents}
        rows = zip(*columns, strict=False)
        return {
            agent: dict(zip(names, row, strict=True)) for agent, row in zip(self.possible_agents, rows, strict=False)
        }

    def action_masks(self) -> dict[str, np.ndarray]:
        """Return the legal actions of every agent as int8."""
        return dict(zip(self.possible_agents, self._simulator.masks()[0], strict=True))

    def state(self) -> np.ndarray:
        """Return all observations as one flat vector, for centralised training."""
        return np.asarray(self._simulator.observations()[0].reshape(-1))

    def render(self) -> np.ndarray | None:
        """Return an RGB array of the last round (`rgb_array`), or show it (`human`)."""
        return self._renderer.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self._renderer.close()
