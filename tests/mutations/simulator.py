"""Mutations of the stepping code."""

from mutate import Mutation

BELIEF = ("tests/test_systems.py::test_agents_see_the_belief_and_pay_for_the_truth",)
COUNT = ("tests/test_systems.py::test_a_round_asks_for_its_problem_twice_and_for_its_cost_once",)
LEARNED = ("tests/test_docs.py::test_toy_remembers_and_shows_what_was_learned",)
SEEDS = ("tests/test_systems.py::test_seeds_determine_whole_episodes",)

MUTATIONS = (
    Mutation("agents pay for what the twin believes", "envs/simulator.py", "cost = system.price(self.problem, decision)", "cost = system.price(self.seen_problem, decision)", BELIEF),
    Mutation("agents see the truth", "envs/simulator.py", "self.seen = self.system.believed(self.state)", "self.seen = self.state", BELIEF),
    Mutation("agents decide by the truth", "envs/simulator.py", "ruling = self.system.rule(self.seen_problem, actions)", "ruling = self.system.rule(self.problem, actions)", BELIEF),
    Mutation("the cost is asked for twice", "envs/simulator.py", "cost = system.price(self.problem, decision)", "cost = system.cost(state, decision, validate=False)", COUNT),
    Mutation("progress is predicted of another cost", "envs/simulator.py", "progress = system.foresee(state, decision, cost)", "progress = system.predict(state, decision)", COUNT),
    Mutation("what was measured does not reach the state", "envs/simulator.py", "progress = self.learning.round(state, decision, moved, progress)", "self.learning.round(state, decision, moved, progress)", LEARNED),
    Mutation("the loss of the first round counts for all", "envs/learning.py", "            self.loss[copy] = found.loss\n", "", LEARNED),
    Mutation("the seed is forgotten", "envs/simulator.py", "return first + np.arange(self.num_envs)", "return 0 * first + np.arange(self.num_envs)", SEEDS),
)  # fmt: skip
