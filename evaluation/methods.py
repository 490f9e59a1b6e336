"""The methods that an evaluation knows, classical and learned: by name, with what is usual for each system."""

from typing import Any

from ..agents.schedulers import builders
from ..baselines import SOLVERS, solver_module
from ..core.checks import unknown_name


def usual_methods(system: str) -> tuple[str, ...]:
    """Return the methods that are compared when none are named: quick at any size."""
    return tuple(getattr(solver_module(system), "DEFAULTS", SOLVERS[system]))


def reference_among(system: str, methods: tuple[str, ...]) -> str:
    """Return the method that others are compared with: the system's first reference among them, or their first."""
    references: tuple[str, ...] = getattr(solver_module(system), "REFERENCES", ())
    return next((name for name in references if name in methods), methods[0])


def default_reference(system: str) -> str:
    """Return the method of a system that agents are held against."""
    return reference_among(system, (*usual_methods(system), *SOLVERS[system]))


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
    if name not in SOLVERS[system]:
        raise unknown_name(f"method of {system}", name, SOLVERS[system])
    return SOLVERS[system][name]
