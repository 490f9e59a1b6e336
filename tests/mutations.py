"""Breaks the physics on purpose, one named change at a time, and checks that the tests notice every one.

Run `make mutate`. Each mutation is applied to a copy of the package; a mutation that the tests survive is a failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TESTS = ("tests/test_twin.py", "tests/test_association.py")
SPLIT_POINT = ("tests/test_split_point.py",)
QUANTIZATION = ("tests/test_quantization.py",)
LEARNING = ("tests/test_federated.py",)
AGENTS = ("tests/test_agents.py", "-k", "targets or dueling or masked or weights or average")
PACKAGES = ("agents", "baselines", "envs", "evaluation", "federated", "storage", "tests", "twin")


class Mutation(NamedTuple):
    """One change: in `file`, the only occurrence of `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = TESTS


MUTATIONS = (
    Mutation("sign of path loss", "twin/radio.py", "reach ** (-slope_db / 10.0)", "reach ** (slope_db / 10.0)"),
    Mutation("path loss in field, not power", "twin/radio.py", "(-slope_db / 10.0)", "(-slope_db / 20.0)"),
    Mutation("dBm read as dBW", "twin/radio.py", "return 1e-3 * decibel_to_ratio", "return decibel_to_ratio"),
    Mutation("no smallest distance", "twin/radio.py", "xp.clip(distance, min_distance, None)", "distance"),
    Mutation("fading added to the mean", "twin/radio.py", "mean_gain[..., None] * fading", "mean_gain[..., None] + fading"),
    Mutation("pair index transposed", "twin/radio.py", "server * channels + channel)", "channel * servers + server)"),
    Mutation("interference includes own signal", "twin/radio.py", "& different & (channel", "& (channel"),
    Mutation("absent clients disturb", "twin/radio.py", " & (channel >= 0)[..., None, :]", ""),
    Mutation("interference from other channels", "twin/radio.py", "[..., :, None] == channel", "[..., :, None] != channel"),
    Mutation(
        "uplink sums over receivers",
        "twin/radio.py",
        "received, 0.0).sum(axis=-2)",
        "received, 0.0).sum(axis=-1)",
    ),
    Mutation("uplink power of the receiver", "twin/radio.py", "client_power[:, None] * pair_gain", "client_power * pair_gain"),
    Mutation(
        "downlink power of the listener's server",
        "twin/radio.py",
        "serving_power[..., None, :] * pair_gain",
        "serving_power[..., :, None] * pair_gain",
    ),
    Mutation("noise subtracted", "twin/radio.py", "(noise + interference)", "(interference - noise)"),
    Mutation("rate in nats", "twin/radio.py", "xp.log1p(sinr) / math.log(2.0)", "xp.log1p(sinr)"),
    Mutation("delay upside down", "twin/radio.py", "return bits / rate", "return rate / bits"),
    Mutation("energy divided by power", "twin/radio.py", "return power * delay", "return delay / power"),
    Mutation("local delay without samples", "twin/compute.py", "samples * flop_per_sample / flops", "flop_per_sample / flops"),
    Mutation("edge load ignores samples", "twin/compute.py", "samples[..., None], 0.0)", "1.0, 0.0)"),
    Mutation("edge delay ignores load", "twin/compute.py", "flop_per_sample * server_samples / s", "flop_per_sample / s"),
    Mutation("mean time instead of the slowest", "twin/rounds.py", "xp.max(client_time", "xp.mean(client_time"),
    Mutation("mean energy instead of the sum", "twin/rounds.py", "client_energy.sum(axis=-1)", "client_energy.mean(axis=-1)"),
    Mutation("weights exchanged", "twin/rounds.py", "time_weight * round_time + energy_weight * energy", "energy_weight * round_time + time_weight * energy"),
    Mutation("squared distance", "twin/geometry.py", "xp.sqrt(xp.sum(offset * offset, axis=-1))", "xp.sum(offset * offset, axis=-1)"),
    Mutation("servers on the diagonal", "twin/geometry.py", "[1.0, 0.0], [0.0, 1.0]]", "[0.5, 0.5], [0.2, 0.2]]"),
    Mutation("gradients as large as features", "envs/association.py", "samples * p.gradient_bits", "samples * p.feature_bits"),
    Mutation("downlink uses the uplink's gain", "envs/association.py", "gain=state.downlink_gain, server=server", "gain=state.uplink_gain, server=server"),
    Mutation("edge delay of another server", "envs/association.py", "pick(per_server, at)", "pick(per_server, at * 0)"),
    Mutation("head delay forgotten", "envs/association.py", "client_time = parts[0] + parts[1]", "client_time = parts[1]"),
    Mutation("head energy forgotten", "envs/association.py", "served(c.local_energy + uplink_energy", "served(uplink_energy"),
    Mutation("budget counts the last round only", "envs/association.py", "energy_used=state.energy_used + cost", "energy_used=cost"),
    Mutation("time counts energy", "envs/association.py", "state.time_used + cost.round_time", "state.time_used + cost.energy"),
    Mutation("action order exchanged", "envs/association.py", "server = xp.where(state.active, actions // self", "server = xp.where(state.active, actions % self"),
    Mutation("strongest client first", "envs/association.py", "xp.argsort(xp.max(state.mean_gain", "xp.argsort(-xp.max(state.mean_gain"),
    Mutation("mask inverted", "envs/association.py", "self.pair_clients(partial) == 0", "self.pair_clients(partial) != 0"),
    Mutation("spent clients stay active", "envs/association.py", "return self.energy_used <= self", "return self.energy_used * 0 <= self"),
    Mutation("reward after the time is spent", "envs/association.py", "earns = state.active & (state.time_used <=", "earns = state.active & (state.time_used * 0 <="),
    Mutation("rho without its margin", "envs/association.py", "shared = 1.05 / self", "shared = 1.0 / self"),
    Mutation("twin error in nepers", "envs/association.py", "radio.decibel_to_ratio(state.estimate_error", "2.718281828 ** (state.estimate_error"),
    Mutation("agents pay for what the twin believes", "envs/simulator.py", "cost = system.cost(state, decision, validate=False)", "cost = system.cost(self.seen, decision, validate=False)"),
    Mutation("agents see the truth", "envs/simulator.py", "self.seen = self.system.believed(self.state)", "self.seen = self.state"),
    Mutation("pair view: power of client 0", "envs/association.py", "c.client_power[agent][..., None, None] * gain", "c.client_power[0] * gain"),
    Mutation("pair view: bits of client 0", "envs/association.py", "bits=c.uplink_bits[agent][..., None, None]", "bits=c.uplink_bits[0]"),
    Mutation("pair view: energy for worst time", "envs/association.py", "others, validate=False).round_time", "others, validate=False).energy"),
    Mutation("own view: delays permuted", "envs/association.py", "(state.uplink_delay, state.edge_delay, state.downlink_delay)", "(state.edge_delay, state.uplink_delay, state.downlink_delay)"),
    Mutation("downlink estimate exact", "envs/association.py", "else state.downlink_gain * ratio", "else state.downlink_gain"),
    Mutation("layout seed ignored", "envs/association.py", "randomness.generator(self.params.layout_seed, 0, 0)", "randomness.generator(0, 0, 0)"),
    Mutation("share disturbed by the noise of the whole band", "twin/radio.py", "sinr=snr / used)", "sinr=snr)", SPLIT_POINT),
    Mutation("every share has the whole band", "twin/radio.py", "return share * shannon_rate(bandwidth=bandwidth, sinr=snr)\n", "return shannon_rate(bandwidth=bandwidth, sinr=snr)\n", SPLIT_POINT),
    Mutation("tangent of the energy too steep", "twin/radio.py", "per_power * xp.where(received > WEAK_SIGNAL, exact, weak)", "per_power", SPLIT_POINT),
    Mutation("tangents begin above the energy", "twin/radio.py", "xp.zeros_like(snr_per_watt * share) + power_min", "xp.zeros_like(snr_per_watt * share) + power_max", SPLIT_POINT),
    Mutation("signal to noise of a rate in nats", "twin/radio.py", "xp.expm1(rate / bandwidth * math.log(2.0))", "xp.expm1(rate / bandwidth)", QUANTIZATION),
    Mutation("cycles times frequency", "twin/compute.py", "return cycles / frequency", "return cycles * frequency", SPLIT_POINT),
    Mutation("computing energy linear in frequency", "twin/compute.py", "coefficient * cycles * frequency**2", "coefficient * cycles * frequency", QUANTIZATION),
    Mutation("way that is behind a vehicle", "twin/geometry.py", "(half_length - position) / speed", "(half_length + position) / speed", SPLIT_POINT),
    Mutation("chord longer than the cell", "twin/geometry.py", "math.sqrt(radius**2 - offset**2)", "math.sqrt(radius**2 + offset**2)", SPLIT_POINT),
    Mutation("bits not divided by the most", "twin/quantization.py", "full_bits * bits / bits_max", "full_bits * bits", QUANTIZATION),
    Mutation("benefit falls with bits", "twin/quantization.py", "(1.0 - xp.exp(", "(1.0 + xp.exp(", QUANTIZATION),
    Mutation("vehicle's part not sent up", "envs/split_point.py", "uplink_bits=bits + model", "uplink_bits=bits", SPLIT_POINT),
    Mutation("gradients do not come down", "envs/split_point.py", "bits=model + bits, rate=p.downlink_rate", "bits=model, rate=p.downlink_rate", SPLIT_POINT),
    Mutation("unit trains the vehicle's blocks", "envs/split_point.py", "(forward[-1] + backward[-1]) - self.vehicle_flop", "1.0 * self.vehicle_flop", SPLIT_POINT),
    Mutation("zeta in place of zeta / 2", "envs/split_point.py", "coefficient = 0.5 * problem.switched_capacitance", "coefficient = problem.switched_capacitance", SPLIT_POINT),
    Mutation("vehicles stand still in the pause", "envs/split_point.py", "(cost.round_time + self.params.pause)", "(cost.round_time)", SPLIT_POINT),
    Mutation("selection knows the true gains", "envs/split_point.py", "self.able(self.believed(state))", "self.able(state)", SPLIT_POINT),
    Mutation("who leaves too early is selected", "envs/split_point.py", "min(nominal, axis=-1) <= left", "min(nominal, axis=-1) <= 1e9 * left", SPLIT_POINT),
    Mutation("newcomers inherit a budget", "envs/split_point.py", "renewed(state.energy_budget, draw.energy_budget)", "state.energy_budget", SPLIT_POINT),
    Mutation("budgets kept by half", "envs/split_point.py", "present & (asked.client_energy > budget)", "present & (asked.client_energy > 2.0 * budget)", SPLIT_POINT),
    Mutation("server's time forgotten", "envs/quantization.py", "xp.where(present, problem.compute_time + problem.server_time, 0.0)", "xp.where(present, problem.compute_time, 0.0)", QUANTIZATION),
    Mutation("benefit times energy", "envs/quantization.py", "benefit / xp.where(present, client_energy, 1.0)", "benefit * xp.where(present, client_energy, 1.0)", QUANTIZATION),
    Mutation("noise of one channel for all", "envs/quantization.py", '(p.num_channels if p.noise == "fixed" else 1)', "1", QUANTIZATION),
    Mutation("full precision of another size", "envs/quantization.py", " * p.bits_max / 32.0", "", QUANTIZATION),
    Mutation("channel kept for a second device", "envs/quantization.py", "pairs[copies, :, channel] = -xp.inf", "pass", QUANTIZATION),
    Mutation("fading not averaged", "envs/randomness.py", "/ np.dtype(dtype).type(blocks)", "/ 1"),
    Mutation("round does not move the generator", "envs/randomness.py", "0, 0, cycle, stream", "0, 0, 0, stream"),
    Mutation("aggregation without weights", "federated/parameters.py", "return np.asarray(weights / total)", "return np.full_like(weights, 1 / weights.size)", LEARNING),
    Mutation("proximal term pushes away", "federated/local.py", "(gradients, pull, alpha=rule.proximal)", "(gradients, pull, alpha=-rule.proximal)", LEARNING),
    Mutation("head learns from the server's mean", "federated/local.py", "arrived = arrived * shares.boost[step, :active]", "arrived = arrived * 1.0 ** shares.boost[step, :active]", LEARNING),
    Mutation("padding is learned from", "federated/local.py", "(valid * shares.weight[..., None])", "(shares.weight[..., None] + 0 * valid)", LEARNING),
    Mutation("samples are visited unshuffled", "federated/population.py", ".permutation(self.parts[client])", ".permutation(1) * 0 + self.parts[client]", LEARNING),
    Mutation("noise of another standard deviation", "federated/privacy.py", "single.standard_deviation * math.sqrt(self.rounds)", "single.standard_deviation * self.rounds", LEARNING),
    Mutation("target takes the target's argmax", "agents/d3qn.py", "online = self.values(batch.next_observation)", "online = self.target(batch.next_observation)", AGENTS),
    Mutation("advantages not centred", "agents/networks.py", "value + advantage - advantage.mean(dim=-1, keepdim=True)", "value + advantage", AGENTS),
    Mutation("illegal actions explored", "agents/d3qn.py", ".masked_fill_(~self._mask, -1.0)", "", AGENTS),
)  # fmt: skip


def check_texts() -> None:
    """Raise unless the text of every mutation stands exactly once."""
    for mutation in MUTATIONS:
        count = (ROOT / mutation.file).read_text().count(mutation.old)
        if count != 1:
            raise ValueError(f"{mutation.name}: {mutation.old!r} stands {count} times in {mutation.file}")


def survives(mutation: Mutation) -> bool:
    """Apply the mutation to a copy and run the tests; true if they pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "fedtwin"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        target = copy / mutation.file
        target.write_text(target.read_text().replace(mutation.old, mutation.new, 1))
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        probe = "import fedtwin.twin.radio as r, sys; sys.exit(not r.__file__.startswith(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", probe, folder], check=True, env=environment, cwd=folder)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.tests]
        done = subprocess.run(command, env=environment, cwd=copy, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{mutation.name}: the tests did not run\n{done.stdout[-2000:]}")
        return done.returncode == 0


def main() -> None:
    """Run every mutation; end with status 1 if one survives."""
    check_texts()
    unharmed = Mutation("nothing", "twin/radio.py", '"""The radio link', '"""The radio link')
    if not survives(unharmed):
        raise SystemExit("the tests fail without any mutation")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survived = []
        for mutation, alive in zip(MUTATIONS, pool.map(survives, MUTATIONS), strict=True):
            print(f"{'SURVIVED' if alive else 'killed'}: {mutation.name}", flush=True)
            survived += [mutation.name] * alive
    print(f"{len(MUTATIONS) - len(survived)} of {len(MUTATIONS)} mutations killed")
    raise SystemExit(bool(survived))


if __name__ == "__main__":
    main()
