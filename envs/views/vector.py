"""The vector view: many copies in one batched step, NumPy arrays or torch tensors that never leave their device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ...core.arrays import Array, as_tensor, namespace
from ...core.checks import check_shape, warn_retired
from ...core.randomness import SHARED_DRAWS, check_seed
from ..learning import LearningMode, make_learning
from ..simulator import Outcome, Simulator
from ..system import System
from .base import MaskStyle, check_mask_style, masked_observation
from .central import central_spaces

if TYPE_CHECKING:
    import torch

MODES = {AutoresetMode.NEXT_STEP: "next_step", AutoresetMode.SAME_STEP: "same_step"}


class VectorView(VectorEnv[Any, Any, Any]):
    """Copies of a system as a `gymnasium.vector.VectorEnv`; each copy is what `CentralView` is.

    Copy i seeded s plays as a single environment seeded s + i. Observations are `(B, ...)` of the single observation
    space, rewards `(B,)` means over agents; infos carry `(B, ...)` arrays, each with its `_name` mask of copies that it
    holds for, among them `agent_reward` `(B, N)` and, of box actions, `decided` `(B, N, action_size)`: an action
    that leads to what was decided.
    """

    def __init__(
        self,
        system: System,
        num_envs: int,
        *,
        mask: MaskStyle = "info",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        device: "str | torch.device | None" = None,
        shared_draws: bool | None = None,
        validate: bool | None = None,
        learning: LearningMode = "analytic",
        task: Any = None,
    ) -> None:
        """Build the view.

        Args:
            system: what is simulated.
            num_envs: copies B.
            mask: where the mask of legal actions goes.
            autoreset_mode: NEXT_STEP (the step after an end only resets that copy) or SAME_STEP (`final_obs` and
                `final_info` tell how the episode ended).
            device: None for NumPy; a torch device takes and returns tensors on it.
            shared_draws: retired.
            validate: see `Simulator`.
            learning: see `ParallelView`; live, copies train one after the other.
            task: see `ParallelView`.

        Raises:
            ValueError: unknown autoreset mode or mask style.
        """
        warn_retired("shared_draws", shared_draws, SHARED_DRAWS)
        mode = AutoresetMode(autoreset_mode)
        if mode not in MODES:
            raise ValueError(f"autoreset_mode is {mode}, must be NEXT_STEP or SAME_STEP")
        self.system, self.max_cycles = system, system.params.max_cycles
        self.num_envs = num_envs
        self.mask = check_mask_style(mask)
        self.mask_name = system.mask_name
        self.metadata = {"autoreset_mode": mode, "render_modes": []}
        self.single_observation_space, self.single_action_space = central_spaces(system, mask)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.simulator = Simulator(
            system,
            num_envs,
            autoreset=MODES[mode],  # type: ignore[arg-type]
            device=device,
            validate=validate,
            learning=make_learning(system, learning, task, num_envs),
        )

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every copy; see `Simulator.reset` for seed and options."""
        if not isinstance(seed, Sequence | np.ndarray):
            seed = None if seed is None else check_seed(seed, "seed")
            super().reset(seed=seed)
        self.simulator.reset(seed, options)
        return self._seen({})

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Play a round (simultaneous) or a turn (sequential) in every copy.

        Args:
            actions: integers `(B, N)`, or `(B,)` where decisions are sequential; floating numbers `(B, N action_size)`
                where they are continuous or hybrid.

        Raises:
            ValueError: actions of another shape or type, or outside their space; a step before `reset`.
        """
        simulator = self.simulator
        if simulator.state is None:
            raise ValueError("the episode has not begun: call reset() first")
        outcome = self.play(actions)
        if outcome is None:
            zero = 0.0 * self.system.agent_state(simulator.state)[..., 0]
            xp = namespace(zero)
            observations, infos = self._seen({})
            never = [xp.zeros_like(zero, dtype=xp.bool) for _ in range(2)]
            return observations, zero, *never, infos
        facts, known = self._facts(outcome)
        over = outcome.terminated | outcome.truncated
        ended = outcome.final_observations is not None
        infos = self._masked(facts, known & ~over if ended else known)
        if ended:
            self._add_final(infos, facts, outcome, over)
        observations, infos = self._seen(infos)
        reward = namespace(outcome.reward).mean(outcome.reward, axis=-1)
        return observations, reward, outcome.terminated, outcome.truncated, infos

    def play(self, actions: Any) -> Outcome | None:
        """Play a round or a turn; None while no copy completes a round."""
        system, array = self.system, self._array(actions)
        joint = () if system.turns else (system.actions.joint_size(len(system.agents)),)
        check_shape(array, (self.num_envs, *joint), "actions")
        if system.turns:
            self.simulator.check_turn(array)
            return self.simulator.take_turn(array)
        return self.simulator.step(system.actions.apart(array, len(system.agents)))

    def decided(self, outcome: Outcome) -> Array:
        """Return actions that lead to what was decided."""
        return self.system.actions_of(outcome.decision)

    def _array(self, actions: Any) -> Array:
        """Return actions as an array of the simulator's library; integers where they are discrete."""
        device = self.simulator.device
        array = np.asarray(actions) if device is None else as_tensor(actions, device)
        if self.system.action_size:
            return array
        xp = namespace(array)
        if not xp.isdtype(array.dtype, "integral"):
            raise ValueError(f"actions have dtype {array.dtype}, must be integer")
        return xp.astype(array, xp.int64)

    def _seen(self, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        observations, masks = self._flat(self.simulator.visible()), self.action_masks()
        xp = namespace(masks)
        everyone = xp.ones_like(masks[:, 0], dtype=xp.bool)
        if self.mask == "info":
            infos[self.mask_name], infos[f"_{self.mask_name}"] = masks, everyone
        if self.system.turns:
            infos["agent"], infos["_agent"] = self.simulator.turn_agent, everyone
        return masked_observation(observations, masks, self.mask, self.mask_name), infos

    def _facts(self, outcome: Outcome) -> tuple[dict[str, Array], Array]:
        """Return what the round brought, and the copies `(B,)` that played one."""
        shared, own = self.simulator.report(outcome)
        known = outcome.completed
        if known is None:
            known = namespace(outcome.terminated).ones_like(outcome.terminated)
        facts = {**shared, **own, "projected": outcome.projected, "agent_reward": outcome.reward}
        if self.system.action_size:
            facts["decided"] = self.decided(outcome)
        return facts, known

    def _masked(self, facts: Mapping[str, Array], known: Array) -> dict[str, Any]:
        """Return facts of the copies `known`, zeros elsewhere, each with its mask, as Gymnasium does."""
        infos = {}
        for name, value in facts.items():
            wide, xp = known.reshape((-1, *(1,) * (value.ndim - 1))), namespace(value)
            infos[name], infos[f"_{name}"] = xp.where(wide, value, xp.zeros_like(value)), known
        return infos

    def _add_final(self, infos: dict[str, Any], facts: dict[str, Array], outcome: Outcome, over: Array) -> None:
        assert outcome.final_observations is not None
        assert outcome.final_masks is not None
        observations, masks = self._flat(outcome.final_observations), self._flat(outcome.final_masks)
        if self.mask == "info":
            facts = {**facts, self.mask_name: masks}
        if outcome.final_agent is not None:
            facts = {**facts, "agent": outcome.final_agent}
        seen = masked_observation(observations, masks, self.mask, self.mask_name)
        infos["final_obs"] = seen if self.simulator.device is not None else self._one_by_one(seen, over)
        infos["final_info"] = self._masked(facts, over)
        infos["_final_obs"] = infos["_final_info"] = over

    def _one_by_one(self, seen: Any, over: np.ndarray) -> np.ndarray:
        """Return Gymnasium's object array: the final observation of each copy that ended, None elsewhere."""
        listed = np.full(self.num_envs, None, dtype=object)
        for copy in np.flatnonzero(over):
            listed[copy] = {k: v[copy] for k, v in seen.items()} if isinstance(seen, Mapping) else seen[copy]
        return listed

    def action_masks(self) -> Array:
        """Return the legal actions as int8 `(B, ...)`, laid out as in `CentralView.action_masks`."""
        return self._flat(self.simulator.legal())

    def _flat(self, array: Array) -> Array:
        return array.reshape(self.num_envs, -1)

    def state_dict(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
        """Return tensors and JSON-compatible values from which `load_state_dict` goes on exactly."""
        arrays, values = self.simulator.state_dict()
        return {name: as_tensor(array) for name, array in arrays.items()}, values

    def load_state_dict(
        self, tensors: "Mapping[str, torch.Tensor]", values: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Go on where `state_dict` was called, in a view built alike; returns observations and infos as `reset`."""
        self.simulator.load_state_dict(tensors, values)
        return self._seen({})

    def check(self) -> None:
        """Raise `ValueError` if an action was out of range since the last check (on CUDA; elsewhere `step` raises)."""
        self.simulator.check()
