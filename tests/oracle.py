"""Eqs (5)-(19a) of Zhao et al. as plain loops over Python floats, written from the paper alone."""

import math
from typing import Any

from fedtwin.envs.association import AssociationParams


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
