"""The association system: cost against the oracle, what may be decided, what is seen, what a round leaves behind."""

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin.baselines import SOLVERS
from fedtwin.core.randomness import Numbers, RoundGenerator, generator, numbers
from fedtwin.core.trees import tree_map
from fedtwin.envs import make_system
from fedtwin.envs.association import AssociationSystem, Decision, Draw, State, lowest_random_cost
from fedtwin.envs.progress import Progress
from oracle import association_cost
from rounds import advance, assert_observed, begin, normalized

UNEQUAL: dict[str, Any] = {
    "num_clients": 7,
    "num_servers": 3,
    "num_channels": 4,
    "samples": (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0),
    "client_power_dbm": (20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0),
    "server_power_dbm": (30.0, 33.0, 36.0),
    "client_flops": (1e12, 2e12, 3e12, 4e12, 5e12, 6e12, 7e12),
    "server_flops": (1e13, 2e13, 3e13),
    "head_flop": 3e10,
    "head_energy": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "gradient_bits": 2e7,
    "time_weight": 0.7,
    "energy_weight": 1.9,
    "reciprocal": False,
}


def build(**params: Any) -> AssociationSystem:
    system = make_system("association", **params)
    assert isinstance(system, AssociationSystem)
    return system


def random_decision(system: AssociationSystem, rng: np.random.Generator, batch: tuple[int, ...]) -> Decision:
    """Clashing as they come, a fifth of the clients absent."""
    shape = (*batch, system.params.num_clients)
    absent = rng.random(shape) < 0.2
    server = np.where(absent, -1, rng.integers(system.params.num_servers, size=shape))
    return Decision(server, np.where(absent, -1, rng.integers(system.params.num_channels, size=shape)))


def twins(system: AssociationSystem, count: int, seed: int = 0) -> tuple[State, Decision]:
    rng = generator(seed, 0, 0)
    return system.start(system.draw(numbers(seed, 0, 0, (count,)))), random_decision(system, rng, (count,))


@pytest.mark.parametrize("params", [{}, UNEQUAL, {"preset": "compressed", "num_servers": 5}])
def test_cost_equals_the_oracle(params: dict[str, Any]) -> None:
    system = build(**params)
    state, decision = twins(system, 400)
    cost = system.cost(state, decision)
    for twin in range(400):
        expected = association_cost(
            system.params,
            state.uplink_gain[twin].tolist(),
            state.downlink_gain[twin].tolist(),
            decision.server[twin].tolist(),
            decision.channel[twin].tolist(),
        )
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(cost, name)[twin], value, rtol=1e-9, atol=0, err_msg=f"{name} {twin}")


# Draws and the twin's error.


def test_draw_has_the_stated_distributions() -> None:
    system = build(reciprocal=False)
    draw = system.draw(numbers(1, 0, 0, (400,)))
    assert np.array(draw.uplink_fading).mean() == pytest.approx(1.0, abs=0.01)
    assert np.array(draw.uplink_fading).var() == pytest.approx(1.0, abs=0.03)
    assert abs(np.corrcoef(np.ravel(draw.uplink_fading), np.ravel(draw.downlink_fading))[0, 1]) < 0.01
    assert draw.position.min() >= 0
    assert draw.position.max() <= 600
    assert draw.position.mean() == pytest.approx(300, abs=5)
    averaged = build(coherence_blocks=16).draw(numbers(1, 0, 0, (400,)))
    assert np.array(averaged.uplink_fading).mean() == pytest.approx(1.0, abs=0.01)
    assert np.array(averaged.uplink_fading).var() == pytest.approx(1 / 16, rel=0.05)
    assert averaged.downlink_fading is averaged.uplink_fading


def test_torch_draw_has_the_same_distributions_and_shapes() -> None:
    for params in ({}, {"coherence_blocks": 4, "reciprocal": False, "twin_error_db": 2.0}):
        system = build(**params)
        draw = system.draw(Numbers(torch.arange(200), 0, 0))
        expected = system.draw(numbers(0, 0, 0, (200,)))
        for field in dataclasses.fields(Draw):
            assert tuple(getattr(draw, field.name).shape) == getattr(expected, field.name).shape
        system.check_draw(draw)
        assert np.array(draw.uplink_fading).mean() == pytest.approx(1.0, abs=0.02)
        assert np.array(draw.uplink_fading).var() == pytest.approx(1 / system.params.coherence_blocks, abs=0.03)


def test_reused_generator_equals_a_fresh_one() -> None:
    rng = RoundGenerator()
    rng.at(9, 9, 9).random(7)
    for place in ((1, 2, 3, 0), (1, 2, 3, 4), (2**40, 5, 1, 0)):
        np.testing.assert_array_equal(rng.at(*place).random(5), generator(*place).random(5))
    values = {generator(*place).random() for place in ((1, 2, 3), (2, 1, 3), (1, 3, 2), (3, 2, 1), (1, 2, 4))}
    assert len(values) == 5


@pytest.mark.parametrize(
    ("source", "shape"), [("fading", (16, 4, 10)), ("shadowing", (16, 4, 1)), ("path_loss", (1, 4, 1))]
)
def test_twin_error_is_off_by_the_stated_decibels(source: str, shape: tuple[int, ...]) -> None:
    system = build(twin_error_db=3.0, twin_error_source=source)
    state = begin(system, (2000,))
    seen = system.believed(state)
    error = 10 * np.log10(seen.uplink_gain / state.uplink_gain)
    assert error.std() == pytest.approx(3.0, rel=0.05)
    assert state.estimate_error.shape[1:] == shape
    constant_axes = tuple(axis + 1 for axis, size in enumerate(shape) if size == 1)
    if constant_axes:
        assert np.ptp(error, axis=constant_axes).max() < 1e-9
    expected = source != "fading"
    assert bool((seen.mean_gain != state.mean_gain).all()) is expected
    np.testing.assert_allclose(seen.downlink_gain, seen.uplink_gain)


def test_twin_error_meets_both_links_where_they_differ() -> None:
    system = build(twin_error_db=4.0, reciprocal=False)
    state = begin(system)
    seen = system.believed(state)
    ratio = 10 ** (4.0 * state.estimate_error / 10)
    np.testing.assert_allclose(seen.uplink_gain, state.uplink_gain * ratio)
    np.testing.assert_allclose(seen.downlink_gain, state.downlink_gain * ratio)


# What an episode does to the network.


@pytest.mark.parametrize("positions", ["episode", "round", "fixed"])
def test_positions_change_when_they_should(positions: str) -> None:
    system = build(positions=positions, twin_error_db=1.0, twin_error_source="shadowing")
    first, second = (system.draw(numbers(0, 0, cycle)) for cycle in range(2))
    state = system.start(first)
    moved = advance(system, state, system.random_feasible(generator(1, 0, 0)), second)
    assert np.array_equal(moved.position, state.position) == (positions != "round")
    assert np.array_equal(moved.estimate_error, state.estimate_error) == (positions != "round")
    assert not np.array_equal(moved.uplink_gain, state.uplink_gain)
    np.testing.assert_allclose(moved.uplink_gain, moved.mean_gain[..., None] * second.uplink_fading)
    other = system.start(system.draw(numbers(1, 0, 0)))
    assert np.array_equal(other.position, state.position) == (positions == "fixed")
    moved_layout = build(positions=positions, layout_seed=1, twin_error_db=1.0, twin_error_source="shadowing")
    elsewhere = moved_layout.start(moved_layout.draw(numbers(0, 0, 0)))
    assert np.array_equal(elsewhere.position, state.position) == (positions != "fixed")


def test_advance_remembers_the_round() -> None:
    system = build(num_clients=4, num_servers=2, num_channels=3)
    state = begin(system)
    decision = Decision(np.array([0, 1, 1, -1]), np.array([2, 0, 2, -1]))
    cost = system.cost(state, decision)
    after = advance(system, state, decision, system.draw(numbers(0, 0, 1)))
    np.testing.assert_array_equal(after.server_clients, [1, 2])
    np.testing.assert_array_equal(after.channel_clients, [1, 0, 2])
    np.testing.assert_array_equal(after.energy_used, cost.client_energy)
    assert after.time_used == cost.round_time
    assert after.cycle == 1
    again = advance(system, after, decision, system.draw(numbers(0, 0, 2)))
    np.testing.assert_allclose(again.energy_used, cost.client_energy + system.cost(after, decision).client_energy)
    for name in ("uplink_rate", "downlink_rate", "uplink_delay", "downlink_delay", "edge_delay"):
        np.testing.assert_array_equal(getattr(after, name), getattr(cost, name))


def test_budgets_take_clients_out_and_end_the_episode() -> None:
    system = build(num_clients=3, energy_budget_low=100.0, energy_budget_high=100.0, time_budget=1e4, max_cycles=9)
    state = begin(system)
    state = dataclasses.replace(state, energy_used=np.array([100.0, 100.1, 0.0]))
    np.testing.assert_array_equal(state.active, [True, False, True])
    decision = system.decide(state, np.array([3, 5, 7]))
    np.testing.assert_array_equal(decision.server, [0, -1, 0])
    np.testing.assert_array_equal(decision.channel, [3, -1, 7])
    mask = system.mask(state, system.undecided(state))
    assert mask.dtype == np.int8
    np.testing.assert_array_equal(mask.sum(axis=-1), [40, 1, 40])
    assert mask[1, 0] == 1
    ends = {
        "nothing": ({}, (False, False)),
        "time": ({"time_used": np.array(1.1e4)}, (True, False)),
        "energy": ({"energy_used": np.full(3, 101.0)}, (True, False)),
        "cycles": ({"cycle": np.array(9)}, (False, True)),
        "both": ({"cycle": np.array(9), "time_used": np.array(1.1e4)}, (True, False)),
    }
    for label, (changes, expected) in ends.items():
        found = system.ended(dataclasses.replace(state, **changes))
        assert tuple(map(bool, found)) == expected, label


def test_heterogeneous_preset_takes_out_10_to_60_percent() -> None:
    system = build(preset="heterogeneous")
    count = 40
    state = system.start(system.draw(numbers(0, 0, 0, (count,))))
    for cycle in range(25):
        decision = SOLVERS["association"]["greedy_weakest"](system, state)
        state = advance(system, state, decision, system.draw(numbers(0, 0, cycle + 1, (count,))))
    assert 0.1 < 1 - state.active.mean() < 0.6


# Rewards.

NOTHING = Progress(np.array(0.0), np.array(0.0))


def test_paper_reward_is_eq_20() -> None:
    system = build(preset="paper", energy_budget_low=100.0, energy_budget_high=100.0, time_budget=50.0)
    state = begin(system)
    cost = system.cost(state, system.random_feasible(generator(0, 0, 0)))
    spent = np.zeros(16)
    spent[3] = 100.5
    state = dataclasses.replace(state, energy_used=spent, time_used=np.array(50.0))
    reward = system.reward(state, cost, NOTHING)
    expected = 1.05 / system.reference_cost + 1.0 / float(cost.system_cost)
    np.testing.assert_allclose(np.delete(reward, 3), expected)
    assert reward[3] == 0.0
    late = system.reward(dataclasses.replace(state, time_used=np.array(50.1)), cost, NOTHING)
    np.testing.assert_array_equal(late, np.zeros(16))


def test_inverse_cost_reward_is_normalized() -> None:
    system = build()
    state = begin(system)
    cost = system.cost(state, system.random_feasible(generator(0, 0, 0)))
    reward = system.reward(state, cost, NOTHING)
    np.testing.assert_allclose(reward, system.reference_cost / float(cost.system_cost))


@pytest.mark.parametrize("preset", [None, *AssociationSystem.presets])
def test_reference_cost_is_the_lowest_of_256_random_rounds(preset: str | None) -> None:
    system = build(preset=preset)
    rng = generator(0, 0, 0)
    state = system.start(system.draw(numbers(0, 0, 0, (256,))))
    costs = system.cost(state, system.random_feasible(rng, (256,))).system_cost
    assert system.reference_cost == lowest_random_cost(system.params) == costs.min()


@pytest.mark.parametrize(
    ("params", "same"),
    [
        ({"time_budget": 10.0, "energy_budget_low": 1.0, "energy_budget_high": 2.0, "max_cycles": 3}, True),
        ({"observation": "paper", "reward_rule": "paper", "progress_weight": 2.0}, True),
        ({"decisions": "sequential"}, True),
        ({"dtype": "float32"}, True),
        ({"twin_error_db": 3.0, "twin_error_source": "shadowing"}, True),
        ({"num_clients": 8}, False),
        ({"feature_bits": 1e6}, False),
        ({"positions": "fixed"}, False),
        ({"coherence_blocks": 2}, False),
        ({"energy_weight": 2.0}, False),
        ({"num_servers": 1}, False),
    ],
)
def test_reference_cost_follows_what_enters_the_cost_of_a_round(params: dict[str, Any], same: bool) -> None:
    found = build(**params).reference_cost
    assert (found == build().reference_cost) == same
    assert 0.0 < found < math.inf


def test_predicted_progress_counts_the_samples_of_those_who_take_part() -> None:
    system = build(**UNEQUAL)
    decision = Decision(np.array([0, -1, 1, 2, -1, 0, 0]), np.array([0, -1, 1, 2, -1, 0, 0]))
    assert system.predict(begin(system), decision).amount == 10 + 30 + 40 + 60 + 70


# Decisions.


def test_sequential_decisions_keep_c5_by_the_nearest_free_pair() -> None:
    system = build(num_clients=3, num_servers=2, num_channels=2, decisions="sequential")
    state = begin(system)
    state = dataclasses.replace(state, mean_gain=np.array([[3.0, 1.0], [1.0, 1.5], [2.0, 0.0]]))
    np.testing.assert_array_equal(system.turn_order(system.problem(state)), [1, 2, 0])
    decision = system.decide(state, np.array([3, 3, 3]))
    # Client 1 comes first and keeps pair 3; client 2 gets pair 2, client 0 pair 1.
    np.testing.assert_array_equal(system.actions_of(decision), [1, 3, 2])
    assert system.conflicts(decision) == 0
    half = system.decide_turn(system.problem(state), system.undecided(state), np.array(1), np.array(3))
    np.testing.assert_array_equal(half.server, [-1, 1, -1])
    np.testing.assert_array_equal(system.mask(state, half)[0], [1, 1, 1, 0])


def test_conflicts_count_clients_beyond_the_first_of_a_pair() -> None:
    system = build(num_clients=6)
    server, channel = np.array([0, 0, 0, 1, 1, -1]), np.array([5, 5, 5, 2, 3, -1])
    assert system.conflicts(Decision(server, channel)) == 2


def test_random_feasible_keeps_c5_and_reaches_every_pair() -> None:
    system = build()
    decision = system.random_feasible(generator(0, 0, 0), (500,))
    assert system.conflicts(decision).max() == 0
    assert np.unique(system.actions_of(decision)).size == 40


# Observations.


def test_paper_observation() -> None:
    system = build(preset="paper", energy_budget_low=200.0, energy_budget_high=200.0, time_budget=1000.0)
    state = begin(system)
    state = dataclasses.replace(
        state,
        server_clients=np.array([4.0, 8.0, 4.0, 0.0]),
        energy_used=np.full(16, 50.0),
        time_used=np.array(300.0),
    )
    seen = system.observe(state, system.undecided(state))
    assert seen.shape == (16, 16)
    np.testing.assert_allclose(seen[0], [0.25, 0.5, 0.25, 0, *[0] * 10, 0.7, 0.75], atol=1e-7)


def test_local_observation_field_by_field() -> None:
    system = build(**UNEQUAL, energy_budget_low=1e3, energy_budget_high=9e3, time_budget=1e5)
    state = begin(system)
    decision = system.random_feasible(generator(0, 0, 0))
    cost = system.cost(state, decision)
    after = advance(system, state, decision, system.draw(numbers(0, 0, 1)))
    seen = system.observe(after, system.undecided(after))
    loads = [
        np.tile(np.bincount(part, minlength=n), (7, 1)) for part, n in ((decision.server, 3), (decision.channel, 4))
    ]
    expected = [
        *loads,
        np.full((7, 1), 1 - cost.round_time / 1e5),
        1 - (cost.client_energy / state.energy_budget)[:, None],
        state.mean_gain,
        cost.uplink_rate[:, None],
        cost.downlink_rate[:, None],
        cost.uplink_delay[:, None],
        cost.edge_delay[:, None],
        cost.downlink_delay[:, None],
    ]
    assert_observed(system, seen, expected)


def test_sequential_observation_shows_the_cost_of_joining() -> None:
    """The link times that a pair promises are those that the cost charges once the client takes it."""
    system = build(**UNEQUAL, decisions="sequential")
    state = begin(system)
    partial = system.undecided(state)
    for client, action in ((2, 5), (4, 1), (0, 9)):
        partial = system.decide_turn(system.problem(state), partial, np.array(client), np.array(action))
    agent = np.array(5)
    seen = system.observe(state, partial, agent).reshape(9, 12)
    fields = system.observation_fields
    powers = [1e-3 * 10 ** (dbm / 10) for dbm in UNEQUAL["client_power_dbm"]]
    heard = np.zeros((3, 4))
    for client in (2, 4, 0):
        heard[:, 1] += powers[client] * state.uplink_gain[client, :, 1]
    np.testing.assert_allclose(seen[7], normalized(fields[7], heard.ravel()), atol=1e-6)
    worst = float(system.cost(state, partial).round_time)
    np.testing.assert_allclose(seen[8], normalized(fields[8], np.full(12, worst)), atol=1e-6)
    mean_gain = np.repeat(state.mean_gain[5], 4)
    np.testing.assert_allclose(seen[0], normalized(fields[0], mean_gain), atol=1e-6)
    np.testing.assert_array_equal(seen[2], np.isin(np.arange(12), [1, 5, 9]))
    for pair in (0, 1, 6, 11):
        joined = system.decide_turn(system.problem(state), partial, agent, np.array(pair))
        if system.actions_of(joined)[5] != pair:
            assert seen[2, pair] == 1.0
            continue
        cost = system.cost(state, joined)
        for row, value in ((5, cost.uplink_delay[5]), (6, cost.downlink_delay[5])):
            low, high = fields[row].low, fields[row].high
            assert seen[row, pair] == pytest.approx(math.log(value / low) / math.log(high / low), abs=1e-6)
        assert seen[1, pair] == pytest.approx(
            math.log(state.uplink_gain[5].ravel()[pair] / fields[1].low) / math.log(fields[1].high / fields[1].low),
            abs=1e-6,
        )
    # Pairs 5, 1 and 9 are all on channel 1, one at each server.
    np.testing.assert_allclose(seen[3] * 7, np.tile([0, 3, 0, 0], 3), atol=1e-6)
    np.testing.assert_allclose(seen[4] * 7, np.ones(12), atol=1e-6)
    everyone = system.observe(state, partial)
    np.testing.assert_array_equal(everyone[5].reshape(9, 12), seen)


# Bad input.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_clients": 2, "samples": (1.0, 0.0)}, "samples of client_1 is 0.0, must be above 0"),
        ({"samples": (1.0, 2.0)}, "samples has 2 values, must have num_clients = 16"),
        ({"server_flops": "fast"}, "server_flops is 'fast', must be a number"),
        ({"side": (1.0, 2.0)}, "must be one number"),
        ({"positions": "rounds"}, "did you mean 'round'"),
        ({"preset": "papers"}, "did you mean 'paper'"),
        ({"num_clients": 41, "decisions": "sequential"}, "num_clients is 41, must be at most the 40"),
        ({"energy_budget_low": 5.0, "energy_budget_high": 2.0}, "must be at most energy_budget_high"),
        ({"observation": "sequential"}, "needs decisions='sequential'"),
        ({"time_weight": 0.0, "energy_weight": 0.0}, "both 0"),
        ({"energy_budget_low": 500.0}, "must both be finite, or both inf"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_system("association", **params)


def test_unknown_system_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'association'"):
        make_system("asociation")


def test_narrow_integers_do_not_wrap() -> None:
    system = build(num_clients=6, num_channels=50, energy_budget_low=1.0, energy_budget_high=1.0)
    state = begin(system)
    decision = system.random_feasible(generator(0, 0, 0))
    expected = system.cost(state, decision).system_cost
    for kind in (np.int8, np.int16, np.int32):
        narrow = Decision(decision.server.astype(kind), decision.channel.astype(kind))
        assert system.cost(state, narrow).system_cost == expected
        tensors = tree_map(lambda array: torch.from_numpy(np.array(array)), state)
        parts = (torch.from_numpy(part) for part in (narrow.server, narrow.channel))
        assert float(system.cost(tensors, Decision(*parts)).system_cost) == pytest.approx(float(expected))
    spent = dataclasses.replace(state, energy_used=np.array([0.0, 2.0, 0.0, 0.0, 0.0, 0.0]))
    made = system.decide(spent, np.full(6, 199, np.uint8))
    np.testing.assert_array_equal(made.server, [3, -1, 3, 3, 3, 3])


def test_server_and_channel_are_absent_together() -> None:
    channel = np.arange(16) % 10 - (np.arange(16) > 0)
    system = build()
    with pytest.raises(ValueError, match="channel of client_0 is 0, must be -1 exactly where the server is -1"):
        system.cost(begin(system), Decision(np.full(16, -1), channel))


def test_clients_without_energy_may_be_left_out() -> None:
    system = build(num_clients=3)
    partial = Decision(np.array([0, -1, 1]), np.array([0, -1, 1]))
    with pytest.raises(ValueError, match=r"server of client_1 is -1, must be at least 0: the client takes part"):
        system.check_decision(begin(system), partial, complete=True)
    spent = dataclasses.replace(begin(system), energy_used=np.array([0.0, 2.0, 0.0]), energy_budget=np.ones(3))
    system.check_decision(spent, partial, complete=True)
    with pytest.raises(ValueError, match=r"server of client_1 is 1, must be -1: the client does not take part"):
        system.cost(spent, Decision(np.ones(3, int), np.ones(3, int)))
