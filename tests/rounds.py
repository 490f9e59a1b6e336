"""Rounds played by hand, as the simulator plays them, and what tests of any system need."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from fedtwin.core.randomness import numbers
from fedtwin.core.records import is_drawn
from fedtwin.core.trees import tree_map
from fedtwin.envs.observations import Field
from fedtwin.envs.system import Ruling, System

T = TypeVar("T")


def begin(system: System, batch: tuple[int, ...] = (), seed: int = 0) -> Any:
    """Return the state of a first round."""
    return system.start(system.draw(numbers(seed, 0, 0, batch)))


def advance(system: System, state: Any, decision: Any, draw: Any) -> Any:
    """Return the state after a round."""
    cost = system.cost(state, decision, validate=False)
    return system.advance(state, decision, draw, cost, system.foresee(state, decision, cost))


def ruling(system: System, state: Any, actions: Any) -> Ruling:
    """Return what becomes of actions in a state, as the scheduler believes it."""
    return system.rule(system.problem(state), actions)


def asked(system: System, state: Any, actions: np.ndarray) -> Any:
    """Return what actions ask for, limits aside."""
    return system.asked(system.problem(state), actions)


def random_actions(system: System, count: int, seed: int = 0) -> np.ndarray:
    """Uniform ones; of boxes also corners, and everybody asking for the least, the most and the middle of all."""
    rng = np.random.default_rng(seed)
    shape = (count, len(system.agents), *system.action_shape)
    if not system.action_size:
        counts = system.actions.counts
        return rng.integers(counts if system.action_shape else counts[0], size=shape)
    actions = rng.uniform(-1, 1, shape).astype(np.float32)
    corners = count // 4
    actions[:corners] = np.sign(actions[:corners])
    for row, value in zip(actions, (-1.0, 1.0, 0.0), strict=False):
        row[:] = value
    return actions


def filled(tree: T) -> T:
    """Return a record with arrays in place of what is drawn when it is read."""
    whole = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}  # type: ignore[arg-type]
    return type(tree)(**{name: np.array(value) if is_drawn(value) else value for name, value in whole.items()})


def to_torch(tree: Any) -> Any:
    """Return a record with tensors in place of arrays."""
    return tree_map(lambda array: torch.from_numpy(np.array(array)), tree)


def widened(tree: T) -> T:
    """Return a record with float64 in place of float32."""
    return tree_map(lambda array: array.astype(np.float64) if array.dtype == np.float32 else array, tree)


def assert_trees_close(a: Any, b: Any, rtol: float, atol: float = 0.0) -> None:
    """Compare two records field by field, in either library."""
    for field in dataclasses.fields(a):
        left, right = np.asarray(getattr(a, field.name)), np.asarray(getattr(b, field.name))
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol, err_msg=field.name)


def assert_costs(cost: Any, expected: Callable[[int], dict[str, Any]], count: int = 100) -> None:
    """Compare every field of a batch of costs with what is expected of each twin."""
    assert {field.name for field in dataclasses.fields(cost)} == set(expected(0))
    for twin in range(count):
        for name, value in expected(twin).items():
            np.testing.assert_allclose(getattr(cost, name)[twin], value, rtol=1e-12, atol=0, err_msg=f"{name} {twin}")


def normalized(field: Field, value: Any) -> Any:
    """The documented formula, one number at a time."""
    flat = [min(max(float(x), field.low), field.high) for x in np.ravel(value)]
    if field.scale == "log":
        shares = [math.log(x / field.low) / math.log(field.high / field.low) for x in flat]
    else:
        shares = [(x - field.low) / (field.high - field.low) for x in flat]
    return np.reshape(shares, np.shape(value))


def assert_observed(system: System, seen: np.ndarray, columns: Sequence[np.ndarray], atol: float = 1e-6) -> None:
    """Compare observations `(N, size)` with raw values `(N, size of the field)`, field by field."""
    offset = 0
    for field, column in zip(system.observation_fields, columns, strict=True):
        part = seen[:, offset : offset + field.size]
        np.testing.assert_allclose(part, normalized(field, column), atol=atol, err_msg=field.name)
        offset += field.size
    assert offset == system.observation_size == seen.shape[1]
