"""Agents that learn to schedule: multi-agent D3QN for discrete, DDPG for continuous and hybrid decisions."""

import importlib
from typing import TYPE_CHECKING, Any

from .settings import D3QNSettings, DDPGSettings

if TYPE_CHECKING:
    from .d3qn import D3QN
    from .ddpg import DDPG

__all__ = ["D3QN", "DDPG", "D3QNSettings", "DDPGSettings"]


def __getattr__(name: str) -> Any:
    """Import a learner, and torch with it, when it is asked for."""
    if name in ("D3QN", "DDPG"):
        return getattr(importlib.import_module(f"{__name__}.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
