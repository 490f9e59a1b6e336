"""Parameters of many copies of a model: tensors by name, with the copies on a leading axis."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

Parameters = dict[str, Tensor]
"""Tensors by name; stacked ones have a leading axis of copies."""


def parameters_of(module: nn.Module) -> Parameters:
    """Return copies of a module's parameters, detached."""
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def stack(parameters: Mapping[str, Tensor], copies: int, room: Parameters | None = None) -> Parameters:
    """Return `copies` equal copies on a leading axis; `room` keeps their memory, which the next call takes over."""
    room = {} if room is None else room
    for name, value in parameters.items():
        if name not in room or len(room[name]) < copies:
            room[name] = value.new_empty(copies, *value.shape)
    return {name: room[name][:copies].copy_(value) for name, value in parameters.items()}


def take(parameters: Mapping[str, Tensor], index: Tensor | int) -> Parameters:
    """Return the copies at `index`; of an integer, views of one copy without the leading axis."""
    return {name: value[index] for name, value in parameters.items()}


def shares(weights: np.ndarray) -> np.ndarray:
    """Return weights `(A,)` divided by their sum.

    Raises:
        ValueError: all weights are 0.
    """
    total = weights.sum()
    if not total > 0:
        raise ValueError(f"weights of the clients that take part are {weights.tolist()}, must not all be 0")
    return np.asarray(weights / total)


def weighted_sum(stacked: Mapping[str, Tensor], weights: np.ndarray) -> Parameters:
    """Return sum_c w_c x_c over the leading axis: FedAvg; Zhao et al., eqs (3) and (4)."""

    def reduce(value: Tensor) -> Tensor:
        total: Tensor = torch.tensordot(torch.from_numpy(weights).to(value), value, dims=1)
        return total

    return {name: reduce(value) for name, value in stacked.items()}


def difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Parameters:
    """Return a - b; one of them may be a single copy for all of the other."""
    return {name: value - b[name] for name, value in a.items()}


def add(parameters: Parameters, change: Mapping[str, Tensor]) -> None:
    """Add `change` to `parameters` in place."""
    for name, value in change.items():
        parameters[name].add_(value)


def subtract(parameters: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Subtract `other`, maybe a single copy for all, from `parameters` in place."""
    for name, value in parameters.items():
        value.sub_(other[name])


def point(module: nn.Module, parameters: Mapping[str, Tensor]) -> nn.Module:
    """Let the module's parameters be these tensors, without a copy, and return the module."""
    for name, own in module.named_parameters():
        own.data = parameters[name]
    return module


def norms(stacked: Mapping[str, Tensor], copies: int) -> np.ndarray:
    """Return the Euclidean norm of each copy, `(copies,)`."""
    each = [torch.linalg.vector_norm(value.reshape(copies, -1), dim=1) for value in stacked.values()]
    whole = torch.linalg.vector_norm(torch.stack(each), dim=0) if each else torch.zeros(copies)
    return np.asarray(whole.cpu().numpy())


def size_of(parameters: Mapping[str, Tensor]) -> int:
    """Return the bytes of one copy that has no leading axis."""
    return sum(value.numel() * value.element_size() for value in parameters.values())


def load(parameters: Parameters, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Put copies of those `tensors` whose names have the prefix in the place of `parameters`, on their device.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    for name, value in parameters.items():
        given = tuple(tensors[prefix + name].shape) if prefix + name in tensors else None
        if given != tuple(value.shape):
            raise ValueError(f"parameter {name} is {given}, must be {tuple(value.shape)}: the model is another one")
    parameters.update({name: tensors[prefix + name].to(value.device, copy=True) for name, value in parameters.items()})
