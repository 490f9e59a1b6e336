"""Two published sets of photographs: German traffic signs (GTSRB) and Oxford's flowers (Flowers-102)."""

import csv
from pathlib import Path

import numpy as np

from ...core.matlab import read_matrices
from .dataset import Dataset
from .images import folders, read_images
from .labeled import check_labels, labeled, reading

SIGN_CLASSES = 43
FLOWER_CLASSES = 102


def is_gtsrb(root: Path) -> bool:
    """Whether the folder holds a part of GTSRB."""
    return (root / "Final_Training").is_dir() or (root / "Final_Test").is_dir()


def _rows(table: Path) -> list[tuple[str, str]]:
    """Return Filename and ClassId of each row of a table of GTSRB."""
    if not table.is_file():
        raise FileNotFoundError(f"{table} is missing, must list images and their ClassId")
    refused = reading(f"{table} is no table of GTSRB", csv.Error, ValueError)
    with refused, table.open(newline="", encoding="utf-8", errors="replace") as stream:
        reader = csv.DictReader(stream, delimiter=";", restval="")
        if not {"Filename", "ClassId"} <= set(reader.fieldnames or ()):
            raise ValueError(f"its columns are {reader.fieldnames}, must be Filename, ..., ClassId")
        return [(row["Filename"], row["ClassId"]) for row in reader]


def _sign_list(table: Path, folder: Path) -> tuple[list[Path], np.ndarray]:
    """Return the images in `folder` that a table lists, and their classes."""
    files, labels = [], []
    for name, label in _rows(table):
        if not label.isdecimal() or not name or Path(name).name != name:
            raise ValueError(
                f"{table}: Filename is {name!r} and ClassId {label!r}, must be a name without folder and an integer"
            )
        files.append(folder / name)
        labels.append(int(label))
    if not files:
        raise ValueError(f"{table} lists no images, must list at least 1")
    return files, check_labels(np.array(labels), SIGN_CLASSES, table)


def _training_signs(root: Path) -> tuple[list[Path], np.ndarray]:
    files: list[Path] = []
    labels = []
    for group in folders(root):
        table = group / f"GT-{group.name}.csv"
        listed, classes = _sign_list(table, group)
        for file, label in zip(listed, classes, strict=True):
            if group.name != f"{label:05d}":
                raise ValueError(f"{table} gives {file.name} the ClassId {label}, must be that of its folder")
        files += listed
        labels.append(classes)
    if not files:
        raise ValueError(f"{root} holds no folders, must hold 00000 to {SIGN_CLASSES - 1:05d}")
    return files, np.concatenate(labels)


def read_gtsrb(root: Path, *, size: int = 32) -> tuple[Dataset, Dataset]:
    """Return the training and test part of GTSRB, whole images resized to `(n, 3, size, size)` in [0, 1].

    Final_Training/Images has a folder for each class, 00000 and so on, with GT-00000.csv; GT-final_test.csv lies in
    Final_Test/Images or in `root`.

    Raises:
        FileNotFoundError: a folder, table or image is missing.
        ValueError: a table that can not be read, a class out of 0..42 or other than its folder's, unreadable images.
    """
    training, testing = root / "Final_Training" / "Images", root / "Final_Test" / "Images"
    for folder in (training, testing):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing, must hold images of GTSRB")
    answers = [place / "GT-final_test.csv" for place in (testing, root)]
    test_files, test_labels = _sign_list(next(filter(Path.is_file, answers), answers[0]), testing)
    files, labels = _training_signs(training)
    train = labeled(read_images(files, size), labels, SIGN_CLASSES, training)
    return train, labeled(read_images(test_files, size), test_labels, SIGN_CLASSES, testing)


def is_flowers(root: Path) -> bool:
    """Whether the folder holds a table of Flowers-102."""
    return (root / "imagelabels.mat").is_file() or (root / "setid.mat").is_file()


def _matrices(file: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Return arrays of a MATLAB file as one axis of integers each."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, must hold {', '.join(names)}")
    content = read_matrices(file)
    for name in names:
        if name not in content:
            raise ValueError(f"{file} lacks {name}, must hold {', '.join(names)}")
        array = content[name]
        if array.dtype.kind not in "iu" or array.size == 0:
            raise ValueError(f"{file}: {name} is {array.dtype} {array.shape}, must be integers, at least 1")
    return [content[name].astype(np.int64).ravel() for name in names]


def _check_range(values: np.ndarray, highest: int, what: str, file: Path) -> None:
    for value in values[(values < 1) | (values > highest)][:1]:
        raise ValueError(f"{file}: {what} {value} must be in 1..{highest}")


def read_flowers(root: Path, *, size: int = 64) -> tuple[Dataset, Dataset]:
    """Return the training and test part of Flowers-102, whole images resized to `(n, 3, size, size)` in [0, 1].

    jpg has image_00001.jpg and so on, imagelabels.mat their labels 1 to 102, and setid.mat the numbers of those for
    training (trnid, and valid, which is added) and testing (tstid). Labels become 0 to 101.

    Raises:
        FileNotFoundError: a table or image is missing.
        ValueError: a table that can not be read, a label or number out of range or given twice, unreadable images.
    """
    (labels,) = _matrices(root / "imagelabels.mat", ("labels",))
    _check_range(labels, FLOWER_CLASSES, "label", root / "imagelabels.mat")
    sets = root / "setid.mat"
    training, validation, testing = _matrices(sets, ("trnid", "valid", "tstid"))
    everything = np.concatenate([training, validation, testing])
    _check_range(everything, labels.size, "number", sets)
    numbers, uses = np.unique(everything, return_counts=True)
    for number in numbers[uses > 1][:1]:
        raise ValueError(f"{sets} gives number {number} more than once, must be at most once")

    def part(chosen: np.ndarray) -> Dataset:
        files = [root / "jpg" / f"image_{number:05d}.jpg" for number in chosen]
        return labeled(read_images(files, size), labels[chosen - 1] - 1, FLOWER_CLASSES, sets)

    return part(np.concatenate([training, validation])), part(testing)
