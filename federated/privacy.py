"""Differential privacy of what clients give away: clipping, Gaussian noise, and what it adds up to."""

import dataclasses
import functools
import importlib
import math
from typing import Any

import numpy as np
import torch

from ..core import randomness
from ..core.settings import Settings, parameter
from .models.parameters import Parameters, norms


@dataclasses.dataclass(frozen=True)
class Privacy(Settings):
    """A budget for each client, spent evenly over the rounds in which it gives its head away.

    Clients are protected as a whole (what they send could as well be noise around no change at all), against a server
    that sees every single contribution; no sampling is assumed to help. Needs the extra `privacy`.
    """

    epsilon: float = parameter(8.0, above=0, at_most=100, doc="privacy loss over all rounds")
    delta: float = parameter(1e-5, above=0, at_most=1, doc="probability with which the loss may be exceeded")
    rounds: int = parameter(50, at_least=1, doc="rounds in which a client gives its head away")
    clip: float = parameter(1.0, above=0, doc="largest Euclidean norm of a change")

    @functools.cached_property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise over `clip`, so that `rounds` Gaussian releases cost `epsilon`.

        Releases with noise s cost together as much as one with noise s / sqrt(rounds).
        """
        guarantee = library("common").DifferentialPrivacyParameters(self.epsilon, self.delta)
        single = library("privacy_loss_mechanism").GaussianPrivacyLoss.from_privacy_guarantee(guarantee)
        return float(single.standard_deviation * math.sqrt(self.rounds))

    def disturb(self, change: Parameters, seed: int, round_number: int, clients: np.ndarray) -> Parameters:
        """Return stacked changes `(A, ...)`, each clipped to `clip` and with Gaussian noise of its client's own."""
        factor = torch.clamp(self.clip / torch.from_numpy(norms(change, len(clients))).clamp(min=1e-12), max=1.0)
        disturbed = {
            name: value * factor.to(value.device).view(-1, *(1,) * (value.ndim - 1)) for name, value in change.items()
        }
        for row, client in enumerate(clients.tolist()):
            rng = randomness.generator(seed, round_number, client, stream=3)
            for value in disturbed.values():
                noise = rng.standard_normal(value.shape[1:], dtype=np.float32)
                value[row] += torch.from_numpy(np.asarray(noise)).to(value) * (self.noise_multiplier * self.clip)
        return disturbed


def spent_epsilon(noise_multiplier: float, releases: int, delta: float) -> float:
    """Return the epsilon of `releases` Gaussian releases; 0 before the first.

    Raises:
        ValueError: no noise, or a delta outside (0, 1].
    """
    if not noise_multiplier > 0:
        raise ValueError(f"noise_multiplier is {noise_multiplier}, must be above 0: without noise nothing is private")
    from scipy.optimize import brentq

    if not 0 < delta <= 1:
        raise ValueError(f"delta is {delta}, must be above 0 and at most 1")
    if releases == 0:
        return 0.0
    loss = library("privacy_loss_mechanism").GaussianPrivacyLoss(noise_multiplier / math.sqrt(releases))
    highest = 1.0
    while loss.get_delta_for_epsilon(highest) > delta:
        highest *= 2.0
    return float(brentq(lambda epsilon: loss.get_delta_for_epsilon(epsilon) - delta, 0.0, highest))


def library(module: str) -> Any:
    """Return a module of the accounting library; its Gaussian mechanism is exact, and so is a sum of releases.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module(f"dp_accounting.pld.{module}")
    except ImportError as error:
        raise ImportError("differential privacy needs dp-accounting: install fedtwin[privacy]") from error
