"""Quantised split federated learning: few bits per number cross the cut (SFLAM; slides, part 3)."""

import dataclasses

import numpy as np

from ...core.randomness import generator
from ...core.settings import parameter
from ...twin.precision import FEWEST_BITS, WHOLE_BITS
from ..engine.quantized_channel import QuantizedChannel
from ..engine.quantizer import Span
from ..plan import QuantizedSplitPlan
from ..procedure import Round
from .splitfed import SplitFed, SplitFedSettings

STREAM = 6
"""The stream of the seed that stochastic rounding draws from."""


@dataclasses.dataclass(frozen=True)
class QuantizedSplitSettings(SplitFedSettings):
    """How clients train, and how numbers are rounded."""

    bits: int = parameter(
        WHOLE_BITS,
        symbol="q",
        at_least=FEWEST_BITS,
        at_most=WHOLE_BITS,
        doc="bits per number of features and of their gradients; 32: unquantised",
    )
    quantizer_span: Span = parameter("tensor", doc="one range for a client's mini-batch, or one for each sample")
    stochastic_rounding: bool = parameter(
        False, doc="round at random so that numbers are right on average, not to the nearest"
    )


class QuantizedSplit(SplitFed):
    """Parallel split learning in which features go up and their gradients come down with q bits per number.

    Both are really packed into bytes and unpacked by the receiver (`quantizer`): the server's part is trained on, and
    its loss taken of, the decoded features; a client's part goes against the gradient of its own mean loss by what
    the server decoded, as it decoded that gradient in turn. Nothing passes as if the quantiser were not there. q is a
    client's number in `plan.bits`, or `settings.bits`; at 32 it is `SplitFed` to the last bit. Bytes are those of the
    encoded tensors, with 8 for each range. Labels and the vehicle-side parameters travel as they are.

    Stochastic rounding draws from a stream of seed, round and client alone, so that a resumed run draws the same. Two
    ways of computing that differ by rounding errors may round a number to neighbouring levels: stacked and looped
    clients then differ by a step of the quantiser.
    """

    settings: QuantizedSplitSettings
    settings_type = QuantizedSplitSettings
    plan_type = QuantizedSplitPlan

    def train(self, current: Round) -> None:
        """Train all clients together over the quantising channel and average."""
        channel = self.open_channel(current.plan, current.clients)
        self.train_over(channel, current)
        current.sent[:, current.clients] += channel.sent
        current.count((self.population.data.labels.element_size(), 0), self.heads)

    def open_channel(self, plan: QuantizedSplitPlan, clients: np.ndarray) -> QuantizedChannel:
        """Return the channel of this round."""
        bits = np.full(self.num_clients, self.settings.bits) if plan.bits is None else np.asarray(plan.bits)
        at = self.population.seed, self.rounds
        drawn = clients.tolist() if self.settings.stochastic_rounding else []
        streams = [generator(*at, client, STREAM) for client in drawn] or None
        return QuantizedChannel(clients, bits[clients], span=self.settings.quantizer_span, generators=streams)
