"""Quantised split federated learning: few bits per number cross the cut (SFLAM; slides, part 3)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.randomness import generator
from .local import Segment, TrainingDiverged, Way
from .plan import Plan
from .population import Batches
from .quantizer import Span, decode, encode
from .splitting import SplitFed

STREAM = 6
"""The stream of the seed that stochastic rounding draws from."""
UP, DOWN = 0, 1


class QuantizedChannel:
    """Encodes what clients and server tell each other in a round, decodes it on the other side and counts the bytes."""

    def __init__(
        self,
        clients: np.ndarray,
        bits: np.ndarray,
        *,
        span: Span = "tensor",
        generators: Sequence[np.random.Generator] | None = None,
    ) -> None:
        """Open the channel.

        Args:
            clients: `(A,)` client numbers, in the order of the batches.
            bits: `(A,)` bits per number, 2..32.
            span: whether a client's mini-batch has one range, or each of its samples one.
            generators: of stochastic rounding, one for each client; None: numbers are rounded to the nearest level.
        """
        self.clients, self.bits, self.span, self.generators = clients, bits, span, generators
        self.sent = np.zeros((2, len(clients)))

    def up(self, rows: Sequence[int], features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features as the server decodes them; see `Channel`."""
        return self._carry(rows, features, UP)

    def down(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients as the clients decode them; see `Channel`."""
        return self._carry(rows, gradients, DOWN)

    def _carry(self, rows: Sequence[int], tensors: Sequence[Tensor], way: int) -> list[Tensor]:
        """Send one message a client; those of equal shape and bits are encoded in one call."""
        arrived, alike = [tensor.detach() for tensor in tensors], dict[tuple[int, torch.Size], list[int]]()
        for place, (row, tensor) in enumerate(zip(rows, arrived, strict=True)):
            alike.setdefault((int(self.bits[row]), tensor.shape), []).append(place)
        for (bits, _), places in alike.items():
            senders = [rows[place] for place in places]
            values = torch.stack([arrived[place] for place in places])
            self._require_finite(values, senders, way)
            encoded = encode(values, bits, span=self.span, uniform=self._draw(senders, values))
            self.sent[way, senders] += encoded.message_bytes
            for place, value in zip(places, decode(encoded), strict=True):
                arrived[place] = value
        return arrived

    def _draw(self, senders: Sequence[int], values: Tensor) -> Tensor | None:
        """Draw U(0, 1) for every number, from each client's own stream."""
        if self.generators is None:
            return None
        drawn = np.stack([self.generators[row].random(tuple(values.shape[1:])) for row in senders])
        return torch.from_numpy(drawn).to(values.device)

    def _require_finite(self, values: Tensor, senders: Sequence[int], way: int) -> None:
        """Raise `TrainingDiverged` for the first client whose message `(B, ...)` of `values` is not finite."""
        broken = ~torch.isfinite(values).flatten(1).all(dim=1)
        for row in torch.nonzero(broken)[:, 0].tolist():
            what = ("features", "gradients")[way]
            raise TrainingDiverged(f"the {what} of client_{self.clients[senders[row]]} are not finite")


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

    def train(self, plan: Plan, batches: Batches, loss: np.ndarray, change: np.ndarray, sent: np.ndarray) -> None:
        """Train all clients together over the quantising channel and average."""
        channel = self.open_channel(plan, batches.clients)
        self.train_over(channel, plan, batches, loss, change, sent)
        sent[:, batches.clients] += channel.sent
        sent[UP, batches.clients] += batches.samples * self.population.data.labels.element_size()

    def open_channel(self, plan: Plan, clients: np.ndarray) -> QuantizedChannel:
        """Return the channel of this round."""
        bits = np.full(self.num_clients, self.settings.bits) if plan.bits is None else np.asarray(plan.bits)
        streams = None
        if self.settings.stochastic_rounding:
            seed = self.population.seed
            streams = [generator(seed, self.rounds, client, STREAM) for client in clients.tolist()]
        return QuantizedChannel(clients, bits[clients], span=self.settings.quantizer_span, generators=streams)

    def way(self, head: Segment, body: Segment, *, alone: bool) -> Way:
        """Return how clients train together; mapped ones have no channel."""
        return super().way(head, body, alone=False)
