"""What views share: spaces and actions of agents, where masks go, and the simulator of one copy with its pictures."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from ...core.checks import unknown_name
from ..learning import LearningMode, make_learning
from ..simulator import Outcome, Simulator
from ..system import System
from .rendering import MODES, Renderer

MaskStyle = Literal["info", "observation"]


def check_mask_style(style: MaskStyle) -> MaskStyle:
    """Return the style.

    Raises:
        ValueError: no such style.
    """
    if style not in get_args(MaskStyle):
        raise unknown_name("mask", str(style), get_args(MaskStyle))
    return style


def masked_space(system: System, agents: int, style: MaskStyle) -> spaces.Space[Any]:
    """Return the space of what some agents see, one after the other, with their masks beside it where that is asked."""
    seen = spaces.Box(0.0, 1.0, (system.observation_size * agents,), np.float32)
    if style == "info":
        return seen
    mask = spaces.Box(0, 1, (system.num_actions * agents,), np.int8)
    return spaces.Dict({"observation": seen, system.mask_name: mask})


def masked_observation(observation: Any, mask: Any, style: MaskStyle, name: str) -> Any:
    """Return the observation, with the mask beside it where the style asks for that."""
    return observation if style == "info" else {"observation": observation, name: mask}


class SingleView:
    """What views of one copy share: the simulator, its pictures, and where the mask goes."""

    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": 2}  # noqa: RUF012 (as Gymnasium declares it)

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
            task: what is learned live: a name, a path or a `fedtwin.federated.task.Task`; None: the digits.
        """
        self.system, self.max_cycles = system, system.params.max_cycles
        self.render_mode = render_mode
        self.mask = check_mask_style(mask)
        self._simulator = Simulator(system, learning=make_learning(system, learning, task, 1))
        self._renderer = Renderer(self._simulator, render_mode)
        self._declare()

    def _declare(self) -> None:
        """Declare the spaces."""

    def _with_mask(self, observation: Any, mask: Any) -> Any:
        return masked_observation(observation, mask, self.mask, self.system.mask_name)

    def _facts(self, outcome: Outcome) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what infos carry of a round: shared numbers, and those of each agent `(N,)`."""
        shared, own = self._simulator.report(outcome)
        each = {**own, "projected": outcome.projected}
        return {name: value[0].item() for name, value in shared.items()}, {name: v[0] for name, v in each.items()}

    def render(self) -> Any:
        """Return an RGB array of the last round (`rgb_array`), or show it (`human`)."""
        return self._renderer.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self._renderer.close()


class AgentView(SingleView):
    """What PettingZoo's views share: the agents' spaces, which are the same for all."""

    metadata: dict[str, Any] = {**SingleView.metadata, "is_parallelizable": True}  # noqa: RUF012 (as PettingZoo declares it)

    def _declare(self) -> None:
        system = self.system
        self.metadata = {**self.metadata, "name": f"{system.name}_v{system.version}"}
        self.possible_agents = list(system.agents)
        self.agents: list[str] = []
        self.observation_spaces = {agent: masked_space(system, 1, self.mask) for agent in system.agents}
        self.action_spaces = {agent: system.action_space() for agent in system.agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the observation space of `agent`; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the action space of `agent`; always the same object."""
        return self.action_spaces[agent]
