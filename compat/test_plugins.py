"""The environments inside the libraries that people already use; run by `make compat`."""

from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
import supersuit
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from stable_baselines3 import DQN, PPO
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import check_env_specs


def test_supersuit_vector_environment_trains_ppo() -> None:
    vector = supersuit.pettingzoo_env_to_vec_env_v1(envs.parallel_env("association", num_clients=4, max_cycles=5))
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
def test_torchrl_wrapper_matches_its_specs() -> None:
    env = PettingZooWrapper(envs.parallel_env("association", num_clients=4, max_cycles=5))
    check_env_specs(env)
    assert env.rollout(3).batch_size[0] == 3
