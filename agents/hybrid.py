"""The environment of an agent that decides discrete choices alone, while something exact decides the numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

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


class HybridView(VectorView):
    """Copies of a system with hybrid actions, of which an agent decides the discrete choices alone.

    An action is `MultiDiscrete`, one choice per agent; `infos["action_mask"]` says which are legal, and
    `infos["decided"]` `(B, N)` which were played where agents asked for the same thing. NumPy only.
    """

    def __init__(
        self, system: System, num_envs: int, decide: Callable[[System, Any, Array], Any], **options: Any
    ) -> None:
        """Build the view.

        Args:
            system: what is simulated.
            num_envs: copies B.
            decide: `decide(system, state, scores)` returns the decision for scores of choices
                `(B, N, num_actions)`, for one `fedtwin.baselines.learned.decide_exactly`.
            **options: those of `VectorView`.

        Raises:
            ValueError: a system without hybrid actions, or a device.
        """
        if not system.action_size:
            raise ValueError(f"{system.name} has no numbers beside its choices: its actions are not hybrid")
        if options.get("device") is not None:
            raise ValueError(f"device is {options['device']}, must be None: what is exact computes in NumPy")
        super().__init__(system, num_envs, **options)
        self._decide = decide
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
        return self.simulator.play(self._decide(system, state, scores.astype(system.agent_state(state).dtype)))

    def decided(self, outcome: Outcome) -> Array:
        """Return the choices `(B, N)` that were played."""
        scores = self.system.actions_of(outcome.decision)[..., : self.system.num_actions]
        return namespace(scores).argmax(scores, axis=-1)
