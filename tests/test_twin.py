"""The physics, equation by equation, against numbers worked out by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin.core.randomness import generator
from fedtwin.envs.fading import on_channel
from fedtwin.twin import compute, geometry, precision, radio, radio_kernel, rounds
from fedtwin.twin.feasible import match
from oracle import bits_per_second


def test_dbm_to_watt() -> None:
    assert radio.dbm_to_watt(30.0) == pytest.approx(1.0)
    assert radio.dbm_to_watt(23.0) == pytest.approx(0.19952623149688797)
    assert radio.dbm_to_watt(-114.0) == pytest.approx(3.9810717055349695e-15)


def test_path_gain_is_the_tables_law() -> None:
    gain = radio.path_gain(distance=np.array([1.0, 100.0, 0.2]), intercept_db=35.3, slope_db=37.6, min_distance=1.0)
    # 35.3 dB at 1 m; 35.3 + 2 * 37.6 = 110.5 dB at 100 m; nearer than 1 m counts as 1 m.
    np.testing.assert_allclose(10 * np.log10(gain), [-35.3, -110.5, -35.3], rtol=1e-12)


def test_faded_gain_multiplies_every_channel_of_a_link() -> None:
    mean = np.array([[2.0, 3.0]])
    fading = np.array([[[1.0, 10.0], [100.0, 1000.0]]])
    np.testing.assert_array_equal(radio.faded_gain(mean_gain=mean, fading=fading), [[[2, 20], [300, 3000]]])


def two_clients_one_channel() -> dict[str, np.ndarray]:
    """Clients 0 and 1 use server 0 and 1 on channel 1, client 2 server 1 on channel 0, client 3 is absent."""
    gain = np.arange(1.0, 17.0).reshape(4, 2, 2)  # gain[n, m, k] = 1 + 4 n + 2 m + k
    return {"gain": gain, "server": np.array([0, 1, 1, -1]), "channel": np.array([1, 1, 0, -1])}


def test_gains_on_the_channel_in_use() -> None:
    case = two_clients_one_channel()
    own = on_channel(case["gain"], case["channel"])
    np.testing.assert_array_equal(own, [[2, 4], [6, 8], [9, 11], [13, 15]])


def test_sinr_of_links() -> None:
    case = two_clients_one_channel()
    own = on_channel(case["gain"], case["channel"])
    up, down = radio.sinr_of_links(
        uplink_gain=own,
        downlink_gain=own,
        server=case["server"],
        channel=case["channel"],
        num_channels=2,
        client_power=np.array([1.0, 2.0, 3.0, 4.0]),
        server_power=np.array([10.0, 20.0]),
        noise=0.5,
    )
    # Client 0 at server 0: own 1 * 2, client 1 arrives with 2 * 6. Client 1 at server 1: own 2 * 8, client 0: 1 * 4.
    np.testing.assert_allclose(up[:3], [2 / 12.5, 16 / 4.5, 33 / 0.5])
    # Client 0 hears server 0 with 10 * 2 and, for client 1, server 1 with 20 * 4; client 1: own 20 * 8, other 10 * 6.
    np.testing.assert_allclose(down[:3], [20 / 80.5, 160 / 60.5, 20 * 11 / 0.5])


def pairwise(sent: Any, heard: Any, server: Any, channel: Any) -> tuple[Any, Any]:
    """Interference as eqs (10) and (15) write it: over all other clients on the channel."""
    up, down = np.zeros(channel.shape), np.zeros(channel.shape)
    for n in range(len(channel)):
        for other in range(len(channel)):
            if other != n and channel[n] >= 0 and channel[other] == channel[n]:
                up[n] += sent[other, server[n]]
                down[n] += heard[n, server[other]]
    return up, down


def interference(sent: Any, heard: Any, server: Any, channel: Any, channels: int) -> list[Any]:
    """Interference up and down, of nodes that send with 1 W."""
    powers = {"client_power": 0.0 * sent[0, 0, :, 0] + 1.0, "server_power": 0.0 * sent[0, 0, 0] + 1.0}
    places = {"server": server, "channel": channel, "num_channels": channels}
    found = radio.powers_on_links(uplink_gain=sent, downlink_gain=heard, **places, **powers)
    return [other for _, other in found]


@pytest.mark.uncompiled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("library", ["loops", "arrays", "torch"])
def test_interference_is_the_sum_over_the_others(library: str, dtype: str, compiled: Callable[[bool], None]) -> None:
    compiled(library == "loops")
    rng = np.random.default_rng(0)
    for clients, servers, channels in ((1, 1, 1), (16, 4, 10), (9, 3, 1), (5, 6, 40), (40, 1, 3)):
        powers = np.exp(rng.normal(0.0, 8.0, (2, 3, 4, clients, servers))).astype(dtype)
        server = rng.integers(servers, size=(3, 4, clients))
        channel = rng.integers(channels, size=(3, 4, clients))
        absent = rng.random(server.shape) < 0.2
        server, channel = np.where(absent, -1, server), np.where(absent, -1, channel)
        make: Any = torch.from_numpy if library == "torch" else np.asarray
        sent, heard, servers_, channels_ = (make(part) for part in (*powers, server, channel))
        found = interference(sent, heard, servers_, channels_, channels)
        for twin in np.ndindex(3, 4):
            sent, heard = (part[twin].astype(float) for part in powers)
            expected = pairwise(sent, heard, server[twin], channel[twin])
            for ours, theirs in zip(found, expected, strict=True):
                own = np.asarray(ours[twin])
                np.testing.assert_allclose(own, theirs, rtol=1e-12 if dtype == "float64" else 2e-6, atol=0)
                assert own.dtype == dtype


@pytest.mark.uncompiled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_compiled_gives_the_bits_of_what_is_not(dtype: str, compiled: Callable[[bool], None]) -> None:
    rng = np.random.default_rng(0)
    for clients, servers, channels in ((1, 1, 1), (16, 4, 10), (40, 3, 2), (9, 30, 1)):
        sent, heard = np.exp(rng.normal(0.0, 8.0, (2, 5, clients, servers))).astype(dtype)
        server, channel = (rng.integers(-1, count, size=(5, clients)) for count in (servers, channels))
        absent = np.minimum(server, channel) < 0
        server, channel = np.where(absent, -1, server), np.where(absent, -1, channel)
        scores = np.where(rng.random((5, clients, channels)) < 0.3, -np.inf, sent[..., :1] * rng.random(channels))
        scores[1] = np.round(scores[1] / np.median(sent))  # Many are equal.
        scores[2, 0] = np.nan
        found = []
        for wanted in (True, False):
            compiled(wanted)
            powers: dict[str, Any] = {"client_power": heard[0, :, 0].copy(), "server_power": sent[0, 0].copy()}
            links: dict[str, Any] = {"server": server, "channel": channel, "num_channels": channels}
            up, down = radio.powers_on_links(uplink_gain=sent, downlink_gain=heard, **links, **powers)
            signals = (np.where(absent, 0.0, signal).astype(signal.dtype) for signal, _ in (up, down))
            found.append([*signals, up[1], down[1], match(scores.astype(dtype))])
        for loop, arrays in zip(*found, strict=True):
            np.testing.assert_array_equal(loop, arrays)
            assert loop.dtype == arrays.dtype


@pytest.mark.uncompiled
def test_few_clients_disturb_each_other_as_many_do() -> None:
    rng = np.random.default_rng(0)
    sent, heard = np.exp(rng.normal(0.0, 8.0, (2, 12, 4, 3)))
    server, channel = rng.integers(4, size=12), rng.integers(-1, 3, size=12)
    scratch = np.empty(12, np.int64)
    for k in range(3):
        members = scratch[: radio_kernel.on_air(channel, k, scratch)]
        np.testing.assert_array_equal(members, np.flatnonzero(channel == k))
        few, many = np.full((2, 12), 7.0), np.full((2, 12), 7.0)
        sums = np.zeros((2, 3, 4))
        radio_kernel.disturb_few(sent, heard, server, channel, members, *few)
        radio_kernel.disturb(sent, heard, server, channel, members, *sums, *many)
        np.testing.assert_allclose(few, many, rtol=1e-12)
        assert not sums.any()
        assert (few[:, channel != k] == 7.0).all()
        assert (few[:, members] != 7.0).all()


@pytest.mark.uncompiled
def test_places_that_do_not_exist_are_not_read(compiled: Callable[[bool], None]) -> None:
    compiled(True)
    gain, both = np.ones((1, 2, 3)), np.zeros((1, 2), np.int64)
    powers: dict[str, Any] = {"client_power": np.ones(2), "server_power": np.ones(3)}
    for place in ({"server": both, "channel": both + 5}, {"server": both + 3, "channel": both}):
        with pytest.raises(IndexError, match="a server or a channel that there is not"):
            radio.powers_on_links(uplink_gain=gain, downlink_gain=gain, **place, num_channels=5, **powers)


def test_unusual_arrays_are_not_compiled(compiled: Callable[[bool], None]) -> None:
    """Of several types, or with one place for a whole batch: operations on arrays know how to combine them."""
    rng = np.random.default_rng(0)
    gain, server, channel = rng.random((3, 4, 2)), rng.integers(2, size=(3, 4)), rng.integers(3, size=(3, 4))
    cases = (
        (gain.astype(np.float32), server, channel, np.ones(4), np.ones(2)),
        (gain, server[0], channel[0], np.ones(4), np.ones(2)),
        (gain[:0], server[:0], channel[:0], np.ones(4), np.ones(2)),
        (gain, server, np.where(server > 0, channel, -1), np.ones(4), np.ones(2)),
    )
    for up, servers, channels, client_power, server_power in cases:
        found = []
        for wanted in (True, False):
            compiled(wanted)
            powers: dict[str, Any] = {"client_power": client_power, "server_power": server_power, "num_channels": 3}
            links: dict[str, Any] = {"uplink_gain": up, "downlink_gain": up, "server": servers, "channel": channels}
            found.append([other for _, other in radio.powers_on_links(**links, **powers)])
        for first, second in zip(*found, strict=True):
            np.testing.assert_array_equal(first, second)
            assert first.dtype == second.dtype


@pytest.mark.parametrize("compiles", [True, False])
def test_interference_does_not_cancel_next_to_a_strong_own_signal(
    compiles: bool, compiled: Callable[[bool], None]
) -> None:
    """Total minus own would lose an interference of 1e-20 beside an own signal of 1."""
    compiled(compiles)
    gain, both = np.array([[[[1.0], [1e-20]]]]), np.array([[[0, 0]]])
    up, down = interference(gain, gain, both, both, 1)
    np.testing.assert_array_equal(up, [[[1e-20, 1.0]]])
    np.testing.assert_array_equal(down, [[[1.0, 1e-20]]])


def test_interference_maps_agree_with_the_sinr_of_whoever_joins() -> None:
    case = two_clients_one_channel()
    heard = radio.interference_at_servers(
        gain=case["gain"], client_power=np.array([1.0, 2.0, 3.0, 4.0]), channel=case["channel"]
    )
    # Channel 1: clients 0 and 1; channel 0: client 2.
    np.testing.assert_allclose(heard, [[3 * 9, 1 * 2 + 2 * 6], [3 * 11, 1 * 4 + 2 * 8]])
    count = np.array([[0, 1], [1, 1]])
    noise = radio.interference_at_client(gain=case["gain"][3], server_power=np.array([10.0, 20.0]), pair_count=count)
    np.testing.assert_allclose(noise, [20 * 15, 10 * 14 + 20 * 16])


def test_shannon_rate() -> None:
    np.testing.assert_allclose(radio.shannon_rate(bandwidth=4e6, sinr=np.array([1.0, 3.0])), [4e6, 8e6])
    tiny = radio.shannon_rate(bandwidth=1.0, sinr=np.array([1e-20]))
    assert tiny[0] == pytest.approx(1e-20 / math.log(2.0), rel=1e-12)


def test_transmission() -> None:
    assert radio.transmission_delay(bits=8e6, rate=4e6) == pytest.approx(2.0)
    assert radio.transmission_energy(power=0.2, delay=2.0) == pytest.approx(0.4)


def test_local_delay_and_energy() -> None:
    assert compute.local_delay(samples=128.0, flop_per_sample=1e9, flops=1e12) == pytest.approx(0.128)
    assert compute.local_energy(samples=128.0, energy_per_sample=0.5) == pytest.approx(64.0)


def test_edge_delay_is_common_to_a_servers_clients() -> None:
    load = compute.samples_per_server(samples=np.array([1.0, 2, 4, 8]), server=np.array([0, 2, 2, -1]), num_servers=3)
    np.testing.assert_array_equal(load, [1, 0, 6])
    delay = compute.edge_delay(server_samples=load, flop_per_sample=10.0, server_flops=np.array([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(delay, [10.0, 0.0, 12.0])


def test_round() -> None:
    assert rounds.round_time(client_time=np.array([1.0, 5.0, 2.0])) == 5.0
    assert rounds.total_energy(client_energy=np.array([1.0, 5.0, 2.0])) == 8.0
    assert rounds.system_cost(round_time=5.0, energy=8.0, time_weight=2.0, energy_weight=0.25) == 12.0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 12])
def test_servers_stand_on_the_border_corners_first(count: int) -> None:
    points = geometry.square_border(count=count, side=600.0)
    assert points.shape == (count, 2)
    assert len({tuple(point) for point in points}) == count
    assert np.isin(points, [0.0, 600.0]).any(axis=1).all()
    assert np.isin(points[:4], [0.0, 600.0]).all()
    assert (points >= 0).all()
    assert (points <= 600).all()


def test_eight_servers_are_corners_and_middles() -> None:
    points = geometry.square_border(count=8, side=2.0)
    expected = {(x, y) for x in (0.0, 1.0, 2.0) for y in (0.0, 1.0, 2.0)} - {(1.0, 1.0)}
    assert {tuple(point) for point in points.tolist()} == expected


def test_distances() -> None:
    clients = np.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    found = geometry.distances(clients=clients, servers=np.array([[0.0, 0.0], [3.0, 0.0]]))
    np.testing.assert_allclose(found, [[[5.0, 4.0]], [[0.0, 3.0]]])


def test_torch_takes_the_same_path() -> None:
    case = two_clients_one_channel()
    own = on_channel(torch.from_numpy(case["gain"]), torch.from_numpy(case["channel"]))
    np.testing.assert_array_equal(own.numpy(), on_channel(case["gain"], case["channel"]))
    assert radio.shannon_rate(bandwidth=1.0, sinr=torch.tensor([1.0], dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize("noise", ["psd", "fixed"])
def test_rate_on_a_share_of_the_band(noise: str) -> None:
    share, snr = np.array([0.0, 1e-3, 0.25, 1.0]), np.array([5.0, 5.0, 0.01, 300.0])
    rate = radio.band_rate(bandwidth=2e7, share=share, snr=snr, noise=noise)
    assert rate[0] == 0.0
    for b, ratio, found in zip(share[1:], snr[1:], rate[1:], strict=True):
        heard = ratio / b if noise == "psd" else ratio
        assert found == pytest.approx(b * 2e7 * math.log2(1.0 + heard), rel=1e-12)


@pytest.mark.parametrize("noise", ["psd", "fixed"])
def test_power_uses_an_energy_up_or_meets_a_limit(noise: str) -> None:
    rng = np.random.default_rng(0)
    share, snr, bits = rng.uniform(0.01, 1.0, 500), 10.0 ** rng.uniform(1, 6, 500), 10.0 ** rng.uniform(6, 9, 500)
    energy = 10.0 ** rng.uniform(-3, 1, 500)
    power = radio.power_for_energy(
        bits=bits, energy=energy, bandwidth=2e7, share=share, snr_per_watt=snr,
        noise=noise, power_min=0.01, power_max=0.2,
    )  # fmt: skip

    def spent(watts: float, n: int) -> float:
        heard = watts * snr[n] / (share[n] if noise == "psd" else 1.0)
        return watts * float(bits[n]) / bits_per_second(share[n] * 2e7, heard)

    limits = 0
    for n in range(500):
        if spent(0.01, n) >= energy[n]:
            assert power[n] == 0.01
        elif spent(0.2, n) <= energy[n]:
            assert power[n] == pytest.approx(0.2)
        else:
            assert spent(power[n], n) == pytest.approx(energy[n], rel=1e-9)
            limits += 1
    assert limits > 50
    nothing = radio.power_for_energy(
        bits=np.zeros(1), energy=np.ones(1), bandwidth=2e7, share=np.ones(1), snr_per_watt=np.ones(1),
        noise=noise, power_min=0.01, power_max=0.2,
    )  # fmt: skip
    assert nothing.tolist() == [0.2]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_own_band_snr_has_the_digits_of_its_type_and_never_fails(library: str, dtype: str) -> None:
    make: Any = np.asarray if library == "numpy" else torch.from_numpy
    smallest, eps = float(np.finfo(dtype).tiny), float(np.finfo(dtype).eps)
    ratio = np.geomspace(smallest, 0.9, 400).astype(dtype)
    found = np.asarray(radio.own_band_snr(ratio=make(ratio)))
    assert found.dtype == dtype
    assert np.isfinite(found).all()
    # x grows like -log(ratio) / ratio, beyond the type where the ratio is least.
    reached = ratio > 1e3 / np.finfo(dtype).max
    assert reached.sum() > 350
    ratio, found = ratio[reached].astype(float), found[reached].astype(float)
    residual = np.log1p(found) / (ratio * found) - 1.0
    slope = 1.0 - found / (1.0 + found) / np.log1p(found)
    assert np.max(np.abs(residual / slope)) < 20.0 * eps
    special = np.array([0.0, -1.0, 1.0, 2.0, np.inf, np.nan], dtype)
    assert str(np.asarray(radio.own_band_snr(ratio=make(special))).tolist()) == "[inf, inf, 0.0, 0.0, 0.0, nan]"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_no_number_stays_none(dtype: str) -> None:
    one, none = np.ones(1, dtype), np.full(1, np.nan, dtype)
    limits: dict[str, Any] = {"bandwidth": 2e7, "noise": "psd"}
    assert np.isnan(radio.share_for_rate(rate=none, snr=one, **limits))
    assert radio.share_for_rate(rate=1e-30 * one, snr=10.0 * one, **limits)[0] < 1e-30
    limits |= {"share": 0.3 * one, "snr_per_watt": 100.0 * one, "power_min": 1e-3, "power_max": 1.0}
    assert np.isnan(radio.power_for_energy(bits=one, energy=none, **limits))
    assert radio.power_for_energy(bits=1e-30 * one, energy=0.1 * one, **limits) == [1.0]
    assert radio.power_for_energy(bits=one, energy=-one, **limits) == [np.asarray(1e-3, dtype)]
    assert radio.power_for_energy(bits=0.0 * one, energy=-one, **limits) == [1.0]


def test_road_in_the_cell() -> None:
    assert geometry.half_chord(radius=5.0, offset=3.0) == 4.0
    left = geometry.dwell_time(position=np.array([-4.0, 0.0, 3.0]), speed=np.array([2.0, 8.0, 0.5]), half_length=4.0)
    assert left.tolist() == [4.0, 0.5, 2.0]


def test_rate_and_its_inverse() -> None:
    snr = np.array([1e-9, 0.5, 1.0, 1e6])
    rate = radio.shannon_rate(bandwidth=2e6, sinr=snr)
    assert rate[2] == pytest.approx(2e6, rel=1e-15)
    np.testing.assert_allclose(radio.sinr_for_rate(rate=rate, bandwidth=2e6), snr, rtol=1e-13)


def test_benefit_rises_to_its_ceiling() -> None:
    bits = np.array([0.0, 2.0, 32.0])
    found = precision.learning_benefit(bits=bits, amplitude=0.5, rate=0.6, floor=0.4)
    assert found.tolist() == pytest.approx([0.4, 0.4 + 0.5 * (1 - math.exp(-1.2)), 0.9], abs=1e-8)
    assert precision.quantized_bits(full_bits=640.0, bits=np.array([8.0]), bits_max=32).tolist() == [160.0]


def test_computing() -> None:
    cycles, frequency = np.array([2e9, 4e9]), np.array([1e9, 2e9])
    assert compute.cycles_delay(cycles=cycles, frequency=frequency).tolist() == [2.0, 2.0]
    energy = compute.cycles_energy(cycles=cycles, frequency=frequency, coefficient=1e-27)
    assert energy.tolist() == pytest.approx([2.0, 16.0])


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (40, 6, 4), (2, 3, 4, 7)])
def test_matching_takes_the_highest_scores_first(shape: tuple[int, ...], library: Any) -> None:
    scores = generator(0, 0, 0).integers(0, 6, shape).astype(np.float64)
    scores[scores < 2] = -np.inf
    given = scores.copy()
    channel = np.asarray(match(library(given)))
    np.testing.assert_array_equal(given, scores)
    assert channel.shape == shape[:-1]
    for twin in np.ndindex(shape[:-2]):
        expected, taken = [-1] * shape[-2], set()
        pairs = [(-scores[twin][n, m], n, m) for n, m in np.ndindex(*shape[-2:]) if scores[twin][n, m] > -np.inf]
        for _, n, m in sorted(pairs):
            if expected[n] < 0 and m not in taken:
                expected[n] = m
                taken.add(m)
        assert channel[twin].tolist() == expected
