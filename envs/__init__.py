"""Environments: systems, and the views that libraries for reinforcement learning know.

Importing this package registers every system with Gymnasium and with PettingZoo, from the one table `SYSTEMS`.
"""

import functools
import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import pettingzoo
from gymnasium.vector import AutoresetMode

from ..core.checks import unknown_name
from .association import AssociationSystem
from .learning import LearningMode
from .quantization import QuantizationSystem
from .split_point import SplitPointSystem
from .system import System
from .views.aec import AECView
from .views.base import MaskStyle
from .views.central import CentralView
from .views.parallel import ParallelView
from .views.vector import VectorView

if TYPE_CHECKING:
    import torch

__version__ = importlib.metadata.version("fedtwin")

SYSTEMS: Mapping[str, type[System]] = {
    "association": AssociationSystem,
    "split_point": SplitPointSystem,
    "quantization": QuantizationSystem,
}


def make_system(name: str, preset: str | None = None, **params: Any) -> System:
    """Build a system.

    Args:
        name: a key of `SYSTEMS`.
        preset: a named set of parameters of that system; None keeps the defaults.
        **params: fields of the system's `Params`, which override the preset's.

    Raises:
        ValueError: unknown system, preset or parameter (the nearest valid name is given), or a value out of its limits.
    """
    if name not in SYSTEMS:
        raise unknown_name("system", str(name), SYSTEMS)
    kind = SYSTEMS[name]
    if preset is not None and preset not in kind.presets:
        raise unknown_name(f"preset of {name}", preset, kind.presets)
    chosen = kind.presets[preset] if preset is not None else {}
    return kind(kind.params_type.create({**chosen, **params}))


def parallel_env(
    name: str,
    *,
    preset: str | None = None,
    render_mode: str | None = None,
    mask: MaskStyle = "info",
    learning: LearningMode = "analytic",
    task: Any = None,
    **params: Any,
) -> ParallelView:
    """Build the PettingZoo view of a system, in which a step is a whole round.

    Args:
        name: a key of `SYSTEMS`.
        preset: a named set of parameters.
        render_mode: None, "human" or "rgb_array".
        mask: whether legal actions go into `info["action_mask"]` or into the observation.
        learning: "analytic": progress is predicted; "live": every round trains the task's model with the clients,
            servers and samples that were decided, and infos carry loss, accuracy and bytes.
        task: what is learned live: a name ("digits", "clips", ...), a path with data, or what
            `fedtwin.federated.task.make_task` returns; None: the digits.
        **params: fields of the system's `Params`.
    """
    return ParallelView(make_system(name, preset, **params), render_mode, mask, learning, task)


def aec_env(
    name: str,
    *,
    preset: str | None = None,
    render_mode: str | None = None,
    mask: MaskStyle = "info",
    learning: LearningMode = "analytic",
    task: Any = None,
    **params: Any,
) -> AECView:
    """Build the native AEC view of a system, in which agents choose one after the other; see `parallel_env`."""
    return AECView(make_system(name, preset, **params), render_mode, mask, learning, task)


def central_env(
    name: str,
    *,
    preset: str | None = None,
    render_mode: str | None = None,
    mask: MaskStyle = "info",
    learning: LearningMode = "analytic",
    task: Any = None,
    **params: Any,
) -> CentralView:
    """Build the Gymnasium view of a system, in which one learner decides for all agents; see `parallel_env`."""
    return CentralView(make_system(name, preset, **params), render_mode, mask, learning, task)


def vector_env(
    name: str,
    num_envs: int = 1,
    *,
    preset: str | None = None,
    mask: MaskStyle = "info",
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    device: "str | torch.device | None" = None,
    shared_draws: bool | None = None,
    validate: bool | None = None,
    learning: LearningMode = "analytic",
    task: Any = None,
    **params: Any,
) -> VectorView:
    """Build many copies of a system in one batched step; see `VectorView` for the settings.

    Args:
        name: a key of `SYSTEMS`.
        num_envs: copies B.
        preset: a named set of parameters.
        mask: where the mask of legal actions goes.
        autoreset_mode: NEXT_STEP or SAME_STEP.
        device: None for NumPy, or the torch device on which tensors stay.
        shared_draws: retired.
        validate: whether actions are checked at once.
        learning: see `parallel_env`; live, copies train one after the other.
        task: see `parallel_env`.
        **params: fields of the system's `Params`.
    """
    return VectorView(
        make_system(name, preset, **params),
        num_envs,
        mask=mask,
        autoreset_mode=autoreset_mode,
        device=device,
        shared_draws=shared_draws,
        validate=validate,
        learning=learning,
        task=task,
    )


def environment_id(name: str) -> str:
    """Return the registered id of a system, such as "fedtwin/Association-v1"."""
    camel = "".join(word.capitalize() for word in name.split("_"))
    return f"fedtwin/{camel}-v{SYSTEMS[name].version}"


def register(name: str) -> None:
    """Register a system of `SYSTEMS` with Gymnasium and with PettingZoo."""
    gymnasium.register(
        environment_id(name),
        entry_point=functools.partial(central_env, name),
        vector_entry_point=functools.partial(vector_env, name),
    )
    pettingzoo.register("aec", environment_id(name), functools.partial(aec_env, name))
    pettingzoo.register("parallel", environment_id(name), functools.partial(parallel_env, name))


__all__ = [
    "SYSTEMS",
    "AECView",
    "CentralView",
    "MaskStyle",
    "ParallelView",
    "System",
    "VectorView",
    "__version__",
    "aec_env",
    "central_env",
    "environment_id",
    "make_system",
    "parallel_env",
    "register",
    "vector_env",
]

for _name in SYSTEMS:
    register(_name)
