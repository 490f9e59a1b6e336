"""Clients trained one model after the other, on one module whose parameters point into the stacked ones."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..models.parameters import point, take
from .shares import passing
from .work import Segment, Work


def train(work: Work) -> Tensor:
    """Train body after body; returns `(T, A)` summed losses."""
    if work.group is not None and work.group.ndim == 2:
        return train_block_by_block(work, work.group)
    if work.group is None and work.body.trained and not work.head.trained and work.channel is None:
        return train_alone(work)
    sums = torch.zeros(work.batches.count.T.shape)
    labels = np.arange(len(work.batches.clients)) if work.group is None else work.group
    for number in np.unique(labels).tolist():
        members = np.flatnonzero(labels == number)
        group = Group(work, number, members.tolist())
        for step in range(int(np.count_nonzero(work.batches.count[members], axis=1).max())):
            group.step(step, sums)
    return sums


class Group:
    """The clients of one body, with what FedProx keeps it and their heads close to."""

    def __init__(self, work: Work, number: int, members: list[int]) -> None:
        """Point the body's module to the parameters of copy `number`; `members` are rows of the batches."""
        self.work, self.members = work, members
        self.parameters: list[Tensor] = []
        if work.body.trained:
            self.parameters.extend(point(work.body.module, take(work.bodies, number)).parameters())
        near = bool(work.rule.proximal)
        self.start = [value.detach().clone() for value in self.parameters] if near else []
        self.near = {row: [value[row].clone() for value in work.heads.values()] if near else [] for row in members}

    def step(self, step: int, sums: Tensor) -> None:
        """Train on the batches of one step; write each client's summed loss into `sums` `(T, A)`."""
        work, trained = self.work, self.work.head.trained
        count = work.batches.count[:, step]
        present = [row for row in self.members if count[row]]
        visit = [work.batches.index[row, step, : count[row]] for row in present]
        minds = [{n: v[row].detach().requires_grad_(trained) for n, v in work.heads.items()} for row in present]
        inputs = work.data.inputs
        features = [work.head.single(mind, inputs[index]) for mind, index in zip(minds, visit, strict=True)]
        losses, gradients = self._serve(present, visit, features)
        parts = torch.split(losses.detach(), [len(index) for index in visit])
        for row, part in zip(present, parts, strict=True):
            sums[step, row] = part.sum()
        if trained:
            self._descend_heads(present, minds, features, gradients.pop(0))
        if self.parameters:
            work.rule.step(self.parameters, gradients, self.start)

    def _serve(self, present: list[int], visit: list[Tensor], features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return losses `(sum B,)` of all batches, and gradients of their mean: of features, if wanted, and body."""
        work = self.work
        sent = features if work.channel is None else work.channel.up(present, features)
        whole = sent[0] if len(sent) == 1 else torch.cat(sent)
        cut = whole.detach().requires_grad_(work.head.trained)
        targets = work.data.labels[visit[0] if len(visit) == 1 else torch.cat(visit)]
        losses = cross_entropy(work.body.module(cut), targets, reduction="none")
        wanted = [*([cut] if work.head.trained else []), *self.parameters]
        return losses, list(torch.autograd.grad(losses.mean(), wanted))

    def _descend_heads(
        self, present: list[int], minds: list[dict[str, Tensor]], features: list[Tensor], gradient: Tensor
    ) -> None:
        """Take a step with every head against what arrives of the features' `gradient` `(sum B, ...)`."""
        parts = torch.split(gradient, [len(feature) for feature in features])
        # A gradient of the mean over all batches becomes one of the client's own mean.
        arrived = [part * (len(gradient) / len(part)) for part in parts]
        if self.work.channel is not None:
            arrived = self.work.channel.down(present, arrived)
        # All heads are parts of one tensor: none may change before every gradient is known.
        steps = [
            list(torch.autograd.grad(feature, list(mind.values()), part))
            for mind, feature, part in zip(minds, features, arrived, strict=True)
        ]
        for row, mind, back in zip(present, minds, steps, strict=True):
            self.work.rule.step(list(mind.values()), back, self.near[row])


Passed = tuple[dict[str, Tensor], list[Tensor], int]
"""A copy of a block in a step: its parameters, what FedProx keeps them close to, and how many samples have passed."""


def train_block_by_block(work: Work, group: np.ndarray) -> Tensor:
    """Train copies of blocks, each on one batch of all samples that pass through it in a step; `group` `(A, blocks)`.

    The loss of a step is summed over all clients: a copy that `m` samples pass takes 1 / m of its gradient.
    """
    batches, labels = work.batches, work.data.labels
    sums = torch.zeros(batches.count.T.shape)
    start = {name: value.clone() for name, value in work.bodies.items()} if work.rule.proximal else {}
    through = np.stack([passing(batches.count, column) for column in group.T], axis=-1)
    for step in range(batches.count.shape[1]):
        rows = np.flatnonzero(batches.count[:, step]).tolist()
        visit = {row: batches.index[row, step, : batches.count[row, step]] for row in rows}
        values = {row: work.data.inputs[index] for row, index in visit.items()}
        used = _pass_blocks(work, group, through[:, step], values, start)
        losses = {row: cross_entropy(values[row], labels[visit[row]], reduction="sum") for row in rows}
        leaves = [value for own, _, _ in used for value in own.values()]
        gradients = iter(torch.autograd.grad(torch.stack(list(losses.values())).sum(), leaves))
        for own, near, samples in used:
            work.rule.step(list(own.values()), [next(gradients) / samples for _ in own], near)
        for row, value in losses.items():
            sums[step, row] = value.detach()
    return sums


def _pass_blocks(
    work: Work, group: np.ndarray, through: np.ndarray, values: dict[int, Tensor], start: dict[str, Tensor]
) -> list[Passed]:
    """Send `values` `(B, ...)` by row through all blocks, in place; return the copies that they have passed.

    Args:
        work: whose bodies are the copies.
        group: `(A, blocks)` the copy of each block that a client uses.
        through: `(A, blocks)` samples that pass that copy in this step.
        values: the samples of those that are present; in the end the logits.
        start: what FedProx keeps all copies close to; empty without it.
    """
    used: list[Passed] = []
    rows = np.array(list(values))
    for position, (name, module) in enumerate(work.body.module.named_children()):
        block = Segment(module)
        for copy in np.unique(group[rows, position]).tolist():
            members = rows[group[rows, position] == copy].tolist()
            own = {key: value[copy].detach() for key, value in work.bodies.items() if key.startswith(f"{name}.")}
            near = [start[key][copy] for key in own] if start else []
            used.append((own, near, int(through[members[0], position])))
            mind = {key.removeprefix(f"{name}."): value.requires_grad_() for key, value in own.items()}
            whole = block.single(mind, torch.cat([values[row] for row in members]))
            parts = torch.split(whole, [len(values[row]) for row in members])
            values.update(zip(members, parts, strict=True))
    return used


def channels_last(images: Tensor) -> Tensor:
    """Return images `(B, C, H, W)` with channels last in memory, with which a CPU convolves and pools faster."""
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


def train_alone(work: Work) -> Tensor:
    """Train client after client, each a body of its own on what an untrained head makes of its samples."""
    data, batches, body = work.data, work.batches, work.body.module
    sums = torch.zeros(batches.count.T.shape)
    own = dict(body.named_parameters())
    parameters: list[Tensor] = list(own.values())
    cut = len(work.head.leaves()) > 0
    # Modules of others may ask for a view of what is no longer in the usual order.
    plain = all(type(module).__module__.startswith("torch.nn") for module in body.modules())
    for row, steps in enumerate(batches.steps.tolist()):
        for name, value in own.items():
            value.data = work.bodies[name][row]
        start = [value.detach().clone() for value in parameters] if work.rule.proximal else []
        losses = []
        for index, count in zip(batches.index[row, :steps], batches.count[row].tolist(), strict=False):
            visit = index[:count]
            features = data.inputs.index_select(0, visit)
            if cut:
                features = work.head.single({}, features)
            if plain and features.ndim == 4:
                features = channels_last(features)
            loss = cross_entropy(body(features), data.labels.index_select(0, visit))
            work.rule.step(parameters, list(torch.autograd.grad(loss, parameters)), start)
            losses.append(loss.detach())
        sums[:steps, row] = torch.stack(losses)
    return sums * torch.from_numpy(batches.count.T)
