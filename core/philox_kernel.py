"""Philox in compiled loops; see `philox`, whose source it compiles."""

from typing import Any

from . import philox
from .compiling import cached_njit

WORD = philox.WORD
block = cached_njit()(philox.block)


@cached_njit()
def fill(seed: Any, episode: Any, cycle: Any, stream: int, blocks: Any, shift: int, out: Any) -> None:
    """Write uniform shares in (0, 1).

    Args:
        seed: `(B,)`.
        episode: `(B,)`.
        cycle: `(B,)`.
        stream: of the round.
        blocks: numbers of the blocks of each copy `(B, n)`, or of all `(1, n)`.
        shift: bits of a word that the floating type of `out` has no room for.
        out: `(B, n, 4)`.
    """
    scale = 1.0 / (1 << (32 - shift))
    for copy in range(out.shape[0]):
        row = copy if blocks.shape[0] > 1 else 0
        low, high = seed[copy] & WORD, seed[copy] >> 32
        for place in range(out.shape[1]):
            a, b, c, d = block(blocks[row, place], cycle[copy], episode[copy], stream, low, high)
            out[copy, place, 0] = ((a >> shift) + 0.5) * scale
            out[copy, place, 1] = ((b >> shift) + 0.5) * scale
            out[copy, place, 2] = ((c >> shift) + 0.5) * scale
            out[copy, place, 3] = ((d >> shift) + 0.5) * scale
