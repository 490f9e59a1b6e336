"""What a system is: declared data and pure methods, from which views, solvers, figures and documents follow."""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic

import numpy as np
from gymnasium import spaces
from typing_extensions import TypeVar

from ..core.arrays import Array, cast, like, namespace, of_agent, one_hot
from ..core.checks import reject
from ..core.randomness import Numbers, numbers
from ..core.records import check_limits, check_record, declared, first_along, is_drawn
from ..core.trees import tree_map
from ..twin import radio
from ..twin.learning import LossCurve
from .actions import Actions
from .costs import RoundCost
from .observations import Field, Normalizer, Observer, View
from .parameters import Params
from .parts import rounding
from .progress import Progress
from .scene import Scene

DrawT = TypeVar("DrawT", default=Any)
StateT = TypeVar("StateT", default=Any)
ProblemT = TypeVar("ProblemT", default=Any)
DecisionT = TypeVar("DecisionT", default=Any)
CostT = TypeVar("CostT", default=Any)


TIME_AND_ENERGY: Mapping[str, str] = {"round_time": "round time in s", "energy": "energy in J"}
"""What most systems' rounds cost."""

DERIVED = ("observation_fields", "observer", "normalizer")
"""What a system derives from its declared observations."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A quantity of every agent and the most that it may be."""

    name: str
    unit: str
    value: Array
    """`(..., N)`, not negative."""
    most: Array | float
    words: str
    """What the value must be, for messages."""

    @property
    def used(self) -> Array:
        """Share of the limit that is used, `(..., N)`."""
        return self.value / self.most


@dataclasses.dataclass(frozen=True)
class Ruling(Generic[DecisionT]):
    """What became of a round's actions: one pass, read by rewards, infos and learners alike."""

    decision: DecisionT
    projected: Array
    """Who got something else than asked for, `(..., N)` booleans."""
    violated: Array
    """Whose action, taken as it is, breaks a limit, `(..., N)` booleans."""
    penalty: Array | None
    """What that costs each agent's reward, `(..., N)`; None: nothing."""


class System(ABC, Generic[DrawT, StateT, ProblemT, DecisionT, CostT]):
    """A system: pure, batched methods from one frozen `Params`; environments, solvers and figures call only these.

    Shapes carry any leading batch axes `...`; N is the number of agents. Arrays may be NumPy or torch. A round's
    `problem` is computed once from its state, and once from the state as the scheduler believes it, and handed on.
    """

    # Data.

    name: ClassVar[str]
    version: ClassVar[int]
    params_type: ClassVar[type[Params]]
    draw_type: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    agent: ClassVar[str] = "client"
    """What an agent is called; there are `num_<agent>s` of them."""
    observation_kinds: ClassVar[Mapping[str, Mapping[str, Any]]] = {"local": {}}
    """What agents may see, by name, each with the parameters that select it."""
    objective: ClassVar[str] = "system_cost"
    """The quantity that methods are compared by."""
    maximized: ClassVar[bool] = False
    """Whether more of the objective is better."""
    quantities: ClassVar[Mapping[str, str]] = {"system_cost": "system cost", **TIME_AND_ENERGY}
    """Fields `(...)` of the cost that an evaluation keeps and draws, the objective first, with their labels."""
    own_quantities: ClassVar[tuple[str, ...]] = ("client_time", "client_energy")
    """Fields `(..., N)` of the cost that infos carry."""
    extras: ClassVar[Mapping[str, str]] = {}
    """What `detail` adds to the quantities, with labels."""
    curve: ClassVar[LossCurve | None] = None
    """Predicts learning progress from the amount learned; None: none is predicted."""
    procedure: ClassVar[str] = ""
    """Name of the procedure of live learning; empty: there is none."""
    figures: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Pictures of a report that are figures of the system's paper: file name and heading, by picture."""
    sees_alone: bool = False
    """Whether a view is what one agent sees; otherwise it is what all of them see."""
    turns: bool = False
    """Whether agents decide one after the other inside a round; only where an action is one choice."""
    params: Params
    sizes: Mapping[str, int]
    """Of the axes that records name."""
    scale: "System | None"
    """System whose bounds normalise observations; None: this one's own."""

    def __init__(self, params: Params) -> None:
        """Keep the parameters; a subclass derives its constants here."""
        self.params = params
        count = getattr(params, f"num_{self.agent}s")
        self.agents = tuple(f"{self.agent}_{n}" for n in range(count))
        self.sizes = {"N": count}
        self.scale: System | None = None
        self._libraries: dict[tuple[Any, Any], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what follows from declarations: readers of observations can not be pickled."""
        return {name: value for name, value in vars(self).items() if name not in DERIVED}

    def normalize_as(self, other: "System") -> None:
        """Normalise observations by the bounds of another system."""
        self.scale = other
        for name in DERIVED:
            vars(self).pop(name, None)

    # What every system has to say.

    @abstractmethod
    def make_actions(self) -> Actions:
        """Declare what an agent decides."""

    @abstractmethod
    def make_observations(self) -> Sequence[Field]:
        """Declare what an agent sees."""

    @abstractmethod
    def draw(self, rng: Numbers) -> DrawT:
        """Draw what chance decides in one round, in every copy that the numbers are for."""

    @abstractmethod
    def start(self, draw: DrawT) -> StateT:
        """Return the state of an episode's first round."""

    @abstractmethod
    def price(self, problem: ProblemT, decision: DecisionT) -> CostT:
        """Return what a decision costs; it is not checked."""

    @abstractmethod
    def advance(self, state: StateT, decision: DecisionT, draw: DrawT, cost: CostT, progress: Progress) -> StateT:
        """Return the state of the next round."""

    @abstractmethod
    def reward(self, state: StateT, cost: CostT, progress: Progress) -> Array:
        """Return the rewards `(..., N)` of a round that cost `cost`, brought `progress` and led to `state`."""

    # What a system may say otherwise.

    def problem(self, state: StateT) -> ProblemT:
        """Return what a round asks to be decided, in SI units; by default the state says it."""
        return state  # type: ignore[return-value]

    def able(self, problem: ProblemT) -> Array | None:
        """Return who can take part, `(..., N)` booleans; None: everybody."""
        return None

    def allowed(self, state: StateT, problem: ProblemT) -> Array | None:
        """Return the choices `(..., N, num_choices)` that who takes part may make, booleans; None: all."""
        return None

    def repair(self, problem: ProblemT, asked: DecisionT, scores: Array | None) -> DecisionT:
        """Return the nearest decision to `asked` that keeps every limit.

        By default it is what was asked for; where agents decide in turn, nobody gets what was taken earlier.
        `scores` `(..., N, num_choices)` order the choices; None where an action is integers.
        """
        return self._in_turn(problem, asked) if self.turns else asked

    def limits(self, problem: ProblemT, decision: DecisionT) -> Sequence[Limit]:
        """Return the limits that a decision must keep: the one place that says them."""
        return ()

    def used(self, problem: ProblemT, asked: DecisionT, made: DecisionT) -> Array | None:
        """Return the share `(..., N)` that what was asked for uses of the tightest limit; above 1 it breaks one.

        None: there is no limit.
        """
        shares = [limit.used for limit in self.limits(problem, asked)]
        return functools.reduce(namespace(shares[0]).maximum, shares) if shares else None

    def penalty(self, used: Array) -> Array | None:
        """Return what asking for too much costs each agent's reward, `(..., N)`; None: nothing."""
        return None

    def make_constants(self) -> Any:
        """Return a record of what follows from the parameters alone, in NumPy; see `constants`."""
        raise ValueError(f"{self.name} has no constants")

    def view(self, state: StateT, problem: ProblemT, partial: DecisionT | None, agent: Array | None) -> Any:
        """Return what the readers of observations read."""
        return View(state, problem)

    def detail(self, cost: CostT) -> dict[str, Array]:
        """Return further numbers `(...)` of a cost: its parts, and what `extras` names."""
        return cost.parts() if isinstance(cost, RoundCost) else {}

    def amount(self, state: StateT, decision: DecisionT, cost: CostT) -> Array:
        """Return how much is learned from in a round, `(...)`: what `curve` counts."""
        count = self.taking_part(decision)
        return namespace(count).astype(count, self._dtype(namespace(count)))

    def ended(self, state: StateT) -> tuple[Array, Array]:
        """Return (terminated, truncated), each `(...)` booleans; by default the last round truncates."""
        last = state.cycle >= self.params.max_cycles  # type: ignore[attr-defined]
        return last & ~last, last

    def believed(self, state: StateT) -> StateT:
        """Return the state as the twin sees it: what it estimates off by the stated error, everything else as it is.

        Raises:
            ValueError: an error is stated, but the state has no estimate that could be off.
        """
        if not self.params.twin_error_db:
            return state
        if not hasattr(state, "estimate_error"):
            raise ValueError(f"{self.name} estimates nothing: leave twin_error_db at 0 dB")
        ratio = radio.decibel_to_ratio(state.estimate_error * self.params.twin_error_db)
        return dataclasses.replace(state, **self.misjudged(state, ratio))  # type: ignore[type-var]

    def misjudged(self, state: Any, ratio: Array) -> dict[str, Array]:
        """Return the fields of the state that are off by a ratio, by name; by default the gain."""
        return {"gain": state.gain * ratio}

    def with_progress(self, earned: Array, progress: Progress) -> Array:
        """Return rewards `(..., N)`, or everybody's `(..., 1)`, with what the round's learning progress is worth."""
        if not self.params.progress_weight:
            return earned
        return earned + (self.params.progress_weight * progress.loss_decrease)[..., None]

    def draw_error(self, rng: Numbers, shape: tuple[int, ...], none: Array) -> Array:
        """Draw the standard normal error of the twin's estimate; zeros like `none` where no error is stated."""
        return rng.normal(shape, self.params.dtype) if self.params.twin_error_db else 0.0 * none

    def fixed_draw(self, seed: int) -> DrawT:
        """Return the draw of a seed that stands for good, in float64, the same for either floating type."""
        exact = type(self)(dataclasses.replace(self.params, dtype="float64"))
        return exact.draw(numbers(seed, 0, 0))

    def random_feasible(self, rng: np.random.Generator, batch: tuple[int, ...] = ()) -> DecisionT:
        """Draw a decision in which every agent has a thing of its own, uniformly.

        Raises:
            ValueError: more agents than things.
        """
        self.actions.require_enough(len(self.agents), self.agent)
        return self.actions.drawn(rng, (*batch, len(self.agents)))  # type: ignore[no-any-return]

    def present_sum(self, decision: DecisionT, values: Array) -> Array:
        """Return the sum `(...)` of values `(..., N)` over who takes part."""
        return namespace(values).where(self.actions.present(decision), values, 0.0).sum(axis=-1)

    def informed(self, state: StateT, reports: Mapping[str, Array]) -> StateT:
        """Return an episode's first state with what clients report before the first decision of live learning."""
        return state

    def procedure_options(self) -> dict[str, Any]:
        """Return the options with which the procedure of live learning is built."""
        return {}

    def plan(self, state: StateT, decision: DecisionT) -> Any:
        """Return what an unbatched decision means for a round of live learning.

        Raises:
            ValueError: the system has no live learning.
        """
        raise ValueError(f"{self.name} has no live learning: leave learning='analytic'")

    def scene(self, state: StateT, decision: DecisionT, title: str = "") -> Scene:
        """Return what a picture of this round shows (unbatched state); by default a bar of each agent's action."""
        nowhere, nobody = np.empty((0, 2)), np.empty(0, np.int64)
        actions = np.asarray(self.actions_of(decision))
        return Scene(title, 1.0, nowhere, nowhere, nobody, nobody, 1, {"action of each agent": actions}, {})

    # Turns, of systems that have them: an action is then one exclusive choice.

    def turn_order(self, problem: ProblemT) -> Array:
        """Return the order `(..., N)` in which agents decide inside a round, integers.

        Raises:
            ValueError: the system has no turns.
        """
        raise ValueError(f"{self.name} has no turns: its agents decide at once")

    def decide_turn(self, problem: ProblemT, partial: DecisionT, agent: Array, action: Array) -> DecisionT:
        """Give the agent `(...)` the free thing nearest to its action `(...)`; nothing if it can not take part.

        Raises:
            ValueError: the system has no turns.
        """
        if not self.turns:
            raise ValueError(f"{self.name} has no turns: its agents decide at once")
        xp, able = namespace(action), self.able(problem)
        chosen = one_hot(agent, len(self.agents))
        chosen = chosen if able is None else chosen & able
        given = self.actions.nearest_free(partial, action, chosen)
        before = self.actions.values(partial)[0]
        return self.actions.made([xp.where(chosen, new, own) for new, own in zip(given, before, strict=True)])  # type: ignore[no-any-return]

    def _in_turn(self, problem: ProblemT, asked: DecisionT) -> DecisionT:
        """Return the decision in which agents got what they asked for in the order of their turns."""
        actions, order = self.actions.encode(asked), self.turn_order(problem)
        xp = namespace(actions)
        nobody = xp.zeros_like(actions, dtype=xp.bool)
        partial: DecisionT = self.actions.decode(actions, nobody, None)
        for turn in range(len(self.agents)):
            agent = order[..., turn]
            partial = self.decide_turn(problem, partial, agent, of_agent(actions, agent))
        return partial

    # What follows: spaces.

    @functools.cached_property
    def actions(self) -> Actions:
        """What an agent decides."""
        return self.make_actions()

    @functools.cached_property
    def observation_fields(self) -> tuple[Field, ...]:
        """What an agent sees."""
        own = tuple(self.make_observations())
        if self.scale is None:
            return own
        scaled = self.scale.observation_fields
        return tuple(dataclasses.replace(b, read=a.read) for a, b in zip(own, scaled, strict=True))

    @functools.cached_property
    def observer(self) -> Observer:
        """What reads and normalises observations."""
        return Observer(self.observation_fields)

    @functools.cached_property
    def normalizer(self) -> Normalizer:
        """What turns raw observations into numbers in [0, 1], by the fields' formulas."""
        return Normalizer(self.observation_fields)

    @property
    def num_actions(self) -> int:
        """How many things there are to choose, those of several choices one after the other."""
        return self.actions.num_choices

    @property
    def action_grid(self) -> tuple[int, ...]:
        """What an action's number runs over where it stands for a combination; empty otherwise."""
        grid = self.actions.choices[0].grid if self.actions.discrete else ()
        return grid if len(grid) > 1 else ()

    @property
    def action_size(self) -> int:
        """Numbers of an agent's action where it is a box in [-1, 1]; 0: it is discrete."""
        return self.actions.size

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one agent's action."""
        return self.actions.shape

    def action_space(self) -> spaces.Space[Any]:
        """Return an agent's action space; see `Actions`."""
        return self.actions.space()

    @property
    def observation_size(self) -> int:
        """Length of an agent's flat observation."""
        return self.observer.size

    def observation_space(self) -> spaces.Box:
        """Return an agent's observation space: a flat box in [0, 1]."""
        return spaces.Box(0.0, 1.0, (self.observation_size,), np.float32)

    @property
    def mask_name(self) -> str:
        """What views call the mask: samplers know "action_mask", but mask one choice with it and nothing else."""
        return "choice_mask" if self.action_shape else "action_mask"

    @property
    def rounding(self) -> float:
        """Relative excess of a limit that is rounding and no violation."""
        return rounding(self.params.dtype)

    def _dtype(self, xp: Any) -> Any:
        return getattr(xp, self.params.dtype)

    # What follows: records.

    def agent_state(self, state: StateT) -> Array:
        """Return the first array `(..., N)` of the state: its leading axes and its library are those of the batch."""
        kind: Any = type(state)
        return getattr(state, first_along(kind, "N"))

    def check_draw(self, draw: Any) -> None:
        """Raise `ValueError` where a draw that was handed in has a wrong shape, a NaN or a value out of range."""
        check_record(draw, self.draw_type, self.sizes, self.params.dtype)

    def constants(self, array: Array) -> Any:
        """Return `make_constants`, in the library, on the device and with the floating type of `array`."""
        key = (array.device, array.dtype)
        if key not in self._libraries:
            self._libraries[key] = tree_map(lambda values: like(values, array), self.make_constants())
        return self._libraries[key]

    def check_gains(self, state: StateT) -> None:
        """Raise `ValueError` for values of the state that break a declared limit: gains that are not positive."""
        kind: Any = type(state)
        for name, about in declared(kind).items():
            if about["limits"] and not is_drawn(value := getattr(state, name)):
                check_limits(value, name, about)

    # What follows: decisions.

    def no_actions(self, state: StateT) -> Array:
        """Return zeros of the shape and type of joint actions, in the library of the state."""
        own = self.agent_state(state)
        xp = namespace(own)
        kind = xp.float32 if self.action_size else xp.int64
        return xp.zeros((*own.shape, *self.action_shape), dtype=kind, device=own.device)

    def undecided(self, state: StateT) -> DecisionT:
        """Return the decision in which nobody takes part."""
        return self.actions.nobody(self.agent_state(state))  # type: ignore[no-any-return]

    def rule(self, problem: ProblemT, actions: Array) -> Ruling[DecisionT]:
        """Turn joint actions `(..., N, *action_shape)` into a decision that keeps every limit; see `Ruling`."""
        asked = self.asked(problem, actions)
        scores = None if self.actions.discrete else self.actions.scores(actions, self._dtype(namespace(actions)))
        return self.judge(problem, actions, asked, self.repair(problem, asked, scores))

    def asked(self, problem: ProblemT, actions: Array) -> DecisionT:
        """Return what joint actions ask for, limits aside."""
        return self.actions.decode(actions, self.able(problem), self._dtype(namespace(actions)))  # type: ignore[no-any-return]

    def judge(self, problem: ProblemT, actions: Array, asked: DecisionT, made: DecisionT) -> Ruling[DecisionT]:
        """Say what actions that ask for `asked` want beyond the decision `made`; integers also what was not given."""
        projected = self.actions.missed(actions, asked, made)
        used, discrete = self.used(problem, asked, made), self.actions.discrete
        if used is None:
            return Ruling(made, projected, projected if discrete else projected & ~projected, None)
        beyond = used > 1.0 + self.rounding
        return Ruling(made, projected, projected | beyond if discrete else beyond, self.penalty(used))

    def decide(self, state: StateT, actions: Array, *, validate: bool = True) -> DecisionT:
        """Turn joint actions into a decision that keeps every limit.

        Args:
            state: as the scheduler believes it, `(..., N)`.
            actions: `(..., N, *action_shape)`.
            validate: check the actions.

        Raises:
            ValueError: actions of another shape or type, or outside their space; names the agent.
        """
        if validate:
            self.check_actions(actions, tuple(self.agent_state(state).shape))
        return self.rule(self.problem(state), actions).decision

    def actions_of(self, decision: DecisionT) -> Array:
        """Return the actions that lead to `decision`, the inverse of `decide`."""
        return self.actions.encode(decision)

    def check_actions(self, actions: Any, shape: tuple[int, ...]) -> None:
        """Raise `ValueError` for joint actions of another shape or type, or outside their space.

        Args:
            actions: of all agents.
            shape: leading axes and N.
        """
        self.actions.check_actions(actions, shape, self.agents.__getitem__)

    def mask(self, state: StateT, partial: DecisionT | None = None) -> Array:
        """Return the legal choices `(..., N, num_actions)` as int8, given what was decided so far in the round."""
        return self.masked(state, self.problem(state), partial)

    def masked(self, state: StateT, problem: ProblemT, partial: DecisionT | None) -> Array:
        """Return what `mask` does, of a problem that is known."""
        own, able, legal = self.agent_state(state), self.able(problem), self.allowed(state, problem)
        xp = namespace(own)
        if self.turns:
            # (..., 1, count): what is taken is so for everybody.
            free = self.actions.free(partial)[..., None, :]
            legal = free if legal is None else legal & free
        if able is not None:
            present, idle = able[..., None], self.actions.idle(own)
            legal = present | idle if legal is None else (present & legal) | (~present & idle)
        if legal is None:
            return xp.ones((*own.shape, self.num_actions), dtype=xp.int8, device=own.device)
        if legal.shape[:-1] != own.shape:
            legal = xp.broadcast_to(legal, (*own.shape, self.num_actions))
        return cast(legal, xp.int8)

    def _reject(self, bad: Array, values: Array, label: str, limit: str, unit: str = "") -> None:
        """Raise `ValueError` for the first of `values` `(..., N)` where `bad` is true, with the agent's name."""
        reject(bad, values, label=label, unit=unit, limit=limit, agents=self.agents.__getitem__)

    def check_decision(self, state: StateT, decision: DecisionT, *, complete: bool = False) -> None:
        """Raise `ValueError` for a decision of another library, shape or type, or out of range.

        With `complete`, also where somebody who can take part is left out, or a limit is broken on the twin.
        """
        problem = self.problem(state)
        self._check_parts(state, problem, decision)
        if complete:
            seen = self.believed(state)
            self._check_limits(problem if seen is state else self.problem(seen), decision)

    def _check_parts(self, state: StateT, problem: ProblemT, decision: DecisionT) -> None:
        able = self.able(problem)
        self.actions.check(decision, self.agent_state(state), able, self.agents.__getitem__)
        if able is not None:
            limit = f"-1: the {self.agent} does not take part"
            self._reject_presence(self.actions.present(decision, able) & ~able, decision, limit)

    def _reject_presence(self, bad: Array, decision: DecisionT, limit: str) -> None:
        name = self.actions.names[0]
        self._reject(bad, getattr(decision, name), name, limit)

    def _check_limits(self, problem: ProblemT, decision: DecisionT) -> None:
        able, choices = self.able(problem), self.actions.choices
        if able is not None and not (choices and choices[0].optional):
            least = f"at least 0: the {self.agent} takes part"
            self._reject_presence(~self.actions.present(decision, able) & able, decision, least)
        if any(choice.exclusive == "enforced" for choice in choices):
            contested = self.actions.conflicts(decision)
            label = f"{self.agent}s on a taken {choices[0].names[0]}"
            reject(contested > 0, contested, label=label, unit="", limit="0")
        for limit in self.limits(problem, decision):
            self._reject(limit.used > 1.0 + self.rounding, limit.value, limit.name, limit.words, limit.unit)

    def conflicts(self, decision: DecisionT) -> Array:
        """Return how many agents `(...)` share what only one should have, beyond its first."""
        return self.actions.conflicts(decision)

    def taking_part(self, decision: DecisionT) -> Array:
        """Return how many agents `(...)` take part in the round."""
        present = self.actions.present(decision)
        xp = namespace(present)
        return xp.sum(xp.astype(present, xp.int64), axis=-1)

    # What follows: costs, progress, reports.

    def cost(self, state: StateT, decision: DecisionT, *, validate: bool = True) -> CostT:
        """Return the named costs of the round; agents that take no part count 0.

        What breaks a limit of `limits` is priced all the same: `check_decision(..., complete=True)` tells.

        Args:
            state: `(..., N)`.
            decision: `(..., N)`.
            validate: check decision and gains; costs some microseconds.

        Raises:
            ValueError: a decision out of its range, or gains that are NaN or not positive.
        """
        if validate:
            self.check_gains(state)
        problem = self.problem(state)
        if validate:
            self._check_parts(state, problem, decision)
        return self.price(problem, decision)

    def predict(self, state: StateT, decision: DecisionT) -> Progress:
        """Return the learning progress that the paper's model predicts."""
        return self.foresee(state, decision, self.cost(state, decision, validate=False))

    def foresee(self, state: StateT, decision: DecisionT, cost: CostT) -> Progress:
        """Return what `predict` does, of a cost that is known."""
        amount = self.amount(state, decision, cost)
        if self.curve is None:
            return Progress(amount, 0.0 * amount)
        learned = state.learned  # type: ignore[attr-defined]
        return Progress(amount, functools.partial(self.curve.decrease, learned, amount))

    def report(self, cost: CostT) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the costs that infos carry: shared ones `(...)` and per-agent ones `(..., N)`."""
        shared = {name: getattr(cost, name) for name in self.quantities}
        return {**shared, **self.detail(cost)}, {name: getattr(cost, name) for name in self.own_quantities}

    # What follows: observations.

    def observe(self, state: StateT, partial: DecisionT | None = None, agent: Array | None = None) -> Array:
        """Return normalised observations `(..., N, size)`, or `(..., size)` of one agent `(...)`, as float32."""
        return self.see(state, self.problem(state), partial, agent)

    def see(
        self, state: StateT, problem: ProblemT, partial: DecisionT | None = None, agent: Array | None = None
    ) -> Array:
        """Return what `observe` does, of a problem that is known."""
        own = self.agent_state(state)
        if not self.sees_alone:
            seen = self.observer(self.view(state, problem, partial, agent), own)
            return seen if agent is None else of_agent(seen, agent)
        if agent is not None:
            return self.observer(self.view(state, problem, partial, agent), own[..., 0])
        xp = namespace(own)
        everybody = [xp.zeros_like(own[..., 0], dtype=xp.int64) + n for n in range(len(self.agents))]
        return xp.stack([self.see(state, problem, partial, each) for each in everybody], axis=-2)
