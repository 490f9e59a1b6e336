"""Curves and table of live learning: accuracy and loss by round, and against joules, seconds and bytes."""

import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .evaluation import Evaluation
from .figures import canvas, draw_band, titled
from .plan import CENTRALIZED

SPENT = (("energy", "energy spent in J"), ("round_time", "time spent in s"), ("bytes", "bytes exchanged"))
"""What a round costs, where the system reports it."""

LINE: dict[str, Any] = {"linewidth": 1.4, "shade": 0.13}
"""How curves and their bands look."""


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
    from scipy.stats import t as student

    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(student.ppf(0.975, count - 1) * values.std(axis=0, ddof=1) / np.sqrt(count))


def curves(evaluation: Evaluation, method: str, name: str) -> np.ndarray:
    """Return `(episodes, rounds)` of a quantity; after an early end accuracy and loss stay, nothing more is spent."""
    plan = evaluation.plan
    found = []
    for item in plan.items_of(method):
        row = evaluation.rows[item]
        values = np.asarray({**row.series, **row.learned}[name], dtype=np.float64)
        padding = values[-1] if name in ("accuracy", "loss") else 0.0
        found.append(np.pad(values, (0, plan.options.rounds - values.size), constant_values=padding))
    return np.stack(found)


def spent_names(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what of `SPENT` every row tells, with its label."""
    known = {*evaluation.names, "bytes"}
    return [(name, label) for name, label in SPENT if name in known]


def summarize_learning(evaluation: Evaluation) -> list[LearningSummary]:
    """Return the table: the methods in their order, and learning in one place."""
    plan = evaluation.plan
    reference, told = curves(evaluation, plan.reference, "accuracy")[:, -1], spent_names(evaluation)
    table = []
    for method in (*plan.methods, CENTRALIZED):
        accuracy, loss = (curves(evaluation, method, name)[:, -1] for name in ("accuracy", "loss"))
        ahead = accuracy - reference
        spent = {name: float(curves(evaluation, method, name).sum(axis=1).mean()) for name, _ in told}
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
                left=float(curves(evaluation, method, "served")[:, -1].mean()),
            )
        )
    return table


def by_round(evaluation: Evaluation) -> Figure:
    """Figures 10 and 11 of Zhao et al.: held-out loss and accuracy by round, and the clients still taking part."""
    plan = evaluation.plan
    figure, axes = canvas(3)
    rounds = np.arange(1, plan.options.rounds + 1)
    for axis, (name, label) in zip(
        axes, (("loss", "loss"), ("accuracy", "accuracy"), ("served", "clients")), strict=True
    ):
        for index, method in enumerate((*plan.methods, CENTRALIZED)):
            if method == CENTRALIZED and name == "served":
                continue
            values = curves(evaluation, method, name)
            color = "black" if method == CENTRALIZED else f"C{index % 10}"
            mean, half = values.mean(axis=0), half_width(values)
            look = {"color": color, "label": method, **LINE}
            draw_band(axis, rounds, mean, mean - half, mean + half, **look)
        axis.set(xlabel="round", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 1)
    axes[2].set_ylim(bottom=0)
    return titled(figure, axes[0], "Learning round by round (bands: 95 % interval of the mean)")


def by_cost(evaluation: Evaluation) -> Figure:
    """Accuracy against what was spent until then: joules, seconds and bytes; means over episodes.

    The bands are the 95 % intervals of the mean accuracy after each round.
    """
    plan = evaluation.plan
    told = spent_names(evaluation)
    figure, axes = canvas(len(told))
    for axis, (name, label) in zip(axes, told, strict=True):
        for index, method in enumerate(plan.methods):
            spent = curves(evaluation, method, name).cumsum(axis=1).mean(axis=0)
            accuracy = curves(evaluation, method, "accuracy")
            mean, half = accuracy.mean(axis=0), half_width(accuracy)
            look = {"color": f"C{index % 10}", "label": method, **LINE}
            draw_band(axis, spent, mean, mean - half, mean + half, **look)
        axis.set(xlabel=label, ylabel="accuracy", ylim=(0, 1), xlim=(0, None))
        axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        axis.grid(alpha=0.3)
    return titled(figure, axes[0], "Accuracy against what was spent")
