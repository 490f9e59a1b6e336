"""Draws the pictures of rounds from the registry: `python docs/pictures.py`.

For each system one round, as its page shows it (`figures/<stem>_round.png`), and for the README the first system's
rounds one after the other (`figures/rounds.gif`). The first solver of each system decides.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fedtwin.envs as envs
import numpy as np
from fedtwin.baselines import SOLVERS
from PIL import Image

FIGURES = Path(__file__).parent / "figures"
SEED = 3
ANIMATED: Mapping[str, Any] = {"preset": "heterogeneous", "time_budget": 3e4}
"""Settings of the animation: budgets that an episode nearly spends, so that clients drop out."""
MILLISECONDS = 700
"""A round is shown."""
COLORS = 64
"""Of the animation's palette."""


def play(name: str, **settings: Any) -> Iterator[np.ndarray]:
    """Yield the picture of every round of an episode that the first solver decides.

    A vector environment of one copy is the same episode as the single environment that is drawn; it holds the state
    that the solver reads.
    """
    env = envs.central_env(name, render_mode="rgb_array", **settings)
    copy = envs.vector_env(name, 1, **settings)
    solve = next(iter(SOLVERS[name].values()))
    env.reset(seed=SEED)
    copy.reset(seed=SEED)
    over = False
    while not over:
        decision = solve(copy.system, copy.simulator.state)
        action = copy.system.actions_of(decision).reshape(1, -1)
        copy.step(action)
        _, _, terminated, truncated, _ = env.step(action[0])
        over = terminated or truncated
        yield env.render()


def draw_round(name: str) -> Path:
    """Draw the first round of a system and return the file."""
    path = FIGURES / f"{name}_round.png"
    Image.fromarray(next(play(name))).quantize(256).save(path, optimize=True)
    return path


def draw_rounds(name: str) -> Path:
    """Draw the rounds of a system one after the other and return the file."""
    path = FIGURES / "rounds.gif"
    pictures = list(play(name, **ANIMATED))
    palette = Image.fromarray(np.concatenate(pictures)).quantize(COLORS)
    frames = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, optimize=True)
    return path


def main() -> None:
    """Draw every picture, or those of the systems that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", help="nothing: all, and the animation")
    systems = parser.parse_args().systems
    drawn = [draw_round(name) for name in systems or SOLVERS]
    if not systems:
        drawn.append(draw_rounds(next(iter(envs.SYSTEMS))))
    for path in drawn:
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
