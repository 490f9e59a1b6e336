"""Adaptive split federated learning: in a round each client has a cut of its own (ASFL; slides, part 2)."""

import dataclasses
from typing import Self

import numpy as np
import torch
from torch import nn

from ..engine.work import Segment, block_of, require_finite
from ..models.parameters import Parameters, add, difference, norms, stack, weighted_sum
from ..plan import AdaptiveSplitPlan
from ..procedure import LearningSettings, Round
from ..source import Source
from .split import bytes_at
from .splitfed import SplitFedSettings
from .whole_model import WholeModel


@dataclasses.dataclass(frozen=True)
class AdaptiveSplitSettings(SplitFedSettings):
    """How clients train, and what the server keeps for them; `cut` holds where a plan names no cuts."""


class AdaptiveSplit(WholeModel):
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

    settings: AdaptiveSplitSettings
    settings_type = AdaptiveSplitSettings
    plan_type = AdaptiveSplitPlan

    def prepare(self) -> None:
        """Set up the weights. `settings.cut` holds where a plan names no cuts.

        Raises:
            ValueError: a cut that leaves the vehicle nothing, or that the model lacks.
        """
        super().prepare()
        if not 1 <= self.settings.cut <= len(self.model):
            raise self.refusal("cut", self.settings.cut)
        self.whole = Segment(self.model)
        heads = {cut: Segment(self.model.split(cut)[0]) for cut in range(1, len(self.model) + 1)}
        self.crossing = {cut: bytes_at(head, self.population.data) for cut, head in heads.items()}

    @classmethod
    def from_task(
        cls, task: Source, num_clients: int, seed: int, settings: LearningSettings, *, num_cuts: int = 1
    ) -> Self:
        """Return it from its beginning; see `Procedure`. `num_cuts` is the largest cut that plans will name.

        Raises:
            ValueError: a model with fewer blocks than there are cuts, or what `Procedure` refuses.
        """
        procedure = super().from_task(task, num_clients, seed, settings)
        blocks = len(procedure.model)
        if num_cuts > blocks:
            raise ValueError(
                f"num_cuts is {num_cuts}, must be at most the {blocks} blocks of the task's model {task.model}: "
                "take a model with more blocks, such as cnn, or fewer cuts"
            )
        return procedure

    def refusal(self, label: str, cut: int) -> ValueError:
        """Build the error for a cut that leaves the vehicle nothing, or that the model lacks."""
        blocks = len(self.model)
        return ValueError(f"{label} is {cut}, must be in 1..{blocks}: the model has {blocks} blocks")

    def cuts(self, plan: AdaptiveSplitPlan, clients: np.ndarray) -> np.ndarray:
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

    def train(self, current: Round) -> None:
        """Train all clients, each at its cut, and average layer by layer."""
        cuts = self.cuts(current.plan, current.clients)
        together = self.settings.server_part == "shared"
        add(self.parameters, (self.train_shared if together else self.train_averaged)(cuts, current))
        for cut, rows in by_cut(cuts):
            current.count(self.crossing[cut], divide(self.parameters, cut)[0], rows)

    def train_averaged(self, cuts: np.ndarray, current: Round) -> Parameters:
        """Train with a server part for each client, clients of equal cuts together.

        Args:
            cuts: `(A,)` blocks that stay with each client.
            current: the round; the change of a client that is recorded is that of the vehicle's part.

        Returns:
            The change of the global weights.
        """
        share = current.shares
        learned = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        for cut, rows in by_cut(cuts):
            head, body = (Segment(part) for part in self.model.split(cut))
            first = divide(self.parameters, cut)
            heads, bodies = (stack(part, len(rows)) for part in first)
            losses = self.fit(head, body, heads, bodies, current.batches.take(rows))
            changes = difference(heads, first[0]), difference(bodies, first[1])
            current.record(losses, norms(changes[0], len(rows)), rows)
            require_finite(norms(changes[1], len(rows)), current.clients[rows])
            head_change, body_change = (weighted_sum(part, share[rows]) for part in changes)
            add(learned, join(head_change, body_change, cut))
        return learned

    def train_shared(self, cuts: np.ndarray, current: Round) -> Parameters:
        """Train with one copy of each block at the server, for all clients whose cut lies before it.

        Takes and returns what `train_averaged` does.
        """
        share = current.shares
        holds = cuts[:, None] > np.arange(len(self.model))
        group = np.where(holds, np.cumsum(holds, axis=0) - 1, holds.sum(axis=0))
        used = {name: group[:, block_of(name)] for name in self.parameters}
        copies = {
            name: value.expand(int(used[name].max()) + 1, *value.shape).clone()
            for name, value in self.parameters.items()
        }
        losses = self.fit(Segment(nn.Sequential()), self.whole, {}, copies, current.batches, group=group)
        moved, learned = difference(copies, self.parameters), Parameters()
        held, passed = np.zeros((2, len(cuts)))
        for name, value in moved.items():
            square = value.flatten(1).square().sum(dim=1).cpu().numpy()[used[name]]
            held += np.where(holds[:, block_of(name)], square, 0.0)
            passed += square
            learned |= weighted_sum({name: value}, np.bincount(used[name], share))
        require_finite(passed, current.clients)
        current.record(losses, np.sqrt(held))
        return learned


def by_cut(cuts: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return each cut with the rows of the clients `(A,)` that have it."""
    return [(cut, np.flatnonzero(cuts == cut)) for cut in np.unique(cuts).tolist()]


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
