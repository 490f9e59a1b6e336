"""Replay memory: a ring of the last steps of every copy, sampled uniformly or by priority (Schaul et al., 2016)."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Batch:
    """Transitions `(size, agents, ...)` to learn from."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    """Discounted sum of the n rewards `(size, agents)`."""
    discount: Tensor
    """What the value of `next_observation` counts `(size, 1)`: 0 where an episode or a round of its own ended."""
    next_observation: Tensor
    next_mask: Tensor
    weight: Tensor
    """Importance weight `(size, 1)`, at most 1."""
    index: Tensor
    """Places in the ring `(size,)`."""


class Replay:
    """The last `capacity` steps of `num_envs` copies; what a step saw is also what followed the step before it."""

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        agents: int,
        observation_size: int,
        num_actions: int,
        device: torch.device,
        *,
        action_size: int = 0,
    ) -> None:
        """Reserve the memory, `capacity` rounded up to whole steps of all copies (at least two).

        An action is an integer, or `action_size` numbers.
        """
        self.steps = max(2, -(-capacity // num_envs))
        self.num_envs = num_envs
        rows = self.steps * num_envs
        self.observation = torch.zeros((rows, agents, observation_size), device=device)
        self.mask = torch.zeros((rows, agents, num_actions), dtype=torch.bool, device=device)
        self.action = torch.zeros((rows, agents), dtype=torch.int16, device=device)
        if action_size:
            self.action = torch.zeros((rows, agents, action_size), device=device)
        self.reward = torch.zeros((rows, agents), device=device)
        self.discount = torch.zeros(rows, device=device)
        self.last = torch.zeros(rows, dtype=torch.bool, device=device)
        self.priority = torch.zeros(rows, device=device)
        self.largest = torch.ones((), device=device)
        self.written = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that make up the memory; rows never written are left out."""
        names = ("observation", "mask", "action", "reward", "discount", "last", "priority")
        rows = min(self.written, self.steps) * self.num_envs
        return {**{name: getattr(self, name)[:rows] for name in names}, "largest": self.largest}

    def restore(self, tensors: dict[str, Tensor], written: int) -> None:
        """Take over the memory of another ring of the same shape, which holds `written` steps.

        Raises:
            ValueError: `tensors` are those of a memory of another shape.
        """
        self.written = written
        for name, part in self.tensors().items():
            if tensors[name].shape != part.shape:
                raise ValueError(f"replay {name} has shape {tuple(tensors[name].shape)}, must be {tuple(part.shape)}")
            part.copy_(tensors[name])

    def add(
        self,
        *,
        observation: Tensor,
        mask: Tensor,
        action: Tensor,
        reward: Tensor,
        discount: Tensor,
        last: Tensor,
        valid: Tensor,
    ) -> None:
        """Append one step of all copies.

        Args:
            observation: what was seen `(B, agents, size)`.
            mask: what was legal `(B, agents, num_actions)`.
            action: what was done `(B, agents)`, or `(B, agents, action_size)`.
            reward: what came of it `(B, agents)`.
            discount: what the following value counts `(B,)`.
            last: whether the episode was over with it `(B,)`; no transition reaches further.
            valid: copies `(B,)` that really acted; the others are never learned from.
        """
        first = (self.written % self.steps) * self.num_envs
        rows = slice(first, first + self.num_envs)
        # What is written takes the memory's type.
        self.observation[rows], self.mask[rows], self.action[rows] = observation, mask, action
        self.reward[rows], self.discount[rows], self.last[rows] = reward, discount, last
        self.priority[rows] = torch.where(valid, self.largest, 0.0)
        self.written += 1

    def seen(self) -> Tensor:
        """Return every observation in the memory `(rows, agents, size)`."""
        return self.observation[: min(self.written, self.steps) * self.num_envs]

    def ready(self, n_step: int) -> int:
        """Return how many steps can be sampled: all but the newest `n_step`, whose outcome is not complete."""
        return max(0, min(self.written, self.steps) - n_step)

    def sample(self, size: int, n_step: int, generator: torch.Generator, prioritized: bool, beta: float) -> Batch:
        """Draw transitions of up to `n_step` steps.

        Uniformly over the steps that acted, or with probability proportional to priority; the weights then undo that
        by (rows P)^-beta, divided by the largest of the batch.
        """
        device = self.reward.device
        oldest = max(0, self.written - self.steps)
        count = self.ready(n_step) * self.num_envs
        if prioritized:
            allowed = self.priority.clone()
            newest = (torch.arange(self.written - n_step, self.written, device=device) % self.steps)[:, None]
            allowed[(newest * self.num_envs + torch.arange(self.num_envs, device=device)).flatten()] = 0.0
            total = torch.cumsum(allowed.double(), 0)
            shares = (torch.arange(size, device=device) + torch.rand(size, generator=generator, device=device)) / size
            index = torch.searchsorted(total, shares.double() * total[-1]).clamp_(max=total.numel() - 1)
            probability = allowed[index] / total[-1].float()
            weight = (count * probability).clamp_(min=1e-12) ** -beta
            weight = torch.where(probability > 0, weight / weight.max(), 0.0)
        else:
            index = torch.randint(count, (size,), generator=generator, device=device)
            index = (index + oldest * self.num_envs) % (self.steps * self.num_envs)
            weight = (self.priority[index] > 0).float()
        return self.gather(index, weight, n_step)

    def gather(self, index: Tensor, weight: Tensor, n_step: int) -> Batch:
        """Put together the transitions that begin at the rows `index`."""
        rows = self.steps * self.num_envs
        place, reward, discount = index, self.reward[index], self.discount[index]
        going = ~self.last[index]
        for _ in range(n_step - 1):
            place = torch.where(going, (place + self.num_envs) % rows, place)
            reward = torch.where(going[:, None], reward + discount[:, None] * self.reward[place], reward)
            discount = torch.where(going, discount * self.discount[place], discount)
            going = going & ~self.last[place]
        place = (place + self.num_envs) % rows
        return Batch(
            observation=self.observation[index],
            action=self.action[index] if self.action.is_floating_point() else self.action[index].long(),
            reward=reward,
            discount=discount[:, None],
            next_observation=self.observation[place],
            next_mask=self.mask[place],
            weight=weight[:, None],
            index=index,
        )

    def update(self, index: Tensor, error: Tensor, alpha: float) -> None:
        """Set the priorities of the rows `index` to (error + 0.001)^alpha, where they were learned from."""
        priority = (error + 1e-3) ** alpha
        self.priority[index] = torch.where(self.priority[index] > 0, priority, 0.0)
        self.largest = torch.maximum(self.largest, priority.max())
