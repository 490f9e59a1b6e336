"""FedSGD (McMahan et al., 2017): one gradient a round."""

import dataclasses

from ..procedure import LearningSettings
from .fedavg import FedAvg


@dataclasses.dataclass(frozen=True)
class FedSGDSettings(LearningSettings):
    """How the server takes its step; there are no mini-batches, local epochs or proximal term."""


class FedSGD(FedAvg):
    """Every client sends one gradient of all its samples; the server takes one step with their mean."""

    settings_type = FedSGDSettings
