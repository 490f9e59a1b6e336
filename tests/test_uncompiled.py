"""Every solver of every system on networks so small that it also runs uncompiled, as `make coverage` runs it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from fedtwin.baselines import SOLVERS
from fedtwin.core.randomness import generator, numbers
from fedtwin.envs import SYSTEMS, make_system
from fedtwin.envs.system import System
from fedtwin.evaluation.methods import usual_methods

pytestmark = pytest.mark.uncompiled
SMALL = 4
"""The most of anything that a network has several of."""
QUICK = {name: [method for method in SOLVERS[name] if method in usual_methods(name)] for name in SOLVERS}
CASES: list[tuple[str, str | None, str]] = [(name, None, method) for name in SOLVERS for method in SOLVERS[name]]
CASES += [(name, preset, method) for name in SOLVERS for preset in SYSTEMS[name].presets for method in QUICK[name]]


def small_system(name: str, preset: str | None) -> System:
    params = make_system(name, preset).params
    counts = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    small: dict[str, Any] = {field: min(count, SMALL) for field, count in counts.items() if field.startswith("num_")}
    return make_system(name, preset, **small)


@pytest.mark.parametrize(("name", "preset", "method"), CASES)
def test_a_small_network_is_decided_as_a_solver_should(name: str, preset: str | None, method: str) -> None:
    system, solve = small_system(name, preset), SOLVERS[name][method]
    for episode in range(2):
        state = system.start(system.draw(numbers(5, episode, 0)))
        try:
            decision = solve(system, state, generator(6, episode, 0))
        except ValueError as error:
            if "the weights are for" in str(error):
                pytest.skip("a learned scheduler of networks of another size")
            raise
        system.check_decision(state, decision)
        assert np.isfinite(getattr(system.cost(state, decision), system.objective))
