"""What tests of learners need: training that is stopped, resumed and killed, and what it leaves behind."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fedtwin.agents.training import BEST, CHECKPOINT, Schedule, train
from fedtwin.core.checkpoint import read_checkpoint
from fedtwin.core.log import LOG


class Stop(Exception):
    """Stops training, as a kill between two checkpoints would."""


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)[0]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def logged(folder: Path) -> list[dict[str, float]]:
    """Return what was logged, without the speed."""
    lines = map(json.loads, (folder / LOG).read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "steps_per_second"} for line in lines]


def assert_same_training(one: Path, other: Path) -> None:
    for name in (BEST, CHECKPOINT):
        assert equal(weights(one / name), weights(other / name))


def assert_resumes(make: Callable[[], tuple[Any, Any]], schedule: Schedule, stops: Sequence[int], folder: Path) -> None:
    """Train what `make` returns (learner, environment) at a stretch, and with stops: weights and log are the same."""

    def run(part: str, stop_at: float = math.inf) -> None:
        agent, env = make()

        def advanced(facts: dict[str, float]) -> None:
            if facts["transitions"] >= stop_at:
                raise Stop

        train(agent, env, schedule, seed=4, folder=folder / part, advanced=advanced)

    run("whole")
    for stop_at in stops:
        with pytest.raises(Stop):
            run("parts", stop_at)
    run("parts")
    assert_same_training(folder / "whole", folder / "parts")
    assert logged(folder / "whole") == logged(folder / "parts")


def start(command: str, folder: Path) -> "subprocess.Popen[str]":
    """Start `fedtwin-train` in a process of its own."""
    program = "import sys; from fedtwin.train import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", program, *command.split(), "--output", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Any, process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.0005)
