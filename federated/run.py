"""Long runs of learning: `python -m fedtwin.federated.run --procedure cloud_edge_client --task digits --rounds 50`."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import tyro
from rich.progress import Progress as ProgressBar

from ..core import command_line
from ..core.checkpoint import read_checkpoint, require_same, write_checkpoint
from ..core.command_line import argument
from ..core.files import remove_parts
from ..core.log import Facts, Log
from ..core.settings import Settings, parameter
from .plan import Plan, Progress
from .procedure import Procedure
from .procedures import PROCEDURES, find_procedure
from .task import TASKS, Task, declared, make_task, options_of

CHECKPOINT, STEP = "checkpoint.safetensors", "round"
Options = TypeVar("Options", bound=Settings)


@dataclasses.dataclass(frozen=True)
class RunOptions(Settings):
    """What runs, and where it is put."""

    procedure: str = parameter("cloud_edge_client", doc=f"learning procedure: {', '.join(PROCEDURES)}")
    clients: int = parameter(16, at_least=1, doc="clients")
    servers: int = parameter(4, at_least=1, doc="edge servers, where there are any; clients are with them in turn")
    rounds: int = parameter(50, at_least=1, doc="rounds")
    seed: int = parameter(0, at_least=0, doc="seed of first weights and order of samples")
    checkpoint_every: int = parameter(1, at_least=1, doc="rounds between checkpoints")
    output: str = parameter("results/learning", doc="folder of checkpoint and logs; a run in it is continued")


def has_servers(procedure: str) -> bool:
    """Whether a procedure has edge servers, whose number may be chosen."""
    return "num_servers" in options_of(find_procedure(procedure))


def build(task: Task, options: RunOptions) -> tuple[Procedure, Plan]:
    """Build a procedure and the plan in which everyone takes part."""
    servers = {"num_servers": options.servers} if has_servers(options.procedure) else {}
    procedure = task.build(options.procedure, options.clients, options.seed, **servers)
    pause = procedure.settings.score_every
    if options.rounds % pause:
        raise ValueError(f"rounds are {options.rounds}, must be a multiple of score_every = {pause}")
    return procedure, Plan(np.arange(procedure.num_clients) % procedure.num_servers)


def facts_of(progress: Progress) -> Facts:
    """Return what is logged of a round; bytes of all clients."""
    sent = {name: float(getattr(progress, name).sum()) for name in ("uplink_bytes", "downlink_bytes")}
    return {STEP: progress.round, "loss": progress.loss, "accuracy": progress.accuracy, **sent}


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
    remove_parts(folder)
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


def leading(arguments: Sequence[str], flag: str, default: str) -> tuple[str, list[str]]:
    """Return the value of a flag that decides which other options there are, and all other arguments."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument(flag, dest="value", default=default)
    known, given = first.parse_known_args(list(arguments))
    return known.value, given


def read_task(
    arguments: Sequence[str], options: Options, procedure: str, text: str, left_out: Sequence[str] = ()
) -> tuple[Task, Options]:
    """Read a command line with an option for each declared setting of `options`, a task and its procedure.

    Args:
        arguments: of the command; `--task` gives defaults that other options override.
        options: the command's own; where it shares a name with the others, the name is its own.
        procedure: whose settings the task carries.
        text: what the command does.
        left_out: names of `options` that have no meaning here.

    Returns:
        The task, and what became of `options`.
    """
    name, given = leading(arguments, "--task", "digits")
    task, fields = make_task(name), dict[str, Any]()
    for kind in (options, task, task.settings(procedure)):
        for name, field in declared(type(kind)).items():
            fields.setdefault(name, argument(field, getattr(kind, name)))
    asked = dataclasses.make_dataclass("CommandLine", [fields[name] for name in fields if name not in left_out])
    text = f"{text} --task takes settings by name: {', '.join(TASKS)}, or a path with data."
    values = dataclasses.asdict(tyro.cli(asked, args=given, description=text))
    own = {name: values.pop(name) for name in declared(type(options)) if name in values}
    return Task.create(values), dataclasses.replace(options, **own)


def parse(arguments: Sequence[str]) -> tuple[Task, RunOptions]:
    """Read the command line; `--task` and `--procedure` say which options there are, and their defaults."""
    procedure, given = leading(arguments, "--procedure", RunOptions().procedure)
    text = "Run federated learning. Further options are those of --procedure."
    left_out = () if has_servers(procedure) else ("servers",)
    return read_task(given, RunOptions(procedure=procedure), procedure, text, left_out)


def work(arguments: Sequence[str]) -> None:
    """Run what the command line asks for."""
    torch.set_num_threads(1)
    task, options = parse(arguments)
    procedure, plan = build(task, options)
    identity = {**task.values(), **dataclasses.asdict(options)}
    for name in ("rounds", "output", "checkpoint_every"):
        del identity[name]
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
    print(" ".join(f"{name} {value:.6g}" for name, value in facts.items()))
    print(f"results: {Path(options.output).resolve()}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in what was asked for end with status 2 and one line."""
    command_line.run("fedtwin.federated.run", work, arguments)


if __name__ == "__main__":
    main()
