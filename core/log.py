"""Logs of long runs: JSON lines that a resumed run continues, and the same numbers for TensorBoard."""

import json
from pathlib import Path

from .files import write_atomically

LOG = "log.jsonl"
Facts = dict[str, float]


class Log:
    """The file `log.jsonl`, one JSON object per report, and its numbers as TensorBoard scalars."""

    def __init__(self, folder: Path, upto: int, *, step: str) -> None:
        """Keep the whole lines whose `step` is at most `upto`; a resumed run writes the rest again."""
        from torch.utils.tensorboard import SummaryWriter

        self.path, self.step = folder / LOG, step
        kept = [line for line in read_log(folder, step=step) if line[step] <= upto]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=upto + 1)

    def add(self, facts: Facts) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(facts) + "\n")
        for name, value in facts.items():
            if name != self.step:
                self.writer.add_scalar(name, value, int(facts[self.step]))
        self.writer.flush()


def read_log(folder: Path, *, step: str) -> list[Facts]:
    """Return the lines of a folder's log, without damaged ones; none where there is no log."""
    path = folder / LOG
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if isinstance(facts, dict) and step in facts:
            found.append(facts)
    return found
