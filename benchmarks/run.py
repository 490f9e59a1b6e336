"""Speed, side by side in one run: medians over interleaved samples on one core; rivals in environments of their own.

Run `make bench`. Writes `benchmarks/results.md` and `benchmarks/scaling.png` with the machine named.
"""

import os
import platform

import decisions
import learned
import scaling
import single
import solvers
import startup
import torch
import training
import vectorized
from measure import HERE, SAMPLES, processor

import federated

COMMAND = "OMP_NUM_THREADS=1 .venv/bin/python benchmarks/run.py"


def main() -> None:
    """Run every comparison and write the tables."""
    torch.set_num_threads(1)
    lines = [
        "# Speed",
        "",
        f"`make bench` (`{COMMAND}`) on",
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; one thread.",
        "",
        f"Medians and ranges of {SAMPLES} samples, taken in turn, the first one not counted. The machine is not idle:",
        "ratios of neighbouring samples say more than rates. The rivals simulate other things: what is compared is how",
        "long a training step waits for its environment.",
        "",
    ]
    for part in (startup, single, vectorized, training, decisions, solvers, learned, federated, scaling):
        lines += part.section()
    text = "\n".join(lines)
    (HERE / "results.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
