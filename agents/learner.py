"""What learners from vector environments share: seeing, remembering, schedules, measures, checkpoints and files."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor, nn

from ..core import randomness
from ..core.checkpoint import prefixed, read_checkpoint, select, write_checkpoint
from .replay import Replay
from .training import Schedule, optimizer_tensors, restore_optimizer, train
from .weights import find_weights


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Return how copies of a vector environment begin anew."""
    return AutoresetMode((env.metadata or {}).get("autoreset_mode", AutoresetMode.NEXT_STEP))


def read_spaces(env: VectorEnv[Any, Any, Any]) -> tuple[spaces.Space[Any], spaces.Box]:
    """Return the spaces of actions and of observations of one copy.

    Raises:
        ValueError: observations that are no box, or actions that no learner here reads (`Actions.require_plain`).
    """
    observations, declared = env.single_observation_space, getattr(getattr(env, "system", None), "actions", None)
    if declared is not None:
        declared.require_plain("a learner of fedtwin.agents")
    if not isinstance(observations, spaces.Box):
        raise ValueError(f"observations are {observations}, must be a Box: leave mask='info'")
    return env.single_action_space, observations


class Learner(ABC):
    """An agent with networks, optimisers and a replay memory that learns off policy from a vector environment."""

    kind: ClassVar[str]
    """What files call it."""
    shape_type: ClassVar[Any]
    settings_type: ClassVar[Any]
    mask_name: ClassVar[str]
    """Info in which the environment says what is legal."""
    losses: ClassVar[tuple[str, ...]]
    """What `learn` measures."""
    learned: ClassVar[Mapping[str, str]]
    """The networks that learn, and where their weights stand in an agent that another one starts from."""

    def __init__(self, shape: Any, settings: Any = None, *, seed: int = 0, device: str | torch.device = "cpu") -> None:
        """Build the networks.

        Args:
            shape: what they take and give.
            settings: hyperparameters; None: the defaults.
            seed: of weights, exploration and replay.
            device: torch device of networks and replay.

        Raises:
            ValueError: settings that do not fit the shape.
        """
        self.shape, self.settings = shape, self.settings_type() if settings is None else settings
        self.device = torch.device(device)
        self.seed = randomness.check_seed(seed, "seed")
        self.about: dict[str, Any] = {}
        self._build(randomness.torch_generator(torch.device("cpu"), self.seed, 0))

    @classmethod
    def for_env(cls, env: VectorEnv[Any, Any, Any], settings: Any = None, **options: Any) -> Self:
        """Build an agent for a vector environment."""
        return cls(cls.shape_type.of(env), settings, **options)

    # What a learner has to say.

    @abstractmethod
    def _build(self, generator: torch.Generator) -> None:
        """Make the networks, with first weights of `generator`."""

    @abstractmethod
    def _follow(self) -> None:
        """Copy the weights of the networks that learn to those that follow them."""

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Every network that a checkpoint keeps, by name."""

    @abstractmethod
    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Make the optimisers, by name."""

    @abstractmethod
    def _memory(self, num_envs: int) -> Replay:
        """Make the replay memory of so many copies."""

    @abstractmethod
    def _needs_ends(self) -> bool:
        """Whether the environment must show how an episode ended before it begins anew."""

    @abstractmethod
    def _explore(self) -> Tensor:
        """Return noisy actions `(B, agents, ...)`."""

    @abstractmethod
    def _joint(self, action: Tensor) -> Tensor:
        """Return the actions as the environment takes them."""

    @abstractmethod
    def _remember(self, action: Tensor, reward: Any, terminated: Any, truncated: Any, infos: Mapping[str, Any]) -> None:
        """Add what came of a step to the memory; see `_add`."""

    @abstractmethod
    def learn(self) -> None:
        """Learn from a mini-batch."""

    @abstractmethod
    def _schedules(self) -> dict[str, float]:
        """Return where the schedules are, beside the learning rate."""

    @abstractmethod
    def _weights(self) -> dict[str, Tensor]:
        """Return the tensors of a file of weights."""

    @abstractmethod
    def _parts(self, tensors: Mapping[str, Tensor]) -> dict[str, Mapping[str, Tensor]]:
        """Return the tensors of a file of weights for each network that it holds."""

    # Learning.

    def train(self, env: VectorEnv[Any, Any, Any], steps: int, **options: Any) -> dict[str, float]:
        """Learn from `steps` transitions of `env`; `options` are those of `fedtwin.agents.training.train`."""
        own = {"agent_seed": self.seed, **dataclasses.asdict(self.shape), **dataclasses.asdict(self.settings)}
        return train(self, env, Schedule(steps=steps), **{"identity": own, **options})

    def begin(self, env: VectorEnv[Any, Any, Any], steps: int, seed: int | None = None) -> None:
        """Prepare to learn from `env` for `steps` transitions (of all copies together; of every agent at once)."""
        found = self.shape_type.of(env)
        if found != self.shape:
            raise ValueError(f"the environment has {found}, the agent {self.shape}")
        mode = autoreset_mode(env)
        if self._needs_ends() and mode is not AutoresetMode.NEXT_STEP:
            raise ValueError(f"the environment begins anew by {mode}, must be NEXT_STEP: ends are learned from")
        self.env, self.total, self.same_step = env, steps, mode is AutoresetMode.SAME_STEP
        self.transitions = self.updates = 0
        self.generator = randomness.torch_generator(self.device, self.seed, 1)
        self.memory, self.optimizers = self._memory(env.num_envs), self._optimizers()
        self._seen(*env.reset(seed=self.seed if seed is None else seed))
        self._idle = torch.zeros(env.num_envs, dtype=torch.bool, device=self.device)
        self.measured: dict[str, list[Tensor]] = {name: [] for name in (*self.losses, "reward")}

    def _seen(self, observation: Any, infos: Mapping[str, Any]) -> None:
        """Keep what all copies show: observations `(B, agents, size)` and masks `(B, agents, num_choices)`."""
        shape = (self.env.num_envs, self.shape.agents)
        self._observation = self._tensor(observation).reshape(*shape, -1)
        mask = infos.get(self.mask_name)
        if mask is None:
            mask = torch.ones((*shape, self.shape.num_choices))
        self._mask = self._tensor(mask, torch.bool).reshape(*shape, self.shape.num_choices)

    def _tensor(self, values: Any, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.as_tensor(values, device=self.device).to(dtype)

    @property
    def share(self) -> float:
        """Share of the training that is done."""
        return min(1.0, self.transitions / self.total)

    def _falling(self, start: float, end: float) -> float:
        """Return the value of a schedule that ends with the exploration."""
        done: float = min(1.0, self.share / self.settings.exploration_share)
        return start + (end - start) * done

    @property
    def exploration(self) -> float:
        """Probability of a random legal choice, falling linearly."""
        return self._falling(self.settings.exploration_start, self.settings.exploration_end)

    @property
    def learning_rate(self) -> float:
        """Learning rate, falling linearly."""
        s = self.settings
        return float(s.learning_rate + (s.learning_rate_end - s.learning_rate) * self.share)

    def advance(self) -> None:
        """Play one step in every copy, remember it, and learn where an update is due."""
        action = self._explore()
        joint = self._joint(action)
        given = joint if isinstance(getattr(self.env, "device", None), torch.device) else joint.cpu().numpy()
        observation, reward, terminated, truncated, infos = self.env.step(given)
        self._remember(action, reward, terminated, truncated, infos)
        self._seen(observation, infos)
        if self.transitions >= self.settings.learn_after and self.memory.written % self.settings.learn_every == 0:
            self.learn()

    def _add(self, action: Tensor, earned: Tensor, discount: Tensor, over: Tensor) -> None:
        """Add a step to the memory.

        Args:
            action: what was done `(B, agents, ...)`.
            earned: scaled rewards `(B, agents)` or `(B, 1)`.
            discount: what the following value counts `(B,)`.
            over: whether the episode ended `(B,)`.
        """
        self.memory.add(
            observation=self._observation,
            mask=self._mask,
            action=action,
            reward=earned.expand(-1, self.shape.agents),
            discount=discount,
            last=over,
            valid=~self._idle,
        )
        self._idle = torch.zeros_like(over) if self.same_step else over
        self.transitions += self.env.num_envs

    def _descend(self, name: str, loss: Tensor) -> None:
        """Take a step of the optimiser `name` down the gradient of `loss`."""
        optimizer = self.optimizers[name]
        optimizer.param_groups[0]["lr"] = self.learning_rate
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def take_measures(self) -> dict[str, float]:
        """Return means since the last call, and where the schedules are; leaves nothing to remember."""
        joined = {name: torch.cat([v.reshape(-1) for v in values]) for name, values in self.measured.items() if values}
        means = {name: float(torch.nanmean(values)) for name, values in joined.items()}
        self.measured = {name: [] for name in self.measured}
        return {**means, **self._schedules(), "learning_rate": self.learning_rate, "updates": self.updates}

    # Files.

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on exactly: weights, optimisers, replay, generator and environment.

        Raises:
            ValueError: the environment can not be stored.
        """
        if not hasattr(self.env, "state_dict"):
            raise ValueError(f"{type(self.env).__name__} has no state_dict(): its training can not be resumed")
        env_tensors, env_values = self.env.state_dict()
        parts = {name: network.state_dict() for name, network in self.networks.items()}
        parts |= {name: optimizer_tensors(optimizer) for name, optimizer in self.optimizers.items()}
        parts |= {"memory": self.memory.tensors(), "env": env_tensors}
        tensors = {"generator": self.generator.get_state(), "idle": self._idle}
        for name, part in parts.items():
            tensors |= prefixed(part, name)
        counts = {"transitions": self.transitions, "updates": self.updates, "written": self.memory.written}
        return tensors, {**counts, "env": env_values}

    def resume(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `checkpoint` was called; `begin` came before."""
        for name, network in self.networks.items():
            network.load_state_dict(select(tensors, name))
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, select(tensors, name))
        self.memory.restore(select(tensors, "memory"), values["written"])
        self.generator.set_state(tensors["generator"])
        self._idle = tensors["idle"].to(self.device)
        self.transitions, self.updates = values["transitions"], values["updates"]
        self._seen(*self.env.load_state_dict(select(tensors, "env"), values["env"]))  # type: ignore[attr-defined]

    def start_from(self, other: Self) -> None:
        """Take over the weights of an agent of the same kind.

        Raises:
            ValueError: another network or other hidden layers.
        """
        for name in ("network", "hidden"):
            own, given = getattr(self.settings, name), getattr(other.settings, name)
            if own != given:
                raise ValueError(f"the agent to start from has {name} = {given}, this one {own}: make them equal")
        for name, source in self.learned.items():
            getattr(self, name).load_state_dict(getattr(other, source).state_dict())
        self._follow()

    def save(self, path: str | Path) -> None:
        """Write what is needed to act and to be started from: weights, shape and settings."""
        own = {name: dataclasses.asdict(getattr(self, name)) for name in ("shape", "settings")}
        write_checkpoint(
            Path(path), self._weights(), {"agent": self.kind, **own, "seed": self.seed, "about": self.about}
        )

    @classmethod
    def load(
        cls, path: str | Path, *, env: VectorEnv[Any, Any, Any] | None = None, device: str | torch.device = "cpu"
    ) -> Self:
        """Read an agent from a file, or one that the package ships, by its name; shipped ones only act.

        Args:
            path: file, or name such as "<system>-<agent>".
            env: environment to act in, where its sizes differ from those of the training and the network takes any.
            device: torch device.

        Raises:
            FileNotFoundError: no such file and no such name; the shipped names are given.
            ValueError: the file is damaged, holds another kind of agent, or does not fit `env`.
        """
        source = find_weights(path)
        tensors, values = read_checkpoint(source)
        if values.get("agent") != cls.kind:
            raise ValueError(f"{source} holds {values.get('agent', 'no agent')}, not {cls.kind}")
        lists = {name: tuple(v) if isinstance(v, list) else v for name, v in values["shape"].items()}
        shape = cls.shape_type(**lists) if env is None else cls.shape_type.of(env)
        settings = {"optimizer" if name == "optimiser" else name: v for name, v in values["settings"].items()}
        agent = cls(shape, cls.settings_type.create(settings), seed=values["seed"], device=device)
        for name, part in agent._parts(tensors).items():
            network: nn.Module = getattr(agent, name)
            expected = {key: tensor.shape for key, tensor in network.state_dict().items()}
            if {key: tensor.shape for key, tensor in part.items()} != expected:
                raise ValueError(f"{source} has weights for {lists}, they do not fit {shape}")
            network.load_state_dict(part)
        agent._follow()
        agent.about = values["about"]
        return agent
