"""Solvers of split point and quantisation: distance from the optimum, and time of a decision, single and in a batch.

`OMP_NUM_THREADS=1 .venv/bin/python benchmarks/solvers.py` prints the tables; `run.py` takes them as a section.
"""

import statistics
import time
from typing import Any, NamedTuple

import numpy as np
from fedtwin.baselines import SOLVERS, solver_module
from fedtwin.core.randomness import numbers
from fedtwin.core.trees import take
from fedtwin.envs import make_system
from fedtwin.envs.system import System

SINGLES = 30
"""Twins that are decided one by one."""
BATCH_SAMPLES = 3
PATIENCE = 2.0
"""Seconds after which a method is given no further single twin."""


class Case(NamedTuple):
    """A table: one system with one preset at several sizes."""

    system: str
    preset: str
    twins: int
    sizes: dict[str, dict[str, int]]


VEHICLES = {f"N={n}": {"num_vehicles": n} for n in (5, 10, 20)}
DEVICES = {f"{n} x {m}": {"num_clients": n, "num_channels": m} for n, m in ((10, 5), (20, 10), (50, 50), (100, 100))}
CASES = (
    Case("split_point", "", 200, VEHICLES),
    Case("split_point", "slides", 200, VEHICLES),
    Case("quantization", "", 100, DEVICES),
    Case("quantization", "fixed", 100, DEVICES),
)


def classical(system: str) -> dict[str, Any]:
    """Return the solvers of any size; learned ones have a benchmark of their own."""
    return dict(getattr(solver_module(system), "SOLVERS", {}))


def lost(system: System, state: Any, decision: Any, best: Any) -> np.ndarray:
    """Return by how much, in %, each twin's objective is worse than that of the decision `best`."""
    found, optimum = (getattr(system.cost(state, each), system.objective) for each in (decision, best))
    optimum = np.where(optimum > 0.0, optimum, np.nan)
    worse = 1.0 - found / optimum if system.maximized else found / optimum - 1.0
    return np.asarray(100.0 * worse)


def single_time(system: System, state: Any, method: str) -> float:
    """Return the median time of a decision on one twin in ms."""
    solve, times = SOLVERS[system.name][method], list[float]()
    solve(system, take(state, 0))
    for twin in range(SINGLES):
        if sum(times) > 1e3 * PATIENCE:
            break
        one = take(state, twin)
        began = time.perf_counter()
        solve(system, one)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def batch_times(system: System, state: Any, twins: int) -> dict[str, float]:
    """Return the median times per twin of a whole batch in ms, methods in turn, the first sample thrown away."""
    methods = classical(system.name)
    times: dict[str, list[float]] = {method: [] for method in methods}
    for sample in range(BATCH_SAMPLES + 1):
        for method, solve in methods.items():
            began = time.perf_counter()
            solve(system, state)
            if sample:
                times[method].append(1e3 * (time.perf_counter() - began) / twins)
    return {method: statistics.median(values) for method, values in times.items()}


def columns(case: Case, size: dict[str, int]) -> dict[str, tuple[str, str]]:
    """Return every method's gap and times as two cells."""
    system = make_system(case.system, case.preset or None, **size)
    state = system.start(system.draw(numbers(0, 0, 0, (case.twins,))))
    batched = batch_times(system, state, case.twins)
    best = SOLVERS[case.system]["exact"](system, state)
    cells = {}
    for method, solve in classical(case.system).items():
        gaps = lost(system, state, solve(system, state), best)
        gap = f"{np.nanmean(gaps):.1f} / {np.nanmax(gaps):.1f}"
        cells[method] = gap, f"{single_time(system, state, method):.2f} / {batched[method]:.3f}"
    return cells


def table(case: Case) -> list[str]:
    """Lay out one system with one preset."""
    found = {label: columns(case, size) for label, size in case.sizes.items()}
    chosen = f"preset `{case.preset}`" if case.preset else "defaults"
    heads = [f"{label}: gap, % | ms" for label in found]
    lines = [
        f"`{case.system}`, {chosen}, {case.twins} twins; gap to `exact`: mean / max; a decision alone / in a batch",
        "",
        "| method | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * (2 * len(found)),
    ]
    for method in classical(case.system):
        lines.append(f"| `{method}` | " + " | ".join(" | ".join(cells[method]) for cells in found.values()) + " |")
    return [*lines, ""]


def section() -> list[str]:
    """Compare the solvers of every case."""
    lines = ["## Solvers of split point and quantisation", ""]
    for case in CASES:
        lines += table(case)
    return lines


if __name__ == "__main__":
    print("\n".join(section()))
