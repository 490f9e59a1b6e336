"""One Stable-Baselines3 network for all clients, each of which acts by itself, through SuperSuit.

Run `python examples/stable_baselines3_supersuit.py --algorithm dqn`; `--help` lists the settings. Needs
`pip install supersuit`.
"""

from typing import Any, Literal

import fedtwin.envs as envs
import numpy as np
import supersuit
import torch
import tyro
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed


def make_model(algorithm: Literal["ppo", "dqn"], vector: Any) -> BaseAlgorithm:
    """Build the learner; every client counts as a copy of the environment."""
    if algorithm == "dqn":
        return DQN("MlpPolicy", vector, 1e-3, train_freq=2, gamma=0.0, exploration_fraction=0.5, device="cpu")
    return PPO("MlpPolicy", vector, 1e-3, n_steps=64, batch_size=128, n_epochs=10, gamma=0.0, device="cpu")


def mean_reward(env: Any, model: BaseAlgorithm | None, episodes: int) -> float:
    """Return the mean reward of a round, of the model or of random actions, in the same episodes of seed 1,000."""
    rewards = []
    rng = np.random.default_rng(0)
    for episode in range(episodes):
        seen, _ = env.reset(seed=1000, options={"episode": episode})
        while env.agents:
            if model is None:
                actions = rng.integers(env.unwrapped.system.num_actions, size=len(seen))
            else:
                actions, _ = model.predict(np.stack(list(seen.values())), deterministic=isinstance(model, DQN))
            seen, reward, *_ = env.step(dict(zip(seen, actions.tolist(), strict=True)))
            rewards.append(np.mean(list(reward.values())))
    return float(np.mean(rewards))


def main(
    algorithm: Literal["ppo", "dqn"] = "ppo", steps: int = 16384, clients: int = 4, episodes: int = 8
) -> tuple[float, float]:
    """Train one network for all clients, who stay in their places, and compare it with random actions.

    Clients act at once and do not see what others choose; the indicator of who is who lets them part.

    Args:
        algorithm: learner.
        steps: decisions of single clients to learn from.
        clients: clients of the system.
        episodes: episodes that the comparison plays.

    Returns:
        Mean reward of a round, trained and random.
    """
    torch.set_num_threads(1)
    set_random_seed(0)
    env = supersuit.agent_indicator_v0(envs.parallel_env("association", num_clients=clients, positions="fixed"))
    env.reset(seed=0)
    vector = supersuit.pettingzoo_env_to_vec_env_v1(env)
    vector = supersuit.concat_vec_envs_v1(vector, 1, num_cpus=1, base_class="stable_baselines3")
    model = make_model(algorithm, vector)
    model.learn(steps)
    trained, random = mean_reward(env, model, episodes), mean_reward(env, None, episodes)
    print(
        f"{algorithm} through SuperSuit, {clients} clients with one network, {model.num_timesteps:,} decisions: "
        f"mean reward {trained:.3f}, random actions {random:.3f}"
    )
    return trained, random


if __name__ == "__main__":
    tyro.cli(main)
