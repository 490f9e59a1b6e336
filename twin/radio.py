"""The radio link: path loss, fading, SINR, rate, delay, energy. Equation numbers: Zhao et al., JSAC 2023."""

import functools
import math
from collections.abc import Callable

import numpy as np

from ..core.arrays import Array, cast, clip, namespace, of_agent, one_hot, pick
from ..core.compiling import worth_compiling

NEWTON_STEPS = 3
"""Steps of `own_band_snr`."""


def decibel_to_ratio(value: Array) -> Array:
    """Turn decibels into a power ratio."""
    return 10.0 ** (value / 10.0)


def dbm_to_watt(value: Array) -> Array:
    """Turn dBm into W."""
    return 1e-3 * decibel_to_ratio(value)


def path_gain(*, distance: Array, intercept_db: float, slope_db: float, min_distance: float) -> Array:
    """Mean power gain by the log-distance law, Table I: loss = intercept + slope log10(d / 1 m) dB.

    Args:
        distance: `(...)` in m; nearer than `min_distance` counts as `min_distance`.
        intercept_db: loss at 1 m in dB.
        slope_db: loss per decade of distance in dB.
        min_distance: smallest distance the law is used for, in m.

    Returns:
        Linear power gain `(...)`.
    """
    reach = clip(distance, min_distance)
    return decibel_to_ratio(-intercept_db) * reach ** (-slope_db / 10.0)


def faded_gain(*, mean_gain: Array, fading: Array) -> Array:
    """Instantaneous power gain of every channel: mean gain `(..., N, M)` times fading power `(..., N, M, K)`."""
    return mean_gain[..., None] * fading


@functools.cache
def _compiled() -> Callable[..., None]:
    """Return the compiled loop, which is loaded when it is worth it."""
    from .radio_kernel import powers_on_links as loop

    return loop


def interference(*, sent: Array, heard: Array, server: Array, channel: Array, num_channels: int) -> tuple[Array, Array]:
    """Power that disturbs each client's links, the sums in the denominators of eqs (10) and (15), in O(N M).

    Every other client on the channel disturbs: with its own power at the server up, with the full power of its server
    down, own cell included. Up it is the sum over the clients before and behind, so that nothing is subtracted; down
    the power of each server times the number of others that it serves on the channel.

    Args:
        sent: power in W of each client at each server on the client's channel `(..., N, M)`.
        heard: power in W of each server at each client on the client's channel `(..., N, M)`.
        server: of each client, integers `(..., N)`, -1 where absent.
        channel: of each client, integers `(..., N)`, -1 where absent.
        num_channels: K.

    Returns:
        Power up and down in W, each `(..., N)`; 0 for absent clients.
    """
    xp = namespace(sent)
    on_channel, own = one_hot(channel, num_channels), one_hot(server, sent.shape[-1])
    # (..., N, K, M): what each client adds on each channel at each server, and where it is itself.
    each = xp.where(on_channel[..., None], sent[..., None, :], 0.0)
    place = on_channel[..., None] & own[..., None, :]
    others = _sum_before(each) + xp.flip(_sum_before(xp.flip(each, axis=-3)), axis=-3)
    served = cast(on_channel, sent.dtype) @ cast(place, sent.dtype).sum(axis=-3) - cast(place, sent.dtype).sum(axis=-2)
    # A sum over servers adds in another order than the compiled loop, the last of the running sums does not.
    return xp.where(place, others, 0.0).sum(axis=(-2, -1)), xp.cumulative_sum(served * heard, axis=-1)[..., -1]


def _sum_before(values: Array) -> Array:
    """Return the sums of `(..., N, K, M)` over the clients before each."""
    return namespace(values).cumulative_sum(values, axis=-3, include_initial=True)[..., :-1, :, :]


def sinr(*, signal: Array, interference: Array, noise: float) -> Array:
    """Signal to interference and noise, eqs (10) and (15): all three powers in W."""
    return signal / (noise + interference)


def sinr_of_links(
    *,
    uplink_gain: Array,
    downlink_gain: Array,
    server: Array,
    channel: Array,
    num_channels: int,
    client_power: Array,
    server_power: Array,
    noise: float,
) -> tuple[Array, ...]:
    """SINR of all clients' links, up and down, eqs (10) and (15), each `(..., N)`; without meaning where absent.

    Args:
        uplink_gain: on each client's channel `(..., N, M)`, see `fading.on_channel`.
        downlink_gain: on each client's channel `(..., N, M)`.
        server: of each client, integers `(..., N)`, -1 where absent.
        channel: of each client, integers `(..., N)`, -1 where absent.
        num_channels: K.
        client_power: `(N,)` in W.
        server_power: `(M,)` in W.
        noise: of a channel in W.
    """
    gains = {"uplink_gain": uplink_gain, "downlink_gain": downlink_gain}
    places = {"server": server, "channel": channel, "num_channels": num_channels}
    powers = powers_on_links(**gains, **places, client_power=client_power, server_power=server_power)
    return tuple(sinr(signal=signal, interference=other, noise=noise) for signal, other in powers)


def powers_on_links(
    *,
    uplink_gain: Array,
    downlink_gain: Array,
    server: Array,
    channel: Array,
    num_channels: int,
    client_power: Array,
    server_power: Array,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Power of each link's own signal and of its `interference`, up and then down, in W.

    Arguments are those of `sinr_of_links`, results `(..., N)`; signals are without meaning where absent.
    """
    shape, servers = channel.shape, uplink_gain.shape[-1]
    every = (uplink_gain, downlink_gain, client_power, server_power)
    usual = all(isinstance(values, np.ndarray) and values.dtype == uplink_gain.dtype for values in every)
    if usual and uplink_gain.shape[:-1] == server.shape == shape and worth_compiling(uplink_gain.size):
        found = np.empty((4, math.prod(shape[:-1]), shape[-1]), uplink_gain.dtype)
        gains = (gain.reshape(*found.shape[1:], servers) for gain in (uplink_gain, downlink_gain))
        places = server.reshape(found.shape[1:]), channel.reshape(found.shape[1:]), num_channels
        _compiled()(*gains, *places, client_power, server_power, found)
        up, up_others, down, down_others = found.reshape(4, *shape)
        return (up, up_others), (down, down_others)
    powers = {"sent": client_power[:, None] * uplink_gain, "heard": server_power * downlink_gain}
    others = interference(**powers, server=server, channel=channel, num_channels=num_channels)
    signals = (pick(power, server[..., None])[..., 0] for power in powers.values())
    up, down = zip(signals, others, strict=True)
    return up, down


def link_of(*, sinr: Array, bits: Array, bandwidth: float) -> tuple[Array, Array]:
    """Rate in bit/s and time on the air in s of a link, eqs (9) and (12), (14) and (16), each `(...)`.

    Args:
        sinr: `(...)`.
        bits: to send, `(...)`.
        bandwidth: in Hz.
    """
    rate = shannon_rate(bandwidth=bandwidth, sinr=sinr)
    return rate, transmission_delay(bits=bits, rate=rate)


def sinr_on_every_pair(
    *,
    agent: Array,
    uplink_gain: Array,
    downlink_gain: Array,
    channel: Array,
    pair_count: Array,
    client_power: Array,
    server_power: Array,
    noise: float,
) -> tuple[Array, Array, Array]:
    """What every (server, channel) pair would bring one client, with the interference so far: eqs (10) and (15).

    Args:
        agent: index of the client `(...)`.
        uplink_gain: `(..., N, M, K)`.
        downlink_gain: `(..., N, M, K)`.
        channel: channel of each client so far `(..., N)`, -1 where it has none; the own entry must be -1.
        pair_count: other clients served on each pair `(..., M, K)`.
        client_power: `(N,)` in W.
        server_power: `(M,)` in W.
        noise: of a channel in W.

    Returns:
        SINR up and down, and the power in W that each server would hear, `(..., M, K)`.
    """
    up, down = of_agent(uplink_gain, agent), of_agent(downlink_gain, agent)
    heard = interference_at_servers(gain=uplink_gain, client_power=client_power, channel=channel)
    disturbance = interference_at_client(gain=down, server_power=server_power, pair_count=pair_count)
    uplink = sinr(signal=client_power[agent][..., None, None] * up, interference=heard, noise=noise)
    downlink = sinr(signal=server_power[:, None] * down, interference=disturbance[..., None, :], noise=noise)
    return uplink, downlink, heard


def interference_at_servers(*, gain: Array, client_power: Array, channel: Array) -> Array:
    """Power that each server would hear on each channel, the sum in the denominator of eq (10).

    Args:
        gain: uplink gains `(..., N, M, K)`.
        client_power: transmit power `(N,)` in W.
        channel: channel of each client `(..., N)`, -1 where absent (own entry of a client that asks must be -1).

    Returns:
        Power `(..., M, K)` in W.
    """
    xp = namespace(gain)
    on_channel = one_hot(channel, gain.shape[-1])[..., :, None, :]
    received = client_power[:, None, None] * gain
    return xp.sum(xp.where(on_channel, received, 0.0), axis=-3)


def interference_at_client(*, gain: Array, server_power: Array, pair_count: Array) -> Array:
    """Power that one client would hear on each channel, the sum in the denominator of eq (15).

    Args:
        gain: downlink gains of the client `(..., M, K)`.
        server_power: transmit power `(M,)` in W.
        pair_count: other clients served on each pair `(..., M, K)`.

    Returns:
        Power `(..., K)` in W.
    """
    xp = namespace(gain)
    return xp.sum(server_power[:, None] * gain * pair_count, axis=-2)


def shannon_rate(*, bandwidth: float, sinr: Array) -> Array:
    """Rate of a link, eqs (9) and (14): R = G log2(1 + SINR) in bit/s, with the bandwidth G in Hz."""
    xp = namespace(sinr)
    return bandwidth * (xp.log1p(sinr) / math.log(2.0))


def sinr_for_rate(*, rate: Array, bandwidth: Array) -> Array:
    """Signal to noise that a rate (bit/s) needs: 2^(R / G) - 1, the inverse of `shannon_rate`."""
    xp = namespace(rate)
    return xp.expm1(rate / bandwidth * math.log(2.0))


def whole_band_noise(noise: str) -> bool:
    """Whether the noise of the whole band disturbs a share of it: "fixed"; not so with "psd".

    Raises:
        ValueError: neither.
    """
    if noise not in ("psd", "fixed"):
        raise ValueError(f"noise is {noise!r}, must be 'psd' or 'fixed'")
    return noise == "fixed"


def band_rate(*, bandwidth: Array, share: Array, snr: Array, noise: str) -> Array:
    """Rate on a share of a band. Slides, part 2: uplink of split federated learning.

    Args:
        bandwidth: of the whole band W in Hz.
        share: b in [0, 1], `(...)`; a share of 0 has the rate 0.
        snr: received power over the noise power of the whole band, `(...)`.
        noise: "psd": only the noise of the share disturbs, R = b W log2(1 + snr / b); "fixed": that of the whole band
            does, R = b W log2(1 + snr).

    Returns:
        Rate `(...)` in bit/s.
    """
    if whole_band_noise(noise):
        return share * shannon_rate(bandwidth=bandwidth, sinr=snr)
    xp = namespace(share)
    used = xp.where(share > 0.0, share, 1.0)
    return share * shannon_rate(bandwidth=bandwidth, sinr=snr / used)


def own_band_snr(*, ratio: Array) -> Array:
    """Return x > 0 where log(1 + x) = ratio x: Lambert's function W, as 1 + x = -W(-ratio e^-ratio) / ratio, branch -1.

    Newton's iteration for z = log(1 + x) where log((e^z - 1) / z) = -log(ratio): a curve so nearly straight that three
    steps reach the last digits that the ratio has.

    Args:
        ratio: `(...)`, in (0, 1).

    Returns:
        Signal over the noise of the share in use, `(...)`; 0 where the ratio is not below 1 (but for rounding), inf
        where it is not above 0, NaN where it is none.
    """
    xp = namespace(ratio)
    kind = xp.finfo(ratio.dtype)
    inside = (ratio > 0.0) & (ratio < 1.0 - 4.0 * kind.eps)
    # Where x would overflow it stays next to the largest number.
    valid = clip(xp.where(inside, ratio, 0.5), 1e3 / kind.max)
    height = -xp.log(valid)
    nats = height + xp.log1p(height)
    for _ in range(NEWTON_STEPS):
        rest = -xp.expm1(-nats)
        nats = nats - (nats + xp.log(rest / nats) - height) / (1.0 / rest - 1.0 / nats)
    beyond = xp.where(ratio > 0.0, xp.zeros_like(ratio), ratio)
    return xp.where(inside, nats / valid, xp.where(ratio <= 0.0, xp.inf, beyond))


def share_for_rate(*, bandwidth: Array, rate: Array, snr: Array, noise: str) -> Array:
    """Least share of a band that carries a rate: the inverse of `band_rate` in the share.

    "fixed": b = R / (W log2(1 + snr)). "psd": log(1 + x) = k x with x = snr / b and k = R ln 2 / (W snr); the rate is
    out of reach of any share where k >= 1.

    Args:
        bandwidth: of the whole band W in Hz.
        rate: `(...)` in bit/s, at least 0.
        snr: received power over the noise power of the whole band, `(...)`, above 0.
        noise: "psd" or "fixed".

    Returns:
        Share `(...)`, above 1 where the whole band is too little and inf where no band is enough.
    """
    if whole_band_noise(noise):
        return rate / shannon_rate(bandwidth=bandwidth, sinr=snr)
    found = own_band_snr(ratio=rate * math.log(2.0) / (bandwidth * snr))
    xp, beyond = namespace(found), found <= 0.0
    return xp.where(beyond, xp.inf, snr / xp.where(beyond, 1.0, found))


def power_for_energy(
    *,
    bits: Array,
    energy: Array,
    bandwidth: Array,
    share: Array,
    snr_per_watt: Array,
    noise: str,
    power_min: float,
    power_max: float,
) -> Array:
    """Largest power with which sending `bits` costs at most `energy`: the inverse of p U / R(p) = e.

    It is log(1 + x) = k x with the signal to noise x of the share and k = U ln 2 x / (e b W p), which the power leaves.

    Args:
        bits: U `(...)`.
        energy: e `(...)` in J; too little for `power_min` gives `power_min`.
        bandwidth: W in Hz.
        share: b `(...)`, above 0.
        snr_per_watt: `(...)` in 1/W, of the whole band.
        noise: "psd" or "fixed", see `band_rate`.
        power_min: smallest power in W.
        power_max: largest power in W.

    Returns:
        Power `(...)` in W.
    """
    xp = namespace(snr_per_watt)
    per_watt = snr_per_watt if whole_band_noise(noise) else snr_per_watt / share
    nats = bits * (math.log(2.0) / bandwidth) / share
    spent = per_watt * energy
    # Without energy no power will do, without bits any: the ratio is 1, or 0.
    nothing = spent <= 0.0
    ratio = xp.where(nothing, xp.sign(nats), nats) / xp.where(nothing, 1.0, spent)
    return clip(own_band_snr(ratio=ratio) / per_watt, power_min, power_max)


def noise_power(*, density_dbm: float, bandwidth: Array) -> Array:
    """Noise power of a band in W: density (dBm/Hz) times bandwidth (Hz)."""
    return dbm_to_watt(density_dbm) * bandwidth


def transmission_delay(*, bits: Array, rate: Array) -> Array:
    """Time on the air, eqs (12) and (16): bits over rate (bit/s), in s."""
    return bits / rate


def transmission_energy(*, power: Array, delay: Array) -> Array:
    """Energy on the air, eq (13): power (W) times delay (s), in J."""
    return power * delay
