"""Attackers of federated learning and of cloud-edge-client learning (Zhao et al., section III), by what they see."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..core.randomness import generator
from ..core.settings import Settings, parameter
from ..federated.data.dataset import Dataset
from ..federated.models.registry import make_model
from ..federated.models.split_model import SplitModel
from . import leakage
from .leakage import Mismatch

PRIOR = 1e-5
"""Weight of the spread of public pictures against the mismatch of features: the attacker's best of 1e-7 to 1e-3."""
BATCH, LEARNING_RATE = 16, 0.05
"""How the client of `known_start` trains: the defaults of the learning procedures."""
STREAM = 5


@dataclasses.dataclass(frozen=True)
class LeakageOptions(Settings):
    """What is attacked, and what the attackers have to work with."""

    samples: int = parameter(20, at_least=1, doc="pictures attacked")
    seed: int = parameter(0, at_least=0, doc="draws pictures, weights and dummy pictures")
    model: Literal["mlp", "cnn"] = parameter("mlp", doc="model")
    activation: Literal["sigmoid", "tanh", "relu"] = parameter(
        "sigmoid", doc="activation; the attack's authors use the sigmoid, which is smooth"
    )
    cut: int = parameter(1, at_least=1, doc="blocks of the head")
    seen: int = parameter(400, at_least=1, doc="samples of the attacked client, whose features the server collects")
    steps: int = parameter(
        1000, at_least=0, doc="training steps of the client that the setting known_start does not see"
    )
    restarts: int = parameter(4, at_least=1, doc="attempts per picture")
    iterations: int = parameter(300, at_least=1, doc="steps of L-BFGS per attempt")

    def __post_init__(self) -> None:
        """Reject values outside their limits.

        Raises:
            ValueError: names the value and its limit; the pictures attacked are among the client's samples.
        """
        super().__post_init__()
        if self.seen < self.samples:
            raise ValueError(f"seen is {self.seen}, must be at least samples = {self.samples}")


@dataclasses.dataclass(frozen=True)
class Scene:
    """A client, its model and its samples; attackers take from it what their setting lets them see."""

    options: LeakageOptions
    client: Dataset
    """The client's samples; the first `options.samples` of them are attacked."""
    public: Dataset
    """Other samples of the same kind, for attackers that have such."""

    def build(self, draw: int) -> SplitModel:
        """Build the model with other weights; draw 0 is the client's own."""
        shape, classes, activation = self.client.sample_shape, self.client.num_classes, self.options.activation
        seed = int(generator(self.options.seed, 0, draw, STREAM).integers(2**31))
        return make_model(self.options.model, shape, classes, seed=seed, activation=activation)

    def head(self, model: SplitModel) -> nn.Sequential:
        """Return the client's part of a model."""
        return model.split(self.options.cut)[0]

    @functools.cached_property
    def model(self) -> SplitModel:
        """The client's model."""
        return self.build(0)

    @functools.cached_property
    def features(self) -> Tensor:
        """What the edge server receives, next to the labels: the head's features of all the client's samples."""
        features: Tensor = self.head(self.model)(self.client.inputs)
        return features.detach().double()

    @functools.cached_property
    def attacked(self) -> Dataset:
        """The samples under attack; those of split settings send their labels to the server."""
        return self.client.take(torch.arange(self.options.samples))

    def rng(self, sample: int, setting: str) -> np.random.Generator:
        """Return a generator of its own for an attack."""
        return generator(self.options.seed, 1 + sample, list(SETTINGS).index(setting), STREAM)

    def attack(
        self, mismatch: Mismatch, sample: int, setting: str, starts: Sequence[Tensor] = (), restarts: int | None = None
    ) -> tuple[Tensor, float]:
        """Reconstruct one sample."""
        shape, rng = self.client.sample_shape, self.rng(sample, setting)
        effort = {"restarts": restarts or self.options.restarts, "iterations": self.options.iterations}
        return leakage.reconstruct(mismatch, shape, rng, starts=starts, **effort)

    def invert(self, heads: Sequence[nn.Module], features: Tensor, setting: str, restarts: int | None = None) -> Tensor:
        """Reconstruct the attacked samples from features `(n, ...)`, each with the head that matches them best."""
        heads, pictures = [as_double(head) for head in heads], []
        for sample in range(self.options.samples):
            mismatches = [leakage.feature_mismatch(head, features[sample : sample + 1]) for head in heads]
            found = [self.attack(mismatch, sample, setting, restarts=restarts) for mismatch in mismatches]
            pictures.append(min(found, key=lambda pair: pair[1])[0])
        return torch.cat(pictures)


def make_scene(options: LeakageOptions, data: Dataset) -> Scene:
    """Deal samples to the client and to the public.

    Raises:
        ValueError: a cut that leaves no head or no body, or too few samples.
    """
    own = options.seen
    if own >= len(data):
        raise ValueError(f"the client has {own} samples of {len(data)}, must leave at least 1 to the public")
    order = torch.from_numpy(generator(options.seed, 0, 0, STREAM).permutation(len(data)))
    scene = Scene(options, data.take(order[:own]), data.take(order[own:]))
    if options.cut >= len(scene.model):
        raise ValueError(f"cut is {options.cut}, must be at most {len(scene.model) - 1}: a body has to remain")
    return scene


Guess = tuple[Tensor, Tensor]
"""Pictures `(samples, ...)` in [0, 1] and labels `(samples,)`."""


def as_double(module: nn.Module) -> nn.Module:
    """Return a copy in double precision, with weights that do not move: the attacker's arithmetic."""
    return copy.deepcopy(module).double().requires_grad_(False)


def plain(scene: Scene) -> Guess:
    """Federated learning. Sees the weights of the whole model and its gradients of one sample.

    The label is inferred, then gradients are matched. Where other layers lie before the first linear one, what went
    into that is read off its gradients and inverted first, which gives a picture to start from.
    """
    model, client = as_double(scene.model).requires_grad_(True), scene.client
    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    place = next(index for index, leaf in enumerate(leaves) if isinstance(leaf, nn.Linear))
    first = as_double(nn.Sequential(*leaves[:place]))
    before = len(list(first.parameters()))
    pictures, labels = [], []
    for sample in range(scene.options.samples):
        one = slice(sample, sample + 1)
        seen = [g.double() for g in leakage.gradients_of(scene.model, client.inputs[one], client.labels[one])]
        label = torch.tensor([leakage.infer_label(seen[-1])])
        starts = []
        if before:
            inverted = leakage.feature_mismatch(first, leakage.input_of_linear(*seen[before : before + 2])[None])
            starts.append(scene.attack(inverted, sample, "plain")[0])
        pictures.append(scene.attack(leakage.gradient_mismatch(model, seen, label), sample, "plain", starts)[0])
        labels.append(label)
    return torch.cat(pictures), torch.cat(labels)


def train_alone(scene: Scene) -> SplitModel:
    """Return the client's model after steps of gradient descent on its samples, as the first rounds are."""
    model, data = copy.deepcopy(scene.model), scene.client
    rng = generator(scene.options.seed, 0, 0, STREAM + 1)
    for _ in range(scene.options.steps):
        batch = data.take(torch.from_numpy(rng.integers(len(data), size=BATCH)))
        gradients = torch.autograd.grad(cross_entropy(model(batch.inputs), batch.labels), list(model.parameters()))
        with torch.no_grad():
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value.sub_(LEARNING_RATE * gradient)
    return model


def known_head(scene: Scene) -> Guess:
    """Split, head known. Sees features, labels, the body and the head's weights; matches the features."""
    return scene.invert([scene.head(scene.model)], scene.features, "known_head"), scene.attacked.labels


def known_start(scene: Scene) -> Guess:
    """Split, head known before training. Sees features and labels after the client trained on its samples alone."""
    trained = train_alone(scene)
    features = scene.head(trained)(scene.attacked.inputs).detach().double()
    return scene.invert([scene.head(scene.model)], features, "known_start"), scene.attacked.labels


def guessed_head(scene: Scene) -> Guess:
    """Split, private head. Sees features and labels, knows the head's layers; draws heads, keeps the best match."""
    heads = [scene.head(scene.build(1 + draw)) for draw in range(scene.options.restarts)]
    return scene.invert(heads, scene.features, "guessed_head", restarts=2), scene.attacked.labels


def learned_head(scene: Scene) -> Guess:
    """Split, private head. Sees what `guessed_head` sees; finds head and all the client's pictures together."""
    head = copy.deepcopy(scene.head(scene.build(1))).double()
    start = scene.rng(0, "learned_head").random((len(scene.client), *scene.client.sample_shape))
    pictures = torch.from_numpy(start).requires_grad_()

    def objective() -> Tensor:
        distance = leakage.relative_distance([head(pictures)], [scene.features])
        return distance + leakage.overshoot(pictures) + 1e-3 * leakage.roughness(pictures)

    leakage.minimize(objective, [pictures, *head.parameters()], scene.options.iterations)
    return pictures.detach()[: scene.options.samples].clamp(0.0, 1.0), scene.attacked.labels


def mean_pictures(data: Dataset) -> Tensor:
    """Return the mean picture of every label, `(C, ...)`; of all pictures for a label that has none."""
    pictures = data.inputs.double()
    chosen = [data.labels == label for label in range(data.num_classes)]
    return torch.stack([(pictures[rows] if rows.any() else pictures).mean(dim=0) for rows in chosen])


def moments(features: Tensor, labels: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return means `(C, F)` and covariances `(C, F, F)` of features `(n, ...)` per class."""
    flat = [features.flatten(1)[labels == label] for label in classes]
    means = torch.stack([rows.mean(dim=0) for rows in flat])
    centered = [rows - mean for rows, mean in zip(flat, means, strict=True)]
    return means, torch.stack([rows.T @ rows / len(rows) for rows in centered])


def fitted_head(scene: Scene) -> nn.Module:
    """Return a head whose features of public pictures have, class by class, the moments of those received.

    Raises:
        ValueError: fewer than two classes that both the client and the public have.
    """
    known, labels = scene.public.inputs.double(), scene.public.labels
    classes = sorted(set(labels.tolist()) & set(scene.client.labels.tolist()))
    if len(classes) < 2:
        raise ValueError(f"the client and the public have the classes {classes} in common, must be at least 2")
    means, covariances = moments(scene.features, scene.client.labels, classes)
    spread = (means - means.mean(dim=0)).square().sum()
    head = copy.deepcopy(scene.head(scene.build(1))).double()

    def objective() -> Tensor:
        mean, covariance = moments(head(known), labels, classes)
        return (mean - means).square().sum() / spread + leakage.relative_distance([covariance], [covariances])

    leakage.minimize(objective, list(head.parameters()), scene.options.iterations)
    return head.requires_grad_(False)


def public_data(scene: Scene) -> Guess:
    """Split, private head. Sees what `guessed_head` sees, and has public samples of the same kind.

    A head is fitted to the moments of the features received. It inverts the features, starting from the mean public
    picture of the label and kept near it by the covariance of public pictures.
    """
    head, labels = fitted_head(scene), scene.attacked.labels
    known, centre = scene.public.inputs.double(), mean_pictures(scene.public)
    off = (known - centre[scene.public.labels]).flatten(1)
    precision = torch.linalg.inv(off.T @ off / len(off) + 1e-4 * torch.eye(off.shape[1], dtype=off.dtype))
    pictures = centre[labels].requires_grad_()
    seen = scene.features[: scene.options.samples].flatten(1)
    weight = PRIOR * seen.square().sum(dim=1).mean()

    def objective() -> Tensor:
        off = (pictures - centre[labels]).flatten(1)
        mismatch: Tensor = (head(pictures).flatten(1) - seen).square().sum()
        mismatch += weight * ((off @ precision) * off).sum()
        return mismatch

    leakage.minimize(objective, [pictures], scene.options.iterations)
    return pictures.detach().clamp(0.0, 1.0), labels


def label_only(scene: Scene) -> Guess:
    """The reference. Sees the labels alone and has public samples: the mean public picture of the label."""
    labels = scene.attacked.labels
    return mean_pictures(scene.public)[labels], labels


SETTINGS: Mapping[str, tuple[str, Callable[[Scene], Guess]]] = {
    "plain": ("federated learning", plain),
    "known_head": ("split, head known", known_head),
    "known_start": ("split, head known before training", known_start),
    "guessed_head": ("split, private head, guessed", guessed_head),
    "learned_head": ("split, private head, learned", learned_head),
    "public_data": ("split, private head, public data", public_data),
    "label_only": ("label and public data alone", label_only),
}
"""Attackers by name, with a title."""
