"""Steps per second of PettingZoo's MPE simple_spread, parallel API; runs in an environment of its own.

Arguments: agents, steps of a sample. Discrete actions, 25 steps an episode, as many landmarks as agents.
"""

import sys
import time

from mpe2 import simple_spread_v3
from serve import serve

EPISODE = 25


def main() -> None:
    agents, steps = int(sys.argv[1]), int(sys.argv[2])
    env = simple_spread_v3.parallel_env(N=agents, max_cycles=EPISODE)
    env.reset(seed=0)
    for index, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(index)
    actions = [{agent: env.action_space(agent).sample() for agent in env.possible_agents} for _ in range(50)]

    def sample() -> float:
        began = time.perf_counter()
        for step in range(steps):
            if not env.agents:
                env.reset()
            env.step(actions[step % 50])
        return steps / (time.perf_counter() - began)

    serve(sample)


if __name__ == "__main__":
    main()
