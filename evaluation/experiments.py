"""Shipped experiments: what `--figure` takes, and the first look at a command line that names one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from .. import experiments
from ..core.checks import unknown_name
from ..core.command_line import first_look
from ..envs import SYSTEMS

FOLDER = "figures"


def experiment_names(trains: bool = False) -> list[str]:
    """Return the names of the experiments that evaluate, or of those that train (they name an agent)."""
    return [name for name in experiments.names(FOLDER) if ("agent" in experiments.read(FOLDER, name)) == trains]


def read_experiment(name: str, trains: bool = False) -> dict[str, Any]:
    """Read a shipped experiment that evaluates, or one that trains.

    Raises:
        ValueError: no such experiment; the nearest is named.
    """
    if name not in experiment_names(trains):
        other = "fedtwin-evaluate" if trains else "fedtwin-train"
        hint = f" (it belongs to {other})" if name in experiment_names(not trains) else ""
        raise ValueError(f"{unknown_name('figure', name, experiment_names(trains))}{hint}")
    return experiments.read(FOLDER, name)


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for at the first look."""

    system: str
    preset: str
    """"": none."""
    agent: str
    """"": none."""
    values: dict[str, Any]
    """What the experiment says else."""
    rest: list[str]
    """Options that are still to be read."""


def read_request(arguments: Sequence[str], trains: bool = False) -> Request:
    """Take a first look: the system, and what a figure's file says; flags override the file.

    Raises:
        ValueError: an unknown figure or system; the nearest is named.
    """
    flags = ("--figure", "--preset", *(["--agent"] if trains else []))
    known, word, rest = first_look(arguments, *flags)
    values = read_experiment(known.pop("figure"), trains) if "figure" in known else {}
    own = {name: values.pop(name, "") for name in ("system", "preset", "agent")} | known
    system = word or own["system"] or next(iter(SYSTEMS))
    if system not in SYSTEMS:
        raise unknown_name("system", system, SYSTEMS)
    return Request(system, own["preset"], own["agent"], values, rest)
