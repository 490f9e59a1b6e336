"""Large models and profiles: counts by hand, published sizes, cuts, freezing, adapters and pretrained files."""

import importlib.util
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from fedtwin.envs.association import AssociationParams
from fedtwin.federated.models import profile as stored_profiles
from fedtwin.federated.models import profiler
from fedtwin.federated.models.large_models import FrozenBatchNorm
from fedtwin.federated.models.pretrained import load_pretrained
from fedtwin.federated.models.profile import Profile, stored_profile
from fedtwin.federated.models.profiler import ENTRIES, measure, profile
from fedtwin.federated.models.registry import MODELS, make_model
from fedtwin.federated.models.split_model import LastState, SplitModel
from torch import Tensor, nn

EXTRA = all(importlib.util.find_spec(name) for name in ("transformers", "peft"))
needs_extra = pytest.mark.skipif(not EXTRA, reason="needs the extra fedtwin[vit]")
LARGE = {"resnet18", "resnet50_lstm", "vit"}
CLIPS = (4, 3, 32, 32)
REDUCED = {"widths": (16, 32), "depths": (1, 2), "embedding": 8}
SMALL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mlp": ((1, 8, 8), {}),
    "cnn": ((1, 8, 8), {}),
    "cnn_lstm": ((5, 1, 8, 8), {}),
    "resnet18": ((3, 32, 32), REDUCED),
    "resnet50_lstm": (CLIPS, {**REDUCED, "hidden": 8, "frozen": 0}),
    "vit": ((1, 8, 8), {"patch": 2}),
}


def rows(names: Any, large: Any) -> list[Any]:
    return [pytest.param(name, marks=needs_extra if large(name) else ()) for name in names]


every_model = pytest.mark.parametrize("name", rows(SMALL, LARGE.__contains__))
norms = pytest.mark.parametrize("norm", ["group", "frozen_batch"])


def small(name: str, **more: Any) -> tuple[SplitModel, Tensor]:
    shape, options = SMALL[name]
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    return make_model(name, shape, 4, **{**options, **more}), inputs


def same(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


# Models


def test_every_model_is_tried_here() -> None:
    assert set(SMALL) == set(MODELS) == {entry.model for entry in ENTRIES.values()}


@every_model
def test_head_and_body_of_every_cut_are_the_model(name: str) -> None:
    model, inputs = small(name)
    whole = model(inputs)
    assert whole.shape == (3, 4)
    assert torch.isfinite(whole).all()
    for cut in range(len(model) + 1):
        head, body = model.split(cut)
        assert torch.equal(body(head(inputs)), whole)


@every_model
def test_a_seed_gives_the_weights_and_the_global_generator_stays(name: str) -> None:
    before = torch.get_rng_state()
    assert same(small(name, seed=1)[0], small(name, seed=1)[0])
    assert not same(small(name, seed=1)[0], small(name, seed=2)[0])
    assert torch.equal(torch.get_rng_state(), before)


@every_model
def test_samples_of_a_batch_do_not_touch_each_other(name: str) -> None:
    model, inputs = small(name)
    model.train()
    torch.testing.assert_close(model(inputs)[:1], model(inputs[:1]), rtol=1e-4, atol=1e-5)


def test_the_extra_is_imported_when_a_large_model_is_built() -> None:
    code = "import sys, fedtwin.federated.models.large_models, fedtwin.federated.models.profiler; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "fedtwin.federated.models.large_models" in loaded
    assert not {"transformers", "peft"} & set(loaded)


@pytest.mark.parametrize("name", sorted(LARGE))
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"transformers can not be imported.*fedtwin\[vit\]"):
        small(name)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("resnet18", (32, 32), {}, r"sample_shape is \(32, 32\), must be \(channels, height, width\)"),
        ("resnet18", (3, 32, 0), {}, "each at least 1"),
        ("resnet18", (3, 32, 32), {"widths": (8, 16)}, "2 widths and 4 depths, must be equally many"),
        ("resnet18", (3, 32, 32), {"norm": "gruop"}, "unknown norm 'gruop'; did you mean 'group'"),
        ("resnet50_lstm", CLIPS, {"widths": (16, 30), "depths": (1, 1)}, "widths multiples of 4"),
        ("resnet50_lstm", CLIPS, {**REDUCED, "hidden": 0}, "hidden is 0, must be at least 1"),
        pytest.param(
            "resnet50_lstm", CLIPS, {**REDUCED, "frozen": 6}, r"frozen is 6, must be in 0\.\.5", marks=needs_extra
        ),
        ("vit", (3, 32, 32), {"size": "S16"}, "unknown size 'S16'; did you mean 'S/16'"),
        ("vit", (3, 32, 40), {}, "patch is 16 pixels, must be at least 1 and divide the image's 32 x 40"),
        ("vit", (3, 32, 32), {"lora_rank": -1}, "lora_rank is -1, must be at least 0"),
    ],
)
def test_impossible_models_are_refused(name: str, shape: tuple[int, ...], options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(name, shape, 4, **options)
    with pytest.raises(ValueError, match="num_classes is 0, must be at least 1"):
        make_model(name, SMALL[name][0], 0)


# Freezing


def frozen_blocks(model: SplitModel) -> int:
    """How many blocks at the model's start have nothing to train."""
    trained = [any(p.requires_grad for p in block.parameters()) for block in model]
    return [*trained, True].index(True)


@needs_extra
@norms
def test_the_reduced_recognition_model_learns_and_its_head_and_statistics_rest(norm: str) -> None:
    model, _ = small("resnet50_lstm", norm=norm, frozen=None)
    assert frozen_blocks(model) == 2
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(8) % 4
    stripes = torch.sin(torch.arange(32) * 0.5 * (1 + labels.view(8, 1, 1, 1, 1)))
    inputs = stripes + 0.1 * torch.rand(8, *CLIPS, generator=generator)
    head, _ = model.split(2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    model.train()
    for _ in range(10):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    rests = set(head.state_dict()) | {name for name in before if "running" in name}
    assert {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])} == rests
    assert any("running" in name for name in rests) == (norm == "frozen_batch")


def test_frozen_batch_norm_is_that_of_evaluation_and_its_statistics_do_not_move() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sequential(nn.BatchNorm2d(3)))
    inputs = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    model(inputs)
    expected = model.eval()(inputs)
    model[1] = nn.Sequential(FrozenBatchNorm(model.get_submodule("1.0")))  # type: ignore[arg-type]
    statistics = [buffer.clone() for buffer in model.buffers()]
    model.train()(inputs).square().sum().backward()
    torch.testing.assert_close(model(inputs), expected)
    assert all(p.grad is not None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), statistics, strict=True))
    assert len(statistics) == 2


@needs_extra
def test_adapters_and_classifier_alone_are_trained() -> None:
    model, inputs = small("vit", lora_rank=4)
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if ".lora_" not in name} == {"5.classifier.weight", "5.classifier.bias"}
    assert sum(trained.values()) == 4 * 2 * 2 * 4 * 64 + 64 * 4 + 4
    plain, _ = small("vit")
    torch.testing.assert_close(model(inputs), plain(inputs))
    measured, whole = profile(model, (1, 8, 8)), profile(plain, (1, 8, 8))
    assert sum(measured.trainable_bits) == 32 * sum(trained.values())
    assert sum(measured.backward_flops) < 0.7 * sum(whole.backward_flops)
    assert (measured.cut(1).gradient_bits, measured.cut(2).gradient_bits) == (0, 17 * 64 * 32)


# Counts by hand: one multiply-add = 2 FLOP


def test_linear_layers_are_counted() -> None:
    measured = profile(make_model("mlp", (1, 8, 8), 10, hidden=(30, 20)), (1, 8, 8))
    sizes = list(pairwise((64, 30, 20, 10)))
    assert measured.forward_flops == tuple(2 * a * b for a, b in sizes)
    assert measured.backward_flops == (2 * 64 * 30, 4 * 30 * 20, 4 * 20 * 10), "the sample needs no gradient"
    assert measured.activation_bits == tuple(32 * size for size in (64, 30, 20, 10))
    assert measured.parameter_bits == measured.trainable_bits == tuple(32 * (a * b + b) for a, b in sizes)


def test_gradients_pass_through_a_frozen_block() -> None:
    model = make_model("mlp", (1, 8, 8), 10, hidden=(30, 20))
    model[1].requires_grad_(False)
    measured = profile(model, (1, 8, 8))
    assert measured.backward_flops == (2 * 64 * 30, 2 * 30 * 20, 4 * 20 * 10)
    assert (measured.trainable_bits[1], measured.cut(2).gradient_bits) == (0, 32 * 20)
    model[0].requires_grad_(False)
    measured = profile(model, (1, 8, 8))
    assert measured.backward_flops == (0, 0, 2 * 20 * 10)
    assert frozen_blocks(model) == 2


def test_convolutions_are_counted() -> None:
    model = SplitModel(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Conv2d(3, 5, (1, 2)))
    first = second = 0
    for _row in range(4):
        for _column in range(5):
            first += 2 * 3 * (2 * 3 * 3)
        for _column in range(5 - 1):
            second += 2 * 5 * (3 * 1 * 2)
    measured = profile(model, (2, 8, 10))
    assert measured.forward_flops == (first, second)
    assert measured.backward_flops == (first, 2 * second)
    assert measured.activation_bits == (32 * 2 * 8 * 10, 32 * 3 * 4 * 5, 32 * 5 * 4 * 4)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_lstm_is_counted(device: Any) -> None:
    features, hidden, frames = 7, 5, 6
    forward = backward = 0
    for frame in range(frames):
        forward += 2 * 4 * hidden * (features + hidden)
        backward += 2 * 4 * hidden * (features + hidden)  # weights
        backward += 2 * 4 * hidden * features  # input
        backward += 2 * 4 * hidden * hidden if frame > 0 else 0  # previous state
    measured = profile(SplitModel(nn.Linear(3, features), LastState(features, hidden)), (frames, 3), device)
    assert (measured.forward_flops[1], measured.backward_flops[1]) == (forward, backward)


@needs_extra
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_attention_is_counted(device: Any) -> None:
    tokens, width, heads = 16 + 1, 64, 4
    layer = 4 * tokens * width * width  # query, key, value, output
    for _head in range(heads):
        layer += tokens * tokens * (width // heads)  # scores
        layer += tokens * tokens * (width // heads)  # weighted values
    layer += 2 * tokens * width * 4 * width
    measured = profile(make_model("vit", (1, 8, 8), 10, patch=2), (1, 8, 8), device)
    assert measured.forward_flops == (2 * 16 * 4 * width, *[2 * layer] * 4, 2 * width * 10)
    assert measured.backward_flops[1:] == tuple(2 * flops for flops in measured.forward_flops[1:])


@every_model
def test_real_tensors_and_shapes_agree_and_the_model_stays(name: str) -> None:
    model, inputs = small(name)
    before = model(inputs)
    model.train()
    assert profile(model, SMALL[name][0], "cpu") == profile(model, SMALL[name][0])
    assert model.training
    assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())
    assert torch.equal(model(inputs), before)


@every_model
def test_either_side_of_a_cut_adds_up(name: str) -> None:
    model, inputs = small(name)
    measured = profile(model, SMALL[name][0])
    for cut in range(len(model) + 1):
        head, body = model.split(cut)
        sides, bits = measured.cut(cut), 32 * head(inputs[:1]).numel()
        assert (sides.activation_bits, sides.gradient_bits) == (bits, bits if cut else 0)
        assert (
            sides.client_parameter_bits == sides.client_trainable_bits == 32 * sum(p.numel() for p in head.parameters())
        )
        assert (
            sides.server_parameter_bits == sides.server_trainable_bits == 32 * sum(p.numel() for p in body.parameters())
        )
        assert sides.client_forward_flops + sides.server_forward_flops == sum(measured.forward_flops)
        assert sides.client_backward_flops == profile(SplitModel(*head), SMALL[name][0]).cut(cut).client_backward_flops
    for wrong in (-1, len(model) + 1, True, 1.0):
        with pytest.raises(ValueError, match=rf"cut is {wrong}, must be an integer in 0\.\.{len(model)}"):
            measured.cut(wrong)  # type: ignore[arg-type]


# The paper's figures


def bottleneck_layers(stage: int) -> list[tuple[int, int, int, int]]:
    """Inputs, outputs, kernel and output side of the convolutions of a stage of ResNet-50 at 224 x 224 (He et al.,
    table 1; the stride is in the 3 x 3 convolution, as in all published weights).
    """
    depth, mid, side = {1: (3, 64, 56), 2: (4, 128, 28), 3: (6, 256, 14), 4: (3, 512, 7)}[stage]
    before, side_before = (64, 56) if stage == 1 else (2 * mid, 2 * side)
    layers = [(before, 4 * mid, 1, side)]
    for layer in range(depth):
        inputs, inputs_side = (before, side_before) if layer == 0 else (4 * mid, side)
        layers += [(inputs, mid, 1, inputs_side), (mid, mid, 3, side), (mid, 4 * mid, 1, side)]
    return layers


def flops(layers: list[tuple[int, int, int, int]]) -> int:
    return sum(2 * inputs * outputs * kernel**2 * side**2 for inputs, outputs, kernel, side in layers)


BODY_LAYERS = bottleneck_layers(4)
HEAD_LAYERS = [(3, 64, 7, 112), *bottleneck_layers(1), *bottleneck_layers(2), *bottleneck_layers(3)]
PAPER_CUT = 4


def test_the_recognition_models_features_are_those_of_the_association_system() -> None:
    params = AssociationParams()
    assert stored_profile("resnet50_lstm").cut(PAPER_CUT).activation_bits == params.feature_bits == 64_225_280
    trained = stored_profile("resnet50_lstm_trained_head").cut(PAPER_CUT)
    assert trained.gradient_bits == params.gradient_bits
    assert stored_profile("resnet50_lstm").cut(PAPER_CUT).gradient_bits == 0, "the paper sends what it need not"


def test_the_recognition_models_head_is_that_of_published_layers() -> None:
    head = stored_profile("resnet50_lstm").cut(PAPER_CUT)
    assert head.client_forward_flops == 10 * flops(HEAD_LAYERS)
    assert head.client_backward_flops == head.client_trainable_bits == 0
    backbone = sum(stored_profile("resnet50_lstm").parameter_bits[:5]) // 32
    assert backbone == 25_557_032 - 2048 * 1000 - 1000


def test_the_recognition_models_body_is_that_of_the_association_system() -> None:
    """The constant 3 x 10 x 1.63e9 counts 2 FLOP a multiply-add, and gradients of the features as well.

    With them it is 0.4 % above the measured body, 0.7 % without LSTM and linear layer, so both are within 1 %. A frozen
    head needs no gradients of the features: what really has to be computed is 8.8 % less than the constant.
    """
    constant = AssociationParams().body_flop
    measured = stored_profile("resnet50_lstm_trained_head")
    with_gradient = measured.cut(PAPER_CUT)
    body = with_gradient.server_forward_flops + with_gradient.server_backward_flops
    assert constant == pytest.approx(body, rel=0.0045)
    convolutions = measured.forward_flops[4] + measured.backward_flops[4]
    assert convolutions == 3 * 10 * flops(BODY_LAYERS)
    assert constant == pytest.approx(convolutions, rel=0.0075)
    frozen = stored_profile("resnet50_lstm").cut(PAPER_CUT)
    saved = body - frozen.server_forward_flops - frozen.server_backward_flops
    assert saved == 10 * flops([layer for layer in BODY_LAYERS if layer[0] == 1024])
    assert (body - saved) / constant == pytest.approx(1 - 0.088, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("resnet18", 11_689_512 - 513_000 + 5_130, None),
        ("vit_s16", 22_050_664, 4.6e9),
        ("vit_b16", 86_567_656, 17.6e9),
        ("vit_l16", 304_326_632, 61.6e9),
    ],
)
def test_published_sizes(name: str, parameters: int, multiply_adds: float | None) -> None:
    stored = stored_profile(name)
    assert sum(stored.parameter_bits) == 32 * parameters
    if multiply_adds is not None:
        assert sum(stored.forward_flops) / 2 == pytest.approx(multiply_adds, rel=0.01)


# The stored table


@pytest.mark.parametrize("name", rows(ENTRIES, lambda name: ENTRIES[name].model in LARGE))
def test_the_stored_table_is_up_to_date(name: str) -> None:
    assert measure(name) == stored_profile(name), "run python -m fedtwin.federated.models.profiler"


def test_the_stored_table_is_written_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries = {name: ENTRIES[name] for name in ("mlp", "cnn")}
    monkeypatch.setattr(profiler, "ENTRIES", entries)
    monkeypatch.setattr(profiler, "TABLE", tmp_path / "profiles.json")
    stored = {name: stored_profile(name) for name in ENTRIES}
    profiler.main()
    written = json.loads((tmp_path / "profiles.json").read_text())
    assert {name: Profile.from_lists(row) for name, row in written.items()} == {n: stored[n] for n in entries}
    assert [path.name for path in tmp_path.iterdir()] == ["profiles.json"]


def test_unknown_profiles_are_refused() -> None:
    assert set(stored_profiles._stored()) == set(ENTRIES)
    for find in (measure, stored_profile):
        with pytest.raises(ValueError, match="unknown profile 'vit_b_16'; did you mean 'vit_b16'"):
            find("vit_b_16")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        profile(small("mlp")[0], (1, 8, 8), "gpu")  # type: ignore[arg-type]


# Pretrained weights


def torchvision_name(name: str) -> str:
    """Return torchvision's name for a tensor of a reduced ResNet-18, spelled out."""
    for old, new in {
        "0.embedder.convolution": "conv1",
        "0.embedder.normalization": "bn1",
        "layers.0.": "0.",
        "layers.1.": "1.",
        "shortcut.convolution": "downsample.0",
        "shortcut.normalization": "downsample.1",
        "layer.0.convolution": "conv1",
        "layer.0.normalization": "bn1",
        "layer.1.convolution": "conv2",
        "layer.1.normalization": "bn2",
        "3.classifier": "fc",
    }.items():
        name = name.replace(old, new)
    return f"layer{name}" if name[0].isdigit() else name


@needs_extra
def test_weights_load_under_their_published_names(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")

    sizes = {"embedding_size": 8, "hidden_sizes": (16, 32), "depths": (1, 2)}
    torch.manual_seed(5)
    config = transformers.ResNetConfig(**sizes, layer_type="basic", num_labels=4)
    published = transformers.ResNetForImageClassification(config)
    model, inputs = small("resnet18", norm="frozen_batch")
    published.train()(inputs)
    published.eval().save_pretrained(tmp_path)
    load_pretrained(model, tmp_path / "model.safetensors")
    torch.testing.assert_close(model(inputs), published(inputs).logits)

    other, _ = small("resnet18", norm="frozen_batch", seed=9)
    torch.save({torchvision_name(name): tensor for name, tensor in model.state_dict().items()}, tmp_path / "resnet.pt")
    load_pretrained(other, str(tmp_path / "resnet.pt"))
    assert same(other, model)


@needs_extra
def test_a_transformer_loads_below_adapters_and_keeps_its_classifier(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")

    torch.manual_seed(5)
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    config = transformers.ViTConfig(**sizes, image_size=8, patch_size=2, num_channels=1, num_labels=7)
    published = transformers.ViTForImageClassification(config).eval()
    published.save_pretrained(tmp_path)
    plain, inputs = small("vit")
    with pytest.raises(ValueError, match=r"classifier.* has shape \(7.*\), must be \(4.*keep"):
        load_pretrained(plain, tmp_path / "model.safetensors")
    adapted, _ = small("vit", lora_rank=2)
    classifier = adapted.get_parameter("5.classifier.weight").clone()
    for model in (plain, adapted):
        load_pretrained(model, tmp_path / "model.safetensors", keep=["5.classifier"])
        tokens = published.vit(inputs).last_hidden_state[:, 0]
        torch.testing.assert_close(model.get_submodule("5.norm")(model.split(5)[0](inputs)[:, 0]), tokens)
        torch.testing.assert_close(model(inputs), model.get_submodule("5.classifier")(tokens))
    assert torch.equal(adapted.get_parameter("5.classifier.weight"), classifier)
    torch.save(adapted.state_dict(), tmp_path / "adapted.pt")
    other, _ = small("vit", lora_rank=2, seed=3)
    load_pretrained(other, tmp_path / "adapted.pt")
    assert same(other, adapted)


@needs_extra
def test_an_image_network_goes_into_the_recognition_model(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")

    torch.manual_seed(5)
    sizes = {"embedding_size": 8, "hidden_sizes": (16, 32), "depths": (1, 2)}
    published = transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes)).eval()
    torch.save(published.state_dict(), tmp_path / "resnet.pt")
    model, inputs = small("resnet50_lstm")
    load_pretrained(model, tmp_path / "resnet.pt", keep=["3", "4"])
    frames = published.resnet(inputs.flatten(0, 1)).pooler_output.view(3, 4, 32)
    torch.testing.assert_close(model.split(3)[0](inputs), frames)


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_files_that_do_not_fit_are_refused_and_change_nothing(tmp_path: Path) -> None:
    model, path = small("cnn")[0], tmp_path / "weights.pt"
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def refused(message: str, error: type[Exception] = ValueError, **options: Any) -> None:
        with pytest.raises(error, match=message):
            load_pretrained(model, path, **options)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    refused("weights.pt does not exist", FileNotFoundError)
    torch.save({**state, "0.0.weight": torch.zeros(16, 3, 3, 3)}, path)
    refused(r"0\.0\.weight in .* has shape \(16, 3, 3, 3\), must be \(16, 1, 3, 3\)")
    torch.save({name: tensor for name, tensor in state.items() if name != "1.0.bias"} | {"x": torch.zeros(1)}, path)
    refused(r"it lacks: 1 \(1\.0\.bias\), tensors that the model lacks: 1 \(x\)")
    torch.save({"state_dict": state}, path)
    refused("must hold a state dict")
    torch.save(state, path)
    refused("keep has '9'", keep=["9"])
    path.write_bytes(path.read_bytes()[:1000])
    refused("or is damaged")
    path.write_bytes(b"")
    refused("or is damaged")
    torch.save(Harmful(), path)
    refused("neither safetensors nor a torch state dict")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"no tensors")
    refused("neither safetensors nor a torch state dict")
