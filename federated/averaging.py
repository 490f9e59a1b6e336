"""Federated averaging (McMahan et al., 2017), FedSGD, and FedProx (Li et al., 2020)."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .data import Dataset
from .local import Segment, require_finite, train_together
from .models import SplitModel
from .parameters import (
    Parameters,
    add,
    bits,
    loaded,
    norms,
    parameters_of,
    point,
    shares,
    stack,
    subtract,
    weighted_sum,
)
from .plan import Plan
from .population import Batches, Population
from .procedure import CHUNK_BYTES, LearningSettings, Procedure
from .scoring import score

CACHE_BYTES = 2**22
"""On a CPU parameters that are trained together take no more than this: what stays in its caches is trained faster."""


class FedAvg(Procedure):
    """Clients train the whole model on their own samples; the server averages what they bring, weighted by samples.

    With `proximal` > 0 it is FedProx, with one client it is central stochastic gradient descent.
    """

    def __init__(
        self, model: SplitModel, population: Population, held_out: Dataset, settings: LearningSettings | None = None
    ) -> None:
        """Build the procedure; see `Procedure`."""
        super().__init__(model, population, held_out, settings)
        self.head, self.body = (Segment(part) for part in self.model.split(0))
        self.parameters = parameters_of(self.body.module)
        self.room: Parameters = {}

    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Train clients in chunks that fit the memory, and average."""
        size = bits(self.parameters)
        most = min(CHUNK_BYTES, CACHE_BYTES) if self.device.type == "cpu" else CHUNK_BYTES
        chunk = max(1, most * 8 // max(1, size))
        weights = batches.samples if plan.weights is None else plan.weights[batches.clients]
        share = shares(np.asarray(weights, np.float64))
        mean = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        for first in range(0, len(batches.clients), chunk):
            part = batches.slice(first, first + chunk)
            count = len(part.clients)
            copies = stack(self.parameters, count, self.room)
            way = self.way(self.head, self.body, alone=True)
            losses = train_together(self.head, self.body, {}, copies, None, self.population, part, self.rule, way)
            subtract(copies, self.parameters)
            loss[part.clients] = losses.cpu().numpy()
            change[part.clients] = norms(copies, count).cpu().numpy()
            require_finite(change[part.clients], part.clients)
            add(mean, weighted_sum(copies, share[first : first + chunk]))
        add(self.parameters, mean)
        sent[:, batches.clients] = size // 8

    def score(self) -> tuple[float, float]:
        """Return loss and accuracy of the average model."""
        return score(self.trained_model(), self.held_out)

    def trained_model(self) -> nn.Module:
        """Return the model with the weights learned so far."""
        return point(self.body.module, self.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return self.parameters

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights."""
        self.parameters = loaded(tensors, self.parameters)


class FedSGD(FedAvg):
    """Every client sends one gradient of all its samples; the server takes one step with their mean."""

    def __init__(
        self, model: SplitModel, population: Population, held_out: Dataset, settings: LearningSettings | None = None
    ) -> None:
        """Build the procedure; mini-batches and local epochs of the settings have no place in it."""
        settings = LearningSettings() if settings is None else settings
        super().__init__(model, population, held_out, dataclasses.replace(settings, batch=0, local_epochs=1))
