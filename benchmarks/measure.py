"""What every comparison shares: rivals in environments of their own, samples taken in turn, medians and ratios."""

import contextlib
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
SAMPLES = 7

Sample = Callable[[], float]
"""Takes one sample: a rate per second, or a time."""


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def requirements(name: str) -> list[str]:
    """Return the rival's pinned requirements."""
    return (HERE / f"rival_{name}.txt").read_text().split()


def version(name: str, package: str) -> str:
    """Return the version to which the rival pins a package."""
    return dict(line.split("==") for line in requirements(name))[package]


def python_of(name: str) -> Path:
    """Return the Python of `.bench/<name>`, made from the rival's requirements where it is missing or out of date.

    A torch pin on the first line is installed by itself before the rest, so that its build is settled first.
    """
    folder = HERE.parent / ".bench" / name
    python, stamp, pins = folder / "bin" / "python", folder / "installed", requirements(name)
    if stamp.exists() and stamp.read_text().split() == pins:
        return python
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    steps = [pins[:1], pins] if pins[0].startswith("torch==") else [pins]
    for step in steps:
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *step]
        subprocess.run(command, check=True)
    stamp.write_text("\n".join(pins))
    return python


@contextlib.contextmanager
def rival(name: str, *arguments: int | str | Path) -> Iterator[Sample]:
    """Start `rival_<name>.py` in its environment; what is yielded takes one sample, and it waits in between.

    Raises:
        RuntimeError: the script ended before it answered.
    """
    command = [str(python_of(name)), str(HERE / f"rival_{name}.py"), *map(str, arguments)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def sample() -> float:
            asked.write("\n")
            asked.flush()
            for line in answers:
                if line.startswith("rate "):
                    return float(line.split()[1])
            raise RuntimeError(f"rival_{name}.py ended with status {process.wait()} before it answered")

        yield sample


def in_turn(sources: Sequence[Sample], samples: int = SAMPLES) -> list[list[float]]:
    """Take samples of every source in turn, round after round; each source first takes one that is thrown away."""
    for source in dict.fromkeys(sources):
        source()
    rounds = [[source() for source in sources] for _ in range(samples)]
    return [list(taken) for taken in zip(*rounds, strict=True)]


def cells(values: Sequence[float]) -> str:
    """Format the median and the range as two cells of a table."""
    return f"{statistics.median(values):,.0f} | {min(values):,.0f} to {max(values):,.0f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Format the ratio pair by pair: its median and range."""
    pairs = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return f"{statistics.median(pairs):.1f} ({pairs[0]:.1f} to {pairs[-1]:.1f})"
