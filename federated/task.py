"""Learning tasks by name: what is learned, from what, and how."""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ..core.checks import unknown_name
from ..core.settings import Settings
from .procedure import LearningSettings, Procedure
from .procedures import PROCEDURES, find_procedure
from .source import CLIPS, Source


def declared(kind: type[Settings]) -> dict[str, dataclasses.Field[Any]]:
    """Return the declared fields of settings by name."""
    return {field.name: field for field in dataclasses.fields(kind) if field.metadata}


@dataclasses.dataclass(frozen=True)
class Task(Source):
    """What is learned, from what, and how; how is checked by the procedure that reads it."""

    named: tuple[tuple[str, Any], ...] = ()
    """Settings of procedures that a task's name stands for; a procedure without them leaves them out."""
    given: tuple[tuple[str, Any], ...] = ()
    """Settings of procedures that were asked for; a procedure without them refuses them."""

    def __post_init__(self) -> None:
        """Reject values outside their limits, and settings that no procedure takes, or that none takes together.

        Raises:
            ValueError: names the value and its limit.
        """
        super().__post_init__()
        asked = dict(self.given).keys()
        takers = [name for name, kind in PROCEDURES.items() if asked <= declared(kind.settings_type).keys()]
        if not takers:
            raise ValueError(f"the task has the settings {', '.join(asked)}, must be such that one procedure has all")
        refusals = []
        for name in takers:
            try:
                self.settings(name)
            except ValueError as error:
                refusals.append(error)
        if len(refusals) == len(takers):
            raise refusals[0]

    @classmethod
    def create(cls, values: Mapping[str, Any], named: Mapping[str, Any] | None = None) -> Self:
        """Build a task from its own fields and settings of procedures, by name.

        Args:
            values: fields of `Task`, or of the settings of a procedure.
            named: the same, of which a procedure leaves out what it does not read.

        Raises:
            ValueError: an unknown name (the nearest is given), or a value outside its limits.
        """
        own = declared(cls)
        known = {*own, *(name for kind in PROCEDURES.values() for name in declared(kind.settings_type))}
        for name in values:
            if name not in known:
                raise unknown_name("parameter", name, known)
        meant, asked = (
            {name: tuple(value) if isinstance(value, list) else value for name, value in each.items()}
            for each in (named or {}, values)
        )
        mine: dict[str, Any] = {name: value for name, value in {**meant, **asked}.items() if name in own}
        theirs = [tuple((name, value) for name, value in each.items() if name not in own) for each in (meant, asked)]
        return cls(**mine, named=theirs[0], given=theirs[1])

    def values(self) -> dict[str, Any]:
        """Return all that the task says, by name: its own fields and the settings of procedures."""
        own = {name: getattr(self, name) for name in declared(type(self))}
        return {**own, **dict(self.named), **dict(self.given)}

    def settings(self, procedure: str, **options: Any) -> LearningSettings:
        """Return the settings of a procedure; `options` override the task's.

        Raises:
            ValueError: an unknown procedure, a setting that it does not have, or a value outside its limits.
        """
        kind = find_procedure(procedure)
        own, asked = declared(kind.settings_type), {**dict(self.given), **options}
        for name in asked:
            if name not in own and not kind.reference:
                raise unknown_name(f"setting of {procedure}", name, own)
        chosen = {**dict(self.named), **asked}
        return kind.settings_type.create({name: value for name, value in chosen.items() if name in own})

    def build(self, procedure: str, num_clients: int, seed: int, **options: Any) -> Procedure:
        """Return the learning of this task by a procedure, from its beginning.

        Args:
            procedure: a key of `PROCEDURES`.
            num_clients: clients N among whom the data are divided.
            seed: of the first weights, the order of samples and stochastic rounding; frozen heads and the partition
                do not depend on it.
            **options: what the procedure's `from_task` takes by keyword, such as `num_servers`, and settings that
                override the task's.

        Raises:
            ValueError: an unknown procedure or option (the nearest is given), data that cannot be divided so, or
                settings that do not fit the model.
        """
        kind = find_procedure(procedure)
        arguments, settable = options_of(kind), declared(kind.settings_type)
        own = {name: value for name, value in options.items() if name in arguments}
        settings = {name: value for name, value in options.items() if name not in arguments}
        for name in settings:
            if name not in settable:
                raise unknown_name(f"option of {procedure}", name, arguments | settable.keys())
        return kind.from_task(self, num_clients, seed, self.settings(procedure, **settings), **own)


def options_of(kind: type[Procedure]) -> set[str]:
    """Return the names of what a procedure's `from_task` takes by keyword alone."""
    declared = inspect.signature(kind.from_task).parameters.values()
    return {each.name for each in declared if each.kind is each.KEYWORD_ONLY}


TASKS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"data": "digits", "model": "mlp", "learning_rate": 0.1},
    "clips": {"data": CLIPS, "model": "cnn_lstm", "head": "frozen", "learning_rate": 0.5, "batch": 4},
    "recognition": {
        "data": CLIPS,
        "model": "resnet50_lstm",
        "head": "frozen",
        "cut": 4,
        "learning_rate": 0.05,
        "frame_size": 224,
        "colors": 3,
        "clips": 512,
    },
    "images": {"model": "cnn", "learning_rate": 0.05},
}
"""Settings by name: digits for a first look; clips, the small recognition task; that of Zhao et al. in full
(ResNet-50 and LSTM, with pretrained weights; 14 MB of memory per clip, so few of them); images for data from disk."""


def make_task(name: str = "digits", **options: Any) -> Task:
    """Build a task.

    Args:
        name: a key of `TASKS`, or a path: then it is images from there.
        **options: fields of `Task` or settings of a procedure, which override the named ones.

    Raises:
        ValueError: an unknown name or option; the nearest is given.
    """
    if name not in TASKS:
        if not Path(name).exists():
            raise ValueError(f"{unknown_name('task', name, TASKS)}, and there is no such file or folder")
        return Task.create(options, {**TASKS["images"], "data": name})
    if name == "images" and "data" not in options:
        raise ValueError("task 'images' needs data: a folder or file to read")
    return Task.create(options, TASKS[name])
