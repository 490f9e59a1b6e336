"""Cloud-edge-client collaborative learning (Zhao et al., JSAC 2023, section III, Algorithm 1, eqs (1)-(4))."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from ...core.randomness import generator
from ...core.settings import parameter
from ..data.dataset import Dataset, check_whole
from ..data.population import Population
from ..engine.work import Segment, require_finite
from ..models.parameters import Parameters, add, difference, norms, shares, stack, take, weighted_sum
from ..models.split_model import SplitModel
from ..plan import CloudEdgeClientPlan, Plan
from ..privacy import Privacy, spent_epsilon
from ..procedure import LearningSettings, Round
from ..scoring import encoded, score
from ..source import Source
from .split import Split, SplitSettings


@dataclasses.dataclass(frozen=True)
class CloudEdgeClientSettings(SplitSettings):
    """How clients train, whose the heads are, and how they are disturbed before they are given away."""

    head: Literal["private", "shared", "frozen"] = parameter(
        "private",
        doc="heads of each client's own, given away where the plan says so; averaged in every round; or pretrained, "
        "the same for all, and not trained",
    )
    first_heads: Literal["own", "common"] = parameter(
        "own", doc="private heads begin with weights of each client's own, or with the same; shared ones with the same"
    )
    epsilon: float = parameter(
        0.0, at_least=0, at_most=100, doc="privacy loss of heads that are given away; 0: undisturbed"
    )
    delta: float = parameter(1e-5, above=0, at_most=1, doc="probability with which epsilon may be exceeded")
    clip_norm: float = parameter(1.0, above=0, doc="largest norm of a head's change that is given away under epsilon")
    private_rounds: int = parameter(25, at_least=1, doc="rounds over which epsilon is spent; no more are allowed")

    def __post_init__(self) -> None:
        """Reject values outside their limits, and a privacy loss of heads that are not shared.

        Raises:
            ValueError: names the value and its limit.
        """
        super().__post_init__()
        if self.epsilon and self.head != "shared":
            raise ValueError(
                f"epsilon is {self.epsilon:g}, but head is {self.head}: only heads that are shared are disturbed"
            )

    def privacy(self) -> Privacy | None:
        """Return what disturbs heads that are given away."""
        if not self.epsilon:
            return None
        return Privacy(epsilon=self.epsilon, delta=self.delta, rounds=self.private_rounds, clip=self.clip_norm)


class CloudEdgeClient(Split):
    """Clients keep private heads; edge servers train bodies on their clients' features; the cloud averages bodies.

    Heads are averaged among the clients that agree to it, disturbed by noise if privacy is asked for. A frozen head is
    pretrained and the same for all: its features are computed once, no gradient goes back.
    """

    settings: CloudEdgeClientSettings
    settings_type = CloudEdgeClientSettings
    plan_type = CloudEdgeClientPlan

    def __init__(
        self,
        model: SplitModel,
        population: Population,
        held_out: Dataset,
        settings: LearningSettings | None = None,
        *,
        num_servers: int = 4,
        privacy: Privacy | None = None,
    ) -> None:
        """Build the procedure; see `Procedure`.

        Args:
            model: cut after `settings.cut` blocks.
            population: clients.
            held_out: data for scores.
            settings: how clients train.
            num_servers: edge servers M.
            privacy: disturbs heads that are given away; None: as the settings say.

        Raises:
            ValueError: a cut that the model lacks, or no server.
        """
        self.num_servers = check_whole(num_servers, "num_servers", 1)
        super().__init__(model, population, held_out, settings)
        self.privacy = self.settings.privacy() if privacy is None else privacy

    def prepare(self) -> None:
        """Cut the model; see that frozen heads have done their part.

        Raises:
            ValueError: a cut that the model lacks.
        """
        super().prepare()
        if self.settings.head == "frozen" and self.settings.cut:
            self._encode()
        self.common_head, self.heads = self.heads, stack(self.heads, self.num_clients)
        self.releases = np.zeros(self.num_clients, np.int64)

    def _encode(self) -> None:
        """Put the head's features, computed once, in the place of the samples."""
        features, self.held_out = (encoded(self.head.module, data) for data in (self.population.data, self.held_out))
        self.population = Population(features, self.population.parts, seed=self.population.seed)
        self.head, self.heads, self.crossing = Segment(nn.Sequential()), {}, (self.crossing[0], 0)

    @classmethod
    def from_task(
        cls, task: Source, num_clients: int, seed: int, settings: LearningSettings, *, num_servers: int = 4
    ) -> Self:
        """Return it from its beginning, with `num_servers` edge servers; see `Procedure`.

        Frozen heads do not depend on `seed`; private ones begin as `first_heads` says.
        """
        assert isinstance(settings, CloudEdgeClientSettings)
        frozen = settings.cut if settings.head == "frozen" else 0
        model, train, held_out = task.start(seed, frozen)
        population = Population(train, task.parts(num_clients), seed=seed)
        rest = dataclasses.replace(settings, cut=settings.cut - frozen)
        procedure = cls(model, population, held_out, rest, num_servers=num_servers)
        if settings.head == "private" and settings.first_heads == "own" and not task.weights:
            for client in range(num_clients):
                own, _ = task.build_model(head_seed(seed, client)).split(settings.cut)
                for name, value in own.named_parameters():
                    procedure.heads[name][client] = value.detach()
        return procedure

    def own_plan(self, plan: Plan) -> Plan:
        """Return the plan as one of this procedure's own, checked.

        Raises:
            ValueError: it says whose heads are given away, though the settings do, or does not fit the clients.
        """
        own = super().own_plan(plan)
        assert isinstance(own, CloudEdgeClientPlan)
        if own.share_head is not None and self.settings.head != "private":
            raise ValueError(f"the plan says share_head, but head is {self.settings.head}, must be private")
        return own

    def train(self, current: Round) -> None:
        """Stage I: split learning at every server. Stage II: aggregation of bodies, and of heads of those who agree."""
        clients, weights = current.clients, current.weights
        used, first, group = np.unique(current.plan.server[clients], return_index=True, return_inverse=True)
        rows = torch.from_numpy(clients).to(self.device)
        heads, bodies = take(self.heads, rows), stack(self.bodies, len(used))
        losses = self.fit(self.head, self.body, heads, bodies, current.batches, group=group)
        learned = difference(bodies, self.bodies)
        current.record(losses, norms(difference(heads, take(self.heads, rows)), len(clients)))
        require_finite(norms(learned, len(used)), clients[first])
        body_change = weighted_sum(learned, shares(np.bincount(group, weights, minlength=len(used))))
        agree = self.agreeing(current.plan, clients)
        common_change = self.shared_change(heads, clients, agree, weights)
        add(self.bodies, body_change)
        for name, value in heads.items():
            self.heads[name][rows] = value
        current.count(self.crossing, {})
        if common_change:
            add(self.common_head, common_change)
            for name, value in self.common_head.items():
                self.heads[name][rows[torch.from_numpy(agree).to(self.device)]] = value
            self.releases[clients[agree]] += 1
            current.count((0, 0), self.common_head, np.flatnonzero(agree))

    def agreeing(self, plan: CloudEdgeClientPlan, clients: np.ndarray) -> np.ndarray:
        """Return which of the clients give their heads away, `(A,)` booleans.

        Raises:
            ValueError: one of them has spent its privacy budget.
        """
        agree = np.full(len(clients), self.head.trained and self.settings.head == "shared")
        if self.head.trained and plan.share_head is not None:
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
        each = range(self.num_clients) if self.head.trained else [0]
        scores = [score(self.joined(take(self.heads, client)), self.held_out) for client in each]
        loss, accuracy = np.mean(scores, axis=0).tolist()
        return loss, accuracy

    def learned(self) -> Mapping[str, Parameters]:
        """Return the weights of heads, of the last shared head and of the body."""
        return {"head.": self.heads, "common.": self.common_head, "body.": self.bodies}

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-compatible values from which `load_state_dict` goes on exactly."""
        tensors, values = super().state_dict()
        return tensors, {**values, "releases": self.releases.tolist()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, in a procedure built alike."""
        super().load_state_dict(tensors, values)
        self.releases = np.array(values["releases"], np.int64)


def head_seed(seed: int, client: int) -> int:
    """Return the seed of the first weights of a client's private head."""
    return int(generator(seed, 0, client, stream=5).integers(2**31))
