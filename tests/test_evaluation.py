"""The evaluation: paired, resumable at any moment, honest about bad input, and readable in the end."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedtwin import evaluate
from fedtwin.agents import D3QN, D3QNSettings
from fedtwin.baselines import SOLVERS, find_solver
from fedtwin.envs import make_system, vector_env
from fedtwin.envs.randomness import generator
from fedtwin.envs.simulator import Simulator
from fedtwin.envs.trees import take
from fedtwin.evaluate import main
from fedtwin.evaluation.plan import Item, Plan, experiment_names, make_plan, read_experiment
from fedtwin.evaluation.runner import run, solver_generator
from fedtwin.evaluation.statistics import bootstrap_interval, summarise
from fedtwin.evaluation.store import SERIES, Row, Store, parse_row
from fedtwin.storage.files import write_atomically
from PIL import Image

SMALL = {"methods": ("swap_matching", "greedy"), "twins": 3, "rounds": 2, "jobs": 1, "num_clients": 4}


def small_plan(folder: Path, **changes: Any) -> Plan:
    return make_plan("association", None, {**SMALL, "output": str(folder), **changes})


def computed(folder: Path, **changes: Any) -> tuple[Plan, Store]:
    plan = small_plan(folder, **changes)
    store = Store(folder, plan.identity())
    run(plan, store)
    return plan, store


def numbers(store: Store) -> dict[Item, Any]:
    """What must not depend on how the run went: everything but the measured times."""
    return {item: (row.system_cost, row.round_time, row.energy, row.conflicts) for item, row in store.rows.items()}


def test_rows_are_the_systems_cost_on_the_seeds_draws(tmp_path: Path) -> None:
    plan, store = computed(tmp_path, seeds=(3, 8))
    system = make_system("association", num_clients=4, max_cycles=2)
    for item in plan.items():
        state = system.start(system.draw(generator(item.seed, item.twin, 0)))
        for cycle in range(2):
            decision = SOLVERS["association"][item.method](system, state, solver_generator(item, cycle))
            cost = system.cost(state, decision)
            row = store.rows[item]
            assert row.system_cost[cycle] == pytest.approx(float(cost.system_cost), rel=1e-12)
            assert row.round_time[cycle] == pytest.approx(float(cost.round_time), rel=1e-12)
            assert row.energy[cycle] == pytest.approx(float(cost.energy), rel=1e-12)
            state = system.advance(state, decision, system.draw(generator(item.seed, item.twin, cycle + 1)))


def test_results_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    _, one = computed(tmp_path / "one", twins=25, rounds=1)
    _, two = computed(tmp_path / "two", twins=25, rounds=1, jobs=2)
    assert numbers(one) == numbers(two)


@pytest.mark.parametrize("cut", [0, 1, 30, 500, 1100, -1, -40])
def test_a_truncated_file_is_completed(tmp_path: Path, cut: int) -> None:
    plan, store = computed(tmp_path)
    whole = numbers(store)
    content = store.path.read_bytes()
    store.path.write_bytes(content[:cut])
    again = Store(tmp_path, plan.identity())
    missing = again.missing(plan.items())
    complete_lines = max(content[:cut].count(b"\n") - 1, 0)
    assert len(missing) <= 6 - complete_lines
    assert missing or cut == -1
    run(plan, again)
    assert numbers(again) == whole
    reread = Store(tmp_path, plan.identity())
    assert reread.dropped == 0
    assert numbers(reread) == whole


def test_damaged_lines_in_the_middle_are_dropped_and_only_they_are_computed(tmp_path: Path) -> None:
    plan, store = computed(tmp_path)
    lines = store.path.read_text().splitlines()
    lines[2] = lines[2][:50]
    lines[4] = lines[4].replace("[", "[NaN, ", 1)
    store.path.write_text("\n".join(lines) + "\n")
    again = Store(tmp_path, plan.identity())
    assert again.dropped == 2
    assert len(again.missing(plan.items())) == 2
    run(plan, again)
    assert numbers(again) == numbers(store)


def test_more_twins_and_methods_extend_what_is_there(tmp_path: Path) -> None:
    computed(tmp_path)
    plan = small_plan(tmp_path, twins=4, methods=("swap_matching", "greedy", "random_feasible"))
    store = Store(tmp_path, plan.identity())
    assert len(store.missing(plan.items())) == 12 - 6
    run(plan, store)
    assert not store.missing(plan.items())


def test_results_of_other_parameters_are_not_mixed(tmp_path: Path) -> None:
    computed(tmp_path)
    other = small_plan(tmp_path, bandwidth=1e6)
    with pytest.raises(ValueError, match=r"holds results for bandwidth = 4000000\.0, not 1000000\.0"):
        Store(tmp_path, other.identity())


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "3", '{"method": "greedy"}', '{"method": "a", "seed": 0, "twin": 0, "system_cost": 1}'],
)
def test_parse_row_refuses_what_is_no_row(line: str) -> None:
    assert parse_row(line, 2) is None


def test_parse_row_refuses_impossible_rows() -> None:
    good = {"method": "greedy", "seed": 0, "twin": 1, "ended": False, **{name: [1.0, 2.0] for name in SERIES}}
    assert parse_row(json.dumps(good), 2) is not None
    short = {**good, **{name: [1.0] for name in SERIES}}
    assert parse_row(json.dumps(short), 2) is None
    assert parse_row(json.dumps({**short, "ended": True}), 2) is not None
    for damage in (
        {"twin": [1]},
        {"method": 3},
        {"system_cost": [-5.0, 1.0]},
        {"system_cost": [0.0, 1.0]},
        {"energy": [1.0]},
    ):
        assert parse_row(json.dumps({**good, **damage}), 2) is None


def test_a_damaged_header_is_counted_with_all_its_rows(tmp_path: Path) -> None:
    plan, store = computed(tmp_path)
    content = store.path.read_text()
    store.path.write_text("x" + content)
    again = Store(tmp_path, plan.identity())
    assert again.dropped == content.count("\n")
    assert not again.rows


def test_results_of_other_draws_are_not_mixed(tmp_path: Path) -> None:
    plan, _ = computed(tmp_path)
    with pytest.raises(ValueError, match="holds results for draws = "):
        Store(tmp_path, {**plan.identity(), "draws": 1})


def test_decisions_that_leave_clients_out_are_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(system: Any, state: Any, rng: Any = None) -> Any:
        decision = SOLVERS["association"]["greedy"](system, state)
        decision.server[0] = decision.channel[0] = -1
        return decision

    monkeypatch.setitem(SOLVERS["association"], "lazy", lazy)
    plan = small_plan(tmp_path, methods=("lazy",))
    with pytest.raises(ValueError, match=r"server\[0\] is -1, must be at least 0: the client is active"):
        run(plan, Store(tmp_path, plan.identity()))


def test_atomic_write_leaves_no_part_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "old")
    with pytest.raises(TypeError):
        write_atomically(target, 3)  # type: ignore[arg-type]
    assert target.read_text() == "old"


def test_killed_runs_resume_to_the_same_numbers(tmp_path: Path) -> None:
    """Signal 9 at several moments, then the same command to the end."""
    command = [
        sys.executable, "-m", "fedtwin.evaluate", "association", "--methods", "greedy", "decomposition_gain",
        "--twins", "120", "--rounds", "3", "--jobs", "1", "--output", str(tmp_path / "killed"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rows = tmp_path / "killed" / "rows.jsonl"
    for lines in (3, 90, 170):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if rows.exists() and rows.read_bytes().count(b"\n") >= lines:
                break
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed" / "report.html").exists()
    plan, whole = computed(
        tmp_path / "whole", methods=("greedy", "decomposition_gain"), twins=120, rounds=3, num_clients=16
    )
    left = Store(tmp_path / "killed", plan.identity())
    assert len(left.rows) >= 160
    run(plan, left)
    assert numbers(left) == numbers(whole)


# Statistics.


def synthetic(plan: Plan, ratio: dict[str, list[float]]) -> dict[Item, Row]:
    rows = {}
    for method, values in ratio.items():
        for twin, value in enumerate(values):
            cost = [100.0 * (twin + 1) * value]
            rows[Item(method, 0, twin)] = Row(method, 0, twin, cost, cost, cost, [0.001], [1], [4], False)
    return rows


def test_summary_of_known_ratios(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, twins=4, rounds=1)
    rows = synthetic(plan, {"swap_matching": [1, 1, 1, 1], "greedy": [1.0, 2.0, 4.0, 32.0]})
    swap, greedy = summarise(rows, plan)
    assert (swap.ratio, swap.ratio_low, swap.ratio_high) == (1.0, 1.0, 1.0)
    assert greedy.ratio == pytest.approx(4.0)
    assert greedy.median_ratio == pytest.approx(np.sqrt(8.0))
    assert (greedy.above_2, greedy.above_10) == (0.5, 0.25)
    assert greedy.ratio_low < 4.0 < greedy.ratio_high
    assert greedy.conflicts == 4
    assert greedy.decision_ms == 1.0


def test_bootstrap_interval_covers_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        low, high = bootstrap_interval(rng.normal(0.3, 0.5, 60))
        hits += low <= np.exp(0.3) <= high
    assert 87 <= hits <= 100


# The command line.


def test_command_line_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["association", "--methods", "greedy", "random_feasible", "--twins", "4", "--rounds", "2"]
    arguments += ["--num-clients", "5", "--preset", "compressed", "--output", str(tmp_path), "--jobs", "1"]
    evaluate.main(arguments)
    assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "fedtwin-evaluate association --methods greedy" in page
    assert page.count("data:image/png;base64,") == 4
    assert "http://" not in page
    assert "https://" not in page
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["reference"] == "greedy"
    assert [line["method"] for line in result["table"]] == ["greedy", "random_feasible"]
    assert result["params"]["num_clients"] == 5
    assert result["params"]["feature_bits"] == 64_225_280 / 400
    with (tmp_path / "results.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 2 * 4 * 2
    assert set(SERIES) <= set(rows[0])
    assert list((tmp_path / "tensorboard" / "greedy").glob("events.*"))
    before = (tmp_path / "rows.jsonl").read_bytes()
    evaluate.main(arguments)
    assert "8 of 8 items are there already" in capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["asociation"], "unknown system 'asociation'; did you mean 'association'"),
        (["association", "--methods", "greedi"], "unknown method of association 'greedi'; did you mean 'greedy'"),
        (
            ["--figure", "association_figure_5"],
            "unknown figure 'association_figure_5'; did you mean 'association_figure",
        ),
        (["association", "--preset", "papper"], "did you mean 'paper'"),
        (["association", "--twins", "0"], "twins is 0, must be at least 1"),
        (["association", "--jobs", "0"], "jobs is 0"),
        (["association", "--bandwidth", "-1"], "bandwidth is -1.0 Hz, must be above 0"),
        (["association", "--methods", "greedy", "--reference", "swap_matching"], "is not among the methods: greedy"),
        (["association", "--seeds", "0", "0"], "must not repeat"),
        (["association", "--max-cycles", "3"], "max_cycles follows from rounds"),
        (["association", "--backend", "ray"], "No module named 'ray'"),
        (["association", "--num-clients", "41", "--methods", "greedy"], "must be at most the 40"),
    ],
)
def test_bad_command_lines(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*arguments, "--output", str(tmp_path / "results")])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_output_on_a_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit):
        evaluate.main(["association", "--methods", "greedy", "--twins", "1", "--output", str(tmp_path / "taken")])
    assert "taken" in capsys.readouterr().err


def test_help_explains_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(["association", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--methods", "--num-clients", "--bandwidth", "--twin-error-db", "--positions"):
        assert flag in text


def test_presets_are_flat_and_valid() -> None:
    names = experiment_names()
    assert {"demo", "association_figure_6", "association_figure_7", "association_figure_8"} <= set(names)
    for name in names:
        values = read_experiment(name)
        assert not any(isinstance(value, dict) for value in values.values())
        system = values.pop("system")
        make_plan(system, values.pop("preset", None), values)


def test_an_unknown_key_of_a_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown key 'twin'; did you mean 'twins'"):
        make_plan("association", None, {"twin": 3})


# Weights of one's own, and sweeps.


def independent_agent(path: Path) -> str:
    env = vector_env("association", 2, num_clients=4, num_channels=3, observation="paper")
    agent = D3QN.for_env(env, D3QNSettings(network="independent", hidden=(8,)))
    agent.about = {"params": {"observation": "paper"}}
    agent.save(path)
    return f"d3qn_raw:{path}"


def test_agents_of_ones_own_are_methods(tmp_path: Path) -> None:
    method = independent_agent(tmp_path / "agent.safetensors")
    system = make_system("association", num_clients=4, num_channels=3, observation="paper")
    simulator = Simulator(system, 6)
    simulator.reset(3)
    agent = D3QN.load(tmp_path / "agent.safetensors")
    solve = find_solver("association", method)
    for _ in range(3):
        decision = solve(system, simulator.state)
        wanted = system.decide(simulator.seen, agent.act(simulator.visible(), simulator.legal()))
        np.testing.assert_array_equal(decision.server, wanted.server)
        np.testing.assert_array_equal(decision.channel, wanted.channel)
        single = solve(system, take(simulator.state, 4))
        np.testing.assert_array_equal(single.channel, decision.channel[4])
        simulator.play(decision)
    arguments = ["association", "--num-clients", "4", "--num-channels", "3", "--twins", "3", "--jobs", "1"]
    main([*arguments, "--methods", "swap_matching", method, "--output", str(tmp_path / "out")])
    assert (tmp_path / "out" / "report.html").is_file()


def test_agents_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "agent.safetensors"
    solve = find_solver("association", independent_agent(path))
    system = make_system("association", num_clients=5, num_channels=3)
    with pytest.raises(ValueError, match="was trained for"):
        solve(system, system.start(system.draw(generator(0, 0, 0))))
    D3QN.for_env(vector_env("association", 2, num_clients=4), D3QNSettings(network="independent", hidden=(8,))).save(
        path
    )
    with pytest.raises(ValueError, match="does not say what its agents see"):
        find_solver("association", f"d3qn:{path}")


def test_integers_can_be_swept(tmp_path: Path) -> None:
    values = ["--sweep", "num_clients", "--sweep-values", "3", "5", "--output", str(tmp_path)]
    main(["association", "--num-channels", "3", "--twins", "2", "--jobs", "1", "--methods", "greedy", *values])
    assert (tmp_path / "num_clients=5" / "report.html").is_file()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("d3qm", "did you mean 'd3qn'"),
        ("swap_matching:x", "unknown method of association with weights 'swap_matching'"),
        ("d3qn:nowhere.safetensors", "there is no such file"),
    ],
)
def test_unknown_methods_and_files_are_named(method: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_solver("association", method)


SWEEP = "association --num-clients 4 --num-channels 3 --twins 12 --jobs 1 --methods swap_matching greedy".split()


def test_a_sweep_compares_at_every_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = [*SWEEP, "--sweep", "twin_error_db", "--sweep-values", "0", "6", "--output", str(tmp_path)]
    main([*swept, "--sweep-fixed"])
    assert "sweep.png" in capsys.readouterr().out
    with (tmp_path / "sweep.csv").open() as handle:
        lines = {(row["method"], float(row["value"])): float(row["ratio"]) for row in csv.DictReader(handle)}
    assert lines["swap_matching", 0.0] == 1.0
    assert lines["swap_matching", 6.0] > 1.0
    rows = {
        value: json.loads((tmp_path / f"twin_error_db={value}" / "results.json").read_text()) for value in ("0", "6")
    }
    assert rows["0"] != rows["6"]
    greedy, reference = (
        np.mean([np.log(row.system_cost[0]) for row in stored_rows(tmp_path / folder, method)])
        for folder, method in (("twin_error_db=6", "greedy"), ("twin_error_db=0", "swap_matching"))
    )
    assert lines["greedy", 6.0] == pytest.approx(math.exp(greedy - reference))
    assert np.asarray(Image.open(tmp_path / "sweep.png").convert("L")).std() > 5
    main(swept)
    with (tmp_path / "sweep.csv").open() as handle:
        same = {(row["method"], float(row["value"])): float(row["ratio"]) for row in csv.DictReader(handle)}
    assert same["swap_matching", 6.0] == 1.0


def stored_rows(folder: Path, method: str) -> list[Row]:
    lines = (folder / "rows.jsonl").read_text().splitlines()[1:]
    rows = [parse_row(line, 1) for line in lines]
    return [row for row in rows if row is not None and row.method == method]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--sweep", "twin_error_db"], "sweep and sweep_values go together"),
        (["--sweep", "twin_eror_db", "--sweep-values", "1"], "did you mean 'twin_error_db'"),
        (["--sweep", "twin_error_db", "--sweep-values", "-1"], "must be at least 0"),
    ],
)
def test_bad_sweeps_are_named(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SWEEP, *extra])
    assert message in capsys.readouterr().err
