"""How good an agent is on twins that it never learned from, as a ratio to a reference on the same twins."""

from typing import Protocol

import numpy as np

from ..baselines import SOLVERS
from ..envs.randomness import generator
from ..envs.simulator import Simulator
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
        """Return geometric mean and median of the cost ratio over twins and rounds, and its shares above 2 and 10."""
        simulator = self._simulator
        simulator.reset(SEED)
        logs = []
        for reference in self._reference:
            outcome = None
            while outcome is None:
                action = agent.act(simulator.visible(), simulator.legal())
                outcome = simulator.take_turn(action) if simulator.system.turns else simulator.step(action)
            logs.append(np.log(outcome.cost.system_cost) - reference)
        ratio = np.exp(np.concatenate(logs))
        return {
            "ratio": float(np.exp(np.mean(np.log(ratio)))),
            "ratio_median": float(np.median(ratio)),
            "above_2": float(np.mean(ratio > 2.0)),
            "above_10": float(np.mean(ratio > 10.0)),
        }
