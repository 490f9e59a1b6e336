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
from .evaluation import Evaluation
from .figures import MARKERS, as_png, canvas, draw_band, titled
from .plan import Plan
from .quantities import labels
from .statistics import compare, mean_interval

Runs = Sequence[tuple[float, Evaluation]]
"""Values with what came of them."""

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
    options, found = plan.options, []
    for value in options.sweep_values:
        folder = str(Path(options.output) / f"{options.sweep}={value:g}")
        own = dataclasses.replace(options, sweep="", sweep_values=(), sweep_quantities=(), output=folder)
        found.append((value, dataclasses.replace(plan, params=plan.swept_params(value), options=own)))
    return found


def points(runs: Runs, fixed_reference: bool) -> list[Point]:
    """Return every method at every value; ratios refer to the reference at the same value, or at the first."""
    found = []
    for value, evaluation in runs:
        plan, kind = evaluation.plan, evaluation.plan.kind
        base = (runs[0][1] if fixed_reference else evaluation).series(plan.reference, kind.objective)
        for method in plan.methods:
            c = compare(evaluation.series(method, kind.objective), base, kind.maximized)
            found.append(Point(value, method, c.ratio, c.ratio_low, c.ratio_high, c.above_2, c.left_out))
    return found


def levels(runs: Runs, quantities: Sequence[str]) -> list[Level]:
    """Return the means of quantities of every method at every value.

    Raises:
        ValueError: the system does not report a quantity.
    """
    found = []
    for value, evaluation in runs:
        plan, names = evaluation.plan, evaluation.names
        for quantity in quantities:
            if quantity not in names:
                raise ValueError(f"{plan.system} does not report {quantity}, it reports {', '.join(names)}")
            for method in plan.methods:
                found.append(Level(value, method, quantity, *mean_interval(evaluation.series(method, quantity))))
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
        color, marker = f"C{index % 10}", MARKERS[index % len(MARKERS)]
        look: dict[str, Any] = {"marker": marker, "color": color, "linestyle": DASHES[index % len(DASHES)]}
        draw_band(axis, values, middle, low, high, label=method, **look)
    axis.grid(alpha=0.3, which="both")


def draw_sweep(found: Sequence[Point], plan: Plan) -> Figure:
    """Draw the ratio against the parameter, one curve per method with its interval."""
    figure, (axis,) = canvas(1, 7.0, 5.0)
    draw_curves(axis, {m: [(p.value, p.ratio, p.low, p.high) for p in found if p.method == m] for m in plan.methods})
    where = f"at {plan.options.sweep} = {plan.options.sweep_values[0]:g}" if plan.options.sweep_fixed else "there"
    ratio = f"{plan.kind.quantities[plan.kind.objective]}\nratio to {plan.reference} {where}"
    higher = "\n(higher is better)" if plan.kind.maximized else ""
    axis.set(xlabel=swept_label(plan), ylabel=ratio + higher, yscale="log")
    return titled(figure, axis, plan.options.title)


def draw_levels(found: Sequence[Level], plan: Plan) -> Figure:
    """Draw each quantity against the parameter, one curve per method with its interval."""
    quantities = plan.options.sweep_quantities
    figure, axes = canvas(len(quantities), 7.0 if len(quantities) == 1 else 5.0, 5.0 if len(quantities) == 1 else 4.2)
    for axis, quantity in zip(axes, quantities, strict=True):
        own = [level for level in found if level.quantity == quantity]
        draw_curves(axis, {m: [(p.value, p.mean, p.low, p.high) for p in own if p.method == m] for m in plan.methods})
        axis.set(xlabel=swept_label(plan), ylabel=labels(plan.kind)[quantity])
    return titled(figure, axes[0], plan.options.title)


def write_table(path: Path, kind: type[Any], lines: Sequence[Any]) -> None:
    """Write dataclasses of one kind as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(kind)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(line) for line in lines)
    write_atomically(path, buffer.getvalue())


def write_sweep(folder: Path, runs: Runs, plan: Plan) -> Path:
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
