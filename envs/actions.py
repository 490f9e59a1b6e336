"""What agents decide: actions made of declared parts, and the decisions that they lead to.

Where all parts are choices an action is an integer (several choices: one each). Otherwise it is a box in [-1, 1]: a
score for every thing to choose, then the numbers of the other parts. Numbers of the whole round stand last; every agent
says what it wants of them, and the mean counts.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from ..core.arrays import Array, arange_like, as_int64, cast, clip, counted, namespace, one_hot
from ..core.checks import check_box, check_integers, check_same_library, check_shape
from ..core.records import names_of
from .observations import Field
from .parts import Agents, Choice, Number, Part


class Actions:
    """The parts of an action, in order, and the decision that they make up."""

    def __init__(self, decision: type, *parts: Part) -> None:
        """Lay out the parts.

        Args:
            decision: class of decisions: its fields are the names of all parts, in any order; others need a default.
            *parts: choices first, numbers of the whole round last. The first says who takes part; see `present`.

        Raises:
            ValueError: parts and fields of other names, or parts in another order.
        """
        self.decision, self.parts = decision, parts
        self.names = tuple(name for part in parts for name in part.names)
        self._check_layout()
        self.choices = tuple(part for part in parts if isinstance(part, Choice))
        self.counts = tuple(choice.size for choice in self.choices)
        self.num_choices = sum(self.counts)
        self.discrete = len(self.choices) == len(parts)
        self.size = 0 if self.discrete else sum(part.size for part in parts)
        self.of_round = sum(part.size for part in parts if part.of_round)
        ends = itertools.accumulate(part.size for part in parts)
        boxes = [slice(end - part.size, end) for part, end in zip(parts, ends, strict=True)]
        self._places: Sequence[Any] = range(len(parts)) if self.discrete else boxes
        self._ordered = self.names == names_of(decision)[: len(self.names)]
        self._idle: dict[Any, Array] = {}

    def _check_layout(self) -> None:
        names, known = ", ".join(self.names), names_of(self.decision)
        needed = {field.name for field in dataclasses.fields(self.decision) if field.default is dataclasses.MISSING}
        if len(set(self.names)) < len(self.names) or not needed <= set(self.names) <= set(known):
            raise ValueError(f"the parts {names} must be the fields of {self.decision.__name__}: {', '.join(known)}")
        kinds = [(not isinstance(part, Choice), part.of_round) for part in self.parts]
        if kinds != sorted(kinds) or self.parts[0].of_round:
            raise ValueError(f"the parts {names} must be choices, then what else is each agent's, then the round's")

    @property
    def fields(self) -> tuple[Field, ...]:
        """How tables show the parts."""
        return tuple(field for part in self.parts for field in part.fields)

    def require_plain(self, reader: str) -> None:
        """Raise `ValueError` where `reader` would misread actions: of several choices, or with numbers of the round."""
        if len(self.choices) > 1 or self.of_round:
            raise ValueError(
                f"{reader} takes one choice of each agent and no number of the round; "
                f"here are {len(self.choices)} and {self.of_round}"
            )

    # Spaces.

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one agent's action."""
        if self.discrete:
            return () if len(self.choices) == 1 else (len(self.choices),)
        return (self.size,)

    def space(self) -> spaces.Space[Any]:
        """Return an agent's space: `Discrete`, `MultiDiscrete` of several choices, or a box in [-1, 1]."""
        if not self.discrete:
            return spaces.Box(-1.0, 1.0, self.shape, np.float32)
        return spaces.Discrete(self.counts[0]) if self.shape == () else spaces.MultiDiscrete(list(self.counts))

    def joint_space(self, agents: int) -> spaces.Space[Any]:
        """Return the space of all agents' actions, one after the other; numbers of the round once, at the end."""
        if self.discrete:
            return spaces.MultiDiscrete(list(self.counts) * agents)
        return spaces.Box(-1.0, 1.0, (self.joint_size(agents),), np.float32)

    def joint_size(self, agents: int) -> int:
        """Length of a joint action."""
        each = len(self.choices) if self.discrete else self.size - self.of_round
        return agents * each + self.of_round

    def apart(self, joint: Array, agents: int) -> Array:
        """Return each agent's action `(..., N, *shape)` of joint ones `(..., joint_size)`."""
        xp = namespace(joint)
        if not self.of_round:
            return xp.reshape(joint, (*joint.shape[:-1], agents, *self.shape))
        own = xp.reshape(joint[..., : -self.of_round], (*joint.shape[:-1], agents, self.size - self.of_round))
        common = xp.broadcast_to(joint[..., None, -self.of_round :], (*own.shape[:-1], self.of_round))
        return xp.concat([own, common], axis=-1)

    def bounded(self, actions: Array) -> Array:
        """Return actions brought into their space, NaN to 0."""
        xp = namespace(actions)
        if not self.discrete:
            return clip(xp.where(xp.isnan(actions), xp.zeros_like(actions), actions), -1.0, 1.0)
        last = xp.asarray(self.counts, device=actions.device) - 1
        return xp.minimum(clip(actions, 0), last if self.shape else last[0])

    def one(self, value: Any, agent: str) -> np.ndarray:
        """Return the action of one agent, int64 or float32.

        Raises:
            ValueError: not of the space; names the agent, the value and the limit.
        """
        array, box = np.asarray(value), not self.discrete
        low, high = (-1, 1) if box else (0, np.reshape(self.counts, self.shape) - 1)
        fits = array.shape == self.shape and array.dtype.kind in ("f" if box else "iu")
        if not fits or not bool(np.all((array >= low) & (array <= high))):
            raise ValueError(f"action of {agent} is {value!r}, must be {self.words}")
        return array.astype(np.float32 if box else np.int64)

    @functools.cached_property
    def limits(self) -> str:
        """The values that an action's numbers may have, in words."""
        return f"0..{max(self.counts) - 1}" if self.discrete else "-1..1"

    @functools.cached_property
    def words(self) -> str:
        """What one agent's action must be, for messages."""
        if not self.discrete:
            return f"{self.size} numbers in -1..1"
        if len(self.choices) == 1:
            return f"an integer in {self.limits}"
        return f"{len(self.choices)} integers below {list(self.counts)}"

    # Between actions and decisions.

    def decode(self, actions: Array, able: Array | None, dtype: Any) -> Any:
        """Return what actions `(..., N, *shape)` ask for, limits aside.

        Args:
            actions: of all agents.
            able: who may take part `(..., N)`; None: everybody.
            dtype: floating type of the decision.
        """
        xp = namespace(actions)
        if able is None:
            shape = actions.shape[: actions.ndim - len(self.shape)]
            able = xp.ones(shape, dtype=xp.bool, device=actions.device)
        values: list[Array] = []
        present, columns = able, self._columns(as_int64(actions) if self.discrete else xp.astype(actions, dtype))
        for part, column in zip(self.parts, columns, strict=True):
            read = part.of_index if self.discrete and isinstance(part, Choice) else part.decode
            values += read(column, present)
            if part is self.parts[0] is not self.parts[-1]:
                present = able & part.present(values)
        return self.made(values)

    def made(self, values: Sequence[Array]) -> Any:
        """Return the decision of values in the order of the parts."""
        if self._ordered:
            return self.decision(*values)
        return self.decision(**dict(zip(self.names, values, strict=True)))

    def scores(self, actions: Array, dtype: Any) -> Array:
        """Return the scores `(..., N, num_choices)` of all choices; of integers 1 for what was chosen, else 0."""
        xp = namespace(actions)
        if not self.discrete:
            return xp.astype(actions[..., : self.num_choices], dtype)
        chosen = (one_hot(index, n) for index, n in zip(self._columns(actions), self.counts, strict=True))
        return xp.concat([xp.astype(one, dtype) for one in chosen], axis=-1)

    def _columns(self, actions: Array) -> list[Array]:
        """Return what each part reads: the index `(..., N)` of a choice, or numbers `(..., N, size)` of a box."""
        return [actions[..., place] for place in self._places] if self.shape else [actions]

    def encode(self, decision: Any) -> Array:
        """Return actions `(..., N, *shape)` that lead to a decision."""
        values = self.values(decision)
        if self.discrete:
            index = [choice.index_of(own) for choice, own in zip(self.choices, values, strict=True)]
            return namespace(index[0]).stack(index, axis=-1) if self.shape else index[0]
        present = self.parts[0].present(values[0])
        xp = namespace(present)
        every = [value.dtype for own in values for value in own]
        kind = next((dtype for dtype in every if xp.isdtype(dtype, "real floating")), xp.float32)
        columns = []
        for part, own in zip(self.parts, values, strict=True):
            numbers = part.encode(own if part in self.choices else [xp.astype(value, kind) for value in own], present)
            columns.append(cast(numbers, xp.float32))
        return clip(xp.concat(columns, axis=-1), -1.0, 1.0)

    def values(self, decision: Any) -> list[list[Array]]:
        """Return the decision's values, part by part."""
        return [[getattr(decision, name) for name in part.names] for part in self.parts]

    def present(self, decision: Any, able: Array | None = None) -> Array:
        """Return who takes part `(..., N)`, as the first part says; no number does: who is `able` (None: all)."""
        if able is not None and isinstance(self.parts[0], Number):
            return able
        return self.parts[0].present(self.values(decision)[0])

    def differs(self, asked: Any, made: Any) -> Array:
        """Return who got something else than asked for, `(..., N)`."""
        pairs = zip(self.parts, self.values(asked), self.values(made), strict=True)
        return functools.reduce(operator.or_, (part.differs(wanted, given) for part, wanted, given in pairs))

    def missed(self, actions: Array, asked: Any, made: Any) -> Array:
        """Return who got something else than its action asks for `(..., N)`.

        Integers of who takes no part differ from what is idle; those behind a first choice of none ask for nothing.
        """
        if not self.discrete:
            return self.differs(asked, made)
        wrong = self.encode(made) != actions
        if not self.shape:
            return wrong
        xp = namespace(wrong)
        return xp.where(actions[..., 0] == self.choices[0].count, wrong[..., 0], xp.any(wrong, axis=-1))

    # Checks.

    def check_actions(self, actions: Any, shape: tuple[int, ...], agents: Agents) -> None:
        """Raise `ValueError` for joint actions of another shape or type, or outside their space.

        Args:
            actions: of all agents.
            shape: leading axes and N.
            agents: name of each agent.
        """
        if not self.discrete:
            check_box(actions, (*shape, self.size), "action", agents)
        elif not self.shape:
            check_integers(actions, shape, 0, self.counts[0] - 1, "action", agents)
        else:
            check_integers(actions, (*shape, *self.shape), 0, max(self.counts) - 1, "action", None)
            for place, column in enumerate(self._columns(actions)):
                check_integers(column, shape, 0, self.counts[place] - 1, f"choice {place}", agents)

    def check(self, decision: Any, like: Array, able: Array | None, agents: Agents) -> None:
        """Raise `ValueError` for a decision out of range, or of another library or shape than `like` `(..., N)`.

        `able` and `agents` are those of `present` and of `check_actions`.
        """
        every = list(zip(self.parts, self.values(decision), strict=True))
        for part, values in every:
            for name, value in zip(part.names, values, strict=True):
                check_same_library(value, like, name)
                check_shape(value, part.shape(tuple(like.shape)), name)
        present = self.present(decision, able)
        for part, values in every:
            part.check(values, present, agents)

    def holders(self, decision: Any) -> Array:
        """Return how many agents have each thing of the first choice, `(..., count)` integers."""
        choice, values = self.choices[0], self.values(decision)[0]
        index = namespace(values[0]).where(values[0] < 0, -1, choice.index_of(values))
        return counted(index, choice.count)

    def conflicts(self, decision: Any) -> Array:
        """Return how many agents `(...)` have what another has too and only one should, beyond the first of each."""
        if not self.choices or self.choices[0].exclusive == "no":
            present = self.present(decision)
            return namespace(present).zeros_like(present[..., 0], dtype=namespace(present).int64)
        holders = self.holders(decision)
        xp = namespace(holders)
        return xp.sum(clip(holders - 1, 0), axis=-1)

    def free(self, decision: Any) -> Array:
        """Return the choices `(..., size)` that are left of the first: what nobody has, and always none; booleans."""
        free = self.holders(decision) == 0
        xp = namespace(free)
        return xp.concat([free, xp.ones_like(free[..., :1])], axis=-1) if self.choices[0].optional else free

    def nearest_free(self, partial: Any, action: Array, present: Array) -> tuple[Array, ...]:
        """Return the fields `(..., N)` of the free thing nearest to index `action` `(...)`, for who is `present`.

        None is for who asks for it, and where nothing is free.
        """
        choice = self.choices[0]
        xp = namespace(action)
        place = arange_like(choice.size, action)
        distance = xp.abs(place - action[..., None])
        distance = xp.where((place == choice.count) & (distance > 0), choice.size, distance)
        index = xp.argmin(xp.where(self.free(partial), distance, distance + 2 * choice.size), axis=-1)
        return choice.of_index(index[..., None], present)

    def require_enough(self, count: int, agent: str) -> None:
        """Raise `ValueError` where `count` agents can not have a thing of their own each."""
        things = self.choices[0].count
        if count > things:
            names = ", ".join(self.choices[0].names)
            raise ValueError(
                f"{count} {agent}s are to be served, must be at most the {things} of ({names}): one for each {agent}"
            )

    def drawn(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        """Draw a decision of one choice for agents `shape` = `(..., N)`, uniformly.

        Every agent has a thing of its own, or any thing where there are fewer things than agents.
        """
        (choice,), everybody = self.choices, np.ones(shape, np.bool_)
        if shape[-1] > choice.count:
            return self.made(choice.of_index(rng.integers(choice.count, size=shape), everybody))
        order = np.argsort(rng.random((*shape[:-1], choice.count)), axis=-1)
        return self.made(choice.of_index(order[..., : shape[-1]], everybody))

    def idle(self, like: Array) -> Array:
        """Return what is legal for who takes no part, `(num_choices,)` booleans: in every choice the last, or 0."""
        if like.device not in self._idle:
            only = [i == choice.optional * choice.count for choice in self.choices for i in range(choice.size)]
            xp = namespace(like)
            self._idle[like.device] = xp.asarray(only, dtype=xp.bool, device=like.device)
        return self._idle[like.device]

    def nobody(self, like: Array) -> Any:
        """Return the decision in which no agent takes part; `like` is any floating array `(..., N)`."""
        xp = namespace(like)
        kind = xp.int64 if self.discrete else like.dtype
        nothing = xp.zeros((*like.shape, *self.shape), dtype=kind, device=like.device)
        return self.decode(nothing, xp.zeros_like(like, dtype=xp.bool), like.dtype)
