"""The quantisation system: cost against the oracle, who gets which channel, what a round leaves behind."""

import dataclasses
import math
import re
from typing import Any, TypeVar

import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin.baselines import SOLVERS, learned
from fedtwin.core.randomness import RoundGenerator, generator
from fedtwin.core.trees import stack, take, tree_map
from fedtwin.envs.quantization import Decision, Draw, QuantizationParams, QuantizationSystem, State, match
from fedtwin.envs.simulator import Simulator
from fedtwin.twin import compute, quantization, radio
from oracle import bits_per_second, mean_gain, quantization_cost, quantization_loads, quantization_noise
from test_association import assert_trees_close, normalised

T = TypeVar("T")

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

CLASSICAL = {name: solve for name, solve in SOLVERS["quantization"].items() if name not in learned.LEARNERS}
"""Solvers of any size; the shipped weights are for ten channels."""


def build(**params: Any) -> QuantizationSystem:
    system = envs.make_system("quantization", **params)
    assert isinstance(system, QuantizationSystem)
    return system


def begin(system: QuantizationSystem, batch: tuple[int, ...] = (), seed: int = 0) -> State:
    return system.start(system.draw(generator(seed, 0, 0), batch))


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


def random_actions(system: QuantizationSystem, count: int, seed: int = 0) -> np.ndarray:
    """Uniform ones, corners of the box, and everybody asking for the least, the most and the middle of all."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (count, len(system.agents), system.action_size)).astype(np.float32)
    corners = count // 4
    actions[:corners] = np.sign(actions[:corners])
    for row, value in zip(actions, (-1.0, 1.0, 0.0), strict=False):
        row[:] = value
    return actions


def devices(state: State, *twin: int) -> list[Any]:
    return [array[twin].tolist() for array in (state.gain, state.flops_per_cycle, state.frequency)]


def expected_cost(system: QuantizationSystem, state: State, decision: Decision, *twin: int) -> dict[str, Any]:
    made = (decision.channel, decision.bits, decision.power)
    return quantization_cost(system.params, *devices(state, *twin), *(array[twin].tolist() for array in made))


def to_torch(tree: Any) -> Any:
    return tree_map(lambda array: torch.from_numpy(np.array(array)), tree)


def widened(tree: T) -> T:
    return tree_map(lambda array: array.astype(np.float64) if array.dtype == np.float32 else array, tree)


# The physics.


def test_rate_and_its_inverse() -> None:
    snr = np.array([1e-9, 0.5, 1.0, 1e6])
    rate = radio.shannon_rate(bandwidth=2e6, sinr=snr)
    assert rate[2] == pytest.approx(2e6, rel=1e-15)
    np.testing.assert_allclose(radio.sinr_for_rate(rate=rate, bandwidth=2e6), snr, rtol=1e-13)


def test_benefit_rises_to_its_ceiling() -> None:
    bits = np.array([0.0, 2.0, 32.0])
    found = quantization.learning_benefit(bits=bits, amplitude=0.5, rate=0.6, floor=0.4)
    assert found.tolist() == pytest.approx([0.4, 0.4 + 0.5 * (1 - math.exp(-1.2)), 0.9], abs=1e-8)
    assert quantization.quantized_bits(full_bits=640.0, bits=np.array([8.0]), bits_max=32).tolist() == [160.0]


def test_computing() -> None:
    cycles, frequency = np.array([2e9, 4e9]), np.array([1e9, 2e9])
    assert compute.cycles_delay(cycles=cycles, frequency=frequency).tolist() == [2.0, 2.0]
    energy = compute.cycles_energy(cycles=cycles, frequency=frequency, coefficient=1e-27)
    assert energy.tolist() == pytest.approx([2.0, 16.0])


# Cost.


@every_system
def test_cost_equals_the_oracle(params: dict[str, Any]) -> None:
    system = build(**params)
    state, decision = begin(system, (100,)), random_decision(system, (100,))
    cost = system.cost(state, decision)
    assert {field.name for field in dataclasses.fields(cost)} == set(expected_cost(system, state, decision, 0))
    for twin in range(100):
        for name, value in expected_cost(system, state, decision, twin).items():
            np.testing.assert_allclose(getattr(cost, name)[twin], value, rtol=1e-12, atol=0, err_msg=f"{name} {twin}")


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


@pytest.mark.parametrize("params", [{}, UNEQUAL])
def test_cost_of_a_batch_is_the_batch_of_costs(params: dict[str, Any]) -> None:
    system = build(**params)
    state, decision = begin(system, (24,)), random_decision(system, (24,))
    cost = system.cost(state, decision)
    single = stack([system.cost(take(state, i), take(decision, i)) for i in range(24)])
    assert_trees_close(cost, single, rtol=0)

    def fold(array: np.ndarray) -> np.ndarray:
        return array.reshape(4, 6, *array.shape[1:])

    nested = system.cost(tree_map(fold, state), tree_map(fold, decision))
    np.testing.assert_array_equal(nested.client_efficiency.reshape(24, -1), cost.client_efficiency)
    actions = random_actions(system, 24)
    made = system.decide(state, actions)
    alone = stack([system.decide(take(state, i), actions[i]) for i in range(24)])
    assert_trees_close(made, alone, rtol=1e-12)


@pytest.mark.parametrize("params", [{}, UNEQUAL, {"noise": "fixed"}])
def test_torch_equals_numpy(params: dict[str, Any]) -> None:
    system = build(**params)
    state, decision = begin(system, (50,)), random_decision(system, (50,))
    tensors = system.cost(to_torch(state), to_torch(decision))
    assert tensors.efficiency.dtype == torch.float64
    assert_trees_close(tensors, system.cost(state, decision), rtol=1e-9)


@pytest.mark.parametrize("positions", ["episode", "round"])
def test_an_episode_in_torch_equals_numpy(positions: str) -> None:
    system = build(positions=positions, num_clients=6, num_channels=4, deadline=1.2, twin_error_db=2.0)
    rng = RoundGenerator()
    draws = [system.draw(rng.at(5, 0, cycle), (3,)) for cycle in range(5)]
    state, mirror = system.start(draws[0]), system.start(to_torch(draws[0]))
    for cycle, draw in enumerate(draws[1:]):
        actions = random_actions(system, 3, cycle)
        other = torch.from_numpy(actions)
        decision, same = system.decide(state, actions), system.decide(mirror, other)
        assert_trees_close(decision, same, rtol=1e-9)
        np.testing.assert_allclose(system.actions_of(decision), system.actions_of(same).numpy(), atol=1e-6)
        np.testing.assert_array_equal(system.mask(state, decision), system.mask(mirror, same).numpy())
        np.testing.assert_allclose(system.observe(state, decision), system.observe(mirror, same).numpy(), atol=1e-6)
        for name in ("projected", "violated"):
            ours, theirs = (
                getattr(system, name)(*each) for each in ((state, decision, actions), (mirror, same, other))
            )
            np.testing.assert_array_equal(ours, theirs.numpy(), err_msg=name)
        np.testing.assert_array_equal(
            system.penalty(state, decision, actions), np.asarray(system.penalty(mirror, same, other))
        )
        cost, again = system.cost(state, decision), system.cost(mirror, same)
        state, mirror = system.advance(state, decision, draw, cost), system.advance(mirror, same, to_torch(draw), again)
        rewards = system.reward(state, cost, system.predict(state, decision))
        np.testing.assert_allclose(
            rewards, system.reward(mirror, again, system.predict(mirror, same)).numpy(), rtol=1e-9
        )
    assert_trees_close(state, mirror, rtol=1e-9)


@pytest.mark.parametrize("noise", ["psd", "fixed"])
def test_float32_stays_float32(noise: str) -> None:
    system = build(dtype="float32", twin_error_db=1.0, noise=noise)
    draw = system.draw(generator(0, 0, 0), (50,))
    system.check_draw(draw)
    state = system.start(draw)
    decision = system.decide(system.believed(state), random_actions(system, 50))
    system.check_decision(state, decision, complete=True)
    cost = system.cost(state, decision)
    moved = system.advance(system.believed(state), decision, system.draw(generator(0, 0, 1), (50,)))
    for tree in (state, decision, cost, moved):
        kinds = {field.name: str(getattr(tree, field.name).dtype) for field in dataclasses.fields(tree)}
        whole = {"cycle", "channel"} | ({"bits"} if tree is decision else set())
        assert kinds == {name: "int64" if name in whole else "float32" for name in kinds}
    exact = build(twin_error_db=1.0, noise=noise)
    assert_trees_close(cost, exact.cost(widened(state), widened(decision), validate=False), rtol=1e-5)


# Decisions.


def assert_keeps_every_limit(system: QuantizationSystem, state: State, decision: Decision) -> None:
    p, served = system.params, decision.channel >= 0
    assert decision.channel.max(initial=-1) < p.num_channels
    ordered = np.sort(decision.channel, axis=-1)
    assert not ((np.diff(ordered, axis=-1) == 0) & (ordered[..., 1:] >= 0)).any(), "one device per channel"
    assert bool((system.conflicts(decision) == 0).all())
    assert bool((decision.bits[~served] == 0).all())
    assert bool((decision.power[~served] == 0).all())
    assert bool(((decision.bits >= p.bits_min) & (decision.bits <= p.bits_max))[served].all())
    power = decision.power[served]
    assert bool(((power >= p.power_min * (1 - 1e-9)) & (power <= p.power_max * (1 + 1e-9))).all())
    cost = system.cost(system.believed(state), decision)
    assert float(cost.client_time.max()) <= p.deadline * (1 + 1e-9)
    assert all(bool(np.isfinite(getattr(cost, field.name)).all()) for field in dataclasses.fields(cost))
    system.check_decision(state, decision, complete=True)


@every_system
def test_decisions_keep_every_limit(params: dict[str, Any]) -> None:
    system = build(**params)
    state = begin(system, (1500,))
    assert_keeps_every_limit(system, state, system.decide(state, random_actions(system, 1500)))


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
    assert not system.feasible(state).any()
    decision = system.decide(state, np.ones((5, 2, system.action_size), np.float32) * [1.0, -1.0, 0.0, 0.0])
    system.check_decision(state, decision, complete=True)
    assert (decision.channel == -1).all()


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (40, 6, 4), (2, 3, 4, 7)])
def test_matching_takes_the_highest_scores_first(shape: tuple[int, ...], library: Any) -> None:
    scores = generator(0, 0, 0).integers(0, 6, shape).astype(np.float64)
    scores[scores < 2] = -np.inf
    given = scores.copy()
    channel = np.asarray(match(library(given)))
    np.testing.assert_array_equal(given, scores)
    assert channel.shape == shape[:-1]
    for twin in np.ndindex(shape[:-2]):
        expected, taken = [-1] * shape[-2], set()
        pairs = [(-scores[twin][n, m], n, m) for n, m in np.ndindex(*shape[-2:]) if scores[twin][n, m] > -np.inf]
        for _, n, m in sorted(pairs):
            if expected[n] < 0 and m not in taken:
                expected[n] = m
                taken.add(m)
        assert channel[twin].tolist() == expected


@every_system
def test_what_is_asked_projected_and_violated(params: dict[str, Any]) -> None:
    system = build(**params)
    p = system.params
    state, actions = begin(system, (60,)), random_actions(system, 60)
    decision, read = system.decide(state, actions), system.read(state, actions)
    projected, violated = system.projected(state, decision, actions), system.violated(state, decision, actions)
    penalty = system.penalty(state, decision, actions)
    assert penalty is not None
    np.testing.assert_allclose(penalty, 0.1 * violated)
    for twin, n in np.ndindex(60, p.num_clients):
        row = actions[twin, n].tolist()
        scores = row[: p.num_channels + 1]
        channel = scores.index(max(scores))
        served = channel < p.num_channels
        asked = (
            channel if served else -1,
            round(scaled(row[-2], p.bits_min, p.bits_max)) if served else 0,
            scaled(row[-1], p.power_min, p.power_max) if served else 0.0,
        )
        assert (read.channel[twin, n], read.bits[twin, n]) == asked[:2]
        assert read.power[twin, n] == pytest.approx(asked[2], rel=1e-9)
        made = (decision.channel[twin, n], decision.bits[twin, n])
        changed = made != asked[:2] or float(decision.power[twin, n]) != pytest.approx(asked[2], rel=1e-6, abs=0)
        assert projected[twin, n] == changed
        gain, per_cycle, frequency = (each[n] for each in devices(state, twin))
        alone = quantization_cost(p, [gain], [per_cycle], [frequency], [asked[0]], [asked[1]], [asked[2]])
        refused = served and decision.channel[twin, n] != channel
        assert violated[twin, n] == (refused or alone["round_time"] > p.deadline)


def test_penalty_may_be_switched_off_or_weighed() -> None:
    system = build(violation_weight=0.0)
    state, actions = begin(system, (20,)), random_actions(system, 20)
    decision = system.decide(state, actions)
    assert system.penalty(state, decision, actions) is None
    heavy = build(violation_weight=2.0).penalty(state, decision, actions)
    assert heavy is not None
    assert set(np.unique(heavy)) == {0.0, 2.0}


@pytest.mark.parametrize("source", ["actions", *CLASSICAL])
@every_system
def test_actions_of_a_decision_lead_back_to_it(params: dict[str, Any], source: str) -> None:
    system = build(**params)
    state = begin(system, (100,))
    if source == "actions":
        decision = system.decide(state, random_actions(system, 100))
    else:
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
    np.testing.assert_array_equal(progress, 16.0 * served)
    np.testing.assert_allclose(
        system.reward(state, cost, progress), cost.efficiency[:, None] / 4.0 + np.zeros_like(cost.client_time)
    )
    own = build(reference_efficiency=4.0, reward_rule="own", progress_weight=0.5).reward(state, cost, progress)
    np.testing.assert_allclose(own, 10.0 * cost.client_efficiency / 4.0 + 0.5 * progress[:, None])
    bare = build(reference_efficiency=4.0, reward_rule="own").reward(state, cost, progress)
    assert bare.sum() == pytest.approx(10.0 * cost.efficiency.sum() / 4.0)


def test_report_names_the_slowest_device_parts_and_mean_bits() -> None:
    system = build()
    state, decision = begin(system, (6,)), random_decision(system, (6,))
    cost = system.cost(state, decision)
    shared, own = system.report(cost)
    assert set(own) == {"client_time", "client_energy", "client_efficiency"}
    assert set(shared) == {
        "efficiency", "round_time", "energy", "compute_time", "communication_time", "compute_energy",
        "communication_energy", "mean_bits",
    }  # fmt: skip
    assert set(system.quantities) <= set(shared)
    assert system.objective == "efficiency"
    assert system.maximised
    np.testing.assert_allclose(shared["compute_time"] + shared["communication_time"], shared["round_time"])
    np.testing.assert_allclose(shared["compute_energy"] + shared["communication_energy"], shared["energy"])
    for twin in range(6):
        bits = decision.bits[twin][decision.channel[twin] >= 0]
        assert shared["mean_bits"][twin] == pytest.approx(bits.mean())


# Draws, observations, episodes.


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_draw_has_the_stated_distributions(library: str) -> None:
    system = build(twin_error_db=1.0)
    rng: Any = generator(1, 0, 0) if library == "numpy" else torch.Generator().manual_seed(0)
    draw = system.draw(rng, (1000,))
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
    draw = system.draw(generator(0, 0, 0))
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
    after = system.advance(state, decision, system.draw(generator(0, 0, 1)), cost)
    loads = [quantization_loads(p, *each) for each in zip(*devices(after)[1:], strict=True)]
    columns = [
        after.gain / quantization_noise(p),
        np.array([[load["compute_energy"]] for load in loads]),
        np.array([[p.deadline - p.server_time - load["compute_time"]] for load in loads]),
        cost.client_efficiency[:, None],
    ]
    seen = system.observe(after, decision)
    assert seen.dtype == np.float32
    offset = 0
    for field, column in zip(system.observation_fields, columns, strict=True):
        part = seen[:, offset : offset + field.size]
        np.testing.assert_allclose(part, normalised(field, column), atol=1e-6, err_msg=field.name)
        offset += field.size
    assert offset == system.observation_size == seen.shape[1]
    np.testing.assert_array_equal(system.observe(after, decision, np.array(2)), seen[2])


@pytest.mark.parametrize("positions", ["episode", "round"])
def test_advance_remembers_the_round(positions: str) -> None:
    system = build(positions=positions, num_clients=5, num_channels=3)
    state = begin(system, (4,))
    energy = np.zeros((4, 5))
    for cycle in range(1, 4):
        decision = system.decide(state, random_actions(system, 4, cycle))
        cost, draw = system.cost(state, decision), system.draw(generator(0, 0, cycle), (4,))
        after = system.advance(state, decision, draw)
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
    np.testing.assert_array_equal(system.reward(state, cost, system.predict(state, decision)), np.zeros(3))
    assert bool(np.isfinite(system.observe(state, decision)).all())
    assert bool(np.isfinite(system.actions_of(decision)).all())
    assert int(system.conflicts(decision)) == int(system.taking_part(decision)) == 0
    assert all(bool(np.isfinite(value)) for value in system.report(cost)[0].values())
    for solve in CLASSICAL.values():
        assert solve(system, state).channel.tolist() == [-1, -1, -1]
    after = system.advance(state, decision, FIXED)
    assert system.cost(after, system.decide(after, actions)).efficiency == 0
    env = envs.parallel_env("quantization", num_clients=2, num_channels=2, deadline=0.11, max_cycles=3)
    env.reset(seed=0)
    while env.agents:
        observations, rewards, _, _, infos = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        assert all(space.contains(observations[agent]) for agent, space in env.observation_spaces.items())
        assert all(-0.1 <= reward <= 0 for reward in rewards.values())
        assert infos["client_0"]["efficiency"] == 0.0


def test_episodes_are_determined_by_their_seed() -> None:
    def play(seed: int) -> tuple[np.ndarray, Any]:
        system = build(num_clients=6, num_channels=4, max_cycles=6, twin_error_db=1.0)
        simulator = Simulator(system)
        simulator.reset(seed)
        rewards = [simulator.step(random_actions(system, 4, 7)[3:]).reward for _ in range(6)]
        return np.stack(rewards), simulator.state

    (a, end), (b, same), (c, other) = play(1), play(1), play(2)
    np.testing.assert_array_equal(a, b)
    assert_trees_close(end, same, rtol=0)
    assert not np.array_equal(a, c)
    assert not np.array_equal(end.distance, other.distance)


# The twin's error.


def test_the_twin_is_off_by_the_stated_decibels() -> None:
    system = build(twin_error_db=4.0)
    state = begin(system, (100,))
    seen = system.believed(state)
    error = 10 * np.log10(seen.gain / state.gain)
    assert error.std() == pytest.approx(4.0, rel=0.05)
    np.testing.assert_allclose(error, 4.0 * state.estimate_error, atol=1e-9)
    np.testing.assert_array_equal(seen.distance, state.distance)
    exact = build()
    plain = begin(exact)
    assert exact.believed(plain) is plain


@pytest.mark.parametrize("method", SOLVERS["quantization"])
@pytest.mark.parametrize("noise", ["psd", "fixed"])
def test_solvers_keep_the_limits_of_the_twin(method: str, noise: str) -> None:
    system = build(twin_error_db=4.0, noise=noise)
    state = begin(system, (20,))
    decision = SOLVERS["quantization"][method](system, state)
    assert_keeps_every_limit(system, state, decision)
    true, believed = (system.cost(each, decision) for each in (state, system.believed(state)))
    assert bool((true.uplink_delay != believed.uplink_delay)[decision.channel >= 0].all())
    np.testing.assert_array_equal(true.bits, believed.bits)
    np.testing.assert_array_equal(true.client_time > 0, decision.channel >= 0)


def test_agents_see_the_twin_and_pay_for_the_truth() -> None:
    simulator = Simulator(build(twin_error_db=6.0, num_clients=5, num_channels=3))
    simulator.reset(0)
    system, state = simulator.system, take(simulator.state, 0)
    believed = system.believed(state)
    np.testing.assert_array_equal(simulator.observations()[0], system.observe(believed, None))
    actions = random_actions(build(num_clients=5, num_channels=3), 4)[3]
    outcome = simulator.step(actions[None])
    decision = system.decide(believed, actions)
    assert outcome.cost.efficiency[0] == system.cost(state, decision).efficiency
    assert outcome.cost.efficiency[0] != system.cost(believed, decision).efficiency


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
    assert (scene.title, scene.side, scene.num_colours) == ("round 1", 800.0, 10)
    np.testing.assert_allclose(np.hypot(*(scene.clients - scene.servers).T), state.distance)
    np.testing.assert_array_equal(scene.link, np.where(decision.channel >= 0, 0, -1))
    np.testing.assert_array_equal(scene.colour, decision.channel)
    assert scene.loads["devices per channel"].sum() == (decision.channel >= 0).sum()
    np.testing.assert_array_equal(scene.loads["bits of each device"], decision.bits)
    spent = system.cost(state, decision).client_time / 2.0
    np.testing.assert_allclose(scene.budgets["time"], np.clip(spent, 0, 1))
    assert scene.coloured in scene.loads


# Bad input.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_clients": 0}, "num_clients is 0, must be at least 1"),
        ({"num_channels": 0}, "num_channels is 0, must be at least 1"),
        ({"profile": "vit_b17"}, "did you mean 'vit_b16'"),
        ({"bandwidth": -1e6}, "bandwidth is -1000000.0 Hz, must be above 0"),
        ({"noise": "whole"}, "unknown value of noise 'whole'"),
        ({"nearest": 500.0}, "nearest is 500.0 m, must be at most farthest = 400.0 m"),
        ({"frequency_low": 2e9}, "frequency_low is 2000000000.0 Hz, must be at most frequency_high"),
        ({"power_min": 0.5}, "power_min is 0.5 W, must be at most power_max = 0.2 W"),
        ({"bits_min": 40}, "bits_min is 40, must be at most bits_max = 32"),
        ({"bits_min": 0}, "bits_min is 0, must be at least 1"),
        ({"bits_max": 65}, "bits_max is 65, must be at most 64"),
        ({"bits_min": 2.5}, "bits_min is 2.5, must be an integer"),
        ({"deadline": 0.0}, "deadline is 0.0 s, must be above 0"),
        ({"server_time": -0.1}, "server_time is -0.1 s, must be at least 0"),
        ({"flops_per_cycle": (16.0, 0.0)}, "flops_per_cycle[1] is 0.0 FLOP, must be above 0"),
        ({"benefit_rate": math.nan}, "benefit_rate is nan, must be finite"),
        ({"positions": "rounds"}, "did you mean 'round'"),
        ({"num_client": 3}, "did you mean 'num_clients'"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**params)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("distance", 0.0, "distance[2] is 0.0 m, must be finite and above 0"),
        ("angle", np.nan, "angle[2] is nan, must be finite"),
        ("flops_per_cycle", -16.0, "flops_per_cycle[2] is -16.0 FLOP, must be finite and above 0"),
        ("frequency", np.inf, "frequency[2] is inf Hz, must be finite and above 0"),
        ("fading", 0.0, "fading[2, 0] is 0.0, must be finite and above 0"),
        ("estimate_error", np.nan, "estimate_error[2, 0] is nan, must be finite"),
    ],
)
def test_bad_draws(name: str, value: float, message: str) -> None:
    system = build()
    draw = system.draw(generator(0, 0, 0))
    array = getattr(draw, name).copy()
    array[2] = value
    for changed, expected in (
        (array, message),
        (array[:-1], f"{name} has shape (19,"),
        (array.astype(np.float32), f"{name} has dtype float32, must be float64"),
        (array.tolist(), f"{name} is a list, must be a float64 array"),
    ):
        with pytest.raises(ValueError, match=re.escape(expected)):
            system.check_draw(dataclasses.replace(draw, **{name: changed}))
    with pytest.raises(ValueError, match="the draw is a str, must be a fedtwin"):
        system.check_draw("a draw")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("channel", 10, "channel of client_0 is 10, must be in -1..9"),
        ("channel", -2, "channel of client_0 is -2, must be in -1..9"),
        ("bits", 33, "bits of client_0 is 33, must be in 0..32"),
        ("bits", 1, "bits of client_0 is 1, must be in 2..32"),
        ("power", 0.3, "power of client_0 is 0.3 W, must be in 0.01..0.2"),
        ("power", np.nan, "power of client_0 is nan W, must be in 0.01..0.2"),
    ],
)
def test_bad_decisions(name: str, value: float, message: str) -> None:
    system = build()
    state = begin(system)
    channel = np.where(np.arange(20) < 10, np.arange(20), -1)
    decision = Decision(channel, np.where(channel >= 0, 8, 0), np.where(channel >= 0, 0.1, 0.0))
    array = getattr(decision, name).copy()
    array[0] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        system.cost(state, dataclasses.replace(decision, **{name: array}))
    with pytest.raises(ValueError, match=rf"{name} has shape \(19,\), must be \(20,\)"):
        system.cost(state, dataclasses.replace(decision, **{name: array[:-1]}))
    with pytest.raises(ValueError, match=f"{name} is an array of torch, must be of numpy like the state"):
        system.cost(state, dataclasses.replace(decision, **{name: torch.from_numpy(array)}))
    if name != "power":
        with pytest.raises(ValueError, match=f"{name} has dtype float64, must be integer"):
            system.cost(state, dataclasses.replace(decision, **{name: array.astype(np.float64)}))


def test_complete_decisions_share_no_channel_and_miss_no_deadline() -> None:
    system = build(**SMALL)
    state = system.start(FIXED)
    clash = Decision(np.array([1, 1, -1]), np.array([2, 2, 0]), np.array([0.2, 0.2, 0.0]))
    assert int(system.conflicts(clash)) == 1
    system.check_decision(state, clash)
    with pytest.raises(ValueError, match=r"devices on a taken channel is 1, must be 0"):
        system.check_decision(state, clash, complete=True)
    late = Decision(np.array([0, -1, -1]), np.array([32, 0, 0]), np.array([0.01, 0.0, 0.0]))
    system.check_decision(state, late)
    with pytest.raises(ValueError, match=r"time of client_0 is .* s, must be at most the deadline of 2"):
        system.check_decision(state, late, complete=True)


@pytest.mark.parametrize("value", [np.nan, -1e-9, 0.0, np.inf])
def test_bad_gains_are_named(value: float) -> None:
    system = build(**SMALL)
    state = system.start(FIXED)
    gain = state.gain.copy()
    gain[1, 0] = value
    with pytest.raises(ValueError, match=rf"gain\[1, 0\] is {value}, must be finite and above 0"):
        system.cost(dataclasses.replace(state, gain=gain), system.decide(state, np.zeros((3, 5), np.float32)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.astype(np.int64), "action has dtype int64, must be floating"),
        (lambda a: a[:2], r"action has shape \(2, 5\), must be \(3, 5\)"),
        (lambda a: np.where(np.arange(5) == 4, np.float32(np.nan), a), "action of client_0 has nan at place 4"),
        (
            lambda a: a + np.array([[0], [0], [1.5]], np.float32),
            r"action of client_2 has 1\.5 at place 0, must be in -1\.\.1",
        ),
        (lambda a: a.tolist(), "action is a list, must be a floating array"),
    ],
)
def test_bad_actions(change: Any, message: str) -> None:
    system = build(**SMALL)
    with pytest.raises(ValueError, match=message):
        system.decide(system.start(FIXED), change(np.zeros((3, 5), np.float32)))


def test_fields_and_parameters_agree() -> None:
    system = build()
    assert sum(field.size for field in system.action_fields) == system.action_size == system.action_space().shape[0]  # type: ignore[index]
    assert system.params == QuantizationParams()
    assert system.agents[3] == "client_3"
