"""What every learning procedure shares: settings, rounds that happen whole or not at all, state."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from torch import Tensor, nn

from ..core.settings import Settings, parameter
from .data.dataset import Dataset
from .data.population import Batches, Population
from .engine.channel import Channel
from .engine.training import Way, choose_way, train_together
from .engine.work import Descent, Segment, TrainingDiverged, Work, require_finite
from .models.parameters import Parameters, load, shares, size_of
from .models.split_model import SplitModel
from .plan import Plan, Progress
from .scoring import score
from .source import Source

CHUNK_BYTES = 2**30
"""Parameters of clients that are trained together take no more memory than this."""


EVERY = slice(None)


@dataclasses.dataclass(frozen=True)
class LearningSettings(Settings):
    """What all procedures read; each has settings of its own that add what it alone reads."""

    learning_rate: float = parameter(0.05, symbol="eta", above=0, doc="step size of gradient descent")
    way: Literal["auto", "stacked", "looped", "mapped"] = parameter(
        "auto", doc="how clients train together; auto: the fastest that was measured for the model and the device"
    )
    score_every: int = parameter(1, at_least=1, doc="rounds between scores on held-out data; NaN in between")
    # No fields here: what holds unless a procedure's own settings have them.
    batch = 0
    local_epochs = 1


@dataclasses.dataclass(frozen=True)
class LocalSettings(LearningSettings):
    """How clients train that take more than one step in a round."""

    batch: int = parameter(16, at_least=0, doc="samples of a mini-batch; 0: all at once")
    local_epochs: int = parameter(1, symbol="E", at_least=1, doc="local epochs of a round")
    proximal: float = parameter(0.0, symbol="mu", at_least=0, doc="weight of FedProx's proximal term; 0: FedAvg")


@dataclasses.dataclass
class Round:
    """A round under way: who trains on what, and what there is to tell of it."""

    plan: Any
    """The procedure's own."""
    batches: Batches
    loss: np.ndarray
    """`(N,)`, as in `Progress`."""
    change: np.ndarray
    """`(N,)`, as in `Progress`."""
    sent: np.ndarray
    """`(2, N)` bytes up and down."""

    @property
    def clients(self) -> np.ndarray:
        """Numbers of the clients that train, `(A,)`, in the order of the batches."""
        return self.batches.clients

    @property
    def weights(self) -> np.ndarray:
        """Weights of aggregation `(A,)`: as planned, or the samples that were trained on."""
        given = self.batches.samples if self.plan.weights is None else self.plan.weights[self.clients]
        return np.asarray(given, np.float64)

    @property
    def shares(self) -> np.ndarray:
        """Weights of aggregation `(A,)` with the sum 1."""
        return shares(self.weights)

    def record(self, loss: np.ndarray, change: np.ndarray, rows: slice | np.ndarray = EVERY) -> None:
        """Note loss and norm of change of the clients in `rows`.

        Raises:
            TrainingDiverged: a change is not finite.
        """
        clients = self.clients[rows]
        require_finite(change, clients)
        self.loss[clients], self.change[clients] = loss, change

    def count(
        self, crossing: tuple[int, int], parameters: Mapping[str, Tensor], rows: slice | np.ndarray = EVERY
    ) -> None:
        """Count bytes of the clients in `rows`: per sample up and down the cut, and parameters both ways."""
        sizes = np.outer(crossing, self.batches.samples[rows]) + size_of(parameters)
        self.sent[:, self.clients[rows]] += sizes


class Procedure(ABC):
    """A learning procedure: a plan in, progress out, state both ways.

    A round that fails changes nothing. All parameters are float32 on the device of the population's samples.
    """

    settings_type: ClassVar[type[LearningSettings]] = LearningSettings
    plan_type: ClassVar[type[Plan]] = Plan
    reference: ClassVar[bool] = False
    """Whether it learns from tasks of other procedures, to compare with: settings that only they have are left out."""
    num_servers = 1

    def __init__(
        self, model: SplitModel, population: Population, held_out: Dataset, settings: LearningSettings | None = None
    ) -> None:
        """Take a model with its first weights (copied), the clients, and held-out data.

        Raises:
            ValueError: held-out samples of another shape than the clients', another number of classes, or settings
                of another procedure.
        """
        if held_out.sample_shape != population.data.sample_shape:
            raise ValueError(
                f"held-out samples are {held_out.sample_shape}, must be {population.data.sample_shape} as the clients'"
            )
        if held_out.num_classes != population.data.num_classes:
            raise ValueError(
                f"held-out data have {held_out.num_classes} classes, must be {population.data.num_classes}"
            )
        self.settings = self.settings_type() if settings is None else settings
        if not isinstance(self.settings, self.settings_type):
            raise ValueError(f"settings are {type(settings).__name__}, must be {self.settings_type.__name__}")
        self.device = population.data.labels.device
        self.model = copy.deepcopy(model).to(self.device).eval()
        self.population = population
        self.held_out = held_out.to(self.device)
        self.rounds = 0
        self.rule = Descent(self.settings.learning_rate, getattr(self.settings, "proximal", 0.0))
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Set up what is learned; model, clients, held-out data and settings are there.

        Raises:
            ValueError: settings that do not fit the model.
        """

    @classmethod
    def from_task(cls, task: Source, num_clients: int, seed: int, settings: LearningSettings) -> Self:
        """Return the procedure from its beginning; keyword arguments that a procedure adds are its options.

        Args:
            task: data, their partition and the model.
            num_clients: clients N among whom the data are divided.
            seed: of the first weights, the order of samples and stochastic rounding; the partition is `data_seed`'s.
            settings: the procedure's own.

        Raises:
            ValueError: data that cannot be divided so, or settings that do not fit the model.
        """
        model, train, held_out = task.start(seed)
        return cls(model, Population(train, task.parts(num_clients), seed=seed), held_out, settings)

    @property
    def num_clients(self) -> int:
        """Number of clients."""
        return len(self.population)

    def reports(self) -> Mapping[str, np.ndarray]:
        """Return numbers of every client `(N,)`, by name, that are known before the round is decided."""
        return {}

    def round(self, plan: Plan | None = None) -> Progress:
        """Train one round.

        Args:
            plan: who takes part, where and with how much; None: everyone.

        Raises:
            ValueError: a plan that does not fit.
            TrainingDiverged: a loss is NaN or infinite; names client and round, and nothing was changed.
        """
        plan = self.own_plan(self.plan_type.everyone(self.num_clients) if plan is None else plan)
        sent = np.zeros((2, self.num_clients))
        loss, change = np.full((2, self.num_clients), np.nan)
        if plan.clients.size:
            sizes = {"batch": self.settings.batch, "epochs": self.settings.local_epochs}
            batches = self.population.batches(plan.clients, samples=plan.samples, **sizes)
            try:
                self.train(Round(plan, batches, loss, change, sent))
            except TrainingDiverged as error:
                raise TrainingDiverged(f"round {self.rounds}: {error}") from None
            self.population.visit(batches)
        self.rounds += 1
        due = self.rounds % self.settings.score_every == 0
        held_out_loss, accuracy = self.score() if due else (np.nan, np.nan)
        return Progress(self.rounds, held_out_loss, accuracy, loss, change, sent[0], sent[1])

    def own_plan(self, plan: Plan) -> Plan:
        """Return a plan as one of this procedure's own, checked.

        Raises:
            ValueError: it says what the procedure does not read, or does not fit the clients.
        """
        said = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
        read = [field.name for field in dataclasses.fields(self.plan_type)]
        for name, value in said.items():
            if name not in read and value is not None:
                raise ValueError(
                    f"the plan says {name}, which {type(self).__name__} does not read: it reads {', '.join(read)}"
                )
        own = self.plan_type(**{name: value for name, value in said.items() if name in read})
        own.check(self.num_clients, self.num_servers)
        return own

    def fit(
        self,
        head: Segment,
        body: Segment,
        heads: Parameters,
        bodies: Parameters,
        batches: Batches,
        *,
        group: np.ndarray | None = None,
        channel: Channel | None = None,
    ) -> np.ndarray:
        """Train heads and bodies in place on the clients' batches; see `Work`.

        Returns:
            `(A,)` mean loss of each client, in the order of the batches.
        """
        way = self.way(head, body, alone=group is None and channel is None)
        work = Work(head, body, heads, bodies, group, self.population.data, batches, self.rule, channel)
        return np.asarray(train_together(work, way).cpu().numpy())

    @abstractmethod
    def train(self, current: Round) -> None:
        """Train with the round's batches; record losses and changes, count bytes."""

    @abstractmethod
    def trained_model(self) -> nn.Module:
        """Return the model with the weights learned so far."""

    def score(self) -> tuple[float, float]:
        """Return loss and accuracy on the held-out data."""
        return score(self.trained_model(), self.held_out)

    @abstractmethod
    def learned(self) -> Mapping[str, Parameters]:
        """Return what is learned, as it is, by the prefix of its names among `tensors`."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what is learned, by name."""
        return {prefix + name: value for prefix, own in self.learned().items() for name, value in own.items()}

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-compatible values from which `load_state_dict` goes on exactly."""
        tensors = {name: value.clone() for name, value in self.tensors().items()}
        return tensors, {"rounds": self.rounds, "population": self.population.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, in a procedure built alike."""
        for prefix, own in self.learned().items():
            load(own, tensors, prefix)
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
