"""CIFAR-10 and CIFAR-100, as binary files and as the pickles for Python, which are read without running them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...core.pickles import read_pickle
from .dataset import Dataset
from .labeled import check_labels, labeled

PIXELS = 3 * 32 * 32
"""Bytes of an image: the red plane, the green, the blue, row by row."""

COARSE_CLASSES = 20
"""Superclasses of CIFAR-100; its binary files give them before the class."""


def _pickled_labels(values: Any, key: str, file: Path) -> np.ndarray:
    """Return a list of integers of Python or NumPy as an array; arrays as they are."""
    if isinstance(values, np.ndarray):
        return values
    if not isinstance(values, list) or not all(map(_is_label, values)):
        raise ValueError(f"{file}: {key} must be a list of integers, or an array of them")
    return np.array([int(label) for label in values], np.int64)


def _is_label(value: Any) -> bool:
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return integer and -(2**63) <= int(value) < 2**63


def _read_pickle(file: Path, labels_key: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    content = read_pickle(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, must be a dictionary with data and {labels_key}")
    by_name = {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}
    for key in ("data", labels_key):
        if key not in by_name:
            raise ValueError(f"{file} holds {', '.join(sorted(by_name))}, must hold {key}")
    data = by_name["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        shown = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"{file}: data is {shown}, must be uint8 (n, {PIXELS})")
    labels = check_labels(_pickled_labels(by_name[labels_key], labels_key, file), num_classes, file)
    if len(labels) != len(data):
        raise ValueError(f"{file} holds {len(data)} images and {len(labels)} labels, must be equally many")
    return data, labels


def _read_binary(file: Path, num_classes: int, coarse: bool) -> tuple[np.ndarray, np.ndarray]:
    record = 1 + coarse + PIXELS
    content = np.fromfile(file, np.uint8)
    if content.size == 0 or content.size % record:
        raise ValueError(f"{file} has {content.size} bytes, must be a multiple of {record}, the size of a record")
    records = content.reshape(-1, record)
    if coarse:
        check_labels(records[:, 0], COARSE_CLASSES, file)
    return records[:, -PIXELS:], check_labels(records[:, -PIXELS - 1], num_classes, file)


@dataclasses.dataclass(frozen=True)
class _Variant:
    """One way in which CIFAR is published."""

    train: tuple[str, ...]
    test: str
    num_classes: int
    read: Callable[[Path], tuple[np.ndarray, np.ndarray]]
    """Returns images `(n, PIXELS)` uint8 and labels `(n,)`."""

    def files(self, folder: Path) -> list[Path]:
        return [folder / name for name in (*self.train, self.test)]


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
VARIANTS = (
    _Variant(
        tuple(f"{name}.bin" for name in BATCHES), "test_batch.bin", 10, lambda file: _read_binary(file, 10, False)
    ),
    _Variant(("train.bin",), "test.bin", 100, lambda file: _read_binary(file, 100, True)),
    _Variant(BATCHES, "test_batch", 10, lambda file: _read_pickle(file, "labels", 10)),
    _Variant(("train",), "test", 100, lambda file: _read_pickle(file, "fine_labels", 100)),
)


def _variant(folder: Path) -> _Variant | None:
    return next((known for known in VARIANTS if any(file.is_file() for file in known.files(folder))), None)


def is_cifar(folder: Path) -> bool:
    """Whether the folder holds any file of CIFAR-10 or CIFAR-100, binary or pickled."""
    return _variant(folder) is not None


def _part(files: list[Path], known: _Variant) -> Dataset:
    read = [known.read(file) for file in files]
    images = np.concatenate([data for data, _ in read]).reshape(-1, 3, 32, 32)
    return labeled(images, np.concatenate([labels for _, labels in read]), known.num_classes, files[0])


def read_cifar(folder: Path) -> tuple[Dataset, Dataset]:
    """Return the training and test part, images `(n, 3, 32, 32)` in [0, 1]; CIFAR-100 with its 100 fine labels.

    Files may hold fewer images than the published ones.

    Raises:
        FileNotFoundError: a file of the published set is missing.
        ValueError: a wrong size, a label out of range, or a pickle that names more than arrays.
    """
    known = _variant(folder)
    if known is None:
        raise FileNotFoundError(f"{folder} lacks data_batch_1.bin, train.bin, data_batch_1 and train")
    *train, test = known.files(folder)
    for file in (*train, test):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing, must lie beside the other files of CIFAR-{known.num_classes}")
    return _part(train, known), _part([test], known)
