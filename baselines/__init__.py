"""Classical and learned solvers. `SOLVERS[system][method](system, state, rng=None)` returns a decision."""

from collections.abc import Mapping
from typing import Any

from ..core.checks import unknown_name
from . import association, association_learned, learned, quantization, split_point

SOLVERS: Mapping[str, Mapping[str, Any]] = {
    "association": {**association.SOLVERS, **association_learned.SOLVERS},
    "split_point": {**split_point.SOLVERS, **learned.solvers("split_point")},
    "quantization": {**quantization.SOLVERS, **learned.solvers("quantization")},
}

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "association": association.DEFAULTS,
    "split_point": split_point.DEFAULTS,
    "quantization": quantization.DEFAULTS,
}
"""Methods that an evaluation compares when none are named: quick at any size."""

FROM_FILE: Mapping[str, Mapping[str, Any]] = {
    "association": association_learned.FROM_FILE,
    "split_point": learned.FROM_FILE,
    "quantization": learned.FROM_FILE,
}
"""Learned methods that take weights of one's own, as "d3qn:results/train/best.safetensors"."""


def find_solver(system: str, method: str) -> Any:
    """Return the solver of a method's name, or of a learned method with the file of its weights after a colon.

    Raises:
        ValueError: unknown method (the nearest is named), or a file that holds something else.
        FileNotFoundError: no such file.
    """
    name, _, path = method.partition(":")
    known = FROM_FILE.get(system, {}) if path else SOLVERS[system]
    if name not in known:
        raise unknown_name(f"method of {system}" + (" with weights" if path else ""), name, known)
    return known[name](path) if path else known[name]
