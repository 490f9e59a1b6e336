"""Random numbers: the one place that makes generators, and the one place that branches by library."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, torch_of

if TYPE_CHECKING:
    import torch

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


class CopyGenerator:
    """Draws for a batch as if every copy had a generator of its own, aimed at its own (seed, episode, round).

    It offers the calls of a NumPy generator that the functions below use; the first axis of every shape is the copies'.
    The first call costs one aim per copy, a later one repeats the earlier calls to find its place in the stream: a
    system that draws its uniform numbers in one call draws fast.
    """

    def __init__(self, rng: RoundGenerator, places: list[tuple[int, int, int]]) -> None:
        """Take the generator to aim and the copies' (seed, episode, round)."""
        self._rng = rng
        self._places = places
        self._earlier: list[Callable[[np.random.Generator], object]] = []

    def _each(self, shape: Shape, dtype: str, call: Callable[..., object]) -> np.ndarray:
        values = np.empty(shape, dtype)
        for place, row in zip(self._places, values, strict=True):
            generator = self._rng.at(*place)
            for earlier in self._earlier:
                earlier(generator)
            call(generator, out=row)
        scratch = np.empty(shape[1:], dtype)
        self._earlier.append(functools.partial(call, out=scratch))
        return values

    def random(self, shape: Shape, dtype: str) -> np.ndarray:
        """Draw from U(0, 1)."""
        return self._each(shape, dtype, lambda generator, out: generator.random(out=out, dtype=dtype))

    def standard_normal(self, shape: Shape, dtype: str) -> np.ndarray:
        """Draw from the standard normal distribution."""
        return self._each(shape, dtype, lambda generator, out: generator.standard_normal(out=out, dtype=dtype))

    def standard_gamma(self, parameter: float, shape: Shape, dtype: str) -> np.ndarray:
        """Draw from Gamma(parameter)."""
        return self._each(
            shape, dtype, lambda generator, out: generator.standard_gamma(parameter, out=out, dtype=dtype)
        )


def check_seed(value: Any, label: str) -> int:
    """Return `value` as an integer.

    Raises:
        ValueError: not an integer, negative, or too large for the generator's key.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise ValueError(f"{label} is {value!r}, must be an integer of at least 0")
    return int(value)


def batch_generator(device: "torch.device | None", seeds: list[int], episode: int) -> Any:
    """Make the fast generator that draws for a whole batch from this episode on: NumPy's, or one of a torch device."""
    sequence = np.random.SeedSequence((episode, *seeds))
    if device is None:
        return np.random.Generator(np.random.SFC64(sequence))
    import torch

    return torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def generator_state(rng: Any) -> Any:
    """Return the state of a generator: plain numbers for NumPy's, a tensor for torch's."""
    if torch_of(rng):
        return rng.get_state()
    state = rng.bit_generator.state
    return {**state, "state": {name: np.asarray(value).tolist() for name, value in state["state"].items()}}


def restore_generator(rng: Any, state: Any) -> None:
    """Put a generator into a state that `generator_state` returned."""
    if torch_of(rng):
        rng.set_state(state)
    else:
        words = {name: np.array(value, np.uint64) for name, value in state["state"].items()}
        rng.bit_generator.state = {**state, "state": words}


def uniform(rng: Any, shape: Shape, dtype: str) -> Array:
    """Draw from U(0, 1), with a NumPy generator or a torch generator (on its device)."""
    if torch := torch_of(rng):
        return torch.rand(shape, generator=rng, dtype=getattr(torch, dtype), device=rng.device)
    return rng.random(shape, dtype=dtype)


def normal(rng: Any, shape: Shape, dtype: str) -> Array:
    """Draw from the standard normal distribution."""
    if torch := torch_of(rng):
        return torch.randn(shape, generator=rng, dtype=getattr(torch, dtype), device=rng.device)
    return rng.standard_normal(shape, dtype=dtype)


def exponential(uniform_share: Array) -> Array:
    """Turn U(0, 1) into the power of Rayleigh fading, Exp(1), in place: the inverse distribution function; never 0."""
    if torch_of(uniform_share):
        return uniform_share.neg_().log1p_().neg_().clamp_(min=DEEPEST_FADE)
    np.subtract(1.0, uniform_share, out=uniform_share)
    np.log(uniform_share, out=uniform_share)
    np.negative(uniform_share, out=uniform_share)
    return np.maximum(uniform_share, DEEPEST_FADE, out=uniform_share)


def averaged_rayleigh_power(rng: Any, shape: Shape, blocks: int, dtype: str) -> Array:
    """Draw the power of Rayleigh fading averaged over `blocks` independent blocks: Gamma(L) / L, mean 1."""
    if torch := torch_of(rng):
        shape_parameter = torch.full(shape, float(blocks), dtype=getattr(torch, dtype), device=rng.device)
        return torch._standard_gamma(shape_parameter, generator=rng) / blocks
    return rng.standard_gamma(float(blocks), shape, dtype=dtype) / np.dtype(dtype).type(blocks)
