"""Clients trained with their parameters on a leading axis: one batched product per layer, gradients written out."""

import numpy as np
import torch
from torch import Tensor, nn

from ..models.parameters import Parameters
from .channel import carry
from .shares import Shares
from .work import SLOPES, Descent, Segment, Work, block_of


def train(work: Work) -> Tensor:
    """Train with clients on a leading axis; returns `(T, A)` summed losses.

    Clients with most steps come first, so that those who are still active in a step are a prefix.
    """
    data, batches = work.data, work.batches
    device = data.labels.device
    shares = Shares.of(batches, work.group, device)
    # (T, A, B): which places of a batch hold a sample; (T, A, 1, B): how much each counts, the same for all classes.
    valid = torch.arange(batches.index.shape[2], device=device) < shares.count[..., None]
    factor = (valid * shares.weight[..., None])[:, :, None]
    groups = None if work.group is None else torch.from_numpy(work.group).to(device)
    chances = torch.zeros(valid.shape, device=device)
    below, above = Dense(work.head, work.heads, None, work.rule), Dense(work.body, work.bodies, groups, work.rule)
    for step, active in enumerate(np.count_nonzero(batches.count, axis=0).tolist()):
        index = batches.index[:active, step]
        inputs = data.inputs.index_select(0, index.flatten()).view(*index.shape, *data.sample_shape)
        features = below.forward(inputs)
        if work.channel is not None:
            features = carry(work.channel.up, features, batches.count[:active, step])
        chances[step, :active], gradient = cross_entropy_of(above.forward(features), data.labels[index])
        gradient *= factor[step, :active]
        above.scale = None if shares.by_block is None else shares.by_block[step, :active]
        arrived = above.backward(gradient.transpose(1, 2), below=work.head.trained)
        if work.head.trained:
            if shares.boost is not None:
                arrived = arrived * shares.boost[step, :active].view(-1, *(1,) * (arrived.ndim - 1))
            if work.channel is not None:
                arrived = carry(work.channel.down, arrived, batches.count[:active, step])
            below.backward(arrived, below=False)
    return -(chances * valid).sum(dim=2)


def cross_entropy_of(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-likelihoods `(A, B)` and gradients of the cross entropy, classes before samples: `(A, C, B)`.

    Args:
        logits: `(A, B, C)`.
        labels: `(A, B)`.
    """
    # Classes before samples: functions of the last axis are slow where it is short.
    chance = torch.log_softmax(logits.transpose(1, 2).contiguous(), dim=1)
    target = labels[:, None]
    likelihood = chance.gather(1, target)[:, 0]
    return likelihood, chance.exp_().scatter_add_(1, target, torch.full_like(target, -1, dtype=chance.dtype))


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
        self.parameters, self.groups, self.rule = parameters, groups, rule
        self.scale: Tensor | None = None
        self.layers = segment.leaves()
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
                pull = (self.parameters[name] - self.start[name])[used]
                self.parameters[name][used] -= rate * self.rule.proximal * pull
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
