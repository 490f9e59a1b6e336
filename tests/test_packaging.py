"""The house stays in order: names agree everywhere, and a wheel carries all that a user needs."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fedtwin.baselines import SOLVERS
from fedtwin.core import compiling
from fedtwin.envs import SYSTEMS
from mutate import check_texts

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_code_is_packaged() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    folders = [path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py") if path.parts[-2] != "tests"]
    found = {".".join(("fedtwin", *folder.parts)) for folder in folders if not str(folder).startswith(".")}
    assert listed == {"fedtwin", *found}


def test_every_mutation_finds_its_text() -> None:
    check_texts()


def test_only_the_command_lines_stand_in_the_root() -> None:
    scripts = {target.split(":")[0].removeprefix("fedtwin.") for target in PROJECT["project"]["scripts"].values()}
    assert {path.stem for path in ROOT.glob("*.py")} == scripts


@pytest.mark.parametrize("name", SYSTEMS)
def test_stems_agree(name: str) -> None:
    assert SYSTEMS[name].name == name
    assert set(SOLVERS) <= set(SYSTEMS)
    solved = (f"baselines/{name}.py",) if name in SOLVERS else ()
    for path in (f"envs/{name}.py", f"tests/test_{name}.py", f"docs/systems/{name}.md", *solved):
        assert (ROOT / path).is_file()
    assert SYSTEMS[name].__module__ == f"fedtwin.envs.{name}"


def test_physics_knows_no_learning_and_no_chance() -> None:
    known = {"array_api_compat", "collections", "core", "dataclasses", "functools", "math", "numpy", "typing"}
    own = {path.stem for path in (ROOT / "twin").glob("*.py")}
    for path in (ROOT / "twin").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or node.names[0].name
                assert module.split(".")[0] in known | own, path
                assert module != "core.randomness", path


@pytest.mark.parametrize("kept", [True, False])
def test_kernels_compile_where_their_package_is_read_only(kept: bool, tmp_path: Path) -> None:
    package, caches = tmp_path / "fedtwin", tmp_path / "caches"
    shutil.copytree(ROOT / "baselines", package / "baselines", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("core", "envs", "federated", "twin"):
        (package / name).symlink_to(ROOT / name)
    # Where a file has the name of a folder, nobody can write into the folder.
    (package / "baselines" / "__pycache__").touch()
    if not kept:
        caches.touch()
    places = {"HOME": str(caches), "XDG_CACHE_HOME": str(caches), "NUMBA_CACHE_DIR": "", "PYTHONPATH": str(tmp_path)}
    probe = (
        "import math; from fedtwin.baselines import split_point_kernel as kernel;"
        f"assert kernel.__file__.startswith({str(tmp_path)!r}), kernel.__file__;"
        "snr = kernel.own_band_snr(0.5); assert math.isclose(math.log1p(snr), 0.5 * snr)"
    )
    command = [sys.executable, *(["-W", "error"] if kept else []), "-c", probe]
    done = subprocess.run(command, check=True, env={**os.environ, **places}, capture_output=True, text=True)
    assert done.stderr.count("RuntimeWarning: compiled code can not be kept") == (0 if kept else 1)
    assert bool([*tmp_path.glob("caches/**/*own_band_snr*.nbc")]) == kept


ROUND = (
    "from fedtwin.core.randomness import generator, numbers; from fedtwin.envs.association import *;"
    "system = AssociationSystem(AssociationParams()); state = system.start(system.draw(numbers(0, 0, 0)));"
    "made = system.random_feasible(generator(0, 0, 0));"
    "import sys; print(float(system.cost(state, made).system_cost), flush=True); sys.stdin.readline();"
    "from fedtwin.baselines.association import kernel, problem_of;"
    "print(kernel.round_cost(problem_of(system, state), made.server, made.channel), kernel.__file__)"
)
"""Prints the cost of a round, waits for a line, and prints it as the compiled solvers compute it."""


def test_a_changed_equation_is_compiled_anew(tmp_path: Path) -> None:
    """numba keeps the code of a function until its own file changes; those it calls stand in other files."""
    package = tmp_path / "fedtwin"
    for name in ("baselines", "core", "envs", "federated", "twin"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    places = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    radio, costs = package / "twin" / "radio.py", []
    for nats in ("2.0", "4.0", "8.0"):
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", ROUND], env=places, text=True, **pipes) as process:
            assert process.stdout is not None
            costs.append(float(process.stdout.readline()))
            # What is compiled from now on is what was imported before.
            text = radio.read_text()
            changed = text.replace(
                f"xp.log1p(sinr) / math.log({nats})", f"xp.log1p(sinr) / math.log({2 * float(nats)})"
            )
            assert changed != text
            radio.write_text(changed)
            compiled, file = process.communicate("\n")[0].split()
        assert file.startswith(str(tmp_path))
        assert float(compiled) == pytest.approx(costs[-1], rel=1e-9)
    assert len(set(costs)) == 3


@pytest.mark.parametrize("value", ["", "0", "1", "true"])
def test_numba_may_be_told_not_to_compile(value: str) -> None:
    probe = "from fedtwin.core.compiling import worth_compiling; print(worth_compiling(10**9))"
    places = {**os.environ, "NUMBA_DISABLE_JIT": value}
    done = subprocess.run([sys.executable, "-c", probe], check=True, env=places, capture_output=True, text=True)
    assert done.stdout.strip() == str(value in ("", "0"))


def test_code_that_can_not_be_marked_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba's index is its own affair: should it change, stale code must not come back."""
    import numba

    def njit(**options: Any) -> Any:
        class Compiled:
            def __init__(self, function: Any) -> None:
                self.options = options

        return Compiled

    monkeypatch.setattr(numba, "njit", njit)
    compiling.warn_of_no_folder.cache_clear()
    with pytest.warns(RuntimeWarning, match="keeps it in an unknown way"):
        made: Any = compiling.cached_njit(fastmath=True)(test_code_that_can_not_be_marked_is_not_kept)
    assert made.options == {"fastmath": True}


def test_only_plain_equations_are_compilable() -> None:
    def of_default(*, x: float, gain: float = 2.0) -> float:
        return gain * x

    with pytest.raises(ValueError, match="of_default has defaults or is a closure"):
        compiling.compilable(of_default)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "results", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_presets_template_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"fedtwin/evaluate.py", "fedtwin/evaluation/report.html", "fedtwin/experiments/figures/demo.toml"} <= names
    assert {path.name for path in (ROOT / "experiments/training").glob("*.toml")} == {
        Path(name).name for name in names if name.startswith("fedtwin/experiments/training/")
    }
    assert "fedtwin/envs/py.typed" in names
    assert not any("tests" in name or "benchmarks" in name for name in names)


def test_the_wheel_works_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    probe = (
        "import gymnasium as gym, fedtwin.envs as envs, numpy as np, pathlib;"
        f"assert str(pathlib.Path(envs.__file__)).startswith({str(site)!r}), envs.__file__;"
        "env = gym.make('fedtwin/Association-v1', num_clients=4);"
        "env.reset(seed=0); env.step(env.action_space.sample());"
        "gym.make('fedtwin.envs:fedtwin/Association-v1');"
        "from fedtwin.baselines import SOLVERS; from fedtwin.core.randomness import numbers;"
        "system = envs.make_system('association', num_clients=4);"
        "SOLVERS['association']['d3qn'](system, system.start(system.draw(numbers(0, 0, 0))))"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, cwd=tmp_path, env=environment)
    command = ["--figure", "demo", "--twins", "2", "--rounds", "1", "--methods", "greedy", "--jobs", "1"]
    program = [sys.executable, "-c", "from fedtwin.evaluate import main; main()", *command]
    done = subprocess.run(program, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "report:" in done.stdout
    assert (tmp_path / "results" / "demo" / "report.html").is_file()


def test_what_the_benchmark_of_starts_does_still_works() -> None:
    script = "from startup import WORK, cpu_seconds; print(*(name for name in WORK if cpu_seconds(WORK[name]) > 0.0))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert "first step" in done.stdout
