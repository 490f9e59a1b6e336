"""Datasets from files that are really written, in every layout, whole and damaged."""

import gzip
import itertools
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin.federated.data import readers
from fedtwin.federated.data.dataset import Dataset, digits
from fedtwin.federated.data.idx import read_idx
from fedtwin.federated.data.images import read_image
from fedtwin.federated.data.readers import load_dataset, read_dataset
from PIL import Image
from scipy.io import savemat

RNG = np.random.Generator(np.random.PCG64(7))
PIXELS = 3072


def bytes_of(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def ubytes(values: Any) -> np.ndarray:
    return np.array(values, np.uint8)


def assert_is(data: Dataset, inputs: np.ndarray, labels: Any, classes: int) -> None:
    """`inputs` are bytes."""
    assert data.inputs.dtype == torch.float32
    np.testing.assert_allclose(data.inputs.numpy(), inputs.astype(np.float64) / 255, atol=1e-7)
    assert data.labels.tolist() == list(labels)
    assert data.num_classes == classes


def refused(path: Path, *parts: str, error: type[Exception] = ValueError, **options: Any) -> None:
    """Hold that reading `path` fails with a message that has all of `parts`."""
    with pytest.raises(error) as caught:
        read_dataset(path, **options)
    for part in parts:
        assert part in str(caught.value)


# IDX


def idx(array: np.ndarray, code: int = 0x08, kind: str = ">u1") -> bytes:
    header = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(kind).tobytes()


def write_mnist(folder: Path, mark: str = "-", zipped: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    content = {"train": (bytes_of(12, 5, 4), np.arange(12) % 10), "t10k": (bytes_of(3, 5, 4), np.array([9, 0, 4]))}
    for part, (images, labels) in content.items():
        for name, array in (("images", images), ("labels", labels)):
            file = folder / f"{part}-{name}{mark}idx{array.ndim}-ubyte{'.gz' if zipped else ''}"
            file.write_bytes(gzip.compress(idx(array), mtime=0) if zipped else idx(array))
    return content


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist(tmp_path: Path, mark: str, zipped: bool) -> None:
    content = write_mnist(tmp_path, mark, zipped)
    for data, (images, labels) in zip(read_dataset(tmp_path), content.values(), strict=True):
        assert_is(data, images[:, None], labels, 10)


@pytest.mark.parametrize(
    ("code", "kind"), [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")]
)
def test_idx_of_every_type(tmp_path: Path, code: int, kind: str) -> None:
    array = np.array([[[0, 1, 2], [100, 127, 5]]]).astype(kind)
    (tmp_path / "values").write_bytes(idx(array, code, f">{kind}"))
    read = read_idx(tmp_path / "values")
    assert read.dtype == np.dtype(kind)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


IMAGES = idx(np.zeros((2, 3, 3)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\1" + IMAGES[1:], "starts with 01 00 08 03"),
        (IMAGES[:2] + b"\x0a" + IMAGES[3:], "starts with 00 00 0a 03"),
        (IMAGES[:3] + b"\0" + IMAGES[4:], "number of dimensions"),
        (b"\0\0", "starts with 00 00,"),
        (b"", "starts with"),
        (IMAGES[:10], "ends after 10 bytes, must hold 3 dimensions"),
        (IMAGES[:-1], "holds 17 bytes of values, must be 18 for shape (2, 3, 3)"),
        (IMAGES + b"x", "holds more bytes of values, must be 18"),
        (IMAGES[:4] + b"\xff" * 12 + IMAGES[16:], "holds 18 bytes of values"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "not a whole gzip file"),
        (gzip.compress(IMAGES, mtime=0)[:12] + b"????" + gzip.compress(IMAGES, mtime=0)[16:], "not a whole gzip file"),
    ],
)
def test_damaged_idx_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        read_idx(file)
    assert str(file) in str(caught.value)


def test_missing_idx() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is missing, must be an IDX file"):
        read_idx("nowhere")


def test_damaged_mnist_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.array([0, 10, 3])))
    refused(tmp_path, str(labels), "label of sample 1 is 10, must be in 0..9")
    assert read_dataset(tmp_path, num_classes=11)[1].labels.tolist() == [0, 10, 3]
    labels.write_bytes(idx(np.array([1, 2])))
    refused(tmp_path, str(labels), "3 inputs and 2 labels")
    labels.write_bytes(idx(np.array([[1, 2, 3]])))
    refused(tmp_path, str(labels), "uint8 of 2 dimensions, must be uint8 of 1")
    labels.write_bytes(idx(np.array([1, 2, 3]), 0x0C, ">i4"))
    refused(tmp_path, str(labels), "holds int32")
    labels.unlink()
    refused(tmp_path, str(tmp_path), "lacks t10k-labels-idx1-ubyte", error=FileNotFoundError)


def test_parts_of_unequal_shape_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(bytes_of(3, 4, 5)))
    refused(tmp_path, str(tmp_path), "(1, 4, 5), must be (1, 5, 4)")


# CIFAR

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def test_cifar10_binary(tmp_path: Path) -> None:
    images, labels = bytes_of(6, 2, PIXELS), RNG.integers(0, 10, (6, 2))
    for name, pixels, classes in zip(BATCHES, images, labels, strict=True):
        records = np.concatenate([classes[:, None].astype(np.uint8), pixels], axis=1)
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    train, test = read_dataset(tmp_path)
    assert_is(train, images[:5].reshape(10, 3, 32, 32), labels[:5].ravel(), 10)
    assert_is(test, images[5].reshape(2, 3, 32, 32), labels[5], 10)
    third = tmp_path / "data_batch_3.bin"
    whole = third.read_bytes()
    third.write_bytes(whole[:-1])
    refused(tmp_path, str(third), "has 6145 bytes, must be a multiple of 3073")
    third.write_bytes(b"")
    refused(tmp_path, str(third), "has 0 bytes")
    third.write_bytes(b"\x0a" + whole[1:])
    refused(tmp_path, str(third), "label of sample 0 is 10, must be in 0..9")
    third.unlink()
    refused(tmp_path, f"{third} is missing", error=FileNotFoundError)


def test_cifar100_binary(tmp_path: Path) -> None:
    images = {"train.bin": bytes_of(3, PIXELS), "test.bin": bytes_of(1, PIXELS)}
    labels = {"train.bin": [[19, 99], [0, 3], [4, 50]], "test.bin": [[1, 7]]}
    for name, pixels in images.items():
        (tmp_path / name).write_bytes(np.concatenate([ubytes(labels[name]), pixels], axis=1).tobytes())
    train, test = read_dataset(tmp_path)
    assert_is(train, images["train.bin"].reshape(-1, 3, 32, 32), [99, 3, 50], 100)
    assert_is(test, images["test.bin"].reshape(-1, 3, 32, 32), [7], 100)
    for record, expected in ((b"\x14\0", "is 20, must be in 0..19"), (b"\0\x64", "is 100, must be in 0..99")):
        (tmp_path / "test.bin").write_bytes(record + bytes(PIXELS))
        refused(tmp_path, str(tmp_path / "test.bin"), expected)
    (tmp_path / "test.bin").write_bytes(bytes(1 + PIXELS))  # A record of CIFAR-10.
    refused(tmp_path, str(tmp_path / "test.bin"), "multiple of 3074")


def python2_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Write {"data": pixels, "labels": labels} as Python 2 and NumPy 1 did, opcode by opcode."""
    shape = b"".join(b"M" + struct.pack("<H", size) for size in pixels.shape) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\0K\1\x87R(K\3U\1|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\0tb"
    raw = b"T" + struct.pack("<I", pixels.nbytes) + pixels.tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
    array = empty + b"(K\1" + shape + dtype + b"\x89" + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\2}(U\4data" + array + b"U\6labels" + numbers + b"u."


def write_pickles(folder: Path, dump: Callable[[np.ndarray, list[int]], bytes]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = bytes_of(6, 2, PIXELS), RNG.integers(0, 10, (6, 2))
    for name, pixels, classes in zip(BATCHES, images, labels, strict=True):
        (folder / name).write_bytes(dump(pixels, classes.tolist()))
    return images, labels


DUMPS: dict[str, Callable[[np.ndarray, list[int]], bytes]] = {
    "Python 2": python2_pickle,
    "protocol 0": lambda pixels, labels: pickle.dumps({"data": pixels, "labels": labels}, 0),
    "protocol 2": lambda pixels, labels: pickle.dumps({b"data": pixels, b"labels": labels}, 2),
    "protocol 4": lambda pixels, labels: pickle.dumps({b"data": pixels, b"labels": labels}, 4),
    "protocol 5": lambda pixels, labels: pickle.dumps({"data": pixels, "labels": labels}, 5),
    "labels of NumPy": lambda pixels, labels: pickle.dumps({"data": pixels, "labels": [*map(np.int32, labels)]}, 4),
    "int64 array": lambda pixels, labels: pickle.dumps({"data": pixels, "labels": np.array(labels)}, 2),
    "int32 array": lambda pixels, labels: pickle.dumps({"data": pixels, "labels": np.array(labels, np.int32)}, 3),
    "uint8 array": lambda pixels, labels: pickle.dumps({"data": pixels, "labels": ubytes(labels)}, 5),
}


@pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)
def test_cifar10_pickles(tmp_path: Path, dump: Callable[[np.ndarray, list[int]], bytes]) -> None:
    images, labels = write_pickles(tmp_path, dump)
    train, test = read_dataset(tmp_path)
    assert_is(train, images[:5].reshape(10, 3, 32, 32), labels[:5].ravel(), 10)
    assert_is(test, images[5].reshape(2, 3, 32, 32), labels[5], 10)


def test_cifar100_pickles(tmp_path: Path) -> None:
    pixels = bytes_of(2, PIXELS)
    for name in ("train", "test"):
        content = {b"data": pixels, b"fine_labels": [99, 0], b"coarse_labels": [1, 2]}
        (tmp_path / name).write_bytes(pickle.dumps(content, 2))
    for data in read_dataset(tmp_path):
        assert_is(data, pixels.reshape(2, 3, 32, 32), [99, 0], 100)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "holds a list"),
        ({b"data": bytes_of(1, PIXELS)}, "holds data, must hold labels"),
        ({b"data": bytes_of(1, 5), b"labels": [1]}, "data is uint8 (1, 5), must be uint8 (n, 3072)"),
        ({b"data": np.zeros((1, PIXELS)), b"labels": [1]}, "data is float64 (1, 3072)"),
        ({b"data": b"pixels", b"labels": [1]}, "data is bytes"),
        ({b"data": bytes_of(1, PIXELS), b"labels": [10]}, "label of sample 0 is 10, must be in 0..9"),
        ({b"data": bytes_of(1, PIXELS), b"labels": [-1]}, "label of sample 0 is -1"),
        ({b"data": bytes_of(1, PIXELS), b"labels": ["cat"]}, "must be a list of integers, or an array of them"),
        ({b"data": bytes_of(1, PIXELS), b"labels": [True]}, "must be a list of integers"),
        ({b"data": bytes_of(1, PIXELS), b"labels": [2**63]}, "must be a list of integers"),
        ({b"data": bytes_of(1, PIXELS), b"labels": [np.float64(1)]}, "must be a list of integers"),
        ({b"data": bytes_of(1, PIXELS), b"labels": (1,)}, "must be a list of integers"),
        ({b"data": bytes_of(1, PIXELS), b"labels": np.array([1.0])}, "labels are float64 (1,), must be integers"),
        (
            {b"data": bytes_of(1, PIXELS), b"labels": np.array([[1]])},
            "labels are int64 (1, 1), must be integers of one",
        ),
        ({b"data": bytes_of(1, PIXELS), b"labels": np.array(1)}, "labels are int64 (), must be integers of one axis"),
        ({b"data": bytes_of(1, PIXELS), b"labels": ubytes([200])}, "label of sample 0 is 200, must be in 0..9"),
        ({b"data": bytes_of(1, PIXELS), b"labels": [1, 2]}, "holds 1 images and 2 labels"),
    ],
)
def test_pickles_of_something_else_are_refused(tmp_path: Path, content: Any, expected: str) -> None:
    write_pickles(tmp_path, DUMPS["protocol 2"])
    (tmp_path / "data_batch_4").write_bytes(pickle.dumps(content, 4))
    refused(tmp_path, str(tmp_path / "data_batch_4"), expected)


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_run_no_code(tmp_path: Path, protocol: int) -> None:
    write_pickles(tmp_path, DUMPS["protocol 2"])
    harm = pickle.dumps({b"data": Harm(tmp_path / "harm"), b"labels": []}, protocol)
    (tmp_path / "test_batch").write_bytes(harm)
    refused(tmp_path, str(tmp_path / "test_batch"), f"it names {os.mkdir.__module__}.mkdir")
    assert not (tmp_path / "harm").exists()
    pickle.loads(harm)
    assert (tmp_path / "harm").exists()  # The pickle would have done it.


# Image folders and clips


def write_image(file: Path, pixels: np.ndarray) -> np.ndarray:
    """Write `(h, w)` or `(h, w, 3)` bytes; return them channels first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def test_image_folder(tmp_path: Path) -> None:
    names = {"train/10": 3, "train/9": 2, "test/10": 1, "test/9": 2}
    images = {
        name: np.stack([write_image(tmp_path / name / f"{i}.png", bytes_of(6, 4, 3)) for i in range(count)])
        for name, count in names.items()
    }
    (tmp_path / "train/9/notes.txt").write_text("no image")
    (tmp_path / "train/9/.hidden.png").write_text("no image")
    train, test = read_dataset(tmp_path)
    assert_is(train, np.concatenate([images["train/9"], images["train/10"]]), [0, 0, 1, 1, 1], 2)
    assert_is(test, np.concatenate([images["test/9"], images["test/10"]]), [0, 0, 1], 2)


def test_image_folder_without_test_part_holds_out_a_fifth(tmp_path: Path) -> None:
    written = [
        write_image(tmp_path / name / f"{i}.bmp", bytes_of(3, 3)) for name, i in itertools.product("ab", range(10))
    ]
    train, test = read_dataset(tmp_path, seed=3)
    assert (len(train), len(test), train.sample_shape) == (16, 4, (1, 3, 3))
    # Together they are what was written, each with the label of its folder.
    found = sorted(
        (int(label), (image * 255).round().int().flatten().tolist())
        for part in (train, test)
        for image, label in zip(part.inputs, part.labels, strict=True)
    )
    assert found == sorted((i // 10, image.ravel().tolist()) for i, image in enumerate(written))
    assert torch.equal(read_dataset(tmp_path, seed=3)[1].inputs, test.inputs)
    assert not torch.equal(read_dataset(tmp_path, seed=4)[1].inputs, test.inputs)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_every_kind(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    Image.new("RGB", (5, 2), (255, 255, 255)).convert(mode).save(file)
    pixels = read_image(file)
    assert pixels.shape == ((1 if mode in {"1", "L", "LA"} else 3), 2, 5)
    assert pixels.dtype == np.uint8
    assert (pixels == 255).all()


def test_transparency_is_dropped(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([9, 9, 9, 10, 20, 30])
    palette.save(tmp_path / "palette.png", transparency=b"\0\x80")
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "whole.png")
    for name in ("palette.png", "whole.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[:, 0, 0], [10, 20, 30])


def test_gray_images_among_colored_ones(tmp_path: Path) -> None:
    gray = write_image(tmp_path / "train/a/0.png", bytes_of(2, 2))
    color = write_image(tmp_path / "train/b/0.png", bytes_of(2, 2, 3))
    for name in "ab":
        write_image(tmp_path / "test" / name / "0.png", bytes_of(2, 2, 3))
    assert_is(read_dataset(tmp_path)[0], np.stack([np.repeat(gray, 3, axis=0), color]), [0, 1], 2)


def test_images_are_resized_on_demand(tmp_path: Path) -> None:
    for i, name in enumerate("ab"):
        for part in ("train", "test"):
            shape = (4 + i, 6)
            write_image(tmp_path / part / name / "x.png", np.full(shape, 51 * (i + 1), np.uint8))
    odd = tmp_path / "train/b/x.png"
    refused(tmp_path, str(odd), "has 5 x 6 pixels, must have 4 x 6 like")
    train, _ = read_dataset(tmp_path, size=3)
    assert_is(train, np.stack([np.full((1, 3, 3), 51), np.full((1, 3, 3), 102)]), [0, 1], 2)
    refused(tmp_path, "size is 0, must be an integer of at least 1", size=0)


def test_clips_from_folders(tmp_path: Path) -> None:
    clips = {}
    for part, (name, clip) in itertools.product(("train", "test"), itertools.product(("wave", "walk"), (1, 2))):
        folder = tmp_path / part / name / f"clip{clip}"
        # frame10 comes after frame9.
        frames = [write_image(folder / f"frame{i}.png", bytes_of(4, 5)) for i in (8, 9, 10)]
        clips[part, name, clip] = np.stack(frames)
    for part, data in zip(("train", "test"), read_dataset(tmp_path), strict=True):
        expected = np.stack([clips[part, name, clip] for name, clip in itertools.product(("walk", "wave"), (1, 2))])
        assert data.inputs.shape == (4, 3, 1, 4, 5)
        assert_is(data, expected, [0, 0, 1, 1], 2)
    (tmp_path / "train/wave/clip2/frame9.png").unlink()
    refused(tmp_path, str(tmp_path / "train/wave/clip2"), "holds 2 frames, must hold 3")
    for file in (tmp_path / "train/wave/clip2").iterdir():
        file.unlink()
    refused(tmp_path, f"{tmp_path / 'train/wave/clip2'} holds no frames")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for part, name, i in itertools.product(("train", "test"), "ab", range(2)):
        write_image(tmp_path / part / name / f"{i}.png", bytes_of(20, 20))
    return tmp_path


def test_truncated_and_foreign_images_are_refused(images: Path) -> None:
    file = images / "test/b/1.png"
    whole = file.read_bytes()
    assert len(read_dataset(images)[1]) == 4
    for content in (whole[:-200], whole[:4], b"", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        file.write_bytes(content)
        refused(images, f"{file} is not a readable image")
    Image.fromarray(bytes_of(20, 20)).save(file, format="GIF")  # Readable, but not a format that is admitted.
    refused(images, f"{file} is not a readable image")
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(file, format="PNG")
    refused(images, f"{file} is not a readable image: its mode is I;16")


def test_empty_and_unequal_classes_are_refused(images: Path) -> None:
    (images / "train/c").mkdir()
    refused(images, f"{images}: only one of train and test has c")
    (images / "test/c").mkdir()
    refused(images, f"{images / 'train/c'} holds no images, must hold at least 1")
    refused(images / "train/c", "is no known dataset", "a folder with CIFAR's files")
    (images / "train").rename(images / "elsewhere")
    refused(images, f"{images / 'train'} is missing", error=FileNotFoundError)
    (images / "test").rename(images / "alone")
    (images / "elsewhere").rename(images / "alone" / "inner")
    refused(images, f"{images} holds 1 folders, must hold one for each class, at least 2")


def test_too_few_images_to_hold_any_out(tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / name / "0.png", bytes_of(2, 2))
    refused(tmp_path, str(tmp_path), "test_share is 0.2 of 2 samples")


# GTSRB and Flowers-102

SIGNS = ("Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")


def write_signs(folder: Path, table: Path, colors: list[int], labels: list[int]) -> None:
    rows = [";".join(SIGNS)]
    for i, (color, label) in enumerate(zip(colors, labels, strict=True)):
        write_image(folder / f"{i:05d}.ppm", np.full((10 + i, 12, 3), color, np.uint8))
        rows.append(f"{i:05d}.ppm;12;{10 + i};1;1;9;9;{label}")
    table.write_text("\n".join(rows) + "\n")


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    training, testing = tmp_path / "Final_Training/Images", tmp_path / "Final_Test/Images"
    write_signs(training / "00000", training / "00000/GT-00000.csv", [10, 20], [0, 0])
    write_signs(training / "00042", training / "00042/GT-00042.csv", [30], [42])
    write_signs(testing, testing / "GT-final_test.csv", [40, 50], [42, 7])
    return tmp_path


def test_gtsrb(signs: Path) -> None:
    train, test = read_dataset(signs)
    assert_is(train, np.broadcast_to(ubytes([10, 20, 30])[:, None, None, None], (3, 3, 32, 32)), [0, 0, 42], 43)
    assert_is(test, np.broadcast_to(ubytes([40, 50])[:, None, None, None], (2, 3, 32, 32)), [42, 7], 43)
    assert read_dataset(signs, size=8)[0].sample_shape == (3, 8, 8)
    # The published archives put the test's classes above the folders.
    (signs / "Final_Test/Images/GT-final_test.csv").rename(signs / "GT-final_test.csv")
    assert read_dataset(signs)[1].labels.tolist() == [42, 7]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("9;42\n", "9;43\n", "label of sample 0 is 43, must be in 0..42"),
        ("9;42\n", "9;-1\n", "ClassId '-1', must be"),
        ("9;42\n", "\n", "ClassId ''"),
        ("00000.ppm", "../00000.ppm", "Filename is '../00000.ppm'"),
        (";", ",", "its columns are"),
        ("\n00000.ppm;12;10;1;1;9;9;42\n00001.ppm;12;11;1;1;9;9;7", "", "lists no images"),
    ],
)
def test_damaged_tables_of_gtsrb_are_refused(signs: Path, old: str, new: str, expected: str) -> None:
    table = signs / "Final_Test/Images/GT-final_test.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    refused(signs, str(table), expected)


def test_missing_and_misplaced_signs_are_refused(signs: Path) -> None:
    table = signs / "Final_Training/Images/00042/GT-00042.csv"
    table.write_text(table.read_text().replace("9;42", "9;41"))
    refused(signs, str(table), "gives 00000.ppm the ClassId 41")
    table.write_text(table.read_text().replace("9;41", "9;42"))
    (signs / "Final_Test/Images/00001.ppm").unlink()
    refused(signs, f"{signs / 'Final_Test/Images/00001.ppm'} is missing", error=FileNotFoundError)
    table.unlink()
    refused(signs, f"{table} is missing", error=FileNotFoundError)
    (signs / "Final_Test").rename(signs / "gone")
    refused(signs, "Final_Test", "is missing", error=FileNotFoundError)


FLOWERS = {"trnid": [1, 4], "valid": [2], "tstid": [5, 3]}


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    for number in range(1, 6):
        write_image(tmp_path / f"jpg/image_{number:05d}.jpg", np.full((9, 30, 3), 40 * number, np.uint8))
    savemat(tmp_path / "imagelabels.mat", {"labels": ubytes([[102, 1, 2, 3, 50]])})
    savemat(tmp_path / "setid.mat", {name: np.array([ids]) for name, ids in FLOWERS.items()})
    return tmp_path


def test_flowers(flowers: Path) -> None:
    train, test = read_dataset(flowers)
    assert train.sample_shape == (3, 64, 64)
    assert (train.labels.tolist(), test.labels.tolist()) == ([101, 2, 0], [49, 1])
    assert train.num_classes == test.num_classes == 102
    for data, numbers in ((train, [1, 4, 2]), (test, [5, 3])):
        np.testing.assert_allclose(data.inputs.mean(dim=(1, 2, 3)), 40 * np.array(numbers) / 255, atol=0.01)
    assert read_dataset(flowers, size=16)[1].sample_shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("imagelabels.mat", {"labels": ubytes([[1, 2, 103, 4, 5]])}, "label 103 must be in 1..102"),
        ("imagelabels.mat", {"labels": ubytes([[1, 0, 3, 4, 5]])}, "label 0 must be"),
        ("imagelabels.mat", {"labels": np.array([[0.5]])}, "labels is float64 (1, 1), must be integers"),
        ("imagelabels.mat", {"names": ubytes([[1]])}, "lacks labels"),
        ("setid.mat", {**FLOWERS, "tstid": np.array([[6]])}, "number 6 must be in 1..5"),
        ("setid.mat", {**FLOWERS, "tstid": np.array([[4]])}, "number 4 more than once"),
        ("setid.mat", {"trnid": np.array([[1]])}, "lacks valid"),
    ],
)
def test_damaged_tables_of_flowers_are_refused(
    flowers: Path, file: str, change: dict[str, np.ndarray], expected: str
) -> None:
    savemat(flowers / file, change)
    refused(flowers, str(flowers / file), expected)


def test_missing_and_truncated_files_of_flowers(flowers: Path) -> None:
    (flowers / "jpg/image_00003.jpg").unlink()
    refused(flowers, "image_00003.jpg is missing", error=FileNotFoundError)
    labels = flowers / "imagelabels.mat"
    labels.write_bytes(labels.read_bytes()[:150])
    refused(flowers, f"{labels} is not a readable MATLAB file")
    labels.unlink()
    refused(flowers, f"{labels} is missing", error=FileNotFoundError)


# NumPy's archives


def test_npz(tmp_path: Path) -> None:
    file, inputs, labels = tmp_path / "data.npz", bytes_of(5, 2, 3), np.array([0, 1, 2, 1, 0])
    np.savez(file, inputs=inputs, labels=labels, test_inputs=inputs[:2], test_labels=ubytes([2, 2]))
    train, test = read_dataset(file)
    assert_is(train, inputs, labels, 3)
    assert_is(test, inputs[:2], [2, 2], 3)
    floats = np.array([[-2.0], [3.5], [0.0], [1.0], [9.0]])
    np.savez_compressed(file, inputs=floats, labels=labels)
    train, test = read_dataset(file)
    assert (len(train), len(test), train.inputs.dtype) == (4, 1, torch.float32)
    assert sorted([*train.inputs.flatten().tolist(), *test.inputs.flatten().tolist()]) == [-2.0, 0.0, 1.0, 3.5, 9.0]
    assert {train.num_classes, test.num_classes} == {3}
    assert read_dataset(file, num_classes=7)[0].num_classes == 7


GOOD = {"inputs": np.zeros((6, 2)), "labels": np.array([0, 1, 0, 1, 0, 1])}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"labels": np.array([0, 1, 0, 1, 0, -1])}, "labels reach from -1 to 1 and none is 0"),
        ({"labels": np.array([0, 1, 0, 1, 0, 3])}, "labels reach from 0 to 3 and none is 2"),
        ({"labels": np.zeros(6)}, "labels are float64 (6,)"),
        ({"labels": np.zeros((6, 1), int)}, "labels are int64 (6, 1)"),
        ({"labels": np.array([0, 1])}, "6 inputs and 2 labels"),
        ({"labels": np.zeros(0, int)}, "labels are int64 (0,)"),
        ({"inputs": np.zeros(6)}, "inputs has shape (6,), must have at least 2 axes"),
        ({"inputs": np.zeros((6, 2), int)}, "inputs are int64, must be uint8 or floats"),
        ({"inputs": np.full((6, 2), np.nan)}, "finite"),
        ({"inputs": np.full((6, 2), 1e300)}, "finite"),
        ({"inputs": np.array([["a", None]] * 6, dtype=object)}, "not a readable .npz file: Object arrays"),
        ({"test_inputs": np.zeros((1, 2))}, "must hold inputs, labels, test_inputs, test_labels"),
        ({"test_inputs": np.zeros((1, 2)), "test_labels": np.array([2])}, "label of sample 0 is 2, must be in 0..1"),
        ({"test_inputs": np.zeros((1, 3)), "test_labels": np.array([1])}, "shape (3,), must be (2,)"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path: Path, change: dict[str, np.ndarray], expected: str) -> None:
    np.savez(tmp_path / "data.npz", **{**GOOD, **change})  # type: ignore[arg-type]
    refused(tmp_path / "data.npz", str(tmp_path / "data.npz"), expected)


def test_damaged_npz_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    np.savez(file, labels=GOOD["labels"])
    refused(file, str(file), "holds labels of the arrays, must hold inputs, labels")
    np.savez(file, **GOOD)  # type: ignore[arg-type]
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    refused(file, f"{file} is not a whole .npz file")
    file.write_bytes(whole.replace(b"'descr'", b"'descr?"))
    refused(file, f"{file} is not a readable .npz file")


# By name, and what is recognised


def test_datasets_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = load_dataset("digits", seed=2)
    assert (len(train), len(test)) == (1438, 359)
    assert torch.equal(test.inputs, digits().split(0.2, 2)[1].inputs)
    monkeypatch.setattr(readers, "CLIPS", 40)
    train, test = load_dataset("clips", seed=2, size=9)
    assert (len(train), len(test), train.sample_shape, train.num_classes) == (32, 8, (10, 1, 9, 9), 8)
    assert not torch.equal(load_dataset("clips", seed=3, size=9)[0].inputs, train.inputs)
    with pytest.raises(ValueError, match="size is 9, must be left out for digits"):
        load_dataset("digits", size=9)


def test_datasets_by_path(tmp_path: Path) -> None:
    content = write_mnist(tmp_path)
    assert_is(load_dataset(str(tmp_path))[1], content["t10k"][0][:, None], content["t10k"][1], 10)


def test_neither_name_nor_path() -> None:
    with pytest.raises(ValueError, match=r"unknown dataset name or path 'digts'; did you mean 'digits'\?"):
        load_dataset("digts")
    with pytest.raises(FileNotFoundError, match="no-such-folder is missing"):
        read_dataset("no-such-folder")


def test_options_that_a_layout_lacks_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    refused(tmp_path, "size is 8, must be left out", "MNIST", size=8)
    np.savez(tmp_path / "data.npz", **GOOD)  # type: ignore[arg-type]
    refused(tmp_path / "data.npz", "seed is -1", seed=-1)
    refused(tmp_path / "train-images-idx3-ubyte", "is no known dataset")
