"""Records: frozen dataclasses of arrays that declare the axes, the unit and the limits of every array where it stands.

A field's axes are named ("N M"); sizes come from whoever checks. Any leading batch axes stand before them.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from .arrays import Array
from .checks import check_float_array, check_shape, is_integer, reject_not_finite, reject_not_positive


def array(axes: str = "", unit: str = "", doc: str = "", *, above: float | None = None, infinite: bool = False) -> Any:
    """Declare an array of a record.

    Args:
        axes: names of its axes behind those of the batch, separated by spaces.
        unit: SI unit.
        doc: what it is.
        above: 0 where values must be positive; None: where they must be finite.
        infinite: whether +inf is allowed, where values must be positive.
    """
    limits = {"above": above, "infinite": infinite}
    return dataclasses.field(metadata={"axes": tuple(axes.split()), "unit": unit, "doc": doc, **limits})


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
    """Raise `ValueError` where values break the limits that their field declares."""
    if about["above"] is None:
        if not is_integer(value):
            reject_not_finite(value, label=name, unit=about["unit"])
    else:
        reject_not_positive(value, label=name, unit=about["unit"], infinite=about["infinite"])


def check_record(record: Any, kind: type, sizes: Mapping[str, int], dtype: str) -> None:
    """Check a record of floating arrays against what its class declares.

    Args:
        record: what was handed in.
        kind: its class.
        sizes: of the named axes.
        dtype: of all arrays.

    Raises:
        ValueError: another class, an array of another type or shape, a NaN or a value beyond a declared limit.
    """
    if not isinstance(record, kind):
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise ValueError(f"the {kind.__name__.lower()} is a {type(record).__name__}, must be a {name}")
    for name in declared(kind):
        check_float_array(getattr(record, name), dtype, name)
    batch = batch_shape(record)
    for name, about in declared(kind).items():
        value = getattr(record, name)
        check_shape(value, (*batch, *(sizes[axis] for axis in about["axes"])), name)
        check_limits(value, name, about)
