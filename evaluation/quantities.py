"""The numbers of a round that an evaluation keeps, and their labels."""

from collections.abc import Mapping

from ..core.arrays import Array
from ..envs.system import System

COMMON: Mapping[str, str] = {
    "decision_time": "decision time in s",
    "conflicts": "conflicts",
    "served": "clients that take part",
}
"""Kept of every system; conflicts are clients beyond the first on what only one may have."""

OPTIONAL: Mapping[str, str] = {
    "compute_time": "computation in s",
    "communication_time": "communication in s",
    "compute_energy": "computation in J",
    "communication_energy": "communication in J",
}
"""Kept where a system reports them.

Times are parts of the client that the round waits for and add up to the round time; energies are sums over clients and
add up to the energy.
"""

STACKS: Mapping[str, tuple[str, str]] = {
    "time in s": ("communication_time", "compute_time"),
    "energy in J": ("communication_energy", "compute_energy"),
}
"""What is drawn as one bar of two parts, by its label."""

PARTS = ("communication", "computation")
"""The parts of a bar, in the order of `STACKS`."""


def optional(kind: type[System]) -> dict[str, str]:
    """Return what is kept where a system reports it, with labels: `OPTIONAL`, and what the system names as `extras`."""
    return {**OPTIONAL, **kind.extras}


def labels(kind: type[System]) -> dict[str, str]:
    """Return all names that an evaluation of the system may keep, with their labels."""
    return {**kind.quantities, **optional(kind), **COMMON}


def kept(system: System, cost: object) -> dict[str, Array]:
    """Return what an evaluation keeps of a round's cost, by name.

    Raises:
        ValueError: the system's objective or one of its quantities is not among the shared numbers of its report.
    """
    shared, _ = system.report(cost)
    for name in (system.objective, *system.quantities):
        if name not in shared or name not in system.quantities:
            raise ValueError(
                f"{system.name} names {name!r} as its objective or as a quantity, but it reports {', '.join(shared)} "
                f"and its quantities are {', '.join(system.quantities)}: the objective must be among both"
            )
    return {name: shared[name] for name in (*system.quantities, *optional(type(system))) if name in shared}
