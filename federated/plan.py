"""What drives a round of learning, and what it brings."""

import dataclasses
from typing import Any, Literal, Self

import numpy as np

from ..twin.precision import FEWEST_BITS, WHOLE_BITS

Kind = Literal["integers", "numbers", "booleans"]
DTYPES: dict[Kind, str] = {"integers": "iu", "numbers": "biuf", "booleans": "b"}


def per_client(kind: Kind, *, at_least: float = -np.inf, at_most: float = np.inf) -> Any:
    """Declare a field of a plan that may say one thing of every client, `(N,)`; None: nothing.

    Args:
        kind: what the array holds.
        at_least: least value for a client that takes part.
        at_most: greatest value for a client that takes part; infinite: any that is finite.
    """
    return dataclasses.field(default=None, metadata={"kind": kind, "at_least": at_least, "at_most": at_most})


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who takes part in a round, where, and with how much; a procedure that reads more has a plan of its own."""

    server: np.ndarray
    """`(N,)` integers: the edge server of each client, -1 for those that are absent; without servers 0 for present."""
    samples: np.ndarray | None = per_client("integers", at_least=1)
    """`(N,)` samples that each client takes for a local epoch; None: as many as it holds."""
    weights: np.ndarray | None = per_client("numbers", at_least=0)
    """`(N,)` weights of aggregation; None: the samples that were trained on."""

    @classmethod
    def everyone(cls, clients: int) -> Self:
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
        for field in dataclasses.fields(self):
            if field.metadata and getattr(self, field.name) is not None:
                self._check_values(field)

    def _check_values(self, field: dataclasses.Field[Any]) -> None:
        """Check a field that was declared `per_client`; values of absent clients are not looked at."""
        name, kind, least, most = (field.name, *(field.metadata[key] for key in ("kind", "at_least", "at_most")))
        array, shape = np.asarray(getattr(self, name)), np.shape(self.server)
        if array.shape != shape or array.dtype.kind not in DTYPES[kind]:
            verb = "is" if kind == "booleans" else "are"
            raise ValueError(f"{name} {verb} {array.dtype} {array.shape}, must be {kind} {shape}")
        fits = (array >= least) & (array <= most) & np.isfinite(array)
        limit = f"at least {least} and finite" if np.isinf(most) else f"in {least}..{most}"
        for client in np.flatnonzero(~fits & (np.asarray(self.server) >= 0)):
            raise ValueError(f"{name} of client_{client} is {array[client]}, must be {limit}")


@dataclasses.dataclass(frozen=True)
class CloudEdgeClientPlan(Plan):
    """Who takes part, at which edge server, and whose heads are given away."""

    share_head: np.ndarray | None = per_client("booleans")
    """`(N,)` booleans: clients that give their private heads to aggregation; None: nobody."""


@dataclasses.dataclass(frozen=True)
class AdaptiveSplitPlan(Plan):
    """Who takes part, and where the model is cut for each."""

    cut: np.ndarray | None = per_client("integers", at_least=1)
    """`(N,)` integers: blocks of the model that stay with each client in this round; None: as set for all."""


@dataclasses.dataclass(frozen=True)
class QuantizedSplitPlan(Plan):
    """Who takes part, and with how many bits."""

    bits: np.ndarray | None = per_client("integers", at_least=FEWEST_BITS, at_most=WHOLE_BITS)
    """`(N,)` integers 2..32: bits per number of features up and gradients down, 32 unquantised; None: as set."""


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
