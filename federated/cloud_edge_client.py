"""Cloud-edge-client collaborative learning (Zhao et al., JSAC 2023, section III, Algorithm 1, eqs (1)-(4))."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.checkpoint import prefixed, select
from .data import Dataset
from .local import Segment, require_finite, train_together
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
    take,
    weighted_sum,
)
from .plan import Plan
from .population import Batches, Population
from .privacy import Privacy, spent_epsilon
from .procedure import LearningSettings, Procedure
from .scoring import MOST_NUMBERS, score
from .splitting import bytes_at


class CloudEdgeClient(Procedure):
    """Clients keep private heads; edge servers train bodies on their clients' features; the cloud averages bodies.

    Heads are averaged among the clients that agree to it, disturbed by noise if privacy is asked for. A frozen head is
    pretrained and the same for all: its features are computed once, no gradient goes back.
    """

    def __init__(
        self,
        model: SplitModel,
        population: Population,
        held_out: Dataset,
        settings: LearningSettings | None = None,
        *,
        num_servers: int = 4,
        privacy: Privacy | None = None,
        encoded_data: tuple[Dataset, Dataset] | None = None,
    ) -> None:
        """Build the procedure; see `Procedure`.

        Args:
            model: cut after `settings.cut` blocks.
            population: clients.
            held_out: data for scores.
            settings: how clients train.
            num_servers: edge servers M.
            privacy: disturbs heads that are given away; None: they are averaged as they are.
            encoded_data: what `encoded` returns for the clients' and the held-out data, to save computing it again.

        Raises:
            ValueError: a cut that the model lacks, or no server.
        """
        if num_servers < 1:
            raise ValueError(f"num_servers is {num_servers}, must be at least 1")
        super().__init__(model, population, held_out, settings)
        self.num_servers, self.privacy = num_servers, privacy
        first, rest = self.model.split(self.settings.cut)
        self.crossing = bytes_at(first, population.data)
        self.head, self.body = Segment(first), Segment(rest)
        if self.settings.head == "frozen":
            if encoded_data is None:
                encoded_data = encoded(first, population.data), encoded(first, held_out)
            features, self.held_out = encoded_data
            self.population = Population(features, population.parts, seed=population.seed)
            self.head = Segment(nn.Sequential())
        self.heads = stack(parameters_of(self.head.module), self.num_clients)
        self.common_head = parameters_of(self.head.module)
        self.bodies = parameters_of(self.body.module)
        self.releases = np.zeros(self.num_clients, np.int64)

    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Stage I: split learning at every server. Stage II: aggregation of bodies, and of heads of those who agree."""
        clients = batches.clients
        used, group = np.unique(plan.server[clients], return_inverse=True)
        rows = torch.from_numpy(clients).to(self.device)
        heads, bodies = take(self.heads, rows), stack(self.bodies, len(used))
        way = self.way(self.head, self.body, alone=False)
        losses = train_together(self.head, self.body, heads, bodies, group, self.population, batches, self.rule, way)
        weights = np.asarray(batches.samples if plan.weights is None else plan.weights[clients], np.float64)
        at_server = np.bincount(group, weights, minlength=len(used))
        learned = difference(bodies, self.bodies)
        moved = norms(difference(heads, take(self.heads, rows)), len(clients)).cpu().numpy()
        require_finite(moved, clients)
        require_finite(norms(learned, len(used)).cpu().numpy(), clients[np.unique(group, return_index=True)[1]])
        body_change = weighted_sum(learned, shares(at_server))
        agree = self.agreeing(plan, clients)
        common_change = self.shared_change(heads, clients, agree, weights)
        add(self.bodies, body_change)
        for name, value in heads.items():
            self.heads[name][rows] = value
        loss[clients], change[clients] = losses.cpu().numpy(), moved
        up, down = self.crossing
        sent[0, clients] += batches.samples * up
        sent[1, clients] += batches.samples * (down if self.head.trained else 0)
        if common_change:
            add(self.common_head, common_change)
            for name, value in self.common_head.items():
                self.heads[name][rows[torch.from_numpy(agree).to(self.device)]] = value
            self.releases[clients[agree]] += 1
            sent[:, clients[agree]] += bits(self.common_head) // 8

    def agreeing(self, plan: Plan, clients: np.ndarray) -> np.ndarray:
        """Return which of the clients give their heads away, `(A,)` booleans.

        Raises:
            ValueError: one of them has spent its privacy budget.
        """
        if not self.head.trained or (self.settings.head == "private" and plan.share_head is None):
            return np.zeros(len(clients), np.bool_)
        agree = np.ones(len(clients), np.bool_)
        if self.settings.head == "private" and plan.share_head is not None:
            agree = plan.share_head[clients]
        if self.privacy is not None:
            for client in clients[agree & (self.releases[clients] >= self.privacy.rounds)]:
                raise ValueError(
                    f"client_{client} has given its head away {self.releases[client]} times, must be at most "
                    f"{self.privacy.rounds}: its epsilon of {self.privacy.epsilon:g} is spent"
                )
        return agree

    def shared_change(
        self, heads: Parameters, clients: np.ndarray, agree: np.ndarray, weights: np.ndarray
    ) -> Parameters:
        """Return the change of the common head, eq (4); heads are told relative to the last average."""
        if not agree.any():
            return {}
        told = difference(take(heads, torch.from_numpy(np.flatnonzero(agree)).to(self.device)), self.common_head)
        if self.privacy is not None:
            told = self.privacy.disturb(told, self.population.seed, self.rounds, clients[agree])
        return weighted_sum(told, shares(weights[agree]))

    def epsilon(self) -> np.ndarray:
        """Return the privacy loss `(N,)` of each client so far; infinite where heads were given away undisturbed."""
        if self.privacy is None:
            return np.where(self.releases > 0, np.inf, 0.0)
        noise, delta = self.privacy.noise_multiplier, self.privacy.delta
        spent = {count: spent_epsilon(noise, count, delta) for count in set(self.releases.tolist())}
        return np.array([spent[count] for count in self.releases.tolist()])

    def score(self) -> tuple[float, float]:
        """Return loss and accuracy on the held-out data, the mean over clients' heads, each with the common body."""
        body = point(self.body.module, self.bodies)
        if not self.head.trained:
            return score(body, self.held_out)
        scores = [
            score(nn.Sequential(point(self.head.module, take(self.heads, client)), body), self.held_out)
            for client in range(self.num_clients)
        ]
        loss, accuracy = np.mean(scores, axis=0)
        return float(loss), float(accuracy)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of heads, of the last shared head and of the body by name."""
        common = prefixed(self.common_head, "common")
        return {**prefixed(self.heads, "head"), **common, **prefixed(self.bodies, "body")}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights."""
        self.heads = loaded(select(tensors, "head"), self.heads)
        self.common_head = loaded(select(tensors, "common"), self.common_head)
        self.bodies = loaded(select(tensors, "body"), self.bodies)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-compatible values from which `load_state_dict` goes on exactly."""
        tensors, values = super().state_dict()
        return tensors, {**values, "releases": self.releases.tolist()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, in a procedure built alike."""
        super().load_state_dict(tensors, values)
        self.releases = np.array(values["releases"], np.int64)


@torch.no_grad()
def encoded(head: nn.Module, data: Dataset) -> Dataset:
    """Return the dataset with the head's features in place of its inputs."""
    head.eval()
    chunk = max(1, MOST_NUMBERS // max(1, data.inputs[0].numel()))
    return Dataset(torch.cat([head(part) for part in torch.split(data.inputs, chunk)]), data.labels, data.num_classes)
