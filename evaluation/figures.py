"""Figures of an evaluation, drawn from the stored rows; three are in the manner of figures 6 to 8 of Zhao et al."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from ..core.randomness import numbers
from ..envs.views.rendering import draw_map
from .evaluation import Evaluation
from .plan import Item, Plan
from .quantities import PARTS, STACKS, labels, optional
from .statistics import mean_interval

MARKERS = "osD^vP*Xph<>"
MOST_DOTS = 1000
WIDEST = 3
"""Axes in a row."""
FAR = 10.0
"""Methods whose median lies this many times above the reference's leave the axes instead of squeezing the others, and
below it for the objective where more is better."""


def canvas(panels: int, width: float = 4.4, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """Make axes that need no screen, in rows of up to `WIDEST`."""
    lines = -(-panels // WIDEST)
    columns = -(-panels // lines)
    figure = Figure(figsize=(width * columns, height * lines), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for empty in axes[panels:]:
        empty.set_axis_off()
    return figure, list(axes[:panels])


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put one legend under all axes."""
    handles, names = axes.get_legend_handles_labels()
    fitting = max(1, int(16 * figure.get_figwidth() // (8 + max(map(len, names)))))
    columns = min(len(names), 6, fitting)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def titled(figure: Figure, axes: Axes, title: str) -> Figure:
    """Put a title above all axes and the legend of `axes` under them; return the figure."""
    figure.suptitle(title, fontsize=11)
    add_legend(figure, axes)
    return figure


def draw_band(axis: Axes, x: Any, middle: Any, low: Any, high: Any, *, shade: float = 0.15, **line: Any) -> None:
    """Draw a curve and the band around it in one colour, `shade` deep; `line` is how the curve looks."""
    (curve,) = axis.plot(x, middle, **line)
    axis.fill_between(x, low, high, color=curve.get_color(), alpha=shade, linewidth=0)


def shown_range(evaluation: Evaluation, name: str) -> tuple[float, float]:
    """Return axis limits that hold every method near the reference."""
    plan = evaluation.plan
    values = {method: np.concatenate(evaluation.series(method, name)) for method in plan.methods}
    middle = np.median(values[plan.reference])
    if plan.kind.maximized and name == plan.kind.objective:
        near = [array for array in values.values() if FAR * np.median(array) >= middle]
    else:
        near = [array for array in values.values() if np.median(array) <= FAR * middle]
    low = 0.8 * min(float(np.min(array)) for array in near)
    high = 1.25 * max(float(np.quantile(array, 0.995)) for array in near)
    return low, high if high > low else low + 1.0


def scale(evaluation: Evaluation, name: str) -> str:
    """Return the scale of an axis: logarithmic unless some value is 0."""
    plan = evaluation.plan
    every = (evaluation.series(method, name) for method in plan.methods)
    return "log" if all(twin.min() > 0.0 for twins in every for twin in twins) else "linear"


def thin_ticks(axis: Axes) -> None:
    """Label a logarithmic x axis of less than two decades at 1, 2 and 5, where its own labels would overlap."""
    low, high = axis.get_xlim()
    if axis.get_xscale() == "log" and high < 100.0 * low:
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())


def cost_against_time(evaluation: Evaluation) -> Figure:
    """Figure 6: every quantity of single rounds against the time the decision took."""
    plan = evaluation.plan
    figure, axes = canvas(len(plan.kind.quantities))
    for axis, (name, label) in zip(axes, plan.kind.quantities.items(), strict=True):
        for index, method in enumerate(plan.methods):
            decision = 1e3 * np.concatenate(evaluation.series(method, "decision_time"))[:MOST_DOTS]
            values = np.concatenate(evaluation.series(method, name))[:MOST_DOTS]
            color, marker = f"C{index % 10}", MARKERS[index % len(MARKERS)]
            axis.scatter(decision, values, s=7, alpha=0.25, color=color, marker=marker, linewidths=0)
            axis.scatter(
                np.median(decision), np.median(values), s=70, color=color, marker=marker, edgecolors="black",
                label=method, zorder=3,
            )  # fmt: skip
        axis.set(xscale="log", yscale=scale(evaluation, name), xlabel="decision time in ms", ylabel=label)
        thin_ticks(axis)
        axis.set_ylim(shown_range(evaluation, name))
        axis.grid(alpha=0.3)
    return titled(figure, axes[0], "Single rounds against decision time (large: medians)")


def band(per_twin: Sequence[np.ndarray], geometric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean over twins of every round, geometric or arithmetic, and the ends of its 95 % interval."""
    mean, half = [], []
    for cycle in range(max(twin.size for twin in per_twin)):
        values = np.array([twin[cycle] for twin in per_twin if twin.size > cycle])
        values = np.log(values) if geometric else values
        mean.append(values.mean())
        half.append(1.96 * values.std() / np.sqrt(values.size))
    found = np.array([mean, np.subtract(mean, half), np.add(mean, half)])
    centre, low, high = np.exp(found) if geometric else found
    return centre, low, high


def cost_over_rounds(evaluation: Evaluation) -> Figure:
    """Figure 7: every quantity round by round; mean over twins with its 95 % interval."""
    plan = evaluation.plan
    figure, axes = canvas(len(plan.kind.quantities))
    for axis, (name, label) in zip(axes, plan.kind.quantities.items(), strict=True):
        kind = scale(evaluation, name)
        for index, method in enumerate(plan.methods):
            per_twin = evaluation.series(method, name)
            if plan.options.rounds == 1:
                values = np.concatenate(per_twin)
                cycles = np.arange(1, values.size + 1)
                axis.plot(cycles, values, color=f"C{index % 10}", linewidth=0.6, alpha=0.8, label=method)
                continue
            mean, low, high = band(per_twin, kind == "log")
            cycles = np.arange(1, len(mean) + 1)
            draw_band(axis, cycles, mean, low, high, color=f"C{index % 10}", label=method, linewidth=1.4)
        axis.set(yscale=kind, xlabel="round" if plan.options.rounds > 1 else "twin", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(shown_range(evaluation, name))
        axis.grid(alpha=0.3)
    return titled(figure, axes[0], "Sequential performance")


def distributions(evaluation: Evaluation) -> Figure:
    """Figure 8: empirical distribution functions of every quantity per round."""
    plan = evaluation.plan
    figure, axes = canvas(len(plan.kind.quantities))
    for axis, (name, label) in zip(axes, plan.kind.quantities.items(), strict=True):
        for index, method in enumerate(plan.methods):
            axis.ecdf(np.concatenate(evaluation.series(method, name)), label=method, color=f"C{index % 10}")
        limits = shown_range(evaluation, name)
        axis.set(xscale=scale(evaluation, name), xlabel=label, ylabel="share of rounds", xlim=limits)
        thin_ticks(axis)
        axis.grid(alpha=0.3)
    return titled(figure, axes[0], "Empirical distribution functions")


def bar_panels(evaluation: Evaluation) -> dict[str, tuple[str, ...]]:
    """Return the panels of `breakdown`: labels, and the one or two series that make up a bar."""
    plan = evaluation.plan
    names, known = evaluation.names, labels(plan.kind)
    panels: dict[str, tuple[str, ...]] = {label: parts for label, parts in STACKS.items() if set(parts) <= set(names)}
    stacked = {part for parts in STACKS.values() for part in parts}
    alone = [name for name in names if name in optional(plan.kind) and name not in stacked]
    if plan.kind.objective not in ("round_time", "energy"):
        alone = [plan.kind.objective, *alone]
    return {**panels, **{known[name]: (name,) for name in alone}}


def breakdown(evaluation: Evaluation) -> Figure:
    """One bar per method: time and energy as communication and computation, and what else the system reports.

    Means over twins and rounds with the 95 % bootstrap interval of the whole bar over twins.
    """
    plan = evaluation.plan
    panels = bar_panels(evaluation)
    figure, axes = canvas(len(panels), height=1.6 + 0.32 * len(plan.methods))
    places = np.arange(len(plan.methods))
    for axis, (label, parts) in zip(axes, panels.items(), strict=True):
        done = np.zeros(places.size)
        for index, part in enumerate(parts):
            size = np.array([mean_interval(evaluation.series(method, part))[0] for method in plan.methods])
            color = f"C{index}" if len(parts) > 1 else "C2"
            axis.barh(places, size, left=done, color=color, label=PARTS[index])
            done = done + size
        wholes = [
            [np.sum(each, axis=0) for each in zip(*(evaluation.series(method, part) for part in parts), strict=True)]
            for method in plan.methods
        ]
        draw_totals(axis, np.array([mean_interval(twins) for twins in wholes]), plan)
        axis.set(xlabel=label, yticks=places)
        position = axis.get_subplotspec()
        axis.set_yticklabels(plan.methods if position and position.is_first_col() else [], fontsize=8)
        axis.invert_yaxis()
        if len(parts) > 1 and axis is axes[0]:
            add_legend(figure, axis)
    figure.suptitle("Means over rounds", fontsize=11)
    return figure


def draw_totals(axis: Axes, totals: np.ndarray, plan: Plan) -> None:
    """Write totals `(methods, 3)` (mean, ends of the interval) behind their bars; bars far longer leave the axes."""
    reference = totals[plan.methods.index(plan.reference), 0]
    near = totals[totals[:, 0] <= FAR * reference, 2] if reference > 0.0 else totals[:, 2]
    limit = 1.3 * float(near.max()) or 1.0
    for place, (mean, low, high) in enumerate(totals):
        fits = mean <= limit
        if fits:
            axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color="black", capsize=2, linewidth=1.0)
        where, side = (high, "left") if fits else (limit, "right")
        shade = "black" if fits else "white"
        axis.text(where, place, f" {mean:,.3g} ", ha=side, va="center", fontsize=7, color=shade, clip_on=True)
    axis.set_xlim(0.0, limit)


def maps(plan: Plan) -> Figure | None:
    """One round of the first twin, as every method decides it, with its objective; None where there is no map."""
    from .methods import find_method
    from .runner import solver_generator

    system = plan.build_system()
    state = system.start(system.draw(numbers(plan.options.seeds[0], 0, 0)))
    scenes = []
    for method in plan.methods:
        rng = solver_generator(Item(method, plan.options.seeds[0], 0), 0)
        decision = find_method(plan.system, method)(system, state, rng)
        value = float(system.report(system.cost(state, decision))[0][system.objective])
        scenes.append(system.scene(state, decision, f"{method}: {value:,.4g}"))
    if any(not len(scene.clients) or not len(scene.servers) for scene in scenes):
        return None
    columns = min(4, len(scenes))
    lines = -(-len(scenes) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.9 * lines), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for index, scene in enumerate(scenes):
        draw_map(figure.add_subplot(lines, columns, index + 1), scene)
    return figure


def as_png(figure: Figure) -> bytes:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def as_data_uri(png: bytes) -> str:
    """Embed a picture into a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
