"""Live learning: environments in which every step trains, and long runs that survive a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fedtwin.envs as envs
import gymnasium as gym
import numpy as np
import pytest
import torch
from fedtwin.core.checkpoint import read_checkpoint
from fedtwin.core.log import read_log
from fedtwin.core.randomness import numbers
from fedtwin.envs.learning import LiveLearning
from fedtwin.envs.simulator import Simulator
from fedtwin.evaluate import main
from fedtwin.evaluation.evaluation import Evaluation
from fedtwin.evaluation.learning_curves import half_width, summarize_learning
from fedtwin.evaluation.plan import CENTRALIZED, Item, make_plan
from fedtwin.evaluation.runner import run as run_plan
from fedtwin.evaluation.store import Store
from fedtwin.federated.plan import Plan
from fedtwin.federated.procedures import PROCEDURES
from fedtwin.federated.run import CHECKPOINT, RunOptions, build, run
from fedtwin.federated.run import main as run_main
from fedtwin.federated.task import Task, make_task

SMALL: dict[str, Any] = {"num_clients": 5, "samples": 20.0}
SPREAD = np.array([0, 11, 22, 33, 4])


def procedure(seed: int, episode: int = 0) -> Any:
    return make_task("digits").build("cloud_edge_client", 5, LiveLearning.seed_of(seed, episode), num_servers=4)


def cloud_edge_client(task: Task, clients: int, servers: int, seed: int) -> Any:
    return task.build("cloud_edge_client", clients, seed, num_servers=servers)


def test_a_step_is_a_round_of_cloud_edge_client_learning_with_the_decision() -> None:
    env = envs.parallel_env("association", learning="live", task="digits", **SMALL)
    env.reset(seed=7)
    expected = procedure(7)
    for actions in (SPREAD, SPREAD[::-1]):
        infos = env.step(dict(zip(env.agents, actions.tolist(), strict=True)))[-1]
        progress = expected.round(Plan(actions // 10, samples=np.full(5, 20)))
        assert infos["client_0"]["accuracy"] == progress.accuracy
        assert infos["client_0"]["loss"] == progress.loss
        for n in range(5):
            assert infos[f"client_{n}"]["client_loss"] == pytest.approx(progress.client_loss[n], rel=1e-12)
            assert infos[f"client_{n}"]["uplink_bytes"] == 20 * (128 * 4 + 8)


def test_costs_do_not_know_how_progress_is_found() -> None:
    live = envs.parallel_env("association", learning="live", **SMALL)
    analytic = envs.parallel_env("association", **SMALL)
    for env in (live, analytic):
        env.reset(seed=1)
    actions = dict(zip(live.agents, SPREAD.tolist(), strict=True))
    a, b = live.step(actions), analytic.step(actions)
    assert a[1] == b[1]
    assert a[-1]["client_3"]["system_cost"] == b[-1]["client_3"]["system_cost"]
    assert "accuracy" not in b[-1]["client_3"]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_copies_learn_as_single_environments_do_over_episodes(mode: str) -> None:
    vector = envs.vector_env("association", 2, learning="live", max_cycles=2, autoreset_mode=mode, **SMALL)
    vector.reset(seed=3)
    seen: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(5):
        infos = vector.step(np.tile(SPREAD, (2, 1)))[-1]
        for copy in (0, 1):
            if infos["_accuracy"][copy]:
                seen[copy].append(float(infos["accuracy"][copy]))
            elif "final_info" in infos and infos["final_info"]["_accuracy"][copy]:
                seen[copy].append(float(infos["final_info"]["accuracy"][copy]))
    for copy in (0, 1):
        expected = []
        for episode in range(3):
            learning = procedure(3 + copy, episode)
            expected += [learning.round(Plan(SPREAD // 10, samples=np.full(5, 20))).accuracy for _ in range(2)]
        assert seen[copy] == expected[: len(seen[copy])]
        assert len(seen[copy]) >= 4


def test_sequential_decisions_and_every_view() -> None:
    central = gym.make("fedtwin/Association-v1", learning="live", decisions="sequential", **SMALL)
    central.reset(seed=0)
    for turn in range(5):
        info = central.step(int(np.flatnonzero(central.get_wrapper_attr("action_masks")())[turn]))[-1]
        assert ("accuracy" in info) == (turn == 4)
    vector = gym.make_vec("fedtwin/Association-v1", num_envs=2, learning="live", decisions="sequential", **SMALL)
    vector.reset(seed=0)
    for turn in range(5):
        infos = vector.step(np.array([turn, 10 + turn]))[-1]
    assert infos["accuracy"].shape == (2,)
    aec = envs.aec_env("association", learning="live", **SMALL)
    aec.reset(seed=0)
    for agent in aec.agents:
        aec.step(0 if agent == "client_0" else int(SPREAD[int(agent[-1])]))
    assert 0 < aec.infos["client_2"]["accuracy"] < 1


def test_a_client_whose_energy_is_spent_quits_learning() -> None:
    env = envs.parallel_env("association", learning="live", energy_budget_low=1e-9, energy_budget_high=1e9, **SMALL)
    system = env.system
    draw = system.draw(numbers(0, 0, 0))
    budgets = np.array([1e9, 1e-9, 1e9, 1e9, 1e-9])
    env.reset(seed=0, options={"draw": type(draw)(**{**vars(draw), "energy_budget": budgets})})
    actions = dict(zip(env.agents, SPREAD.tolist(), strict=True))
    first, second = env.step(actions)[-1], env.step(actions)[-1]
    assert all(first[f"client_{n}"]["uplink_bytes"] > 0 for n in range(5))
    assert [second[f"client_{n}"]["uplink_bytes"] > 0 for n in range(5)] == [True, False, True, True, False]
    assert second["client_1"]["client_loss"] == 0


def test_progress_may_count_in_the_reward() -> None:
    plain, weighted = (
        envs.parallel_env("association", learning="live", progress_weight=weight, **SMALL) for weight in (0.0, 3.0)
    )
    decreases, rewards = [], []
    start = procedure(5).score()[0]
    for env in (plain, weighted):
        env.reset(seed=5)
        _, reward, _, _, infos = env.step(dict(zip(env.agents, SPREAD.tolist(), strict=True)))
        decreases.append(start - infos["client_0"]["loss"])
        rewards.append(reward["client_0"])
    assert decreases[0] == decreases[1] != 0
    assert rewards[1] - rewards[0] == pytest.approx(3.0 * decreases[0], rel=1e-9)


def test_a_simulator_goes_on_exactly() -> None:
    def make() -> Any:
        return envs.vector_env("association", 2, learning="live", max_cycles=3, **SMALL)

    actions = np.tile(SPREAD, (2, 1))
    whole, first, second = make(), make(), make()
    whole.reset(seed=2)
    first.reset(seed=2)
    for _ in range(5):
        whole.step(actions)
        first.step(actions)
    second.load_state_dict(*first.state_dict())
    for _ in range(4):
        a, b = whole.step(actions)[-1], second.step(actions)[-1]
        np.testing.assert_array_equal(a["accuracy"], b["accuracy"])
        np.testing.assert_array_equal(a["client_loss"], b["client_loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning": "life"}, "unknown learning 'life'; did you mean 'live'"),
        ({"task": "digits"}, "learning is analytic"),
        ({"learning": "live", "task": "digit"}, "unknown task 'digit'; did you mean 'digits'"),
        ({"learning": "live", "task": make_task("digits", cut=7)}, r"cut is 7, must be an integer in 0\.\.3"),
        ({"learning": "live", "task": "images"}, "task 'images' needs data"),
    ],
)
def test_live_learning_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        envs.parallel_env("association", **options)


def test_samples_of_a_live_round_are_whole() -> None:
    with pytest.raises(ValueError, match=r"samples.*20\.5, must be whole"):
        envs.parallel_env("association", learning="live", num_clients=5, samples=20.5)


def test_parameters_of_an_episode_hold_for_learning_too() -> None:
    env = envs.parallel_env("association", learning="live", **SMALL)
    env.reset(seed=0, options={"params": {"samples": 12.0}})
    infos = env.step(dict(zip(env.agents, SPREAD.tolist(), strict=True)))[-1]
    assert infos["client_0"]["uplink_bytes"] == 12 * (128 * 4 + 8)
    env.reset(seed=0)
    infos = env.step(dict(zip(env.agents, SPREAD.tolist(), strict=True)))[-1]
    assert infos["client_0"]["uplink_bytes"] == 20 * (128 * 4 + 8)


def test_tasks_state_their_limits() -> None:
    with pytest.raises(ValueError, match="epsilon is 1, but head is private"):
        make_task("digits", epsilon=1.0)
    with pytest.raises(ValueError, match="score_every is 2, must be 1"):
        envs.parallel_env("association", learning="live", task=make_task("digits", score_every=2))
    with pytest.raises(ValueError, match="unknown partition 'dirichle'; did you mean 'dirichlet'"):
        make_task("digits", partition="dirichle")
    with pytest.raises(ValueError, match="unknown parameter 'alfa'; did you mean 'alpha'"):
        make_task("digits", alfa=0.1)
    with pytest.raises(ValueError, match="alpha is 0"):
        make_task("digits", alpha=0.0)


def test_a_frozen_head_is_the_same_for_every_seed_and_its_features_are_computed_once() -> None:
    task = make_task("clips", clips=64, frame_size=8)
    a, b = (cloud_edge_client(task, 4, 2, seed) for seed in (1, 2))
    assert a.population.data is b.population.data
    assert not torch.equal(a.bodies["0.module.0.weight"], b.bodies["0.module.0.weight"])
    for _ in range(2):
        progress = a.round(Plan(np.array([0, 1, 0, -1]), samples=np.full(4, 12)))
    assert progress.uplink_bytes.tolist() == [12 * (10 * 8 * 4 * 4 * 4 + 8)] * 3 + [0]
    assert progress.downlink_bytes.sum() == 0


def test_the_full_recognition_model_learns_live_at_a_reduced_size() -> None:
    pytest.importorskip("transformers")
    task = make_task("recognition", clips=12, frames=2, frame_size=32, batch=2)
    env = envs.parallel_env("association", learning="live", task=task, num_clients=2, num_servers=2, samples=4.0)
    env.reset(seed=0)
    for _ in range(2):
        infos = env.step({"client_0": 0, "client_1": 11})[-1]
    assert infos["client_0"]["uplink_bytes"] == 4 * (2 * 1024 * 2 * 2 * 4 + 8)
    assert infos["client_1"]["client_loss"] > 0
    assert np.isfinite(infos["client_0"]["loss"])


def test_images_from_disk_are_learned_live(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pictures = rng.integers(0, 60, (60, 1, 8, 8)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[0, 3 * label : 3 * label + 2] = 255
    np.savez(tmp_path / "set.npz", inputs=pictures, labels=labels)
    assert make_task(str(tmp_path / "set.npz")).model == "cnn"
    task = make_task(str(tmp_path / "set.npz"), learning_rate=0.2, head="shared")
    env = envs.parallel_env("association", learning="live", task=task, **{**SMALL, "samples": 40.0})
    env.reset(seed=0)
    accuracies = []
    for _ in range(20):
        infos = env.step(dict(zip(env.agents, SPREAD.tolist(), strict=True)))[-1]
        accuracies.append(infos["client_0"]["accuracy"])
    assert accuracies[-1] > 0.9 > accuracies[0]


def test_private_heads_begin_with_weights_of_their_own_unless_asked_otherwise() -> None:
    own, common = (
        cloud_edge_client(make_task("digits", first_heads=kind), 3, 2, 7).heads["0.1.weight"]
        for kind in ("own", "common")
    )
    again = cloud_edge_client(make_task("digits"), 3, 2, 7).heads["0.1.weight"]
    shared = cloud_edge_client(make_task("digits", head="shared"), 3, 2, 7).heads["0.1.weight"]
    assert torch.equal(own, again)
    assert torch.equal(common, shared)
    assert all(torch.equal(head, common[0]) for head in common)
    assert len({float(head.sum()) for head in own}) == 3


def test_learning_in_one_place_sees_all_samples() -> None:
    task = make_task("digits")
    central: Any = task.build("centralized", 4, 0)
    one: Any = task.build("fedavg", 4, 0)
    assert central.settings.batch == 4 * one.settings.batch
    assert central.num_clients == 1
    first = central.round(Plan(np.zeros(1, np.int64), samples=np.array([200])))
    assert central.population.visited.tolist() == [200]
    for _ in range(20):
        last = central.round()
    assert last.accuracy > max(0.9, first.accuracy)


# Evaluations.

LIVE = {"learning": "live", "twins": 2, "rounds": 3, "jobs": 1, "methods": ("swap_matching", "greedy"), **SMALL}


def live_results(folder: Path, **changes: Any) -> tuple[Any, Store]:
    plan = make_plan("association", None, {**LIVE, "output": str(folder), **changes})
    store = Store(folder, plan.identity())
    run_plan(plan, store)
    return plan, store


def test_an_evaluation_trains_under_each_method_and_in_one_place(tmp_path: Path) -> None:
    plan, store = live_results(tmp_path / "a")
    assert len(store.rows) == 6
    table = {line.method: line for line in summarize_learning(Evaluation(plan, store.rows))}
    assert list(table) == ["swap_matching", "greedy", CENTRALIZED]
    row = store.rows[Item("greedy", 0, 1)]
    assert len(row.learned["accuracy"]) == 3
    system = plan.build_system()
    simulator = Simulator(system, learning=LiveLearning(system, Task.create({"learning_rate": 0.1}), 1))
    simulator.reset(0, {"episode": 1})
    from fedtwin.core.trees import take
    from fedtwin.evaluation.methods import find_method
    from fedtwin.evaluation.runner import solver_generator

    for cycle in range(3):
        decision = find_method("association", "greedy")(
            system, take(simulator.state, 0), solver_generator(Item("greedy", 0, 1), cycle)
        )
        outcome = simulator.play(type(decision)(decision.server[None], decision.channel[None]))
        assert float(outcome.progress.information["accuracy"][0]) == row.learned["accuracy"][cycle]
    assert table["greedy"].accuracy == pytest.approx(
        np.mean([store.rows[Item("greedy", 0, twin)].learned["accuracy"][-1] for twin in (0, 1)])
    )
    again = live_results(tmp_path / "b", methods=("greedy", "swap_matching"))[1]
    assert {item: r.learned for item, r in again.rows.items()} == {item: r.learned for item, r in store.rows.items()}


def test_half_the_width_of_an_interval() -> None:
    assert float(half_width(np.array([1.0, 2.0, 3.0]))) == pytest.approx(4.3027 * 1.0 / 3**0.5, rel=1e-4)
    assert np.isnan(half_width(np.array([1.0])))


def test_the_command_writes_learning_into_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "association --learning live --methods greedy decomposition_gain --twins 2 --rounds 2 --jobs 1".split()
    main([*command, "--num-clients", "4", "--samples", "16", "--output", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "Figures 10 and 11" in page
    assert "Accuracy against joules" in page
    result = json.loads((tmp_path / "results.json").read_text())
    assert [line["method"] for line in result["learning"]] == ["greedy", "decomposition_gain", "centralized"]
    header, *lines = (tmp_path / "results.csv").read_text().splitlines()
    assert header.endswith("loss,accuracy,bytes")
    assert len(lines) == 3 * 2 * 2
    with pytest.raises(SystemExit):
        main([*command, "--task-options", "{", "--output", str(tmp_path / "x")])
    assert "must be JSON" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--task-options", '{"alpha": 9}', "--num-clients", "4", "--output", str(tmp_path)])
    assert "choose another folder" in capsys.readouterr().err


# Long runs.

ROUNDS = 50
RUN = f"--rounds {ROUNDS} --clients 6 --servers 2 --learning-rate 0.05 --checkpoint-every 3".split()


def start(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "fedtwin.federated.run", *RUN, "--output", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tmp_path: Path) -> None:
    run_main([*RUN, "--output", str(tmp_path / "whole")])
    killed, moments = tmp_path / "killed", [9, 19, 28, 41]
    for moment in moments:
        process = start(killed)
        wait(process, lambda at=moment: rounds_logged(killed) >= at)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kill_inside_a_write(killed)
    process = start(killed)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    (a, facts), (b, same) = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "killed"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert facts == same
    logs = [read_log(tmp_path / name, step="round") for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    assert [line["round"] for line in logs[0]] == list(range(1, ROUNDS + 1))


def rounds_logged(folder: Path) -> int:
    return len(read_log(folder, step="round"))


def wait(process: "subprocess.Popen[str]", reached: Any, limit: float = 120.0) -> None:
    end = time.monotonic() + limit
    while not reached():
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.001)


def kill_inside_a_write(folder: Path) -> bool:
    """Kill while a checkpoint is being written: the temporary file is still there afterwards."""
    for _ in range(8):
        process = start(folder)
        wait(process, lambda own=process: own.poll() is not None or any(folder.glob("*.tmp")))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if any(folder.glob("*.tmp")):
            return True
    return False


def test_a_run_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--rounds", "1", "--clients", "3", "--output", str(tmp_path)]
    run_main(short)
    with pytest.raises(SystemExit):
        run_main([*short, "--learning-rate", "0.3"])
    assert "learning_rate = 0.1, not 0.3" in capsys.readouterr().err
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit):
        run_main(short)
    assert "is not a checkpoint, or is damaged" in capsys.readouterr().err


def test_a_run_that_diverges_stops_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    options = RunOptions(procedure="fedavg", clients=3, rounds=2)
    procedure, plan = build(make_task("digits"), options)
    run(procedure, 2, tmp_path, plan=plan)
    procedure, plan = build(make_task("digits", learning_rate=1e30), options)
    with pytest.raises(ArithmeticError, match=r"round 2: the loss of client_\d is nan"):
        run(procedure, 4, tmp_path, plan=plan)
    assert read_checkpoint(tmp_path / CHECKPOINT)[1]["procedure"]["rounds"] == 2


@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_runs_by_name(name: str, tmp_path: Path) -> None:
    run_main(["--procedure", name, "--rounds", "2", "--clients", "4", "--output", str(tmp_path)])
    assert rounds_logged(tmp_path) == 2
