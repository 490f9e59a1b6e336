"""Writes what an evaluation found: JSON, CSV, TensorBoard scalars, pictures and one self-contained HTML page."""

import csv
import dataclasses
import io
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from ..core.files import file_name, write_atomically
from . import figures, learning_curves
from .evaluation import Evaluation
from .learning_curves import LearningSummary
from .plan import Plan
from .quantities import optional
from .statistics import Comparison, Summary, geometric_mean, summarize

LIBRARIES = ("fedtwin", "numpy", "numba", "torch", "gymnasium", "pettingzoo")


class Picture(NamedTuple):
    """A picture of the report: file name, what draws it, heading and caption."""

    name: str
    draw: Callable[[Evaluation], Figure]
    title: str
    caption: str


PICTURES = (
    Picture(
        "single_rounds",
        figures.cost_against_time,
        "Single rounds",
        "Each dot is a round, the large marks are medians; methods beyond ten times the reference leave the axes.",
    ),
    Picture(
        "round_by_round",
        figures.cost_over_rounds,
        "Round by round",
        "Bands: 95 % interval of the geometric mean; on a linear axis, where some value is 0, of the arithmetic mean.",
    ),
    Picture(
        "distributions", figures.distributions, "Distributions", "Empirical distribution functions over all rounds."
    ),
)
BREAKDOWN = Picture(
    "breakdown",
    figures.breakdown,
    "Where time and energy go",
    "Arithmetic means over twins and rounds with the 95 % bootstrap interval of the whole over twins. Time: parts of "
    "the client that the round waits for. Energy: sums over clients. Bars beyond ten times the reference leave the "
    "axes.",
)
LIVE_PICTURES = (
    Picture(
        "learning",
        learning_curves.by_round,
        "Loss and accuracy",
        "On held-out data, with the clients still taking part; centralised: the same model learning in one place.",
    ),
    Picture(
        "accuracy_cost",
        learning_curves.by_cost,
        "Accuracy against joules, seconds and bytes",
        "What the system spent by the paper's equations, and the bytes that the training really exchanged; means over "
        "episodes, bands: 95 % interval of the mean accuracy after each round.",
    ),
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide the numbers."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def machine() -> str:
    """Name processor and operating system."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical cores"


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write one line per method, seed, twin and round."""
    plan = evaluation.plan
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names, learned = evaluation.names, list(evaluation.rows[next(plan.items())].learned)
    writer.writerow(["method", "seed", "twin", "round", *names, *learned])
    for item in plan.items():
        row = evaluation.rows[item]
        columns = [*(row.series[name] for name in names), *(row.learned[name] for name in learned)]
        for cycle, values in enumerate(zip(*columns, strict=True)):
            writer.writerow([item.method, item.seed, item.twin, cycle, *values])
    write_atomically(path, buffer.getvalue())


def write_tensorboard(folder: Path, evaluation: Evaluation) -> None:
    """Write the geometric mean of every quantity per round as scalars, one run per method."""
    plan = evaluation.plan
    from torch.utils.tensorboard import SummaryWriter

    for method in plan.methods:
        target = folder / file_name(method)
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(target)) as writer:
            for name in plan.kind.quantities:
                per_twin = evaluation.series(method, name)
                for cycle in range(max(twin.size for twin in per_twin)):
                    values = np.array([twin[cycle] for twin in per_twin if twin.size > cycle])
                    writer.add_scalar(f"round/{name}", geometric_mean(values), cycle)


def direction(plan: Plan) -> str:
    """Say what a ratio is and which way is better."""
    better = " (higher is better)" if plan.kind.maximized else ""
    return f"ratio to {plan.reference} on the same draws{better}"


def worse_than(plan: Plan) -> tuple[str, str]:
    """Name the shares of rounds that are 2 and 10 times worse than the reference."""
    return ("below 1/2", "below 1/10") if plan.kind.maximized else ("above 2x", "above 10x")


def format_ratio(value: float) -> str:
    """Show a ratio with three decimals, large ones in short."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value < 100 else f"{value:,.0f}"


def format_interval(line: Comparison) -> str:
    """Show the interval of a ratio."""
    low, high = format_ratio(line.ratio_low), format_ratio(line.ratio_high)
    return low if low == "-" else f"{low}-{high}"


def format_number(value: float) -> str:
    """Show a quantity with four significant digits."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def render_page(
    plan: Plan,
    table: Sequence[Summary],
    learning: Sequence[LearningSummary],
    pictures: Sequence[Mapping[str, str]],
    command: str,
) -> str:
    """Fill the page's template."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        title=plan.options.title or f"fedtwin: {plan.system}",
        plan=plan,
        kind=plan.kind,
        direction=direction(plan),
        worse=worse_than(plan),
        table=table,
        some_left_out=any(line.left_out for line in table),
        some_conflicts=any(line.conflicts for line in table),
        parts={name: optional(plan.kind)[name] for name in table[0].parts},
        learning=learning,
        figures=pictures,
        command=command,
        versions=versions(),
        machine=machine(),
        params=plan.params_used(),
        ratio=format_ratio,
        interval=format_interval,
        number=format_number,
    )


def as_json(value: Any) -> Any:
    """Return a value for JSON, which knows no infinity and no missing number: text and null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def table_line(line: Summary | LearningSummary) -> dict[str, Any]:
    """Return a line of a table flat: the method first, named numbers beside the others."""
    values: dict[str, Any] = {"method": line.method}
    for name, value in dataclasses.asdict(line).items():
        values.update(value if isinstance(value, dict) else {name: value})
    return {name: as_json(value) for name, value in values.items()}


def draw_pictures(evaluation: Evaluation, pictures: Sequence[Picture]) -> list[tuple[str, Figure, str, str]]:
    """Return file name, picture, heading and caption of each, named as the system's paper does, and of the map."""
    plan = evaluation.plan
    drawn = []
    for picture in pictures:
        names = getattr(plan.kind, "figures", {}).get(picture.name, (picture.name, picture.title))
        drawn.append((names[0], picture.draw(evaluation), names[1], picture.caption))
    places = figures.maps(plan)
    if places is not None:
        shown = plan.kind.quantities[plan.kind.objective]
        caption = f"The first twin with its {shown}; a link's colour is its channel or cut."
        drawn.append(("maps", places, "One round on the map", caption))
    return drawn


def as_result(
    evaluation: Evaluation, table: Sequence[Summary], learning: Sequence[LearningSummary], command: str
) -> dict[str, Any]:
    """Return what `results.json` holds."""
    plan = evaluation.plan
    learned = {"learning": [table_line(line) for line in learning]} if learning else {}
    return {
        "command": command,
        "system": plan.system,
        "preset": plan.preset,
        "options": dataclasses.asdict(plan.options),
        "reference": plan.reference,
        "params": {name: as_json(value) for name, value in plan.params_used().items()},
        "versions": versions(),
        "machine": machine(),
        "maximized": plan.kind.maximized,
        "table": [table_line(line) for line in table],
        **learned,
    }


def write_report(folder: Path, evaluation: Evaluation, command: str) -> Path:
    """Write every output into `folder`; each file appears whole or not at all.

    Returns:
        The HTML page.
    """
    plan, table = evaluation.plan, summarize(evaluation)
    learning = [] if plan.options.learning == "analytic" else learning_curves.summarize_learning(evaluation)
    write_csv(folder / "results.csv", evaluation)
    bars = [BREAKDOWN] if table[0].parts else []
    drawn = draw_pictures(evaluation, [*(LIVE_PICTURES if learning else ()), *bars, *PICTURES])
    result = as_result(evaluation, table, learning, command)
    write_atomically(folder / "results.json", json.dumps(result, indent=1) + "\n")
    pictures = []
    for name, figure, title, caption in drawn:
        png = figures.as_png(figure)
        write_atomically(folder / f"{name}.png", png)
        pictures.append({"title": title, "caption": caption, "uri": figures.as_data_uri(png)})
    write_tensorboard(folder / "tensorboard", evaluation)
    page = folder / "report.html"
    write_atomically(page, render_page(plan, table, learning, pictures, command))
    return page
