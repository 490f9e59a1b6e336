"""Parallel split learning (SplitFed: Thapa et al., 2022)."""

import dataclasses
from typing import Literal

import numpy as np

from ...core.settings import parameter
from ..engine.channel import Channel
from ..engine.work import require_finite
from ..models.parameters import add, difference, norms, stack, weighted_sum
from ..procedure import Round
from .split import Split, SplitSettings


@dataclasses.dataclass(frozen=True)
class SplitFedSettings(SplitSettings):
    """How clients train, and what the server keeps for them."""

    server_part: Literal["averaged", "shared"] = parameter(
        "averaged", doc="a server part for each client, averaged, or one for all"
    )


class SplitFed(Split):
    """Clients train in parallel; heads are averaged, and so are the server's parts where each client has one.

    With `server_part="shared"` the server trains one part on the features of all clients together. Averaged, the cut
    makes no difference to what is learned: it is FedAvg.
    """

    settings: SplitFedSettings
    settings_type = SplitFedSettings

    def train(self, current: Round) -> None:
        """Train all clients together and average."""
        self.train_over(None, current)
        current.count(self.crossing, self.heads)

    def train_over(self, channel: Channel | None, current: Round) -> None:
        """Train as `train` does, features and gradients through `channel`; no bytes are counted."""
        clients, count = current.clients, len(current.clients)
        together = self.settings.server_part == "shared"
        owners, group = (clients[:1], np.zeros(count, np.int64)) if together else (clients, None)
        heads, bodies = stack(self.heads, count), stack(self.bodies, len(owners))
        losses = self.fit(self.head, self.body, heads, bodies, current.batches, group=group, channel=channel)
        moved, learned = difference(heads, self.heads), difference(bodies, self.bodies)
        current.record(losses, norms(moved, count))
        require_finite(norms(learned, len(owners)), owners)
        body_change = weighted_sum(learned, np.ones(1) if together else current.shares)
        add(self.heads, weighted_sum(moved, current.shares))
        add(self.bodies, body_change)
