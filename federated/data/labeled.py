"""What all readers end with: arrays that came out of files become datasets, and errors name the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .dataset import Dataset

TEST_SHARE = 0.2
"""Share of the samples that is held out where the files do not say which."""


@contextlib.contextmanager
def reading(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn the errors of what is damaged or does not fit into a `ValueError` that begins with `what`, the file."""
    try:
        yield
    except errors as error:
        raise ValueError(f"{what}: {error}") from error


def check_labels(labels: np.ndarray, num_classes: int, file: Path) -> np.ndarray:
    """Return labels as int64.

    Raises:
        ValueError: names the file and the first label out of 0..num_classes - 1, or the type or shape.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{file}: labels are {labels.dtype} {labels.shape}, must be integers of one axis")
    for sample in np.flatnonzero((labels < 0) | (labels >= num_classes))[:1]:
        raise ValueError(f"{file}: label of sample {sample} is {labels[sample]}, must be in 0..{num_classes - 1}")
    return labels.astype(np.int64)


def labeled(inputs: np.ndarray, labels: np.ndarray, num_classes: int, file: Path) -> Dataset:
    """Return a dataset of float32 inputs; bytes are divided by 255, floats stay as they are.

    Args:
        inputs: `(n, ...)`, uint8 or floats.
        labels: `(n,)` integers.
        num_classes: labels are below.
        file: named in errors, with what is wrong with the labels.

    Raises:
        ValueError: labels out of range, unequal numbers, no samples, or inputs that are not finite.
    """
    if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
        raise ValueError(f"{file}: inputs are {inputs.dtype}, must be uint8 or floats")
    with np.errstate(over="ignore"):  # What is too large becomes infinite and is refused below.
        values = inputs / np.float32(255) if inputs.dtype == np.uint8 else inputs.astype(np.float32)
    checked = check_labels(labels, num_classes, file)
    with reading(f"{file}", ValueError):
        return Dataset(torch.from_numpy(values), torch.from_numpy(checked), num_classes)


def hold_out(data: Dataset, file: Path, seed: int) -> tuple[Dataset, Dataset]:
    """Split off a fifth for testing.

    Raises:
        ValueError: so few samples that one of the parts is empty.
    """
    with reading(f"{file}", ValueError):
        return data.split(TEST_SHARE, seed)
