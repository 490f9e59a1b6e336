"""Checks of what callers hand in; every message names the value, the limit, the node and the unit."""

import dataclasses
import difflib
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np

from .arrays import Array, namespace, torch_of


def unknown_name(kind: str, given: str, valid: Iterable[str]) -> ValueError:
    """Build the error for a name that does not exist; it names the nearest that does."""
    names = sorted(valid)
    nearest = difflib.get_close_matches(given, names, n=1, cutoff=0.0)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ValueError(f"unknown {kind} {given!r}{hint} (valid: {', '.join(names)})")


def warn_retired(option: str, given: Any, instead: str) -> None:
    """Warn that an option which is still accepted does nothing; None: it was not given."""
    if given is not None:
        warnings.warn(f"{option} is retired and does nothing: {instead}", DeprecationWarning, stacklevel=3)


def check_number(field: dataclasses.Field[Any], value: Any, label: str) -> None:
    """Check one number against the type and the limits that its parameter declares.

    Raises:
        ValueError: names `label`, the value, the limit and the unit.
    """
    limits, integral = field.metadata, int in (field.type, *get_args(field.type))
    kinds = int | np.integer if integral else int | float | np.number
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(f"{label} is {value!r}, must be {'an integer' if integral else 'a number'}")
    shown = f"{label} is {value} {limits['unit']}".rstrip()
    if math.isnan(value) or (math.isinf(value) and not (limits["infinite"] and value > 0)):
        raise ValueError(f"{shown}, must be finite")
    least, most = limits["at_least"], limits["at_most"]
    if math.isfinite(value) and not least <= value <= most:
        known = [f"at {side} {end:g}" for side, end in (("least", least), ("most", most)) if math.isfinite(end)]
        raise ValueError(f"{shown}, must be {' and '.join(known)}")
    if value <= limits["above"] and limits["above"] > -math.inf:
        raise ValueError(f"{shown}, must be above {limits['above']:g}")


def reject(
    bad: Array, values: Array, *, label: str, unit: str, limit: str, agents: Callable[[int], str] | None = None
) -> None:
    """Raise for the first element where `bad` is true.

    Args:
        bad: booleans, same shape as `values`.
        values: what was checked.
        label: name of the quantity.
        unit: its unit.
        limit: what it must be.
        agents: name of the agent at an index of the last axis; None: the last axis is not the agents'.

    Raises:
        ValueError: names the element, its value and the limit.
    """
    if not bool(bad.any()):
        return
    index = tuple(int(i) for i in np.argwhere(to_numpy(bad))[0])
    place, agent = index, ""
    if agents is not None:
        several = math.prod(bad.shape[:-1]) > 1
        place, agent = index[:-1] if several else (), f" of {agents(index[-1])}"
    name = f"{label}{list(place) if place else ''}{agent}"
    shown = f"{name} is {to_numpy(values)[index]} {unit}".rstrip()
    raise ValueError(f"{shown}, must be {limit}")


def check_same_library(values: Any, like: Array, label: str) -> None:
    """Raise unless `values` is an array of the library of `like`."""
    if (isinstance(values, np.ndarray | np.generic) or torch_of(values)) and namespace(values) is not namespace(like):
        given, wanted = (type(array).__module__.split(".")[0] for array in (values, like))
        raise ValueError(f"{label} is an array of {given}, must be of {wanted} like the state")


def check_array(values: Any, dtype: str, label: str) -> None:
    """Raise unless `values` is a NumPy array or a torch tensor of `dtype`."""
    if not (isinstance(values, np.ndarray) or torch_of(values)):
        raise ValueError(f"{label} is a {type(values).__name__}, must be a {dtype} array")
    if str(values.dtype).removeprefix("torch.") != dtype:
        raise ValueError(f"{label} has dtype {values.dtype}, must be {dtype}")


def to_numpy(array: Array) -> np.ndarray:
    """Return the array as NumPy's, from any device."""
    return np.asarray(array.cpu() if torch_of(array) else array)


def check_integer_type(values: Array, label: str) -> None:
    """Raise unless the array's dtype is an integer type (bool is not)."""
    numpy = isinstance(values, np.ndarray)
    if not (values.dtype.kind in "iu" if numpy else namespace(values).isdtype(values.dtype, "integral")):
        raise ValueError(f"{label} has dtype {values.dtype}, must be integer")


def check_shape(values: Array, shape: tuple[int, ...], label: str) -> None:
    """Raise unless `values` is an array of `shape`."""
    if not hasattr(values, "shape"):
        raise ValueError(f"{label} is a {type(values).__name__}, must be an array of shape {shape}")
    if tuple(values.shape) != shape:
        raise ValueError(f"{label} has shape {tuple(values.shape)}, must be {shape}")


def check_box(values: Array, shape: tuple[int, ...], label: str, agents: Callable[[int], str]) -> None:
    """Raise unless `values` are floating numbers of `shape` in [-1, 1]; the last two axes are agents and numbers."""
    if not hasattr(values, "dtype"):
        raise ValueError(f"{label} is a {type(values).__name__}, must be a floating array of shape {shape}")
    xp = namespace(values)
    if not xp.isdtype(values.dtype, "real floating"):
        raise ValueError(f"{label} has dtype {values.dtype}, must be floating")
    check_shape(values, shape, label)
    inside = (values >= -1.0) & (values <= 1.0)
    if not bool(xp.all(inside)):
        index = tuple(int(i) for i in np.argwhere(~to_numpy(inside))[0])
        shown = f"{label} of {agents(index[-2])} has {to_numpy(values)[index]} at place {index[-1]}"
        raise ValueError(f"{shown}, must be in -1..1")


def check_integers(
    values: Array, shape: tuple[int, ...], low: int, high: int, label: str, agents: Callable[[int], str] | None
) -> None:
    """Raise unless `values` are integers of `shape` in low..high; named agents are those of the last axis."""
    if not hasattr(values, "dtype"):
        raise ValueError(f"{label} is a {type(values).__name__}, must be an integer array of shape {shape}")
    check_integer_type(values, label)
    check_shape(values, shape, label)
    outside = (values < low) | (values > high)
    reject(outside, values, label=label, unit="", limit=f"in {low}..{high}", agents=agents)


def whole_numbers(values: np.ndarray, label: str, agents: Callable[[int], str]) -> np.ndarray:
    """Return `values` `(N,)` as integers.

    Raises:
        ValueError: a number that is not whole; names the agent.
    """
    whole = values.astype(np.int64)
    reject(whole != values, values, label=label, unit="", limit="whole: live learning takes them", agents=agents)
    return whole
