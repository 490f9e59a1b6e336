"""The evaluation: paired, resumable at any moment, honest about bad input, and readable in the end."""

import csv
import dataclasses
import importlib.util
import json
import math
import os
import re
import shutil
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
from fedtwin.agents.weights import find_weights
from fedtwin.baselines import SOLVERS
from fedtwin.core.files import write_atomically
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import take
from fedtwin.envs import SYSTEMS, make_system, vector_env
from fedtwin.envs.association import AssociationSystem
from fedtwin.envs.progress import Progress as Brought
from fedtwin.envs.quantization import QuantizationSystem
from fedtwin.envs.simulator import Simulator
from fedtwin.envs.split_point import SplitPointSystem
from fedtwin.evaluate import main
from fedtwin.evaluation.evaluation import Evaluation
from fedtwin.evaluation.experiments import experiment_names, read_experiment
from fedtwin.evaluation.figures import bar_panels
from fedtwin.evaluation.held_out import HeldOut
from fedtwin.evaluation.methods import default_reference, find_method
from fedtwin.evaluation.plan import CENTRALIZED, Item, Plan, make_plan
from fedtwin.evaluation.quantities import STACKS
from fedtwin.evaluation.report import write_report
from fedtwin.evaluation.runner import run, run_chunk, solver_generator
from fedtwin.evaluation.statistics import bootstrap_interval, compare, geometric_mean, summarize
from fedtwin.evaluation.store import Row, Store, fault, parse_row
from fedtwin.evaluation.sweep import swept_label
from fedtwin.federated.plan import Progress
from fedtwin.federated.task import Task
from PIL import Image

SERIES = ("system_cost", "round_time", "energy", "decision_time", "conflicts", "served")
"""What an evaluation of the association keeps, in the order of its files."""

SMALL = {"methods": ("swap_matching", "greedy"), "twins": 3, "rounds": 2, "jobs": 1, "num_clients": 4}


def small_plan(folder: Path, **changes: Any) -> Plan:
    return make_plan("association", None, {**SMALL, "output": str(folder), **changes})


def computed(folder: Path, **changes: Any) -> tuple[Plan, Store]:
    plan = small_plan(folder, **changes)
    store = Store(folder, plan.identity())
    run(plan, store)
    return plan, store


def scores(store: Store) -> dict[Item, Any]:
    """What must not depend on how the run went: everything but the measured times."""
    times = ("decision_time",)
    return {item: {k: v for k, v in row.series.items() if k not in times} for item, row in store.rows.items()}


def test_rows_are_the_systems_cost_on_the_seeds_draws(tmp_path: Path) -> None:
    plan, store = computed(tmp_path, seeds=(3, 8))
    system = make_system("association", num_clients=4, max_cycles=2)
    for item in plan.items():
        state = system.start(system.draw(numbers(item.seed, item.twin, 0)))
        for cycle in range(2):
            decision = SOLVERS["association"][item.method](system, state, solver_generator(item, cycle))
            cost = system.cost(state, decision)
            series = store.rows[item].series
            assert series["system_cost"][cycle] == pytest.approx(float(cost.system_cost), rel=1e-12)
            assert series["round_time"][cycle] == pytest.approx(float(cost.round_time), rel=1e-12)
            assert series["energy"][cycle] == pytest.approx(float(cost.energy), rel=1e-12)
            progress = system.predict(state, decision)
            following = system.draw(numbers(item.seed, item.twin, cycle + 1))
            state = system.advance(state, decision, following, cost, progress)


def test_results_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    _, one = computed(tmp_path / "one", twins=25, rounds=1)
    _, two = computed(tmp_path / "two", twins=25, rounds=1, jobs=2)
    assert scores(one) == scores(two)


@pytest.mark.parametrize("cut", [0, 1, 30, 500, 1100, -1, -40])
def test_a_truncated_file_is_completed(tmp_path: Path, cut: int) -> None:
    plan, store = computed(tmp_path)
    whole = scores(store)
    content = store.path.read_bytes()
    store.path.write_bytes(content[:cut])
    again = Store(tmp_path, plan.identity())
    missing = again.missing(plan.items())
    complete_lines = max(content[:cut].count(b"\n") - 1, 0)
    assert len(missing) <= 6 - complete_lines
    assert missing or cut == -1
    run(plan, again)
    assert scores(again) == whole
    reread = Store(tmp_path, plan.identity())
    assert reread.dropped == 0
    assert scores(reread) == whole


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
    assert scores(again) == scores(store)


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
    with pytest.raises(ValueError, match=r"holds a run with bandwidth = 4000000\.0, not 1000000\.0"):
        Store(tmp_path, other.identity())


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "3", '{"method": "greedy"}', '{"method": "a", "seed": 0, "twin": 0, "system_cost": 1}'],
)
def test_parse_row_refuses_what_is_no_row(line: str) -> None:
    assert parse_row(line, 2, AssociationSystem) is None


def test_parse_row_refuses_impossible_rows() -> None:
    good = {"method": "greedy", "seed": 0, "twin": 1, "ended": False, **{name: [1.0, 2.0] for name in SERIES}}
    assert parse_row(json.dumps(good), 2, AssociationSystem) is not None
    short = {**good, **{name: [1.0] for name in SERIES}}
    assert parse_row(json.dumps(short), 2, AssociationSystem) is None
    assert parse_row(json.dumps({**short, "ended": True}), 2, AssociationSystem) is not None
    for damage in (
        {"twin": [1]},
        {"method": 3},
        {"system_cost": [-5.0, 1.0]},
        {"system_cost": [0.0, 1.0]},
        {"energy": [1.0]},
    ):
        assert parse_row(json.dumps({**good, **damage}), 2, AssociationSystem) is None


def test_a_damaged_header_is_counted_with_all_its_rows(tmp_path: Path) -> None:
    plan, store = computed(tmp_path)
    content = store.path.read_text()
    store.path.write_text("x" + content)
    again = Store(tmp_path, plan.identity())
    assert again.dropped == content.count("\n")
    assert not again.rows


def test_results_of_other_draws_are_not_mixed(tmp_path: Path) -> None:
    plan, _ = computed(tmp_path)
    with pytest.raises(ValueError, match="holds a run with draws = "):
        Store(tmp_path, {**plan.identity(), "draws": 1})


def test_decisions_that_leave_clients_out_are_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(system: Any, state: Any, rng: Any = None) -> Any:
        decision = SOLVERS["association"]["greedy"](system, state)
        decision.server[0] = decision.channel[0] = -1
        return decision

    monkeypatch.setitem(SOLVERS["association"], "lazy", lazy)
    plan = small_plan(tmp_path, methods=("lazy",))
    with pytest.raises(ValueError, match=r"server of client_0 is -1, must be at least 0: the client takes part"):
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
    assert scores(left) == scores(whole)


# Statistics.


def synthetic(plan: Plan, ratio: dict[str, list[float]]) -> dict[Item, Row]:
    rows = {}
    for method, values in ratio.items():
        for twin, value in enumerate(values):
            cost = [100.0 * (twin + 1) * value]
            series = {"system_cost": cost, "round_time": cost, "energy": cost}
            counts: dict[str, list[float]] = {"decision_time": [0.001], "conflicts": [1], "served": [4]}
            rows[Item(method, 0, twin)] = Row(method, 0, twin, {**series, **counts}, False)
    return rows


def test_summary_of_known_ratios(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, twins=4, rounds=1)
    rows = synthetic(plan, {"swap_matching": [1, 1, 1, 1], "greedy": [1.0, 2.0, 4.0, 32.0]})
    swap, greedy = summarize(Evaluation(plan, rows))
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
    solve = find_method("association", method)
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
    solve = find_method("association", independent_agent(path))
    system = make_system("association", num_clients=5, num_channels=3)
    with pytest.raises(ValueError, match="was trained for"):
        solve(system, system.start(system.draw(numbers(0, 0, 0))))
    D3QN.for_env(vector_env("association", 2, num_clients=4), D3QNSettings(network="independent", hidden=(8,))).save(
        path
    )
    with pytest.raises(ValueError, match="does not say what its agents see"):
        find_method("association", f"d3qn:{path}")


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
        find_method("association", method)


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
        np.mean([np.log(row.series["system_cost"][0]) for row in stored_rows(tmp_path / folder, method)])
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
    rows = [parse_row(line, 1, AssociationSystem) for line in lines]
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


# Systems other than the association.

TOY_PAGE = Path(__file__).parent.parent / "docs" / "adding_a_system.md"


def asking(system: Any, slot: np.ndarray) -> np.ndarray:
    """Actions of the toy system that ask for slots, at the largest power."""
    actions = np.full((len(system.agents), system.action_size), -1.0, np.float32)
    actions[np.arange(len(slot)), slot] = actions[:, -1] = 1.0
    return actions


def each_in_turn(system: Any, state: Any, rng: Any = None) -> Any:
    """A method of the toy system: sensor n sends in slot n."""
    return system.decide(state, asking(system, np.arange(len(system.agents))))


def all_at_once(system: Any, state: Any, rng: Any = None) -> Any:
    """A method of the toy system: everybody sends in the first slot."""
    return system.decide(state, asking(system, np.zeros(len(system.agents), np.int64)))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The documentation's system with two methods, listed where systems and methods are looked up."""
    (code,) = re.findall(r"```python\n(.*?)```", TOY_PAGE.read_text(), re.DOTALL)
    (tmp_path / "slots.py").write_text(code)
    spec = importlib.util.spec_from_file_location("toy_slots", tmp_path / "slots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_slots", module)
    spec.loader.exec_module(module)
    named = {"objective": "round_time", "quantities": {"round_time": "longest time in s"}}
    monkeypatch.setitem(SYSTEMS, "slots", type("Slots", (module.SlotsSystem,), named))
    monkeypatch.setitem(SOLVERS, "slots", {"all_at_once": all_at_once, "each_in_turn": each_in_turn})
    return SYSTEMS["slots"]


@pytest.mark.usefixtures("toy")
def test_a_system_of_ones_own_is_evaluated(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    main(["slots", "--twins", "5", "--rounds", "2", "--jobs", "1", "--num-slots", "6", "--output", str(folder)])
    result = json.loads((folder / "results.json").read_text())
    first, second = result["table"]
    assert result["reference"] == "all_at_once"
    assert second["ratio"] == pytest.approx(1 / 4)
    assert second["round_time"] == pytest.approx(first["round_time"] / 4)
    assert first["served"] == 4.0
    assert {path.name for path in folder.glob("*.png")} == {
        "single_rounds.png", "round_by_round.png", "distributions.png", "maps.png",
    }  # fmt: skip
    page = (folder / "report.html").read_text()
    assert "longest time in s" in page
    assert "Figure 6" not in page
    assert (folder / "results.csv").read_text().startswith("method,seed,twin,round,round_time,decision_time,")
    plan = make_plan("slots", None, {"twins": 5, "rounds": 2, "num_slots": 6})
    assert not Store(folder, plan.identity()).missing(plan.items())


@pytest.mark.usefixtures("toy")
def test_a_system_without_solvers_is_compared_with_random_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(SOLVERS, "slots")
    main(["slots", "--twins", "3", "--jobs", "1", "--output", str(tmp_path)])
    assert [row["method"] for row in json.loads((tmp_path / "results.json").read_text())["table"]] == ["random"]
    system = make_system("slots")
    assert HeldOut(system, 3).reference == "random"
    with pytest.raises(ValueError, match="unknown method of slots 'greedy'; did you mean 'random'"):
        find_method("slots", "greedy")
    state = system.start(system.draw(numbers(0, 0, 0, (5,))))
    decisions = [find_method("slots", "random")(system, state, generator(seed, 0, 0)) for seed in (1, 1, 2)]
    for decision in decisions:
        system.check_decision(state, decision, complete=True)
    assert np.array_equal(decisions[0].power, decisions[1].power)
    assert not np.array_equal(decisions[0].power, decisions[2].power)


def test_predicted_progress_may_carry_information(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def foresee(self: Any, state: Any, decision: Any, cost: Any) -> Brought:
        return Brought(cost.round_time, cost.round_time, {"norm": cost.client_time})

    monkeypatch.setattr(toy, "foresee", foresee)
    main(["slots", "--twins", "2", "--jobs", "1", "--output", str(tmp_path)])
    plan = make_plan("slots", None, {"twins": 2})
    assert all(row.learned == {} for row in Store(tmp_path, plan.identity()).rows.values())


def test_figures_and_further_quantities_bear_the_systems_names(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy, "figures", {"distributions": ("figure_3", "Figure 3: loads")}, raising=False)
    monkeypatch.setattr(toy, "extras", {"mean_time": "mean time in s"}, raising=False)
    monkeypatch.setattr(
        toy, "report", lambda self, cost: ({"round_time": cost.round_time, "mean_time": cost.client_time.mean(-1)}, {})
    )
    main(["slots", "--twins", "2", "--jobs", "1", "--output", str(tmp_path)])
    names = {"single_rounds.png", "round_by_round.png", "figure_3.png", "breakdown.png", "maps.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == names
    page = (tmp_path / "report.html").read_text()
    assert "Figure 3: loads" in page
    assert "mean time in s" in page
    for line in json.loads((tmp_path / "results.json").read_text())["table"]:
        assert 0.25 * line["round_time"] < line["mean_time"] < line["round_time"]


def test_a_quantity_that_is_not_reported_is_named(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan("slots", None, {"twins": 1, "jobs": 1})
    monkeypatch.setattr(toy, "report", lambda self, cost: ({"round_time": cost.round_time}, {}))
    monkeypatch.setattr(toy, "quantities", {"round_time": "time", "energy": "energy in J"})
    with pytest.raises(ValueError, match=r"slots names 'energy' .* but it reports round_time"):
        run(plan, Store(tmp_path / "a", plan.identity()))
    monkeypatch.setattr(toy, "quantities", {"energy": "energy in J"})
    with pytest.raises(ValueError, match="slots names 'round_time' as its objective"):
        run(plan, Store(tmp_path / "b", plan.identity()))


@pytest.mark.usefixtures("toy")
def test_costs_of_nothing_are_refused_when_they_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SYSTEMS["slots"], "report", lambda self, cost: ({"round_time": 0.0 * cost.round_time}, {}))
    plan = make_plan("slots", None, {"twins": 1, "jobs": 1})
    with pytest.raises(ValueError, match=r"all_at_once on seed 0, twin 0: round_time is 0.* in which 4 take part"):
        run(plan, Store(tmp_path, plan.identity()))


def test_what_is_wrong_with_numbers_is_said() -> None:
    good: dict[str, list[float]] = {"efficiency": [1.0, 0.0], "served": [3, 0]}
    assert fault(good, QuantizationSystem) == ""
    assert fault({**good, "served": [3, 3]}, QuantizationSystem) == ""
    assert fault({"round_time": [1.0, 0.0], "served": [3, 0]}, SplitPointSystem) == ""
    assert "round_time is 0 in a round in which 2 take part" in fault(
        {"round_time": [1.0, 0.0], "served": [3, 2]}, SplitPointSystem
    )
    for value in (-1.0, math.nan, math.inf, "1"):
        assert f"energy is {value}, must be finite" in fault({**good, "energy": [value]}, QuantizationSystem)


def test_lines_of_the_association_are_what_they_were() -> None:
    line = (
        '{"method": "greedy", "seed": 0, "twin": 3, "system_cost": [2.5, 3.0], "round_time": [1.0, 1.5], '
        '"energy": [1.5, 1.5], "decision_time": [0.001, 0.002], "conflicts": [0, 1], "served": [4, 4], '
        '"ended": false, "learned": {}}'
    )
    row = parse_row(line, 2, AssociationSystem)
    assert row is not None
    assert row.line == line
    assert parse_row(line.replace("conflicts", "conflict"), 2, AssociationSystem) is None


def test_more_is_better_where_it_is_maximized() -> None:
    own, reference = [np.array([1.0, 4.0]), np.array([0.5, 8.0])], [np.array([2.0, 4.0]), np.array([8.0, 8.0])]
    gain, cost = compare(own, reference, True), compare(own, reference, False)
    assert gain.ratio == cost.ratio == pytest.approx((1 / 2 / 16) ** 0.25)
    assert gain.mean_ratio == pytest.approx(13.5 / 22.0)
    assert (gain.above_2, gain.above_10) == (0.25, 0.25)
    assert (cost.above_2, cost.above_10) == (0.0, 0.0)
    assert gain.left_out == 0


def test_rounds_of_nothing_are_counted_and_enter_means_and_tails() -> None:
    own = [np.array([0.0, 2.0]), np.array([0.0, 0.0]), np.array([4.0, 1.0])]
    reference = [np.array([4.0, 4.0]), np.array([1.0, 0.0]), np.array([2.0, 0.0])]
    found = compare(own, reference, True)
    assert found.left_out == 4
    assert found.ratio == pytest.approx(1.0)
    assert found.mean_ratio == pytest.approx(7.0 / 11.0)
    assert found.above_2 == pytest.approx(2 / 6)
    assert found.above_10 == pytest.approx(2 / 6)
    nothing = compare([np.zeros(2)], [np.zeros(2)], True)
    assert nothing.left_out == 2
    assert all(math.isnan(value) for value in (nothing.ratio, nothing.ratio_low, nothing.mean_ratio))
    assert nothing.above_2 == 0.0
    assert geometric_mean(np.array([0.0, 4.0, 9.0])) == pytest.approx(6.0)
    assert geometric_mean(np.zeros(2)) == 0.0


QUANTIZATION = "quantization --num-clients 5 --num-channels 3 --twins 4 --rounds 2 --jobs 1".split()


def test_a_maximized_system_with_rounds_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["full_precision", "exact", "random"]
    main([*QUANTIZATION, "--methods", *methods, "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "ratio to exact on the same draws (higher is better)" in printed
    assert "left out" in printed
    result = json.loads((tmp_path / "results.json").read_text())
    table = {line["method"]: line for line in result["table"]}
    assert result["maximized"] is True
    assert table["full_precision"]["ratio"] is None
    assert (table["full_precision"]["left_out"], table["full_precision"]["mean_ratio"]) == (8, 0.0)
    assert table["full_precision"]["above_2"] == 1.0
    assert table["exact"]["ratio"] == 1.0
    assert 0.0 < table["random"]["ratio"] < 1.0
    assert table["random"]["mean_bits"] >= 2.0
    page = (tmp_path / "report.html").read_text()
    for text in ("higher is better", "below 1/2", "ratio of means", "computation in J", "Where time and energy go"):
        assert text in page
    for name in ("breakdown", "single_rounds", "round_by_round", "distributions", "maps"):
        assert np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")).std() > 5
    again = make_plan("quantization", None, {"rounds": 2, "twins": 4, "num_clients": 5, "num_channels": 3})
    assert len(Store(tmp_path, again.identity()).rows) == 3 * 4


@pytest.mark.parametrize("system", ["split_point", "quantization"])
def test_parts_add_up_to_time_and_energy(system: str, tmp_path: Path) -> None:
    plan = make_plan(system, None, {"twins": 5, "rounds": 2, "jobs": 1, "methods": ["exact", "random"]})
    store = Store(tmp_path, plan.identity())
    run(plan, store)
    for row in store.rows.values():
        times = np.add(row.series["compute_time"], row.series["communication_time"])
        energies = np.add(row.series["compute_energy"], row.series["communication_energy"])
        np.testing.assert_allclose(times, row.series["round_time"])
        np.testing.assert_allclose(energies, row.series["energy"])
    assert set(bar_panels(Evaluation(plan, store.rows))) >= set(STACKS)


def test_methods_are_compared_with_the_optimum_where_it_is_known() -> None:
    methods = ["random", "exact"]
    assert make_plan("quantization", None, {"methods": methods}).reference == "exact"
    assert make_plan("quantization", None, {"methods": methods, "reference": "random"}).reference == "random"
    assert make_plan("quantization", None, {"methods": ["random", "greedy"]}).reference == "random"
    assert [default_reference(name) for name in ("association", "split_point")] == ["swap_matching", "exact"]


def test_another_reference_needs_no_new_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*QUANTIZATION, "--methods", "exact", "greedy", "--output", str(tmp_path)]
    main(command)
    exact, greedy = (line["ratio"] for line in json.loads((tmp_path / "results.json").read_text())["table"])
    main([*command, "--reference", "greedy"])
    assert "8 of 8 items are there already" in capsys.readouterr().out
    again, same = (line["ratio"] for line in json.loads((tmp_path / "results.json").read_text())["table"])
    assert (exact, same) == (1.0, 1.0)
    assert again == pytest.approx(1 / greedy)


def test_a_sweep_draws_the_quantities_that_are_named(tmp_path: Path) -> None:
    names = ["efficiency", "mean_bits", "served"]
    swept = ["--sweep", "deadline", "--sweep-values", "2", "8", "--sweep-quantities", *names]
    main([*QUANTIZATION, "--methods", "exact", "full_precision", *swept, "--output", str(tmp_path)])
    with (tmp_path / "sweep_quantities.csv").open() as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 2 * 2 * 3
    found = {(line["quantity"], line["method"], float(line["value"])): line for line in lines}
    assert float(found["served", "full_precision", 2.0]["mean"]) == 0.0
    assert float(found["mean_bits", "full_precision", 8.0]["mean"]) == 32.0
    plan = make_plan(
        "quantization", None, {"twins": 4, "rounds": 2, "num_clients": 5, "num_channels": 3, "deadline": 8.0}
    )
    rows = Store(tmp_path / "deadline=8", plan.identity()).rows
    means = [np.mean(rows[Item("exact", 0, twin)].series["efficiency"]) for twin in range(4)]
    line = found["efficiency", "exact", 8.0]
    assert float(line["mean"]) == pytest.approx(np.mean(means))
    assert min(means) <= float(line["low"]) <= np.mean(means) <= float(line["high"]) <= max(means)
    assert (tmp_path / "sweep.csv").is_file()
    assert np.asarray(Image.open(tmp_path / "sweep.png").convert("L")).std() > 5


def test_several_parameters_are_swept_together(tmp_path: Path) -> None:
    values = {"sweep": "energy_budget_low+energy_budget_high", "sweep_values": [2.0, 8.0], "methods": ["exact"]}
    plan = make_plan("split_point", None, values)
    assert plan.swept_params(8.0) == {"energy_budget_low": 8.0, "energy_budget_high": 8.0}
    assert swept_label(plan) == "energy_budget_low = energy_budget_high in J"
    integers = make_plan("split_point", None, {**values, "sweep": "num_vehicles"})
    assert integers.swept_params(8.0) == {"num_vehicles": 8}
    assert swept_label(integers) == "num_vehicles"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--sweep-quantities", "energy"], "sweep_quantities belong to a sweep"),
        (["--sweep", "bandwidth", "--sweep-values", "4e6", "--sweep-quantities", "energi"], "did you mean 'energy'"),
        (
            ["--sweep", "bandwidth", "--sweep-values", "4e6", "--sweep-quantities", "compute_time"],
            "association does not report compute_time, it reports system_cost, round_time, energy, decision_time",
        ),
    ],
)
def test_unknown_quantities_of_a_sweep_are_named(
    extra: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main([*SWEEP, *extra, "--output", str(tmp_path)])
    assert message in capsys.readouterr().err


# Held-out scores and learning of any system.


class Chance:
    """An agent of random actions."""

    def __init__(self, size: int) -> None:
        self.size, self.rng = size, np.random.default_rng(0)

    def act(self, observation: Any, mask: Any) -> np.ndarray:
        return self.rng.uniform(-1.0, 1.0, (*observation.shape[:2], self.size)).astype(np.float32)


def test_held_out_scores_of_a_maximized_system_fall_as_it_grows() -> None:
    system = make_system("quantization", num_clients=5, num_channels=3)
    held_out, methods = HeldOut(system, 20, rounds=2), SOLVERS["quantization"]
    assert held_out.reference == "exact"
    same = held_out.solved(methods["exact"])
    assert same == {"ratio": 1.0, "ratio_median": 1.0, "above_2": 0.0, "above_10": 0.0, "efficiency": 1.0}
    worse = held_out.solved(methods["lowest_bits"])
    assert worse["ratio"] > 1.0
    assert worse["efficiency"] == pytest.approx(1 / worse["ratio"])
    nothing = held_out.solved(methods["full_precision"])
    assert nothing["ratio"] == nothing["ratio_median"] == math.inf
    assert (nothing["above_10"], nothing["efficiency"]) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["split_point", "quantization"])
def test_held_out_scores_count_violations_of_numeric_actions(name: str) -> None:
    system = make_system(name)
    score = HeldOut(system, 10)(Chance(system.action_size))
    assert score["ratio"] > 1.0
    assert 0.0 < score["violations"] <= 1.0


def test_learning_in_one_place_takes_what_all_clients_together_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the plan names samples their sum, else everything."""
    plans: list[Any] = []

    class Spy:
        def round(self, plan: Any) -> Any:
            plans.append(plan)
            return Progress(1, 0.5, 0.25, *(np.zeros(1) for _ in range(4)))

    options = {"learning": "live", "twins": 1, "rounds": 2, "task_options": '{"model": "cnn"}', "num_vehicles": 3}
    plan = make_plan("split_point", None, {**options, "methods": ["exact"]})
    build = Task.build

    def spied(self: Task, name: str, *arguments: Any, **options: Any) -> Any:
        return Spy() if name == CENTRALIZED else build(self, name, *arguments, **options)

    monkeypatch.setattr(Task, "build", spied)
    (row,) = run_chunk(plan, [Item(CENTRALIZED, 0, 0)])
    assert row.learned == {"loss": [0.5, 0.5], "accuracy": [0.25, 0.25], "bytes": [0.0, 0.0]}
    assert set(row.series) >= {"round_time", "energy", "compute_time", "served"}
    system = plan.build_system()
    state = system.start(system.draw(numbers(0, 0, 0)))
    wanted = system.plan(state, SOLVERS["split_point"]["exact"](system, state)).samples.sum()
    assert [each.samples.tolist() for each in plans] == [[wanted], [wanted]]
    whole = SplitPointSystem.plan
    monkeypatch.setattr(
        SplitPointSystem, "plan", lambda self, s, d: dataclasses.replace(whole(self, s, d), samples=None)
    )
    run_chunk(plan, [Item(CENTRALIZED, 0, 0)])
    assert plans[-1].samples is None


@pytest.mark.parametrize(
    ("system", "params", "options"),
    [
        ("split_point", {"num_vehicles": 3}, {"model": "cnn", "partition": "dirichlet"}),
        ("quantization", {"num_clients": 3, "num_channels": 2}, {"partition": "dirichlet"}),
    ],
)
def test_live_learning_of_other_systems_is_reported(
    system: str, params: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    values = {"learning": "live", "twins": 2, "rounds": 2, "jobs": 1, "methods": ["exact", "random"], **params}
    plan = make_plan(system, None, {**values, "task_options": json.dumps(options), "output": str(tmp_path)})
    store = Store(tmp_path, plan.identity())
    run(plan, store)
    write_report(tmp_path, Evaluation(plan, store.rows), "command")
    result = json.loads((tmp_path / "results.json").read_text())
    assert [line["method"] for line in result["learning"]] == ["exact", "random", CENTRALIZED]
    first = result["learning"][0]
    energy = np.mean([sum(store.rows[Item("exact", 0, twin)].series["energy"]) for twin in (0, 1)])
    assert first["energy"] == pytest.approx(energy)
    assert first["megabytes"] > 0.0
    for name in ("learning", "accuracy_cost", "breakdown"):
        assert np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")).std() > 5


def test_a_method_named_by_a_path_writes_within_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a" / "b" / "c"
    (tmp_path / "x").mkdir()
    place.mkdir(parents=True)
    shutil.copy(find_weights("association-sequential"), tmp_path / "x" / "w.safetensors")
    monkeypatch.chdir(place)
    before = {path for path in tmp_path.rglob("*") if place not in path.parents}
    method = "d3qn:../../../x/w.safetensors"
    main(["association", "--methods", "greedy", method, "--twins", "2", "--output", "results", "--jobs", "1"])
    assert {path for path in tmp_path.rglob("*") if place not in path.parents} == before
    assert {path.name for path in place.iterdir()} == {"results"}
    runs = sorted(path.name for path in (place / "results" / "tensorboard").iterdir())
    assert runs[1] == "greedy"
    assert runs[0].startswith("d3qn_.._.._.._x_w.safetensors-")
