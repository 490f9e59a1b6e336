"""The same comparison at several values of one parameter: a curve per method."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..storage.files import write_atomically
from .figures import MARKERS, add_legend, as_png, canvas
from .plan import Item, Plan
from .statistics import bootstrap_interval, geometric_mean, series
from .store import Row

Rows = Mapping[Item, Row]


@dataclasses.dataclass(frozen=True)
class Point:
    """One method at one value: ratio of cost to the reference, with its 95 % bootstrap interval over twins."""

    value: float
    method: str
    ratio: float
    low: float
    high: float
    above_2: float


def sweep_plans(plan: Plan) -> list[tuple[float, Plan]]:
    """Return the plan of every value, each with a folder of its own.

    Raises:
        ValueError: the swept parameter is unknown, or a value is out of its limits.
    """
    options = plan.options
    return [
        (
            value,
            Plan(
                plan.system,
                plan.preset,
                plan.swept_params(value),
                dataclasses.replace(
                    options, sweep="", sweep_values=(), output=str(Path(options.output) / f"{options.sweep}={value:g}")
                ),
            ),
        )
        for value in options.sweep_values
    ]


def points(runs: Sequence[tuple[float, Plan, Rows]], fixed_reference: bool) -> list[Point]:
    """Return every method at every value; ratios refer to the reference at the same value, or at the first."""
    found = []
    for value, plan, rows in runs:
        _, base_plan, base_rows = runs[0] if fixed_reference else (value, plan, rows)
        base = series(base_rows, base_plan, base_plan.reference, "system_cost")
        for method in plan.methods:
            pairs = zip(series(rows, plan, method, "system_cost"), base, strict=True)
            ratios = [np.log(own[: other.size] / other[: own.size]) for own, other in pairs]
            logs = np.array([ratio.mean() for ratio in ratios])
            low, high = bootstrap_interval(logs)
            above = float(np.mean(np.concatenate(ratios) > np.log(2.0)))
            found.append(Point(value, method, geometric_mean(np.exp(logs)), low, high, above))
    return found


def draw_sweep(found: Sequence[Point], plan: Plan) -> Figure:
    """Draw the ratio against the parameter, one curve per method with its interval."""
    figure, (axis,) = canvas(1, 7.0, 5.0)
    for index, method in enumerate(plan.methods):
        own = [point for point in found if point.method == method]
        values = [point.value for point in own]
        colour, marker = f"C{index % 10}", MARKERS[index % len(MARKERS)]
        axis.plot(values, [point.ratio for point in own], marker=marker, color=colour, label=method)
        axis.fill_between(values, [p.low for p in own], [p.high for p in own], color=colour, alpha=0.15, linewidth=0)
    where = f"at {plan.options.sweep} = {plan.options.sweep_values[0]:g}" if plan.options.sweep_fixed else "there"
    axis.set(xlabel=plan.options.sweep, ylabel=f"cost, ratio to {plan.reference} {where}", yscale="log")
    axis.grid(alpha=0.3, which="both")
    figure.suptitle(plan.options.title, fontsize=11)
    add_legend(figure, axis)
    return figure


def write_sweep(folder: Path, runs: Sequence[tuple[float, Plan, Rows]], plan: Plan) -> Path:
    """Write `sweep.csv` and `sweep.png` and return the picture's path."""
    found = points(runs, plan.options.sweep_fixed)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(Point)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(point) for point in found)
    write_atomically(folder / "sweep.csv", buffer.getvalue())
    path = folder / "sweep.png"
    write_atomically(path, as_png(draw_sweep(found, plan)))
    return path
