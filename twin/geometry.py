"""Where things stand: positions on the plane and distances between them."""

import math

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import Array, namespace


def square_border(*, count: int, side: float) -> NDArray[np.float64]:
    """Place `count` points evenly on the border of a square, its corners first.

    Zhao et al. put M = 4 edge servers on the corners. Fewer points start with two opposite corners; more of them
    divide the edges evenly, opposite edges first.

    Args:
        count: number of points, at least 1.
        side: side of the square in m.

    Returns:
        Positions `(count, 2)` in m.
    """
    corners = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    edges = ((0, 2), (1, 3), (2, 1), (3, 0))
    extra = max(count - 4, 0)
    points = list(corners[:count])
    for number, (start, end) in enumerate(edges):
        on_edge = extra // 4 + (number < extra % 4)
        shares = np.arange(1, on_edge + 1) / (on_edge + 1)
        points += [corners[start] + share * (corners[end] - corners[start]) for share in shares]
    return side * np.array(points)


def distances(*, clients: Array, servers: Array) -> Array:
    """Distance of every client to every server.

    Args:
        clients: positions `(..., N, 2)` in m.
        servers: positions `(M, 2)` in m.

    Returns:
        Distances `(..., N, M)` in m.
    """
    xp = namespace(clients)
    offset = clients[..., :, None, :] - servers
    return xp.sqrt(xp.sum(offset * offset, axis=-1))


def from_polar(*, distance: Array, angle: Array) -> Array:
    """Place what is `distance` `(...)` in m away at an `angle` `(...)` in rad; positions `(..., 2)` in m."""
    xp = namespace(distance)
    return xp.stack([distance * xp.cos(angle), distance * xp.sin(angle)], axis=-1)


def half_chord(*, radius: float, offset: float) -> float:
    """Half the length in m of the road inside a round cell, passed at `offset` from its centre."""
    return math.sqrt(radius**2 - offset**2)


def dwell_time(*, position: Array, speed: Array, half_length: float) -> Array:
    """Time until a vehicle leaves the cell: remaining chord over speed. Slides, parts 1 and 2.

    Args:
        position: along the road, from the point nearest to the centre, in driving direction, `(...)` in m.
        speed: `(...)` in m/s.
        half_length: the road leaves the cell here, in m.

    Returns:
        Time `(...)` in s.
    """
    return (half_length - position) / speed
