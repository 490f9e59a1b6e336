"""Classical schedulers of the association system: greedy, decomposition, swap matching, random.

Every solver reads the twin (`system.believed`) and returns a feasible decision: one pair per client, C5 kept, clients
whose budget is spent left out. Batched states are solved one twin after the other.
"""

import functools
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from ..envs.association import AssociationSystem, Decision, State
from ..envs.randomness import generator
from ..envs.trees import take, tree_map
from ..twin import compute
from ..twin.arrays import Array, namespace
from . import association_kernel as kernel
from .association_kernel import Integers, Problem


class Solver(Protocol):
    """What a baseline is: a decision from what the twin shows."""

    def __call__(self, system: AssociationSystem, state: State, rng: np.random.Generator | None = None) -> Decision:
        """Return the decision for `state`; `rng` is used by solvers that draw (None: a fixed stream)."""
        ...


OneTwin = Callable[[AssociationSystem, State, Problem, np.random.Generator], tuple[Integers, Integers]]


def to_numpy(array: Array) -> np.ndarray:
    """Return the array as NumPy's, from any device."""
    return np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array)


def problem_of(system: AssociationSystem, state: State) -> Problem:
    """Put one round of the believed state into the form that the compiled code reads.

    Raises:
        ValueError: gains that are NaN or not positive; more active clients than (server, channel) pairs.
    """
    system.check_gains(state)
    system.require_pairs(int(np.sum(state.active)))
    constants = system.constants(np.empty(0))
    clients, params = system.params.num_clients, system.params
    one_client = np.ones((clients, 1)) * constants.samples[:, None]
    return Problem(
        uplink_power=np.ascontiguousarray(constants.client_power[:, None, None] * state.uplink_gain, np.float64),
        downlink_power=np.ascontiguousarray(constants.server_power[:, None] * state.downlink_gain, np.float64),
        uplink_bits=constants.uplink_bits,
        downlink_bits=constants.downlink_bits,
        client_power=constants.client_power,
        local_delay=constants.local_delay,
        local_energy=constants.local_energy,
        edge_delay=compute.edge_delay(
            server_samples=one_client, flop_per_sample=params.body_flop, server_flops=constants.server_flops
        ),
        active=np.ascontiguousarray(state.active),
        noise=float(system.noise),
        rate=params.bandwidth / math.log(2.0),
        time_weight=float(params.time_weight),
        energy_weight=float(params.energy_weight),
    )


def solver(solve_one: OneTwin) -> Solver:
    """Turn the solution of one twin into a solver of states with any leading batch axes and of either library."""

    @functools.wraps(solve_one)
    def solve(system: AssociationSystem, state: State, rng: np.random.Generator | None = None) -> Decision:
        rng = generator(0, 0, 0, 1) if rng is None else rng
        seen = tree_map(to_numpy, system.believed(state))
        batch = seen.energy_used.shape[:-1]
        server = np.empty(seen.energy_used.shape, np.int64)
        channel = np.empty_like(server)
        for index in np.ndindex(batch):
            twin = take(seen, index) if batch else seen
            server[index], channel[index] = solve_one(system, twin, problem_of(system, twin), rng)
        xp = namespace(state.energy_used)
        device = state.energy_used.device
        return Decision(xp.asarray(server, device=device), xp.asarray(channel, device=device))

    return solve


def weakest_first(state: State) -> Integers:
    """Return the clients by their best mean gain, weakest first."""
    return np.argsort(np.max(state.mean_gain, axis=-1), kind="stable")


def random_start(system: AssociationSystem, problem: Problem, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Give every active client a pair of its own, uniformly at random."""
    server = np.full(problem.active.size, -1)
    channel = np.full(problem.active.size, -1)
    active = np.flatnonzero(problem.active)
    pairs = rng.permutation(system.num_actions)[: active.size]
    server[active], channel[active] = np.divmod(pairs, system.params.num_channels)
    return server, channel


def greedy_in_order(problem: Problem, order: Integers, allowed: np.ndarray) -> tuple[Integers, Integers]:
    """Run the compiled greedy over the active clients of `order`."""
    server, channel = np.empty(order.size, np.int64), np.empty(order.size, np.int64)
    kernel.greedy(problem, order[problem.active[order]], allowed, server, channel)
    return server, channel


def anywhere(problem: Problem) -> np.ndarray:
    """Allow every client every server, `(N, M)`."""
    return np.ones(problem.edge_delay.shape, np.bool_)


@solver
def random_feasible(
    system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Random feasible: every client a pair of its own."""
    return random_start(system, problem, rng)


@solver
def greedy(
    system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Greedy in the order of the clients' indices: each takes the pair that makes the round so far cheapest."""
    return greedy_in_order(problem, np.arange(problem.active.size), anywhere(problem))


@solver
def greedy_weakest(
    system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Greedy, clients of weakest best mean gain first."""
    return greedy_in_order(problem, weakest_first(state), anywhere(problem))


def swap_from_random(best_improvement: bool) -> Solver:
    """Build swap matching from a random feasible start."""

    def swap(
        system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator
    ) -> tuple[Integers, Integers]:
        server, channel = random_start(system, problem, rng)
        kernel.swap_matching(problem, server, channel, best_improvement)
        return server, channel

    swap.__doc__ = f"""Swap matching from a random start, {"best" if best_improvement else "first"} improvement.

    Two clients swap their pairs, or one moves to a vacant pair, while the cost falls; pairwise stable at the end.
    """
    return solver(swap)


def nearest_association(system: AssociationSystem, state: State, problem: Problem) -> np.ndarray:
    """Associate each active client with the server of best mean gain that has a vacant channel.

    Returns:
        Booleans `(N, M)`, true at each client's server.
    """
    allowed = np.zeros(problem.edge_delay.shape, np.bool_)
    for client in np.flatnonzero(problem.active):
        for server in np.argsort(-state.mean_gain[client], kind="stable"):
            if allowed[:, server].sum() < system.params.num_channels:
                allowed[client, server] = True
                break
    return allowed


def decomposition(rule: str) -> Solver:
    """Build the two-step scheme: associate by mean gain, then channels in index order by `rule`."""

    def decompose(
        system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator
    ) -> tuple[Integers, Integers]:
        allowed = nearest_association(system, state, problem)
        if rule == "cost":
            return greedy_in_order(problem, np.arange(problem.active.size), allowed)
        server = np.where(problem.active, np.argmax(allowed, axis=1), -1)
        channel = np.full(server.size, -1)
        kernel.own_best_channel(problem, server, channel, rule == "time")
        return server, channel

    decompose.__doc__ = f"""Decomposition: nearest server with a vacant channel, then the channel by own {rule}."""
    return solver(decompose)


SOLVERS: dict[str, Solver] = {
    "swap_matching": swap_from_random(best_improvement=False),
    "swap_matching_best": swap_from_random(best_improvement=True),
    "greedy": greedy,
    "greedy_weakest": greedy_weakest,
    "decomposition_gain": decomposition("gain"),
    "decomposition_time": decomposition("time"),
    "decomposition_cost": decomposition("cost"),
    "random_feasible": random_feasible,
}
