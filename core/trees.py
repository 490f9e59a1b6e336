"""Draws, states, decisions and costs are frozen dataclasses of arrays; these act on all their arrays at once."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .arrays import Array, namespace

T = TypeVar("T")


def tree_map(function: Callable[..., Array], first: T, *others: T) -> T:
    """Apply `function` to every array of `first`, with the same arrays of `others`; what is shared stays shared."""
    done: dict[tuple[int, ...], Array] = {}
    mapped: dict[str, Array] = {}
    for field in dataclasses.fields(first):  # type: ignore[arg-type]
        arrays = [getattr(tree, field.name) for tree in (first, *others)]
        key = tuple(map(id, arrays))
        if key not in done:
            done[key] = function(*arrays)
        mapped[field.name] = done[key]
    return type(first)(**mapped)


def take(tree: T, index: Any) -> T:
    """Return copy `index` of a batched tree."""
    return tree_map(lambda array: array[index], tree)


def add_axis(tree: T) -> T:
    """Return the tree with a leading batch axis of one."""
    return tree_map(lambda array: array[None], tree)


def stack(trees: Sequence[T]) -> T:
    """Stack unbatched trees on a new leading axis."""
    return tree_map(lambda *arrays: namespace(arrays[0]).stack(arrays), *trees)


def where(condition: Array, chosen: T, other: T) -> T:
    """Choose whole copies: `condition` `(B,)`, trees with leading axis B."""

    def select(a: Array, b: Array) -> Array:
        return namespace(a).where(condition.reshape(condition.shape + (1,) * (a.ndim - 1)), a, b)

    return tree_map(select, chosen, other)
