"""Steps per second of processor time of two checkouts, side by side: `python benchmarks/compare.py OLD NEW`.

Every system is stepped through three views: `gym.make` (one learner decides for all), `parallel_env`, and
`gym.make_vec` with 1,024 copies (NumPy). Each checkout runs in a process of its own, one thread, and waits while the
other one takes its sample; who goes first changes from pair to pair, and every few pairs both processes are started
anew. Only steps and resets are timed, not the drawing of random legal actions, and in processor time, because the
machine may be busy. What counts is the ratio pair by pair; a checkout compared with itself shows the noise.
"""

import argparse
import collections
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

COPIES = 1024
STEPS = {"central": 250, "parallel": 250, "vector": 26}
"""Steps of a sample by view; a vector environment spends one in 26 on the next episodes."""
STARTS, PAIRS = 3, 7
"""How often the processes are started, and the pairs of samples that they then take; with `--quick` they start once."""


class Checkout:
    """A process that steps the environments of one checkout when it is asked to."""

    def __init__(self, root: Path, folder: Path) -> None:
        """Start it with a link `fedtwin` to the checkout in `folder`."""
        folder.mkdir()
        (folder / "fedtwin").symlink_to(root.resolve())
        alone = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        command = [sys.executable, __file__, "--serve"]
        self._process = subprocess.Popen(command, env=alone, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        home, *self.systems = self.ask("which systems")
        if not Path(home).resolve().is_relative_to(root.resolve()):
            raise RuntimeError(f"the environments of {root} were loaded from {home}")

    def ask(self, question: str) -> list[str]:
        """Return the words of the answer.

        Raises:
            RuntimeError: the process ended without one.
        """
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(question + "\n")
        asked.flush()
        for line in answers:
            if line.startswith("answer "):
                return line.split()[1:]
        raise RuntimeError(f"the process ended with status {self._process.wait()} when asked for {question!r}")

    def rate(self, view: str, system: str, steps: int) -> float:
        """Take one sample and return steps per second."""
        return steps / float(self.ask(f"{view} {system} {steps}")[0])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Be one of the two processes: answer which systems there are, then how many s the steps asked for take."""
    import torch
    from fedtwin import envs

    torch.set_num_threads(1)
    playing: dict[tuple[str, str], Iterator[float]] = {}
    sys.stdin.readline()
    print("answer", envs.__file__, *envs.SYSTEMS, flush=True)
    for question in sys.stdin:
        view, system, steps = question.split()
        play = playing.setdefault((view, system), VIEWS[view](system))
        print("answer", sum(itertools.islice(play, int(steps))), flush=True)


def timed(act: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the seconds that a call kept the processor busy, and what it returned."""
    began = time.process_time()
    returned = act(*arguments)
    return time.process_time() - began, returned


def mask_of(infos: dict[str, Any]) -> np.ndarray:
    """Return the mask in an environment's infos, or in an agent's."""
    return np.asarray(infos["choice_mask"] if "choice_mask" in infos else infos["action_mask"])


def legal_actions(mask: np.ndarray, numbers: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a legal action for every agent.

    Args:
        mask: legal choices `(..., N, choices)`.
        numbers: how many an agent's box has, of which the first are scores of its choices; 0: an action is a choice.
        rng: where actions come from.

    Returns:
        choices `(..., N)`, or boxes `(..., N, numbers)` in which what is not legal has the score -1.
    """
    scores = np.where(mask, rng.uniform(-0.99, 1.0, mask.shape), -1.0)
    if not numbers:
        return scores.argmax(axis=-1)
    rest = rng.uniform(-1.0, 1.0, (*mask.shape[:-1], numbers - mask.shape[-1]))
    return np.concatenate([scores, rest], axis=-1).astype(np.float32)


def joint_action(env: Any, infos: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draw the action of one learner that decides for all agents, of one copy or of many."""
    agents, shape, mask = len(env.unwrapped.system.agents), env.action_space.shape, mask_of(infos)
    numbers = shape[-1] // agents if env.action_space.dtype == np.float32 else 0
    return legal_actions(mask.reshape(*mask.shape[:-1], agents, -1), numbers, rng).reshape(shape)


def central(system: str) -> Iterator[float]:
    """Step what `gym.make` makes and yield the seconds of each step, with those of a reset where there was one."""
    import gymnasium
    from fedtwin import envs

    env = gymnasium.make(envs.environment_id(system), disable_env_checker=True)
    rng, over = np.random.default_rng(0), False
    _, infos = env.reset(seed=0)
    while True:
        begun, (_, infos) = timed(env.reset) if over else (0.0, (None, infos))
        seconds, (_, _, terminated, truncated, infos) = timed(env.step, joint_action(env, infos, rng))
        over = terminated or truncated
        yield begun + seconds


def parallel(system: str) -> Iterator[float]:
    """Step the PettingZoo view; see `central`."""
    from fedtwin import envs

    env = envs.parallel_env(system)
    rng, agents = np.random.default_rng(0), env.possible_agents
    numbers = sum(env.action_space(agents[0]).shape or ())
    _, infos = env.reset(seed=0)
    while True:
        begun, (_, infos) = (0.0, (None, infos)) if env.agents else timed(env.reset)
        drawn = legal_actions(np.stack([mask_of(infos[agent]) for agent in agents]), numbers, rng)
        seconds, (_, _, _, _, infos) = timed(env.step, dict(zip(agents, drawn, strict=True)))
        yield begun + seconds


def vector(system: str) -> Iterator[float]:
    """Step what `gym.make_vec` makes; see `central`."""
    import gymnasium
    from fedtwin import envs

    env = gymnasium.make_vec(envs.environment_id(system), num_envs=COPIES)
    rng = np.random.default_rng(0)
    _, infos = env.reset(seed=0)
    while True:
        seconds, (_, _, _, _, infos) = timed(env.step, joint_action(env, infos, rng))
        yield seconds


VIEWS: dict[str, Callable[[str], Iterator[float]]] = {"central": central, "parallel": parallel, "vector": vector}


def row(system: str, view: str, rates: list[tuple[float, float]]) -> str:
    """Lay out a row of the table."""
    old, new = (statistics.median(rate) for rate in zip(*rates, strict=True))
    ratios = sorted(after / before for before, after in rates)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return f"| {system} | {view} | {old:,.1f} | {new:,.1f} | {statistics.median(ratios):.3f} | {spread} |"


def sample(old: Checkout, new: Checkout, view: str, system: str) -> list[tuple[float, float]]:
    """Return pairs of rates; a first pair does not count."""
    rates = []
    for pair in range(1 + PAIRS):
        order = (new, old) if pair % 2 else (old, new)
        taken = {each: each.rate(view, system, STEPS[view]) for each in order}
        rates.append((taken[old], taken[new]))
    return rates[1:]


def compare(old: Path, new: Path) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Start both processes and return pairs of rates by system and view."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        started = []
        for name, root in (("old", old), ("new", new)):
            started.append(Checkout(root, Path(folder, name)))
            ends.callback(started[-1].close)
        both = [name for name in started[0].systems if name in started[1].systems]
        return {(system, view): sample(*started, view, system) for system in both for view in VIEWS}


def main() -> None:
    """Run the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="another one")
    parser.add_argument("--quick", action="store_true", help=f"start the processes once, not {STARTS} times")
    options = parser.parse_args()
    rates: dict[tuple[str, str], list[tuple[float, float]]] = collections.defaultdict(list)
    for _ in range(1 if options.quick else STARTS):
        for place, pairs in compare(options.old, options.new).items():
            rates[place] += pairs
    print("| system | view | old, steps/s | new, steps/s | new / old, median of pairs | range |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (system, view), pairs in rates.items():
        print(row(system, view, pairs))


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main()
