"""The Gymnasium view: one learner decides for all agents, at once or one agent after the other."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ...core.checks import check_shape
from ...core.randomness import check_seed
from ..system import System
from .base import MaskStyle, SingleView, masked_space


def central_spaces(system: System, style: MaskStyle) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Return observation and action space of a learner that decides for all agents, or for one after the other."""
    agents = 1 if system.turns else len(system.agents)
    actions = system.action_space() if system.turns else system.actions.joint_space(agents)
    return masked_space(system, agents, style), actions


class CentralView(SingleView, gymnasium.Env[Any, Any]):
    """A system as a `gymnasium.Env`.

    Simultaneous decisions: the observation is every agent's, one after the other, the action one entry per agent.
    Sequential decisions: a step is one agent's turn, with its observation and its action; the reward comes with the
    last turn of the round and is 0 before. The reward is the mean over agents.
    """

    def _declare(self) -> None:
        self._over = True
        self.observation_space, self.action_space = central_spaces(self.system, self.mask)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; see `Simulator.reset` for seed and options."""
        seed = None if seed is None else check_seed(seed, "seed")
        super().reset(seed=seed)
        self._simulator.reset(seed, options)
        self._over = False
        self._renderer.follow()
        return self._seen({})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play a round (simultaneous) or a turn (sequential).

        Raises:
            ValueError: an action of another shape or type, or outside its space; a step before `reset`.
        """
        if self._over:
            raise ValueError("the episode is over, or has not begun: call reset() first")
        if self.system.turns:
            agent = self.system.agents[int(self._simulator.turn_agent[0])]
            outcome = self._simulator.take_turn(self.system.actions.one(action, agent)[None])
        else:
            joint = np.asarray(action)
            check_shape(joint, self.action_space.shape or (), "action")
            outcome = self._simulator.step(self.system.actions.apart(joint[None], len(self.system.agents)))
        if outcome is None:
            observation, info = self._seen({})
            return observation, 0.0, False, False, info
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._over = terminated or truncated
        shared, own = self._facts(outcome)
        self._renderer.follow()
        observation, info = self._seen({**shared, **own})
        return observation, outcome.reward.sum().item() / outcome.reward.size, terminated, truncated, info

    def _seen(self, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        observation, mask = self._simulator.visible()[0].reshape(-1), self.action_masks()
        if self.mask == "info":
            info[self.system.mask_name] = mask
        if self.system.turns:
            info["agent"] = int(self._simulator.turn_agent[0])
        return self._with_mask(observation, mask), info

    def action_masks(self) -> np.ndarray:
        """Return the legal actions as int8: all agents' rows, one after the other, or the row of the agent in turn."""
        return np.array(self._simulator.legal()[0].reshape(-1))
