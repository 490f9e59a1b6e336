"""How the held-out loss falls with what was learned: the curve that a system predicts progress by, fitted to live runs.

`python -m fedtwin.studies.progress association --task digits --rounds 60 --seeds 0 1 2` learns under one scheduler and
prints the `LossCurve` of L(x) = floor + gap / (1 + (x / scale)^exponent), x being what the system counts.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import least_squares

from ..core.checks import unknown_name
from ..core.command_line import ask, first_look, run
from ..core.files import write_atomically
from ..core.settings import Settings, parameter
from ..core.trees import add_axis, take
from ..envs import SYSTEMS, make_system
from ..envs.learning import LiveLearning
from ..envs.simulator import Simulator
from ..evaluation.methods import find_method, usual_methods
from ..federated.task import make_task


@dataclasses.dataclass(frozen=True)
class ProgressOptions(Settings):
    """What is learned, how often, and where results go."""

    task: str = parameter("digits", doc="what is learned live")
    task_options: str = parameter('{"model": "cnn", "learning_rate": 0.2, "batch": 8}', doc="JSON: fields of the task")
    method: str = parameter("", doc="scheduler; empty: the first usual one")
    rounds: int = parameter(60, at_least=3, doc="rounds")
    seeds: tuple[int, ...] = parameter((0, 1, 2), at_least=0, doc="seeds")
    output: str = parameter("results/progress", doc="folder of progress.json")


def measure(name: str, options: ProgressOptions, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return amount learned and held-out loss of one live run `(rounds + 1,)`, the first before it began."""
    system = make_system(name, max_cycles=options.rounds)
    learning = LiveLearning(system, make_task(options.task, **json.loads(options.task_options)), 1)
    simulator = Simulator(system, learning=learning)
    solve = find_method(name, options.method or usual_methods(name)[0])
    simulator.reset(seed)
    amount, loss = [0.0], [float(learning.loss[0])]
    for _ in range(options.rounds):
        outcome = simulator.play(add_axis(solve(system, take(simulator.state, 0))))
        amount.append(amount[-1] + float(outcome.progress.amount[0]))
        loss.append(float(outcome.progress.information["loss"][0]))
    return np.array(amount), np.array(loss)


def fit(amount: np.ndarray, loss: np.ndarray) -> dict[str, float]:
    """Fit the curve to runs `(seeds, rounds + 1)`, all numbers positive; the error is in nats."""
    start = np.log([max(float(loss.min()), 1e-3), float(np.ptp(loss)), float(amount.max()) / 2.0, 2.0])

    def errors(logs: np.ndarray) -> np.ndarray:
        floor, gap, scale, exponent = np.exp(logs)
        return np.asarray(floor + gap / (1.0 + (amount / scale) ** exponent) - loss).ravel()

    found = least_squares(errors, start)
    names = ("floor", "gap", "scale", "exponent")
    return {**dict(zip(names, np.exp(found.x).tolist(), strict=True)), "error": float(np.sqrt(np.mean(found.fun**2)))}


def work(arguments: list[str]) -> None:
    """Measure, fit and print the curve."""
    _, name, rest = first_look(arguments)
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    text = f"Fit the curve of learning progress. Systems: {', '.join(SYSTEMS)}."
    program = f"python -m fedtwin.studies.progress {name}"
    options = ProgressOptions.create(ask([ProgressOptions()], rest, program=program, text=text))
    torch.set_num_threads(1)
    runs = [measure(name, options, seed) for seed in options.seeds]
    amount, loss = (np.stack(part) for part in zip(*runs, strict=True))
    found = fit(amount, loss)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"system": name, **dataclasses.asdict(options), "fit": found}
    content |= {"amount": amount.tolist(), "loss": loss.tolist()}
    write_atomically(folder / "progress.json", json.dumps(content, indent=1) + "\n")
    shown = ", ".join(f"{name}={found[name]:.4g}" for name in ("gap", "scale", "exponent"))
    print(f"LossCurve({shown}), floor {found['floor']:.3g}, root mean square error {found['error']:.3g} nat")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    run("fedtwin.studies.progress", work, arguments)


if __name__ == "__main__":
    main()
