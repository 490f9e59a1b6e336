"""How good an agent is on twins that it never learned from, as a ratio to a reference on the same twins."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..core.arrays import Array
from ..core.checks import to_numpy
from ..core.randomness import generator, spread
from ..envs.simulator import Outcome, Simulator
from ..envs.system import System
from .methods import default_reference, find_method

SEED = spread(0, "held_out")


class Actor(Protocol):
    """Whatever chooses actions: an agent of this package or of another."""

    def act(self, observation: Array, mask: Array) -> Array:
        """Return actions for observations `(B, ...)` and masks of legal actions."""


class HeldOut:
    """Twins drawn once, with the objectives that a reference method reaches on them."""

    def __init__(self, system: System, twins: int, rounds: int = 1, reference: str = "") -> None:
        """Draw `twins` episodes of `rounds` rounds and solve them with the reference; "": `default_reference`."""
        self._simulator = Simulator(system, twins)
        self._rounds = rounds
        self.reference = reference or default_reference(system.name)
        solve, rng = find_method(system.name, self.reference), generator(SEED, 0, 0, 1)
        self._simulator.reset(SEED)
        played = [self._simulator.play(solve(system, self._simulator.state, rng)) for _ in range(rounds)]
        self._reached = np.concatenate([self._objective(outcome) for outcome in played])

    def _objective(self, outcome: Outcome) -> np.ndarray:
        """Return the objective `(B,)` of a round."""
        system = self._simulator.system
        return to_numpy(system.report(outcome.cost)[0][system.objective])

    def __call__(self, agent: Actor) -> dict[str, float]:
        """Score an agent over twins and rounds.

        Returns:
            "ratio": how much worse than the reference, the lower the better. Where the objective is a cost, the
            geometric mean of agent over reference, over rounds in which neither is 0; where more is better, the
            reference's mean over the agent's, which counts rounds of 0 (infinite if it reaches nothing at all).
            "ratio_median", "above_2", "above_10": median and tails of the same ratio per round.
            "efficiency" where more is better: the agent's mean over the reference's.
            "violations" where actions are numbers, which no mask restricts: share of the agents' actions that broke a
            limit before they were projected.
        """
        simulator = self._simulator

        def play() -> Outcome:
            outcome = None
            while outcome is None:
                action = agent.act(simulator.visible(), simulator.legal())
                outcome = simulator.take_turn(action) if simulator.system.turns else simulator.step(action)
            return outcome

        return self._score(play)

    def solved(self, solve: Callable[..., Any]) -> dict[str, float]:
        """Score a baseline."""
        simulator, rng = self._simulator, generator(SEED, 0, 0, 2)
        return self._score(lambda: simulator.play(solve(simulator.system, simulator.state, rng)))

    def _score(self, play: Callable[[], Outcome]) -> dict[str, float]:
        self._simulator.reset(SEED)
        outcomes = [play() for _ in range(self._rounds)]
        own = np.concatenate([self._objective(outcome) for outcome in outcomes])
        scores = self._gains(own) if self._simulator.system.maximized else self._costs(own)
        violated = [to_numpy(outcome.violated) for outcome in outcomes if outcome.violated is not None]
        told = violated and self._simulator.system.action_size
        return {**scores, "violations": float(np.mean(violated))} if told else scores

    def _costs(self, own: np.ndarray) -> dict[str, float]:
        both = (own > 0.0) & (self._reached > 0.0)
        logs = np.log(own[both]) - np.log(self._reached[both])
        return {"ratio": float(np.exp(np.mean(logs))), **tails(logs)}

    def _gains(self, own: np.ndarray) -> dict[str, float]:
        wanted, reached = float(self._reached.mean()), float(own.mean())
        either = (own > 0.0) | (self._reached > 0.0)
        with np.errstate(divide="ignore"):
            logs = np.log(np.divide(self._reached, own, out=np.ones_like(own), where=either))
        ratio = wanted / reached if reached else math.inf
        return {"ratio": ratio, **tails(logs), "efficiency": reached / wanted if wanted else math.inf}


def tails(logs: np.ndarray) -> dict[str, float]:
    """Return the median of ratios, given by their logarithms, and the shares above 2 and 10."""
    return {
        "ratio_median": float(np.exp(np.median(logs))),
        "above_2": float(np.mean(logs > np.log(2.0))),
        "above_10": float(np.mean(logs > np.log(10.0))),
    }
