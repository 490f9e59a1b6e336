"""Learned schedulers of split point and quantisation beside the exact solver and every heuristic, on fresh twins.

`OMP_NUM_THREADS=1 .venv/bin/python benchmarks/learned.py split_point ddpg:FILE hybrid:FILE ...` prints the tables;
without methods the shipped weights are compared.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fedtwin.agents import DDPG
from fedtwin.baselines import SOLVERS
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take
from fedtwin.envs import make_system
from fedtwin.envs.system import System
from fedtwin.evaluation.methods import find_method
from measure import in_turn

TWINS = 1000
BATCH = 256
SEED = 2**41
"""Far from the seeds of trainings and of their held-out twins."""
LEARNED = ("ddpg", "hybrid")


def objective(system: System, state: Any, decision: Any) -> np.ndarray:
    """Return the objective of every twin."""
    return np.asarray(system.report(system.cost(state, decision))[0][system.objective])


def relative(system: System, own: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return how much of `other` a method reaches, with a 95 % interval over paired twins.

    Costs: the geometric mean of ratios. Where more is better: the ratio of means, by the delta method.
    """
    if not system.maximized:
        logs = np.log(own / other)
        half = 1.96 * logs.std(ddof=1) / np.sqrt(logs.size)
        low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
        return float(middle), float(low), float(high)
    if not other.mean():
        return (float("inf"),) * 3
    ratio = own.mean() / other.mean()
    half = 1.96 * (own - ratio * other).std(ddof=1) / np.sqrt(own.size) / other.mean()
    return float(ratio), float(ratio - half), float(ratio + half)


def violations(system: System, state: Any, method: str) -> str:
    """Return the shares of agents' decisions beyond a limit before and after projection.

    Raises:
        ValueError: a decision breaks a limit after it was projected.
    """
    kind, _, path = method.partition(":")
    if kind != "ddpg":
        return "-"
    agent = DDPG.load(path or f"{system.name}-ddpg")
    actions = agent.act(system.observe(state, None), system.mask(state, None))
    ruling = system.rule(system.problem(state), actions)
    before = float(np.mean(ruling.violated))
    system.check_decision(state, ruling.decision, complete=True)
    return f"{100 * before:.2f} % / 0 %"


def quality(system: System, methods: list[str]) -> list[str]:
    """Compare what methods reach."""
    state = system.start(system.draw(numbers(SEED, 0, 0, (TWINS,))))
    rng = functools.partial(generator, SEED, 0, 0, 3)
    names = [*SOLVERS[system.name], *(method for method in methods if method not in SOLVERS[system.name])]
    reached = {m: objective(system, state, find_method(system.name, m)(system, state, rng())) for m in names}
    rivals = [name for name in names if name.partition(":")[0] not in (*LEARNED, "exact")]
    lines = [
        f"`{system.name}`, {TWINS} fresh twins; `{system.objective}` over that of `exact`, 95 % over paired twins",
        "",
        "| method | to exact | beyond a limit, before / after projection |",
        "| --- | --- | --- |",
    ]
    for name in names:
        middle, low, high = relative(system, reached[name], reached["exact"])
        shown = violations(system, state, name) if name.startswith("ddpg") else "-"
        lines.append(f"| `{name}` | {middle:.4f} ({low:.4f} to {high:.4f}) | {shown} |")
    lines += ["", "| learned, over | " + " | ".join(f"`{rival}`" for rival in rivals) + " |"]
    lines.append("| --- |" + " --- |" * len(rivals))
    for name in methods:
        cells = []
        for rival in rivals:
            middle, low, high = relative(system, reached[name], reached[rival])
            cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return [*lines, ""]


def speed(system: System, methods: list[str]) -> list[str]:
    """Compare decisions per second: learned and exact in batches, exact one by one."""
    state = system.start(system.draw(numbers(SEED, 1, 0, (BATCH,))))
    singles = [take(state, twin) for twin in range(BATCH)]
    exact = SOLVERS[system.name]["exact"]

    def loop() -> float:
        fresh = [dataclasses.replace(single) for single in singles]
        began = time.perf_counter()
        for single in fresh:
            exact(system, single)
        return BATCH / (time.perf_counter() - began)

    def batch(solve: Callable[..., Any]) -> float:
        fresh = dataclasses.replace(state)
        began = time.perf_counter()
        solve(system, fresh)
        return BATCH / (time.perf_counter() - began)

    names = ["exact", *methods]
    sources = [loop, *(functools.partial(batch, find_method(system.name, name)) for name in names)]
    taken = in_turn(sources)
    lines = ["| decisions/s, all of a decision | median | over exact in a loop, pair by pair |", "| --- | --- | --- |"]
    for name, rates in zip(["exact, one by one", *(f"{n}, {BATCH} together" for n in names)], taken, strict=True):
        ratios = np.divide(rates, taken[0])
        shown = f"{np.median(ratios):.1f} ({ratios.min():.1f} to {ratios.max():.1f})"
        lines.append(f"| `{name}` | {np.median(rates):,.0f} | {shown} |")
    return [*lines, ""]


def tables(name: str, methods: list[str]) -> list[str]:
    """Compare learned methods of one system; none: the shipped ones."""
    system = make_system(name)
    chosen = methods or [method for method in LEARNED if method in SOLVERS[name]]
    return [*quality(system, chosen), *speed(system, chosen)]


def section() -> list[str]:
    """Compare the shipped schedulers."""
    lines = ["## Learned schedulers of split point and quantisation", ""]
    return [*lines, *tables("split_point", []), *tables("quantization", [])]


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system")
    parser.add_argument("methods", nargs="*")
    arguments = parser.parse_args()
    print("\n".join(tables(arguments.system, arguments.methods)))
