"""The same comparison at several values of one parameter: a curve per method."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.files import write_atomically
from .figures import MARKERS, add_legend, as_png, canvas
from .plan import Item, Plan
from .quantities import labels
from .statistics import compare, mean_interval, names_in, series
from .store import Row

Rows = Mapping[Item, Row]

DASHES = ("-", "--", "-.", ":")
"""So that curves that lie on each other are seen."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One method at one value: ratio of the objective to the reference, with its 95 % bootstrap interval over twins."""

    value: float
    method: str
    ratio: float
    low: float
    high: float
    above_2: float
    left_out: int
    """Rounds without a ratio, because an objective is 0."""


@dataclasses.dataclass(frozen=True)
class Level:
    """One quantity of one method at one value: mean over twins and rounds, with its 95 % bootstrap interval."""

    value: float
    method: str
    quantity: str
    mean: float
    low: float
    high: float


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
                    options,
                    sweep="",
                    sweep_values=(),
                    sweep_quantities=(),
                    output=str(Path(options.output) / f"{options.sweep}={value:g}"),
                ),
            ),
        )
        for value in options.sweep_values
    ]


def points(runs: Sequence[tuple[float, Plan, Rows]], fixed_reference: bool) -> list[Point]:
    """Return every method at every value; ratios refer to the reference at the same value, or at the first."""
    found = []
    for value, plan, rows in runs:
        kind = plan.kind
        _, base_plan, base_rows = runs[0] if fixed_reference else (value, plan, rows)
        base = series(base_rows, base_plan, base_plan.reference, kind.objective)
        for method in plan.methods:
            c = compare(series(rows, plan, method, kind.objective), base, kind.maximised)
            found.append(Point(value, method, c.ratio, c.ratio_low, c.ratio_high, c.above_2, c.left_out))
    return found


def levels(runs: Sequence[tuple[float, Plan, Rows]], quantities: Sequence[str]) -> list[Level]:
    """Return the means of quantities of every method at every value.

    Raises:
        ValueError: the system does not report a quantity.
    """
    found = []
    for value, plan, rows in runs:
        names = names_in(rows, plan)
        for quantity in quantities:
            if quantity not in names:
                raise ValueError(f"{plan.system} does not report {quantity}, it reports {', '.join(names)}")
            for method in plan.methods:
                found.append(Level(value, method, quantity, *mean_interval(series(rows, plan, method, quantity))))
    return found


def swept_label(plan: Plan) -> str:
    """Return the label of the parameters that are swept, with their unit."""
    fields = {field.name: field for field in dataclasses.fields(plan.kind.params_type)}
    unit = fields[plan.swept[0]].metadata["unit"]
    return " = ".join(plan.swept) + (f" in {unit}" if unit else "")


def draw_curves(axis: Axes, curves: Mapping[str, Sequence[tuple[float, float, float, float]]]) -> None:
    """Draw each method's curve of (value, middle, ends of its interval)."""
    for index, (method, curve) in enumerate(curves.items()):
        values, middle, low, high = zip(*curve, strict=True)
        colour, marker = f"C{index % 10}", MARKERS[index % len(MARKERS)]
        axis.plot(values, middle, marker=marker, color=colour, label=method, linestyle=DASHES[index % len(DASHES)])
        axis.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.grid(alpha=0.3, which="both")


def draw_sweep(found: Sequence[Point], plan: Plan) -> Figure:
    """Draw the ratio against the parameter, one curve per method with its interval."""
    figure, (axis,) = canvas(1, 7.0, 5.0)
    draw_curves(axis, {m: [(p.value, p.ratio, p.low, p.high) for p in found if p.method == m] for m in plan.methods})
    where = f"at {plan.options.sweep} = {plan.options.sweep_values[0]:g}" if plan.options.sweep_fixed else "there"
    ratio = f"{plan.kind.quantities[plan.kind.objective]}, ratio to {plan.reference} {where}"
    higher = "\n(higher is better)" if plan.kind.maximised else ""
    axis.set(xlabel=swept_label(plan), ylabel=ratio + higher, yscale="log")
    figure.suptitle(plan.options.title, fontsize=11)
    add_legend(figure, axis)
    return figure


def draw_levels(found: Sequence[Level], plan: Plan) -> Figure:
    """Draw each quantity against the parameter, one curve per method with its interval."""
    quantities = plan.options.sweep_quantities
    figure, axes = canvas(len(quantities), 7.0 if len(quantities) == 1 else 5.0, 5.0 if len(quantities) == 1 else 4.2)
    for axis, quantity in zip(axes, quantities, strict=True):
        own = [level for level in found if level.quantity == quantity]
        draw_curves(axis, {m: [(p.value, p.mean, p.low, p.high) for p in own if p.method == m] for m in plan.methods})
        axis.set(xlabel=swept_label(plan), ylabel=labels(plan.kind)[quantity])
    figure.suptitle(plan.options.title, fontsize=11)
    add_legend(figure, axes[0])
    return figure


def write_table(path: Path, kind: type[Any], lines: Sequence[Any]) -> None:
    """Write dataclasses of one kind as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(kind)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(line) for line in lines)
    write_atomically(path, buffer.getvalue())


def write_sweep(folder: Path, runs: Sequence[tuple[float, Plan, Rows]], plan: Plan) -> Path:
    """Write `sweep.csv`, `sweep_quantities.csv` where quantities are named, and `sweep.png`; return its path.

    The picture shows the quantities that are named, or else the ratio to the reference.
    """
    found = points(runs, plan.options.sweep_fixed)
    write_table(folder / "sweep.csv", Point, found)
    path = folder / "sweep.png"
    if plan.options.sweep_quantities:
        means = levels(runs, plan.options.sweep_quantities)
        write_table(folder / "sweep_quantities.csv", Level, means)
        write_atomically(path, as_png(draw_levels(means, plan)))
    else:
        write_atomically(path, as_png(draw_sweep(found, plan)))
    return path
