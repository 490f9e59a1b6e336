"""Uniform shares in [0, 1) turned into what systems draw."""

from collections.abc import Sequence

import numpy as np

from ..core.arrays import Array, clip, like, namespace


def between(share: Array, low: float, high: float) -> Array:
    """Return numbers between low and high, any shape; both may be inf."""
    return low + share * (high - low if high > low else 0.0)


def whole_between(share: Array, low: int, high: int) -> Array:
    """Return whole numbers from low to high, each as likely, any shape."""
    xp = namespace(share)
    return clip(xp.floor(low + share * (high - low + 1)), low, high)


def one_of(share: Array, values: Sequence[float]) -> Array:
    """Return one of several values, each as likely, any shape."""
    xp = namespace(share)
    index = xp.astype(xp.floor(share * len(values)), xp.int64)
    return like(np.asarray(values), share)[clip(index, 0, len(values) - 1)]
