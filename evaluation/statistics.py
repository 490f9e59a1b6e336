"""Statistics over paired twins: ratios to the reference, bootstrap intervals, tails."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..envs.randomness import generator
from .plan import Item, Plan
from .store import Row

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Summary:
    """One line of the table; ratios are per round to the reference on the same draw."""

    method: str
    ratio: float
    """Geometric mean over twins of each twin's geometric mean over rounds."""
    ratio_low: float
    ratio_high: float
    """95 % bootstrap interval over twins."""
    median_ratio: float
    above_2: float
    above_10: float
    """Shares of rounds."""
    system_cost: float
    round_time: float
    energy: float
    """Geometric means over rounds; s and J."""
    decision_ms: float
    """Median time of a decision, without compilation, in ms."""
    conflicts: int
    """Clients that break C5, over all rounds."""
    served: float
    """Mean number of clients that take part in a round."""
    rounds: float
    """Mean number of rounds that an episode lasted."""


def geometric_mean(values: np.ndarray) -> float:
    """Return exp of the mean logarithm."""
    return float(np.exp(np.mean(np.log(values))))


def bootstrap_interval(log_ratios: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the geometric mean, twins `(T,)` of mean log ratios resampled."""
    rng = generator(0, 0, 0, 2)
    means = [rng.choice(log_ratios, log_ratios.size).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(np.exp(low)), float(np.exp(high))


def series(rows: Mapping[Item, Row], plan: Plan, method: str, name: str) -> list[np.ndarray]:
    """Return one array per twin: the series `name` of `method`, in the order of seeds and twins."""
    return [
        np.asarray(getattr(rows[Item(method, seed, twin)], name), dtype=np.float64)
        for seed in plan.options.seeds
        for twin in range(plan.options.twins)
    ]


def summarise(rows: Mapping[Item, Row], plan: Plan) -> list[Summary]:
    """Return the table, in the order of the methods."""
    reference = series(rows, plan, plan.reference, "system_cost")
    table = []
    for method in plan.methods:
        costs = series(rows, plan, method, "system_cost")
        played = [min(a.size, b.size) for a, b in zip(costs, reference, strict=True)]
        logs = [np.log(a[:n] / b[:n]) for a, b, n in zip(costs, reference, played, strict=True)]
        low, high = bootstrap_interval(np.array([twin.mean() for twin in logs]))
        every = np.concatenate(logs)
        joined = {name: np.concatenate(series(rows, plan, method, name)) for name in ("round_time", "energy")}
        table.append(
            Summary(
                method=method,
                ratio=float(np.exp(np.mean([twin.mean() for twin in logs]))),
                ratio_low=low,
                ratio_high=high,
                median_ratio=float(np.exp(np.median(every))),
                above_2=float(np.mean(every > np.log(2.0))),
                above_10=float(np.mean(every > np.log(10.0))),
                system_cost=geometric_mean(np.concatenate(costs)),
                round_time=geometric_mean(joined["round_time"]),
                energy=geometric_mean(joined["energy"]),
                decision_ms=1e3 * float(np.median(np.concatenate(series(rows, plan, method, "decision_time")))),
                conflicts=int(np.concatenate(series(rows, plan, method, "conflicts")).sum()),
                served=float(np.mean(np.concatenate(series(rows, plan, method, "served")))),
                rounds=float(np.mean([twin.size for twin in costs])),
            )
        )
    return table
