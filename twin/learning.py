"""How the held-out loss falls with what was learned, fitted to rounds of real training."""

import dataclasses

from ..core.arrays import Array


@dataclasses.dataclass(frozen=True)
class LossCurve:
    """Held-out loss over the amount learned, log-logistic: L(x) = floor + gap / (1 + (x / scale)^exponent).

    It stays where it began at first, then falls, then levels off, as rounds of training do. `command` fitted it.
    """

    gap: float
    """What learning takes from the loss at most, in nats."""
    scale: float
    """Amount at which half of that is taken."""
    exponent: float
    """How steeply the loss falls there."""
    command: str = ""

    def decrease(self, learned: Array, gained: Array) -> Array:
        """Return L(learned) - L(learned + gained), any shape, in nats."""
        before, after = (learned / self.scale) ** self.exponent, ((learned + gained) / self.scale) ** self.exponent
        fallen: Array = self.gap * (1.0 / (1.0 + before) - 1.0 / (1.0 + after))
        return fallen
