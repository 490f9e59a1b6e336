"""Curves and table of live learning: accuracy and loss by round, and against joules, seconds and bytes."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import t as student

from .figures import add_legend, canvas
from .plan import CENTRALISED, Item, Plan
from .statistics import names_in
from .store import Row

SPENT = (("energy", "energy spent in J"), ("round_time", "time spent in s"), ("bytes", "bytes exchanged"))
"""What a round costs, where the system reports it."""


@dataclasses.dataclass(frozen=True)
class LearningSummary:
    """One line of the table; means over episodes with half the width of their 95 % interval (Student's t)."""

    method: str
    accuracy: float
    accuracy_half: float
    advantage: float
    """Accuracy minus the reference's on the same seeds and draws."""
    advantage_half: float
    loss: float
    loss_half: float
    energy: float
    """J spent in the episode; NaN where the system reports no energy."""
    time: float
    """s spent in the episode; NaN where the system reports no round time."""
    megabytes: float
    """Exchanged in the episode: features, gradients, parameters."""
    left: float
    """Clients that still took part in the last round."""


def half_width(values: np.ndarray) -> np.ndarray:
    """Return half the width of the 95 % interval of the mean over the first axis; NaN for a single value."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(student.ppf(0.975, count - 1) * values.std(axis=0, ddof=1) / np.sqrt(count))


def curves(rows: Mapping[Item, Row], plan: Plan, method: str, name: str) -> np.ndarray:
    """Return `(episodes, rounds)` of a quantity; after an early end accuracy and loss stay, nothing more is spent."""
    found = []
    for seed in plan.options.seeds:
        for twin in range(plan.options.twins):
            row = rows[Item(method, seed, twin)]
            values = np.asarray({**row.series, **row.learned}[name], dtype=np.float64)
            padding = values[-1] if name in ("accuracy", "loss") else 0.0
            found.append(np.pad(values, (0, plan.options.rounds - values.size), constant_values=padding))
    return np.stack(found)


def spent_names(rows: Mapping[Item, Row], plan: Plan) -> list[tuple[str, str]]:
    """Return what of `SPENT` every row tells, with its label."""
    known = {*names_in(rows, plan), "bytes"}
    return [(name, label) for name, label in SPENT if name in known]


def summarise_learning(rows: Mapping[Item, Row], plan: Plan) -> list[LearningSummary]:
    """Return the table: the methods in their order, and learning in one place."""
    reference, told = curves(rows, plan, plan.reference, "accuracy")[:, -1], spent_names(rows, plan)
    table = []
    for method in (*plan.methods, CENTRALISED):
        accuracy, loss = (curves(rows, plan, method, name)[:, -1] for name in ("accuracy", "loss"))
        ahead = accuracy - reference
        spent = {name: float(curves(rows, plan, method, name).sum(axis=1).mean()) for name, _ in told}
        table.append(
            LearningSummary(
                method=method,
                accuracy=float(accuracy.mean()),
                accuracy_half=float(half_width(accuracy)),
                advantage=float(ahead.mean()),
                advantage_half=float(half_width(ahead)),
                loss=float(loss.mean()),
                loss_half=float(half_width(loss)),
                energy=spent.get("energy", math.nan),
                time=spent.get("round_time", math.nan),
                megabytes=spent["bytes"] / 1e6,
                left=float(curves(rows, plan, method, "served")[:, -1].mean()),
            )
        )
    return table


def by_round(rows: Mapping[Item, Row], plan: Plan) -> Figure:
    """Figures 10 and 11 of Zhao et al.: held-out loss and accuracy by round, and the clients still taking part."""
    figure, axes = canvas(3)
    rounds = np.arange(1, plan.options.rounds + 1)
    for axis, (name, label) in zip(
        axes, (("loss", "loss"), ("accuracy", "accuracy"), ("served", "clients")), strict=True
    ):
        for index, method in enumerate((*plan.methods, CENTRALISED)):
            if method == CENTRALISED and name == "served":
                continue
            values = curves(rows, plan, method, name)
            colour = "black" if method == CENTRALISED else f"C{index % 10}"
            mean, half = values.mean(axis=0), half_width(values)
            axis.plot(rounds, mean, color=colour, label=method, linewidth=1.4)
            axis.fill_between(rounds, mean - half, mean + half, color=colour, alpha=0.13, linewidth=0)
        axis.set(xlabel="round", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 1)
    axes[2].set_ylim(bottom=0)
    figure.suptitle("Learning round by round (bands: 95 % interval of the mean)", fontsize=11)
    add_legend(figure, axes[0])
    return figure


def by_cost(rows: Mapping[Item, Row], plan: Plan) -> Figure:
    """Accuracy against what was spent until then: joules, seconds and bytes; means over episodes.

    The bands are the 95 % intervals of the mean accuracy after each round.
    """
    told = spent_names(rows, plan)
    figure, axes = canvas(len(told))
    for axis, (name, label) in zip(axes, told, strict=True):
        for index, method in enumerate(plan.methods):
            spent = curves(rows, plan, method, name).cumsum(axis=1).mean(axis=0)
            accuracy = curves(rows, plan, method, "accuracy")
            mean, half = accuracy.mean(axis=0), half_width(accuracy)
            axis.plot(spent, mean, color=f"C{index % 10}", label=method, linewidth=1.4)
            axis.fill_between(spent, mean - half, mean + half, color=f"C{index % 10}", alpha=0.13, linewidth=0)
        axis.set(xlabel=label, ylabel="accuracy", ylim=(0, 1), xlim=(0, None))
        axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        axis.grid(alpha=0.3)
    figure.suptitle("Accuracy against what was spent", fontsize=11)
    add_legend(figure, axes[0])
    return figure
