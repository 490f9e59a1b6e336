"""Presets as flat TOML files.

`figures/`: one per published figure or table, read by `--figure`; those that name an agent are trainings.
`training/`: recipes `<system>_<agent>.toml` (the default) and `<system>_<agent>_<preset>.toml`: hyperparameters of the
agent beside parameters of the system.
"""

import functools
import tomllib
from importlib import resources
from typing import Any


@functools.cache
def names(folder: str) -> tuple[str, ...]:
    """Return the names of the presets of a folder, in their order."""
    files = resources.files(__name__).joinpath(folder).iterdir()
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in files if entry.name.endswith(".toml")))


def read(folder: str, name: str) -> dict[str, Any]:
    """Read a preset: keys with their values."""
    return tomllib.loads(resources.files(__name__).joinpath(folder, f"{name}.toml").read_text(encoding="utf-8"))
