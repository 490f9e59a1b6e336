"""Numbers that are functions of their place: the published generator, its quality, and one result in every library."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from battery import suspicious
from fedtwin.core import philox, randomness
from fedtwin.core.randomness import SPACES, Numbers, numbers, spread
from fedtwin.envs.fading import Fading, on_channel

KNOWN = {
    (0, 0, 0, 0, 0, 0): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    (0xFFFFFFFF,) * 6: (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0): (
        0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1,
    ),
}  # fmt: skip
"""Words of Philox 4x32-10 that its authors publish (Random123, kat_vectors), by counter and key."""

DTYPES = ["float64", "float32"]


@pytest.mark.parametrize("kind", [int, np.int64, torch.int64])
def test_words_are_the_published_ones(kind: Any) -> None:
    for given, expected in KNOWN.items():
        if kind is int:
            assert philox.block(*given) == expected
            continue
        make = np.array if kind is np.int64 else torch.tensor
        found = philox.block(*(make([number], dtype=kind) for number in given))
        assert tuple(word.item() for word in found) == expected


def shares(library: str, count: int, dtype: str, compiled: Callable[[bool], None]) -> np.ndarray:
    """Shares of 5 copies, as a library makes them."""
    compiled(library == "loops")
    seeds: Any = np.arange(5) + 2**62 if library != "torch" else torch.arange(5) + 2**62
    rng = Numbers(seeds, 2**32 - 1, np.arange(5) if library != "torch" else torch.arange(5), 7)
    rng.take(3)
    return np.asarray(rng.uniform((count,), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 4, 7])
def test_shares_are_equal_in_every_library(count: int, dtype: str, compiled: Callable[[bool], None]) -> None:
    found = [shares(library, count, dtype, compiled) for library in ("loops", "arrays", "torch")]
    assert found[0].shape == (5, count)
    assert found[0].dtype == dtype
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    words = np.array([philox.block(3, copy, 2**32 - 1, 7, copy, 2**30) for copy in range(5)])
    unused = 0 if dtype == "float64" else 9
    np.testing.assert_array_equal(found[0][:, :4], ((words >> unused) + 0.5)[:, :count] * 2.0 ** (unused - 32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ends_are_never_reached(dtype: str) -> None:
    unused = randomness.UNUSED_BITS[dtype]
    ends = (np.array([0, 2**32 - 1]) >> unused).astype(dtype) + np.dtype(dtype).type(0.5)
    ends = ends * np.dtype(dtype).type(2.0 ** (unused - 32))
    assert 0.0 < ends[0] < ends[1] < 1.0
    assert (randomness.exponential(ends.copy()) > 0.0).all()


def test_a_number_does_not_depend_on_the_batch_or_on_those_before() -> None:
    batch = numbers(3, 1, 2, (4, 2)).uniform((2, 3), "float64")
    assert batch.shape == (4, 2, 2, 3)
    np.testing.assert_array_equal(batch.reshape(8, 2, 3)[5], numbers(8, 1, 2).uniform((2, 3), "float64"))
    first, second = numbers(0, 0, 0), numbers(0, 0, 0)
    assert first.take(2) == 0
    second.uniform((5,), "float32")
    np.testing.assert_array_equal(first.uniform((9,), "float64"), second.uniform((9,), "float64"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_transforms_are_equal_in_both_libraries(dtype: str) -> None:
    ours, theirs = Numbers(np.arange(50), 0, 0), Numbers(torch.arange(50), 0, 0)
    for name in ("normal", "exponential"):
        a, b = (getattr(rng, name)((40,), dtype) for rng in (ours, theirs))
        exact = dtype == "float64"
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12 if exact else 1e-5, atol=0.0 if exact else 1e-6)
        assert a.mean() == pytest.approx(float(name == "exponential"), abs=0.06)
        assert a.var() == pytest.approx(1.0, abs=0.15)


def test_a_column_of_float32_is_negated_as_it_should_be() -> None:
    column = Numbers(np.arange(40), 0, 0).exponential((1,), "float32")
    np.testing.assert_allclose(column, Numbers(np.arange(40), 0, 0).exponential((1,), "float64"), rtol=1e-4)


def series(direction: str, count: int = 2**16) -> np.ndarray:
    """Words along one coordinate of their place; a block is read as a whole."""
    line = np.arange(count // 4)
    still = np.zeros_like(line)
    block, cycle, episode, seed = (
        (line if direction == name else still) for name in ("index", "round", "episode", "seed")
    )
    return np.stack(philox.block(block, cycle, episode, 0, seed, still), axis=-1).ravel()


@pytest.mark.parametrize("direction", ["index", "round", "episode", "seed"])
def test_words_pass_a_battery_along_every_coordinate(direction: str) -> None:
    assert suspicious(series(direction)) == []


def test_the_battery_notices_a_weak_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(philox, "ROUNDS", 2)
    assert len(suspicious(series("index"))) >= 5
    counted = np.arange(2**16) * 2**16
    assert len(suspicious(counted)) >= 5
    assert "ranks" in suspicious(np.random.default_rng(0).integers(2**31, size=2**16) * 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", ["loops", "arrays", "torch"])
@pytest.mark.parametrize(("servers", "blocks"), [(4, 1), (3, 1), (1, 1), (6, 1), (2, 3), (4, 2)])
def test_fading_is_the_same_read_singly_or_as_a_whole(
    servers: int, blocks: int, library: str, dtype: str, compiled: Callable[[bool], None]
) -> None:
    compiled(library == "loops")
    make: Any = torch.from_numpy if library == "torch" else np.asarray
    rng = Numbers(make(np.arange(6).reshape(3, 2)), 1, 4)
    rng.uniform((5,), dtype)
    fading = Fading.drawn(rng, (7, servers, 5), blocks, dtype)
    after = rng.uniform((3,), "float64")
    whole = fading.full()
    assert tuple(whole.shape) == fading.shape == (3, 2, 7, servers, 5)
    assert str(whole.dtype).endswith(dtype)
    assert float(whole.min()) > 0.0
    channel = np.random.default_rng(0).integers(-1, 5, size=(3, 2, 7))
    own, entries = fading.at(make(channel)), on_channel(whole, make(channel))
    # A logarithm may be rounded differently by its place in a register.
    np.testing.assert_allclose(np.asarray(own), np.asarray(entries), rtol=1e-15 if dtype == "float64" else 2e-7)
    compiled(True)
    other = Numbers(np.arange(6).reshape(3, 2), 1, 4)
    other.uniform((5,), dtype)
    expected = Fading.drawn(other, (7, servers, 5), blocks, dtype).full()
    np.testing.assert_allclose(np.asarray(whole), expected, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(after), other.uniform((3,), "float64"))


def test_fading_takes_the_numbers_behind_those_before() -> None:
    rng = numbers(3, 1, 4)
    rng.uniform((5,), "float64")  # Two blocks.
    fading = Fading.drawn(rng, (2, 4, 3), 1, "float64").full()
    for client, channel in np.ndindex(2, 3):
        words = np.array(philox.block(2 + 3 * client + channel, 4, 1, 0, 3, 0))
        np.testing.assert_allclose(fading[client, :, channel], -np.log((words + 0.5) / 2**32), rtol=1e-14)


def test_fading_averages_independent_blocks() -> None:
    rng = numbers(0, 0, 0, (500,))
    single, several = (np.array(Fading.drawn(rng, (16, 4, 10), blocks, "float64")) for blocks in (1, 4))
    for fading, blocks in ((single, 1), (several, 4)):
        assert fading.mean() == pytest.approx(1.0, abs=0.01)
        assert fading.var() == pytest.approx(1.0 / blocks, rel=0.03)
    table = np.corrcoef(single.reshape(500, -1)[:, :40].T)
    assert abs(table - np.eye(40)).max() < 0.2


def test_runs_share_no_seed() -> None:
    copies = randomness.RUN_COPIES
    spans = sorted(
        (spread(seed, space), spread(seed, space) + copies)
        for space in SPACES
        for seed in (0, 1, 2, 1000, randomness.RUNS - 1)
    )
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert spans[0][0] > 2**60
    assert spans[-1][1] <= 2**63
    with pytest.raises(ValueError, match=f"seed is {2**40}, must be an integer of at least 0 and below {2**40}"):
        spread(2**40, "training")
