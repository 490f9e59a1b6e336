"""The methods that an evaluation knows, classical and learned: by name, with what is usual for each system."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..agents.schedulers import builders
from ..baselines import SOLVERS, solver_module
from ..baselines.solver import Solver, stream
from ..core.checks import unknown_name


def at_random(system: Any, state: Any, rng: np.random.Generator | None = None) -> Any:
    """Random actions, and what the system makes of them: the method of a system that has no other."""
    space, own = system.action_space(), system.agent_state(state)
    space.seed(int(stream(rng).integers(2**31)))
    actions = np.reshape([space.sample() for _ in range(own.size)], (*own.shape, *system.action_shape))
    return system.decide(system.believed(state), actions, validate=False)


def methods_of(system: str) -> Mapping[str, Solver]:
    """Return the methods of a system by name; those that it has of its own come first."""
    return SOLVERS[system] if system in SOLVERS else {"random": at_random}


def usual_methods(system: str) -> tuple[str, ...]:
    """Return the methods that are compared when none are named: quick at any size."""
    return tuple(getattr(solver_module(system), "DEFAULTS", methods_of(system)))


def reference_among(system: str, methods: tuple[str, ...]) -> str:
    """Return the method that others are compared with: the system's first reference among them, or their first."""
    references: tuple[str, ...] = getattr(solver_module(system), "REFERENCES", ())
    return next((name for name in references if name in methods), methods[0])


def default_reference(system: str) -> str:
    """Return the method of a system that agents are held against."""
    return reference_among(system, (*usual_methods(system), *methods_of(system)))


def find_method(system: str, method: str) -> Any:
    """Return the solver of a method's name, or of a learned method with the file of its weights after a colon.

    Raises:
        ValueError: unknown method (the nearest is named), or a file that holds something else.
        FileNotFoundError: no such file.
    """
    name, _, path = method.partition(":")
    if path:
        if name not in builders(system):
            raise unknown_name(f"method of {system} with weights", name, builders(system))
        return builders(system)[name](path)
    known = methods_of(system)
    if name not in known:
        raise unknown_name(f"method of {system}", name, known)
    return known[name]
