"""The quantisation system: cost against the oracle, who gets which channel, what a round leaves behind."""

import dataclasses
import functools
import math
import re
from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin.baselines import SOLVERS, solver_module
from fedtwin.core.randomness import Numbers, numbers
from fedtwin.core.trees import tree_map
from fedtwin.envs.quantization import Decision, Draw, QuantizationParams, QuantizationSystem, State
from oracle import bits_per_second, mean_gain, quantization_cost, quantization_loads, quantization_noise
from rounds import advance, asked, assert_costs, assert_observed, begin, random_actions, ruling

UNEQUAL: dict[str, Any] = {
    "num_clients": 7,
    "num_channels": 4,
    "profile": "vit_tiny",
    "bandwidth": 3e5,
    "noise_density_dbm": -168.0,
    "reference_loss_db": 33.0,
    "path_loss_exponent": 2.7,
    "samples": 5,
    "flops_per_cycle": (4.0, 12.0),
    "frequency_low": 0.5e9,
    "frequency_high": 0.9e9,
    "energy_coefficient": 3e-27,
    "server_time": 0.03,
    "deadline": 1.4,
    "power_min": 0.02,
    "power_max": 0.5,
    "bits_min": 3,
    "bits_max": 20,
    "benefit_amplitude": 0.3,
    "benefit_rate": 0.9,
    "benefit_floor": 0.1,
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all channels' noise": {"noise": "fixed"},
    "tight": {"deadline": 1.2},
    "too tight for most": {"deadline": 0.5},
    "alone": {"num_clients": 1, "num_channels": 3},
    "one channel": {"num_channels": 1},
    "more channels than devices": {"num_clients": 4, "num_channels": 9},
    "no choice of bits and power": {"bits_max": 2, "power_max": 0.01},
    "unequal": UNEQUAL,
}
every_system = pytest.mark.parametrize("params", SYSTEMS.values(), ids=SYSTEMS)

CLASSICAL: dict[str, Any] = dict(solver_module("quantization").SOLVERS)  # type: ignore[union-attr]
"""Solvers of any size; the shipped weights are for ten channels."""


def build(**params: Any) -> QuantizationSystem:
    system = envs.make_system("quantization", **params)
    assert isinstance(system, QuantizationSystem)
    return system


def random_decision(system: QuantizationSystem, batch: tuple[int, ...], seed: int = 0) -> Decision:
    """Any bits and power, deadline aside, devices in random order on the channels; a quarter of those served is not."""
    p, rng = system.params, np.random.default_rng(seed)
    shape = (*batch, p.num_clients)
    channel = rng.permuted(np.broadcast_to(np.arange(p.num_clients), shape), axis=-1)
    channel = np.where((channel < p.num_channels) & (rng.random(shape) > 0.25), channel, -1)
    return Decision(
        channel=channel,
        bits=np.where(channel >= 0, rng.integers(p.bits_min, p.bits_max + 1, shape), 0),
        power=np.where(channel >= 0, rng.uniform(p.power_min, p.power_max, shape), 0.0),
    )


def devices(state: State, *twin: int) -> list[Any]:
    return [array[twin].tolist() for array in (state.gain, state.flops_per_cycle, state.frequency)]


def expected_cost(system: QuantizationSystem, state: State, decision: Decision, *twin: int) -> dict[str, Any]:
    made = (decision.channel, decision.bits, decision.power)
    return quantization_cost(system.params, *devices(state, *twin), *(array[twin].tolist() for array in made))


# Cost.


@every_system
def test_cost_equals_the_oracle(params: dict[str, Any]) -> None:
    system = build(**params)
    state, decision = begin(system, (100,)), random_decision(system, (100,))
    assert_costs(system.cost(state, decision), functools.partial(expected_cost, system, state, decision))


@every_system
def test_problem_equals_the_oracle(params: dict[str, Any]) -> None:
    system = build(**params)
    state = begin(system, (10,))
    problem, p = system.problem(state), system.params
    for twin, n in np.ndindex(state.distance.shape):
        load = quantization_loads(p, float(state.flops_per_cycle[twin, n]), float(state.frequency[twin, n]))
        assert problem.compute_time[twin, n] == pytest.approx(load["compute_time"], rel=1e-12)
        assert problem.compute_energy[twin, n] == pytest.approx(load["compute_energy"], rel=1e-12)
        assert problem.full_bits[twin, n] == pytest.approx(load["numbers"] * p.bits_max, rel=1e-12)
        snr = [gain / quantization_noise(p) for gain in state.gain[twin, n].tolist()]
        np.testing.assert_allclose(problem.snr_per_watt[twin, n], snr, rtol=1e-12)
    assert problem.channel_bandwidth.tolist() == [p.bandwidth] * p.num_channels
    assert all(
        getattr(problem, name) == getattr(p, name)
        for name in ("server_time", "deadline", "power_min", "power_max", "bits_min", "bits_max")
    )
    assert problem.benefit == (p.benefit_amplitude, p.benefit_rate, p.benefit_floor)


FIXED = Draw(
    distance=np.array([100.0, 200.0, 300.0]),
    angle=np.array([0.0, 0.5 * math.pi, math.pi]),
    flops_per_cycle=np.array([16.0, 32.0, 64.0]),
    frequency=np.array([1.0e9, 1.2e9, 1.5e9]),
    fading=np.array([[0.5, 1.5], [1.0, 0.8], [2.0, 0.3]]),
    estimate_error=np.zeros((3, 2)),
)
SMALL: dict[str, Any] = {"num_clients": 3, "num_channels": 2}


@pytest.mark.parametrize(
    ("noise", "times", "energies", "efficiency"),
    [
        ("psd", [1.92607071866, 0.0, 0.993370898030], [0.530604451133, 0.0, 0.423372496406], 3.70707400748),
        ("fixed", [2.02935701417, 0.0, 1.06849116430], [0.535768765908, 0.0, 0.438396549660], 3.62161908326),
    ],
)
def test_golden_numbers(noise: str, times: list[float], energies: list[float], efficiency: float) -> None:
    """Three devices at 100, 200 and 300 m, two channels: 8 and 4 bits, the second device is not served."""
    system = build(**SMALL, noise=noise)
    state = system.start(FIXED)
    decision = Decision(np.array([1, -1, 0]), np.array([8, 0, 4]), np.array([0.05, 0.0, 0.2]))
    cost = system.cost(state, decision)
    assert cost.client_time.tolist() == pytest.approx(times, rel=1e-9)
    assert cost.client_energy.tolist() == pytest.approx(energies, rel=1e-9)
    assert float(cost.efficiency) == pytest.approx(efficiency, rel=1e-9)
    assert float(cost.round_time) == pytest.approx(max(times), rel=1e-9)


# Decisions.


def scaled(number: float, low: float, high: float) -> float:
    return low * math.pow(high / low, (number + 1) / 2)


class Device:
    """What one device of a twin can do, in plain numbers."""

    def __init__(self, p: QuantizationParams, gain: list[float], per_cycle: float, frequency: float) -> None:
        load = quantization_loads(p, per_cycle, frequency)
        self.p = p
        self.snr: list[float] = [each / quantization_noise(p) for each in gain]
        self.left: float = p.deadline - p.server_time - load["compute_time"]
        self.numbers: float = load["numbers"]

    def needed(self, bits: float, channel: int) -> float:
        """Power that sends `bits` within the deadline, limits aside."""
        if self.left <= 0:
            return math.inf
        spectral = bits * self.numbers / self.left / self.p.bandwidth
        return float(math.expm1(min(spectral, 900.0) * math.log(2)) / self.snr[channel])

    def most_bits(self, channel: int) -> int:
        rate = bits_per_second(self.p.bandwidth, self.p.power_max * self.snr[channel])
        return math.floor(max(self.left, 0.0) * rate / self.numbers * (1 + 1e-10))


def expected_decision(
    p: QuantizationParams, state: list[Any], actions: list[list[float]]
) -> list[tuple[int, int, float]]:
    """Channels go to the strongest preferences first; bits as the largest power can send, power as the bits need."""
    rows = [Device(p, gain, per_cycle, frequency) for gain, per_cycle, frequency in zip(*state, strict=True)]
    offers = [
        (row[p.num_channels] - row[m], n, m)
        for n, row in enumerate(actions)
        for m in range(p.num_channels)
        if row[m] > row[p.num_channels] and rows[n].needed(p.bits_min, m) <= p.power_max
    ]
    held: dict[int, int] = {}
    for _, n, m in sorted(offers):
        if n not in held and m not in held.values():
            held[n] = m
    made = []
    for n, row in enumerate(actions):
        if n not in held:
            made.append((-1, 0, 0.0))
            continue
        asked = round(scaled(row[-2], p.bits_min, p.bits_max))
        bits = max(min(asked, rows[n].most_bits(held[n])), p.bits_min)
        power = max(scaled(row[-1], p.power_min, p.power_max), rows[n].needed(bits, held[n]))
        made.append((held[n], bits, min(power, p.power_max)))
    return made


@every_system
def test_decisions_follow_the_preferences(params: dict[str, Any]) -> None:
    system = build(**params)
    state, actions = begin(system, (60,)), random_actions(system, 60)
    decision = system.decide(state, actions)
    for twin in range(60):
        made = expected_decision(system.params, devices(state, twin), actions[twin].tolist())
        channel, bits, power = (list(column) for column in zip(*made, strict=True))
        assert decision.channel[twin].tolist() == channel
        assert decision.bits[twin].tolist() == bits
        np.testing.assert_allclose(decision.power[twin], power, rtol=1e-7)


def test_a_channel_out_of_reach_stays_so_beyond_the_rates_that_are_asked_for() -> None:
    system = build(num_clients=2, num_channels=1, bandwidth=1.0, reference_loss_db=-300.0, noise_density_dbm=-300.0)
    state = begin(system, (5,))
    assert not system.problem(state).feasible.any()
    decision = system.decide(state, np.ones((5, 2, system.action_size), np.float32) * [1.0, -1.0, 0.0, 0.0])
    system.check_decision(state, decision, complete=True)
    assert (decision.channel == -1).all()


@every_system
def test_what_is_asked_projected_and_violated(params: dict[str, Any]) -> None:
    system = build(**params)
    p = system.params
    state, actions = begin(system, (60,)), random_actions(system, 60)
    found, read = ruling(system, state, actions), asked(system, state, actions)
    decision = found.decision
    assert found.penalty is not None
    np.testing.assert_allclose(found.penalty, 0.1 * found.violated)
    for twin, n in np.ndindex(60, p.num_clients):
        row = actions[twin, n].tolist()
        scores = row[: p.num_channels + 1]
        channel = scores.index(max(scores))
        served = channel < p.num_channels
        wanted = (
            channel if served else -1,
            round(scaled(row[-2], p.bits_min, p.bits_max)) if served else 0,
            scaled(row[-1], p.power_min, p.power_max) if served else 0.0,
        )
        assert (read.channel[twin, n], read.bits[twin, n]) == wanted[:2]
        assert read.power[twin, n] == pytest.approx(wanted[2], rel=1e-9)
        made = (decision.channel[twin, n], decision.bits[twin, n])
        changed = made != wanted[:2] or float(decision.power[twin, n]) != pytest.approx(wanted[2], rel=1e-6, abs=0)
        assert found.projected[twin, n] == changed
        gain, per_cycle, frequency = (each[n] for each in devices(state, twin))
        alone = quantization_cost(p, [gain], [per_cycle], [frequency], [wanted[0]], [wanted[1]], [wanted[2]])
        refused = served and decision.channel[twin, n] != channel
        assert found.violated[twin, n] == (refused or alone["round_time"] > p.deadline)


def test_penalty_may_be_switched_off_or_weighed() -> None:
    system = build(violation_weight=0.0)
    state, actions = begin(system, (20,)), random_actions(system, 20)
    assert ruling(system, state, actions).penalty is None
    heavy = ruling(build(violation_weight=2.0), state, actions).penalty
    assert heavy is not None
    assert set(np.unique(heavy)) == {0.0, 2.0}


@pytest.mark.parametrize("source", CLASSICAL)
@every_system
def test_actions_of_a_decision_lead_back_to_it(params: dict[str, Any], source: str) -> None:
    system = build(**params)
    state = begin(system, (100,))
    decision = SOLVERS["quantization"][source](system, state)
    actions = system.actions_of(decision)
    assert actions.dtype == np.float32
    assert system.action_space().contains(actions[0, 0])
    again = system.decide(state, actions)
    np.testing.assert_array_equal(again.channel, decision.channel)
    np.testing.assert_array_equal(again.bits, decision.bits)
    np.testing.assert_allclose(again.power, decision.power, rtol=1e-6)


@every_system
def test_mask_allows_the_channels_that_meet_the_deadline(params: dict[str, Any]) -> None:
    system = build(**params)
    p, state = system.params, begin(system, (30,))
    mask = system.mask(state, system.undecided(state))
    assert mask.dtype == np.int8
    assert mask.shape == (30, p.num_clients, p.num_channels + 1)
    for twin in range(30):
        for n, each in enumerate(zip(*devices(state, twin), strict=True)):
            device = Device(p, *each)
            able = [int(device.needed(p.bits_min, m) <= p.power_max) for m in range(p.num_channels)]
            assert mask[twin, n].tolist() == [*able, 1]


# Rewards and reports.


def test_rewards_are_efficiencies() -> None:
    system = build(reference_efficiency=4.0)
    state, decision = begin(system, (5,)), random_decision(system, (5,))
    cost = system.cost(state, decision)
    progress = system.predict(state, decision)
    served = (decision.channel >= 0).sum(axis=-1)
    np.testing.assert_array_equal(system.taking_part(decision), served)
    np.testing.assert_allclose(progress.amount, cost.client_benefit.sum(axis=-1))
    np.testing.assert_allclose(
        system.reward(state, cost, progress), cost.efficiency[:, None] / 4.0 + np.zeros_like(cost.client_time)
    )
    own = build(reference_efficiency=4.0, reward_rule="own", progress_weight=0.5).reward(state, cost, progress)
    np.testing.assert_allclose(own, 10.0 * cost.client_efficiency / 4.0 + 0.5 * progress.loss_decrease[:, None])
    bare = build(reference_efficiency=4.0, reward_rule="own").reward(state, cost, progress)
    assert bare.sum() == pytest.approx(10.0 * cost.efficiency.sum() / 4.0)


def test_report_names_mean_bits() -> None:
    system = build()
    state, decision = begin(system, (6,)), random_decision(system, (6,))
    shared, _ = system.report(system.cost(state, decision))
    assert system.objective == "efficiency"
    assert system.maximized
    for twin in range(6):
        bits = decision.bits[twin][decision.channel[twin] >= 0]
        assert shared["mean_bits"][twin] == pytest.approx(bits.mean())


# Draws, observations, episodes.


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_draw_has_the_stated_distributions(library: str) -> None:
    system = build(twin_error_db=1.0)
    seeds = np.arange(1000) if library == "numpy" else torch.arange(1000)
    draw = system.draw(Numbers(seeds, 0, 0))
    system.check_draw(draw)
    draw = tree_map(np.asarray, draw)
    assert draw.distance.min() >= 50
    assert draw.distance.max() <= 400
    assert (draw.distance**2).mean() == pytest.approx((50**2 + 400**2) / 2, rel=0.01), "even over the area"
    assert draw.angle.min() >= 0
    assert draw.angle.max() <= 2 * math.pi
    assert draw.angle.mean() == pytest.approx(math.pi, rel=0.02)
    values, counts = np.unique(draw.flops_per_cycle, return_counts=True)
    assert values.tolist() == [16, 32, 64]
    assert counts / draw.distance.size == pytest.approx([1 / 3] * 3, abs=0.02)
    assert draw.frequency.min() >= 1e9
    assert draw.frequency.max() <= 1.5e9
    assert draw.frequency.mean() == pytest.approx(1.25e9, rel=0.01)
    assert draw.fading.mean() == pytest.approx(1, rel=0.01)
    assert draw.fading.var() == pytest.approx(1, rel=0.03)
    assert draw.estimate_error.std() == pytest.approx(1, rel=0.01)


def test_gain_follows_distance_and_fading() -> None:
    system = build(**UNEQUAL)
    draw = system.draw(numbers(0, 0, 0))
    state = system.start(draw)
    for n, m in np.ndindex(7, 4):
        expected = mean_gain(33.0, 2.7, float(draw.distance[n])) * float(draw.fading[n, m])
        assert state.gain[n, m] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("params", [{}, {"noise": "fixed", "deadline": 0.5}, UNEQUAL])
def test_observation_field_by_field(params: dict[str, Any]) -> None:
    system = build(**params)
    p, state = system.params, begin(system)
    decision = system.decide(state, random_actions(system, 4)[3])
    cost = system.cost(state, decision)
    after = advance(system, state, decision, system.draw(numbers(0, 0, 1)))
    loads = [quantization_loads(p, *each) for each in zip(*devices(after)[1:], strict=True)]
    columns = [
        after.gain / quantization_noise(p),
        np.array([[load["compute_energy"]] for load in loads]),
        np.array([[p.deadline - p.server_time - load["compute_time"]] for load in loads]),
        cost.client_efficiency[:, None],
    ]
    seen = system.observe(after, decision)
    assert seen.dtype == np.float32
    assert_observed(system, seen, columns)


@pytest.mark.parametrize("positions", ["episode", "round"])
def test_advance_remembers_the_round(positions: str) -> None:
    system = build(positions=positions, num_clients=5, num_channels=3)
    state = begin(system, (4,))
    energy = np.zeros((4, 5))
    for cycle in range(1, 4):
        decision = system.decide(state, random_actions(system, 4, cycle))
        cost, draw = system.cost(state, decision), system.draw(numbers(0, 0, cycle, (4,)))
        after = advance(system, state, decision, draw)
        energy += cost.client_energy
        np.testing.assert_allclose(after.energy_used, energy)
        np.testing.assert_array_equal(after.efficiency, cost.client_efficiency)
        assert bool((after.cycle == cycle).all())
        placed: Any = draw if positions == "round" else state
        for name in ("distance", "angle", "flops_per_cycle", "frequency"):
            np.testing.assert_array_equal(getattr(after, name), getattr(placed, name))
        np.testing.assert_allclose(after.gain, 1e-3 * placed.distance[..., None] ** -3.0 * draw.fading, rtol=1e-12)
        state = after


def test_nobody_takes_part() -> None:
    """A deadline that nobody meets: no channel is given, nothing is gained or spent, and the next round goes on."""
    system = build(**SMALL, deadline=0.11)
    state, actions = system.start(FIXED), random_actions(system, 1)[0]
    decision = system.decide(state, actions)
    assert decision.channel.tolist() == [-1, -1, -1]
    system.check_decision(state, decision, complete=True)
    assert system.mask(state, decision).tolist() == [[0, 0, 1]] * 3
    cost = system.cost(state, decision)
    for field in dataclasses.fields(cost):
        assert bool((np.asarray(getattr(cost, field.name)) == 0).all()), field.name
    for solve in CLASSICAL.values():
        assert solve(system, state).channel.tolist() == [-1, -1, -1]
    after = advance(system, state, decision, FIXED)
    assert system.cost(after, system.decide(after, actions)).efficiency == 0


# The twin's error.


@pytest.mark.parametrize("method", SOLVERS["quantization"])
@pytest.mark.parametrize("noise", ["psd", "fixed"])
def test_solvers_keep_the_limits_of_the_twin(method: str, noise: str) -> None:
    system = build(twin_error_db=4.0, noise=noise)
    state = begin(system, (20,))
    decision = SOLVERS["quantization"][method](system, state)
    system.check_decision(state, decision, complete=True)
    true, believed = (system.cost(each, decision) for each in (state, system.believed(state)))
    assert bool((true.uplink_delay != believed.uplink_delay)[decision.channel >= 0].all())
    np.testing.assert_array_equal(true.bits, believed.bits)
    np.testing.assert_array_equal(true.client_time > 0, decision.channel >= 0)


# Live learning and pictures.


def test_plan_of_a_live_round() -> None:
    system = build(**SMALL)
    state = system.start(FIXED)
    decision = Decision(np.array([1, -1, 0]), np.array([8, 0, 32]), np.array([0.05, 0.0, 0.2]))
    plan = system.plan(state, decision)
    assert plan.server.tolist() == [0, -1, 0]
    assert plan.bits is not None
    assert plan.bits[[0, 2]].tolist() == [8, 32]
    assert plan.samples is not None
    assert plan.samples.tolist() == [16, 16, 16]
    plan.check(3, 1)


def test_scene_shows_the_map() -> None:
    system = build()
    state, decision = begin(system), random_decision(system, ())
    scene = system.scene(state, decision, "round 1")
    assert (scene.title, scene.side, scene.num_colors) == ("round 1", 800.0, 10)
    np.testing.assert_allclose(np.hypot(*(scene.clients - scene.servers).T), state.distance)
    np.testing.assert_array_equal(scene.link, np.where(decision.channel >= 0, 0, -1))
    np.testing.assert_array_equal(scene.color, decision.channel)
    assert scene.loads["devices per channel"].sum() == (decision.channel >= 0).sum()
    np.testing.assert_array_equal(scene.loads["bits of each device"], decision.bits)
    spent = system.cost(state, decision).client_time / 2.0
    np.testing.assert_allclose(scene.budgets["time"], np.clip(spent, 0, 1))
    assert scene.colored in scene.loads


# Bad input.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"profile": "vit_b17"}, "did you mean 'vit_b16'"),
        ({"nearest": 500.0}, "nearest is 500.0 m, must be at most farthest = 400.0 m"),
        ({"frequency_low": 2e9}, "frequency_low is 2000000000.0 Hz, must be at most frequency_high"),
        ({"power_min": 0.5}, "power_min is 0.5 W, must be at most power_max = 0.2 W"),
        ({"bits_min": 20, "bits_max": 10}, "bits_min is 20, must be at most bits_max = 10"),
        ({"bits_min": 1}, "bits_min is 1, must be at least 2 and at most 32"),
        ({"bits_max": 64}, "bits_max is 64, must be at least 2 and at most 32"),
        ({"bits_min": 33, "bits_max": 33}, "bits_min is 33, must be at least 2 and at most 32"),
        ({"flops_per_cycle": (16.0, 0.0)}, "flops_per_cycle[1] is 0.0 FLOP, must be above 0"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**params)


def test_complete_decisions_share_no_channel_and_miss_no_deadline() -> None:
    system = build(**SMALL)
    state = system.start(FIXED)
    clash = Decision(np.array([1, 1, -1]), np.array([2, 2, 0]), np.array([0.2, 0.2, 0.0]))
    assert int(system.conflicts(clash)) == 1
    system.check_decision(state, clash)
    with pytest.raises(ValueError, match="clients on a taken channel is 1, must be 0"):
        system.check_decision(state, clash, complete=True)
    late = Decision(np.array([0, -1, -1]), np.array([32, 0, 0]), np.array([0.01, 0.0, 0.0]))
    system.check_decision(state, late)
    with pytest.raises(ValueError, match=r"time of client_0 is .* s, must be at most the deadline of 2"):
        system.check_decision(state, late, complete=True)
