"""What a system is: parameters, fields, and the pure methods that every environment and every solver calls."""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces

from ..core.arrays import Array, arange_like, namespace
from ..core.checks import check_box, check_integers, reject
from ..core.settings import Settings, parameter
from .fields import Field, Normaliser
from .scene import Scene


@dataclasses.dataclass(frozen=True)
class Params(Settings):
    """Parameters that every system has; a system's own dataclass adds the paper's."""

    max_cycles: int = parameter(25, symbol="R", at_least=1, doc="rounds of an episode")
    dtype: Literal["float64", "float32"] = parameter(
        "float64", doc="floating type of everything that is drawn and computed"
    )


class System(ABC):
    """A system: pure, batched methods from one frozen `Params`; environments, solvers and figures call only these.

    Shapes carry any leading batch axes `...`; N is the number of agents. Arrays may be NumPy or torch.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    params_type: ClassVar[type[Params]]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    agents: tuple[str, ...]
    num_actions: int
    observation_kinds: ClassVar[Mapping[str, Mapping[str, Any]]]
    """What agents may see, by name, each with the parameters that select it."""
    action_grid: tuple[int, ...] = ()
    """What an action's number runs over, row by row, where it stands for a choice of several things."""
    action_fields: tuple[Field, ...]
    observation_fields: tuple[Field, ...]
    turns: bool = False
    """Whether agents decide one after the other inside a round."""
    action_size: int = 0
    """Numbers of an agent's action where it is a box in [-1, 1] (continuous or hybrid); 0: it is `Discrete`.

    In a hybrid action the first `num_actions` numbers are scores of the discrete choices, which the mask is for.
    """
    objective: ClassVar[str] = "system_cost"
    """The shared number of `report` that methods are compared by."""
    maximised: ClassVar[bool] = False
    """Whether more of the objective is better."""
    quantities: ClassVar[Mapping[str, str]] = {
        "system_cost": "system cost",
        "round_time": "round time in s",
        "energy": "energy in J",
    }
    """Shared numbers of `report` that an evaluation keeps and draws, the objective first, with their labels."""

    def __init__(self, params: Params) -> None:
        """Keep the parameters; a subclass derives its constants here."""
        self.params = params

    @functools.cached_property
    def normaliser(self) -> Normaliser:
        """What turns raw observations into numbers in [0, 1], by the fields' formulas."""
        return Normaliser(self.observation_fields)

    @property
    def observation_size(self) -> int:
        """Length of an agent's flat observation."""
        return self.normaliser.size

    def observation_space(self) -> spaces.Box:
        """Return an agent's observation space: a flat box in [0, 1]."""
        return spaces.Box(0.0, 1.0, (self.observation_size,), np.float32)

    def action_space(self) -> spaces.Space[Any]:
        """Return an agent's action space: `Discrete(num_actions)`, or a box in [-1, 1] of `action_size` numbers."""
        if self.action_size:
            return spaces.Box(-1.0, 1.0, self.action_shape, np.float32)
        return spaces.Discrete(self.num_actions)

    @property
    def mask_name(self) -> str:
        """What views call the mask: samplers know "action_mask", but can not mask a box."""
        return "choice_mask" if self.action_size else "action_mask"

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one agent's action."""
        return (self.action_size,) if self.action_size else ()

    def no_actions(self, state: Any) -> Array:
        """Return zeros of the shape and type of joint actions, in the library of the state."""
        like = self.agent_state(state)
        xp = namespace(like)
        kind = xp.float32 if self.action_size else xp.int64
        return xp.zeros((*like.shape, *self.action_shape), dtype=kind, device=like.device)

    # What every system has to say.

    @abstractmethod
    def draw(self, rng: Any, batch: tuple[int, ...] = ()) -> Any:
        """Draw what chance decides in one round, with leading axes `batch`."""

    @abstractmethod
    def start(self, draw: Any) -> Any:
        """Return the state of an episode's first round."""

    @abstractmethod
    def agent_state(self, state: Any) -> Array:
        """Return any array `(..., N)` of the state: its leading axes and its library are those of the batch."""

    @abstractmethod
    def decide(self, state: Any, actions: Array, *, validate: bool = True) -> Any:
        """Turn joint actions `(..., N)`, or `(..., N, action_size)`, into a decision that keeps every limit.

        An illegal choice becomes the nearest legal one.
        """

    @abstractmethod
    def actions_of(self, decision: Any) -> Array:
        """Return the actions that lead to `decision`, the inverse of `decide`."""

    @abstractmethod
    def cost(self, state: Any, decision: Any, *, validate: bool = True) -> Any:
        """Return the named costs of the round."""

    @abstractmethod
    def reward(self, state: Any, cost: Any, progress: Array) -> Array:
        """Return the rewards `(..., N)` of a round that cost `cost` and led to `state`."""

    @abstractmethod
    def observe(self, state: Any, partial: Any, agent: Array | None = None) -> Array:
        """Return normalised observations `(..., N, size)`, or `(..., size)` of one agent `(...)`."""

    @abstractmethod
    def advance(self, state: Any, decision: Any, draw: Any, cost: Any | None = None) -> Any:
        """Return the state of the next round; `cost` spares computing it again."""

    @abstractmethod
    def report(self, cost: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the costs that infos carry: shared ones `(...)` and per-agent ones `(..., N)`."""

    # What a system may say otherwise.

    def check_draw(self, draw: Any) -> None:  # noqa: B027 (by default there is nothing to check)
        """Raise `ValueError` where a draw that was handed in has a wrong shape, a NaN or a value out of range."""

    def draw_batch(self, draw: Any) -> tuple[int, ...]:
        """Return the leading axes of a draw."""
        return tuple(self.agent_state(self.start(draw)).shape[:-1])

    def believed(self, state: Any) -> Any:
        """Return the state as the twin sees it: with the estimation error that the parameters state."""
        return state

    def remember(self, *states: Any) -> None:  # noqa: B027 (by default there is nothing to remember)
        """Compute what follows from these states once; who hands them in does not change their arrays meanwhile."""

    def undecided(self, state: Any) -> Any:
        """Return the decision in which no agent has decided yet; where nobody waits for others, any decision."""
        return self.decide(state, self.no_actions(state), validate=False)

    def turn_order(self, state: Any) -> Array:
        """Return the order `(..., N)` in which agents decide inside a round."""
        like = self.agent_state(state)
        agents = arange_like(len(self.agents), like)
        return namespace(like).zeros_like(like, dtype=agents.dtype) + agents

    def mask(self, state: Any, partial: Any) -> Array:
        """Return the legal actions `(..., N, num_actions)` as int8, given what was decided so far in the round."""
        like = self.agent_state(state)
        xp = namespace(like)
        everyone = xp.ones_like(like, dtype=xp.int8)[..., None]
        return everyone * xp.astype(arange_like(self.num_actions, like) >= 0, xp.int8)

    def check_actions(self, actions: Array, shape: tuple[int, ...]) -> None:
        """Raise `ValueError` for joint actions of another shape or type, or outside their space.

        Args:
            actions: of all agents.
            shape: leading axes and N.
        """
        if self.action_size:
            check_box(actions, (*shape, self.action_size), "action", self.agents.__getitem__)
        else:
            check_integers(actions, shape, 0, self.num_actions - 1, "action", self.agents.__getitem__)

    def _reject(self, bad: Array, values: Array, label: str, limit: str, unit: str = "") -> None:
        """Raise `ValueError` for the first of `values` `(..., N)` where `bad` is true, with the agent's name."""
        reject(bad, values, label=label, unit=unit, limit=limit, agents=self.agents.__getitem__)

    def projected(self, state: Any, decision: Any, actions: Array) -> Array:
        """Return the agents `(..., N)` whose decision is not what `actions` asked for."""
        different: Array = self.actions_of(decision) != actions
        return different

    def violated(self, state: Any, decision: Any, actions: Array) -> Array:
        """Return the agents `(..., N)` whose `actions`, taken as they are, break a limit."""
        return self.projected(state, decision, actions)

    def penalty(self, state: Any, decision: Any, actions: Array) -> Array | None:
        """Return what asking for too much costs each agent's reward, `(..., N)`; None: nothing.

        `decision` is what `decide` made of `actions`.
        """
        return None

    def decide_turn(self, state: Any, partial: Any, agent: Array, action: Array) -> Any:
        """Add the action `(...)` of the agent `(...)` to the decision made so far."""
        raise ValueError(f"{self.name} has no turns: its agents decide at once")

    def check_decision(self, state: Any, decision: Any, *, complete: bool = False) -> None:
        """Raise `ValueError` for a malformed decision, or where it must be `complete` and leaves somebody out."""
        self.check_actions(self.actions_of(decision), tuple(self.agent_state(state).shape))

    def conflicts(self, decision: Any) -> Array:
        """Return how many agents `(...)` share what only one may have."""
        return self._nobody(decision)

    def _nobody(self, decision: Any) -> Array:
        actions = self.actions_of(decision)
        first = actions[..., 0, 0] if self.action_size else actions[..., 0]
        xp = namespace(first)
        return xp.zeros_like(first, dtype=xp.int64)

    def taking_part(self, decision: Any) -> Array:
        """Return how many agents `(...)` take part in the round."""
        return self._nobody(decision) + len(self.agents)

    def predict(self, state: Any, decision: Any) -> Array:
        """Return the learning progress `(...)` that the paper's model predicts."""
        like = self.agent_state(state)
        return namespace(like).zeros_like(like[..., 0]) + len(self.agents)

    def procedure(self, task: Any, seed: int) -> Any:
        """Return the learning procedure of a `fedtwin.federated.tasks.Task`, from its beginning, for live learning."""
        raise ValueError(f"{self.name} has no live learning: leave learning='analytic'")

    def plan(self, state: Any, decision: Any) -> Any:
        """Return what an unbatched decision means for a round of live learning."""
        raise ValueError(f"{self.name} has no live learning: leave learning='analytic'")

    def ended(self, state: Any) -> tuple[Array, Array]:
        """Return (terminated, truncated), each `(...)` booleans; by default the last round truncates."""
        last = state.cycle >= self.params.max_cycles
        return last & ~last, last

    def scene(self, state: Any, decision: Any, title: str = "") -> Scene:
        """Return what a picture of this round shows (unbatched state); by default a bar of each agent's action."""
        nowhere, nobody = np.empty((0, 2)), np.empty(0, np.int64)
        actions = np.asarray(self.actions_of(decision))
        return Scene(title, 1.0, nowhere, nowhere, nobody, nobody, 1, {"action of each agent": actions}, {})
