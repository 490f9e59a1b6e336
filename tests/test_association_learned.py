"""Learned schedulers of the association system: compiled networks against the agent, repair, guides, quality."""

import dataclasses
import itertools
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin import baselines
from fedtwin.agents import D3QN
from fedtwin.agents.association import REPAIRS, SEQUENTIAL, pair_weights, sequential
from fedtwin.agents.association_greedy import GREEDY, GreedySettings, LearnedGreedy, leave, read_guide
from fedtwin.agents.training import BEST, CHECKPOINT, Schedule, train
from fedtwin.agents.weights import find_weights, shipped_weights
from fedtwin.baselines import SOLVERS
from fedtwin.baselines import association_kernel as kernel
from fedtwin.baselines.association import UNGUIDED, anywhere, problem_of, random_start, solver, weakest_first
from fedtwin.core.checkpoint import read_checkpoint, write_checkpoint
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take
from fedtwin.envs import environment_id, make_system, vector_env
from fedtwin.envs.association import Decision
from fedtwin.envs.simulator import Simulator
from fedtwin.evaluation.methods import find_method
from test_association import UNEQUAL
from test_baselines_association import build, states

METHODS = SOLVERS["association"]
SIZES = [{}, {**UNEQUAL, "decisions": "sequential"}, {"num_clients": 7, "num_servers": 3, "num_channels": 4}]


def agent_of(system: Any) -> D3QN:
    return D3QN.load("association-sequential", env=vector_env("association", 1, **vars(system.params)))


@pytest.mark.parametrize("params", SIZES)
def test_compiled_fields_and_advantages_equal_the_agents(params: dict[str, Any]) -> None:
    system = build(**{**params, "decisions": "sequential"})
    agent, weights = agent_of(system), pair_weights(find_weights("association-sequential"), system.params)
    servers, channels = system.action_grid
    rng = np.random.default_rng(0)
    state = states(system, 6)
    for twin in range(6):
        one = take(state, twin)
        problem, partial = problem_of(system, one), system.undecided(one)
        fields = np.empty((9, servers * channels), np.float32)
        for n in rng.permutation(system.params.num_clients):
            taken = np.asarray(system.pair_clients(partial), np.float32)
            on_air = Decision(partial.server, partial.channel)
            heard = np.zeros((servers, channels))
            for other in np.flatnonzero(on_air.server >= 0):
                heard[:, on_air.channel[other]] += problem.uplink_power[other, :, on_air.channel[other]]
            worst = float(system.cost(one, partial, validate=False).round_time)
            mean_gain = np.ascontiguousarray(one.mean_gain[n])
            kernel.pair_fields(problem, mean_gain, int(n), taken, heard, worst, weights, fields)
            seen = system.observe(one, partial, np.asarray(n))
            np.testing.assert_allclose(fields.ravel(), seen, atol=2e-6)
            with torch.no_grad():
                values = agent.values(torch.as_tensor(seen)[None, None])[0, 0].numpy()
            advantages = kernel.pair_advantages(fields, servers, channels, weights)
            np.testing.assert_allclose(advantages - advantages.mean(), values - values.mean(), atol=2e-5)
            free = np.flatnonzero(taken.ravel() == 0)
            partial = system.decide_turn(one, partial, np.asarray(n), np.asarray(rng.choice(free)))


@pytest.mark.parametrize("params", SIZES)
def test_compiled_schedules_are_those_of_the_agent(params: dict[str, Any]) -> None:
    system = build(**{**params, "decisions": "sequential"})
    agent = agent_of(system)
    simulator = Simulator(system, 100)
    simulator.reset(3)
    compiled = solver(sequential(1, leave, "association-sequential"))(system, simulator.state)
    outcome = None
    while outcome is None:
        outcome = simulator.take_turn(agent.act(simulator.visible(), simulator.legal()))
    same = (compiled.server == outcome.decision.server) & (compiled.channel == outcome.decision.channel)
    # Where two values agree to rounding, either choice is the agent's.
    assert same.all(axis=-1).mean() >= 0.97


def test_compiled_logarithm_is_exact_to_single_precision() -> None:
    values = np.exp(np.random.default_rng(0).uniform(-80.0, 80.0, 100_000)).astype(np.float32)
    logs = values.copy()
    kernel.log_in_place(logs)
    np.testing.assert_allclose(logs, np.log(values.astype(np.float64)), atol=1e-5, rtol=3e-7)


def test_samples_begin_with_the_greedy_schedule_and_only_help() -> None:
    system = build()
    state = states(system, 40)

    def cost(name: str) -> np.ndarray:
        return np.asarray(system.cost(state, METHODS[name](system, state, generator(1, 0, 0))).system_cost)

    raw, eight, swapped = cost("d3qn_raw"), cost("d3qn_8"), cost("d3qn_8_swap")
    assert (eight <= raw * (1 + 1e-9)).all()
    assert (eight < raw * 0.999).mean() > 0.3
    assert (swapped <= eight * (1 + 1e-9)).all()
    assert (cost("d3qn") <= raw * (1 + 1e-9)).all()
    assert (cost("d3qn_swap") <= raw * (1 + 1e-9)).all()


def test_nobody_is_served_where_every_budget_is_spent() -> None:
    system = build(num_clients=4)
    state = states(system, 2)
    state = dataclasses.replace(state, energy_used=state.energy_used + np.inf, energy_budget=state.energy_used + 1.0)
    for name in ("d3qn", "d3qn_8_swap", "learned_greedy", "d3qn_best"):
        assert (METHODS[name](system, state).server == -1).all()


def test_weights_before_the_first_update_decide_like_their_agent(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    env = vector_env("association", 2, decisions="sequential")
    agent = D3QN.for_env(env)
    agent.save(path)
    system = build(decisions="sequential")
    simulator = Simulator(system, 20)
    simulator.reset(3)
    compiled = find_method("association", f"d3qn_raw:{path}")(system, simulator.state)
    outcome = None
    while outcome is None:
        outcome = simulator.take_turn(agent.act(simulator.visible(), simulator.legal()))
    assert (compiled.server == outcome.decision.server).all(axis=-1).mean() > 0.8
    tensors, values = read_checkpoint(path)
    write_checkpoint(path, {**tensors, "mean": tensors["mean"] * np.nan}, values)
    with pytest.raises(ValueError, match="weights that are not finite"):
        find_method("association", f"d3qn_raw:{path}")(system, simulator.state)


# Repair.


def test_a_repair_is_the_best_change_of_the_slowest_client() -> None:
    system = build(num_clients=5, num_servers=2, num_channels=3)
    state = states(system, 30)
    for twin in range(30):
        one = take(state, twin)
        problem = problem_of(system, one)
        server, channel = random_start(system, problem, np.random.default_rng(twin))
        cost = system.cost(one, Decision(server, channel))
        slowest = int(np.argmax(cost.client_time))
        options = []
        for m, k in itertools.product(range(2), range(3)):
            s, c = server.copy(), channel.copy()
            other = np.flatnonzero((s == m) & (c == k))
            s[other], c[other] = server[slowest], channel[slowest]
            s[slowest], c[slowest] = m, k
            options.append(float(system.cost(one, Decision(s, c)).system_cost))
        made = kernel.repair(problem, server, channel, 1)
        after = float(system.cost(one, Decision(server, channel)).system_cost)
        assert after == pytest.approx(min(options), rel=1e-9)
        assert made == (after < float(cost.system_cost) * (1 - kernel.IMPROVEMENT))


def test_repairs_end_where_nothing_helps_or_at_the_limit() -> None:
    system = build()
    state = states(system, 60)
    made = []
    for twin in range(60):
        problem = problem_of(system, take(state, twin))
        server, channel = random_start(system, problem, np.random.default_rng(twin))
        before = kernel.round_cost(problem, server, channel)
        made.append(kernel.repair(problem, server, channel, REPAIRS))
        assert kernel.round_cost(problem, server, channel) <= before
        assert np.unique(server * 10 + channel).size == 16
    assert max(made) == REPAIRS


# The learned greedy.


def plain_guided_greedy(system: Any, state: Any, order: np.ndarray, guide: np.ndarray) -> Decision:
    """One guided greedy by plain loops over `System.cost`."""
    servers, channels = system.action_grid
    constants = system.constants(state.uplink_gain)
    power = constants.client_power[:, None, None] * state.uplink_gain
    clients = len(power)
    server, channel = np.full(clients, -1), np.full(clients, -1)
    for turn, n in enumerate(order):
        waiting = order[turn + 1 :]
        scores = {}
        for m, k in itertools.product(range(servers), range(channels)):
            if ((server == m) & (channel == k)).any():
                continue
            s, c = server.copy(), channel.copy()
            s[n], c[n] = m, k
            cost = system.cost(state, Decision(s, c))
            on_channel, on_server = (channel == k).sum(), (server == m).sum()
            total = cost.round_time + guide[0] * cost.client_time.sum() + cost.energy
            link = cost.uplink_delay[n] + cost.downlink_delay[n]
            own = math.log(power[n, m, k])
            wanted = math.log(power[waiting, m, k].max()) if len(waiting) else own
            others = np.mean([math.log(power[n, j, k]) for j in range(servers) if j != m])
            to_come = guide[3] * on_channel + guide[4] * on_server + guide[5] * wanted
            to_come += guide[6] * (others - own) + guide[7] * own
            scores[m, k] = (
                math.log(total) + guide[1] * math.log(link) + guide[2] * on_channel + len(waiting) / clients * to_come
            )
        server[n], channel[n] = min(scores, key=scores.__getitem__)
    return Decision(server, channel)


def test_guided_greedy_equals_plain_loops() -> None:
    system = build(num_clients=6, num_servers=3, num_channels=3)
    state = states(system, 10)
    rng = np.random.default_rng(0)
    for twin in range(10):
        one = take(state, twin)
        order, guide = rng.permutation(6), rng.normal(0.0, 0.1, kernel.GUIDES)
        guide[0] = abs(guide[0])
        server, channel = np.full(6, -1), np.full(6, -1)
        problem = problem_of(system, one)
        kernel.greedy(problem, order, anywhere(problem), guide, server, channel)
        expected = plain_guided_greedy(system, one, order, guide)
        np.testing.assert_array_equal(server, expected.server)
        np.testing.assert_array_equal(channel, expected.channel)


def test_a_guide_of_zeros_is_no_guide() -> None:
    system = build()
    one = take(states(system, 1), 0)
    problem, order = problem_of(system, one), weakest_first(one)
    found = []
    for guide in (UNGUIDED, np.zeros(kernel.GUIDES)):
        server, channel = np.full(16, -1), np.full(16, -1)
        kernel.greedy(problem, order, anywhere(problem), guide, server, channel)
        found.append((server.tolist(), channel.tolist()))
    assert found[0] == found[1]


def test_order_features_are_what_they_say() -> None:
    system = build(num_clients=5)
    one = take(states(system, 1), 0)
    problem = problem_of(system, one)
    clients = np.array([0, 2, 3, 4])
    powers = np.sort(np.log(problem.uplink_power[clients].reshape(4, -1)), axis=1)
    means = np.sort(np.log(one.mean_gain[clients]), axis=1)
    nearest = np.argmax(one.mean_gain[clients], axis=1)
    sharing = [(nearest == server).sum() for server in nearest]
    columns = [means[:, -1], means[:, -2], powers[:, -1], powers.mean(1), powers[:, -4], sharing]
    raw = np.stack(columns, axis=1).astype(np.float64)
    expected = (raw - raw.mean(0)) / (raw.std(0) + 1e-9)
    found = kernel.order_features(problem, np.ascontiguousarray(one.mean_gain), clients)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_greedy_learns_and_resumes_to_the_bit(tmp_path: Path) -> None:
    system = build(num_clients=6, num_channels=3)
    env = vector_env("association", 1, num_clients=6, num_channels=3)

    class Stop(Exception):
        pass

    def run(folder: Path, stop: bool) -> LearnedGreedy:
        learner = LearnedGreedy(system, GreedySettings(twins=8, pairs=4, orders=2))

        def advanced(facts: dict[str, float]) -> None:
            if stop and facts["transitions"] >= 1000:
                raise Stop

        schedule = Schedule(steps=6400, score_every=640, checkpoint_every=1)
        train(learner, env, schedule, seed=1, folder=folder, advanced=advanced)
        return learner

    whole = run(tmp_path / "whole", False)
    with pytest.raises(Stop):
        run(tmp_path / "parts", True)
    run(tmp_path / "parts", False)
    for name in (BEST, CHECKPOINT):
        first, second = (read_checkpoint(tmp_path / part / name)[0] for part in ("whole", "parts"))
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert not np.array_equal(whole.guide.guide, np.zeros(kernel.GUIDES))
    np.testing.assert_array_equal(read_guide(tmp_path / "whole" / BEST).guide, whole.guide.guide)


# What the package ships.


def test_methods_are_known_to_who_imported_only_the_baselines() -> None:
    """Learned names are among the methods; agents are loaded when one is asked for, not before."""
    program = (
        "import sys; from fedtwin.baselines import SOLVERS; own = SOLVERS['association']['greedy'];"
        "assert 'fedtwin.agents' not in sys.modules;"
        "assert 'd3qn_best' in SOLVERS['association'] and 'fedtwin.agents' in sys.modules;"
        "assert SOLVERS['association']['greedy'] is own; SOLVERS['association']['d3qn'];"
        "assert list(SOLVERS['split_point'])[-2:] == ['ddpg', 'hybrid'], list(SOLVERS['split_point']);"
        "assert 'ddpg' not in SOLVERS['association'];"
        "assert len(SOLVERS['association']) == len(set(SOLVERS['association']))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_providers_add_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of one's own adds methods; a system's own solvers keep their names."""
    module = ModuleType("my_methods")
    monkeypatch.setattr(module, "methods", lambda system: {"mine": system, "greedy": None}, raising=False)
    monkeypatch.setitem(sys.modules, "my_methods", module)
    monkeypatch.setattr(baselines, "PROVIDERS", [*baselines.PROVIDERS, "my_methods"])
    methods: Any = METHODS
    own = methods["greedy"]
    try:
        baselines.provided.cache_clear()
        assert (methods["mine"], methods["greedy"]) == ("association", own)
        assert {"mine", "d3qn"} <= set(METHODS)
        with pytest.raises(KeyError, match="nothing"):
            METHODS["nothing"]
    finally:
        baselines.provided.cache_clear()


def test_shipped_agents_have_names_versions_and_a_history() -> None:
    shipped = shipped_weights()
    assert {*SEQUENTIAL.values(), GREEDY} <= set(shipped)
    for name, path in shipped.items():
        if not name.endswith("-v1"):
            assert path == shipped[path.name.removesuffix(".safetensors")]
            assert path.stat().st_size < 200_000
            about = read_checkpoint(path)[1]["about"]
            assert about["command"].startswith("fedtwin-train ")
            trained, present = about["environment"], environment_id(about.get("system", "association"))
            assert trained.rsplit("-v", 1)[0] == present.rsplit("-v", 1)[0]
            assert name.startswith(about.get("system", "association"))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, {"x": torch.zeros(2)}, {"agent": "ddpg"})
    with pytest.raises(ValueError, match="holds no sequential d3qn agent"):
        pair_weights(path, build().params)
    with pytest.raises(ValueError, match="holds ddpg, not a learned greedy"):
        read_guide(path)


@pytest.mark.large
def test_shipped_agents_are_as_good_as_the_documentation_says() -> None:
    """Ratios to swap matching on 2,000 twins that no training or selection saw."""
    system = build()
    state = states(system, 2000, seed=99)
    reference = system.cost(state, METHODS["swap_matching"](system, state, generator(2, 0, 0))).system_cost

    def ratios(name: str) -> np.ndarray:
        decision = METHODS[name](system, state, generator(2, 0, 0))
        return np.asarray(system.cost(state, decision).system_cost / reference)

    def mean(values: np.ndarray) -> float:
        return float(np.exp(np.log(values).mean()))

    raw, mended, best = ratios("d3qn_raw"), ratios("d3qn"), ratios("d3qn_best")
    assert mean(raw) < 0.99
    assert mean(mended) < 0.97
    assert mended.max() < 2.0
    assert mean(best) < 0.93
    rival = ratios("grasp_8_swap")
    difference = np.log(best) - np.log(rival)
    assert difference.mean() + 2.0 * difference.std() / math.sqrt(2000) < 0.0


def test_large_networks_are_scheduled_by_greedy_and_by_the_shipped_agent() -> None:
    system = make_system("association", "large")
    state = system.start(system.draw(numbers(0, 0, 0)))
    costs = {}
    for method in ("greedy", "d3qn_raw"):
        decision = METHODS[method](system, state, generator(0, 0, 0, 1))
        system.check_decision(state, decision, complete=True)
        assert not system.conflicts(decision)
        costs[method] = float(system.cost(state, decision).system_cost)
    assert 0.9 < costs["d3qn_raw"] / costs["greedy"] < 1.05
