"""Pictures of a round: the map with its links, bars for loads and budgets. matplotlib is imported on first use."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.checks import unknown_name
from ...core.trees import take
from ..scene import Scene
from ..simulator import Simulator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODES = ("human", "rgb_array")


def channel_colors(count: int) -> np.ndarray:
    """Return `count` distinct RGBA colours: a qualitative palette, or hues around the circle for more than 20."""
    from matplotlib import colormaps

    if count <= 20:
        palette = colormaps["tab10" if count <= 10 else "tab20"]
        return palette(np.arange(count))
    return colormaps["hsv"](np.linspace(0.0, 1.0, count, endpoint=False))


def draw_map(axes: "Axes", scene: Scene) -> None:
    """Draw clients, servers and the links between them, coloured by channel."""
    colors = channel_colors(scene.num_colors)
    for client, link, color in zip(scene.clients, scene.link, scene.color, strict=True):
        if link >= 0:
            axes.plot(*np.stack([client, scene.servers[link]]).T, color=colors[color], linewidth=1.6, zorder=1)
    served = scene.link >= 0
    x, y = scene.clients[served].T
    axes.scatter(x, y, s=42, c=colors[scene.color[served]], edgecolors="black", zorder=3)
    if (~served).any():
        x, y = scene.clients[~served].T
        axes.scatter(x, y, s=42, c="white", edgecolors="grey", marker="X", zorder=3)
    x, y = scene.servers.T
    axes.scatter(x, y, s=150, c="black", marker="^", zorder=4, clip_on=False)
    for index, (x, y) in enumerate(scene.clients):
        axes.annotate(str(index), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=7, zorder=5)
    for index, (x, y) in enumerate(scene.servers):
        axes.annotate(f"server {index}", (x, y), xytext=(0, -14), textcoords="offset points", ha="center", fontsize=8)
    margin = 0.13 * scene.side
    axes.set(xlim=(-margin, scene.side + margin), ylim=(-margin, scene.side + margin), aspect="equal")
    axes.set_xlabel("x in m")
    axes.set_ylabel("y in m")
    axes.set_title(scene.title)


def draw_bars(axes: "Axes", title: str, values: np.ndarray, colors: Any, limit: float) -> None:
    """Draw one bar per value."""
    axes.bar(np.arange(len(values)), values, color=colors)
    axes.set_title(title, fontsize=9)
    axes.set_ylim(0.0, limit)
    axes.set_xticks(np.arange(len(values)))
    axes.tick_params(labelsize=7)


def draw_scene(figure: "Figure", scene: Scene) -> None:
    """Draw the map on the left, loads and budgets on the right."""
    bars = len(scene.loads) + len(scene.budgets)
    grid = figure.add_gridspec(bars, 2, width_ratios=(1.9, 1.0))
    draw_map(figure.add_subplot(grid[:, 0]), scene)
    for row, (name, values) in enumerate(scene.loads.items()):
        colors = channel_colors(scene.num_colors) if name == scene.colored else "dimgrey"
        draw_bars(figure.add_subplot(grid[row, 1]), name, values, colors, max(1.0, float(values.max())) * 1.1)
    for row, (name, values) in enumerate(scene.budgets.items(), start=len(scene.loads)):
        draw_bars(figure.add_subplot(grid[row, 1]), f"{name} used, share of budget", values, "tab:red", 1.0)


def to_array(scene: Scene) -> np.ndarray:
    """Return the picture of `scene` as a fresh `(height, width, 3)` uint8 array."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.6), dpi=90, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    draw_scene(figure, scene)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class Renderer:
    """Renders scenes in one mode; "human" keeps a window, where there is a screen."""

    def __init__(self, simulator: Simulator, mode: str | None) -> None:
        """Check the mode: None, "human" or "rgb_array"."""
        if mode is not None and mode not in MODES:
            raise unknown_name("render_mode", str(mode), MODES)
        self.mode = mode
        self._simulator = simulator
        self._window: Any = None

    def render(self) -> np.ndarray | None:
        """Return the picture of the last round (`rgb_array`), or show it and return None (`human`).

        Raises:
            ValueError: the environment was made without a render mode, or was not reset.
        """
        if self._simulator.shown is None:
            raise ValueError("nothing to render: call reset() first")
        if self.mode is None:
            raise ValueError("render_mode is None: make the environment with render_mode='rgb_array' or 'human'")
        state, decision = self._simulator.shown
        picture = to_array(self._simulator.system.scene(take(state, 0), take(decision, 0)))
        if self.mode == "rgb_array":
            return picture
        self._show(picture)
        return None

    def follow(self) -> None:
        """Bring the window up to date, in mode "human"."""
        if self.mode == "human":
            self.render()

    def _show(self, picture: np.ndarray) -> None:
        from matplotlib import pyplot

        if self._window is None:
            figure, axes = pyplot.subplots(figsize=(9.0, 5.6), layout="constrained")
            axes.set_axis_off()
            self._window = figure, axes.imshow(picture)
            figure.show(warn=False)
        figure, image = self._window
        image.set_data(picture)
        figure.canvas.draw_idle()
        figure.canvas.flush_events()

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            from matplotlib import pyplot

            pyplot.close(self._window[0])
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the window behind when an environment is pickled."""
        return {**self.__dict__, "_window": None}
