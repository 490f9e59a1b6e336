"""Agent-steps per second of many copies on one core, beside VMAS."""

import itertools
import time

import fedtwin.envs as envs
import numpy as np
from measure import Sample, cells, in_turn, ratio, rival, version

AGENTS = 16
EPISODE = 25
BATCHES = (64, 256, 1024)
PAIRED = 1024
"""Copies of the rows that are paired with VMAS, which runs as many."""
COPIES = 8192
"""Episodes of a sample, over all copies."""


def fedtwin(copies: int, dtype: str, shared_draws: bool) -> Sample:
    """Whole episodes of the vector view: fresh fading, observations, reward, validation and autoreset.

    The step that only resets (NEXT_STEP autoreset) takes time and does not count.
    """
    env = envs.vector_env("association", copies, shared_draws=shared_draws, dtype=dtype, max_cycles=EPISODE)
    env.reset(seed=0)
    high = env.single_action_space.nvec[0]
    actions = np.random.default_rng(0).integers(high, size=(EPISODE + 1, copies, AGENTS))
    episodes = COPIES // copies // (1 if shared_draws else 2)

    def sample() -> float:
        began = time.perf_counter()
        for _ in range(episodes):
            for action in actions:
                _, _, _, truncated, _ = env.step(action)
                ...
        return AGENTS * copies * EPISODE * episodes / (time.perf_counter() - began)

    return sample
