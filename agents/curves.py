"""Training curves, in the manner of figure 9 of Zhao et al., drawn from `log.jsonl`."""

import io
from pathlib import Path

from ..core.files import write_atomically
from ..core.log import read_log
from .training import STEP

PANELS = (
    ("loss", "loss", "log"),
    ("reward", "reward, scaled", "linear"),
    ("ratio", "held-out ratio to the reference\n(lower is better)", "log"),
    ("violations", "decisions beyond a limit", "linear"),
    ("exploration", "exploration", "linear"),
)


def draw_curves(folder: Path) -> Path:
    """Draw what the log of a training holds and return the picture's path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    facts = read_log(folder, step=STEP)
    panels = [panel for panel in PANELS if any(panel[0] in line for line in facts)] or [PANELS[0]]
    figure = Figure(figsize=(4.2 * len(panels), 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, label, scale) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        known = [line for line in facts if name in line]
        values = [line[name] for line in known]
        narrow = not values or max(values) < 2.0 * min(values)
        axis.plot([line["transitions"] for line in known], values)
        axis.set(xlabel="transitions", ylabel=label, yscale="linear" if narrow else scale)
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path = folder / "curves.png"
    write_atomically(path, buffer.getvalue())
    return path
