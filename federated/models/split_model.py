"""Models as sequences of blocks, between any two of which they may be cut in two."""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...core.checks import unknown_name
from .profile import check_cut


class SplitModel(nn.Sequential):
    """A model as a sequence of blocks; cut k leaves the first k blocks with the client, the rest with the server."""

    def split(self, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
        """Return the client's and the server's part; they share their parameters with the model.

        Raises:
            ValueError: a cut that the model lacks.
        """
        check_cut(cut, len(self))
        blocks = list(self)
        return nn.Sequential(*blocks[:cut]), nn.Sequential(*blocks[cut:])


class PerFrame(nn.Module):
    """Applies a module to every frame of clips `(B, frames, ...)`."""

    def __init__(self, module: nn.Module) -> None:
        """Keep the module."""
        super().__init__()
        self.module = module

    def forward(self, clips: Tensor) -> Tensor:
        """Map `(B, frames, ...)` to `(B, frames, ...)`."""
        frames: Tensor = self.module(clips.flatten(0, 1))
        return frames.view(*clips.shape[:2], *frames.shape[1:])


class LastState(nn.Module):
    """An LSTM over `(B, frames, features)` that hands on its last output `(B, hidden)`."""

    def __init__(self, features: int, hidden: int) -> None:
        """Build the LSTM."""
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        """Map `(B, frames, features)` to `(B, hidden)`."""
        output: Tensor = self.lstm(frames)[0]
        return output[:, -1]


SMALLEST_SIDE = 4
"""Pixels: what is left of an image of this side after max pooling has halved it twice is one."""
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def activated(name: str) -> nn.Module:
    """Return an activation by name.

    Raises:
        ValueError: an unknown name; the nearest is given.
    """
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def mlp(
    sample_shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...] = (128, 64), activation: str = "relu"
) -> SplitModel:
    """Build a perceptron; a block is a linear layer with its activation, the flattening goes to the first."""
    sizes = (int(torch.Size(sample_shape).numel()), *hidden)
    blocks = [nn.Sequential(nn.Linear(a, b), activated(activation)) for a, b in itertools.pairwise(sizes)]
    last = nn.Sequential(nn.Linear(sizes[-1], num_classes))
    first, *rest = [*blocks, last]
    return SplitModel(nn.Sequential(nn.Flatten(), *first), *rest)


def check_sides(height: int, width: int) -> None:
    """Raise `ValueError` unless images are large enough to be halved twice by max pooling."""
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(f"images are {height} x {width} pixels, must be at least {SMALLEST_SIDE} x {SMALLEST_SIDE}")


def cnn(sample_shape: tuple[int, ...], num_classes: int, activation: str = "relu") -> SplitModel:
    """Build two convolutions of 3 x 3, each halved by max pooling, and three fully connected layers."""
    channels, height, width = sample_shape
    check_sides(height, width)
    flat = 32 * (height // 4) * (width // 4)
    return SplitModel(
        nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), activated(activation), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), activated(activation), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(flat, 128), activated(activation)),
        nn.Sequential(nn.Linear(128, 64), activated(activation)),
        nn.Sequential(nn.Linear(64, num_classes)),
    )


def normalized(channels: int, filters: int) -> list[nn.Module]:
    """Return the layers of a convolution of 3 x 3 with group normalisation, halved by max pooling."""
    return [nn.Conv2d(channels, filters, 3, padding=1), nn.GroupNorm(4, filters), nn.ReLU(), nn.MaxPool2d(2)]


def cnn_lstm(sample_shape: tuple[int, ...], num_classes: int, hidden: int = 64) -> SplitModel:
    """Build the small recognition model: an encoder of frames, a last convolution, an LSTM and a linear layer.

    Its blocks stand for those of Zhao et al., figure 5: pretrained stages (block 0, the head), the stage that is
    trained (block 1), the temporal analysis (block 2) and the classifier (block 3).
    """
    _, channels, height, width = sample_shape
    check_sides(height, width)
    flat = 16 * (height // 4) * (width // 4)
    return SplitModel(
        PerFrame(nn.Sequential(*normalized(channels, 8))),
        PerFrame(nn.Sequential(*normalized(8, 16), nn.Flatten(), nn.Linear(flat, hidden), nn.LayerNorm(hidden))),
        LastState(hidden, hidden),
        nn.Linear(hidden, num_classes),
    )
