"""Records: frozen dataclasses of arrays that declare the axes, the unit and the limits of every array where it stands.

A field's axes are named ("N M"); sizes come from whoever checks. Any leading batch axes stand before them.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from .arrays import Array, namespace
from .checks import check_array, check_shape, reject, unknown_name

Kind = Literal["number", "integer", "boolean"]
LIMITS = {"above": operator.gt, "at_least": operator.ge, "at_most": operator.le}
"""What a declared limit asks of a value, by name."""


def array(
    axes: str = "", unit: str = "", doc: str = "", *, kind: Kind = "number", infinite: bool = False, **limits: float
) -> Any:
    """Declare an array of a record.

    Args:
        axes: names of its axes behind those of the batch, separated by spaces.
        unit: SI unit.
        doc: what it is.
        kind: what it holds: floating numbers of the system's type, int64 or booleans.
        infinite: whether +inf is allowed; otherwise values must be finite.
        **limits: what values must be, by name: `above`, `at_least`, `at_most` a number.

    Raises:
        ValueError: another limit; the nearest is named.
    """
    for name in limits.keys() - LIMITS.keys():
        raise unknown_name("limit of an array", name, LIMITS)
    about = {"unit": unit, "doc": doc, "kind": kind, "infinite": infinite, "limits": limits}
    return dataclasses.field(metadata={"axes": tuple(axes.split()), **about})


def constant(unit: str = "", doc: str = "") -> Any:
    """Declare a field of a record that is the same for all batch axes and agents."""
    return dataclasses.field(metadata={"unit": unit, "doc": doc})


@functools.cache
def declared(kind: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what a record declares of its arrays, by name."""
    return {field.name: field.metadata for field in dataclasses.fields(kind) if "axes" in field.metadata}


@functools.cache
def first_along(kind: Any, axis: str) -> str:
    """Return the name of the first array of a record whose one axis is `axis`.

    Raises:
        ValueError: the record has none.
    """
    for name, about in declared(kind).items():
        if about["axes"] == (axis,):
            return name
    raise ValueError(f"{kind.__name__} declares no array along the axis {axis!r}: give one array('{axis}')")


def batch_shape(record: Any) -> tuple[int, ...]:
    """Return the leading batch axes of a record, as its first declared array has them."""
    kind: Any = type(record)
    name, about = next(iter(declared(kind).items()))
    shape = tuple(getattr(record, name).shape)
    return shape[: len(shape) - len(about["axes"])]


def some_of(record: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return some of a record's fields by name."""
    return {name: getattr(record, name) for name in names}


def part_of(record: Any, kind: type) -> dict[str, Any]:
    """Return the fields of `kind` that a record has, by name: what another record of that kind is made of."""
    return some_of(record, names_of(kind))


@functools.cache
def names_of(kind: Any) -> tuple[str, ...]:
    """Return the names of a record's fields."""
    return tuple(field.name for field in dataclasses.fields(kind))


def check_limits(value: Array, name: str, about: Mapping[str, Any]) -> None:
    """Raise `ValueError` where values are not finite, or break a limit that their field declares."""
    inside = value > -math.inf if about["infinite"] else namespace(value).isfinite(value)
    words = [] if about["infinite"] else ["finite"]
    for limit, end in about["limits"].items():
        inside = inside & LIMITS[limit](value, end)
        words.append(f"{limit.replace('_', ' ')} {end:g}")
    reject(~inside, value, label=name, unit=about["unit"], limit=" and ".join(words) or "a number")


def is_drawn(value: Any) -> bool:
    """Whether a value is no array but draws one where it is read, and so keeps its limits."""
    return hasattr(value, "full")


def check_record(record: Any, kind: type, sizes: Mapping[str, int], dtype: str) -> None:
    """Check a record of arrays against what its class declares.

    Args:
        record: what was handed in.
        kind: its class.
        sizes: of the named axes.
        dtype: of arrays of numbers.

    Raises:
        ValueError: another class, an array of another type or shape, a NaN or a value beyond a declared limit.
    """
    if not isinstance(record, kind):
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise ValueError(f"the {kind.__name__.lower()} is a {type(record).__name__}, must be a {name}")
    types = {"number": dtype, "integer": "int64", "boolean": "bool"}
    arrays = {name: getattr(record, name) for name in declared(kind)}
    drawn = {name for name, value in arrays.items() if is_drawn(value)}
    for name in arrays.keys() - drawn:
        check_array(arrays[name], types[declared(kind)[name]["kind"]], name)
    batch = batch_shape(record)
    for name, value in arrays.items():
        about = declared(kind)[name]
        check_shape(value, (*batch, *(sizes[axis] for axis in about["axes"])), name)
        if name not in drawn:
            check_limits(value, name, about)
