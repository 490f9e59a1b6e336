"""Mutations of the split-point system."""

from mutate import Mutation

TESTS = ("tests/test_split_point.py",)

MUTATIONS = (
    Mutation("vehicle's part not sent up", "envs/split_point.py", "uplink_bits=bits + model", "uplink_bits=bits"),
    Mutation("gradients do not come down", "envs/split_point.py", "bits=model + bits, rate=p.downlink_rate", "bits=model, rate=p.downlink_rate"),
    Mutation("unit trains the vehicle's blocks", "envs/split_point.py", "(forward[-1] + backward[-1]) - self.vehicle_flop", "1.0 * self.vehicle_flop"),
    Mutation("zeta in place of zeta / 2", "envs/split_point.py", "coefficient = 0.5 * problem.switched_capacitance", "coefficient = problem.switched_capacitance"),
    Mutation("vehicles stand still in the pause", "envs/split_point.py", "(cost.round_time + self.params.pause)", "(cost.round_time)"),
    Mutation("selection knows the true gains", "envs/split_point.py", "self.able(self.believed(state))", "self.able(state)"),
    Mutation("who leaves too early is selected", "envs/split_point.py", "min(nominal, axis=-1) <= left", "min(nominal, axis=-1) <= 1e9 * left"),
    Mutation("newcomers inherit a budget", "envs/split_point.py", "renewed(state.energy_budget, draw.energy_budget)", "state.energy_budget"),
    Mutation("budgets kept by half", "envs/split_point.py", "present & (asked.client_energy > budget)", "present & (asked.client_energy > 2.0 * budget)"),
)  # fmt: skip
