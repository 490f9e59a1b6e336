"""Datasets from disk, recognised by what lies there, and the two that need no files, by name."""

import dataclasses
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core import randomness
from ...core.checks import unknown_name
from .cifar import is_cifar, read_cifar
from .clips import clips
from .dataset import Dataset, digits
from .idx import is_mnist, read_mnist
from .images import is_image_folder, read_image_folder
from .labeled import hold_out, labeled, reading
from .signs_and_flowers import is_flowers, is_gtsrb, read_flowers, read_gtsrb

DATASETS = ("digits", "clips")
CLIPS = 5_120
"""Clips that the name stands for, a tenth of those of Zhao et al."""


def is_npz(file: Path) -> bool:
    """Whether it is a file of NumPy's zipped arrays, whole or not."""
    return file.is_file() and (file.suffix == ".npz" or zipfile.is_zipfile(file))


def _arrays(file: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is not a whole .npz file, must be a zip archive")
    names = ("inputs", "labels", "test_inputs", "test_labels")
    refused = OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error
    with reading(f"{file} is not a readable .npz file", *refused), np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in names if name in archive.files}


def _count_classes(labels: np.ndarray, file: Path) -> int:
    """Return how many classes there are, if they are numbered without gaps."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise ValueError(f"{file}: labels are {labels.dtype} {labels.shape}, must be integers of one axis")
    present = np.unique(labels)
    for expected, label in enumerate(present.tolist()):
        if label != expected:
            raise ValueError(
                f"{file}: labels reach from {present[0]} to {present[-1]} and none is {expected}, must be in "
                "0..num_classes - 1 with samples of each (or give num_classes)"
            )
    return present.size


def read_npz(file: Path, *, num_classes: int | None = None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the training and test part in a file of NumPy arrays.

    It holds `inputs` `(n, ...)` and `labels` `(n,)`, and may hold `test_inputs` and `test_labels`; without them a
    fifth is held out. Bytes are divided by 255, floats stay as they are.

    Args:
        file: written by `numpy.savez` or `numpy.savez_compressed`.
        num_classes: how many there are; None: as many as the labels in training say, which then leave no gap.
        seed: decides what is held out.

    Raises:
        ValueError: not such a file, arrays missing or of the wrong type or shape, labels out of range.
    """
    arrays = _arrays(file)
    tested = any(name.startswith("test_") for name in arrays)
    wanted = ("inputs", "labels", *(("test_inputs", "test_labels") if tested else ()))
    for name in wanted:
        if name not in arrays:
            raise ValueError(f"{file} holds {', '.join(arrays) or 'none'} of the arrays, must hold {', '.join(wanted)}")
        if name.endswith("inputs") and arrays[name].ndim < 2:
            raise ValueError(f"{file}: {name} has shape {arrays[name].shape}, must have at least 2 axes")
    classes = _count_classes(arrays["labels"], file) if num_classes is None else num_classes
    train = labeled(arrays["inputs"], arrays["labels"], classes, file)
    if not tested:
        return hold_out(train, file, seed)
    return train, labeled(arrays["test_inputs"], arrays["test_labels"], classes, file)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """One way in which datasets lie on disk."""

    content: str
    found: Callable[[Path], bool]
    read: Callable[..., tuple[Dataset, Dataset]]
    options: tuple[str, ...] = ()


LAYOUTS = (
    _Layout("an .npz file with inputs and labels", is_npz, read_npz, ("num_classes", "seed")),
    _Layout("a folder with MNIST's IDX files", is_mnist, read_mnist, ("num_classes",)),
    _Layout("a folder with CIFAR's files", is_cifar, read_cifar),
    _Layout("GTSRB's folder with Final_Training and Final_Test", is_gtsrb, read_gtsrb, ("size",)),
    _Layout("Flowers-102's folder with imagelabels.mat and setid.mat", is_flowers, read_flowers, ("size",)),
    _Layout("a folder of class folders with images or clips", is_image_folder, read_image_folder, ("size", "seed")),
)


def read_dataset(
    path: str | Path, *, size: int | None = None, num_classes: int | None = None, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Return the training and test part of a dataset on disk; the layout is recognised by the names of the files.

    Args:
        path: an .npz file, or a folder with MNIST's IDX files, CIFAR's binary or pickled files, GTSRB, Flowers-102,
            class folders of images, or class folders of clips.
        size: height and width that GTSRB (32 unless given), Flowers-102 (64) and class folders are resized to.
        num_classes: classes of IDX files (10 unless given) and .npz files.
        seed: decides what is held out where the layout has no test part.

    Raises:
        FileNotFoundError: the path or a file of the layout is missing.
        ValueError: an unknown layout, an option that it lacks, or whatever its reader refuses, with the file's name.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place} is missing, must be a dataset's file or folder")
    folder = place.is_dir()
    layout = next((each for each in LAYOUTS if (folder or each.found is is_npz) and each.found(place)), None)
    if layout is None:
        raise ValueError(f"{place} is no known dataset, must be {'; '.join(layout.content for layout in LAYOUTS)}")
    given = {"size": size, "num_classes": num_classes}
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        if name not in layout.options:
            raise ValueError(f"{name} is {value}, must be left out for {place}: it is {layout.content}")
    if "seed" in layout.options:
        chosen["seed"] = randomness.check_seed(seed, "seed")
    train, test = layout.read(place, **chosen)
    if train.sample_shape != test.sample_shape:
        raise ValueError(
            f"{place}: samples for testing have shape {test.sample_shape}, must be {train.sample_shape} as in training"
        )
    return train, test


def load_dataset(name_or_path: str, seed: int = 0, *, size: int | None = None) -> tuple[Dataset, Dataset]:
    """Return the training and test part of "digits", "clips" or a dataset on disk.

    Args:
        name_or_path: one of `DATASETS`, or what `read_dataset` reads.
        seed: decides what is held out, and which clips there are.
        size: height and width of clips and of photographs; None: as each says.

    Raises:
        FileNotFoundError: a file of the dataset is missing.
        ValueError: neither a name nor a path, or a dataset that can not be read.
    """
    if name_or_path == "clips":
        return (clips(CLIPS, seed=seed) if size is None else clips(CLIPS, seed=seed, size=size)).split(seed=seed)
    if name_or_path == "digits":
        if size is not None:
            raise ValueError(f"size is {size}, must be left out for digits: they have 8 x 8 pixels")
        return digits().split(seed=randomness.check_seed(seed, "seed"))
    if not Path(name_or_path).exists():
        raise unknown_name("dataset name or path", name_or_path, DATASETS)
    return read_dataset(name_or_path, size=size, seed=seed)
