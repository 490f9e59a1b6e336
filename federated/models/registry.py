"""All models by name, with weights drawn from a seed."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...core.checks import unknown_name
from .large_models import resnet18, resnet50_lstm, vit
from .split_model import SplitModel, cnn, cnn_lstm, mlp

MODELS: Mapping[str, Callable[..., SplitModel]] = {
    "mlp": mlp,
    "cnn": cnn,
    "cnn_lstm": cnn_lstm,
    "resnet18": resnet18,
    "resnet50_lstm": resnet50_lstm,
    "vit": vit,
}


def make_model(
    name: str, sample_shape: tuple[int, ...], num_classes: int, *, seed: int = 0, **options: Any
) -> SplitModel:
    """Build a model with weights drawn from `seed`; torch's global generator stays as it is.

    Raises:
        ValueError: an unknown name; the nearest is given.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](sample_shape, num_classes, **options)
