"""The native AEC view: agents choose one after the other, and may see what was chosen before them."""

import functools
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from ..learning import LearningMode, make_learning
from ..simulator import Simulator
from ..system import System
from .base import MaskStyle, check_mask_style, masked_observation, masked_space, one_action
from .rendering import Renderer


class AECView(AECEnv[str, Any, Any]):  # type: ignore[misc] # PettingZoo is untyped
    """A system as a `pettingzoo.AECEnv`.

    A round is one turn per agent: in the system's order where decisions are sequential (an agent then sees what was
    chosen before it), by index where they are simultaneous (nobody sees anything of the round). Rewards, costs in infos
    and ends come with the last turn.
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
        """Build the view of `system`; see `ParallelView`."""
        super().__init__()
        self.system = system
        name = f"{system.name}_v{system.version}"
        self.metadata = {**self.metadata, "name": name, "is_parallelizable": not system.turns}
        self.render_mode = render_mode
        self.mask = check_mask_style(mask)
        self._simulator = Simulator(system, learning=make_learning(system, learning, task, 1))
        self._renderer = Renderer(self._simulator, render_mode)
        self.possible_agents = list(system.agents)
        self.agents: list[str] = []
        seen = functools.partial(masked_space, size=system.num_actions, style=mask, name=system.mask_name)
        self.observation_spaces = {agent: seen(system.observation_space()) for agent in self.possible_agents}
        self.action_spaces = {agent: system.action_space() for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the observation space of `agent`; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the action space of `agent`; always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode; see `Simulator.reset` for seed and options."""
        self._simulator.reset(seed, options)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self._next_turn()
        self._renderer.follow()

    def step(self, action: Any) -> None:
        """Play the selected agent's turn.

        Raises:
            ValueError: an action outside its space, or a step before `reset`.
        """
        if not self.agents:
            raise ValueError("the episode is over, or has not begun: call reset() first")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        value = one_action(self.action_spaces[agent], action, agent)
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        outcome = self._simulator.take_turn(value[None])
        if outcome is not None:
            shared, own = self._simulator.report(outcome)
            common = {name: each[0].item() for name, each in shared.items()}
            for index, name in enumerate(self.agents):
                self.rewards[name] = float(outcome.reward[0, index])
                self.terminations[name] = bool(outcome.terminated[0])
                self.truncations[name] = bool(outcome.truncated[0])
                self.infos[name] = {**common, **{key: each[0, index].item() for key, each in own.items()}}
                self.infos[name]["projected"] = bool(outcome.projected[0, index])
            self._renderer.follow()
        self._accumulate_rewards()
        self._next_turn()

    def _next_turn(self) -> None:
        index = int(self._simulator.turn_agent[0])
        self.agent_selection = self.possible_agents[index]
        if self.mask == "info":
            self.infos[self.agent_selection][self.system.mask_name] = self._simulator.masks()[0, index].copy()

    def observe(self, agent: str) -> Any:
        """Return what `agent` sees now."""
        index = self.possible_agents.index(agent)
        seen = self._simulator.observations(np.array([index]))[0]
        return masked_observation(seen, self._simulator.masks()[0, index], self.mask, self.system.mask_name)

    def action_masks(self) -> np.ndarray:
        """Return the legal actions of the selected agent as int8."""
        return np.array(self._simulator.masks()[0, self.possible_agents.index(self.agent_selection)])

    def render(self) -> np.ndarray | None:
        """Return an RGB array of the last round (`rgb_array`), or show it (`human`)."""
        return self._renderer.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self._renderer.close()
