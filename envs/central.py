"""The Gymnasium view: one learner decides for all agents, at once or one agent after the other."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .rendering import Renderer
from .simulator import Simulator
from .system import System
from .trees import take


class CentralView(gymnasium.Env[np.ndarray, Any]):
    """A system as a `gymnasium.Env`.

    Simultaneous decisions: the observation is every agent's, one after the other, the action one entry per agent.
    Sequential decisions: a step is one agent's turn, with its observation and its action; the reward comes with the
    last turn of the round and is 0 before. The reward is the mean over agents.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 2}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(self, system: System, render_mode: str | None = None) -> None:
        """Build the view of `system`; `render_mode` is None, "human" or "rgb_array"."""
        self.system = system
        self.render_mode = render_mode
        self._renderer = Renderer(render_mode)
        self._simulator = Simulator(system)
        self._over = True
        self.observation_space: spaces.Space[Any]
        self.action_space: spaces.Space[Any]
        if system.turns:
            self.observation_space, self.action_space = system.observation_space(), system.action_space()
        else:
            size = system.observation_size * len(system.agents)
            self.observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)
            self.action_space = spaces.MultiDiscrete([system.num_actions] * len(system.agents))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; see `Simulator.reset` for seed and options."""
        super().reset(seed=seed)
        self._simulator.reset(seed, options)
        self._over = False
        self._show()
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play a round (simultaneous) or a turn (sequential).

        Raises:
            ValueError: an action of another shape or type, or outside its space; a step before `reset`.
        """
        if self._over:
            raise ValueError("the episode is over, or has not begun: call reset() first")
        if self.system.turns:
            outcome = self._simulator.take_turn(self._turn_action(action))
        else:
            outcome = self._simulator.step(np.asarray(action)[None])
        if outcome is None:
            return self._observe(), 0.0, False, False, self._info()
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._over = terminated or truncated
        shared, own = self.system.report(outcome.cost)
        info = self._info()
        info.update({name: value[0].item() for name, value in shared.items()})
        info.update({name: value[0] for name, value in {**own, "projected": outcome.projected}.items()})
        self._show()
        return self._observe(), float(outcome.reward[0].mean()), terminated, truncated, info

    def _turn_action(self, action: Any) -> np.ndarray:
        value = np.asarray(action)
        last = self.system.num_actions - 1
        if value.shape != () or value.dtype.kind not in "iu" or not 0 <= value <= last:
            agent = self.system.agents[int(self._simulator.turn_agent[0])]
            raise ValueError(f"action of {agent} is {action!r}, must be an integer in 0..{last}")
        return value.astype(np.int64)[None]

    def _observe(self) -> np.ndarray:
        simulator = self._simulator
        if self.system.turns:
            return np.asarray(simulator.observations(simulator.turn_agent)[0])
        return np.asarray(simulator.observations()[0].reshape(-1))

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"action_mask": self.action_masks()}
        if self.system.turns:
            info["agent"] = int(self._simulator.turn_agent[0])
        return info

    def action_masks(self) -> np.ndarray:
        """Return the legal actions as int8: all agents' rows, one after the other, or the row of the agent in turn."""
        masks = self._simulator.masks()[0]
        if self.system.turns:
            return np.array(masks[int(self._simulator.turn_agent[0])])
        return np.asarray(masks.reshape(-1))

    def render(self) -> Any:
        """Return an RGB array of the last round (`rgb_array`), or show it (`human`)."""
        if self._simulator.shown is None:
            raise ValueError("nothing to render: call reset() first")
        state, decision = self._simulator.shown
        return self._renderer.render(self.system.scene(take(state, 0), take(decision, 0)))

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self._renderer.close()
