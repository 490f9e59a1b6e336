"""Interference in compiled loops; see `radio.interference`."""

from typing import Any

import numpy as np

from ..core.compiling import cached_njit


@cached_njit()
def interference(
    sent: Any, heard: Any, server: np.ndarray, channel: np.ndarray, num_channels: int, up: Any, down: Any
) -> None:
    """Write the power that disturbs every client's links.

    Args:
        sent: power of each client at each server on the client's channel `(B, N, M)`.
        heard: power of each server at each client on the client's channel `(B, N, M)`.
        server: of each client `(B, N)`.
        channel: of each client `(B, N)`, -1: absent.
        num_channels: K.
        up: `(B, N)`, zeros.
        down: `(B, N)`, zeros.
    """
    copies, clients, servers = sent.shape
    passing = np.empty((num_channels, servers), sent.dtype)
    count = np.empty((num_channels, servers), sent.dtype)
    for copy in range(copies):
        count[:] = 0
        passing[:] = 0.0
        for n in range(clients):
            k = channel[copy, n]
            if k >= 0:
                m = server[copy, n]
                up[copy, n] = passing[k, m]
                passing[k] += sent[copy, n]
                count[k, m] += 1.0
        passing[:] = 0.0
        for n in range(clients - 1, -1, -1):
            k = channel[copy, n]
            if k >= 0:
                own = server[copy, n]
                up[copy, n] += passing[k, own]
                passing[k] += sent[copy, n]
                count[k, own] -= 1.0
                for m in range(servers):
                    down[copy, n] += count[k, m] * heard[copy, n, m]
                count[k, own] += 1.0
