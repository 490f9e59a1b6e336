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
"""Copies of the rows that are paired with VMAS: its script runs as many."""
EPISODES = 1024
"""Episodes of a sample, over all copies."""

Setting = tuple[int, str]
"""Copies and floating type."""


def fedtwin(copies: int, dtype: str) -> Sample:
    """Whole episodes of the vector view: fresh fading, observations, reward, validation and autoreset.

    The step that only resets (NEXT_STEP autoreset) takes time and does not count.
    """
    env = envs.vector_env("association", copies, dtype=dtype, max_cycles=EPISODE)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(env.system.num_actions, size=(EPISODE + 1, copies, AGENTS))
    episodes = EPISODES // copies

    def sample() -> float:
        began = time.perf_counter()
        for action in itertools.chain.from_iterable(itertools.repeat(actions, episodes)):
            env.step(action)
        return AGENTS * copies * EPISODE * episodes / (time.perf_counter() - began)

    return sample


def row(setting: Setting, rates: list[float], beside: str) -> str:
    copies, dtype = setting
    return f"| fedtwin `vector_env` | {copies} | {dtype} | {cells(rates)} | {beside} |"


def measured() -> list[str]:
    """Measure every setting; VMAS runs after each one of its batch size."""
    settings: list[Setting] = list(itertools.product(BATCHES, ("float64", "float32")))
    small = [setting for setting in settings if setting[0] != PAIRED]
    paired = [setting for setting in settings if setting[0] == PAIRED]
    rows = [
        row(setting, rates, "")
        for setting, rates in zip(small, in_turn([fedtwin(*setting) for setting in small]), strict=True)
    ]
    with rival("vmas") as theirs:
        rates = in_turn([source for setting in paired for source in (fedtwin(*setting), theirs)])
    ours, beside = rates[::2], rates[1::2]
    for setting, mine, its in zip(paired, ours, beside, strict=True):
        rows.append(row(setting, mine, ratio(mine, its)))
    every = cells([rate for taken in beside for rate in taken])
    return [*rows, f"| VMAS {version('vmas', 'vmas')} `simple_spread` | {PAIRED} | float32 | {every} | |"]


def section() -> list[str]:
    """Compare the vectorised environments."""
    return [
        "## Vectorised, NumPy on one core",
        "",
        f"{AGENTS} agents, episodes of {EPISODE} rounds, random actions drawn before; a step draws fresh fading and",
        "includes observations, reward, validation and autoreset. A copy's channels do not depend on the batch. VMAS",
        "runs on CPU with one torch thread and resets as often; its",
        "simple_spread computes the reward in a Python loop over agents and landmarks. The rows with a ratio were",
        "measured in turn with it; its own row pools the samples taken after each of them.",
        "",
        "| environment | copies | type | agent-steps/s (median) | range | over VMAS, pair by pair |",
        "| --- | --- | --- | --- | --- | --- |",
        *measured(),
        "",
    ]
