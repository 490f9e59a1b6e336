"""Steps per second of one environment, beside mobile-env and PettingZoo's MPE."""

import statistics

import fedtwin.envs as envs
from measure import Sample, cells, in_turn, ratio, rival, version
from serve import rounds

STEPS = 2000


def fedtwin(agents: int) -> Sample:
    """Whole rounds of the parallel environment: draw, observations, reward and validation included."""
    return rounds(envs.parallel_env("association", num_clients=agents), STEPS)


def row(name: str, agents: int, rates: list[float], beside: str) -> str:
    per_agent = agents * statistics.median(rates)
    return f"| {name} | {agents} | {cells(rates)} | {per_agent:,.0f} | {beside} |"


def pair(label: str, agents: int, their_agents: int, name: str, *arguments: int) -> list[str]:
    """Compare with one rival, samples in turn."""
    with rival(name, *arguments) as theirs:
        rates = in_turn([fedtwin(agents), theirs])
    return [
        row('fedtwin `parallel_env("association")`', agents, rates[0], ""),
        row(label, their_agents, rates[1], ratio(*rates)),
    ]


def section() -> list[str]:
    """Compare the single environments."""
    mobile = f"mobile-env {version('mobile_env', 'mobile-env')} `mobile-medium-ma-v0`"
    spread = f"PettingZoo MPE (mpe2 {version('mpe', 'mpe2')}) `simple_spread_v3`"
    return [
        "## Single environment",
        "",
        "One environment through its own API, random actions drawn before; a pair of rows was measured in turn.",
        "",
        "| environment | agents | steps/s (median) | range | agent-steps/s | fedtwin's steps/s over it, pair by pair |",
        "| --- | --- | --- | --- | --- | --- |",
        *pair(mobile, 16, 15, "mobile_env"),
        *pair(spread, 16, 16, "mpe", 16, 100),
        *pair(spread, 3, 3, "mpe", 3, 1000),
        "",
    ]
