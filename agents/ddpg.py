"""Deep deterministic policy gradients for many agents with continuous and hybrid actions (Lillicrap et al., 2016).

Differences from the paper: agents act together, with networks of their own or with one that all share; the critic gives
every agent a value of its own, which are mixed into the team's (their mean, or the worst, softly: what a round that
waits for its slowest agent is worth). Discrete parts of an action are relaxed to the softmax of their scores, and the
critic has an output for each choice, so that their expectation is exact (Xiong et al., 2018).
"""

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from ..core.checkpoint import prefixed, select
from .learner import Learner, read_spaces
from .networks import AgentCritic, AgentNetwork
from .replay import Batch, Replay
from .settings import DDPGSettings


@dataclasses.dataclass(frozen=True)
class BoxShape:
    """What actor and critic take and give."""

    agents: int
    observation_size: int
    action_size: int
    num_choices: int = 0
    """Leading numbers of an action that are scores of discrete choices; 0: it is continuous."""

    @classmethod
    def of(cls, env: VectorEnv[Any, Any, Any]) -> Self:
        """Read the shape from a vector environment with box actions in [-1, 1].

        Raises:
            ValueError: other spaces.
        """
        actions, observations = read_spaces(env)
        if not isinstance(actions, spaces.Box) or not (np.all(actions.low == -1) and np.all(actions.high == 1)):
            kind = type(actions).__name__
            raise ValueError(f"actions are a {kind} of shape {actions.shape}, must be a Box in -1..1")
        system = getattr(env, "system", None)
        agents = 1 if system is None else len(system.agents)
        sizes = [int(np.prod(space.shape)) // agents for space in (observations, actions)]
        return cls(agents, sizes[0], sizes[1], 0 if system is None else system.num_actions)

    @property
    def numbers(self) -> int:
        """Numbers of an action that are no scores."""
        return self.action_size - self.num_choices


class DDPG(Learner):
    """Multi-agent deep deterministic policy gradients from a vector environment.

    A joint transition is remembered whole; every agent's value may depend on what all agents see and do.
    """

    kind = "ddpg"
    shape_type, settings_type = BoxShape, DDPGSettings
    mask_name = "choice_mask"
    losses = ("loss", "actor_loss")
    learned: ClassVar[Mapping[str, str]] = {"actor": "averaged", "critic": "critic"}
    shape: BoxShape
    settings: DDPGSettings

    def _build(self, generator: torch.Generator) -> None:
        shape = self.shape
        if len(self.settings.hidden) < 2:
            raise ValueError(f"hidden is {self.settings.hidden}, must have two layers or more")
        kind: dict[str, Any] = {
            "agents": shape.agents,
            "hidden": self.settings.hidden,
            "generator": generator,
            "independent": self.settings.network == "independent",
        }
        self.actor = AgentNetwork(inputs=shape.observation_size, outputs=shape.action_size, **kind).to(self.device)
        inputs = shape.observation_size + shape.numbers
        self.critic = AgentCritic(inputs=inputs, choices=shape.num_choices, **kind).to(self.device)
        self.target_actor, self.target_critic, self.averaged = (
            copy.deepcopy(network).requires_grad_(False) for network in (self.actor, self.critic, self.actor)
        )

    def _follow(self) -> None:
        for follower in (self.target_actor, self.averaged):
            follower.load_state_dict(self.actor.state_dict())
        self.target_critic.load_state_dict(self.critic.state_dict())

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Actor and critic, their targets, and the actor's average."""
        names = ("actor", "critic", "target_actor", "target_critic", "averaged")
        return {name: getattr(self, name) for name in names}

    # Acting.

    @torch.no_grad()
    def act(self, observation: Any, mask: Any = None) -> Any:
        """Return the averaged actor's actions.

        Args:
            observation: `(B, agents, size)`, `(B, agents size)` or `(agents size)`, of any number of agents where they
                share a network; NumPy or torch.
            mask: legal choices `(B, agents, num_choices)`; None: all.

        Returns:
            Numbers in [-1, 1], of the shape of the observation with `action_size` for size, of its library; illegal
            choices have the score -1.

        Raises:
            ValueError: an observation of another size, or of another number of agents where each has a network of its
                own.
        """
        seen = torch.as_tensor(observation, device=self.device, dtype=torch.float32)
        size = self.shape.observation_size
        flat = seen.reshape(-1, seen.shape[-1]) if seen.ndim < 3 else seen.flatten(1)
        agents, rest = divmod(flat.shape[1], size)
        if rest or not agents or (seen.ndim > 2 and seen.shape[-1] != size):
            raise ValueError(f"observation has shape {tuple(seen.shape)}, must have {size} numbers for each agent")
        if agents != self.shape.agents and self.settings.network != "shared":
            raise ValueError(f"observations are of {agents} agents, must be of {self.shape.agents}: each has a network")
        actions = torch.tanh(self.averaged(flat.reshape(len(flat), agents, size)))
        if mask is not None and self.shape.num_choices:
            legal = torch.as_tensor(mask, device=self.device).bool()
            scores = actions[..., : self.shape.num_choices]
            scores.masked_fill_(~legal.reshape(scores.shape), -1.0)
        if seen.ndim < 3:
            actions = actions.reshape(*seen.shape[:-1], agents * self.shape.action_size)
        return actions if isinstance(observation, Tensor) else actions.cpu().numpy()

    # Learning.

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = self.settings.learning_rate
        return {
            f"{name}_optimiser": torch.optim.Adam(getattr(self, name).parameters(), lr=rate) for name in self.learned
        }

    def _memory(self, num_envs: int) -> Replay:
        size = (self.shape.agents, self.shape.observation_size, self.shape.num_choices)
        return Replay(self.settings.replay, num_envs, *size, self.device, action_size=self.shape.action_size)

    def _needs_ends(self) -> bool:
        return self.settings.discount > 0.0

    def _joint(self, action: Tensor) -> Tensor:
        return action.flatten(1)

    def _schedules(self) -> dict[str, float]:
        return {"noise": self.noise, "exploration": self.exploration}

    @property
    def noise(self) -> float:
        """Deviation of the exploration noise, falling linearly."""
        return self._falling(self.settings.noise_start, self.settings.noise_end)

    @property
    def entropy(self) -> float:
        """Weight of the choices' entropy, changing linearly."""
        s = self.settings
        return s.entropy_start + (s.entropy_end - s.entropy_start) * self.share

    @torch.no_grad()
    def _explore(self) -> Tensor:
        """Return noisy actions `(B, agents, action_size)`: Gaussian noise on numbers, sometimes a random choice."""
        action = torch.tanh(self.actor(self._observation))
        noise = torch.randn(action.shape, generator=self.generator, device=self.device) * self.noise
        choices = self.shape.num_choices
        noise[..., :choices] = 0.0
        action = (action + noise).clamp_(-1.0, 1.0)
        if choices:
            chance = torch.rand((*action.shape[:2], 1), generator=self.generator, device=self.device)
            scores = torch.rand((*action.shape[:2], choices), generator=self.generator, device=self.device) * 2.0 - 1.0
            scores = torch.where(chance < self.exploration, scores, action[..., :choices])
            action[..., :choices] = scores.masked_fill(~self._mask, -1.0)
        return action

    def _remember(self, action: Tensor, reward: Any, terminated: Any, truncated: Any, infos: Mapping[str, Any]) -> None:
        def fact(name: str, otherwise: Any) -> Tensor:
            """Return a fact of the round, whether copies began anew since or not: each is 0 where it does not hold."""
            found = [self._tensor(part[name]) for part in (infos, infos.get("final_info", {})) if name in part]
            return sum(found[1:], found[0]) if found else self._tensor(otherwise)

        done, choices = action.clone(), self.shape.num_choices
        if self.settings.learn_from == "decided":
            done[..., :choices] = fact("decided", action).reshape(action.shape)[..., :choices]
        earned = fact("agent_reward", reward).reshape(self.env.num_envs, -1) * self.settings.reward_scale
        ended = self._tensor(terminated, torch.bool)
        discount = torch.full_like(earned[:, 0], self.settings.discount)
        self.measured["reward"].append(earned.mean(dim=1).masked_fill(self._idle, torch.nan))
        self._add(done, earned, torch.where(ended, 0.0, discount), ended | self._tensor(truncated, torch.bool))

    def choices(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Return the relaxed choice `(..., num_choices)`: the softmax of the scaled scores over legal choices."""
        logits = (self.settings.score_scale * scores).masked_fill(~mask, -torch.inf)
        return torch.softmax(logits, dim=-1)

    def values(self, critic: nn.Module, observation: Tensor, action: Tensor, choice: Tensor) -> Tensor:
        """Return each agent's value `(B, agents)`, the expectation over its relaxed choice."""
        numbers = action[..., self.shape.num_choices :]
        each: Tensor = critic(torch.cat([observation, numbers], dim=-1), choice)
        return (each * choice).sum(dim=-1) if self.shape.num_choices else each[..., 0]

    def made(self, action: Tensor) -> Tensor:
        """Return the choice that was made as a unit vector `(..., num_choices)`."""
        scores = action[..., : self.shape.num_choices]
        if not self.shape.num_choices:
            return scores
        return nn.functional.one_hot(scores.argmax(dim=-1), self.shape.num_choices).to(scores.dtype)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """Return y `(size, agents)` = r + gamma Q'(s', mu'(s')), targets with a prime."""
        if not batch.discount.any():
            return batch.reward
        action = torch.tanh(self.target_actor(batch.next_observation))
        choice = self.choices(action[..., : self.shape.num_choices], batch.next_mask)
        following = self.values(self.target_critic, batch.next_observation, action, choice)
        return batch.reward + batch.discount * following

    def critic_loss(self, batch: Batch) -> Tensor:
        """Return the mean Huber loss of the values against their targets."""
        values = self.values(self.critic, batch.observation, batch.action, self.made(batch.action))
        losses = nn.functional.smooth_l1_loss(values, self.targets(batch), reduction="none")
        return (batch.weight * losses).mean()

    def mixed(self, values: Tensor) -> Tensor:
        """Return the team's value `(B,)` of the agents' `(B, agents)`."""
        if self.settings.mixing == "mean":
            return values.mean(dim=1)
        sharpness = self.settings.worst_sharpness
        count = math.log(values.shape[1])
        worst: Tensor = (count - torch.logsumexp(-sharpness * values, dim=1)) / sharpness
        return worst

    def actor_loss(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return minus the team's value of what the actor does, and minus the weighted entropy of its choices."""
        before = self.actor(observation)
        action = torch.tanh(before)
        choice = self.choices(action[..., : self.shape.num_choices], mask)
        loss: Tensor = -self.mixed(self.values(self.critic, observation, action, choice)).mean()
        loss = loss + self.settings.saturation * before.square().mean()
        if self.entropy and self.shape.num_choices:
            entropy = -(choice * choice.clamp(min=1e-8).log()).sum(dim=-1)
            loss = loss - self.entropy * entropy.mean()
        return loss

    def learn(self) -> None:
        """Learn from a mini-batch: critic, actor, then targets and average follow."""
        from stable_baselines3.common.utils import polyak_update

        s = self.settings
        if not self.memory.ready(1):
            return
        batch = self.memory.sample(s.batch, 1, self.generator, False, 0.0)
        loss = self.critic_loss(batch)
        self._descend("critic_optimiser", loss)
        actor_loss = self.actor_loss(batch.observation, self.memory.mask[batch.index])
        self._descend("actor_optimiser", actor_loss)
        if s.discount:
            polyak_update(self.actor.parameters(), self.target_actor.parameters(), s.target_rate)
            polyak_update(self.critic.parameters(), self.target_critic.parameters(), s.target_rate)
        polyak_update(self.actor.parameters(), self.averaged.parameters(), 1.0 - s.weight_average)
        self.updates += 1
        self.measured["loss"].append(loss.detach())
        self.measured["actor_loss"].append(actor_loss.detach())

    # Files.

    def _weights(self) -> dict[str, Tensor]:
        return {**prefixed(self.averaged.state_dict(), "actor"), **prefixed(self.critic.state_dict(), "critic")}

    def _parts(self, tensors: Mapping[str, Tensor]) -> dict[str, Mapping[str, Tensor]]:
        parts = {name: select(tensors, name) for name in self.learned}
        return {name: part for name, part in parts.items() if part or name == "actor"}
