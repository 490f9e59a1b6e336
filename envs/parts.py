"""The parts that actions are made of: choices, numbers, shares of what all share, splits of what is one's own."""

import dataclasses
import functools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

from ..core.arrays import Array, cast, clip, namespace, one_hot
from ..core.checks import check_integer_type, check_integers, reject
from .observations import Field

TOLERANCE = 1e-6
"""Relative difference up to which a number counts as what was asked for."""

Agents = Callable[[int], str]
Exclusive = Literal["no", "counted", "enforced"]


def rounding(dtype: object) -> float:
    """Return the relative excess of a limit that is rounding and no violation, by the floating type."""
    return 1e-9 if "64" in str(dtype) else 1e-5


def scaled(number: Array, low: float, high: float, linear: bool = False) -> Array:
    """Map -1..1 to low..high, evenly in the logarithm, or in the number itself."""
    if linear:
        return low + (number + 1.0) * (0.5 * (high - low))
    xp = namespace(number)
    value = low * xp.exp((number + 1.0) * (0.5 * math.log(high / low)))
    return clip(value, low, high)


def unscaled(value: Array, low: float, high: float, linear: bool = False) -> Array:
    """Map low..high to -1..1, the inverse of `scaled`; in the logarithm, what is not above 0 counts as `low`."""
    if linear:
        return 2.0 * (value - low) / ((high - low) or 1.0) - 1.0
    xp = namespace(value)
    width = math.log(high / low) or 1.0
    return 2.0 * (xp.log(xp.where(value > 0.0, value, low)) - math.log(low)) / width - 1.0


class Part(ABC):
    """One thing that is decided; agents that take no part have -1 in a choice, and 0 in everything else."""

    names: tuple[str, ...]
    """Fields of the decision that it fills."""
    size: int
    """Numbers of a box action that it reads."""
    fields: tuple[Field, ...]
    """How tables show it."""
    of_round: bool = False
    """Whether it is one thing for the whole round."""

    @abstractmethod
    def decode(self, numbers: Array, present: Array) -> tuple[Array, ...]:
        """Return what numbers `(..., N, size)` in [-1, 1] ask for; `present` `(..., N)`: who takes part."""

    @abstractmethod
    def encode(self, values: Sequence[Array], present: Array) -> Array:
        """Return numbers `(..., N, size)` that ask for values: the inverse of `decode`."""

    @abstractmethod
    def check(self, values: Sequence[Array], present: Array, agents: Agents) -> None:
        """Raise `ValueError` for values of another type, or out of range."""

    def shape(self, agents: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of its values; that of the agents is `(..., N)`."""
        return agents

    def present(self, values: Sequence[Array]) -> Array:
        """Return who takes part `(..., N)` by these values."""
        return values[0] > 0

    def differs(self, asked: Sequence[Array], made: Sequence[Array]) -> Array:
        """Return whose values `(..., N)` are not what was asked for."""
        difference: Array = abs(made[0] - asked[0]) > TOLERANCE * abs(asked[0])
        return difference


@dataclasses.dataclass(frozen=True)
class Axis:
    """What a choice runs over: a field of the decision."""

    name: str
    symbol: str
    count: int
    source: str = ""


class Choice(Part):
    """One of several things, or one of all combinations of several axes; with `optional` the last is none of them."""

    def __init__(self, *axes: Axis, optional: bool = False, exclusive: Exclusive = "no") -> None:
        """Keep the axes; the last one runs fastest.

        Args:
            *axes: what it runs over.
            optional: whether an agent may choose none.
            exclusive: whether a thing is meant for one agent only: that others have it too is counted, or refused.
        """
        self.axes, self.optional, self.exclusive = axes, optional, exclusive
        self.names = tuple(axis.name for axis in axes)
        self.grid = tuple(axis.count for axis in axes)
        self.count = math.prod(self.grid)
        self.size = self.count + optional
        rest = "; the last: none" if optional else ""
        self.fields = tuple(
            Field(axis.name + rest, axis.symbol, "", 0, axis.count - 1 + optional, self.size, source=axis.source)
            for axis in axes
        )

    def of_index(self, index: Array, present: Array) -> tuple[Array, ...]:
        """Return the fields of indices `(..., N)`; -1 in all for who takes no part or chose none."""
        xp = namespace(index)
        chosen = present & (index < self.count) if self.optional else present
        values = []
        for count in reversed(self.grid[1:]):
            values.append(xp.where(chosen, index % count, -1))
            index = index // count
        return xp.where(chosen, index, -1), *reversed(values)

    def index_of(self, values: Sequence[Array]) -> Array:
        """Return the indices of fields `(..., N)`; of who takes no part the last, or 0 where all must choose."""
        index = values[0]
        for value, count in zip(values[1:], self.grid[1:], strict=True):
            index = index * count + value
        xp = namespace(index)
        return xp.where(index < 0, self.count, index) if self.optional else xp.maximum(index, 0)

    def decode(self, numbers: Array, present: Array) -> tuple[Array, ...]:
        """Return the things of the highest scores."""
        return self.of_index(namespace(numbers).argmax(numbers, axis=-1), present)

    def encode(self, values: Sequence[Array], present: Array) -> Array:
        """Return 1 for what was chosen, -1 for all else."""
        chosen = one_hot(self.index_of(values), self.size)
        if not self.optional:
            chosen = chosen & present[..., None]
        return 2.0 * cast(chosen, namespace(chosen).float32) - 1.0

    def check(self, values: Sequence[Array], present: Array, agents: Agents) -> None:
        """Raise `ValueError` for values that are no integers of their axis, or a -1 in the wrong place."""
        for axis, value in zip(self.axes, values, strict=True):
            check_integers(value, tuple(value.shape), -1, axis.count - 1, axis.name, agents)
            limit = f"-1 exactly where the {self.names[0]} is -1"
            reject((value < 0) != (values[0] < 0), value, label=axis.name, unit="", limit=limit, agents=agents)
        chose, label = self.present(values), self.names[0]
        if not self.optional:
            reject(present & ~chose, values[0], label=label, unit="", limit="at least 0: it takes part", agents=agents)
        reject(chose & ~present, values[0], label=label, unit="", limit="-1: it takes no part", agents=agents)

    def present(self, values: Sequence[Array]) -> Array:
        """Return who chose something."""
        return values[0] >= 0

    def differs(self, asked: Sequence[Array], made: Sequence[Array]) -> Array:
        """Return who got something else."""
        return functools.reduce(operator.or_, (a != b for a, b in zip(asked, made, strict=True)))


class Number(Part):
    """A quantity from low to high, even in the logarithm or (`linear`) in itself; whole numbers are rounded.

    With `of_round` it is one for the whole round, the mean of what the agents that take part ask for. No number says
    who takes part: 0 is a value like any other.
    """

    def __init__(
        self,
        name: str,
        symbol: str,
        unit: str,
        low: float,
        high: float,
        source: str = "",
        *,
        linear: bool = False,
        whole: bool = False,
        of_round: bool = False,
    ) -> None:
        """Keep the range.

        Raises:
            ValueError: a range in the logarithm that does not lie above 0.
        """
        if not linear and low <= 0:
            raise ValueError(f"{name} is even in the logarithm from {low:g} {unit}, must be from above 0, or linear")
        self.names, self.size, self.unit, self.low, self.high = (name,), 1, unit, low, high
        self.linear, self.whole, self.of_round = linear, whole, of_round
        self.fields = (Field(name, symbol, unit, low, high, 1, "linear" if linear else "log", source),)

    def decode(self, numbers: Array, present: Array) -> tuple[Array, ...]:
        """Return the quantity `(..., N)`, or `(...)` of the whole round."""
        xp, number = namespace(numbers), numbers[..., 0]
        if self.of_round:
            count = xp.sum(xp.astype(present, number.dtype), axis=-1)
            number = xp.sum(xp.where(present, number, 0.0), axis=-1) / clip(count, 1.0)
            present = count > 0.0
        value = scaled(number, self.low, self.high, self.linear)
        if self.whole:
            value = xp.astype(xp.round(value), xp.int64)
        return (xp.where(present, value, 0),)

    def encode(self, values: Sequence[Array], present: Array) -> Array:
        """Return where in its range the quantity lies; 0 for who takes no part."""
        xp, value = namespace(values[0]), values[0]
        if self.of_round:
            value = value[..., None] + xp.zeros_like(present, dtype=value.dtype)
        number = unscaled(value, self.low, self.high, self.linear)
        return xp.where(present, number, 0.0)[..., None]

    def check(self, values: Sequence[Array], present: Array, agents: Agents) -> None:
        """Raise `ValueError` for a quantity out of its range."""
        (name,), value = self.names, values[0]
        if self.of_round:
            present = namespace(present).any(present, axis=-1)
        if self.whole:
            check_integer_type(value, name)
        slack = 0.0 if self.whole else rounding(value.dtype)
        inside = (value >= self.low - slack * abs(self.low)) & (value <= self.high + slack * abs(self.high))
        limit = f"in {self.low:g}..{self.high:g}"
        named = None if self.of_round else agents
        reject(present & ~inside, value, label=name, unit=self.unit, limit=limit, agents=named)

    def shape(self, agents: tuple[int, ...]) -> tuple[int, ...]:
        """Return `(..., N)`, or `(...)` of the whole round."""
        return agents[:-1] if self.of_round else agents

    def present(self, values: Sequence[Array]) -> Array:
        """Return everybody `(..., N)`."""
        xp = namespace(values[0])
        return xp.ones_like(values[0], dtype=xp.bool)

    def differs(self, asked: Sequence[Array], made: Sequence[Array]) -> Array:
        """Return whose quantity is not what was asked for; a quantity of the round is nobody's own."""
        if self.of_round:
            return made[0][..., None] != made[0][..., None]
        if self.whole:
            return asked[0] != made[0]
        return super().differs(asked, made)


class Share(Part):
    """A share of what all agents share, by softmax over those that take part.

    Shares differ by a factor of e^(2 sharpness) at most.
    """

    def __init__(self, name: str, symbol: str, sharpness: float, source: str = "") -> None:
        """Keep the sharpness of the softmax."""
        self.names, self.size, self.sharpness = (name,), 1, sharpness
        self.fields = (Field(f"{name.replace('_', ' ')}, by softmax", symbol, "", 0.0, 1.0, 1, source=source),)

    def decode(self, numbers: Array, present: Array) -> tuple[Array, ...]:
        """Return shares `(..., N)` that sum up to 1, or to 0 where nobody takes part."""
        xp = namespace(numbers)
        weight = xp.where(present, xp.exp(self.sharpness * numbers[..., 0]), 0.0)
        total = xp.sum(weight, axis=-1, keepdims=True)
        return (weight / xp.where(total > 0.0, total, 1.0),)

    def encode(self, values: Sequence[Array], present: Array) -> Array:
        """Return the logarithms of shares, their extremes centered on 0."""
        xp, share = namespace(values[0]), values[0]
        log_share = xp.log(xp.where(share > 0.0, share, 1.0))
        most = xp.max(xp.where(present, log_share, -xp.inf), axis=-1, keepdims=True)
        least = xp.min(xp.where(present, log_share, xp.inf), axis=-1, keepdims=True)
        somebody = xp.any(present, axis=-1, keepdims=True)
        middle = 0.5 * (xp.where(somebody, most, 0.0) + xp.where(somebody, least, 0.0))
        return xp.where(present, (log_share - middle) / self.sharpness, 0.0)[..., None]

    def check(self, values: Sequence[Array], present: Array, agents: Agents) -> None:
        """Raise `ValueError` for a share that is not above 0, or shares that sum up to more than 1."""
        (name,), share = self.names, values[0]
        slack = rounding(share.dtype)
        inside = (share >= 0.0) & (share <= 1.0 + slack)
        reject(present & ~inside, share, label=name, unit="", limit="in 0..1", agents=agents)
        nothing = present & ~(share > 0.0)
        reject(nothing, share, label=name, unit="", limit="above 0: it takes part", agents=agents)
        xp = namespace(share)
        total = xp.sum(xp.where(present, share, 0.0), axis=-1)
        reject(~(total <= 1.0 + slack), total, label=f"sum of {name}", unit="", limit="at most 1")


class Simplex(Part):
    """A split of what is one's own over `count` places `(..., N, count)`, by softmax; all 0 for who takes no part.

    Parts of the softmax below `least` are 0, the others share what they leave: so there is an action for every split
    whose parts are 0 or well above `least`.
    """

    def __init__(
        self, name: str, symbol: str, count: int, sharpness: float, source: str = "", *, least: float = 1e-4
    ) -> None:
        """Keep the sharpness of the softmax: its parts differ by a factor of e^(2 sharpness) at most.

        Raises:
            ValueError: a sharpness by which no part can be asked to be 0, or all can.
        """
        lowest = math.exp(-2.0 * sharpness)
        if not lowest <= least < 1.0 / count:
            raise ValueError(
                f"least of {name} is {least:g}, must be from e^(-2 sharpness) = {lowest:.3g} to 1 / {count}"
            )
        self.names, self.size, self.sharpness, self.least = (name,), count, sharpness, least
        self.fields = (Field(f"{name.replace('_', ' ')}, by softmax", symbol, "", 0.0, 1.0, count, source=source),)

    def decode(self, numbers: Array, present: Array) -> tuple[Array, ...]:
        """Return parts `(..., N, count)` that sum up to 1, none of them between 0 and `least`."""
        xp = namespace(numbers)
        weight = xp.exp(self.sharpness * numbers)
        part = weight / xp.sum(weight, axis=-1, keepdims=True)
        part = xp.where((part >= self.least) & present[..., None], part, 0.0)
        return (part / xp.where(present[..., None], xp.sum(part, axis=-1, keepdims=True), 1.0),)

    def encode(self, values: Sequence[Array], present: Array) -> Array:
        """Return the logarithms of parts, their extremes centered on 0; a part of 0 counts as the least there is."""
        xp, part = namespace(values[0]), values[0]
        least = math.exp(-2.0 * self.sharpness)
        most = xp.max(part, axis=-1, keepdims=True)
        log_part = xp.log(xp.maximum(part / xp.where(most > 0.0, most, 1.0), xp.zeros_like(part) + least))
        middle = 0.5 * xp.min(log_part, axis=-1, keepdims=True)
        return xp.where(present[..., None], (log_part - middle) / self.sharpness, 0.0)

    def check(self, values: Sequence[Array], present: Array, agents: Agents) -> None:
        """Raise `ValueError` for a negative part, or parts that do not sum up to 1."""
        (name,), part = self.names, values[0]
        xp = namespace(part)
        slack = rounding(part.dtype)
        smallest = xp.min(part, axis=-1)
        reject(present & ~(smallest >= 0.0), smallest, label=name, unit="", limit="at least 0", agents=agents)
        total = xp.sum(part, axis=-1)
        unequal = present & ~(abs(total - 1.0) <= slack)
        reject(unequal, total, label=f"sum of {name}", unit="", limit="1", agents=agents)

    def shape(self, agents: tuple[int, ...]) -> tuple[int, ...]:
        """Return `(..., N, count)`."""
        return (*agents, self.size)

    def present(self, values: Sequence[Array]) -> Array:
        """Return who splits anything."""
        return namespace(values[0]).any(values[0] > 0.0, axis=-1)

    def differs(self, asked: Sequence[Array], made: Sequence[Array]) -> Array:
        """Return whose split is not what was asked for."""
        return namespace(asked[0]).any(super().differs(asked, made), axis=-1)
