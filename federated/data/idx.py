"""The IDX format, and the four files of MNIST and its relatives in it."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .dataset import Dataset
from .labeled import labeled, reading

VALUES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of the magic number says what the values are; all are big-endian."""

READ_AT_ONCE = 2**20
"""Bytes, so that a header that promises too much costs no memory."""


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array in an IDX file, gzipped or not.

    The file has two zero bytes, a byte for the type, a byte for the number of dimensions, the dimensions as 32-bit
    integers and the values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a wrong magic number, type, number of dimensions or size, or damaged compression.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, must be an IDX file")
    with file.open("rb") as raw, reading(f"{file} is not a whole gzip file", EOFError, gzip.BadGzipFile, zlib.error):
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not zipped:
            return _parse(raw, file)
        with gzip.GzipFile(fileobj=raw) as unzipped:
            return _parse(unzipped, file)


def _parse(stream: BinaryIO | gzip.GzipFile, file: Path) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in VALUES or magic[3] == 0:
        types = ", ".join(f"{code:02x}" for code in VALUES)
        raise ValueError(
            f"{file} starts with {magic.hex(' ')}, must be 00 00, one of {types}, and the number of dimensions"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(f"{file} ends after {4 + len(sizes)} bytes, must hold {magic[3]} dimensions")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    dtype = np.dtype(VALUES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    values = _read(stream, expected + 1)
    if len(values) != expected:
        found = "more" if len(values) > expected else str(len(values))
        raise ValueError(f"{file} holds {found} bytes of values, must be {expected} for shape {shape} of {dtype.name}")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read(stream: BinaryIO | gzip.GzipFile, limit: int) -> bytes:
    values = bytearray()
    while piece := stream.read(min(limit - len(values), READ_AT_ONCE)):
        values += piece
    return bytes(values)


def _find(folder: Path, part: str, content: str, axes: int) -> Path | None:
    stems = [f"{part}-{content}{mark}idx{axes}-ubyte" for mark in "-."]
    candidates = [folder / f"{stem}{ending}" for ending in ("", ".gz") for stem in stems]
    return next((file for file in candidates if file.is_file()), None)


def is_mnist(folder: Path) -> bool:
    """Whether the folder holds any of the four files."""
    wanted = [(part, *content) for part in ("train", "t10k") for content in (("images", 3), ("labels", 1))]
    return any(_find(folder, part, content, axes) for part, content, axes in wanted)


def _array(folder: Path, part: str, content: str, axes: int) -> tuple[np.ndarray, Path]:
    file = _find(folder, part, content, axes)
    if file is None:
        raise FileNotFoundError(f"{folder} lacks {part}-{content}-idx{axes}-ubyte (or with .gz)")
    array = read_idx(file)
    if array.dtype != np.uint8 or array.ndim != axes:
        raise ValueError(f"{file} holds {array.dtype} of {array.ndim} dimensions, must be uint8 of {axes}")
    return array, file


def _part(folder: Path, part: str, num_classes: int) -> Dataset:
    images, _ = _array(folder, part, "images", 3)
    labels, file = _array(folder, part, "labels", 1)
    return labeled(images[:, None], labels, num_classes, file)


def read_mnist(folder: Path, *, num_classes: int = 10) -> tuple[Dataset, Dataset]:
    """Return the training and test part of MNIST or a relative in its files.

    Images `(n, 1, height, width)` in [0, 1]. The names are train-images-idx3-ubyte, train-labels-idx1-ubyte and the
    same with t10k; a dot may stand before idx and .gz at the end.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a file that `read_idx` refuses, or labels that are not in 0..num_classes - 1.
    """
    return _part(folder, "train", num_classes), _part(folder, "t10k", num_classes)
