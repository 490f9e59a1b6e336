"""Runs the items of a plan: every method on the same draws, in several processes, each decision timed."""

import contextlib
import itertools
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import torch

from ..baselines import find_solver
from ..envs.randomness import generator
from ..envs.simulator import Simulator
from ..envs.trees import take
from .plan import Item, Plan
from .store import Row, Store

CHUNK = 10
"""Items that a process computes before it hands them in; a kill loses no more of each process."""


def solver_generator(item: Item, cycle: int) -> np.random.Generator:
    """Make the generator of a stochastic solver: its own stream of the round."""
    return generator(item.seed, item.twin, cycle, stream=zlib.crc32(item.method.encode()))


def run_item(plan: Plan, simulator: Simulator, item: Item) -> Row:
    """Play one episode with one method."""
    system = simulator.system
    solve = find_solver(plan.system, item.method)
    series: dict[str, list[Any]] = {"decision_time": [], "conflicts": [], "served": []}
    simulator.reset(item.seed, {"episode": item.twin})
    for cycle in range(plan.options.rounds):
        state, rng = take(simulator.state, 0), solver_generator(item, cycle)
        began = time.perf_counter()
        decision = solve(system, state, rng)
        series["decision_time"].append(time.perf_counter() - began)
        system.check_decision(state, decision, complete=True)
        series["conflicts"].append(int(system.conflicts(decision)))
        series["served"].append(int(system.taking_part(decision)))
        outcome = simulator.play(type(decision)(decision.server[None], decision.channel[None]))
        for name, value in system.report(outcome.cost)[0].items():
            series.setdefault(name, []).append(float(value[0]))
        if outcome.terminated[0]:
            break
    ended = len(series["served"]) < plan.options.rounds
    return Row(item.method, item.seed, item.twin, **series, ended=ended)


def run_chunk(plan: Plan, items: list[Item]) -> list[Row]:
    """Compute some items in one process; the first decision of a method compiles and is not timed."""
    torch.set_num_threads(1)
    simulator = Simulator(plan.build_system())
    for method in {item.method for item in items}:
        simulator.reset(0)
        find_solver(plan.system, method)(simulator.system, take(simulator.state, 0), generator(0, 0, 0, 1))
    return [run_item(plan, simulator, item) for item in items]


def chunks(items: list[Item]) -> Iterator[list[Item]]:
    """Group items of one method and seed."""
    for _, group in itertools.groupby(items, key=lambda item: (item.method, item.seed)):
        listed = list(group)
        yield from (listed[i : i + CHUNK] for i in range(0, len(listed), CHUNK))


def run(plan: Plan, store: Store, advanced: Callable[[int], None] = lambda count: None) -> None:
    """Compute what the store lacks and add it as it comes; `advanced` hears of every batch of finished items."""
    work = list(chunks(store.missing(plan.items())))
    if not work:
        return
    if plan.options.backend == "ray":
        from ray.util.joblib import register_ray

        register_ray()
    threads = {"inner_max_num_threads": 1} if plan.options.backend == "loky" else {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(joblib.parallel_config(plan.options.backend, n_jobs=plan.options.jobs, **threads))
        results = joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(run_chunk)(plan, items) for items in work
        )
        for rows in results:
            store.add(rows)
            advanced(len(rows))
