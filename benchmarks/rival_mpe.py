"""Steps per second of PettingZoo's MPE simple_spread, parallel API; runs in an environment of its own.

Arguments: agents, steps of a sample. Discrete actions, 25 steps an episode, as many landmarks as agents.
"""

import sys

from mpe2 import simple_spread_v3
from serve import rounds, serve

EPISODE = 25


def main() -> None:
    agents, steps = int(sys.argv[1]), int(sys.argv[2])
    env = simple_spread_v3.parallel_env(N=agents, max_cycles=EPISODE)
    serve(rounds(env, steps))


if __name__ == "__main__":
    main()
