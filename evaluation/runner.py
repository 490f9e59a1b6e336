"""Runs the items of a plan: every method on the same draws, in several processes, each decision timed."""

import contextlib
import itertools
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import joblib
import numpy as np

from ..core.randomness import generator
from ..core.trees import add_axis, take
from ..envs.learning import LiveLearning
from ..envs.simulator import Outcome, Simulator
from ..federated.plan import Plan as LearningPlan
from .methods import find_method
from .plan import CENTRALIZED, Item, Plan
from .quantities import COMMON, kept
from .store import Row, Store, fault

CHUNK = 10
"""Items that a process computes before it hands them in; a kill loses no more of each process."""


def solver_generator(item: Item, cycle: int) -> np.random.Generator:
    """Make the generator of a stochastic solver: its own stream of the round."""
    return generator(item.seed, item.twin, cycle, stream=zlib.crc32(item.method.encode()))


def run_item(plan: Plan, simulator: Simulator, item: Item) -> Row:
    """Play one episode with one method.

    Raises:
        ValueError: a malformed decision, or a cost that cannot be compared; see `store.fault`.
    """
    if item.method == CENTRALIZED:
        return run_centralized(plan, simulator, item)
    system = simulator.system
    solve = find_method(plan.system, item.method)
    learned: dict[str, list[float]] = {}
    series: dict[str, list[float]] = {}
    simulator.reset(item.seed, {"episode": item.twin})
    for cycle in range(plan.options.rounds):
        state, rng = take(simulator.state, 0), solver_generator(item, cycle)
        began = time.perf_counter()
        decision = solve(system, state, rng)
        decision_time = time.perf_counter() - began
        system.check_decision(state, decision, complete=True)
        conflicts, served = int(system.conflicts(decision)), int(system.taking_part(decision))
        outcome = simulator.play(add_axis(decision))
        found = {name: float(value[0]) for name, value in kept(system, outcome.cost).items()}
        counts = {"decision_time": decision_time, "conflicts": conflicts, "served": served}
        for name, number in {**found, **counts}.items():
            series.setdefault(name, []).append(number)
        for name, value in learned_in(outcome).items() if simulator.learning is not None else ():
            learned.setdefault(name, []).append(value)
        if outcome.terminated[0]:
            break
    wrong = fault(series, plan.kind)
    if wrong:
        raise ValueError(f"{item.method} on seed {item.seed}, twin {item.twin}: {wrong}")
    ended = len(series["served"]) < plan.options.rounds
    return Row(item.method, item.seed, item.twin, series, ended, learned)


def learned_in(outcome: Outcome) -> dict[str, float]:
    """Return what a round of live learning brought: held-out loss and accuracy, bytes of all clients both ways."""
    learned = outcome.progress.information
    facts = {name: float(learned[name][0]) for name in ("loss", "accuracy")}
    return {**facts, "bytes": float(learned["uplink_bytes"].sum() + learned["downlink_bytes"].sum())}


def run_centralized(plan: Plan, simulator: Simulator, item: Item) -> Row:
    """Learn from all samples in one place, as many a round as all clients together take; it costs nothing here.

    How many that is the plan of the first method's first decision says; where it does not, each round takes them all.
    """
    task, system = plan.build_task(), simulator.system
    assert task is not None
    assert simulator.learning is not None
    procedure = task.build(CENTRALIZED, len(system.agents), simulator.learning.seed_of(item.seed, item.twin))
    simulator.reset(item.seed, {"episode": item.twin})
    state, rng = take(simulator.state, 0), solver_generator(Item(plan.methods[0], item.seed, item.twin), 0)
    decision = find_method(plan.system, plan.methods[0])(system, state, rng)
    samples = system.plan(state, decision).samples
    everything = LearningPlan(np.zeros(1, np.int64), samples=None if samples is None else samples.sum(keepdims=True))
    learned: dict[str, list[float]] = {"loss": [], "accuracy": [], "bytes": []}
    for _ in range(plan.options.rounds):
        progress = procedure.round(everything)
        for name, value in (("loss", progress.loss), ("accuracy", progress.accuracy), ("bytes", 0.0)):
            learned[name].append(value)
    names = (*kept(system, system.cost(state, decision)), *COMMON)
    nothing: dict[str, list[float]] = {name: [0] * plan.options.rounds for name in names}
    return Row(item.method, item.seed, item.twin, nothing, False, learned)


def use_one_thread() -> None:
    """Let torch compute in one thread, where it is loaded."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def run_chunk(plan: Plan, items: list[Item]) -> list[Row]:
    """Compute some items in one process; the first decision of a method compiles and is not timed."""
    system, task = plan.build_system(), plan.build_task()
    use_one_thread()
    simulator = Simulator(system, learning=None if task is None else LiveLearning(system, task, 1))
    for method in {item.method for item in items} - {CENTRALIZED}:
        simulator.reset(0)
        find_method(plan.system, method)(simulator.system, take(simulator.state, 0), generator(0, 0, 0, 1))
    use_one_thread()  # The first decision of a learned method loads torch.
    return [run_item(plan, simulator, item) for item in items]


def chunks(items: list[Item], most: int = CHUNK) -> Iterator[list[Item]]:
    """Group up to `most` items of one method and seed."""
    for _, group in itertools.groupby(items, key=lambda item: (item.method, item.seed)):
        listed = list(group)
        yield from (listed[i : i + most] for i in range(0, len(listed), most))


def run(plan: Plan, store: Store, advanced: Callable[[int], None] = lambda count: None) -> None:
    """Compute what the store lacks and add it as it comes; `advanced` hears of every batch of finished items."""
    work = list(chunks(store.missing(plan.items()), CHUNK if plan.options.learning == "analytic" else 1))
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
