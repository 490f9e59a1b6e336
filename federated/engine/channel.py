"""What carries features to the server and their gradients back, a message a client in every step."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor


class Channel(Protocol):
    """What carries features to the server and their gradients back, a message a client in every step."""

    def up(self, rows: Sequence[int], features: Sequence[Tensor]) -> list[Tensor]:
        """Return what arrives of the features `(B, ...)` of clients, by their rows in the batches."""
        ...

    def down(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return what arrives of the gradients `(B, ...)` of each client's own mean loss by what came up."""
        ...


def carry(send: Callable[[Sequence[int], Sequence[Tensor]], list[Tensor]], values: Tensor, count: np.ndarray) -> Tensor:
    """Send the first `count` `(A,)` samples of each client, of `(A, B, ...)`; what is behind them stays."""
    arrived, sizes = values.clone(), count.tolist()
    parts = send(range(len(sizes)), [values[row, :size] for row, size in enumerate(sizes)])
    for row, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        arrived[row, :size] = part
    return arrived
