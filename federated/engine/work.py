"""What clients train together: the two parts of a model, their stacked parameters, samples, and how a step is taken.

A *group* of clients trains one body; with a group for each client and an empty head this is the local training of
FedAvg. Groups may differ from block to block of the body.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..data.dataset import Dataset
from ..data.population import Batches
from ..models.parameters import Parameters
from .channel import Channel

SLOPES: Mapping[type[nn.Module], Callable[[Tensor, Tensor], Tensor]] = {
    nn.ReLU: lambda gradient, y: torch.ops.aten.threshold_backward.default(gradient, y, 0),
    nn.Sigmoid: torch.ops.aten.sigmoid_backward.default,
    nn.Tanh: torch.ops.aten.tanh_backward.default,
}
"""What takes gradients back through the activations that stacked clients may have, by their outputs."""


class TrainingDiverged(ArithmeticError):
    """A client's loss is no longer finite."""


@dataclasses.dataclass
class Segment:
    """A part of a model as a function of its parameters."""

    module: nn.Module

    @property
    def trained(self) -> bool:
        """Whether there are parameters to train."""
        return any(True for _ in self.module.parameters())

    def leaves(self) -> list[tuple[str, nn.Module]]:
        """Return the modules without children, in order, with their names."""
        return [(name, m) for name, m in self.module.named_modules() if name and not list(m.children())]

    def stackable(self) -> bool:
        """Whether copies can run as batched products: linear layers and functions of single numbers, in sequence."""
        found = [module for _, module in self.module.named_modules(remove_duplicate=False)]
        plain = all(type(module) in (nn.Sequential, nn.Linear, nn.Flatten, *SLOPES) for module in found)
        whole = all((m.start_dim, m.end_dim) == (1, -1) for m in found if isinstance(m, nn.Flatten))
        return plain and whole and len(found) == len(set(map(id, found)))

    def single(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Map `(B, ...)` with the parameters of one copy."""
        return functional_call(self.module, dict(parameters), (x,))  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class Descent:
    """Local gradient descent."""

    learning_rate: float
    proximal: float = 0.0
    """FedProx's mu: the gradient gains mu (w - w_start)."""

    def step(self, parameters: list[Tensor], gradients: list[Tensor], start: list[Tensor]) -> None:
        """Take a step in place; `start` are the weights that FedProx stays close to."""
        with torch.no_grad():
            if self.proximal:
                pull = torch._foreach_sub(parameters, start)
                gradients = list(torch._foreach_add(gradients, pull, alpha=self.proximal))
            torch._foreach_add_(parameters, gradients, alpha=-self.learning_rate)


@dataclasses.dataclass(frozen=True)
class Work:
    """What clients train together.

    A head learns from the mean loss of its client's batch (Zhao et al., eq (2)), a body from the mean loss over the
    batches of all clients of its group (eq (1)). Where groups differ between the body's blocks, so does every copy of
    a block from the mean loss over the batches that pass through it.
    """

    head: Segment
    """The clients' part of the model."""
    body: Segment
    """The servers' part."""
    heads: Parameters
    """Stacked parameters `(A, ...)` in the order of the batches, trained in place."""
    bodies: Parameters
    """Stacked parameters `(G, ...)`, trained in place; with a group for each block as many copies as it has groups."""
    group: np.ndarray | None
    """`(A,)` the body of each client, or `(A, blocks)` the copy of each block of the body, with an empty head and no
    channel; None: one each, in order."""
    data: Dataset
    """All clients' samples."""
    batches: Batches
    """Which of them are visited, in which order."""
    rule: Descent
    """Learning rate and proximal term."""
    channel: Channel | None = None
    """What features and gradients pass; None: they arrive as they were sent."""


def block_of(name: str) -> int:
    """Return the number of the block that a parameter belongs to, from its name in a sequence of blocks."""
    return int(name.partition(".")[0])


def require_finite(change: np.ndarray, clients: np.ndarray) -> None:
    """Raise `TrainingDiverged` for the first client whose change `(A,)` of weights is not finite."""
    for row in np.flatnonzero(~np.isfinite(change)):
        raise TrainingDiverged(f"the weights of client_{clients[row]} are no longer finite: lower learning_rate")
