"""Random numbers: the one place that makes generators, and the one place that branches by library."""

import math
from typing import Any

import numpy as np
import torch

from ..twin.arrays import Array

Shape = tuple[int, ...]

DEEPEST_FADE = 2.0**-26
"""Fading power is cut off here, 78 dB down, because a uniform float32 can be 0 and a link of no gain has no end."""


class RoundGenerator:
    """A counter-based generator (Philox) that is aimed at a round.

    What it draws depends on (seed, episode, round, stream) alone, never on what was drawn or decided before. Aiming
    costs a microsecond, so one object serves every copy of a vector environment.
    """

    def __init__(self) -> None:
        """Start at no round in particular: call `at` before drawing."""
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state

    def at(self, seed: int, episode: int, cycle: int, stream: int = 0) -> np.random.Generator:
        """Return the generator of a round; it is valid until the next call.

        Stream 0 draws the network; a stochastic solver takes another stream of the same round.
        """
        counter = self._state["state"]
        counter["key"][:] = seed, episode
        counter["counter"][:] = 0, 0, cycle, stream
        self._state["buffer_pos"] = 4
        self._state["has_uint32"] = 0
        self._bits.state = self._state
        return self._generator


def generator(seed: int, episode: int, cycle: int, stream: int = 0) -> np.random.Generator:
    """Make a generator of its own for one round; see `RoundGenerator.at`."""
    return RoundGenerator().at(seed, episode, cycle, stream)


def check_seed(value: Any, label: str) -> int:
    """Return `value` as an integer.

    Raises:
        ValueError: not an integer, negative, or too large for the generator's key.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise ValueError(f"{label} is {value!r}, must be an integer of at least 0")
    return int(value)


def batch_generator(device: torch.device | None, seed: int, episode: int, copies: int) -> Any:
    """Make the fast generator that draws for a whole batch from this episode on: NumPy's, or one of a torch device."""
    sequence = np.random.SeedSequence((seed, episode, copies))
    if device is None:
        return np.random.Generator(np.random.SFC64(sequence))
    return torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def uniform(rng: Any, shape: Shape, dtype: str) -> Array:
    """Draw from U(0, 1), with a NumPy generator or a torch generator (on its device)."""
    if isinstance(rng, torch.Generator):
        return torch.rand(shape, generator=rng, dtype=getattr(torch, dtype), device=rng.device)
    return rng.random(shape, dtype=dtype)


def normal(rng: Any, shape: Shape, dtype: str) -> Array:
    """Draw from the standard normal distribution."""
    if isinstance(rng, torch.Generator):
        return torch.randn(shape, generator=rng, dtype=getattr(torch, dtype), device=rng.device)
    return rng.standard_normal(shape, dtype=dtype)


def rayleigh_power(rng: Any, shape: Shape, blocks: int, dtype: str) -> Array:
    """Draw the power of Rayleigh fading averaged over `blocks` independent blocks: Gamma(L) / L, mean 1, never 0."""
    if isinstance(rng, torch.Generator):
        kind = getattr(torch, dtype)
        if blocks == 1:
            power = torch.empty(shape, dtype=kind, device=rng.device).exponential_(generator=rng)
            return power.clamp_(min=DEEPEST_FADE)
        shape_parameter = torch.full(shape, float(blocks), dtype=kind, device=rng.device)
        return torch._standard_gamma(shape_parameter, generator=rng) / blocks
    if blocks > 1:
        return rng.standard_gamma(float(blocks), shape, dtype=dtype) / np.dtype(dtype).type(blocks)
    # The inverse distribution function, in place: faster over arrays than NumPy's ziggurat.
    power = rng.random(shape, dtype=dtype)
    np.subtract(np.dtype(dtype).type(1.0), power, out=power)
    np.log(power, out=power)
    np.negative(power, out=power)
    return np.maximum(power, np.dtype(dtype).type(DEEPEST_FADE), out=power)


def scaled_uniform(rng: Any, shape: Shape, low: float, high: float, dtype: str) -> Array:
    """Draw from U(low, high); an infinite `high` gives `low` everywhere (and the same stream afterwards)."""
    share = uniform(rng, shape, dtype)
    width = high - low if math.isfinite(high) else 0.0
    return low + share * width
