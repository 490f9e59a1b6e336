"""Split learning: clients hold the first blocks of a model, a server the rest; features go up, gradients come back."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ...core.settings import parameter
from ..data.dataset import Dataset
from ..engine.work import Segment, require_finite
from ..models.parameters import Parameters, difference, norms, parameters_of, point, stack, take
from ..plan import Plan
from ..procedure import LocalSettings, Procedure, Round


@dataclasses.dataclass(frozen=True)
class SplitSettings(LocalSettings):
    """How clients train, and where the model is cut."""

    cut: int = parameter(1, at_least=0, doc="blocks of the model that stay with the client")


class Split(Procedure):
    """A procedure on a model cut in two, with one head and one body between rounds."""

    settings: SplitSettings
    settings_type = SplitSettings

    def prepare(self) -> None:
        """Cut the model.

        Raises:
            ValueError: a cut that the model lacks.
        """
        self.head, self.body = (Segment(part) for part in self.model.split(self.settings.cut))
        self.heads, self.bodies = parameters_of(self.head.module), parameters_of(self.body.module)
        self.crossing = bytes_at(self.head, self.population.data)

    def joined(self, heads: Parameters) -> nn.Module:
        """Return the joined model with these weights of the head, and those of the body learned so far."""
        return nn.Sequential(point(self.head.module, heads), point(self.body.module, self.bodies))

    def trained_model(self) -> nn.Module:
        """Return the joined model with the weights learned so far."""
        return self.joined(self.heads)

    def learned(self) -> Mapping[str, Parameters]:
        """Return the weights of head and body."""
        return {"head.": self.heads, "body.": self.bodies}


@torch.no_grad()
def bytes_at(head: Segment, data: Dataset) -> tuple[int, int]:
    """Return the bytes of a sample's features with its label, and of its features' gradients where they go back."""
    features = head.module(data.inputs[:1])
    size = features.numel() * features.element_size()
    return size + data.labels.element_size(), size if head.trained else 0


class SplitLearning(Split):
    """Clients train one after the other; each takes over the head from the one before it."""

    def own_plan(self, plan: Plan) -> Plan:
        """Return the plan, checked.

        Raises:
            ValueError: it gives weights, though nothing is averaged, or does not fit the clients.
        """
        if plan.weights is not None:
            raise ValueError("the plan says weights, but clients train one after the other: nothing is averaged")
        return super().own_plan(plan)

    def train(self, current: Round) -> None:
        """Train client after client, in the order of their numbers."""
        heads, bodies = stack(self.heads, 1), stack(self.bodies, 1)
        for row in np.argsort(current.clients).tolist():
            before, rows = {name: value.clone() for name, value in heads.items()}, slice(row, row + 1)
            losses = self.fit(self.head, self.body, heads, bodies, current.batches.take(rows))
            current.record(losses, norms(difference(heads, before), 1), rows)
            require_finite(norms(bodies, 1), current.clients[rows])
        self.heads, self.bodies = take(heads, 0), take(bodies, 0)
        current.count(self.crossing, self.heads)
