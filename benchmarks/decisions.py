"""Decision time of every baseline on a single twin."""

import statistics
import time
from collections.abc import Sequence

from fedtwin.baselines import SOLVERS
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take
from fedtwin.envs.association import AssociationParams, AssociationSystem

TWINS = 40
FEWEST = 3
BATCH_SAMPLES = 3
PATIENCE = 1.5
"""Seconds after which a method that has solved `FEWEST` twins is not given another."""


def milliseconds(method: str, **params: int) -> float | None:
    """Return the median time of one decision on a single twin, compiled before; None: too many clients for it."""
    system = AssociationSystem(AssociationParams.create(params))
    state = system.start(system.draw(numbers(0, 0, 0, (TWINS,))))
    solve, rng = SOLVERS["association"][method], generator(0, 0, 0, 1)
    try:
        solve(system, take(state, 0), rng)
    except ValueError:
        return None
    times: list[float] = []
    for twin in range(TWINS):
        if len(times) >= FEWEST and sum(times) > 1e3 * PATIENCE:
            break
        one = take(state, twin)
        began = time.perf_counter()
        solve(system, one, rng)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def batch_milliseconds(methods: Sequence[str], twins: int, **params: int) -> dict[str, list[float]]:
    """Return times per twin of a batch, several samples of each method in turn."""
    system = AssociationSystem(AssociationParams.create(params))
    state = system.start(system.draw(numbers(0, 0, 0, (twins,))))
    times: dict[str, list[float]] = {method: [] for method in methods}
    for sample in range(BATCH_SAMPLES + 1):
        for method in methods:
            began = time.perf_counter()
            SOLVERS["association"][method](system, state)
            if sample:
                times[method].append(1e3 * (time.perf_counter() - began) / twins)
    return times


def large_section() -> list[str]:
    """Compare the learned scheduler with swap matching where both are slow."""
    methods = ("swap_matching", "greedy_weakest", "d3qn_raw")
    times = batch_milliseconds(methods, 256, num_clients=64, num_channels=40)
    lines = [
        "## A batch of 256 twins at N=64 M=4 K=40, ms per twin",
        "",
        "| method | ms | range | share of swap matching's time, median (range) |",
        "| --- | --- | --- | --- |",
    ]
    for method in methods:
        own = times[method]
        shares = sorted(100.0 * a / b for a, b in zip(own, times["swap_matching"], strict=True))
        spread = f"{statistics.median(shares):.2f} % ({shares[0]:.2f} to {shares[-1]:.2f})"
        lines.append(f"| {method} | {statistics.median(own):.3f} | {min(own):.3f} to {max(own):.3f} | {spread} |")
    return [*lines, ""]


def cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def section() -> list[str]:
    """Time every baseline at two sizes."""
    lines = [
        "## Decision time of one twin, in ms",
        "",
        f"Median over up to {TWINS} twins, after a first decision that compiles (and lets `best_fixed` learn).",
        "-: more clients than the method takes.",
        "",
        "| method | N=16 M=4 K=10 | N=32 M=4 K=20 |",
        "| --- | --- | --- |",
    ]
    for method in SOLVERS["association"]:
        small, large = milliseconds(method), milliseconds(method, num_clients=32, num_channels=20)
        lines.append(f"| {method} | {cell(small)} | {cell(large)} |")
    return [*lines, "", *large_section()]
