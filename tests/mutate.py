"""Breaks the physics on purpose, one named change at a time, and checks that the tests notice every one.

Run `make mutate`. The mutations of a part of the package stand in `mutations/<stem>.py`. Each is applied to a copy of
the package; a mutation that the tests survive is a failure.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("agents", "baselines", "core", "envs", "evaluation", "experiments", "federated", "studies", "tests", "twin")


class Mutation(NamedTuple):
    """One change: in `file`, the only occurrence of `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    """What must fail; empty: `TESTS` of the file."""


def read_mutations() -> list[Mutation]:
    """Return the mutations of every file, each with the tests that must notice it."""
    found = []
    for path in sorted((Path(__file__).parent / "mutations").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"mutations_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [each._replace(tests=each.tests or module.TESTS) for each in module.MUTATIONS]
    return found


def check_texts() -> None:
    """Raise unless the text of every mutation stands exactly once."""
    for mutation in read_mutations():
        count = (ROOT / mutation.file).read_text().count(mutation.old)
        if count != 1:
            raise ValueError(f"{mutation.name}: {mutation.old!r} stands {count} times in {mutation.file}")


def survives(mutation: Mutation) -> bool:
    """Apply the mutation to a copy and run the tests; true if they pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "fedtwin"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        target = copy / mutation.file
        target.write_text(target.read_text().replace(mutation.old, mutation.new, 1))
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        probe = "import fedtwin.twin.radio as r, sys; sys.exit(not r.__file__.startswith(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", probe, folder], check=True, env=environment, cwd=folder)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.tests]
        done = subprocess.run(command, env=environment, cwd=copy, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{mutation.name}: the tests did not run\n{done.stdout[-2000:]}")
        return done.returncode == 0


def main() -> None:
    """Run every mutation; end with status 1 if one survives."""
    check_texts()
    mutations = read_mutations()
    unharmed = Mutation("nothing", "twin/radio.py", '"""The radio link', '"""The radio link', ("tests/test_twin.py",))
    if not survives(unharmed):
        raise SystemExit("the tests fail without any mutation")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survived = []
        for mutation, alive in zip(mutations, pool.map(survives, mutations), strict=True):
            print(f"{'SURVIVED' if alive else 'killed'}: {mutation.name}", flush=True)
            survived += [mutation.name] * alive
    print(f"{len(mutations) - len(survived)} of {len(mutations)} mutations killed")
    raise SystemExit(bool(survived))


if __name__ == "__main__":
    main()
