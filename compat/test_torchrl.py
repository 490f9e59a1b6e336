"""The batched TorchRL view plays what the PettingZoo view plays, and is what TorchRL expects."""

import pickle
from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin.envs.actions import Actions
from fedtwin.envs.association import Decision
from fedtwin.envs.parts import Axis, Choice
from fedtwin.envs.views.torchrl import TorchRLView, torchrl_env
from tensordict import TensorDict
from torchrl.envs import ActionMask, StepCounter, TransformedEnv
from torchrl.envs.utils import check_env_specs

SMALL: dict[str, Any] = {"num_clients": 4, "max_cycles": 5}
KINDS: list[dict[str, Any]] = [
    {},
    {"dtype": "float32"},
    {"preset": "heterogeneous"},
    {"decisions": "sequential"},
    {"decisions": "sequential", "preset": "heterogeneous"},
]
BOXES: list[tuple[str, dict[str, Any]]] = [
    ("split_point", {"num_vehicles": 3, "max_cycles": 3}),
    ("split_point", {"num_vehicles": 5, "radius": 120.0, "max_cycles": 4, "reward_rule": "own"}),
    ("quantization", {"num_clients": 4, "num_channels": 2, "max_cycles": 3}),
    ("quantization", {"num_clients": 3, "num_channels": 5, "max_cycles": 2, "dtype": "float32"}),
]
"""Systems whose actions are boxes: TorchRL's `ActionMask` has nothing to say there."""


def key(env: TorchRLView, name: str) -> tuple[str, ...]:
    return (name,) if env.system.turns else ("agents", name)


def masked(env: TorchRLView) -> TransformedEnv:
    return TransformedEnv(env, ActionMask(key(env, "action"), key(env, "action_mask")))


@pytest.mark.parametrize("kind", KINDS)
def test_specs_hold(kind: dict[str, Any]) -> None:
    env = torchrl_env("association", 3, **SMALL, **kind)
    check_env_specs(env)
    check_env_specs(masked(env))


@pytest.mark.parametrize(("name", "kind"), BOXES)
def test_specs_of_boxes_hold(name: str, kind: dict[str, Any]) -> None:
    env = torchrl_env(name, 3, **kind)
    assert env.max_cycles == kind["max_cycles"]
    check_env_specs(env)
    action, agents = env.action_spec["agents", "action"], len(env.system.agents)
    assert action.shape == (3, agents, env.system.action_size)
    assert (action.low == -1.0).all()
    assert (action.high == 1.0).all()


def test_several_choices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, pair = envs.SYSTEMS["association"], (Choice(Axis("server", "", 4)), Choice(Axis("channel", "", 10)))
    monkeypatch.setattr(kind, "make_actions", lambda system: Actions(Decision, *pair))
    with pytest.raises(ValueError, match="TorchRLView takes one choice of each agent"):
        torchrl_env("association", 3)


@pytest.mark.parametrize(("name", "kind"), BOXES)
def test_boxes_play_as_single_environments(name: str, kind: dict[str, Any]) -> None:
    env = torchrl_env(name, 4, **kind)
    env.set_seed(11)
    played = env.rollout(9, break_when_any_done=False)
    mask, objective = env.system.mask_name, env.system.objective
    assert mask == "choice_mask"
    assert int(played["next", "done"].sum()) == 4 * (9 // kind["max_cycles"])
    tolerance = 1e-4 if "dtype" in kind else 1e-6
    for copy in range(4):
        single = envs.parallel_env(name, **kind)
        seen, infos = single.reset(seed=11 + copy)
        for row in played[copy].unbind(0):
            agents = row["agents"]
            np.testing.assert_allclose(agents["observation"], np.stack(list(seen.values())), atol=1e-5)
            np.testing.assert_array_equal(agents[mask], np.stack([info[mask] for info in infos.values()]).astype(bool))
            actions = dict(zip(single.agents, agents["action"].numpy(), strict=True))
            seen, rewards, _, truncated, infos = single.step(actions)
            after = row["next"]
            np.testing.assert_allclose(after["agents", "reward"][:, 0], list(rewards.values()), rtol=tolerance)
            first = next(iter(infos.values()))
            np.testing.assert_allclose(after["info", objective].item(), first[objective], rtol=tolerance)
            assert bool(after["truncated"]) == all(truncated.values())
            if not single.agents:
                seen, infos = single.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_random_actions_keep_to_the_mask(kind: dict[str, Any]) -> None:
    env = torchrl_env("association", 8, **SMALL, **kind)
    played = masked(env).rollout(60, break_when_any_done=False)
    action, mask = played[key(env, "action")], played[key(env, "action_mask")]
    assert mask.gather(-1, action[..., None]).all()
    assert not played["next", "info", "projected"].any()
    assert played["next", "done"].any()
    assert mask.all() == (kind.get("preset") is None and not env.system.turns)


def test_copies_play_as_single_environments_over_uneven_ends() -> None:
    env = torchrl_env("association", 6, preset="heterogeneous", **SMALL)
    env.set_seed(11)
    played = env.rollout(30, break_when_any_done=False)
    done = played["next", "done"][..., 0]
    assert (done.any(0) & ~done.all(0)).any()
    assert (
        done[:, -1].tolist()
        == played["next", "truncated"][:, -1, 0].logical_or(played["next", "terminated"][:, -1, 0]).tolist()
    )
    for copy in range(6):
        single = envs.parallel_env("association", preset="heterogeneous", **SMALL)
        seen, infos = single.reset(seed=11 + copy)
        for row in played[copy].unbind(0):
            agents = row["agents"]
            np.testing.assert_allclose(agents["observation"], np.stack(list(seen.values())), atol=1e-6)
            masks = np.stack([info["action_mask"] for info in infos.values()])
            np.testing.assert_array_equal(agents["action_mask"], masks.astype(bool))
            actions = dict(zip(single.agents, agents["action"].tolist(), strict=True))
            seen, rewards, terminated, truncated, infos = single.step(actions)
            after = row["next"]
            np.testing.assert_allclose(after["agents", "observation"], np.stack(list(seen.values())), atol=1e-6)
            np.testing.assert_allclose(after["agents", "reward"][:, 0], list(rewards.values()), rtol=1e-6)
            first = infos["client_0"]
            np.testing.assert_allclose(after["info", "system_cost"].item(), first["system_cost"], rtol=1e-6)
            energies = [info["client_energy"] for info in infos.values()]
            np.testing.assert_allclose(after["info", "client_energy"], energies, rtol=1e-6)
            assert after["info", "projected"].tolist() == [info["projected"] for info in infos.values()]
            assert bool(after["terminated"]) == terminated["client_0"]
            assert bool(after["truncated"]) == truncated["client_0"]
            if not single.agents:
                seen, infos = single.reset()


def test_turns_play_as_the_central_view() -> None:
    env = torchrl_env("association", 2, decisions="sequential", **SMALL)
    env.set_seed(5)
    played = masked(env).rollout(45, break_when_any_done=False)
    for copy in range(2):
        single = envs.central_env("association", decisions="sequential", **SMALL)
        seen, info = single.reset(seed=5 + copy)
        for row in played[copy].unbind(0):
            np.testing.assert_allclose(row["observation"], seen, atol=1e-6)
            np.testing.assert_array_equal(row["action_mask"], info["action_mask"].astype(bool))
            seen, reward, terminated, truncated, info = single.step(row["action"].item())
            np.testing.assert_allclose(row["next", "observation"], seen, atol=1e-6)
            np.testing.assert_allclose(row["next", "reward"].item(), reward, rtol=1e-6)
            assert row["next", "info", "system_cost"].item() == pytest.approx(info.get("system_cost", 0.0), rel=1e-6)
            if terminated or truncated:
                seen, info = single.reset()


def test_seeds_decide() -> None:
    env = torchrl_env("association", 3, **SMALL)

    def first(seed: int) -> torch.Tensor:
        env.set_seed(seed)
        return env.reset()["agents", "observation"]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    again = first(1)
    assert not torch.equal(again, env.reset()["agents", "observation"])
    with pytest.raises(ValueError, match="seed is -1"):
        env.set_seed(-1)


def test_all_copies_may_begin_anew_before_their_end() -> None:
    env = TransformedEnv(torchrl_env("association", 3, **SMALL), StepCounter(max_steps=2))
    played = env.rollout(8, break_when_any_done=False)
    assert played["next", "truncated"][..., 0].tolist() == [[False, True] * 4] * 3


def test_a_reset_of_some_copies_that_did_not_end_is_refused() -> None:
    env = torchrl_env("association", 3, **SMALL)
    env.rollout(2)
    before = env.simulator.visible().clone()
    asked = TensorDict({"_reset": torch.tensor([[True], [False], [True]])}, [3])
    with pytest.raises(ValueError, match=r"copies \[0, 2\] are to begin anew.*ended in the last step: \[\]"):
        env.reset(asked)
    assert torch.equal(before, env.simulator.visible())


def test_bad_actions_and_a_missing_reset_are_refused() -> None:
    env = torchrl_env("association", 2, **SMALL)
    with pytest.raises(ValueError, match="call reset"):
        env.step(env.rand_action(TensorDict({}, [2])))
    seen = env.reset()
    seen["agents", "action"] = torch.full((2, 4), 40)
    with pytest.raises(ValueError, match="client_0"):
        env.step(seen)
    turns = torchrl_env("association", 2, decisions="sequential", **SMALL)
    seen = turns.reset()
    seen["action"] = torch.tensor([0, 40])
    with pytest.raises(ValueError, match=r"action of copy 1 is 40, must be in 0\.\.39"):
        turns.step(seen)


def test_it_can_be_sent_to_another_process() -> None:
    env = torchrl_env("association", 2, **SMALL)
    env.set_seed(3)
    copy = pickle.loads(pickle.dumps(env))
    assert torch.equal(env.reset()["agents", "observation"], copy.reset()["agents", "observation"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_it_moves_to_a_device() -> None:
    env = torchrl_env("association", 3, **SMALL).to("cuda")
    check_env_specs(env)
    assert env.rollout(3)["next", "agents", "reward"].is_cuda
