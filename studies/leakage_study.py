"""Attackers of federated learning and of cloud-edge-client learning (Zhao et al., section III) on the same pictures.

`python -m fedtwin.studies.leakage_study` compares the attackers of `SETTINGS` by what they can redraw.
"""

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..core.checks import unknown_name
from ..core.command_line import ask, run
from ..core.files import write_atomically
from ..core.randomness import generator
from ..core.settings import Settings, parameter
from ..evaluation.figures import as_png
from ..federated.data.dataset import Dataset, digits
from .attackers import SETTINGS, STREAM, LeakageOptions, make_scene
from .leakage import CEILING, mean_squared_error, psnr

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Leakage:
    """What one attacker found out."""

    setting: str
    psnr: tuple[float, ...]
    """Of each picture in dB, at most `CEILING`."""
    mse: tuple[float, ...]
    labels: tuple[int, ...]
    """As inferred from gradients, or as sent to the server."""
    right: tuple[bool, ...]
    """Whether these are the labels."""
    pictures: Tensor = dataclasses.field(compare=False, repr=False)
    """`(samples, ...)` in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Study:
    """Attackers compared on the same pictures."""

    options: LeakageOptions
    rows: tuple[Leakage, ...]
    originals: Tensor = dataclasses.field(compare=False, repr=False)


def leakage_study(
    options: LeakageOptions | None = None, settings: Sequence[str] = tuple(SETTINGS), data: Dataset | None = None
) -> Study:
    """Attack the same pictures in every setting.

    Args:
        options: what is attacked.
        settings: names of `SETTINGS`.
        data: pictures with pixels in [0, 1]; None: the digits.

    Raises:
        ValueError: an unknown setting, too few samples, or a cut that the model lacks.
    """
    for setting in settings:
        if setting not in SETTINGS:
            raise unknown_name("setting", setting, SETTINGS)
    scene = make_scene(options or LeakageOptions(), digits() if data is None else data)
    originals, labels = scene.attacked.inputs, scene.attacked.labels
    rows = []
    for setting in settings:
        pictures, found = SETTINGS[setting][1](scene)
        pairs = list(zip(originals, pictures, strict=True))
        ratios = tuple(min(CEILING, psnr(*pair)) for pair in pairs)
        errors = tuple(mean_squared_error(*pair) for pair in pairs)
        right = tuple((found == labels).tolist())
        rows.append(Leakage(setting, ratios, errors, tuple(found.tolist()), right, pictures))
    return Study(scene.options, tuple(rows), originals)


def bootstrap_interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the mean, values resampled."""
    rng = generator(0, 0, 0, STREAM)
    means = rng.choice(np.asarray(values), (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def summarize(study: Study) -> list[dict[str, Any]]:
    """Return the table: means with 95 % intervals, and how far below federated learning where that was attacked."""
    reference = {row.setting: row.psnr for row in study.rows}.get("plain")
    table = []
    for row in study.rows:
        line: dict[str, Any] = {"setting": row.setting, "psnr": float(np.mean(row.psnr))}
        line |= {"psnr_interval": bootstrap_interval(row.psnr), "lowest": min(row.psnr), "highest": max(row.psnr)}
        line |= {"mse": float(np.mean(row.mse)), "labels_right": float(np.mean(row.right))}
        if reference is not None:
            fall = np.subtract(reference, row.psnr).tolist()
            line |= {"fall": float(np.mean(fall)), "fall_interval": bootstrap_interval(fall)}
        table.append(line)
    return table


def draw_grid(study: Study, columns: int = 10) -> Figure:
    """Draw originals and, setting by setting, what the attacker found, with its PSNR below."""
    columns = min(columns, len(study.originals))
    lines: list[tuple[str, Tensor, tuple[float, ...] | None]] = [("original", study.originals, None)]
    lines += [(SETTINGS[row.setting][0], row.pictures, row.psnr) for row in study.rows]
    figure = Figure(figsize=(2.0 + 0.8 * columns, 1.02 * len(lines)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, (title, pictures, ratios) in zip(axes, lines, strict=True):
        for sample, axis in enumerate(line):
            shown = pictures[sample].movedim(0, -1).numpy()
            axis.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if ratios is not None:
                reached = f"≥ {CEILING:.0f} dB" if ratios[sample] == CEILING else f"{ratios[sample]:.1f} dB"
                axis.set_xlabel(reached, fontsize=8, labelpad=2)
        line[0].set_ylabel(textwrap.fill(title, 18), rotation=0, ha="right", va="center", fontsize=8)
    return figure


def as_json(study: Study) -> str:
    """Return options, table and every picture's figures."""
    rows = [{f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.compare} for row in study.rows]
    values = {"options": dataclasses.asdict(study.options), "table": summarize(study), "rows": rows}
    return json.dumps(values, indent=1) + "\n"


def print_table(console: Console, study: Study) -> None:
    """Print the means with their intervals."""
    table = Table(title=f"reconstruction of {len(study.originals)} pictures, means with 95 % intervals")
    for heading in ("setting", "PSNR in dB", "MSE", "labels", "below plain"):
        table.add_column(heading, justify="left" if heading == "setting" else "right", no_wrap=True)
    for line in summarize(study):
        shown = [(line[name], *line[f"{name}_interval"]) for name in ("psnr", "fall") if name in line]
        ratio, *fall = [f"{mean:.1f} [{low:.1f}, {high:.1f}]" for mean, low, high in shown]
        table.add_row(line["setting"], ratio, f"{line['mse']:.1e}", f"{100 * line['labels_right']:.0f} %", *fall)
    console.print(table)


@dataclasses.dataclass(frozen=True)
class Extra(Settings):
    """What the command takes besides."""

    settings: str = parameter(",".join(SETTINGS), doc="attackers, separated by commas")
    output: str = parameter("results/leakage", doc="folder for leakage.png and leakage.json")


def work(arguments: Sequence[str]) -> None:
    """Study what the command line asks for."""
    torch.set_num_threads(1)
    text = "Attack pictures of one client in federated and in split learning."
    values = ask([LeakageOptions(), Extra()], arguments, program="python -m fedtwin.studies.leakage_study", text=text)
    extra = Extra(**{field.name: values.pop(field.name) for field in dataclasses.fields(Extra)})
    study = leakage_study(LeakageOptions(**values), extra.settings.split(","))
    folder = Path(extra.output)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "leakage.json", as_json(study))
    write_atomically(folder / "leakage.png", as_png(draw_grid(study)))
    print_table(Console(), study)
    print(f"results: {folder.resolve()}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in what was asked for end with status 2 and one line."""
    run("fedtwin.studies.leakage_study", work, arguments)


if __name__ == "__main__":
    main()
