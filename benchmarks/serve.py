"""The rivals' side of a comparison: a sample whenever one is asked for. Needs nothing but Python."""

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any


def rounds(env: Any, steps: int) -> Callable[[], float]:
    """Return what steps a PettingZoo parallel environment with random actions and says how many steps a second."""
    env.reset(seed=0)
    for index, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(index)
    actions = [{agent: env.action_space(agent).sample() for agent in env.possible_agents} for _ in range(50)]

    def sample() -> float:
        began = time.perf_counter()
        for joint in itertools.islice(itertools.cycle(actions), steps):
            if not env.agents:
                env.reset()
            env.step(joint)
        return steps / (time.perf_counter() - began)

    return sample


def serve(sample: Callable[[], float]) -> None:
    """Answer every line of standard input with one sample (a rate per second), until the input ends."""
    for _ in sys.stdin:
        print(f"rate {sample()!r}", flush=True)
