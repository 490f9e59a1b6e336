"""What is to be evaluated: methods x seeds x twins on one system, read from a preset and the command line."""

import dataclasses
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core.checks import check_number, unknown_name
from ..core.randomness import check_seed, numbers
from ..core.settings import parameter
from ..envs import SYSTEMS, environment_id, make_system
from ..envs.system import System
from .methods import find_method, reference_among, usual_methods
from .quantities import labels

if TYPE_CHECKING:
    from ..federated.task import Task

CENTRALIZED = "centralized"
"""Stands among the methods of a live evaluation for the same model learning from all samples in one place."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How an evaluation runs; the system's own parameters come beside it."""

    methods: tuple[str, ...] = parameter(
        (), doc="solvers to compare; a learned one takes weights from a file as NAME:PATH; empty: the usual ones"
    )
    reference: str = parameter(
        "", doc="method that ratios refer to; empty: the usual one of the system if compared, else the first"
    )
    seeds: tuple[int, ...] = parameter((0,), doc="seeds; each draws twins of its own")
    twins: int = parameter(100, at_least=1, doc="episodes per seed, each a fresh twin")
    rounds: int = parameter(1, at_least=1, doc="rounds played in every episode")
    output: str = parameter("results", doc="folder of the results; an interrupted run in it is continued")
    jobs: int = parameter(-1, at_least=-1, doc="processes; -1: one per core")
    backend: Literal["loky", "ray"] = parameter("loky", doc="joblib backend; ray for a cluster (extra 'ray')")
    title: str = parameter("", doc="heading of the report")
    learning: Literal["analytic", "live"] = parameter(
        "analytic", doc="live: every round trains a model with the clients, servers and samples that were decided"
    )
    task: str = parameter("", doc="what is learned live: digits, clips, recognition, or a path; empty: digits")
    task_options: str = parameter("{}", doc="JSON with fields of the task, such as partition and alpha")
    sweep: str = parameter("", doc="numeric parameter of the system to vary, or several, joined by +; empty: none")
    sweep_values: tuple[float, ...] = parameter((), doc="its values; each is an evaluation in a folder of its own")
    sweep_fixed: bool = parameter(False, doc="ratios refer to the reference at the first value, not at the same one")
    sweep_quantities: tuple[str, ...] = parameter(
        (), doc="what a sweep draws, such as round_time, energy or served; empty: the ratio to the reference"
    )


@dataclasses.dataclass(frozen=True)
class Item:
    """One method on one episode."""

    method: str
    seed: int
    twin: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """An evaluation, complete and checked."""

    system: str
    preset: str | None
    params: Mapping[str, Any]
    options: Options

    def __post_init__(self) -> None:
        """Check names and numbers.

        Raises:
            ValueError: unknown system, method or parameter (the nearest is named), a number out of its limits.
        """
        self.build_system()
        for method in (*self.options.methods, *([self.options.reference] if self.options.reference else [])):
            find_method(self.system, method)
        if self.options.reference and self.options.reference not in self.methods:
            raise ValueError(
                f"reference {self.options.reference!r} is not among the methods: {', '.join(self.methods)}"
            )
        self._check_options()
        if "max_cycles" in self.params:
            raise ValueError("max_cycles follows from rounds in an evaluation")
        self._check_sweep()
        self.build_task()

    def _check_options(self) -> None:
        fields = {field.name: field for field in dataclasses.fields(Options)}
        for name in ("twins", "rounds", "jobs"):
            check_number(fields[name], getattr(self.options, name), name)
        for name in ("methods", "seeds", "sweep_values", "sweep_quantities"):
            if not isinstance(getattr(self.options, name), tuple):
                raise ValueError(f"{name} is {getattr(self.options, name)!r}, must be a list")
        if not self.options.seeds:
            raise ValueError("seeds is empty, must hold one or more integers of at least 0")
        for seed in self.options.seeds:
            check_seed(seed, "seed")
        if len(set(self.options.seeds)) < len(self.options.seeds) or len(set(self.methods)) < len(self.methods):
            raise ValueError("seeds and methods must not repeat")
        if self.options.jobs == 0:
            raise ValueError("jobs is 0, must be -1 or at least 1")

    def _check_sweep(self) -> None:
        options = self.options
        if bool(options.sweep) != bool(options.sweep_values):
            raise ValueError("sweep and sweep_values go together: a parameter and its values")
        if options.sweep_quantities and not options.sweep:
            raise ValueError("sweep_quantities belong to a sweep: add sweep and sweep_values")
        for value in options.sweep_values:
            make_system(self.system, self.preset, **self.swept_params(value))
        for name in options.sweep_quantities:
            if name not in labels(self.kind):
                raise unknown_name(f"quantity of {self.system}", name, labels(self.kind))

    @property
    def swept(self) -> tuple[str, ...]:
        """The parameters that a sweep varies together."""
        return tuple(self.options.sweep.split("+"))

    def swept_params(self, value: float) -> dict[str, Any]:
        """Return the parameters with the swept ones at `value`, an integer where the parameter is one."""
        types = {field.name: field.type for field in dataclasses.fields(self.kind.params_type)}
        whole = {name: types.get(name) is int and float(value).is_integer() for name in self.swept}
        return {**self.params, **{name: int(value) if whole[name] else value for name in self.swept}}

    @property
    def kind(self) -> type[System]:
        """The class of the system."""
        return SYSTEMS[self.system]

    def build_system(self) -> System:
        """Build the system; an episode is as long as the evaluation needs."""
        rounds = {"max_cycles": self.options.rounds}
        return make_system(self.system, self.preset, **{**rounds, **self.params})

    def params_used(self) -> dict[str, Any]:
        """Return all parameters of the system by name."""
        return dataclasses.asdict(self.build_system().params)

    def build_task(self) -> "Task | None":
        """Build what is learned live; None where progress is predicted.

        Raises:
            ValueError: an unknown task or option, a task without live learning, or CENTRALISED among the methods.
        """
        if self.options.learning == "analytic":
            if self.options.task or self.options.task_options != "{}":
                raise ValueError("task and task_options belong to live learning: add --learning live")
            return None
        from ..federated.task import make_task

        try:
            given = json.loads(self.options.task_options)
        except ValueError as error:
            raise ValueError(f"task_options are {self.options.task_options!r}, must be JSON: {error}") from error
        if not isinstance(given, dict):
            raise ValueError(f"task_options are {self.options.task_options!r}, must be a JSON object")
        return make_task(self.options.task or "digits", **given)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods compared."""
        return self.options.methods or usual_methods(self.system)

    @property
    def reference(self) -> str:
        """The method that ratios refer to."""
        return self.options.reference or reference_among(self.system, self.methods)

    def items(self) -> Iterator[Item]:
        """Yield every piece of work."""
        for method in (*self.methods, *([CENTRALIZED] if self.options.learning == "live" else [])):
            yield from self.items_of(method)

    def items_of(self, method: str) -> list[Item]:
        """Return the episodes of a method, in the order of seeds and twins."""
        return [Item(method, seed, twin) for seed in self.options.seeds for twin in range(self.options.twins)]

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers of an item: results of equal identity can be continued and extended."""
        system = self.build_system()
        values = dataclasses.asdict(system.params)
        probe = vars(system.draw(numbers(0, 0, 0))).values()
        digest = zlib.crc32(b"".join(np.asarray(array).tobytes() for array in probe))
        names = {"system": self.system, "environment": environment_id(self.system), "draws": digest}
        task = self.build_task()
        own = {} if task is None else task.values()
        learning = {} if task is None else {"learning": "live", **{f"task {k}": v for k, v in own.items()}}
        return {**names, "rounds": self.options.rounds, **dict(sorted(values.items())), **learning}


def make_plan(system: str, preset: str | None, values: Mapping[str, Any]) -> Plan:
    """Build a plan from flat values: fields of `Options` and of the system's parameters.

    Raises:
        ValueError: unknown system or key; the nearest valid name is given.
    """
    if system not in SYSTEMS:
        raise unknown_name("system", system, SYSTEMS)
    option_names = {field.name for field in dataclasses.fields(Options)}
    param_names = {field.name for field in dataclasses.fields(SYSTEMS[system].params_type)}
    for name in values:
        if name not in option_names | param_names:
            raise unknown_name("key", name, option_names | param_names)
    frozen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    options = Options(**{name: value for name, value in frozen.items() if name in option_names})
    return Plan(system, preset, {k: v for k, v in frozen.items() if k in param_names}, options)
