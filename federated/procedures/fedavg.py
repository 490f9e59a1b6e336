"""Federated averaging (McMahan et al., 2017) and FedProx (Li et al., 2020)."""

import dataclasses
from typing import ClassVar

import torch

from ..engine.work import Segment
from ..models.parameters import Parameters, add, norms, size_of, stack, subtract, weighted_sum
from ..procedure import CHUNK_BYTES, LearningSettings, LocalSettings, Round
from .whole_model import WholeModel

CACHE_BYTES = 2**22
"""On a CPU parameters that are trained together take no more than this: what stays in its caches is trained faster."""


@dataclasses.dataclass(frozen=True)
class FedAvgSettings(LocalSettings):
    """How clients train between averages."""


class FedAvg(WholeModel):
    """Clients train the whole model on their own samples; the server averages what they bring, weighted by samples.

    With `proximal` > 0 it is FedProx, with one client it is central stochastic gradient descent.
    """

    settings_type: ClassVar[type[LearningSettings]] = FedAvgSettings

    def prepare(self) -> None:
        """Set up the weights, and room for copies of them."""
        super().prepare()
        self.head, self.body = (Segment(part) for part in self.model.split(0))
        self.room: Parameters = {}

    def train(self, current: Round) -> None:
        """Train clients in chunks that fit the memory, and average."""
        most = min(CHUNK_BYTES, CACHE_BYTES) if self.device.type == "cpu" else CHUNK_BYTES
        chunk = max(1, most // max(1, size_of(self.parameters)))
        share = current.shares
        mean = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        for first in range(0, len(share), chunk):
            rows = slice(first, first + chunk)
            part = current.batches.take(rows)
            copies = stack(self.parameters, len(part.clients), self.room)
            losses = self.fit(self.head, self.body, {}, copies, part)
            subtract(copies, self.parameters)
            current.record(losses, norms(copies, len(losses)), rows)
            add(mean, weighted_sum(copies, share[rows]))
        add(self.parameters, mean)
        current.count((0, 0), self.parameters)
