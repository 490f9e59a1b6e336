"""Training throughput of the sequential D3QN on one core, and where the time goes."""

import statistics
import time

import fedtwin.envs as envs
import torch
from fedtwin.agents import D3QN

TRANSITIONS = 60_000
SAMPLES = 5


def build() -> D3QN:
    """Build the default learner on its default environment, exploring as at the end of a training."""
    env = envs.vector_env("association", 256, decisions="sequential", positions="round", dtype="float32")
    agent = D3QN.for_env(env)
    agent.begin(env, 1)
    while agent.transitions < 2 * agent.settings.learn_after:
        agent.advance()
    return agent


def timed(agent: D3QN, name: str) -> list[float]:
    """Time every call of a method of `agent`, or of its environment's `step`."""
    owner = agent.env if name == "step" else agent
    original, spent = getattr(owner, name), [0.0]

    def call(*arguments: object) -> object:
        began = time.perf_counter()
        result = original(*arguments)
        spent[0] += time.perf_counter() - began
        return result

    setattr(owner, name, call)
    return spent


def section() -> list[str]:
    """Measure the default learner."""
    agent = build()
    parts = {"environment": timed(agent, "step"), "acting": timed(agent, "_explore"), "learning": timed(agent, "learn")}
    rates, shares = [], {name: [] for name in (*parts, "replay")}
    for _ in range(SAMPLES + 1):
        for spent in parts.values():
            spent[0] = 0.0
        began, before = time.perf_counter(), agent.transitions
        while agent.transitions < before + TRANSITIONS:
            agent.advance()
        elapsed = time.perf_counter() - began
        agent.take_measures()
        rates.append((agent.transitions - before) / elapsed)
        for name, spent in parts.items():
            shares[name].append(spent[0] / elapsed)
        shares["replay"].append(1.0 - sum(spent[0] for spent in parts.values()) / elapsed)
    rates = rates[1:]
    split = ", ".join(f"{name} {100 * statistics.median(values[1:]):.0f} %" for name, values in shares.items())
    return [
        "## Training",
        "",
        f"Sequential D3QN with its defaults (N=16, {agent.env.num_envs} copies, an update of {agent.settings.batch} "
        f"transitions after every step of all copies, so that each transition is learned from once on average),",
        f"{torch.get_num_threads()} thread: {statistics.median(rates):,.0f} agent-transitions/s collected and learned",
        f"from ({min(rates):,.0f} to {max(rates):,.0f}); {split}.",
        "",
    ]
