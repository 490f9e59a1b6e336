"""Long runs of learning: `python -m fedtwin.federated.run --procedure cloud_edge_client --task digits --rounds 50`."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.progress import Progress as ProgressBar

from ..core.checkpoint import read_checkpoint, require_same, write_checkpoint
from ..core.command_line import argument
from ..core.log import Facts, Log
from ..core.settings import Settings, parameter
from .adaptive_splitting import AdaptiveSplit
from .averaging import FedAvg, FedSGD
from .plan import Plan, Progress
from .procedure import Procedure
from .quantized_splitting import QuantizedSplit
from .splitting import SplitFed, SplitLearning
from .tasks import TASKS, Task, make_task

CHECKPOINT, STEP = "checkpoint.safetensors", "round"
PROCEDURES: Mapping[str, type[Procedure]] = {
    "fedavg": FedAvg,
    "fedsgd": FedSGD,
    "split": SplitLearning,
    "splitfed": SplitFed,
    "adaptive_split": AdaptiveSplit,
    "quantized_split": QuantizedSplit,
}
"""Procedures without edge servers; `cloud_edge_client` has them."""


@dataclasses.dataclass(frozen=True)
class RunOptions(Settings):
    """What runs, and where it is put."""

    procedure: Literal[
        "cloud_edge_client", "fedavg", "fedsgd", "split", "splitfed", "adaptive_split", "quantized_split"
    ] = parameter("cloud_edge_client", doc="learning procedure")
    clients: int = parameter(16, at_least=1, doc="clients")
    servers: int = parameter(4, at_least=1, doc="edge servers; clients are with them in turn")
    rounds: int = parameter(50, at_least=1, doc="rounds")
    seed: int = parameter(0, at_least=0, doc="seed of first weights and order of samples")
    checkpoint_every: int = parameter(1, at_least=1, doc="rounds between checkpoints")
    output: str = parameter("results/learning", doc="folder of checkpoint and logs; a run in it is continued")


def build(task: Task, options: RunOptions) -> tuple[Procedure, Plan]:
    """Build a procedure and the plan in which everyone takes part."""
    if task.score_every != 1 and options.rounds % task.score_every:
        raise ValueError(f"rounds are {options.rounds}, must be a multiple of score_every = {task.score_every}")
    if options.procedure == "cloud_edge_client":
        procedure: Procedure = task.cloud_edge_client(options.clients, options.servers, options.seed)
        return procedure, Plan(np.arange(options.clients) % options.servers)
    procedure = task.build(PROCEDURES[options.procedure], options.clients, options.seed)
    return procedure, Plan.everyone(options.clients)


def facts_of(progress: Progress) -> Facts:
    """Return what is logged of a round; bytes of all clients."""
    return {
        STEP: progress.round,
        "loss": progress.loss,
        "accuracy": progress.accuracy,
        "uplink_bytes": float(progress.uplink_bytes.sum()),
        "downlink_bytes": float(progress.downlink_bytes.sum()),
    }


def run(
    procedure: Procedure,
    rounds: int,
    folder: str | Path,
    *,
    plan: Callable[[int], Plan] | Plan | None = None,
    identity: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1,
    advanced: Callable[[Facts], None] = lambda facts: None,
) -> Facts:
    """Run a procedure; one that was killed goes on with the same call and ends with the same weights.

    Args:
        procedure: built as in the first call.
        rounds: rounds in all.
        folder: of `checkpoint.safetensors`, `log.jsonl` and TensorBoard's scalars.
        plan: of each round, by its number from 0, or of all; None: everyone takes part.
        identity: what the run belongs to; a checkpoint of another identity is refused.
        checkpoint_every: rounds between checkpoints.
        advanced: hears of the facts of every round.

    Returns:
        The facts of the last round.

    Raises:
        ValueError: the folder holds another run, or a damaged checkpoint.
        TrainingDiverged: a loss is not finite; the last checkpoint is kept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    path = folder / CHECKPOINT
    known = json.loads(json.dumps(identity or {}, default=str))
    facts: Facts = {}
    if path.exists():
        tensors, values = read_checkpoint(path)
        require_same(path, values["identity"], known)
        procedure.load_state_dict(tensors, values["procedure"])
        facts = values["facts"]
    log = Log(folder, procedure.rounds, step=STEP)
    while procedure.rounds < rounds:
        facts = facts_of(procedure.round(plan(procedure.rounds) if callable(plan) else plan))
        log.add(facts)
        if procedure.rounds % checkpoint_every == 0 or procedure.rounds == rounds:
            tensors, state = procedure.state_dict()
            write_checkpoint(path, tensors, {"procedure": state, "facts": facts, "identity": known})
        advanced(facts)
    return facts


def parse(arguments: Sequence[str]) -> tuple[Task, str, RunOptions]:
    """Read the command line; `--task` gives defaults that other options override."""
    given = list(arguments)
    name = "digits"
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--task", default=name)
    known, given = first.parse_known_args(given)
    name = known.task
    start = make_task(name)
    kinds: tuple[Any, ...] = (RunOptions(), start)
    fields = [argument(field, getattr(kind, field.name)) for kind in kinds for field in dataclasses.fields(kind)]
    text = f"Run federated learning. --task takes settings by name: {', '.join(TASKS)}, or a path with data."
    parsed: Any = tyro.cli(dataclasses.make_dataclass("CommandLine", fields), args=given, description=text)
    values = dataclasses.asdict(parsed)
    split = [{field.name: values[field.name] for field in dataclasses.fields(kind)} for kind in kinds]
    return Task.create(split[1]), name, RunOptions.create(split[0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in what was asked for end with status 2 and one line."""
    torch.set_num_threads(1)
    try:
        task, _, options = parse(sys.argv[1:] if arguments is None else arguments)
        procedure, plan = build(task, options)
        ignored = ("rounds", "output", "checkpoint_every")
        identity = {**dataclasses.asdict(task), **dataclasses.asdict(options)}
        identity = {name: value for name, value in identity.items() if name not in ignored}
        with ProgressBar() as bar:
            shown = bar.add_task("rounds", total=options.rounds)
            facts = run(
                procedure,
                options.rounds,
                options.output,
                plan=plan,
                identity=identity,
                checkpoint_every=options.checkpoint_every,
                advanced=lambda facts: bar.update(shown, completed=facts[STEP]),
            )
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"fedtwin.federated.run: error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    print(" ".join(f"{name} {value:.6g}" for name, value in facts.items()))
    print(f"results: {Path(options.output).resolve()}")


if __name__ == "__main__":
    main()
