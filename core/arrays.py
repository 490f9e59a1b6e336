"""What the physics needs of an array library, so that NumPy arrays and torch tensors take the same path."""

import functools
import math
import sys
from typing import Any

import array_api_compat
import numpy as np

Array = Any
"""A NumPy array or a torch tensor; which one decides the library that computes."""


FEW = 256
"""Numbers up to which an operation on all of them costs less than a second call."""

_NUMPY = (np.ndarray, np.generic)


def namespace(array: Array) -> Any:
    """Return the array-API namespace of `array` (NumPy itself for NumPy, which needs no adapter)."""
    if isinstance(array, _NUMPY):
        return np
    return array_api_compat.array_namespace(array)


def torch_of(value: Any) -> Any:
    """Return torch where `value` is a tensor or a generator of torch, else None; this alone does not load torch."""
    torch = None if isinstance(value, _NUMPY) else sys.modules.get("torch")
    # While another thread is loading torch, its classes may not be there yet.
    kinds = getattr(torch, "Tensor", ()), getattr(torch, "Generator", ())
    return torch if isinstance(value, kinds) else None


def as_tensor(values: Any, device: Any = None) -> Array:
    """Return `values` as a torch tensor, on `device` where one is given."""
    import torch

    return torch.as_tensor(values, device=device)


def torch_device(name: Any) -> Any:
    """Return torch's device of that name."""
    import torch

    return torch.device(name)


def like(values: Any, array: Array) -> Array:
    """Return `values` as an array of the library, device and floating type of `array`."""
    xp = namespace(array)
    return xp.asarray(values, dtype=array.dtype, device=array.device)


def cast(values: Array, dtype: Any) -> Array:
    """Return a copy of another type. NumPy's function of the array API takes four times as long as the method."""
    return values.astype(dtype) if isinstance(values, _NUMPY) else namespace(values).astype(values, dtype)


def clip(values: Array, low: Any = None, high: Any = None) -> Array:
    """Return values brought between two limits; None: there is none. NumPy's own function takes four times as long."""
    if not isinstance(values, _NUMPY):
        return namespace(values).clip(values, low, high)
    if low is not None:
        values = np.maximum(values, low)
    return values if high is None else np.minimum(values, high)


def as_int64(index: Array) -> Array:
    """Return integers of any width as int64, themselves where they are."""
    xp = namespace(index)
    return index if index.dtype == xp.int64 else cast(index, xp.int64)


def arange_like(count: int, array: Array, step: int = 1) -> Array:
    """Return `count` integers 0, step, 2 step... (int64) like `array`, on its device; shared: do not write to it."""
    return _arange(count, step, namespace(array), array.device)


@functools.lru_cache(maxsize=256)
def _arange(count: int, step: int, xp: Any, device: Any) -> Array:
    return xp.arange(0, count * step, step, dtype=xp.int64, device=device)


def one_hot(index: Array, size: int) -> Array:
    """Return `(..., size)` booleans, true where the position equals `index` `(...)`; -1 gives a row of false."""
    return index[..., None] == arange_like(size, index)


def counted(index: Array, size: int, dtype: Any = None) -> Array:
    """Return how many of the agents' `index` `(..., N)` equal each of 0..size-1, `(..., size)`; integers by default."""
    kind = dtype or namespace(index).int64
    if isinstance(index, np.ndarray) and index.size > FEW:
        return _binned(index, size, None).astype(kind)
    return one_hot(index, size).sum(axis=-2, dtype=kind)


def summed(values: Array, index: Array, size: int) -> Array:
    """Return the sums of values `(N,)` or `(..., N)` over the agents whose `index` `(..., N)` is 0..size-1.

    Returns:
        `(..., size)`; agents with -1 count nowhere.
    """
    # Both ways add in the order of the agents; `bincount` adds in float64.
    if isinstance(index, np.ndarray) and (index.size > FEW or values.dtype != np.float64):
        return _binned(index, size, np.broadcast_to(values, index.shape).ravel()).astype(values.dtype)
    return namespace(values).where(one_hot(index, size), values[..., None], 0.0).sum(axis=-2)


def _binned(index: np.ndarray, size: int, weights: np.ndarray | None) -> np.ndarray:
    """Return counts, or sums of weights, `(..., size)` of each row of `index` `(..., N)`; -1 counts nowhere."""
    rows = math.prod(index.shape[:-1])
    places = index.reshape(rows, -1) + (arange_like(rows, index, size + 1)[:, None] + 1)
    found = np.bincount(places.ravel(), weights, rows * (size + 1))
    return found.reshape(*index.shape[:-1], size + 1)[..., 1:]


def pick(values: Array, index: Array) -> Array:
    """Return `values` `(..., M)` at `index` `(..., N)`, as `(..., N)`."""
    *batch, size = values.shape
    if values.ndim == 1:
        return values[index]
    rows = arange_like(math.prod(batch), index, size)
    return values.reshape(-1)[rows.reshape(*batch, 1) + index]


def at_choice(values: Array, choice: Array) -> Array:
    """Return `values` `(..., N, M)` at each agent's choice `(..., N)`, as `(..., N)`; 0 where that is -1."""
    xp = namespace(values)
    return xp.where(choice >= 0, pick(values, choice[..., None])[..., 0], 0.0)


def of_agent(values: Array, agent: Array) -> Array:
    """Return the row of one agent `(...)` of `values` `(..., N, *rest)`, as `(..., *rest)`."""
    xp = namespace(values)
    index = xp.reshape(agent, (*agent.shape, *(1,) * (values.ndim - agent.ndim)))
    index = xp.broadcast_to(index, (*agent.shape, 1, *values.shape[agent.ndim + 1 :]))
    return xp.squeeze(xp.take_along_axis(values, index, axis=agent.ndim), axis=agent.ndim)
