"""Results on disk: one JSON line per item, appended as processes hand them in; a kill loses what they had in hand."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.checkpoint import require_same
from ..core.files import write_atomically
from ..envs import SYSTEMS
from ..envs.system import System
from .plan import Item
from .quantities import COMMON


@dataclasses.dataclass(frozen=True)
class Row:
    """What one method did in one episode."""

    method: str
    seed: int
    twin: int
    series: dict[str, list[float]]
    """By name one number per round played: what the system reports, and those of `quantities.COMMON`."""
    ended: bool
    """Whether the episode was over before its last round, because a budget was spent."""
    learned: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Of live learning: held-out loss and accuracy, and bytes exchanged, per round."""

    @property
    def item(self) -> Item:
        """The piece of work that the row answers."""
        return Item(self.method, self.seed, self.twin)

    @property
    def line(self) -> str:
        """The row as JSON in which every series is an entry of its own."""
        values = dataclasses.asdict(self)
        first = {name: values[name] for name in ("method", "seed", "twin")}
        return json.dumps({**first, **values["series"], "ended": self.ended, "learned": self.learned})


def fault(series: Mapping[str, Any], kind: type[System]) -> str:
    """Return what is wrong with numbers that are to be compared by ratios; empty where nothing is.

    They must be finite and not negative. A cost is 0 only where nobody takes part.
    """
    for name, values in series.items():
        for value in values:
            if not possible(value):
                return f"{name} is {value}, must be finite and at least 0"
    if kind.maximized:
        return ""
    for value, served in zip(series[kind.objective], series["served"], strict=True):
        if value == 0 and served > 0:
            return f"{kind.objective} is 0 in a round in which {served:g} take part, must be above 0"
    return ""


def parse_row(line: str, rounds: int, kind: type[System]) -> Row | None:
    """Return the row of a line, or None where it is damaged: truncated, incomplete, or with impossible numbers.

    Args:
        line: as `Row.line` writes it.
        rounds: of an episode.
        kind: the system.
    """
    try:
        values = json.loads(line)
        own = {name: values.pop(name) for name in ("method", "seed", "twin", "ended")}
        row = Row(**own, learned=values.pop("learned", {}), series=values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    named = isinstance(row.method, str) and isinstance(row.seed, int) and isinstance(row.twin, int)
    if not named or not isinstance(row.learned, dict) or not {*kind.quantities, *COMMON} <= set(row.series):
        return None
    if not whole(row, rounds) or fault(row.series, kind):
        return None
    return row if all(map(possible, itertools.chain(*row.learned.values()))) else None


def whole(row: Row, rounds: int) -> bool:
    """Whether every series of a row is as long as its episode lasted."""
    series = [*row.series.values(), *row.learned.values()]
    if not all(isinstance(values, list) and values and len(values) == len(series[0]) for values in series):
        return False
    played = len(series[0])
    return played == rounds or (row.ended is True and played < rounds)


def possible(value: Any) -> bool:
    """Whether a value is a number that is finite and not negative."""
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


class Store:
    """The file `rows.jsonl` of one evaluation: a header that says what the numbers belong to, then rows."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Open or begin the file; damaged lines are dropped and counted in `dropped`.

        Raises:
            ValueError: the folder holds results of another system or of other parameters.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "rows.jsonl"
        self.rows: dict[Item, Row] = {}
        self.dropped = 0
        self._header = json.dumps({"format": 1, "identity": identity}, default=str)
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n") if self.path.exists() else []
        if lines and lines[0] != self._header:
            self._require_same(lines[0])
            self.dropped += len(lines) - (lines[-1] == "")
            lines = []
        ended = bool(lines) and lines[-1] == ""
        for line in lines[1:-1] if ended else lines[1:]:
            row = parse_row(line, identity["rounds"], SYSTEMS[identity["system"]])
            if row is None:
                self.dropped += 1
            else:
                self.rows[row.item] = row
        if not ended or self.dropped:
            self._rewrite()

    def _require_same(self, header: str) -> None:
        try:
            found = json.loads(header)["identity"]
        except (ValueError, KeyError, TypeError):
            return
        require_same(self.path, found, json.loads(self._header)["identity"])

    def _rewrite(self) -> None:
        write_atomically(self.path, "\n".join([self._header, *(row.line for row in self.rows.values())]) + "\n")

    def missing(self, items: Iterable[Item]) -> list[Item]:
        """Return the items that have no row yet."""
        return [item for item in items if item not in self.rows]

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and force them to disk."""
        rows = list(rows)
        with self.path.open("a", encoding="utf-8") as handle:
            handle.writelines(row.line + "\n" for row in rows)
            handle.flush()
            os.fsync(handle.fileno())
        self.rows.update({row.item: row for row in rows})
