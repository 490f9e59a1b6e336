"""CPU seconds of a new process from its first line to something useful, beside the imports that it cannot do without.

`.venv/bin/python benchmarks/startup.py` prints the table.
"""

import functools
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping

from measure import in_turn

WORK: Mapping[str, str] = {
    "`import numpy`": "import numpy",
    "`import gymnasium, pettingzoo`": "import gymnasium, pettingzoo",
    "`import torch`": "import torch",
    "`import fedtwin.envs`": "import fedtwin.envs",
    '`gymnasium.make("fedtwin/Association-v1")` to the first step': (
        "import fedtwin.envs, gymnasium; env = gymnasium.make('fedtwin/Association-v1');"
        "env.reset(seed=0); env.step(env.action_space.sample())"
    ),
    "`fedtwin-evaluate --help`": "from fedtwin.evaluate import main; main(['--help'])",
    "`fedtwin-train --help`": "from fedtwin.train import main; main(['--help'])",
    "first swap matching, compiled by an earlier process": (
        "from fedtwin.baselines import SOLVERS; from fedtwin.core.randomness import numbers;"
        "from fedtwin.envs import make_system; system = make_system('association');"
        "SOLVERS['association']['swap_matching'](system, system.start(system.draw(numbers(0, 0, 0))))"
    ),
}
"""What a process does, by what the table calls it."""


def used() -> float:
    """Return the CPU seconds of all processes that were started and have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def cpu_seconds(work: str) -> float:
    """Return the CPU seconds of a process that does the work, its children included."""
    before = used()
    subprocess.run([sys.executable, "-c", work], check=True, capture_output=True)
    return used() - before


def section() -> list[str]:
    """Time every work, in turn."""
    lines = [
        "## Start",
        "",
        "CPU seconds of a new process with its children and Python's own start; files and compiled code are cached.",
        "",
        "| work | median | range |",
        "| --- | --- | --- |",
    ]
    taken = in_turn([functools.partial(cpu_seconds, work) for work in WORK.values()])
    for name, seconds in zip(WORK, taken, strict=True):
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")
    return [*lines, ""]


if __name__ == "__main__":
    print(*section(), sep="\n")
