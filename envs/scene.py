"""What a picture of one round shows."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a picture of one round shows; `rendering.draw_scene` turns it into a map with its bars.

    Positions are `(…, 2)` in m; `link` is the server of each client (-1: none) and `colour` the channel; `loads` and
    `budgets` are named bars, budgets as used shares in [0, 1]; `coloured` names the load whose bars have the links'
    colours.
    """

    title: str
    side: float
    clients: np.ndarray
    servers: np.ndarray
    link: np.ndarray
    colour: np.ndarray
    num_colours: int
    loads: Mapping[str, np.ndarray]
    budgets: Mapping[str, np.ndarray]
    coloured: str = ""
