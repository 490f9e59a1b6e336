"""What drives a round of learning, and what it brings."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from .quantizer import FEWEST_BITS, WHOLE_BITS

LIMITS: Mapping[str, tuple[float, float, bool]] = {
    "samples": (1, np.inf, True),
    "weights": (0, np.inf, False),
    "cut": (1, np.inf, True),
    "bits": (FEWEST_BITS, WHOLE_BITS, True),
}
"""Least and greatest value of what a plan may say of every client, and whether it must be an integer."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who takes part in a round, where, and with how much."""

    server: np.ndarray
    """`(N,)` integers: the edge server of each client, -1 for those that are absent; without servers 0 for present."""
    samples: np.ndarray | None = None
    """`(N,)` samples that each client takes for a local epoch; None: as many as it holds."""
    weights: np.ndarray | None = None
    """`(N,)` weights of aggregation; None: the samples that were trained on."""
    share_head: np.ndarray | None = None
    """`(N,)` booleans: clients that give their private heads to aggregation; None: nobody."""
    cut: np.ndarray | None = None
    """`(N,)` integers: blocks of the model that stay with each client in this round; None: as set for all."""
    bits: np.ndarray | None = None
    """`(N,)` integers 2..32: bits per number of features up and gradients down, 32 unquantised; None: as set."""

    @classmethod
    def everyone(cls, clients: int) -> "Plan":
        """Return the plan in which every client takes part with all its samples."""
        return cls(np.zeros(clients, np.int64))

    @property
    def clients(self) -> np.ndarray:
        """Numbers of the clients that take part."""
        return np.flatnonzero(self.server >= 0)

    def check(self, num_clients: int, num_servers: int) -> None:
        """Check the plan against the population.

        Raises:
            ValueError: names the client that is unknown or has a value out of range; how many blocks may stay with
                a client at most, its procedure knows.
        """
        server = np.asarray(self.server)
        if server.ndim != 1 or server.dtype.kind not in "iu":
            raise ValueError(f"server is {server.dtype} {server.shape}, must be integers ({num_clients},)")
        if server.size != num_clients:
            unknown = f": client_{num_clients} is unknown" if server.size > num_clients else ""
            raise ValueError(f"the plan names {server.size} clients, must be {num_clients}{unknown}")
        for client in np.flatnonzero((server < -1) | (server >= num_servers)):
            raise ValueError(f"server of client_{client} is {server[client]}, must be in -1..{num_servers - 1}")
        if self.share_head is not None:
            agree = np.asarray(self.share_head)
            if agree.dtype != np.bool_ or agree.shape != server.shape:
                raise ValueError(f"share_head is {agree.dtype} {agree.shape}, must be booleans {server.shape}")
        for name, limits in LIMITS.items():
            if getattr(self, name) is not None:
                self.check_values(name, *limits)

    def check_values(self, name: str, least: float, most: float, integral: bool) -> None:
        """Check a field of one number per client; those of absent clients are not looked at.

        Raises:
            ValueError: names field, client, value and limit.
        """
        array, shape = np.asarray(getattr(self, name)), np.shape(self.server)
        if array.shape != shape or array.dtype.kind not in ("iu" if integral else "biuf"):
            kind = "integers" if integral else "numbers"
            raise ValueError(f"{name} are {array.dtype} {array.shape}, must be {kind} {shape}")
        fits = (array >= least) & (array <= most) & np.isfinite(array)
        limit = f"at least {least} and finite" if np.isinf(most) else f"in {least}..{most}"
        for client in np.flatnonzero(~fits & (np.asarray(self.server) >= 0)):
            raise ValueError(f"{name} of client_{client} is {array[client]}, must be {limit}")


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a round brought; arrays are `(N,)`, NaN or 0 for absent clients."""

    round: int
    loss: float
    """Mean cross-entropy on held-out data."""
    accuracy: float
    """Share of held-out samples that are classified correctly."""
    client_loss: np.ndarray
    """Mean training loss of the round, NaN where absent."""
    update_norm: np.ndarray
    """Euclidean norm of the change of what the client trained, NaN where absent."""
    uplink_bytes: np.ndarray
    """Bytes that each client sent: features and labels, parameters."""
    downlink_bytes: np.ndarray
    """Bytes that each client received: gradients of features, parameters."""
