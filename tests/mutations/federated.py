"""Mutations of live learning."""

from mutate import Mutation

TESTS = ("tests/test_federated.py",)

MUTATIONS = (
    Mutation("aggregation without weights", "federated/models/parameters.py", "return np.asarray(weights / total)", "return np.full_like(weights, 1 / weights.size)"),
    Mutation("proximal term pushes away", "federated/engine/work.py", "(gradients, pull, alpha=self.proximal)", "(gradients, pull, alpha=-self.proximal)"),
    Mutation("head learns from the server's mean", "federated/engine/stacked.py", "arrived = arrived * shares.boost[step, :active]", "arrived = arrived * 1.0 ** shares.boost[step, :active]"),
    Mutation("padding is learned from", "federated/engine/stacked.py", "(valid * shares.weight[..., None])", "(shares.weight[..., None] + 0 * valid)"),
    Mutation("samples are visited unshuffled", "federated/data/population.py", ".permutation(self.parts[client])", ".permutation(1) * 0 + self.parts[client]"),
    Mutation("noise of another standard deviation", "federated/privacy.py", "single.standard_deviation * math.sqrt(self.rounds)", "single.standard_deviation * self.rounds"),
)  # fmt: skip
