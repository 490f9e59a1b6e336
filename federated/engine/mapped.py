"""Clients trained by `torch.func.vmap`: whole models of all clients in one vectorised call per step, for a GPU."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from ..models.parameters import Parameters
from .shares import Shares
from .work import SLOPES, Segment, Work

MAPPABLE = (nn.Sequential, nn.Linear, nn.Conv2d, nn.MaxPool2d, nn.GroupNorm, nn.Flatten, *SLOPES)
SMALL_IMAGE = 64
"""Pixels up to which mapped convolutions are faster than looped ones on a CPU, as measured."""


def suits(body: Segment) -> bool:
    """Whether the body consists of layers that were measured to run well when mapped."""
    return all(type(module) in MAPPABLE for module in body.module.modules())


def is_small(sample_shape: tuple[int, ...]) -> bool:
    """Whether samples are images so small that they are mapped on a CPU too."""
    return len(sample_shape) == 3 and sample_shape[1] * sample_shape[2] <= SMALL_IMAGE


def train(work: Work) -> Tensor:
    """Train whole models of clients; returns `(T, A)` summed losses.

    Raises:
        ValueError: a head that is trained, bodies that several clients share, or a channel.
    """
    if work.head.trained or work.group is not None or work.channel is not None:
        raise ValueError("way 'mapped' trains a body for every client, no heads, over no channel: choose 'looped'")
    data, batches, bodies = work.data, work.batches, work.bodies
    device = data.labels.device
    shares = Shares.of(batches, None, device)
    sums = torch.zeros(batches.count.T.shape, device=device)
    # (T, A, B): which places of a batch hold a sample.
    valid = torch.arange(batches.index.shape[2], device=device) < shares.count[..., None]
    start = [value.clone() for value in bodies.values()] if work.rule.proximal else []

    def objective(parameters: Parameters, x: Tensor, y: Tensor, mask: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        summed = (cross_entropy(work.body.single(parameters, x), y, reduction="none") * mask).sum()
        return summed * weight, summed

    gradient = vmap(grad(objective, has_aux=True), randomness="different")
    for step in range(batches.index.shape[1]):
        # Clients with most steps come first: those who are still active are a prefix.
        active = int(np.searchsorted(-batches.steps, -step))
        index = batches.index[:active, step]
        own = {name: value[:active] for name, value in bodies.items()}
        x = work.head.single({}, data.inputs[index.flatten()])
        x = x.view(*index.shape, *x.shape[1:])
        found, found_sums = gradient(own, x, data.labels[index], valid[step, :active], shares.weight[step, :active])
        sums[step, :active] = found_sums
        work.rule.step(list(own.values()), [found[name] for name in own], [value[:active] for value in start])
    return sums
