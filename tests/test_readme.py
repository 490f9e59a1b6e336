"""The first impression holds: the quickstart prints what the README says, pictures and papers are there."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedtwin.baselines import SOLVERS
from fedtwin.envs import SYSTEMS
from PIL import Image
from test_docs import load

DOCS = Path(__file__).parent.parent / "docs"
README = (DOCS.parent / "README.md").read_text()
readme: Any = load("readme", DOCS / "readme.py")
pictures: Any = load("pictures", DOCS / "pictures.py")


def test_the_quickstart_prints_what_the_readme_says() -> None:
    (code, printed), *_ = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue() == printed


def test_the_table_of_systems_is_up_to_date() -> None:
    assert readme.render(README) == README
    assert readme.render(README.replace("| system | environment |", "| x | y |")) == README
    with pytest.raises(ValueError, match="has 0 blocks 'systems'"):
        readme.render(README.replace("<!-- begin systems -->", ""))


def test_a_page_without_its_paper_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docs" / "systems").mkdir(parents=True)
    for name in SYSTEMS:
        (tmp_path / "docs" / "systems" / f"{name}.md").write_text("# A heading\n\nand no paper\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="must begin with '# ' and its heading, and link its paper"):
        readme.systems()


def test_the_animation_moves_and_is_small() -> None:
    path = DOCS / "figures" / "rounds.gif"
    assert "docs/figures/rounds.gif" in README.split("##")[0]
    assert path.stat().st_size < 2**20
    with Image.open(path) as animation:
        assert getattr(animation, "n_frames", 1) > 1


@pytest.mark.parametrize("name", SOLVERS)
def test_every_page_shows_a_round_of_its_system(name: str) -> None:
    assert f"](../figures/{name}_round.png)" in (DOCS / "systems" / f"{name}.md").read_text()
    with Image.open(DOCS / "figures" / f"{name}_round.png") as picture:
        drawn = next(pictures.play(name))
        assert (picture.height, picture.width, 3) == drawn.shape
        differing = np.abs(np.asarray(picture.convert("RGB"), int) - drawn).max(axis=-1) > 64
    assert differing.mean() < 0.02, "the picture is not that of today's system: run `make pictures`"
