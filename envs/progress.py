"""What a round of learning brings: predicted by a model of the paper, or measured in rounds of real training."""

import dataclasses
from collections.abc import Mapping

from ..core.arrays import Array


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a round of learning brought; in either case in the same unit."""

    amount: Array
    """What the model of progress counts, `(...)`: samples, or benefits."""
    loss_decrease: Array
    """Decrease of the held-out loss `(...)` in nats: what `progress_weight` multiplies."""
    information: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    """What else is known, by name, `(...)` or `(..., N)`: measured loss, accuracy, bytes; what clients report."""
