"""One Stable-Baselines3 learner decides cuts, shares, frequencies and powers of all vehicles.

Run `python examples/stable_baselines3_split_point.py --algorithm sac`; `--help` lists the settings.
"""

from typing import Literal

import fedtwin.envs as envs
import numpy as np
import torch
import tyro
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise


def make_model(algorithm: Literal["sac", "td3"], env: envs.CentralView, seed: int) -> BaseAlgorithm:
    """Build the learner; TD3 explores with noise, SAC by itself."""
    if algorithm == "sac":
        return SAC("MlpPolicy", env, 1e-3, learning_starts=256, batch_size=64, gamma=0.0, seed=seed, device="cpu")
    size = int(np.prod(env.action_space.shape or ()))
    noise = NormalActionNoise(np.zeros(size), np.full(size, 0.3))
    return TD3(
        "MlpPolicy", env, 1e-3, learning_starts=256, batch_size=64, gamma=0.0, action_noise=noise, seed=seed,
        device="cpu",
    )  # fmt: skip


def mean_time(env: envs.CentralView, model: BaseAlgorithm | None, episodes: int) -> float:
    """Return the mean time of a round in s, of the model or of random actions, in the same episodes of seed 1,000."""
    times = []
    env.action_space.seed(0)
    for episode in range(episodes):
        seen, _ = env.reset(seed=1000, options={"episode": episode})
        over = False
        while not over:
            action = env.action_space.sample() if model is None else model.predict(seen, deterministic=True)[0]
            seen, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            times.append(info["round_time"])
    return float(np.mean(times))


def main(
    algorithm: Literal["sac", "td3"] = "sac", steps: int = 4096, vehicles: int = 6, episodes: int = 8
) -> tuple[float, float]:
    """Train on the central view and compare with random actions.

    Args:
        algorithm: learner.
        steps: rounds to learn from.
        vehicles: vehicles in the cell.
        episodes: episodes that the comparison plays.

    Returns:
        Mean time of a round in s, trained and random.
    """
    torch.set_num_threads(1)
    env = envs.central_env("split_point", num_vehicles=vehicles)
    model = make_model(algorithm, env, seed=0)
    model.learn(steps)
    trained, random = mean_time(env, model, episodes), mean_time(env, None, episodes)
    print(
        f"{algorithm} on split_point with {vehicles} vehicles, {model.num_timesteps:,} rounds: "
        f"mean round time {trained:.2f} s, random actions {random:.2f} s"
    )
    return trained, random


if __name__ == "__main__":
    tyro.cli(main)
