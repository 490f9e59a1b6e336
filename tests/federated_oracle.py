"""Learning procedures as plain loops over whole PyTorch modules, written without the code under test."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fedtwin.federated.data.dataset import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def fed_avg(
    model: nn.Module,
    data: Dataset,
    orders: Sequence[Tensor],
    rate: float,
    batch: int,
    mu: float = 0.0,
    weights: Sequence[float] | None = None,
) -> nn.Module:
    """One round: `orders[n]` are the positions that client n visits; returns the averaged model."""
    local = []
    for order in orders:
        own = copy.deepcopy(model)
        sgd(own, data, order, rate, batch, anchor=model if mu else None, mu=mu)
        local.append(own)
    return average(model, local, weights or [len(order) for order in orders])


def sgd(
    model: nn.Module,
    data: Dataset,
    order: Tensor,
    rate: float,
    batch: int,
    anchor: nn.Module | None = None,
    mu: float = 0.0,
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for first in range(0, len(order), batch):
        index = order[first : first + batch]
        optimizer.zero_grad()
        loss = cross_entropy(model(data.inputs[index]), data.labels[index])
        if anchor is not None:
            pairs = zip(model.parameters(), anchor.parameters(), strict=True)
            loss = loss + mu / 2 * sum((a - b.detach()).square().sum() for a, b in pairs)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def average(model: nn.Module, local: Sequence[nn.Module], weights: Sequence[float]) -> nn.Module:
    mean = copy.deepcopy(model)
    with torch.no_grad():
        for target, *each in zip(mean.parameters(), *(own.parameters() for own in local), strict=True):
            target.copy_(sum(w * p.double() for w, p in zip(weights, each, strict=True)) / sum(weights))
    return mean


def cloud_edge_client(
    heads: Sequence[nn.Module],
    body: nn.Module,
    data: Dataset,
    orders: Sequence[Tensor],
    server: Any,
    rate: float,
    batch: int,
) -> tuple[list[nn.Module], nn.Module]:
    """One round of Algorithm 1 with private heads; returns new heads and the averaged body."""
    heads = [copy.deepcopy(head) for head in heads]
    bodies, weights = [], []
    for m in sorted({s for s in server if s >= 0}):
        members = [n for n, s in enumerate(server) if s == m]
        own = copy.deepcopy(body)
        for first in range(0, max(len(orders[n]) for n in members), batch):
            present = [n for n in members if len(orders[n]) > first]
            index = {n: orders[n][first : first + batch] for n in present}
            features = {n: heads[n](data.inputs[index[n]]) for n in present}
            cut = {n: features[n].detach().requires_grad_() for n in present}
            losses = {n: cross_entropy(own(cut[n]), data.labels[index[n]], reduction="none") for n in present}
            gradients = {n: torch.autograd.grad(losses[n].mean(), cut[n], retain_graph=True)[0] for n in present}
            together = torch.cat([losses[n] for n in present]).mean()
            steps = torch.autograd.grad(together, list(own.parameters()))
            for n in present:
                parameters = list(heads[n].parameters())
                for p, g in zip(parameters, torch.autograd.grad(features[n], parameters, gradients[n]), strict=True):
                    p.data -= rate * g
            for p, g in zip(own.parameters(), steps, strict=True):
                p.data -= rate * g
        bodies.append(own)
        weights.append(sum(len(orders[n]) for n in members))
    return heads, average(body, bodies, weights)


def apart(model: nn.Module, tensors: Mapping[str, Tensor]) -> float:
    """Largest distance between a module's parameters and tensors by name."""
    return max(float((tensors[name] - p).detach().abs().max()) for name, p in model.named_parameters())
