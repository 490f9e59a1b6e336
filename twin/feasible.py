"""Projections onto what is feasible, which systems and solvers share."""

import functools
import math
from collections.abc import Callable

import numpy as np

from ..core.arrays import Array, arange_like, clip, namespace
from ..core.compiling import worth_compiling
from . import radio

MOST_BITS_PER_HERTZ = 100.0
"""Rates are asked for up to here, at which the power is far beyond any limit: more would overflow."""


def snr_in_time(*, bits: Array, time: Array, bandwidth: Array) -> Array:
    """Least signal to noise with which bits are sent within a time; inf: none does.

    Args:
        bits: any shape.
        time: in s; not above 0: there is none. It broadcasts to `bits`, as the bandwidth does.
        bandwidth: in Hz.
    """
    xp = namespace(time)
    possible = time > 0.0
    rate, most = bits / xp.where(possible, time, 1.0), MOST_BITS_PER_HERTZ * bandwidth
    snr = radio.sinr_for_rate(rate=xp.minimum(rate, most), bandwidth=bandwidth)
    return xp.where(possible & (rate <= most), snr, xp.inf)


@functools.cache
def _compiled() -> Callable[..., None]:
    """Return the compiled loop, which is loaded when it is worth it."""
    from .feasible_kernel import match as loop

    return loop


def match(scores: Array) -> Array:
    """Give channels to devices, highest score first, one each; of equal scores the first.

    Args:
        scores: `(..., N, M)`, floating; -inf or NaN: never.

    Returns:
        Channel `(..., N)`, -1: none.
    """
    xp = namespace(scores)
    *batch, clients, channels = scores.shape
    if xp is np and worth_compiling(scores.size):
        found = np.full((math.prod(batch), clients), -1, np.int64)
        _compiled()(scores.reshape(math.prod(batch), clients, channels), found)
        return found.reshape(*batch, clients)
    left = xp.reshape(xp.where(scores > -xp.inf, scores, -xp.inf), (math.prod(batch), clients * channels))
    pairs = xp.reshape(left, (-1, clients, channels))
    copies = arange_like(left.shape[0], left)
    matched = xp.zeros_like(pairs[..., 0], dtype=xp.int64) - 1
    for _ in range(min(clients, channels)):
        best = xp.argmax(left, axis=-1)
        client, channel = best // channels, best % channels
        found = left[copies, best] > -xp.inf
        matched[copies, client] = xp.where(found, channel, matched[copies, client])
        pairs[copies, client] = -xp.inf
        pairs[copies, :, channel] = -xp.inf
    return xp.reshape(matched, (*batch, clients))


def lifted_shares(*, share: Array, floor: Array, present: Array) -> Array:
    """Shares moved towards equal ones, as little as gives everybody its floor, or an equal share if that is less.

    Args:
        share: `(..., N)`, sum at most 1.
        floor: least share of each, `(..., N)`; may be inf.
        present: who takes part, `(..., N)` booleans.
    """
    xp = namespace(share)
    present = xp.astype(present, share.dtype)
    equal = present / clip(xp.sum(present, axis=-1, keepdims=True), 1.0)
    short = clip(xp.minimum(floor * (1.0 + 1e-6), equal) - share, 0.0)
    room = equal - share
    step = xp.where(short > 0.0, short / xp.where(room > 0.0, room, 1.0), 0.0)
    # One step for all keeps the sum.
    most = clip(xp.max(step, axis=-1, keepdims=True), 0.0, 1.0)
    return share + most * room
