"""The TorchRL view: many copies in one batched step, tensors in and out, agents as a dimension of every tensor."""

from typing import Any

import torch

try:
    from tensordict import TensorDict
    from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
    from torchrl.envs import EnvBase
except ImportError as error:
    raise ImportError("fedtwin.envs.views.torchrl needs TorchRL: pip install 'fedtwin[torchrl]'") from error

from ...core import randomness
from ...core.arrays import Array
from ...core.checks import warn_retired
from .. import make_system
from ..simulator import Outcome, Simulator
from ..system import System

GROUP = "agents"


def torchrl_env(
    name: str,
    num_envs: int = 1,
    *,
    preset: str | None = None,
    device: str | torch.device = "cpu",
    shared_draws: bool | None = None,
    validate: bool | None = None,
    **params: Any,
) -> "TorchRLView":
    """Build the TorchRL view of a system.

    Args:
        name: a key of `SYSTEMS`.
        num_envs: copies B.
        preset: a named set of parameters.
        device: torch device on which tensors stay.
        shared_draws: retired.
        validate: whether actions are checked at once; None: everywhere but on CUDA.
        **params: fields of the system's `Params`.
    """
    system = make_system(name, preset, **params)
    return TorchRLView(system, num_envs, device=device, shared_draws=shared_draws, validate=validate)


class TorchRLView(EnvBase):  # type: ignore[misc] # TorchRL is not among the packages that types are checked with
    """Copies of a system as a batch-locked `torchrl.envs.EnvBase` of batch size `[B]`.

    The group "agents" holds `observation` `(B, N, size)`, `action_mask` `(B, N, num_actions)`, `action` `(B, N)` and
    `reward` `(B, N, 1)`; where decisions are continuous or hybrid `action` is `(B, N, action_size)` and the mask of its
    discrete parts is called `choice_mask`. Where decisions are sequential a step is one agent's turn: the same entries
    stand in the root without the agents' dimension, and the reward is the mean over agents. `info` holds what the round
    cost.

    Copies may end at different times; TorchRL resets each where it ended. The mask keeps random actions legal with
    `torchrl.envs.ActionMask(("agents", "action"), ("agents", "action_mask"))`.
    """

    def __init__(
        self,
        system: System,
        num_envs: int,
        *,
        device: str | torch.device = "cpu",
        shared_draws: bool | None = None,
        validate: bool | None = None,
    ) -> None:
        """Build the view; see `torchrl_env`.

        Raises:
            ValueError: a system with several choices of an agent, or numbers of the whole round.
        """
        system.actions.require_plain(type(self).__name__)
        super().__init__(device=torch.device(device), batch_size=torch.Size([num_envs]))
        self.system, self.max_cycles = system, system.params.max_cycles
        self.group_map = {} if system.turns else {GROUP: list(system.agents)}
        warn_retired("shared_draws", shared_draws, randomness.SHARED_DRAWS)
        self._settings: dict[str, Any] = {"validate": validate}
        self._seed: int | None = None
        self._ended: Array = None
        self.simulator = self._simulator_on(self.device)
        self._declare()

    def _simulator_on(self, device: torch.device) -> Simulator:
        return Simulator(self.system, self.batch_size[0], autoreset="same_step", device=device, **self._settings)

    def _declare(self) -> None:
        """Tell TorchRL the shapes, types and bounds of all entries."""
        system, copies = self.system, self.batch_size[0]
        agents, actions = len(system.agents), system.num_actions
        shape = (copies,) if system.turns else (copies, agents)

        def placed(**specs: Any) -> Any:
            inner = Composite(specs, shape=shape)
            return inner if system.turns else Composite({GROUP: inner}, shape=(copies,))

        state = system.start(system.draw(randomness.numbers(0, 0, 0)))
        shared, own = system.report(system.cost(state, system.undecided(state)))
        sizes = dict.fromkeys(shared, 1) | dict.fromkeys(own, agents)
        costs = {name: Unbounded((copies, size), dtype=torch.float32) for name, size in sizes.items()}
        projected = Binary(agents, (copies, agents), dtype=torch.bool)
        seen = placed(
            observation=Bounded(0.0, 1.0, (*shape, system.observation_size), dtype=torch.float32),
            **{system.mask_name: Binary(actions, (*shape, actions), dtype=torch.bool)},
        )
        seen["info"] = Composite({**costs, "projected": projected}, shape=(copies,))
        flags = {name: Categorical(2, (copies, 1), dtype=torch.bool) for name in ("done", "terminated", "truncated")}
        self.observation_spec = seen.to(self.device)
        action = Categorical(actions, shape, dtype=torch.int64)
        if system.action_size:
            action = Bounded(-1.0, 1.0, (*shape, system.action_size), dtype=torch.float32)
        self.action_spec = placed(action=action).to(self.device)
        self.reward_spec = placed(reward=Unbounded((*shape, 1), dtype=torch.float32)).to(self.device)
        self.done_spec = Composite(flags, shape=(copies,)).to(self.device)

    def _set_seed(self, seed: int | None) -> None:
        """Begin the first episode of `seed` at the next reset of all copies."""
        self._seed = None if seed is None else randomness.check_seed(seed, "seed")

    def _reset(self, tensordict: Any = None, **kwargs: Any) -> Any:
        """Begin an episode in every copy, or go on with the next one where TorchRL asks for it after an end.

        Raises:
            ValueError: copies are to begin anew that neither ended in the last step nor are all there are.
        """
        asked = None if tensordict is None else tensordict.get("_reset", None)
        asked = None if asked is None else asked.reshape(self.batch_size)
        begun = asked is not None and self._ended is not None and torch.equal(asked, self._ended)
        if not begun:
            if asked is not None and not bool(asked.all()):
                ended = [] if self._ended is None else self._ended.nonzero()[:, 0].tolist()
                raise ValueError(
                    f"copies {asked.nonzero()[:, 0].tolist()} are to begin anew, must be all of them, or those that "
                    f"ended in the last step: {ended}"
                )
            self.simulator.reset(self._seed)
            self._seed = None
        self._ended = None
        return self._seen(self.simulator.visible(), self.simulator.legal(), self.observation_spec["info"].zero())

    def _step(self, tensordict: Any) -> Any:
        """Play a round (simultaneous) or a turn (sequential) in every copy.

        Raises:
            ValueError: actions outside their space (on CUDA at the next reset); a step before the first reset.
        """
        simulator, turns = self.simulator, self.system.turns
        if simulator.state is None:
            raise ValueError("the episode has not begun: call reset() first")
        if turns:
            simulator.check_turn(tensordict["action"])
        outcome = simulator.take_turn(tensordict["action"]) if turns else simulator.step(tensordict[GROUP, "action"])
        self._ended = None if outcome is None else outcome.terminated | outcome.truncated
        if outcome is None:
            found = self._seen(simulator.visible(), simulator.legal(), self.observation_spec["info"].zero())
            return found.update(self.full_reward_spec.zero()).update(self.full_done_spec.zero())
        found = self._seen(outcome.final_observations, outcome.final_masks, self._info(outcome))
        reward = outcome.reward.to(torch.float32)
        if turns:
            found["reward"] = reward.mean(-1, keepdim=True)
        else:
            found[GROUP, "reward"] = reward[..., None]
        flags = {"done": self._ended, "terminated": outcome.terminated, "truncated": outcome.truncated}
        return found.update({name: flag[:, None] for name, flag in flags.items()})

    def _seen(self, observations: Array, masks: Array, info: Any) -> Any:
        seen = {"observation": observations, self.system.mask_name: masks.to(torch.bool)}
        nested = seen if self.system.turns else {GROUP: TensorDict(seen, observations.shape[:-1], device=self.device)}
        return TensorDict({**nested, "info": info}, self.batch_size, device=self.device)

    def _info(self, outcome: Outcome) -> Any:
        shared, own = self.simulator.report(outcome)
        costs = {name: value[:, None] for name, value in shared.items()} | own
        info = {name: value.to(torch.float32) for name, value in costs.items()}
        return TensorDict({**info, "projected": outcome.projected}, self.batch_size, device=self.device)

    def to(self, device: str | torch.device) -> "TorchRLView":
        """Move to another device; the next call must be `reset`."""
        before = self.device
        super().to(device)
        if self.device != before:
            self.simulator, self._ended = self._simulator_on(self.device), None
        return self
