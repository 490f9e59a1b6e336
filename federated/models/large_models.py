"""Residual networks and vision transformers built from the blocks of `transformers` (extra `fedtwin[vit]`).

Batches differ between clients, so no model here gathers running statistics: batch normalisation is frozen, or replaced
by group normalisation. Weights are drawn at random; `pretrained.load_pretrained` takes published ones from a file.
"""

import importlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...core.checks import unknown_name
from .split_model import LastState, PerFrame, SplitModel

VIT_SIZES = {
    "tiny": (64, 4, 4, 16),
    "S/16": (384, 12, 6, 16),
    "B/16": (768, 12, 12, 16),
    "B/32": (768, 12, 12, 32),
    "L/16": (1024, 24, 16, 16),
}
"""Width, layers, heads and side of a patch in pixels of the vision transformers; "tiny" is made for tests."""
STEMS = ("imagenet", "cifar")
"""First layers of a residual network: 7 x 7 of stride 2 and max pooling, or 3 x 3 of stride 1 for small images."""


def _require(name: str) -> Any:
    """Import a module of the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} can not be imported ({error}); it comes with the extra fedtwin[vit]") from error


def _check(sample_shape: tuple[int, ...], axes: tuple[str, ...], num_classes: int) -> None:
    """Check a model's input and output."""
    if len(sample_shape) != len(axes) or min(sample_shape) < 1:
        raise ValueError(f"sample_shape is {sample_shape}, must be ({', '.join(axes)}), each at least 1")
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}, must be at least 1")


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed statistics: an affine map per channel, whether the model trains or not.

    This suits pretrained weights, whose statistics are known. At random weights they are 0 and 1 and nothing is
    normalised: deep models trained from scratch take group normalisation instead.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        """Take over weight, bias and statistics of `norm`; weight and bias may still be trained."""
        super().__init__()
        self.eps, self.weight, self.bias = norm.eps, norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `(B, channels, height, width)` to the same shape."""
        fixed = (self.running_mean, self.running_var)
        return nn.functional.batch_norm(inputs, *fixed, self.weight, self.bias, training=False, eps=self.eps)


def _group_norm(norm: nn.BatchNorm2d) -> nn.GroupNorm:
    """Return group normalisation, about 16 channels a group (Wu & He 2018, table 3), in place of `norm`."""
    return nn.GroupNorm(math.gcd(norm.num_features, max(1, norm.num_features // 16)), norm.num_features)


NORMS: Mapping[str, Callable[[nn.BatchNorm2d], nn.Module]] = {"group": _group_norm, "frozen_batch": FrozenBatchNorm}
"""What may stand in the place of batch normalisation."""


def _replace_batch_norm(module: nn.Module, build: Callable[[nn.BatchNorm2d], nn.Module]) -> None:
    """Replace every batch normalisation inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, build(child))
        else:
            _replace_batch_norm(child, build)


def _resnet_blocks(
    channels: int, embedding: int, widths: Sequence[int], depths: Sequence[int], layer: str, norm: str, stem: str
) -> list[nn.Module]:
    """Return the embedder (convolution, max pooling unless the stem is small) and the stages of a residual network."""
    step = 4 if layer == "bottleneck" else 1
    if not widths or len(widths) != len(depths):
        raise ValueError(f"there are {len(widths)} widths and {len(depths)} depths, must be equally many, at least 1")
    if any(width < step or width % step for width in widths) or min(depths) < 1 or embedding < 1:
        given = f"embedding is {embedding}, widths are {tuple(widths)}, depths are {tuple(depths)}"
        raise ValueError(f"{given}: must be at least 1, and widths multiples of {step}")
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)
    if stem not in STEMS:
        raise unknown_name("stem", stem, STEMS)
    transformers = _require("transformers")
    sizes = {"embedding_size": embedding, "hidden_sizes": tuple(widths), "depths": tuple(depths)}
    whole = transformers.ResNetModel(transformers.ResNetConfig(num_channels=channels, layer_type=layer, **sizes))
    if stem == "cifar":
        _shrink_stem(whole.embedder, channels, embedding)
    _replace_batch_norm(whole, NORMS[norm])
    return [whole.embedder, *whole.encoder.stages]


def _shrink_stem(embedder: Any, channels: int, embedding: int) -> None:
    """Put a 3 x 3 convolution of stride 1, drawn as the others are, in place of the stem's; leave max pooling out."""
    embedder.embedder.convolution = nn.Conv2d(channels, embedding, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(embedder.embedder.convolution.weight, mode="fan_out", nonlinearity="relu")
    embedder.pooler = nn.Identity()


def resnet18(
    sample_shape: tuple[int, ...],
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2, 2, 2, 2),
    embedding: int = 64,
    norm: str = "group",
    stem: str = "imagenet",
) -> SplitModel:
    """Build ResNet-18 (He et al. 2016); its blocks are the embedder, the stages and the pooled classifier.

    Args:
        sample_shape: `(channels, height, width)`.
        num_classes: outputs.
        widths: channels after each stage.
        depths: residual layers in each stage.
        embedding: channels after the first convolution.
        norm: a key of `NORMS`.
        stem: one of `STEMS`; "cifar" keeps images of 32 x 32 as large as they are before the first stage.

    Raises:
        ValueError: a shape, width, depth, norm or stem that the model can not have.
    """
    _check(sample_shape, ("channels", "height", "width"), num_classes)
    blocks = _resnet_blocks(sample_shape[0], embedding, widths, depths, "basic", norm, stem)
    last = OrderedDict(
        pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), classifier=nn.Linear(widths[-1], num_classes)
    )
    return SplitModel(*blocks, nn.Sequential(last))


class PooledFrames(PerFrame):
    """Applies a module to every frame of clips and averages its output over height and width."""

    def forward(self, clips: Tensor) -> Tensor:
        """Map `(B, frames, ...)` to `(B, frames, channels)`."""
        return super().forward(clips).mean((-2, -1))


def resnet50_lstm(
    sample_shape: tuple[int, ...] = (10, 3, 224, 224),
    num_classes: int = 4,
    hidden: int = 256,
    *,
    widths: Sequence[int] = (256, 512, 1024, 2048),
    depths: Sequence[int] = (3, 4, 6, 3),
    embedding: int = 64,
    norm: str = "frozen_batch",
    frozen: int | None = None,
) -> SplitModel:
    """Build the intention recognition model of Zhao et al. (JSAC 2023, section VI-A, figure 5).

    Its blocks are ResNet-50's embedder and stages frame by frame, the last stage with global pooling, then the LSTM
    over the frames, and the linear layer. The paper's cut is `len(widths)`: embedder and stages 1-3 are the head.

    Args:
        sample_shape: `(frames, channels, height, width)`.
        num_classes: intentions told apart.
        hidden: state of the LSTM (the paper leaves it open).
        widths: channels after each stage; fewer and smaller ones make the model fit for tests.
        depths: residual layers in each stage.
        embedding: channels after the first convolution.
        norm: "frozen_batch" is meant for pretrained weights, "group" for training from scratch.
        frozen: how many blocks at the start are not trained; None: the paper's head.

    Raises:
        ValueError: a shape, width, depth, norm or number of frozen blocks that the model can not have.
    """
    _check(sample_shape, ("frames", "channels", "height", "width"), num_classes)
    if hidden < 1:
        raise ValueError(f"hidden is {hidden}, must be at least 1")
    *head, last = _resnet_blocks(sample_shape[1], embedding, widths, depths, "bottleneck", norm, "imagenet")
    temporal = (LastState(widths[-1], hidden), nn.Linear(hidden, num_classes))
    model = SplitModel(*(PerFrame(block) for block in head), PooledFrames(last), *temporal)
    frozen = len(head) if frozen is None else frozen
    if not 0 <= frozen <= len(model):
        raise ValueError(f"frozen is {frozen}, must be in 0..{len(model)}: the model has {len(model)} blocks")
    model[:frozen].requires_grad_(False)
    return model


class ClassHead(nn.Module):
    """Normalises the class token, the first, and classifies it."""

    def __init__(self, norm: nn.Module, width: int, num_classes: int) -> None:
        """Keep the normalisation and build the linear layer."""
        super().__init__()
        self.norm = norm
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(B, tokens, width)` to `(B, num_classes)`."""
        logits: Tensor = self.classifier(self.norm(tokens[:, 0]))
        return logits


def vit(
    sample_shape: tuple[int, ...],
    num_classes: int,
    size: str = "tiny",
    *,
    patch: int | None = None,
    lora_rank: int = 0,
    lora_alpha: float = 16.0,
) -> SplitModel:
    """Build a vision transformer (Dosovitskiy et al. 2021): patch embedding, encoder layers, class-token head.

    With `lora_rank` r every query and value projection W becomes W + (lora_alpha / r) B A (Hu et al. 2022), B zero at
    first, and only A, B and the classifier are trained.

    Args:
        sample_shape: `(channels, height, width)`.
        num_classes: outputs.
        size: a key of `VIT_SIZES`.
        patch: side of a patch, pixels; None: that of the size.
        lora_rank: rank r of the adapters; 0: none, everything is trained.
        lora_alpha: scale of the adapters.

    Raises:
        ValueError: an unknown size, images that patches do not tile, or a negative rank.
    """
    _check(sample_shape, ("channels", "height", "width"), num_classes)
    if size not in VIT_SIZES:
        raise unknown_name("size", size, VIT_SIZES)
    channels, height, width = sample_shape
    hidden, layers, heads, usual_patch = VIT_SIZES[size]
    patch = usual_patch if patch is None else patch
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f"patch is {patch} pixels, must be at least 1 and divide the image's {height} x {width}")
    if lora_rank < 0:
        raise ValueError(f"lora_rank is {lora_rank}, must be at least 0")
    transformers = _require("transformers")
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    images = {"image_size": (height, width), "patch_size": patch, "num_channels": channels}
    config = transformers.ViTConfig(**sizes, **images, intermediate_size=4 * hidden)
    whole = transformers.ViTModel(config, add_pooling_layer=False)
    head = ClassHead(whole.layernorm, hidden, num_classes)
    model = SplitModel(whole.embeddings, *whole.layers, head)
    if lora_rank:
        peft = _require("peft")
        adapters = peft.LoraConfig(r=lora_rank, lora_alpha=lora_alpha, target_modules=["q_proj", "v_proj"])
        peft.inject_adapter_in_model(adapters, model)
        head.classifier.requires_grad_(True)
    return model
