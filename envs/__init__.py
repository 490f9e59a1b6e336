"""Environments: systems, and the views that libraries for reinforcement learning know.

Importing this package registers every system with Gymnasium and with PettingZoo, from the one table `SYSTEMS`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import gymnasium
import pettingzoo

from .association import AssociationSystem
from .central import CentralView
from .checks import unknown_name
from .parallel import MaskStyle, ParallelView
from .system import System

SYSTEMS: Mapping[str, type[System]] = {
    "association": AssociationSystem,
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
        raise unknown_name("system", name, SYSTEMS)
    kind = SYSTEMS[name]
    if preset is not None and preset not in kind.presets:
        raise unknown_name(f"preset of {name}", preset, kind.presets)
    chosen = kind.presets[preset] if preset is not None else {}
    return kind(kind.params_type.create({**chosen, **params}))


def parallel_env(
    name: str, *, preset: str | None = None, render_mode: str | None = None, mask: MaskStyle = "info", **params: Any
) -> ParallelView:
    """Build the PettingZoo view of a system, in which a step is a whole round.

    Args:
        name: a key of `SYSTEMS`.
        preset: a named set of parameters.
        render_mode: None, "human" or "rgb_array".
        mask: whether legal actions go into `info["action_mask"]` or into the observation.
        **params: fields of the system's `Params`.
    """
    return ParallelView(make_system(name, preset, **params), render_mode, mask)


def central_env(name: str, *, preset: str | None = None, render_mode: str | None = None, **params: Any) -> CentralView:
    """Build the Gymnasium view of a system, in which one learner decides for all agents; see `parallel_env`."""
    return CentralView(make_system(name, preset, **params), render_mode)


def environment_id(name: str) -> str:
    """Return the registered id of a system, such as "fedtwin/Association-v0"."""
    camel = "".join(word.capitalize() for word in name.split("_"))
    return f"fedtwin/{camel}-v{SYSTEMS[name].version}"


__all__ = [
    "SYSTEMS",
    "CentralView",
    "MaskStyle",
    "ParallelView",
    "System",
    "central_env",
    "environment_id",
    "make_system",
    "parallel_env",
]

for _name in SYSTEMS:
    gymnasium.register(environment_id(_name), entry_point=functools.partial(central_env, _name))
    pettingzoo.register("parallel", environment_id(_name), functools.partial(parallel_env, _name))
