"""What a pickle may name, all of it NumPy's arrays and their types, and what is made in place of calling it."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MOST_AXES = 32
"""Of an array."""
MOST_LENGTH = 2**30
"""Of an axis."""
NUMBER_TYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})

Spend = Callable[[int], None]
"""Counts bytes that are about to be made, and raises `ValueError` where they are too many."""


@dataclasses.dataclass(frozen=True)
class Name:
    """Stands for what a pickle names, which is one of `CALLS`."""

    name: str


@dataclasses.dataclass(eq=False)
class Unfinished:
    """An array or its type before its state is known; the memo may hold it from then on."""

    finish: Callable[[Any], Any]
    """Returns the value, from the state."""
    value: Any = None


def _fits(values: Any, *kinds: Any) -> bool:
    """Whether it is a tuple of values of these kinds."""
    return isinstance(values, tuple) and len(values) == len(kinds) and all(map(isinstance, values, kinds))


def _text(value: str | bytes) -> str:
    """Return a string, which Python 2 wrote as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _begin_type(spend: Spend, given: Any) -> Unfinished:
    if not _fits(given, str | bytes, int, int) or given[1] != 0 or _text(given[0]) not in NUMBER_TYPES:
        raise ValueError("its dtype must be of booleans, integers or floats of at most 8 bytes")
    code = _text(given[0])

    def finish(state: Any) -> np.dtype[Any]:
        if not _fits(state, int, str | bytes, None.__class__, None.__class__, None.__class__, int, int, int):
            raise ValueError("the state of its dtype must be a version, a byte order and what no numbers have")
        version, order, *_, itemsize, alignment, flags = state
        if (version, itemsize, alignment, flags) != (3, -1, -1, 0):
            raise ValueError("the state of its dtype must be of version 3 with -1, -1 and 0")
        if _text(order) not in (("|",) if code.endswith("1") else ("<", ">")):
            raise ValueError("the byte order of its dtype must be <, > or, for single bytes, |")
        return np.dtype(_text(order) + code)

    return Unfinished(finish)


def _begin_array(spend: Spend, given: Any) -> Unfinished:
    if not _fits(given, Name, tuple, str | bytes) or given[0].name != "numpy.ndarray" or not _fits(given[1], int):
        raise ValueError("_reconstruct must make a numpy.ndarray")

    def finish(state: Any) -> np.ndarray:
        if not _fits(state, int, tuple, np.dtype, int, bytes) or state[0] != 1 or state[3] not in (0, 1):
            raise ValueError("the state of an array must be 1, its shape, dtype, whether it is Fortran's, and bytes")
        return _array(spend, state[4], state[2], state[1], "F" if state[3] else "C")

    return Unfinished(finish)


def _array_of_buffer(spend: Spend, given: Any) -> np.ndarray:
    if not isinstance(given, tuple) or not _fits(given[:4], bytes | bytearray, np.dtype, tuple, str):
        raise ValueError("_frombuffer must have bytes, a dtype, a shape and an order")
    data, dtype, shape, order = given[:4]
    if order in ("C", "F") and len(given) == 4:
        return _array(spend, data, dtype, shape, order)
    axes: Any = given[4] if len(given) == 5 else None
    if order != "K" or not _fits(axes, *[int] * len(shape)) or sorted(axes) != list(range(len(shape))):
        raise ValueError("the order of an array must be C, F, or K with each axis once")
    return _array(spend, data, dtype, shape, "C").transpose([int(axis) for axis in axes])


def _array(
    spend: Spend, data: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[Any, ...], order: Any
) -> np.ndarray:
    """Return an array of its own memory and native byte order, once its shape fits its bytes."""
    if len(shape) > MOST_AXES or not all(isinstance(size, int) and 0 <= size <= MOST_LENGTH for size in shape):
        raise ValueError(f"an array must have at most {MOST_AXES} axes of 0..{MOST_LENGTH}")
    if dtype.itemsize * math.prod(shape) != len(data):
        raise ValueError(f"{len(data)} bytes are no array {shape} of {dtype}")
    if dtype == np.bool_ and data.translate(None, b"\0\1"):
        raise ValueError("booleans must be bytes 0 and 1")
    spend(len(data))
    array: np.ndarray = np.ndarray([int(size) for size in shape], dtype, data, order=order)
    return array.astype(dtype.newbyteorder("="), order="K")


def _scalar(spend: Spend, given: Any) -> Any:
    if not _fits(given, np.dtype, bytes):
        raise ValueError("a scalar must have a dtype and bytes")
    return _array(spend, given[1], given[0], (), "C")[()]


def _encode(spend: Spend, given: Any) -> bytes:
    if not _fits(given, str, str) or given[1] != "latin1":
        raise ValueError("_codecs.encode must have text and latin1")
    spend(len(given[0]))
    return bytes(given[0].encode("latin1"))


def _empty_bytes(spend: Spend, given: Any) -> bytes:
    if given != ():
        raise ValueError("bytes must have no arguments")
    return b""


def _bytearray(spend: Spend, given: Any) -> bytearray:
    if given != () and not _fits(given, bytes):
        raise ValueError("bytearray must have bytes")
    spend(sum(map(len, given)))
    return bytearray(*given)


def _no_call(spend: Spend, given: Any) -> Any:
    raise ValueError("it calls numpy.ndarray, must leave that to _reconstruct")


CALLS: Mapping[str, Callable[[Spend, Any], Any]] = {
    "numpy.ndarray": _no_call,
    "numpy.dtype": _begin_type,
    "numpy._core.multiarray._reconstruct": _begin_array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _array_of_buffer,
    "_codecs.encode": _encode,
    "builtins.bytes": _empty_bytes,
    "builtins.bytearray": _bytearray,
}
"""All that a pickle may name, and what is done here in its place when the pickle calls it."""
