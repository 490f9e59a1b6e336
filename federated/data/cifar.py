"""CIFAR-10 and CIFAR-100, as binary files and as the pickles for Python, which may not run code here."""

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset
from .labeled import check_labels, labeled, reading

PIXELS = 3 * 32 * 32
"""Bytes of an image: the red plane, the green, the blue, row by row."""

COARSE_CLASSES = 20
"""Superclasses of CIFAR-100; its binary files give them before the class."""

ALLOWED = frozenset(
    {("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
)
"""All that a pickle may name: what NumPy arrays are pickled as, up to protocol 4."""


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain Python values and NumPy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of `ALLOWED`; NumPy 1 called `numpy._core` `numpy.core`.

        Raises:
            ValueError: anything else; it is not even imported.
        """
        today = module.replace("numpy.core.", "numpy._core.")
        if (today, name) not in ALLOWED:
            raise ValueError(f"it names {module}.{name}, must name nothing but NumPy arrays")
        return super().find_class(today, name)


def load_arrays(file: Path) -> Any:
    """Return what a pickle holds, as long as it holds plain values and NumPy arrays; strings of Python 2 are bytes.

    Raises:
        ValueError: not a pickle, a truncated one, or one that names anything else (which is given).
    """
    # A damaged pickle can raise anything.
    with file.open("rb") as stream, reading(f"{file} is refused as a pickle of arrays", Exception):
        return _ArrayUnpickler(stream, encoding="bytes").load()


def _read_pickle(file: Path, labels_key: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    content = load_arrays(file)
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
    labels = by_name[labels_key]
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ValueError(f"{file}: {labels_key} must be a list of integers")
    if len(labels) != len(data):
        raise ValueError(f"{file} holds {len(data)} images and {len(labels)} labels, must be equally many")
    return data, check_labels(np.array(labels, dtype=np.int64), num_classes, file)


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
