"""Official suites and our own, over every system and view, warnings as errors."""

import functools
import importlib.metadata
import pickle
import types
from collections.abc import Callable
from typing import Any

import fedtwin.envs as envs
import gymnasium
import numpy as np
import pettingzoo
import pytest
from fedtwin.core.randomness import numbers
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import (
    api_test,
    max_cycles_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
)
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec
from rounds import filled
from stable_baselines3.common.env_checker import check_env as check_env_sb3

MODES: dict[str, list[dict[str, Any]]] = {
    "association": [
        {},
        {"preset": "paper"},
        {"preset": "compressed", "positions": "round", "twin_error_db": 3.0},
        {"preset": "heterogeneous", "max_cycles": 12},
        {"decisions": "sequential", "num_clients": 6},
        {"dtype": "float32", "reciprocal": False, "positions": "fixed"},
    ],
    "split_point": [
        {},
        {"noise": "fixed", "num_vehicles": 4, "twin_error_db": 3.0},
        {"preset": "digits", "reward_rule": "own", "radius": 120.0, "max_cycles": 12},
        {"dtype": "float32", "num_cuts": 2, "progress_weight": 1e-3},
    ],
    "quantization": [
        {},
        {"noise": "fixed", "num_clients": 4, "num_channels": 6, "twin_error_db": 3.0, "positions": "round"},
        {"preset": "tight", "reward_rule": "own", "max_cycles": 12},
        {"dtype": "float32", "num_clients": 6, "num_channels": 2, "progress_weight": 1e-3},
    ],
}
CASES = [
    pytest.param(name, mode, id=f"{name}-{i}") for name in envs.SYSTEMS for i, mode in enumerate(MODES.get(name, [{}]))
]

Trajectory = list[tuple[Any, ...]]


def one_action(system: envs.System, rng: np.random.Generator) -> Any:
    if system.action_size:
        return rng.uniform(-1.0, 1.0, system.action_size).astype(np.float32)
    counts = system.actions.counts
    return rng.integers(counts) if len(counts) > 1 else int(rng.integers(counts[0]))


def joint_actions(env: envs.ParallelView, rng: np.random.Generator) -> dict[str, Any]:
    return {agent: one_action(env.system, rng) for agent in env.agents}


def play_parallel(env: envs.ParallelView, seed: int | None, episodes: int = 1) -> Trajectory:
    rng = np.random.default_rng(0)
    found: Trajectory = []
    for episode in range(episodes):
        found.append(env.reset(seed=seed if episode == 0 else None))
        while env.agents:
            found.append(env.step(joint_actions(env, rng)))
    return found


def play_central(env: envs.CentralView, seed: int | None, episodes: int = 1) -> Trajectory:
    env.action_space.seed(0)
    found: Trajectory = []
    for episode in range(episodes):
        found.append(env.reset(seed=seed if episode == 0 else None))
        over = False
        while not over:
            found.append(env.step(env.action_space.sample()))
            over = found[-1][2] or found[-1][3]
    return found


def play_aec(env: envs.AECView, seed: int | None, episodes: int = 1) -> Trajectory:
    rng = np.random.default_rng(0)
    found: Trajectory = []
    for episode in range(episodes):
        env.reset(seed=seed if episode == 0 else None)
        for _ in env.agent_iter():
            observation, reward, terminated, truncated, info = env.last()
            found.append((observation, reward, terminated, truncated, dict(info)))
            env.step(None if terminated or truncated else one_action(env.system, rng))
    return found


VIEWS: dict[str, tuple[Callable[..., Any], Callable[..., Trajectory]]] = {
    "parallel": (envs.parallel_env, play_parallel),
    "central": (envs.central_env, play_central),
    "aec": (envs.aec_env, play_aec),
}


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        np.testing.assert_array_equal(a, b)


# The official suites.


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_pettingzoo_parallel_suite(name: str, mode: dict[str, Any]) -> None:
    parallel_api_test(envs.parallel_env(name, **mode), num_cycles=60)
    parallel_api_test(envs.parallel_env(name, mask="observation", **mode), num_cycles=60)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_pettingzoo_aec_suite(name: str, mode: dict[str, Any]) -> None:
    api_test(parallel_to_aec(envs.parallel_env(name, **mode)), num_cycles=60)
    api_test(envs.aec_env(name, **mode), num_cycles=60)


@pytest.mark.parametrize("name", envs.SYSTEMS)
def test_pettingzoo_max_cycles_and_render(name: str) -> None:
    make = functools.partial(envs.parallel_env, name)
    module = types.SimpleNamespace(parallel_env=make, env=lambda **params: parallel_to_aec(make(**params)))
    max_cycles_test(module)
    render_test(lambda **params: parallel_to_aec(make(**params)))
    native = functools.partial(envs.aec_env, name)
    max_cycles_test(types.SimpleNamespace(parallel_env=make, env=native))
    render_test(native)
    seed_test(native, num_cycles=30)
    parallel_seed_test(make, num_cycles=30)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_gymnasium_and_sb3_suites(name: str, mode: dict[str, Any]) -> None:
    check_env(gymnasium.make(envs.environment_id(name), **mode).unwrapped)
    check_env_sb3(envs.central_env(name, **mode))


@pytest.mark.parametrize("name", envs.SYSTEMS)
def test_registration(name: str) -> None:
    identity = envs.environment_id(name)
    assert isinstance(gymnasium.make(f"fedtwin.envs:{identity}").unwrapped, envs.CentralView)
    assert isinstance(pettingzoo.make("parallel", identity, max_cycles=3), envs.ParallelView)
    assert "max_episode_steps" not in gymnasium.spec(identity).kwargs
    assert gymnasium.spec(identity).max_episode_steps is None


# Our own.


@pytest.mark.parametrize("make", [*(make for make, _ in VIEWS.values()), envs.vector_env])
@pytest.mark.parametrize("name", envs.SYSTEMS)
def test_views_and_the_package_tell_how_long_an_episode_is_and_which_version_plays(name: str, make: Any) -> None:
    assert make(name, max_cycles=7).unwrapped.max_cycles == 7
    made: Any = gymnasium.make if make is envs.central_env else gymnasium.make_vec
    assert made(envs.environment_id(name), max_cycles=3).unwrapped.max_cycles == 3
    assert envs.__version__ == importlib.metadata.version("fedtwin")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_whole_episodes_are_determined_by_the_seed(name: str, mode: dict[str, Any], view: str) -> None:
    make, play = VIEWS[view]
    first, again = (play(make(name, **mode), seed=5, episodes=2) for _ in range(2))
    assert_same(first, again)
    reused = make(name, **mode)
    play(reused, seed=9)
    assert_same(first, play(reused, seed=5, episodes=2))
    other = play(make(name, **mode), seed=6)
    costs = [str([step[1] for step in trajectory if len(step) == 5]) for trajectory in (first, other)]
    assert costs[0] != costs[1]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_draw_does_not_depend_on_what_was_decided(name: str, mode: dict[str, Any]) -> None:
    drawn: list[list[Any]] = []
    for stride in (0, 1):
        env = envs.parallel_env(name, **mode)
        drawn.append([])
        draw = env.system.draw

        def record(rng: Any, draw: Any = draw, kept: list[Any] = drawn[-1]) -> Any:
            made = draw(rng)
            if rng.batch == (1,):
                kept.append(filled(made))
            return made

        env.system.draw = record  # type: ignore[method-assign]
        env.reset(seed=3)
        for _ in range(3):
            env.step(joint_actions(env, np.random.default_rng(stride)))
    assert len(drawn[0]) == 4
    for ours, theirs in zip(*drawn, strict=True):
        assert_same(vars(ours), vars(theirs))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_observations_stay_inside_and_rewards_finite(name: str, mode: dict[str, Any], view: str) -> None:
    make, play = VIEWS[view]
    env = make(name, **mode)
    for step in play(env, seed=1, episodes=2):
        observations = step[0] if view == "parallel" else {env.system.agents[0]: step[0]}
        for agent, observation in observations.items():
            space = env.observation_space if view == "central" else env.observation_space(agent)
            assert space.contains(observation)
        if len(step) == 5:
            rewards = list(step[1].values()) if view == "parallel" else [step[1]]
            assert np.isfinite(rewards).all()


@pytest.mark.parametrize("view", ["parallel", "central"])
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_pickling_in_the_middle_of_an_episode(name: str, mode: dict[str, Any], view: str) -> None:
    make, _ = VIEWS[view]
    env = make(name, render_mode="rgb_array", **mode)
    env.reset(seed=2)
    actions = [joint_actions(env, np.random.default_rng(1)) if view == "parallel" else env.action_space.sample()] * 4
    env.step(actions[0])
    copy = pickle.loads(pickle.dumps(env))
    for action in actions[1:]:
        assert_same(env.step(action), copy.step(action))


@pytest.mark.parametrize("name", envs.SYSTEMS)
def test_views_tell_the_same_story(name: str) -> None:
    parallel, central = envs.parallel_env(name), envs.central_env(name)
    seen, _ = parallel.reset(seed=4)
    flat, _ = central.reset(seed=4)
    np.testing.assert_array_equal(np.concatenate(list(seen.values())), flat)
    np.testing.assert_array_equal(parallel.state(), flat)
    actions = joint_actions(parallel, np.random.default_rng(2))
    seen, rewards, _, _, infos = parallel.step(actions)
    flat, reward, _, _, info = central.step(np.array(list(actions.values())).reshape(-1))
    np.testing.assert_array_equal(np.concatenate(list(seen.values())), flat)
    assert reward == pytest.approx(np.mean(list(rewards.values())))
    for fact in set(infos[parallel.agents[0]]) & set(info) - {"projected", central.system.mask_name}:
        np.testing.assert_array_equal(np.ravel(info[fact])[0], infos[parallel.agents[0]][fact])
    masks = np.concatenate(list(parallel.action_masks().values()))
    np.testing.assert_array_equal(info[central.system.mask_name], masks)


def test_sequential_central_view_rewards_the_last_turn() -> None:
    env = envs.central_env("association", decisions="sequential", num_clients=5, max_cycles=2)
    assert env.observation_space.shape == (9 * 40,)
    for seed in (0, 1):
        _, info = env.reset(seed=seed)
        order: list[int] = []
        rewards: list[float] = []
        taken: list[int] = []
        for turn in range(10):
            mask = info["action_mask"]
            if turn % 5 == 0:
                taken = []
            assert mask.sum() == 40 - len(taken)
            assert not mask[taken].any()
            order.append(info["agent"])
            action = int(np.flatnonzero(mask)[-1])
            taken.append(action)
            _, reward, terminated, truncated, info = env.step(action)
            rewards.append(reward)
            assert not terminated
            assert truncated == (turn == 9)
        assert sorted(order[:5]) == sorted(order[5:]) == list(range(5))
        assert [reward > 0 for reward in rewards] == [turn % 5 == 4 for turn in range(10)]
        assert not info["projected"].any()


@pytest.mark.parametrize("decisions", ["sequential", "simultaneous"])
def test_aec_turns_tell_the_same_story_as_whole_rounds(decisions: str) -> None:
    """Turn by turn or all at once: the same actions give the same costs and rewards."""
    params: dict[str, Any] = {"decisions": decisions, "num_clients": 5, "max_cycles": 3}
    aec, parallel = envs.aec_env("association", **params), envs.parallel_env("association", **params)
    aec.reset(seed=3)
    parallel.reset(seed=3)
    while parallel.agents:
        chosen: dict[str, int] = {}
        order: list[str] = []
        masks: list[int] = []
        for _ in range(5):
            agent = aec.agent_selection
            mask = aec.action_masks()
            np.testing.assert_array_equal(mask, aec.infos[agent]["action_mask"])
            masks.append(int(mask.sum()))
            chosen[agent] = int(np.flatnonzero(mask)[len(order)])
            order.append(agent)
            aec.step(chosen[agent])
        _, rewards, terminated, truncated, infos = parallel.step(chosen)
        assert masks == ([40, 39, 38, 37, 36] if decisions == "sequential" else [40] * 5)
        assert (order == list(aec.possible_agents)) == (decisions == "simultaneous")
        for agent in order:
            assert aec.rewards[agent] == rewards[agent]
            assert aec._cumulative_rewards[agent] == rewards[agent]
            assert (aec.terminations[agent], aec.truncations[agent]) == (terminated[agent], truncated[agent])
            assert aec.infos[agent]["system_cost"] == infos[agent]["system_cost"]
            assert not aec.infos[agent]["projected"]


def test_rewards_that_last_tells_add_up_to_the_parallel_return() -> None:
    aec = envs.aec_env("association", num_clients=3, max_cycles=4)
    parallel = envs.parallel_env("association", num_clients=3, max_cycles=4)
    aec.reset(seed=1)
    told = dict.fromkeys(aec.possible_agents, 0.0)
    for agent in aec.agent_iter():
        _, reward, terminated, truncated, _ = aec.last()
        told[agent] += reward
        aec.step(None if terminated or truncated else aec.possible_agents.index(agent))
    expected = dict.fromkeys(parallel.possible_agents, 0.0)
    parallel.reset(seed=1)
    while parallel.agents:
        for agent, reward in parallel.step({name: i for i, name in enumerate(parallel.agents)})[1].items():
            expected[agent] += reward
    assert told == pytest.approx(expected)


def test_aec_turns_into_parallel_only_where_agents_act_at_once() -> None:
    wrapped = aec_to_parallel(envs.aec_env("association", num_clients=3))
    plain = envs.parallel_env("association", num_clients=3)
    assert_same(wrapped.reset(seed=0)[0], plain.reset(seed=0)[0])
    actions = dict.fromkeys(plain.agents, 2)
    assert dict(wrapped.step(actions)[1]) == plain.step(actions)[1]
    with pytest.raises(AssertionError, match="not generally safe"):
        aec_to_parallel(envs.aec_env("association", decisions="sequential", num_clients=3))


def test_aec_with_masks_in_the_observation_pickles() -> None:
    env = envs.aec_env("association", decisions="sequential", num_clients=3, mask="observation")
    env.reset(seed=0)
    env.step(5)
    copy = pickle.loads(pickle.dumps(env))
    agent = env.agent_selection
    seen = env.observe(agent)
    assert env.observation_space(agent).contains(seen)
    assert seen["action_mask"][5] == 0
    assert_same(copy.observe(agent), seen)


def test_bad_aec_actions() -> None:
    env = envs.aec_env("association", num_clients=3)
    with pytest.raises(ValueError, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    wrong: list[Any] = [40, -1, 1.5, None, np.nan, "a", [1]]
    for action in wrong:
        with pytest.raises(ValueError, match=r"action of client_0 is .* must be an integer in 0\.\.39"):
            env.step(action)
    env.step(3)
    assert env.agent_selection == "client_1"


def test_a_taken_pair_is_projected_and_reported() -> None:
    env = envs.central_env("association", decisions="sequential", num_clients=2)
    env.reset(seed=0)
    env.step(7)
    *_, info = env.step(7)
    assert sorted(info["projected"].tolist()) == [False, True]
    parallel = envs.parallel_env("association", decisions="sequential", num_clients=3)
    parallel.reset(seed=0)
    infos = parallel.step(dict.fromkeys(parallel.agents, 7))[-1]
    assert sum(info["projected"] for info in infos.values()) == 2


def test_clients_without_budget_stay_agents() -> None:
    env = envs.parallel_env("association", energy_budget_low=1e4, energy_budget_high=1e6, num_clients=8)
    env.reset(seed=0)
    rewards: dict[str, float] = {}
    out: set[str] = set()
    while env.agents:
        _, rewards, _, _, infos = env.step(dict.fromkeys(env.agents, 3))
        assert len(infos) == 8
        gone = {agent for agent in infos if infos[agent]["action_mask"].sum() == 1}
        assert out <= gone
        for agent in out:
            assert rewards[agent] == 0.0
            assert infos[agent]["client_time"] == infos[agent]["client_energy"] == 0.0
            assert infos[agent]["projected"]
        out = gone
    assert out


# Seeds and options.


def test_seed_none_goes_on_with_the_next_episode() -> None:
    env = envs.parallel_env("association")
    first = env.reset(seed=1)
    second = env.reset()
    assert not np.array_equal(first[0]["client_0"], second[0]["client_0"])
    direct = envs.parallel_env("association").reset(seed=1, options={"episode": 1})
    assert_same(second, direct)


def test_unseeded_environments_differ() -> None:
    views = [envs.parallel_env("association").reset()[0]["client_0"] for _ in range(2)]
    assert not np.array_equal(*views)


def test_injected_draws_are_played() -> None:
    env = envs.parallel_env("association")
    draws = [env.system.draw(numbers(i, 0, 0)) for i in range(3)]
    env.reset(seed=0, options={"draw": draws})
    for draw in draws[1:]:
        env.step(dict.fromkeys(env.agents, 0))
        np.testing.assert_array_equal(
            env._simulator.state.uplink_gain[0], env._simulator.state.mean_gain[0][..., None] * draw.uplink_fading
        )
    env.reset(seed=0, options={"draw": draws[0]})
    np.testing.assert_array_equal(env._simulator.state.position[0], draws[0].position)


@pytest.mark.parametrize(
    ("seed", "options", "message"),
    [
        (-1, None, "seed is -1, must be an integer of at least 0"),
        (1.5, None, "seed is 1.5"),
        (0, {"episode": -2}, "episode is -2"),
        (0, {"draws": []}, "unknown reset option 'draws'; did you mean 'draw'"),
        (0, {"draw": 3}, "must be a fedtwin.envs.association.Draw"),
        (0, {"params": 3}, "must map parameters to values"),
        (0, [1], "must map names to values"),
        (0, {"reset_mask": [True]}, "is not supported"),
        (2**63, None, "must be an integer of at least 0"),
    ],
)
@pytest.mark.parametrize("view", ["parallel", "central", "aec", "vector"])
def test_bad_resets(seed: Any, options: Any, message: str, view: str) -> None:
    make: Any = getattr(envs, f"{view}_env")
    with pytest.raises(ValueError, match=message):
        make("association").reset(seed=seed, options=options)


def test_seeds_of_numpy_are_seeds() -> None:
    for make in (envs.parallel_env, envs.central_env):
        assert_same(make("association").reset(seed=np.int64(3)), make("association").reset(seed=3))  # type: ignore[arg-type]


def test_more_clients_than_pairs_play_where_c5_is_not_enforced() -> None:
    env = envs.parallel_env("association", num_clients=5, num_servers=1, num_channels=2)
    env.reset(seed=0)
    rewards = env.step(dict.fromkeys(env.agents, 1))[1]
    assert np.isfinite(list(rewards.values())).all()


def test_a_draw_for_another_batch_is_refused() -> None:
    env = envs.parallel_env("association")
    draw = env.system.draw(numbers(0, 0, 0, (2,)))
    with pytest.raises(ValueError, match=r"batch shape \(2,\), must be \(1,\)"):
        env.reset(options={"draw": draw})


# Bad actions.


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (40, r"action of client_3 is 40, must be in 0\.\.39"),
        (-1, r"action of client_3 is -1"),
        (1.0, r"action of client_3 is 1\.0, must be an integer"),
        (np.nan, "action of client_3 is nan, must be an integer"),
        (np.float32(2), "action of client_3"),
        (None, "action of client_3 is None"),
        (True, "action of client_3 is True"),
        (np.array([1]), r"action of client_3 is array\(\[1\]\)"),
        ("5", "action of client_3 is '5'"),
        (2**70, "action of client_3 is"),
    ],
)
def test_bad_actions_never_corrupt_the_state(value: Any, message: str) -> None:
    env, clean = (envs.parallel_env("association") for _ in range(2))
    for each in (env, clean):
        each.reset(seed=0)
    actions = {agent: i for i, agent in enumerate(env.agents)}
    with pytest.raises(ValueError, match=message):
        env.step({**actions, "client_3": value})
    assert_same(env.step(actions), clean.step(actions))


def test_missing_unknown_and_late_actions() -> None:
    env = envs.parallel_env("association", max_cycles=1)
    with pytest.raises(ValueError, match="call reset"):
        env.step({"client_0": 0})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="client_0 has no action"):
        env.step({})
    actions = dict.fromkeys(env.agents, 0)
    with pytest.raises(ValueError, match="unknown agent 'client_16'; did you mean 'client_"):
        env.step({**actions, "client_16": 0})
    env.step(actions)
    assert env.step({}) == ({}, {}, {}, {}, {})
    with pytest.raises(ValueError, match="the episode is over"):
        env.step(actions)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(16), "dtype float64, must be integer"),
        (np.full(16, np.nan), "dtype float64, must be integer"),
        (np.zeros(15, int), r"shape \(15,\), must be \(16,\)"),
        (np.full(16, 40), r"action of client_0 is 40, must be in 0\.\.39"),
        (None, r"shape \(\), must be"),
    ],
)
def test_bad_central_actions(action: Any, message: str) -> None:
    env = envs.central_env("association")
    with pytest.raises(ValueError, match="call reset"):
        env.step(np.zeros(16, int))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


@pytest.mark.parametrize("action", [40, -1, 2.0, np.nan, None, [1], "3"])
def test_bad_turns(action: Any) -> None:
    env = envs.central_env("association", decisions="sequential")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action of client_\d+ is .*, must be an integer in 0\.\.39"):
        env.step(action)


def test_render_modes() -> None:
    with pytest.raises(ValueError, match="did you mean 'rgb_array'"):
        envs.parallel_env("association", render_mode="rgb")
    with pytest.raises(ValueError, match="did you mean 'info'"):
        envs.parallel_env("association", mask="infos")  # type: ignore[arg-type]
    env = envs.parallel_env("association")
    with pytest.raises(ValueError, match="call reset"):
        env.render()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="render_mode is None"):
        env.render()
    shown = envs.parallel_env("association", render_mode="rgb_array", num_channels=25, preset="heterogeneous")
    shown.reset(seed=0)
    before = shown.render()
    shown.step(dict.fromkeys(shown.agents, 0))
    after = shown.render()
    assert before is not None
    assert after is not None
    assert before.dtype == np.uint8
    assert (before != after).any()


@pytest.mark.parametrize("name", ["split_point", "quantization"])
def test_masks_are_what_the_twin_sees(name: str) -> None:
    small = {"energy_budget_low": 0.05, "energy_budget_high": 0.5} if name == "split_point" else {"deadline": 1.2}
    misled, exact = (envs.vector_env(name, 100, twin_error_db=error, **small) for error in (8.0, 0.0))  # type: ignore[arg-type]
    masks, truth = (each.reset(seed=0)[1]["choice_mask"] for each in (misled, exact))
    simulator, system = misled.simulator, misled.system
    believed = system.mask(system.believed(simulator.state), simulator.partial)
    np.testing.assert_array_equal(masks.reshape(believed.shape), believed)
    assert (masks != truth).any()


@pytest.mark.parametrize("name", ["split_point", "quantization"])
@pytest.mark.parametrize("view", ["parallel", "central"])
def test_masks_wait_for_reset(name: str, view: str) -> None:
    make, _ = VIEWS[view]
    with pytest.raises(ValueError, match="call reset"):
        make(name).action_masks()


@pytest.mark.parametrize("dtype", [np.int8, np.bool_, np.int64])
def test_an_action_of_another_type_is_refused_among_others_too(dtype: Any) -> None:
    env = envs.parallel_env("split_point")
    env.reset(seed=0)
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    actions["vehicle_1"] = np.zeros(actions["vehicle_1"].shape, dtype)
    with pytest.raises(ValueError, match=r"action of vehicle_1 is .*must be 7 numbers in -1..1"):
        env.step(actions)
