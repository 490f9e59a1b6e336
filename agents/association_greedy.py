"""A learned greedy for the association system, by evolution strategies (Salimans et al., 2017).

The greedy of the baselines visits clients in an order and gives each the pair of the lowest cost so far. Here both are
learned: the order is that of a linear score of the clients' features, and the criterion adds weighted terms to the log
cost (`GUIDES` of the compiled kernel). Parameters are perturbed in antithetic pairs, each pair is compared on the same
twins and in the same random orders, and Adam follows the estimated gradient of the mean log cost of the best schedule.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from gymnasium.vector import VectorEnv

from ..baselines import association_kernel as kernel
from ..baselines.association import OneTwin, Pair, empty_decision, problem_of, solver
from ..baselines.association_kernel import Floats, Integers, Problem
from ..baselines.solver import Solver
from ..core import randomness
from ..core.arrays import as_tensor
from ..core.checkpoint import read_checkpoint, write_checkpoint
from ..core.settings import Settings, parameter
from ..core.trees import take
from ..envs.association import AssociationParams, AssociationSystem, State
from ..envs.views.vector import VectorView
from .weights import find_weights

if TYPE_CHECKING:
    import torch

GREEDY = "association-greedy"
"""The shipped guide of the greedy."""


SCALE = np.concatenate([np.full(kernel.ORDER_FEATURES, 0.3), np.full(kernel.GUIDES, 0.02)])
"""What one unit of perturbation is for each parameter."""


Improve = Callable[[Problem, Integers, Integers], object]


class Guide(NamedTuple):
    """A learned greedy: the order of its clients and the weights of its criterion."""

    order: Floats
    """(ORDER_FEATURES,); the client of the lowest score chooses first."""
    guide: Floats
    """(GUIDES,)."""


def read_guide(path: Path) -> Guide:
    """Read a learned greedy.

    Raises:
        ValueError: the file holds something else.
    """
    return _read_guide(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _read_guide(path: Path, changed: int) -> Guide:
    weights, values = read_checkpoint(path, "numpy")
    if values.get("agent") != "greedy":
        raise ValueError(f"{path} holds {values.get('agent', 'no agent')}, not a learned greedy")
    return Guide(weights["order"], weights["guide"])


def leave(problem: Problem, server: Integers, channel: Integers) -> None:
    """Leave a schedule as it is."""


def schedule(problem: Problem, mean_gain: Floats, learned: Guide, noise: Floats) -> Pair:
    """Return the cheapest schedule of the learned greedy with `noise` (orders, active clients) added to its scores."""
    active = np.flatnonzero(problem.active)
    if not active.size:
        return empty_decision(problem)
    score = kernel.order_features(problem, np.ascontiguousarray(mean_gain, np.float64), active) @ learned.order
    server, channel = empty_decision(problem)
    kernel.best_greedy(problem, active[np.argsort(score + noise, axis=-1)], learned.guide, server, channel)
    return server, channel


def guided_greedy(orders: int, improve: Improve, weights: str | Path | Guide | None = None) -> OneTwin:
    """Build the learned greedy: the best of several guided greedies in perturbed learned order, the first one not."""

    def decide(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        learned = weights
        if not isinstance(learned, Guide):
            learned = read_guide(find_weights(learned or GREEDY))
        noise = rng.standard_normal((orders, int(problem.active.sum())))
        noise[0] = 0.0
        server, channel = schedule(problem, state.mean_gain, learned, noise)
        improve(problem, server, channel)
        return server, channel

    return decide


@dataclasses.dataclass(frozen=True)
class GreedySettings(Settings):
    """Hyperparameters of the search."""

    twins: int = parameter(32, at_least=1, doc="twins that every pair of perturbations is compared on")
    pairs: int = parameter(6, at_least=1, doc="antithetic pairs of perturbations in an update")
    orders: int = parameter(8, at_least=1, doc="perturbed orders, of which the best schedule counts")
    rate: float = parameter(0.1, above=0, doc="learning rate at the start, in units of the perturbation")


class LearnedGreedy:
    """Learner of order and criterion; a transition is a schedule that was tried."""

    def __init__(self, system: AssociationSystem, settings: GreedySettings | None = None, *, seed: int = 0) -> None:
        """Begin as the weakest-first greedy."""
        self.system, self.settings, self.seed = system, GreedySettings() if settings is None else settings, seed
        self.parameters = np.zeros(SCALE.size)
        self.parameters[0] = 1.0
        self.about: dict[str, Any] = {}

    @classmethod
    def for_env(
        cls, env: VectorView, settings: GreedySettings | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> Self:
        """Build a learner for the system of `env`, in float64; it computes on the CPU."""
        params = {**dataclasses.asdict(env.system.params), "dtype": "float64"}
        return cls(AssociationSystem(AssociationParams.create(params)), settings, seed=seed)

    @classmethod
    def load(cls, path: str | Path, *, env: VectorView) -> Self:
        """Read a learned greedy from a file, or the one that the package ships, by its name; it can be gone on with.

        Raises:
            FileNotFoundError: no such file and no such name.
            ValueError: the file holds something else.
        """
        learner = cls.for_env(env)
        learner.parameters = np.concatenate(read_guide(find_weights(path)))
        return learner

    def start_from(self, other: "LearnedGreedy") -> None:
        """Take over order and criterion."""
        self.parameters = other.parameters.copy()

    @property
    def guide(self) -> Guide:
        """The learned order and criterion."""
        return Guide(self.parameters[: kernel.ORDER_FEATURES].copy(), self.parameters[kernel.ORDER_FEATURES :].copy())

    def solver(self, improve: Improve = leave) -> Solver:
        """Return the learned greedy of as many orders as it is trained with, as a baseline."""
        return solver(guided_greedy(self.settings.orders, improve, self.guide))

    def begin(self, env: VectorEnv[Any, Any, Any], steps: int, seed: int | None = None) -> None:
        """Prepare to learn for `steps` schedules; twins come from the system, not from `env`."""
        self.total, self.transitions, self.updates = steps, 0, 0
        self.seed = self.seed if seed is None else seed
        self.mean, self.square = np.zeros(SCALE.size), np.zeros(SCALE.size)
        self.costs: list[float] = []

    def advance(self) -> None:
        """Compare the pairs of perturbations and make one update."""
        s = self.settings
        rng = randomness.generator(self.seed, self.updates, 0, 2)
        gradient = np.zeros(SCALE.size)
        for pair in range(s.pairs):
            step = rng.standard_normal(SCALE.size)
            places = randomness.numbers(self.seed, self.updates, pair, (s.twins,))
            state = self.system.start(self.system.draw(places))
            clients = self.system.params.num_clients
            noises = rng.standard_normal((s.twins, s.orders, clients))
            rise = 0.0
            for twin in range(s.twins):
                one = take(state, twin)
                problem = problem_of(self.system, one)
                up = self._log_cost(problem, one.mean_gain, noises[twin], self.parameters + SCALE * step)
                down = self._log_cost(problem, one.mean_gain, noises[twin], self.parameters - SCALE * step)
                rise += (up - down) / s.twins
                self.costs.append((up + down) / 2.0)
            gradient += rise * step / (2.0 * s.pairs)
        self.updates += 1
        self.transitions += 2 * s.pairs * s.twins * s.orders
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.99 * self.square + 0.01 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.updates), self.square / (1 - 0.99**self.updates)
        self.parameters = self.parameters - self.rate * SCALE * mean / (np.sqrt(square) + 1e-8)

    @property
    def rate(self) -> float:
        """Learning rate, falling linearly to 0."""
        return self.settings.rate * max(0.0, 1.0 - self.transitions / self.total)

    def _log_cost(self, problem: Problem, mean_gain: np.ndarray, noise: np.ndarray, values: np.ndarray) -> float:
        guide = Guide(values[: kernel.ORDER_FEATURES], values[kernel.ORDER_FEATURES :])
        return float(np.log(kernel.round_cost(problem, *schedule(problem, mean_gain, guide, noise))))

    def take_measures(self) -> dict[str, float]:
        """Return the mean log cost since the last call as the loss."""
        loss, self.costs = float(np.mean(self.costs)), []
        return {"loss": loss, "learning_rate": self.rate, "updates": self.updates}

    def checkpoint(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
        """Return all that is needed to go on exactly."""
        arrays = {"parameters": self.parameters, "mean": self.mean, "square": self.square}
        counts = {"transitions": self.transitions, "updates": self.updates}
        return {name: as_tensor(array) for name, array in arrays.items()}, counts

    def resume(self, tensors: "Mapping[str, torch.Tensor]", values: Mapping[str, Any]) -> None:
        """Go on where `checkpoint` was called; `begin` came before."""
        self.parameters, self.mean, self.square = (tensors[name].numpy() for name in ("parameters", "mean", "square"))
        self.transitions, self.updates = values["transitions"], values["updates"]

    def save(self, path: str | Path) -> None:
        """Write what is needed to decide."""
        parts = {name: as_tensor(array) for name, array in self.guide._asdict().items()}
        values = {"seed": self.seed, "settings": dataclasses.asdict(self.settings), "about": self.about}
        write_checkpoint(Path(path), parts, {"agent": "greedy", **values})
