"""Declared actions: every part, and several together, through a toy system in every view."""

import dataclasses
import math
from typing import Any, ClassVar

import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin.agents import D3QN, DDPG
from fedtwin.agents.hybrid import HybridView
from fedtwin.core.arrays import Array, namespace
from fedtwin.core.randomness import Numbers
from fedtwin.core.records import array
from fedtwin.core.settings import parameter
from fedtwin.envs.actions import Actions
from fedtwin.envs.observations import seen
from fedtwin.envs.parameters import Params
from fedtwin.envs.parts import Axis, Choice, Number, Share, Simplex
from fedtwin.envs.progress import Progress
from fedtwin.envs.simulator import Simulator
from fedtwin.envs.system import Limit, System
from fedtwin.envs.views.vector import VectorView
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test
from rounds import assert_trees_close, begin, random_actions, ruling, to_torch
from test_views import assert_same, play_central, play_parallel


@dataclasses.dataclass(frozen=True)
class ToyParams(Params):
    """Parameters of the toy."""

    num_clients: int = parameter(4, at_least=1, doc="clients")
    discrete: bool = parameter(False, doc="choices alone")


@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides."""

    size: Array = array("N", "bit", above=0)


@dataclasses.dataclass(frozen=True)
class State(Draw):
    """A round's sizes."""

    cycle: Array = array()


@dataclasses.dataclass(frozen=True)
class Cost:
    """What decisions cost."""

    client_time: Array = array("N", "s")
    client_energy: Array = array("N", "J")
    round_time: Array = array("", "s")
    energy: Array = array("", "J")
    system_cost: Array = array()


@dataclasses.dataclass(frozen=True)
class Picked:
    """Choices: a lane, or none; a cell of a grid; a mode."""

    lane: Array
    row: Array
    column: Array
    mode: Array


@dataclasses.dataclass(frozen=True)
class Decided(Picked):
    """And numbers of every kind."""

    speed: Array
    angle: Array
    packets: Array
    share: Array
    split: Array
    volume: Array


LANE = Choice(Axis("lane", "l", 3), optional=True, exclusive="enforced")
CELL = Choice(Axis("row", "r", 2), Axis("column", "c", 3))
MODE = Choice(Axis("mode", "m", 2))
NUMBERS = (
    Number("speed", "v", "m/s", 1.0, 100.0),
    Number("angle", "a", "rad", 0.0, 3.0, linear=True),
    Number("packets", "q", "", 2, 32, whole=True),
    Share("share", "b", 2.0),
    Simplex("split", "s", 3, 5.0),
    Number("volume", "V", "", 10.0, 1000.0, of_round=True),
)
PLACES = {"lane": 0, "cell": 4, "mode": 10, "speed": 12, "angle": 13, "packets": 14, "share": 15, "split": 16}
SIZE = 20


class ToySystem(System[Draw, State, State, Any, Cost]):
    """Costs what is decided, and lets nobody pass whose size is above 4 bit."""

    name = "toy"
    version = 0
    params_type = ToyParams
    draw_type = Draw
    quantities: ClassVar = {"system_cost": "system cost"}

    def make_actions(self) -> Actions:
        if self.params.discrete:  # type: ignore[attr-defined]
            return Actions(Picked, LANE, CELL, MODE)
        return Actions(Decided, LANE, CELL, MODE, *NUMBERS)

    def make_observations(self) -> Any:
        rounds = seen(lambda v: v.state.cycle[..., None], "rounds", "", "", 0.0, 5.0, 1, shared=True)
        return rounds, seen(lambda v: v.state.size, "size", "s", "bit", 0.0, 5.0, 1)

    def draw(self, rng: Numbers) -> Draw:
        return Draw(1e-3 + 4.5 * rng.uniform((len(self.agents),), self.params.dtype))

    def start(self, draw: Draw) -> State:
        xp = namespace(draw.size)
        return State(draw.size, xp.zeros_like(draw.size[..., 0], dtype=xp.int64))

    def problem(self, state: State) -> State:
        return state

    def able(self, problem: State) -> Array:
        return problem.size <= 4.0

    def allowed(self, state: State, problem: State) -> Array:
        """Lane 0 is closed to sizes above 2 bit."""
        xp = namespace(problem.size)
        wide = xp.broadcast_to((problem.size > 2.0)[..., None], (*problem.size.shape, self.num_actions))
        return ~(wide & (xp.arange(self.num_actions) == 0))

    def repair(self, problem: State, asked: Any, scores: Array | None) -> Any:
        """First come, first served."""
        xp, lanes = namespace(asked.lane), asked.lane
        earlier = xp.tril(xp.ones((lanes.shape[-1],) * 2, dtype=xp.bool), k=-1)
        taken = xp.any((lanes[..., None, :] == lanes[..., None]) & earlier, axis=-1) & (lanes >= 0)
        values = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
        gone = {"lane": -1, "row": -1, "column": -1, "mode": -1}
        for name, value in values.items():
            if name != "volume":
                out = taken if value.ndim == taken.ndim else taken[..., None]
                values[name] = xp.where(out, xp.zeros_like(value) + gone.get(name, 0), value)
        if "share" in values:
            total = xp.sum(values["share"], axis=-1, keepdims=True)
            values["share"] = values["share"] / xp.where(total > 0.0, total, 1.0)
        return type(asked)(**values)

    def price(self, problem: State, decision: Any) -> Cost:
        xp = namespace(problem.size)
        present = decision.lane >= 0
        time = xp.where(present, problem.size * (1.0 + decision.row + decision.mode), 0.0)
        energy = time
        if not self.params.discrete:  # type: ignore[attr-defined]
            time = time * decision.volume[..., None] / xp.where(present, decision.speed, 1.0)
            energy = xp.where(present, time * decision.share * decision.split[..., 0], 0.0)
        longest, total = xp.max(time, axis=-1), xp.sum(energy, axis=-1)
        return Cost(time, energy, longest, total, longest + total)

    def advance(self, state: State, decision: Any, draw: Draw, cost: Cost, progress: Progress) -> State:
        return State(draw.size, state.cycle + 1)

    def reward(self, state: State, cost: Cost, progress: Progress) -> Array:
        return -cost.system_cost[..., None] + 0.0 * cost.client_time


@pytest.fixture
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(envs.SYSTEMS, "toy", ToySystem)


def build(**params: Any) -> ToySystem:
    return ToySystem(ToyParams(**params))


def of_one(system: ToySystem, **numbers: Any) -> Any:
    """What everybody gets who asks for lane 1, and numbers in [-1, 1] by name."""
    actions = np.zeros((4, SIZE), np.float32)
    actions[:, 1] = 1.0
    for name, value in numbers.items():
        place = PLACES[name]
        actions[:, place : place + np.size(value)] = value
    return system.actions.decode(actions, None, np.float64)


# One part at a time.


def test_numbers_reach_from_low_to_high() -> None:
    system = build()
    assert of_one(system, speed=-1.0, angle=-1.0, packets=-1.0).angle.tolist() == [0.0] * 4, "0 is a value"
    low, middle, high = (of_one(system, speed=x, angle=x, packets=x) for x in (-1.0, 0.0, 1.0))
    assert [each.speed[0] for each in (low, middle, high)] == pytest.approx([1.0, 10.0, 100.0])
    assert [each.angle[0] for each in (low, middle, high)] == pytest.approx([0.0, 1.5, 3.0])
    assert [each.packets[0] for each in (low, middle, high)] == [2, 8, 32]
    assert low.packets.dtype == np.int64


SIGNED = (
    Number("angle", "", "rad", -3.0, 3.0, linear=True),
    Number("packets", "", "", -3, 3, linear=True, whole=True),
)


def record(*parts: Any) -> Actions:
    """Actions whose decisions have just the fields that the parts fill."""
    names = [name for part in parts for name in part.names]
    return Actions(dataclasses.make_dataclass("Own", names, frozen=True), *parts)


def test_numbers_may_be_negative_and_no_sign_says_who_takes_part() -> None:
    actions, able = record(*SIGNED), np.array([True, True, True, False])
    numbers = np.array([[-0.5, -0.9], [0.0, 0.0], [1.0, 1.0], [0.7, 0.7]], np.float32)
    found = actions.decode(numbers, able, np.float64)
    np.testing.assert_allclose(found.angle, [-1.5, 0.0, 3.0, 0.0])
    assert found.packets.tolist() == [-3, 0, 3, 0]
    assert actions.present(found).all()
    np.testing.assert_array_equal(actions.present(found, able), able)
    back = actions.decode(actions.encode(found), able, np.float64)
    assert_trees_close(back, found, rtol=1e-6)
    nearly, other = (dataclasses.replace(found, angle=found.angle * (1.0 + step)) for step in (1e-9, 1e-3))
    assert not actions.differs(found, nearly).any()
    assert actions.differs(found, other).tolist() == [True, False, True, False]
    actions.check(found, found.angle, able, "client_{}".format)
    for name, value, limit in (("angle", -3.1, r"-3\.1 rad"), ("packets", -4, "-4"), ("packets", 4, "4")):
        changed = getattr(found, name).copy()
        changed[1] = value
        with pytest.raises(ValueError, match=rf"{name} of client_1 is {limit}, must be in -3\.\.3"):
            actions.check(dataclasses.replace(found, **{name: changed}), found.angle, able, "client_{}".format)


class NumbersAlone(ToySystem):
    """The toy, of which an agent decides numbers alone; whoever's size is at most 4 bit takes part."""

    def make_actions(self) -> Actions:
        return record(*SIGNED)

    def allowed(self, state: State, problem: State) -> None:
        return None

    def repair(self, problem: State, asked: Any, scores: Array | None) -> Any:
        return asked

    def price(self, problem: State, decision: Any) -> Cost:
        time = namespace(problem.size).where(self.able(problem), abs(decision.angle), 0.0)
        return Cost(time, time, time.max(axis=-1), time.sum(axis=-1), time.sum(axis=-1))


def test_a_system_of_numbers_alone_plays() -> None:
    simulator = Simulator(NumbersAlone(ToyParams()), 50)
    simulator.reset(0)
    able = simulator.problem.size <= 4.0
    assert not able.all()
    actions = random_actions(simulator.system, 50)
    decision = simulator.system.decide(simulator.state, actions)
    simulator.system.check_decision(simulator.state, decision, complete=True)
    np.testing.assert_array_equal(decision.angle == 0.0, ~able | (actions[..., 0] == 0.0))
    assert not simulator.step(actions).projected.any()
    assert simulator.masks().shape == (50, 4, 0)


def test_choices_and_whole_numbers_are_encoded() -> None:
    actions = record(MODE, SIGNED[1], Number("count", "", "", 1, 9, whole=True))
    numbers = np.random.default_rng(0).uniform(-1, 1, (30, 4, 4)).astype(np.float32)
    for library in (np.asarray, torch.from_numpy):
        found = actions.decode(library(numbers), None, library(numbers).dtype)
        assert_trees_close(actions.decode(actions.encode(found), None, library(numbers).dtype), found, rtol=0)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_logarithm_of_what_is_not_above_0_is_refused(low: float) -> None:
    with pytest.raises(ValueError, match=f"power is even in the logarithm from {low:g} W, must be from above 0, or"):
        Number("power", "p", "W", low, 1.0)


@pytest.mark.parametrize("parts", [(NUMBERS[0], MODE), (MODE, NUMBERS[-1], NUMBERS[0]), (NUMBERS[-1], NUMBERS[-1])])
def test_parts_in_another_order_are_refused(parts: Any) -> None:
    parts = list(dict.fromkeys(parts))
    with pytest.raises(ValueError, match="must be choices, then what else is each agent's, then the round's"):
        record(*parts)


def test_a_number_of_the_round_is_the_mean_of_who_takes_part() -> None:
    actions = np.zeros((4, SIZE), np.float32)
    actions[:, 1] = 1.0
    actions[:, -1] = [-1.0, 1.0, 1.0, -1.0]
    able = np.array([True, True, True, False])
    volume = build().actions.decode(actions, able, np.float64).volume
    assert float(volume) == pytest.approx(10.0 * 100.0 ** ((1 / 3 + 1) / 2))
    assert float(build().actions.decode(actions, np.zeros(4, np.bool_), np.float64).volume) == 0.0


def test_shares_and_splits_are_softmaxes() -> None:
    actions = np.zeros((4, SIZE), np.float32)
    actions[:, 1] = 1.0
    actions[:, 15] = [0.5, -1.0, 1.0, 0.0]
    actions[:, 16:19] = [0.0, 0.3, -0.3]
    found = build().actions.decode(actions, np.array([True, True, False, True]), np.float64)
    weights = [math.exp(2 * x) for x in (0.5, -1.0, 0.0)]
    np.testing.assert_allclose(found.share, np.array([*weights[:2], 0.0, weights[2]]) / sum(weights))
    parts = [math.exp(5.0 * x) for x in (0.0, 0.3, -0.3)]
    np.testing.assert_allclose(found.split[0], np.array(parts) / sum(parts), rtol=1e-6)
    assert found.split[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("sharpness", "least"), [(5.0, 1e-4), (1.5, 0.05), (0.5 * math.log(1e4), 1e-4)])
def test_every_split_with_parts_of_0_has_an_action(sharpness: float, least: float, dtype: Any) -> None:
    actions, rng = record(Simplex("split", "s", 4, sharpness, least=least)), np.random.default_rng(0)
    split = rng.dirichlet(np.ones(4), 500)
    split[rng.random(split.shape) < 0.5] = 0.0
    split[split < 1.3 * least] = 0.0
    split[:8] = np.eye(4)[[0, 1, 2, 3] * 2]
    split[8] = 0.0
    total = split.sum(axis=-1, keepdims=True)
    wanted = actions.decision((split / np.where(total > 0.0, total, 1.0)).astype(dtype))
    numbers = actions.encode(wanted)
    found = actions.decode(numbers, actions.present(wanted), dtype)
    np.testing.assert_array_equal(found.split == 0.0, wanted.split == 0.0)
    np.testing.assert_allclose(found.split, wanted.split, rtol=1e-5)
    actions.check(found, found.split[:, 0], None, "client_{}".format)
    assert abs(numbers).max() <= 1.0


@pytest.mark.parametrize(("sharpness", "least"), [(2.5, 1e-4), (5.0, 0.0), (5.0, 0.25)])
def test_splits_without_an_action_for_parts_of_0_are_refused(sharpness: float, least: float) -> None:
    lowest = f"{math.exp(-2 * sharpness):.3g}"
    with pytest.raises(ValueError, match=rf"least of split is {least:g}, must be from .* = {lowest} to 1 / 4"):
        Simplex("split", "s", 4, sharpness, least=least)


def test_choices_take_the_highest_score_and_the_last_axis_runs_fastest() -> None:
    actions = np.full((4, SIZE), -1.0, np.float32)
    for agent, (lane, cell, mode) in enumerate([(0, 0, 1), (2, 5, 0), (3, 1, 1), (1, 3, 0)]):
        actions[agent, [lane, 4 + cell, 10 + mode]] = 1.0
    found = build().actions.decode(actions, None, np.float64)
    assert found.lane.tolist() == [0, 2, -1, 1], "the last thing of an optional choice is none"
    assert found.row.tolist() == [0, 1, -1, 1]
    assert found.column.tolist() == [0, 2, -1, 0]
    assert found.mode.tolist() == [1, 0, -1, 0]
    assert [found.packets[2], found.speed[2], found.share[2]] == [0, 0.0, 0.0]


def test_decisions_are_built_by_name() -> None:
    fields = [("column", Any), ("speed", Any), ("row", Any), ("lane", Any)]
    kind = dataclasses.make_dataclass("Shuffled", [*fields, ("note", str, "none")], frozen=True)
    found = Actions(kind, LANE, CELL, NUMBERS[0]).decode(
        np.eye(11, dtype=np.float32)[None, [1, 9, 10]], None, np.float64
    )
    assert (found.lane.tolist(), found.note) == ([[1, 0, 0]], "none")
    assert (found.row.tolist(), found.column.tolist()) == ([[0, 1, 0]], [[0, 2, 0]])
    np.testing.assert_allclose(found.speed, [[10.0, 10.0, 100.0]])


@pytest.mark.parametrize("parts", [(LANE, CELL), (LANE, CELL, MODE, MODE), (LANE, CELL, MODE, NUMBERS[0])])
def test_parts_that_are_not_the_fields_of_the_decision_are_refused(parts: Any) -> None:
    names = ", ".join(name for part in parts for name in part.names)
    message = f"the parts {names} must be the fields of Picked: lane, row, column, mode"
    with pytest.raises(ValueError, match=message):
        Actions(Picked, *parts)


class InTurn(ToySystem):
    """The toy, whose agents take one lane, or none, one after the other."""

    turns = True

    def make_actions(self) -> Actions:
        return record(LANE)

    def turn_order(self, problem: State) -> Array:
        return namespace(problem.size).argsort(problem.size, axis=-1)

    def allowed(self, state: State, problem: State) -> None:
        return None

    def repair(self, problem: State, asked: Any, scores: Array | None) -> Any:
        return System.repair(self, problem, asked, scores)

    def price(self, problem: State, decision: Any) -> Cost:
        time = namespace(problem.size).where(decision.lane >= 0, problem.size, 0.0)
        return Cost(time, time, time.max(axis=-1), time.sum(axis=-1), time.sum(axis=-1))


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ([3, 3, 0, 1], [-1, -1, 0, 1]),
        ([0, 0, 0, 0], [0, 1, 2, -1]),
        ([2, 3, 2, 2], [2, -1, 1, 0]),
        ([1, 1, 1, 3], [1, 0, 2, -1]),
    ],
    ids=str,
)
def test_in_turn_agents_may_choose_none_and_get_none_where_nothing_is_free(
    library: Any, asked: list[int], given: list[int]
) -> None:
    system = InTurn(ToyParams())
    state = State(library(np.array([1.0, 2.0, 3.0, 4.0])), library(np.array(0)))
    ruled = ruling(system, state, library(np.array(asked)))
    assert ruled.decision.lane.tolist() == given
    assert ruled.projected.tolist() == [lane % 4 != wanted for wanted, lane in zip(asked, given, strict=True)]
    mask = system.mask(state, ruled.decision)
    assert mask[0].tolist() == [*(int(lane not in given) for lane in range(3)), 1]
    gone = dataclasses.replace(state, size=library(np.array([1.0, 4.5, 3.0, 4.0])))
    assert system.mask(gone, system.undecided(gone)).tolist() == [[1] * 4, [0, 0, 0, 1], [1] * 4, [1] * 4]
    assert system.decide(gone, library(np.array(asked))).lane[1] == -1


# All together.


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_decisions_are_encoded_and_decoded(discrete: bool, library: Any) -> None:
    system = build(discrete=discrete)
    state = begin(system, (200,))
    state = state if library is np.asarray else to_torch(state)
    decision = system.decide(state, library(random_actions(system, 200)))
    actions = system.actions_of(decision)
    assert tuple(actions.shape) == (200, 4, *system.action_shape)
    assert system.action_space().contains(np.asarray(actions[3, 2]))
    assert_trees_close(system.decide(state, actions), decision, rtol=1e-5)
    system.check_decision(state, decision, complete=True)
    made = ruling(system, state, library(random_actions(system, 200)))
    assert_trees_close(made.decision, decision, rtol=0)
    assert bool(made.projected.any())
    assert bool((system.conflicts(decision) == 0).all())


class Limited(InTurn):
    """Lanes one after the other or at once, of which nobody may take one above 1; asking for more costs the share."""

    def limits(self, problem: State, decision: Any) -> tuple[Limit, ...]:
        return (Limit("lane", "", 1.0 * decision.lane.clip(0, None), 1.0, "at most 1"),)

    def penalty(self, used: Array) -> Array:
        return used.clip(1.0, None) - 1.0


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("turns", [False, True])
def test_limits_and_penalties_of_choices_count(turns: bool, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limited, "turns", turns)
    simulator = Simulator(Limited(ToyParams()), device=None if library is np.asarray else "cpu")
    simulator.reset(0)
    draw = Draw(library(np.array([[1.0, 2.0, 3.0, 4.5]])))
    simulator.reset(0, {"draw": [draw, draw]})
    asked = [2, 2, 3, 0]
    found = ruling(simulator.system, simulator.state, library(np.array([asked])))
    assert found.decision.lane.tolist() == ([[2, 1, -1, -1]] if turns else [[2, 2, -1, -1]])
    assert found.projected.tolist() == [[False, turns, False, True]]
    assert found.violated.tolist() == [[True, True, False, True]], "who can not take part asks for too much, too"
    assert found.penalty is not None
    assert found.penalty.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    plain = simulator.system.reward(simulator.state, simulator.system.price(simulator.problem, found.decision), None)  # type: ignore[arg-type]
    outcome = None
    for each in asked:
        assert outcome is None
        outcome = simulator.take_turn(library(np.array([each])))
    assert outcome is not None
    assert outcome.violated is not None
    assert outcome.violated.tolist() == found.violated.tolist()
    np.testing.assert_allclose(outcome.reward, plain - found.penalty)


def test_who_chose_none_asks_for_nothing_else() -> None:
    system = build(discrete=True)
    state = dataclasses.replace(begin(system), size=np.array([1.0, 3.0, 2.0, 4.2]))
    none, lane = np.array([[3, 5, 1]] * 4), np.array([[0, 5, 1], [1, 5, 1], [1, 5, 1], [2, 0, 0]])
    assert not ruling(system, state, none).projected.any()
    assert not ruling(system, state, none).violated.any()
    assert ruling(system, state, lane).projected.tolist() == [False, False, True, True], "taken, and can not take part"


def test_projected_is_who_got_something_else() -> None:
    system = build()
    _, decision = free(system)
    assert not system.actions.differs(decision, decision).any()
    for field in dataclasses.fields(decision):
        changed = getattr(decision, field.name) + (1 if "int" in str(getattr(decision, field.name).dtype) else 0.1)
        found = system.actions.differs(decision, dataclasses.replace(decision, **{field.name: changed}))
        assert found.tolist() == [field.name != "volume"] * 4, "what is decided for the round is nobody's own"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lane", 3, r"lane of client_1 is 3, must be in -1\.\.2"),
        ("row", 2, r"row of client_1 is 2, must be in -1\.\.1"),
        ("column", -1, "column of client_1 is -1, must be -1 exactly where the row is -1"),
        ("mode", 2, r"mode of client_1 is 2, must be in -1\.\.1"),
        ("mode", -1, "mode of client_1 is -1, must be at least 0: it takes part"),
        ("speed", 101.0, r"speed of client_1 is 101\.0 m/s, must be in 1\.\.100"),
        ("angle", -0.1, r"angle of client_1 is -0\.1 rad, must be in 0\.\.3"),
        ("angle", np.nan, r"angle of client_1 is nan rad, must be in 0\.\.3"),
        ("packets", 1, r"packets of client_1 is 1, must be in 2\.\.32"),
        ("packets", 33, r"packets of client_1 is 33, must be in 2\.\.32"),
        ("share", 0.0, "share of client_1 is 0.0, must be above 0: it takes part"),
        ("share", -0.5, r"share of client_1 is -0\.5, must be in 0\.\.1"),
        ("share", 0.99, "sum of share is .*, must be at most 1"),
        ("split", 0.1, r"sum of split of client_1 is 0\.3\d*, must be 1"),
        ("split", -0.1, "split of client_1 is -0.1, must be at least 0"),
        ("split", np.nan, "split of client_1 is nan, must be at least 0"),
    ],
)
def test_bad_decisions_name_agent_value_and_limit(name: str, value: float, message: str) -> None:
    system = build()
    state, decision = free(system)
    changed = getattr(decision, name).copy()
    changed[1] = value
    with pytest.raises(ValueError, match=message):
        system.cost(state, dataclasses.replace(decision, **{name: changed}))


def free(system: ToySystem) -> tuple[State, Any]:
    """A state in which all can take part, and a decision in which three do."""
    state = dataclasses.replace(begin(system), size=np.ones(4))
    actions = np.zeros((4, SIZE), np.float32)
    actions[np.arange(4), np.arange(4)] = 1.0
    return state, system.decide(state, actions)


def test_bad_decisions_of_the_whole_round() -> None:
    system = build()
    state, decision = free(system)
    for value, shown in ((1001.0, r"1001\.0"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=rf"volume is {shown}, must be in 10\.\.1000"):
            system.cost(state, dataclasses.replace(decision, volume=np.array(value)))
    with pytest.raises(ValueError, match=r"volume has shape \(4,\), must be \(\)"):
        system.cost(state, dataclasses.replace(decision, volume=np.ones(4)))
    with pytest.raises(ValueError, match=r"split has shape \(4, 2\), must be \(4, 3\)"):
        system.cost(state, dataclasses.replace(decision, split=decision.split[:, :2]))
    absent = dataclasses.replace(decision, mode=np.array([0, 0, 0, 1]))
    with pytest.raises(ValueError, match="mode of client_3 is 1, must be -1: it takes no part"):
        system.cost(state, absent)


def test_exclusive_things_are_counted_or_refused() -> None:
    lanes, every = np.array([0, 0, 0, 2]), np.zeros(4, np.int64)
    decision = Picked(lanes, every, every, every)
    for exclusive, count in (("no", 0), ("counted", 2), ("enforced", 2)):
        lane = Choice(Axis("lane", "l", 3), optional=True, exclusive=exclusive)  # type: ignore[arg-type]
        assert int(Actions(Picked, lane, CELL, MODE).conflicts(decision)) == count
    system = build(discrete=True)
    state = dataclasses.replace(begin(system), size=np.ones(4))
    system.check_decision(state, decision)
    with pytest.raises(ValueError, match="clients on a taken lane is 2, must be 0"):
        system.check_decision(state, decision, complete=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([4, 0, 0], r"choice 0 of client_2 is 4, must be in 0\.\.3"),
        ([0, 6, 0], r"(action|choice 1).* is 6, must be in 0\.\.5"),
        ([0, 0, 2], r"choice 2 of client_2 is 2, must be in 0\.\.1"),
        ([-1, 0, 0], "is -1, must be in 0"),
    ],
)
def test_bad_actions_of_several_choices(value: list[int], message: str) -> None:
    system = build(discrete=True)
    actions = np.zeros((4, 3), np.int64)
    actions[2] = value
    with pytest.raises(ValueError, match=message):
        system.decide(begin(system), actions)
    with pytest.raises(ValueError, match="action has dtype float64, must be integer"):
        system.decide(begin(system), actions.astype(np.float64))
    with pytest.raises(ValueError, match=r"action has shape \(4, 2\), must be \(4, 3\)"):
        system.decide(begin(system), actions[:, :2])


def test_masks_of_several_choices_stand_one_after_the_other() -> None:
    system = build(discrete=True)
    state = dataclasses.replace(begin(system), size=np.array([1.0, 3.0, 4.2, 2.0]))
    mask = system.mask(state)
    assert mask.shape == (4, 4 + 6 + 2)
    assert mask[0].tolist() == mask[3].tolist() == [1] * 12
    assert mask[1].tolist() == [0, *[1] * 11]
    assert mask[2].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0], "who takes no part has one entry a choice"


# Views.


def test_spaces_of_views() -> None:
    box, picked = build(), build(discrete=True)
    assert box.action_space() == spaces.Box(-1.0, 1.0, (SIZE,), np.float32)
    assert box.actions.joint_space(4) == spaces.Box(-1.0, 1.0, (4 * (SIZE - 1) + 1,), np.float32)
    assert picked.action_space() == spaces.MultiDiscrete([4, 6, 2])
    assert picked.actions.joint_space(4) == spaces.MultiDiscrete([4, 6, 2] * 4)
    assert box.mask_name == picked.mask_name == "choice_mask"
    assert box.actions.words == "20 numbers in -1..1"
    assert picked.actions.words == "3 integers below [4, 6, 2]"
    names = [field.name for field in box.actions.fields]
    assert names[:4] == ["lane; the last: none", "row", "column", "mode"]


@pytest.mark.usefixtures("_listed")
@pytest.mark.filterwarnings("ignore:Action space for each agent probably should be")
@pytest.mark.parametrize("discrete", [False, True])
def test_official_suites(discrete: bool) -> None:
    parallel_api_test(envs.parallel_env("toy", max_cycles=5, discrete=discrete), num_cycles=20)
    api_test(envs.aec_env("toy", max_cycles=5, discrete=discrete), num_cycles=20)
    check_env(envs.central_env("toy", discrete=discrete), skip_render_check=True)
    assert_same(*(play_parallel(envs.parallel_env("toy", discrete=discrete), seed=1) for _ in range(2)))
    assert_same(*(play_central(envs.central_env("toy", discrete=discrete), seed=1) for _ in range(2)))


@pytest.mark.usefixtures("_listed")
def test_a_number_of_the_round_stands_once_in_the_central_action() -> None:
    parallel, central = envs.parallel_env("toy"), envs.central_env("toy")
    rng = np.random.default_rng(0)
    for env in (parallel, central):
        env.reset(seed=3)
    for _ in range(5):
        own = rng.uniform(-1, 1, (4, SIZE)).astype(np.float32)
        own[:, :4] = [0.0, 0.5, 1.0, -1.0]
        own[:, -1] = common = np.float32(rng.uniform(-1, 1))
        told = parallel.step(dict(zip(parallel.agents, own, strict=True)))
        _, reward, _, _, info = central.step(np.append(own[:, :-1], common))
        assert reward == pytest.approx(np.mean(list(told[1].values())))
        assert info["system_cost"] == told[-1]["client_0"]["system_cost"]


@pytest.mark.usefixtures("_listed")
def test_infos_carry_reports_of_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    def foresee(self: Any, state: State, decision: Any, cost: Cost) -> Progress:
        each = np.arange(12.0).reshape(1, 4, 3)
        return Progress(cost.energy, cost.energy, {"rows": each, "norm": each[..., 0], "loss": each[..., 0, 1]})

    monkeypatch.setattr(ToySystem, "foresee", foresee)
    parallel, turns = envs.parallel_env("toy", discrete=True), envs.aec_env("toy", discrete=True)
    told = (parallel.reset(seed=0), parallel.step(dict.fromkeys(parallel.agents, np.zeros(3, np.int64))))[1][-1]
    turns.reset(seed=0)
    for _ in range(4):
        turns.step(np.zeros(3, np.int64))
    for infos in (told, turns.infos):
        assert [infos["client_2"][name] for name in ("rows", "norm", "loss")] == [[6.0, 7.0, 8.0], 6.0, 1.0]
    central = envs.central_env("toy", discrete=True)
    central.reset(seed=0)
    assert central.step(np.zeros(12, np.int64))[-1]["rows"].shape == (4, 3)


@pytest.mark.usefixtures("_listed")
@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("discrete", [False, True])
def test_vector_equals_single(discrete: bool, device: str | None) -> None:
    settings: dict[str, Any] = {"discrete": discrete, "max_cycles": 3}
    vector = envs.vector_env("toy", 3, device=device, **settings)
    singles = [envs.central_env("toy", **settings) for _ in range(3)]
    seen_by_all, infos = vector.reset(seed=5)
    first = [env.reset(seed=5 + i) for i, env in enumerate(singles)]
    mask = vector.system.mask_name
    np.testing.assert_allclose(np.asarray(seen_by_all), [observation for observation, _ in first], atol=1e-7)
    np.testing.assert_array_equal(np.asarray(infos[mask]), [info[mask] for _, info in first])
    vector.action_space.seed(0)
    for _ in range(3):
        actions = vector.action_space.sample()
        found = vector.step(actions)
        for copy, env in enumerate(singles):
            observation, reward, *ends, info = env.step(actions[copy])
            np.testing.assert_allclose(np.asarray(found[0][copy]), observation, atol=1e-7)
            assert float(found[1][copy]) == pytest.approx(reward, rel=1e-9)
            assert [bool(found[2][copy]), bool(found[3][copy])] == ends
            np.testing.assert_array_equal(np.asarray(found[4][mask][copy]), info[mask])


@pytest.mark.usefixtures("_listed")
def test_actions_out_of_their_space_are_refused_by_every_view() -> None:
    picked = envs.parallel_env("toy", discrete=True)
    picked.reset(seed=0)
    actions = {agent: np.zeros(3, np.int64) for agent in picked.agents}
    with pytest.raises(ValueError, match=r"action of client_1 is .*, must be 3 integers below \[4, 6, 2\]"):
        picked.step({**actions, "client_1": np.array([0, 6, 0])})
    central = envs.central_env("toy")
    central.reset(seed=0)
    with pytest.raises(ValueError, match=r"action has shape \(80,\), must be \(77,\)"):
        central.step(np.zeros(80, np.float32))
    vector = envs.vector_env("toy", 2, discrete=True)
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions has shape \(2, 11\), must be \(2, 12\)"):
        vector.step(np.zeros((2, 11), int))


@pytest.mark.parametrize("several", [False, True])
def test_learners_refuse_what_they_would_misread(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (LANE, MODE, NUMBERS[0]) if several else (LANE, *NUMBERS[-2:])
    monkeypatch.setattr(ToySystem, "make_actions", lambda self: record(*parts))
    counts = "2 and 0" if several else "1 and 1"
    words = f"takes one choice of each agent and no number of the round; here are {counts}"
    refused = pytest.raises(ValueError, match=words)
    with refused:
        DDPG.for_env(VectorView(build(), 2))
    with refused:
        HybridView(build(), 2)
    if several:
        monkeypatch.setattr(ToySystem, "make_actions", lambda self: record(LANE, MODE))
        with pytest.raises(ValueError, match=r"a learner of fedtwin\.agents takes one choice"):
            D3QN.for_env(VectorView(build(), 2))


@pytest.mark.parametrize("discrete", [False, True])
def test_actions_that_are_not_checked_at_once_are_clipped(discrete: bool) -> None:
    loose, strict = (Simulator(build(discrete=discrete), 2, validate=check) for check in (False, True))
    for each in (loose, strict):
        each.reset(0)
    rng = np.random.default_rng(0)
    shape = (2, 4, *loose.system.action_shape)
    wild = rng.integers(-3, 9, shape) if discrete else rng.uniform(-3, 3, shape).astype(np.float32)
    tame = np.clip(wild, 0, [3, 5, 1]) if discrete else wild.clip(-1, 1)
    assert_trees_close(loose.step(wild).decision, strict.step(tame).decision, rtol=0)
    with pytest.raises(ValueError, match=r"an action was outside .* since the last check"):
        loose.check()
