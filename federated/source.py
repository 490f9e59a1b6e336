"""What is learned, and from what: data, their partition among clients, and a model."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.checks import unknown_name
from ..core.settings import Settings, parameter
from .data.clips import clips
from .data.dataset import Dataset
from .data.partition import PARTITIONS, make_partition
from .data.readers import load_dataset
from .models.pretrained import load_pretrained
from .models.registry import make_model
from .models.split_model import SplitModel
from .scoring import encoded

CLIPS = "clips"


@dataclasses.dataclass(frozen=True)
class Source(Settings):
    """Data, who holds them, and the model that learns from them; what was read or computed is remembered."""

    data: str = parameter("digits", doc="digits, clips, or a folder or file in a layout that fedtwin reads")
    model: str = parameter("mlp", doc="mlp, cnn, cnn_lstm, resnet18, resnet50_lstm or vit")
    weights: str = parameter("", doc="file with pretrained weights; empty: random ones")
    partition: str = parameter("iid", doc="iid, dirichlet, one_label or shards")
    alpha: float = parameter(
        0.5, above=0, doc="concentration of the Dirichlet partition: the smaller, the more unequal"
    )
    shards_per_client: int = parameter(2, at_least=1, doc="shards of each client in the partition 'shards'")
    data_seed: int = parameter(0, at_least=0, doc="seed of split, partition, rendered clips and frozen heads")
    clips: int = parameter(5120, at_least=2, doc="clips that are rendered")
    frames: int = parameter(10, at_least=2, doc="frames of a rendered clip")
    frame_size: int = parameter(16, at_least=8, doc="height and width of rendered clips")
    size: int = parameter(0, at_least=0, doc="height and width that images from disk are brought to; 0: as they are")
    colors: int = parameter(1, at_least=1, doc="channels of rendered clips, all equal")

    def __post_init__(self) -> None:
        """Reject values outside their limits, and unknown names.

        Raises:
            ValueError: names the value and the nearest valid one.
        """
        super().__post_init__()
        if self.partition not in PARTITIONS:
            raise unknown_name("partition", self.partition, PARTITIONS)
        if self.size and self.data == CLIPS:
            raise ValueError(f"size is {self.size}, must be 0 for clips: frame_size = {self.frame_size} is theirs")

    def build_model(self, seed: int) -> SplitModel:
        """Return the model with its first weights, pretrained ones where a file is named."""
        train, _ = self.datasets()
        model = make_model(self.model, train.sample_shape, train.num_classes, seed=seed)
        if self.weights:
            load_pretrained(model, Path(self.weights))
        return model

    def start(self, seed: int, frozen: int = 0) -> tuple[SplitModel, Dataset, Dataset]:
        """Return what learns and from what: the blocks after the `frozen` first, training and held-out data for them.

        Frozen blocks do not depend on `seed`: what they make of the data is `encoded`.
        """
        train, held_out = self.encoded(frozen) if frozen else self.datasets()
        return SplitModel(*list(self.build_model(seed))[frozen:]), train, held_out

    def datasets(self) -> tuple[Dataset, Dataset]:
        """Return the training and the held-out data."""
        return load_data(self.data, self.data_seed, self.size, self.clips, self.frames, self.frame_size, self.colors)

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def encoded(self, cut: int) -> tuple[Dataset, Dataset]:
        """Return the same as features of the first `cut` blocks with weights of `data_seed`, computed once."""
        head, _ = self.build_model(self.data_seed).split(cut)
        train, held_out = self.datasets()
        return encoded(head, train), encoded(head, held_out)

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def parts(self, num_clients: int) -> list[np.ndarray]:
        """Return the positions in the training data that each client holds."""
        every: Mapping[str, Mapping[str, Any]] = {
            "dirichlet": {"alpha": self.alpha},
            "shards": {"shards_per_client": self.shards_per_client},
        }
        options = every.get(self.partition, {})
        train, _ = self.datasets()
        return make_partition(self.partition, train.labels, num_clients, self.data_seed, **options)


@functools.lru_cache(maxsize=2)
def load_data(
    data: str, seed: int, size: int, count: int, frames: int, frame_size: int, colors: int
) -> tuple[Dataset, Dataset]:
    """Return training and held-out data; remembered, for they are read by every copy and episode."""
    if data != CLIPS:
        return load_dataset(data, seed, size=size or None)
    rendered = clips(count, frames=frames, size=frame_size, seed=seed)
    colored = rendered.inputs.expand(-1, -1, colors, -1, -1)
    return dataclasses.replace(rendered, inputs=colored).split(seed=seed)
