"""An evaluation: a plan with the rows that its items gave."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from .plan import Item, Plan
from .store import Row


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was asked for, and what came of it."""

    plan: Plan
    rows: Mapping[Item, Row]

    def series(self, method: str, name: str) -> list[np.ndarray]:
        """Return one array per twin: the series `name` of `method`, in the order of seeds and twins."""
        items = self.plan.items_of(method)
        return [np.asarray(self.rows[item].series[name], dtype=np.float64) for item in items]

    @functools.cached_property
    def names(self) -> list[str]:
        """The names of the series that every row of the plan has."""
        items = list(self.plan.items())
        shared = set.intersection(*(set(self.rows[item].series) for item in items))
        return [name for name in self.rows[items[0]].series if name in shared]
