"""Draws, states, decisions and costs are frozen dataclasses of arrays; these act on all their arrays at once."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .arrays import Array, namespace
from .records import is_drawn

T = TypeVar("T")


def tree_map(function: Callable[..., Array], first: T, *others: T) -> T:
    """Apply `function` to every array of `first`, with the same arrays of `others`; what is shared stays shared."""
    done: dict[tuple[int, ...], Array] = {}
    mapped: dict[str, Array] = {}
    for field in dataclasses.fields(first):  # type: ignore[arg-type]
        arrays = [getattr(tree, field.name) for tree in (first, *others)]
        key = tuple(map(id, arrays))
        if key not in done:
            done[key] = _apply(function, arrays)
        mapped[field.name] = done[key]
    return type(first)(**mapped)


def _apply(function: Callable[..., Array], values: Sequence[Any]) -> Any:
    """Apply a function to arrays; where all are drawn when they are read, to what says where their numbers are."""
    drawn = list(map(is_drawn, values))
    if all(drawn):
        return values[0].mapped(function, *values[1:])
    return function(*(value.full() if late else value for value, late in zip(values, drawn, strict=True)))


def flatten(tree: Any) -> dict[str, Array]:
    """Return the arrays of a tree by name; of what is drawn when it is read, where its numbers are."""
    found: dict[str, Array] = {}
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        found.update(
            {f"{field.name}.{k}": v for k, v in value.arrays().items()} if is_drawn(value) else {field.name: value}
        )
    return found


def unflatten(like: T, arrays: Mapping[str, Array]) -> T:
    """Return the tree of the kind of `like` that `flatten` took apart."""
    values = {}
    for field in dataclasses.fields(like):  # type: ignore[arg-type]
        own = getattr(like, field.name)
        if is_drawn(own):
            values[field.name] = dataclasses.replace(own, **{n: arrays[f"{field.name}.{n}"] for n in own.arrays()})
        else:
            values[field.name] = arrays[field.name]
    return type(like)(**values)


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
