"""What every learning procedure shares: settings, rounds that happen whole or not at all, state."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ..core.settings import Settings, parameter
from .data import Dataset
from .local import Descent, Segment, TrainingDiverged, Way, choose_way
from .models import SplitModel
from .plan import Plan, Progress
from .population import Batches, Population
from .quantizer import FEWEST_BITS, WHOLE_BITS, Span

CHUNK_BYTES = 2**30
"""Parameters of clients that are trained together take no more memory than this."""


@dataclasses.dataclass(frozen=True)
class LearningSettings(Settings):
    """How clients train; what only some procedures use says so."""

    learning_rate: float = parameter(0.05, symbol="eta", above=0, doc="step size of gradient descent")
    batch: int = parameter(16, at_least=0, doc="samples of a mini-batch; 0: all at once")
    local_epochs: int = parameter(1, symbol="E", at_least=1, doc="local epochs of a round")
    proximal: float = parameter(0.0, symbol="mu", at_least=0, doc="weight of FedProx's proximal term; 0: FedAvg")
    cut: int = parameter(1, at_least=0, doc="blocks of the model that stay with the client, in split learning")
    server_part: Literal["averaged", "shared"] = parameter(
        "averaged", doc="in parallel split learning: a server part for each client, averaged, or one for all"
    )
    head: Literal["private", "shared", "frozen"] = parameter(
        "private",
        doc="in cloud-edge-client learning: heads of each client's own, given away where the plan says so; averaged in "
        "every round; or pretrained, the same for all, and not trained",
    )
    bits: int = parameter(
        WHOLE_BITS,
        symbol="q",
        at_least=FEWEST_BITS,
        at_most=WHOLE_BITS,
        doc="in quantised split learning: bits per number of features and of their gradients; 32: unquantised",
    )
    quantizer_span: Span = parameter(
        "tensor", doc="in quantised split learning: one range for a client's mini-batch, or one for each sample"
    )
    stochastic_rounding: bool = parameter(
        False,
        doc="in quantised split learning: round at random so that numbers are right on average, not to the nearest",
    )
    way: Literal["auto", "stacked", "looped", "mapped"] = parameter(
        "auto", doc="how clients train together; auto: the fastest that was measured for the model and the device"
    )
    score_every: int = parameter(1, at_least=1, doc="rounds between scores on held-out data; NaN in between")


class Procedure(ABC):
    """A learning procedure: a plan in, progress out, state both ways.

    A round that fails changes nothing. All parameters are float32 on the device of the population's samples.
    """

    num_servers = 1

    def __init__(
        self, model: SplitModel, population: Population, held_out: Dataset, settings: LearningSettings | None = None
    ) -> None:
        """Take a model with its first weights (copied), the clients, and held-out data.

        Raises:
            ValueError: held-out samples of another shape than the clients', or another number of classes.
        """
        if held_out.sample_shape != population.data.sample_shape:
            raise ValueError(
                f"held-out samples are {held_out.sample_shape}, must be {population.data.sample_shape} as the clients'"
            )
        if held_out.num_classes != population.data.num_classes:
            raise ValueError(
                f"held-out data have {held_out.num_classes} classes, must be {population.data.num_classes}"
            )
        self.device = population.data.labels.device
        self.model = copy.deepcopy(model).to(self.device).eval()
        self.population = population
        self.held_out = dataclasses.replace(
            held_out, inputs=held_out.inputs.to(self.device), labels=held_out.labels.to(self.device)
        )
        self.settings = LearningSettings() if settings is None else settings
        self.rounds = 0
        self.rule = Descent(self.settings.learning_rate, self.settings.proximal)

    @property
    def num_clients(self) -> int:
        """Number of clients."""
        return len(self.population)

    def round(self, plan: Plan | None = None) -> Progress:
        """Train one round.

        Args:
            plan: who takes part, where and with how much; None: everyone.

        Raises:
            ValueError: a plan that does not fit.
            TrainingDiverged: a loss is NaN or infinite; names client and round, and nothing was changed.
        """
        plan = Plan.everyone(self.num_clients) if plan is None else plan
        plan.check(self.num_clients, self.num_servers)
        sent = np.zeros((2, self.num_clients))
        loss, change = np.full((2, self.num_clients), np.nan)
        if plan.clients.size:
            batches = self.population.batches(
                plan.clients, samples=plan.samples, batch=self.settings.batch, epochs=self.settings.local_epochs
            )
            try:
                self.train(plan, batches, loss, change, sent)
            except TrainingDiverged as error:
                raise TrainingDiverged(f"round {self.rounds}: {error}") from None
            self.population.visit(batches)
        self.rounds += 1
        due = self.rounds % self.settings.score_every == 0
        held_out_loss, accuracy = self.score() if due else (np.nan, np.nan)
        return Progress(self.rounds, held_out_loss, accuracy, loss, change, sent[0], sent[1])

    @abstractmethod
    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Train with these batches; fill in loss and norm of change `(N,)` and bytes up and down `(2, N)`."""

    @abstractmethod
    def score(self) -> tuple[float, float]:
        """Return loss and accuracy on the held-out data."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what is learned, by name."""

    @abstractmethod
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned."""

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-compatible values from which `load_state_dict` goes on exactly."""
        tensors = {name: value.clone() for name, value in self.tensors().items()}
        return tensors, {"rounds": self.rounds, "population": self.population.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, in a procedure built alike."""
        self.load_tensors(tensors)
        self.rounds = int(values["rounds"])
        self.population.load_state_dict(values["population"])

    def way(self, head: Segment, body: Segment, *, alone: bool) -> Way:
        """Return how clients train together; `alone`: whether each has a body of its own."""
        way = self.settings.way
        if way == "stacked" and not (head.stackable() and body.stackable()):
            raise ValueError("way is stacked, but the model has other layers than linear ones: choose auto or looped")
        if way != "auto":
            return way
        return choose_way(head, body, self.device, self.population.data.sample_shape, alone)
