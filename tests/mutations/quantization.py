"""Mutations of the quantization system."""

from mutate import Mutation

TESTS = ("tests/test_twin.py", "tests/test_quantization.py")

MUTATIONS = (
    Mutation("server's time forgotten", "envs/quantization.py", "xp.where(present, problem.compute_time + problem.server_time, 0.0)", "xp.where(present, problem.compute_time, 0.0)"),
    Mutation("benefit times energy", "envs/quantization.py", 'benefit / xp.where(present, total["client_energy"], 1.0)', 'benefit * xp.where(present, total["client_energy"], 1.0)'),
    Mutation("noise of one channel for all", "envs/quantization.py", '(params.num_channels if params.noise == "fixed" else 1)', "1"),
    Mutation("full precision of another size", "envs/quantization.py", " * params.bits_max / WHOLE_BITS", ""),
    Mutation("channel kept for a second device", "twin/feasible.py", "pairs[copies, :, channel] = -xp.inf", "pass"),
    Mutation("a taken channel is no violation", "envs/quantization.py", "(asked.channel >= 0) & (asked.channel != made.channel)", "(asked.channel >= 0) & (asked.channel < 0)"),
    Mutation("progress counts devices", "envs/quantization.py", "return cost.client_benefit.sum(axis=-1)", "return (0.0 * cost.client_benefit + 1.0).sum(axis=-1)"),
    Mutation("one bit is allowed", "twin/precision.py", "FEWEST_BITS, WHOLE_BITS = 2, 32", "FEWEST_BITS, WHOLE_BITS = 1, 32"),
)  # fmt: skip
