"""What the command lines share: a first look, settings as options with their help, errors, the progress bar."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def first_look(arguments: Sequence[str], *flags: str) -> tuple[dict[str, str], str, list[str]]:
    """Read what decides which other options there are.

    Args:
        arguments: the whole command line.
        *flags: such as "--figure"; each takes one value.

    Returns:
        The values of the flags that are given, by name; the leading word, "" where there is none; all other arguments.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for flag in flags:
        parser.add_argument(flag)
    known, rest = parser.parse_known_args(list(arguments))
    word = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    return vars(known), word, rest


def argument(field: dataclasses.Field[Any], default: Any) -> tuple[str, Any, Any]:
    """Turn a declared parameter into a command-line field with its help."""
    unit = field.metadata["unit"]
    text = field.metadata["doc"] + (f" [{unit}]" if unit else "")
    return field.name, Annotated[field.type, tyro.conf.arg(help=text)], dataclasses.field(default=default)


def ask(defaults: Sequence[Any], arguments: Sequence[str], *, program: str, text: str) -> dict[str, Any]:
    """Read options for every field of declared settings.

    Args:
        defaults: settings, whose values stand where an option is not given.
        arguments: what `first_look` left.
        program: what the help calls the command.
        text: what the help says of it.

    Returns:
        Values by name.
    """
    fields = [argument(field, getattr(one, field.name)) for one in defaults for field in dataclasses.fields(one)]
    command_line = dataclasses.make_dataclass("CommandLine", fields)
    return dataclasses.asdict(tyro.cli(command_line, args=list(arguments), description=text, prog=program))


def run(program: str, work: Callable[[list[str]], None], arguments: Sequence[str] | None = None) -> None:
    """Do the work of a command line; errors in what was asked for end with status 2 and one line.

    Args:
        program: what begins the line.
        work: takes the arguments.
        arguments: None: those of the process.
    """
    try:
        work(sys.argv[1:] if arguments is None else list(arguments))
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


def progress_bar(console: Console) -> Progress:
    """Return a progress bar that says how many of how many are done, and how long the rest takes."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)
