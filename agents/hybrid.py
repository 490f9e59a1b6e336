"""The environment of an agent that decides discrete choices alone, while something exact decides the numbers."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from ..baselines import solver_module
from ..core.arrays import Array, namespace, one_hot
from ..core.checks import check_integers, to_numpy
from ..envs.simulator import Outcome
from ..envs.system import System
from ..envs.views.vector import VectorView


def as_scores(values: Array) -> Array:
    """Map values `(..., N, num_actions)` to scores in [-1, 1], in the same order over all agents of a round.

    Values of -inf have the score -1.
    """
    xp = namespace(values)
    known = xp.isfinite(values)
    low = xp.amin(xp.where(known, values, xp.inf), axis=(-2, -1), keepdims=True)
    high = xp.amax(xp.where(known, values, -xp.inf), axis=(-2, -1), keepdims=True)
    width = xp.where(high > low, high - low, 1.0)
    return xp.where(known, 2.0 * (values - low) / width - 1.0, -1.0)


def decide_exactly(system: System, state: Any, scores: Array) -> Any:
    """Return the decision whose choices follow scores and whose numbers are exact.

    Args:
        system: one whose solvers offer `complete`; see `fedtwin.baselines`.
        state: believed, `(..., N)`.
        scores: of every choice, in [-1, 1], `(..., N, num_actions)`.

    Raises:
        ValueError: a system whose solvers do not.
    """
    complete = getattr(solver_module(system.name), "complete", None)
    if complete is None:
        raise ValueError(f"{system.name} has no exact numbers for given choices: its solvers offer no `complete`")
    xp = namespace(scores)
    numbers = xp.zeros_like(scores[..., :1]) + xp.zeros(
        system.action_size - system.num_actions, dtype=scores.dtype, device=scores.device
    )
    actions = xp.concat([scores, numbers], axis=-1)
    return complete(system.problem(state), system.decide(state, actions, validate=False))


class HybridView(VectorView):
    """Copies of a system with hybrid actions, of which an agent decides the discrete choices alone.

    An action is `MultiDiscrete`, one choice per agent; `infos["action_mask"]` says which are legal, and
    `infos["decided"]` `(B, N)` which were played where agents asked for the same thing. NumPy only.
    """

    def __init__(self, system: System, num_envs: int, **options: Any) -> None:
        """Build the view.

        Args:
            system: what is simulated; `decide_exactly` gives its numbers.
            num_envs: copies B.
            **options: those of `VectorView`.

        Raises:
            ValueError: a system without hybrid actions, or with several choices of an agent; a device.
        """
        system.actions.require_plain(type(self).__name__)
        if not system.action_size:
            raise ValueError(f"{system.name} has no numbers beside its choices: its actions are not hybrid")
        if options.get("device") is not None:
            raise ValueError(f"device is {options['device']}, must be None: what is exact computes in NumPy")
        super().__init__(system, num_envs, **options)
        self.mask_name = "action_mask"
        if isinstance(self.single_observation_space, spaces.Dict):
            seen, mask = (self.single_observation_space[name] for name in ("observation", system.mask_name))
            self.single_observation_space = spaces.Dict({"observation": seen, self.mask_name: mask})
            self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.single_action_space = spaces.MultiDiscrete([system.num_actions] * len(system.agents))
        self.action_space = batch_space(self.single_action_space, num_envs)

    def play(self, actions: Any) -> Outcome:
        """Play a round with one choice per agent, `(B, N)` integers."""
        system, array = self.system, to_numpy(actions)
        shape = (self.num_envs, len(system.agents))
        check_integers(array, shape, 0, system.num_actions - 1, "action", system.agents.__getitem__)
        state = self.simulator.seen
        scores = np.where(one_hot(array, system.num_actions), 1.0, -1.0)
        return self.simulator.play(decide_exactly(system, state, scores.astype(system.agent_state(state).dtype)))

    def decided(self, outcome: Outcome) -> Array:
        """Return the choices `(B, N)` that were played."""
        scores = self.system.actions_of(outcome.decision)[..., : self.system.num_actions]
        return namespace(scores).argmax(scores, axis=-1)
