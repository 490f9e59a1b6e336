"""Learning tasks: data, their partition among clients, a model and how it is trained, by name."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..core.checks import unknown_name
from ..core.randomness import generator
from ..core.settings import parameter
from .adaptive_splitting import AdaptiveSplit
from .averaging import FedAvg
from .clips import clips
from .cloud_edge_client import CloudEdgeClient, encoded
from .data import Dataset
from .models import SplitModel, make_model
from .partition import PARTITIONS, make_partition
from .population import Population
from .pretrained import load_pretrained
from .privacy import Privacy
from .procedure import LearningSettings, Procedure
from .quantized_splitting import QuantizedSplit
from .readers import load_dataset

CLIPS = "clips"
Learning = TypeVar("Learning", bound=Procedure)


@dataclasses.dataclass(frozen=True)
class Task(LearningSettings):
    """What is learned, from what, and how."""

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
    colours: int = parameter(1, at_least=1, doc="channels of rendered clips, all equal")
    first_heads: Literal["own", "common"] = parameter(
        "own", doc="private heads begin with weights of each client's own, or with the same; shared ones with the same"
    )
    epsilon: float = parameter(0.0, at_least=0, doc="privacy loss of heads that are given away; 0: undisturbed")
    delta: float = parameter(1e-5, above=0, at_most=1, doc="probability with which epsilon may be exceeded")
    clip_norm: float = parameter(1.0, above=0, doc="largest norm of a head's change that is given away under epsilon")
    private_rounds: int = parameter(25, at_least=1, doc="rounds over which epsilon is spent; no more are allowed")

    def __post_init__(self) -> None:
        """Reject values outside their limits, and unknown names.

        Raises:
            ValueError: names the value and the nearest valid one.
        """
        super().__post_init__()
        if self.partition not in PARTITIONS:
            raise unknown_name("partition", self.partition, PARTITIONS)
        if self.epsilon and self.head != "shared":
            raise ValueError(
                f"epsilon is {self.epsilon:g}, but head is {self.head}: only heads that are shared are disturbed"
            )

    def privacy(self) -> Privacy | None:
        """Return what disturbs heads that are given away."""
        if not self.epsilon:
            return None
        return Privacy(epsilon=self.epsilon, delta=self.delta, rounds=self.private_rounds, clip=self.clip_norm)

    def settings(self) -> LearningSettings:
        """Return how clients train."""
        names = [field.name for field in dataclasses.fields(LearningSettings)]
        return LearningSettings(**{name: getattr(self, name) for name in names})

    def build_model(self, seed: int) -> SplitModel:
        """Return the model with its first weights, pretrained ones where a file is named."""
        train, _ = load(self)
        model = make_model(self.model, train.sample_shape, train.num_classes, seed=seed)
        if self.weights:
            load_pretrained(model, Path(self.weights))
        return model

    def cloud_edge_client(self, num_clients: int, num_servers: int, seed: int) -> CloudEdgeClient:
        """Return the collaborative learning of this task, from its beginning.

        Args:
            num_clients: clients N among whom the data are divided.
            num_servers: edge servers M.
            seed: of the first weights and of the order of samples; frozen heads and the partition do not depend on it.

        Raises:
            ValueError: data that cannot be divided so, or settings that do not fit the model.
        """
        model = self.build_model(seed)
        train, held_out = load(self)
        features = None
        if self.head == "frozen":
            features = load_encoded(self)
            frozen = self.build_model(self.data_seed)
            for block, fixed in zip(list(model)[: self.cut], list(frozen)[: self.cut], strict=True):
                block.load_state_dict(fixed.state_dict())
        population = Population(train, divide(self, num_clients), seed=seed)
        procedure = CloudEdgeClient(
            model,
            population,
            held_out,
            self.settings(),
            num_servers=num_servers,
            privacy=self.privacy(),
            encoded_data=features,
        )
        if self.head == "private" and self.first_heads == "own" and not self.weights:
            for client in range(num_clients):
                own, _ = self.build_model(head_seed(seed, client)).split(self.cut)
                for name, value in own.named_parameters():
                    procedure.heads[name][client] = value.detach()
        return procedure

    def build(self, kind: type[Learning], num_clients: int, seed: int) -> Learning:
        """Return a procedure of one kind without edge servers, from its beginning.

        Args:
            kind: its class.
            num_clients: clients N among whom the data are divided.
            seed: of the first weights, the order of samples and stochastic rounding; the partition is `data_seed`'s.

        Raises:
            ValueError: data that cannot be divided so, or settings that do not fit the model.
        """
        train, held_out = load(self)
        population = Population(train, divide(self, num_clients), seed=seed)
        return kind(self.build_model(seed), population, held_out, self.settings())

    def adaptive_split(self, num_clients: int, seed: int) -> AdaptiveSplit:
        """Return adaptive split federated learning of this task; see `build`."""
        return self.build(AdaptiveSplit, num_clients, seed)

    def quantized_split(self, num_clients: int, seed: int) -> QuantizedSplit:
        """Return quantised split federated learning of this task; see `build`."""
        return self.build(QuantizedSplit, num_clients, seed)

    def centralised(self, num_clients: int, seed: int) -> FedAvg:
        """Return the same model learning from all samples in one place.

        A mini-batch is as large as those of all `num_clients` together, so that a step there is one step here.
        """
        model = self.build_model(seed)
        train, held_out = load(self)
        settings = dataclasses.replace(self.settings(), batch=self.batch * num_clients, proximal=0.0)
        if self.head == "frozen":
            train, held_out = load_encoded(self)
            model = SplitModel(*list(model)[self.cut :])
        return FedAvg(model, Population(train, [np.arange(len(train))], seed=seed), held_out, settings)


def head_seed(seed: int, client: int) -> int:
    """Return the seed of the first weights of a client's private head."""
    return int(generator(seed, 0, client, stream=5).integers(2**31))


TASKS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"data": "digits", "model": "mlp", "learning_rate": 0.1},
    "clips": {
        "data": CLIPS,
        "model": "cnn_lstm",
        "head": "frozen",
        "learning_rate": 0.5,
        "batch": 4,
    },
    "recognition": {
        "data": CLIPS,
        "model": "resnet50_lstm",
        "head": "frozen",
        "cut": 4,
        "learning_rate": 0.05,
        "frame_size": 224,
        "colours": 3,
        "clips": 512,
    },
    "images": {"model": "cnn", "learning_rate": 0.05},
}
"""Settings by name: digits for a first look; clips, the small recognition task; that of Zhao et al. in full
(ResNet-50 and LSTM, with pretrained weights; 14 MB of memory per clip, so few of them); images for data from disk."""


def make_task(name: str = "digits", **options: Any) -> Task:
    """Build a task.

    Args:
        name: a key of `TASKS`, or a path: then it is images from there.
        **options: fields of `Task`, which override the named ones.

    Raises:
        ValueError: an unknown name or option; the nearest is given.
    """
    if name not in TASKS:
        if not Path(name).exists():
            raise ValueError(f"{unknown_name('task', name, TASKS)}, and there is no such file or folder")
        return Task.create({**TASKS["images"], "data": name, **options})
    if name == "images" and "data" not in options:
        raise ValueError("task 'images' needs data: a folder or file to read")
    return Task.create({**TASKS[name], **options})


@functools.lru_cache(maxsize=2)
def load_data(
    data: str, seed: int, size: int, count: int, frames: int, frame_size: int, colours: int
) -> tuple[Dataset, Dataset]:
    """Return training and held-out data; remembered, for they are read by every copy and episode."""
    if data != CLIPS:
        return load_dataset(data, seed, size=size or None)
    rendered = clips(count, frames=frames, size=frame_size, seed=seed)
    coloured = rendered.inputs.expand(-1, -1, colours, -1, -1)
    return dataclasses.replace(rendered, inputs=coloured).split(seed=seed)


def load(task: Task) -> tuple[Dataset, Dataset]:
    """Return the task's training and held-out data."""
    return load_data(task.data, task.data_seed, task.size, task.clips, task.frames, task.frame_size, task.colours)


@functools.lru_cache(maxsize=2)
def load_encoded(task: Task) -> tuple[Dataset, Dataset]:
    """Return the data as a frozen head's features, computed once."""
    head, _ = task.build_model(task.data_seed).split(task.cut)
    train, held_out = load(task)
    return encoded(head, train), encoded(head, held_out)


@functools.lru_cache(maxsize=8)
def divide(task: Task, num_clients: int) -> list[np.ndarray]:
    """Return the positions that each client holds."""
    every: Mapping[str, Mapping[str, Any]] = {
        "dirichlet": {"alpha": task.alpha},
        "shards": {"shards_per_client": task.shards_per_client},
    }
    options = every.get(task.partition, {})
    train, _ = load(task)
    return make_partition(task.partition, train.labels, num_clients, task.data_seed, **options)
