"""Networks of many agents: stacked ones of each agent's own, shared ones over pairs or agents; actors and critics."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def dueling(value: Tensor, advantage: Tensor) -> Tensor:
    """Put value `(..., 1)` and advantages `(..., num_actions)` together: Q = V + A - mean A (Wang et al., 2016)."""
    return value + advantage - advantage.mean(dim=-1, keepdim=True)


class StackedLinear(nn.Module):
    """A linear layer for every agent, as one batched product; each starts as `torch.nn.Linear` does."""

    def __init__(self, agents: int, inputs: int, outputs: int, generator: torch.Generator) -> None:
        """Draw weights `(agents, inputs, outputs)` and biases `(agents, 1, outputs)`."""
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter((torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound)

        self.weight, self.bias = draw(agents, inputs, outputs), draw(agents, 1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(agents, B, inputs)` to `(agents, B, outputs)`."""
        return torch.baddbmm(self.bias, x, self.weight)


class IndependentNetworks(nn.Module):
    """One dueling network per agent (Zhao et al., section V-B): all of them forward and learn in batched products."""

    def __init__(
        self, agents: int, observation_size: int, num_actions: int, hidden: Sequence[int], generator: torch.Generator
    ) -> None:
        """Build the hidden layers, and a value and an advantage output on the last of them."""
        super().__init__()
        sizes = (observation_size, *hidden)
        self.hidden = nn.ModuleList(
            StackedLinear(agents, inputs, outputs, generator) for inputs, outputs in itertools.pairwise(sizes)
        )
        self.value = StackedLinear(agents, sizes[-1], 1, generator)
        self.advantage = StackedLinear(agents, sizes[-1], num_actions, generator)

    def forward(self, observation: Tensor) -> Tensor:
        """Map observations `(B, agents, size)` to values `(B, agents, num_actions)`."""
        x = observation.transpose(0, 1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return dueling(self.value(x), self.advantage(x)).transpose(0, 1)


class SharedNetworks(nn.Module):
    """One dueling network that all agents share; each sees its own numbers and what all agents' first layer finds."""

    def __init__(
        self, agents: int, observation_size: int, num_actions: int, hidden: Sequence[int], generator: torch.Generator
    ) -> None:
        """Build the layers; `hidden` has two or more sizes."""
        super().__init__()
        outputs = num_actions + 1
        self.network = AgentNetwork(agents, observation_size, outputs, hidden, generator, independent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Map observations `(B, agents, size)` to values `(B, agents, num_actions)`."""
        outputs = self.network(observation)
        return dueling(outputs[..., :1], outputs[..., 1:])


class PairNetwork(nn.Module):
    """A dueling network that every (server, channel) pair and every agent share; it takes any number of each.

    A pair's fields become `hidden[0]` numbers; a second layer of `hidden[1]` mixes them with their means over the
    pair's channel, over its server and over all pairs; the advantage reads a pair, the value the mean over pairs, each
    through a layer of `hidden[2]` where there is one.
    """

    def __init__(
        self, num_servers: int, num_channels: int, fields: int, hidden: Sequence[int], generator: torch.Generator
    ) -> None:
        """Build the layers; an observation is `fields` values for each pair, field after field."""
        super().__init__()
        self.shape = (num_servers, num_channels)
        self.fields = fields
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(fields))
        self.register_buffer("deviation", torch.zeros(fields))
        first, second, *rest = hidden
        one = {"agents": 1, "generator": generator}

        def layer(inputs: int, outputs: int) -> StackedLinear:
            return StackedLinear(inputs=inputs, outputs=outputs, **one)  # type: ignore[arg-type]

        self.pair = layer(fields, first)
        self.mix = layer(4 * first, second)
        last = rest[0] if rest else second
        self.advantage_hidden: nn.Module = layer(second, last) if rest else nn.Identity()
        self.advantage = layer(last, 1)
        self.value_hidden: nn.Module = layer(second, last) if rest else nn.Identity()
        self.value = layer(last, 1)

    @property
    def standardized(self) -> bool:
        """Whether the fields' means and deviations are known."""
        return bool((self.deviation > 0).all())

    def standardize(self, observation: Tensor) -> None:
        """Measure the fields' means and deviations on observations `(..., fields M K)`; inputs then spread about 1."""
        fields = observation.reshape(-1, self.fields, math.prod(self.shape)).transpose(0, 1).flatten(1)
        self.mean.copy_(fields.mean(dim=1))
        self.deviation.copy_(fields.std(dim=1).clamp(min=1e-3))

    def forward(self, observation: Tensor) -> Tensor:
        """Map observations `(..., fields M K)` to values `(..., M K)`."""
        servers, channels = self.shape
        batch = observation.shape[:-1]
        pairs = observation.reshape(-1, self.fields, servers * channels).transpose(1, 2)
        if self.standardized:
            pairs = (pairs - self.mean) / self.deviation

        def apply(layer: nn.Module, x: Tensor) -> Tensor:
            if not isinstance(layer, StackedLinear):
                return x
            return torch.addmm(layer.bias[0], x.reshape(-1, x.shape[-1]), layer.weight[0])

        first = torch.relu(apply(self.pair, pairs)).view(-1, servers, channels, self.pair.weight.shape[-1])
        own, channel, server, every = self.mix.weight[0].chunk(4)
        by_channel = first.mean(dim=1)
        everywhere = (by_channel.mean(dim=1) @ every + self.mix.bias[0, 0])[:, None, None]
        per_server = (first.mean(dim=2) @ server)[:, :, None] + everywhere
        mixed = torch.relu(first @ own + (by_channel @ channel)[:, None] + per_server).flatten(1, 2)
        advantage = apply(self.advantage, torch.relu(apply(self.advantage_hidden, mixed)))
        value = apply(self.value, torch.relu(apply(self.value_hidden, mixed.mean(dim=1))))
        return dueling(value, advantage.view(-1, servers * channels)).view(*batch, servers * channels)


class AgentLayers(nn.Module):
    """Linear layers with rectifiers on `(B, agents, inputs)`: of each agent's own, or one for all agents."""

    def __init__(
        self,
        agents: int,
        sizes: Sequence[int],
        generator: torch.Generator,
        *,
        independent: bool,
        rectified: bool = True,
    ) -> None:
        """Build a layer between each two sizes; without `rectified` outputs are linear."""
        super().__init__()
        self.independent, self.rectified = independent, rectified
        self.layers = nn.ModuleList(
            StackedLinear(agents if independent else 1, before, after, generator)
            for before, after in itertools.pairwise(sizes)
        )

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Map `(B, agents, sizes[0])` to `(B, agents, sizes[-1])`.

        The last of the inputs may come as `pooled` `(B, 1, ...)`, the same for all agents of a copy.
        """
        for layer in self.layers:
            assert isinstance(layer, StackedLinear)
            x = self.apply_layer(layer, x, pooled)
            x, pooled = torch.relu_(x) if self.rectified else x, None
        return x

    def apply_layer(self, layer: StackedLinear, x: Tensor, pooled: Tensor | None) -> Tensor:
        """Apply one layer; what is pooled is multiplied once for all agents that share weights."""
        if self.independent:
            whole = x if pooled is None else torch.cat([x, pooled.expand(-1, x.shape[1], -1)], dim=-1)
            return layer(whole.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]
        own, bias = layer.weight[0][: x.shape[-1]], layer.bias[0]
        if pooled is None:
            flat = torch.addmm(bias, x.reshape(-1, x.shape[-1]), own)
            return flat.view(*x.shape[:-1], -1)
        common = torch.addmm(bias, pooled[:, 0], layer.weight[0][x.shape[-1] :])
        return (x.reshape(-1, x.shape[-1]) @ own).view(*x.shape[:-1], -1).add_(common[:, None])


class AgentNetwork(nn.Module):
    """Outputs for every agent from its own numbers and the mean of all agents' first layer.

    It takes agents in any order; where they share weights (`independent` is false), any number of them.
    """

    def __init__(
        self,
        agents: int,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        *,
        independent: bool,
    ) -> None:
        """Build the layers; `hidden` has two or more sizes."""
        super().__init__()
        kind: dict[str, Any] = {"agents": agents, "generator": generator, "independent": independent}
        self.first = AgentLayers(sizes=(inputs, hidden[0]), **kind)
        self.rest = AgentLayers(sizes=(2 * hidden[0], *hidden[1:]), **kind)
        self.last = AgentLayers(sizes=(hidden[-1], outputs), rectified=False, **kind)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, agents, inputs)` to `(B, agents, outputs)`."""
        own = self.first(x)
        return self.last(self.rest(own, own.mean(dim=1, keepdim=True)))  # type: ignore[no-any-return]


class AgentCritic(nn.Module):
    """A value for every agent and each of its choices, from what the agent sees and does and what all do.

    An agent's first layer reads its own observation and numbers; beside it stands the mean over agents of a layer that
    reads their choices too.
    """

    def __init__(
        self,
        agents: int,
        inputs: int,
        choices: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        *,
        independent: bool,
    ) -> None:
        """Build the layers; without choices there is one value."""
        super().__init__()
        first = hidden[0]
        kind: dict[str, Any] = {"agents": agents, "generator": generator, "independent": independent}
        self.own = AgentLayers(sizes=(inputs, first), **kind)
        self.everyone = AgentLayers(sizes=(inputs + choices, first), **kind)
        self.rest = AgentLayers(sizes=(2 * first, *hidden[1:]), **kind)
        self.last = AgentLayers(sizes=(hidden[-1], max(1, choices)), rectified=False, **kind)

    def forward(self, x: Tensor, choice: Tensor) -> Tensor:
        """Map `(B, agents, inputs)` and choices `(B, agents, choices)` to values `(B, agents, max(1, choices))`."""
        own, others = self.own(x), self.everyone(torch.cat([x, choice], dim=-1)).mean(dim=1, keepdim=True)
        return self.last(self.rest(own, others))  # type: ignore[no-any-return]
