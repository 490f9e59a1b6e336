"""Random numbers: the one place that makes generators, and the one place that branches by library.

What a round draws are `Numbers`: functions of where they stand. Whatever else takes numbers one after the other (orders
of samples, stochastic solvers, learners) has a generator.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import philox
from .arrays import Array, arange_like, cast, namespace, torch_of
from .compiling import worth_compiling

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]


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


SHARED_DRAWS = "a copy's draws are its own, as fast as those of the whole batch"
"""What became of the option `shared_draws`."""

EPISODES = 1 << 32
"""Episodes of a seed."""


def check_seed(value: Any, label: str, below: int = 1 << 63) -> int:
    """Return `value` as an integer.

    Raises:
        ValueError: not an integer, negative, or not below a limit: seeds are the keys of generators.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < below:
        limit = "" if not isinstance(value, int) or value < below else f" and below {below}"
        raise ValueError(f"{label} is {value!r}, must be an integer of at least 0{limit}")
    return int(value)


def torch_generator(device: "torch.device", seed: int, stream: int) -> "torch.Generator":
    """Make a generator of torch, on its device; streams of one seed are independent."""
    import torch

    word = np.random.SeedSequence((stream, seed)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(word >> np.uint64(1)))


UNUSED_BITS: Mapping[str, int] = {"float64": 0, "float32": 9}
"""Bits of a word that a share has no room for."""


class Places(NamedTuple):
    """Where the numbers of a round are, in every copy of a batch."""

    seed: Array
    """`(B,)` in 0..2^63-1."""
    episode: Array
    """`(B,)` in 0..2^32-1."""
    cycle: Array
    """`(B,)` in 0..2^32-1."""
    stream: int


@functools.cache
def _compiled() -> Callable[..., None]:
    """Return the compiled loop, which is loaded when numbers are first drawn."""
    from .philox_kernel import fill

    return fill


def shares(places: Places, blocks: Array, dtype: str) -> Array:
    """Return the words of blocks as evenly spread shares in (0, 1): (word + 1/2) / 2^32.

    Args:
        places: in the library, and on the device, of what is returned.
        blocks: numbers of the blocks of each copy `(B, n)`, or of all `(1, n)`.
        dtype: "float64"; or "float32", which has room for the upper 23 bits of a word.

    Returns:
        `(B, 4 n)`, never 0 or 1.
    """
    copies, count = places.seed.shape[0], blocks.shape[1]
    if isinstance(blocks, np.ndarray) and worth_compiling(copies * count):
        found = np.empty((copies, count, philox.LANES), dtype)
        _compiled()(*places, blocks, UNUSED_BITS[dtype], found)
        return found.reshape(copies, -1)
    seed, episode, cycle = (place[:, None] for place in places[:3])
    words = philox.block(blocks, cycle, episode, places.stream, seed & philox.WORD, seed >> 32)
    xp, unused = namespace(blocks), UNUSED_BITS[dtype]
    whole = cast(xp.stack(words, axis=-1).reshape(copies, -1) >> unused, getattr(xp, dtype))
    return (whole + 0.5) * 2.0 ** (unused - 32)


class Numbers:
    """Random numbers of a round in every copy of a batch: each a function of (seed, episode, round, stream, index).

    Neither the other copies nor the library changes them. A call takes the indices behind those of the call before,
    beginning with a whole block of `philox`; all values are independent.
    """

    def __init__(self, seed: Any, episode: Any, cycle: Any, stream: int = 0) -> None:
        """Stand at the first number.

        Args:
            seed: integers in 0..2^63-1 of any shape, which is that of the batch; NumPy's, or tensors on their device.
            episode: integers in 0..2^32-1, like `seed` or one for all.
            cycle: the round, likewise.
            stream: 0 for the network; what else needs numbers of the same round takes another.
        """
        xp = namespace(seed) if hasattr(seed, "shape") else np
        seed = xp.asarray(seed, dtype=xp.int64)
        self.batch = tuple(seed.shape)
        own = [place if hasattr(place, "shape") else xp.zeros_like(seed) + place for place in (episode, cycle)]
        self.places = Places(seed.reshape(-1), own[0].reshape(-1), own[1].reshape(-1), stream)
        self._next = 0

    def take(self, blocks: int) -> int:
        """Keep the next blocks for whoever asks, and return the number of the first."""
        first, self._next = self._next, self._next + blocks
        return first

    def uniform(self, shape: Shape, dtype: str) -> Array:
        """Return shares `(*batch, *shape)` in (0, 1), evenly spread; never 0 or 1."""
        count = math.prod(shape)
        blocks = -(-count // philox.LANES)
        numbers = arange_like(blocks, self.places.seed)[None] + self.take(blocks)
        return shares(self.places, numbers, dtype)[:, :count].reshape(*self.batch, *shape)

    def normal(self, shape: Shape, dtype: str) -> Array:
        """Return values `(*batch, *shape)` of the standard normal distribution, by its inverse."""
        share = self.uniform(shape, dtype)
        if torch := torch_of(share):
            return torch.special.ndtri(share)
        from scipy.special import ndtri

        return ndtri(share)

    def exponential(self, shape: Shape, dtype: str) -> Array:
        """Return values `(*batch, *shape)` of Exp(1), the power of Rayleigh fading; never 0."""
        return exponential(self.uniform(shape, dtype))


def exponential(share: Array) -> Array:
    """Turn shares in (0, 1), which are lost, into values of Exp(1): the inverse of its distribution function."""
    if torch_of(share):
        return share.log_().neg_()
    logarithm = np.log(share, out=share)
    # A column of an array is copied: NumPy 2.4's `negative` of float32 goes wrong on it in place.
    return np.negative(logarithm, out=logarithm if logarithm.flags.c_contiguous else None)


def numbers(seed: int, episode: int, cycle: int, copies: Shape = (), stream: int = 0) -> Numbers:
    """Return the numbers of a round: of one copy, or of `copies` in a batch, the i-th of which has the seed + i."""
    return Numbers(seed + np.arange(math.prod(copies)).reshape(copies), episode, cycle, stream)


SPACES: Mapping[str, int] = {"training": 1 << 62, "held_out": 1 << 61}
"""Where the seeds of what is neither played nor evaluated begin: a run never trains on what it is scored on."""
RUN_COPIES, RUNS = 1 << 20, 1 << 40
"""Seeds of a run, and runs of a space."""


def spread(seed: int, space: str) -> int:
    """Return the seed of copy 0 of a run: runs whose seeds differ share no copy, and those of two spaces neither.

    Raises:
        ValueError: a seed that is negative, or not below 2^40.
    """
    return SPACES[space] + check_seed(seed, "seed", below=RUNS) * RUN_COPIES
