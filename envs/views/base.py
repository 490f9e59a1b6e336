"""What views share: one agent's action, and where its mask goes: into `info`, or into the observation."""

from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from ...core.checks import unknown_name

MaskStyle = Literal["info", "observation"]


def check_mask_style(style: MaskStyle) -> MaskStyle:
    """Return the style.

    Raises:
        ValueError: no such style.
    """
    if style not in get_args(MaskStyle):
        raise unknown_name("mask", str(style), get_args(MaskStyle))
    return style


def masked_space(own: spaces.Space[Any], size: int, style: MaskStyle, name: str) -> spaces.Space[Any]:
    """Return the observation space, with the mask's `(size,)` int8 beside it where the style asks for that."""
    if style == "info":
        return own
    return spaces.Dict({"observation": own, name: spaces.Box(0, 1, (size,), np.int8)})


def masked_observation(observation: Any, mask: Any, style: MaskStyle, name: str) -> Any:
    """Return the observation, with the mask beside it where the style asks for that."""
    return observation if style == "info" else {"observation": observation, name: mask}


def one_action(space: spaces.Space[Any], value: Any, label: str) -> np.ndarray:
    """Return one agent's action, int64 or float32.

    Raises:
        ValueError: not of the space; names the agent (`label`), the value and the limit.
    """
    array = np.asarray(value)
    if isinstance(space, spaces.Box):
        limit = f"{space.shape[0]} numbers in {space.low.min():g}..{space.high.max():g}"
        fits = array.shape == space.shape and array.dtype.kind == "f"
        if not fits or not bool(np.all((array >= space.low) & (array <= space.high))):
            raise ValueError(f"action of {label} is {value!r}, must be {limit}")
        return array.astype(np.float32)
    assert isinstance(space, spaces.Discrete)
    last = int(space.n) - 1
    if array.shape != () or array.dtype.kind not in "iu" or not 0 <= array <= last:
        raise ValueError(f"action of {label} is {value!r}, must be an integer in 0..{last}")
    return array.astype(np.int64)
