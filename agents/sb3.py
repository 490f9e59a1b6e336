"""Stable-Baselines3 algorithms on the central view: one learner decides for all clients, at once or in turn."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from ..core.checks import unknown_name
from ..core.randomness import spread
from ..envs.system import System
from ..envs.views.central import CentralView

ALGORITHMS = ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")
JOINT = ("a2c", "ppo")
"""Those that take a joint action of discrete choices, one entry per agent."""
CONTINUOUS = ("a2c", "ddpg", "ppo", "sac", "td3")
"""Those that take a box."""


class SB3Agent:
    """A Stable-Baselines3 model that acts as this package's agents do."""

    def __init__(self, model: BaseAlgorithm, action_size: int = 0) -> None:
        """Wrap `model`; `action_size` is how many numbers an agent's action has, 0: it is an integer."""
        self.model, self.action_size = model, action_size

    def act(self, observation: Any, mask: Any = None) -> np.ndarray:
        """Return the model's actions; it knows no masks, the environment projects what is illegal."""
        seen = np.asarray(observation)
        actions, _ = self.model.predict(seen.reshape(len(seen), -1), deterministic=True)
        if self.action_size:
            return np.asarray(actions, np.float32).reshape(*seen.shape[:-1], self.action_size)
        return np.asarray(actions, np.int64)


def make_model(algorithm: str, system: System, num_envs: int, seed: int, settings: Mapping[str, Any]) -> BaseAlgorithm:
    """Build a model on copies of the central view.

    Args:
        algorithm: a name of `ALGORITHMS`.
        system: what is simulated; with sequential decisions a step is one client's turn.
        num_envs: copies.
        seed: of the model and of the copies.
        settings: keyword arguments of the algorithm.

    Raises:
        ValueError: unknown algorithm or setting, or one that takes no joint action where decisions are simultaneous.
    """
    if algorithm not in ALGORITHMS:
        raise unknown_name("Stable-Baselines3 algorithm", algorithm, ALGORITHMS)
    if system.action_size:
        if algorithm not in CONTINUOUS:
            raise ValueError(f"{algorithm} takes no box of actions, must be one of {', '.join(CONTINUOUS)}")
    elif algorithm in ("ddpg", "sac", "td3"):
        raise ValueError(f"{algorithm} takes no discrete actions, must be one of a2c, dqn, ppo")
    elif not system.turns and algorithm not in JOINT:
        raise ValueError(
            f"{algorithm} takes no joint action: use --decisions sequential, or one network for all agents through "
            "SuperSuit (examples/stable_baselines3_supersuit.py)"
        )
    copies = DummyVecEnv([lambda: CentralView(system) for _ in range(num_envs)])
    try:
        model: BaseAlgorithm = getattr(stable_baselines3, algorithm.upper())(
            "MlpPolicy", copies, seed=seed, device="cpu", **settings
        )
    except TypeError as error:
        raise ValueError(f"settings of {algorithm}: {error}") from error
    copies.seed(spread(seed, "training"))
    return model


class Progress(BaseCallback):
    """Calls back every `every` transitions, and stores the model whole or not at all."""

    def __init__(self, every: int, path: Path, advanced: Callable[[int], None]) -> None:
        """Keep where to store and whom to tell."""
        super().__init__()
        self._every, self._path, self._advanced, self._next = every, path, advanced, every

    def _on_training_start(self) -> None:
        self._next = self.num_timesteps + self._every

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next += self._every
            store_model(self.model, self._path)
            self._advanced(self.num_timesteps)
        return True


def store_model(model: BaseAlgorithm, path: Path) -> None:
    """Write the model's zip so that a reader sees the old or the new one."""
    part = path.with_suffix(".part.zip")
    model.save(part)
    part.replace(path)


def load_model(path: Path, model: BaseAlgorithm) -> BaseAlgorithm:
    """Read a model to go on with the copies of `model`; replay memory and rollout begin anew."""
    return type(model).load(path, env=model.get_env(), device="cpu")
