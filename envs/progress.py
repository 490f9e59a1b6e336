"""What a round of learning brings: predicted by a model of the paper, or measured in rounds of real training."""

import functools
from collections.abc import Callable, Mapping

from ..core.arrays import Array


class Progress:
    """What a round of learning brought; predicted or measured, in the same unit."""

    def __init__(
        self, amount: Array, loss_decrease: Array | Callable[[], Array], information: Mapping[str, Array] | None = None
    ) -> None:
        """Keep what is known.

        Args:
            amount: what the model of progress counts, `(...)`: samples, or benefits.
            loss_decrease: decrease of the held-out loss `(...)` in nats, or what computes it when it is first read.
            information: what else is known, by name, `(...)` or `(..., N)`: measured loss, accuracy, bytes; what
                clients report.
        """
        self.amount = amount
        self.information = {} if information is None else information
        self._loss_decrease = loss_decrease

    @functools.cached_property
    def loss_decrease(self) -> Array:
        """Decrease of the held-out loss `(...)` in nats: what `progress_weight` multiplies."""
        return self._loss_decrease() if callable(self._loss_decrease) else self._loss_decrease
