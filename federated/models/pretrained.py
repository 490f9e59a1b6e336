"""Pretrained weights from a file of the user's own, in the names they are published under."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..data.labeled import reading
from .split_model import SplitModel

Replacement = str | Callable[[re.Match[str]], str]

LEFT_OUT = re.compile(r"^pooler\.|\.num_batches_tracked$")
"""What files hold and the models here do not need: the pooler of vision transformers, counters of batches."""


def _next_block(match: re.Match[str]) -> str:
    """Stage or layer i, counted from 0, is block i + 1: block 0 embeds."""
    return f"{int(match[1]) + 1}."


def _torchvision_layer(match: re.Match[str]) -> str:
    """Convolutions and normalisations are counted from 1 in torchvision."""
    kind = {"conv": "convolution", "bn": "normalization"}[match[3]]
    return f"{match[1]}.layers.{match[2]}.layer.{int(match[4]) - 1}.{kind}."


RULES: tuple[tuple[str, Replacement], ...] = (
    (r"^(resnet|vit)\.", ""),
    (r"^(embedder|embeddings)\.", "0."),
    (r"^encoder\.stages\.(\d+)\.", _next_block),
    (r"^(?:encoder\.layer|layers)\.(\d+)\.", _next_block),
    (r"\.attention\.attention\.([qkv])(uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^layernorm\.", "last.norm."),
    (r"^conv1\.", "0.embedder.convolution."),
    (r"^bn1\.", "0.embedder.normalization."),
    (r"^layer(\d+)\.(\d+)\.downsample\.0\.", r"\1.layers.\2.shortcut.convolution."),
    (r"^layer(\d+)\.(\d+)\.downsample\.1\.", r"\1.layers.\2.shortcut.normalization."),
    (r"^layer(\d+)\.(\d+)\.(conv|bn)(\d)\.", _torchvision_layer),
    (r"^(classifier\.1|classifier|fc)\.", "last.classifier."),
)
"""Published names, of transformers and of torchvision, to the names of the blocks here, one rule after the other."""


def _renamed(name: str, blocks: int) -> str:
    """Return the name of a tensor of a file as a model of so many blocks calls it."""
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^last\.", f"{blocks - 1}.", name)


def _plain(name: str) -> str:
    """Return the name of a tensor of a model without the wrappers for frames and for adapters."""
    return re.sub(r"\.(module|base_layer)(?=\.)", "", name)


def _read(path: Path) -> dict[str, Tensor]:
    """Read named tensors from safetensors or from a torch state dict; nothing in the file is run."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    refused = SafetensorError, UnpicklingError, RuntimeError, EOFError
    with reading(f"{path} is neither safetensors nor a torch state dict, or is damaged", *refused):
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds a {type(found).__name__}, must hold a state dict: tensors by name")
    return found


def _covered(name: str, prefixes: Sequence[str]) -> bool:
    """Whether the name is one of the prefixes, or lies below one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _shown(names: set[str]) -> str:
    """Return how many names there are, and the first three."""
    return f"{len(names)} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"


def _check(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Check that a file holds what a model wants, no less and no more, in the same shapes."""
    missing, foreign = set(wanted) - set(found), set(found) - set(wanted)
    if missing or foreign:
        raise ValueError(
            f"{path} does not fit the model: tensors that it lacks: {_shown(missing)}, "
            f"tensors that the model lacks: {_shown(foreign)}"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            given, limit = tuple(found[name].shape), tuple(tensor.shape)
            raise ValueError(f"{name} in {path} has shape {given}, must be {limit}; keep leaves a tensor as it is")


def load_pretrained(model: SplitModel, path: str | Path, keep: Sequence[str] = ()) -> None:
    """Copy weights from a file into a model of `large_models`; adapters that the file lacks stay as they are.

    Names may be the model's own, or those under which transformers and torchvision publish ResNets and transformers
    vision transformers. A ResNet-50 for ImageNet goes into `resnet50_lstm` with `keep=("5", "6")`, a vision
    transformer of b blocks gets a classifier for other classes with `keep=(f"{b - 1}.classifier",)`.

    Args:
        model: changed in place, only if the whole file fits.
        path: safetensors (by its suffix), or a torch state dict.
        keep: names, or beginnings of names up to a dot, of the model's tensors that are not loaded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged or foreign file, names or shapes that do not fit, or a `keep` that the model lacks.
    """
    path = Path(path)
    own = {_plain(name): tensor for name, tensor in model.state_dict().items()}
    for prefix in keep:
        if not any(_covered(name, [prefix]) for name in own):
            raise ValueError(f"keep has {prefix!r}, must be the beginning of a name: the model has {_shown(set(own))}")
    read = {_plain(_renamed(name, len(model))): tensor for name, tensor in _read(path).items()}
    found = {n: t for n, t in read.items() if not _covered(n, keep) and not LEFT_OUT.search(n)}
    wanted = {n: t for n, t in own.items() if not _covered(n, keep) and (".lora_" not in n or n in found)}
    _check(path, found, wanted)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
