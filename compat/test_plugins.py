"""The environments inside the libraries that people already use; run by `make compat`."""

from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
import supersuit
from fedtwin.envs import MaskStyle
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from stable_baselines3 import DQN, PPO, SAC, TD3
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import check_env_specs

BOXES = ["split_point", "quantization"]
"""Systems whose actions are boxes."""


@pytest.mark.parametrize("name", ["association", *BOXES])
def test_supersuit_vector_environment_trains_ppo(name: str) -> None:
    agents = "num_vehicles" if name == "split_point" else "num_clients"
    vector = supersuit.pettingzoo_env_to_vec_env_v1(envs.parallel_env(name, max_cycles=5, **{agents: 4}))
    vector = supersuit.concat_vec_envs_v1(vector, 1, num_cpus=1, base_class="stable_baselines3")
    model = PPO("MlpPolicy", vector, n_steps=10, batch_size=20, n_epochs=1, device="cpu")
    model.learn(40)
    assert model.num_timesteps >= 40


@pytest.mark.parametrize("algorithm", [DQN, PPO])
def test_stable_baselines_on_the_sequential_central_view(algorithm: Any) -> None:
    env = envs.central_env("association", decisions="sequential", num_clients=4, max_cycles=5)
    settings = {"learning_starts": 10} if algorithm is DQN else {"n_steps": 20, "batch_size": 20, "n_epochs": 1}
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(40)
    assert model.num_timesteps >= 40


@pytest.mark.parametrize("algorithm", [SAC, TD3])
@pytest.mark.parametrize("name", BOXES)
def test_stable_baselines_on_boxes(name: str, algorithm: Any) -> None:
    env = envs.central_env(name, max_cycles=5)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", learning_starts=10, batch_size=8)
    model.learn(20)
    assert model.num_timesteps >= 20


@pytest.mark.parametrize("name", BOXES)
def test_rllib_wrapper_plays_boxes(name: str) -> None:
    env = ParallelPettingZooEnv(envs.parallel_env(name, max_cycles=3))
    seen, _ = env.reset(seed=0)
    for rounds in range(1, 4):
        actions = {agent: env.get_action_space(agent).sample() for agent in seen}
        seen, rewards, terminated, truncated, _ = env.step(actions)
        assert np.isfinite(list(rewards.values())).all()
        assert (terminated["__all__"] or truncated["__all__"]) is (rounds == 3)


def test_rllib_wrapper_plays_an_episode() -> None:
    env = ParallelPettingZooEnv(envs.parallel_env("association", num_clients=4, max_cycles=3))
    seen, _ = env.reset(seed=0)
    ended: dict[Any, bool] = {"__all__": False}
    rounds = 0
    while not ended["__all__"]:
        seen, rewards, terminated, truncated, _ = env.step({agent: 0 for agent in seen})
        assert np.isfinite(list(rewards.values())).all()
        ended = {"__all__": terminated["__all__"] or truncated["__all__"]}
        rounds += 1
    assert rounds == 3


@pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested:UserWarning")
@pytest.mark.parametrize("name", ["association", *BOXES])
def test_torchrl_wrapper_matches_its_specs(name: str) -> None:
    # Of infos it takes "action_mask" alone, or what stands in the first of them and in all others.
    mask: MaskStyle = "observation" if name in BOXES else "info"
    env = PettingZooWrapper(envs.parallel_env(name, mask=mask, max_cycles=5))
    check_env_specs(env)
    assert env.rollout(3).batch_size[0] == 3
