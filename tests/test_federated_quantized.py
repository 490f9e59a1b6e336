"""The uniform quantiser by its properties, and quantised split federated learning against a plain loop."""

import copy
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from federated_oracle import average
from fedtwin.federated.data.dataset import digits
from fedtwin.federated.data.population import Population
from fedtwin.federated.engine.channel import Channel
from fedtwin.federated.engine.quantized_channel import QuantizedChannel
from fedtwin.federated.engine.quantizer import Encoded, decode, encode, pack, unpack
from fedtwin.federated.engine.work import TrainingDiverged
from fedtwin.federated.models.profile import stored_profile
from fedtwin.federated.models.registry import make_model
from fedtwin.federated.models.split_model import SplitModel
from fedtwin.federated.plan import QuantizedSplitPlan
from fedtwin.federated.procedure import Round
from fedtwin.federated.procedures.quantized_split import QuantizedSplit
from fedtwin.federated.procedures.splitfed import SplitFed
from fedtwin.federated.run import CHECKPOINT, run
from fedtwin.federated.task import Task, make_task
from fedtwin.studies.benefit import PICTURE, RESULTS, BenefitOptions, Fit, Row, as_json, learn
from fedtwin.studies.benefit import main as benefit_main
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

RATE, BATCH = 0.1, 16
SIZES = (40, 7, 33, 16, 1)
TRAIN, HELD_OUT = digits().split()
PARTS = [np.arange(sum(SIZES[:n]), sum(SIZES[: n + 1])) for n in range(len(SIZES))]
CLIENTS = len(PARTS)
EVERYONE = np.zeros(CLIENTS, np.int64)
BITS = np.array([4, 16, 2, 32, 8])
EVERY_WIDTH = range(2, 33)
names = pytest.mark.parametrize("name", ["mlp", "cnn"])
server_parts = pytest.mark.parametrize("server_part", ["averaged", "shared"])
spans = pytest.mark.parametrize("span", ["tensor", "sample"])


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The quantiser


@pytest.mark.parametrize("bits", range(2, 32))
def test_packed_integers_come_back_and_are_as_short_as_can_be(bits: int) -> None:
    for count in (1, 2, 7, 8, 9, 61):
        codes = torch.randint(2**bits, (3, count), generator=torch.Generator().manual_seed(count))
        codes[0], codes[1, -1] = 2**bits - 1, 0
        packed = pack(codes, bits)
        assert (packed.dtype, packed.shape) == (torch.uint8, (3, math.ceil(count * bits / 8)))
        assert torch.equal(unpack(packed, bits, count), codes)


@pytest.mark.parametrize("bits", [2, 3, 5, 8, 13, 31])
def test_bytes_are_those_of_one_long_integer(bits: int) -> None:
    codes = torch.randint(2**bits, (1, 21), generator=torch.Generator().manual_seed(bits))
    whole = sum(code << (bits * place) for place, code in enumerate(codes[0].tolist()))
    assert bytes(pack(codes, bits)[0].tolist()) == whole.to_bytes(math.ceil(21 * bits / 8), "little")


@spans
@pytest.mark.parametrize("bits", EVERY_WIDTH)
def test_the_error_is_at_most_half_a_step(bits: int, span: Any) -> None:
    values = numbers(3, 5, 7, 2) * torch.tensor([1e-6, 1.0, 1e6]).view(3, 1, 1, 1) + 0.3
    encoded = encode(values, bits, span=span)
    spread = values.flatten(2 if span == "sample" else 1)
    step = (spread.amax(-1).double() - spread.amin(-1).double()) / (2**bits - 1)
    error = (decode(encoded).double() - values.double()).abs()
    rounding = values.abs().double() * 2**-24
    assert bool((error <= step.view(3, -1, 1, 1) * (0.5 + 1e-9) + rounding).all())
    ranges = (0 if bits == 32 else 5 if span == "sample" else 1) * 8
    assert encoded.message_bytes == math.ceil(5 * 7 * 2 * bits / 8) + ranges


@spans
def test_least_and_greatest_number_come_back_exactly(span: Any) -> None:
    values = numbers(4, 3, 50)
    for bits in EVERY_WIDTH:
        back = decode(encode(values, bits, span=span)).flatten(2 if span == "sample" else 1)
        spread = values.flatten(2 if span == "sample" else 1)
        assert torch.equal(back.amin(-1), spread.amin(-1))
        assert torch.equal(back.amax(-1), spread.amax(-1))


def test_few_bits_give_few_levels_and_more_bits_never_more_error() -> None:
    values = numbers(20, 8, 40)
    errors = []
    for bits in EVERY_WIDTH:
        back = decode(encode(values, bits))
        errors.append(float((back.double() - values.double()).square().mean()))
        if bits < 6:
            assert all(len(set(message.flatten().tolist())) <= 2**bits for message in back)
    assert len(set(decode(encode(values, 2))[0].flatten().tolist())) == 4
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0
    step = (values.amax((1, 2)) - values.amin((1, 2))) / 3
    assert errors[0] == pytest.approx(float(step.square().mean()) / 12, rel=0.3)


@pytest.mark.parametrize("uniform", [None, 0.0, 1 - 2**-24])
def test_constant_messages_come_back_exactly(uniform: float | None) -> None:
    for value in (0.0, -3.25, 1e-40, 3.4e38):
        whole = torch.full((2, 3, 4), value)
        drawn = None if uniform is None else torch.full(whole.shape, uniform)
        for bits in (2, 7, 32):
            assert torch.equal(decode(encode(whole, bits, uniform=drawn)), whole)


def test_the_whole_range_of_floats_is_met() -> None:
    values = torch.tensor([[[-3.4e38, 3.4e38, 0.0, 1.0]]])
    for bits in EVERY_WIDTH:
        back = decode(encode(values, bits))
        assert bool(torch.isfinite(back).all())
        assert torch.equal(back[0, 0, :2], values[0, 0, :2])


def test_messages_and_samples_with_ranges_of_their_own_do_not_touch_each_other() -> None:
    values = numbers(3, 4, 6)
    other = values.clone()
    other[1], other[2, 3] = 100.0, -100.0
    one, two = (decode(encode(x, 3)) for x in (values, other))
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[2, :3], two[2, :3])
    one, two = (decode(encode(x, 3, span="sample")) for x in (values, other))
    assert torch.equal(one[2, :3], two[2, :3])


def test_stochastic_rounding_is_unbiased_and_nearest_rounding_is_not() -> None:
    draws, bits = 4000, 3
    values = numbers(1, 2, 10)
    many = values.expand(draws, 2, 10).contiguous()
    uniform = torch.rand(many.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    back = decode(encode(many, bits, uniform=uniform)).double()
    step = float(values.amax() - values.amin()) / (2**bits - 1)
    bias = (back.mean(0) - values[0].double()).abs()
    assert float(bias.max()) < 4 * 0.5 * step / math.sqrt(draws)
    assert float((back - values.double()).abs().max()) <= step * (1 + 1e-6)
    nearest = (decode(encode(values, bits)) - values).abs()
    assert float(nearest.max()) > 0.2 * step


def test_the_receiver_needs_the_bytes_alone() -> None:
    values = numbers(1, 2, 9)
    sent = encode(values, 5)
    wire = bytes(sent.packed[0].tolist()) + struct.pack("<ff", float(sent.low), float(sent.high))
    assert len(wire) == sent.message_bytes == math.ceil(18 * 5 / 8) + 8
    whole, (low, high) = int.from_bytes(wire[:-8], "little"), struct.unpack("<ff", wire[-8:])
    codes = [whole >> (5 * place) & 31 for place in range(18)]
    expected = torch.tensor([low + code * (high - low) / 31 for code in codes]).view(1, 2, 9)
    assert torch.equal(decode(sent), expected)


@pytest.mark.parametrize(
    ("values", "bits", "message"),
    [
        (torch.ones(1, 2), 1, r"bits are 1, must be an integer in 2\.\.32"),
        (torch.ones(1, 2), 33, "bits are 33"),
        (torch.ones(1, 2), True, "bits are True"),
        (torch.ones(1, 2), 4.0, r"bits are 4\.0"),
        (torch.tensor([[1.0, math.nan, math.inf]]), 4, "values hold 2 that are not finite, must be finite"),
        (torch.ones(1, 2).double(), 4, r"values are torch\.float64 \(1, 2\), must be torch\.float32"),
        (torch.ones(2), 4, r"values are torch\.float32 \(2,\), must be"),
        (torch.ones(1, 0), 4, r"at least one number"),
    ],
)
def test_what_cannot_be_encoded(values: Tensor, bits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(values, bits)


# Learning


def model(name: str = "mlp") -> SplitModel:
    return make_model(name, (1, 8, 8), 10, seed=1, activation="tanh")


def build(kind: type[Any] = QuantizedSplit, name: str = "mlp", **options: Any) -> Any:
    settings = kind.settings_type(learning_rate=RATE, **{"batch": BATCH, **options})
    return kind(model(name), Population(TRAIN, PARTS, seed=3), HELD_OUT, settings)


def orders(rounds: int) -> list[list[Tensor]]:
    source = Population(TRAIN, PARTS, seed=3)
    return [
        [torch.from_numpy(source.next_samples(n, size, r * size)) for n, size in enumerate(SIZES)]
        for r in range(rounds)
    ]


def same(a: Any, b: Any) -> bool:
    one, two = a.tensors(), b.tensors()
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def coarse(x: Tensor, bits: int) -> Tensor:
    """Rounded to 2^q levels between least and greatest number, spelled out."""
    if bits == 32:
        return x.clone()
    low, high = float(x.min()), float(x.max())
    step = (high - low) / (2**bits - 1)
    return torch.tensor([low + step * round((v - low) / step) for v in x.flatten().tolist()]).view(x.shape)


def quantized_round(
    head: nn.Module, body: nn.Module, order: list[Tensor], bits: list[int]
) -> tuple[nn.Module, nn.Module]:
    """One round with a server part for each client; the client backpropagates what it decodes."""
    heads, bodies = [], []
    for own, q in zip(order, bits, strict=True):
        mine, server = copy.deepcopy(head), copy.deepcopy(body)
        for first in range(0, len(own), BATCH):
            index = own[first : first + BATCH]
            features = mine(TRAIN.inputs[index])
            arrived = coarse(features.detach(), q).requires_grad_()
            loss = cross_entropy(server(arrived), TRAIN.labels[index])
            down, *steps = torch.autograd.grad(loss, [arrived, *server.parameters()])
            back = torch.autograd.grad(features, list(mine.parameters()), coarse(down, q))
            with torch.no_grad():
                for p, g in zip([*mine.parameters(), *server.parameters()], [*back, *steps], strict=True):
                    p.sub_(RATE * g)
        heads.append(mine)
        bodies.append(server)
    return average(head, heads, SIZES), average(body, bodies, SIZES)


@names
@pytest.mark.parametrize("cut", [1, 2])
def test_quantized_learning_is_the_plain_loop(name: str, cut: int) -> None:
    """A rounding error may move a number to the neighbouring level, so that few weights differ a little."""
    procedure = build(name=name, cut=cut)
    head, body = model(name).split(cut)
    first: Any = model(name).split(cut)
    parts: tuple[nn.Module, nn.Module] = (head, body)
    for order in orders(2):
        procedure.round(QuantizedSplitPlan(EVERYONE, bits=BITS))
        parts = quantized_round(*parts, order, BITS.tolist())
    ours = torch.cat([p.detach().flatten() for p in procedure.trained_model().parameters()])
    theirs = torch.cat([p.detach().flatten() for part in parts for p in part.parameters()])
    start = torch.cat([p.detach().flatten() for part in first for p in part.parameters()])
    plain = build(SplitFed, name, cut=cut)
    for _ in range(2):
        plain.round()
    whole = torch.cat([p.detach().flatten() for p in plain.trained_model().parameters()])
    moved = float((theirs - start).norm())
    assert float((ours - theirs).norm()) < 2e-4 * moved
    assert float((whole - theirs).norm()) > 2e-2 * moved


@names
@server_parts
@pytest.mark.parametrize("way", ["auto", "looped"])
def test_with_32_bits_it_is_split_federated_learning_to_the_last_bit(name: str, server_part: str, way: str) -> None:
    options: Any = {"server_part": server_part, "way": way}
    ours, theirs = build(name=name, stochastic_rounding=True, **options), build(SplitFed, name, **options)
    for _ in range(2):
        mine, other = ours.round(), theirs.round()
    assert same(ours, theirs)
    np.testing.assert_array_equal(mine.uplink_bytes, other.uplink_bytes)
    np.testing.assert_array_equal(mine.downlink_bytes, other.downlink_bytes)


@server_parts
@pytest.mark.parametrize("stochastic", [False, True])
def test_stacked_and_looped_clients_agree(server_part: str, stochastic: bool) -> None:
    options: Any = {"server_part": server_part, "bits": 16, "stochastic_rounding": stochastic}
    one, other = build(**options), build(**options, way="looped")
    for _ in range(2):
        one.round()
        other.round()
    for name, value in one.tensors().items():
        torch.testing.assert_close(value, other.tensors()[name], rtol=0, atol=2e-5)


@spans
def test_bytes_are_those_of_the_encoded_tensors(span: str) -> None:
    progress = build(quantizer_span=span).round(QuantizedSplitPlan(EVERYONE, bits=BITS))
    head = (64 * 128 + 128) * 4
    for size, bits, up, down in zip(SIZES, BITS.tolist(), progress.uplink_bytes, progress.downlink_bytes, strict=True):
        steps = [min(BATCH, size - first) for first in range(0, size, BATCH)]
        ranges = [0 if bits == 32 else 8 * (count if span == "sample" else 1) for count in steps]
        crossed = sum(math.ceil(count * 128 * bits / 8) + more for count, more in zip(steps, ranges, strict=True))
        assert (up, down) == (crossed + 8 * size + head, crossed + head)


def test_bits_of_the_settings_hold_for_all() -> None:
    plan = QuantizedSplitPlan(EVERYONE, bits=np.full(CLIENTS, 3))
    one, other = build(bits=3), build()
    for procedure, own in ((one, None), (other, plan)):
        procedure.round(own)
    assert same(one, other)


@names
def test_a_gradient_that_arrives_is_the_decoded_one(name: str) -> None:
    """A channel that returns nothing downwards stops the head alone; one that doubles it doubles the head's step."""

    class Scaled:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def up(self, rows: Any, features: Any) -> list[Tensor]:
            return list(features)

        def down(self, rows: Any, gradients: Any) -> list[Tensor]:
            return [self.factor * gradient for gradient in gradients]

    def change(factor: float) -> dict[str, Tensor]:
        procedure = build(SplitFed, name, batch=0)
        before = {key: value.clone() for key, value in procedure.tensors().items()}
        batches = procedure.population.batches(np.arange(CLIENTS), samples=None, batch=0, epochs=1)
        arrays = (np.zeros(CLIENTS), np.zeros(CLIENTS), np.zeros((2, CLIENTS)))
        channel: Channel = Scaled(factor)
        procedure.train_over(channel, Round(QuantizedSplitPlan.everyone(CLIENTS), batches, *arrays))
        return {key: value - before[key] for key, value in procedure.tensors().items()}

    none, once, twice = change(0.0), change(1.0), change(2.0)
    for key, value in once.items():
        expected = 2 * value if key.startswith("head") else value
        torch.testing.assert_close(twice[key], expected, rtol=1e-3, atol=1e-6)
        assert bool((none[key] == 0).all()) == key.startswith("head")


@names
@pytest.mark.parametrize("stochastic", [False, True])
def test_state_goes_on_exactly(name: str, stochastic: bool) -> None:
    plans = [
        QuantizedSplitPlan(np.array([0, 0, -1, 0, 0]), bits=np.roll(np.array([3, 5, 2, 32, 8]), shift))
        for shift in range(4)
    ]
    whole, first, second = (build(name=name, stochastic_rounding=stochastic) for _ in range(3))
    for plan in plans:
        whole.round(plan)
    for plan in plans[:2]:
        first.round(plan)
    second.load_state_dict(*first.state_dict())
    for plan in plans[2:]:
        second.round(plan)
    assert same(whole, second)


def test_a_killed_run_with_stochastic_rounding_ends_with_the_same_weights(tmp_path: Path) -> None:
    def learning() -> Any:
        return make_task("digits", bits=3, stochastic_rounding=True).build("quantized_split", 20, seed=5)

    whole, resumed = learning(), learning()
    run(whole, 4, tmp_path / "whole")
    stopped = learning()
    with pytest.raises(KeyboardInterrupt):
        run(stopped, 4, tmp_path / "killed", advanced=stop_after_two)
    assert (tmp_path / "killed" / CHECKPOINT).exists()
    facts = run(resumed, 4, tmp_path / "killed")
    assert same(whole, resumed)
    assert facts["round"] == 4


def stop_after_two(facts: dict[str, float]) -> None:
    if facts["round"] == 2:
        raise KeyboardInterrupt


def test_stochastic_rounding_draws_anew_in_every_round_and_for_every_client() -> None:
    settings: Any = {"bits": 2, "stochastic_rounding": True}
    one, other, nearest = build(**settings), build(**settings), build(bits=2)
    for procedure in (one, other, nearest):
        procedure.round()
    assert same(one, other)
    assert not same(one, nearest)
    message = [numbers(16, 40)] * 2
    first, second = one.open_channel(QuantizedSplitPlan.everyone(CLIENTS), np.array([0, 1])).up([0, 1], message)
    assert not torch.equal(first, second)
    one.rounds += 1
    assert not torch.equal(
        first, one.open_channel(QuantizedSplitPlan.everyone(CLIENTS), np.array([0])).up([0], message[:1])[0]
    )


@names
def test_numbers_that_are_not_finite_name_client_and_round_and_change_nothing(name: str) -> None:
    procedure = build(name=name, bits=8)
    procedure.round()
    before = {key: value.clone() for key, value in procedure.tensors().items()}
    kept = TRAIN.inputs[PARTS[2]].clone()
    TRAIN.inputs[PARTS[2]] = torch.nan
    try:
        with pytest.raises(TrainingDiverged, match="round 1: the features of client_2 are not finite"):
            procedure.round()
    finally:
        TRAIN.inputs[PARTS[2]] = kept
    assert all(torch.equal(value, before[key]) for key, value in procedure.tensors().items())
    assert procedure.rounds == 1


def test_messages_of_different_sizes_and_bits_arrive_in_their_places() -> None:
    channel = QuantizedChannel(np.arange(4), np.array([32, 8, 32, 2]))
    sent = [numbers(3, 5, seed=1), numbers(3, 5, seed=2), numbers(2, 5, seed=3), numbers(3, 5, seed=4)]
    arrived = channel.up([0, 1, 2, 3], sent)
    assert [torch.equal(a, b) for a, b in zip(sent, arrived, strict=True)] == [True, False, True, False]
    assert torch.equal(arrived[1], decode(encode(sent[1][None], 8))[0])
    assert torch.equal(arrived[3], decode(encode(sent[3][None], 2))[0])
    assert channel.sent.tolist() == [[60, 15 + 8, 40, 4 + 8], [0, 0, 0, 0]]
    assert isinstance(encode(sent[0][None], 4), Encoded)


def test_digits_are_learned_with_few_bits_and_few_bytes() -> None:
    task = make_task("digits", batch=8, bits=4, stochastic_rounding=True)
    few, many = (
        task.build("quantized_split", 8, seed=0),
        make_task("digits", batch=8).build("quantized_split", 8, seed=0),
    )
    for _ in range(15):
        coarse_progress, progress = few.round(), many.round()
    assert progress.accuracy > 0.85
    assert coarse_progress.accuracy > 0.85
    head, labels = 4 * (64 * 128 + 128), 8 * few.population.sizes
    crossed = coarse_progress.uplink_bytes - head - labels
    assert bool((crossed < 0.15 * (progress.uplink_bytes - head - labels)).all())


def test_a_vision_transformer_whose_embedding_alone_is_on_the_device() -> None:
    """ViT-B/32 at 224 x 224: 7 x 7 patches and the class token, 768 numbers each."""
    embedding = stored_profile("vit_b32").cut(1)
    assert embedding.activation_bits == embedding.gradient_bits == 32 * 50 * 768
    assert embedding.client_forward_flops == 2 * 49 * 768 * 3 * 32**2
    assert embedding.client_parameter_bits == 32 * (768 * 3 * 32**2 + 768 + 768 + 50 * 768)
    assert embedding.client_parameter_bits + embedding.server_parameter_bits == 32 * 88_224_232
    assert stored_profile("vit_b16").cut(1).activation_bits == 32 * 197 * 768


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([2, 32, 33, 1, 8]), r"bits of client_2 is 33, must be in 2\.\.32"),
        (np.array([2, 32, 8, 1, 8]), r"bits of client_3 is 1, must be in 2\.\.32"),
        (np.full(5, 8.0), r"bits are float64 \(5,\), must be integers"),
    ],
)
def test_plans_that_do_not_fit(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build().round(QuantizedSplitPlan(EVERYONE, bits=values))


def test_absent_clients_are_not_asked_for_bits() -> None:
    QuantizedSplitPlan(np.array([0, -1, 0, 0, 0]), bits=np.array([2, 0, 32, 8, 8])).check(CLIENTS, 1)


# Accuracy against bits

QUICK: dict[str, Any] = {"rounds": 2, "last": 1, "clients": 20}


def curve_rows(bits: Any, noise: float, a: float = 0.8, b: float = 0.7, c: float = 0.1) -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        Row(q, seed, a * (1 - math.exp(-b * q)) + c + noise * rng.standard_normal(), 0.0, 0.0, 0.0)
        for q in bits
        for seed in range(4)
    ]


def test_a_fit_finds_the_curve_and_says_how_sure_it_is() -> None:
    exact = Fit.of(curve_rows((2, 3, 4, 6, 8, 16), 0.0))
    assert exact.parameters == pytest.approx((0.8, 0.7, 0.1), rel=1e-4)
    assert exact.residual < 1e-6
    fit = Fit.of(curve_rows((2, 3, 4, 6, 8, 16), 0.01))
    for value, half, truth in zip(fit.parameters, fit.half_widths, (0.8, 0.7, 0.1), strict=True):
        assert 0 < abs(value - truth) < half
    assert abs(fit.parameters[0] + fit.parameters[2] - 0.9) < fit.plateau_half_width < 0.1 * fit.half_widths[0]
    given = Fit.of(curve_rows((2, 3, 4, 6, 8, 16), 0.01), floor=0.1)
    assert (given.parameters[2], given.half_widths[2]) == (0.1, 0.0)
    assert given.half_widths[0] < 0.2 * fit.half_widths[0]
    assert given.plateau_half_width == pytest.approx(given.half_widths[0])


def test_a_curve_without_a_slope_leaves_the_rate_open_and_is_stored() -> None:
    flat = [Row(bits, seed, 0.9, 0.3, 0.0, 0.0) for bits in (8, 16, 32) for seed in (0, 1)]
    fit = Fit.of(flat)
    assert fit.parameters[0] + fit.parameters[2] == pytest.approx(0.9, abs=1e-6)
    stored = json.loads(as_json(flat, {}, fit))
    assert stored["fit"]["half_widths"] == [x if math.isfinite(x) else None for x in fit.half_widths]
    with pytest.raises(ValueError, match="there are 3 rows of 3 bits, must be at least 4 of 3"):
        Fit.of(flat[::2])
    with pytest.raises(ValueError, match="there are 4 rows of 2 bits"):
        Fit.of(flat[:4])


def test_the_command_trains_what_is_missing_and_writes_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--task", "digits", "--rounds", "2", "--last", "1", "--seeds", "0", "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        benefit_main([*command, "--bits", "2", "32"])
    assert "there are 2 rows of 2 bits, must be at least 4 of 3" in capsys.readouterr().err
    first = json.loads((tmp_path / RESULTS).read_text())
    assert ([(row["bits"], row["seed"]) for row in first["rows"]], first["fit"]) == ([(2, 0), (32, 0)], None)
    monkeypatch.setattr("fedtwin.studies.benefit.learn", only((4, 8)))
    benefit_main([*command, "--bits", "32", "2", "4", "8"])
    assert "a + c = " in capsys.readouterr().out
    second = json.loads((tmp_path / RESULTS).read_text())
    assert second["rows"][:2] == first["rows"]
    assert [row["bits"] for row in second["rows"]] == [2, 32, 4, 8]
    assert len(second["fit"]["parameters"]) == 3
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {RESULTS, PICTURE}
    with pytest.raises(SystemExit, match="2"):
        benefit_main([*command, "--bits", "2", "4", "8", "16", "--cut", "2"])
    assert "holds a run with cut = 1, not 2: choose another folder" in capsys.readouterr().err
    (tmp_path / RESULTS).write_text('{"rows": [')
    with pytest.raises(SystemExit, match="2"):
        benefit_main([*command, "--bits", "2", "4", "8", "16"])
    assert "benefit.json holds no results, or is damaged" in capsys.readouterr().err


def only(expected: tuple[int, ...]) -> Any:
    """Train at these bits; others are there already."""

    def run(task: Task, options: BenefitOptions, bits: int, seed: int) -> Row:
        assert bits in expected
        return learn(task, options, bits, seed)

    return run


def test_a_row_is_the_learning_of_its_bits_and_seed() -> None:
    options = BenefitOptions(**QUICK)
    task = make_task("digits", bits=8, score_every=2)
    row = learn(task, options, 3, 7)
    procedure = make_task("digits", bits=3).build("quantized_split", 20, seed=7)
    progress = [procedure.round() for _ in range(2)]
    assert (row.bits, row.seed, row.accuracy, row.loss) == (3, 7, progress[1].accuracy, progress[1].loss)
    assert row.uplink_bytes == sum(float(one.uplink_bytes.sum()) for one in progress)
    with pytest.raises(ValueError, match="last is 3, must be at most rounds = 2"):
        BenefitOptions(rounds=2, last=3)
    with pytest.raises(ValueError, match=r"bits\[1\] is 33, must be at least 2 and at most 32"):
        BenefitOptions(bits=(2, 33))
