"""Numeric arrays in files of MATLAB 5 to 7.

The format: MATLAB 7 MAT-file format, The MathWorks. A header of 128 bytes, then elements: a tag with type and size, and
as many bytes. An array is an element of elements, and may be compressed by zlib as a whole.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .files import read_limited

MOST_BYTES = 2**28
"""Of a file, and of all that is compressed in it when it is decompressed."""
MOST_AXES = 32
"""Of an array."""
HEADER = 128
ORDERS = {b"IM": "<", b"MI": ">"}
"""Byte order, by the mark at the end of the header."""
VERSION = 0x0100
HDF5 = b"\x89HDF\r\n\x1a\n"
"""How HDF5 begins; MATLAB 7.3 puts 512 bytes of its own before."""

INT8, INT32, UINT32, MATRIX, COMPRESSED, UTF8 = 1, 5, 6, 14, 15, 16
"""Types of elements."""
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements that hold numbers."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Classes of arrays that hold numbers."""
OTHER_CLASSES = frozenset({1, 2, 3, 4, 5, 16, 17})
"""Cells, structures, objects, text, sparse matrices, functions and opaque objects."""
COMPLEX = 0x0800
"""Flag of an array that has an imaginary part."""


class _Element(NamedTuple):
    kind: int
    data: memoryview
    end: int
    """Where it ends, without what is filled up to a multiple of 8 bytes."""


def _element(content: memoryview, place: int, order: str) -> _Element:
    """Return the element at a place; one of at most 4 bytes may have its size and data in its tag."""
    tag = content[place : place + 8]
    if len(tag) < 8:
        raise ValueError(f"a tag of 8 bytes must follow, but {len(tag)} bytes do")
    kind, size = (int(number) for number in np.frombuffer(tag, f"{order}u4"))
    begin = place + 8
    if kind >> 16:
        kind, size, begin = kind & 0xFFFF, kind >> 16, place + 4
    most = 4 if begin < place + 8 else len(content) - begin
    if size > most:
        raise ValueError(f"{size} bytes must follow a tag, but {most} do")
    return _Element(kind, content[begin : begin + size], max(begin + size, place + 8))


def _parts(matrix: memoryview, order: str) -> Iterator[_Element]:
    """Give the elements of an array; each begins at a multiple of 8 bytes."""
    place = 0
    while place < len(matrix):
        element = _element(matrix, place, order)
        yield element
        place = element.end + -element.end % 8


def _part(parts: Iterator[_Element], what: str, *kinds: int) -> memoryview:
    """Return the bytes of the next element of an array."""
    found = next(parts, None)
    if found is None:
        raise ValueError(f"its array ends before its {what}")
    if found.kind not in kinds:
        raise ValueError(f"the {what} of its array has type {found.kind}, must have {' or '.join(map(str, kinds))}")
    return found.data


def _shape(sizes: memoryview, order: str) -> tuple[int, ...]:
    if len(sizes) % 4 or not 2 <= len(sizes) // 4 <= MOST_AXES:
        raise ValueError(f"the dimensions of its array have {len(sizes)} bytes, must be 4 for each of 2..{MOST_AXES}")
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    if min(shape) < 0 or max(shape) > MOST_BYTES:
        raise ValueError(f"the dimensions of its array are {shape}, must be in 0..{MOST_BYTES}")
    return shape


def _matrix(matrix: memoryview, order: str) -> tuple[str, np.ndarray] | None:
    """Return name and content of an array of real numbers; None: it is of another class."""
    parts = _parts(matrix, order)
    flags = _part(parts, "flags", UINT32)
    if len(flags) != 8:
        raise ValueError(f"the flags of its array have {len(flags)} bytes, must have 8")
    described = int(np.frombuffer(flags, f"{order}u4")[0])
    number = described & 0xFF
    if number not in CLASSES and number not in OTHER_CLASSES:
        raise ValueError(f"its array has class {number}, must be in 1..17")
    if number in OTHER_CLASSES or described & COMPLEX:
        return None
    shape = _shape(_part(parts, "dimensions", INT32), order)
    name = bytes(_part(parts, "name", INT8, UTF8)).decode("utf-8", "replace")
    array = _numbers(next(parts, None), shape, np.dtype(CLASSES[number]), order)
    if next(parts, None) is not None:
        raise ValueError("its array goes on behind its numbers")
    return name, array


def _numbers(part: _Element | None, shape: tuple[int, ...], declared: np.dtype[Any], order: str) -> np.ndarray:
    """Return the numbers of an array, as stored: in its class, or in a smaller type that they all fit."""
    if part is None or part.kind not in STORED:
        raise ValueError(
            f"its array has numbers of type {part and part.kind}, must be one of {', '.join(map(str, STORED))}"
        )
    stored = np.dtype(order + STORED[part.kind])
    if stored.itemsize > declared.itemsize or (stored.kind == "f" and declared.kind != "f"):
        raise ValueError(f"its array of {declared} is stored as {stored}, must be stored as that or smaller")
    if stored.itemsize * math.prod(shape) != len(part.data):
        raise ValueError(f"{len(part.data)} bytes are no array {shape} of {stored}")
    array: np.ndarray = np.ndarray(shape, stored, part.data, order="F")
    return array.astype(stored.newbyteorder("="), order="F")


def _decompressed(data: memoryview, order: str, most: int) -> memoryview:
    """Return the array that is compressed in an element, without its tag."""
    try:
        engine = zlib.decompressobj()
        tag = engine.decompress(data, 8)
        if len(tag) < 8:
            raise ValueError(f"it is compressed and has {len(tag)} bytes, must have at least 8")
        kind, size = (int(number) for number in np.frombuffer(tag, f"{order}u4"))
        if kind != MATRIX:
            raise ValueError(f"it is compressed and has type {kind}, must have {MATRIX}")
        if size > most:
            raise ValueError(f"it has {size} bytes when decompressed, must have at most {most} of {MOST_BYTES} for all")
        content = engine.decompress(engine.unconsumed_tail, size + 1)
    except zlib.error as error:
        raise ValueError(f"it is damaged: {error}") from error
    if len(content) != size or not engine.eof or engine.unused_data:
        raise ValueError(f"it is not compressed from the {size} bytes that it declares")
    return memoryview(content)


def _byte_order(content: bytes) -> str:
    """Return the byte order that the header tells."""
    order = ORDERS.get(content[126:HEADER])
    version = int.from_bytes(content[124:126], "big" if order == ">" else "little")
    if content.startswith(HDF5) or content[512:520] == HDF5 or (order and version >> 8 == 2):
        raise ValueError("it is a file of MATLAB 7.3, which is HDF5, must be of version 5 to 7 (save it with -v7)")
    if order is None or version != VERSION:
        raise ValueError(f"its header of {HEADER} bytes must end in version 1 and a mark of the byte order")
    return order


def read_matrices(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of real numbers in a file of MATLAB 5 to 7, by name.

    Arrays have the type that they are stored in, native, in Fortran's order: MATLAB stores whole numbers of any class
    as the smallest integers that hold them, and truth values as uint8. Other arrays (cells, structures, text, sparse,
    complex) are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another version, damaged, or has more than `MOST_BYTES`, also when decompressed; names
            the byte at which the damaged element begins.
    """
    content, place, left = read_limited(path, MOST_BYTES), 0, MOST_BYTES
    found: dict[str, np.ndarray] = {}
    try:
        order = _byte_order(content)
        place = HEADER
        while place < len(content):
            element = _element(memoryview(content), place, order)
            matrix = element.data
            if element.kind == COMPRESSED:
                matrix = _decompressed(matrix, order, left)
                left -= len(matrix)
            elif element.kind != MATRIX:
                raise ValueError(f"it has type {element.kind}, must have {MATRIX} or {COMPRESSED}")
            name, array = _matrix(matrix, order) or ("", None)
            if name in found:
                raise ValueError(f"a second {name} must not follow")
            if name and array is not None:  # What has no name is MATLAB's own.
                found[name] = array
            place = element.end
    except ValueError as error:
        raise ValueError(f"{path} is not a readable MATLAB file: at byte {place}, {error}") from error
    return found
