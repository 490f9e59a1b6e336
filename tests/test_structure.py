"""The code keeps to its plan: imports lead downwards, files know their own system, functions are short."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_docs import load

ROOT = Path(__file__).parent.parent
structure: Any = load("structure", ROOT / "tools" / "structure.py")


@pytest.fixture(scope="module")
def modules() -> Any:
    return structure.read(ROOT)


@pytest.fixture(scope="module")
def arrows(modules: Any) -> Any:
    return structure.arrows(structure.packaged(modules))


def test_every_package_has_a_floor(modules: Any) -> None:
    assert {module.package for module in structure.packaged(modules)} <= set(structure.FLOORS)


def test_imports_lead_downwards(arrows: Any) -> None:
    assert [str(arrow) for arrow in structure.upward(arrows)] == []


def test_packages_do_not_import_in_a_circle(arrows: Any) -> None:
    assert structure.circles(arrow.packages for arrow in arrows) == []


def test_modules_do_not_import_in_a_circle(arrows: Any) -> None:
    assert structure.circles((arrow.source, arrow.target) for arrow in arrows) == []


def test_no_file_names_the_system_of_another(modules: Any) -> None:
    assert [f"{module.path}:{line} {stem}" for module, line, stem in structure.namings(modules)] == []


def test_functions_are_short_and_simple(modules: Any) -> None:
    assert structure.too_long(structure.all_functions(modules)) == []


def loaded(work: str) -> set[str]:
    """Return what modules a new process has loaded when it has done its work."""
    code = f"import atexit, sys\natexit.register(lambda: print('loaded', *sys.modules))\n{work}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_datasets_load_neither_environments_nor_a_command_line() -> None:
    found = loaded(
        "import importlib, pkgutil\n"
        "data = importlib.import_module('fedtwin.federated.data')\n"
        "for each in pkgutil.iter_modules(data.__path__):\n"
        "    importlib.import_module(f'{data.__name__}.{each.name}')"
    )
    assert "fedtwin.federated.data.dataset" in found
    assert not {"gymnasium", "pettingzoo", "tyro"} & found


LEARNING = {"matplotlib", "sklearn", "stable_baselines3", "tensorboard", "torch"}


def test_environments_load_no_compiler() -> None:
    assert not (LEARNING | {"numba", "rich", "scipy", "tyro"}) & loaded("import fedtwin.envs")


def test_environments_on_numpy_load_no_learning() -> None:
    found = loaded(
        "import fedtwin.envs as envs, gymnasium\n"
        "for name in envs.SYSTEMS:\n"
        "    for make in (gymnasium.make, gymnasium.make_vec):\n"
        "        env = make(envs.environment_id(name))\n"
        "        env.reset(seed=0)\n"
        "        env.step(env.action_space.sample())\n"
        "    env = envs.parallel_env(name)\n"
        "    env.reset(seed=0)\n"
        "    env.step({agent: env.action_space(agent).sample() for agent in env.agents})"
    )
    assert "fedtwin.envs.views.vector" in found
    assert not (LEARNING | {"rich", "scipy.optimize", "scipy.stats", "tyro"}) & found


def test_a_first_step_needs_no_compiler() -> None:
    found = loaded(
        "import fedtwin.envs as envs, gymnasium\n"
        "for name in envs.SYSTEMS:\n"
        "    env = gymnasium.make(envs.environment_id(name))\n"
        "    env.reset(seed=0)\n"
        "    env.step(env.action_space.sample())"
    )
    assert not (LEARNING | {"numba", "rich", "scipy.optimize", "scipy.stats", "tyro"}) & found


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_help_loads_no_learning(command: str) -> None:
    found = loaded(f"from fedtwin.{command} import main\nmain(['--help'])")
    assert "tyro" in found
    assert not (LEARNING | {"joblib", "scipy.optimize", "scipy.stats"}) & found


FILES = {
    "core/__init__.py": "",
    "core/arrays.py": "from ..twin import radio",
    "twin/__init__.py": "",
    "twin/radio.py": """
        from typing import TYPE_CHECKING
        import numpy
        from ..core.arrays import namespace

        if TYPE_CHECKING:
            from fedtwin.envs import System

        def rate():
            from . import rounds

            def inner():
                return importlib.import_module("..envs.spectrum", __package__)
        """,
    "twin/rounds.py": "import fedtwin.twin.radio as radio",
    "envs/__init__.py": """
        from .spectrum import SpectrumSystem
        from .system import System

        SYSTEMS: dict[str, type[System]] = {"spectrum": SpectrumSystem}
        default = "spectrum"
        """,
    "envs/spectrum.py": '''
        """A docstring
        of two lines."""  # a comment

        LINES = """one
        two"""
        """What LINES is."""

        class SpectrumSystem:
            name = "spectrum"
        ''',
    "envs/system.py": "class System: ...",
    "envs/spectrum_kernel.py": "def kernel():\n" + "    x = 1\n" * 70,
    "tests/test_spectrum.py": "spectrum = 'spectrum'",
    "tests/test_views.py": "spectrum = 'spectrum'",
    "train.py": """
        from fedtwin.envs import spectrum

        def main():
            return [x for x in range(3) if x and x > 1 or not x] if 2 else 1
        """,
    ".venv/lib/hidden.py": "this is not read",
    "build/lib/train.py": "nor is this",
}
"""A checkout of the smallest size in which everything goes wrong that can."""


@pytest.fixture
def small(tmp_path: Path) -> Any:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.splitlines()
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        path.write_text("\n".join(line[margin:] for line in lines).strip("\n") + "\n")
    return structure.read(tmp_path)


def test_imports_are_found_wherever_they_stand(small: Any) -> None:
    assert {(arrow.source, arrow.target, arrow.where) for arrow in structure.arrows(structure.packaged(small))} == {
        ("core.arrays", "twin.radio", ""),
        ("twin.radio", "core.arrays", ""),
        ("twin.radio", "envs", "for types only"),
        ("twin.radio", "twin.rounds", "in a function"),
        ("twin.radio", "envs.spectrum", "in a function"),
        ("twin.rounds", "twin.radio", ""),
        ("envs", "envs.spectrum", ""),
        ("envs", "envs.system", ""),
        ("train", "envs.spectrum", ""),
    }


def test_arrows_upwards_and_circles_are_found(small: Any) -> None:
    found = structure.arrows(structure.packaged(small))
    assert [(a.source, a.target) for a in structure.upward(found)] == [
        ("core.arrays", "twin.radio"),
        ("twin.radio", "envs"),
        ("twin.radio", "envs.spectrum"),
    ]
    assert structure.circles(arrow.packages for arrow in found) == [["core", "twin", "core"]]
    assert len(structure.circles((arrow.source, arrow.target) for arrow in found)) == 2


def test_a_package_without_a_floor_may_not_be_imported() -> None:
    assert structure.upward([structure.Arrow("train", "storage.files", 1, "")])
    assert structure.upward([structure.Arrow("storage.files", "core.arrays", 1, "")])
    assert structure.upward([structure.Arrow("train", "evaluate", 1, "")])


def test_lines_of_code_are_without_docstrings_comments_and_blanks(small: Any) -> None:
    counts = {module.name: structure.code_lines(module) for module in small}
    assert counts["envs.spectrum"] == 4
    assert counts["core"] == 0
    assert counts["twin.radio"] == 9


def test_names_are_found_outside_the_systems_own_files(small: Any) -> None:
    assert structure.stems(small) == ("spectrum",)
    found = [(str(module.path), line) for module, line, _ in structure.namings(small)]
    assert found == [("envs/__init__.py", 5), ("train.py", 1), ("twin/radio.py", 12)]
    users = [(str(module.path), line) for module, line, _ in structure.namings(small, users=True)]
    assert users == [*found[:1], ("tests/test_views.py", 1), ("tests/test_views.py", 1), *found[1:]]


def test_functions_are_measured(small: Any) -> None:
    found = {each.name: each for each in structure.all_functions(small)}
    assert {name: (each.length, each.paths, each.compiled) for name, each in found.items()} == {
        "rate": (5, 1, False),
        "inner": (2, 1, False),
        "kernel": (71, 1, True),
        "main": (2, 6, False),
    }
    long = found["kernel"]._replace(compiled=False, paths=16)
    assert [text.split(": ")[1] for text in structure.too_long([*found.values(), long])] == [
        "71 lines, must be at most 60",
        "complexity 16, must be at most 15",
    ]


def test_the_command_fails_where_something_is_wrong(small: Any, tmp_path: Path, capsys: Any) -> None:
    for question, status in {"imports": 1, "lines": 0, "functions": 0, "names": 1}.items():
        with pytest.raises(SystemExit) as end:
            structure.main([question, "--root", str(tmp_path)])
        assert end.value.code == status, question
    text = capsys.readouterr().out
    assert "upwards: core.arrays -> twin.radio (line 1)" in text
    assert "envs/spectrum.py: 9 lines with everything" in text
