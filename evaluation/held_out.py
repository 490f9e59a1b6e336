"""How good an agent is on twins that it never learned from, as a ratio to a reference on the same twins."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..baselines import SOLVERS
from ..envs.randomness import generator
from ..envs.simulator import Outcome, Simulator
from ..envs.system import System
from ..twin.arrays import Array

SEED = 2**40
"""Far from the seeds that people train with."""


class Actor(Protocol):
    """Whatever chooses actions: an agent of this package or of another."""

    def act(self, observation: Array, mask: Array) -> Array:
        """Return actions for observations `(B, ...)` and masks of legal actions."""


class HeldOut:
    """Twins drawn once, with the costs that a reference method reaches on them."""

    def __init__(self, system: System, twins: int, rounds: int = 1, reference: str = "swap_matching") -> None:
        """Draw `twins` episodes of `rounds` rounds and solve them with the reference."""
        self._simulator = Simulator(system, twins, shared_draws=True)
        self._rounds = rounds
        solve, rng = SOLVERS[system.name][reference], generator(SEED, 0, 0, 1)
        self._simulator.reset(SEED)
        self._reference = []
        for _ in range(rounds):
            outcome = self._simulator.play(solve(system, self._simulator.state, rng))
            self._reference.append(np.log(outcome.cost.system_cost))

    def __call__(self, agent: Actor) -> dict[str, float]:
        """Score an agent: geometric mean and median of the cost ratio over twins and rounds, shares above 2 and 10."""
        simulator = self._simulator

        def play() -> Outcome:
            outcome = None
            while outcome is None:
                action = agent.act(simulator.visible(), simulator.legal())
                outcome = simulator.take_turn(action) if simulator.system.turns else simulator.step(action)
            return outcome

        return self._score(play)

    def learned(self, learner: Any) -> dict[str, float]:
        """Score a learner of whole rounds, which gives a baseline as its `solver()`."""
        simulator, rng, solve = self._simulator, generator(SEED, 0, 0, 2), learner.solver()
        return self._score(lambda: simulator.play(solve(simulator.system, simulator.state, rng)))

    def _score(self, play: Callable[[], Outcome]) -> dict[str, float]:
        self._simulator.reset(SEED)
        logs = np.concatenate([np.log(play().cost.system_cost) - reference for reference in self._reference])
        return {
            "ratio": float(np.exp(np.mean(logs))),
            "ratio_median": float(np.exp(np.median(logs))),
            "above_2": float(np.mean(logs > np.log(2.0))),
            "above_10": float(np.mean(logs > np.log(10.0))),
        }
