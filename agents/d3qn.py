"""Dueling double deep Q-learning (Zhao et al., JSAC 2023, section V-B, eqs (21)-(23), Algorithm 2).

Differences from the paper: the double target takes the argmax of the *online* network (the text takes the target
network's, which is not double Q-learning); illegal actions are masked; replay may be prioritised; the agents' networks
are stacked and learn in one batched product; one network may be shared by all agents and all (server, channel) pairs.
"""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor, nn

from ..core import randomness
from ..core.checkpoint import prefixed, read_checkpoint, select, write_checkpoint
from ..core.settings import Settings, parameter
from .networks import IndependentNetworks, PairNetwork, SharedNetworks
from .replay import Batch, Replay
from .training import Schedule, optimiser_tensors, restore_optimiser, train
from .weights import find_weights


@dataclasses.dataclass(frozen=True)
class D3QNSettings(Settings):
    """Hyperparameters; the defaults are those of the `sequential` preset."""

    network: Literal["pairs", "independent", "shared"] = parameter(
        "pairs",
        doc="pairs: one network for every (server, channel) pair and agent; independent: one per agent; shared: one "
        "for all agents, which decide at once",
    )
    hidden: tuple[int, ...] = parameter((32, 32, 32), at_least=1, doc="neurons of the hidden layers")
    optimiser: Literal["adam", "rmsprop"] = parameter("adam", doc="optimiser")
    learning_rate: float = parameter(1e-3, above=0, doc="learning rate at the start")
    learning_rate_end: float = parameter(0.0, at_least=0, doc="learning rate at the end, reached linearly")
    exploration_start: float = parameter(1.0, symbol="epsilon", at_least=0, at_most=1, doc="exploration at the start")
    exploration_end: float = parameter(0.02, symbol="epsilon", at_least=0, at_most=1, doc="exploration at the end")
    exploration_share: float = parameter(0.1, above=0, at_most=1, doc="share of training in which it falls")
    discount: float = parameter(
        0.0,
        symbol="gamma",
        at_least=0,
        at_most=1,
        doc="discount from round to round; none inside a round",
    )
    replay: int = parameter(2**16, at_least=2, doc="transitions of every agent that are remembered")
    batch: int = parameter(256, at_least=1, doc="transitions of every agent learned from in an update")
    learn_every: int = parameter(1, symbol="r^o", at_least=1, doc="environment steps between updates")
    learn_after: int = parameter(8192, at_least=1, doc="transitions collected before the first update")
    target_every: int = parameter(20, symbol="r^t", at_least=1, doc="updates between copies to the target network")
    last_round: Literal["truncates", "terminates"] = parameter(
        "truncates", doc="whether values reach beyond an episode's last round, or the task is over with it"
    )
    n_step: int = parameter(1, at_least=1, doc="steps whose rewards a target adds before it bootstraps")
    priority: float = parameter(0.6, at_least=0, at_most=1, doc="exponent of prioritised replay; 0: uniform")
    priority_correction: float = parameter(0.4, at_least=0, at_most=1, doc="exponent of the importance weights")
    hysteresis: float = parameter(1.0, above=0, at_most=1, doc="weight of errors whose target is below the value")
    weight_average: float = parameter(
        0.0,
        at_least=0,
        at_most=0.99999,
        doc="decay of the average of weights that decides what is saved; 0: the last ones",
    )
    reward_scale: float = parameter(0.05, above=0, doc="factor that brings rewards to about 1")
    learn_from: Literal["asked", "decided"] = parameter(
        "asked", doc="actions as they were asked for, or as the environment says that it decided them"
    )


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a network takes and gives."""

    agents: int
    observation_size: int
    num_actions: int
    grid: tuple[int, ...] = ()
    """(M, K) where an action is a (server, channel) pair."""

    @classmethod
    def of(cls, env: VectorEnv[Any, Any, Any]) -> Self:
        """Read the shape from a vector environment with a discrete action per step, or one per agent.

        Raises:
            ValueError: other spaces.
        """
        actions, observations = env.single_action_space, env.single_observation_space
        if not isinstance(observations, spaces.Box):
            raise ValueError(f"observations are {observations}, must be a Box: leave mask='info'")
        if isinstance(actions, spaces.Discrete):
            agents, num_actions = 1, int(actions.n)
        elif isinstance(actions, spaces.MultiDiscrete) and len(set(actions.nvec.tolist())) == 1:
            agents, num_actions = len(actions.nvec), int(actions.nvec[0])
        else:
            raise ValueError(f"actions are {actions}, must be Discrete, or MultiDiscrete of equal sizes")
        size = int(np.prod(observations.shape)) // agents
        return cls(agents, size, num_actions, tuple(getattr(getattr(env, "system", None), "action_grid", ())))


class D3QN:
    """Multi-agent dueling double deep Q-learning from a vector environment.

    `network="independent"` gives each agent a network of its own (simultaneous decisions); `network="pairs"` shares
    one network among all agents, pairs and turns (sequential decisions) and can be loaded for another N, M or K.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sequential": {},
        "paper": {
            "network": "independent",
            "hidden": (512, 256, 128),
            "optimiser": "rmsprop",
            "learning_rate": 1e-3,
            "learning_rate_end": 1e-3,
            "exploration_end": 0.1,
            "exploration_share": 0.3,
            "discount": 0.99,
            "last_round": "terminates",
            "hysteresis": 0.1,
            "replay": 2**17,
            "batch": 128,
            "learn_every": 1,
            "learn_after": 1024,
            "target_every": 50,
            "priority": 0.0,
            "weight_average": 0.99,
            "reward_scale": 20000.0,
        },
        "hybrid": {
            "network": "shared",
            "hidden": (64, 64),
            "exploration_end": 0.1,
            "exploration_share": 0.5,
            "learn_after": 4096,
            "priority": 0.0,
            "weight_average": 0.999,
            "reward_scale": 1.0,
            "learn_from": "decided",
        },
        "independent": {
            "network": "independent",
            "hidden": (512, 256, 128),
            "optimiser": "rmsprop",
            "learning_rate": 1e-3,
            "exploration_end": 0.04,
            "exploration_share": 0.2,
            "discount": 0.0,
            "replay": 2**17,
            "batch": 128,
            "learn_after": 1024,
            "priority": 0.0,
            "reward_scale": 1.0,
        },
    }

    def __init__(
        self, shape: Shape, settings: D3QNSettings | None = None, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> None:
        """Build online and target network.

        Args:
            shape: what the network takes and gives.
            settings: hyperparameters.
            seed: of weights, exploration and replay.
            device: torch device of networks and replay.

        Raises:
            ValueError: settings that do not fit the shape.
        """
        self.shape, self.settings = shape, D3QNSettings() if settings is None else settings
        self.device = torch.device(device)
        self.seed = randomness.check_seed(seed, "seed")
        start = randomness.batch_generator(torch.device("cpu"), [self.seed], 0)
        self.online: nn.Module = self._build(start).to(self.device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.averaged = copy.deepcopy(self.target) if self.settings.weight_average else self.online
        self.about: dict[str, Any] = {}

    @classmethod
    def for_env(cls, env: VectorEnv[Any, Any, Any], settings: D3QNSettings | None = None, **options: Any) -> Self:
        """Build an agent for a vector environment."""
        return cls(Shape.of(env), settings, **options)

    def _build(self, generator: torch.Generator) -> nn.Module:
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

    def start_from(self, other: "D3QN") -> None:
        """Take over the weights of an agent of the same kind.

        Raises:
            ValueError: another network or other hidden layers.
        """
        for name in ("network", "hidden"):
            own, given = getattr(self.settings, name), getattr(other.settings, name)
            if own != given:
                raise ValueError(f"the agent to start from has {name} = {given}, this one {own}: make them equal")
        self.online.load_state_dict(other.online.state_dict())
        self.target.load_state_dict(other.online.state_dict())
        self.averaged.load_state_dict(other.online.state_dict())

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

    def begin(self, env: VectorEnv[Any, Any, Any], steps: int, seed: int | None = None) -> None:
        """Prepare to learn from `env` for `steps` transitions (of all copies together; of every agent at once)."""
        if Shape.of(env) != self.shape:
            raise ValueError(f"the environment has {Shape.of(env)}, the agent {self.shape}")
        mode = (env.metadata or {}).get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if AutoresetMode(mode) is not AutoresetMode.NEXT_STEP:
            raise ValueError(f"the environment begins anew by {mode}, must be NEXT_STEP: ends are learned from")
        self.env, self.total = env, steps
        self.transitions = self.updates = 0
        self.generator = randomness.batch_generator(self.device, [self.seed], 1)
        size = (self.shape.agents, self.shape.observation_size, self.shape.num_actions)
        self.memory = Replay(self.settings.replay, env.num_envs, *size, self.device)
        if self.memory.steps <= self.settings.n_step:
            raise ValueError(
                f"replay is {self.settings.replay} transitions, {self.memory.steps} steps of {env.num_envs} copies: "
                f"must be more than n_step = {self.settings.n_step} steps"
            )
        kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[self.settings.optimiser]
        self.optimiser = kind(self.online.parameters(), lr=self.settings.learning_rate)
        observation, infos = env.reset(seed=self.seed if seed is None else seed)
        self._seen(observation, infos)
        self._idle = torch.zeros(env.num_envs, dtype=torch.bool, device=self.device)
        self.measured: dict[str, list[Tensor]] = {"loss": [], "reward": []}

    def _seen(self, observation: Any, infos: Mapping[str, Any]) -> None:
        shape = (self.env.num_envs, self.shape.agents, -1)
        self._observation = torch.as_tensor(observation, device=self.device, dtype=torch.float32).reshape(shape)
        mask = infos.get("action_mask")
        if mask is None:
            mask = torch.ones((*shape[:2], self.shape.num_actions))
        self._mask = torch.as_tensor(mask, device=self.device).bool().reshape(shape)

    @property
    def share(self) -> float:
        """Share of the training that is done."""
        return min(1.0, self.transitions / self.total)

    @property
    def exploration(self) -> float:
        """Probability of a random legal action, falling linearly."""
        s = self.settings
        return s.exploration_start + (s.exploration_end - s.exploration_start) * min(
            1.0, self.share / s.exploration_share
        )

    @property
    def learning_rate(self) -> float:
        """Learning rate, falling linearly."""
        s = self.settings
        return s.learning_rate + (s.learning_rate_end - s.learning_rate) * self.share

    def advance(self) -> None:
        """Play one step in every copy, remember it, and learn where an update is due."""
        action = self._explore()
        joint = action[:, 0] if isinstance(self.env.single_action_space, spaces.Discrete) else action
        given = joint if isinstance(getattr(self.env, "device", None), torch.device) else joint.cpu().numpy()
        observation, reward, terminated, truncated, infos = self.env.step(given)
        self._remember(action, reward, terminated, truncated, infos)
        self._seen(observation, infos)
        if self.transitions >= self.settings.learn_after and self.memory.written % self.settings.learn_every == 0:
            self.learn()

    @torch.no_grad()
    def _explore(self) -> Tensor:
        """Return ε-greedy legal actions `(B, agents)`."""
        values = self.values(self._observation).masked_fill(~self._mask, -torch.inf)
        chance = torch.rand((*values.shape[:2], 1), generator=self.generator, device=self.device)
        scores = torch.rand(values.shape, generator=self.generator, device=self.device).masked_fill_(~self._mask, -1.0)
        return torch.where(chance < self.exploration, scores, values).argmax(dim=-1)

    def _remember(self, action: Tensor, reward: Any, terminated: Any, truncated: Any, infos: Mapping[str, Any]) -> None:
        per_copy = (self.env.num_envs, -1)

        def tensor(values: Any, dtype: torch.dtype = torch.bool) -> Tensor:
            return torch.as_tensor(values, device=self.device).to(dtype)

        turns = bool(getattr(getattr(self.env, "system", None), "turns", False))
        rewards = reward if turns else infos.get("agent_reward", reward)
        earned = tensor(rewards, torch.float32).reshape(per_copy) * self.settings.reward_scale
        discount = torch.full_like(earned[:, 0], self.settings.discount)
        if turns:
            complete = tensor(infos["_agent_reward"]) if "_agent_reward" in infos else torch.zeros_like(self._idle)
            discount = torch.where(complete, discount, 1.0)
            self.measured["reward"].append(torch.where(complete, earned[:, 0], torch.nan))
        else:
            self.measured["reward"].append(earned.mean(dim=1).masked_fill(self._idle, torch.nan))
        over = tensor(terminated) | tensor(truncated)
        final = over if self.settings.last_round == "terminates" else tensor(terminated)
        discount = torch.where(final, 0.0, discount)
        done = action
        if self.settings.learn_from == "decided" and "decided" in infos:
            done = tensor(infos["decided"], torch.int64)
        self.memory.add(
            observation=self._observation,
            mask=self._mask,
            action=done,
            reward=earned.expand(-1, self.shape.agents),
            discount=discount,
            last=over,
            valid=~self._idle,
        )
        self._idle = over
        self.transitions += self.env.num_envs

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
        if isinstance(self.online, PairNetwork) and not self.online.standardised:
            self.online.standardise(self.memory.seen())
            self.target.load_state_dict(self.online.state_dict())
            self.averaged.load_state_dict(self.online.state_dict())
        batch = self.memory.sample(s.batch, s.n_step, self.generator, s.priority > 0, s.priority_correction)
        errors = self.errors(batch)
        loss = self.loss(errors, batch)
        self.optimiser.param_groups[0]["lr"] = self.learning_rate
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
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

    def take_measures(self) -> dict[str, float]:
        """Return means since the last call, and where the schedules are; leaves nothing to remember."""
        joined = {name: torch.cat([v.reshape(-1) for v in values]) for name, values in self.measured.items() if values}
        means = {name: float(torch.nanmean(values)) for name, values in joined.items()}
        self.measured = {"loss": [], "reward": []}
        return {**means, "exploration": self.exploration, "learning_rate": self.learning_rate, "updates": self.updates}

    def train(self, env: VectorEnv[Any, Any, Any], steps: int, **options: Any) -> dict[str, float]:
        """Learn from `steps` transitions of `env`; `options` are those of `fedtwin.agents.training.train`."""
        own = {"agent_seed": self.seed, **dataclasses.asdict(self.shape), **dataclasses.asdict(self.settings)}
        return train(self, env, Schedule(steps=steps), **{"identity": own, **options})

    # Files.

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on exactly: weights, optimiser, replay, generator and environment.

        Raises:
            ValueError: the environment can not be stored.
        """
        if not hasattr(self.env, "state_dict"):
            raise ValueError(f"{type(self.env).__name__} has no state_dict(): its training can not be resumed")
        env_tensors, env_values = self.env.state_dict()
        tensors = {
            **prefixed(self.online.state_dict(), "online"),
            **prefixed(self.target.state_dict(), "target"),
            **prefixed(self.averaged.state_dict() if self.settings.weight_average else {}, "averaged"),
            **prefixed(optimiser_tensors(self.optimiser), "optimiser"),
            **prefixed(self.memory.tensors(), "memory"),
            **prefixed(env_tensors, "env"),
            "generator": self.generator.get_state(),
            "idle": self._idle,
        }
        counts = {"transitions": self.transitions, "updates": self.updates, "written": self.memory.written}
        return tensors, {**counts, "env": env_values}

    def resume(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `checkpoint` was called; `begin` came before."""
        self.online.load_state_dict(select(tensors, "online"))
        self.target.load_state_dict(select(tensors, "target"))
        if self.settings.weight_average:
            self.averaged.load_state_dict(select(tensors, "averaged"))
        restore_optimiser(self.optimiser, select(tensors, "optimiser"))
        self.memory.restore(select(tensors, "memory"), values["written"])
        self.generator.set_state(tensors["generator"])
        self._idle = tensors["idle"].to(self.device)
        self.transitions, self.updates = values["transitions"], values["updates"]
        observation, infos = self.env.load_state_dict(select(tensors, "env"), values["env"])  # type: ignore[attr-defined]
        self._seen(observation, infos)

    def save(self, path: str | Path) -> None:
        """Write what is needed to act: weights, shape and settings."""
        values = {
            "agent": "d3qn",
            "shape": dataclasses.asdict(self.shape),
            "settings": dataclasses.asdict(self.settings),
        }
        write_checkpoint(Path(path), self.averaged.state_dict(), {**values, "seed": self.seed, "about": self.about})

    @classmethod
    def load(
        cls, path: str | Path, *, env: VectorEnv[Any, Any, Any] | None = None, device: str | torch.device = "cpu"
    ) -> Self:
        """Read an agent from a file, or one that the package ships, by its name.

        Args:
            path: file, or name such as "association-sequential".
            env: environment to act in, where its N, M or K differ from those of the training (network "pairs" only).
            device: torch device.

        Raises:
            FileNotFoundError: no such file and no such name; the shipped names are given.
            ValueError: the file is damaged, is no D3QN, or does not fit `env`.
        """
        source = find_weights(path)
        tensors, values = read_checkpoint(source)
        if values.get("agent") != "d3qn":
            raise ValueError(f"{source} holds {values.get('agent', 'no agent')}, not d3qn")
        stored = {**values["shape"], "grid": tuple(values["shape"]["grid"])}
        shape = Shape(**stored) if env is None else Shape.of(env)
        agent = cls(shape, D3QNSettings.create(values["settings"]), seed=values["seed"], device=device)
        expected = {name: tuple(tensor.shape) for name, tensor in agent.online.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != expected:
            raise ValueError(f"{source} has weights for {stored}, they do not fit {shape}")
        for network in (agent.online, agent.target, agent.averaged):
            network.load_state_dict(tensors)
        agent.about = values["about"]
        return agent
