"""Split learning: clients hold the first blocks of a model, a server the rest; features go up, gradients come back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..core.checkpoint import prefixed, select
from .data import Dataset
from .local import Channel, Segment, require_finite, train_together
from .models import SplitModel
from .parameters import (
    add,
    bits,
    difference,
    loaded,
    norms,
    parameters_of,
    point,
    shares,
    stack,
    take,
    weighted_sum,
)
from .plan import Plan
from .population import Batches, Population
from .procedure import LearningSettings, Procedure
from .scoring import score


class Split(Procedure):
    """A procedure on a model cut in two, with one head and one body between rounds."""

    def __init__(
        self, model: SplitModel, population: Population, held_out: Dataset, settings: LearningSettings | None = None
    ) -> None:
        """Build the procedure; see `Procedure`.

        Raises:
            ValueError: a cut that the model lacks.
        """
        super().__init__(model, population, held_out, settings)
        self.head, self.body = (Segment(part) for part in self.model.split(self.settings.cut))
        self.heads, self.bodies = parameters_of(self.head.module), parameters_of(self.body.module)
        self.crossing = bytes_at(self.head.module, population.data)

    def count_bytes(self, batches: Batches, sent: np.ndarray, *, gradients: bool) -> None:
        """Add what crossed the cut to `sent` `(2, N)`: features with labels up, gradients of features down."""
        up, down = self.crossing
        sent[0, batches.clients] += batches.samples * up
        sent[1, batches.clients] += batches.samples * (down if gradients else 0)

    def score(self) -> tuple[float, float]:
        """Return loss and accuracy of head and body joined."""
        return score(self.trained_model(), self.held_out)

    def trained_model(self) -> nn.Module:
        """Return the joined model with the weights learned so far."""
        return nn.Sequential(point(self.head.module, self.heads), point(self.body.module, self.bodies))

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of head and body by name."""
        return {**prefixed(self.heads, "head"), **prefixed(self.bodies, "body")}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights."""
        self.heads = loaded(select(tensors, "head"), self.heads)
        self.bodies = loaded(select(tensors, "body"), self.bodies)


@torch.no_grad()
def bytes_at(head: nn.Module, data: Dataset) -> tuple[int, int]:
    """Return the bytes of a sample's features with its label, and of its features' gradients."""
    features = head(data.inputs[:1])
    size = features.numel() * features.element_size()
    return size + data.labels.element_size(), size


class SplitLearning(Split):
    """Clients train one after the other; each takes over the head from the one before it."""

    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Train client after client, in the order of their numbers."""
        heads, bodies = stack(self.heads, 1), stack(self.bodies, 1)
        for row in np.argsort(batches.clients).tolist():
            before = {name: value.clone() for name, value in heads.items()}
            own = batches.slice(row, row + 1)
            way = self.way(self.head, self.body, alone=True)
            losses = train_together(self.head, self.body, heads, bodies, None, self.population, own, self.rule, way)
            loss[own.clients] = losses.cpu().numpy()
            change[own.clients] = norms(difference(heads, before), 1).cpu().numpy()
            require_finite(norms({**prefixed(heads, "head"), **prefixed(bodies, "body")}, 1).cpu().numpy(), own.clients)
        self.heads, self.bodies = take(heads, 0), take(bodies, 0)
        self.count_bytes(batches, sent, gradients=self.head.trained)
        sent[:, batches.clients] += bits(self.heads) // 8


class SplitFed(Split):
    """Clients train in parallel; heads are averaged, and so are the server's parts where each client has one.

    With `server_part="shared"` the server trains one part on the features of all clients together. Averaged, the cut
    makes no difference to what is learned: it is FedAvg.
    """

    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Train all clients together and average."""
        self.train_over(None, plan, batches, loss, change, sent)
        self.count_bytes(batches, sent, gradients=self.head.trained)

    def train_over(
        self,
        channel: Channel | None,
        plan: Plan,
        batches: Batches,
        loss: np.ndarray,
        change: np.ndarray,
        sent: np.ndarray,
    ) -> None:
        """Train as `train` does, features and gradients through `channel`; of the bytes only parameters are counted."""
        count = len(batches.clients)
        together = self.settings.server_part == "shared"
        heads, bodies = stack(self.heads, count), stack(self.bodies, 1 if together else count)
        group = np.zeros(count, np.int64) if together else None
        way = self.way(self.head, self.body, alone=not together)
        losses = train_together(
            self.head, self.body, heads, bodies, group, self.population, batches, self.rule, way, channel
        )
        weights = batches.samples if plan.weights is None else plan.weights[batches.clients]
        share = shares(np.asarray(weights, np.float64))
        moved = difference(heads, self.heads)
        loss[batches.clients] = losses.cpu().numpy()
        change[batches.clients] = norms(moved, count).cpu().numpy()
        learned = difference(bodies, self.bodies)
        owners = batches.clients[:1] if together else batches.clients
        require_finite(change[batches.clients], batches.clients)
        require_finite(norms(learned, len(owners)).cpu().numpy(), owners)
        add(self.bodies, weighted_sum(learned, np.ones(1) if together else share))
        add(self.heads, weighted_sum(moved, share))
        sent[:, batches.clients] += bits(self.heads) // 8
