"""Partitions keep what they promise whatever the labels, and rendered clips show what their labels say."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin.federated.data import clips as clips_module
from fedtwin.federated.data.clips import MOTIONS, Poses, clips, render
from fedtwin.federated.data.dataset import Dataset, digits
from fedtwin.federated.data.partition import (
    PARTITIONS,
    by_indices,
    dirichlet,
    earth_movers_distance,
    iid,
    label_distribution,
    make_partition,
    one_label,
    shards,
)
from hypothesis import given, settings
from hypothesis import strategies as st

OPTIONS: dict[str, dict[str, Any]] = {
    "iid": {},
    "dirichlet": {"alpha": 0.3},
    "one_label": {},
    "shards": {"shards_per_client": 2},
}
some_labels = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(np.array)
some_clients = st.integers(1, 9)
some_seeds = st.integers(0, 2**63 - 1)
often = settings(max_examples=60, deadline=None, database=None)


def used(parts: list[np.ndarray]) -> list[int]:
    """Return the samples that are used; hold that the parts are what all partitions promise."""
    assert all(part.dtype == np.int64 and part.ndim == 1 and part.size > 0 for part in parts)
    joined = np.concatenate(parts).tolist()
    assert len(set(joined)) == len(joined)
    return sorted(joined)


def too_few(call: Callable[[], Any], labels: np.ndarray, needed: int) -> bool:
    """Return whether there are too few samples; hold that the call then says which client goes short."""
    if labels.size >= needed:
        return False
    with pytest.raises(ValueError, match=r"^client_\d gets fewer than \d samples: there are"):
        call()
    return True


@given(some_labels, some_clients, some_seeds)
@often
def test_iid_uses_everything_evenly(labels: np.ndarray, clients: int, seed: int) -> None:
    if too_few(lambda: iid(labels, clients, seed), labels, clients):
        return
    parts = iid(labels, clients, seed)
    assert len(parts) == clients
    assert used(parts) == list(range(labels.size))
    sizes = [part.size for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(some_labels, some_clients, some_seeds, st.sampled_from([1e-9, 0.1, 1.0, 1e9]), st.integers(1, 5))
@often
def test_dirichlet_uses_everything_and_leaves_no_client_short(
    labels: np.ndarray, clients: int, seed: int, alpha: float, at_least: int
) -> None:
    if too_few(lambda: dirichlet(labels, clients, alpha, seed, at_least), labels, clients * at_least):
        return
    parts = dirichlet(labels, clients, alpha, seed, at_least)
    assert len(parts) == clients
    assert used(parts) == list(range(labels.size))
    assert min(part.size for part in parts) >= at_least


@given(some_labels, some_clients, some_seeds)
@often
def test_one_label_gives_one_label(labels: np.ndarray, clients: int, seed: int) -> None:
    present = np.unique(labels)
    labels = np.concatenate([labels, np.repeat(present, clients)])  # So that every label is enough for all clients.
    parts = one_label(labels, clients, seed)
    kinds = [set(labels[part].tolist()) for part in parts]
    assert len(parts) == clients
    assert all(len(kind) == 1 for kind in kinds)
    # Every label is dealt before any is dealt again, and a dealt label is used up.
    dealt = set().union(*kinds)
    assert len(dealt) == min(clients, present.size)
    assert used(parts) == np.flatnonzero(np.isin(labels, list(dealt))).tolist()


@given(some_labels, some_clients, some_seeds, st.integers(1, 4))
@often
def test_shards_use_everything(labels: np.ndarray, clients: int, seed: int, each: int) -> None:
    if too_few(lambda: shards(labels, clients, each, seed), labels, clients * each):
        return
    parts = shards(labels, clients, each, seed)
    assert len(parts) == clients
    assert used(parts) == list(range(labels.size))
    sizes = [part.size for part in parts]
    assert max(sizes) - min(sizes) <= each


def test_shards_hold_few_labels() -> None:
    labels = np.repeat(np.arange(10), 100)[np.random.Generator(np.random.PCG64(1)).permutation(1000)]
    parts = shards(labels, 10, 2, seed=0)  # 20 shards of 50: each is of one label.
    assert all(np.unique(labels[part]).size <= 2 for part in parts)
    assert {part.size for part in parts} == {100}
    assert len({tuple(np.unique(labels[shards(labels, 10, 2, seed)[0]])) for seed in range(6)}) > 2


@pytest.mark.parametrize("name", PARTITIONS)
def test_partitions_depend_on_the_seed_alone(name: str) -> None:
    labels = digits().labels
    parts, again, other = (make_partition(name, labels, 7, seed, **OPTIONS[name]) for seed in (5, 5, 6))
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, same)
        assert (np.diff(part) > 0).all()
    assert any(not np.array_equal(part, odd) for part, odd in zip(parts, other, strict=True))


@pytest.mark.parametrize("name", PARTITIONS)
def test_samples_of_a_label_are_shuffled(name: str) -> None:
    parts, other = (make_partition(name, np.zeros(100, int), 3, seed, **OPTIONS[name]) for seed in (1, 2))
    assert all(np.diff(part).max() > 1 for part in parts if part.size > 1)
    assert not np.array_equal(parts[0], other[0])


def test_alpha_says_how_unequal_clients_are() -> None:
    labels = np.repeat(np.arange(10), 200)
    distances = [
        earth_movers_distance(labels, dirichlet(labels, 20, alpha, seed=1), 10).mean() for alpha in (0.05, 0.5, 5, 500)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1.2
    assert distances[-1] < 0.15


def test_dirichlet_draws_the_shares_it_should() -> None:
    # A share of Dirichlet(a, ..., a) over N has mean 1 / N and variance (N - 1) / (N^2 (N a + 1)).
    clients, alpha, labels = 4, 2.0, np.repeat(np.arange(2000), 100)
    parts = dirichlet(labels, clients, alpha, seed=3)
    shares = np.stack([np.bincount(labels[part], minlength=2000) for part in parts]) / 100
    np.testing.assert_allclose(shares.mean(axis=1), 0.25, atol=0.02)
    variance = (clients - 1) / (clients**2 * (clients * alpha + 1))
    np.testing.assert_allclose(shares.var(axis=1), variance, rtol=0.1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: iid(np.zeros(3, int), 5, 0), "client_3 gets fewer than 1 samples: there are 3 for 5 clients"),
        (lambda: iid(np.zeros(3, int), 0, 0), "clients is 0, must be an integer of at least 1"),
        (lambda: iid(np.zeros(3), 1, 0), "labels are float64 (3,), must be integers"),
        (lambda: iid(np.array([0, -2]), 1, 0), "label of sample 1 is -2"),
        (lambda: iid(np.zeros(3, int), 1, -1), "seed is -1"),
        (lambda: dirichlet(np.zeros(9, int), 3, 0.0, 0), "alpha is 0.0, must be a finite number above 0"),
        (lambda: dirichlet(np.zeros(9, int), 3, float("nan"), 0), "alpha is nan"),
        (lambda: dirichlet(np.zeros(9, int), 3, 1.0, 0, at_least=4), "client_2 gets fewer than 4"),
        (lambda: dirichlet(np.zeros(9, int), 3, 1.0, 0, at_least=0), "at_least is 0"),
        (lambda: shards(np.zeros(9, int), 5, 2, 0), "client_4 gets fewer than 2"),
        (lambda: shards(np.zeros(9, int), 5, 0, 0), "shards_per_client is 0"),
        (lambda: one_label(np.array([0, 0, 0, 0, 1]), 4, 0), "label 1 has 1 for 2 clients, must have at least 2"),
        (lambda: by_indices([], 4), "there are no clients"),
        (lambda: by_indices([[0], []], 4), "client_1 has no samples, must have at least 1"),
        (lambda: by_indices([[0], [1, 4]], 4), "client_1 holds sample 4, must be in 0..3"),
        (lambda: by_indices([[0], [-1]], 4), "client_1 holds sample -1"),
        (lambda: by_indices([[0], [1], [2, 0]], 4), "sample 0 is given to client_0 and client_2"),
        (lambda: by_indices([[0], [1, 1]], 4), "sample 1 is given to client_1 and client_1"),
        (lambda: by_indices([[0], [0.5]], 4), "samples of client_1 are float64"),
        (lambda: make_partition("dirichlet", np.zeros(9, int), 3, 0), "needs the option 'alpha'"),
        (lambda: make_partition("iid", np.zeros(9, int), 3, 0, alpha=1.0), "unknown option of partition 'iid' 'alpha'"),
        (lambda: make_partition("dirichlet", np.zeros(1, int), 1, 0, alhpa=1), "did you mean 'alpha'?"),
        (lambda: make_partition("shard", np.zeros(1, int), 1, 0), "unknown partition 'shard'; did you mean 'shards'?"),
        (lambda: label_distribution(np.array([0, 3]), [np.array([0])], 3), "label of sample 1 is 3, must be in 0..2"),
        (lambda: earth_movers_distance(np.array([0, 1]), [np.array([2])], 2), "client_0 holds sample 2"),
    ],
)
def test_impossible_partitions_are_refused(call: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        call()


def test_partitions_by_indices_stay_as_they_are() -> None:
    parts = by_indices([[3, 1], np.array([0])], 4)
    assert [part.tolist() for part in parts] == [[3, 1], [0]]
    assert used(parts) == [0, 1, 3]


def test_earth_movers_distance_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    parts = [np.array([0, 1]), np.array([3, 5, 6, 7])]
    shares = label_distribution(labels, parts, 4)
    np.testing.assert_allclose(shares, [[1.0, 0.0, 0.0, 0.0], [0.0, 0.25, 0.75, 0.0]])
    # p = (3, 2, 3, 0) / 8: client 0 differs by 5/8 + 2/8 + 3/8, client 1 by 3/8 + 0 + 3/8.
    np.testing.assert_allclose(earth_movers_distance(labels, parts, 4), [10 / 8, 6 / 8])
    np.testing.assert_allclose(earth_movers_distance(torch.from_numpy(labels), [np.arange(8)], 4), [0.0])


# Clips


def test_clips_are_what_was_asked_for() -> None:
    data = clips(27, frames=4, size=12, motions=("grow", "left"), seed=1)
    assert data.inputs.shape == (27, 4, 1, 12, 12)
    assert data.inputs.dtype == torch.float32
    assert (data.inputs.min().item(), data.inputs.max().item()) == (0.0, 1.0)
    assert data.labels.bincount().tolist() == [14, 13]
    assert not torch.equal(data.labels, data.labels.sort().values)
    assert clips(3).num_classes == len(MOTIONS) == 8


def test_clips_depend_on_their_arguments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = clips(30, seed=4)
    torch.manual_seed(123)
    monkeypatch.setattr(clips_module, "PIXELS_AT_ONCE", 7 * 10 * 16 * 16)
    again, other = clips(30, seed=4), clips(30, seed=5)
    assert torch.equal(data.labels, again.labels)
    torch.testing.assert_close(data.inputs, again.inputs, rtol=0, atol=1e-6)
    assert not torch.equal(data.labels, other.labels)
    assert (data.inputs - other.inputs).abs().mean() > 0.05


def test_noise_has_the_deviation_it_should() -> None:
    clean, noisy = (clips(50, seed=2, noise=noise) for noise in (0.0, 0.05))
    assert torch.equal(clean.labels, noisy.labels)
    inside = (clean.inputs > 0.3) & (clean.inputs < 0.7)
    difference = (noisy.inputs - clean.inputs)[inside]
    assert difference.std().item() == pytest.approx(0.05, rel=0.05)
    assert difference.mean().item() == pytest.approx(0.0, abs=0.005)


def test_rendering_places_turns_and_scales() -> None:
    image = digits().inputs[3:4]

    def frame(right: float, down: float, half_size: float, angle: float, size: int = 8) -> np.ndarray:
        poses = Poses(*(torch.tensor([[value]]) for value in (right, down, half_size, angle)))
        return render(image, poses, size)[0, 0, 0].numpy()

    upright = image[0, 0].numpy()
    np.testing.assert_allclose(frame(0, 0, 1, 0), upright, atol=1e-5)
    # A pixel is a quarter of half a frame of 8.
    np.testing.assert_allclose(frame(0.25, 0, 1, 0)[:, 1:], upright[:, :-1], atol=1e-5)
    np.testing.assert_allclose(frame(0, 0.5, 1, 0)[2:], upright[:-2], atol=1e-5)
    np.testing.assert_allclose(frame(0, 0, 1, np.pi / 2), np.rot90(upright, -1), atol=1e-5)
    np.testing.assert_allclose(frame(0, 0, 0.5, 0, size=16)[4:12, 4:12], upright, atol=1e-5)


def moments(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Return centre, mass and direction of the principal axis of frames `(n, frames, size, size)`."""
    place = np.arange(frames.shape[-1])
    mass = frames.sum(axis=(2, 3))
    right, down = (frames.sum(axis=axis) @ place / mass for axis in (2, 3))
    x, y = place - right[..., None, None], place[:, None] - down[..., None, None]
    covariance, spread = (frames * x * y).sum(axis=(2, 3)), (frames * (x**2 - y**2)).sum(axis=(2, 3))
    axis_angle = np.unwrap(np.arctan2(2 * covariance, spread), axis=1) / 2  # Clockwise: y points down.
    return {"right": right, "down": down, "mass": np.log(mass), "angle": axis_angle}


@pytest.mark.parametrize(
    ("motion", "quantity", "sign", "others"),
    [
        ("left", "right", -1, ("down", "mass")),
        ("right", "right", 1, ("down", "mass")),
        ("up", "down", -1, ("right", "mass")),
        ("down", "down", 1, ("right", "mass")),
        ("grow", "mass", 1, ("angle",)),
        ("shrink", "mass", -1, ("angle",)),
        ("turn left", "angle", -1, ("mass",)),
        ("turn right", "angle", 1, ("mass",)),
    ],
)
def test_labels_say_what_is_seen(motion: str, quantity: str, sign: int, others: tuple[str, ...]) -> None:
    frames = clips(100, size=32, motions=(motion,), noise=0.0, seed=6).inputs[:, :, 0].double().numpy()
    seen = moments(frames)
    change = {name: values[:, -1] - values[:, 0] for name, values in seen.items()}
    assert (np.sign(change[quantity]) == sign).mean() > 0.95
    for other in others:
        assert np.median(np.abs(change[other])) < np.median(np.abs(change[quantity])) / 4


def nearest_mean(train: torch.Tensor, test: torch.Tensor, data: tuple[Dataset, Dataset]) -> float:
    """Return the accuracy of the class whose mean is nearest, learned on `train`, on `test`."""
    means = torch.stack([train[data[0].labels == label].mean(dim=0) for label in range(data[0].num_classes)])
    nearest = torch.cdist(test.flatten(1), means.flatten(1)).argmin(dim=1)
    return (nearest == data[1].labels).double().mean().item()


def test_motions_show_between_frames_and_hardly_in_one() -> None:
    data = clips(2000, seed=0), clips(1000, seed=1)
    train, test = (part.inputs[:, -1] - part.inputs[:, 0] for part in data)
    assert nearest_mean(train, test, data) > 0.5  # Chance is 0.125.
    first, held_out = (part.inputs[:, 0] for part in data)
    assert nearest_mean(first, held_out, data) < 0.4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"count": 0}, "count is 0, must be an integer of at least 1"),
        ({"count": 2.0}, "count is 2.0"),
        ({"frames": 1}, "frames is 1, must be an integer of at least 2"),
        ({"size": 7}, "size is 7, must be an integer of at least 8"),
        ({"motions": ("up", "lefd")}, "unknown motion 'lefd'; did you mean 'left'?"),
        ({"motions": ("up", "up")}, "motions are ['up', 'up'], must be at least one and all different"),
        ({"motions": ()}, "motions are []"),
        ({"noise": -0.1}, "noise is -0.1, must be a finite number of at least 0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_clips_are_refused(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        clips(**{"count": 4, **arguments})
