"""The command line that trains: presets, overrides, errors, Stable-Baselines3, curves."""

import json
from pathlib import Path
from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
from fedtwin.agents import D3QN
from fedtwin.agents.sb3 import ALGORITHMS, SB3Agent, make_model
from fedtwin.agents.training import BEST
from fedtwin.evaluation.held_out import HeldOut
from fedtwin.evaluation.plan import experiment_names, read_experiment
from fedtwin.storage.log import LOG
from fedtwin.train import main, parse
from PIL import Image

TINY = (
    "association --num-clients 3 --num-channels 2 --num-servers 2 --num-envs 8 --replay 500 --batch 8 --learn-after 50 "
    "--steps 600 --score-every 200 --held-out 4"
).split()


def test_presets_carry_table_i_and_their_environment() -> None:
    job = parse(["association", "--preset", "paper"])
    settings, params = job.settings, job.system.params
    assert settings.hidden == (512, 256, 128)
    assert (settings.optimiser, settings.learning_rate, settings.learning_rate_end) == ("rmsprop", 1e-3, 1e-3)
    assert (settings.exploration_start, settings.exploration_end, settings.discount) == (1.0, 0.1, 0.99)
    assert settings.replay == 2**17
    assert (params.reward_rule, params.observation, params.decisions) == ("paper", "paper", "simultaneous")  # type: ignore[attr-defined]
    assert parse([]).system.turns
    assert parse(["association", "--discount", "0.5"]).settings.discount == 0.5


@pytest.mark.parametrize("name", experiment_names(trains=True))
def test_shipped_trainings_are_complete(name: str) -> None:
    job = parse(["--figure", name])
    assert job.system.name == read_experiment(name, trains=True)["system"]
    assert job.schedule.steps >= 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["assosiation"], "did you mean 'association'"),
        (["association", "--preset", "papers"], "did you mean 'paper'"),
        (["--figure", "demo"], r"it belongs to fedtwin-evaluate"),
        ([*TINY, "--agent", "ppo"], "must be d3qn, greedy, sb3:ppo"),
        ([*TINY, "--agent", "sb3:sac"], "unknown Stable-Baselines3 algorithm 'sac'"),
        ([*TINY, "--agent", "sb3:ppo", "--sb3", "{"], "must be JSON"),
        ([*TINY, "--agent", "sb3:ppo", "--sb3", '{"n_stepz": 3}'], "settings of ppo: .*n_stepz"),
        ([*TINY, "--agent", "sb3:dqn", "--decisions", "simultaneous"], "dqn takes no joint action"),
        ([*TINY, "--learning-rate", "0"], "learning_rate is 0.0, must be above 0"),
        ([*TINY, "--start", "nothing"], "unknown agent 'nothing'"),
        ([*TINY, "--decisions", "simultaneous"], "network 'pairs' needs sequential decisions"),
    ],
)
def test_errors_end_with_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--output", str(tmp_path)] if "--output" not in arguments else arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("fedtwin-train: error: ")
    assert __import__("re").search(message, line), line


def facts(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


@pytest.mark.parametrize("extra", [[], ["--agent", "greedy", "--twins", "4", "--pairs", "2", "--orders", "2"]])
def test_training_writes_weights_logs_and_curves(
    extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*TINY, *extra, "--output", str(tmp_path)])
    lines = facts(tmp_path)
    assert lines[-1]["transitions"] >= 600
    assert {"loss", "ratio", "above_2", "learning_rate", "steps_per_second"} <= set(lines[-1])
    if not extra:
        assert {"reward", "exploration"} <= set(lines[-1])
        agent = D3QN.load(tmp_path / BEST)
        assert agent.about["command"].startswith("fedtwin-train association --num-clients 3")
    assert (tmp_path / "tensorboard").is_dir()
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert picture.std() > 5
    assert "weights:" in capsys.readouterr().out
    main([*TINY, *extra, "--output", str(tmp_path)])
    assert facts(tmp_path) == lines
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*TINY, *extra, "--output", str(tmp_path), "--seed", "1"])
    assert "holds a run with seed = 0, not 1" in capsys.readouterr().err


def test_training_starts_from_other_weights(tmp_path: Path) -> None:
    larger = [*TINY, "--num-clients", "4", "--num-channels", "3"]
    main([*larger, "--start", "association-sequential", "--output", str(tmp_path), "--steps", "200"])
    assert facts(tmp_path)[-1]["transitions"] >= 200


@pytest.mark.parametrize(
    ("algorithm", "decisions"),
    [("dqn", "sequential"), ("ppo", "sequential"), ("ppo", "simultaneous"), ("a2c", "simultaneous")],
)
def test_stable_baselines_train_and_resume(algorithm: str, decisions: str, tmp_path: Path) -> None:
    settings = {"ppo": {"n_steps": 25, "batch_size": 50, "n_epochs": 1}, "dqn": {"learning_starts": 100}, "a2c": {}}
    options = ["--agent", f"sb3:{algorithm}", "--decisions", decisions, "--sb3", json.dumps(settings[algorithm])]
    main([*TINY, *options, "--output", str(tmp_path)])
    first = facts(tmp_path)
    assert (tmp_path / "model.zip").is_file()
    assert first[-1]["transitions"] >= 600
    main([*TINY, *options, "--output", str(tmp_path), "--steps", "1000"])
    with pytest.raises(SystemExit):
        main([*TINY, *options, "--output", str(tmp_path), "--seed", "9"])
    with pytest.raises(SystemExit):
        main([*TINY, "--output", str(tmp_path)])
    again = facts(tmp_path)
    assert again[: len(first)] == first
    assert again[-1]["transitions"] >= 1000


def test_stable_baselines_models_score_like_agents() -> None:
    system = envs.make_system("association", num_clients=3, num_channels=2, decisions="sequential")
    agent = SB3Agent(make_model("ppo", system, 2, 0, {}))
    score = HeldOut(system, 20)(agent)
    assert set(score) == {"ratio", "ratio_median", "above_2", "above_10"}
    assert score["ratio"] > 1.0
    assert set(ALGORITHMS) == {"a2c", "dqn", "ppo"}


def test_held_out_scores_are_ratios_to_the_reference() -> None:
    """A method held against itself scores 1; a worse one more, over several rounds too."""
    system = envs.make_system("association", num_clients=5, num_channels=4)

    class Fixed:
        def act(self, observation: Any, mask: Any) -> np.ndarray:
            return np.tile(np.arange(5), (len(observation), 1))

        def solver(self) -> Any:
            from fedtwin.baselines import SOLVERS

            return SOLVERS["association"]["greedy_weakest"]

    same = HeldOut(system, 30, rounds=3, reference="greedy_weakest").learned(Fixed())
    assert same["ratio"] == pytest.approx(1.0)
    assert same["above_2"] == 0.0
    assert HeldOut(system, 30, rounds=3)(Fixed())["ratio"] > 2.0
