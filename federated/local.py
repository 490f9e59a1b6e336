"""Clients that train together: mini-batch gradient descent on models cut in two, heads with clients, bodies in groups.

A *group* of clients trains one body; with a group for each client and an empty head this is the local training of
FedAvg. Groups may differ from block to block of the body. Three ways give the same result: *stacked* (parameters on a
leading axis, one batched product per layer), *looped* (one model after the other, what convolutions want on a CPU) and
*mapped* (`torch.func.vmap`, for a GPU).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from .parameters import Parameters, point, take
from .population import Batches, Population

Way = Literal["stacked", "looped", "mapped"]
SLOPES: Mapping[type[nn.Module], Callable[[Tensor, Tensor], Tensor]] = {
    nn.ReLU: lambda gradient, y: torch.ops.aten.threshold_backward.default(gradient, y, 0),
    nn.Sigmoid: torch.ops.aten.sigmoid_backward.default,
    nn.Tanh: torch.ops.aten.tanh_backward.default,
}
"""What takes gradients back through the activations that stacked clients may have, by their outputs."""


class TrainingDiverged(ArithmeticError):
    """A client's loss is no longer finite."""


@dataclasses.dataclass
class Segment:
    """A part of a model as a function of its parameters."""

    module: nn.Module
    frozen: bool = False

    @property
    def trained(self) -> bool:
        """Whether there are parameters to train."""
        return not self.frozen and any(True for _ in self.module.parameters())

    def leaves(self) -> list[tuple[str, nn.Module]]:
        """Return the modules without children, in order, with their names."""
        return [(name, m) for name, m in self.module.named_modules() if name and not list(m.children())]

    def stackable(self) -> bool:
        """Whether copies can run as batched products: linear layers and functions of single numbers, in sequence."""
        if self.frozen:
            return True
        found = [module for _, module in self.module.named_modules(remove_duplicate=False)]
        plain = all(type(module) in (nn.Sequential, nn.Linear, nn.Flatten, *SLOPES) for module in found)
        whole = all((m.start_dim, m.end_dim) == (1, -1) for m in found if isinstance(m, nn.Flatten))
        return plain and whole and len(found) == len(set(map(id, found)))

    def single(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Map `(B, ...)` with the parameters of one copy; a frozen part has the module's own."""
        if self.frozen or not parameters:
            with torch.set_grad_enabled(not self.frozen):
                return self.module(x)  # type: ignore[no-any-return]
        return functional_call(self.module, dict(parameters), (x,))  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class Descent:
    """Local gradient descent."""

    learning_rate: float
    proximal: float = 0.0
    """FedProx's mu: the gradient gains mu (w - w_start)."""


class Channel(Protocol):
    """What carries features to the server and their gradients back, a message a client in every step."""

    def up(self, rows: Sequence[int], features: Sequence[Tensor]) -> list[Tensor]:
        """Return what arrives of the features `(B, ...)` of clients, by their rows in the batches."""
        ...

    def down(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return what arrives of the gradients `(B, ...)` of each client's own mean loss by what came up."""
        ...


MAPPABLE = (nn.Sequential, nn.Linear, nn.Conv2d, nn.MaxPool2d, nn.GroupNorm, nn.Flatten, *SLOPES)
SMALL_IMAGE = 64
"""Pixels up to which mapped convolutions are faster than looped ones on a CPU, as measured."""


def choose_way(head: Segment, body: Segment, device: torch.device, sample_shape: tuple[int, ...], alone: bool) -> Way:
    """Return the fastest way, as measured: dense models stacked, convolutions looped on a CPU and mapped elsewhere.

    Args:
        head: the clients' part.
        body: the servers' part.
        device: where they train.
        sample_shape: of one sample; very small images are mapped on a CPU too.
        alone: whether every client trains a body of its own.
    """
    if head.stackable() and body.stackable():
        return "stacked"
    if not alone or head.trained or not all(type(module) in MAPPABLE for module in body.module.modules()):
        return "looped"
    small = len(sample_shape) == 3 and sample_shape[1] * sample_shape[2] <= SMALL_IMAGE
    return "mapped" if device.type != "cpu" or small else "looped"


def descend(parameters: list[Tensor], gradients: list[Tensor], start: list[Tensor], rule: Descent) -> None:
    """Take a step of gradient descent in place; `start` are the weights that FedProx stays close to."""
    with torch.no_grad():
        if rule.proximal:
            pull = torch._foreach_sub(parameters, start)
            gradients = list(torch._foreach_add(gradients, pull, alpha=rule.proximal))
        torch._foreach_add_(parameters, gradients, alpha=-rule.learning_rate)


def train_together(
    head: Segment,
    body: Segment,
    heads: Parameters,
    bodies: Parameters,
    group: np.ndarray | None,
    population: Population,
    batches: Batches,
    rule: Descent,
    way: Way,
    channel: Channel | None = None,
) -> Tensor:
    """Train heads and bodies in place, a mini-batch of every client at a time.

    A head learns from the mean loss of its client's batch (Zhao et al., eq (2)), a body from the mean loss over the
    batches of all clients of its group (eq (1)). Where groups differ between the body's blocks, so does every copy of
    a block from the mean loss over the batches that pass through it.

    Args:
        head: the clients' part of the model.
        body: the servers' part.
        heads: stacked parameters `(A, ...)` in the order of the batches.
        bodies: stacked parameters `(G, ...)`; with a group for each block there are as many copies as it has groups.
        group: `(A,)` the body of each client, or `(A, blocks)` the copy of each block of the body, with an empty head
            and no channel; None: one each, in order.
        population: whose samples.
        batches: which of them.
        rule: learning rate and proximal term.
        way: how.
        channel: what features and gradients pass; None: they arrive as they were sent.

    Returns:
        `(A,)` mean loss of each client over the samples it trained on.

    Raises:
        TrainingDiverged: a loss is NaN or infinite; names the client.
    """
    run: Mapping[Way, Callable[..., Tensor]] = {
        "stacked": train_stacked,
        "looped": train_looped,
        "mapped": train_mapped,
    }
    sums = run[way](head, body, heads, bodies, group, population, batches, rule, channel)
    broken = ~torch.isfinite(sums)
    if bool(broken.any()):
        step, row = broken.nonzero()[0].tolist()
        raise TrainingDiverged(
            f"the loss of client_{batches.clients[row]} is {float(sums[step, row])}, must be finite: "
            f"lower learning_rate = {rule.learning_rate:g}"
        )
    return sums.sum(dim=0) / torch.from_numpy(batches.samples).to(sums)


class Dense:
    """Stacked copies of linear layers and activations, with their gradients written out.

    A layer's step is one product that adds to the weights in place, so that no gradient of weights is ever stored.
    """

    def __init__(self, segment: Segment, parameters: Parameters, groups: Tensor | None, rule: Descent) -> None:
        """Take the stacked parameters `(G, ...)` to train in place.

        Args:
            segment: the layers.
            parameters: of their copies.
            groups: `(A,)` or `(A, blocks)`, which copy a client uses; None: each its own, in order.
            rule: how a step is taken.
        """
        self.segment, self.parameters, self.groups, self.rule = segment, parameters, groups, rule
        self.scale: Tensor | None = None
        self.layers = [] if segment.frozen else list(segment.leaves())
        near = rule.proximal and segment.trained
        self.start = {name: value.clone() for name, value in parameters.items()} if near else {}
        self.outputs: list[Tensor] = []

    def used(self, name: str, active: int) -> Tensor | None:
        """Return which copy of a parameter every active client uses, `(active,)`."""
        if self.groups is None or self.groups.ndim == 1:
            return None if self.groups is None else self.groups[:active]
        return self.groups[:active, block_of(name)]

    def copies(self, name: str, active: int) -> Tensor:
        """Return the parameter of every active client, `(active, ...)`."""
        value, groups = self.parameters[name], self.used(name, active)
        return value[:active] if groups is None else value[groups]

    def forward(self, x: Tensor) -> Tensor:
        """Map `(A, B, ...)`; outputs of all layers are remembered."""
        if self.segment.frozen:
            features = self.segment.single({}, x.flatten(0, 1))
            return features.view(*x.shape[:2], *features.shape[1:])
        self.outputs = [x]
        for name, layer in self.layers:
            if isinstance(layer, nn.Linear):
                weight = self.copies(f"{name}.weight", len(x)).transpose(1, 2)
                if layer.bias is None:
                    x = torch.bmm(x, weight)
                else:
                    x = torch.baddbmm(self.copies(f"{name}.bias", len(x))[:, None], x, weight)
            else:
                x = x.flatten(2) if isinstance(layer, nn.Flatten) else layer(x)
            self.outputs.append(x)
        return x

    def backward(self, gradient: Tensor, *, below: bool) -> Tensor:
        """Take a step against the gradient `(A, B, ...)` of the last output; return that of the input, if wanted."""
        for position in reversed(range(len(self.layers))):
            (name, layer), given = self.layers[position], self.outputs[position]
            if isinstance(layer, nn.Linear):
                more = below or any(isinstance(earlier, nn.Linear) for _, earlier in self.layers[:position])
                following = torch.bmm(gradient, self.copies(f"{name}.weight", len(given))) if more else gradient
                self.descend(f"{name}.weight", gradient.transpose(1, 2), given)
                if layer.bias is not None:
                    self.descend(f"{name}.bias", gradient.sum(dim=1), None)
                gradient = following
                if not more:
                    break
            elif isinstance(layer, nn.Flatten):
                gradient = gradient.reshape(given.shape)
            else:
                gradient = SLOPES[type(layer)](gradient, self.outputs[position + 1])
        return gradient

    def descend(self, name: str, left: Tensor, right: Tensor | None) -> None:
        """Subtract learning_rate (scale left right + mu (w - w_start)) from the clients' copies of a parameter."""
        rate, active = self.rule.learning_rate, len(left)
        groups = self.used(name, active)
        if groups is not None:
            if self.scale is not None:
                left = left * self.scale[:, block_of(name)].view(-1, *(1,) * (left.ndim - 1))
            used = torch.unique(groups)
            if self.start:
                self.parameters[name][used] -= (
                    rate * self.rule.proximal * (self.parameters[name] - self.start[name])[used]
                )
            gradient = left if right is None else torch.bmm(left, right)
            self.parameters[name].index_add_(0, groups, gradient, alpha=-rate)
            return
        own = self.parameters[name][:active]
        if self.start:
            own.lerp_(self.start[name][:active], rate * self.rule.proximal)
        if right is None:
            own.add_(left, alpha=-rate)
        else:
            own.baddbmm_(left, right, alpha=-rate)


def block_of(name: str) -> int:
    """Return the number of the block that a parameter belongs to, from its name in a sequence of blocks."""
    return int(name.partition(".")[0])


def require_finite(change: np.ndarray, clients: np.ndarray) -> None:
    """Raise `TrainingDiverged` for the first client whose change `(A,)` of weights is not finite."""
    for row in np.flatnonzero(~np.isfinite(change)):
        raise TrainingDiverged(f"the weights of client_{clients[row]} are no longer finite: lower learning_rate")


@dataclasses.dataclass(frozen=True)
class Shares:
    """How much each client's batch counts in a step."""

    weight: Tensor
    """`(T, A)` factor of a sample's loss in the body's mean."""
    boost: Tensor | None
    """`(T, A)` factor that turns a gradient of the body's mean into one of the client's own; None: 1."""
    count: Tensor
    """`(T, A)` samples of the batch."""
    by_block: Tensor | None = None
    """`(T, A, blocks)` what makes a gradient of the summed loss one of the mean over a copy's samples; None: 1."""

    @classmethod
    def of(cls, batches: Batches, group: np.ndarray | None, device: torch.device) -> "Shares":
        """Compute the shares of all steps."""
        count = batches.count.T.astype(np.float32)
        own = np.maximum(count, 1.0)
        if group is not None and group.ndim == 2:
            through = [passing(batches.count, block).T for block in group.T]
            scale = 1.0 / np.maximum(np.stack(through, axis=-1), 1).astype(np.float32)
            ones, samples, by_block = (torch.from_numpy(a).to(device) for a in (np.ones_like(own), count, scale))
            return cls(ones, None, samples, by_block)
        if group is None:
            return cls(torch.from_numpy(1.0 / own).to(device), None, torch.from_numpy(count).to(device))
        together = np.zeros((count.shape[0], int(group.max()) + 1), np.float32)
        np.add.at(together.T, group, batches.count.astype(np.float32))
        whole = np.maximum(together[:, group], 1.0)
        factors = (torch.from_numpy(array).to(device) for array in (1.0 / whole, whole / own, count))
        weight, boost, samples = factors
        return cls(weight, boost, samples)


def passing(count: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the samples `(A, T)` that pass the copy that each client uses, of `count` `(A, T)`, `group` `(A,)`."""
    together = np.zeros((int(group.max()) + 1, count.shape[1]), count.dtype)
    np.add.at(together, group, count)
    return np.asarray(together[group])


def carry(send: Callable[[Sequence[int], Sequence[Tensor]], list[Tensor]], values: Tensor, count: np.ndarray) -> Tensor:
    """Send the first `count` `(A,)` samples of each client, of `(A, B, ...)`; what is behind them stays."""
    arrived, sizes = values.clone(), count.tolist()
    parts = send(range(len(sizes)), [values[row, :size] for row, size in enumerate(sizes)])
    for row, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        arrived[row, :size] = part
    return arrived


def train_stacked(
    head: Segment,
    body: Segment,
    heads: Parameters,
    bodies: Parameters,
    group: np.ndarray | None,
    population: Population,
    batches: Batches,
    rule: Descent,
    channel: Channel | None = None,
) -> Tensor:
    """Train with clients on a leading axis; those with most steps come first, so that who is active is a prefix."""
    data = population.data
    device = data.labels.device
    shares = Shares.of(batches, group, device)
    valid = torch.arange(batches.index.shape[2], device=device) < shares.count[..., None]
    factor = (valid * shares.weight[..., None])[:, :, None]
    groups = None if group is None else torch.from_numpy(group).to(device)
    chances = torch.zeros(valid.shape, device=device)
    below, above = Dense(head, heads, None, rule), Dense(body, bodies, groups, rule)
    for step, active in enumerate(np.count_nonzero(batches.count, axis=0).tolist()):
        index = batches.index[:active, step]
        inputs = data.inputs.index_select(0, index.flatten()).view(*index.shape, *data.sample_shape)
        features = below.forward(inputs)
        if channel is not None:
            features = carry(channel.up, features, batches.count[:active, step])
        # Classes before samples: functions of the last axis are slow where it is short.
        logits = above.forward(features).transpose(1, 2).contiguous()
        chance = torch.log_softmax(logits, dim=1)
        target = data.labels[index][:, None]
        chances[step, :active] = chance.gather(1, target)[:, 0]
        gradient = chance.exp_().scatter_add_(1, target, torch.full_like(target, -1, dtype=chance.dtype))
        gradient *= factor[step, :active]
        above.scale = None if shares.by_block is None else shares.by_block[step, :active]
        arrived = above.backward(gradient.transpose(1, 2), below=head.trained)
        if head.trained:
            if shares.boost is not None:
                arrived = arrived * shares.boost[step, :active].view(-1, *(1,) * (arrived.ndim - 1))
            if channel is not None:
                arrived = carry(channel.down, arrived, batches.count[:active, step])
            below.backward(arrived, below=False)
    return -(chances * valid).sum(dim=2)


def train_looped(
    head: Segment,
    body: Segment,
    heads: Parameters,
    bodies: Parameters,
    group: np.ndarray | None,
    population: Population,
    batches: Batches,
    rule: Descent,
    channel: Channel | None = None,
) -> Tensor:
    """Train body after body on one model whose parameters point into the stacked ones."""
    if group is not None and group.ndim == 2:
        return train_block_by_block(body, bodies, group, population, batches, rule)
    if group is None and body.trained and not head.trained and channel is None:
        return train_alone(head, body, bodies, population, batches, rule)
    sums = torch.zeros(batches.count.T.shape)
    labels = np.arange(len(batches.clients)) if group is None else group
    for number in np.unique(labels).tolist():
        members = np.flatnonzero(labels == number)
        parameters: list[Tensor] = []
        if body.trained:
            parameters.extend(point(body.module, take(bodies, number)).parameters())
        start = [value.detach().clone() for value in parameters] if rule.proximal else []
        near = {
            row: [value[row].clone() for value in heads.values()] if rule.proximal else [] for row in members.tolist()
        }
        for step in range(int(np.count_nonzero(batches.count[members], axis=1).max())):
            present = [row for row in members.tolist() if batches.count[row, step]]
            visit = [batches.index[row, step, : batches.count[row, step]] for row in present]
            minds = [{n: v[row].detach().requires_grad_(head.trained) for n, v in heads.items()} for row in present]
            features = [
                head.single(mind, population.data.inputs[index]) for mind, index in zip(minds, visit, strict=True)
            ]
            sent = features if channel is None else channel.up(present, features)
            whole = sent[0] if len(sent) == 1 else torch.cat(sent)
            cut = whole.detach().requires_grad_(head.trained)
            targets = population.data.labels[visit[0] if len(visit) == 1 else torch.cat(visit)]
            losses = cross_entropy(body.module(cut), targets, reduction="none")
            gradients = list(torch.autograd.grad(losses.mean(), [*([cut] if head.trained else []), *parameters]))
            sizes = [len(index) for index in visit]
            for row, part in zip(present, torch.split(losses.detach(), sizes), strict=True):
                sums[step, row] = part.sum()
            if head.trained:
                parts = torch.split(gradients.pop(0), sizes)
                arrived = [part * (len(targets) / len(part)) for part in parts]
                if channel is not None:
                    arrived = channel.down(present, arrived)
                # All heads are parts of one tensor: none may change before every gradient is known.
                steps = [
                    list(torch.autograd.grad(feature, list(mind.values()), part))
                    for mind, feature, part in zip(minds, features, arrived, strict=True)
                ]
                for row, mind, back in zip(present, minds, steps, strict=True):
                    descend(list(mind.values()), back, near[row], rule)
            if parameters:
                descend(parameters, gradients, start, rule)
    return sums


def train_block_by_block(
    body: Segment, bodies: Parameters, group: np.ndarray, population: Population, batches: Batches, rule: Descent
) -> Tensor:
    """Train copies of blocks, each on one batch of all samples that pass through it in a step; `group` `(A, blocks)`.

    The loss of a step is summed over all clients: a copy that `m` samples pass takes 1 / m of its gradient.
    """
    sums = torch.zeros(batches.count.T.shape)
    data, blocks = population.data, [(name, Segment(block)) for name, block in body.module.named_children()]
    start = {name: value.clone() for name, value in bodies.items()} if rule.proximal else {}
    through = [passing(batches.count, column) for column in group.T]
    for step in range(batches.count.shape[1]):
        rows = np.flatnonzero(batches.count[:, step])
        visit = {row: batches.index[row, step, : batches.count[row, step]] for row in rows.tolist()}
        values = {row: data.inputs[index] for row, index in visit.items()}
        used: list[tuple[dict[str, Tensor], int, int]] = []
        for position, (name, block) in enumerate(blocks):
            for copy in np.unique(group[rows, position]).tolist():
                members = rows[group[rows, position] == copy].tolist()
                own = {key: bodies[key][copy].detach() for key in bodies if key.startswith(f"{name}.")}
                used.append((own, copy, int(through[position][members[0], step])))
                mind = {key.removeprefix(f"{name}."): value.requires_grad_() for key, value in own.items()}
                whole = block.single(mind, torch.cat([values[row] for row in members]))
                parts = torch.split(whole, [len(visit[row]) for row in members])
                values.update(zip(members, parts, strict=True))
        losses = {row: cross_entropy(values[row], data.labels[visit[row]], reduction="sum") for row in visit}
        leaves = [value for own, _, _ in used for value in own.values()]
        gradients = iter(torch.autograd.grad(torch.stack(list(losses.values())).sum(), leaves))
        for own, copy, samples in used:
            steps = [next(gradients) / samples for _ in own]
            descend(list(own.values()), steps, [start[key][copy] for key in own] if start else [], rule)
        for row, value in losses.items():
            sums[step, row] = value.detach()
    return sums


def channels_last(images: Tensor) -> Tensor:
    """Return images `(B, C, H, W)` with channels last in memory, with which a CPU convolves and pools faster."""
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


def train_alone(
    head: Segment, body: Segment, bodies: Parameters, population: Population, batches: Batches, rule: Descent
) -> Tensor:
    """Train client after client, each a body of its own on what an untrained head makes of its samples."""
    sums = torch.zeros(batches.count.T.shape)
    own = dict(body.module.named_parameters())
    parameters: list[Tensor] = list(own.values())
    data, cut = population.data, len(head.leaves()) > 0
    # Modules of others may ask for a view of what is no longer in the usual order.
    plain = all(type(module).__module__.startswith("torch.nn") for module in body.module.modules())
    for row, steps in enumerate(batches.steps.tolist()):
        for name, value in own.items():
            value.data = bodies[name][row]
        start = [value.detach().clone() for value in parameters] if rule.proximal else []
        losses = []
        for index, count in zip(batches.index[row, :steps], batches.count[row].tolist(), strict=False):
            visit = index[:count]
            features = data.inputs.index_select(0, visit)
            if cut:
                features = head.single({}, features)
            if plain and features.ndim == 4:
                features = channels_last(features)
            loss = cross_entropy(body.module(features), data.labels.index_select(0, visit))
            descend(parameters, list(torch.autograd.grad(loss, parameters)), start, rule)
            losses.append(loss.detach())
        sums[:steps, row] = torch.stack(losses)
    return sums * torch.from_numpy(batches.count.T)


def train_mapped(
    head: Segment,
    body: Segment,
    heads: Parameters,
    bodies: Parameters,
    group: np.ndarray | None,
    population: Population,
    batches: Batches,
    rule: Descent,
    channel: Channel | None = None,
) -> Tensor:
    """Train whole models of clients in one vectorised call per step.

    Raises:
        ValueError: a head that is trained, bodies that several clients share, or a channel.
    """
    if head.trained or group is not None or channel is not None:
        raise ValueError("way 'mapped' trains a body for every client, no heads, over no channel: choose 'looped'")
    data = population.data
    shares = Shares.of(batches, None, data.labels.device)
    sums = torch.zeros(batches.count.T.shape, device=data.labels.device)
    steps = batches.steps
    valid = torch.arange(batches.index.shape[2], device=sums.device) < shares.count[..., None]
    start = [value.clone() for value in bodies.values()] if rule.proximal else []

    def objective(parameters: Parameters, x: Tensor, y: Tensor, mask: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        summed = (cross_entropy(body.single(parameters, x), y, reduction="none") * mask).sum()
        return summed * weight, summed

    gradient = vmap(grad(objective, has_aux=True), randomness="different")
    for step in range(batches.index.shape[1]):
        active = int(np.searchsorted(-steps, -step))
        index = batches.index[:active, step]
        own = {name: value[:active] for name, value in bodies.items()}
        x = head.single({}, data.inputs[index.flatten()])
        x = x.view(*index.shape, *x.shape[1:])
        found, found_sums = gradient(own, x, data.labels[index], valid[step, :active], shares.weight[step, :active])
        sums[step, :active] = found_sums
        descend(list(own.values()), [found[name] for name in own], [value[:active] for value in start], rule)
    return sums
