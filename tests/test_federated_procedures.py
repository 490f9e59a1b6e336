"""What holds for every procedure by name: its own settings, options and plan, and limits that nothing narrows."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedtwin.federated.data.dataset import digits
from fedtwin.federated.data.population import Population
from fedtwin.federated.engine.quantized_channel import QuantizedChannel
from fedtwin.federated.models.registry import make_model
from fedtwin.federated.plan import AdaptiveSplitPlan, CloudEdgeClientPlan, Plan, QuantizedSplitPlan, per_client
from fedtwin.federated.procedure import LearningSettings
from fedtwin.federated.procedures import PROCEDURES
from fedtwin.federated.run import RunOptions, build, parse
from fedtwin.federated.task import Task, declared, make_task
from fedtwin.twin.precision import FEWEST_BITS, WHOLE_BITS

CLIENTS = 4
EVERYONE = np.zeros(CLIENTS, np.int64)
PLANS: tuple[Plan, ...] = (
    AdaptiveSplitPlan(EVERYONE, cut=np.ones(CLIENTS, np.int64)),
    CloudEdgeClientPlan(EVERYONE, share_head=np.ones(CLIENTS, np.bool_)),
    QuantizedSplitPlan(EVERYONE, bits=np.full(CLIENTS, 8)),
)
every = pytest.mark.parametrize("name", PROCEDURES)


def build_one(name: str, **options: Any) -> Any:
    return make_task("digits").build(name, CLIENTS, seed=0, **options)


@every
def test_a_procedure_is_built_by_name_with_settings_of_its_own(name: str) -> None:
    procedure, kind = build_one(name, learning_rate=0.2), PROCEDURES[name]
    assert type(procedure) is kind
    assert type(procedure.settings) is kind.settings_type
    assert procedure.settings.learning_rate == 0.2
    assert procedure.reports() == {}
    assert issubclass(kind.plan_type, Plan)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(procedure.settings, "learning_rate", 1.0)  # noqa: B010
    own = [each.settings_type for each in PROCEDURES.values()]
    assert len(set(own)) == len(own)


@every
def test_settings_that_a_procedure_does_not_have_are_refused(name: str) -> None:
    kind = PROCEDURES[name]
    foreign = {"bits": 8, "head": "shared", "server_part": "shared", "cut": 2, "batch": 8}
    for option in foreign.keys() - declared(kind.settings_type).keys():
        with pytest.raises(ValueError, match=f"unknown option of {name} '{option}'; did you mean '"):
            build_one(name, **{option: foreign[option]})
        task = make_task("digits", **{option: foreign[option]})
        if kind.reference:
            task.build(name, CLIENTS, 0)
        else:
            with pytest.raises(ValueError, match=f"unknown setting of {name} '{option}'; did you mean '"):
                task.build(name, CLIENTS, 0)
    with pytest.raises(ValueError, match=r"settings are LearningSettings, must be"):
        kind(make_model("mlp", (1, 8, 8), 10), Population(digits(), [np.arange(9)]), digits(), LearningSettings())


@every
def test_plans_that_say_what_a_procedure_does_not_read_are_refused(name: str) -> None:
    procedure = build_one(name)
    server = np.zeros(procedure.num_clients, np.int64)
    for plan in PLANS:
        (field,) = [field.name for field in dataclasses.fields(plan)][3:]
        if type(plan) is not procedure.plan_type:
            with pytest.raises(ValueError, match=f"the plan says {field}, which .* does not read: it reads server"):
                procedure.round(dataclasses.replace(plan, server=server))
            unsaid: Any = {"server": server, field: None}
            procedure.round(dataclasses.replace(plan, **unsaid))
    refused = [plan for plan in PLANS if type(plan) is not procedure.plan_type]
    assert procedure.round(Plan(server)).round == 1 + len(refused)


def test_names_that_do_not_exist_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown parameter 'bitz'; did you mean 'bits'"):
        make_task("digits", bitz=4)
    with pytest.raises(ValueError, match="unknown procedure 'fedavgg'; did you mean 'fedavg'"):
        build_one("fedavgg")
    with pytest.raises(ValueError, match="unknown option of cloud_edge_client 'num_server'; did you mean 'num_serv"):
        build_one("cloud_edge_client", num_server=2)
    with pytest.raises(ValueError, match="unknown option of fedavg 'num_servers'"):
        build_one("fedavg", num_servers=2)


def test_settings_that_no_procedure_takes_are_refused_when_the_task_is_made() -> None:
    for bits in (FEWEST_BITS - 1, WHOLE_BITS + 1):
        with pytest.raises(ValueError, match=f"bits is {bits}, must be at least 2 and at most 32"):
            make_task("digits", bits=bits)
    with pytest.raises(ValueError, match="the task has the settings bits, head, must be such that one procedure has"):
        make_task("digits", bits=4, head="shared")
    with pytest.raises(ValueError, match="learning_rate is 0, must be above 0"):
        make_task("digits", learning_rate=0)
    with pytest.raises(ValueError, match=r"epsilon is 101\.0, must be at least 0 and at most 100"):
        make_task("digits", epsilon=101.0, head="shared")


def test_a_named_task_gives_only_what_a_procedure_reads() -> None:
    task = make_task("clips", clips=64, frame_size=8, learning_rate=0.25)
    settings: Any = task.settings("cloud_edge_client")
    assert (settings.head, settings.batch, settings.learning_rate) == ("frozen", 4, 0.25)
    assert task.settings("fedsgd").learning_rate == 0.25
    overridden: Any = make_task("clips", head="shared").settings("cloud_edge_client")
    assert overridden.head == "shared"
    assert make_task("clips").values()["head"] == "frozen"
    assert hash(task) == hash(make_task("clips", clips=64, frame_size=8, learning_rate=0.25))
    assert json.loads(json.dumps(task.values()))["learning_rate"] == 0.25


def test_a_reference_learns_from_tasks_of_other_procedures() -> None:
    task = make_task("digits", batch=8, proximal=0.5, bits=4)
    settings: Any = task.build("centralized", CLIENTS, 0).settings
    assert settings.batch == 8 * CLIENTS
    assert not hasattr(settings, "proximal")


def test_a_command_line_has_the_options_of_its_procedure(capsys: pytest.CaptureFixture[str]) -> None:
    task, options = parse(["--procedure", "quantized_split", "--bits", "4", "--clients", "3", "--alpha", "0.2"])
    settings: Any = task.settings("quantized_split")
    assert (settings.bits, settings.learning_rate, task.alpha, options.clients) == (4, 0.1, 0.2, 3)
    for foreign in (["--bits", "4"], ["--servers", "2"]):
        with pytest.raises(SystemExit):
            parse(["--procedure", "fedavg", *foreign])
    assert "--servers" in capsys.readouterr().err
    procedure, plan = build(*parse(["--clients", "5", "--servers", "2"]))
    assert procedure.num_servers == 2
    assert plan.server.tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(ValueError, match="rounds are 5, must be a multiple of score_every = 2"):
        build(make_task("digits", score_every=2), RunOptions(rounds=5))


# Limits that nothing narrows in silence


def test_samples_are_whole() -> None:
    with pytest.raises(ValueError, match=r"samples of client_1 are float64 \(1,\), must be integers"):
        Population(digits(), [np.arange(3), np.array([3.5])])
    with pytest.raises(ValueError, match="samples are float64, must be integers"):
        Population(digits(), [np.arange(3)]).batches(np.array([0]), samples=np.array([2.5]), batch=2, epochs=1)


@pytest.mark.parametrize(("bits", "shown"), [(1, "1"), (33, "33"), (8.5, r"8\.5")])
def test_a_channel_takes_bits_within_their_limits(bits: float, shown: str) -> None:
    with pytest.raises(ValueError, match=rf"bits are {shown}, must be an integer in 2\.\.32"):
        QuantizedChannel(np.arange(2), np.array([bits, bits]))
    with pytest.raises(ValueError, match="unknown span 'tensors'; did you mean 'tensor'"):
        QuantizedChannel(np.arange(1), np.array([8]), span="tensors")  # type: ignore[arg-type]


def test_images_too_small_for_a_model_are_refused() -> None:
    with pytest.raises(ValueError, match="images are 3 x 8 pixels, must be at least 4 x 4"):
        make_model("cnn", (1, 3, 8), 10)
    with pytest.raises(ValueError, match="images are 8 x 2 pixels, must be at least 4 x 4"):
        make_model("cnn_lstm", (10, 1, 8, 2), 4)
    assert make_model("cnn", (1, 4, 4), 10)(digits().inputs[:1, :, :4, :4]).shape == (1, 10)


def test_what_would_not_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 32, must be 0 for clips: frame_size = 16 is theirs"):
        make_task("clips", size=32)
    plan = CloudEdgeClientPlan(EVERYONE, share_head=np.ones(CLIENTS, np.bool_))
    with pytest.raises(ValueError, match="the plan says share_head, but head is shared, must be private"):
        build_one("cloud_edge_client", head="shared").round(plan)
    with pytest.raises(ValueError, match="the plan says weights, but clients train one after the other"):
        build_one("split").round(Plan(EVERYONE, weights=np.ones(CLIENTS)))
    with pytest.raises(ValueError, match=r"num_servers is 2\.0, must be an integer of at least 1"):
        build_one("cloud_edge_client", num_servers=2.0)
    with pytest.raises(ValueError, match="num_cuts is 4, must be at most the 3 blocks of the task's model mlp"):
        build_one("adaptive_split", num_cuts=4)


def test_a_plan_of_ones_own_declares_its_limits() -> None:
    @dataclasses.dataclass(frozen=True)
    class Waiting(Plan):
        delay: np.ndarray | None = per_client("numbers", at_least=0, at_most=2.5)

    Waiting(EVERYONE, delay=np.full(CLIENTS, 2.5)).check(CLIENTS, 1)
    with pytest.raises(ValueError, match=r"delay of client_1 is 2\.6, must be in 0\.\.2\.5"):
        Waiting(EVERYONE, delay=np.array([0, 2.6, 0, 0])).check(CLIENTS, 1)


def test_a_dataset_loads_no_environment_and_no_command_line() -> None:
    code = "import sys, fedtwin.federated.data.readers; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "fedtwin.federated.data.clips" in loaded
    assert not {"gymnasium", "pettingzoo", "tyro", "fedtwin.envs", "fedtwin.evaluation"} & set(loaded)


def test_tasks_carry_settings_as_values(tmp_path: Path) -> None:
    task = Task.create({"model": "cnn", "cut": 2}, {"cut": 3, "batch": 4})
    assert (task.model, task.given, task.named) == ("cnn", (("cut", 2),), (("cut", 3), ("batch", 4)))
    np.savez(tmp_path / "set.npz", inputs=np.zeros((6, 1, 8, 8), np.float32), labels=np.arange(6) % 2)
    images: Any = make_task(str(tmp_path / "set.npz"), batch=2).settings("fedavg")
    assert (images.batch, images.learning_rate) == (2, 0.05)
