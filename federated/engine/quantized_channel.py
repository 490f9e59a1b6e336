"""A channel over which few bits per number go: messages are encoded, decoded on the other side, and counted."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .quantizer import Span, check_quantizer, decode, encode
from .work import TrainingDiverged

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

        Raises:
            ValueError: bits that are no integers or out of range, or an unknown span.
        """
        for number in bits.tolist():
            check_quantizer(number, span)
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
