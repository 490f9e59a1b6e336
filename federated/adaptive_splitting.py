"""Adaptive split federated learning: in a round each client has a cut of its own (ASFL; slides, part 2)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .data import Dataset
from .local import Segment, block_of, require_finite, train_together
from .models import SplitModel
from .parameters import (
    Parameters,
    add,
    bits,
    difference,
    loaded,
    norms,
    parameters_of,
    point,
    shares,
    stack,
    weighted_sum,
)
from .plan import Plan
from .population import Batches, Population
from .procedure import LearningSettings, Procedure
from .scoring import score
from .splitting import bytes_at


class AdaptiveSplit(Procedure):
    """Every client keeps the first `plan.cut` blocks, the vehicle's side; the server has the rest; all in parallel.

    A round begins everywhere with the global weights and ends with an average layer by layer over all copies of a
    block, wherever they were held. With weights w_n (`plan.weights`, or the samples that client n trained on in the
    round), block b becomes

        sum_n w_n x_{n,b} / sum_n w_n,

    where x_{n,b} is the copy that client n's samples passed: its vehicle's where cut_n > b, else the server's. With
    `server_part="averaged"` the server has a copy for each client: it is FedAvg whatever the cuts. With "shared" it has
    one copy of each block, trained in every step on the mean loss over the mini-batches of all clients whose cut lies
    before that block; in the average it counts with the weights of all these clients together, each vehicle's copy
    with its own client's. Where all have the same cut both are `SplitFed`.

    Bytes are those of each client's own cut: features with labels up, gradients of features down, the vehicle-side
    parameters both ways. The norm of change is that of the vehicle's side.
    """

    def __init__(
        self, model: SplitModel, population: Population, held_out: Dataset, settings: LearningSettings | None = None
    ) -> None:
        """Build the procedure; see `Procedure`. `settings.cut` holds where a plan names no cuts.

        Raises:
            ValueError: a cut that leaves the vehicle nothing, or that the model lacks.
        """
        super().__init__(model, population, held_out, settings)
        if not 1 <= self.settings.cut <= len(self.model):
            raise self.refusal("cut", self.settings.cut)
        self.whole = Segment(self.model)
        self.parameters = parameters_of(self.model)
        self.crossing: dict[int, tuple[int, int]] = {}

    def refusal(self, label: str, cut: int) -> ValueError:
        """Build the error for a cut that leaves the vehicle nothing, or that the model lacks."""
        blocks = len(self.model)
        return ValueError(f"{label} is {cut}, must be in 1..{blocks}: the model has {blocks} blocks")

    def cuts(self, plan: Plan, clients: np.ndarray) -> np.ndarray:
        """Return how many blocks stay with each of the clients `(A,)`.

        Raises:
            ValueError: names the first client whose cut the model lacks.
        """
        if plan.cut is None:
            return np.full(len(clients), self.settings.cut)
        cuts: np.ndarray = np.asarray(plan.cut)[clients]
        order = np.argsort(clients)
        for row in order[cuts[order] > len(self.model)].tolist():
            raise self.refusal(f"cut of client_{clients[row]}", int(cuts[row]))
        return cuts

    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Train all clients, each at its cut, and average layer by layer."""
        clients = batches.clients
        cuts = self.cuts(plan, clients)
        weights = batches.samples if plan.weights is None else plan.weights[clients]
        share = shares(np.asarray(weights, np.float64))
        together = self.settings.server_part == "shared"
        run = self.train_shared if together else self.train_averaged
        loss[clients], change[clients], learned = run(cuts, batches, share)
        add(self.parameters, learned)
        self.count_bytes(cuts, batches, sent)

    def train_averaged(
        self, cuts: np.ndarray, batches: Batches, share: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Parameters]:
        """Train with a server part for each client, clients of equal cuts together.

        Args:
            cuts: `(A,)` blocks that stay with each client.
            batches: the round's.
            share: `(A,)` weights of the average, sum 1.

        Returns:
            Losses `(A,)`, norms `(A,)` of the change of the vehicles' parts, and the change of the global weights.
        """
        loss, moved = np.zeros((2, len(cuts)))
        learned = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        for cut in np.unique(cuts).tolist():
            rows = np.flatnonzero(cuts == cut)
            own = batches.take(rows)
            head, body = (Segment(part) for part in self.model.split(cut))
            first = divide(self.parameters, cut)
            heads, bodies = (stack(part, len(rows)) for part in first)
            way = self.way(head, body, alone=True)
            losses = train_together(head, body, heads, bodies, None, self.population, own, self.rule, way)
            changes = difference(heads, first[0]), difference(bodies, first[1])
            loss[rows] = losses.cpu().numpy()
            moved[rows] = norms(changes[0], len(rows)).cpu().numpy()
            for part in changes:
                require_finite(norms(part, len(rows)).cpu().numpy(), own.clients)
            head_change, body_change = (weighted_sum(part, share[rows]) for part in changes)
            add(learned, join(head_change, body_change, cut))
        return loss, moved, learned

    def train_shared(
        self, cuts: np.ndarray, batches: Batches, share: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Parameters]:
        """Train with one copy of each block at the server, for all clients whose cut lies before it.

        Takes and returns what `train_averaged` does.
        """
        holds = cuts[:, None] > np.arange(len(self.model))
        group = np.where(holds, np.cumsum(holds, axis=0) - 1, holds.sum(axis=0))
        used = {name: group[:, block_of(name)] for name in self.parameters}
        copies = {
            name: value.expand(int(used[name].max()) + 1, *value.shape).clone()
            for name, value in self.parameters.items()
        }
        head = Segment(nn.Sequential())
        way = self.way(head, self.whole, alone=False)
        losses = train_together(head, self.whole, {}, copies, group, self.population, batches, self.rule, way)
        moved, learned = difference(copies, self.parameters), Parameters()
        held, passed = np.zeros((2, len(cuts)))
        for name, value in moved.items():
            square = value.flatten(1).square().sum(dim=1).cpu().numpy()[used[name]]
            held += np.where(holds[:, block_of(name)], square, 0.0)
            passed += square
            learned |= weighted_sum({name: value}, np.bincount(used[name], share))
        require_finite(passed, batches.clients)
        return losses.cpu().numpy(), np.sqrt(held), learned

    def count_bytes(self, cuts: np.ndarray, batches: Batches, sent: np.ndarray) -> None:
        """Add to `sent` `(2, N)` what each client exchanged at its cut."""
        for cut in np.unique(cuts).tolist():
            rows = np.flatnonzero(cuts == cut)
            head, _ = self.model.split(cut)
            if cut not in self.crossing:
                self.crossing[cut] = bytes_at(head, self.population.data)
            up, down = self.crossing[cut]
            samples, size = batches.samples[rows], bits(divide(self.parameters, cut)[0]) // 8
            sent[0, batches.clients[rows]] += samples * up + size
            sent[1, batches.clients[rows]] += samples * (down if Segment(head).trained else 0) + size

    def score(self) -> tuple[float, float]:
        """Return loss and accuracy of the global model."""
        return score(self.trained_model(), self.held_out)

    def trained_model(self) -> nn.Module:
        """Return the model with the weights learned so far."""
        return point(self.model, self.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return self.parameters

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights."""
        self.parameters = loaded(tensors, self.parameters)


def moved_name(name: str, blocks: int) -> str:
    """Return a parameter's name where the sequence of blocks begins `blocks` earlier."""
    block, dot, rest = name.partition(".")
    return f"{int(block) + blocks}{dot}{rest}"


def divide(parameters: Parameters, cut: int) -> tuple[Parameters, Parameters]:
    """Return the parameters of the first `cut` blocks and those of the rest, by their names in either part."""
    head = {name: value for name, value in parameters.items() if block_of(name) < cut}
    rest = {moved_name(name, -cut): value for name, value in parameters.items() if block_of(name) >= cut}
    return head, rest


def join(head: Parameters, body: Parameters, cut: int) -> Parameters:
    """Return the parameters of both parts by their names in the whole model: the inverse of `divide`."""
    return {**head, **{moved_name(name, cut): value for name, value in body.items()}}
