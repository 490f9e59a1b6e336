"""What a model costs to train, divided at its cuts."""

import dataclasses
from typing import Protocol

import numpy as np

from ..core.arrays import Array


class Profile(Protocol):
    """What a model's blocks cost per sample; see `fedtwin.federated`'s profiles."""

    @property
    def forward_flops(self) -> tuple[int, ...]:
        """FLOP of every block."""

    @property
    def backward_flops(self) -> tuple[int, ...]:
        """FLOP of every block."""

    @property
    def activation_bits(self) -> tuple[int, ...]:
        """Bits of the sample and of every block's output."""

    @property
    def trainable_bits(self) -> tuple[int, ...]:
        """Bits of every block's trained parameters."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """Per cut, `(J,)`: what the client's part and the server's cost."""

    client_flop: Array
    """Forward and backward, per sample."""
    server_flop: Array
    activation_bits: Array
    """Of what crosses the cut, per sample."""
    model_bits: Array
    """Of the client's part of the model."""


def divided(profile: Profile, cuts: int) -> Workload:
    """Return the workload at the cuts behind the first block, the second, ..., `cuts` of them."""
    forward, backward = (np.cumsum(part, dtype=np.float64) for part in (profile.forward_flops, profile.backward_flops))
    client = (forward + backward)[:cuts]
    return Workload(
        client_flop=client,
        server_flop=(forward[-1] + backward[-1]) - client,
        activation_bits=np.asarray(profile.activation_bits[1:], np.float64)[:cuts],
        model_bits=np.cumsum(profile.trainable_bits, dtype=np.float64)[:cuts],
    )
