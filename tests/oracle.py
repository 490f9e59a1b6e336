"""Costs as plain loops over Python floats, written from the papers alone.

Eqs (5)-(19a) of Zhao et al., and the delays and energies of the split federated learning slides, parts 2 and 3.
"""

import json
import math
from pathlib import Path
from typing import Any

from fedtwin.envs.association import AssociationParams
from fedtwin.envs.quantization import QuantizationParams
from fedtwin.envs.split_point import SplitPointParams

PROFILES = Path(__file__).parent.parent / "federated" / "models" / "profiles.json"


def spread(value: float | tuple[float, ...], index: int) -> float:
    return float(value[index]) if isinstance(value, tuple) else float(value)


def watt(dbm: float) -> float:
    return 10 ** ((dbm - 30) / 10)


def association_cost(p: AssociationParams, up: Any, down: Any, server: Any, channel: Any) -> dict[str, Any]:
    """Cost of one twin; `up`, `down` are nested lists [n][m][k], `server`, `channel` lists with -1 for absent."""
    n_all, m_all = range(p.num_clients), range(p.num_servers)
    noise = watt(p.noise_dbm)
    out: dict[str, Any] = {
        name: [0.0] * p.num_clients
        for name in (
            "local_delay", "uplink_delay", "edge_delay", "downlink_delay",
            "client_time", "client_energy", "uplink_rate", "downlink_rate",
        )
    }  # fmt: skip
    load = [sum(spread(p.samples, i) for i in n_all if server[i] == m) for m in m_all]
    for n in n_all:
        m, k = server[n], channel[n]
        if m < 0:
            continue
        d = spread(p.samples, n)
        up_noise, down_noise = noise, noise
        for i in n_all:
            if i != n and server[i] >= 0 and channel[i] == k:
                up_noise += watt(spread(p.client_power_dbm, i)) * up[i][m][k]
                down_noise += watt(spread(p.server_power_dbm, server[i])) * down[n][server[i]][k]
        power = watt(spread(p.client_power_dbm, n))
        # log1p: with SINR far below 1e-9 a plain log2(1 + x) has lost the digits that are compared here.
        up_rate = p.bandwidth * math.log1p(power * up[n][m][k] / up_noise) / math.log(2)
        down_rate = (
            p.bandwidth * math.log1p(watt(spread(p.server_power_dbm, m)) * down[n][m][k] / down_noise) / math.log(2)
        )
        local = d * p.head_flop / spread(p.client_flops, n)
        edge = d * p.body_flop / (spread(p.server_flops, m) * (d / load[m]))
        up_time, down_time = d * p.feature_bits / up_rate, d * p.gradient_bits / down_rate
        out["uplink_rate"][n], out["downlink_rate"][n] = up_rate, down_rate
        out["local_delay"][n], out["edge_delay"][n] = local, edge
        out["uplink_delay"][n], out["downlink_delay"][n] = up_time, down_time
        out["client_time"][n] = local + edge + up_time + down_time
        out["client_energy"][n] = d * spread(p.head_energy, n) + power * up_time
    out["round_time"] = max(out["client_time"])
    out["energy"] = sum(out["client_energy"])
    out["system_cost"] = p.time_weight * out["round_time"] + p.energy_weight * out["energy"]
    return out


def bits_per_second(band: float, signal_to_noise: float) -> float:
    """W log2(1 + SNR)."""
    return band * math.log1p(signal_to_noise) / math.log(2)


def mean_gain(reference_loss_db: float, exponent: float, distance: float) -> float:
    return float(10 ** (-reference_loss_db / 10) * distance**-exponent)


def split_point_loads(p: SplitPointParams, samples: float, per_cycle: float) -> list[dict[str, float]]:
    """A, U, C of one vehicle at every cut (spec of ASFL), from layer counts of the model alone."""
    row = json.loads(PROFILES.read_text())[p.profile]
    flops = [forward + backward for forward, backward in zip(row["forward_flops"], row["backward_flops"], strict=True)]
    loads = []
    for blocks in range(1, p.num_cuts + 1):
        activations = samples * row["activation_bits"][blocks]
        model = sum(row["trainable_bits"][:blocks])
        server = samples * sum(flops[blocks:]) / p.server_flops
        down = model / p.downlink_rate + activations / p.downlink_rate
        cycles = samples * sum(flops[:blocks]) / per_cycle
        loads.append(
            {
                "cycles": cycles,
                "uplink_bits": activations + model,
                "server_time": server,
                "fixed_time": server + down,
                "down": down,
            }
        )
    return loads


def split_point_cost(
    p: SplitPointParams,
    gain: list[float],
    samples: list[float],
    per_cycle: list[float],
    cut: list[int],
    share: list[float],
    frequency: list[float],
    power: list[float],
) -> dict[str, Any]:
    """Cost of one twin; every list has a number per vehicle, the cut is -1 for those that stay out."""
    out: dict[str, Any] = {
        name: [0.0] * len(cut)
        for name in (
            "compute_delay", "uplink_delay", "downlink_delay", "client_time",
            "compute_energy", "uplink_energy", "client_energy", "uplink_rate",
        )
    }  # fmt: skip
    density = watt(p.noise_density_dbm)
    for n, blocks in enumerate(cut):
        if blocks < 0:
            continue
        load = split_point_loads(p, samples[n], per_cycle[n])[blocks]
        band = share[n] * p.bandwidth
        heard = density * (band if p.noise == "psd" else p.bandwidth)
        rate = bits_per_second(band, power[n] * gain[n] / heard)
        local, sending = load["cycles"] / frequency[n], load["uplink_bits"] / rate
        out["uplink_rate"][n] = rate
        out["compute_delay"][n] = local + load["server_time"]
        out["uplink_delay"][n] = sending
        out["downlink_delay"][n] = load["down"]
        out["client_time"][n] = local + load["server_time"] + sending + load["down"]
        out["compute_energy"][n] = p.switched_capacitance / 2 * load["cycles"] * frequency[n] ** 2
        out["uplink_energy"][n] = power[n] * sending
        out["client_energy"][n] = out["compute_energy"][n] + out["uplink_energy"][n]
    out["round_time"] = max(out["client_time"])
    out["energy"] = sum(out["client_energy"])
    return out


def quantization_loads(p: QuantizationParams, per_cycle: float, frequency: float) -> dict[str, float]:
    """Computing of one device (T^cmp, E^cmp of SFLAM) and the bits of its activations per bit of a number."""
    row = json.loads(PROFILES.read_text())[p.profile]
    cycles = p.samples * (row["forward_flops"][0] + row["backward_flops"][0]) / per_cycle
    return {
        "compute_time": cycles / frequency,
        "compute_energy": p.energy_coefficient * frequency**2 * cycles,
        "numbers": p.samples * row["activation_bits"][1] / 32,
    }


def quantization_noise(p: QuantizationParams) -> float:
    return watt(p.noise_density_dbm) * p.bandwidth * (p.num_channels if p.noise == "fixed" else 1)


def quantization_cost(
    p: QuantizationParams,
    gain: list[list[float]],
    per_cycle: list[float],
    frequency: list[float],
    channel: list[int],
    bits: list[int],
    power: list[float],
) -> dict[str, Any]:
    """Cost of one twin; `gain` is nested [n][m], the other lists have a number per device, channel -1: none."""
    out: dict[str, Any] = {
        name: [0.0] * len(channel)
        for name in (
            "compute_delay", "uplink_delay", "client_time", "compute_energy", "uplink_energy",
            "client_energy", "bits", "client_benefit", "client_efficiency",
        )
    }  # fmt: skip
    noise = quantization_noise(p)
    for n, m in enumerate(channel):
        if m < 0:
            continue
        load = quantization_loads(p, per_cycle[n], frequency[n])
        sending = load["numbers"] * bits[n] / bits_per_second(p.bandwidth, power[n] * gain[n][m] / noise)
        out["bits"][n] = float(bits[n])
        out["compute_delay"][n] = load["compute_time"] + p.server_time
        out["uplink_delay"][n] = sending
        out["client_time"][n] = load["compute_time"] + p.server_time + sending
        out["compute_energy"][n] = load["compute_energy"]
        out["uplink_energy"][n] = power[n] * sending
        out["client_energy"][n] = load["compute_energy"] + power[n] * sending
        out["client_benefit"][n] = p.benefit_amplitude * (1 - math.exp(-p.benefit_rate * bits[n])) + p.benefit_floor
        out["client_efficiency"][n] = out["client_benefit"][n] / out["client_energy"][n]
    out["round_time"] = max(out["client_time"])
    out["energy"] = sum(out["client_energy"])
    out["efficiency"] = sum(out["client_efficiency"])
    return out
