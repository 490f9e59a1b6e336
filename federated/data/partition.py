"""Who holds which samples: ways to divide labelled samples among clients, and how unequal the outcome is.

A partition is a list with one array of positions per client, rising; every sample is used at most once and no client
is left without. The draws depend on the seed alone.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...core import randomness
from ...core.checks import unknown_name
from .dataset import check_whole

Labels = np.ndarray | Tensor
Parts = list[np.ndarray]

STREAM = 3
"""The stream of the seed that partitions draw from, so that they do not depend on `Dataset.split`."""


def _integers(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} are {array.dtype} {array.shape}, must be integers of one axis")
    return array.astype(np.int64)


def _start(labels: Labels, clients: int, each: int, seed: int) -> tuple[np.ndarray, np.random.Generator]:
    """Return the labels as integers and the generator, where there are at least `each` samples for every client."""
    array, count = _integers(labels, "labels"), check_whole(clients, "clients", 1)
    if array.size and array.min() < 0:
        raise ValueError(f"label of sample {array.argmin()} is {array.min()}, must be at least 0")
    if array.size < count * each:
        raise ValueError(
            f"client_{array.size // each} gets fewer than {each} samples: there are {array.size} for {count} clients, "
            f"must be at least {count * each}"
        )
    return array, randomness.generator(randomness.check_seed(seed, "seed"), 0, 0, STREAM)


def iid(labels: Labels, clients: int, seed: int) -> Parts:
    """Divide all samples at random into parts whose sizes differ by at most one.

    Raises:
        ValueError: fewer samples than clients; the first client that gets none is named.
    """
    array, rng = _start(labels, clients, 1, seed)
    return [np.sort(part) for part in np.array_split(rng.permutation(array.size), clients)]


def dirichlet(labels: Labels, clients: int, alpha: float, seed: int, at_least: int = 1) -> Parts:
    """Divide every class by shares drawn from Dirichlet(alpha, ..., alpha) over the clients; all samples are used.

    Clients that come away with fewer than `at_least` samples take random ones from whoever holds most at that moment,
    one at a time, so that the draw is changed as little as possible and any feasible demand is met.

    Args:
        labels: `(n,)` classes of the samples.
        clients: how many there are.
        alpha: concentration; near 0 a class goes to a single client, towards infinity all clients get the same.
        seed: of the draw.
        at_least: samples that each client ends with.

    Raises:
        ValueError: alpha that is not finite and above 0, or too few samples.
    """
    if not (isinstance(alpha, int | float | np.number) and 0 < alpha < math.inf):
        raise ValueError(f"alpha is {alpha!r}, must be a finite number above 0")
    array, rng = _start(labels, clients, check_whole(at_least, "at_least", 1), seed)
    held: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(array):
        members = rng.permutation(np.flatnonzero(array == label))
        shares = rng.dirichlet(np.full(clients, float(alpha)))
        cuts = np.rint(np.cumsum(shares)[:-1] * members.size).astype(np.int64)
        for client, piece in zip(held, np.split(members, cuts), strict=True):
            client.extend(piece.tolist())
    _even_out(held, at_least, rng)
    return [np.sort(np.array(part, np.int64)) for part in held]


def _even_out(held: list[list[int]], at_least: int, rng: np.random.Generator) -> None:
    """Move random samples from the largest client to those below `at_least`, in place."""
    for part in held:
        while len(part) < at_least:
            largest = max(held, key=len)
            part.append(largest.pop(int(rng.integers(len(largest)))))


def one_label(labels: Labels, clients: int, seed: int) -> Parts:
    """Give each client samples of a single label.

    The labels are dealt in random order and over again once all were dealt; the clients of a label divide its samples
    evenly. With fewer clients than labels the samples of the labels left over stay unused.

    Raises:
        ValueError: a label has fewer samples than clients; a client that gets none is named.
    """
    array, rng = _start(labels, clients, 1, seed)
    order = rng.permutation(np.unique(array))
    parts: Parts = [np.empty(0, np.int64)] * clients
    for place, label in enumerate(order[:clients]):
        holders = range(place, clients, order.size)
        members = rng.permutation(np.flatnonzero(array == label))
        if members.size < len(holders):
            raise ValueError(
                f"client_{holders[members.size]} gets no samples: label {label} has {members.size} for "
                f"{len(holders)} clients, must have at least {len(holders)}"
            )
        for client, piece in zip(holders, np.array_split(members, len(holders)), strict=True):
            parts[client] = np.sort(piece)
    return parts


def shards(labels: Labels, clients: int, shards_per_client: int, seed: int) -> Parts:
    """Sort the samples by label, cut them into equal shards and deal the same number to each client.

    McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (2017), section 3. The
    samples of a label are shuffled before they are cut; all samples are used.

    Raises:
        ValueError: fewer samples than shards.
    """
    array, rng = _start(labels, clients, check_whole(shards_per_client, "shards_per_client", 1), seed)
    shuffled = rng.permutation(array.size)
    by_label = shuffled[np.argsort(array[shuffled], kind="stable")]
    cut = np.array_split(by_label, clients * shards_per_client)
    dealt = rng.permutation(len(cut)).reshape(clients, shards_per_client)
    return [np.sort(np.concatenate([cut[shard] for shard in hand])) for hand in dealt]


def by_indices(parts: Iterable[Any], size: int) -> Parts:
    """Return the caller's own partition of `size` samples after checking it.

    Raises:
        ValueError: names the client without samples, the position out of 0..size - 1 or the sample given twice.
    """
    checked: Parts = []
    last = check_whole(size, "size", 1) - 1
    for client, given in enumerate(parts):
        if len(given) == 0:
            raise ValueError(f"client_{client} has no samples, must have at least 1")
        part = _integers(given, f"samples of client_{client}")
        checked.append(part)
        for sample in part[(part < 0) | (part > last)][:1]:
            raise ValueError(f"client_{client} holds sample {sample}, must be in 0..{last}")
    if not checked:
        raise ValueError("there are no clients, must be at least 1")
    joined = np.concatenate(checked)
    owner = np.repeat(np.arange(len(checked)), [part.size for part in checked])
    order = np.argsort(joined, kind="stable")
    for first in np.flatnonzero(np.diff(joined[order]) == 0)[:1]:
        one, other = owner[order[first]], owner[order[first + 1]]
        raise ValueError(f"sample {joined[order[first]]} is given to client_{one} and client_{other}, must be to one")
    return checked


PARTITIONS: Mapping[str, Callable[..., Parts]] = {
    "iid": iid,
    "dirichlet": dirichlet,
    "one_label": one_label,
    "shards": shards,
}


def make_partition(name: str, labels: Labels, clients: int, seed: int, **options: Any) -> Parts:
    """Divide samples in a way given by name.

    Args:
        name: one of `PARTITIONS`.
        labels: `(n,)` classes of the samples.
        clients: how many there are.
        seed: of the draw.
        options: what that way asks for beyond these: `alpha` and `at_least`, or `shards_per_client`.

    Raises:
        ValueError: an unknown name or option (the nearest is given), or one that is missing.
    """
    if name not in PARTITIONS:
        raise unknown_name("partition", name, PARTITIONS)
    declared = inspect.signature(PARTITIONS[name]).parameters
    own = {key: value for key, value in declared.items() if key not in ("labels", "clients", "seed")}
    for option in options:
        if option not in own:
            raise unknown_name(f"option of partition {name!r}", option, own)
    for option, parameter in own.items():
        if parameter.default is parameter.empty and option not in options:
            raise ValueError(f"partition {name!r} needs the option {option!r}")
    return PARTITIONS[name](labels=labels, clients=clients, seed=seed, **options)


def label_distribution(labels: Labels, parts: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """Return the share of each class among each client's samples, `(clients, num_classes)`; rows sum to 1.

    Raises:
        ValueError: a client without samples or with positions out of range, or a label out of range.
    """
    array = _integers(labels, "labels")
    for sample in np.flatnonzero((array < 0) | (array >= num_classes)):
        raise ValueError(f"label of sample {sample} is {array[sample]}, must be in 0..{num_classes - 1}")
    held = by_indices(parts, array.size)
    counts = np.stack([np.bincount(array[part], minlength=num_classes) for part in held])
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def earth_movers_distance(labels: Labels, parts: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """Return how far each client's labels are from those of all samples, `(clients,)` in [0, 2].

    EMD_n = sum_i |p_n(i) - p(i)| with p_n the label distribution of client n and p that of all `labels`, whether a
    client holds them or not (GenFV, the slides' part 1).

    Raises:
        ValueError: as `label_distribution`.
    """
    array = _integers(labels, "labels")
    everyone = label_distribution(array, [np.arange(array.size)], num_classes)
    return np.asarray(np.abs(label_distribution(array, parts, num_classes) - everyone).sum(axis=1))
