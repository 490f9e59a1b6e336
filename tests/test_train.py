"""The command line that trains: presets, overrides, errors, Stable-Baselines3, curves."""

import base64
import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin import experiments
from fedtwin.agents import D3QN, DDPG
from fedtwin.agents.recipes import agents_of, default_agent, preset_names, recipe
from fedtwin.agents.sb3 import ALGORITHMS, SB3Agent, load_model, make_model, store_model
from fedtwin.agents.training import BEST
from fedtwin.agents.weights import find_weights
from fedtwin.baselines import SOLVERS
from fedtwin.core.checkpoint import read_checkpoint
from fedtwin.core.log import LOG
from fedtwin.envs import SYSTEMS
from fedtwin.evaluation.experiments import experiment_names, read_experiment
from fedtwin.evaluation.held_out import HeldOut
from fedtwin.train import main, parse
from PIL import Image

BARE = (
    "association --num-clients 3 --num-channels 2 --num-servers 2 "
    "--num-envs 8 --steps 600 --score-every 200 --held-out 4"
).split()
TINY = [*BARE, *"--replay 500 --batch 8 --learn-after 50".split()]
GREEDY = [*BARE, *"--agent greedy --twins 4 --pairs 2 --orders 2".split()]
LEARNING = (
    "--num-envs 8 --replay 500 --batch 8 --hidden 8 6 --learn-after 50 --steps 600 --score-every 200 --held-out 4"
).split()
SPLIT_POINT = ["split_point", "--num-vehicles", "3", *LEARNING]
QUANTIZATION = ["quantization", "--num-clients", "4", "--num-channels", "2", *LEARNING]


def test_presets_carry_table_i_and_their_environment() -> None:
    job = parse(["association", "--preset", "paper"])
    settings, params = job.settings, job.system.params
    assert settings.hidden == (512, 256, 128)
    assert (settings.optimizer, settings.learning_rate, settings.learning_rate_end) == ("rmsprop", 1e-3, 1e-3)
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


@pytest.mark.parametrize("name", experiments.names("training"))
def test_recipes_belong_to_an_agent_and_are_complete(name: str) -> None:
    """The file's name says system, agent and preset; its keys are steps, settings and parameters of these."""
    pairs = [(system, agent) for system in SYSTEMS for agent in (*agents_of(system), "sb3")]
    (found,) = (pair for pair in pairs if name == "_".join(pair) or name.startswith("_".join(pair) + "_"))
    system, agent = found
    preset = name.removeprefix(f"{system}_{agent}").removeprefix("_") or "default"
    assert preset in preset_names(system, agent)
    job = parse([system, "--agent", "sb3:ppo" if agent == "sb3" else agent, "--preset", preset])
    told = {**vars(job.system.params), **vars(job.settings), **vars(job.schedule)}
    for key, value in recipe(system, agent, preset).items():
        assert told[key] == (tuple(value) if isinstance(value, list) else value)


def test_a_recipe_without_a_file_is_empty_and_unknown_ones_are_named() -> None:
    assert recipe("association", "ddpg") == {}
    with pytest.raises(ValueError, match="unknown preset of ddpg on association 'fine'"):
        recipe("association", "ddpg", "fine")
    agents = {name: default_agent(name) for name in ("association", "split_point", "quantization")}
    assert agents == {"association": "d3qn", "split_point": "ddpg", "quantization": "ddpg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["assosiation"], "did you mean 'association'"),
        (["association", "--preset", "papers"], "did you mean 'paper'"),
        (["--figure", "demo"], r"it belongs to fedtwin-evaluate"),
        ([*TINY, "--agent", "ppo"], "unknown agent of association 'ppo'.*d3qn, ddpg, greedy, hybrid, sb3:ALGORITHM"),
        ([*SPLIT_POINT, "--agent", "ppo"], "unknown agent of split_point 'ppo'.*d3qn, ddpg, hybrid, sb3:ALGORITHM"),
        ([*BARE, "--agent", "sb3:sac"], "sac takes no discrete actions, must be one of a2c, dqn, ppo"),
        ([*BARE, "--agent", "sb3:trpo"], "unknown Stable-Baselines3 algorithm 'trpo'; did you mean"),
        ([*BARE, "--agent", "sb3:ppo", "--sb3", "{"], "must be JSON"),
        ([*BARE, "--agent", "sb3:ppo", "--sb3", '{"n_stepz": 3}'], "settings of ppo: .*n_stepz"),
        ([*BARE, "--agent", "sb3:dqn", "--decisions", "simultaneous"], "dqn takes no joint action"),
        ([*TINY, "--learning-rate", "0"], "learning_rate is 0.0, must be above 0"),
        ([*TINY, "--start", "nothing"], "unknown agent 'nothing'"),
        ([*TINY, "--decisions", "simultaneous"], "network 'pairs' needs sequential decisions"),
        (
            ["association", "--num-clients", "40", "--held-out", "2", "--agent", "ddpg"],
            "actions are a MultiDiscrete .*must be a Box",
        ),
        ([*TINY, "--agent", "hybrid"], "association has no numbers beside its choices"),
        ([*TINY, "--agent", "hybrid", "--decisions", "sequential"], "association has no numbers beside its choices"),
        ([*SPLIT_POINT, "--agent", "d3qn"], "actions are Box.*must be Discrete"),
        ([*SPLIT_POINT, "--agent", "greedy"], "unknown agent of split_point 'greedy'"),
        (["split_point", "--agent", "sb3:dqn"], "dqn takes no box of actions, must be one of a2c, ddpg, ppo, sac, td3"),
        ([*SPLIT_POINT, "--hidden", "8"], "must have two layers or more"),
        ([*SPLIT_POINT, "--agent", "hybrid", "--hidden", "8"], "must have two layers or more"),
        ([*SPLIT_POINT, "--preset", "hybrid"], "unknown preset of ddpg on split_point 'hybrid'"),
        ([*SPLIT_POINT, "--start", "association-sequential"], "holds d3qn, not ddpg"),
        ([*SPLIT_POINT, "--worst-sharpness", "0"], "worst_sharpness is 0.0, must be above 0"),
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


@pytest.mark.parametrize("arguments", [TINY, GREEDY])
def test_training_writes_weights_logs_and_curves(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*arguments, "--output", str(tmp_path)])
    lines = facts(tmp_path)
    assert lines[-1]["transitions"] >= 600
    assert {"loss", "ratio", "above_2", "learning_rate", "steps_per_second"} <= set(lines[-1])
    if arguments is TINY:
        assert {"reward", "exploration"} <= set(lines[-1])
        agent = D3QN.load(tmp_path / BEST)
        assert agent.about["command"].startswith("fedtwin-train association --num-clients 3")
    assert (tmp_path / "tensorboard").is_dir()
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert picture.std() > 5
    assert "weights:" in capsys.readouterr().out
    main([*arguments, "--output", str(tmp_path)])
    assert facts(tmp_path) == lines
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*arguments, "--output", str(tmp_path), "--seed", "1"])
    assert "holds a run with seed = 0, not 1" in capsys.readouterr().err


def test_systems_have_agents_and_presets_of_their_own() -> None:
    for name, agent, kind in (
        ("split_point", "", "DDPGSettings"),
        ("quantization", "", "DDPGSettings"),
        ("split_point", "hybrid", "D3QNSettings"),
        ("quantization", "hybrid", "D3QNSettings"),
    ):
        job = parse([name, *(["--agent", agent] if agent else [])])
        assert job.options.agent == (agent or "ddpg")
        assert job.preset == "default"
        assert job.system.name == name
        assert type(job.settings).__name__ == kind
    assert parse(["quantization"]).settings.mixing == "mean"
    assert parse(["split_point", "--agent", "hybrid"]).settings.network == "shared"
    assert parse(["split_point", "--preset", "fine"]).settings.worst_sharpness == 30.0
    assert parse(["split_point", "--preset", "independent"]).settings.network == "independent"
    assert parse(["split_point", "--max-cycles", "4"]).system.params.max_cycles == 4


@pytest.mark.parametrize(
    ("arguments", "kind", "agents"),
    [
        (SPLIT_POINT, DDPG, 3),
        ([*SPLIT_POINT, "--discount", "0.5", "--max-cycles", "3"], DDPG, 3),
        (QUANTIZATION, DDPG, 4),
        ([*SPLIT_POINT, "--agent", "hybrid"], D3QN, 3),
        ([*QUANTIZATION, "--agent", "hybrid"], D3QN, 4),
    ],
)
def test_hybrid_decisions_are_learned(
    arguments: list[str], kind: Any, agents: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path)]
    main([*arguments, *output])
    lines = facts(tmp_path)
    assert lines[-1]["transitions"] >= 600
    assert {"loss", "reward", "ratio", "learning_rate", "exploration"} <= set(lines[-1])
    assert ("actor_loss" in lines[-1]) is (kind is DDPG)
    assert ("efficiency" in lines[-1]) is (arguments[0] == "quantization")
    measured = ("loss", "reward", "learning_rate", "exploration", "steps_per_second")
    assert all(np.isfinite([line[name] for name in measured]).all() for line in lines)
    agent = kind.load(tmp_path / BEST)
    assert agent.shape.agents == agents
    assert agent.about["system"] == arguments[0]
    assert agent.about["command"].startswith(f"fedtwin-train {arguments[0]} ")
    assert (tmp_path / "curves.png").is_file()
    main([*arguments, *output])
    assert facts(tmp_path) == lines
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*arguments, *output, "--seed", "1"])
    assert "holds a run with seed = 0, not 1" in capsys.readouterr().err


def test_hybrid_training_starts_from_weights_of_fewer_agents(tmp_path: Path) -> None:
    for agent in ("ddpg", "hybrid"):
        first, second = tmp_path / agent, tmp_path / f"{agent}-larger"
        main([*SPLIT_POINT, "--agent", agent, "--output", str(first), "--steps", "200"])
        larger = [*SPLIT_POINT, "--num-vehicles", "5", "--agent", agent, "--steps", "200"]
        main([*larger, "--start", str(first / BEST), "--output", str(second)])
        assert facts(second)[-1]["transitions"] >= 200


@pytest.mark.parametrize("algorithm", ["td3", "ppo"])
def test_stable_baselines_take_boxes(algorithm: str, tmp_path: Path) -> None:
    settings = {"td3": {"learning_starts": 40, "batch_size": 8}, "ppo": {"n_steps": 10, "batch_size": 20}}
    options = ["--agent", f"sb3:{algorithm}", "--sb3", json.dumps(settings[algorithm]), "--num-envs", "2"]
    short = ["--steps", "80", "--score-every", "40", "--output", str(tmp_path)]
    main(["split_point", "--num-vehicles", "3", "--held-out", "4", *options, *short])
    assert (tmp_path / "model.zip").is_file()
    assert facts(tmp_path)[-1]["transitions"] >= 80
    assert {"ratio", "violations"} <= set(facts(tmp_path)[-1])


def test_training_starts_from_other_weights(tmp_path: Path) -> None:
    larger = [*TINY, "--num-clients", "4", "--num-channels", "3"]
    main([*larger, "--start", "association-sequential", "--output", str(tmp_path), "--steps", "200"])
    assert facts(tmp_path)[-1]["transitions"] >= 200
    main([*GREEDY, "--start", "association-greedy", "--output", str(tmp_path / "greedy"), "--rate", "1e-9"])
    begun, left = (
        read_checkpoint(find_weights(path))[0] for path in ("association-greedy", tmp_path / "greedy" / BEST)
    )
    assert all(np.allclose(begun[name], left[name], atol=1e-6) for name in ("order", "guide"))


@pytest.mark.parametrize(
    ("algorithm", "decisions"),
    [("dqn", "sequential"), ("ppo", "sequential"), ("ppo", "simultaneous"), ("a2c", "simultaneous")],
)
def test_stable_baselines_train_and_resume(algorithm: str, decisions: str, tmp_path: Path) -> None:
    settings = {"ppo": {"n_steps": 25, "batch_size": 50, "n_epochs": 1}, "dqn": {"learning_starts": 100}, "a2c": {}}
    options = ["--agent", f"sb3:{algorithm}", "--decisions", decisions, "--sb3", json.dumps(settings[algorithm])]
    main([*BARE, *options, "--output", str(tmp_path)])
    first = facts(tmp_path)
    assert (tmp_path / "model.zip").is_file()
    assert first[-1]["transitions"] >= 600
    main([*BARE, *options, "--output", str(tmp_path), "--steps", "1000"])
    with pytest.raises(SystemExit):
        main([*BARE, *options, "--output", str(tmp_path), "--seed", "9"])
    with pytest.raises(SystemExit):
        main([*TINY, "--output", str(tmp_path)])
    again = facts(tmp_path)
    assert again[: len(first)] == first
    assert len({line["transitions"] for line in again}) == len(again)
    assert again[-1]["transitions"] >= 1000


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("algorithm", "settings"), [("sac", {"learning_starts": 10, "batch_size": 8}), ("ppo", {})])
def test_stable_baselines_go_on_without_running_what_a_file_holds(
    algorithm: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    system = envs.make_system("quantization", num_clients=3, num_channels=2)
    settings = settings or {"n_steps": 8, "batch_size": 8}
    model = make_model(algorithm, system, 2, 0, settings)
    model.learn(40)
    path = tmp_path / "model.zip"
    store_model(model, path)
    trap = base64.b64encode(cloudpickle.dumps(Trap(tmp_path / "sprung"))).decode()
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    data = json.loads(content["data"])
    data["lr_schedule"][":serialized:"] = trap
    content["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, part in content.items():
            file.writestr(name, part)
    other = make_model(algorithm, system, 2, 1, settings)
    load_model(path, other)
    assert not (tmp_path / "sprung").exists()
    assert other.num_timesteps == model.num_timesteps == {"sac": 40, "ppo": 48}[algorithm]
    own, theirs = model.get_parameters(), other.get_parameters()
    for name, tensor in own["policy"].items():
        assert torch.equal(tensor, theirs["policy"][name]), name
    if algorithm == "sac":
        first, second = vars(model)["replay_buffer"], vars(other)["replay_buffer"]
        assert (first.pos, first.full) == (second.pos, second.full) == (20, False)
        np.testing.assert_array_equal(first.observations[:20], second.observations[:20])
        assert torch.equal(vars(model)["log_ent_coef"], vars(other)["log_ent_coef"])
        moments = (each["critic.optimizer"]["state"][0]["exp_avg"] for each in (own, theirs))
        assert torch.equal(*moments)
    other.learn(16, reset_num_timesteps=False)
    with pytest.raises(ValueError, match=r"state.safetensors holds another model, or is damaged"):
        load_model(path, make_model("a2c", system, 2, 0, {"policy_kwargs": {"net_arch": [4]}}))
    # The trap is one.
    with contextlib.suppress(Exception):
        type(model).load(path)
    assert (tmp_path / "sprung").exists()


def test_stable_baselines_models_score_like_agents() -> None:
    system = envs.make_system("association", num_clients=3, num_channels=2, decisions="sequential")
    agent = SB3Agent(make_model("ppo", system, 2, 0, {}))
    score = HeldOut(system, 20)(agent)
    assert set(score) == {"ratio", "ratio_median", "above_2", "above_10"}
    assert score["ratio"] > 1.0
    assert set(ALGORITHMS) == {"a2c", "ddpg", "dqn", "ppo", "sac", "td3"}


def test_held_out_scores_are_ratios_to_the_reference() -> None:
    """A method held against itself scores 1; a worse one more, over several rounds too."""
    system = envs.make_system("association", num_clients=5, num_channels=4)

    class Fixed:
        def act(self, observation: Any, mask: Any) -> np.ndarray:
            return np.tile(np.arange(5), (len(observation), 1))

    held_out = HeldOut(system, 30, rounds=3, reference="greedy_weakest")
    same = held_out.solved(SOLVERS["association"]["greedy_weakest"])
    assert same["ratio"] == pytest.approx(1.0)
    assert same["above_2"] == 0.0
    assert HeldOut(system, 30, rounds=3)(Fixed())["ratio"] > 2.0
