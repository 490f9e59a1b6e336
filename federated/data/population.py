"""Clients' data: who holds which samples, and in which order they are visited."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core import randomness
from .dataset import Dataset
from .partition import by_indices


@dataclasses.dataclass(frozen=True)
class Batches:
    """The mini-batches of one round, for clients that take part, the one with most steps first."""

    clients: np.ndarray
    """`(A,)` client numbers."""
    index: Tensor
    """`(A, T, B)` positions in the dataset; where a batch is short the rest is padding."""
    count: np.ndarray
    """`(A, T)` samples in each batch; 0 where a client has no more."""

    @property
    def steps(self) -> np.ndarray:
        """Batches of each client, `(A,)`, falling."""
        return np.asarray(np.count_nonzero(self.count, axis=1))

    @property
    def samples(self) -> np.ndarray:
        """Samples that each client trains on, `(A,)`."""
        return np.asarray(self.count.sum(axis=1))

    def take(self, rows: slice | np.ndarray) -> "Batches":
        """Return rows in rising order, without steps that none of them takes."""
        count = self.count[rows]
        steps = int(np.count_nonzero(count, axis=1).max(initial=0))
        index = self.index[rows if isinstance(rows, slice) else torch.from_numpy(rows).to(self.index.device), :steps]
        return Batches(self.clients[rows], index, count[:, :steps])


class Population:
    """Clients and their private samples.

    Every client visits its samples in an order of its own that is shuffled anew whenever all were visited; it depends
    on the seed, the client and how often all were visited, not on what other clients do.
    """

    def __init__(self, data: Dataset, parts: Sequence[np.ndarray], *, seed: int = 0) -> None:
        """Give `parts[n]`, positions in `data`, to client n.

        Raises:
            ValueError: no clients, a client without samples, or positions that are no integers, out of range or given
                twice.
        """
        self.data, self.parts = data, by_indices(parts, len(data))
        self.seed = randomness.check_seed(seed, "seed")
        self.sizes = np.array([part.size for part in self.parts])
        self.visited = np.zeros(len(self.parts), np.int64)
        self._rng = randomness.RoundGenerator()

    def __len__(self) -> int:
        """Return the number of clients."""
        return len(self.parts)

    def to(self, device: torch.device | str) -> "Population":
        """Return the same clients with their samples on `device`."""
        moved = Population(self.data.to(device), self.parts, seed=self.seed)
        moved.visited = self.visited.copy()
        return moved

    def _shuffled(self, client: int, times: int) -> np.ndarray:
        """Return the client's samples in the order in which they are visited for the `times`-th time."""
        return self._rng.at(self.seed, times, client).permutation(self.parts[client])

    def next_samples(self, client: int, count: int, start: int) -> np.ndarray:
        """Return the `count` samples that the client visits after the first `start`."""
        size = int(self.sizes[client])
        first, last = start // size, (start + count - 1) // size
        stream = [self._shuffled(client, times) for times in range(first, last + 1)]
        joined = stream[0] if first == last else np.concatenate(stream)
        return joined[start - first * size : start - first * size + count]

    def batches(self, clients: np.ndarray, *, samples: np.ndarray | None, batch: int, epochs: int) -> Batches:
        """Return the mini-batches of a round; nothing counts as visited before `visit`.

        Args:
            clients: `(A,)` numbers of those that take part.
            samples: `(N,)` samples that each client takes for an epoch; None: as many as it holds.
            batch: samples of a mini-batch; 0: all at once.
            epochs: how often a client takes that many.

        Raises:
            ValueError: samples that are not integers.
        """
        taken = self.sizes if samples is None else np.asarray(samples)
        if taken.dtype.kind not in "iu":
            raise ValueError(f"samples are {taken.dtype}, must be integers")
        per_epoch = taken[clients].astype(np.int64)
        width = int(per_epoch.max()) if batch == 0 else min(batch, int(per_epoch.max()))
        steps = -(-per_epoch // width) * epochs
        order = np.argsort(-steps, kind="stable")
        clients, per_epoch, steps = clients[order], per_epoch[order], steps[order]
        index = np.zeros((clients.size, steps[0], width), np.int64)
        in_epoch = (np.arange(steps[0]) % np.maximum(steps // epochs, 1)[:, None]) * width
        count = np.clip(per_epoch[:, None] - in_epoch, 0, width) * (np.arange(steps[0]) < steps[:, None])
        for row, (client, size) in enumerate(zip(clients.tolist(), per_epoch.tolist(), strict=True)):
            flat, padded = index[row].reshape(-1), -(-size // width) * width
            for epoch in range(epochs):
                start = int(self.visited[client]) + epoch * size
                flat[epoch * padded : epoch * padded + size] = self.next_samples(client, size, start)
        return Batches(clients, torch.from_numpy(index).to(self.data.labels.device), count)

    def visit(self, batches: Batches) -> None:
        """Count the samples of a round as visited."""
        self.visited[batches.clients] += batches.samples

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the orders and how far each client has come."""
        return {"seed": self.seed, "visited": self.visited.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called."""
        self.seed = int(state["seed"])
        if len(state["visited"]) != len(self):
            raise ValueError(f"the state is one of {len(state['visited'])} clients, must be of {len(self)}")
        self.visited = np.array(state["visited"], np.int64)
