"""Declared settings: dataclasses whose fields state symbol, unit, meaning and limits, and reject what breaks them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args, get_origin

import numpy as np

from .checks import check_number, unknown_name


def parameter(
    default: Any,
    *,
    doc: str,
    symbol: str = "",
    unit: str = "",
    at_least: float = -math.inf,
    at_most: float = math.inf,
    above: float = -math.inf,
    infinite: bool = False,
    per: str | None = None,
) -> Any:
    """Declare a field of a `Settings` dataclass: symbol, unit, meaning and limits.

    Args:
        default: the paper's value.
        doc: what it is.
        symbol: the paper's symbol.
        unit: SI unit, or the unit that the name ends with.
        at_least: smallest value allowed.
        at_most: largest value allowed.
        above: limit that the value must exceed.
        infinite: whether +inf is allowed.
        per: name of the parameter that counts the nodes; the value may then be a tuple with one number per node.
    """
    limits = {"at_least": at_least, "at_most": at_most, "above": above, "infinite": infinite, "per": per}
    return dataclasses.field(default=default, metadata={"symbol": symbol, "unit": unit, "doc": doc, **limits})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Values that were checked against their declared limits."""

    def __post_init__(self) -> None:
        """Reject values outside their declared limits; the message names value, limit, node and unit."""
        for field in dataclasses.fields(self):
            if not field.metadata:  # Not declared by `parameter`: the class checks it.
                continue
            value = getattr(self, field.name)
            if get_origin(field.type) is Literal:
                if value not in get_args(field.type):
                    raise unknown_name(f"value of {field.name}", str(value), map(str, get_args(field.type)))
            elif field.type is bool:
                if not isinstance(value, bool):
                    raise ValueError(f"{field.name} is {value!r}, must be True or False")
            elif field.type is str:
                if not isinstance(value, str):
                    raise ValueError(f"{field.name} is {value!r}, must be text")
            else:
                self._check_numbers(field, value)

    def require(self, holds: bool, name: str, limit: str) -> None:
        """Raise `ValueError` where what other values ask of a value does not hold; `limit` says what it must be."""
        if not holds:
            unit = type(self).__dataclass_fields__[name].metadata["unit"]
            raise ValueError(f"{name} is {getattr(self, name)} {unit}".rstrip() + f", must be {limit}")

    def require_order(self, *pairs: tuple[str, str]) -> None:
        """Raise `ValueError` where the first value of a pair of names is above the second."""
        for low, high in pairs:
            limit, unit = getattr(self, high), type(self).__dataclass_fields__[low].metadata["unit"]
            self.require(getattr(self, low) <= limit, low, f"at most {high} = {limit} {unit}".rstrip())

    def per_node(self, name: str) -> np.ndarray:
        """Return a value that may differ between nodes as one number per node, `(count,)`."""
        counter = type(self).__dataclass_fields__[name].metadata["per"]
        return np.full(getattr(self, counter), getattr(self, name), np.float64)

    def subset(self, *names: str) -> dict[str, Any]:
        """Return some of the values by name."""
        return {name: getattr(self, name) for name in names}

    def _check_numbers(self, field: dataclasses.Field[Any], value: Any) -> None:
        if get_origin(field.type) is tuple:
            return self._check_list(field, value)
        counter = field.metadata["per"]
        if not isinstance(value, tuple):
            return check_number(field, value, field.name)
        if counter is None:
            raise ValueError(f"{field.name} is {value!r}, must be one number")
        if len(value) != getattr(self, counter):
            raise ValueError(f"{field.name} has {len(value)} values, must have {counter} = {getattr(self, counter)}")
        node = counter.removeprefix("num_").removesuffix("s")
        for index, number in enumerate(value):
            check_number(field, number, f"{field.name} of {node}_{index}")
        return None

    def _check_list(self, field: dataclasses.Field[Any], value: Any) -> None:
        if not isinstance(value, tuple) or not value:
            raise ValueError(f"{field.name} is {value!r}, must be a list of one or more numbers")
        for index, entry in enumerate(value):
            check_number(field, entry, f"{field.name}[{index}]")

    @classmethod
    def pick(cls, values: Mapping[str, Any]) -> Self:
        """Build the settings from those of `values` that they have; the others are left alone."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls.create({name: value for name, value in values.items() if name in names})

    @classmethod
    def create(cls, values: Mapping[str, Any]) -> Self:
        """Build the settings from names and values; lists become tuples.

        Raises:
            ValueError: unknown name (the nearest is named), wrong type, or a value outside its limits.
        """
        valid = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in valid:
                raise unknown_name("parameter", name, valid)
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**frozen)
