"""Mutations of the quantization system."""

from mutate import Mutation

TESTS = ("tests/test_quantization.py",)

MUTATIONS = (
    Mutation("server's time forgotten", "envs/quantization.py", "xp.where(present, problem.compute_time + problem.server_time, 0.0)", "xp.where(present, problem.compute_time, 0.0)"),
    Mutation("benefit times energy", "envs/quantization.py", "benefit / xp.where(present, client_energy, 1.0)", "benefit * xp.where(present, client_energy, 1.0)"),
    Mutation("noise of one channel for all", "envs/quantization.py", '(p.num_channels if p.noise == "fixed" else 1)', "1"),
    Mutation("full precision of another size", "envs/quantization.py", " * p.bits_max / 32.0", ""),
    Mutation("channel kept for a second device", "envs/quantization.py", "pairs[copies, :, channel] = -xp.inf", "pass"),
)  # fmt: skip
