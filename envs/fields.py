"""Observation fields: what agents see, in which unit, and how it becomes a number in [0, 1]."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..core.arrays import Array, like, namespace


@dataclasses.dataclass(frozen=True)
class Field:
    """One observed quantity.

    Attributes:
        name: what it is, in words that serve as a table's entry.
        symbol: the paper's symbol.
        unit: SI unit, "" for a count or a share.
        low: value that becomes 0 (smaller ones are clipped).
        high: value that becomes 1 (larger ones are clipped).
        size: how many numbers it contributes.
        scale: "linear": (x - low) / (high - low); "log": log(x / low) / log(high / low).
        source: equation or section that defines it.
        shared: whether it is the same for all agents; such fields come first.
    """

    name: str
    symbol: str
    unit: str
    low: float
    high: float
    size: int
    scale: Literal["linear", "log"] = "linear"
    source: str = ""
    shared: bool = False

    @property
    def formula(self) -> str:
        """The normalisation as text, for the documentation."""
        if self.scale == "log":
            return f"log(x / {self.low:.3g}) / log({self.high:.3g} / {self.low:.3g})"
        return f"(x - {self.low:.3g}) / {self.high - self.low:.3g}" if self.low else f"x / {self.high:.3g}"


class Normaliser:
    """Applies the formulas of several fields at once to their concatenated raw values."""

    def __init__(self, fields: Sequence[Field]) -> None:
        """Lay out bounds and scales, one column per number."""
        columns = [field for field in fields for _ in range(field.size)]
        self.size = len(columns)
        self.low = np.array([field.low for field in columns])
        runs = [(scale, len(list(run))) for scale, run in itertools.groupby(field.scale for field in columns)]
        ends = list(itertools.accumulate(size for _, size in runs))
        self.logarithmic = [slice(end - n, end) for (scale, n), end in zip(runs, ends, strict=True) if scale == "log"]
        self.offset = np.array([math.log(f.low) if f.scale == "log" else f.low for f in columns])
        top = np.array([math.log(f.high) if f.scale == "log" else f.high for f in columns])
        self.factor = 1.0 / (top - self.offset)
        self._cache: dict[tuple[Any, Any], tuple[Array, ...]] = {}

    def __call__(self, raw: Array) -> Array:
        """Map raw values `(..., size)` to [0, 1] as float32."""
        xp = namespace(raw)
        key = (raw.device, raw.dtype)
        if key not in self._cache:
            floats = [like(a, raw) for a in (self.low, self.offset, self.factor)]
            ends = [xp.asarray(end, dtype=xp.float32, device=raw.device) for end in (0.0, 1.0)]
            self._cache[key] = (*floats, *ends)
        low, offset, factor, zero, one = self._cache[key]
        value = xp.astype(raw, raw.dtype, copy=True)
        for run in self.logarithmic:
            value[..., run] = xp.log(xp.maximum(raw[..., run], low[run]))
        value -= offset
        value *= factor
        return xp.minimum(xp.maximum(xp.astype(value, xp.float32), zero), one)


def scaled(number: Array, low: float, high: float) -> Array:
    """Map -1..1 to low..high, evenly in the logarithm."""
    xp = namespace(number)
    value = low * xp.exp((number + 1.0) * (0.5 * math.log(high / low)))
    return xp.clip(value, low, high)


def unscaled(value: Array, low: float, high: float) -> Array:
    """Map low..high to -1..1, the inverse of `scaled`; what is not above 0 counts as `low`."""
    xp = namespace(value)
    width = math.log(high / low) or 1.0
    return 2.0 * (xp.log(xp.where(value > 0.0, value, low)) - math.log(low)) / width - 1.0
