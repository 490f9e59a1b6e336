"""The attack redraws what it must be able to redraw, and the figures of merit are those computed by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fedtwin.core.randomness import generator
from fedtwin.federated.data.dataset import Dataset, digits
from fedtwin.federated.models.registry import make_model
from fedtwin.studies import leakage
from fedtwin.studies.attackers import SETTINGS, LeakageOptions, make_scene, mean_pictures
from fedtwin.studies.leakage import (
    CEILING,
    feature_mismatch,
    gradient_mismatch,
    gradients_of,
    infer_label,
    input_of_linear,
    mean_squared_error,
    psnr,
    reconstruct,
)
from fedtwin.studies.leakage_study import Study, bootstrap_interval, draw_grid, leakage_study, main, summarize

DATA = digits()
SMALL = LeakageOptions(samples=2, seen=200, restarts=2, iterations=120)
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def study() -> Study:
    return leakage_study(SMALL)


def one(sample: int) -> tuple[torch.Tensor, torch.Tensor]:
    return DATA.inputs[sample : sample + 1], DATA.labels[sample : sample + 1]


# Figures of merit


def test_psnr_is_the_one_computed_by_hand() -> None:
    gray = torch.full(SHAPE, 0.5)
    assert psnr(gray, gray + 0.1) == pytest.approx(20.0, abs=1e-5)  # MSE 0.01
    half = gray.clone()
    half[:, :4] += 0.2  # half of the pixels off by 0.2: MSE 0.02, 10 log10(50)
    assert mean_squared_error(gray, half) == pytest.approx(0.02)
    assert psnr(gray, half) == pytest.approx(16.9897, abs=1e-4)
    assert psnr(gray, gray) == math.inf
    with pytest.raises(ValueError, match=r"pictures are \(1, 8, 8\) and \(8, 8\)"):
        psnr(gray, gray[0])


def test_roughness_and_overshoot_by_hand() -> None:
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)  # differs by 1 across, by 0 down
    assert float(leakage.roughness(ramp)) == 1.0
    assert float(leakage.overshoot(ramp)) == pytest.approx((0 + 0 + 1 + 4) / 4)


def test_interval_holds_the_mean() -> None:
    low, high = bootstrap_interval([10.0, 12.0, 14.0, 30.0])
    assert 10.0 < low < 16.5 < high < 30.0
    assert bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)


# Labels


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_labels_are_read_off_the_last_layer(name: str, activation: str) -> None:
    for sample in range(0, 1797, 60):
        model = make_model(name, SHAPE, 10, seed=sample, activation=activation)
        *_, weight, bias = gradients_of(model, *one(sample))
        assert infer_label(bias) == infer_label(weight) == int(DATA.labels[sample])


def test_labels_of_a_batch_are_refused() -> None:
    model = make_model("mlp", SHAPE, 10, activation="sigmoid")
    batch = DATA.inputs[:2], DATA.labels[:2]
    with pytest.raises(ValueError, match="there are 2 samples with labels"):
        gradients_of(model, *batch)
    loss = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
    *_, weight, bias = torch.autograd.grad(loss, list(model.parameters()))
    for gradient in (weight, bias):
        with pytest.raises(ValueError, match=r"points to the labels \[0, 1\], must be of a single sample"):
            infer_label(gradient)


@pytest.mark.parametrize("shape", [(), (2, 4), (3, 4, 5)])
def test_gradients_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="gradient is"):
        infer_label(torch.zeros(shape))


# The attack


def test_the_picture_itself_matches_what_was_seen() -> None:
    model = make_model("mlp", SHAPE, 10, activation="sigmoid").double()
    picture, label = one(3)
    picture = picture.double()
    head = model.split(1)[0]
    gradients = gradient_mismatch(model, gradients_of(model, picture, label), label)
    features = feature_mismatch(head, head(picture).detach())
    for mismatch in (gradients, features):
        assert mismatch(picture.clone().requires_grad_()).item() == 0.0
        assert mismatch((picture + 0.1).requires_grad_()).item() > 1e-4


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_linear_layer_shows_its_input(name: str) -> None:
    model = make_model(name, SHAPE, 10, activation="tanh").double()
    picture, label = one(5)
    blocks, first = (0, 0) if name == "mlp" else (2, 4)
    weight, bias = gradients_of(model, picture.double(), label)[first : first + 2]
    expected = model.split(blocks)[0](picture.double()).flatten()
    torch.testing.assert_close(input_of_linear(weight, bias), expected)


def test_a_digit_is_redrawn_from_plain_gradients() -> None:
    model = make_model("mlp", SHAPE, 10, seed=1, activation="sigmoid").double()
    picture, label = one(11)
    seen = gradients_of(model, picture.double(), label)
    found, distance = reconstruct(gradient_mismatch(model, seen, label), SHAPE, generator(0, 0, 0), restarts=1)
    assert psnr(picture, found) > 40.0
    assert distance < 1e-6
    again, _ = reconstruct(gradient_mismatch(model, seen, label), SHAPE, generator(0, 0, 0), restarts=1)
    assert torch.equal(found, again)


def test_the_best_attempt_is_kept() -> None:
    def mismatch(picture: torch.Tensor) -> torch.Tensor:
        """Two valleys: 0.2 above nothing at 0, nothing at 1."""
        pixel = picture.mean()
        return (16 * pixel.square() * (1 - pixel).square() + 0.2 * (1 - pixel)).sum()

    low, high = torch.full((1, 1, 2, 2), 0.1), torch.full((1, 1, 2, 2), 0.9)
    options: dict[str, Any] = {"restarts": 1, "iterations": 50}
    for starts in ([low, high], [high, low]):
        found, distance = reconstruct(mismatch, (1, 2, 2), generator(0, 0, 0), starts=starts, **options)
        assert float(found.min()) == pytest.approx(1.0)
        assert distance == pytest.approx(0.0, abs=1e-9)


def test_a_smooth_picture_is_preferred_when_asked_for() -> None:
    target = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]).double()
    rough = [
        float(
            leakage.roughness(
                reconstruct(lambda p: (p - target).square().mean(), (1, 2, 2), generator(0, 0, 0), smoothness=s)[0]
            )
        )
        for s in (0.0, 1.0)
    ]
    assert rough[0] == pytest.approx(2.0)
    assert rough[1] < 0.5


@pytest.mark.parametrize("effort", [{"restarts": 0}, {"iterations": 0}])
def test_no_effort_is_refused(effort: Any) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        reconstruct(torch.sum, SHAPE, generator(0, 0, 0), **effort)


# The study


def test_what_each_attacker_finds(study: Study) -> None:
    assert [row.setting for row in study.rows] == list(SETTINGS)
    mean = {line["setting"]: line["psnr"] for line in summarize(study)}
    assert mean["plain"] == mean["known_head"] == CEILING
    assert max(mean["guessed_head"], mean["learned_head"]) < 10.0
    assert 10.0 < mean["label_only"] < mean["public_data"] < mean["plain"] - 10.0
    assert mean["guessed_head"] < mean["known_start"] < mean["plain"]
    for row in study.rows:
        assert row.labels == tuple(make_scene(SMALL, DATA).attacked.labels.tolist())
        assert all(row.right)
        assert float(row.pictures.min()) >= 0.0
        assert float(row.pictures.max()) <= 1.0
        expected = [min(CEILING, -10 * math.log10(error)) for error in row.mse]
        assert row.psnr == pytest.approx(expected)


def test_falls_are_paired_differences(study: Study) -> None:
    lines = summarize(study)
    assert all(line["fall"] == pytest.approx(lines[0]["psnr"] - line["psnr"]) for line in lines)
    assert all(line["fall_interval"][0] <= line["fall"] <= line["fall_interval"][1] for line in lines)
    assert "fall" not in summarize(Study(study.options, study.rows[1:], study.originals))[0]


def test_a_setting_depends_on_the_seed_alone() -> None:
    quick: dict[str, Any] = {"samples": 1, "seen": 60, "restarts": 1, "iterations": 20, "steps": 10}
    rows = {row.setting: row for row in leakage_study(LeakageOptions(**quick)).rows}
    for row in leakage_study(LeakageOptions(**quick), list(SETTINGS)[::-1]).rows:
        assert row == rows[row.setting]
        assert torch.equal(row.pictures, rows[row.setting].pictures)
    for row in leakage_study(LeakageOptions(**quick, seed=1)).rows:
        assert row != rows[row.setting]


def test_a_head_that_was_never_trained_is_a_known_head() -> None:
    options = LeakageOptions(samples=1, seen=20, restarts=2, steps=0)
    row = leakage_study(options, ["known_start"]).rows[0]
    assert row.psnr == (CEILING,)


def test_convolutions_are_attacked_too() -> None:
    options = LeakageOptions(samples=1, seen=50, restarts=1, iterations=60, model="cnn")
    rows = {row.setting: row for row in leakage_study(options, ["plain", "known_head", "guessed_head"]).rows}
    assert rows["known_head"].psnr[0] > 25.0
    assert rows["guessed_head"].psnr[0] < 12.0
    assert rows["plain"].right == (True,)


def test_scenes_that_can_not_be_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown setting 'plane'; did you mean 'plain'"):
        leakage_study(SMALL, ["plane"])
    with pytest.raises(ValueError, match="samples is 0, must be at least 1"):
        LeakageOptions(samples=0)
    with pytest.raises(ValueError, match="unknown value of model 'vit'"):
        LeakageOptions(model="vit")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the client has 1797 samples of 1797"):
        leakage_study(LeakageOptions(samples=1797, seen=1797))
    with pytest.raises(ValueError, match="seen is 10, must be at least samples = 20"):
        LeakageOptions(seen=10)
    with pytest.raises(ValueError, match="cut is 3, must be at most 2"):
        leakage_study(LeakageOptions(cut=3))
    zeros = DATA.take((DATA.labels == 0).nonzero().flatten())
    with pytest.raises(ValueError, match=r"have the classes \[0\] in common"):
        leakage_study(LeakageOptions(samples=1, seen=10), ["public_data"], zeros)


def test_a_label_without_public_pictures_has_the_mean_of_all() -> None:
    data = Dataset(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]), 2)
    torch.testing.assert_close(mean_pictures(data), torch.tensor([[0.5], [0.5]]).double())


def test_the_grid_shows_every_setting(study: Study) -> None:
    axes = draw_grid(study).axes
    assert len(axes) == 2 * (1 + len(SETTINGS))
    texts = [axis.get_xlabel() for axis in axes]
    assert texts[:4] == ["", "", "≥ 60 dB", "≥ 60 dB"]
    assert texts[-1] == f"{study.rows[-1].psnr[1]:.1f} dB"


def test_the_command_writes_table_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "leakage"
    main(["--samples", "2", "--settings", "label_only,known_head", "--restarts", "2", "--output", str(folder)])
    written = json.loads((folder / "leakage.json").read_text())
    assert [line["setting"] for line in written["table"]] == ["label_only", "known_head"]
    assert written["options"]["samples"] == 2
    assert len(written["rows"][0]["psnr"]) == 2
    assert (folder / "leakage.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob("*.tmp"))
    assert "label_only" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--settings", "plane"], ["--samples", "0"]])
def test_the_command_names_what_is_wrong(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(wrong)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err
