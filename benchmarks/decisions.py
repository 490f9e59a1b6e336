"""Decision time of every baseline on a single twin."""

import statistics
import time

from fedtwin.baselines import SOLVERS
from fedtwin.envs.association import AssociationParams, AssociationSystem
from fedtwin.envs.randomness import generator
from fedtwin.envs.trees import take

TWINS = 40
FEWEST = 3
PATIENCE = 1.5
"""Seconds after which a method that has solved `FEWEST` twins is not given another."""


def milliseconds(method: str, **params: int) -> float | None:
    """Return the median time of one decision on a single twin, compiled before; None: too many clients for it."""
    system = AssociationSystem(AssociationParams.create(params))
    state = system.start(system.draw(generator(0, 0, 0), (TWINS,)))
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
    return [*lines, ""]
