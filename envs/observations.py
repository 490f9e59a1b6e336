"""What agents see: fields with their readers, in which unit, and how they become numbers in [0, 1]."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ..core.arrays import Array, cast, clip, like, namespace


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
        read: returns the quantity of a `View` (or of what the system sees in its place), `(..., N)` or
            `(..., N, size)`, `(..., size)` where it is shared. Quantities that are decided have no reader.
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
    read: Callable[[Any], Array] | None = None


@dataclasses.dataclass(frozen=True)
class View:
    """What readers read: the state and the problem of a round, both as the scheduler believes them."""

    state: Any
    problem: Any


def seen(read: Callable[[Any], Array], *field: Any, **more: Any) -> Field:
    """Declare an observation: its reader, then what `Field` takes."""
    return dataclasses.replace(Field(*field, **more), read=read)


def present_share(present: Array, dtype: Any) -> Array:
    """Return the share `(..., 1)` of the agents that are present, `(..., N)` booleans."""
    xp = namespace(present)
    return xp.sum(xp.astype(present, dtype), axis=-1, keepdims=True) / present.shape[-1]


def geometric_mean(values: Array, present: Array) -> Array:
    """Return the geometric mean `(..., 1)` of the values `(..., N)` of those present; 1 where nobody is."""
    xp, present = namespace(values), namespace(values).astype(present, values.dtype)
    count = clip(xp.sum(present, axis=-1, keepdims=True), 1.0)
    return xp.exp(xp.sum(present * xp.log(values), axis=-1, keepdims=True) / count)


class Normalizer:
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
        self._cache: dict[tuple[Any, Any], tuple[Any, ...]] = {}

    def __call__(self, raw: Array) -> Array:
        """Map raw values `(..., size)` to [0, 1] as float32."""
        return self.in_place(namespace(raw).astype(raw, raw.dtype, copy=True))

    def in_place(self, raw: Array) -> Array:
        """Map raw values `(..., size)`, which are lost, to [0, 1] as float32."""
        xp = namespace(raw)
        lowest, offset, factor, zero, one = self._constants(raw)
        for run, low in lowest:
            raw[..., run] = xp.log(xp.maximum(raw[..., run], low))
        raw -= offset
        raw *= factor
        return xp.minimum(xp.maximum(cast(raw, xp.float32), zero), one)

    def _constants(self, raw: Array) -> tuple[Any, ...]:
        key = (raw.device, raw.dtype)
        if key not in self._cache:
            xp = namespace(raw)
            low, offset, factor = (like(a, raw) for a in (self.low, self.offset, self.factor))
            ends = [xp.asarray(end, dtype=xp.float32, device=raw.device) for end in (0.0, 1.0)]
            self._cache[key] = ([(run, low[run]) for run in self.logarithmic], offset, factor, *ends)
        return self._cache[key]


def _columns(fields: Sequence[Field]) -> list[tuple[Any, int, slice]]:
    """Return the reader of every field, its first column and all of its columns."""
    ends = itertools.accumulate(field.size for field in fields)
    return [(f.read, end - f.size, slice(end - f.size, end)) for f, end in zip(fields, ends, strict=True)]


class Observer:
    """Reads the fields of a view and makes normalised observations of them; what is shared is read once."""

    def __init__(self, fields: Sequence[Field]) -> None:
        """Divide the fields into shared and own ones.

        Raises:
            ValueError: a field without a reader, or a shared one behind one that is not.
        """
        shared, own = ([field for field in fields if field.shared is kind] for kind in (True, False))
        for field, place in zip(fields, [*shared, *own], strict=True):
            if field.read is None or field is not place:
                raise ValueError(f"observation {field.name!r} needs a reader, and shared ones come first")
        self._shared, self._own = ((_columns(part), Normalizer(part)) for part in (shared, own))
        self.size = self._shared[1].size + self._own[1].size

    def __call__(self, view: Any, like: Array) -> Array:
        """Return observations `(..., N, size)`; `like` is any floating array `(..., N)` of the state."""
        own = self._gather(*self._own, view, like)
        if own.shape[-1] == self.size:
            return own
        xp = namespace(like)
        shared = self._gather(*self._shared, view, like[..., 0])
        everyone = xp.empty((*like.shape, self.size), dtype=xp.float32, device=like.device)
        everyone[..., : shared.shape[-1]] = shared[..., None, :]
        everyone[..., shared.shape[-1] :] = own
        return everyone

    def _gather(self, columns: Sequence[Any], normalize: Normalizer, view: Any, like: Array) -> Array:
        """Return the normalised columns of fields, `(*like.shape, size)`."""
        raw = namespace(like).empty((*like.shape, normalize.size), dtype=like.dtype, device=like.device)
        for read, first, several in columns:
            value = read(view)
            raw[..., first if value.ndim == like.ndim else several] = value
        # What a gradient is asked of must not be overwritten.
        return normalize(raw) if getattr(raw, "requires_grad", False) else normalize.in_place(raw)
