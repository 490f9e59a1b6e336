"""What a model makes of a whole dataset: loss and accuracy, or features."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from .data.dataset import Dataset

MOST_NUMBERS = 2**24
"""Input numbers that are scored at once."""


@torch.no_grad()
def score(model: nn.Module, data: Dataset) -> tuple[float, float]:
    """Return mean cross-entropy and share of correct classes of a model with its own parameters."""
    model.eval()
    loss = correct = 0.0
    chunk = max(1, MOST_NUMBERS // max(1, data.inputs[0].numel()))
    for inputs, labels in zip(torch.split(data.inputs, chunk), torch.split(data.labels, chunk), strict=True):
        logits = model(inputs)
        loss += float(cross_entropy(logits, labels, reduction="sum"))
        correct += int((logits.argmax(dim=-1) == labels).sum())
    return loss / len(data), correct / len(data)


@torch.no_grad()
def encoded(head: nn.Module, data: Dataset) -> Dataset:
    """Return the dataset with the head's features in place of its inputs."""
    head.eval()
    chunk = max(1, MOST_NUMBERS // max(1, data.inputs[0].numel()))
    return Dataset(torch.cat([head(part) for part in torch.split(data.inputs, chunk)]), data.labels, data.num_classes)
