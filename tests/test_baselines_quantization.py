"""Solvers of the quantisation system: certificates, brute force, the published alternation, batches, torch."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from fedtwin.baselines import quantization as baselines
from fedtwin.baselines.quantization import (
    allocate,
    alternate,
    alternating,
    assign,
    best_bits,
    exact,
    greedy_matching,
    least_power,
    random_feasible,
)
from fedtwin.core.arrays import at_choice
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take as take_twin
from fedtwin.core.trees import tree_map
from fedtwin.envs import make_system
from fedtwin.envs.quantization import Decision, Problem, QuantizationSystem, State, round_cost, time_left

Method = Callable[[Problem], Decision]

NOISE_DENSITY = 3.98e-21
"""-174 dBm/Hz in W/Hz."""
TOKENS_BITS = 16 * 197 * 768 * 32.0
SIZES = [(4, 3), (3, 3), (3, 2), (2, 3), (1, 3), (4, 1)]

METHODS: dict[str, Method] = {
    "exact": exact,
    "alternating": alternating,
    "greedy": baselines.greedy,
    "best_gain": baselines.best_gain,
    "full_power": baselines.full_power,
    "most_bits": baselines.most_bits,
    "lowest_bits": baselines.lowest_bits,
    "full_precision": baselines.full_precision,
    "random": lambda problem: random_feasible(problem, np.random.default_rng(0)),
}


def build(
    rng: np.random.Generator,
    devices: int = 20,
    channels: int = 10,
    batch: tuple[int, ...] = (),
    deadline: float | None = None,
    power_min: float = 0.01,
) -> Problem:
    """Random problem: devices at 50 to 400 m, Rayleigh fading, channels around 1 MHz."""
    distance = rng.uniform(50.0, 400.0, (*batch, devices, 1))
    gain = 1e-3 * distance**-3 * rng.exponential(size=(*batch, devices, channels))
    bandwidth = 1e6 * rng.uniform(0.7, 1.4, channels)
    return Problem(
        snr_per_watt=gain / (NOISE_DENSITY * bandwidth),
        channel_bandwidth=bandwidth,
        full_bits=TOKENS_BITS * rng.uniform(0.9, 1.1, (*batch, devices)),
        compute_energy=rng.uniform(0.2, 1.0, (*batch, devices)),
        compute_time=rng.uniform(0.1, 0.5, (*batch, devices)),
        server_time=0.1,
        deadline=float(rng.choice([1.2, 2.0, 3.0])) if deadline is None else deadline,
        power_min=power_min,
        power_max=0.2,
        bits_min=2,
        bits_max=32,
        benefit=(0.5, 0.6, 0.4),
    )


def problems(count: int, seed: int = 0) -> Iterator[Problem]:
    """Small problems of all shapes, some with hardly any feasible pair, some without a least power to speak of."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        deadline = [0.7, 0.9, 1.2, 2.0, 3.0][index % 5]
        yield build(rng, *SIZES[index % 6], deadline=deadline, power_min=[0.01, 1e-4, 0.0][index % 3])


def change_arrays(problem: Problem, change: Callable[[Any], Any]) -> Problem:
    """Apply `change` to every array."""
    names = ("snr_per_watt", "channel_bandwidth", "full_bits", "compute_energy", "compute_time")
    changed: dict[str, Any] = {name: change(getattr(problem, name)) for name in names}
    return dataclasses.replace(problem, **changed)


def take(problem: Problem, index: tuple[int, ...]) -> Problem:
    """One twin of a batch."""
    twin = change_arrays(problem, lambda array: array[index] if array.ndim > 1 else array)
    return dataclasses.replace(twin, channel_bandwidth=problem.channel_bandwidth)


def in_torch(problem: Problem, dtype: torch.dtype) -> Problem:
    return change_arrays(problem, lambda array: torch.as_tensor(array).to(dtype))


def pair_value(problem: Problem, device: int, channel: int, bits: int, power: float) -> float:
    """O / E of a pair in plain arithmetic; -inf where it misses the deadline."""
    snr = power * float(problem.snr_per_watt[device, channel])
    speed = float(problem.channel_bandwidth[channel]) * math.log2(1.0 + snr)
    if speed <= 0.0:
        return -math.inf
    time = float(problem.full_bits[device]) * bits / problem.bits_max / speed
    if float(problem.compute_time[device]) + problem.server_time + time > problem.deadline * (1.0 + 1e-9):
        return -math.inf
    a, b, c = problem.benefit
    return (a * (1.0 - math.exp(-b * bits)) + c) / (float(problem.compute_energy[device]) + power * time)


def certify(problem: Problem, decision: Decision) -> float:
    """Objective of an unbatched decision; fails unless it is feasible in every respect."""
    held = [int(m) for m in decision.channel if m >= 0]
    assert len(set(held)) == len(held)
    total = 0.0
    for device, (channel, bits, power) in enumerate(zip(decision.channel, decision.bits, decision.power, strict=True)):
        if channel < 0:
            assert (channel, bits, power) == (-1, 0, 0.0)
            continue
        assert channel < problem.channel_bandwidth.size
        assert int(bits) == bits
        assert problem.bits_min <= bits <= problem.bits_max
        assert problem.power_min <= power <= problem.power_max
        total += pair_value(problem, device, int(channel), int(bits), float(power))
    assert total > -math.inf
    return total


def matchings(devices: int, channels: int) -> list[tuple[int, ...]]:
    """Every legal assignment, -1: none."""
    found = itertools.product(range(-1, channels), repeat=devices)
    return [each for each in found if all(each.count(m) <= 1 for m in range(channels))]


def best_matching(value: np.ndarray) -> float:
    """Greatest sum over all assignments by trying them all."""
    devices, channels = value.shape
    return max(float(sum(value[n, m] for n, m in enumerate(each) if m >= 0)) for each in matchings(devices, channels))


def closed_form_table(problem: Problem) -> np.ndarray:
    """Best value of each pair by trying every q at the least power, in plain arithmetic; 0: nothing is feasible."""
    table = np.zeros(problem.snr_per_watt.shape)
    for n, m in np.ndindex(table.shape):
        time = problem.deadline - problem.server_time - problem.compute_time[n]
        for bits in range(problem.bits_min, problem.bits_max + 1):
            exponent = problem.full_bits[n] * bits / problem.bits_max / (problem.channel_bandwidth[m] * time)
            if not 0.0 < exponent < 100.0:
                continue
            power = max(problem.power_min, (2.0**exponent - 1.0) / problem.snr_per_watt[n, m])
            if power <= problem.power_max:
                table[n, m] = max(table[n, m], pair_value(problem, n, m, bits, power))
    return table


def grid_table(problem: Problem, powers: np.ndarray) -> np.ndarray:
    """Best value of each pair over every q and a grid of powers."""
    bits = np.arange(problem.bits_min, problem.bits_max + 1)[:, None]
    a, b, c = problem.benefit
    table = np.zeros(problem.snr_per_watt.shape)
    for n, m in np.ndindex(table.shape):
        speed = problem.channel_bandwidth[m] * np.log2(1.0 + powers * problem.snr_per_watt[n, m])
        time = problem.full_bits[n] * bits / problem.bits_max / speed
        meets = problem.compute_time[n] + problem.server_time + time <= problem.deadline
        value = (a * (1.0 - np.exp(-b * bits)) + c) / (problem.compute_energy[n] + powers * time)
        table[n, m] = np.max(np.where(meets, value, 0.0))
    return table


@functools.cache
def sample() -> tuple[tuple[Problem, float], ...]:
    """Small problems with the objective of `exact`."""
    return tuple((problem, certify(problem, exact(problem))) for problem in problems(200))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [(20, 10), (6, 9), (7, 7), (1, 1)])
def test_decisions_are_feasible_and_never_better_than_exact(name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for deadline in (0.65, 1.0, 1.2, 2.0, 9.0):
        problem = build(rng, *size, deadline=deadline)
        decision = METHODS[name](problem)
        assert decision.channel.dtype == decision.bits.dtype == np.int64
        found = certify(problem, decision)
        assert found == pytest.approx(float(round_cost(problem, decision).efficiency), rel=1e-12)
        assert found <= certify(problem, exact(problem)) * (1 + 1e-9)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("change", [{"deadline": 0.15}, {"deadline": 0.61}, {"power_max": 0.0100001}])
def test_nothing_feasible(name: str, change: dict[str, Any]) -> None:
    problem = dataclasses.replace(build(np.random.default_rng(3), 4, 3, deadline=0.6), **change)
    problem = dataclasses.replace(problem, snr_per_watt=problem.snr_per_watt * 1e-3)
    decision = METHODS[name](problem)
    assert certify(problem, decision) == 0.0
    assert (decision.channel == -1).all()


def test_exact_equals_brute_force_with_closed_form_power() -> None:
    values = np.array([(found, best_matching(closed_form_table(problem))) for problem, found in sample()])
    np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=1e-9)
    assert np.mean(values[:, 0] > 0.0) > 0.8


def test_power_grid_is_never_better_than_exact() -> None:
    """With powers of ratio r a grid point meets the deadline at most r times the least power, and r times the energy.

    That holds where the grid starts at the least power of all; `p / R(p)` rises by less than p does.
    """
    for problem, found in sample():
        lowest = max(problem.power_min, 1e-9)
        powers = np.geomspace(lowest, problem.power_max, 600)
        powers[0], powers[-1] = lowest, problem.power_max
        grid = best_matching(grid_table(problem, powers))
        assert grid <= found * (1 + 1e-12)
        assert grid >= found / (powers[1] / powers[0]) * (1 - 1e-12)


def test_compiled_values_equal_the_plain_equations() -> None:
    rng = np.random.default_rng(4)
    for problem in (build(rng, 20, 10, deadline=2.0), build(rng, 3, 5, (4, 2), power_min=0.0), build(rng, 5, 5)):
        value, bits, power = best_bits(problem)
        best, chosen, sent = np.zeros(value.shape), np.zeros(value.shape), np.zeros(value.shape)
        for q in baselines.all_bits(problem):
            least = least_power(problem, q)
            meets = np.isfinite(least)
            finite = np.where(meets, least, problem.power_max)
            time = baselines.sent_bits(problem, q) / baselines.rate(problem, finite)
            found = baselines.benefit(problem, q) / (problem.compute_energy[..., None] + finite * time)
            better = meets & (found > best)
            best, chosen, sent = (np.where(better, *pair) for pair in ((found, best), (q, chosen), (finite, sent)))
        np.testing.assert_array_equal(bits, chosen)
        np.testing.assert_allclose(value, best, rtol=1e-12)
        np.testing.assert_allclose(power, sent, rtol=1e-12)


def test_best_values_are_what_a_round_yields() -> None:
    problem = build(np.random.default_rng(5), 6, 4, (50,))
    value, bits, power = best_bits(problem)
    for m in range(4):
        useful = value[..., m] > 0.0
        decision = Decision(np.where(useful, m, -1), bits[..., m], power[..., m])
        cost = round_cost(problem, decision)
        np.testing.assert_allclose(cost.client_efficiency, value[..., m], rtol=1e-9)
        assert (cost.client_time <= problem.deadline * (1 + 1e-9)).all()


def test_energy_rises_and_is_concave_in_power() -> None:
    """Why the least power is best, and why the linearised energy has its minimum there."""
    problem = build(np.random.default_rng(6), 3, 2)
    powers = np.linspace(1e-4, problem.power_max, 500)
    for snr in problem.snr_per_watt.ravel():
        energy = powers / np.log2(1.0 + powers * snr)
        assert (np.diff(energy) > 0.0).all()
        assert (np.diff(energy, n=2) < 0.0).all()


def test_alternation_rises_and_stays_feasible() -> None:
    gaps = []
    for index, problem in enumerate(problems(60, seed=7)):
        values = [certify(problem, decision) for decision in alternate(problem)]
        assert (np.diff(values) >= -1e-9 * values[-1]).all(), index
        best = certify(problem, exact(problem))
        assert values[-1] <= best * (1 + 1e-9)
        assert values[-1] == certify(problem, alternating(problem))
        gaps.append(1.0 - values[-1] / best if best else 0.0)
    assert 0.0 < np.mean(gaps) < 0.1


def test_alternation_ends_where_no_subproblem_helps() -> None:
    problem = build(np.random.default_rng(8), 12, 12, deadline=1.2)
    decision = alternating(problem)
    reached = certify(problem, decision)
    assert (decision.channel >= 0).all()
    np.testing.assert_array_equal(baselines.bits_step(problem, decision).bits, decision.bits)
    np.testing.assert_allclose(baselines.power_step(problem, decision).power, decision.power, rtol=1e-9)
    table = np.array(
        [
            [max(0.0, pair_value(problem, n, m, int(decision.bits[n]), float(decision.power[n]))) for m in range(12)]
            for n in range(12)
        ]
    )
    moved = assign(table)
    assert sum(table[n, m] for n, m in enumerate(moved)) == pytest.approx(reached, rel=1e-9)


def linearized_power(problem: Problem, decision: Decision) -> np.ndarray:
    """SUBP1 as the slides print it: one step with both energy and deadline linearised at the decision's power.

    The linearised energy rises, so the step goes to the smallest power that the linearised time allows. The true time
    is convex and lies above its tangent: the result can miss the deadline, which is why `alternating` keeps the true
    deadline (`least_power`).

    Returns:
        Power `(..., N)` in W; 0 without a channel.
    """
    channel, bits = decision.channel, decision.bits
    present = channel >= 0
    power = np.where(present, decision.power, 1.0)
    snr = np.where(present, at_choice(problem.snr_per_watt, channel), 1.0)
    speed = np.where(present, at_choice(baselines.rate(problem, power[..., None]), channel), 1.0)
    time = baselines.sent_bits(problem, bits[..., None])[..., 0] / speed
    log_rise = snr / (np.log1p(power * snr) * (1.0 + power * snr))
    slope = np.where(present, time * log_rise, 1.0)
    step = np.clip(power - (time_left(problem) - time) / slope, problem.power_min, problem.power_max)
    return np.where(present, step, 0.0)


def test_linearized_deadline_is_violated() -> None:
    """The tangent of the convex time lies below it: the literal SUBP1 sends too weakly."""
    problem = build(np.random.default_rng(9), 20, 20, (20,), deadline=1.2, power_min=1e-3)
    start = next(alternate(problem))
    literal = linearized_power(problem, start)
    present = start.channel >= 0
    assert ((literal[present] >= problem.power_min) & (literal[present] <= problem.power_max)).all()
    assert (literal[~present] == 0.0).all()
    late = round_cost(problem, dataclasses.replace(start, power=literal)).client_time > problem.deadline * (1 + 1e-6)
    assert late[present].mean() > 0.2
    least = at_choice(least_power(problem, start.bits[..., None]), start.channel)
    np.testing.assert_array_equal(late, literal < least * (1 - 1e-6))
    kept = round_cost(problem, dataclasses.replace(start, power=least)).client_time
    assert (kept <= problem.deadline * (1 + 1e-9)).all()


def test_linearized_step_is_the_tangent() -> None:
    problem = build(np.random.default_rng(10), 6, 6, deadline=1.2)
    start = next(alternate(problem))
    held, device = start.channel, np.flatnonzero(start.channel >= 0)[0]

    def time(power: float) -> float:
        speed = problem.channel_bandwidth[held[device]] * math.log2(
            1 + power * problem.snr_per_watt[device, held[device]]
        )
        return float(problem.full_bits[device] * start.bits[device] / problem.bits_max / speed)

    slope = (time(0.2 + 1e-6) - time(0.2 - 1e-6)) / 2e-6
    allowed = problem.deadline - problem.server_time - problem.compute_time[device]
    expected = np.clip(0.2 + (allowed - time(0.2)) / slope, problem.power_min, problem.power_max)
    assert linearized_power(problem, start)[device] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(20, 10), (5, 8), (12, 12)])
def test_assignment_equals_its_linear_programme(size: tuple[int, int]) -> None:
    problem = build(np.random.default_rng(11), *size, deadline=1.2)
    value = best_bits(problem)[0]
    theta = cp.Variable(value.size, nonneg=True)
    per_device = np.kron(np.eye(size[0]), np.ones(size[1]))
    per_channel = np.kron(np.ones(size[0]), np.eye(size[1]))
    limits: list[Any] = [per_device @ theta <= 1, per_channel @ theta <= 1]
    programme: Any = cp.Problem(cp.Maximize(value.ravel() @ theta), limits)
    bound = programme.solve(solver="HIGHS")
    channel = assign(value)
    reached = sum(value[n, m] for n, m in enumerate(channel) if m >= 0)
    assert reached == pytest.approx(bound, rel=1e-7)


def test_assignment_handles_ties_and_useless_pairs() -> None:
    assert sorted(assign(np.ones((3, 3)))) == [0, 1, 2]
    assert sorted(assign(np.ones((4, 2)))) == [-1, -1, 0, 1]
    np.testing.assert_array_equal(assign(np.array([[0.0, 0.0], [0.0, 2.0]])), [-1, 1])
    np.testing.assert_array_equal(assign(np.zeros((2, 3))), [-1, -1])


def test_exact_handles_identical_devices_and_channels() -> None:
    problem = build(np.random.default_rng(12), 5, 3, deadline=2.0)
    decision = exact(change_arrays(problem, lambda array: np.full_like(array, array.mean())))
    assert sorted(decision.channel) == [-1, -1, 0, 1, 2]
    assert len(set(decision.bits[decision.channel >= 0])) == 1


def test_greedy_matching_takes_the_best_pair_first() -> None:
    rng = np.random.default_rng(13)
    value = rng.random((5, 6, 4)) * (rng.random((5, 6, 4)) < 0.5)
    found = greedy_matching(value)
    for twin in range(5):
        left, channel = value[twin].copy(), np.full(6, -1)
        while left.max() > 0.0:
            n, m = divmod(int(left.argmax()), 4)
            channel[n] = m
            left[n], left[:, m] = 0.0, 0.0
        np.testing.assert_array_equal(found[twin], channel)


def test_allocation_is_the_optimum_on_given_channels() -> None:
    rng = np.random.default_rng(14)
    problem = build(rng, 8, 5, (30,), deadline=0.9)
    wanted = rng.integers(-1, 5, (30, 8))
    decision = allocate(problem, wanted)
    value, bits, power = best_bits(problem)
    for place in np.ndindex(30, 8):
        pair = (*place, max(wanted[place], 0))
        useful = wanted[place] >= 0 and value[pair] > 0.0
        assert decision.channel[place] == (wanted[place] if useful else -1)
        assert decision.bits[place] == (bits[pair] if useful else 0)
        assert decision.power[place] == (power[pair] if useful else 0.0)
    assert (decision.channel[wanted >= 0] == -1).any()


def test_allocation_rejects_channels_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"channel of client_1 is 5, must be in -1\.\.4"):
        allocate(build(np.random.default_rng(0), 3, 5), np.array([0, 5, 1]))


def test_allocation_keeps_the_optimum() -> None:
    problem = build(np.random.default_rng(15), 20, 10, (5,))
    decision = exact(problem)
    again = allocate(problem, decision.channel)
    for name in ("channel", "bits", "power"):
        np.testing.assert_array_equal(getattr(again, name), getattr(decision, name))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_batch_equals_loop(name: str) -> None:
    problem = build(np.random.default_rng(16), 7, 5, (3, 4), deadline=1.2)
    batch = METHODS[name](problem)
    for index in np.ndindex(3, 4):
        single = METHODS[name](take(problem, index))
        for field in ("channel", "bits", "power"):
            np.testing.assert_array_equal(getattr(single, field), getattr(batch, field)[index])


def test_random_decisions_vary_and_cover_the_feasible_bits() -> None:
    problem = take(build(np.random.default_rng(17), 4, 3, (1,), deadline=1.5), (0,))
    rng, seen = np.random.default_rng(0), set()
    most = baselines.most_feasible_bits(problem)
    for _ in range(400):
        decision = random_feasible(problem, rng)
        certify(problem, decision)
        seen |= {(n, m, q) for n, (m, q) in enumerate(zip(decision.channel, decision.bits, strict=True)) if m >= 0}
    for n, m in np.ndindex(4, 3):
        assert {q for *pair, q in seen if pair == [n, m]} == set(range(2, most[n, m] + 1))


def test_random_decision_of_a_single_twin_is_the_first_of_a_batch() -> None:
    problem = build(np.random.default_rng(18), 7, 5, (6,), deadline=1.2)
    batch = random_feasible(problem, np.random.default_rng(1))
    single = random_feasible(take(problem, (0,)), np.random.default_rng(1))
    np.testing.assert_array_equal(batch.channel[0], single.channel)
    np.testing.assert_array_equal(batch.bits[0], single.bits)


def test_most_feasible_bits_are_the_most() -> None:
    problem = build(np.random.default_rng(19), 9, 6, deadline=1.2)
    most = baselines.most_feasible_bits(problem)
    assert len(np.unique(most)) > 3
    for n, m in np.ndindex(9, 6):
        feasible = [q for q in range(2, 33) if pair_value(problem, n, m, q, problem.power_max) > 0.0]
        assert most[n, m] == max(feasible, default=0)


def test_heuristics_keep_their_word() -> None:
    problem = build(np.random.default_rng(20), 9, 9, deadline=1.2)
    present = baselines.lowest_bits(problem).channel >= 0
    assert (baselines.lowest_bits(problem).bits[present] == 2).all()
    full_power = baselines.full_power(problem)
    assert (full_power.power[full_power.channel >= 0] == problem.power_max).all()
    most, held = baselines.most_bits(problem), baselines.most_feasible_bits(problem)
    np.testing.assert_array_equal(most.bits, at_choice(held, most.channel))
    ample = dataclasses.replace(problem, deadline=60.0)
    full = baselines.full_precision(ample)
    assert (full.channel >= 0).all()
    assert (full.bits == 32).all()
    np.testing.assert_array_equal(full.channel, assign(problem.snr_per_watt))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_torch_problem_gives_torch_decision(name: str) -> None:
    problem = build(np.random.default_rng(21), 7, 5, (3,), deadline=1.2)
    expected, found = METHODS[name](problem), METHODS[name](in_torch(problem, torch.float64))
    assert found.channel.dtype == found.bits.dtype == torch.int64
    assert found.power.dtype == torch.float64
    for field in ("channel", "bits", "power"):
        np.testing.assert_array_equal(getattr(found, field).numpy(), getattr(expected, field))


def test_single_precision_keeps_the_deadline() -> None:
    problem = in_torch(build(np.random.default_rng(22), 20, 10, (10,), deadline=1.2), torch.float32)
    decision = exact(problem)
    assert decision.power.dtype == torch.float32
    wide = baselines.plain(problem)
    sent = Decision(decision.channel.numpy(), decision.bits.numpy(), decision.power.numpy().astype(np.float64))
    assert (round_cost(wide, sent).client_time <= problem.deadline * (1 + 1e-9)).all()
    assert (sent.power <= np.float32(problem.power_max)).all()


def system_of(**params: Any) -> QuantizationSystem:
    system = make_system("quantization", **params)
    assert isinstance(system, QuantizationSystem)
    return system


def states(system: QuantizationSystem, count: int) -> State:
    return system.start(system.draw(numbers(0, 0, 0, (count,))))


@pytest.mark.parametrize("name", baselines.SOLVERS)
@pytest.mark.parametrize(
    "params",
    [{}, {"preset": "tight"}, {"preset": "fixed"}, {"num_clients": 4, "num_channels": 6}, {"twin_error_db": 6.0}],
)
def test_solvers_keep_the_limits_of_the_system(name: str, params: dict[str, Any]) -> None:
    system = system_of(**params)
    state = states(system, 6)
    decision = baselines.SOLVERS[name](system, state)
    system.check_decision(state, decision, complete=True)
    believed = system.believed(state)
    found = np.asarray(system.cost(believed, decision).efficiency)
    best = np.asarray(system.cost(believed, baselines.SOLVERS["exact"](system, state)).efficiency)
    assert (found <= best * (1 + 1e-9)).all()
    again, single = baselines.SOLVERS[name](system, state), baselines.SOLVERS[name](system, take_twin(state, 0))
    for field in ("channel", "bits", "power"):
        np.testing.assert_array_equal(getattr(decision, field), getattr(again, field))
        np.testing.assert_array_equal(getattr(decision, field)[0], getattr(single, field))


@pytest.mark.parametrize("name", baselines.SOLVERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_solvers_take_torch_states(name: str, dtype: str) -> None:
    system = system_of(dtype=dtype, preset="tight")
    state = states(system, 5)
    tensors = tree_map(lambda array: torch.from_numpy(np.array(array)), state)
    expected, found = baselines.SOLVERS[name](system, state), baselines.SOLVERS[name](system, tensors)
    system.check_decision(state, expected, complete=True)
    system.check_decision(tensors, found, complete=True)
    assert found.power.dtype == getattr(torch, dtype)
    assert expected.power.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.bits.numpy(), expected.bits)
    np.testing.assert_allclose(found.power.numpy(), expected.power, rtol=1e-5)


def test_every_solver_says_what_it_is() -> None:
    assert set(baselines.DEFAULTS) <= set(baselines.SOLVERS)
    for solver in baselines.SOLVERS.values():
        first = (solver.__doc__ or "").splitlines()[0]
        assert first.endswith((".", ":"))
    lines = [solver.__doc__ for solver in baselines.SOLVERS.values()]
    assert len(set(lines)) == len(lines)


def test_random_solver_follows_its_generator() -> None:
    system = system_of()
    state = states(system, 3)
    first, same, other = (baselines.SOLVERS["random"](system, state, generator(seed, 0, 0)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.channel, same.channel)
    assert (first.channel != other.channel).any()
