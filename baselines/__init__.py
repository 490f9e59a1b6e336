"""Classical solvers. `SOLVERS[system][method](system, state, rng=None)` returns a decision."""

from collections.abc import Mapping
from typing import Any

from . import association

SOLVERS: Mapping[str, Mapping[str, Any]] = {
    "association": association.SOLVERS,
}
