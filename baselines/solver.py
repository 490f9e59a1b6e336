"""What a solver is, and what all share: a believed problem in plain arrays, an answer in the caller's library."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np

from ..core.arrays import Array, namespace
from ..core.checks import to_numpy
from ..core.randomness import generator
from ..core.trees import tree_map

Arguments = ParamSpec("Arguments")
Problem = TypeVar("Problem")
Decision = TypeVar("Decision")
Method = Callable[Concatenate[Problem, Arguments], Decision]
"""Decides for a problem, given whatever else it takes."""


class Solver(Protocol):
    """What a baseline is: a decision from what the twin shows."""

    def __call__(self, system: Any, state: Any, rng: np.random.Generator | None = None) -> Any:
        """Return the decision for `state`; `rng` is used by solvers that draw (None: a fixed stream)."""
        ...


def stream(rng: np.random.Generator | None) -> np.random.Generator:
    """Return `rng`, or the fixed stream of solvers that are given none."""
    return generator(0, 0, 0, 1) if rng is None else rng


def plain_array(values: Array, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return `values` as a contiguous float64 NumPy array, broadcast to `shape` where one is given."""
    array = to_numpy(values)
    return np.ascontiguousarray(array if shape is None else np.broadcast_to(array, shape), np.float64)


def as_library(values: np.ndarray, array: Array, *, round_up: bool = False) -> Array:
    """Return `values` in the library and on the device of `array`; floats take its type.

    With `round_up` no float becomes smaller: a power that is rounded up still meets its deadline.
    """
    if values.dtype.kind == "f":
        narrow = values.astype(str(array.dtype).removeprefix("torch."))
        if round_up:
            narrow = np.where(narrow < values, np.nextafter(narrow, np.inf, dtype=narrow.dtype), narrow)
        values = narrow
    return namespace(array).asarray(values, device=array.device)


def any_library(
    plain: Callable[[Problem], Problem], field: str, *, round_up: bool = False
) -> Callable[[Method[Problem, Arguments, Decision]], Method[Problem, Arguments, Decision]]:
    """Let methods that are written for NumPy problems take problems of any library and answer in it.

    Args:
        plain: turns a problem into one of contiguous float64 NumPy arrays.
        field: array of the problem whose library, device and floating type the decision takes.
        round_up: see `as_library`.
    """

    def decorate(method: Method[Problem, Arguments, Decision]) -> Method[Problem, Arguments, Decision]:
        @functools.wraps(method)
        def call(problem: Problem, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Decision:
            convert = functools.partial(as_library, array=getattr(problem, field), round_up=round_up)
            return tree_map(convert, method(plain(problem), *args, **kwargs))

        return call

    return decorate


def solver(method: Callable[..., Any], *, draws: bool = False) -> Solver:
    """Turn a method `method(problem)`, or `method(problem, rng)` where it draws, into a solver of states."""

    @functools.wraps(method)
    def solve(system: Any, state: Any, rng: np.random.Generator | None = None) -> Any:
        problem = system.problem(system.believed(state))
        return method(problem, stream(rng)) if draws else method(problem)

    return solve
