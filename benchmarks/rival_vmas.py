"""Agent-steps per second of VMAS simple_spread on one torch thread; runs in an environment of its own.

Discrete actions; a sample is one episode of 25 steps in every environment and the reset of all after it.
"""

import time

import torch
import vmas
from serve import serve

AGENTS = 16
ENVIRONMENTS = 1024
EPISODE = 25


def main() -> None:
    torch.set_num_threads(1)
    env = vmas.make_env(
        "simple_spread",
        num_envs=ENVIRONMENTS,
        device="cpu",
        continuous_actions=False,
        max_steps=EPISODE,
        seed=0,
        n_agents=AGENTS,
    )
    env.reset()
    actions = [[env.get_random_action(agent) for agent in env.agents] for _ in range(EPISODE)]

    def sample() -> float:
        began = time.perf_counter()
        for action in actions:
            _, _, done, _ = env.step(action)
        if not bool(done.all()):
            raise RuntimeError("the episode has not ended: the environments must be reset in step")
        env.reset()
        return AGENTS * ENVIRONMENTS * EPISODE / (time.perf_counter() - began)

    serve(sample)


if __name__ == "__main__":
    main()
