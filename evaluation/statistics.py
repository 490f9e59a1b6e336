"""Statistics over paired twins: ratios to the reference, bootstrap intervals, tails."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..core.randomness import generator
from .evaluation import Evaluation
from .quantities import optional

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The objective of one method divided by the reference's, round by round on the same draws.

    A round in which either is 0 has no logarithm: it is left out of the geometric means and their interval, and
    counted; it does enter the ratio of arithmetic means and the tails.
    """

    ratio: float
    """Geometric mean over twins of each twin's geometric mean over rounds; NaN where every round is left out."""
    ratio_low: float
    ratio_high: float
    """95 % bootstrap interval over twins."""
    median_ratio: float
    mean_ratio: float
    """Ratio of the arithmetic means over all rounds."""
    above_2: float
    above_10: float
    """Shares of rounds more than 2 and 10 times worse than the reference: costlier, or lower where more is better."""
    left_out: int
    """Rounds left out because the method's or the reference's objective is 0."""


@dataclasses.dataclass(frozen=True)
class Summary(Comparison):
    """One line of the table."""

    method: str
    quantities: dict[str, float]
    """Geometric means over the rounds in which they are positive; 0 where they never are."""
    parts: dict[str, float]
    """Arithmetic means over rounds of what the system reports besides; see `quantities.OPTIONAL`."""
    decision_ms: float
    """Median time of a decision, without compilation, in ms."""
    conflicts: int
    """Clients beyond the first on what only one may have, over all rounds."""
    served: float
    """Mean number of clients that take part in a round."""
    rounds: float
    """Mean number of rounds that an episode lasted."""


def geometric_mean(values: np.ndarray) -> float:
    """Return exp of the mean logarithm of the positive values; 0 where there are none."""
    positive = values[values > 0.0]
    return float(np.exp(np.mean(np.log(positive)))) if positive.size else 0.0


def bootstrap_means(values: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the mean of `values` `(T,)`, one per twin, resampled; NaN without any."""
    if not values.size:
        return float("nan"), float("nan")
    rng = generator(0, 0, 0, 2)
    means = [rng.choice(values, values.size).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def bootstrap_interval(log_ratios: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the geometric mean, twins `(T,)` of mean log ratios resampled."""
    low, high = bootstrap_means(log_ratios, share)
    return float(np.exp(low)), float(np.exp(high))


def mean_interval(twins: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Return the mean over twins of each twin's mean over rounds, with its 95 % bootstrap interval."""
    means = np.array([twin.mean() for twin in twins])
    return float(means.mean()), *bootstrap_means(means)


def compare(own: Sequence[np.ndarray], reference: Sequence[np.ndarray], maximized: bool) -> Comparison:
    """Compare the objectives of a method and of the reference, one array of rounds per twin.

    Where an episode of one ended earlier, only the rounds that both played are compared.
    """
    pairs = [(a[: b.size], b[: a.size]) for a, b in zip(own, reference, strict=True)]
    logs = [np.log(a[both] / b[both]) for a, b in pairs for both in [(a > 0.0) & (b > 0.0)]]
    means = np.array([twin.mean() for twin in logs if twin.size])
    low, high = bootstrap_interval(means)
    every = np.concatenate(logs)
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    better, worse = (a, b) if maximized else (b, a)
    total = float(b.sum())
    return Comparison(
        ratio=float(np.exp(means.mean())) if means.size else float("nan"),
        ratio_low=low,
        ratio_high=high,
        median_ratio=float(np.exp(np.median(every))) if every.size else float("nan"),
        mean_ratio=float(a.sum()) / total if total else float("nan"),
        above_2=float(np.mean(worse > 2.0 * better)),
        above_10=float(np.mean(worse > 10.0 * better)),
        left_out=int(a.size - every.size),
    )


def summarize(evaluation: Evaluation) -> list[Summary]:
    """Return the table, in the order of the methods."""
    plan = evaluation.plan
    kind, names = plan.kind, evaluation.names
    reference = evaluation.series(plan.reference, kind.objective)
    table = []
    for method in plan.methods:
        joined = {name: np.concatenate(evaluation.series(method, name)) for name in names}
        own = evaluation.series(method, kind.objective)
        table.append(
            Summary(
                method=method,
                **dataclasses.asdict(compare(own, reference, kind.maximized)),
                quantities={name: geometric_mean(joined[name]) for name in kind.quantities},
                parts={name: float(joined[name].mean()) for name in names if name in optional(kind)},
                decision_ms=1e3 * float(np.median(joined["decision_time"])),
                conflicts=int(joined["conflicts"].sum()),
                served=float(np.mean(joined["served"])),
                rounds=float(np.mean([twin.size for twin in own])),
            )
        )
    return table
