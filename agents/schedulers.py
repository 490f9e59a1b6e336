"""Agents as solvers: DDPG's decisions, and D3QN's choices with exact numbers, for every system with such actions.

What a system has beside these stands in the module of its stem: `SOLVERS` by name, and `FROM_FILE`, which builds them
from weights. The weights are those that the package ships (`agents/pretrained/<system>-<method>-v<version>`), or any
file that `fedtwin-train` wrote.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..baselines import own_module, solver_module
from ..baselines.solver import Solver
from ..envs import make_system
from ..envs.system import System
from .hybrid import as_scores, decide_exactly
from .weights import find_weights, shipped_weights

if TYPE_CHECKING:
    from .d3qn import D3QN
    from .ddpg import DDPG

Build = Callable[[str], Solver]
"""Builds a method from the path, or the shipped name, of its weights."""


def d3qn_class() -> "type[D3QN]":
    """Import D3QN, and torch with it."""
    from .d3qn import D3QN

    return D3QN


def ddpg_class() -> "type[DDPG]":
    """Import DDPG, and torch with it."""
    from .ddpg import DDPG

    return DDPG


def check_fit(agent: "D3QN | DDPG", system: System, **sizes: int) -> None:
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


def hybrid(agent: "D3QN") -> Solver:
    """Return an agent as a solver: its values order the choices, the exact allocator gives the numbers."""
    import torch

    def solve(system: System, state: Any, rng: np.random.Generator | None = None) -> Any:
        """Learned choices (D3QN, one network for all agents) with exact numbers."""
        check_fit(agent, system, num_actions=system.num_actions)
        seen = system.believed(state)
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


def ddpg(agent: "DDPG") -> Solver:
    """Return an agent as a solver: its actions, projected by the system to what keeps every limit."""

    def solve(system: System, state: Any, rng: np.random.Generator | None = None) -> Any:
        """Learned decisions (DDPG), projected to what keeps every limit."""
        check_fit(agent, system, num_choices=system.num_actions, action_size=system.action_size)
        seen = system.believed(state)
        observation, mask = system.observe(seen, None), system.mask(seen, None)
        flat = (-1, *observation.shape[-2:])
        actions = agent.act(observation.reshape(flat), mask.reshape(-1, *mask.shape[-2:]))
        return system.decide(seen, actions.reshape(*mask.shape[:-1], system.action_size), validate=False)

    return solve


LEARNERS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Solver]]] = {
    "ddpg": (ddpg_class, ddpg),
    "hybrid": (d3qn_class, hybrid),
}


@functools.lru_cache(maxsize=16)
def _solver(kind: str, path: Path, changed: int) -> Solver:
    learner, solver = LEARNERS[kind]
    return solver(learner().load(path))


def from_file(kind: str, path: str | Path) -> Solver:
    """Return the solver of a learner ("ddpg" or "hybrid") with the weights of a file or a shipped name.

    Raises:
        FileNotFoundError: neither; the shipped names are given.
        ValueError: the file holds something else.
    """
    source = find_weights(path)
    return _solver(kind, source, source.stat().st_mtime_ns)


def shipped(system: str, kind: str) -> Solver:
    """Return the solver of the shipped weights `<system>-<kind>`; they are read when called."""
    name = f"{system}-{kind}"

    def solve(system: System, state: Any, rng: np.random.Generator | None = None) -> Any:
        return from_file(kind, name)(system, state, rng)

    solve.__doc__ = {
        "ddpg": "Learned decisions: DDPG, projected to what keeps every limit (shipped weights).",
        "hybrid": "Learned choices, exact numbers: D3QN with the exact allocator inside (shipped weights).",
    }[kind]
    return solve


def methods(system: str) -> dict[str, Solver]:
    """Return the learned methods of a system whose weights the package ships."""
    own: Mapping[str, Solver] = getattr(own_module(__package__, system), "SOLVERS", {})
    return {**own, **{kind: shipped(system, kind) for kind in LEARNERS if f"{system}-{kind}" in shipped_weights()}}


@functools.cache
def builders(system: str) -> Mapping[str, Build]:
    """Return the learned methods of a system that take weights of one's own."""
    own: Mapping[str, Build] = getattr(own_module(__package__, system), "FROM_FILE", {})
    box = make_system(system).action_size > 0
    suits = {"ddpg": box, "hybrid": box and hasattr(solver_module(system), "complete")}
    return {**{kind: functools.partial(from_file, kind) for kind in LEARNERS if suits[kind]}, **own}
