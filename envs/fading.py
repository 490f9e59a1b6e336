"""Fading that is drawn where it is read."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import philox
from ..core.arrays import Array, arange_like, namespace
from ..core.randomness import Numbers, Places, exponential, shares
from ..core.records import array
from ..twin import radio


@dataclasses.dataclass(frozen=True, eq=False)
class Fading:
    """Power of Rayleigh fading between N clients and M servers on K channels, mean 1, averaged over independent blocks.

    A round needs few of the N M K numbers: `at` gives those on the channels in use, `full` all of them, and any number
    is the same in both. It stands where an array `(..., N, M, K)` may stand.
    """

    seed: Array
    """`(...)`, as of `core.randomness.Numbers`."""
    episode: Array
    cycle: Array
    stream: int
    first: int
    """Number of the first block of words: those of client 0 on channel 0."""
    links: tuple[int, int, int]
    """N, M, K."""
    blocks: int
    dtype: str

    @classmethod
    def drawn(cls, rng: Numbers, links: tuple[int, int, int], blocks: int, dtype: str) -> "Fading":
        """Take the numbers of a round that come next."""
        seed, episode, cycle = (place.reshape(rng.batch) for place in rng.places[:3])
        clients, servers, channels = links
        first = rng.take(clients * channels * -(-servers * blocks // philox.LANES))
        return cls(seed, episode, cycle, rng.places.stream, first, links, blocks, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `full`."""
        return (*self.seed.shape, *self.links)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Let NumPy take it for an array: that of `full`."""
        return np.asarray(self.full(), dtype=dtype)

    def at(self, channel: Array) -> Array:
        """Return the power `(..., N, M)` of each client on its channel `(..., N)`; where that is -1, on channel 0."""
        clients, servers, channels = self.links
        used = namespace(channel).where(channel < 0, 0, channel)
        rows = used + arange_like(clients, channel, channels)
        return self._powers(rows.reshape(-1, clients)).reshape(*channel.shape, servers)

    def full(self) -> Array:
        """Return the power `(..., N, M, K)` of every client on every channel to every server."""
        clients, servers, channels = self.links
        rows = arange_like(clients * channels, self.seed)[None]
        powers = self._powers(rows).reshape(*self.seed.shape, clients, channels, servers)
        return namespace(powers).moveaxis(powers, -1, -2)

    def _powers(self, rows: Array) -> Array:
        """Return the powers `(B, n, M)` of rows `(B, n)` or `(1, n)`; row i K + k is client i on channel k.

        A row begins with a whole block, so that one gives the power at four servers.
        """
        servers = self.links[1]
        each = -(-servers * self.blocks // philox.LANES)
        numbers = rows + self.first
        if each > 1:
            numbers = (rows * each)[..., None] + (arange_like(each, rows) + self.first)
            numbers = numbers.reshape(rows.shape[0], -1)
        places = Places(self.seed.reshape(-1), self.episode.reshape(-1), self.cycle.reshape(-1), self.stream)
        found = shares(places, numbers, self.dtype)
        wanted = found.reshape(found.shape[0], rows.shape[1], -1)[..., : servers * self.blocks]
        powers = exponential(wanted)
        return powers if self.blocks == 1 else powers.reshape(*powers.shape[:-1], servers, self.blocks).mean(-1)

    def arrays(self) -> dict[str, Array]:
        """Return what says where the numbers are, by name."""
        return {"seed": self.seed, "episode": self.episode, "cycle": self.cycle}

    def mapped(self, function: Callable[..., Array], *others: "Fading") -> "Fading":
        """Return the fading with a function applied to its arrays, and to those of others."""
        places: dict[str, Any] = {
            name: function(own, *(getattr(other, name) for other in others)) for name, own in self.arrays().items()
        }
        return dataclasses.replace(self, **places)


def on_channel(fading: Array | Fading, channel: Array) -> Array:
    """Return the power `(..., N, M)` of each client on its channel `(..., N)`; where that is -1, on channel 0."""
    if isinstance(fading, Fading):
        return fading.at(channel)
    xp = namespace(fading)
    index = xp.broadcast_to(xp.where(channel < 0, 0, channel)[..., None, None], (*fading.shape[:-1], 1))
    return xp.take_along_axis(fading, index, axis=-1)[..., 0]


def on_all_channels(fading: Array | Fading) -> Array:
    """Return the power `(..., N, M, K)` of every client on every channel to every server."""
    return fading.full() if isinstance(fading, Fading) else fading


@dataclasses.dataclass(frozen=True)
class Channels:
    """Mean gains of links, and the fading on each channel; a reciprocal channel has one fading up and down."""

    mean_gain: Array = array("N M", "", "path gain", above=0)
    uplink_fading: Array | Fading = array("N M K", "", "power of the fading on it, mean 1", above=0)
    downlink_fading: Array | Fading = array("N M K", "", "power of the fading on it, mean 1", above=0)

    @functools.cached_property
    def uplink_gain(self) -> Array:
        """Gain h of eq (10) of every link `(..., N, M, K)`."""
        return radio.faded_gain(mean_gain=self.mean_gain, fading=on_all_channels(self.uplink_fading))

    @functools.cached_property
    def downlink_gain(self) -> Array:
        """Gain h of eq (15) of every link `(..., N, M, K)`."""
        if self.downlink_fading is self.uplink_fading:
            return self.uplink_gain
        return radio.faded_gain(mean_gain=self.mean_gain, fading=on_all_channels(self.downlink_fading))

    def gains_on(self, channel: Array) -> tuple[Array, Array]:
        """Return the gains up and down `(..., N, M)` of each client on its channel `(..., N)`."""
        up = down = self.mean_gain * on_channel(self.uplink_fading, channel)
        if self.downlink_fading is not self.uplink_fading:
            down = self.mean_gain * on_channel(self.downlink_fading, channel)
        return up, down

    def other_fading(self, ratio: Array) -> dict[str, Array]:
        """Return the fading `(..., N, M, K)` times a ratio, by the names of its fields."""
        up = down = on_all_channels(self.uplink_fading) * ratio
        if self.downlink_fading is not self.uplink_fading:
            down = on_all_channels(self.downlink_fading) * ratio
        return {"uplink_fading": up, "downlink_fading": down}
