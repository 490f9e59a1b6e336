"""Learned schedulers of systems with hybrid actions: DDPG, and D3QN's choices with the exact allocator's numbers.

The weights are those that the package ships (`agents/pretrained`), or any file that `fedtwin-train` wrote.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..agents.d3qn import D3QN
from ..agents.ddpg import DDPG
from ..agents.hybrid import as_scores
from ..agents.weights import find_weights, shipped_weights
from ..core.arrays import Array, namespace
from ..core.checks import to_numpy, unknown_name
from ..envs.quantization import Decision as QuantizationDecision
from ..envs.quantization import QuantizationSystem
from ..envs.quantization import State as QuantizationState
from ..envs.split_point import Decision as SplitPointDecision
from ..envs.split_point import SplitPointSystem
from ..envs.split_point import State as SplitPointState
from ..envs.system import System
from . import quantization, split_point

Solver = Callable[..., Any]


def allocate_split_point(
    system: SplitPointSystem, state: SplitPointState, decision: SplitPointDecision
) -> SplitPointDecision:
    """Return the decision with the cuts of `decision` and exact shares, frequencies and powers."""
    problem = system.problem(state)
    cut = split_point.affordable_cut(split_point.plain(problem), to_numpy(decision.cut))
    return split_point.allocate(problem, cut)


def allocate_quantization(
    system: QuantizationSystem, state: QuantizationState, decision: QuantizationDecision
) -> QuantizationDecision:
    """Return the decision with the channels of `decision` and exact bits and powers."""
    return quantization.allocate(system.problem(state), decision.channel)


ALLOCATORS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "split_point": allocate_split_point,
    "quantization": allocate_quantization,
}
"""The exact continuous allocator of each system with hybrid actions."""


def decide_exactly(system: System, state: Any, scores: Array) -> Any:
    """Return the decision whose choices follow scores and whose numbers are exact.

    Args:
        system: one of `ALLOCATORS`.
        state: believed, `(..., N)`.
        scores: of every choice, in [-1, 1], `(..., N, num_actions)`.

    Raises:
        ValueError: a system without an allocator.
    """
    if system.name not in ALLOCATORS:
        raise unknown_name("system with an exact allocator", system.name, ALLOCATORS)
    xp = namespace(scores)
    numbers = xp.zeros_like(scores[..., :1]) + xp.zeros(
        system.action_size - system.num_actions, dtype=scores.dtype, device=scores.device
    )
    actions = xp.concat([scores, numbers], axis=-1)
    return ALLOCATORS[system.name](system, state, system.decide(state, actions, validate=False))


def check_fit(agent: D3QN | DDPG, system: System, **sizes: int) -> None:
    """Raise `ValueError` unless an agent takes what is seen in a system, and gives `sizes`."""
    wanted = {"observation_size": system.observation_size, **sizes}
    if agent.settings.network != "shared":
        wanted["agents"] = len(system.agents)
    for name, size in wanted.items():
        own = getattr(agent.shape, name)
        if own != size:
            raise ValueError(
                f"the weights are for {name} = {own}, {system.name} has {size}: train others with fedtwin-train"
            )


def hybrid(agent: D3QN) -> Solver:
    """Return an agent as a solver: its values order the choices, the exact allocator gives the numbers."""

    def solve(system: System, state: Any, rng: np.random.Generator | None = None) -> Any:
        """Learned choices (D3QN, one network for all agents) with exact numbers."""
        check_fit(agent, system, num_actions=system.num_actions)
        seen = system.believed(state)
        system.remember(seen)
        observation, mask = system.observe(seen, None), system.mask(seen, None)
        shape = tuple(mask.shape)
        with torch.no_grad():
            flat = torch.as_tensor(observation, device=agent.device).reshape(-1, *observation.shape[-2:])
            values = agent.averaged(flat).reshape(shape)
        legal = torch.as_tensor(mask, device=agent.device).bool()
        scores = as_scores(values.masked_fill(~legal, -torch.inf))
        own = system.agent_state(state)
        given = scores.to(own) if isinstance(own, torch.Tensor) else scores.cpu().numpy().astype(own.dtype)
        return decide_exactly(system, seen, given)

    return solve


def ddpg(agent: DDPG) -> Solver:
    """Return an agent as a solver: its actions, projected by the system to what keeps every limit."""

    def solve(system: System, state: Any, rng: np.random.Generator | None = None) -> Any:
        """Learned decisions (DDPG), projected to what keeps every limit."""
        check_fit(agent, system, num_choices=system.num_actions, action_size=system.action_size)
        seen = system.believed(state)
        system.remember(seen)
        observation, mask = system.observe(seen, None), system.mask(seen, None)
        flat = (-1, *observation.shape[-2:])
        actions = agent.act(observation.reshape(flat), mask.reshape(-1, *mask.shape[-2:]))
        return system.decide(seen, actions.reshape(*mask.shape[:-1], system.action_size), validate=False)

    return solve


LEARNERS: Mapping[str, tuple[Any, Callable[[Any], Solver]]] = {"ddpg": (DDPG, ddpg), "hybrid": (D3QN, hybrid)}


@functools.lru_cache(maxsize=16)
def _solver(kind: str, path: Path, changed: int) -> Solver:
    agent, solver = LEARNERS[kind]
    return solver(agent.load(path))


def from_file(kind: str, path: str | Path) -> Solver:
    """Return the solver of a learner ("ddpg" or "hybrid") with the weights of a file or a shipped name.

    Raises:
        FileNotFoundError: neither; the shipped names are given.
        ValueError: the file holds something else.
    """
    source = find_weights(path)
    return _solver(kind, source, source.stat().st_mtime_ns)


def shipped(system: str, kind: str) -> Solver:
    """Return the solver of the shipped weights of a system, "split_point-ddpg" for one; they are read when called."""

    def solve(system_: System, state: Any, rng: np.random.Generator | None = None) -> Any:
        decision = from_file(kind, f"{system}-{kind}")(system_, state, rng)
        return decision

    solve.__doc__ = {
        "ddpg": "Learned decisions: DDPG, projected to what keeps every limit (shipped weights).",
        "hybrid": "Learned choices, exact numbers: D3QN with the exact allocator inside (shipped weights).",
    }[kind]
    return solve


def solvers(system: str) -> dict[str, Solver]:
    """Return the learned methods of a system whose weights the package ships."""
    return {kind: shipped(system, kind) for kind in LEARNERS if f"{system}-{kind}" in shipped_weights()}


FROM_FILE: Mapping[str, Callable[[str], Solver]] = {kind: functools.partial(from_file, kind) for kind in LEARNERS}
"""Learned methods that take weights of one's own."""
