"""Stable-Baselines3 algorithms on the central view: one learner decides for all clients, at once or in turn."""

import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from ..core.checkpoint import prefixed, read_checkpoint, select, write_checkpoint
from ..core.checks import unknown_name
from ..core.files import write_atomically
from ..core.randomness import spread
from ..envs.system import System
from ..envs.views.central import CentralView
from .training import optimizer_tensors, restore_optimizer

ALGORITHMS = ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")
JOINT = ("a2c", "ppo")
"""Those that take a joint action of discrete choices, one entry per agent."""
CONTINUOUS = ("a2c", "ddpg", "ppo", "sac", "td3")
"""Those that take a box."""
STATE = "state.safetensors"
"""What training goes on from, beside the file for Stable-Baselines3."""
MEMORY = "replay"
COUNTS = ("num_timesteps", "exploration_rate", "_episode_num", "_n_updates", "_n_calls", "_current_progress_remaining")
"""Numbers of a model that change while it learns."""


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
        self.scored = 0
        """Transitions at the last call."""

    def _on_training_start(self) -> None:
        self._next = self.num_timesteps + self._every

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next += self._every
            store_model(self.model, self._path)
            self._advanced(self.num_timesteps)
            self.scored = self.num_timesteps
        return True


def store_model(model: BaseAlgorithm, path: Path) -> None:
    """Write a model for users of Stable-Baselines3, and beside it what `load_model` reads; each whole or not at all."""
    zipped = io.BytesIO()
    model.save(zipped)
    write_atomically(path, zipped.getvalue())
    tensors: dict[str, torch.Tensor] = {}
    for name in model.get_parameters():
        part = _attribute(model, name)
        optimizer = isinstance(part, torch.optim.Optimizer)
        tensors |= prefixed(optimizer_tensors(part) if optimizer else part.state_dict(), name)
    values: dict[str, Any] = {name: getattr(model, name) for name in COUNTS if hasattr(model, name)}
    if (weight := getattr(model, "log_ent_coef", None)) is not None:
        tensors["log_ent_coef"] = weight
    memory = getattr(model, "replay_buffer", None)
    if memory is not None:
        rows = memory.buffer_size if memory.full else memory.pos
        tensors |= {f"{MEMORY}.{name}": torch.as_tensor(array[:rows]) for name, array in _arrays(memory).items()}
        values[MEMORY] = {"pos": memory.pos, "full": memory.full}
    write_checkpoint(path.with_name(STATE), tensors, values)


def load_model(path: Path, model: BaseAlgorithm) -> None:
    """Let `model`, built alike, go on where `store_model` left one; its episodes begin anew.

    The file for Stable-Baselines3 is not read: reading it runs what it holds.

    Raises:
        FileNotFoundError: there is nothing to go on from.
        ValueError: it is damaged, or of another model.
    """
    place = path.with_name(STATE)
    tensors, values = read_checkpoint(place)
    try:
        for name in model.get_parameters():
            part, own = _attribute(model, name), select(tensors, name)
            if isinstance(part, torch.optim.Optimizer):
                restore_optimizer(part, own)
            else:
                part.load_state_dict({key: tensor for key, tensor in own.items() if not key.startswith("optimizer.")})
        for name in COUNTS:
            if hasattr(model, name):
                setattr(model, name, values[name])
        if "log_ent_coef" in tensors:
            with torch.no_grad():
                _attribute(model, "log_ent_coef").copy_(tensors["log_ent_coef"])
        memory = getattr(model, "replay_buffer", None)
        if memory is not None:
            for name, array in _arrays(memory).items():
                stored = tensors[f"{MEMORY}.{name}"].numpy()
                array[: len(stored)] = stored
            memory.pos, memory.full = values[MEMORY]["pos"], values[MEMORY]["full"]
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{place} holds another model, or is damaged: {error}") from error


def _attribute(model: BaseAlgorithm, name: str) -> Any:
    """Return what a dotted name stands for."""
    return functools.reduce(getattr, name.split("."), model)


def _arrays(memory: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a replay memory by name, a row for every step of all copies."""
    return {name: value for name, value in vars(memory).items() if isinstance(value, np.ndarray)}
