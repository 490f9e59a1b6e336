"""Pieces that the allocation solvers share: least bandwidth, the water level, a cubic's root.

All are vectorised over any leading shape; SI units, shares of a band in [0, 1]. Rates are those of
`twin.radio.band_rate`, with its two readings of the noise, "psd" and "fixed"; its inverse in the share is
`twin.radio.share_for_rate`, the largest power within an energy `twin.radio.power_for_energy`.
"""

from collections.abc import Callable

import numpy as np

from ..core.arrays import Array
from ..twin.radio import share_for_rate

LEVEL_STEPS = 200
"""Limit of the search for a water level, and of the doublings before it."""

FILLED = 1e-13
"""The shares fill the band when their sum is this close to 1."""


def least_share(
    *, bits: Array, power: Array, duration: Array, snr_per_watt: Array, bandwidth: float, noise: str
) -> Array:
    """Least share that carries bits within a time at a power.

    Args:
        bits: `(...)`.
        power: `(...)` in W.
        duration: `(...)` in s; at most 0: no share is enough.
        snr_per_watt: g / (n0 W) `(...)` in 1/W.
        bandwidth: of the whole band W in Hz.
        noise: "psd" or "fixed".

    Returns:
        Share `(...)`, inf where no share is enough.
    """
    possible = duration > 0.0
    rate = bits / np.where(possible, duration, 1.0)
    share = share_for_rate(bandwidth=bandwidth, rate=rate, snr=power * snr_per_watt, noise=noise)
    return np.where(possible, share, np.inf)


def meeting_frequency(*, cycles: Array, drain: Array, time: Array, energy: Array, power: Array) -> Array:
    """Frequency at which sending at a power uses up time and energy together: time - A / f = (energy - D f^2) / p.

    It is the one positive root of f^3 + P f + Q = 0 with P = (p time - energy) / D and Q = -p A / D: below it the
    time ends first, above it the energy. Slides, part 2, SUBP3.

    Args:
        cycles: A `(...)`, above 0.
        drain: D = zeta / 2 A `(...)` in J s^2, above 0.
        time: for computing and sending `(...)` in s.
        energy: for computing and sending `(...)` in J.
        power: `(...)` in W.

    Returns:
        Frequency `(...)` in Hz.
    """
    slope, product = (power * time - energy) / drain, power * cycles / drain
    simple = np.cbrt(product)
    scale = np.sqrt(np.abs(slope) / 3.0)
    flat = scale < 1e-6 * simple
    scale = np.where(flat, simple, scale)
    argument = product / (2.0 * scale**3)
    rising = np.sinh(np.arcsinh(argument) / 3.0)
    falling = np.where(
        argument > 1.0,
        np.cosh(np.arccosh(np.maximum(argument, 1.0)) / 3.0),
        np.cos(np.arccos(np.minimum(argument, 1.0)) / 3.0),
    )
    return np.where(flat, simple, 2.0 * scale * np.where(slope > 0.0, rising, falling))


def water_level(shares_at: Callable[[Array], Array], low: Array) -> Array:
    """Least level at which the shares fit into the band, one for every leading index.

    The shares fall with the level. The log of their sum is nearly straight over the log of the level: regula falsi
    with halving (Illinois), bisection while a share is infinite.

    Args:
        shares_at: the shares `(..., N)` at levels `(...)`; inf where no share is enough.
        low: levels `(...)`, above 0, that are not above the answer.

    Returns:
        Levels `(...)` at which the shares sum up to at most 1 + 1e-13; inf where there is none.
    """

    def excess(level: Array) -> Array:
        return np.log(np.maximum(np.sum(shares_at(level), axis=-1), 1e-300))

    start, above, high = low, np.full(low.shape, np.inf), low
    below = excess(high)
    for _ in range(LEVEL_STEPS):
        over = below > FILLED
        if not np.any(over):
            break
        start, above, high = np.where(over, high, start), np.where(over, below, above), np.where(over, 2.0 * high, high)
        below = np.where(over, excess(high), below)
    missing = below > FILLED
    level = _regula_falsi(excess, np.log(start), np.log(high), above, np.where(missing, 0.0, below))
    return np.where(missing, np.inf, level)


def _regula_falsi(excess: Callable[[Array], Array], low: Array, high: Array, above: Array, below: Array) -> Array:
    """Close in on the least level whose excess is at most 0, from logs of levels with the excesses above and below."""
    side = np.zeros(low.shape)
    done = below >= -FILLED
    for _ in range(LEVEL_STEPS):
        done = done | (high - low <= 4e-16 * np.maximum(np.abs(high), 1.0))
        if np.all(done):
            break
        straight = np.isfinite(above) & (above > below)
        slope = np.where(straight, above, 1.0) - np.where(straight, below, 0.0)
        middle = np.where(straight, high - np.where(straight, below, 0.0) * (low - high) / slope, 0.5 * (low + high))
        middle = np.where((middle > low) & (middle < high), middle, 0.5 * (low + high))
        found = excess(np.exp(np.where(done, high, middle)))
        over, under = ~done & (found > FILLED), ~done & (found <= FILLED)
        below = np.where(over & (side > 0), 0.5 * below, np.where(under, found, below))
        above = np.where(under & (side < 0), 0.5 * above, np.where(over, found, above))
        low, high = np.where(over, middle, low), np.where(under, middle, high)
        side = np.where(over, 1.0, np.where(under, -1.0, side))
        done = done | (under & (found >= -FILLED))
    return np.exp(high)
