"""What the physics needs of an array library, so that NumPy arrays and torch tensors take the same path."""

import functools
import math
from typing import Any

import array_api_compat
import numpy as np

Array = Any
"""A NumPy array or a torch tensor; which one decides the library that computes."""


_NUMPY = (np.ndarray, np.generic)


def namespace(array: Array) -> Any:
    """Return the array-API namespace of `array` (NumPy itself for NumPy, which needs no adapter)."""
    if isinstance(array, _NUMPY):
        return np
    return array_api_compat.array_namespace(array)


def like(values: Any, array: Array) -> Array:
    """Return `values` as an array of the library, device and floating type of `array`."""
    xp = namespace(array)
    return xp.asarray(values, dtype=array.dtype, device=array.device)


def arange_like(stop: int, array: Array) -> Array:
    """Return the integers 0..stop-1 (int64) in the library and on the device of `array`; shared: do not write to it."""
    return _arange(stop, namespace(array), array.device)


@functools.lru_cache(maxsize=256)
def _arange(stop: int, xp: Any, device: Any) -> Array:
    return xp.arange(stop, dtype=xp.int64, device=device)


def one_hot(index: Array, size: int) -> Array:
    """Return `(..., size)` booleans, true where the position equals `index` `(...)`; -1 gives a row of false."""
    return index[..., None] == arange_like(size, index)


def pick(values: Array, index: Array) -> Array:
    """Return `values` `(..., M)` at `index` `(..., N)`, as `(..., N)`."""
    xp = namespace(values)
    *batch, size = values.shape
    rows = arange_like(math.prod(batch), index) * size
    return xp.reshape(values, (-1,))[xp.reshape(rows, (*batch, 1)) + index]
