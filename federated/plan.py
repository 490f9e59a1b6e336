"""What drives a round of learning, and what it brings."""

import dataclasses

import numpy as np


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
            ValueError: names the client that is unknown or has a server or a number of samples out of range.
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
        for name, least in (("samples", 1), ("weights", 0)):
            values = getattr(self, name)
            if values is None:
                continue
            array = np.asarray(values)
            if array.shape != server.shape or (name == "samples" and array.dtype.kind not in "iu"):
                raise ValueError(f"{name} are {array.dtype} {array.shape}, must be {server.shape}, samples integers")
            for client in np.flatnonzero(~((array >= least) & np.isfinite(array)) & (server >= 0)):
                raise ValueError(f"{name} of client_{client} is {array[client]}, must be at least {least} and finite")


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
