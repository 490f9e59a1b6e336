"""Compare methods on the same twins: `python evaluate.py association --methods swap_matching greedy`."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from fedtwin.core.checks import unknown_name
from fedtwin.core.command_line import argument
from fedtwin.envs import SYSTEMS
from fedtwin.evaluation.plan import Options, Plan, experiment_names, make_plan, read_experiment
from fedtwin.evaluation.report import direction, format_interval, format_ratio, worse_than, write_report
from fedtwin.evaluation.runner import run
from fedtwin.evaluation.statistics import summarise
from fedtwin.evaluation.store import Store
from fedtwin.evaluation.sweep import sweep_plans, write_sweep
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def parse(arguments: Sequence[str]) -> Plan:
    """Read the command line; a figure's preset gives defaults that options override.

    Raises:
        ValueError: unknown system, preset, method or key, or a value out of its limits.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--figure")
    first.add_argument("--preset")
    known, rest = first.parse_known_args(list(arguments))
    values = read_experiment(known.figure) if known.figure else {}
    named = rest.pop(0) if rest and not rest[0].startswith("-") else None
    system = named or values.pop("system", "association")
    values.pop("system", None)
    preset = known.preset or values.pop("preset", None)
    values.pop("preset", None)
    if system not in SYSTEMS:
        raise unknown_name("system", system, SYSTEMS)
    kind = SYSTEMS[system]
    if preset is not None and preset not in kind.presets:
        raise unknown_name(f"preset of {system}", preset, kind.presets)
    start = make_plan(system, preset, values)
    params = dataclasses.asdict(start.build_system().params)
    fields = [argument(field, getattr(start.options, field.name)) for field in dataclasses.fields(Options)]
    fields += [argument(field, params[field.name]) for field in dataclasses.fields(kind.params_type)]
    command_line = dataclasses.make_dataclass("CommandLine", fields)
    help_text = (
        f"Compare methods on the same twins of {system}.\n\n"
        f"Systems: {', '.join(SYSTEMS)}. --figure takes a shipped experiment: {', '.join(experiment_names())}. "
        f"--preset takes parameters of {system}: {', '.join(kind.presets)}."
    )
    parsed: Any = tyro.cli(command_line, args=rest, description=help_text, prog=f"fedtwin-evaluate {system}")
    given = {name: value for name, value in dataclasses.asdict(parsed).items() if value != params.get(name)}
    return make_plan(system, preset, {**values, **given})


def print_table(console: Console, store: Store, plan: Plan) -> None:
    """Print the ratios and times."""
    lines = summarise(store.rows, plan)
    columns = {
        "ratio": [format_ratio(line.ratio) for line in lines],
        "95 %": [format_interval(line) for line in lines],
        worse_than(plan)[0]: [f"{100 * line.above_2:.2f} %" for line in lines],
        "ms": [f"{line.decision_ms:.3f}" for line in lines],
    }
    if any(line.left_out for line in lines):
        columns["of means"] = [format_ratio(line.mean_ratio) for line in lines]
        columns["left out"] = [str(line.left_out) for line in lines]
    if any(line.conflicts for line in lines):
        columns["conflicts"] = [str(line.conflicts) for line in lines]
    table = Table(title=f"{plan.system}: {direction(plan)}")
    table.add_column("method")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for index, line in enumerate(lines):
        table.add_row(line.method, *(column[index] for column in columns.values()))
    console.print(table)


def sweep(plan: Plan, command: str, console: Console) -> Path:
    """Evaluate at every value of the swept parameter, draw the curves and return their path."""
    runs = []
    for value, part in sweep_plans(plan):
        console.print(f"{plan.options.sweep} = {value:g}")
        evaluate(part, command, console)
        runs.append((value, part, Store(Path(part.options.output), part.identity()).rows))
    return write_sweep(Path(plan.options.output), runs, plan)


def evaluate(plan: Plan, command: str, console: Console) -> Path:
    """Run what is missing, write the report and return its path."""
    folder = Path(plan.options.output)
    store = Store(folder, plan.identity())
    every = list(plan.items())
    missing = store.missing(every)
    if store.dropped:
        console.print(f"{store.path}: {store.dropped} damaged line(s) dropped, they are computed again", soft_wrap=True)
    if len(missing) < len(every):
        console.print(
            f"{store.path}: {len(every) - len(missing)} of {len(every)} items are there already", soft_wrap=True
        )
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("episodes", total=len(every), completed=len(every) - len(missing))
        run(plan, store, lambda count: progress.advance(task, count))
    print_table(console, store, plan)
    return write_report(folder, store.rows, plan, command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in what was asked for end with status 2 and one line."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    console = Console()
    try:
        plan, command = parse(given), shlex.join(["fedtwin-evaluate", *given])
        page = (sweep if plan.options.sweep else evaluate)(plan, command, console)
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"fedtwin-evaluate: error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None
    console.print(f"report: {page.resolve()}", soft_wrap=True)


if __name__ == "__main__":
    main()
