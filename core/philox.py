"""The counter-based generator Philox 4x32-10: a number is a function of where it stands, not of those before it.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011. Only words of
32 bits: NumPy, torch (which has no unsigned 64-bit integers), compiled loops and JAX compute the same ones.
"""

from typing import Any

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
INCREMENTS = 0x9E3779B9, 0xBB67AE85
LANES, ROUNDS = 4, 10


def block(a: Any, b: Any, c: Any, d: Any, low: Any, high: Any) -> tuple[Any, Any, Any, Any]:
    """Return the four words of the counter (a, b, c, d) under the key (low, high).

    Each is an integer in 0..2^32-1: a Python one, or int64 of any shape. A product that overflows int64 wraps around,
    and what the shift fills in from the sign is masked away.
    """
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (
            ((second >> 32) & WORD) ^ b ^ low,
            second & WORD,
            ((first >> 32) & WORD) ^ d ^ high,
            first & WORD,
        )
        low, high = (low + INCREMENTS[0]) & WORD, (high + INCREMENTS[1]) & WORD
    return a, b, c, d
