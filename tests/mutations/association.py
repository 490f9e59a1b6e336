"""Mutations of the association system."""

from mutate import Mutation

TESTS = ("tests/test_twin.py", "tests/test_association.py")

MUTATIONS = (
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
    Mutation("pair view: power of client 0", "envs/association.py", "c.client_power[agent][..., None, None] * gain", "c.client_power[0] * gain"),
    Mutation("pair view: bits of client 0", "envs/association.py", "bits=c.uplink_bits[agent][..., None, None]", "bits=c.uplink_bits[0]"),
    Mutation("pair view: energy for worst time", "envs/association.py", "others, validate=False).round_time", "others, validate=False).energy"),
    Mutation("own view: delays permuted", "envs/association.py", "(state.uplink_delay, state.edge_delay, state.downlink_delay)", "(state.edge_delay, state.uplink_delay, state.downlink_delay)"),
    Mutation("downlink estimate exact", "envs/association.py", "else state.downlink_gain * ratio", "else state.downlink_gain"),
    Mutation("layout seed ignored", "envs/association.py", "randomness.generator(self.params.layout_seed, 0, 0)", "randomness.generator(0, 0, 0)"),
)  # fmt: skip
