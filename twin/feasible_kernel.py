"""Matching in compiled loops; see `feasible.match`."""

from typing import Any

import numpy as np

from ..core.compiling import cached_njit


@cached_njit()
def match(scores: Any, matched: np.ndarray) -> None:
    """Write the channel of each client.

    Args:
        scores: `(B, N, M)`; -inf: never.
        matched: `(B, N)`, -1 everywhere.
    """
    copies, clients, channels = scores.shape
    taken = np.empty(channels, np.bool_)
    row_best = np.empty(clients, scores.dtype)
    row_channel = np.empty(clients, np.int64)
    for copy in range(copies):
        taken[:] = False
        row_channel[:] = -1
        for _ in range(min(clients, channels)):
            best, client = -np.inf, -1
            for n in range(clients):
                if matched[copy, n] >= 0:
                    continue
                if row_channel[n] < 0 or taken[row_channel[n]]:
                    # Its best channel went to another: look for the next best.
                    row_best[n], row_channel[n] = -np.inf, 0
                    for m in range(channels):
                        if not taken[m] and scores[copy, n, m] > row_best[n]:
                            row_best[n], row_channel[n] = scores[copy, n, m], m
                if row_best[n] > best:
                    best, client = row_best[n], n
            if client < 0:
                break
            matched[copy, client] = row_channel[client]
            taken[row_channel[client]] = True
