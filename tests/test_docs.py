"""The documentation is what the code says, and its toy system runs through every view."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fedtwin.envs as envs
import gymnasium
import numpy as np
import pytest
from fedtwin.envs.learning import LiveLearning
from fedtwin.envs.simulator import Simulator
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test, render_test
from rounds import begin, random_actions
from test_views import assert_same, play_central, play_parallel

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_pages_are_up_to_date() -> None:
    assert load("generate", DOCS / "generate.py").stale() == []


def test_a_stale_page_is_noticed() -> None:
    generate = load("generate", DOCS / "generate.py")
    text = (DOCS / "systems" / "association.md").read_text()
    assert generate.render("association", text.replace("| `num_clients` |", "| `clients` |")) == text
    with pytest.raises(ValueError, match=r"blocks of association\.md differ"):
        generate.render("association", text.replace("<!-- begin presets -->", ""))


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([\w/.]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def blocks() -> list[str]:
    """Return the code of the page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / "adding_a_system.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The system of the page, taken from its text into one new file."""
    path = tmp_path_factory.mktemp("toy") / "slots.py"
    path.write_text("\n".join(blocks()))
    return load("slots", path).SlotsSystem


@pytest.fixture
def _listed(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of the table."""
    monkeypatch.setitem(envs.SYSTEMS, "slots", toy)
    if "fedtwin/Slots-v0" not in gymnasium.registry:
        envs.register("slots")


TOY_TEST = """
import numpy as np

from fedtwin.envs import make_system
from fedtwin.core.randomness import numbers
from fedtwin.envs.slots import Decision


def test_cost_of_slots_counts_collisions() -> None:
    system = make_system("slots", num_sensors=3, num_slots=2)
    state = system.start(system.draw(numbers(0, 0, 0)))
    cost = system.cost(state, Decision(np.array([1, 0, 1]), np.full(3, 0.1)))
    np.testing.assert_allclose(cost.client_time, 1e-3 * state.packets * [2, 1, 2])
"""
"""The toy's own test, as a newcomer would write it."""

NAMES = ("id", "actions", "observation local", "presets", "parameters", "baselines")
TOY_PAGE = "# Slots and powers\n\nAfter [*A paper*](https://example.org/paper).\n" + "".join(
    f"\n<!-- begin {name} -->\n<!-- end {name} -->\n" for name in NAMES
)
"""The toy's page, before `make docs`."""

COMMANDS = (
    "docs/generate.py",
    "docs/readme.py",
    "docs/generate.py --check",
    "docs/readme.py --check",
    "train.py slots --steps 60 --learn-after 20 --batch 4 --num-envs 4 --held-out 3 --score-every 30 --output trained",
    "evaluate.py slots --methods random ddpg:trained/best.safetensors --twins 3 --jobs 1 --output compared",
    "evaluate.py slots --twins 2 --jobs 1 --output usual",
)
"""What a newcomer runs of the toy, beside its tests."""


@pytest.mark.usefixtures("_listed")
def test_toy_passes_the_official_suites() -> None:
    parallel_api_test(envs.parallel_env("slots", max_cycles=5), num_cycles=20)
    api_test(envs.aec_env("slots", max_cycles=5), num_cycles=20)
    check_env(gymnasium.make("fedtwin/Slots-v0", preset="busy").unwrapped)
    render_test(lambda **params: envs.aec_env("slots", **params))


@pytest.mark.usefixtures("_listed")
def test_toy_is_determined_by_its_seed() -> None:
    assert_same(*(play_parallel(envs.parallel_env("slots"), seed=1) for _ in range(2)))
    assert_same(*(play_central(envs.central_env("slots"), seed=1) for _ in range(2)))


@pytest.mark.usefixtures("_listed")
@pytest.mark.parametrize("device", [None, "cpu"])
def test_toy_vector_equals_single(device: str | None) -> None:
    vector = envs.vector_env("slots", 3, max_cycles=4, device=device)
    loop = gymnasium.vector.SyncVectorEnv([lambda: envs.central_env("slots", max_cycles=4)] * 3)
    np.testing.assert_allclose(np.asarray(vector.reset(seed=2)[0]), loop.reset(seed=2)[0], atol=1e-7)
    loop.action_space.seed(0)
    for _ in range(12):
        actions = loop.action_space.sample()
        for ours, theirs in zip(vector.step(actions)[:4], loop.step(actions)[:4], strict=True):
            np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6)


@pytest.mark.usefixtures("_listed")
def test_toy_cost_equals_its_oracle() -> None:
    system = envs.make_system("slots", num_sensors=5, num_slots=3)
    state, actions = begin(system), random_actions(system, 4)[3]
    decision = system.decide(state, actions)
    cost, slots = system.cost(state, decision), decision.slot.tolist()
    for n in range(5):
        power = 0.01 * 10.0 ** ((float(actions[n, -1]) + 1.0) / 2.0)
        expected = 1e-3 * float(state.packets[n]) * slots.count(slots[n]) * 0.1 / power
        assert cost.client_time[n] == pytest.approx(expected, rel=1e-6)
        assert cost.client_energy[n] == pytest.approx(power * expected, rel=1e-6)
    assert int(system.conflicts(decision)) == 5 - len(set(slots))
    with pytest.raises(ValueError, match="has no turns"):
        system.decide_turn(state, decision, np.array(0), np.array(0))
    with pytest.raises(ValueError, match=r"action of sensor_1 has 3\.0 at place 0"):
        system.decide(state, np.where(np.arange(5)[:, None] == 1, 3.0, actions))


class Stub:
    """Learning whose held-out loss is 1 / (1 + rounds)."""

    settings = SimpleNamespace(score_every=1)

    def __init__(self) -> None:
        self.plans: list[Any] = []

    def build(self, procedure: str, clients: int, seed: int, **options: Any) -> "Stub":
        assert (procedure, options) == ("fedavg", {})
        return Stub()

    def score(self) -> tuple[float, float]:
        return 1.0, 0.0

    def reports(self) -> dict[str, np.ndarray]:
        return {}

    def round(self, plan: Any) -> Any:
        self.plans.append(plan)
        each = np.where(plan.server >= 0, plan.samples, 0)
        loss = 1.0 / (1.0 + len(self.plans))
        return SimpleNamespace(loss=loss, accuracy=0.5, client_loss=each, uplink_bytes=each, downlink_bytes=each)


@pytest.mark.usefixtures("_listed")
@pytest.mark.parametrize("live", [False, True])
def test_toy_remembers_and_shows_what_was_learned(live: bool) -> None:
    system = envs.make_system("slots", progress_weight=3.0)
    learning = LiveLearning(system, Stub(), 2) if live else None  # type: ignore[arg-type]
    simulator = Simulator(system, 2, learning=learning)
    simulator.reset(0)
    assert simulator.observations()[0, 0, 6] == 0.5, "nothing learned yet"
    for cycle in (1, 2):
        outcome = simulator.step(random_actions(system, 2))
        expected = 1 / cycle - 1 / (1 + cycle)
        if not live:
            expected = 2 / (1 + (0.04 * (cycle - 1)) ** 2) - 2 / (1 + (0.04 * cycle) ** 2)
        np.testing.assert_allclose(outcome.progress.loss_decrease, expected)
        np.testing.assert_allclose(simulator.state.loss_decrease, expected)
        np.testing.assert_allclose(simulator.state.learned, 4.0 * cycle)
        np.testing.assert_allclose(simulator.observations()[..., 6], (expected + 1) / 2, rtol=1e-6)
        np.testing.assert_allclose(outcome.reward[:, 0], 3 * expected - outcome.cost.round_time)
    if learning is not None:
        plan = learning.procedures[0].plans[0]
        assert plan.server.tolist() == [0] * 4
        assert plan.samples.tolist() == [16] * 4
        assert outcome.progress.information["uplink_bytes"].tolist() == [[16.0] * 4] * 2


@pytest.mark.usefixtures("_listed")
def test_toy_learns_live() -> None:
    env = envs.parallel_env("slots", learning="live", max_cycles=2)
    env.reset(seed=0)
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    infos = [env.step(actions)[-1]["sensor_0"] for _ in range(2)]
    assert infos[1]["loss"] < infos[0]["loss"]


def changed(copy: Path) -> set[str]:
    """Return the files of the project that a copy has otherwise."""
    files = (path.relative_to(copy) for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path) for path in files if (ROOT / path).exists() and differ(copy / path, ROOT / path)}


def differ(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()


def test_toy_touches_the_files_that_its_page_names(tmp_path: Path) -> None:
    """The contract, the suites of `test_views.py` and the stems accept the system in a copy of the package."""
    copy = tmp_path / "fedtwin"
    left_out = shutil.ignore_patterns(".*", "build", "results", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    (copy / "envs" / "slots.py").write_text("\n".join(blocks()))
    (copy / "tests" / "test_slots.py").write_text(TOY_TEST)
    table, log = copy / "envs" / "__init__.py", copy / "CHANGELOG.md"
    text = table.read_text().replace("from .system import", "from .slots import SlotsSystem\nfrom .system import")
    end = ",\n}\n\n\ndef make_system"
    assert text.count(end) == 1
    table.write_text(text.replace(end, f',\n    "slots": SlotsSystem{end}'))
    log.write_text(log.read_text().replace("(unreleased)\n", "(unreleased)\n\n- The slots system.", 1))
    page = (DOCS / "adding_a_system.md").read_text()
    (existing,) = re.findall(r"Lines in files that exist:\n\n(.*?)\n\nNew files", page, re.DOTALL)
    (copy / "docs" / "systems" / "slots.md").write_text(TOY_PAGE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for line in COMMANDS:
        done = subprocess.run(
            [sys.executable, *line.split()], cwd=copy, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
        assert "Traceback" not in done.stderr
    assert changed(copy) == set(re.findall(r"^- `([\w/.]+)`", existing, re.MULTILINE))
    assert len(changed(copy)) <= 3
    assert (
        "| [`slots`](docs/systems/slots.md) | `fedtwin/Slots-v0` | slots and powers |"
        in (copy / "README.md").read_text()
    )
    assert "| `random` | Random actions" in (copy / "docs" / "systems" / "slots.md").read_text()
    selected = "slots or stems_agree or pages or table_of_systems"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selected]
    tests = [f"tests/test_{stem}.py" for stem in ("slots", "systems", "views", "vector", "packaging", "docs", "readme")]
    done = subprocess.run([*command, *tests], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    collected = subprocess.run(
        [*command, "--collect-only", *tests], cwd=copy, env=environment, capture_output=True, text=True, check=True
    ).stdout
    for test in ("test_views.py", "test_vector.py", "test_systems.py"):
        assert re.search(rf"{test}::.*\[slots-", collected), test
