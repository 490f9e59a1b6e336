"""Mutations of the association system."""

from mutate import Mutation

TESTS = ("tests/test_twin.py", "tests/test_association.py")

MUTATIONS = (
    Mutation("gradients as large as features", "envs/association.py", "downlink_bits=samples * p.gradient_bits", "downlink_bits=samples * p.feature_bits"),
    Mutation("downlink uses the uplink's gain", "envs/fading.py", "down = self.mean_gain * on_channel(self.downlink_fading, channel)", "down = up"),
    Mutation("edge delay of another server", "envs/association.py", "pick(per_server, server)", "pick(per_server, xp.where(server >= 0, 0, 0))"),
    Mutation("head delay forgotten", "envs/association.py", "for delay in (c.local_delay,", "for delay in (0.0 * c.local_delay,"),
    Mutation("head energy forgotten", "envs/association.py", "spent = c.local_energy + radio", "spent = radio"),
    Mutation("budget counts the last round only", "envs/account.py", '"energy_used": state.energy_used + cost', '"energy_used": cost'),
    Mutation("time counts energy", "envs/association.py", "continued(state, cost, progress, cost.round_time)", "continued(state, cost, progress, cost.energy)"),
    Mutation("action order exchanged", "envs/parts.py", "index % count, -1))\n            index = index // count", "index // count, -1))\n            index = index % count"),
    Mutation("strongest client first", "envs/association.py", "xp.argsort(xp.max(problem.mean_gain", "xp.argsort(-xp.max(problem.mean_gain"),
    Mutation("mask inverted", "envs/system.py", "free = self.actions.free(partial)", "free = ~self.actions.free(partial)"),
    Mutation("spent clients stay active", "envs/association.py", "return self.energy_used <= self", "return self.energy_used * 0 <= self"),
    Mutation("reward after the time is spent", "envs/association.py", "earns = state.active & (state.time_used <=", "earns = state.active & (state.time_used * 0 <="),
    Mutation("rho without its margin", "envs/association.py", "shared = 1.05 / rho", "shared = 1.0 / rho"),
    Mutation("twin error in nepers", "envs/system.py", "radio.decibel_to_ratio(state.estimate_error", "2.718281828 ** (state.estimate_error"),
    Mutation("pair view: power of client 0", "twin/radio.py", "client_power[agent][..., None, None] * up", "client_power[0] * up"),
    Mutation("pair view: bits of client 0", "envs/association.py", "links = (up, c.uplink_bits[agent])", "links = (up, c.uplink_bits[0 * agent])"),
    Mutation("pair view: energy for worst time", "envs/association.py", "self.price(problem, others).round_time", "self.price(problem, others).energy"),
    Mutation("own view: delays permuted", "envs/association.py", 'seen(lambda v: v.state.uplink_delay, f"own', 'seen(lambda v: v.state.edge_delay, f"own'),
    Mutation("downlink estimate exact", "envs/fading.py", "on_all_channels(self.downlink_fading) * ratio", "on_all_channels(self.downlink_fading)"),
    Mutation("reference cost of one round", "envs/association.py", "REFERENCE_ROUNDS = 256", "REFERENCE_ROUNDS = 1"),
    Mutation("reference cost depends on the floating type", "envs/association.py", 'replace(params, dtype="float64")', "params"),
    Mutation("layout seed ignored", "envs/association.py", "self.fixed_draw(self.params.layout_seed)", "self.fixed_draw(0)"),
)  # fmt: skip
