"""The training loop: checkpoints that survive a kill, held-out scores, best-model keeping, early stop, logs."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gymnasium.vector import VectorEnv

from ..core.checkpoint import read_checkpoint, require_same, write_checkpoint
from ..core.files import remove_parts
from ..core.log import Facts, Log
from ..core.settings import Settings, parameter

if TYPE_CHECKING:
    import torch

CHECKPOINT, BEST, STEP = "checkpoint.safetensors", "best.safetensors", "transitions"
MODEL = "model.zip"
"""The model of a run of Stable-Baselines3."""

Score = Callable[[Any], Mapping[str, float]]
"""Scores an agent on held-out twins: named numbers, "ratio" among them, the lower the better."""


@dataclasses.dataclass(frozen=True)
class Schedule(Settings):
    """How long training runs and what happens on the way."""

    steps: int = parameter(4_000_000, at_least=1, doc="transitions to learn from, all copies together")
    score_every: int = parameter(100_000, at_least=1, doc="transitions between scores on held-out twins")
    checkpoint_every: int = parameter(5, at_least=1, doc="scores between checkpoints")
    patience: int = parameter(0, at_least=0, doc="stop after so many scores without improvement; 0: never")


class Trainable(Protocol):
    """What the loop needs of an agent."""

    transitions: int

    def begin(self, env: VectorEnv[Any, Any, Any], steps: int, seed: int | None = None) -> None:
        """Prepare to learn from `env`."""

    def advance(self) -> None:
        """Play one step in every copy and learn where it is due."""

    def take_measures(self) -> Facts:
        """Return what was measured since the last call."""

    def checkpoint(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
        """Return all that is needed to go on."""

    def resume(self, tensors: "Mapping[str, torch.Tensor]", values: Mapping[str, Any]) -> None:
        """Go on where `checkpoint` was called, after `begin`."""

    def save(self, path: Path) -> None:
        """Write what is needed to act."""


def train(
    agent: Trainable,
    env: VectorEnv[Any, Any, Any],
    schedule: Schedule,
    *,
    seed: int | None = None,
    folder: str | Path | None = None,
    score: Score | None = None,
    identity: Mapping[str, Any] | None = None,
    advanced: Callable[[Facts], None] = lambda facts: None,
) -> Facts:
    """Train `agent` on `env`; a run that was killed goes on with the same call and ends with the same weights.

    Args:
        agent: learns; at the end it is as trained last, the best stands in `folder/best.safetensors`.
        env: vector environment; to resume it must be one of `fedtwin.envs.vector_env`.
        schedule: how long, and how often to score and to store.
        seed: of the environment; None: the agent's.
        folder: where checkpoint, best weights and logs go; None: nowhere.
        score: held-out score; None: what was trained last counts as best.
        identity: what the run belongs to; a checkpoint of another identity is refused.
        advanced: hears of the facts of every score.

    Returns:
        The facts of the last score.

    Raises:
        ValueError: the folder holds a run of another identity or schedule, or a damaged checkpoint.
    """
    agent.begin(env, schedule.steps, seed)
    known = json.loads(json.dumps({"seed": seed, **dataclasses.asdict(schedule), **(identity or {})}, default=str))
    state: dict[str, Any] = {"best": None, "since_best": 0, "scores": 0, "facts": {}}
    log = None
    if folder is not None:
        folder = Path(folder)
        state = opened(agent, folder, known) or state
        log = Log(folder, agent.transitions, step=STEP)
    began, before = time.perf_counter(), agent.transitions
    while agent.transitions < schedule.steps and not finished(state, schedule):
        agent.advance()
        if agent.transitions < min((state["scores"] + 1) * schedule.score_every, schedule.steps):
            continue
        rate = (agent.transitions - before) / (time.perf_counter() - began)
        facts = {"transitions": agent.transitions, **agent.take_measures(), **(score(agent) if score else {})}
        keep_best(agent, folder, state, facts)
        if log is not None:
            log.add({**facts, "steps_per_second": rate})
            store(agent, log.path.parent / CHECKPOINT, schedule, state, known)
        advanced({**facts, "steps_per_second": rate})
        began, before = time.perf_counter(), agent.transitions
    return dict(state["facts"])


def opened(agent: Trainable, folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make a run's folder; return the state of the loop where a run in it goes on, None where one begins.

    Raises:
        ValueError: the folder holds another run, or a damaged checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MODEL).exists():
        raise ValueError(f"{folder} holds a run of Stable-Baselines3: choose another folder or delete it")
    remove_parts(folder)
    return resume(agent, folder / CHECKPOINT, identity) if (folder / CHECKPOINT).exists() else None


def store(
    agent: Trainable, path: Path, schedule: Schedule, state: Mapping[str, Any], identity: Mapping[str, Any]
) -> None:
    """Write a checkpoint where one is due: after every few scores, and at the end."""
    over = agent.transitions >= schedule.steps or finished(state, schedule)
    if over or state["scores"] % schedule.checkpoint_every == 0:
        tensors, values = agent.checkpoint()
        write_checkpoint(path, tensors, {"agent": values, "run": state, "identity": identity})


def optimizer_tensors(optimizer: "torch.optim.Optimizer") -> "dict[str, torch.Tensor]":
    """Return what an optimiser remembers of its parameters, by "index.name"."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: "torch.optim.Optimizer", tensors: "Mapping[str, torch.Tensor]") -> None:
    """Give back what `optimizer_tensors` returned."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, _, kind = name.partition(".")
        moments.setdefault(int(index), {})[kind] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def finished(state: Mapping[str, Any], schedule: Schedule) -> bool:
    """Whether the score has not improved for so long that training stops."""
    return bool(schedule.patience) and state["since_best"] >= schedule.patience


def keep_best(agent: Trainable, folder: Path | None, state: dict[str, Any], facts: Facts) -> None:
    """Count the score and write the weights if they are the best so far."""
    ratio = facts.get("ratio")
    better = ratio is None or state["best"] is None or ratio < state["best"]
    state.update(scores=state["scores"] + 1, since_best=0 if better else state["since_best"] + 1, facts=facts)
    if better:
        state["best"] = ratio
        if folder is not None:
            agent.save(folder / BEST)
    if state["best"] is not None:
        facts["best_ratio"] = state["best"]


def resume(agent: Trainable, path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Put `agent` into the state of a checkpoint and return the state of the loop.

    Raises:
        ValueError: the checkpoint belongs to another run, or is damaged.
    """
    tensors, values = read_checkpoint(path)
    require_same(path, values["identity"], identity)
    agent.resume(tensors, values["agent"])
    return dict(values["run"])
