"""Every example runs, with small settings, and says what it reached."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_supersuit(load: Callable[[str], Any], capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
    trained, random = load("stable_baselines3_supersuit").main(algorithm, steps=512, clients=4, episodes=1)
    assert trained > 0.0
    assert random > 0.0
    assert said(capsys).startswith(f"{algorithm} through SuperSuit, 4 clients")


@pytest.mark.parametrize(
    ("algorithm", "decisions"), [("dqn", "sequential"), ("ppo", "sequential"), ("ppo", "simultaneous")]
)
def test_central(
    load: Callable[[str], Any], capsys: pytest.CaptureFixture[str], algorithm: str, decisions: str
) -> None:
    trained, random = load("stable_baselines3_central").main(algorithm, decisions, steps=512, clients=4, episodes=1)
    assert trained > 0.0
    assert random > 0.0
    assert said(capsys).startswith(f"{algorithm} on {decisions} decisions")


def test_dqn_is_refused_where_all_decide_at_once(load: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="MultiDiscrete"):
        load("stable_baselines3_central").main("dqn", "simultaneous")


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_split_point(load: Callable[[str], Any], capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
    trained, random = load("stable_baselines3_split_point").main(algorithm, steps=300, vehicles=4, episodes=1)
    assert trained > 0.0
    assert random > 0.0
    assert said(capsys).startswith(f"{algorithm} on split_point with 4 vehicles")


@pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested:UserWarning")
def test_torchrl_is_much_faster_in_batches(load: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    factor = load("torchrl_batched").main(num_envs=256, rounds=20, clients=8)
    assert factor > 10.0
    assert said(capsys).endswith("no random action was illegal")


# Raised inside BenchMARL 1.5.2 and TorchRL 0.11.1 as they use each other and torch 2.13.
@pytest.mark.filterwarnings("ignore:.*inherits from WeightUpdaterBase is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:SyncDataCollector has been deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated:UserWarning")
@pytest.mark.parametrize("algorithm", ["ippo", "iql"])
def test_benchmarl(load: Callable[[str], Any], capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
    reached = load("benchmarl_association").main(algorithm, iterations=1, num_envs=8, clients=4)
    assert reached > 0.0
    assert said(capsys).startswith(f"BenchMARL {algorithm}, 4 clients, 200 rounds")


def test_rllib_samples_no_illegal_action(load: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    reached = load("rllib_ppo").main(rounds=64, clients=4)
    assert reached["out_of_energy"] > 0
    assert reached["illegal"] == 0
    assert said(capsys).endswith("0 actions were illegal")


@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
def test_rllib_counts_illegal_actions_of_a_policy_without_the_mask(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = load("rllib_ppo")
    monkeypatch.setattr(example, "FLOAT_MIN", 0.0)
    assert example.main(rounds=64, clients=4)["illegal"] > 0
