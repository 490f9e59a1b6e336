"""Matching in compiled loops; see `feasible.match`."""

from typing import Any

import numpy as np

from ..core.compiling import cached_njit


@cached_njit()
def favorite(scores: Any, free: Any) -> tuple[Any, int]:
    """Return the highest of a client's scores `(M,)` on free channels, and its channel; -inf: none.

    Args:
        scores: `(M,)`.
        free: `(M,)`, 0 for channels that nobody has, else -inf: added, so that there is no branch to be guessed wrong.
    """
    best, channel = -np.inf, -1
    for m in range(scores.size):
        score = scores[m] + free[m]
        if score > best:
            best, channel = score, m
    return best, channel


@cached_njit()
def match(scores: Any, matched: np.ndarray) -> None:
    """Write the channel of each client.

    Args:
        scores: `(B, N, M)`; -inf: never.
        matched: `(B, N)`, -1 everywhere.
    """
    copies, clients, channels = scores.shape
    free = np.empty(channels, scores.dtype)
    best, channel = np.empty(clients, scores.dtype), np.empty(clients, np.int64)
    # Clients that may still get a channel, in their order.
    waiting = np.empty(clients, np.int64)
    for copy in range(copies):
        free[:] = 0.0
        count = 0
        for n in range(clients):
            best[n], channel[n] = favorite(scores[copy, n], free)
            if channel[n] >= 0:
                waiting[count] = n
                count += 1
        while count > 0:
            first = waiting[0]
            for place in range(1, count):
                if best[waiting[place]] > best[first]:
                    first = waiting[place]
            matched[copy, first], free[channel[first]] = channel[first], -np.inf
            kept = 0
            for place in range(count):
                n = waiting[place]
                if n != first:
                    if channel[n] == channel[first]:
                        best[n], channel[n] = favorite(scores[copy, n], free)
                    if channel[n] >= 0:
                        waiting[kept] = n
                        kept += 1
            count = kept
