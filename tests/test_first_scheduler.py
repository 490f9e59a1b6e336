"""The page of the first scheduler runs as it stands, with fewer steps and networks."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "first_scheduler.md"
FEWER = {"STEPS": "6000", "TWINS": "2"}
COMMANDS = """
set -eu
fedtwin-train() { "$PYTHON" -m fedtwin.train "$@"; }
fedtwin-evaluate() { "$PYTHON" -m fedtwin.evaluate "$@"; }
"""
"""The console scripts, from the code under test."""


def run_page(folder: Path) -> Iterator[tuple[str, str]]:
    """Run every block in order, each as a script of its own, and yield its language and what it printed."""
    environment = {**os.environ, **FEWER, "PYTHON": sys.executable}
    for language, code in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code, {})
            yield language, out.getvalue().strip()
        else:
            command = ["bash", "-c", COMMANDS + code]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            yield language, done.stdout


def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (_, costs), (_, trained), (_, compared), (_, looked) = run_page(tmp_path)
    assert re.search(r"^\d+ s, \d+ J$", costs, re.MULTILINE)
    assert re.search(r"^ +6,\d{3}  .*ratio \d", trained, re.MULTILINE)
    assert "report:" in compared
    assert re.fullmatch(r"\d+ s, \d+ J", looked)
    assert (tmp_path / "results" / "first_report" / "report.html").is_file()
    assert (tmp_path / "results" / "first" / "curves.png").is_file()
    assert np.asarray(Image.open(tmp_path / "results" / "first_round.png")).std() > 10.0
