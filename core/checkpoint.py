"""Tensors and plain values in one file: safetensors with JSON beside them, nothing that could run on loading."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from .arrays import Array
from .files import write_atomically

if TYPE_CHECKING:
    import torch

VALUES = "values"


def write_checkpoint(path: Path, tensors: "Mapping[str, torch.Tensor]", values: Mapping[str, Any]) -> None:
    """Write tensors and JSON-compatible values to `path`, whole or not at all."""
    from safetensors.torch import save

    stored: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        stored[name] = whole.clone() if whole.data_ptr() in places else whole
        places.add(whole.data_ptr())
    write_atomically(path, save(stored, {VALUES: json.dumps(values)}))


def read_checkpoint(
    path: Path, library: Literal["torch", "numpy"] = "torch"
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `write_checkpoint` wrote, as tensors on the CPU or as arrays of NumPy.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or is no checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, framework=library) as handle:
            values = json.loads((handle.metadata() or {})[VALUES])
            return {name: handle.get_tensor(name) for name in handle.keys()}, values
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a checkpoint, or is damaged: {error}") from error


def require_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `ValueError` where the run in `path` is not the one that is wanted; names the first difference."""
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{path} holds a run with {name} = {found.get(name)}, not {wanted.get(name)}: "
                "choose another folder or delete it"
            )


def select(tensors: "Mapping[str, torch.Tensor]", prefix: str) -> "dict[str, torch.Tensor]":
    """Return the tensors whose names begin with `prefix.`, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def prefixed(tensors: "Mapping[str, torch.Tensor]", prefix: str) -> "dict[str, torch.Tensor]":
    """Return the tensors with `prefix.` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
