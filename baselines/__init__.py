"""Classical and learned solvers. `SOLVERS[system][method](system, state, rng=None)` returns a decision."""

from collections.abc import Mapping
from typing import Any

from . import association, association_learned

SOLVERS: Mapping[str, Mapping[str, Any]] = {
    "association": {**association.SOLVERS, **association_learned.SOLVERS},
}

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "association": association.DEFAULTS,
}
"""Methods that an evaluation compares when none are named: quick at any size."""
