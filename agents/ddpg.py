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
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.utils import polyak_update
from torch import Tensor, nn

from ..core import randomness
from ..core.checkpoint import prefixed, read_checkpoint, select, write_checkpoint
from ..core.settings import Settings, parameter
from .networks import AgentCritic, AgentNetwork
from .replay import Batch, Replay
from .training import Schedule, optimiser_tensors, restore_optimiser, train
from .weights import find_weights


@dataclasses.dataclass(frozen=True)
class DDPGSettings(Settings):
    """Hyperparameters; the defaults are those of the `split_point` preset."""

    network: Literal["shared", "independent"] = parameter(
        "shared", doc="shared: one actor and one critic for all agents; independent: of each agent's own"
    )
    hidden: tuple[int, ...] = parameter((128, 128), at_least=1, doc="neurons of the hidden layers, two or more")
    learning_rate: float = parameter(1e-3, above=0, doc="learning rate of actor and critic at the start")
    learning_rate_end: float = parameter(0.0, at_least=0, doc="learning rate at the end, reached linearly")
    noise_start: float = parameter(0.5, symbol="sigma", at_least=0, doc="deviation of exploration noise at the start")
    noise_end: float = parameter(0.05, symbol="sigma", at_least=0, doc="deviation of exploration noise at the end")
    exploration_start: float = parameter(
        1.0, symbol="epsilon", at_least=0, at_most=1, doc="random choices at the start"
    )
    exploration_end: float = parameter(0.1, symbol="epsilon", at_least=0, at_most=1, doc="random choices at the end")
    exploration_share: float = parameter(0.3, above=0, at_most=1, doc="share of training in which both fall")
    discount: float = parameter(0.0, symbol="gamma", at_least=0, at_most=1, doc="discount from round to round")
    mixing: Literal["worst", "mean"] = parameter(
        "worst", doc="the team's value: that of the worst agent, softly, or the mean"
    )
    worst_sharpness: float = parameter(10.0, above=0, doc="how sharply the worst agent counts")
    entropy_start: float = parameter(
        0.3, at_least=0, doc="weight of the choices' entropy at the start: no choice is given up early"
    )
    entropy_end: float = parameter(
        0.0, at_least=0, doc="weight of the choices' entropy at the end; above 0 scores follow values"
    )
    saturation: float = parameter(
        1e-4, at_least=0, doc="weight of the squared numbers before the final tanh, which keeps them off its flat ends"
    )
    score_scale: float = parameter(5.0, above=0, doc="logits of relaxed choices are scores times this")
    learn_from: Literal["asked", "decided"] = parameter(
        "asked", doc="choices as they were asked for, or as the system decided them; numbers always as asked"
    )
    replay: int = parameter(2**16, at_least=2, doc="transitions of all agents that are remembered")
    batch: int = parameter(256, at_least=1, doc="transitions of all agents learned from in an update")
    learn_every: int = parameter(1, at_least=1, doc="environment steps between updates")
    learn_after: int = parameter(8192, at_least=1, doc="transitions collected before the first update")
    target_rate: float = parameter(0.01, symbol="tau", above=0, at_most=1, doc="rate at which targets follow")
    weight_average: float = parameter(
        0.99, at_least=0, at_most=0.99999, doc="decay of the average of the actor's weights that acts and is saved"
    )
    reward_scale: float = parameter(1.0, above=0, doc="factor that brings rewards to about 1")


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
        actions, observations = env.single_action_space, env.single_observation_space
        if not isinstance(observations, spaces.Box):
            raise ValueError(f"observations are {observations}, must be a Box: leave mask='info'")
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


class DDPG:
    """Multi-agent deep deterministic policy gradients from a vector environment.

    A joint transition is remembered whole; every agent's value may depend on what all agents see and do.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "split_point": {},
        "split_point_fine": {
            "worst_sharpness": 30.0,
            "exploration_start": 0.1,
            "noise_start": 0.05,
            "noise_end": 0.03,
            "entropy_start": 0.0,
            "learning_rate": 5e-4,
            "saturation": 1e-5,
        },
        "quantization": {
            "hidden": (32, 32),
            "mixing": "mean",
            "entropy_start": 0.2,
            "entropy_end": 0.2,
            "saturation": 1e-3,
            "learn_from": "decided",
            "learn_after": 4096,
            "exploration_end": 0.05,
            "weight_average": 0.999,
        },
        "independent": {"network": "independent"},
    }

    def __init__(
        self,
        shape: BoxShape,
        settings: DDPGSettings | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        """Build actor and critic with their targets.

        Args:
            shape: what they take and give.
            settings: hyperparameters.
            seed: of weights, exploration and replay.
            device: torch device of networks and replay.

        Raises:
            ValueError: fewer than two hidden layers.
        """
        self.shape, self.settings = shape, DDPGSettings() if settings is None else settings
        if len(self.settings.hidden) < 2:
            raise ValueError(f"hidden is {self.settings.hidden}, must have two layers or more")
        self.device = torch.device(device)
        self.seed = randomness.check_seed(seed, "seed")
        start = randomness.batch_generator(torch.device("cpu"), [self.seed], 0)
        kind: dict[str, Any] = {
            "agents": shape.agents,
            "hidden": self.settings.hidden,
            "generator": start,
            "independent": self.settings.network == "independent",
        }
        self.actor = AgentNetwork(inputs=shape.observation_size, outputs=shape.action_size, **kind).to(self.device)
        self.critic = AgentCritic(
            inputs=shape.observation_size + shape.numbers,
            choices=shape.num_choices,
            **kind,
        ).to(self.device)
        self.target_actor, self.target_critic, self.averaged = (
            copy.deepcopy(network).requires_grad_(False) for network in (self.actor, self.critic, self.actor)
        )
        self.about: dict[str, Any] = {}

    @classmethod
    def for_env(cls, env: VectorEnv[Any, Any, Any], settings: DDPGSettings | None = None, **options: Any) -> Self:
        """Build an agent for a vector environment."""
        return cls(BoxShape.of(env), settings, **options)

    def start_from(self, other: "DDPG") -> None:
        """Take over the weights of an agent of the same kind.

        Raises:
            ValueError: another network or other hidden layers.
        """
        for name in ("network", "hidden"):
            own, given = getattr(self.settings, name), getattr(other.settings, name)
            if own != given:
                raise ValueError(f"the agent to start from has {name} = {given}, this one {own}: make them equal")
        for mine, theirs in ((self.actor, other.averaged), (self.critic, other.critic)):
            mine.load_state_dict(theirs.state_dict())
        for target, source in ((self.target_actor, self.actor), (self.target_critic, self.critic)):
            target.load_state_dict(source.state_dict())
        self.averaged.load_state_dict(self.actor.state_dict())

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

    def begin(self, env: VectorEnv[Any, Any, Any], steps: int, seed: int | None = None) -> None:
        """Prepare to learn from `env` for `steps` transitions (of all copies together; of every agent at once)."""
        if BoxShape.of(env) != self.shape:
            raise ValueError(f"the environment has {BoxShape.of(env)}, the agent {self.shape}")
        mode = (env.metadata or {}).get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if self.settings.discount and AutoresetMode(mode) is not AutoresetMode.NEXT_STEP:
            raise ValueError(f"the environment begins anew by {mode}, must be NEXT_STEP: ends are learned from")
        self.env, self.total = env, steps
        self.same_step = AutoresetMode(mode) is AutoresetMode.SAME_STEP
        self.transitions = self.updates = 0
        self.generator = randomness.batch_generator(self.device, [self.seed], 1)
        size = (self.shape.agents, self.shape.observation_size, self.shape.num_choices)
        self.memory = Replay(self.settings.replay, env.num_envs, *size, self.device, action_size=self.shape.action_size)
        self.actor_optimiser, self.critic_optimiser = (
            torch.optim.Adam(network.parameters(), lr=self.settings.learning_rate)
            for network in (self.actor, self.critic)
        )
        observation, infos = env.reset(seed=self.seed if seed is None else seed)
        self._seen(observation, infos)
        self._idle = torch.zeros(env.num_envs, dtype=torch.bool, device=self.device)
        self.measured: dict[str, list[Tensor]] = {"loss": [], "actor_loss": [], "reward": []}

    def _seen(self, observation: Any, infos: Mapping[str, Any]) -> None:
        shape = (self.env.num_envs, self.shape.agents, -1)
        self._observation = torch.as_tensor(observation, device=self.device, dtype=torch.float32).reshape(shape)
        mask = infos.get("choice_mask")
        if mask is None:
            mask = torch.ones((*shape[:2], self.shape.num_choices))
        self._mask = torch.as_tensor(mask, device=self.device).bool().reshape(*shape[:2], self.shape.num_choices)

    @property
    def share(self) -> float:
        """Share of the training that is done."""
        return min(1.0, self.transitions / self.total)

    def _falling(self, start: float, end: float) -> float:
        return start + (end - start) * min(1.0, self.share / self.settings.exploration_share)

    @property
    def noise(self) -> float:
        """Deviation of the exploration noise, falling linearly."""
        return self._falling(self.settings.noise_start, self.settings.noise_end)

    @property
    def exploration(self) -> float:
        """Probability of a random legal choice, falling linearly."""
        return self._falling(self.settings.exploration_start, self.settings.exploration_end)

    @property
    def entropy(self) -> float:
        """Weight of the choices' entropy, changing linearly."""
        s = self.settings
        return s.entropy_start + (s.entropy_end - s.entropy_start) * self.share

    @property
    def learning_rate(self) -> float:
        """Learning rate, falling linearly."""
        s = self.settings
        return s.learning_rate + (s.learning_rate_end - s.learning_rate) * self.share

    def advance(self) -> None:
        """Play one step in every copy, remember it, and learn where an update is due."""
        action = self._explore()
        joint = action.flatten(1)
        given = joint if isinstance(getattr(self.env, "device", None), torch.device) else joint.cpu().numpy()
        observation, reward, terminated, truncated, infos = self.env.step(given)
        self._remember(action, reward, terminated, truncated, infos)
        self._seen(observation, infos)
        if self.transitions >= self.settings.learn_after and self.memory.written % self.settings.learn_every == 0:
            self.learn()

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
        def tensor(values: Any, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values, device=self.device).to(dtype)

        def fact(name: str, otherwise: Any) -> Tensor:
            """Return a fact of the round, whether copies began anew since or not: each is 0 where it does not hold."""
            found = [tensor(part[name], torch.float32) for part in (infos, infos.get("final_info", {})) if name in part]
            return sum(found[1:], found[0]) if found else tensor(otherwise, torch.float32)

        done, choices = action.clone(), self.shape.num_choices
        if self.settings.learn_from == "decided":
            done[..., :choices] = fact("decided", action).reshape(action.shape)[..., :choices]
        earned = fact("agent_reward", reward).reshape(self.env.num_envs, -1) * self.settings.reward_scale
        ended = tensor(terminated, torch.bool)
        over = ended | tensor(truncated, torch.bool)
        discount = torch.full_like(earned[:, 0], self.settings.discount)
        self.memory.add(
            observation=self._observation,
            mask=self._mask,
            action=done,
            reward=earned.expand(-1, self.shape.agents),
            discount=torch.where(ended, 0.0, discount),
            last=over,
            valid=~self._idle,
        )
        self.measured["reward"].append(earned.mean(dim=1).masked_fill(self._idle, torch.nan))
        self._idle = torch.zeros_like(over) if self.same_step else over
        self.transitions += self.env.num_envs

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
        s = self.settings
        if not self.memory.ready(1):
            return
        batch = self.memory.sample(s.batch, 1, self.generator, False, 0.0)
        for optimiser in (self.actor_optimiser, self.critic_optimiser):
            optimiser.param_groups[0]["lr"] = self.learning_rate
        loss = self.critic_loss(batch)
        self.critic_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimiser.step()
        actor_loss = self.actor_loss(batch.observation, self.memory.mask[batch.index])
        self.actor_optimiser.zero_grad()
        actor_loss.backward()  # type: ignore[no-untyped-call]
        self.actor_optimiser.step()
        if s.discount:
            polyak_update(self.actor.parameters(), self.target_actor.parameters(), s.target_rate)
            polyak_update(self.critic.parameters(), self.target_critic.parameters(), s.target_rate)
        polyak_update(self.actor.parameters(), self.averaged.parameters(), 1.0 - s.weight_average)
        self.updates += 1
        self.measured["loss"].append(loss.detach())
        self.measured["actor_loss"].append(actor_loss.detach())

    def take_measures(self) -> dict[str, float]:
        """Return means since the last call, and where the schedules are; leaves nothing to remember."""
        joined = {name: torch.cat([v.reshape(-1) for v in values]) for name, values in self.measured.items() if values}
        means = {name: float(torch.nanmean(values)) for name, values in joined.items()}
        self.measured = {"loss": [], "actor_loss": [], "reward": []}
        schedules = {"noise": self.noise, "exploration": self.exploration, "learning_rate": self.learning_rate}
        return {**means, **schedules, "updates": self.updates}

    def train(self, env: VectorEnv[Any, Any, Any], steps: int, **options: Any) -> dict[str, float]:
        """Learn from `steps` transitions of `env`; `options` are those of `fedtwin.agents.training.train`."""
        own = {"agent_seed": self.seed, **dataclasses.asdict(self.shape), **dataclasses.asdict(self.settings)}
        return train(self, env, Schedule(steps=steps), **{"identity": own, **options})

    # Files.

    @property
    def _networks(self) -> dict[str, nn.Module]:
        names = ("actor", "critic", "target_actor", "target_critic", "averaged")
        return {name: getattr(self, name) for name in names}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on exactly: weights, optimisers, replay, generator and environment.

        Raises:
            ValueError: the environment can not be stored.
        """
        if not hasattr(self.env, "state_dict"):
            raise ValueError(f"{type(self.env).__name__} has no state_dict(): its training can not be resumed")
        env_tensors, env_values = self.env.state_dict()
        tensors = {"generator": self.generator.get_state(), "idle": self._idle}
        for name, network in self._networks.items():
            tensors.update(prefixed(network.state_dict(), name))
        for name, part in (
            ("actor_optimiser", optimiser_tensors(self.actor_optimiser)),
            ("critic_optimiser", optimiser_tensors(self.critic_optimiser)),
            ("memory", self.memory.tensors()),
            ("env", env_tensors),
        ):
            tensors.update(prefixed(part, name))
        counts = {"transitions": self.transitions, "updates": self.updates, "written": self.memory.written}
        return tensors, {**counts, "env": env_values}

    def resume(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `checkpoint` was called; `begin` came before."""
        for name, network in self._networks.items():
            network.load_state_dict(select(tensors, name))
        restore_optimiser(self.actor_optimiser, select(tensors, "actor_optimiser"))
        restore_optimiser(self.critic_optimiser, select(tensors, "critic_optimiser"))
        self.memory.restore(select(tensors, "memory"), values["written"])
        self.generator.set_state(tensors["generator"])
        self._idle = tensors["idle"].to(self.device)
        self.transitions, self.updates = values["transitions"], values["updates"]
        observation, infos = self.env.load_state_dict(select(tensors, "env"), values["env"])  # type: ignore[attr-defined]
        self._seen(observation, infos)

    def save(self, path: str | Path) -> None:
        """Write what is needed to act and to go on learning: weights, shape and settings."""
        values = {
            "agent": "ddpg",
            "shape": dataclasses.asdict(self.shape),
            "settings": dataclasses.asdict(self.settings),
        }
        tensors = {**prefixed(self.averaged.state_dict(), "actor"), **prefixed(self.critic.state_dict(), "critic")}
        write_checkpoint(Path(path), tensors, {**values, "seed": self.seed, "about": self.about})

    @classmethod
    def load(
        cls, path: str | Path, *, env: VectorEnv[Any, Any, Any] | None = None, device: str | torch.device = "cpu"
    ) -> Self:
        """Read an agent from a file, or one that the package ships, by its name; shipped ones come without critic.

        Args:
            path: file, or name such as "split_point-ddpg".
            env: environment to act in, where its number of agents differs (network "shared" only).
            device: torch device.

        Raises:
            FileNotFoundError: no such file and no such name; the shipped names are given.
            ValueError: the file is damaged, is no DDPG, or does not fit `env`.
        """
        source = find_weights(path)
        tensors, values = read_checkpoint(source)
        if values.get("agent") != "ddpg":
            raise ValueError(f"{source} holds {values.get('agent', 'no agent')}, not ddpg")
        shape = BoxShape(**values["shape"]) if env is None else BoxShape.of(env)
        agent = cls(shape, DDPGSettings.create(values["settings"]), seed=values["seed"], device=device)
        for name, network in (("actor", agent.actor), ("critic", agent.critic)):
            if name == "critic" and not select(tensors, name):
                continue
            expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
            found = select(tensors, name)
            if {key: tuple(tensor.shape) for key, tensor in found.items()} != expected:
                raise ValueError(f"{source} has weights for {values['shape']}, they do not fit {shape}")
            network.load_state_dict(found)
        agent.averaged.load_state_dict(agent.actor.state_dict())
        agent.target_actor.load_state_dict(agent.actor.state_dict())
        agent.target_critic.load_state_dict(agent.critic.state_dict())
        agent.about = values["about"]
        return agent
