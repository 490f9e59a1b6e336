"""Mutations of the physics."""

from mutate import Mutation

TESTS = ("tests/test_twin.py", "tests/test_association.py")
SPLIT_POINT = ("tests/test_twin.py", "tests/test_split_point.py")
QUANTIZATION = ("tests/test_twin.py", "tests/test_quantization.py")

MUTATIONS = (
    Mutation("sign of path loss", "twin/radio.py", "reach ** (-slope_db / 10.0)", "reach ** (slope_db / 10.0)"),
    Mutation("path loss in field, not power", "twin/radio.py", "(-slope_db / 10.0)", "(-slope_db / 20.0)"),
    Mutation("dBm read as dBW", "twin/radio.py", "return 1e-3 * decibel_to_ratio", "return decibel_to_ratio"),
    Mutation("no smallest distance", "twin/radio.py", "clip(distance, min_distance)", "distance"),
    Mutation("fading added to the mean", "twin/radio.py", "mean_gain[..., None] * fading", "mean_gain[..., None] + fading"),
    Mutation("gains on another channel", "envs/fading.py", "index = xp.broadcast_to(xp.where(channel < 0, 0, channel)", "index = xp.broadcast_to(xp.where(channel < 0, 0, 0 * channel)"),
    Mutation("interference includes own signal", "twin/radio.py", "include_initial=True)[..., :-1, :, :]", "include_initial=True)[..., 1:, :, :]"),
    Mutation("interference includes own signal, compiled", "twin/radio_kernel.py", "count[k, own] -= 1.0", "count[k, own] -= 0.0"),
    Mutation("absent clients disturb", "twin/radio_kernel.py", "if channel[n] >= 0 and", "if channel[n] >= -1 and"),
    Mutation("interference from other channels", "twin/radio_kernel.py", "up[n] += passing[k, own]", "up[n] += passing[0, own]"),
    Mutation("clients behind do not disturb", "twin/radio_kernel.py", "up[n] += passing[k, own]", "up[n] += 0.0"),
    Mutation("uplink power of the receiver", "twin/radio.py", "client_power[:, None] * uplink_gain", "client_power[0] * uplink_gain"),
    Mutation("downlink power of the listener's server", "twin/radio.py", "server_power * downlink_gain", "server_power[0] * downlink_gain"),
    Mutation("noise subtracted", "twin/radio.py", "(noise + interference)", "(interference - noise)"),
    Mutation("rate in nats", "twin/radio.py", "xp.log1p(sinr) / math.log(2.0)", "xp.log1p(sinr)"),
    Mutation("delay upside down", "twin/radio.py", "return bits / rate", "return rate / bits"),
    Mutation("energy divided by power", "twin/radio.py", "return power * delay", "return delay / power"),
    Mutation("local delay without samples", "twin/compute.py", "samples * flop_per_sample / flops", "flop_per_sample / flops"),
    Mutation("edge load ignores samples", "twin/compute.py", "summed(samples, server", "summed(0.0 * samples + 1.0, server"),
    Mutation("edge delay ignores load", "twin/compute.py", "flop_per_sample * server_samples / s", "flop_per_sample / s"),
    Mutation("mean time instead of the slowest", "twin/rounds.py", "xp.max(client_time", "xp.mean(client_time"),
    Mutation("mean energy instead of the sum", "twin/rounds.py", "client_energy.sum(axis=-1)", "client_energy.mean(axis=-1)"),
    Mutation("weights exchanged", "twin/rounds.py", "time_weight * round_time + energy_weight * energy", "energy_weight * round_time + time_weight * energy"),
    Mutation("squared distance", "twin/geometry.py", "xp.sqrt(xp.sum(offset * offset, axis=-1))", "xp.sum(offset * offset, axis=-1)"),
    Mutation("servers on the diagonal", "twin/geometry.py", "[1.0, 0.0], [0.0, 1.0]]", "[0.5, 0.5], [0.2, 0.2]]"),
    Mutation("share disturbed by the noise of the whole band", "twin/radio.py", "sinr=snr / used)", "sinr=snr)", SPLIT_POINT),
    Mutation("every share has the whole band", "twin/radio.py", "return share * shannon_rate(bandwidth=bandwidth, sinr=snr)\n", "return shannon_rate(bandwidth=bandwidth, sinr=snr)\n", SPLIT_POINT),
    Mutation("few clients disturb themselves", "twin/radio_kernel.py", "            if other != n:", "            if True:"),
    Mutation("one step of Newton's", "twin/radio.py", "NEWTON_STEPS = 3", "NEWTON_STEPS = 1", SPLIT_POINT),
    Mutation("energy of the whole band", "twin/radio.py", "(math.log(2.0) / bandwidth) / share", "(math.log(2.0) / bandwidth)", SPLIT_POINT),
    Mutation("no power without bits", "twin/radio.py", "xp.sign(nats), nats)", "1.0, nats)", SPLIT_POINT),
    Mutation("a taken channel is given again", "twin/feasible_kernel.py", "scores[m] + free[m]", "scores[m]", QUANTIZATION),
    Mutation("of equal scores the last, compiled", "twin/feasible_kernel.py", "score > best", "score >= best", QUANTIZATION),
    Mutation("signal to noise of a rate in nats", "twin/radio.py", "xp.expm1(rate / bandwidth * math.log(2.0))", "xp.expm1(rate / bandwidth)", QUANTIZATION),
    Mutation("cycles times frequency", "twin/compute.py", "return cycles / frequency", "return cycles * frequency", SPLIT_POINT),
    Mutation("computing energy linear in frequency", "twin/compute.py", "coefficient * cycles * frequency**2", "coefficient * cycles * frequency", QUANTIZATION),
    Mutation("way that is behind a vehicle", "twin/geometry.py", "(half_length - position) / speed", "(half_length + position) / speed", SPLIT_POINT),
    Mutation("chord longer than the cell", "twin/geometry.py", "math.sqrt(radius**2 - offset**2)", "math.sqrt(radius**2 + offset**2)", SPLIT_POINT),
    Mutation("bits not divided by the most", "twin/precision.py", "full_bits * bits / bits_max", "full_bits * bits", QUANTIZATION),
    Mutation("benefit falls with bits", "twin/precision.py", "(1.0 - xp.exp(", "(1.0 + xp.exp(", QUANTIZATION),
)  # fmt: skip
