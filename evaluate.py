"""Compare methods on the same twins: `python evaluate.py association --methods swap_matching greedy`."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from fedtwin.core import command_line
from fedtwin.core.checks import unknown_name
from fedtwin.envs import SYSTEMS
from fedtwin.evaluation.evaluation import Evaluation
from fedtwin.evaluation.experiments import experiment_names, read_request
from fedtwin.evaluation.plan import Plan, make_plan
from fedtwin.evaluation.statistics import summarize
from fedtwin.evaluation.store import Store
from rich.console import Console
from rich.table import Table


def parse(arguments: Sequence[str]) -> Plan:
    """Read the command line; a figure's preset gives defaults that options override.

    Raises:
        ValueError: unknown system, preset, method or key, or a value out of its limits.
    """
    request = read_request(arguments)
    system, preset = request.system, request.preset or None
    presets = SYSTEMS[system].presets
    if preset is not None and preset not in presets:
        raise unknown_name(f"preset of {system}", preset, presets)
    start = make_plan(system, preset, request.values)
    params = start.build_system().params
    text = (
        f"Compare methods on the same twins of {system}.\n\n"
        f"Systems: {', '.join(SYSTEMS)}. --figure takes a shipped experiment: {', '.join(experiment_names())}. "
        f"--preset takes parameters of {system}: {', '.join(presets)}."
    )
    program = f"fedtwin-evaluate {system}"
    asked = command_line.ask((start.options, params), request.rest, program=program, text=text)
    known = dataclasses.asdict(params)
    given = {name: value for name, value in asked.items() if value != known.get(name)}
    return make_plan(system, preset, {**request.values, **given})


def print_table(console: Console, evaluation: Evaluation) -> None:
    """Print the ratios and times."""
    from fedtwin.evaluation.report import direction, format_interval, format_ratio, worse_than

    plan, lines = evaluation.plan, summarize(evaluation)
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
    from fedtwin.evaluation.sweep import sweep_plans, write_sweep

    runs = []
    for value, part in sweep_plans(plan):
        console.print(f"{plan.options.sweep} = {value:g}")
        evaluate(part, command, console)
        runs.append((value, Evaluation(part, Store(Path(part.options.output), part.identity()).rows)))
    return write_sweep(Path(plan.options.output), runs, plan)


def evaluate(plan: Plan, command: str, console: Console) -> Path:
    """Run what is missing, write the report and return its path."""
    from fedtwin.evaluation.report import write_report
    from fedtwin.evaluation.runner import run

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
    with command_line.progress_bar(console) as progress:
        task = progress.add_task("episodes", total=len(every), completed=len(every) - len(missing))
        run(plan, store, lambda count: progress.advance(task, count))
    evaluation = Evaluation(plan, store.rows)
    print_table(console, evaluation)
    return write_report(folder, evaluation, command)


def work(arguments: list[str]) -> None:
    """Evaluate what the arguments say."""
    console = Console()
    plan, command = parse(arguments), shlex.join(["fedtwin-evaluate", *arguments])
    page = (sweep if plan.options.sweep else evaluate)(plan, command, console)
    console.print(f"report: {page.resolve()}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command_line.run("fedtwin-evaluate", work, arguments)


if __name__ == "__main__":
    main()
