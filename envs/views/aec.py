"""The native AEC view: agents choose one after the other, and may see what was chosen before them."""

from typing import Any

import numpy as np
from pettingzoo import AECEnv

from .base import AgentView


class AECView(AgentView, AECEnv[str, Any, Any]):  # type: ignore[misc] # PettingZoo is untyped
    """A system as a `pettingzoo.AECEnv`.

    A round is one turn per agent: in the system's order where decisions are sequential (an agent then sees what was
    chosen before it), by index where they are simultaneous (nobody sees anything of the round). Rewards, costs in infos
    and ends come with the last turn.
    """

    def _declare(self) -> None:
        super()._declare()
        self.metadata = {**self.metadata, "is_parallelizable": not self.system.turns}

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
        value = self.system.actions.one(action, agent)
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        outcome = self._simulator.take_turn(value[None])
        if outcome is not None:
            shared, own = self._facts(outcome)
            for index, name in enumerate(self.agents):
                self.rewards[name] = float(outcome.reward[0, index])
                self.terminations[name] = bool(outcome.terminated[0])
                self.truncations[name] = bool(outcome.truncated[0])
                self.infos[name] = {**shared, **{key: each[index].tolist() for key, each in own.items()}}
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
        return self._with_mask(seen, self._simulator.masks()[0, index])

    def action_masks(self) -> np.ndarray:
        """Return the legal actions of the selected agent as int8."""
        return np.array(self._simulator.masks()[0, self.possible_agents.index(self.agent_selection)])
