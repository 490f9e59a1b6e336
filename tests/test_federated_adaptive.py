"""Adaptive split federated learning against a plain loop, and the identities that hold whatever the cuts."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from federated_oracle import apart, average, fed_avg, sgd
from fedtwin.federated.data.dataset import digits
from fedtwin.federated.data.population import Population
from fedtwin.federated.engine.work import Segment, TrainingDiverged
from fedtwin.federated.models.parameters import parameters_of
from fedtwin.federated.models.profile import stored_profile
from fedtwin.federated.models.registry import make_model
from fedtwin.federated.models.split_model import SplitModel
from fedtwin.federated.plan import AdaptiveSplitPlan
from fedtwin.federated.procedures.adaptive_split import AdaptiveSplit, AdaptiveSplitSettings, divide, join
from fedtwin.federated.procedures.splitfed import SplitFed
from fedtwin.federated.task import make_task
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

RATE, BATCH = 0.1, 16
SIZES = (40, 7, 33, 16, 1)
TRAIN, HELD_OUT = digits().split()
PARTS = [np.arange(sum(SIZES[:n]), sum(SIZES[: n + 1])) for n in range(len(SIZES))]
CLIENTS = len(PARTS)
EVERYONE = np.zeros(CLIENTS, np.int64)
BLOCKS = {"mlp": 3, "cnn": 5}
CUTS = {"mlp": np.array([1, 3, 2, 1, 3]), "cnn": np.array([2, 5, 1, 4, 2])}
names = pytest.mark.parametrize("name", ["mlp", "cnn"])
server_parts = pytest.mark.parametrize("server_part", ["averaged", "shared"])


def model(name: str = "mlp") -> SplitModel:
    """Smooth: a rectifier on its edge may turn a rounding error into one of 1e-4."""
    return make_model(name, (1, 8, 8), 10, seed=1, activation="tanh")


def build(kind: type[Any] = AdaptiveSplit, name: str = "mlp", parts: list[np.ndarray] = PARTS, **options: Any) -> Any:
    settings = kind.settings_type(learning_rate=RATE, **{"batch": BATCH, **options})
    return kind(model(name), Population(TRAIN, parts, seed=3), HELD_OUT, settings)


def orders(rounds: int, parts: list[np.ndarray] = PARTS) -> list[list[Tensor]]:
    """What every client visits in each round, from the population's own streams."""
    source = Population(TRAIN, parts, seed=3)
    return [
        [torch.from_numpy(source.next_samples(n, size, r * size)) for n, size in enumerate(source.sizes.tolist())]
        for r in range(rounds)
    ]


def weights(procedure: Any) -> list[Tensor]:
    """All parameters in the order of the model."""
    return [value.detach().clone() for value in procedure.trained_model().parameters()]


def furthest(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def adaptive_round(
    whole: SplitModel, order: Sequence[Tensor], cuts: Sequence[int], given: Sequence[float] | None = None
) -> tuple[SplitModel, list[dict[str, Tensor]]]:
    """One round with one server part: a plain loop over every client's blocks and the server's; one autograd call for
    each client's own loss and one for each block of the server.
    """
    given = [len(own) for own in order] if given is None else given
    before = [parameters_of(block) for block in whole]
    vehicles = [[dict(before[b]) for b in range(cut)] for cut in cuts]
    server = [dict(block) for block in before]
    for first in range(0, max(map(len, order)), BATCH):
        present = [n for n in range(len(cuts)) if len(order[n]) > first]
        index = {n: order[n][first : first + BATCH] for n in present}
        for tensors in [*server, *(own for held in vehicles for own in held)]:
            for key, value in tensors.items():
                tensors[key] = value.detach().requires_grad_()
        losses: dict[int, Tensor] = {}
        for n in present:
            x = TRAIN.inputs[index[n]]
            for b, block in enumerate(whole):
                own = vehicles[n][b] if b < cuts[n] else server[b]
                x = torch.func.functional_call(block, own, (x,))
            losses[n] = cross_entropy(x, TRAIN.labels[index[n]], reduction="none")
        steps: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        for n in present:
            steps += [(own, gradient(losses[n].mean(), own)) for own in vehicles[n]]
        for b, own in enumerate(server):
            through = [losses[n] for n in present if cuts[n] <= b]
            if through:
                steps.append((own, gradient(torch.cat(through).mean(), own)))
        for own, slope in steps:
            for key in own:
                own[key] = (own[key] - RATE * slope[key]).detach()
    mean: Any = SplitModel(*(average_block(whole[b], b, vehicles, server, cuts, given) for b in range(len(whole))))
    return mean, [changes(before, own) for own in vehicles]


def gradient(loss: Tensor, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not own:
        return {}
    return dict(zip(own, torch.autograd.grad(loss, list(own.values()), retain_graph=True), strict=True))


def average_block(
    block: nn.Module, b: int, vehicles: Any, server: Any, cuts: Sequence[int], given: Sequence[float]
) -> nn.Module:
    copies = []
    for n, cut in enumerate(cuts):
        own = copy.deepcopy(block)
        own.load_state_dict(vehicles[n][b] if b < cut else server[b])
        copies.append(own)
    return average(block, copies, given)


def changes(before: Any, after: Any) -> dict[str, Tensor]:
    return {
        f"{b}.{key}": (value - before[b][key]).detach() for b, block in enumerate(after) for key, value in block.items()
    }


@names
@pytest.mark.parametrize("way", ["auto", "looped"])
def test_one_server_part_and_cuts_of_each_clients_own_are_the_plain_loop(name: str, way: str) -> None:
    procedure, plain = build(name=name, server_part="shared", way=way), model(name)
    for order in orders(2):
        progress = procedure.round(AdaptiveSplitPlan(EVERYONE, cut=CUTS[name]))
        plain, moved = adaptive_round(plain, order, CUTS[name].tolist())
    assert apart(plain, procedure.parameters) < 1e-6
    expected = [float(torch.cat([value.flatten() for value in own.values()]).norm()) for own in moved]
    assert progress.update_norm.tolist() == pytest.approx(expected, rel=1e-4)


def test_absent_clients_and_given_weights_count_as_in_the_plain_loop() -> None:
    server, given = np.array([0, -1, 0, 0, 0]), np.array([1.0, np.nan, 0.5, 3.0, 2.0])
    cut = np.array([2, 0, 1, 3, 1])
    procedure, plain, present = build(server_part="shared"), model(), [0, 2, 3, 4]
    progress = procedure.round(AdaptiveSplitPlan(server, weights=given, cut=cut))
    order = [orders(1)[0][n] for n in present]
    plain, _ = adaptive_round(plain, order, cut[present].tolist(), given[present].tolist())
    assert apart(plain, procedure.parameters) < 1e-6
    assert np.isnan(progress.client_loss[1])
    assert progress.uplink_bytes[1] == progress.downlink_bytes[1] == 0


@names
@server_parts
def test_one_cut_for_all_is_split_federated_learning(name: str, server_part: str) -> None:
    for cut in range(1, BLOCKS[name] + 1):
        own = build(name=name, server_part=server_part, cut=cut)
        named = build(name=name, server_part=server_part)
        split = build(SplitFed, name, server_part=server_part, cut=cut)
        for _ in range(2):
            ours, theirs = own.round(), split.round()
            named.round(AdaptiveSplitPlan(EVERYONE, cut=np.full(CLIENTS, cut)))
        assert furthest(weights(own), weights(split)) < (1e-6 if server_part == "shared" else 1e-30)
        assert furthest(weights(own), weights(named)) == 0
        np.testing.assert_allclose(ours.client_loss, theirs.client_loss, rtol=1e-5)
        np.testing.assert_allclose(ours.update_norm, theirs.update_norm, rtol=1e-4)
        np.testing.assert_array_equal(ours.uplink_bytes, theirs.uplink_bytes)
        np.testing.assert_array_equal(ours.downlink_bytes, theirs.downlink_bytes)


@names
@pytest.mark.parametrize("draw", range(3))
def test_averaged_server_parts_are_federated_averaging_whatever_the_cuts(name: str, draw: int) -> None:
    rng = np.random.default_rng(draw)
    procedure, plain = build(name=name, proximal=0.2), model(name)
    for order in orders(2):
        procedure.round(AdaptiveSplitPlan(EVERYONE, cut=rng.integers(1, BLOCKS[name] + 1, CLIENTS)))
        whole: Any = fed_avg(plain, TRAIN, order, RATE, BATCH, mu=0.2)
        plain = whole
    assert apart(plain, procedure.parameters) < 1e-5


@names
@server_parts
def test_one_client_with_any_cut_is_central_gradient_descent(name: str, server_part: str) -> None:
    whole = [np.concatenate(PARTS)]
    for cut in range(1, BLOCKS[name] + 1):
        procedure, plain = build(name=name, parts=whole, server_part=server_part), model(name)
        for (order,) in orders(2, whole):
            procedure.round(AdaptiveSplitPlan(np.zeros(1, np.int64), cut=np.array([cut])))
            sgd(plain, TRAIN, order, RATE, BATCH)
        assert apart(plain, procedure.parameters) < 1e-5


def test_stacked_and_looped_clients_agree_with_a_proximal_term() -> None:
    options: Any = {"server_part": "shared", "proximal": 0.5}
    one, other, without = build(**options), build(**options, way="looped"), build(server_part="shared")
    for procedure in (one, other, without):
        for _ in range(2):
            procedure.round(AdaptiveSplitPlan(EVERYONE, cut=CUTS["mlp"]))
    assert furthest(weights(one), weights(other)) < 1e-6
    assert furthest(weights(one), weights(without)) > 1e-4


@pytest.mark.parametrize("proximal", [0.0, 0.5])
def test_stacked_copies_of_blocks_are_looped_ones(proximal: float) -> None:
    stacked, looped = (build(server_part="shared", proximal=proximal, way=way) for way in ("auto", "looped"))
    stacked.whole = Segment(nn.Sequential(*stacked.model))
    assert stacked.way(Segment(nn.Sequential()), stacked.whole, alone=False) == "stacked"
    for procedure in (stacked, looped):
        for _ in range(2):
            procedure.round(AdaptiveSplitPlan(EVERYONE, cut=CUTS["mlp"]))
    assert 0 < furthest(weights(stacked), weights(looped)) < 1e-6


@server_parts
def test_bytes_are_those_of_each_clients_cut(server_part: str) -> None:
    progress = build(server_part=server_part).round(AdaptiveSplitPlan(EVERYONE, cut=CUTS["mlp"]))
    features = {1: 128, 2: 64, 3: 10}
    vehicle = {1: 64 * 128 + 128, 2: 64 * 128 + 128 + 128 * 64 + 64, 3: 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10}
    pairs = list(zip(SIZES, CUTS["mlp"].tolist(), strict=True))
    assert progress.uplink_bytes.tolist() == [size * (4 * features[c] + 8) + 4 * vehicle[c] for size, c in pairs]
    assert progress.downlink_bytes.tolist() == [size * 4 * features[c] + 4 * vehicle[c] for size, c in pairs]


@server_parts
def test_state_goes_on_exactly(server_part: str) -> None:
    plans = [AdaptiveSplitPlan(np.array([0, 0, -1, 0, 0]), cut=np.roll(CUTS["mlp"], shift)) for shift in range(4)]
    whole, first, second = (build(server_part=server_part) for _ in range(3))
    for plan in plans:
        whole.round(plan)
    for plan in plans[:2]:
        first.round(plan)
    second.load_state_dict(*first.state_dict())
    for plan in plans[2:]:
        second.round(plan)
    assert furthest(weights(whole), weights(second)) == 0


@server_parts
def test_a_round_that_fails_changes_nothing(server_part: str) -> None:
    procedure = build(server_part=server_part)
    procedure.round(AdaptiveSplitPlan(EVERYONE, cut=CUTS["mlp"]))
    before, kept = weights(procedure), procedure.population.data.inputs[PARTS[2]].clone()
    procedure.population.data.inputs[PARTS[2]] = torch.nan
    try:
        with pytest.raises(TrainingDiverged, match=r"round 1: the loss of client_2 is nan, must be finite"):
            procedure.round(AdaptiveSplitPlan(EVERYONE, cut=CUTS["mlp"]))
    finally:
        procedure.population.data.inputs[PARTS[2]] = kept
    with pytest.raises(ValueError, match=r"cut of client_3 is 4, must be in 1\.\.3: the model has 3 blocks"):
        procedure.round(AdaptiveSplitPlan(EVERYONE, cut=np.array([1, 1, 1, 4, 5])))
    assert furthest(weights(procedure), before) == 0
    assert procedure.rounds == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cut": np.array([1, 2, 0, 1, 1])}, "cut of client_2 is 0, must be at least 1 and finite"),
        ({"cut": np.ones(5)}, r"cut are float64 \(5,\), must be integers \(5,\)"),
        ({"cut": np.ones(4, np.int64)}, r"cut are int64 \(4,\), must be integers \(5,\)"),
    ],
)
def test_plans_that_do_not_fit(values: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build().round(AdaptiveSplitPlan(EVERYONE, **values))


def test_absent_clients_are_not_asked_for_cuts() -> None:
    server = np.array([0, -1, 0, 0, 0])
    AdaptiveSplitPlan(server, cut=np.array([1, 0, 1, 2, 3])).check(CLIENTS, 1)


@pytest.mark.parametrize("cut", [0, 4])
def test_a_cut_for_all_that_the_model_lacks(cut: int) -> None:
    with pytest.raises(ValueError, match=rf"cut is {cut}, must be in 1\.\.3: the model has 3 blocks"):
        build(cut=cut)


def test_parts_of_a_model_are_joined_again() -> None:
    whole = parameters_of(model("cnn"))
    for cut in range(1, 6):
        head, body = divide(whole, cut)
        parts = model("cnn").split(cut)
        assert (list(head), list(body)) == tuple([name for name, _ in part.named_parameters()] for part in parts)
        assert all(value is whole[name] for name, value in join(head, body, cut).items())


def test_a_task_learns_digits_with_cuts_that_change() -> None:
    learning = make_task("digits", server_part="shared", batch=8).build("adaptive_split", 8, seed=0)
    rng = np.random.default_rng(0)
    assert isinstance(learning, AdaptiveSplit)
    for _ in range(20):
        progress = learning.round(AdaptiveSplitPlan(np.zeros(8, np.int64), cut=rng.integers(1, 4, 8)))
    assert progress.accuracy > 0.9


# The model of the slides: ResNet-18, cut after its stem or one of its stages


def test_resnet18_with_a_small_stem_costs_what_its_layers_say() -> None:
    """A convolution of i to o channels, kernel k, output side s: 2 i o k^2 s^2 FLOP, i o k^2 weights."""
    stored = stored_profile("resnet18_cifar")
    stage = [(64, 64, 32), (64, 128, 16), (128, 256, 8), (256, 512, 4)]
    flops, parameters = [2 * 3 * 64 * 9 * 32**2], [3 * 64 * 9 + 2 * 64]
    for before, after, side in stage:
        convolutions = [(before, after, 9), *[(after, after, 9)] * 3, *([(before, after, 1)] if before < after else [])]
        flops.append(sum(2 * i * o * k * side**2 for i, o, k in convolutions))
        parameters.append(sum(i * o * k + 2 * o for i, o, k in convolutions))
    flops.append(2 * 512 * 10)
    parameters.append(512 * 10 + 10)
    assert stored.forward_flops == tuple(flops)
    assert stored.backward_flops == (flops[0], *(2 * value for value in flops[1:])), "the sample needs no gradient"
    assert stored.parameter_bits == tuple(32 * value for value in parameters)
    assert stored.activation_bits[1:5] == tuple(32 * numbers for numbers in (65536, 65536, 32768, 16384))


@pytest.mark.parametrize(
    ("cut", "forward", "numbers", "parameters"),
    [(1, 3.5e6, 65536, 1.9e3), (2, 3.06e8, 65536, 1.5e5), (3, 5.74e8, 32768, 6.8e5), (4, 8.42e8, 16384, 2.8e6)],
)
def test_resnet18_is_cut_where_the_split_point_system_expects_it(
    cut: int, forward: float, numbers: int, parameters: float
) -> None:
    stored = stored_profile("resnet18_cifar")
    side = stored.cut(cut)
    assert side.client_forward_flops == pytest.approx(forward, rel=0.012)
    assert side.activation_bits == side.gradient_bits == 32 * numbers
    assert side.client_parameter_bits / 32 == pytest.approx(parameters, rel=0.025)
    assert sum(stored.forward_flops) == pytest.approx(1.11e9, rel=0.005)


REDUCED: dict[str, Any] = {"widths": (8, 16), "depths": (1, 1), "embedding": 8}


def test_a_small_stem_keeps_the_images_as_large_as_they_are() -> None:
    pytest.importorskip("transformers")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small, large = (make_model("resnet18", (3, 32, 32), 4, stem=stem, **REDUCED) for stem in ("cifar", "imagenet"))
    assert (small[0](images).shape, large[0](images).shape) == ((2, 8, 32, 32), (2, 8, 8, 8))
    assert small(images).shape == (2, 4)
    again = make_model("resnet18", (3, 32, 32), 4, stem="cifar", **REDUCED)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), again.parameters(), strict=True))
    spread = make_model("resnet18", (3, 32, 32), 10, stem="cifar")[0].get_parameter("embedder.convolution.weight").std()
    assert float(spread.detach()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    with pytest.raises(ValueError, match="unknown stem 'cifr'; did you mean 'cifar'"):
        make_model("resnet18", (3, 32, 32), 4, stem="cifr", **REDUCED)


@server_parts
def test_a_residual_network_is_trained_at_cuts_of_each_clients_own(server_part: str) -> None:
    pytest.importorskip("transformers")
    own = make_model("resnet18", (1, 8, 8), 10, stem="cifar", seed=1, **REDUCED)
    settings = AdaptiveSplitSettings.create({"learning_rate": RATE, "batch": BATCH, "server_part": server_part})
    procedure = AdaptiveSplit(own, Population(TRAIN, PARTS, seed=3), HELD_OUT, settings)
    cuts = np.array([1, 2, 3, 4, 1])
    procedure.round(AdaptiveSplitPlan(EVERYONE, cut=cuts))
    expected: Any = own
    if server_part == "averaged":
        expected = fed_avg(own, TRAIN, orders(1)[0], RATE, BATCH)
    else:
        expected, _ = adaptive_round(own, orders(1)[0], cuts.tolist())
    assert apart(expected, procedure.parameters) < 1e-5
