"""One Stable-Baselines3 learner decides for all clients, at once or one client after the other.

Run `python examples/stable_baselines3_central.py --algorithm dqn --decisions sequential`; `--help` lists the settings.
"""

from typing import Literal

import fedtwin.envs as envs
import numpy as np
import torch
import tyro
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm


def make_model(algorithm: Literal["ppo", "dqn"], env: envs.CentralView, seed: int) -> BaseAlgorithm:
    """Build the learner; DQN needs one Discrete action a step, which sequential decisions have."""
    if algorithm == "dqn":
        return DQN("MlpPolicy", env, learning_starts=256, train_freq=4, gamma=0.9, seed=seed, device="cpu")
    return PPO("MlpPolicy", env, 1e-3, n_steps=256, batch_size=64, n_epochs=10, gamma=0.9, seed=seed, device="cpu")


def mean_reward(env: envs.CentralView, model: BaseAlgorithm | None, episodes: int) -> float:
    """Return the mean reward of a round, of the model or of random actions, in the same episodes of seed 1,000."""
    total, rounds = 0.0, 0
    env.action_space.seed(0)
    for episode in range(episodes):
        seen, _ = env.reset(seed=1000, options={"episode": episode})
        over = False
        while not over:
            action = (
                env.action_space.sample()
                if model is None
                else model.predict(seen, deterministic=isinstance(model, DQN))[0]
            )
            seen, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            total, rounds = total + reward, rounds + ("system_cost" in info)
    return float(np.divide(total, rounds))


def main(
    algorithm: Literal["ppo", "dqn"] = "ppo",
    decisions: Literal["sequential", "simultaneous"] = "sequential",
    steps: int = 8192,
    clients: int = 8,
    episodes: int = 8,
) -> tuple[float, float]:
    """Train on the central view and compare with random actions.

    Args:
        algorithm: learner; dqn asks for sequential decisions.
        decisions: one client's turn a step, or all clients' actions at once (MultiDiscrete).
        steps: environment steps to learn from.
        clients: clients of the system.
        episodes: episodes that the comparison plays.

    Returns:
        Mean reward of a round, trained and random.

    Raises:
        ValueError: dqn with simultaneous decisions.
    """
    if algorithm == "dqn" and decisions == "simultaneous":
        raise ValueError("algorithm is dqn and decisions are simultaneous: DQN has no MultiDiscrete actions")
    torch.set_num_threads(1)
    env = envs.central_env("association", num_clients=clients, decisions=decisions)
    model = make_model(algorithm, env, seed=0)
    model.learn(steps)
    trained, random = mean_reward(env, model, episodes), mean_reward(env, None, episodes)
    print(
        f"{algorithm} on {decisions} decisions of {clients} clients, {model.num_timesteps:,} steps: "
        f"mean reward {trained:.3f}, random actions {random:.3f}"
    )
    return trained, random


if __name__ == "__main__":
    tyro.cli(main)
