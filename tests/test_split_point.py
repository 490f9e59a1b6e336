"""The split point system: cost against the oracle, what may be decided, who takes part, what a round leaves behind."""

import dataclasses
import functools
import math
import re
from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin.baselines import SOLVERS
from fedtwin.baselines.split_point import allocate
from fedtwin.core.randomness import Numbers, numbers
from fedtwin.core.trees import tree_map
from fedtwin.envs.split_point import Decision, Draw, SplitPointSystem, State
from oracle import bits_per_second, mean_gain, split_point_cost, split_point_loads, watt
from rounds import advance, asked, assert_costs, assert_observed, begin, random_actions, ruling

UNEQUAL: dict[str, Any] = {
    "num_vehicles": 5,
    "profile": "resnet18",
    "num_cuts": 5,
    "bandwidth": 7e6,
    "noise_density_dbm": -170.0,
    "reference_loss_db": 33.0,
    "path_loss_exponent": 2.7,
    "downlink_rate": 3e7,
    "server_flops": 5e11,
    "switched_capacitance": 3e-27,
    "flops_per_cycle": (8.0, 24.0),
    "frequency_min": 0.1e9,
    "frequency_max": 1.5e9,
    "power_min": 0.02,
    "power_max": 0.5,
}
TIGHT: dict[str, Any] = {"energy_budget_low": 0.05, "energy_budget_high": 0.2}
SYSTEMS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "whole band's noise": {"noise": "fixed"},
    "tight": TIGHT,
    "tight, whole band's noise": {**TIGHT, "noise": "fixed"},
    "alone": {"num_vehicles": 1},
    "one cut": {"num_cuts": 1, "num_vehicles": 3},
    "no choice of frequency and power": {"frequency_max": 0.2e9, "power_max": 0.01},
    "crowded": {"num_vehicles": 40, "energy_budget_low": 0.3, "energy_budget_high": 1.0},
    "unequal": UNEQUAL,
}
every_system = pytest.mark.parametrize("params", SYSTEMS.values(), ids=SYSTEMS)


def build(**params: Any) -> SplitPointSystem:
    system = envs.make_system("split_point", **params)
    assert isinstance(system, SplitPointSystem)
    return system


def random_decision(system: SplitPointSystem, state: State, seed: int = 0) -> Decision:
    """Any cut, share, frequency and power, budgets aside; a fifth of the vehicles is left out."""
    p, rng, shape = system.params, np.random.default_rng(seed), state.gain.shape
    present = state.taking_part & (rng.random(shape) > 0.2)
    weight = np.where(present, rng.exponential(size=shape) + 1e-3, 0.0)
    total = weight.sum(axis=-1, keepdims=True) / rng.uniform(0.2, 1.0, (*shape[:-1], 1))
    return Decision(
        cut=np.where(present, rng.integers(p.num_cuts, size=shape), -1),
        bandwidth_share=weight / np.where(total > 0, total, 1.0),
        frequency=np.where(present, rng.uniform(p.frequency_min, p.frequency_max, shape), 0.0),
        power=np.where(present, rng.uniform(p.power_min, p.power_max, shape), 0.0),
    )


def expected_cost(system: SplitPointSystem, state: State, decision: Decision, *twin: int) -> dict[str, Any]:
    arrays = (state.gain, state.samples, state.flops_per_cycle)
    made = (decision.cut, decision.bandwidth_share, decision.frequency, decision.power)
    return split_point_cost(system.params, *(array[twin].tolist() for array in (*arrays, *made)))


# Cost.


@every_system
def test_cost_equals_the_oracle(params: dict[str, Any]) -> None:
    system = build(**params)
    state = begin(system, (100,))
    decision = random_decision(system, state)
    assert_costs(system.cost(state, decision), functools.partial(expected_cost, system, state, decision))


@every_system
def test_problem_equals_the_oracle(params: dict[str, Any]) -> None:
    system = build(**params)
    state = begin(system, (20,))
    problem, p = system.problem(state), system.params
    for twin, n in np.ndindex(state.gain.shape):
        loads = split_point_loads(p, float(state.samples[twin, n]), float(state.flops_per_cycle[twin, n]))
        for name in ("cycles", "uplink_bits", "fixed_time", "server_time"):
            expected = [load[name] * bool(state.taking_part[twin, n]) for load in loads]
            np.testing.assert_allclose(getattr(problem, name)[twin, n], expected, rtol=1e-12, err_msg=name)
        noise = watt(p.noise_density_dbm) * p.bandwidth
        assert problem.snr_per_watt[twin, n] == pytest.approx(state.gain[twin, n] / noise, rel=1e-12)
    np.testing.assert_array_equal(problem.taking_part, state.taking_part)
    np.testing.assert_array_equal(problem.energy_budget, state.energy_budget)
    scalars = ("bandwidth", "switched_capacitance", "frequency_min", "frequency_max", "power_min", "power_max", "noise")
    assert all(getattr(problem, name) == getattr(p, name) for name in scalars)


FIXED = Draw(
    position=np.array([-300.0, -100.0, 0.0]),
    speed=np.array([10.0, 12.0, 14.0]),
    samples=np.array([40.0, 80.0, 120.0]),
    flops_per_cycle=np.array([16.0, 32.0, 64.0]),
    energy_budget=np.array([2.0, 3.0, 4.0]),
    fading=np.array([0.5, 1.0, 2.0]),
    estimate_error=np.zeros(3),
)


@pytest.mark.parametrize(
    ("noise", "times", "energies"),
    [
        ("psd", [2.23345834024, 6.59525143007, 6.36023618617], [0.260646998095, 1.39034236771, 9.58516635804]),
        ("fixed", [2.46414853538, 7.03575910528, 6.78440771850], [0.306785037124, 1.43439313523, 9.60637493466]),
    ],
)
def test_golden_numbers(noise: str, times: list[float], energies: list[float]) -> None:
    """Three vehicles 50 m off the unit's road: cuts behind the stem, the first and the third stage."""
    system = build(num_vehicles=3, noise=noise)
    state = system.start(FIXED)
    decision = Decision(
        cut=np.array([0, 1, 3]),
        bandwidth_share=np.array([0.5, 0.3, 0.2]),
        frequency=np.array([0.5e9, 1.0e9, 2.0e9]),
        power=np.array([0.2, 0.1, 0.05]),
    )
    assert state.gain.tolist() == pytest.approx(
        [0.5e-3 * 92500**-1.5, 1e-3 * 12500**-1.5, 2e-3 * 2500**-1.5], rel=1e-12
    )
    cost = system.cost(state, decision)
    assert cost.client_time.tolist() == pytest.approx(times, rel=1e-9)
    assert cost.client_energy.tolist() == pytest.approx(energies, rel=1e-9)
    assert float(cost.round_time) == pytest.approx(max(times), rel=1e-9)


# Decisions.


def asked_for(system: SplitPointSystem, present: list[bool], actions: list[list[float]]) -> dict[str, list[Any]]:
    """The documented reading, one vehicle at a time."""
    p = system.params
    weights = [math.exp(2.0 * row[-3]) * here for row, here in zip(actions, present, strict=True)]
    asked: dict[str, list[Any]] = {"cut": [], "bandwidth_share": [], "frequency": [], "power": []}
    for n, row in enumerate(actions):
        scores = row[: p.num_cuts]
        asked["cut"].append(scores.index(max(scores)) if present[n] else -1)
        asked["bandwidth_share"].append(weights[n] / (sum(weights) or 1.0))
        for name, number, low, high in (
            ("frequency", row[-2], p.frequency_min, p.frequency_max),
            ("power", row[-1], p.power_min, p.power_max),
        ):
            asked[name].append(low * (high / low) ** ((number + 1) / 2) if present[n] else 0.0)
    return asked


@every_system
def test_what_is_asked_projected_and_violated(params: dict[str, Any]) -> None:
    system = build(**params)
    state = begin(system, (200,))
    actions = random_actions(system, 200)
    found, read = ruling(system, state, actions), asked(system, state, actions)
    assert found.penalty is not None
    for twin in range(200):
        wanted = asked_for(system, state.taking_part[twin].tolist(), actions[twin].tolist())
        for name, values in wanted.items():
            np.testing.assert_allclose(getattr(read, name)[twin], values, rtol=1e-9, err_msg=name)
        cost = split_point_cost(
            system.params,
            *(array[twin].tolist() for array in (state.gain, state.samples, state.flops_per_cycle)),
            *wanted.values(),
        )
        over = [e / b for e, b in zip(cost["client_energy"], state.energy_budget[twin].tolist(), strict=True)]
        assert found.violated[twin].tolist() == [ratio > 1.0 for ratio in over]
        np.testing.assert_allclose(found.penalty[twin], [math.log(max(ratio, 1.0)) for ratio in over], atol=1e-9)
        for n in range(len(over)):
            made = {name: getattr(found.decision, name)[twin, n].item() for name in wanted}
            changed = any(made[name] != pytest.approx(wanted[name][n], rel=1e-6, abs=0) for name in wanted)
            assert found.projected[twin, n] == changed, (twin, n, made)
    assert bool((found.projected | ~found.violated)[state.taking_part].all()), "who asks for too much does not get it"


def test_penalty_weighs_what_exceeds_the_budget_less_its_margin() -> None:
    system, softer = build(**TIGHT), build(violation_weight=0.25, violation_margin=0.2, **TIGHT)
    state = begin(system, (50,))
    actions = random_actions(system, 50)
    plain, weighed = (ruling(each, state, actions).penalty for each in (system, softer))
    assert plain is not None
    assert weighed is not None
    above = plain > 0
    assert above.any()
    np.testing.assert_allclose(weighed[above], 0.25 * (plain[above] - math.log(0.8)))
    assert ruling(build(violation_weight=0.0, **TIGHT), state, actions).penalty is None


def test_the_cut_of_the_highest_affordable_score_is_taken() -> None:
    system = build(num_vehicles=2, energy_budget_low=50.0, energy_budget_high=50.0)
    state = begin(system)
    actions = np.zeros((2, 7), np.float32)
    actions[0, :4] = [0.1, 0.9, 0.2, 0.3]
    actions[1, :4] = [0.5, 0.5, -1.0, 0.4]
    assert system.decide(state, actions).cut.tolist() == [1, 0]
    half = Decision(np.full(2, 3), np.full(2, 0.5), np.full(2, 0.2e9), np.full(2, 0.01))
    dear, less = (
        expected_cost(system, state, dataclasses.replace(half, cut=np.full(2, cut)))["client_energy"][0]
        for cut in (3, 2)
    )
    draw = system.draw(numbers(0, 0, 0))
    poor = system.start(dataclasses.replace(draw, energy_budget=np.array([0.5 * (dear + less), 50.0])))
    actions[0, :4] = [-0.5, -0.4, 0.5, 1.0]
    found = ruling(system, poor, actions)
    assert found.decision.cut.tolist() == [2, 0]
    assert found.projected.tolist() == [True, False]
    assert system.mask(poor)[0].tolist() == [1, 1, 1, 0]


def assert_same_decision(decision: Decision, other: Decision, rows: Any = ...) -> None:
    np.testing.assert_array_equal(decision.cut[rows], other.cut[rows])
    for name in ("bandwidth_share", "frequency", "power"):
        ours, theirs = (getattr(each, name)[rows] for each in (decision, other))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=name)


@every_system
def test_actions_of_the_optimum_say_what_it_is(params: dict[str, Any]) -> None:
    """Shares that differ by more than e^4 can not be said."""
    system = build(**params)
    state = begin(system, (300,))
    optimum = SOLVERS["split_point"]["exact"](system, state)
    actions = system.actions_of(optimum)
    share = np.where(optimum.cut >= 0, optimum.bandwidth_share, np.nan)
    sayable = ~(np.nanmax(share, axis=-1, initial=0.0) > math.exp(4) * np.nanmin(share, axis=-1, initial=1.0))
    assert sayable.mean() > 0.9
    assert_same_decision(asked(system, state, actions), optimum, sayable)
    found = ruling(system, state, actions)
    kept = ~found.projected.any(axis=-1)
    assert_same_decision(found.decision, optimum, kept & sayable)


@every_system
def test_mask_allows_the_cuts_that_an_equal_share_affords(params: dict[str, Any]) -> None:
    system = build(**params)
    state = begin(system, (30,))
    mask = system.mask(state, system.undecided(state))
    assert mask.dtype == np.int8
    p, everyone = system.params, np.ones_like(state.gain)
    for cut in range(p.num_cuts):
        share, slowest = everyone / p.num_vehicles, p.frequency_min * everyone
        least = Decision(np.full(state.gain.shape, cut), share, slowest, p.power_min * everyone)
        for twin in range(30):
            energy = expected_cost(system, state, least, twin)["client_energy"]
            for n, spent in enumerate(energy):
                if state.taking_part[twin, n]:
                    assert mask[twin, n, cut] == (spent <= state.energy_budget[twin, n])
                else:
                    assert mask[twin, n, cut] == (cut == 0)
    assert bool((mask.sum(axis=-1) > 0).all())


# Rewards and reports.


def test_rewards_compare_times_with_the_reference() -> None:
    system = build(reference_time=30.0)
    state = begin(system, (4,))
    decision = random_decision(system, state)
    cost = system.cost(state, decision)
    progress = system.predict(state, decision)
    np.testing.assert_array_equal(progress.amount, np.where(decision.cut >= 0, state.samples, 0).sum(axis=-1))
    np.testing.assert_array_equal(system.taking_part(decision), (decision.cut >= 0).sum(axis=-1))
    shared = system.reward(state, cost, progress)
    np.testing.assert_allclose(shared, np.log(30.0 / cost.round_time)[:, None] + np.zeros((4, 10)))
    own = build(reference_time=30.0, reward_rule="own", progress_weight=0.5).reward(state, cost, progress)
    busy = decision.cut >= 0
    expected = np.where(busy, np.log(30.0 / np.where(busy, cost.client_time, 1.0)), 0.0)
    np.testing.assert_allclose(own, expected + 0.5 * progress.loss_decrease[:, None])


def test_report_names_the_slowest_vehicle_parts() -> None:
    system = build()
    state = begin(system, (6,))
    cost = system.cost(state, random_decision(system, state))
    shared, own = system.report(cost)
    assert set(own) == {"client_time", "client_energy"}
    assert set(shared) == {
        "round_time", "energy", "compute_time", "communication_time", "compute_energy", "communication_energy",
    }  # fmt: skip
    assert set(system.quantities) <= set(shared)
    np.testing.assert_allclose(shared["compute_time"] + shared["communication_time"], shared["round_time"])
    np.testing.assert_allclose(shared["compute_energy"] + shared["communication_energy"], shared["energy"])
    for twin, slowest in enumerate(cost.client_time.argmax(axis=-1)):
        assert shared["compute_time"][twin] == cost.compute_delay[twin, slowest]


# Draws, selection, mobility.


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_draw_has_the_stated_distributions(library: str) -> None:
    system = build(twin_error_db=1.0, samples_low=3, samples_high=5)
    seeds = np.arange(2000) if library == "numpy" else torch.arange(2000)
    draw = system.draw(Numbers(seeds, 0, 0))
    system.check_draw(draw)
    draw = tree_map(np.asarray, draw)
    half = math.sqrt(400.0**2 - 50.0**2)
    assert draw.position.min() >= -half
    assert draw.position.max() <= 0
    assert draw.position.mean() == pytest.approx(-half / 2, rel=0.02)
    assert draw.speed.min() >= 5
    assert draw.speed.max() <= 15
    assert draw.speed.mean() == pytest.approx(10, rel=0.01)
    values, counts = np.unique(draw.samples, return_counts=True)
    assert values.tolist() == [3, 4, 5]
    assert counts / draw.samples.size == pytest.approx([1 / 3] * 3, abs=0.02)
    values, counts = np.unique(draw.flops_per_cycle, return_counts=True)
    assert values.tolist() == [16, 32, 64]
    assert counts / draw.samples.size == pytest.approx([1 / 3] * 3, abs=0.02)
    assert draw.energy_budget.mean() == pytest.approx(3, rel=0.01)
    assert draw.fading.min() == 0.1
    assert draw.fading.mean() == pytest.approx(0.1 + math.exp(-0.1), rel=0.02), "Exp(1), cut off at 0.1"
    assert draw.estimate_error.std() == pytest.approx(1, rel=0.02)


def test_gain_follows_distance_and_fading() -> None:
    system = build(reference_loss_db=33.0, path_loss_exponent=2.7)
    draw = system.draw(numbers(0, 0, 0))
    state = system.start(draw)
    for n in range(10):
        distance = math.hypot(float(draw.position[n]), 50.0)
        expected = mean_gain(33.0, 2.7, distance) * float(draw.fading[n])
        assert state.gain[n] == pytest.approx(expected, rel=1e-12)


def nominal_times(system: SplitPointSystem, state: State, n: int) -> list[float]:
    """Each cut's time at an equal share: half of the budget computes, what is left sends; inf if it is too little."""
    p, times = system.params, []
    budget = float(state.energy_budget[n])
    for load in split_point_loads(p, float(state.samples[n]), float(state.flops_per_cycle[n])):
        drain = p.switched_capacitance / 2 * load["cycles"]
        frequency = min(max(math.sqrt(budget / 2 / drain), p.frequency_min), p.frequency_max)
        band = p.bandwidth / p.num_vehicles
        noise = watt(p.noise_density_dbm) * (band if p.noise == "psd" else p.bandwidth)

        def sending(power: float, bits: float = load["uplink_bits"], band: float = band, noise: float = noise) -> float:
            return bits / bits_per_second(band, power * float(state.gain[n]) / noise)

        if drain * p.frequency_min**2 + p.power_min * sending(p.power_min) > budget:
            times.append(math.inf)
            continue
        low, high = p.power_min, p.power_max
        for _ in range(100):
            middle = (low + high) / 2
            fits = middle * sending(middle) <= budget - drain * frequency**2
            low, high = (middle, high) if fits else (low, middle)
        power = p.power_max if p.power_max * sending(p.power_max) <= budget - drain * frequency**2 else low
        times.append(load["cycles"] / frequency + sending(power) + load["fixed_time"])
    return times


@pytest.mark.parametrize("params", [{}, {"preset": "slides", "num_vehicles": 20}, TIGHT, {**UNEQUAL, "radius": 150.0}])
def test_who_takes_part_and_what_is_seen(params: dict[str, Any]) -> None:
    system = build(**params)
    p = system.params
    chosen, seen_out = 0, 0
    for seed in range(8):
        state = begin(system, seed=seed)
        times = [nominal_times(system, state, n) for n in range(p.num_vehicles)]
        left = [(system.half_length - float(x)) / float(v) for x, v in zip(state.position, state.speed, strict=True)]
        expected = [min(own) <= stay for own, stay in zip(times, left, strict=True)]
        assert state.taking_part.tolist() == expected
        chosen, seen_out = chosen + sum(expected), seen_out + expected.count(False)
        capped = [[min(time, 1e3 * p.reference_time) for time in own] for own in times]
        logs = [math.log(min(own)) for own, here in zip(capped, expected, strict=True) if here]
        columns = [
            np.full((p.num_vehicles, 1), sum(expected) / p.num_vehicles),
            np.full((p.num_vehicles, 1), math.exp(sum(logs) / max(len(logs), 1))),
            np.array(expected, np.float64)[:, None],
            state.samples[:, None],
            state.flops_per_cycle[:, None],
            state.energy_budget[:, None],
            (state.gain / (watt(p.noise_density_dbm) * p.bandwidth))[:, None],
            np.array(left)[:, None],
            np.array(capped),
        ]
        seen = system.observe(state, system.undecided(state))
        assert seen.dtype == np.float32
        assert_observed(system, seen, columns, atol=2e-6)
    assert chosen > 0


def test_who_would_leave_before_the_round_ends_is_not_selected() -> None:
    system = build(num_vehicles=3)
    near = system.half_length - 15.0
    draw = dataclasses.replace(FIXED, position=np.array([near, near, -near]), speed=np.array([15.0, 0.1, 15.0]))
    state = system.start(draw)
    assert state.taking_part.tolist() == [False, True, True]
    decision = system.decide(state, np.zeros((3, 7), np.float32))
    assert decision.cut.tolist()[0] == -1
    cost = system.cost(state, decision)
    assert [cost.client_time[0], cost.client_energy[0], decision.bandwidth_share[0]] == [0, 0, 0]
    assert system.mask(state, decision)[0].tolist() == [1, 0, 0, 0]
    after = advance(system, state, decision, FIXED)
    assert after.position[0] == -system.half_length, "its place is taken by a new vehicle"
    assert after.position[1] == pytest.approx(near + 0.1 * (float(cost.round_time) + 1.0))


def test_vehicles_drive_on_and_leave() -> None:
    system = build(num_vehicles=4, radius=130.0, pause=2.5)
    state = begin(system, (50,), seed=3)
    left = 0
    for cycle in range(1, 6):
        decision = system.decide(state, random_actions(system, 50, cycle))
        cost, draw = system.cost(state, decision), system.draw(numbers(3, 0, cycle, (50,)))
        after = advance(system, state, decision, draw)
        for twin, n in np.ndindex(50, 4):
            place = (twin, n)
            passed = float(cost.round_time[twin]) + 2.5
            reached = float(state.position[place] + state.speed[place] * passed)
            gone = reached > math.sqrt(130.0**2 - 50.0**2)
            left += gone
            source: Any = draw if gone else state
            for name in ("speed", "samples", "flops_per_cycle", "energy_budget"):
                assert getattr(after, name)[place] == getattr(source, name)[place]
            expected = -math.sqrt(130.0**2 - 50.0**2) if gone else reached
            assert after.position[place] == pytest.approx(expected, rel=1e-12)
            used = 0.0 if gone else state.energy_used[place] + cost.client_energy[place]
            assert after.energy_used[place] == pytest.approx(used, rel=1e-12)
            gain = mean_gain(30.0, 3.0, math.hypot(expected, 50.0)) * float(draw.fading[place])
            assert after.gain[place] == pytest.approx(gain, rel=1e-11)
            assert after.time_used[twin] == pytest.approx(float(state.time_used[twin]) + passed)
        assert bool((after.cycle == cycle).all())
        state = after
    assert left > 20


def test_nobody_takes_part() -> None:
    """Budgets that nothing keeps: the round costs nothing, the pause passes, and the next round may be another."""
    system = build(num_vehicles=3, energy_budget_low=1e-6, energy_budget_high=1e-6, max_cycles=4)
    draw = dataclasses.replace(FIXED, energy_budget=np.full(3, 1e-6))
    state = system.start(draw)
    assert not state.taking_part.any()
    actions = random_actions(system, 1)[0]
    decision = system.decide(state, actions)
    assert decision.cut.tolist() == [-1, -1, -1]
    system.check_decision(state, decision, complete=True)
    found = ruling(system, state, actions)
    assert not found.projected.any()
    assert not found.violated.any()
    cost = system.cost(state, decision)
    for field in dataclasses.fields(cost):
        assert bool((np.asarray(getattr(cost, field.name)) == 0).all()), field.name
    np.testing.assert_array_equal(system.reward(state, cost, system.predict(state, decision)), np.zeros(3))
    assert bool(np.isfinite(system.observe(state, decision)).all())
    assert bool(np.isfinite(system.actions_of(decision)).all())
    assert int(system.conflicts(decision)) == int(system.taking_part(decision)) == 0
    assert all(bool(np.isfinite(value)) for value in system.report(cost)[0].values())
    for name in ("exact", "alternating", "equal_share", "proportional", "random"):
        assert SOLVERS["split_point"][name](system, state).cut.tolist() == [-1, -1, -1]
    after = advance(system, state, decision, draw)
    assert after.time_used == 1.0
    np.testing.assert_allclose(after.position, state.position + state.speed)
    revived = dataclasses.replace(after, energy_budget=np.full(3, 2.0), taking_part=np.ones(3, np.bool_))
    assert system.cost(revived, system.decide(revived, actions)).round_time > 0


# The twin's error.


def test_who_takes_part_is_what_the_twin_believes() -> None:
    draw = build(twin_error_db=4.0).draw(numbers(0, 0, 0, (300,)))
    believed, exact = build(twin_error_db=4.0).start(draw), build().start(draw)
    system = build(twin_error_db=4.0)
    seen = system.believed(believed)
    np.testing.assert_array_equal(seen.taking_part, believed.taking_part)
    np.testing.assert_array_equal(system.problem(seen).taking_part, system.problem(believed).taking_part)
    assert bool((believed.taking_part != exact.taking_part).any())
    misled = build().start(dataclasses.replace(draw, fading=draw.fading * 10 ** (0.4 * draw.estimate_error)))
    np.testing.assert_array_equal(believed.taking_part, misled.taking_part)
    np.testing.assert_allclose(believed.nominal_time, misled.nominal_time, rtol=1e-9)


@pytest.mark.parametrize("method", SOLVERS["split_point"])
@pytest.mark.parametrize("noise", ["psd", "fixed"])
def test_solvers_keep_the_limits_of_the_twin(method: str, noise: str) -> None:
    system = build(twin_error_db=4.0, noise=noise)
    state = begin(system, (20,))
    decision = SOLVERS["split_point"][method](system, state)
    system.check_decision(state, decision, complete=True)
    true, believed = (system.cost(each, decision) for each in (state, system.believed(state)))
    assert bool((true.round_time != believed.round_time).any())


# Live learning and pictures.


def test_plan_of_a_live_round() -> None:
    system = build(num_vehicles=3)
    state = system.start(FIXED)
    decision = Decision(np.array([2, -1, 0]), np.array([0.5, 0.0, 0.5]), np.full(3, 1e9), np.full(3, 0.1))
    plan = system.plan(state, decision)
    assert plan.server.tolist() == [0, -1, 0]
    assert plan.cut is not None
    assert plan.cut[[0, 2]].tolist() == [3, 1], "blocks that stay with the vehicle"
    assert plan.samples is not None
    assert plan.samples[[0, 2]].tolist() == [40, 120]
    plan.check(3, 1)


def test_scene_shows_the_road() -> None:
    system = build()
    state = begin(system)
    decision = random_decision(system, state)
    scene = system.scene(state, decision, "round 1")
    assert (scene.title, scene.side, scene.num_colors) == ("round 1", 800.0, 4)
    np.testing.assert_allclose(
        np.hypot(*(scene.clients - scene.servers).T), np.hypot(state.position, system.params.road_offset)
    )
    np.testing.assert_array_equal(scene.link, np.where(decision.cut >= 0, 0, -1))
    np.testing.assert_array_equal(scene.color, decision.cut)
    assert scene.loads["vehicles per cut"].sum() == (decision.cut >= 0).sum()
    np.testing.assert_allclose(scene.loads["share of the band in %"], 100 * decision.bandwidth_share)
    spent = system.cost(state, decision).client_energy / state.energy_budget
    np.testing.assert_allclose(scene.budgets["energy"], np.clip(spent, 0, 1))
    assert scene.colored in scene.loads


# Bad input.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_cuts": 6}, "num_cuts is 6, must be below the 6 blocks of resnet18_cifar"),
        ({"num_cuts": 5, "profile": "cnn"}, "num_cuts is 5, must be below the 5 blocks of cnn"),
        ({"profile": "resnet"}, "did you mean 'resnet18'"),
        ({"road_offset": 400.0}, "road_offset is 400.0 m, must be below radius = 400.0 m"),
        ({"speed_low": 20.0}, "speed_low is 20.0 m/s, must be at most speed_high = 15.0 m/s"),
        ({"samples_low": 121}, "samples_low is 121, must be at most samples_high = 120"),
        ({"energy_budget_low": 6.0}, "energy_budget_low is 6.0 J, must be at most energy_budget_high = 5.0 J"),
        ({"frequency_min": 3e9}, "frequency_min is 3000000000.0 Hz, must be at most frequency_max"),
        ({"power_max": 0.001}, "power_min is 0.01 W, must be at most power_max = 0.001 W"),
        ({"flops_per_cycle": ()}, "flops_per_cycle is (), must be a list of one or more numbers"),
        ({"flops_per_cycle": (16.0, -1.0)}, "flops_per_cycle[1] is -1.0 FLOP, must be above 0"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**params)


def test_shares_and_budgets_of_all_vehicles() -> None:
    system = build(num_vehicles=3)
    state = system.start(FIXED)
    decision = Decision(np.array([1, 1, 1]), np.array([0.3, 0.3, 0.3]), np.full(3, 1e9), np.full(3, 0.1))
    system.check_decision(state, decision)
    greedy = dataclasses.replace(decision, bandwidth_share=np.full(3, 0.35))
    with pytest.raises(ValueError, match=r"sum of bandwidth_share is 1\.0\d*, must be at most 1"):
        system.cost(state, greedy)
    dear = dataclasses.replace(decision, cut=np.full(3, 3), frequency=np.full(3, 2e9))
    system.check_decision(state, dear)
    with pytest.raises(ValueError, match=r"energy of vehicle_0 is .* J, must be within the vehicle's budget"):
        system.check_decision(state, dear, complete=True)


def test_unknown_noise_and_cuts_are_refused() -> None:
    system = build()
    problem = system.problem(system.start(system.draw(numbers(0, 0, 0))))
    with pytest.raises(ValueError, match="noise is 'Fixed', must be 'psd' or 'fixed'"):
        allocate(dataclasses.replace(problem, noise="Fixed"), np.zeros(10, int))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cut of vehicle_0 is 9, must be in -1\.\.3"):
        allocate(problem, np.full(10, 9))


def test_too_many_cuts_for_the_model_that_learns_are_refused() -> None:
    with pytest.raises(ValueError, match="num_cuts is 4, must be at most the 3 blocks of the task's model mlp"):
        envs.parallel_env("split_point", learning="live")
    env = envs.parallel_env("split_point", preset="digits", learning="live", num_vehicles=3, max_cycles=1)
    env.reset(seed=0)
    *_, infos = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert 0.0 < infos["vehicle_0"]["accuracy"] < 1.0
