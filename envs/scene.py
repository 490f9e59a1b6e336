"""What a picture of one round shows."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a picture of one round shows; `rendering.draw_scene` turns it into a map with its bars.

    Positions are `(…, 2)` in m; `link` is the server of each client (-1: none) and `color` the channel; `loads` and
    `budgets` are named bars, budgets as used shares in [0, 1]; `colored` names the load whose bars have the links'
    colours.
    """

    title: str
    side: float
    clients: np.ndarray
    servers: np.ndarray
    link: np.ndarray
    color: np.ndarray
    num_colors: int
    loads: Mapping[str, np.ndarray]
    budgets: Mapping[str, np.ndarray]
    colored: str = ""

    @classmethod
    def of_cell(
        cls,
        title: str,
        radius: float,
        offset: np.ndarray,
        choice: Any,
        count: int,
        counted: str,
        loads: Mapping[str, np.ndarray],
        budgets: Mapping[str, np.ndarray],
    ) -> Self:
        """Return the picture of a cell with one receiver in its middle.

        Args:
            title: of the map.
            radius: of the cell in m.
            offset: of the clients from the receiver, `(N, 2)` in m.
            choice: what colours each client's link, `(N,)` integers; -1: it has none.
            count: things to choose.
            counted: title of the bars that count the links of each colour.
            loads: further bars.
            budgets: used shares.
        """
        color, middle = np.asarray(choice), np.array([[radius, radius]])
        link = np.where(color >= 0, 0, -1)
        bars = {counted: links_of(color, count), **loads}
        return cls(title, 2.0 * radius, radius + offset, middle, link, color, count, bars, budgets, counted)


def links_of(choice: Any, count: int) -> np.ndarray:
    """Return how many clients chose each of `count` things, `(count,)`; -1: none of them."""
    chosen = np.asarray(choice)
    return np.bincount(chosen[chosen >= 0], minlength=count)


def used_share(used: Any, budget: Any) -> np.ndarray:
    """Return the used share of a budget, at most 1."""
    return np.clip(np.asarray(used, np.float64) / np.asarray(budget, np.float64), 0.0, 1.0)
