"""Where the mask of legal actions goes: into `info`, or into the observation as in PettingZoo's board games."""

from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from .checks import unknown_name

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
