"""The workload of the training rivals, handed to them as a file. Needs NumPy and PyTorch alone."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LEARNING_RATE = 0.05
BATCH = 16


@dataclasses.dataclass(frozen=True)
class Workload:
    """Samples, who visits which of them when, and a perceptron's first weights."""

    inputs: Tensor
    labels: Tensor
    orders: list[list[Tensor]]
    """`orders[r][n]` are the samples that client n visits in round r, in that order."""
    weights: list[Tensor]
    """Weight and bias of each layer, in order."""

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.orders[0])

    def save(self, path: Path) -> None:
        """Write a file for `load`."""
        tables = {
            "inputs": self.inputs.numpy(),
            "labels": self.labels.numpy(),
            "sizes": np.array([len(order) for order in self.orders[0]]),
            "orders": np.stack([torch.cat(orders).numpy() for orders in self.orders]),
        }
        np.savez(path, **tables, **{f"weights_{i}": value.numpy() for i, value in enumerate(self.weights)})

    @classmethod
    @functools.cache
    def load(cls, path: str) -> Self:
        """Read what `save` wrote, once in a process."""
        with np.load(path) as file:
            tables = {name: torch.from_numpy(file[name]) for name in file.files}
        sizes = tables["sizes"].tolist()
        orders = [list(torch.split(row, sizes)) for row in tables["orders"]]
        weights = [tables[name] for name in tables if name.startswith("weights_")]
        return cls(tables["inputs"], tables["labels"], orders, weights)

    def perceptron(self, *, smooth: bool = False) -> nn.Sequential:
        """Build the model with its first weights; the activation is tanh where it is to be smooth."""
        layers: list[nn.Module] = [nn.Flatten()]
        for weight in self.weights[::2]:
            layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.Tanh() if smooth else nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), self.weights, strict=True):
                parameter.copy_(value)
        return model

    def samples(self, turn: int, client: int) -> tuple[Tensor, Tensor]:
        """Return a client's samples and labels in the order of a round; rounds beyond the last start over."""
        order = self.orders[turn % len(self.orders)][client]
        return self.inputs[order], self.labels[order]

    def batches(self, turn: int, client: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a client's mini-batches of a round."""
        return zip(*(torch.split(part, BATCH) for part in self.samples(turn, client)), strict=True)


def descend(model: nn.Module, batches: Iterable[Sequence[Tensor]]) -> None:
    """Train a model as PyTorch's tutorials do."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for inputs, labels in batches:
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def save_weights(weights: Iterable[Tensor], path: Path) -> None:
    """Write weights for `load_weights`."""
    np.savez(path, *[value.detach().numpy() for value in weights])


def load_weights(path: Path) -> list[Tensor]:
    """Read what `save_weights` wrote."""
    with np.load(path) as file:
        return [torch.from_numpy(file[f"arr_{i}"]) for i in range(len(file.files))]
