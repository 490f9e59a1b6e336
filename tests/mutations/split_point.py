"""Mutations of the split-point system."""

from mutate import Mutation

TESTS = ("tests/test_split_point.py",)

MUTATIONS = (
    Mutation("vehicle's part not sent up", "envs/split_point.py", "uplink_bits=bits + load.model_bits", "uplink_bits=bits"),
    Mutation("gradients do not come down", "envs/split_point.py", "bits=load.model_bits + bits, rate", "bits=load.model_bits, rate"),
    Mutation("unit trains the vehicle's blocks", "twin/workload.py", "server_flop=(forward[-1] + backward[-1]) - client", "server_flop=1.0 * client"),
    Mutation("zeta in place of zeta / 2", "envs/split_point.py", "coefficient=0.5 * self.switched_capacitance", "coefficient=self.switched_capacitance"),
    Mutation("vehicles stand still in the pause", "envs/split_point.py", "passed = namespace(state.position), cost.round_time + self.params.pause", "passed = namespace(state.position), cost.round_time"),
    Mutation("selection knows the true gains", "envs/split_point.py", "nominal_time(self._loads(self.believed(state)))", "nominal_time(self._loads(state))"),
    Mutation("who leaves too early is selected", "envs/split_point.py", "xp.min(nominal, axis=-1) <= self.dwell_time(state)", "xp.min(nominal, axis=-1) <= 1e9 * self.dwell_time(state)"),
    Mutation("newcomers inherit a budget", "envs/split_point.py", "name: xp.where(gone, new[name], own)", "name: own"),
    Mutation("budgets kept by half", "twin/device.py", "over = total > budget", "over = total > 2.0 * budget"),
)  # fmt: skip
