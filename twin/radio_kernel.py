"""Interference in compiled loops; see `radio.powers_on_links`."""

from typing import Any

import numpy as np

from ..core.compiling import cached_njit


@cached_njit()
def on_air(channel: Any, only: int, members: Any) -> int:
    """Write the clients on channel `only` (-1: on any) to `members` `(N,)`, in order, and return how many they are."""
    count = 0
    for n in range(channel.size):
        if channel[n] >= 0 and (only < 0 or channel[n] == only):
            members[count] = n
            count += 1
    return count


@cached_njit()
def disturb(
    sent: Any, heard: Any, server: Any, channel: Any, members: Any, passing: Any, count: Any, up: Any, down: Any
) -> None:
    """Write the power that disturbs the links of clients in one round.

    Args:
        sent: power of each client at each server `(N, M, K)`, or `(N, M, 1)` on the client's channel.
        heard: power of each server at each client, likewise.
        server: of each client `(N,)`.
        channel: of each client `(N,)`.
        members: all clients on the channels of which any are looked at.
        passing: `(K, M)`, zeros; they are zeros again in the end.
        count: `(K, M)`, likewise.
        up: `(N,)`.
        down: `(N,)`.
    """
    servers, width = sent.shape[1:]
    for n in members:
        k, place = channel[n], channel[n] if width > 1 else 0
        up[n] = passing[k, server[n]]
        count[k, server[n]] += 1.0
        for m in range(servers):
            passing[k, m] += sent[n, m, place]
    for n in members:
        for m in range(servers):
            passing[channel[n], m] = 0.0
    for index in range(members.size - 1, -1, -1):
        n = members[index]
        k, own, place = channel[n], server[n], channel[n] if width > 1 else 0
        up[n] += passing[k, own]
        down[n] = 0.0
        count[k, own] -= 1.0
        for m in range(servers):
            passing[k, m] += sent[n, m, place]
            down[n] += count[k, m] * heard[n, m, place]
        count[k, own] += 1.0
    for n in members:
        for m in range(servers):
            passing[channel[n], m] = count[channel[n], m] = 0.0


@cached_njit()
def disturb_few(sent: Any, heard: Any, server: Any, channel: Any, members: Any, up: Any, down: Any) -> None:
    """Write what `disturb` does for clients that are all on one channel, pair by pair: faster where they are few."""
    for n in members:
        up[n] = down[n] = 0.0
        for other in members:
            if other != n:
                up[n] += sent[other, server[n], channel[n]]
                down[n] += heard[n, server[other], channel[n]]


@cached_njit()
def powers_on_links(
    uplink_gain: Any,
    downlink_gain: Any,
    server: np.ndarray,
    channel: np.ndarray,
    num_channels: int,
    client_power: Any,
    server_power: Any,
    powers: Any,
) -> None:
    """Write the powers of `radio.powers_on_links`.

    Args:
        uplink_gain: on each client's channel `(B, N, M)`.
        downlink_gain: likewise.
        server: of each client `(B, N)`.
        channel: of each client `(B, N)`, -1: absent.
        num_channels: K.
        client_power: `(N,)`.
        server_power: `(M,)`.
        powers: `(4, B, N)`: signal and interference up, signal and interference down.

    Raises:
        IndexError: a server or channel that there is not, which would be read from somewhere else in memory.
    """
    copies, clients, servers = uplink_gain.shape
    members = np.empty(clients, np.int64)
    sent, heard = np.empty((clients, servers, 1), powers.dtype), np.empty((clients, servers, 1), powers.dtype)
    passing = np.zeros((num_channels, servers), powers.dtype)
    count = np.zeros((num_channels, servers), powers.dtype)
    for copy in range(copies):
        there = members[: on_air(channel[copy], -1, members)]
        powers[0, copy] = powers[2, copy] = 1.0
        powers[1, copy] = powers[3, copy] = 0.0
        for n in there:
            if not 0 <= server[copy, n] < servers or channel[copy, n] >= num_channels:
                raise IndexError("a client has a server or a channel that there is not")
            for m in range(servers):
                sent[n, m, 0] = client_power[n] * uplink_gain[copy, n, m]
                heard[n, m, 0] = server_power[m] * downlink_gain[copy, n, m]
            powers[0, copy, n] = sent[n, server[copy, n], 0]
            powers[2, copy, n] = heard[n, server[copy, n], 0]
        up, down = powers[1, copy], powers[3, copy]
        disturb(sent, heard, server[copy], channel[copy], there, passing, count, up, down)
