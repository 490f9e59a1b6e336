"""SmallCrush at a small size: the ten tests of P. L'Ecuyer and R. Simard, TestU01 (ACM TOMS 33, 2007), as p-values."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
from scipy import stats


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """Return the p-value of counts; neighboring cells that expect less than 5 are joined."""
    joined: list[list[float]] = [[0.0, 0.0]]
    for pair in zip(counts.tolist(), expected.tolist(), strict=True):
        if joined[-1][1] >= 5.0:
            joined.append([0.0, 0.0])
        joined[-1] = [a + b for a, b in zip(joined[-1], pair, strict=True)]
    if joined[-1][1] < 5.0 and len(joined) > 1:
        last = joined.pop()
        joined[-1] = [a + b for a, b in zip(joined[-1], last, strict=True)]
    found, wanted = np.array(joined).T
    return float(stats.chi2.sf(np.sum((found - wanted) ** 2 / wanted), len(joined) - 1))


def tail(count: int, mean: float) -> float:
    """Return the p-value of a Poisson count, small in either tail."""
    return float(min(1.0, 2.0 * min(stats.poisson.cdf(count, mean), stats.poisson.sf(count - 1, mean))))


def bits_of(words: np.ndarray) -> np.ndarray:
    """Return the bits of words, the highest first."""
    return np.unpackbits(words.astype(">u4").view(np.uint8))


def birthday_spacings(words: np.ndarray) -> float:
    """Many birthdays in few days: spacings that are equal."""
    days, births = 2**24, 2**9
    groups = np.sort(words[: len(words) // births * births].reshape(-1, births) >> 8, axis=1)
    spacings = np.sort(np.diff(groups, axis=1), axis=1)
    return tail(int((np.diff(spacings, axis=1) == 0).sum()), len(groups) * births**3 / (4 * days))


def collisions(words: np.ndarray) -> float:
    """Balls in urns: how many fall into a taken one."""
    urns, balls = 2**20, 2**11
    groups = words[: len(words) // balls * balls].reshape(-1, balls) >> 12
    found = sum(balls - len(np.unique(group)) for group in groups)
    return tail(found, len(groups) * (balls - urns + urns * (1.0 - 1.0 / urns) ** balls))


def gaps(words: np.ndarray) -> float:
    """How long the numbers stay away from an interval."""
    share, longest = 1 / 16, 100
    waits = np.minimum(np.diff(np.flatnonzero(words < 2**32 * share)) - 1, longest)
    chance = share * (1 - share) ** np.arange(longest + 1)
    chance[-1] = (1 - share) ** longest
    return chi_square(np.bincount(waits, minlength=longest + 1), len(waits) * chance)


def poker(words: np.ndarray) -> float:
    """How many different cards there are in a hand."""
    cards, hand = 16, 16
    hands = (words[: len(words) // hand * hand] >> 28).reshape(-1, hand)
    different = np.array([len(set(row)) for row in hands.tolist()])
    ways = [1.0] + [0.0] * cards
    for _ in range(hand):
        ways = [(ways[n] * n if n else 0.0) + (ways[n - 1] * (cards - n + 1) if n else 0.0) for n in range(cards + 1)]
    return chi_square(np.bincount(different, minlength=cards + 1), len(hands) * np.array(ways) / cards**hand)


def coupons(words: np.ndarray) -> float:
    """How many numbers it takes until all coupons were seen."""
    kinds, longest = 8, 60
    waits, seen, since = [], set(), 0
    for kind in (words >> 29).tolist():
        seen.add(kind)
        since += 1
        if len(seen) == kinds:
            waits.append(min(since, longest))
            seen, since = set(), 0
    signs = [(-1) ** k * math.comb(kinds, k) for k in range(kinds + 1)]
    done = [sum(s * (1 - k / kinds) ** n for k, s in enumerate(signs)) for n in range(longest + 1)]
    chance = np.diff([*done[:-1], 1.0], prepend=0.0)
    return chi_square(np.bincount(waits, minlength=longest + 1), len(waits) * chance)


def maxima(words: np.ndarray) -> float:
    """The largest of several numbers, brought back to an even spread."""
    largest = (words[: len(words) // 6 * 6].reshape(-1, 6).max(axis=1) + 0.5) / 2**32
    return float(stats.kstest(largest**6, "uniform").pvalue)


def weights(words: np.ndarray) -> float:
    """How many of 64 numbers lie in an interval."""
    counts = (words[: len(words) // 64 * 64].reshape(-1, 64) < 2**32 // 4).sum(axis=1)
    return chi_square(np.bincount(counts, minlength=65), len(counts) * stats.binom.pmf(np.arange(65), 64, 0.25))


def ranks(words: np.ndarray) -> float:
    """Rank over GF(2) of matrices of 32 words."""
    size, counts = 32, np.zeros(3)
    for rows in words[: len(words) // size * size].reshape(-1, size).tolist():
        rank, left = 0, list(rows)
        for bit in range(size):
            pivot = next((row for row in left if row >> bit & 1), None)
            if pivot is not None:
                rank += 1
                left.remove(pivot)
                left = [row ^ pivot if row >> bit & 1 else row for row in left]
        counts[min(2, size - rank)] += 1
    full = math.prod(1 - 2.0**-k for k in range(1, size + 1))
    one_less = 2.0**-1 * math.prod((1 - 2.0 ** (i - size)) ** 2 / (1 - 2.0 ** (i - size + 1)) for i in range(size - 1))
    return chi_square(counts[::-1], counts.sum() * np.array([1 - full - one_less, one_less, full]))


def hamming(words: np.ndarray) -> float:
    """Whether the number of ones of a word depends on that of the word before."""
    ones = bits_of(words[: len(words) // 2 * 2]).reshape(-1, 2, 32).sum(axis=2)
    group = np.digitize(ones, [15, 17])
    table = np.zeros((3, 3))
    np.add.at(table, tuple(group.T), 1)
    chance = np.diff(stats.binom.cdf([-1, 14, 16, 32], 32, 0.5))
    return chi_square(table.ravel(), len(ones) * np.outer(chance, chance).ravel())


def walks(words: np.ndarray) -> float:
    """Where random walks of 128 steps end."""
    ends = bits_of(words[: len(words) // 4 * 4]).reshape(-1, 128).sum(axis=1)
    return chi_square(np.bincount(ends, minlength=129), len(ends) * stats.binom.pmf(np.arange(129), 128, 0.5))


TESTS = (birthday_spacings, collisions, gaps, poker, coupons, maxima, weights, ranks, hamming, walks)


def p_values(words: np.ndarray) -> Mapping[str, float]:
    """Return the p-value of every test, of words `(n,)` in 0..2^32-1."""
    return {test.__name__: test(words) for test in TESTS}


def suspicious(words: np.ndarray, least: float = 1e-4) -> list[str]:
    """Return the tests whose p-value is too small, or too near 1 for a fit by chance."""
    found = p_values(np.asarray(words, np.int64))
    return list(itertools.chain(name for name, p in found.items() if not least < p < 1.0 - 1e-6 or np.isnan(p)))
