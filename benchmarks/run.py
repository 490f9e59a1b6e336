"""Speed, side by side in one run: medians over interleaved samples on one core; rivals in environments of their own.

Run `make bench`. Writes `benchmarks/results.md` with the machine named.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fedtwin.envs as envs
import torch
from fedtwin.baselines import SOLVERS
from fedtwin.envs.randomness import generator
from fedtwin.envs.trees import take

HERE = Path(__file__).parent
SAMPLES = 7


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def rival(name: str, *arguments: str) -> list[float]:
    """Run a rival's script in `.bench/<name>`, made from its pinned requirements if missing."""
    folder = HERE.parent / ".bench" / name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(HERE / f"rival_{name}.txt")], check=True)
    script = str(HERE / f"rival_{name}.py")
    done = subprocess.run([str(python), script, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return list(map(float, json.loads(done.stdout.splitlines()[-1])))


def steps_per_second(steps: int) -> float:
    """Whole rounds of the single parallel environment: draw, observations, reward and validation included."""
    env = envs.parallel_env("association")
    env.reset(seed=0)
    actions = [{agent: env.action_space(agent).sample() for agent in env.agents} for _ in range(50)]
    began = time.perf_counter()
    for step in range(steps):
        if not env.agents:
            env.reset()
        env.step(actions[step % 50])
    return steps / (time.perf_counter() - began)


def milliseconds(method: str, twins: int = 40, **params: int) -> float:
    """Median time of one decision on a single twin, compiled before."""
    system = envs.make_system("association", **params)
    state = system.start(system.draw(generator(0, 0, 0), (twins,)))
    solve, rng = SOLVERS["association"][method], generator(0, 0, 0, 1)
    solve(system, take(state, 0), rng)
    times = []
    for twin in range(twins):
        one = take(state, twin)
        began = time.perf_counter()
        solve(system, one, rng)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def row(name: str, agents: int, rates: list[float]) -> str:
    return f"| {name} | {agents} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} |"


def environments() -> list[str]:
    """Compare the single environments, samples in turn."""
    steps_per_second(500)
    ours, theirs = [], []
    for _ in range(SAMPLES):
        ours.append(steps_per_second(2000))
        theirs += rival("mobile_env", "1", "150")
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return [
        "## Single environment",
        "",
        "| environment | agents | steps/s (median) | range |",
        "| --- | --- | --- | --- |",
        row('fedtwin `parallel_env("association")`', 16, ours),
        row("mobile-env 2.1.0 `mobile-medium-ma-v0`", 15, theirs),
        "",
        f"Ratio, pair by pair: median {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}).",
        "",
    ]


def solvers() -> list[str]:
    """Time every baseline at two sizes."""
    lines = [
        "## Decision time of one twin, in ms",
        "",
        "| method | N=16 M=4 K=10 | N=32 M=4 K=20 |",
        "| --- | --- | --- |",
    ]
    for method in SOLVERS["association"]:
        small = milliseconds(method)
        large = milliseconds(method, num_clients=32, num_channels=20)
        lines.append(f"| {method} | {small:.3f} | {large:.3f} |")
    return [*lines, ""]


def main() -> None:
    """Run every comparison and write the table."""
    torch.set_num_threads(1)
    sections: list[Callable[[], list[str]]] = [environments, solvers]
    head = [
        "# Speed",
        "",
        f"`make bench` on {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; one thread.",
        "",
    ]
    text = "\n".join(head + [line for section in sections for line in section()])
    (HERE / "results.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
