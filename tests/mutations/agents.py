"""Mutations of the agents."""

from mutate import Mutation

TESTS = ("tests/test_agents.py", "-k", "targets or dueling or masked or weights or average")

MUTATIONS = (
    Mutation("target takes the target's argmax", "agents/d3qn.py", "online = self.values(batch.next_observation)", "online = self.target(batch.next_observation)"),
    Mutation("advantages not centred", "agents/networks.py", "value + advantage - advantage.mean(dim=-1, keepdim=True)", "value + advantage"),
    Mutation("illegal actions explored", "agents/d3qn.py", ".masked_fill_(~self._mask, -1.0)", ""),
    Mutation("steps that only begin anew are learned from", "agents/learner.py", "valid=~self._idle,", "valid=self._idle | True,", ("tests/test_ddpg.py", "-k", "memory_holds")),
    Mutation("the averaged actor stays behind", "agents/ddpg.py", "for follower in (self.target_actor, self.averaged):", "for follower in (self.target_actor,):", ("tests/test_ddpg.py", "-k", "saved_agents")),
)  # fmt: skip
