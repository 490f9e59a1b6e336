"""Classical solvers of the quantisation system: optimum, the published alternation, heuristics.

Split federated learning slides, part 3 (SFLAM); SUBP1 to SUBP3 are theirs. Every solver reads the twin
(`system.believed`) and returns a feasible decision: deadline kept, one device per channel, bits and power in bounds.
All functions take problems of NumPy or torch with any leading batch axes and answer in the problem's library.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import Array, at_choice, namespace
from ..core.checks import check_integers, to_numpy
from ..core.compiling import cached_njit
from ..core.trees import tree_map
from ..envs.quantization import Decision, Problem, needed_power, round_cost, time_left
from ..envs.quantization import most_bits as sendable_bits
from ..twin import precision, radio
from ..twin.feasible import match
from . import solver as frame
from .solver import Solver, solver

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROUNDING = 1e-12
"""Share by which a time may pass its limit, or a value rise, and still count as equal."""


def plain(problem: Problem) -> Problem:
    """Return the problem in contiguous float64 NumPy arrays, all with the batch axes of the channels."""
    snr, bandwidth = frame.plain_array(problem.snr_per_watt), frame.plain_array(problem.channel_bandwidth)
    per_device: dict[str, Any] = {
        name: frame.plain_array(getattr(problem, name), snr.shape[:-1])
        for name in ("full_bits", "compute_energy", "compute_time")
    }
    return dataclasses.replace(problem, snr_per_watt=snr, channel_bandwidth=bandwidth, **per_device)


as_library = functools.partial(frame.as_library, round_up=True)
any_library = frame.any_library(plain, "snr_per_watt", round_up=True)


def rate(problem: Problem, power: Array) -> Floats:
    """Rate of every pair at a power that broadcasts to `(..., N, M)` in W, in bit/s."""
    return np.asarray(radio.shannon_rate(bandwidth=problem.channel_bandwidth, sinr=power * problem.snr_per_watt))


def sent_bits(problem: Problem, bits: Array) -> Floats:
    """Bits on the air `(..., N, X)` of every device at `bits`, which broadcast to that."""
    return np.asarray(
        precision.quantized_bits(full_bits=problem.full_bits[..., None], bits=bits, bits_max=problem.bits_max)
    )


def benefit(problem: Problem, bits: Array) -> Floats:
    """O(q) of `bits`, any shape."""
    amplitude, rise, floor = problem.benefit
    return np.asarray(
        precision.learning_benefit(bits=np.asarray(bits, np.float64), amplitude=amplitude, rate=rise, floor=floor)
    )


def all_bits(problem: Problem) -> Integers:
    """Every q, ascending, `(Q,)`."""
    return np.arange(problem.bits_min, problem.bits_max + 1)


def least_power(problem: Problem, bits: Array) -> Floats:
    """Smallest power that meets the deadline: max(p_min, (2^(s / (B tau)) - 1) / G), infinite where p_max misses it.

    SUBP1 ends here: p / R(p) rises in p, so no feasible power spends less energy.

    Args:
        problem: of NumPy.
        bits: q, broadcastable to `(..., N, M)`; 0: the pair is not used and has no power.

    Returns:
        Power `(..., N, M)` in W.
    """
    wide = np.broadcast_to(bits, problem.snr_per_watt.shape)
    with np.errstate(over="ignore"):  # A rate far out of reach needs infinite power.
        needed = needed_power(problem, wide)
    return np.where((wide > 0) & (needed <= problem.power_max), needed, np.inf)


@cached_njit()
def best_of_pair(
    snr: float,
    bandwidth: float,
    full_bits: float,
    compute_energy: float,
    time: float,
    benefits: Floats,
    bits_min: int,
    bits_max: int,
    power_min: float,
    power_max: float,
) -> tuple[float, int, float]:
    """Best value O / E of one device on one channel with its q and power; (0, 0, 0) where no q meets the deadline.

    Where the least power is above p_min the transmission takes the whole `time`, else s / R(p_min).
    """
    value, chosen, power = 0.0, 0, 0.0
    strongest = math.log1p(power_max * snr)
    if not (time > 0.0 and strongest > 0.0):
        return value, chosen, power
    nats = math.log(2.0) * full_bits / (bits_max * bandwidth)
    weakest = math.log1p(power_min * snr)
    for index in range(benefits.size):
        bits = bits_min + index
        needed = bits * nats / time
        if needed > strongest:
            break
        if needed > weakest:
            sent, spent = min(math.expm1(needed) / snr, power_max), time
        else:
            sent, spent = power_min, bits * nats / weakest
        found = benefits[index] / (compute_energy + sent * spent)
        if found > value:
            value, chosen, power = found, bits, sent
    return value, chosen, power


@cached_njit()
def best_of_pairs(
    snr: Floats,
    bandwidth: Floats,
    full_bits: Floats,
    compute_energy: Floats,
    time: Floats,
    benefits: Floats,
    limits: tuple[int, int, float, float],
) -> tuple[Floats, Integers, Floats]:
    """Run `best_of_pair` over twins, devices and channels; return its values, bits and powers, each `(B, N, M)`."""
    value, bits, power = np.zeros(snr.shape), np.zeros(snr.shape, np.int64), np.zeros(snr.shape)
    for twin in range(snr.shape[0]):
        for device in range(snr.shape[1]):
            for channel in range(snr.shape[2]):
                place = twin, device, channel
                value[place], bits[place], power[place] = best_of_pair(
                    snr[place],
                    bandwidth[place],
                    full_bits[twin, device],
                    compute_energy[twin, device],
                    time[twin, device],
                    benefits,
                    *limits,
                )
    return value, bits, power


Table = tuple[Floats, Floats, Floats, Floats, Floats, Floats, tuple[int, int, float, float]]


def table(problem: Problem) -> Table:
    """Put a `plain` problem into the arguments that the compiled code reads, batch axes flattened to one."""
    *batch, devices, channels = problem.snr_per_watt.shape
    shape = (math.prod(batch), devices, channels)
    return (
        problem.snr_per_watt.reshape(shape),
        frame.plain_array(problem.channel_bandwidth, problem.snr_per_watt.shape).reshape(shape),
        problem.full_bits.reshape(-1, devices),
        problem.compute_energy.reshape(-1, devices),
        time_left(problem).reshape(-1, devices),
        benefit(problem, all_bits(problem)),
        (problem.bits_min, problem.bits_max, float(problem.power_min), float(problem.power_max)),
    )


def best_bits(problem: Problem) -> tuple[Array, Array, Array]:
    """Solve every pair by itself: Delta = max over q of O(q) / E at the least power that meets the deadline.

    Returns:
        Value `(..., N, M)` in 1/J, bits and power in W; all 0 where no q meets the deadline.
    """
    like, rows = problem.snr_per_watt, table(plain(problem))
    value, bits, power = (as_library(each.reshape(like.shape), like) for each in best_of_pairs(*rows))
    return value, bits, power


def assign(value: Array) -> Array:
    """Match devices and channels so that the sum of the values is greatest (SUBP3, Hungarian method).

    The relaxation 0 <= theta <= 1 of the slides is a transport problem, so its vertices are these matchings.

    Args:
        value: `(..., N, M)`, not negative; pairs of value 0 are not used.

    Returns:
        Channel of each device `(..., N)`, -1: none.
    """
    from scipy.optimize import linear_sum_assignment

    like, value = value, to_numpy(value)
    channel = np.full(value.shape[:-1], -1, np.int64)
    for twin in np.ndindex(value.shape[:-2]):
        device, held = linear_sum_assignment(value[twin], maximize=True)
        channel[twin][device] = np.where(value[twin][device, held] > 0.0, held, -1)
    return as_library(channel, like)


def greedy_matching(value: Array) -> Array:
    """Match devices and channels pair by pair, the pair of the greatest value first.

    Args:
        value: `(..., N, M)`, not negative; pairs of value 0 are not used.

    Returns:
        Channel of each device `(..., N)`, -1: none.
    """
    xp = namespace(value)
    return match(xp.where(value > 0.0, value, -xp.inf))


def matched(channel: Integers, bits: Array, power: Array) -> Decision:
    """Return the decision of devices on `channel` `(..., N)` from bits and powers of all pairs `(..., N, M)`."""
    return Decision(channel, at_choice(bits, channel).astype(np.int64), at_choice(power, channel))


@any_library
def exact(problem: Problem) -> Decision:
    """Optimum: every pair's best bits at the least power that meets the deadline, then the Hungarian method.

    The objective is a sum over the pairs in use and a pair's best value is known in closed form, so one pass suffices.
    """
    value, bits, power = best_bits(problem)
    return matched(assign(value), bits, power)


@any_library
def allocate(problem: Problem, channel: Array) -> Decision:
    """Best bits and power on given channels `(..., N)`, -1: none; a device whose channel misses the deadline gets -1.

    Args:
        problem: leading axes `...`.
        channel: integers `(..., N)`; whether devices share one is not checked.

    Raises:
        ValueError: a channel outside -1..M-1.
    """
    shape, channels = problem.full_bits.shape, problem.channel_bandwidth.size
    check_integers(channel, shape, -1, channels - 1, "channel", "client_{}".format)
    held = np.array(to_numpy(channel), np.int64)
    snr, bandwidth = problem.snr_per_watt, np.broadcast_to(problem.channel_bandwidth, problem.snr_per_watt.shape)
    own = {"snr_per_watt": at_choice(snr, held)[..., None], "channel_bandwidth": at_choice(bandwidth, held)[..., None]}
    _, bits, power = (each[..., 0] for each in best_bits(dataclasses.replace(problem, **own)))
    return Decision(np.where(bits > 0, held, -1), bits, power)


def complete(problem: Problem, decision: Decision) -> Decision:
    """Give the channels of a decision their exact bits and powers."""
    return allocate(problem, decision.channel)


def values_at(problem: Problem, bits: Array, power: Array, speed: Array) -> Floats:
    """O / E `(..., N, X)` at bits, powers in W and rates in bit/s that broadcast to that; 0 past the deadline."""
    reachable = np.where(speed > 0.0, speed, 1.0)
    time = radio.transmission_delay(bits=sent_bits(problem, bits), rate=reachable)
    energy = problem.compute_energy[..., None] + radio.transmission_energy(power=power, delay=time)
    meets = (speed > 0.0) & (time <= time_left(problem)[..., None] * (1.0 + ROUNDING))
    return np.where(meets, benefit(problem, bits) / energy, 0.0)


def power_step(problem: Problem, plan: Decision) -> Decision:
    """SUBP1: each device with a channel takes the least power that meets the deadline."""
    least = at_choice(least_power(problem, plan.bits[..., None]), plan.channel)
    return dataclasses.replace(plan, power=np.where(plan.channel >= 0, least, plan.power))


def bits_step(problem: Problem, plan: Decision) -> Decision:
    """SUBP2: each device with a channel takes the best q at its power, by trying all."""
    present = plan.channel >= 0
    speed = np.where(present, at_choice(rate(problem, plan.power[..., None]), plan.channel), 1.0)
    choices = all_bits(problem)
    best = np.argmax(values_at(problem, choices, plan.power[..., None], speed[..., None]), axis=-1)
    return dataclasses.replace(plan, bits=np.where(present, choices[best], plan.bits))


def channel_step(problem: Problem, plan: Decision) -> Decision:
    """SUBP3: the best matching where every device keeps its bits and power."""
    bits, power = plan.bits[..., None], plan.power[..., None]
    return dataclasses.replace(plan, channel=assign(values_at(problem, bits, power, rate(problem, power))))


def served(plan: Decision) -> Decision:
    """Return the decision in which devices without a channel have neither bits nor power."""
    present = plan.channel >= 0
    return Decision(plan.channel, np.where(present, plan.bits, 0), np.where(present, plan.power, 0.0))


def alternate(problem: Problem) -> Iterator[Decision]:
    """Yield the decision of the published alternation at its start, after every SUBP1, SUBP2, SUBP3, and at its end.

    A device that loses its channel keeps its bits and power for the next SUBP3. In a batch, a twin whose objective
    stopped rising waits for the others.

    Args:
        problem: of NumPy.
    """
    nobody = np.full(problem.full_bits.shape, -1, np.int64)
    start = Decision(nobody, np.full_like(nobody, problem.bits_min), np.full(nobody.shape, float(problem.power_max)))
    plan = channel_step(problem, start)
    yield served(plan)
    value, rising = round_cost(problem, served(plan)).efficiency, np.array(True)
    while rising.any():
        changed = plan
        for step in (power_step, bits_step, channel_step):
            changed = step(problem, changed)
            yield served(changed)
        reached = round_cost(problem, served(changed)).efficiency
        rising = np.asarray(reached > value * (1.0 + ROUNDING))
        plan = tree_map(functools.partial(np.where, rising[..., None]), changed, plan)
        value = np.where(rising, reached, value)
    yield served(plan)


@any_library
def alternating(problem: Problem) -> Decision:
    """Published alternation: power (SCA), bits (enumeration), channels (linear programme) until nothing rises.

    It starts at the fewest bits and the greatest power. SCA keeps the true deadline: the linearised energy then has
    its minimum at the least power that meets it, whatever the point of linearisation, so one step converges.
    """
    *_, last = alternate(problem)
    return last


def at_bits(problem: Problem, bits: Array) -> Decision:
    """Give all pairs `bits` (broadcastable to `(..., N, M)`) and the least power; match for the greatest total gain."""
    power = least_power(problem, bits)
    channel = assign(np.where(np.isfinite(power), problem.snr_per_watt, 0.0))
    return matched(channel, np.broadcast_to(bits, power.shape), power)


def most_feasible_bits(problem: Problem) -> Integers:
    """Most bits of every pair that meet the deadline, `(..., N, M)`; 0 where not even the fewest do."""
    most = np.minimum(sendable_bits(problem), problem.bits_max).astype(np.int64)
    return np.where(most >= problem.bits_min, most, 0)


@any_library
def full_precision(problem: Problem) -> Decision:
    """No quantisation: the most bits for everybody, greatest total gain; pairs that miss the deadline are not used."""
    return at_bits(problem, problem.bits_max)


@any_library
def lowest_bits(problem: Problem) -> Decision:
    """Coarsest quantisation: the fewest bits for everybody, greatest total gain, least power."""
    return at_bits(problem, problem.bits_min)


@any_library
def most_bits(problem: Problem) -> Decision:
    """Finest quantisation in time: the most bits that meet the deadline, greatest total gain, least power."""
    return at_bits(problem, most_feasible_bits(problem))


@any_library
def best_gain(problem: Problem) -> Decision:
    """Channels by the greatest total gain, then each device's best bits and power."""
    return allocate(problem, assign(problem.snr_per_watt))


@any_library
def full_power(problem: Problem) -> Decision:
    """No power control: the optimum where everybody sends at the greatest power."""
    return exact(dataclasses.replace(problem, power_min=problem.power_max))


@any_library
def greedy(problem: Problem) -> Decision:
    """Greedy: the pair of the greatest value first, each with its best bits and power."""
    value, bits, power = best_bits(problem)
    return matched(greedy_matching(value), bits, power)


@any_library
def random_feasible(problem: Problem, rng: np.random.Generator) -> Decision:
    """Random: a random matching of pairs that can meet the deadline, random feasible bits, least power."""
    *batch, devices, channels = problem.snr_per_watt.shape
    draws = rng.random((*batch, 2, devices, channels))
    most = most_feasible_bits(problem)
    choices = np.maximum(most - problem.bits_min + 1, 0)
    bits = problem.bits_min + np.floor(draws[..., 0, :, :] * choices).astype(np.int64)
    power = least_power(problem, bits)
    return matched(greedy_matching(np.where(np.isfinite(power), 1.0 - draws[..., 1, :, :], 0.0)), bits, power)


SOLVERS: dict[str, Solver] = {
    "exact": solver(exact),
    "alternating": solver(alternating),
    "greedy": solver(greedy),
    "best_gain": solver(best_gain),
    "full_power": solver(full_power),
    "most_bits": solver(most_bits),
    "lowest_bits": solver(lowest_bits),
    "full_precision": solver(full_precision),
    "random": solver(random_feasible, draws=True),
}

DEFAULTS = tuple(SOLVERS)

REFERENCES = ("exact",)
