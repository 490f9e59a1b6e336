"""Procedures against plain loops, the identities between them, and what they refuse."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from federated_oracle import apart, average, cloud_edge_client, fed_avg, sgd
from fedtwin.federated.data.dataset import Dataset, digits
from fedtwin.federated.data.population import Population
from fedtwin.federated.engine.work import TrainingDiverged
from fedtwin.federated.models.parameters import take
from fedtwin.federated.models.registry import make_model
from fedtwin.federated.models.split_model import SplitModel
from fedtwin.federated.plan import CloudEdgeClientPlan, Plan
from fedtwin.federated.privacy import Privacy, spent_epsilon
from fedtwin.federated.procedure import LocalSettings
from fedtwin.federated.procedures.cloud_edge_client import CloudEdgeClient, CloudEdgeClientSettings
from fedtwin.federated.procedures.fedavg import FedAvg, FedAvgSettings
from fedtwin.federated.procedures.fedsgd import FedSGD
from fedtwin.federated.procedures.split import SplitLearning
from fedtwin.federated.procedures.splitfed import SplitFed
from scipy.stats import norm
from torch import Tensor, nn

RATE, BATCH = 0.1, 16
SIZES = (40, 7, 33, 16, 1)
TRAIN, HELD_OUT = digits().split()
PARTS = [np.arange(sum(SIZES[:n]), sum(SIZES[: n + 1])) for n in range(len(SIZES))]
CLIENTS = len(PARTS)


def population(parts: list[np.ndarray] = PARTS, seed: int = 3) -> Population:
    return Population(TRAIN, parts, seed=seed)


def model(name: str = "mlp", activation: str = "tanh") -> Any:
    """Smooth: a rectifier on its edge may turn a rounding error into one of 1e-4."""
    return make_model(name, (1, 8, 8), 10, seed=1, activation=activation)


def build(kind: type[Any], name: str = "mlp", parts: list[np.ndarray] = PARTS, **options: Any) -> Any:
    extra = {"num_servers": options.pop("num_servers")} if "num_servers" in options else {}
    batch = {"batch": BATCH} if issubclass(kind.settings_type, LocalSettings) else {}
    settings = kind.settings_type(learning_rate=RATE, **{**batch, **options})
    return kind(model(name), population(parts), HELD_OUT, settings, **extra)


def orders(rounds: int, parts: list[np.ndarray] = PARTS, samples: np.ndarray | None = None) -> list[list[Tensor]]:
    """What every client visits in each round, from the population's own streams."""
    source = population(parts)
    counts = source.sizes if samples is None else samples
    return [
        [torch.from_numpy(source.next_samples(n, int(c), r * int(c))) for n, c in enumerate(counts)]
        for r in range(rounds)
    ]


def close(a: Mapping[str, Tensor], b: Mapping[str, Tensor], limit: float = 1e-6) -> None:
    assert a.keys() == b.keys()
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < limit


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("way", ["auto", "looped", "mapped"])
def test_fed_avg_is_the_plain_loop(name: str, way: str) -> None:
    procedure, plain = build(FedAvg, name, way=way), model(name)
    for order in orders(3):
        procedure.round()
        plain = fed_avg(plain, TRAIN, order, RATE, BATCH)
    assert apart(plain, procedure.parameters) < 1e-6


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("way", ["auto", "looped", "mapped"])
def test_fed_prox_is_the_plain_loop_and_without_its_term_fed_avg(name: str, way: str) -> None:
    procedure, plain = build(FedAvg, name, way=way, proximal=0.5), model(name)
    for order in orders(2):
        procedure.round()
        plain = fed_avg(plain, TRAIN, order, RATE, BATCH, mu=0.5)
    assert apart(plain, procedure.parameters) < 1e-6
    averaging, without = build(FedAvg, name, way=way), build(FedAvg, name, way=way, proximal=0.0)
    averaging.round()
    without.round()
    close(averaging.parameters, without.parameters)
    assert apart(plain, averaging.parameters) > 1e-4


def test_local_epochs_visit_all_samples_again() -> None:
    procedure = build(FedAvg, local_epochs=2, batch=5)
    first, second = orders(2)
    local = []
    for a, b in zip(first, second, strict=True):
        own = model()
        for order in (a, b):
            sgd(own, TRAIN, order, RATE, 5)
        local.append(own)
    procedure.round()
    assert apart(average(model(), local, SIZES), procedure.parameters) < 1e-6


def test_fed_sgd_is_one_step_with_the_mean_gradient() -> None:
    procedure, plain = build(FedSGD), model()
    procedure.round()
    whole = torch.from_numpy(np.concatenate(PARTS))
    sgd(plain, TRAIN, whole, RATE, len(whole))
    assert apart(plain, procedure.parameters) < 1e-6


def test_one_client_is_central_gradient_descent() -> None:
    whole = [np.concatenate(PARTS)]
    procedure, plain = build(FedAvg, parts=whole), model()
    for (order,) in orders(2, whole):
        procedure.round()
        sgd(plain, TRAIN, order, RATE, BATCH)
    assert apart(plain, procedure.parameters) < 1e-6


def test_chunks_of_clients_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, chunked = build(FedAvg), build(FedAvg)
    whole.round()
    monkeypatch.setattr("fedtwin.federated.procedures.fedavg.CHUNK_BYTES", 160_000)
    chunked.round()
    close(whole.parameters, chunked.parameters)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("cut", [1, 2])
def test_sequential_split_learning_is_training_the_whole_model_client_after_client(name: str, cut: int | None) -> None:
    procedure, plain = build(SplitLearning, name, cut=cut), model(name)
    for order in orders(2):
        procedure.round()
        for own in order:
            sgd(plain, TRAIN, own, RATE, BATCH)
    assert apart(plain, {name: p.detach() for name, p in joined(procedure, plain).items()}) < 1e-5


def joined(procedure: Any, plain: nn.Module) -> dict[str, Tensor]:
    trained = list(procedure.trained_model().parameters())
    return {name: value for (name, _), value in zip(plain.named_parameters(), trained, strict=True)}


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("cut", [1, 2, None])
def test_parallel_split_learning_averaged_is_fed_avg_wherever_the_cut(name: str, cut: int | None) -> None:
    cut = len(model(name)) if cut is None else cut
    procedure, plain = build(SplitFed, name, cut=cut), model(name)
    for order in orders(2):
        procedure.round()
        plain = fed_avg(plain, TRAIN, order, RATE, BATCH)
    assert apart(plain, joined(procedure, plain)) < 1e-5


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_cloud_edge_client_learning_is_algorithm_1(name: str) -> None:
    server = np.array([2, 0, 2, -1, 0])
    procedure = build(CloudEdgeClient, name, cut=1)
    head, body = model(name).split(1)
    heads = [head] * CLIENTS
    for order in orders(2):
        progress = procedure.round(Plan(server))
        heads, body = cloud_edge_client(heads, body, TRAIN, order, server, RATE, BATCH)
    assert apart(body, procedure.bodies) < 1e-6
    for client, own in enumerate(heads):
        assert apart(own, take(procedure.heads, client)) < 1e-6
    assert np.isnan(progress.client_loss[3])
    assert np.isfinite(np.delete(progress.client_loss, 3)).all()
    assert apart(head, take(procedure.heads, 3)) == 0
    assert apart(head, take(procedure.heads, 0)) > 1e-4


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_one_edge_server_with_shared_heads_is_parallel_split_learning_with_one_server_part(name: str) -> None:
    edge = build(CloudEdgeClient, name, head="shared", num_servers=1)
    split = build(SplitFed, name, server_part="shared")
    for _ in range(2):
        ours, theirs = edge.round(), split.round()
    close(edge.bodies, split.bodies)
    close(take(edge.heads, 4), split.heads)
    assert ours.accuracy == pytest.approx(theirs.accuracy)
    np.testing.assert_array_equal(ours.uplink_bytes, theirs.uplink_bytes)


def test_shared_server_part_is_algorithm_1_with_heads_averaged() -> None:
    procedure = build(SplitFed, server_part="shared")
    head, body = model().split(1)
    order = orders(1)[0]
    procedure.round()
    heads, body = cloud_edge_client([head] * CLIENTS, body, TRAIN, order, [0] * CLIENTS, RATE, BATCH)
    assert apart(body, procedure.bodies) < 1e-6
    assert apart(average(head, heads, SIZES), procedure.heads) < 1e-6


@pytest.mark.parametrize("way", ["stacked", "looped"])
def test_stacked_clients_are_looped_clients(way: str) -> None:
    reference = {}
    for kind, options in ((FedAvg, {"proximal": 0.3}), (SplitFed, {"server_part": "shared"}), (CloudEdgeClient, {})):
        a, b = build(kind, **options, way=way), build(kind, **options)
        for _ in range(3):
            a.round()
            b.round()
        close(a.tensors(), b.tensors())
        reference[kind] = a
    assert len(reference) == 3


def test_heads_are_averaged_among_those_that_agree() -> None:
    agree = np.array([True, False, True, False, False])
    procedure = build(CloudEdgeClient)
    server = np.zeros(CLIENTS, np.int64)
    head, body = model().split(1)
    order = orders(1)[0]
    procedure.round(CloudEdgeClientPlan(server, share_head=agree))
    heads, _ = cloud_edge_client([head] * CLIENTS, body, TRAIN, order, server, RATE, BATCH)
    mean = average(head, [heads[0], heads[2]], [SIZES[0], SIZES[2]])
    for client in range(CLIENTS):
        expected = mean if agree[client] else heads[client]
        assert apart(expected, take(procedure.heads, client)) < 1e-6


def test_a_frozen_head_stays_and_only_features_are_sent() -> None:
    procedure = build(CloudEdgeClient, "cnn", head="frozen", cut=2)
    head, body = model("cnn").split(2)
    server = np.array([0, 1, 1, 0, 3])
    for order in orders(2):
        progress = procedure.round(Plan(server))
        _, body = cloud_edge_client([Frozen(head)] * CLIENTS, body, TRAIN, order, server, RATE, BATCH)
    assert apart(body, procedure.bodies) < 1e-6
    assert progress.uplink_bytes.tolist() == [size * (32 * 2 * 2 * 4 + 8) for size in SIZES]
    assert progress.downlink_bytes.tolist() == [0] * CLIENTS
    with torch.no_grad():
        logits = nn.Sequential(head, body)(HELD_OUT.inputs)
    assert progress.accuracy == pytest.approx(float((logits.argmax(-1) == HELD_OUT.labels).double().mean()))


class Frozen(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head, self.scale = [head], nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head[0](x).detach() + 0 * self.scale
        return features


def test_bytes_are_those_of_the_tensors_that_cross_the_cut() -> None:
    split = build(SplitFed, cut=1).round()
    head_bytes = (64 * 128 + 128) * 4
    assert split.uplink_bytes.tolist() == [size * (128 * 4 + 8) + head_bytes for size in SIZES]
    assert split.downlink_bytes.tolist() == [size * 128 * 4 + head_bytes for size in SIZES]
    whole = build(FedAvg).round()
    assert whole.uplink_bytes.tolist() == [(64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10) * 4] * CLIENTS


def test_a_plan_says_how_many_samples_and_who() -> None:
    samples = np.array([20, 20, 5, 16, 3])
    procedure, plain = build(FedAvg), model()
    server = np.array([0, 0, 0, -1, 0])
    given = np.array([1.0, 2.0, 0.5, 9.0, 1.0])
    for order in orders(2, samples=samples):
        progress = procedure.round(Plan(server, samples=samples, weights=given))
        present = [order[n] for n in (0, 1, 2, 4)]
        plain = fed_avg(plain, TRAIN, present, RATE, BATCH, weights=[1.0, 2.0, 0.5, 1.0])
    assert apart(plain, procedure.parameters) < 1e-6
    assert progress.uplink_bytes[3] == 0
    assert procedure.population.visited.tolist() == [40, 40, 10, 0, 6]


def test_a_client_visits_every_sample_before_it_visits_one_again() -> None:
    source = population()
    taken = [source.next_samples(0, 7, start) for start in range(0, 84, 7)]
    joined = np.concatenate(taken)
    for epoch in range(2):
        assert sorted(joined[40 * epoch : 40 * epoch + 40]) == sorted(PARTS[0])
    assert joined[:40].tolist() != joined[40:80].tolist()
    assert population(seed=4).next_samples(0, 40, 0).tolist() != joined[:40].tolist()


def test_a_round_without_clients_changes_nothing() -> None:
    procedure = build(CloudEdgeClient)
    before = {name: value.clone() for name, value in procedure.tensors().items()}
    progress = procedure.round(Plan(np.full(CLIENTS, -1)))
    close(procedure.tensors(), before, 1e-30)
    assert np.isnan(progress.client_loss).all()
    assert np.isfinite(progress.loss)


@pytest.mark.parametrize("kind", [FedAvg, SplitLearning, SplitFed, CloudEdgeClient])
def test_state_goes_on_exactly(kind: type[Any]) -> None:
    plan = Plan(np.array([0, 0, -1, 0, 0]))
    if kind is CloudEdgeClient:
        plan = CloudEdgeClientPlan(plan.server, share_head=np.array([True, False, False, True, True]))
    whole, first, second = (build(kind) for _ in range(3))
    for _ in range(4):
        whole.round(plan)
    for _ in range(2):
        first.round(plan)
    second.load_state_dict(*first.state_dict())
    for _ in range(2):
        last = second.round(plan)
    close(whole.tensors(), second.tensors(), 1e-30)
    assert last.round == 4
    assert whole.population.visited.tolist() == second.population.visited.tolist()


def test_a_state_stays_what_it_was() -> None:
    procedure = build(FedAvg)
    procedure.round()
    state = procedure.state_dict()
    first = procedure.round().loss
    procedure.load_state_dict(*state)
    assert procedure.round().loss == first
    with pytest.raises(ValueError, match="the state is one of 5 clients, must be of 2"):
        FedAvg(model(), population(PARTS[:2]), HELD_OUT).load_state_dict(*state)


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]
        return result


def test_models_that_only_look_dense_are_looped() -> None:
    shared = nn.Tanh()
    for block in (
        Residual(nn.Linear(64, 64), nn.Tanh()),
        nn.Sequential(nn.Linear(64, 64), shared, nn.Linear(64, 64), shared),
    ):
        own = SplitModel(nn.Sequential(nn.Flatten(), block), nn.Linear(64, 10))
        settings = FedAvgSettings(learning_rate=RATE, batch=BATCH)
        procedure = FedAvg(own, population(), HELD_OUT, settings)
        plain: Any = own
        for order in orders(2):
            procedure.round()
            plain = fed_avg(plain, TRAIN, order, RATE, BATCH)
        assert apart(plain, procedure.parameters) < 1e-6
        with pytest.raises(ValueError, match="way is stacked, but the model has other layers"):
            FedAvg(own, population(), HELD_OUT, FedAvgSettings(way="stacked")).round()


def test_state_of_another_model_is_refused() -> None:
    other = FedAvg(make_model("mlp", (1, 8, 8), 10, hidden=(5,)), population(), HELD_OUT)
    with pytest.raises(ValueError, match=r"parameter 0\.1\.weight is \(128, 64\), must be \(5, 64\)"):
        other.load_state_dict(*build(FedAvg).state_dict())


@pytest.mark.parametrize("kind", [FedAvg, SplitLearning, SplitFed, CloudEdgeClient])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_loss_that_is_not_finite_names_client_and_round_and_changes_nothing(kind: type[Any], name: str) -> None:
    own = Population(dataclasses.replace(TRAIN, inputs=TRAIN.inputs.clone()), PARTS)
    procedure = kind(model(name), own, HELD_OUT, kind.settings_type(learning_rate=RATE, batch=BATCH))
    procedure.round()
    before = {key: value.clone() for key, value in procedure.tensors().items()}
    own.data.inputs[PARTS[2]] = torch.nan
    with pytest.raises(TrainingDiverged, match=r"round 1: the loss of client_2 is nan, must be finite"):
        procedure.round()
    own.data.inputs[PARTS[2]] = 0.0
    close(procedure.tensors(), before, 1e-30)
    assert procedure.rounds == 1
    procedure.round()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(np.zeros(6, np.int64)), "the plan names 6 clients, must be 5: client_5 is unknown"),
        (Plan(np.zeros(4, np.int64)), "the plan names 4 clients, must be 5"),
        (Plan(np.array([0, 0, 4, 0, 0])), r"server of client_2 is 4, must be in -1\.\.3"),
        (Plan(np.zeros(5)), "server is float64"),
        (
            Plan(np.zeros(5, np.int64), samples=np.array([1, 1, 1, 0, 1])),
            "samples of client_3 is 0, must be at least 1",
        ),
        (Plan(np.zeros(5, np.int64), weights=np.array([1, np.nan, 1, 0, 1])), "weights of client_1 is nan"),
        (Plan(np.zeros(5, np.int64), weights=np.zeros(5)), "must not all be 0"),
        (Plan(np.zeros(5, np.int64), weights=np.full(5, np.inf)), "weights of client_0 is inf, must be at least 0 and"),
        (CloudEdgeClientPlan(np.zeros(5, np.int64), share_head=np.array([0, 0, 0, 0, 1])), "share_head is int64"),
        (
            CloudEdgeClientPlan(np.zeros(5, np.int64), share_head=np.array([True])),
            r"share_head is bool \(1,\), must be booleans \(5,\)",
        ),
    ],
)
def test_plans_that_do_not_fit(plan: Plan, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(CloudEdgeClient).round(plan)


def test_populations_and_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="client_1 has no samples"):
        Population(TRAIN, [np.arange(3), np.arange(0)])
    with pytest.raises(ValueError, match="is given to client_0 and client_1, must be to one"):
        Population(TRAIN, [np.arange(3), np.arange(1, 4)])
    with pytest.raises(ValueError, match=r"client_0 holds sample 99999, must be in 0\.\."):
        Population(TRAIN, [np.array([0, 99999])])
    with pytest.raises(ValueError, match=r"cut is 9, must be an integer in 0\.\.3: the model has 3 blocks"):
        build(SplitFed, cut=9)
    with pytest.raises(ValueError, match="held-out data have 11 classes, must be 10"):
        FedAvg(model(), population(), dataclasses.replace(HELD_OUT, num_classes=11))
    with pytest.raises(ValueError, match="epsilon is 0"):
        Privacy(epsilon=0.0)
    with pytest.raises(ValueError, match=r"labels reach from 0 to 9, must be in 0\.\.8"):
        Dataset(TRAIN.inputs, TRAIN.labels, 9)


def test_privacy_clips_disturbs_and_is_accounted_for() -> None:
    pytest.importorskip("dp_accounting")
    privacy = Privacy(epsilon=2.0, delta=1e-5, rounds=4, clip=0.01)
    options = CloudEdgeClientSettings(learning_rate=RATE, batch=BATCH)
    procedure = CloudEdgeClient(model(), population(), HELD_OUT, options, privacy=privacy)
    agree = np.array([True, True, False, False, False])
    for _ in range(4):
        procedure.round(CloudEdgeClientPlan(np.zeros(CLIENTS, np.int64), share_head=agree))
    before = {name: value.clone() for name, value in procedure.tensors().items()}
    with pytest.raises(
        ValueError, match="client_0 has given its head away 4 times, must be at most 4: its epsilon of 2"
    ):
        procedure.round(CloudEdgeClientPlan(np.zeros(CLIENTS, np.int64), share_head=agree))
    close(procedure.tensors(), before, 1e-30)
    spent = procedure.epsilon()
    assert spent[:2] == pytest.approx([2.0, 2.0], rel=1e-3)
    assert spent[2:].tolist() == [0, 0, 0]
    change = {"w": torch.full((2, 40_000), 1.0)}
    told = privacy.disturb(change, 0, 0, np.array([0, 1]))["w"]
    assert float(told.std()) == pytest.approx(privacy.noise_multiplier * 0.01, rel=0.02)
    assert float(told.mean()) == pytest.approx(0.01 / 200, rel=5)
    assert not torch.equal(told[0], told[1])
    noise = Privacy(epsilon=100.0, rounds=1).noise_multiplier
    quiet = Privacy(epsilon=100.0, rounds=1, clip=2.0).disturb(change, 0, 0, np.array([0, 1]))["w"]
    assert quiet.norm(dim=1).tolist() == pytest.approx([2.0 * (1 + 4e4 * noise**2) ** 0.5] * 2, rel=0.02)
    with pytest.raises(ValueError, match="noise_multiplier is 0"):
        spent_epsilon(0.0, 1, 1e-5)


def test_epsilon_agrees_with_the_closed_form_of_the_gaussian_mechanism() -> None:
    pytest.importorskip("dp_accounting")
    noise, releases, delta = 3.0, 9, 1e-5
    epsilon = spent_epsilon(noise, releases, delta)
    ratio = releases**0.5 / noise
    left, right = (norm.cdf(sign * ratio / 2 - epsilon / ratio) for sign in (1, -1))
    assert float(left - np.exp(epsilon) * right) == pytest.approx(delta, rel=1e-6)


def test_digits_are_learned() -> None:
    whole = np.arange(len(TRAIN))
    parts = np.array_split(np.random.default_rng(0).permutation(whole), 10)
    settings = CloudEdgeClientSettings(learning_rate=0.1, batch=16)
    procedure = CloudEdgeClient(model(), Population(TRAIN, parts), HELD_OUT, settings)
    server = np.arange(10) % 4
    for _ in range(30):
        progress = procedure.round(Plan(server))
    assert progress.accuracy > 0.9
    assert progress.loss < 0.5
