"""Mutations of the stepping code."""

from mutate import Mutation

TESTS = ("tests/test_twin.py", "tests/test_association.py")

MUTATIONS = (
    Mutation("agents pay for what the twin believes", "envs/simulator.py", "cost = system.cost(state, decision, validate=False)", "cost = system.cost(self.seen, decision, validate=False)"),
    Mutation("agents see the truth", "envs/simulator.py", "self.seen = self.system.believed(self.state)", "self.seen = self.state"),
)  # fmt: skip
