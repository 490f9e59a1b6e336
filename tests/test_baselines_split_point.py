"""Solvers of the split point system: certificates, nonlinear programming, the published steps, batches, budgets."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import cvxpy as cp
import numpy as np
import pytest
import torch
from fedtwin.baselines import allocation
from fedtwin.baselines import split_point as solvers
from fedtwin.baselines import split_point_kernel as kernel
from fedtwin.baselines.split_point import SOLVERS, allocate, alternating, exact, least_shares
from fedtwin.core.randomness import numbers
from fedtwin.core.trees import take, tree_map
from fedtwin.envs.split_point import (
    Decision,
    Problem,
    SplitPointParams,
    SplitPointSystem,
    State,
    least_energy,
    round_cost,
)
from fedtwin.twin import radio
from scipy.optimize import brentq, differential_evolution, minimize
from scipy.special import lambertw

Noise = Literal["psd", "fixed"]
NOISES: tuple[Noise, ...] = ("psd", "fixed")
ROWS = (*solvers.ARRAYS, "taking_part")

FORWARD_FLOP = np.array([3.5e6, 3.06e8, 5.74e8, 8.42e8])
ACTIVATION_BITS = 32.0 * np.array([65536, 65536, 32768, 16384])
MODEL_BITS = 32.0 * np.array([1.9e3, 1.5e5, 6.8e5, 2.8e6])


def draw(rng: np.random.Generator, batch: tuple[int, ...], vehicles: int, cuts: int, noise: Noise) -> Problem:
    """ResNet-18 on vehicles 50 to 400 m away, budgets of 1 to 5 J."""
    shape, places = (*batch, vehicles), np.linspace(0, 3, cuts).round().astype(int)
    samples = rng.integers(40, 121, shape).astype(float)[..., None]
    flop, activations, model = FORWARD_FLOP[places], ACTIVATION_BITS[places], MODEL_BITS[places]
    gain = 1e-3 * rng.uniform(50.0, 400.0, shape) ** -3.0 * np.maximum(rng.exponential(size=shape), 0.1)
    server = samples * 3.0 * (1.11e9 - flop) / 2e12
    return Problem(
        cycles=samples * 3.0 * flop / rng.choice([16.0, 32.0, 64.0], shape)[..., None],
        uplink_bits=samples * activations + model,
        fixed_time=(model + samples * activations) / 100e6 + server,
        energy_budget=rng.uniform(1.0, 5.0, shape),
        snr_per_watt=gain / (3.98e-21 * 20e6),
        server_time=server,
        taking_part=np.ones(shape, np.bool_),
        bandwidth=20e6,
        switched_capacitance=1e-27,
        frequency_min=0.2e9,
        frequency_max=2e9,
        power_min=0.01,
        power_max=0.2,
        noise=noise,
    )


def row(problem: Problem, index: Any) -> Problem:
    return dataclasses.replace(problem, **{name: getattr(problem, name)[index] for name in ROWS})


def tightened(problem: Problem, filled: float) -> Problem:
    """Budgets so small that they ask for this part of the band at least."""
    need = np.argsort(problem.cycles[..., 0], axis=-1) + 1.0
    share = filled * need / np.sum(need, axis=-1, keepdims=True)
    rate = radio.band_rate(
        bandwidth=problem.bandwidth,
        share=share,
        snr=problem.power_min * problem.snr_per_watt,
        noise=problem.noise,
    )
    computing = 0.5 * problem.switched_capacitance * problem.cycles * problem.frequency_min**2
    energy = computing + problem.power_min * problem.uplink_bits / rate[..., None]
    return dataclasses.replace(problem, energy_budget=np.min(energy, axis=-1))


def evaluated(problem: Problem, decision: Decision) -> tuple[list[float], list[float]]:
    """Times and energies of an unbatched decision, client by client, independently of the package."""
    times, energies = [], []
    for n, cut in enumerate(decision.cut.tolist()):
        if cut < 0:
            continue
        share, speed, power = (
            float(values[n]) for values in (decision.bandwidth_share, decision.frequency, decision.power)
        )
        signal = power * float(problem.snr_per_watt[n]) / (share if problem.noise == "psd" else 1.0)
        sending = float(problem.uplink_bits[n, cut]) / (share * problem.bandwidth * math.log2(1.0 + signal))
        cycles = float(problem.cycles[n, cut])
        times.append(cycles / speed + sending + float(problem.fixed_time[n, cut]))
        energies.append(0.5 * problem.switched_capacitance * cycles * speed**2 + power * sending)
    return times, energies


def certify(problem: Problem, decision: Decision) -> float:
    """Check every limit of an unbatched decision; returns the round's time."""
    present = decision.cut >= 0
    assert np.array_equal(present, problem.taking_part)
    for values in (decision.bandwidth_share, decision.frequency, decision.power):
        assert np.all(values[~present] == 0.0)
        assert np.all(np.isfinite(values))
    assert np.all(decision.cut < problem.cycles.shape[-1])
    assert np.all(decision.bandwidth_share[present] > 0.0)
    assert np.sum(decision.bandwidth_share) <= 1.0 + 1e-9
    for values, low, high in (
        (decision.frequency, problem.frequency_min, problem.frequency_max),
        (decision.power, problem.power_min, problem.power_max),
    ):
        assert np.all((values[present] >= low) & (values[present] <= high))
    times, energies = evaluated(problem, decision)
    assert np.all(np.array(energies) <= problem.energy_budget[present] * (1.0 + 1e-9))
    return max(times, default=0.0)


METHODS: dict[str, Callable[[Problem], Decision]] = {
    "exact": exact,
    "alternating": alternating,
    "fixed_first": solvers.fixed_cut(0),
    "fixed_last": solvers.fixed_cut(-1),
    "common_cut": solvers.common_cut,
    "equal_share": solvers.equal_share,
    "proportional": solvers.proportional,
    "random": lambda problem: solvers.random_cut(problem, np.random.default_rng(0)),
}


def test_every_method_is_tested() -> None:
    assert set(METHODS) == set(SOLVERS)
    assert set(solvers.DEFAULTS) <= set(SOLVERS)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("vehicles", "cuts", "filled"), [(1, 1, 0), (5, 4, 0), (10, 4, 0), (5, 3, 0.97), (4, 4, 0.6)])
def test_decisions_keep_every_limit_and_none_beats_the_optimum(
    noise: Noise, vehicles: int, cuts: int, filled: float
) -> None:
    problem = draw(np.random.default_rng(vehicles), (6,), vehicles, cuts, noise)
    problem = tightened(problem, filled) if filled else problem
    decisions = {name: method(problem) for name, method in METHODS.items()}
    for twin in range(6):
        one = row(problem, twin)
        times = {name: certify(one, take(decision, twin)) for name, decision in decisions.items()}
        assert min(times.values()) >= times["exact"] * (1.0 - 1e-9)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("filled", [0.0, 0.9])
def test_compiled_level_equals_the_round_time_and_fills_the_band(noise: Noise, filled: float) -> None:
    problem = draw(np.random.default_rng(3), (8,), 6, 4, noise)
    problem = tightened(problem, filled) if filled else problem
    levels, settle_all = [], kernel.settle_all

    def spying(*arguments: Any) -> None:
        settle_all(*arguments)
        levels.append(arguments[-1].copy())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "settle_all", spying)
        decision = exact(problem)
    cost = round_cost(problem, decision)
    assert cost.round_time == pytest.approx(levels[0], rel=1e-9)
    assert np.sum(decision.bandwidth_share, axis=-1) == pytest.approx(1.0, abs=1e-12)
    at_least_power = decision.power <= problem.power_min * (1.0 + 1e-12)
    late = np.abs(cost.client_time / cost.round_time[:, None] - 1.0) <= 1e-9
    assert np.all(late | at_least_power)
    assert np.all(np.any(late, axis=-1))


# Against general solvers.


class FixedCuts:
    """One cut vector as a smooth programme in the logs of frequency, power, share and time."""

    def __init__(self, problem: Problem, cut: tuple[int, ...]) -> None:
        rows = np.arange(len(cut))
        self.problem, self.count = problem, len(cut)
        self.cycles, self.bits, self.fixed = (
            values[rows, cut] for values in (problem.cycles, problem.uplink_bits, problem.fixed_time)
        )

    def parts(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        speed, power, share = np.exp(x[:-1]).reshape(3, -1)
        psd = self.problem.noise == "psd"
        signal = power * self.problem.snr_per_watt / (share if psd else 1.0)
        sending = self.bits / (share * self.problem.bandwidth * np.log1p(signal) / math.log(2.0))
        part = signal / ((1.0 + signal) * np.log1p(signal))
        return speed, power, share, sending, part, 1.0 - part if psd else np.ones(self.count)

    def slack(self, x: np.ndarray) -> np.ndarray:
        speed, power, share, sending, _, _ = self.parts(x)
        times = self.cycles / speed + sending + self.fixed
        energies = 0.5 * self.problem.switched_capacitance * self.cycles * speed**2 + power * sending
        return np.concatenate(
            [1.0 - times / math.exp(x[-1]), 1.0 - energies / self.problem.energy_budget, [1.0 - share.sum()]]
        )

    def gradient(self, x: np.ndarray) -> np.ndarray:
        speed, power, share, sending, by_power, by_share = self.parts(x)
        end, budget = math.exp(x[-1]), self.problem.energy_budget
        times = self.cycles / speed + sending + self.fixed
        drain = self.problem.switched_capacitance * self.cycles * speed**2
        late = [self.cycles / speed / end, sending * by_power / end, sending * by_share / end]
        sent = power * sending / budget
        spent = [-drain / budget, -sent * (1.0 - by_power), sent * by_share]
        nothing = np.zeros((self.count, 1))
        return np.vstack(
            [
                np.hstack([*(np.diag(part) for part in late), (times / end)[:, None]]),
                np.hstack([*(np.diag(part) for part in spent), nothing]),
                np.concatenate([np.zeros(2 * self.count), -share, [0.0]])[None],
            ]
        )

    def fastest(self, starts: list[tuple[float, float]]) -> float:
        """Least time found from starts at these places between the logs of the limits."""
        problem, best = self.problem, math.inf
        limits = [(problem.frequency_min, problem.frequency_max), (problem.power_min, problem.power_max), (1e-4, 1.0)]
        bounds = [(math.log(low), math.log(high)) for low, high in limits for _ in range(self.count)]
        least = float(np.max(self.fixed + self.cycles / problem.frequency_max))
        bounds.append((math.log(least), math.log(1e5)))
        for place in starts:
            between = zip(bounds[: 2 * self.count], np.repeat(place, self.count), strict=True)
            begun = [low + (high - low) * part for (low, high), part in between]
            x = np.array([*begun, *[-math.log(self.count)] * self.count, 0.0])
            speed, _, _, sending, _, _ = self.parts(x)
            x[-1] = math.log(np.max(self.cycles / speed + sending + self.fixed))
            found = minimize(
                lambda x: x[-1],
                x,
                jac=lambda x: np.eye(x.size)[-1],
                bounds=bounds,
                constraints={"type": "ineq", "fun": self.slack, "jac": self.gradient},
                method="SLSQP",
                options={"ftol": 1e-13, "maxiter": 300},
            )
            if np.min(self.slack(found.x)) > -1e-8:
                best = min(best, math.exp(found.x[-1]))
        return best


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("vehicles", "cuts"), [(2, 3), (3, 2)])
def test_optimum_equals_nonlinear_programming_over_every_cut_vector(noise: Noise, vehicles: int, cuts: int) -> None:
    problem = draw(np.random.default_rng(vehicles), (50,), vehicles, cuts, noise)
    optimum = round_cost(problem, exact(problem)).round_time
    for twin in range(50):
        programmes = [FixedCuts(row(problem, twin), cut) for cut in itertools.product(range(cuts), repeat=vehicles)]
        found = min(programme.fastest([(0.1, 0.1), (0.4, 0.6)]) for programme in programmes)
        if found > optimum[twin] * (1.0 + 1e-6):
            found = min(programme.fastest([(0.0, 0.0), (0.7, 0.9), (0.2, 0.9)]) for programme in programmes)
        assert found == pytest.approx(optimum[twin], rel=1e-6)


@pytest.mark.parametrize("noise", NOISES)
def test_optimum_is_not_beaten_by_differential_evolution(noise: Noise) -> None:
    problem = draw(np.random.default_rng(7), (), 2, 2, noise)
    optimum = float(round_cost(problem, exact(problem)).round_time)
    copies = {name: getattr(problem, name)[None] for name in ROWS}
    many = dataclasses.replace(problem, **copies)

    def penalized(x: np.ndarray) -> np.ndarray:
        share = x[6]
        decision = Decision(
            cut=np.rint(x[:2]).astype(np.int64).T,
            bandwidth_share=np.stack([share, 1.0 - share], axis=-1),
            frequency=np.exp(x[2:4]).T,
            power=np.exp(x[4:6]).T,
        )
        cost = round_cost(many, decision)
        excess = np.max(cost.client_energy / problem.energy_budget, axis=-1) - 1.0
        return np.asarray(cost.round_time * np.where(excess > 0.0, 10.0 + excess, 1.0))

    limits = [(problem.frequency_min, problem.frequency_max), (problem.power_min, problem.power_max)]
    logs = [(math.log(low), math.log(high)) for low, high in limits for _ in range(2)]
    found = differential_evolution(
        penalized,
        [(0, 1), (0, 1), *logs, (1e-3, 1.0 - 1e-3)],
        integrality=[True, True, False, False, False, False, False],
        maxiter=250,
        popsize=20,
        tol=1e-10,
        rng=np.random.default_rng(0),
        polish=False,
        vectorized=True,
        updating="deferred",
    )
    assert optimum <= found.fun * (1.0 + 1e-9)
    assert found.fun <= optimum * 1.01


@pytest.mark.parametrize("noise", NOISES)
def test_optimum_is_the_best_allocation_over_every_cut_vector(noise: Noise) -> None:
    problem = draw(np.random.default_rng(11), (5,), 4, 3, noise)
    times = [
        round_cost(problem, allocate(problem, np.broadcast_to(cut, (5, 4)))).round_time
        for cut in itertools.product(range(3), repeat=4)
    ]
    optimum = exact(problem)
    assert round_cost(problem, optimum).round_time == pytest.approx(np.min(times, axis=0), rel=1e-9)
    again = allocate(problem, optimum.cut)
    assert again.bandwidth_share == pytest.approx(optimum.bandwidth_share, rel=1e-6)


@pytest.mark.parametrize("noise", NOISES)
def test_without_a_choice_of_frequency_and_power_the_time_solves_one_equation(noise: Noise) -> None:
    problem = draw(np.random.default_rng(5), (), 3, 1, noise)
    problem = dataclasses.replace(
        problem, frequency_min=0.5e9, frequency_max=0.5e9, power_min=0.1, power_max=0.1, energy_budget=np.full(3, 1e3)
    )
    ready = problem.fixed_time[:, 0] + problem.cycles[:, 0] / 0.5e9

    def unfilled(time: float) -> float:
        def missing(share: float, n: int) -> float:
            signal = 0.1 * problem.snr_per_watt[n] / (share if noise == "psd" else 1.0)
            sent = share * problem.bandwidth * math.log2(1.0 + signal) * (time - ready[n])
            return float(sent - problem.uplink_bits[n, 0])

        shares = [float(brentq(missing, 1e-9, 10.0, args=(n,), xtol=1e-15, rtol=1e-14)) for n in range(3)]
        return 1.0 - sum(shares)

    expected = brentq(unfilled, ready.max() + 2.0, 1e4, rtol=1e-13)
    assert float(round_cost(problem, exact(problem)).round_time) == pytest.approx(expected, rel=1e-9)


# The published alternation.


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("filled", [0.0, 0.9])
def test_published_steps_stay_feasible_and_never_lose(noise: Noise, filled: float) -> None:
    problem = draw(np.random.default_rng(1), (5,), 5, 4, noise)
    problem = tightened(problem, filled) if filled else problem
    decision = solvers.starting_point(problem)
    times = [np.array([certify(row(problem, twin), take(decision, twin)) for twin in range(5)])]
    for _ in range(4):
        for step in (solvers.cut_step, solvers.power_step, solvers.frequency_and_share_step):
            decision = step(problem, decision)
            times.append(np.array([certify(row(problem, twin), take(decision, twin)) for twin in range(5)]))
    assert np.all(np.diff(times, axis=0) <= 1e-11 * times[0])


def test_start_leaves_equal_shares_where_a_budget_needs_more() -> None:
    problem = tightened(draw(np.random.default_rng(2), (), 4, 4, "fixed"), 0.98)
    start = solvers.starting_point(problem)
    assert np.ptp(start.bandwidth_share) > 0.1
    certify(problem, start)


def test_frequencies_and_shares_equal_a_convex_programme() -> None:
    convex: Any = cp
    count = 6
    speed, share, time = convex.Variable(count, pos=True), convex.Variable(count, pos=True), convex.Variable()
    cycles, sends, fixed, drain, costs, budget = (convex.Parameter(count, nonneg=True) for _ in range(6))
    late = convex.multiply(cycles, convex.inv_pos(speed)) + convex.multiply(sends, convex.inv_pos(share)) + fixed
    spent = convex.multiply(drain, convex.square(speed)) + convex.multiply(costs, convex.inv_pos(share))
    programme = convex.Problem(
        convex.Minimize(time), [late <= time, spent <= budget, convex.sum(share) <= 1.0, speed >= 0.2, speed <= 2.0]
    )
    assert programme.is_dcp(dpp=True)
    problems = draw(np.random.default_rng(4), (12,), count, 4, "fixed")
    for twin in range(12):
        problem = row(problems, twin)
        start = solvers.cut_step(problem, solvers.starting_point(problem))
        start = solvers.power_step(problem, start) if twin % 2 else start
        found = solvers.frequency_and_share_step(problem, start)
        one = FixedCuts(problem, tuple(start.cut))
        rate = problem.bandwidth * np.log2(1.0 + start.power * problem.snr_per_watt)
        cycles.value, sends.value, fixed.value = one.cycles / 1e9, one.bits / rate, one.fixed
        drain.value, costs.value = 0.5e-9 * one.cycles, start.power * one.bits / rate
        budget.value = problem.energy_budget
        programme.solve(solver=convex.CLARABEL)
        assert certify(problem, found) == pytest.approx(programme.value, rel=1e-6)


@pytest.mark.parametrize("noise", NOISES)
def test_power_step_uses_the_budget_up(noise: Noise) -> None:
    problem = draw(np.random.default_rng(6), (), 8, 4, noise)
    start = solvers.starting_point(problem)
    found = solvers.power_step(problem, start)
    for n in range(8):

        def excess(power: float, n: int = n) -> float:
            changed = dataclasses.replace(start, power=np.full(8, power))
            return evaluated(problem, changed)[1][n] - float(problem.energy_budget[n])

        expected = problem.power_max if excess(problem.power_max) <= 0.0 else brentq(excess, 0.01, 0.2, xtol=1e-15)
        assert found.power[n] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("noise", NOISES)
def test_successive_approximation_rises_within_the_energy_to_the_power_step(noise: Noise) -> None:
    """SUBP2 as published: the energy is concave, so a tangent lies above it and every step from inside stays inside."""
    link: dict[str, Any] = {"bandwidth": 20e6, "share": np.array([0.05, 0.3, 1.0]), "noise": noise}
    snr, bits = np.array([30.0, 400.0, 5e4]), np.full(3, 1e8)

    def spent(power: np.ndarray) -> np.ndarray:
        return np.asarray(power * bits / radio.band_rate(snr=power * snr, **link))

    energy = spent(np.full(3, 0.5))
    powers = [np.full(3, 1e-4)]
    for _ in range(12):
        slope = (spent(powers[-1] * (1.0 + 1e-6)) - spent(powers[-1])) / (1e-6 * powers[-1])
        powers.append(powers[-1] + (energy - spent(powers[-1])) / slope)
    assert np.all(np.diff(powers, axis=0) >= -1e-7)
    assert all(np.all(spent(power) <= energy * (1.0 + 1e-6)) for power in powers)
    limits: dict[str, Any] = {"power_min": 1e-4, "power_max": 10.0}
    found = radio.power_for_energy(bits=bits, energy=energy, snr_per_watt=snr, **limits, **link)
    assert found == pytest.approx(0.5, rel=1e-12)
    assert powers[-1] == pytest.approx(found, rel=1e-5)


# The shared pieces.


@pytest.mark.parametrize("noise", NOISES)
def test_inverse_rate_undoes_the_rate(noise: Noise) -> None:
    share, snr = np.meshgrid(np.geomspace(1e-6, 1.0, 25), np.geomspace(1e-3, 1e9, 25))
    rate = radio.band_rate(bandwidth=20e6, share=share, snr=snr, noise=noise)
    found = radio.share_for_rate(bandwidth=20e6, rate=rate, snr=snr, noise=noise)
    assert found == pytest.approx(share, rel=1e-9)


def test_inverse_rate_is_lamberts_function_and_knows_its_limit() -> None:
    ratio = np.linspace(0.01, 0.9, 50)
    expected = -lambertw(-ratio * np.exp(-ratio), -1).real / ratio - 1.0
    assert radio.own_band_snr(ratio=ratio) == pytest.approx(expected, rel=1e-9)
    assert [kernel.own_band_snr(value) for value in ratio] == pytest.approx(expected, rel=1e-9)
    most = 20e6 * 3.0 / math.log(2.0)
    shares = radio.share_for_rate(
        bandwidth=20e6, rate=np.array([0.0, 0.999 * most, most, 2.0 * most]), snr=3.0, noise="psd"
    )
    assert shares[0] == 0.0
    assert 1.0 < shares[1] < np.inf
    assert np.all(np.isinf(shares[2:]))


def least_band_power(
    *, time: np.ndarray, energy: np.ndarray, power_min: float, power_max: float
) -> tuple[np.ndarray, np.ndarray]:
    """Power that needs the least bandwidth within a time and an energy, and the time on the air."""
    power = np.clip(energy / np.where(time > 0.0, time, 1.0), power_min, power_max)
    return power, np.minimum(time, energy / power)


@pytest.mark.parametrize("noise", NOISES)
def test_power_within_time_and_energy_needs_the_least_share(noise: Noise) -> None:
    rng = np.random.default_rng(8)
    time, energy = rng.uniform(1.0, 10.0, (30, 1)), rng.uniform(0.05, 1.0, (30, 1))
    power, duration = least_band_power(time=time, energy=energy, power_min=0.01, power_max=0.2)
    tried = np.linspace(0.01, 0.2, 400)
    link: dict[str, Any] = {"bits": 1e8, "snr_per_watt": np.array(1e3), "bandwidth": 20e6, "noise": noise}
    best = allocation.least_share(power=power, duration=duration, **link)
    others = allocation.least_share(power=tried, duration=np.minimum(time, energy / tried), **link)
    assert np.all(best <= np.min(others, axis=-1, keepdims=True) * (1.0 + 1e-12))
    assert np.isinf(allocation.least_share(power=0.1, duration=np.array(-1.0), **link))


@pytest.mark.parametrize("noise", NOISES)
def test_least_share_of_a_time_equals_golden_section(noise: Noise) -> None:
    rng = np.random.default_rng(20)
    count = 300
    cycles, bits = np.exp(rng.uniform(math.log(1e7), math.log(3e10), count)), rng.uniform(1e6, 3e8, count)
    snr, budget = np.exp(rng.uniform(math.log(1.0), math.log(1e6), count)), np.exp(rng.uniform(-3.0, 3.0, count))
    level = cycles / 2e9 + np.exp(rng.uniform(-1.0, 6.0, count))

    def share_at(log_frequency: np.ndarray) -> np.ndarray:
        frequency = np.exp(log_frequency)
        power, duration = least_band_power(
            time=level - cycles / frequency,
            energy=budget - 5e-28 * cycles * frequency**2,
            power_min=0.01,
            power_max=0.2,
        )
        return np.asarray(
            allocation.least_share(
                bits=bits, power=power, duration=duration, snr_per_watt=snr, bandwidth=20e6, noise=noise
            )
        )

    low = np.log(np.maximum(0.2e9, cycles / level))
    high = np.log(np.minimum(2e9, np.maximum(np.sqrt(budget / (5e-28 * cycles)), 0.2e9)))
    part = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(80):
        left, right = high - part * (high - low), low + part * (high - low)
        at_left, at_right = share_at(left), share_at(right)
        unreachable = np.isinf(at_left) & np.isinf(at_right)
        up = np.where(unreachable, level - cycles / np.exp(right) <= 0.0, at_left > at_right)
        low, high = np.where(up, left, low), np.where(up, high, right)
    expected = share_at(0.5 * (low + high))
    rounds = kernel.Rounds(
        cycles[:, None, None],
        bits[:, None, None] * math.log(2.0) / 20e6,
        np.zeros((count, 1, 1)),
        budget[:, None],
        snr[:, None],
        np.ones((count, 1, 1), np.bool_),
        *(5e-28, 0.2e9, 2e9, 0.01, 0.2),
        noise == "psd",
    )
    found = np.array([kernel.vehicle_share(rounds, b, 0, 0, level[b], 0.0)[0] for b in range(count)])
    reachable = np.isfinite(expected)
    assert 100 < np.sum(reachable) < count
    assert found[reachable] == pytest.approx(expected[reachable], rel=1e-7)
    assert np.all(found[reachable] <= expected[reachable] * (1.0 + 1e-12))
    assert np.all(found[~reachable] > 1.0)


def test_meeting_frequency_is_the_root_of_the_cubic() -> None:
    rng = np.random.default_rng(9)
    cycles, power = rng.uniform(1e8, 1e10, 200), rng.uniform(0.01, 0.2, 200)
    time, energy = rng.uniform(0.1, 50.0, 200), rng.uniform(0.1, 5.0, 200)
    time[0] = energy[0] / power[0]
    found = allocation.meeting_frequency(cycles=cycles, drain=5e-28 * cycles, time=time, energy=energy, power=power)
    for a, p, t, e, f in zip(cycles, power, time, energy, found, strict=True):
        roots = np.roots([1.0, 0.0, (p * t - e) / (5e-28 * a) / 1e18, -p / 5e-28 / 1e27])
        expected = 1e9 * max(root.real for root in roots if abs(root.imag) < 1e-9 * abs(root))
        assert f == pytest.approx(expected, rel=1e-9)
        assert kernel.meeting_frequency(a, 5e-28 * a, e, t, p) == pytest.approx(expected, rel=1e-9)


def test_water_level_fills_the_band_of_every_twin() -> None:
    rng = np.random.default_rng(10)
    load, ready = rng.uniform(0.01, 5.0, (3, 4, 6)), rng.uniform(0.0, 2.0, (3, 4, 6))
    load[0, 0], ready[0, 0] = 0.0, 1.0

    def shares_at(level: np.ndarray) -> np.ndarray:
        time = level[..., None] - ready
        return np.where(time > 0.0, load / np.where(time > 0.0, time, 1.0), np.where(load > 0.0, np.inf, 0.0))

    level = allocation.water_level(shares_at, np.max(ready, axis=-1))
    total = np.sum(shares_at(level), axis=-1)
    assert total[0, 0] == 0.0
    assert total.ravel()[1:] == pytest.approx(1.0, abs=2e-13)
    never = allocation.water_level(lambda level: np.full((*level.shape, 2), 0.6), np.ones(2))
    assert np.all(np.isinf(never))


# Batches, absent vehicles, budgets.


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_batch_equals_loop(name: str, noise: Noise) -> None:
    problem = draw(np.random.default_rng(12), (2, 3), 5, 4, noise)
    absent = np.random.default_rng(0).random((2, 3, 5)) < 0.2
    problem = leave_out(problem, absent)
    decision = METHODS[name](problem)
    for index in np.ndindex(2, 3):
        single = METHODS[name](row(problem, index))
        batched = take(decision, index)
        assert np.array_equal(batched.cut, single.cut)
        for field in ("bandwidth_share", "frequency", "power"):
            assert getattr(batched, field) == pytest.approx(getattr(single, field), rel=1e-9)


def leave_out(problem: Problem, absent: np.ndarray) -> Problem:
    loads: dict[str, Any] = {
        name: np.where(absent[..., None], 0.0, getattr(problem, name))
        for name in ("cycles", "uplink_bits", "fixed_time", "server_time")
    }
    return dataclasses.replace(problem, taking_part=~absent, **loads)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("noise", NOISES)
def test_absent_vehicles_get_nothing_and_change_nothing(name: str, noise: Noise) -> None:
    problem = draw(np.random.default_rng(13), (), 4, 4, noise)
    absent = np.array([False, True, False, True])
    with_them = METHODS[name](leave_out(problem, absent))
    time = certify(leave_out(problem, absent), with_them)
    without = METHODS[name](row(problem, ~absent))
    if name != "random":
        assert time == pytest.approx(certify(row(problem, ~absent), without), rel=1e-9)
    nobody = METHODS[name](leave_out(problem, np.ones(4, np.bool_)))
    assert nobody.cut.tolist() == [-1] * 4
    assert not np.any(nobody.bandwidth_share + nobody.frequency + nobody.power)


def test_allocation_leaves_out_whom_it_gives_no_cut() -> None:
    problem = draw(np.random.default_rng(14), (), 3, 4, "psd")
    decision = allocate(problem, np.array([0, -1, 1]))
    assert decision.cut.tolist() == [0, -1, 1]
    assert decision.bandwidth_share[1] == 0.0


@pytest.mark.parametrize("name", METHODS)
def test_budget_that_no_share_keeps_is_refused(name: str) -> None:
    problem = draw(np.random.default_rng(15), (2,), 3, 4, "psd")
    problem.energy_budget[1, 2] = 1e-5
    with pytest.raises(ValueError, match=r"energy_budget\[1, 2\] of vehicle 2 is 1e-05 J, must be at least .* J"):
        METHODS[name](problem)


@pytest.mark.parametrize("name", METHODS)
def test_budgets_that_ask_for_more_than_the_band_are_refused(name: str) -> None:
    problem = tightened(draw(np.random.default_rng(16), (), 3, 4, "fixed"), 1.01)
    with pytest.raises(ValueError, match=r"ask for 1\.01 of the band, must be at most 1; .* vehicle \d with .* J"):
        METHODS[name](problem)


def test_cut_that_a_budget_does_not_allow_is_refused_or_moved() -> None:
    problem = draw(np.random.default_rng(17), (), 3, 4, "psd")
    cheapest = np.sort(least_energy(problem, np.ones(3)), axis=-1)
    problem.energy_budget[:] = 0.5 * (cheapest[:, 0] + cheapest[:, -1])
    dear = np.argmax(least_shares(problem), axis=-1)
    with pytest.raises(ValueError, match="at its cut with the whole band"):
        allocate(problem, dear)
    assert np.array_equal(solvers.affordable_cut(problem, dear), np.argmin(least_shares(problem), axis=-1))


def test_only_as_many_vehicles_move_as_the_band_needs() -> None:
    problem = tightened(draw(np.random.default_rng(18), (), 6, 4, "fixed"), 0.9)
    shares = least_shares(problem)
    cut = np.argsort(shares, axis=-1)[:, 1]
    moved = solvers.affordable_cut(problem, cut)
    total = np.take_along_axis(shares, moved[:, None], axis=-1).sum()
    assert np.take_along_axis(shares, cut[:, None], axis=-1).sum() > 1.0
    assert total <= 1.0
    certify(problem, allocate(problem, moved))


@pytest.mark.parametrize("field", ["snr_per_watt", "energy_budget", "cycles", "uplink_bits"])
@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0])
def test_numbers_that_make_no_sense_are_refused(field: str, value: float) -> None:
    problem = draw(np.random.default_rng(19), (), 3, 2, "psd")
    getattr(problem, field)[1] = value
    with pytest.raises(ValueError, match=rf"{field}\[1.*, must be above 0: the vehicle takes part"):
        exact(problem)


# Through the system.


def states(noise: Noise, dtype: Literal["float64", "float32"] = "float64") -> tuple[SplitPointSystem, State]:
    system = SplitPointSystem(SplitPointParams(noise=noise, dtype=dtype))
    return system, system.start(system.draw(numbers(0, 0, 0, (6,))))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", SOLVERS)
def test_system_accepts_the_decisions(name: str, noise: Noise) -> None:
    system, state = states(noise)
    decision = SOLVERS[name](system, state)
    system.check_decision(state, decision, complete=True)
    problem = system.problem(state)
    for twin in range(6):
        time = certify(row(problem, twin), take(decision, twin))
        assert time == pytest.approx(system.cost(state, decision).round_time[twin], rel=1e-9)
    again = SOLVERS[name](system, state)
    assert np.array_equal(again.bandwidth_share, decision.bandwidth_share)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SOLVERS)
def test_torch_in_torch_out(name: str, dtype: Literal["float64", "float32"]) -> None:
    system, state = states("psd", dtype)
    tensors = tree_map(torch.as_tensor, state)
    decision = SOLVERS[name](system, tensors)
    expected = SOLVERS[name](system, state)
    system.check_decision(tensors, decision, complete=True)
    assert decision.cut.dtype == torch.int64
    for field in ("bandwidth_share", "frequency", "power"):
        value = getattr(decision, field)
        assert value.dtype == getattr(torch, dtype)
        assert value.numpy() == pytest.approx(getattr(expected, field), rel=1e-9 if dtype == "float64" else 1e-4)


def test_solvers_decide_by_what_the_twin_shows() -> None:
    system = SplitPointSystem(SplitPointParams(twin_error_db=3.0))
    state = system.start(system.draw(numbers(1, 0, 0)))
    believed = system.problem(system.believed(state))
    assert np.array_equal(exact(believed).bandwidth_share, SOLVERS["exact"](system, state).bandwidth_share)
    assert not np.array_equal(exact(system.problem(state)).bandwidth_share, exact(believed).bandwidth_share)


def test_random_solver_draws_from_what_it_is_given() -> None:
    system, state = states("psd")
    first, second = (SOLVERS["random"](system, state, np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.array_equal(first.cut, second.cut)
