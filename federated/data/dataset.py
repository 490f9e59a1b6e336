"""Datasets in memory: labelled tensors, and the digits that scikit-learn ships."""

import dataclasses
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...core import randomness


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Samples with their labels."""

    inputs: Tensor
    """`(n, ...)` floats: images `(n, channels, height, width)`, clips `(n, frames, channels, height, width)`."""
    labels: Tensor
    """`(n,)` int64 in 0..num_classes - 1."""
    num_classes: int

    def __post_init__(self) -> None:
        """Check shapes and labels.

        Raises:
            ValueError: no samples, unequal lengths, inputs that are not finite floats, or labels out of range.
        """
        count = self.labels.numel()
        if count == 0:
            raise ValueError("the dataset has no samples, must have at least 1")
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1:
            raise ValueError(f"labels are {self.labels.dtype} {tuple(self.labels.shape)}, must be int64 of one axis")
        if len(self.inputs) != count:
            raise ValueError(f"there are {len(self.inputs)} inputs and {count} labels, must be equally many")
        if not self.inputs.is_floating_point() or not bool(torch.isfinite(self.inputs).all()):
            raise ValueError(f"inputs are {self.inputs.dtype}, must be finite floats")
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= self.num_classes:
            raise ValueError(f"labels reach from {lowest} to {highest}, must be in 0..{self.num_classes - 1}")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.inputs.shape[1:])

    def take(self, index: Tensor) -> Self:
        """Return the samples at `index`."""
        return dataclasses.replace(self, inputs=self.inputs[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> Self:
        """Return the samples on `device`."""
        return dataclasses.replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))

    def split(self, test_share: float = 0.2, seed: int = 0) -> tuple[Self, Self]:
        """Shuffle and return a training and a held-out part.

        Raises:
            ValueError: a share that leaves one of them empty.
        """
        held_out = round(len(self) * test_share)
        if not 0 < held_out < len(self):
            raise ValueError(f"test_share is {test_share} of {len(self)} samples, must leave at least 1 on either side")
        order = torch.from_numpy(randomness.generator(seed, 0, 0).permutation(len(self)))
        return self.take(order[held_out:]), self.take(order[:held_out])


def check_whole(value: Any, name: str, least: int) -> int:
    """Return `value` as an integer.

    Raises:
        ValueError: it is none, or below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}, must be an integer of at least {least}")
    return int(value)


def digits() -> Dataset:
    """Return the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships, `(1797, 1, 8, 8)` in [0, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    inputs = torch.as_tensor(bunch.images, dtype=torch.float32)[:, None] / 16.0
    return Dataset(inputs, torch.as_tensor(bunch.target, dtype=torch.int64), 10)
