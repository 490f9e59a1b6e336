"""Image files, folders of them and folders of clips."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .dataset import Dataset, check_whole
from .labeled import hold_out, labeled, reading

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may decode; some of its other formats start programs."""
ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
GRAY = ("1", "L", "LA")
COLOR = ("CMYK", "P", "RGB", "RGBA", "YCbCr")


def read_image(path: str | Path, size: int | None = None) -> np.ndarray:
    """Return an image as bytes, `(channels, height, width)`; transparency is dropped.

    Args:
        path: a file in one of `FORMATS`.
        size: height and width to resize to, without regard to its proportions; None: as it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a readable image, or not one of 8 bits a channel.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, must be an image")
    if size is not None:
        check_whole(size, "size", 1)
    refused = OSError, SyntaxError, ValueError, Image.DecompressionBombError
    with reading(f"{file} is not a readable image", *refused), Image.open(file, formats=FORMATS) as image:
        if image.mode not in GRAY + COLOR:
            raise ValueError(f"its mode is {image.mode}, must be one of {', '.join(GRAY + COLOR)}")
        plain = image.convert("RGBA") if image.mode == "P" else image
        plain = plain.convert("L" if image.mode in GRAY else "RGB")
    if size is not None:
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_images(files: Sequence[Path], size: int | None = None) -> np.ndarray:
    """Return images as bytes, `(n, channels, height, width)`; gray ones among coloured ones become coloured.

    Raises:
        FileNotFoundError, ValueError: as `read_image`, or images of unequal height or width.
    """
    images = [read_image(file, size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape[1:] != images[0].shape[1:]:
            (height, width), (first_height, first_width) = image.shape[1:], images[0].shape[1:]
            raise ValueError(
                f"{file} has {height} x {width} pixels, must have {first_height} x {first_width} like {files[0]} "
                "(or give a size to resize to)"
            )
    shape = max(len(image) for image in images), *images[0].shape[1:]
    return np.stack([np.broadcast_to(image, shape) for image in images])


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort frame2 before frame10."""
    pieces = re.findall(r"([0-9]+)|([^0-9]+)", path.name)
    return [(int(digits or 0), letters) for digits, letters in pieces], path.name


def folders(root: Path) -> list[Path]:
    """Return the folders in a folder, in natural order, without hidden ones."""
    return sorted((path for path in root.iterdir() if path.is_dir() and path.name[0] != "."), key=_natural)


def image_files(root: Path) -> list[Path]:
    """Return the images in a folder, in natural order, without hidden ones."""
    found = (path for path in root.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != ".")
    return sorted((path for path in found if path.is_file()), key=_natural)


def _samples(group: Path, as_clips: bool) -> list[list[Path]]:
    """Return the frames of each sample of a class; an image is a sample of one frame."""
    clips = {clip: image_files(clip) for clip in folders(group)} if as_clips else {}
    for clip, frames in clips.items():
        if not frames:
            raise ValueError(f"{clip} holds no frames, must hold at least 1 image")
    samples = list(clips.values()) if as_clips else [[file] for file in image_files(group)]
    if not samples:
        raise ValueError(f"{group} holds no {'clips' if as_clips else 'images'}, must hold at least 1")
    return samples


def _read_classes(root: Path, groups: list[Path], size: int | None) -> Dataset:
    """Return the images or clips in the class folders `groups`."""
    if len(groups) < 2:
        raise ValueError(f"{root} holds {len(groups)} folders, must hold one for each class, at least 2")
    as_clips = not image_files(groups[0]) and bool(folders(groups[0]))
    by_class = [_samples(group, as_clips) for group in groups]
    samples = [sample for group in by_class for sample in group]
    first = samples[0]
    for sample in samples:
        if len(sample) != len(first):
            raise ValueError(
                f"{sample[0].parent} holds {len(sample)} frames, must hold {len(first)} like {first[0].parent}"
            )
    images = read_images([file for sample in samples for file in sample], size)
    inputs = images.reshape(len(samples), len(first), *images.shape[1:]) if as_clips else images
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in by_class])
    return labeled(inputs, labels, len(groups), root)


def _is_divided(root: Path) -> bool:
    """Whether the folder is divided into train and test, rather than having a class of that name."""
    return any((root / part).is_dir() and not image_files(root / part) for part in ("train", "test"))


def is_image_folder(root: Path) -> bool:
    """Whether the folder holds folders."""
    return bool(folders(root))


def read_image_folder(root: Path, *, size: int | None = None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the training and test part of a folder of images or of clips.

    A class is a folder of images, or of clips, which are folders of frames; names are sorted naturally (frame2 before
    frame10) and give labels and frames their order. The classes lie in `root`, and a fifth is held out, or in
    root/train and root/test alike; other folders beside these two are not read.

    Args:
        root: the folder.
        size: height and width to resize to; None: all images must agree.
        seed: decides what is held out.

    Returns:
        Inputs `(n, channels, height, width)`, of clips `(n, frames, channels, height, width)`, in [0, 1].

    Raises:
        FileNotFoundError: one of train and test is missing.
        ValueError: empty classes, unequal classes, frames or sizes, or unreadable images.
    """
    if not _is_divided(root):
        return hold_out(_read_classes(root, folders(root), size), root, seed)
    groups = []
    for part in (root / "train", root / "test"):
        if not part.is_dir():
            raise FileNotFoundError(f"{part} is missing, must lie in {root} beside the other part")
        groups.append(folders(part))
    train_names, test_names = ([group.name for group in part] for part in groups)
    if train_names != test_names:
        odd = sorted(set(train_names) ^ set(test_names))
        raise ValueError(f"{root}: only one of train and test has {', '.join(odd)}, must have the same classes")
    return _read_classes(root / "train", groups[0], size), _read_classes(root / "test", groups[1], size)
