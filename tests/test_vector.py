"""The vector view: equal to single environments, bit for bit, on NumPy; equal to tolerance on torch."""

import pickle
from typing import Any

import fedtwin.envs as envs
import gymnasium
import numpy as np
import pytest
import torch
from fedtwin.core.randomness import numbers
from fedtwin.envs.simulator import Simulator
from gymnasium.vector import AutoresetMode

COPIES = 5
STAGGERED: list[dict[str, Any]] = [
    # Budgets that run out at different rounds, so that copies end and begin at different steps.
    {"num_clients": 4, "num_channels": 6, "time_budget": 4e5, "max_cycles": 6},
    {"num_clients": 3, "decisions": "sequential", "time_budget": 4e3, "max_cycles": 4, "twin_error_db": 2.0},
    {"num_clients": 3, "energy_budget_low": 200.0, "energy_budget_high": 2e4, "positions": "round", "max_cycles": 5},
    {
        "preset": "paper",
        "num_clients": 4,
        "positions": "fixed",
        "dtype": "float32",
        "reciprocal": False,
        "max_cycles": 3,
    },
]
MODES: dict[str, list[dict[str, Any]]] = {
    "association": STAGGERED,
    "split_point": [
        {"num_vehicles": 3, "max_cycles": 4, "twin_error_db": 2.0},
        {"num_vehicles": 5, "noise": "fixed", "radius": 120.0, "max_cycles": 6, "reward_rule": "own"},
        {"num_vehicles": 2, "preset": "digits", "dtype": "float32", "max_cycles": 3},
    ],
    "quantization": [
        {"num_clients": 5, "num_channels": 3, "max_cycles": 4, "twin_error_db": 2.0},
        {"num_clients": 3, "num_channels": 4, "preset": "tight", "positions": "round", "max_cycles": 6},
        {"num_clients": 4, "num_channels": 2, "dtype": "float32", "reward_rule": "own", "max_cycles": 3},
    ],
}
"""Association's copies end at different rounds; the other systems' episodes all have the same length."""
CASES = [
    pytest.param(name, mode, id=f"{name}-{i}")
    for name in envs.SYSTEMS
    for i, mode in enumerate(MODES.get(name, [{"max_cycles": 3}]))
]
AUTORESET = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


class Loop:
    """Single environments with the autoreset of Gymnasium's own vector environments, written as a plain loop."""

    def __init__(self, name: str, mode: dict[str, Any], autoreset: AutoresetMode) -> None:
        self.singles = [envs.central_env(name, **mode) for _ in range(COPIES)]
        self.autoreset = autoreset
        self.over = [False] * COPIES

    def reset(self, seed: int | None) -> list[Any]:
        self.over = [False] * COPIES
        return [env.reset(seed=None if seed is None else seed + i) for i, env in enumerate(self.singles)]

    def step(self, actions: np.ndarray) -> list[dict[str, Any]]:
        found = []
        for i, env in enumerate(self.singles):
            if self.over[i]:
                self.over[i] = False
                observation, info = env.reset()
                found.append({"obs": observation, "reward": 0.0, "ends": (False, False), "info": info})
                continue
            observation, reward, terminated, truncated, info = env.step(actions[i])
            entry = {"obs": observation, "reward": reward, "ends": (terminated, truncated), "info": info}
            if terminated or truncated:
                if self.autoreset is AutoresetMode.NEXT_STEP:
                    self.over[i] = True
                else:
                    entry["final_obs"], entry["final_info"] = observation, info
                    entry["obs"], entry["reset_info"] = env.reset()
            found.append(entry)
        return found


@pytest.mark.parametrize("autoreset", AUTORESET)
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_vector_equals_single_bit_for_bit(name: str, mode: dict[str, Any], autoreset: AutoresetMode) -> None:
    loop = Loop(name, mode, autoreset)
    vector = envs.vector_env(name, COPIES, autoreset_mode=autoreset, **mode)
    vector.action_space.seed(0)
    mask = vector.system.mask_name
    quantities = (vector.system.objective, "client_energy", "projected")
    steps_with_ends = set()
    for seed in (7, None):
        singles = loop.reset(seed)
        observations, infos = vector.reset(seed=seed)
        np.testing.assert_array_equal(observations, np.stack([obs for obs, _ in singles]))
        np.testing.assert_array_equal(infos[mask], np.stack([info[mask] for _, info in singles]))
        for step in range(60):
            actions = vector.action_space.sample()
            expected = loop.step(actions)
            observations, rewards, terminated, truncated, infos = vector.step(actions)
            assert vector.observation_space.contains(observations)
            np.testing.assert_array_equal(observations, np.stack([entry["obs"] for entry in expected]))
            np.testing.assert_array_equal(rewards, [entry["reward"] for entry in expected])
            np.testing.assert_array_equal(np.stack([terminated, truncated], axis=1), [e["ends"] for e in expected])
            for copy, entry in enumerate(expected):
                begun = entry.get("reset_info", entry["info"])
                np.testing.assert_array_equal(infos[mask][copy], begun[mask])
                for fact in quantities:
                    if fact in begun:
                        assert infos[f"_{fact}"][copy]
                        np.testing.assert_array_equal(infos[fact][copy], begun[fact])
                    elif fact in infos:
                        assert not infos[f"_{fact}"][copy]
                        assert not infos[fact][copy].any()
                if any(entry["ends"]):
                    steps_with_ends.add((step, copy))
                if "final_obs" in entry:
                    assert infos["_final_obs"][copy]
                    np.testing.assert_array_equal(infos["final_obs"][copy], entry["final_obs"])
                    final = infos["final_info"]
                    np.testing.assert_array_equal(final[mask][copy], entry["final_info"][mask])
                    for fact, value in entry["final_info"].items():
                        assert final[f"_{fact}"][copy]
                        np.testing.assert_array_equal(final[fact][copy], value)
                elif "final_obs" in infos:
                    assert infos["final_obs"][copy] is None
                    assert not infos["_final_info"][copy]
    ends = [{step for step, copy in steps_with_ends if copy == i} for i in range(COPIES)]
    assert all(ends)
    if "time_budget" in mode:
        assert len(set(map(frozenset, ends))) > 1, "the ends are not staggered"


@pytest.mark.parametrize("autoreset", AUTORESET)
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_torch_equals_numpy_over_staggered_episodes(name: str, mode: dict[str, Any], autoreset: AutoresetMode) -> None:
    arrays = envs.vector_env(name, COPIES, autoreset_mode=autoreset, **mode)
    tensors = envs.vector_env(name, COPIES, autoreset_mode=autoreset, device="cpu", **mode)
    mask, objective = arrays.system.mask_name, arrays.system.objective
    ours, _ = arrays.reset(seed=1)
    theirs, _ = tensors.reset(seed=1)
    arrays.action_space.seed(0)
    tolerance = 1e-5 if mode.get("dtype") == "float32" else 1e-9
    ended = 0
    for _ in range(40):
        assert isinstance(theirs, torch.Tensor)
        np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-6)
        actions = arrays.action_space.sample()
        ours, *expected, infos = arrays.step(actions)
        theirs, *found, facts = tensors.step(torch.from_numpy(actions))
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_allclose(b.numpy(), a, rtol=tolerance)
        np.testing.assert_array_equal(facts[mask].numpy(), infos[mask])
        if objective in infos:
            np.testing.assert_allclose(facts[objective].numpy(), infos[objective], rtol=tolerance)
        ended += int(expected[1].sum() + expected[2].sum())
        for copy in np.flatnonzero(infos.get("_final_obs", ())):
            assert facts["_final_obs"][copy]
            np.testing.assert_allclose(facts["final_obs"][copy].numpy(), infos["final_obs"][copy], atol=1e-6)
            for fact, value in infos["final_info"].items():
                single = value.dtype == np.float32
                np.testing.assert_allclose(
                    facts["final_info"][fact][copy].numpy(),
                    value[copy],
                    rtol=max(tolerance, 1e-5 * single),
                    atol=1e-6 * single,
                )
    assert ended > COPIES


def test_mask_in_the_observation() -> None:
    for decisions in ("simultaneous", "sequential"):
        vector = envs.vector_env("association", 3, mask="observation", decisions=decisions, num_clients=4, max_cycles=2)
        plain = envs.vector_env("association", 3, decisions=decisions, num_clients=4, max_cycles=2)
        seen, infos = vector.reset(seed=0)
        observations, facts = plain.reset(seed=0)
        vector.action_space.seed(0)
        for _ in range(10):
            assert vector.observation_space.contains(seen)
            np.testing.assert_array_equal(seen["observation"], observations)
            np.testing.assert_array_equal(seen["action_mask"], facts["action_mask"])
            assert "action_mask" not in infos
            actions = vector.action_space.sample()
            seen, *_, infos = vector.step(actions)
            observations, *_, facts = plain.step(actions)
        single = envs.central_env("association", mask="observation", decisions=decisions, num_clients=4)
        first, _ = single.reset(seed=0)
        assert single.observation_space.contains(first)


def test_final_observation_with_masks_inside() -> None:
    vector = envs.vector_env(
        "association", 2, mask="observation", num_clients=3, max_cycles=1, autoreset_mode="SameStep"
    )
    vector.reset(seed=0)
    *_, infos = vector.step(np.zeros((2, 3), int))
    assert set(infos["final_obs"][0]) == {"observation", "action_mask"}


def test_make_vec_takes_the_batched_view() -> None:
    vector = gymnasium.make_vec("fedtwin/Association-v1", num_envs=4, num_clients=5)
    assert isinstance(vector.unwrapped, envs.VectorView)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, _ = vector.reset(seed=0)
    synchronous = gymnasium.make_vec("fedtwin/Association-v1", num_envs=4, vectorization_mode="sync", num_clients=5)
    assert synchronous.single_observation_space == vector.single_observation_space
    np.testing.assert_array_equal(synchronous.reset(seed=0)[0], observations)
    actions = vector.action_space.sample()
    for ours, theirs in zip(vector.step(actions)[:4], synchronous.step(actions)[:4], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_draws_are_reproducible_and_differ_by_seed(device: str | None) -> None:
    def trajectory(seed: int) -> np.ndarray:
        vector = envs.vector_env("association", 6, device=device, num_clients=4, max_cycles=3)
        found = [np.asarray(vector.reset(seed=seed)[0])]
        found += [np.asarray(vector.step(np.zeros((6, 4), int))[0]) for _ in range(8)]
        found.append(np.asarray(vector.reset()[0]))
        return np.stack(found)

    first = trajectory(0)
    np.testing.assert_array_equal(first, trajectory(0))
    assert (first != trajectory(1)).any()
    assert (first[0] != first[-1]).any()
    assert len(np.unique(first[0], axis=0)) == 6


def test_device_run_stays_in_torch_and_never_reuses_buffers() -> None:
    vector = envs.vector_env("association", 3, device="cpu", num_clients=4)
    seen, infos = vector.reset(seed=0)
    kept = seen.clone()
    following, *_, facts = vector.step(torch.zeros((3, 4), dtype=torch.int64))
    assert torch.equal(seen, kept)
    for value in (seen, following, *infos.values(), *facts.values()):
        assert isinstance(value, torch.Tensor)


def test_checks_that_wait_are_raised_at_reset_and_do_not_corrupt() -> None:
    vector = envs.vector_env("association", 2, device="cpu", validate=False, num_clients=3)
    clean = envs.vector_env("association", 2, device="cpu", num_clients=3)
    for each in (vector, clean):
        each.reset(seed=0)
    bad = torch.tensor([[0, 99, 2], [3, 4, -7]])
    ours, theirs = vector.step(bad), clean.step(bad.clip(0, 39))
    assert torch.equal(ours[0], theirs[0])
    with pytest.raises(ValueError, match=r"an action was outside 0\.\.39 since the last check"):
        vector.check()
    vector.check()
    vector.step(bad)
    with pytest.raises(ValueError, match="since the last check"):
        vector.reset()


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 4), int), r"actions has shape \(2, 4\), must be \(3, 4\)"),
        (np.zeros((3, 4)), "actions have dtype float64, must be integer"),
        (np.full((3, 4), 40), r"action\[0\] of client_0 is 40, must be in 0\.\.39"),
        (np.full((3, 4), np.nan), "must be integer"),
    ],
)
@pytest.mark.parametrize("device", [None, "cpu"])
def test_bad_actions(actions: Any, message: str, device: str | None) -> None:
    vector = envs.vector_env("association", 3, num_clients=4, device=device)
    with pytest.raises(ValueError, match="call reset"):
        vector.step(np.zeros((3, 4), int))
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=message.replace("dtype float64", "dtype (torch.)?float64")):
        vector.step(actions)


def test_bad_turns_and_settings() -> None:
    vector = envs.vector_env("association", 3, decisions="sequential")
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"action of copy 1 is 40, must be in 0\.\.39"):
        vector.step(np.array([0, 40, 0]))
    with pytest.raises(ValueError, match="must be NEXT_STEP or SAME_STEP"):
        envs.vector_env("association", 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="num_envs is 0, must be at least 1"):
        envs.vector_env("association", 0)
    with pytest.raises(ValueError, match="seed has 2 values, must have one per copy: 3"):
        vector.reset(seed=[1, 2])


def test_a_list_of_seeds() -> None:
    vector = envs.vector_env("association", 2, num_clients=3)
    single = envs.central_env("association", num_clients=3)
    observations, _ = vector.reset(seed=[5, 90])
    np.testing.assert_array_equal(observations[1], single.reset(seed=90)[0])


def test_injected_draws_play_in_every_copy() -> None:
    vector = envs.vector_env("association", 3, num_clients=4, max_cycles=2)
    rng = np.random.default_rng(0)
    draws = [vector.system.draw(numbers(7, 0, cycle, (3,))) for cycle in range(4)]
    vector.reset(options={"draw": draws})
    tensors = envs.vector_env("association", 3, num_clients=4, max_cycles=2, device="cpu")
    tensors.reset(options={"draw": draws})
    for draw in draws[1:]:
        actions = rng.integers(40, size=(3, 4))
        ours, theirs = vector.step(actions), tensors.step(actions)
        np.testing.assert_allclose(ours[0], theirs[0].numpy(), atol=1e-6)
        state = vector.simulator.state
        np.testing.assert_array_equal(state.uplink_gain, state.mean_gain[..., None] * draw.uplink_fading)


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("autoreset", AUTORESET)
def test_injected_draws_run_out_and_the_seed_goes_on(device: str | None, autoreset: AutoresetMode) -> None:
    settings: dict[str, Any] = {"num_clients": 3, "max_cycles": 2, "autoreset_mode": autoreset}
    vector = envs.vector_env("association", 2, device=device, **settings)
    draw = vector.system.draw(numbers(7, 0, 0, (2,)))
    found = []
    for _ in range(2):
        seen = [vector.reset(seed=4, options={"draw": draw})[0]]
        seen += [vector.step(np.zeros((2, 3), int))[0] for _ in range(5)]
        found.append(np.stack([np.asarray(part) for part in seen]))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0][1] != found[0][2]).any()


def test_draws_follow_every_seed() -> None:
    vector = envs.vector_env("association", 3, num_clients=3)
    first, second = (np.asarray(vector.reset(seed=seeds)[0]) for seeds in ([0, 1, 2], [0, 1, 3]))
    np.testing.assert_array_equal((first != second).any(axis=1), [False, False, True])


def test_a_retired_option_warns_and_does_nothing() -> None:
    with pytest.warns(DeprecationWarning, match="shared_draws is retired and does nothing: a copy's draws are its own"):
        vector = envs.vector_env("association", 2, shared_draws=True)
    np.testing.assert_array_equal(vector.reset(seed=3)[0], envs.vector_env("association", 2).reset(seed=3)[0])


def test_final_observation_and_next_episode_have_draws_of_their_own() -> None:
    kind: dict[str, Any] = {"positions": "fixed", "decisions": "sequential", "num_clients": 2, "max_cycles": 1}
    vector = envs.vector_env("association", 3, autoreset_mode=AutoresetMode.SAME_STEP, **kind)
    vector.reset(seed=0)
    vector.step(np.array([0, 1, 2]))
    seen, *_, infos = vector.step(np.array([3, 4, 5]))
    for copy in range(3):
        assert (infos["final_obs"][copy] != seen[copy]).any()


def test_parameters_per_episode() -> None:
    vector = envs.vector_env("association", 2, num_clients=4)
    single = envs.parallel_env("association", num_clients=4)
    loud = envs.parallel_env("association", num_clients=4, client_power_dbm=33.0)
    options = {"params": {"client_power_dbm": 33.0}}
    actions = {agent: 3 * i for i, agent in enumerate(single.possible_agents)}

    def cost(env: Any, **reset: Any) -> float:
        env.reset(seed=0, **reset)
        if env is vector:
            return float(env.step(np.array([list(actions.values())] * 2))[-1]["system_cost"][0])
        return float(env.step(actions)[-1]["client_0"]["system_cost"])

    assert cost(single, options=options) == cost(loud) == cost(vector, options=options)
    assert cost(single) == cost(vector) != cost(loud)
    with pytest.raises(ValueError, match="did you mean 'client_power_dbm'"):
        single.reset(options={"params": {"client_power": 33.0}})
    with pytest.raises(ValueError, match="change the spaces: num_clients"):
        single.reset(options={"params": {"num_clients": 5}})
    with pytest.raises(ValueError, match="must be above 0"):
        single.reset(options={"params": {"bandwidth": 0.0}})


@pytest.mark.parametrize("decisions", ["simultaneous", "sequential"])
def test_parameters_per_episode_leave_the_scale_of_observations(decisions: str) -> None:
    env = envs.central_env("association", decisions=decisions, num_clients=3)
    seen, _ = env.reset(seed=0, options={"params": {"side": 1200.0}})
    far = envs.make_system("association", decisions=decisions, num_clients=3, side=1200.0)
    own_scale = Simulator(far)
    own_scale.reset(0)
    assert (own_scale.visible()[0].ravel() != seen).any()
    base = envs.make_system("association", decisions=decisions, num_clients=3)
    state = own_scale.seen
    agent = own_scale.turn_agent if decisions == "sequential" else None
    np.testing.assert_array_equal(base.observe(state, base.undecided(state), agent)[0].ravel(), seen)


def test_a_reset_that_fails_changes_nothing() -> None:
    env, clean = (envs.parallel_env("association", num_clients=3) for _ in range(2))
    for each in (env, clean):
        each.reset(seed=0)
    with pytest.raises(ValueError, match="must be a fedtwin"):
        env.reset(options={"params": {"client_power_dbm": 40.0}, "draw": 3})
    actions = dict.fromkeys(env.agents, 2)
    assert env.step(actions)[1] == clean.step(actions)[1]


def test_pickling_in_the_middle_of_an_episode() -> None:
    for mode in STAGGERED[:2]:
        vector = envs.vector_env("association", 3, **mode)
        vector.reset(seed=0)
        vector.action_space.seed(0)
        vector.step(vector.action_space.sample())
        copy = pickle.loads(pickle.dumps(vector))
        for _ in range(8):
            actions = vector.action_space.sample()
            for ours, theirs in zip(vector.step(actions)[:4], copy.step(actions)[:4], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_simulator_without_autoreset_goes_on() -> None:
    """Without autoreset the caller decides what an end means: nothing is begun anew behind its back."""
    system = envs.make_system("association", num_clients=3, max_cycles=1)
    simulator = Simulator(system, 2)
    simulator.reset(0)
    for cycle in (1, 2):
        outcome = simulator.step(np.zeros((2, 3), int))
        assert outcome.truncated.all()
        np.testing.assert_array_equal(simulator.state.cycle, cycle)
