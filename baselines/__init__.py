"""Solvers by name. `SOLVERS[system][method](system, state, rng=None)` returns a decision.

The solvers of a system stand in the module of its stem: its `SOLVERS` by name; `DEFAULTS`, those that an evaluation
compares when none are named; `REFERENCES`, those that others are compared with, the first of them that takes part;
and, where actions are hybrid, `complete(problem, decision)`, which gives the choices of a decision their exact numbers.
"""

import functools
import importlib
import importlib.util
from collections.abc import Iterator, Mapping, MutableMapping
from types import ModuleType

from ..envs import SYSTEMS
from .solver import Solver

PROVIDERS = ["fedtwin.agents.schedulers"]
"""Modules that add methods, by their dotted names: `methods(system)` returns solvers by name.

They are loaded when somebody asks for a name that no solver here has, or for all names: nothing here imports an agent.
"""


def own_module(package: str, system: str) -> ModuleType | None:
    """Return the module of a package that bears the stem of a system; None where there is none."""
    name = f"{package}.{system}"
    return None if importlib.util.find_spec(name) is None else importlib.import_module(name)


def solver_module(system: str) -> ModuleType | None:
    """Return the module with the solvers of a system; None where there is none."""
    return own_module(__name__, system)


@functools.cache
def provided(system: str) -> Mapping[str, Solver]:
    """Return the methods that `PROVIDERS` add to a system."""
    found: dict[str, Solver] = {}
    for name in PROVIDERS:
        found |= importlib.import_module(name).methods(system)
    return found


class Methods(MutableMapping[str, Solver]):
    """The methods of one system by name: its own solvers, then those that `PROVIDERS` add."""

    def __init__(self, system: str) -> None:
        """Keep the name; the system's own solvers are loaded when somebody asks for one."""
        self._system = system

    @functools.cached_property
    def _own(self) -> dict[str, Solver]:
        return dict(importlib.import_module(f"{__name__}.{self._system}").SOLVERS)

    def _names(self) -> dict[str, Solver]:
        return {**self._own, **provided(self._system)}

    def __getitem__(self, name: str) -> Solver:
        """Return a method; only a name that is not the system's own loads the providers."""
        return self._own[name] if name in self._own else provided(self._system)[name]

    def __iter__(self) -> Iterator[str]:
        """Yield every name, the system's own first."""
        return iter(self._names())

    def __len__(self) -> int:
        """Count the names."""
        return len(self._names())

    def __setitem__(self, name: str, method: Solver) -> None:
        """Add or replace a method."""
        self._own[name] = method

    def __delitem__(self, name: str) -> None:
        """Remove a method that the system has of its own."""
        del self._own[name]


SOLVERS: Mapping[str, MutableMapping[str, Solver]] = {
    name: Methods(name) for name in SYSTEMS if importlib.util.find_spec(f"{__name__}.{name}")
}
