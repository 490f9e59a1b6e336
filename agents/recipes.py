"""What can be trained, and how: kinds of agents, and the recipes that go with them (`experiments/training`)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gymnasium.vector import AutoresetMode

from .. import experiments
from ..baselines import own_module
from ..baselines.solver import Solver
from ..core.checks import unknown_name
from ..core.settings import Settings
from ..envs import make_system
from ..envs.system import System
from ..envs.views.vector import VectorView
from .hybrid import HybridView
from .schedulers import d3qn_class, ddpg_class, hybrid
from .settings import D3QNSettings, DDPGSettings

FOLDER, DEFAULT = "training", "default"


@dataclasses.dataclass(frozen=True)
class Agent:
    """A kind of agent that can be trained."""

    learner: Callable[[], Any]
    """Imports its class, with `for_env`, `load` and `start_from` as `fedtwin.agents.learner.Learner` has them."""
    settings: type[Settings]
    env: Callable[[System, int, Any, str | None], VectorView]
    """Builds what it learns from: `env(system, num_envs, settings, device)`, device None for NumPy."""
    solver: Callable[[Any], Solver] | None = None
    """Turns the learner into the method that is scored; None: its actions are scored."""


def choices(system: System, num_envs: int, settings: Any, device: str | None) -> VectorView:
    """Build copies of a system with discrete actions."""
    return VectorView(system, num_envs, device=device)


def boxes(system: System, num_envs: int, settings: DDPGSettings, device: str | None) -> VectorView:
    """Build copies of a system whose actions are boxes; without a discount no step shows how an episode ended."""
    mode = AutoresetMode.NEXT_STEP if settings.discount else AutoresetMode.SAME_STEP
    return VectorView(system, num_envs, device=device, autoreset_mode=mode)


def exact_numbers(system: System, num_envs: int, settings: Any, device: str | None) -> VectorView:
    """Build copies of a system whose numbers are exact."""
    return HybridView(system, num_envs, device=device)


AGENTS: Mapping[str, Agent] = {
    "d3qn": Agent(d3qn_class, D3QNSettings, choices),
    "ddpg": Agent(ddpg_class, DDPGSettings, boxes),
    "hybrid": Agent(d3qn_class, D3QNSettings, exact_numbers, hybrid),
}
"""Agents for every system with such actions; a system's own stand in `AGENTS` of the module of its stem."""


def agents_of(system: str) -> Mapping[str, Agent]:
    """Return the kinds of agents that can be trained on a system, by name."""
    return {**AGENTS, **getattr(own_module(__package__, system), "AGENTS", {})}


def default_agent(system: str) -> str:
    """Return the agent that is trained when none is named: DDPG where actions are boxes."""
    return "ddpg" if make_system(system).action_size else "d3qn"


def preset_names(system: str, agent: str) -> tuple[str, ...]:
    """Return the names of the recipes for an agent on a system, the default first; it need not have a file."""
    begin = f"{system}_{agent}_"
    found = (name.removeprefix(begin) for name in experiments.names(FOLDER) if name.startswith(begin))
    return (DEFAULT, *found)


def recipe(system: str, agent: str, preset: str = DEFAULT) -> dict[str, Any]:
    """Read a recipe: hyperparameters of an agent, parameters of its system, and steps; {} without a default one.

    Args:
        system: name of the system.
        agent: name of the agent; "sb3" for all of Stable-Baselines3.
        preset: one of `preset_names`.

    Raises:
        ValueError: no such preset; the nearest is named.
    """
    if preset not in preset_names(system, agent):
        raise unknown_name(f"preset of {agent} on {system}", preset, preset_names(system, agent))
    name = f"{system}_{agent}" if preset == DEFAULT else f"{system}_{agent}_{preset}"
    return experiments.read(FOLDER, name) if name in experiments.names(FOLDER) else {}
