"""How accuracy depends on the bits per number in quantised split learning, and the curve that SFLAM assumes for it.

`python -m fedtwin.studies.benefit --task digits --bits 2 3 4 6 8 16 32 --rounds 60 --seeds 0 1 2` trains at each
number of bits and fits O(q) = a (1 - e^(-b q)) + c (slides, part 3).
"""

import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.table import Table
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import t

from ..core.checkpoint import require_same
from ..core.command_line import run
from ..core.files import write_atomically
from ..core.settings import Settings, parameter
from ..evaluation.figures import as_png, canvas
from ..federated.data.labeled import reading
from ..federated.run import read_task
from ..federated.task import Task
from ..twin.precision import FEWEST_BITS, WHOLE_BITS, learning_benefit

SHARE = 0.95
"""Of the intervals."""
START, BOUNDS = (0.5, 1.0, 0.4), ((0.0, 0.0, 0.0), (20.0, 10.0, 1.0))
"""Of (a, b, c) in the fit. No number has fewer than 2 bits: a steep curve that is near its end there has a large a."""
RESULTS, PICTURE = "benefit.json", "benefit.png"
PROCEDURE = "quantized_split"


@dataclasses.dataclass(frozen=True)
class BenefitOptions(Settings):
    """What is trained, how often, and where results go."""

    bits: tuple[int, ...] = parameter(
        (2, 3, 4, 6, 8, 16, 32), at_least=FEWEST_BITS, at_most=WHOLE_BITS, doc="bits per number that are tried"
    )
    seeds: tuple[int, ...] = parameter((0, 1, 2), at_least=0, doc="seeds of first weights and order of samples")
    clients: int = parameter(20, at_least=1, doc="clients")
    rounds: int = parameter(60, at_least=1, doc="rounds")
    guessing_floor: bool = parameter(
        False,
        doc="take the accuracy of guessing, 1 / classes, for c, which few bits alone leave open; otherwise fit it",
    )
    last: int = parameter(5, at_least=1, doc="rounds at the end whose accuracies are averaged")
    output: str = parameter("results/benefit", doc="folder for benefit.json and benefit.png; what is in it is kept")

    def __post_init__(self) -> None:
        """Reject values outside their limits.

        Raises:
            ValueError: names the value and its limit.
        """
        super().__post_init__()
        if self.last > self.rounds:
            raise ValueError(f"last is {self.last}, must be at most rounds = {self.rounds}")


@dataclasses.dataclass(frozen=True)
class Row:
    """What learning at one number of bits brought."""

    bits: int
    seed: int
    accuracy: float
    """On held-out data, mean of the last rounds."""
    loss: float
    """On held-out data, mean of the last rounds."""
    uplink_bytes: float
    """Of all clients in all rounds."""
    downlink_bytes: float


@dataclasses.dataclass(frozen=True)
class Fit:
    """O(q) = a (1 - e^(-b q)) + c, with the half-widths of 95 % intervals; infinite where the data leave it open.

    Half-widths are those of the curve linearised at its best, with Student's t; at a bound they do not hold.
    """

    parameters: tuple[float, float, float]
    """a, b, c."""
    half_widths: tuple[float, float, float]
    """Of a, b, c; 0 for a c that was given."""
    plateau_half_width: float
    """Of a + c, the accuracy at many bits: often known far better than a and c are."""
    residual: float
    """Root mean square of what the curve misses."""

    @classmethod
    def of(cls, rows: Sequence[Row], floor: float | None = None) -> Self:
        """Fit the curve to the accuracies of all rows by least squares within `BOUNDS`.

        Args:
            rows: one for each number of bits and seed.
            floor: c, where it is given.

        Raises:
            ValueError: fewer than three numbers of bits, or no more rows than parameters.
        """
        bits = np.array([row.bits for row in rows], np.float64)
        accuracy = np.array([row.accuracy for row in rows])
        if np.unique(bits).size < len(START) or bits.size <= len(START):
            raise ValueError(f"there are {bits.size} rows of {np.unique(bits).size} bits, must be at least 4 of 3")
        free = len(START) if floor is None else len(START) - 1

        def fitted(q: np.ndarray, *chosen: float) -> np.ndarray:
            return curve(q, *(chosen if floor is None else (*chosen, floor)))

        bounds = [limits[:free] for limits in BOUNDS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            found, covariance = curve_fit(fitted, bits, accuracy, p0=START[:free], bounds=bounds, max_nfev=100_000)
        whole = np.zeros((len(START), len(START)))
        whole[:free, :free] = covariance
        quantile = t.ppf((1 + SHARE) / 2, bits.size - free)
        half = quantile * np.sqrt(np.diag(whole))
        plateau = quantile * np.sqrt(max(whole[0, 0] + whole[2, 2] + 2 * whole[0, 2], 0.0))
        residual = float(np.sqrt(np.mean((accuracy - fitted(bits, *found)) ** 2)))
        a, b, c = found.tolist() if floor is None else (*found.tolist(), floor)
        return cls((a, b, c), tuple(half.tolist()), float(plateau), residual)


def curve(bits: np.ndarray, amplitude: float, rate: float, floor: float) -> np.ndarray:
    """Return O(q) `(...)`."""
    return np.asarray(learning_benefit(bits=bits, amplitude=amplitude, rate=rate, floor=floor))


def learn(task: Task, options: BenefitOptions, bits: int, seed: int) -> Row:
    """Train quantised split learning at one number of bits."""
    procedure = task.build(PROCEDURE, options.clients, seed, bits=bits, score_every=1)
    progress = [procedure.round() for _ in range(options.rounds)]
    accuracy, loss = (
        float(np.mean([getattr(one, name) for one in progress[-options.last :]])) for name in ("accuracy", "loss")
    )
    up, down = (float(sum(getattr(one, name).sum() for one in progress)) for name in ("uplink_bytes", "downlink_bytes"))
    return Row(bits, seed, accuracy, loss, up, down)


def identity_of(task: Task, options: BenefitOptions) -> dict[str, Any]:
    """Return what rows must have in common to lie in one file."""
    learned = {**task.values(), **dataclasses.asdict(task.settings(PROCEDURE))}
    values = {**learned, **{name: getattr(options, name) for name in ("clients", "rounds", "last")}}
    left_out = ("bits", "score_every")
    return dict(json.loads(json.dumps({k: v for k, v in values.items() if k not in left_out})))


def read_rows(path: Path, identity: Mapping[str, Any]) -> list[Row]:
    """Return the rows that a file holds; none where there is no file.

    Raises:
        ValueError: the file is damaged, or belongs to other settings.
    """
    if not path.exists():
        return []
    with reading(f"{path} holds no results, or is damaged", ValueError, KeyError, TypeError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows, known = [Row(**row) for row in stored["rows"]], stored["identity"]
    require_same(path, known, identity)
    return rows


def finite_or_null(value: float | tuple[float, ...]) -> Any:
    """Return JSON's form of numbers, null for those that are not finite."""
    if isinstance(value, tuple):
        return [finite_or_null(one) for one in value]
    return value if np.isfinite(value) else None


def as_json(rows: Sequence[Row], identity: Mapping[str, Any], fit: Fit | None) -> str:
    """Return all results; numbers that are not finite become null."""
    found = fit and {k: finite_or_null(v) for k, v in dataclasses.asdict(fit).items()}
    values = {"identity": dict(identity), "rows": [dataclasses.asdict(row) for row in rows], "fit": found}
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def study(
    task: Task, options: BenefitOptions, advanced: Callable[[int], None] = lambda done: None
) -> tuple[list[Row], Fit]:
    """Train at all numbers of bits with all seeds, but for what the folder holds already, and fit the curve.

    Args:
        task: what is learned; its own bits have no meaning.
        options: how often.
        advanced: hears how many of the wanted rows there are.

    Returns:
        The rows wanted by `options`, and the curve.

    Raises:
        ValueError: the folder holds other results, or too few rows are wanted for a curve.
        TrainingDiverged: learning failed; what was finished before is kept.
    """
    folder, identity = Path(options.output), identity_of(task, options)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS
    rows = read_rows(path, identity)
    wanted = [(bits, seed) for bits in sorted(set(options.bits)) for seed in dict.fromkeys(options.seeds)]
    known = {(row.bits, row.seed): row for row in rows}
    for done, (bits, seed) in enumerate(wanted):
        advanced(done)
        if (bits, seed) not in known:
            known[bits, seed] = learn(task, options, bits, seed)
            rows.append(known[bits, seed])
            write_atomically(path, as_json(rows, identity, None))
    advanced(len(wanted))
    found = [known[item] for item in wanted]
    classes = task.datasets()[0].num_classes
    fit = Fit.of(found, 1 / classes if options.guessing_floor else None)
    write_atomically(path, as_json(rows, identity, fit))
    write_atomically(folder / PICTURE, as_png(draw(found, fit)))
    return found, fit


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the half-width of its 95 % interval by Student's t; NaN for one value alone."""
    count = len(values)
    half = t.ppf((1 + SHARE) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return float(np.mean(values)), float(half)


def by_bits(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Return the rows of each number of bits, rising."""
    return {bits: [row for row in rows if row.bits == bits] for bits in sorted({row.bits for row in rows})}


def draw(rows: Sequence[Row], fit: Fit) -> Figure:
    """Draw accuracy against bits: each seed, means with intervals over seeds, and the fitted curve."""
    figure, (axes,) = canvas(1, 6.0, 4.0)
    groups = by_bits(rows)
    means = [interval([row.accuracy for row in group]) for group in groups.values()]
    axes.scatter([row.bits for row in rows], [row.accuracy for row in rows], s=9, alpha=0.4, color="C0", linewidths=0)
    middle, half = np.array(means).T
    axes.errorbar(list(groups), middle, np.nan_to_num(half), fmt="o", color="C0", capsize=3, label="learned, 95 %")
    dense = np.geomspace(min(groups), max(groups), 200)
    a, b, c = fit.parameters
    fitted = curve(dense, a, b, c)
    axes.plot(dense, fitted, color="C1", label=f"{a:.3g} (1 - exp(-{b:.3g} q)) + {c:.3g}")
    axes.set(xscale="log", xlabel="bits per number", ylabel="accuracy on held-out data")
    axes.set_xticks(list(groups), labels=[str(bits) for bits in groups])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def print_table(console: Console, rows: Sequence[Row], fit: Fit) -> None:
    """Print accuracies and bytes for each number of bits, and the curve."""
    table = Table(title=f"quantised split learning, means with {100 * SHARE:.0f} % intervals over seeds")
    for heading in ("bits", "accuracy", "loss", "MB up", "MB down"):
        table.add_column(heading, justify="right", no_wrap=True)
    for bits, group in by_bits(rows).items():
        columns = ([row.accuracy for row in group], [row.loss for row in group])
        cells = [f"{mean:.4f} ± {half:.4f}" for mean, half in map(interval, columns)]
        sent = [np.mean([getattr(row, f"{way}link_bytes") for row in group]) / 1e6 for way in ("up", "down")]
        table.add_row(str(bits), *cells, *(f"{size:.2f}" for size in sent))
    console.print(table)
    parts = zip("abc", fit.parameters, fit.half_widths, strict=True)
    shown = ", ".join(f"{name} = {value:.4g} ± {half:.2g}" for name, value, half in parts)
    plateau = fit.parameters[0] + fit.parameters[2]
    console.print(f"O(q) = a (1 - exp(-b q)) + c: {shown}")
    console.print(f"a + c = {plateau:.4g} ± {fit.plateau_half_width:.2g}; misses {fit.residual:.2g} (root mean square)")


def work(arguments: Sequence[str]) -> None:
    """Study what the command line asks for; `--task` gives defaults that other options override."""
    torch.set_num_threads(1)
    task, options = read_task(arguments, BenefitOptions(), PROCEDURE, "Learn with few bits per number.")
    with ProgressBar() as bar:
        shown = bar.add_task("trained", total=len(set(options.bits)) * len(set(options.seeds)))
        rows, fit = study(task, options, lambda done: bar.update(shown, completed=done))
    print_table(Console(), rows, fit)
    print(f"results: {Path(options.output).resolve()}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in what was asked for end with status 2 and one line."""
    run("fedtwin.studies.benefit", work, arguments)


if __name__ == "__main__":
    main()
