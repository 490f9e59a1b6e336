"""How the time of `System.cost` and of a decision grows with the size of the network, drawn as one picture.

Runs at the end of `make bench`; `python benchmarks/scaling.py` draws the picture alone.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence

from fedtwin.baselines import SOLVERS
from fedtwin.core.compiling import LOADING, worth_compiling
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take
from fedtwin.envs.association import AssociationParams, AssociationSystem
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from measure import HERE, SAMPLES, Sample, in_turn, processor

PICTURE = "scaling.png"
SHORTEST = 0.05
"""Seconds that a sample takes at least."""
BATCH, FEW_TWINS = 256, 16
COST, UNCHECKED = "cost", "cost, validate=False"


REMARKS = """{}, one core, NumPy float64
cost: System.cost; environments call it
with validate=False, they check what comes in
line: median, band: range"""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One axis of the picture: what grows, and what stays."""

    label: str
    varied: str
    values: tuple[int, ...]
    kept: dict[str, int]
    methods: tuple[str, ...] = (COST, UNCHECKED)

    @property
    def unit(self) -> str:
        """Unit of the vertical axis."""
        return "µs per twin" if COST in self.methods else "ms per decision"

    def describe(self) -> str:
        """Say what stays."""
        symbols = {"num_clients": "N", "num_servers": "M", "num_channels": "K", "batch": "batch"}
        return ", ".join(f"{symbols[name]} = {value}" for name, value in self.kept.items())


SWEEPS = (
    *(
        Sweep(
            "clients N",
            "num_clients",
            (4, 8, 16, 32, 64, 128, 256, 512, 1024),
            {"num_servers": servers, "num_channels": channels, "batch": FEW_TWINS},
        )
        for servers in (4, 16)
        for channels in (10, 100)
    ),
    Sweep(
        "servers M",
        "num_servers",
        (1, 2, 4, 8, 16, 32, 64),
        {"num_clients": 16, "num_channels": 16, "batch": BATCH},
    ),
    Sweep(
        "channels K",
        "num_channels",
        (4, 8, 16, 32, 64, 128, 256),
        {"num_clients": 16, "num_servers": 4, "batch": BATCH},
    ),
    Sweep(
        "twins in the batch",
        "batch",
        (1, 4, 16, 64, 256, 1024, 4096),
        {"num_clients": 16, "num_servers": 4, "num_channels": 10},
    ),
    Sweep(
        "clients N",
        "num_clients",
        (2, 4, 8, 16, 32, 64, 128),
        {"num_servers": 4, "num_channels": 40},
        ("swap_matching", "greedy"),
    ),
)


def cost_time(system: AssociationSystem, batch: int, validate: bool) -> Sample:
    """Microseconds of `System.cost` per twin, of random decisions, NumPy float64.

    A call that does not count brings the arrays back into the cache after the other sizes' samples.
    """
    state = system.start(system.draw(numbers(0, 0, 0, (batch,))))
    decision = system.actions.drawn(generator(0, 0, 0, 1), (batch, len(system.agents)))

    def sample() -> float:
        system.cost(state, decision, validate=validate)
        calls, began, passed = 0, time.perf_counter(), 0.0
        while passed < SHORTEST:
            system.cost(state, decision, validate=validate)
            calls, passed = calls + 1, time.perf_counter() - began
        return 1e6 * passed / calls / batch

    return sample


def decision_time(system: AssociationSystem, method: str) -> Sample:
    """Milliseconds of a decision on a single twin, another twin in every sample."""
    state = system.start(system.draw(numbers(0, 0, 0, (SAMPLES + 1,))))
    solve, rng = SOLVERS["association"][method], generator(0, 0, 0, 1)
    twins = iter(range(SAMPLES + 1))

    def sample() -> float:
        one = take(state, next(twins))
        began = time.perf_counter()
        solve(system, one, rng)
        return 1e3 * (time.perf_counter() - began)

    return sample


def sources(sweep: Sweep, value: int) -> list[Sample]:
    """Return what measures each method at one value of a sweep."""
    params = {**sweep.kept, sweep.varied: value}
    batch = params.pop("batch", 0)
    system = AssociationSystem(AssociationParams.create(params))
    if COST in sweep.methods:
        return [cost_time(system, batch, method == COST) for method in sweep.methods]
    return [decision_time(system, method) for method in sweep.methods]


def growth(values: Sequence[int], middle: Sequence[float]) -> float:
    """Return the exponent of the growth over the last two steps: 1 is linear, 2 quadratic."""
    exponent = math.log(middle[-1] / middle[-3]) / math.log(values[-1] / values[-3])
    return round(exponent, 1) + 0.0


def draw_sweep(axes: Axes, sweep: Sweep) -> list[str]:
    """Measure a sweep, draw it, and return its rows of the table."""
    rows, values = [], sweep.values
    times = in_turn([source for value in values for source in sources(sweep, value)])
    for index, method in enumerate(sweep.methods):
        mine = times[index :: len(sweep.methods)]
        middle = [statistics.median(taken) for taken in mine]
        exponent = growth(values, middle)
        axes.fill_between(values, [min(t) for t in mine], [max(t) for t in mine], alpha=0.25, linewidth=0)
        axes.plot(values, middle, marker="o", markersize=4, label=f"{method}, end slope {exponent}")
        taken, ends = f"{middle[0]:,.3g} to {middle[-1]:,.3g} {sweep.unit}", f"{values[0]} to {values[-1]}"
        rows.append(f"| {method} | {sweep.label}, {ends} | {sweep.describe()} | {taken} | {exponent} |")
    axes.set(xscale="log", yscale="log", xlabel=sweep.label, ylabel=sweep.unit)
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(sweep.describe(), fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="best")
    return rows


def section() -> list[str]:
    """Measure every sweep and write the picture."""
    worth_compiling(LOADING)  # What is loaded later would be part of a sample.
    figure = Figure(figsize=(12, 10.5), layout="constrained")
    grid = figure.subplots(3, 3).flat
    rows = [row for axes, sweep in zip(grid, SWEEPS, strict=False) for row in draw_sweep(axes, sweep)]
    remarks = figure.axes[len(SWEEPS)]
    remarks.axis("off")
    remarks.text(0.0, 0.5, REMARKS.format(processor()), fontsize=9, verticalalignment="center")
    figure.savefig(HERE / PICTURE, dpi=110)
    return [
        "## Growth with the size of the network",
        "",
        f"![Time of System.cost and of decisions against N, M, K and the batch]({PICTURE})",
        "",
        f"Medians of {SAMPLES} samples, NumPy float64, log-log; bands are ranges (over twins, for decisions). The",
        "slope is that of the last two steps: 1 linear, 2 quadratic. `cost` is `System.cost`, which checks decision",
        "and gains; environments leave that out, because they make both.",
        "",
        "| what | grows | stays | time | slope at the end |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


if __name__ == "__main__":
    print("\n".join(section()))
