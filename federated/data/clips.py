"""Clips for intention recognition: an object moves, and the label says how (after Zhao et al., section VI).

The task of Zhao et al. is to tell a nurse's intention from 10 consecutive frames; their videos are not public. Here a
handwritten digit stands for the object and one of C motions for the intention: a single frame tells little of it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ...core import randomness
from ...core.checks import unknown_name
from .dataset import Dataset, check_whole, digits


class Motion(NamedTuple):
    """What changes from the first frame to the last, each in -1, 0 or 1."""

    right: int = 0
    down: int = 0
    growth: int = 0
    turn: int = 0
    """1: clockwise."""


MOTIONS: Mapping[str, Motion] = {
    "left": Motion(right=-1),
    "right": Motion(right=1),
    "up": Motion(down=-1),
    "down": Motion(down=1),
    "grow": Motion(growth=1),
    "shrink": Motion(growth=-1),
    "turn left": Motion(turn=-1),
    "turn right": Motion(turn=1),
}

HALF_SIZE = 0.35, 0.55
"""Half the digit's side midway, in half frames; the frame reaches from -1 to 1."""
TRAVEL = 0.25, 0.75
"""Way from the first frame to the last, in half frames."""
GROWTH = math.log(1.25), math.log(1.8)
"""Logarithm of the ratio between the larger and the smaller size."""
TURN = math.radians(30), math.radians(100)
"""Angle from the first frame to the last, in radians."""
REACH = 1.2
"""How far the edge of an upright digit may get from the middle, in half frames: its margins are mostly empty."""

PIXELS_AT_ONCE = 2**22
"""Pixels rendered together; the sampling grid takes 8 bytes for each."""


@dataclasses.dataclass(frozen=True)
class Poses:
    """Where the digits are, `(n, frames)` each; lengths in half frames, angles clockwise in radians."""

    right: Tensor
    down: Tensor
    half_size: Tensor
    angle: Tensor

    def slice(self, part: slice) -> "Poses":
        """Return those of some clips."""
        return Poses(self.right[part], self.down[part], self.half_size[part], self.angle[part])

    def to_digit(self) -> Tensor:
        """Return the maps from places in the frame to places in the digit, `(n * frames, 2, 3)`.

        A place p in the frame shows R(angle)^T (p - centre) / half_size of the digit.
        """
        cos, sin = self.angle.cos() / self.half_size, self.angle.sin() / self.half_size
        rows = [
            torch.stack([cos, sin, -cos * self.right - sin * self.down], dim=-1),
            torch.stack([-sin, cos, sin * self.right - cos * self.down], dim=-1),
        ]
        return torch.stack(rows, dim=-2).reshape(-1, 2, 3)


def _poses(motion: np.ndarray, frames: int, rng: np.random.Generator) -> Poses:
    """Draw poses for clips whose motions are the rows of `motion`, `(n, 4)`.

    Midway through the clip place, size and angle have the same distribution for every motion.
    """
    count = len(motion)
    half_size, travel, growth, turn = (rng.uniform(*limits, count) for limits in (HALF_SIZE, TRAVEL, GROWTH, TURN))
    change = motion * np.stack([travel, travel, growth, turn], axis=1)
    room = np.maximum(REACH - half_size - travel / 2, 0.0)
    middle_right, middle_down = (rng.uniform(-1.0, 1.0, count) * room for _ in range(2))
    middle = np.stack([middle_right, middle_down, np.log(half_size), rng.uniform(0.0, 2 * np.pi, count)], axis=1)
    time = np.linspace(-0.5, 0.5, frames)
    path = torch.from_numpy((middle[..., None] + change[..., None] * time).astype(np.float32))
    right, down, log_size, angle = path.unbind(dim=1)
    return Poses(right, down, log_size.exp(), angle)


def render(objects: Tensor, poses: Poses, size: int) -> Tensor:
    """Render one clip per object: `(n, 1, 8, 8)` to `(n, frames, 1, size, size)`, bilinear."""
    count, frames = poses.right.shape
    grid = affine_grid(poses.to_digit(), [count * frames, 1, size, size], align_corners=False)
    rendered = grid_sample(objects.repeat_interleave(frames, dim=0), grid, align_corners=False)
    return rendered.reshape(count, frames, 1, size, size)


def _check(motions: Sequence[str], noise: float) -> None:
    for motion in motions:
        if motion not in MOTIONS:
            raise unknown_name("motion", motion, MOTIONS)
    if not motions or len(set(motions)) < len(motions):
        raise ValueError(f"motions are {list(motions)}, must be at least one and all different")
    if not (isinstance(noise, int | float | np.number) and 0 <= noise < math.inf):
        raise ValueError(f"noise is {noise!r}, must be a finite number of at least 0")


def clips(
    count: int,
    *,
    frames: int = 10,
    size: int = 16,
    motions: Sequence[str] = tuple(MOTIONS),
    seed: int = 0,
    noise: float = 0.1,
) -> Dataset:
    """Render clips of a digit that performs one motion each; the label is the motion's place in `motions`.

    Digit, place, orientation, size and speed are drawn for each clip. Classes differ by at most one in number and
    come in random order. All of it depends on the arguments alone.

    Args:
        count: clips.
        frames: frames of a clip, at least 2.
        size: height and width of a frame in pixels, at least 8.
        motions: names out of `MOTIONS`, the classes.
        seed: of all draws.
        noise: standard deviation of the Gaussian noise of each pixel, before clipping to [0, 1].

    Returns:
        Inputs `(count, frames, 1, size, size)` in [0, 1].

    Raises:
        ValueError: an unknown motion, one given twice, or a number out of range.
    """
    for name, value, least in (("count", count, 1), ("frames", frames, 2), ("size", size, 8)):
        check_whole(value, name, least)
    _check(motions, noise)
    seed = randomness.check_seed(seed, "seed")
    rng, noise_rng = (randomness.generator(seed, 0, 0, stream) for stream in (1, 2))
    labels = rng.permutation(np.arange(count) % len(motions))
    objects = digits().inputs
    chosen = torch.from_numpy(rng.integers(len(objects), size=count))
    poses = _poses(np.array([MOTIONS[name] for name in motions])[labels], frames, rng)
    inputs = torch.empty(count, frames, 1, size, size)
    step = max(PIXELS_AT_ONCE // (frames * size * size), 1)
    for first in range(0, count, step):
        part = slice(first, first + step)
        rendered = render(objects[chosen[part]], poses.slice(part), size)
        if noise:
            drawn = noise_rng.standard_normal(tuple(rendered.shape), dtype=np.float32)
            rendered.add_(torch.from_numpy(drawn), alpha=float(noise))
        inputs[part] = rendered.clamp_(0.0, 1.0)
    return Dataset(inputs, torch.from_numpy(labels), len(motions))
