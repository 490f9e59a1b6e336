"""Writes what an evaluation found: JSON, CSV, TensorBoard scalars, pictures and one self-contained HTML page."""

import csv
import dataclasses
import io
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from ..storage.files import write_atomically
from . import figures, learning_curves
from .learning_curves import LearningSummary
from .plan import Item, Plan
from .statistics import Summary, geometric_mean, series, summarise
from .store import SERIES, Row

LIBRARIES = ("fedtwin", "numpy", "numba", "torch", "gymnasium", "pettingzoo")

PICTURES = (
    (
        "figure_6",
        figures.cost_against_time,
        "Figure 6: single rounds",
        "Each dot is a round, the large marks are medians; methods beyond ten times the reference leave the axes.",
    ),
    ("figure_7", figures.cost_over_rounds, "Figure 7: round by round", "Bands: 95 % interval of the geometric mean."),
    ("figure_8", figures.distributions, "Figure 8: distributions", "Empirical distribution functions over all rounds."),
)
LIVE_PICTURES = (
    (
        "figure_10_11",
        learning_curves.by_round,
        "Figures 10 and 11: loss and accuracy",
        "On held-out data, with the clients still taking part; centralised: the same model learning in one place.",
    ),
    (
        "accuracy_cost",
        learning_curves.by_cost,
        "Accuracy against joules, seconds and bytes",
        "What the system spent by the paper's equations, and the bytes that the training really exchanged.",
    ),
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide the numbers."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def machine() -> str:
    """Name processor and operating system."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical cores"


def write_csv(path: Path, rows: Mapping[Item, Row], plan: Plan) -> None:
    """Write one line per method, seed, twin and round."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    learned = list(rows[next(plan.items())].learned)
    writer.writerow(["method", "seed", "twin", "round", *SERIES, *learned])
    for item in plan.items():
        row = rows[item]
        columns = [*(getattr(row, name) for name in SERIES), *(row.learned[name] for name in learned)]
        for cycle, values in enumerate(zip(*columns, strict=True)):
            writer.writerow([item.method, item.seed, item.twin, cycle, *values])
    write_atomically(path, buffer.getvalue())


def write_tensorboard(folder: Path, rows: Mapping[Item, Row], plan: Plan) -> None:
    """Write the geometric mean of cost, time and energy per round as scalars, one run per method."""
    from torch.utils.tensorboard import SummaryWriter

    for method in plan.methods:
        target = folder / method
        for old in target.glob("events.*"):
            old.unlink()
        with SummaryWriter(str(target)) as writer:
            for name, _ in figures.QUANTITIES:
                per_twin = series(rows, plan, method, name)
                for cycle in range(max(twin.size for twin in per_twin)):
                    values = np.array([twin[cycle] for twin in per_twin if twin.size > cycle])
                    writer.add_scalar(f"round/{name}", geometric_mean(values), cycle)


def format_ratio(value: float) -> str:
    """Show a ratio with three decimals, large ones in short."""
    return f"{value:.3f}" if value < 100 else f"{value:,.0f}"


def format_number(value: float) -> str:
    """Show a quantity with four significant digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def render_page(
    plan: Plan,
    table: Sequence[Summary],
    learning: Sequence[LearningSummary],
    pictures: Sequence[Mapping[str, str]],
    command: str,
    params: Mapping[str, Any],
) -> str:
    """Fill the page's template."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        title=plan.options.title or f"fedtwin: {plan.system}",
        plan=plan,
        table=table,
        learning=learning,
        figures=pictures,
        command=command,
        versions=versions(),
        machine=machine(),
        params=params,
        ratio=format_ratio,
        number=format_number,
    )


def write_report(folder: Path, rows: Mapping[Item, Row], plan: Plan, command: str) -> Path:
    """Write every output into `folder`; each file appears whole or not at all.

    Returns:
        The HTML page.
    """
    params = dataclasses.asdict(plan.build_system().params)
    table = summarise(rows, plan)
    write_csv(folder / "results.csv", rows, plan)
    result = {
        "command": command,
        "system": plan.system,
        "preset": plan.preset,
        "options": dataclasses.asdict(plan.options),
        "reference": plan.reference,
        "params": {name: str(value) if value == math.inf else value for name, value in params.items()},
        "versions": versions(),
        "machine": machine(),
        "table": [dataclasses.asdict(line) for line in table],
    }
    drawn = [(name, draw(rows, plan), title, caption) for name, draw, title, caption in PICTURES]
    learning = [] if plan.options.learning == "analytic" else learning_curves.summarise_learning(rows, plan)
    if learning:
        result["learning"] = [dataclasses.asdict(line) for line in learning]
        drawn = [(name, draw(rows, plan), title, caption) for name, draw, title, caption in LIVE_PICTURES] + drawn
    drawn.append(("maps", figures.maps(plan), "One round on the map", "The first twin; links are coloured by channel."))
    write_atomically(folder / "results.json", json.dumps(result, indent=1) + "\n")
    pictures = []
    for name, figure, title, caption in drawn:
        png = figures.as_png(figure)
        write_atomically(folder / f"{name}.png", png)
        pictures.append({"title": title, "caption": caption, "uri": figures.as_data_uri(png)})
    write_tensorboard(folder / "tensorboard", rows, plan)
    page = folder / "report.html"
    write_atomically(page, render_page(plan, table, learning, pictures, command, params))
    return page
