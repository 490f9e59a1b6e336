"""Compiled search for the fastest round of the split point system: frequency, power, share and cut of every vehicle.

Tests hold its times equal to `envs.split_point.round_cost`, and its `own_band_snr` to that of `twin.radio`, to 1e-9.

Given the round's time T, every vehicle asks for the least share of the band with which it ends by T within its
budget; T is the level at which the shares fill the band. With the time t = T - C - A / f and the energy
e = E - (zeta / 2) A f^2 left for sending, that share is sent at p = e / t within the limits. More frequency buys time
and costs energy: log share is convex in log f, and its minimum is where the two pulls balance.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.compiling import cached_njit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

FILLED = 1e-13
"""The shares fill the band when their sum is this close to 1."""

EVALUATIONS = 200
"""Limit of every loop; each ends long before."""

DOUBLINGS = 80
"""A level this many times doubled is infinite: the budgets ask for more than the band."""


class Rounds(NamedTuple):
    """Rounds as the compiled code reads them (SI units, contiguous float64): B rounds, N vehicles, J cuts."""

    cycles: Floats
    """A (B, N, J)."""
    nats: Floats
    """U ln 2 / W (B, N, J): time that the bits take on the whole band at log(1 + snr) = 1, in s."""
    fixed_time: Floats
    """C (B, N, J)."""
    budget: Floats
    """E (B, N)."""
    snr_per_watt: Floats
    """(B, N)."""
    allowed: Booleans
    """(B, N, J): cuts that may be taken; a vehicle without any is absent."""
    coefficient: float
    """zeta / 2."""
    frequency_min: float
    frequency_max: float
    power_min: float
    power_max: float
    psd: bool
    """Whether only the noise of a share disturbs it."""


@cached_njit()
def own_band_snr(ratio: float) -> float:
    """Return x > 0 where log(1 + x) = ratio x, for a ratio in (0, 1).

    1 + x = -W(-ratio e^-ratio) / ratio on the branch -1 of Lambert W; Newton falls onto it from the upper bound
    -W(-e^-(v + 1)) < 1 + sqrt(2 v) + v.
    """
    excess = max(ratio - math.log(ratio) - 1.0, 0.0)
    snr = (1.0 + math.sqrt(2.0 * excess) + excess) / ratio - 1.0
    for _ in range(EVALUATIONS):
        step = (math.log1p(snr) - ratio * snr) / (ratio - 1.0 / (1.0 + snr))
        snr += step
        if step > -1e-15 * snr:
            break
    return snr


@cached_njit()
def share_for(nats: float, snr: float, psd: bool) -> float:
    """Return the share of the band that carries `nats` per second at the snr of the whole band; inf: none does."""
    if not psd:
        return nats / math.log1p(snr)
    ratio = nats / snr
    return snr / own_band_snr(ratio) if ratio < 1.0 - 1e-15 else math.inf


@cached_njit()
def meeting_frequency(cycles: float, drain: float, budget: float, allowance: float, power: float) -> float:
    """Return f > 0 where sending at `power` uses up time and energy together: T - C - A / f = (E - D f^2) / p.

    It is the one positive root of f^3 + P f + Q = 0 with P = (p (T - C) - E) / D and Q = -p A / D.
    """
    slope, product = (power * allowance - budget) / drain, power * cycles / drain
    scale = math.sqrt(abs(slope) / 3.0)
    simple = math.exp(math.log(product) / 3.0)
    if scale < 1e-6 * simple:
        return simple
    argument = product / (2.0 * scale**3)
    if slope > 0.0:
        return 2.0 * scale * math.sinh(math.asinh(argument) / 3.0)
    if argument > 1.0:
        return 2.0 * scale * math.cosh(math.acosh(argument) / 3.0)
    return 2.0 * scale * math.cos(math.acos(argument) / 3.0)


@cached_njit()
def balance(
    rounds: Rounds, cycles: float, nats: float, budget: float, allowance: float, gain: float, frequency: float
) -> tuple[float, float]:
    """Return the log of what more frequency costs in share over what it saves, and its derivative in log f.

    The first term is positive where the share rises with f. Time and energy are both used up; the derivative is
    positive everywhere.
    """
    burnt = rounds.coefficient * cycles * frequency**2
    energy, time = budget - burnt, allowance - cycles / frequency
    costs, saves = 2.0 * burnt / energy, cycles / (frequency * time)
    if rounds.psd:
        snr = own_band_snr(nats / (gain * energy))
        excess = (1.0 + snr) * math.log1p(snr) / snr - 1.0
        weight = 1.0 / excess
        bend = (1.0 - math.log1p(snr) / snr) * (1.0 + excess) / excess**2 * costs
    else:
        snr = gain * energy / time
        part = snr / ((1.0 + snr) * math.log1p(snr))
        weight = part / (1.0 - part)
        bend = (part - 1.0 / (1.0 + snr)) / (1.0 - part) * (costs + saves)
    return math.log(weight * costs / saves), bend + 3.0 + costs + saves


@cached_njit()
def best_frequency(
    rounds: Rounds, cycles: float, nats: float, budget: float, allowance: float, gain: float, guess: float
) -> float:
    """Return the frequency of the least share; `guess` is where the search begins (any number)."""
    drain = rounds.coefficient * cycles
    if drain == 0.0:
        return rounds.frequency_max
    low = meeting_frequency(cycles, drain, budget, allowance, rounds.power_max)
    if low >= rounds.frequency_max:
        return rounds.frequency_max
    low = max(low, rounds.frequency_min)
    floor = nats / gain * (1.0 + 1e-14) if rounds.psd else 0.0
    if budget - drain * low**2 <= floor or allowance <= cycles / low:
        return low
    high = min(meeting_frequency(cycles, drain, budget, allowance, rounds.power_min), rounds.frequency_max)
    if high <= low:
        return low
    if not low < guess < high:
        guess = math.sqrt(low * high)
    frequency, at_low, at_high = guess, low, high
    for _ in range(EVALUATIONS):
        if budget - drain * frequency**2 <= floor:
            high, following = frequency, math.sqrt(low * frequency)
        else:
            pull, slope = balance(rounds, cycles, nats, budget, allowance, gain, frequency)
            if pull > 0.0:
                high = frequency
            else:
                low = frequency
            following = frequency * math.exp(min(max(-pull / slope, -5.0), 5.0))
            if abs(following - frequency) <= 1e-9 * frequency:
                return min(max(following, at_low), at_high)
            if following <= low:
                following = at_low if low == at_low else math.sqrt(low * high)
            elif following >= high:
                following = at_high if high == at_high else math.sqrt(low * high)
            if following == frequency:
                return frequency
        if high - low <= 1e-12 * high:
            return low
        frequency = following
    return frequency


@cached_njit()
def vehicle_share(rounds: Rounds, b: int, n: int, j: int, level: float, guess: float) -> tuple[float, float, float]:
    """Return the least share with which vehicle n of round b ends cut j by `level`, its frequency and power.

    The share is inf where no share is enough.
    """
    cycles, nats, gain = rounds.cycles[b, n, j], rounds.nats[b, n, j], rounds.snr_per_watt[b, n]
    allowance, budget = level - rounds.fixed_time[b, n, j], rounds.budget[b, n]
    if allowance <= cycles / rounds.frequency_max:
        return math.inf, rounds.frequency_max, rounds.power_max
    frequency = best_frequency(rounds, cycles, nats, budget, allowance, gain, guess)
    time = allowance - cycles / frequency
    energy = budget - rounds.coefficient * cycles * frequency**2
    if time <= 0.0 or energy <= 0.0:
        return math.inf, frequency, rounds.power_min
    power = min(max(energy / time, rounds.power_min), rounds.power_max)
    return share_for(nats / min(time, energy / power), power * gain, rounds.psd), frequency, power


@cached_njit()
def hopeless(rounds: Rounds, b: int, n: int, j: int, level: float, share: float) -> bool:
    """Whether cut j needs `share` or more even at full frequency and power without a budget."""
    time = level - rounds.fixed_time[b, n, j] - rounds.cycles[b, n, j] / rounds.frequency_max
    if time <= 0.0:
        return True
    snr = rounds.power_max * rounds.snr_per_watt[b, n]
    return share_for(rounds.nats[b, n, j] / time, snr, rounds.psd) >= share


@cached_njit()
def fill(
    rounds: Rounds, b: int, level: float, guess: Floats, cut: Integers, share: Floats, frequency: Floats, power: Floats
) -> float:
    """Write what every vehicle of round b asks for at `level`; returns the sum of the shares.

    `guess` (N, J) holds the frequencies of an earlier level and receives those of this one.
    """
    total = 0.0
    cut[:] = -1
    for n in range(share.size):
        least = math.inf
        for j in range(guess.shape[1]):
            if not rounds.allowed[b, n, j] or (cut[n] >= 0 and hopeless(rounds, b, n, j, level, least)):
                continue
            needed, speed, sent = vehicle_share(rounds, b, n, j, level, guess[n, j])
            guess[n, j] = speed
            if needed < least or cut[n] < 0:
                least, cut[n], share[n], frequency[n], power[n] = needed, j, needed, speed, sent
        if cut[n] >= 0:
            total += least
            if math.isinf(total):
                return total
    return total


@cached_njit()
def least_level(rounds: Rounds, b: int) -> float:
    """Return a time that round b can not end before: every vehicle alone in the band, without a budget."""
    level = 0.0
    for n in range(rounds.budget.shape[1]):
        fastest = math.inf
        for j in range(rounds.cycles.shape[2]):
            if rounds.allowed[b, n, j]:
                rate = math.log1p(rounds.power_max * rounds.snr_per_watt[b, n])
                time = rounds.cycles[b, n, j] / rounds.frequency_max + rounds.nats[b, n, j] / rate
                fastest = min(fastest, rounds.fixed_time[b, n, j] + time)
        if not math.isinf(fastest):
            level = max(level, fastest)
    return level


@cached_njit()
def settle(
    rounds: Rounds, b: int, guess: Floats, cut: Integers, share: Floats, frequency: Floats, power: Floats
) -> float:
    """Find the level at which the shares of round b fill the band and write the decision; inf: there is none.

    The log of the sum over the log of the level is convex and nearly straight for given cuts: regula falsi with
    halving (Illinois), bisection while a vehicle can not end at all.
    """
    low = high = least_level(rounds, b)
    if low == 0.0:
        return 0.0
    above, total = math.inf, fill(rounds, b, high, guess, cut, share, frequency, power)
    for _ in range(DOUBLINGS):
        if total <= 1.0 + FILLED:
            break
        low, above, high = high, math.log(total), 2.0 * high
        total = fill(rounds, b, high, guess, cut, share, frequency, power)
    if total > 1.0 + FILLED:
        return math.inf
    below, side = math.log(total), 0
    for _ in range(EVALUATIONS):
        if side < 1 and total >= 1.0 - FILLED:
            return high
        if high - low <= 4e-16 * high:
            break
        level = math.sqrt(low * high)
        if not math.isinf(above):
            straight = high * math.exp(-below * math.log(high / low) / (below - above))
            level = straight if low < straight < high else level
        total = fill(rounds, b, level, guess, cut, share, frequency, power)
        if total > 1.0 + FILLED:
            low, above, below, side = level, math.log(total), below * (0.5 if side > 0 else 1.0), 1
        else:
            high, below, above, side = level, math.log(total), above * (0.5 if side < 0 else 1.0), -1
    fill(rounds, b, high, guess, cut, share, frequency, power)
    return high


@cached_njit()
def settle_all(rounds: Rounds, cut: Integers, share: Floats, frequency: Floats, power: Floats, level: Floats) -> None:
    """Write the decision `(B, N)` and the level `(B,)` of every round; absent vehicles keep what they hold."""
    for b in range(level.size):
        guess = np.zeros(rounds.cycles.shape[1:])
        level[b] = settle(rounds, b, guess, cut[b], share[b], frequency[b], power[b])
