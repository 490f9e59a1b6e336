"""Writes the README's table of systems from the registry and their pages; `--check` only says whether it is fresh."""

import argparse
import re
from pathlib import Path

from fedtwin.envs import SYSTEMS, environment_id

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- begin systems -->\n).*?(<!-- end systems -->)", re.DOTALL)
TITLE = re.compile(r"# (.+)\n")
PAPER = re.compile(r"\[\*(.+?)\*\]\((\S+)\)", re.DOTALL)


def systems() -> str:
    """Tabulate the systems: the heading of each page says what is decided, the first link in italics is its paper.

    Raises:
        ValueError: a page has no heading, or names no paper.
    """
    lines = ["| system | environment | decides | paper |", "| --- | --- | --- | --- |"]
    for name in SYSTEMS:
        page = f"docs/systems/{name}.md"
        text = (ROOT / page).read_text()
        title, paper = TITLE.match(text), PAPER.search(text)
        if title is None or paper is None:
            raise ValueError(f"{page} must begin with '# ' and its heading, and link its paper as [*title*](address)")
        linked = f"[*{' '.join(paper[1].split())}*]({paper[2]})"
        decided = title[1][0].lower() + title[1][1:]
        lines.append(f"| [`{name}`]({page}) | `{environment_id(name)}` | {decided} | {linked} |")
    return "\n".join(lines) + "\n"


def render(text: str) -> str:
    """Return the README with a fresh table.

    Raises:
        ValueError: it has no block for the table, or several.
    """
    fresh, count = BLOCK.subn(lambda found: found[1] + systems() + found[2], text)
    if count != 1:
        raise ValueError(f"README.md has {count} blocks 'systems', must have 1")
    return fresh


def main() -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the table is stale")
    check = parser.parse_args().check
    text = README.read_text()
    fresh = render(text)
    if check and fresh != text:
        raise SystemExit("README.md is stale: run `make docs`")
    if fresh != text:
        README.write_text(fresh)
        print(f"wrote {README}")


if __name__ == "__main__":
    main()
