"""What every state keeps of the rounds before: how many there were, what they taught, and what they used up."""

import dataclasses
from typing import Any

from ..core.arrays import Array, namespace
from ..core.records import array
from .progress import Progress


@dataclasses.dataclass(frozen=True)
class Account:
    """What the rounds before left; a state is an account, and what its system knows besides."""

    cycle: Array = array("", "", "rounds completed", kind="integer")
    learned: Array = array("", "", "amount learned from, as `System.amount` counts it")
    time_used: Array = array("", "s")
    energy_used: Array = array("N", "J")


def opened(own: Array) -> dict[str, Array]:
    """Return the account of a first round, in the library, on the device and of the shape of `own` `(..., N)`."""
    xp = namespace(own)
    nothing, rounds = xp.zeros_like(own), xp.zeros_like(own[..., 0], dtype=xp.int64)
    return {"cycle": rounds, "learned": nothing[..., 0], "time_used": nothing[..., 0], "energy_used": nothing}


def continued(state: Any, cost: Any, progress: Progress, passed: Array) -> dict[str, Array]:
    """Return the account after a round in which `passed` `(...)` in s went by."""
    return {
        "cycle": state.cycle + 1,
        "learned": state.learned + progress.amount,
        "time_used": state.time_used + passed,
        "energy_used": state.energy_used + cost.client_energy,
    }
