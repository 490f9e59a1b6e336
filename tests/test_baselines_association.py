"""Schedulers of the association system: compiled cost, certificates, brute force, the reference table."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin.baselines import SOLVERS
from fedtwin.baselines import association_kernel as kernel
from fedtwin.baselines.association import annealing, best_fixed, multi_start, problem_of, random_start
from fedtwin.baselines.association_kernel import IMPROVEMENT, round_cost
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take, tree_map
from fedtwin.envs import make_system
from fedtwin.envs.association import AssociationSystem, Decision, State
from test_association import UNEQUAL, random_decision

METHODS = SOLVERS["association"]
QUICK = {
    **METHODS,
    "multi_start": multi_start(2),
    "annealing": annealing(1, 300),
    "best_fixed": best_fixed(samples=2, starts=1),
}
"""The same solvers, the patient ones with less patience."""
ANY_SIZE = [name for name in QUICK if name != "exact"]


def build(**params: Any) -> AssociationSystem:
    system = make_system("association", **params)
    assert isinstance(system, AssociationSystem)
    return system


def states(system: AssociationSystem, count: int, seed: int = 0) -> State:
    return system.start(system.draw(numbers(seed, 0, 0, (count,))))


@pytest.mark.parametrize("params", [{}, UNEQUAL, {"preset": "compressed"}])
def test_compiled_cost_equals_system_cost(params: dict[str, Any]) -> None:
    system = build(**params)
    state = states(system, 500)
    decision = random_decision(system, generator(1, 0, 0), (500,))
    expected = system.cost(state, decision).system_cost
    for twin in range(500):
        one = take(state, twin)
        found = round_cost(problem_of(system, one), decision.server[twin], decision.channel[twin])
        assert found == pytest.approx(expected[twin], rel=1e-9)


@pytest.mark.parametrize("name", ANY_SIZE)
@pytest.mark.parametrize("params", [{"num_clients": 9}, UNEQUAL, {"preset": "heterogeneous", "num_clients": 6}])
def test_decisions_are_feasible_and_reproducible(name: str, params: dict[str, Any]) -> None:
    system = build(**params)
    state = states(system, 5)
    used = state.energy_used.copy()
    used[2, 1] = np.inf
    state = dataclasses.replace(state, energy_used=used)
    decision = QUICK[name](system, state, generator(1, 0, 0))
    system.check_decision(state, decision)
    assert system.conflicts(decision).max() == 0
    np.testing.assert_array_equal(decision.server >= 0, state.active)
    again = QUICK[name](system, state, generator(1, 0, 0))
    np.testing.assert_array_equal(system.actions_of(decision), system.actions_of(again))
    single = QUICK[name](system, take(state, 0), generator(1, 0, 0))
    np.testing.assert_array_equal(single.server, decision.server[0])


def test_solvers_take_torch_states() -> None:
    system = build()
    state = states(system, 3)
    tensors = tree_map(lambda array: torch.from_numpy(np.array(array)), state)
    decision = METHODS["greedy"](system, tensors)
    assert isinstance(decision.server, torch.Tensor)
    np.testing.assert_array_equal(decision.server.numpy(), METHODS["greedy"](system, state).server)
    assert system.cost(tensors, decision).system_cost.shape == (3,)


def changes(system: AssociationSystem, decision: Decision) -> list[Decision]:
    """Every move to a vacant pair and every swap of two pairs."""
    actions = system.actions_of(decision)
    found = []
    vacant = sorted(set(range(system.num_actions)) - set(actions.tolist()))
    for client, pair in itertools.product(range(actions.size), vacant):
        found.append(np.where(np.arange(actions.size) == client, pair, actions))
    for a, b in itertools.combinations(range(actions.size), 2):
        swapped = actions.copy()
        swapped[[a, b]] = swapped[[b, a]]
        found.append(swapped)
    channels = system.params.num_channels
    return [Decision(each // channels, each % channels) for each in found]


@pytest.mark.parametrize("name", ["swap_matching", "swap_matching_best"])
def test_swap_matching_is_pairwise_stable(name: str) -> None:
    system = build(num_clients=8, num_servers=3, num_channels=5, reciprocal=False)
    for twin in range(12):
        state = take(states(system, 12), twin)
        decision = METHODS[name](system, state, generator(twin, 0, 0))
        cost = float(system.cost(state, decision).system_cost)
        for change in changes(system, decision):
            assert float(system.cost(state, change).system_cost) >= cost * (1 - 2 * IMPROVEMENT)


def test_swap_matching_only_improves_its_start() -> None:
    system = build()
    state = states(system, 30)
    start = METHODS["random_feasible"](system, state, generator(7, 0, 0))
    end = METHODS["swap_matching"](system, state, generator(7, 0, 0))
    assert (system.cost(state, end).system_cost <= system.cost(state, start).system_cost).all()


def test_greedy_takes_the_cheapest_pair_in_every_step() -> None:
    system = build(num_clients=5, num_servers=2, num_channels=4)
    state = take(states(system, 1), 0)
    for name, order in (("greedy", range(5)), ("greedy_weakest", np.argsort(state.mean_gain.max(axis=-1)))):
        partial = Decision(np.full(5, -1), np.full(5, -1))
        for client in order:
            best, chosen = np.inf, partial
            taken = set(system.actions_of(partial)[partial.server >= 0].tolist())
            for pair in set(range(8)) - taken:
                server, channel = partial.server.copy(), partial.channel.copy()
                server[client], channel[client] = divmod(pair, 4)
                cost = float(system.cost(state, Decision(server, channel)).system_cost)
                if cost < best:
                    best, chosen = cost, Decision(server, channel)
            partial = chosen
        found = METHODS[name](system, state)
        np.testing.assert_array_equal(system.actions_of(found), system.actions_of(partial))


def test_decomposition_associates_with_the_nearest_server_that_has_room() -> None:
    system = build(num_clients=6, num_servers=2, num_channels=4)
    state = take(states(system, 1), 0)
    gain = np.stack([np.full(6, 2.0), np.ones(6)], axis=-1) * state.mean_gain.max()
    state = dataclasses.replace(state, mean_gain=gain)
    for name in ("decomposition_gain", "decomposition_time", "decomposition_cost"):
        np.testing.assert_array_equal(METHODS[name](system, state).server, [0, 0, 0, 0, 1, 1])
    first = METHODS["decomposition_gain"](system, state).channel[0]
    assert first == np.argmax(state.uplink_gain[0, 0])


def brute_force(system: AssociationSystem, state: State) -> float:
    pairs = np.array(list(itertools.permutations(range(system.num_actions), system.params.num_clients)))
    many = tree_map(lambda array: np.broadcast_to(array, (len(pairs), *array.shape)), state)
    channels = system.params.num_channels
    return float(system.cost(many, Decision(pairs // channels, pairs % channels)).system_cost.min())


@pytest.mark.parametrize("preset", ["paper", "compressed"])
def test_nothing_beats_brute_force_and_exact_equals_it(preset: str) -> None:
    system = build(preset=preset, num_clients=4, num_servers=2, num_channels=3)
    for twin in range(10):
        state = take(states(system, 10), twin)
        optimum = brute_force(system, state)
        for name, solve in QUICK.items():
            cost = float(system.cost(state, solve(system, state, generator(twin, 1, 0))).system_cost)
            assert cost >= optimum * (1 - 1e-12), name
            if name == "exact":
                assert cost == pytest.approx(optimum, rel=1e-12)


@pytest.mark.large
@pytest.mark.parametrize("size", [(4, 2, 3), (5, 2, 4), (6, 3, 3)])
def test_small_cases_against_the_optimum(size: tuple[int, int, int]) -> None:
    """The reference: swap matching at 1.05 to 1.12 of the optimum, multi-start and annealing at 1.000 to 1.003."""
    system = build(num_clients=size[0], num_servers=size[1], num_channels=size[2])
    state = states(system, 200, seed=3)
    optimum = np.log(system.cost(state, METHODS["exact"](system, state)).system_cost)
    for name, low, high in (("swap_matching", 1.05, 1.12), ("multi_start", 1.0, 1.003), ("annealing", 1.0, 1.003)):
        few = take(state, slice(0, 40 if name == "annealing" else 200))
        cost = system.cost(few, METHODS[name](system, few, generator(1, 0, 0))).system_cost
        logs = np.log(cost) - optimum[: cost.size]
        error = 3 * float(logs.std()) / np.sqrt(logs.size)
        assert np.log(low) - error - 1e-12 <= logs.mean() <= np.log(high) + error, (name, np.exp(logs.mean()))


def test_the_exact_search_refuses_large_cases() -> None:
    system = build()
    with pytest.raises(ValueError, match="16 clients are active, the exact search takes at most 8"):
        METHODS["exact"](system, states(system, 1))


def test_annealing_ends_in_the_cheapest_decision_it_saw() -> None:
    system = build(num_clients=5, num_servers=2, num_channels=4)
    for twin in range(5):
        state = take(states(system, 5), twin)
        problem = problem_of(system, state)
        rng = generator(twin, 0, 0)
        server, channel = random_start(system, problem, rng)
        before = round_cost(problem, server, channel)
        kernel.anneal(problem, server, channel, rng.integers(5, size=400), rng.integers(8, size=400), rng.random(400))
        assert round_cost(problem, server, channel) <= before
        assert system.conflicts(Decision(server, channel)) == 0


def test_best_fixed_is_one_decision_and_stable_on_its_sample() -> None:
    system = build(num_clients=4, num_servers=2, num_channels=3, positions="fixed")
    solve = best_fixed(samples=3, starts=1)
    decision = solve(system, states(system, 6, seed=5))
    assert (decision.server == decision.server[0]).all()
    sample = system.start(system.draw(numbers(0, 0, 0, (3,), stream=3)))

    def average(candidate: Decision) -> float:
        wide = Decision(*(np.broadcast_to(part, (3, 4)) for part in (candidate.server, candidate.channel)))
        return float(np.mean(np.log(system.cost(sample, wide).system_cost)))

    chosen = take(decision, 0)
    for change in changes(system, chosen):
        assert average(change) >= average(chosen) - 2 * IMPROVEMENT


@pytest.mark.large
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 330.0),
        ({"positions": "fixed"}, 3.2),
        ({"positions": "fixed", "coherence_blocks": 16}, 1.08),
        ({"positions": "fixed", "coherence_blocks": 64}, 1.03),
    ],
)
def test_what_a_state_without_channels_can_reach(params: dict[str, Any], expected: float) -> None:
    """Median ratio of the best fixed joint decision to swap matching, within 20 % of the reference."""
    system = build(**params)
    state = states(system, 400, seed=5)
    fixed = system.cost(state, METHODS["best_fixed"](system, state)).system_cost
    swap = system.cost(state, METHODS["swap_matching"](system, state, generator(2, 0, 0))).system_cost
    assert float(np.median(fixed / swap)) == pytest.approx(expected, rel=0.2)


def test_nearest_with_index_takes_the_next_vacant_channel() -> None:
    system = build(num_clients=5, num_servers=1, num_channels=5)
    state = take(states(system, 1), 0)
    np.testing.assert_array_equal(METHODS["nearest_index"](system, state).channel, [0, 1, 2, 3, 4])
    crowded = build(num_clients=4, num_servers=2, num_channels=2)
    state = take(states(crowded, 1), 0)
    gain = np.stack([np.ones(4), np.full(4, 0.5)], axis=-1)
    decision = METHODS["nearest_index"](crowded, dataclasses.replace(state, mean_gain=gain))
    np.testing.assert_array_equal(decision.server, [0, 0, 1, 1])
    np.testing.assert_array_equal(decision.channel, [0, 1, 0, 1])


def test_solvers_see_the_twin_and_not_the_truth() -> None:
    system = build(twin_error_db=6.0)
    state = take(states(system, 1), 0)
    believed = dataclasses.replace(system.believed(state), estimate_error=np.zeros((16, 4, 10)))
    for name in ("greedy", "swap_matching"):
        expected = METHODS[name](build(), believed, generator(0, 0, 0))
        found = METHODS[name](system, state, generator(0, 0, 0))
        np.testing.assert_array_equal(system.actions_of(found), system.actions_of(expected))


def test_too_many_clients_for_c5() -> None:
    system = build(num_clients=9, num_servers=2, num_channels=4)
    with pytest.raises(ValueError, match="9 clients are to be served, must be at most the 8"):
        METHODS["greedy"](system, states(system, 1))
    with pytest.raises(ValueError, match="must be at most the 8"):
        system.random_feasible(generator(0, 0, 0))


def test_nan_gains_are_refused() -> None:
    system = build()
    state = states(system, 1)
    fading = np.array(state.uplink_fading)
    fading[0, 3, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"uplink_fading\[3, 1, 2\] is nan"):
        METHODS["swap_matching"](system, dataclasses.replace(state, uplink_fading=fading))


REFERENCE_TABLE = {
    "swap_from_greedy": (0.941, 0.002),
    "greedy_strongest": (1.234, 0.003),
    "greedy_iterative": (1.234, 0.003),
    "grasp_8": (0.931, 0.005),
    "grasp_16": (0.922, 0.005),
    "grasp_32": (0.918, 0.005),
    "grasp_8_swap": (0.923, 0.005),
    "grasp_16_swap": (0.918, 0.005),
    "grasp_32_swap": (0.916, 0.005),
    "multi_start": (0.920, 0.003),
    "annealing": (0.908, 0.005),
    "swap_matching_best": (1.004, 0.002),
    "greedy": (1.111, 0.003),
    "greedy_weakest": (0.966, 0.002),
    "decomposition_gain": (1.569, 0.006),
    "decomposition_time": (1.267, 0.005),
    "decomposition_cost": (1.212, 0.004),
}
"""Geometric mean of ratios to swap matching and its standard error, independently measured.

2,000 twins; 300 for randomised greedy, whose standard error is not stated (0.005 by the spread of our own ratios); 400
for multi-start, 200 for annealing.
"""
FEWER_TWINS = {"multi_start": 150, "annealing": 60}


@pytest.mark.large
def test_ratios_lie_within_three_standard_errors_of_the_reference() -> None:
    """Both sides are samples: the standard error of their difference is that of both together."""
    system = build()
    state = states(system, 2000, seed=11)
    reference = METHODS["swap_matching"](system, state, generator(11, 0, 0, 1))
    base = np.log(system.cost(state, reference).system_cost)
    for name, (mean, error) in REFERENCE_TABLE.items():
        count = FEWER_TWINS.get(name, 500 if name.startswith("grasp") else 2000)
        few = take(state, slice(0, count))
        decision = METHODS[name](system, few, generator(11, 0, 0, 2))
        logs = np.log(system.cost(few, decision).system_cost) - base[:count]
        own = float(np.exp(logs.mean()))
        own_error = own * float(logs.std()) / np.sqrt(count)
        assert abs(own - mean) <= 3 * np.hypot(error, own_error), (name, own, own_error)
