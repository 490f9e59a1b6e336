"""The documentation is what the code says, and its toy system runs through every view."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import fedtwin.envs as envs
import gymnasium
import numpy as np
import pytest
from fedtwin.core.randomness import generator
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test, render_test
from test_views import assert_same, play_central, play_parallel

DOCS = Path(__file__).parent.parent / "docs"


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


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The system of the page, taken from its text into one new file."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "adding_a_system.md").read_text(), re.DOTALL)
    path = tmp_path_factory.mktemp("toy") / "slots.py"
    path.write_text(code)
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
from fedtwin.core.randomness import generator


def test_cost_of_slots_counts_collisions() -> None:
    system = make_system("slots", num_sensors=3, num_slots=2)
    state = system.start(system.draw(generator(0, 0, 0)))
    cost = system.cost(state, system.decide(state, np.array([1, 0, 1])))
    np.testing.assert_allclose(cost.air_time, 1e-3 * state.packets * [2, 1, 2])
"""
"""The toy's own test, as a newcomer would write it."""


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
    vector = envs.vector_env("slots", 3, max_cycles=4, device=device, shared_draws=False)
    loop = gymnasium.vector.SyncVectorEnv([lambda: envs.central_env("slots", max_cycles=4)] * 3)
    np.testing.assert_allclose(np.asarray(vector.reset(seed=2)[0]), loop.reset(seed=2)[0], atol=1e-7)
    loop.action_space.seed(0)
    for _ in range(12):
        actions = loop.action_space.sample()
        for ours, theirs in zip(vector.step(actions)[:4], loop.step(actions)[:4], strict=True):
            np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6)


@pytest.mark.usefixtures("_listed")
def test_toy_cost_equals_its_oracle(toy: Any) -> None:
    system = envs.make_system("slots", num_sensors=5, num_slots=3)
    state = system.start(system.draw(generator(0, 0, 0)))
    slots = np.array([0, 2, 0, 0, 1])
    cost = system.cost(state, system.decide(state, slots))
    expected = [1e-3 * packets * slots.tolist().count(slot) for packets, slot in zip(state.packets, slots, strict=True)]
    np.testing.assert_allclose(cost.air_time, expected)
    with pytest.raises(ValueError, match="has no turns"):
        system.decide_turn(state, None, np.array(0), np.array(0))
    with pytest.raises(ValueError, match="action of sensor_1 is 3"):
        system.decide(state, np.array([0, 3, 0, 0, 0]))


def test_toy_needs_one_file_one_line_and_its_test(tmp_path: Path) -> None:
    """The suites of `test_views.py` and the stems accept the system in a copy of the package."""
    root = DOCS.parent
    copy = tmp_path / "fedtwin"
    left_out = shutil.ignore_patterns(".*", "build", "results", "*.egg-info", "__pycache__")
    shutil.copytree(root, copy, ignore=left_out)
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "adding_a_system.md").read_text(), re.DOTALL)
    (copy / "envs" / "slots.py").write_text(code)
    (copy / "tests" / "test_slots.py").write_text(TOY_TEST)
    table = copy / "envs" / "__init__.py"
    text = table.read_text().replace("from .system import", "from .slots import SlotsSystem\nfrom .system import")
    end = ",\n}\n\n\ndef make_system"
    assert text.count(end) == 1
    table.write_text(text.replace(end, f',\n    "slots": SlotsSystem{end}'))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "slots or stems or pages"]
    tests = ["tests/test_slots.py", "tests/test_views.py", "tests/test_packaging.py", "tests/test_docs.py"]
    done = subprocess.run([*command, *tests], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (
        "slots-0"
        in subprocess.run(
            [*command, "--collect-only", *tests], cwd=copy, env=environment, capture_output=True, text=True, check=True
        ).stdout
    )
