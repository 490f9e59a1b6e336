"""Measures what every block of a model costs, per sample, and writes the table that `profile` reads.

Operations are those of matrix products and convolutions, one multiply-add = 2 FLOP, as `torch` counts them;
normalisation, activations, pooling and softmax are left out. They are measured, the backward pass as well: gradients
of the weights that are trained, and of a block's input where anything before it is trained. Freezing the first k
blocks therefore saves their backward pass, the gradient that would be sent back at cut k, and the gradient of block
k's input. `python -m fedtwin.federated.models.profiler` writes the stored table anew.
"""

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...core.checks import unknown_name
from ...core.files import write_atomically
from .profile import TABLE, Profile
from .registry import make_model
from .split_model import SplitModel


def _lstm_forward(inputs: list[int], weight: list[int], recurrent: list[int], *_: Any, **__: Any) -> int:
    """Count an LSTM by formula: per frame 4 hidden (features + hidden) multiply-adds.

    Args:
        inputs: shape `(frames, B, features)`.
        weight: shape `(4 hidden, features)`.
        recurrent: shape `(4 hidden, hidden)`.
    """
    return 2 * inputs[0] * inputs[1] * (math.prod(weight) + math.prod(recurrent))


def _lstm_backward(inputs: list[int], weight: list[int], recurrent: list[int], *_: Any, **__: Any) -> int:
    """Count gradients of weights, inputs and states; the state before the first frame is given and needs none."""
    return 2 * _lstm_forward(inputs, weight, recurrent) - 2 * inputs[1] * math.prod(recurrent)


GAPS: Mapping[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm_forward,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward,
}
"""What the counter of torch takes for 0 on a CPU; attention, the other gap, is counted in its plain products."""


def _placed(model: SplitModel, device: str) -> SplitModel:
    """Return a copy on `device` in evaluation mode; memory for weights is taken only where they move."""
    memo: dict[int, Any] = {id(b): b.detach().to(device) for b in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to(device), parameter.requires_grad)
    return copy.deepcopy(model, memo).eval()


def _counted(run: Callable[[], Any]) -> tuple[Any, int]:
    """Run and return the result and the FLOP."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=dict(GAPS)) as counter:
        result = run()
    return result, counter.get_total_flops()


def _bits(*tensors: Tensor) -> int:
    """Return the size of tensors."""
    return sum(8 * tensor.element_size() * tensor.numel() for tensor in tensors)


def profile(model: SplitModel, sample_shape: tuple[int, ...], device: Literal["meta", "cpu"] = "meta") -> Profile:
    """Measure what every block costs per sample, as the model stands: with what is trained of it now.

    Args:
        model: stays as it is; its parameters may be on any device.
        sample_shape: shape of one sample.
        device: "meta" computes shapes only; "cpu" really runs, for models whose shapes depend on values. There the
            fused LSTM computes the gradient of its input even where nothing before it is trained.

    Raises:
        ValueError: an unknown device.
    """
    if device not in ("meta", "cpu"):
        raise unknown_name("device", device, ("meta", "cpu"))
    blocks = list(_placed(model, device))
    value, trained_before = torch.zeros(1, *sample_shape, device=device), False
    figures: dict[str, list[int]] = {field.name: [] for field in dataclasses.fields(Profile)}
    figures["activation_bits"].append(_bits(value))
    for block in blocks:
        value = value.detach().requires_grad_(trained_before)
        value, forward = _counted(functools.partial(block, value))
        needed = value.requires_grad
        backward = _counted(functools.partial(value.backward, torch.ones_like(value)))[1] if needed else 0
        trained = [p for p in block.parameters() if p.requires_grad]
        trained_before = trained_before or bool(trained)
        figures["forward_flops"].append(forward)
        figures["backward_flops"].append(backward)
        figures["activation_bits"].append(_bits(value))
        figures["parameter_bits"].append(_bits(*block.parameters()))
        figures["trainable_bits"].append(_bits(*trained))
    return Profile.from_lists(figures)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the stored table: what `make_model` is given."""

    model: str
    sample_shape: tuple[int, ...]
    num_classes: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


ENTRIES: Mapping[str, Entry] = {
    "mlp": Entry("mlp", (1, 8, 8), 10),
    "cnn": Entry("cnn", (1, 8, 8), 10),
    "cnn_lstm": Entry("cnn_lstm", (10, 1, 16, 16), 4),
    "resnet18": Entry("resnet18", (3, 32, 32), 10),
    "resnet18_cifar": Entry("resnet18", (3, 32, 32), 10, {"stem": "cifar"}),
    "resnet50_lstm": Entry("resnet50_lstm", (10, 3, 224, 224), 4),
    "resnet50_lstm_trained_head": Entry("resnet50_lstm", (10, 3, 224, 224), 4, {"frozen": 0}),
    "vit_tiny": Entry("vit", (3, 224, 224), 1000, {"size": "tiny"}),
    "vit_s16": Entry("vit", (3, 224, 224), 1000, {"size": "S/16"}),
    "vit_b16": Entry("vit", (3, 224, 224), 1000, {"size": "B/16"}),
    "vit_b32": Entry("vit", (3, 224, 224), 1000, {"size": "B/32"}),
    "vit_l16": Entry("vit", (3, 224, 224), 1000, {"size": "L/16"}),
}
"""Models of the stored table: digits, clips, CIFAR-10, the paper's clips, ImageNet."""


def measure(name: str) -> Profile:
    """Measure a model of the stored table anew.

    Raises:
        ValueError: an unknown name; the nearest is given.
    """
    if name not in ENTRIES:
        raise unknown_name("profile", name, ENTRIES)
    entry = ENTRIES[name]
    with torch.device("meta"):
        model = make_model(entry.model, entry.sample_shape, entry.num_classes, **entry.options)
    return profile(model, entry.sample_shape)


def main() -> None:
    """Measure all models of the table and store them, a model a line."""
    rows = (f"{json.dumps(name)}: {json.dumps(dataclasses.asdict(measure(name)))}" for name in ENTRIES)
    write_atomically(TABLE, "{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
