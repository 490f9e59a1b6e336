"""Dueling double deep Q-learning (Zhao et al., JSAC 2023, section V-B, eqs (21)-(23), Algorithm 2).

Differences from the paper: the double target takes the argmax of the *online* network (the text takes the target
network's, which is not double Q-learning); illegal actions are masked; replay may be prioritised; the agents' networks
are stacked and learn in one batched product; one network may be shared by all agents and all (server, channel) pairs.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from .learner import Learner, read_spaces
from .networks import IndependentNetworks, PairNetwork, SharedNetworks
from .replay import Batch, Replay
from .settings import D3QNSettings


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a network takes and gives."""

    agents: int
    observation_size: int
    num_actions: int
    grid: tuple[int, ...] = ()
    """(M, K) where an action is a (server, channel) pair."""

    @property
    def num_choices(self) -> int:
        """Actions that a mask allows or not."""
        return self.num_actions

    @classmethod
    def of(cls, env: VectorEnv[Any, Any, Any]) -> Self:
        """Read the shape from a vector environment with a discrete action per step, or one per agent.

        Raises:
            ValueError: other spaces.
        """
        actions, observations = read_spaces(env)
        if isinstance(actions, spaces.Discrete):
            agents, num_actions = 1, int(actions.n)
        elif isinstance(actions, spaces.MultiDiscrete) and len(set(actions.nvec.tolist())) == 1:
            agents, num_actions = len(actions.nvec), int(actions.nvec[0])
        else:
            raise ValueError(f"actions are {actions}, must be Discrete, or MultiDiscrete of equal sizes")
        size = int(np.prod(observations.shape)) // agents
        return cls(agents, size, num_actions, tuple(getattr(getattr(env, "system", None), "action_grid", ())))


class D3QN(Learner):
    """Multi-agent dueling double deep Q-learning from a vector environment.

    `network="independent"` gives each agent a network of its own (simultaneous decisions); `network="pairs"` shares
    one network among all agents, pairs and turns (sequential decisions) and can be loaded for another N, M or K.
    """

    kind = "d3qn"
    shape_type, settings_type = Shape, D3QNSettings
    mask_name = "action_mask"
    losses = ("loss",)
    learned: ClassVar[Mapping[str, str]] = {"online": "online"}
    shape: Shape
    settings: D3QNSettings

    def _build(self, generator: torch.Generator) -> None:
        self.online: nn.Module = self._network(generator).to(self.device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.averaged = copy.deepcopy(self.target) if self.settings.weight_average else self.online

    def _network(self, generator: torch.Generator) -> nn.Module:
        shape, settings = self.shape, self.settings
        size = (shape.agents, shape.observation_size, shape.num_actions)
        if settings.network == "independent":
            return IndependentNetworks(*size, settings.hidden, generator)
        if settings.network == "shared":
            if len(settings.hidden) < 2:
                raise ValueError(f"hidden is {settings.hidden}, must have two layers or more")
            return SharedNetworks(*size, settings.hidden, generator)
        per_action, rest = divmod(shape.observation_size, shape.num_actions)
        if shape.agents != 1 or rest or len(shape.grid) != 2 or len(settings.hidden) not in (2, 3):
            raise ValueError(
                "network 'pairs' needs sequential decisions over (server, channel) pairs, an observation of so many "
                f"numbers per pair, and two or three hidden layers; given {shape} and hidden = {settings.hidden}"
            )
        return PairNetwork(*shape.grid, per_action, settings.hidden, generator)

    def _follow(self) -> None:
        self.target.load_state_dict(self.online.state_dict())
        self.averaged.load_state_dict(self.online.state_dict())

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Online and target network, and the average where one is kept."""
        averaged = {"averaged": self.averaged} if self.settings.weight_average else {}
        return {"online": self.online, "target": self.target, **averaged}

    # Acting.

    def values(self, observation: Tensor) -> Tensor:
        """Return Q of the online network `(B, agents, num_actions)` for observations `(B, agents, size)`."""
        return self.online(observation)  # type: ignore[no-any-return]

    @torch.no_grad()
    def act(self, observation: Any, mask: Any = None) -> Any:
        """Return the legal actions of the highest values.

        Args:
            observation: `(B, size)` of the agents in turn, or of all, `(B, agents, size)` or `(B, agents size)`; NumPy
                or torch.
            mask: legal actions `(B, num_actions)` or `(B, agents, num_actions)`; None: all.

        Returns:
            Integers `(B,)` or `(B, agents)`, of the library of `observation`.
        """
        seen = torch.as_tensor(observation, device=self.device, dtype=torch.float32)
        batch = tuple(seen.shape[:-1])
        if self.shape.agents > 1 and seen.shape[-1] == self.shape.agents * self.shape.observation_size:
            batch = (*batch, self.shape.agents)
        values = self.averaged(seen.reshape(-1, self.shape.agents, self.shape.observation_size))
        if mask is not None:
            legal = torch.as_tensor(mask, device=self.device).bool()
            values = values.masked_fill(~legal.reshape(values.shape), -torch.inf)
        actions = values.argmax(dim=-1).reshape(batch)
        return actions if isinstance(observation, Tensor) else actions.cpu().numpy()

    # Learning, in the order of Algorithm 2.

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[self.settings.optimizer]
        return {"optimizer": kind(self.online.parameters(), lr=self.settings.learning_rate)}

    def _memory(self, num_envs: int) -> Replay:
        size = (self.shape.agents, self.shape.observation_size, self.shape.num_actions)
        memory = Replay(self.settings.replay, num_envs, *size, self.device)
        if memory.steps <= self.settings.n_step:
            raise ValueError(
                f"replay is {self.settings.replay} transitions, {memory.steps} steps of {num_envs} copies: "
                f"must be more than n_step = {self.settings.n_step} steps"
            )
        return memory

    def _needs_ends(self) -> bool:
        return True

    def _joint(self, action: Tensor) -> Tensor:
        return action[:, 0] if isinstance(self.env.single_action_space, spaces.Discrete) else action

    def _schedules(self) -> dict[str, float]:
        return {"exploration": self.exploration}

    @torch.no_grad()
    def _explore(self) -> Tensor:
        """Return ε-greedy legal actions `(B, agents)`."""
        values = self.values(self._observation).masked_fill(~self._mask, -torch.inf)
        chance = torch.rand((*values.shape[:2], 1), generator=self.generator, device=self.device)
        scores = torch.rand(values.shape, generator=self.generator, device=self.device).masked_fill_(~self._mask, -1.0)
        return torch.where(chance < self.exploration, scores, values).argmax(dim=-1)

    def _remember(self, action: Tensor, reward: Any, terminated: Any, truncated: Any, infos: Mapping[str, Any]) -> None:
        turns = bool(getattr(getattr(self.env, "system", None), "turns", False))
        rewards = reward if turns else infos.get("agent_reward", reward)
        earned = self._tensor(rewards).reshape(self.env.num_envs, -1) * self.settings.reward_scale
        discount = torch.full_like(earned[:, 0], self.settings.discount)
        if turns:
            complete = torch.zeros_like(self._idle)
            if "_agent_reward" in infos:
                complete = self._tensor(infos["_agent_reward"], torch.bool)
            discount = torch.where(complete, discount, 1.0)
            self.measured["reward"].append(torch.where(complete, earned[:, 0], torch.nan))
        else:
            self.measured["reward"].append(earned.mean(dim=1).masked_fill(self._idle, torch.nan))
        ended = self._tensor(terminated, torch.bool)
        over = ended | self._tensor(truncated, torch.bool)
        final = over if self.settings.last_round == "terminates" else ended
        done = action
        if self.settings.learn_from == "decided" and "decided" in infos:
            done = self._tensor(infos["decided"], torch.int64)
        self._add(done, earned, torch.where(final, 0.0, discount), over)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """Return y `(size, agents)` = R + gamma Q_target(s', argmax_a Q_online(s', a)), a legal; eq (23)."""
        if not batch.discount.any():
            return batch.reward
        online = self.values(batch.next_observation).masked_fill(~batch.next_mask, -torch.inf)
        following: Tensor = self.target(batch.next_observation).gather(-1, online.argmax(dim=-1, keepdim=True))
        return batch.reward + batch.discount * following[..., 0]

    def errors(self, batch: Batch) -> Tensor:
        """Return the temporal-difference errors `(size, agents)`."""
        chosen = self.values(batch.observation).gather(-1, batch.action[..., None])[..., 0]
        return chosen - self.targets(batch)

    def loss(self, errors: Tensor, batch: Batch) -> Tensor:
        """Return the weighted mean squared error, summed over agents; eq (22).

        With `hysteresis` < 1 a target below the value counts less (Matignon et al., 2007): that others explored tells
        little of an action.
        """
        squares = batch.weight * errors.square()
        if self.settings.hysteresis < 1.0:
            squares = torch.where(errors > 0.0, self.settings.hysteresis * squares, squares)
        return squares.mean(dim=0).sum()

    def learn(self) -> None:
        """Learn from a mini-batch; copy the online network to the target network where that is due."""
        s = self.settings
        if not self.memory.ready(s.n_step):
            return
        if isinstance(self.online, PairNetwork) and not self.online.standardized:
            self.online.standardize(self.memory.seen())
            self._follow()
        batch = self.memory.sample(s.batch, s.n_step, self.generator, s.priority > 0, s.priority_correction)
        errors = self.errors(batch)
        loss = self.loss(errors, batch)
        self._descend("optimizer", loss)
        if s.priority:
            self.memory.update(batch.index, errors.detach().abs().mean(dim=1), s.priority)
        self.updates += 1
        self.measured["loss"].append(loss.detach() / self.shape.agents)
        if s.weight_average:
            with torch.no_grad():
                for mean, own in zip(self.averaged.parameters(), self.online.parameters(), strict=True):
                    mean.lerp_(own, 1.0 - s.weight_average)
        if self.updates % s.target_every == 0:
            self.target.load_state_dict(self.online.state_dict())

    # Files.

    def _weights(self) -> dict[str, Tensor]:
        return self.averaged.state_dict()

    def _parts(self, tensors: Mapping[str, Tensor]) -> dict[str, Mapping[str, Tensor]]:
        return {"online": tensors}
