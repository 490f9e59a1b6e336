"""The contract of any system, over all that are listed: what the mechanism promises, whoever declares it."""

import copy
import dataclasses
import functools
import pickle
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import numpy as np
import pytest
import torch
from fedtwin.core import records
from fedtwin.core.randomness import Numbers, numbers
from fedtwin.core.trees import take, tree_map
from fedtwin.envs import SYSTEMS, make_system
from fedtwin.envs.costs import Totals
from fedtwin.envs.parts import Choice, Number, Part, Share, Simplex
from fedtwin.envs.simulator import Simulator
from fedtwin.envs.system import System
from rounds import (
    advance,
    asked,
    assert_trees_close,
    begin,
    filled,
    random_actions,
    ruling,
    to_torch,
    widened,
)

MORE: dict[str, list[dict[str, Any]]] = {
    "association": [
        {"decisions": "sequential", "num_clients": 6, "reciprocal": False, "energy_budget_low": 300.0,
         "energy_budget_high": 900.0},
        {"num_clients": 5, "num_servers": 1, "num_channels": 2, "positions": "fixed", "progress_weight": 0.5},
    ],
    "split_point": [
        {"energy_budget_low": 0.05, "energy_budget_high": 0.2, "noise": "fixed", "radius": 120.0},
        {"frequency_max": 0.2e9, "power_max": 0.01, "reward_rule": "own", "progress_weight": 0.5},
        {"num_vehicles": 1, "num_cuts": 1},
    ],
    "quantization": [
        {"deadline": 0.5, "positions": "round"},
        {"bits_max": 2, "power_max": 0.01, "reward_rule": "own", "progress_weight": 0.5},
        {"num_clients": 3, "num_channels": 7, "violation_weight": 0.0},
    ],
}  # fmt: skip
"""Parameters at the edges of what a system is for; every system is held to the contract with its presets too."""


def cases() -> Iterator[Any]:
    for name, kind in SYSTEMS.items():
        presets = {preset: {"preset": preset} for preset in kind.presets}
        more = {str(place): params for place, params in enumerate(MORE.get(name, []))}
        for label, params in {"default": {}, **presets, **more}.items():
            yield pytest.param(functools.partial(make_system, name, **params), id=f"{name}-{label}")


every_case = pytest.mark.parametrize("make", list(cases()))
every_system = pytest.mark.parametrize("name", SYSTEMS)


def misjudged(make: Any, error: float, **params: Any) -> System:
    """The system with an error of the estimate in dB, where it estimates anything."""
    system: System = make(twin_error_db=error, **params)
    if hasattr(begin(make()), "estimate_error"):
        return system
    with pytest.raises(ValueError, match=f"{system.name} estimates nothing: leave twin_error_db at 0 dB"):
        system.believed(begin(system))
    return make(**params)  # type: ignore[no-any-return]


def declared(kind: Any) -> Mapping[str, Mapping[str, Any]]:
    return records.declared(kind)


def arrays(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def own_arrays(record: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of a record that declare the agents as their first axis."""
    for name, about in declared(type(record)).items():
        if about["axes"][:1] == ("N",):
            yield name, getattr(record, name)


def tells_presence(system: System) -> bool:
    """Whether decisions say who takes part; numbers do not."""
    return not isinstance(system.actions.parts[0], Number)


def play(system: System, batch: tuple[int, ...] = (20,), seed: int = 0) -> tuple[Any, np.ndarray, Any, Any]:
    """A first round: state, actions, what they lead to, what it costs."""
    state, actions = begin(system, batch, seed), random_actions(system, batch[0], seed)
    decision = system.decide(state, actions)
    return state, actions, decision, system.cost(state, decision)


def without(system: System, decision: Any, out: np.ndarray, rest: float) -> Any:
    """The decision with agents `out` `(..., N)` absent, and `rest` in what else is theirs."""
    changed = {}
    for part in system.actions.parts:
        for name in part.names:
            value = getattr(decision, name)
            if value.shape[: out.ndim] != out.shape:
                continue
            wide = out.reshape(*out.shape, *(1,) * (value.ndim - out.ndim))
            whole = value.dtype.kind == "i"
            gone = -1 if isinstance(part, Choice) else 0 if whole or part is system.actions.parts[0] else rest
            changed[name] = np.where(wide, gone, value)
    return dataclasses.replace(decision, **changed)


# Records and parameters.


@every_case
def test_records_have_the_axes_and_types_that_they_declare(make: Any) -> None:
    system = make()
    state, _, decision, cost = play(system, (3,))
    draw = system.draw(numbers(0, 0, 0, (3,)))
    system.check_draw(draw)
    assert records.batch_shape(draw) == (3,)
    for record in (draw, state, decision, cost, system.problem(state)):
        for name, about in declared(type(record)).items():
            value, own = getattr(record, name), tuple(system.sizes[axis] for axis in about["axes"])
            assert value.shape in ((3, *own), own), name
            assert value.dtype == {"number": "float64", "integer": "int64", "boolean": "bool"}[about["kind"]], name
    shared, mine = system.report(cost)
    assert system.objective == next(iter(system.quantities))
    assert set(shared) >= set(system.quantities)
    assert all(value.shape == (3,) for value in shared.values())
    assert set(mine) == set(system.own_quantities)
    assert all(value.shape == (3, len(system.agents)) for value in mine.values())
    terminated, truncated = system.ended(state)
    assert not terminated.any()
    assert not truncated.any()


def beyond(field: dataclasses.Field[Any]) -> Iterator[tuple[Any, str]]:
    """Values that a parameter may not have, with the words that refuse them."""
    limits, name = field.metadata, field.name
    if get_origin(field.type) is not None and str in map(type, get_args(field.type)):
        yield f"{get_args(field.type)[0]}x", f"unknown value of {name} '{get_args(field.type)[0]}x'; did you mean"
        return
    if field.type in (bool, str):
        yield 1, f"{name} is 1, must be"
        return
    several = get_origin(field.type) is tuple
    for value, words in (
        (limits["at_least"] - 1, "must be at least"),
        (limits["at_most"] + 1, "at most"),
        (limits["above"], "must be above"),
        (np.nan, "must be"),
        ("1", "must be"),
        (True, "must be"),
    ):
        if isinstance(value, str | bool) or not np.isinf(value):
            whole = isinstance(value, float) and field.type is int and value == value
            value = int(value) if whole else value
            yield ((value,) if several else value), f"{name}{'[0]' if several else ''} is {value!r}"
            yield ((value,) if several else value), words


@every_system
def test_parameters_beyond_their_limits_are_refused(name: str) -> None:
    kind = SYSTEMS[name].params_type
    make: Any = functools.partial(make_system, name)
    for field in dataclasses.fields(kind):
        for value, words in beyond(field):
            with pytest.raises(ValueError, match=re.escape(words)):
                make(**{field.name: value})
        with pytest.raises(ValueError, match=f"did you mean '{field.name}'"):
            make(**{f"{field.name}x": field.default})


# Draws, gains.


def outside(about: Mapping[str, Any]) -> list[Any]:
    """Values that a declared array may not have."""
    away = {"above": (0, -1), "at_least": (-1,), "at_most": (1,)}
    wrong = [end + step for limit, end in about["limits"].items() for step in away[limit]]
    if about["kind"] == "number":
        wrong += [np.nan] if about["infinite"] else [np.nan, np.inf]
        return [float(value) for value in wrong]
    return wrong


@every_case
def test_bad_draws_are_refused(make: Any) -> None:
    system = make()
    draw = filled(system.draw(numbers(0, 0, 0)))
    types = {"number": system.params.dtype, "integer": "int64", "boolean": "bool"}
    for name, about in declared(system.draw_type).items():
        unit, kind, array = f" {about['unit']}" if about["unit"] else "", types[about["kind"]], getattr(draw, name)
        if not array.shape:
            continue
        for value in outside(about):
            changed = array.copy()
            changed[-1] = value
            message = rf"{name}\[{array.shape[0] - 1}(, 0)*\] is {value}{unit}, must be "
            with pytest.raises(ValueError, match=message):
                system.check_draw(dataclasses.replace(draw, **{name: changed}))
        other = np.float32 if array.dtype == np.float64 else np.float64
        for changed, message in (
            (array[:-1], f"{name} has shape ({array.shape[0] - 1},"),
            (array.astype(other), f"{name} has dtype {other.__name__}, must be {kind}"),
            (array.tolist(), f"{name} is a list, must be a {kind} array"),
        ):
            with pytest.raises(ValueError, match=re.escape(message)):
                system.check_draw(dataclasses.replace(draw, **{name: changed}))
    with pytest.raises(ValueError, match=rf"the draw is a str, must be a fedtwin\..*\.{system.draw_type.__name__}"):
        system.check_draw("a draw")
    simulator = Simulator(system)
    simulator.reset(0)
    before = simulator.state
    with pytest.raises(ValueError, match="the draw is a str"):
        simulator.reset(1, {"draw": "a draw"})
    assert simulator.state is before


@every_case
def test_bad_gains_are_named(make: Any) -> None:
    system = make()
    state, _, decision, _ = play(system, (2,))
    state = filled(state)
    for name, about in declared(type(state)).items():
        for value in outside(about) if about["limits"] else ():
            changed = getattr(state, name).copy()
            changed[1, ...] = value
            with pytest.raises(ValueError, match=rf"{name}\[1.*\] is {value}.*, must be "):
                system.cost(dataclasses.replace(state, **{name: changed}), decision)


# Actions and decisions.


@every_case
def test_bad_actions_are_refused(make: Any) -> None:
    system = make()
    state, agents, last = begin(system), len(system.agents), system.agents[-1]
    actions = random_actions(system, 4)[3]
    kind, other = ("floating", np.int64) if system.action_size else ("integer", np.float64)
    wrong: list[tuple[Any, str]] = [
        (actions.astype(other), f"has dtype {other.__name__}, must be {kind}"),
        (actions[:-1], f"has shape ({agents - 1},"),
        (actions[None], f"has shape (1, {agents}"),
        (actions.tolist(), f"is a list, must be an? {kind} array"),
    ]
    for value in (1.5, -1.5, np.nan) if system.action_size else (system.actions.counts[0], -1):
        changed = actions.copy()
        changed[-1] = value
        wrong.append((changed, f"action of {last} (is|has) {value}.*, must be in {re.escape(system.actions.limits)}"))
    for changed, message in wrong:
        with pytest.raises(ValueError, match=message if "?" in message or "|" in message else re.escape(message)):
            system.decide(state, changed)


def wrong_values(part: Part, name: str) -> list[tuple[Any, str]]:
    """Values that a part of a decision can not have."""
    if isinstance(part, Choice):
        count = dict(zip(part.names, part.grid, strict=True))[name]
        return [(count, f"in -1..{count - 1}"), (-2, f"in -1..{count - 1}")]
    if isinstance(part, Number):
        if part.whole:
            return [(int(part.high) + 1, f"in {part.low:g}.."), (int(part.low) - 1, f"..{part.high:g}")]
        step = 0.01 * max(abs(part.high), abs(part.low))
        return [(part.high + step, f"in {part.low:g}.."), (part.low - step, f"..{part.high:g}"), (np.nan, "in ")]
    if isinstance(part, Share):
        return [(1.5, "in 0..1"), (np.nan, "in 0..1"), (0.0, "above 0: it takes part")]
    assert isinstance(part, Simplex)
    return [(-0.1, "at least 0"), (np.nan, "at least 0"), (0.9, "1")]


@every_case
def test_bad_decisions_are_refused_part_by_part(make: Any) -> None:
    system = make()
    for seed in range(50):
        state = begin(system, seed=seed)
        decision = system.decide(state, random_actions(system, 4, seed)[3])
        present = system.actions.present(decision)
        if present.any():
            break
    place = int(np.flatnonzero(present)[0])
    system.check_decision(state, decision)
    for part in system.actions.parts:
        for name in part.names:
            array = getattr(decision, name)
            for value, limit in wrong_values(part, name):
                changed, whose = array.copy(), "" if part.of_round else f" of {system.agents[place]}"
                changed[() if part.of_round else place] = value
                with pytest.raises(ValueError, match=rf"{name}{whose} is .*must be .*{re.escape(limit)}"):
                    system.cost(state, dataclasses.replace(decision, **{name: changed}))
            wrong: list[tuple[Any, str]] = [
                (array[None], rf"{name} has shape \(1, .*\), must be \({', '.join(map(str, array.shape))},?\)"),
                (torch.from_numpy(array), f"{name} is an array of torch, must be of numpy like the state"),
                (array.tolist(), f"{name} is a (list|float|int), must be an"),
            ]
            if array.dtype.kind == "i":
                wrong.append((array.astype(np.float64), f"{name} has dtype float64, must be integer"))
            for changed, message in wrong:
                with pytest.raises(ValueError, match=message):
                    system.cost(state, dataclasses.replace(decision, **{name: changed}))


@every_case
def test_who_can_take_part_does_and_nobody_else(make: Any) -> None:
    system = make()
    state, _, decision, _ = play(system, (100,))
    able, present = system.able(system.problem(state)), system.actions.present(decision)
    first, choice = system.actions.parts[0].names[0], system.actions.parts[0]
    np.testing.assert_array_equal(system.taking_part(decision), present.sum(axis=-1))
    if tells_presence(system):
        np.testing.assert_array_equal(system.taking_part(system.undecided(state)), 0)
    if able is None or not tells_presence(system):
        return
    assert not (present & ~able).any()
    mask = system.mask(state, system.undecided(state))
    np.testing.assert_array_equal(mask[~able], np.broadcast_to(system.actions.idle(mask), mask.shape)[~able])
    twin = int(np.argmax(able.any(axis=-1)))
    alone = take(state, twin), take(decision, twin)
    none = without(system, alone[1], np.ones_like(able[twin]), 0.0)
    system.check_decision(alone[0], none)
    if not (isinstance(choice, Choice) and choice.optional) and able[twin].any():
        with pytest.raises(
            ValueError, match=rf"{first} of .* is -1, must be at least 0: the {system.agent} takes part"
        ):
            system.check_decision(alone[0], none, complete=True)


@every_case
def test_decisions_keep_every_limit_and_violations_are_what_exceeds_one(make: Any) -> None:
    system = misjudged(make, 2.0)
    copies = max(8, min(300, 8192 // len(system.agents)))
    state, actions = begin(system, (copies,)), random_actions(system, copies)
    seen, rounding = system.believed(state), 1.0 + system.rounding
    problem = system.problem(seen)
    found, wanted = ruling(system, seen, actions), asked(system, seen, actions)
    system.check_decision(state, found.decision, complete=True)
    assert_trees_close(found.decision, system.decide(seen, actions), rtol=0)
    for limit in system.limits(problem, found.decision):
        assert bool((limit.used <= rounding).all()), limit.name
    for name, value in arrays(system.cost(state, found.decision)).items():
        assert bool(np.isfinite(value).all()), name
    used = system.used(problem, wanted, found.decision)
    beyond = np.zeros_like(found.projected) if used is None else used > rounding
    np.testing.assert_array_equal(found.projected, system.actions.differs(wanted, found.decision) | found.projected)
    np.testing.assert_array_equal(found.violated, beyond if system.action_size else beyond | found.projected)
    assert not (found.violated & ~found.projected & system.actions.present(wanted)).any()
    for limit in system.limits(problem, wanted):
        assert not ((limit.used > rounding) & ~found.violated).any()
    assert_penalty(found)
    if (choice := system.actions.parts[0]).__class__ is Choice and choice.exclusive == "enforced":
        assert not system.conflicts(found.decision).any()


def assert_penalty(found: Any) -> None:
    if found.penalty is not None:
        assert bool((found.penalty >= 0.0).all())
        assert bool(np.isfinite(found.penalty).all())
        assert not (found.penalty[~found.violated] > 1e-6).any()


@every_case
def test_one_agent_too_many_on_what_is_exclusive_is_refused(make: Any) -> None:
    system = make()
    choice = system.actions.parts[0]
    if not isinstance(choice, Choice) or choice.exclusive == "no":
        return
    state, _, decision, _ = play(system, (30,))
    for twin in np.flatnonzero(system.taking_part(decision) >= 2):
        alone, made = take(state, int(twin)), take(decision, int(twin))
        one, two = np.flatnonzero(system.actions.present(made))[:2]
        before = int(system.conflicts(made))
        for name in choice.names:
            getattr(made, name)[two] = getattr(made, name)[one]
        assert int(system.conflicts(made)) >= max(before, 1)
        if choice.exclusive == "enforced":
            assert int(system.conflicts(made)) == 1
            system.check_decision(alone, made)
            with pytest.raises(ValueError, match=f"{system.agent}s on a taken {choice.names[0]} is 1, must be 0"):
                system.check_decision(alone, made, complete=True)


@every_case
def test_actions_of_a_decision_lead_back_to_it(make: Any) -> None:
    system = make()
    state, _, decision, _ = play(system, (100,))
    actions = system.actions_of(decision)
    assert system.action_space().contains(actions[0, 0])
    assert_trees_close(system.decide(state, actions), decision, rtol=1e-5)


@every_case
def test_fields_spaces_and_sizes_agree(make: Any) -> None:
    system = make()
    state, _, _, _ = play(system, (10,))
    nobody, agents = system.undecided(state), len(system.agents)
    seen, mask = system.observe(state, nobody), system.mask(state, nobody)
    assert seen.dtype == np.float32
    assert seen.shape == (10, agents, system.observation_size)
    assert sum(field.size for field in system.observation_fields) == system.observation_size
    assert all(system.observation_space().contains(row) for row in seen.reshape(-1, system.observation_size))
    assert mask.dtype == np.int8
    assert mask.shape == (10, agents, system.num_actions)
    assert bool((mask.sum(axis=-1) >= 1).all())
    for n in range(agents):
        one = system.observe(state, nobody, np.full(10, n))
        np.testing.assert_array_equal(one, seen[:, n])
    parts, counts = system.actions.parts, system.actions.counts
    assert system.num_actions == sum(counts)
    assert system.action_size in (0, sum(part.size for part in parts))
    assert [field.name.split(";")[0] for field in system.actions.fields]
    kinds = {field.name for field in dataclasses.fields(system.params)}
    assert {name for kind in system.observation_kinds.values() for name in kind} <= kinds


# One computation for both libraries, either precision and any batch.


@every_case
def test_an_episode_in_torch_equals_numpy(make: Any) -> None:
    system = misjudged(make, 2.0, max_cycles=3)
    draws = [system.draw(numbers(5, 0, cycle, (3,))) for cycle in range(4)]
    state, mirror = system.start(draws[0]), system.start(to_torch(draws[0]))
    for cycle, draw in enumerate(draws[1:]):
        actions = random_actions(system, 3, cycle)
        seen, told = system.believed(state), system.believed(mirror)
        nobody, empty = system.undecided(seen), system.undecided(told)
        np.testing.assert_array_equal(system.mask(seen, nobody), system.mask(told, empty).numpy())
        np.testing.assert_allclose(system.observe(seen, nobody), system.observe(told, empty).numpy(), atol=1e-6)
        ours, theirs = ruling(system, seen, actions), ruling(system, told, torch.from_numpy(actions))
        assert_trees_close(ours.decision, theirs.decision, rtol=1e-9)
        for name in ("projected", "violated"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name).numpy(), err_msg=name)
        assert (ours.penalty is None) == (theirs.penalty is None)
        if ours.penalty is not None and theirs.penalty is not None:
            np.testing.assert_allclose(ours.penalty, theirs.penalty.numpy(), rtol=1e-9, atol=1e-9)
        decision, same = ours.decision, theirs.decision
        back = system.actions_of(decision), system.actions_of(same).numpy()
        np.testing.assert_allclose(*back, atol=1e-6)
        cost, again = system.cost(state, decision), system.cost(mirror, same)
        assert_trees_close(cost, again, rtol=1e-9)
        progress, learned = system.foresee(state, decision, cost), system.foresee(mirror, same, again)
        np.testing.assert_allclose(progress.loss_decrease, learned.loss_decrease.numpy(), rtol=1e-9)
        state = system.advance(state, decision, draw, cost, progress)
        mirror = system.advance(mirror, same, to_torch(draw), again, learned)
        assert_trees_close(state, mirror, rtol=1e-9)
        rewards = system.reward(state, cost, progress), system.reward(mirror, again, learned).numpy()
        np.testing.assert_allclose(*rewards, rtol=1e-9)
        for one, other in zip(system.ended(state), system.ended(mirror), strict=True):
            np.testing.assert_array_equal(one, other.numpy())
    assert system.ended(state)[1].all() | system.ended(state)[0].any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_case
def test_draws_of_torch_are_those_of_numpy(make: Any, dtype: str) -> None:
    system = misjudged(make, 2.0, dtype=dtype)
    draw = system.draw(Numbers(torch.arange(7, 11), 2**32 - 1, 5))
    system.check_draw(draw)
    expected = system.draw(Numbers(np.arange(7, 11), 2**32 - 1, 5))
    assert_trees_close(draw, expected, *((1e-12, 1e-12) if dtype == "float64" else (1e-5, 1e-5)))


@every_case
def test_float32_stays_float32(make: Any) -> None:
    system, exact = misjudged(make, 1.0, dtype="float32"), misjudged(make, 1.0)
    state = begin(system, (50,))
    seen = system.believed(state)
    found = ruling(system, seen, random_actions(system, 50))
    decision = found.decision
    system.check_decision(state, decision, complete=True)
    cost, draw = system.cost(state, decision), system.draw(numbers(0, 0, 1, (50,)))
    progress = system.foresee(state, decision, cost)
    moved = system.advance(seen, decision, draw, cost, progress)
    for record in (draw, state, seen, decision, cost, moved):
        kinds = {name: str(value.dtype) for name, value in arrays(record).items()}
        assert set(kinds.values()) <= {"float32", "int64", "bool"}, kinds
    own = (system.reward(moved, cost, progress), progress.loss_decrease, found.penalty)
    assert all(value is None or value.dtype == np.float32 for value in own)
    assert_trees_close(cost, exact.cost(widened(state), widened(decision), validate=False), rtol=1e-5)


@every_case
def test_a_batch_is_the_batch_of_its_copies(make: Any) -> None:
    system = make()
    state, actions, decision, cost = play(system, (12,))
    seen = system.observe(state, system.undecided(state))
    for i in range(12):
        alone = take(state, i)
        assert_trees_close(system.decide(alone, actions[i]), take(decision, i), rtol=1e-12)
        assert_trees_close(system.cost(alone, take(decision, i)), take(cost, i), rtol=0)
        np.testing.assert_allclose(system.observe(alone, system.undecided(alone)), seen[i], atol=1e-6)

    def fold(array: np.ndarray) -> np.ndarray:
        return array.reshape(3, 4, *array.shape[1:])

    nested = tree_map(fold, state)
    assert_trees_close(system.decide(nested, fold(actions)), tree_map(fold, decision), rtol=1e-12)
    assert_trees_close(system.cost(nested, tree_map(fold, decision)), tree_map(fold, cost), rtol=0)
    draw = system.draw(numbers(0, 0, 1, (12,)))
    after, folded = (
        advance(system, s, d, w)
        for s, d, w in ((state, decision, draw), (nested, tree_map(fold, decision), tree_map(fold, draw)))
    )
    assert_trees_close(folded, tree_map(fold, after), rtol=1e-12)


@every_case
def test_methods_are_pure(make: Any) -> None:
    """Nothing given is changed, nothing is remembered: a state that was changed in place costs what it is."""
    system = misjudged(make, 1.0)
    state, actions, decision, cost = play(system)
    state = filled(state)
    given = (state, decision, system.draw(numbers(0, 0, 1, (20,))), cost)
    kept = copy.deepcopy(given)
    system.observe(system.believed(state), system.undecided(state))
    system.mask(state, decision)
    after = advance(system, *given[:3])
    system.reward(after, cost, system.predict(state, decision))
    system.decide(state, actions)
    for ours, theirs in zip(given, kept, strict=True):
        assert_trees_close(ours, theirs, rtol=0)
    for name, about in declared(type(state)).items():
        if about["kind"] == "number" and "above" in about["limits"]:
            getattr(state, name)[...] *= 0.7
    fresh = misjudged(make, 1.0)
    assert_trees_close(system.cost(state, decision), fresh.cost(copy.deepcopy(state), decision), rtol=0)


# Absent agents, progress.


@every_case
def test_absent_agents_count_nothing_and_say_nothing(make: Any) -> None:
    system = make()
    if not tells_presence(system):
        return
    state, _, decision, _ = play(system, (50,))
    out = np.arange(len(system.agents)) % 2 == 0
    out = np.broadcast_to(out, decision_shape(system, decision))
    quiet, loud = (without(system, decision, out, rest) for rest in (0.0, np.nan))
    cost, other = system.cost(state, quiet), system.cost(state, loud)
    assert_trees_close(cost, other, rtol=0)
    present = system.actions.present(quiet)
    assert not (present & out).any()
    for name in declared(type(cost)):
        assert bool(np.isfinite(getattr(cost, name)).all()), name
    for name, value in own_arrays(cost):
        assert not value[~present].any(), name
    if isinstance(cost, Totals):
        np.testing.assert_array_equal(cost.round_time, np.where(present, cost.client_time, 0.0).max(axis=-1))
        np.testing.assert_allclose(cost.energy, np.where(present, cost.client_energy, 0.0).sum(axis=-1))


def decision_shape(system: System, decision: Any) -> tuple[int, ...]:
    return tuple(system.actions.present(decision).shape)


@every_case
def test_a_round_without_anybody_goes_on(make: Any) -> None:
    system = make()
    state = begin(system, (3,))
    nobody = system.undecided(state)
    system.check_decision(state, nobody)
    cost = system.cost(state, nobody)
    for name, value in own_arrays(cost):
        assert not (value.any() and tells_presence(system)), name
    progress = system.predict(state, nobody)
    assert not (progress.amount.any() and tells_presence(system))
    after = system.advance(state, nobody, system.draw(numbers(0, 0, 1, (3,))), cost, progress)
    assert bool(np.isfinite(system.reward(after, cost, progress)).all())
    assert bool(np.isfinite(system.actions_of(nobody)).all())
    assert bool(np.isfinite(system.observe(after, system.undecided(after))).all())
    assert all(bool(np.isfinite(value).all()) for value in system.report(cost)[0].values())
    assert not system.conflicts(nobody).any()


@every_case
def test_progress_is_predicted_by_the_curve_and_weighed_in_the_reward(make: Any) -> None:
    system, plain = make(progress_weight=2.0), make(progress_weight=0.0)
    state, _, decision, cost = play(system)
    progress = system.predict(state, decision)
    assert progress.amount.shape == progress.loss_decrease.shape == (20,)
    after = advance(system, state, decision, system.draw(numbers(0, 0, 1, (20,))))
    rewards = system.reward(after, cost, progress) - plain.reward(after, cost, progress)
    assert rewards.shape == (20, len(system.agents))
    expected = 2.0 * progress.loss_decrease[:, None]
    assert bool((np.isclose(rewards, expected) | (rewards == 0.0)).all()), "0 for who earns nothing any more"
    if system.curve is None:
        assert not progress.loss_decrease.any()
        return
    assert np.isclose(rewards, expected).mean() > 0.5
    np.testing.assert_array_equal(progress.loss_decrease, system.curve.decrease(state.learned, progress.amount))
    assert bool((progress.loss_decrease[system.taking_part(decision) > 0] > 0).all())
    np.testing.assert_allclose(after.learned, state.learned + progress.amount)


# Belief.


@every_case
def test_the_belief_is_off_by_the_stated_decibels_and_the_network_is_not(make: Any) -> None:
    exact, off = make(twin_error_db=0.0), misjudged(make, 3.0)
    count = max(20, 4000 // len(off.agents))
    truth, state = begin(exact, (count,)), begin(off, (count,))
    assert exact.believed(truth) is truth
    seen = off.believed(state)
    if not off.params.twin_error_db:
        return
    changed = [name for name, value in arrays(state).items() if not np.array_equal(value, getattr(seen, name))]
    assert changed
    for name in changed:
        error = 10.0 * np.log10(getattr(seen, name) / getattr(state, name))
        assert error.std() == pytest.approx(3.0, rel=0.1), name
        np.testing.assert_array_equal(getattr(state, name), getattr(truth, name), err_msg=name)


@every_case
def test_agents_see_the_belief_and_pay_for_the_truth(make: Any) -> None:
    system = misjudged(make, 6.0)
    simulator = Simulator(system, 20)
    simulator.reset(0)
    state = simulator.state
    believed, nobody = system.believed(state), system.undecided(state)
    np.testing.assert_array_equal(simulator.observations(), system.observe(believed, nobody))
    np.testing.assert_array_equal(simulator.masks(), system.mask(believed, nobody))
    actions = random_actions(system, 20)
    outcome, decision = simulator.step(actions), system.decide(believed, actions)
    assert_trees_close(outcome.decision, decision, rtol=0)
    assert_trees_close(outcome.cost, system.cost(state, decision), rtol=0)
    assert system.taking_part(decision).any()
    if system.params.twin_error_db:
        mistaken = arrays(system.cost(believed, decision))
        assert any(bool((value != mistaken[name]).any()) for name, value in arrays(outcome.cost).items())


# Episodes.


@every_case
def test_seeds_determine_whole_episodes(make: Any) -> None:
    def episodes(seed: int) -> tuple[list[np.ndarray], list[Any]]:
        simulator = Simulator(misjudged(make, 1.0, max_cycles=3), 2, autoreset="same_step")
        simulator.reset(seed)
        rewards, states = [], [simulator.state]
        for step in range(7):
            rewards.append(simulator.step(random_actions(simulator.system, 2, step)).reward)
            states.append(simulator.state)
        return rewards, states

    (first, states), (again, same), (_, others) = episodes(1), episodes(1), episodes(9)
    np.testing.assert_array_equal(first, again)
    for one, two, other in zip(states, same, others, strict=True):
        assert_trees_close(one, two, rtol=0)
        assert any(not np.array_equal(value, getattr(other, name)) for name, value in arrays(one).items())


@every_case
def test_a_round_asks_for_its_problem_twice_and_for_its_cost_once(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    system = misjudged(make, 1.0, max_cycles=2)
    counts = {"problem": 0, "price": 0}

    def counted(name: str) -> Any:
        method = getattr(system, name)

        def call(*args: Any) -> Any:
            counts[name] += 1
            return method(*args)

        return call

    for name in counts:
        monkeypatch.setattr(system, name, counted(name))
    simulator = Simulator(system, 2, autoreset="same_step")
    simulator.reset(0)
    for step in range(4):
        simulator.observations()
        simulator.masks()
        counts.update(dict.fromkeys(counts, 0))
        outcome = simulator.step(random_actions(system, 2, step))
        ended = bool((outcome.terminated | outcome.truncated).any())
        assert counts["problem"] <= (4 if ended else 2)
        if not (ended and system.turns):
            assert counts["price"] == 1, "who decides in turn is shown what was decided before, at its price"


@every_case
def test_systems_and_simulators_are_pickled(make: Any) -> None:
    simulator = Simulator(make(max_cycles=3), 2, autoreset="next_step")
    simulator.reset(4)
    simulator.step(random_actions(simulator.system, 2))
    twin = pickle.loads(pickle.dumps(simulator))
    assert twin.system.params == simulator.system.params
    for step in range(4):
        np.testing.assert_array_equal(simulator.observations(), twin.observations())
        actions = random_actions(simulator.system, 2, step)
        np.testing.assert_array_equal(simulator.step(actions).reward, twin.step(actions).reward)
    assert_trees_close(simulator.state, twin.state, rtol=0)


# Live learning and pictures.


@every_case
def test_plans_and_pictures_follow_the_decision(make: Any) -> None:
    system = make()
    state, _, decision, _ = play(system, (4,))
    for i in range(4):
        alone, made = take(state, i), take(decision, i)
        present = system.actions.present(made)
        if system.procedure:
            plan = system.plan(alone, made)
            np.testing.assert_array_equal(plan.server >= 0, present)
            assert all(isinstance(name, str) for name in system.procedure_options())
        else:
            with pytest.raises(ValueError, match=f"{system.name} has no live learning"):
                system.plan(alone, made)
        scene = system.scene(alone, made, "a title")
        assert scene.title == "a title"
        assert len(scene.clients) == len(scene.link) == len(scene.color)
        if len(scene.clients):
            np.testing.assert_array_equal(scene.link >= 0, present)
            assert bool((scene.color < scene.num_colors).all())
        assert all(0.0 <= share <= 1.0 for row in scene.budgets.values() for share in np.ravel(row))
        assert scene.loads
        assert scene.colored in ("", *scene.loads)
