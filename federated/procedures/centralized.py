"""Learning in one place, which federated procedures are compared with."""

import dataclasses
from typing import Literal, Self

import numpy as np

from ...core.settings import parameter
from ..data.population import Population
from ..procedure import LearningSettings
from ..source import Source
from .fedavg import FedAvg


@dataclasses.dataclass(frozen=True)
class CentralizedSettings(LearningSettings):
    """How the model is trained in one place."""

    batch: int = parameter(
        16, at_least=0, doc="samples of a mini-batch of each client whose data it is; 0: all at once"
    )
    local_epochs: int = parameter(1, symbol="E", at_least=1, doc="epochs of a round")
    head: Literal["private", "shared", "frozen"] = parameter(
        "private", doc="frozen: the first blocks are pretrained and not trained; otherwise all are trained"
    )
    cut: int = parameter(1, at_least=0, doc="blocks that are not trained, where the head is frozen")


class Centralized(FedAvg):
    """The model learns from all samples in one place, as one client."""

    settings_type = CentralizedSettings
    reference = True

    @classmethod
    def from_task(cls, task: Source, num_clients: int, seed: int, settings: LearningSettings) -> Self:
        """Return it from its beginning; see `Procedure`.

        A mini-batch is as large as those of all `num_clients` together, so that a step there is one step here.
        """
        assert isinstance(settings, CentralizedSettings)
        model, train, held_out = task.start(seed, settings.cut if settings.head == "frozen" else 0)
        whole = dataclasses.replace(settings, batch=settings.batch * num_clients)
        return cls(model, Population(train, [np.arange(len(train))], seed=seed), held_out, whole)
