"""Results on disk: one JSON line per item, appended as processes hand them in; a kill loses what they had in hand."""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..storage.files import write_atomically
from .plan import CENTRALISED, Item

SERIES = ("system_cost", "round_time", "energy", "decision_time", "conflicts", "served")
"""Per item, one number per round: cost, s, J, s, clients that break C5, clients that take part."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What one method did in one episode; every series has one number per round played."""

    method: str
    seed: int
    twin: int
    system_cost: list[float]
    round_time: list[float]
    energy: list[float]
    decision_time: list[float]
    conflicts: list[int]
    served: list[int]
    ended: bool
    """Whether the episode was over before its last round, because a budget was spent."""
    learned: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Of live learning: held-out loss and accuracy, and bytes exchanged, per round."""

    @property
    def item(self) -> Item:
        """The piece of work that the row answers."""
        return Item(self.method, self.seed, self.twin)


def parse_row(line: str, rounds: int) -> Row | None:
    """Return the row of a line, or None where it is damaged: truncated, incomplete, not finite or not positive."""
    try:
        row = Row(**json.loads(line))
    except (ValueError, TypeError):
        return None
    if not isinstance(row.learned, dict):
        return None
    series = [*(getattr(row, name) for name in SERIES), *row.learned.values()]
    if not all(isinstance(values, list) and values and len(values) == len(series[0]) for values in series):
        return None
    if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for values in series for x in values):
        return None
    names = isinstance(row.method, str) and isinstance(row.seed, int) and isinstance(row.twin, int)
    whole = len(row.system_cost) == rounds or (row.ended is True and len(row.system_cost) < rounds)
    free = row.method == CENTRALISED
    if not names or not whole or (min(row.system_cost) == 0 and not free):
        return None
    return row


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
            row = parse_row(line, identity["rounds"])
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
        wanted = json.loads(self._header)["identity"]
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{self.path} holds results for {name} = {found.get(name)}, not {wanted.get(name)}: "
                    "choose another --output or delete the folder"
                )

    def _rewrite(self) -> None:
        lines = [self._header, *(json.dumps(dataclasses.asdict(row)) for row in self.rows.values())]
        write_atomically(self.path, "\n".join(lines) + "\n")

    def missing(self, items: Iterable[Item]) -> list[Item]:
        """Return the items that have no row yet."""
        return [item for item in items if item not in self.rows]

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and force them to disk."""
        rows = list(rows)
        with self.path.open("a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)
            handle.flush()
            os.fsync(handle.fileno())
        self.rows.update({row.item: row for row in rows})
