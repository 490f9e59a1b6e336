"""Trained agents that the package ships, by name: `agents/pretrained/<name>-v<version>.safetensors`."""

import functools
import re
from importlib import resources
from pathlib import Path

from ..core.checks import unknown_name

SHIPPED = re.compile(r"(?P<name>[\w-]+)-v(?P<version>\d+)\.safetensors")


@functools.lru_cache(maxsize=1)
def shipped_weights() -> dict[str, Path]:
    """Return the files of the shipped agents by name, without version (the newest) and with it."""
    folder = Path(str(resources.files("fedtwin.agents").joinpath("pretrained")))
    found = [(match, path) for path in folder.glob("*.safetensors") if (match := SHIPPED.fullmatch(path.name))]
    found.sort(key=lambda pair: int(pair[0]["version"]))
    versions = {path.name.removesuffix(".safetensors"): path for _, path in found}
    return {**{match["name"]: path for match, path in found}, **versions}


def find_weights(path: str | Path) -> Path:
    """Return the file `path`, or the file of the shipped agent of that name.

    Raises:
        FileNotFoundError: there is neither; the shipped names are given.
    """
    if Path(path).is_file():
        return Path(path)
    shipped = shipped_weights()
    if str(path) in shipped:
        return shipped[str(path)]
    raise FileNotFoundError(f"{unknown_name('agent', str(path), shipped)}, and there is no such file")
