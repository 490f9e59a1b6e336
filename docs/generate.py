"""Writes the tables of `docs/systems/*.md` from the code; `--check` only says whether they are up to date."""

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedtwin.envs import SYSTEMS, environment_id, make_system
from fedtwin.envs.observations import Field
from fedtwin.envs.system import System
from fedtwin.evaluation.methods import methods_of

PAGES = Path(__file__).parent / "systems"
BLOCK = re.compile(r"<!-- begin (?P<name>[\w ]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Lay out a Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "| " + " | ".join("---" for _ in headings) + " |"]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def limits(metadata: Mapping[str, Any]) -> str:
    """Say what a parameter may be."""
    parts = []
    if metadata["above"] > float("-inf"):
        parts.append(f"above {metadata['above']:g}")
    if metadata["at_least"] > float("-inf"):
        parts.append(f"at least {metadata['at_least']:g}")
    if metadata["at_most"] < float("inf"):
        parts.append(f"at most {metadata['at_most']:g}")
    if metadata["infinite"]:
        parts.append("or inf")
    if metadata["per"]:
        parts.append(f"one, or one per {metadata['per'].removeprefix('num_').removesuffix('s')}")
    return ", ".join(parts)


def parameters(name: str) -> str:
    """Tabulate the parameters of a system."""
    rows = []
    for field in dataclasses.fields(SYSTEMS[name].params_type):
        meta = field.metadata
        choices = ", ".join(getattr(field.type, "__args__", ())) if "Literal" in str(field.type) else limits(meta)
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        rows.append((f"`{field.name}`", meta["symbol"], meta["unit"], default, choices, meta["doc"]))
    return table(("parameter", "symbol", "unit", "default", "limits", "meaning"), rows)


def presets(name: str) -> str:
    """Tabulate the presets of a system."""
    rows = [
        (f"`{preset}`", ", ".join(f"`{key}={value}`" for key, value in values.items()))
        for preset, values in SYSTEMS[name].presets.items()
    ]
    return table(("preset", "parameters"), rows)


def formula(field: Field) -> str:
    """Say how a quantity is normalised."""
    if field.scale == "log":
        return f"log(x / {field.low:.3g}) / log({field.high:.3g} / {field.low:.3g})"
    return f"(x - {field.low:.3g}) / {field.high - field.low:.3g}" if field.low else f"x / {field.high:.3g}"


def observation(system: System) -> str:
    """Tabulate what an agent sees."""
    rows = [
        (field.name, field.symbol, field.unit, str(field.size), formula(field), field.source)
        for field in system.observation_fields
    ]
    return table(("field", "symbol", "unit", "numbers", "becomes, clipped to [0, 1]", "source"), rows)


def values(field: Field) -> str:
    """Say what a decided quantity may be."""
    scale = ", log scale" if field.scale == "log" else ""
    return f"{field.low:g}..{field.high:g} {field.unit}".rstrip() + scale


def actions(system: System) -> str:
    """Tabulate what an agent decides; for a box, with how many numbers of the action."""
    if not system.action_size:
        return table(
            ("field", "symbol", "values"),
            [(field.name, field.symbol, values(field)) for field in system.actions.fields],
        )
    rows = [(field.name, field.symbol, str(field.size), values(field), field.source) for field in system.actions.fields]
    return table(("field", "symbol", "numbers in -1..1", "become", "source"), rows)


def baselines(name: str) -> str:
    """Tabulate the solvers with the first line of their docstrings."""
    rows = [(f"`{method}`", str(solve.__doc__).strip().split("\n")[0]) for method, solve in methods_of(name).items()]
    return table(("method", "what it does"), rows)


def blocks(name: str) -> dict[str, Callable[[], str]]:
    """Return the generators of a page's blocks."""
    made: dict[str, Callable[[], str]] = {
        "parameters": lambda: parameters(name),
        "presets": lambda: presets(name),
        "actions": lambda: actions(make_system(name)),
        "baselines": lambda: baselines(name),
        "id": lambda: f"`{environment_id(name)}`, `envs.parallel_env({name!r})`, `envs.vector_env({name!r}, 1024)`",
    }
    for kind, params in SYSTEMS[name].observation_kinds.items():
        made[f"observation {kind}"] = lambda params=params: observation(make_system(name, **params))  # type: ignore[misc]
    return made


def render(name: str, text: str) -> str:
    """Fill every block of a page.

    Raises:
        ValueError: the page lacks a block, or has one that nothing fills.
    """
    made = blocks(name)
    found = {match["name"] for match in BLOCK.finditer(text)}
    if found != set(made):
        raise ValueError(f"blocks of {name}.md differ: {sorted(found ^ set(made))}")
    return BLOCK.sub(lambda m: f"<!-- begin {m['name']} -->\n{made[m['name']]()}\n<!-- end {m['name']} -->", text)


def stale() -> list[Path]:
    """Return the pages whose tables are not what the code says."""
    pages = [PAGES / f"{name}.md" for name in SYSTEMS]
    return [page for page in pages if render(page.stem, page.read_text()) != page.read_text()]


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a page is stale")
    arguments = parser.parse_args()
    for page in stale():
        if arguments.check:
            raise SystemExit(f"{page} is stale: run `make docs`")
        page.write_text(render(page.stem, page.read_text()))
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
