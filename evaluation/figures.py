"""Figures of an evaluation, in the manner of figures 6 to 8 of Zhao et al., drawn from the stored rows."""

import base64
import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..envs.randomness import generator
from ..envs.rendering import draw_map
from .plan import Item, Plan
from .statistics import series
from .store import Row

QUANTITIES = (("system_cost", "system cost"), ("round_time", "round time in s"), ("energy", "energy in J"))
MARKERS = "osD^vP*Xph<>"
MOST_DOTS = 1000
FAR = 10.0
"""Methods whose median lies this many times above the reference's leave the axes instead of squeezing the others."""


def canvas(columns: int, width: float = 4.4, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """Make a row of axes that needs no screen."""
    figure = Figure(figsize=(width * columns, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put one legend under all axes."""
    handles, labels = axes.get_legend_handles_labels()
    fitting = max(1, int(16 * figure.get_figwidth() // (8 + max(map(len, labels)))))
    columns = min(len(labels), 6, fitting)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def shown_range(rows: Mapping[Item, Row], plan: Plan, name: str) -> tuple[float, float]:
    """Return axis limits that hold every method near the reference."""
    values = {method: np.concatenate(series(rows, plan, method, name)) for method in plan.methods}
    middle = np.median(values[plan.reference])
    near = [array for array in values.values() if np.median(array) <= FAR * middle]
    return 0.8 * min(float(np.min(array)) for array in near), 1.25 * max(float(np.quantile(a, 0.995)) for a in near)


def cost_against_time(rows: Mapping[Item, Row], plan: Plan) -> Figure:
    """Figure 6: cost, time and energy of single rounds against the time the decision took."""
    figure, axes = canvas(3)
    for axis, (name, label) in zip(axes, QUANTITIES, strict=True):
        for index, method in enumerate(plan.methods):
            decision = 1e3 * np.concatenate(series(rows, plan, method, "decision_time"))[:MOST_DOTS]
            values = np.concatenate(series(rows, plan, method, name))[:MOST_DOTS]
            colour, marker = f"C{index % 10}", MARKERS[index % len(MARKERS)]
            axis.scatter(decision, values, s=7, alpha=0.25, color=colour, marker=marker, linewidths=0)
            axis.scatter(
                np.median(decision), np.median(values), s=70, color=colour, marker=marker, edgecolors="black",
                label=method, zorder=3,
            )  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel="decision time in ms", ylabel=label)
        axis.set_ylim(shown_range(rows, plan, name))
        axis.grid(alpha=0.3)
    figure.suptitle("Single rounds against decision time (large: medians)", fontsize=11)
    add_legend(figure, axes[0])
    return figure


def cost_over_rounds(rows: Mapping[Item, Row], plan: Plan) -> Figure:
    """Figure 7: cost, time and energy round by round; geometric mean over twins with its 95 % interval."""
    figure, axes = canvas(3)
    for axis, (name, label) in zip(axes, QUANTITIES, strict=True):
        for index, method in enumerate(plan.methods):
            per_twin = series(rows, plan, method, name)
            if plan.options.rounds == 1:
                values = np.concatenate(per_twin)
                cycles = np.arange(1, values.size + 1)
                axis.plot(cycles, values, color=f"C{index % 10}", linewidth=0.6, alpha=0.8, label=method)
                continue
            mean, half = [], []
            for cycle in range(max(twin.size for twin in per_twin)):
                logs = np.log([twin[cycle] for twin in per_twin if twin.size > cycle])
                mean.append(logs.mean())
                half.append(1.96 * logs.std() / np.sqrt(logs.size))
            cycles = np.arange(1, len(mean) + 1)
            low, high = np.exp(np.subtract(mean, half)), np.exp(np.add(mean, half))
            axis.plot(cycles, np.exp(mean), color=f"C{index % 10}", label=method, linewidth=1.4)
            axis.fill_between(cycles, low, high, color=f"C{index % 10}", alpha=0.15, linewidth=0)
        axis.set(yscale="log", xlabel="round" if plan.options.rounds > 1 else "twin", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(shown_range(rows, plan, name))
        axis.grid(alpha=0.3)
    figure.suptitle("Sequential performance", fontsize=11)
    add_legend(figure, axes[0])
    return figure


def distributions(rows: Mapping[Item, Row], plan: Plan) -> Figure:
    """Figure 8: empirical distribution functions of cost, time and energy per round."""
    figure, axes = canvas(3)
    for axis, (name, label) in zip(axes, QUANTITIES, strict=True):
        for index, method in enumerate(plan.methods):
            axis.ecdf(np.concatenate(series(rows, plan, method, name)), label=method, color=f"C{index % 10}")
        axis.set(xscale="log", xlabel=label, ylabel="share of rounds", xlim=shown_range(rows, plan, name))
        axis.grid(alpha=0.3)
    figure.suptitle("Empirical distribution functions", fontsize=11)
    add_legend(figure, axes[0])
    return figure


def maps(plan: Plan) -> Figure:
    """One round of the first twin, as every method decides it, with the cost of that round."""
    from ..baselines import find_solver
    from .runner import solver_generator

    system = plan.build_system()
    methods = plan.methods
    columns = min(4, len(methods))
    lines = -(-len(methods) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.9 * lines), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    state = system.start(system.draw(generator(plan.options.seeds[0], 0, 0)))
    for index, method in enumerate(methods):
        rng = solver_generator(Item(method, plan.options.seeds[0], 0), 0)
        decision = find_solver(plan.system, method)(system, state, rng)
        cost = float(system.cost(state, decision).system_cost)
        draw_map(figure.add_subplot(lines, columns, index + 1), system.scene(state, decision, f"{method}: {cost:,.4g}"))
    return figure


def as_png(figure: Figure) -> bytes:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def as_data_uri(png: bytes) -> str:
    """Embed a picture into a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
