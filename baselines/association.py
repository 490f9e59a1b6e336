"""Classical schedulers of the association system: greedy, decomposition, swap matching, random.

Every solver reads the twin (`system.believed`) and returns a feasible decision: one pair per client, C5 kept, clients
whose budget is spent left out. Batched states are solved one twin after the other.
"""

import functools
from collections.abc import Callable, Iterable

import numpy as np

from ..core.checks import to_numpy
from ..core.randomness import generator, numbers
from ..core.trees import take, tree_map
from ..envs.association import AssociationParams, AssociationSystem, Decision, State
from ..twin import compute
from . import association_kernel as kernel
from .association_kernel import Integers, Problem
from .solver import Solver, as_library, stream

Pair = tuple[Integers, Integers]
"""Server and channel of every client of one twin, `(N,)`; -1: absent."""

OneTwin = Callable[[AssociationSystem, State, Problem, np.random.Generator], Pair]

UNGUIDED = np.empty(0)
"""The greedy's guide that adds nothing to the cost."""


def received_powers(power: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return transmit power times gain as the compiled code wants it."""
    return np.ascontiguousarray(power * gain, np.float64)


def problem_of(system: AssociationSystem, state: State) -> Problem:
    """Put one round of the believed state into the form that the compiled code reads.

    Raises:
        ValueError: gains that are NaN or not positive; more active clients than (server, channel) pairs.
    """
    system.check_gains(state)
    system.actions.require_enough(int(np.sum(state.active)), system.agent)
    constants = system.constants(np.empty(0))
    clients, params = system.params.num_clients, system.params
    one_client = np.ones((clients, 1)) * constants.samples[:, None]
    return Problem(
        uplink_power=received_powers(constants.client_power[:, None, None], state.uplink_gain),
        downlink_power=received_powers(constants.server_power[:, None], state.downlink_gain),
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
        bandwidth=float(params.bandwidth),
        time_weight=float(params.time_weight),
        energy_weight=float(params.energy_weight),
        members=np.empty(clients, np.int64),
        passing=np.zeros((params.num_channels, params.num_servers)),
        serving=np.zeros((params.num_channels, params.num_servers)),
    )


def solver(solve_one: OneTwin) -> Solver:
    """Turn the solution of one twin into a solver of states with any leading batch axes and of either library."""

    @functools.wraps(solve_one)
    def solve(system: AssociationSystem, state: State, rng: np.random.Generator | None = None) -> Decision:
        rng = stream(rng)
        seen = tree_map(to_numpy, system.believed(state))
        batch = seen.energy_used.shape[:-1]
        server = np.empty(seen.energy_used.shape, np.int64)
        channel = np.empty_like(server)
        for index in np.ndindex(batch):
            twin = take(seen, index) if batch else seen
            server[index], channel[index] = solve_one(system, twin, problem_of(system, twin), rng)
        return Decision(as_library(server, state.energy_used), as_library(channel, state.energy_used))

    return solve


def weakest_first(state: State) -> Integers:
    """Return the clients by their best mean gain, weakest first."""
    return np.argsort(np.max(state.mean_gain, axis=-1), kind="stable")


def random_start(system: AssociationSystem, problem: Problem, rng: np.random.Generator) -> Pair:
    """Give every active client a pair of its own, uniformly at random."""
    server, channel = empty_decision(problem)
    active = np.flatnonzero(problem.active)
    pairs = rng.permutation(system.num_actions)[: active.size]
    server[active], channel[active] = np.divmod(pairs, system.params.num_channels)
    return server, channel


def empty_decision(problem: Problem) -> Pair:
    """Return the decision in which every client is absent."""
    return np.full(problem.active.size, -1), np.full(problem.active.size, -1)


def greedy_in_order(problem: Problem, order: Integers, allowed: np.ndarray) -> Pair:
    """Run the compiled greedy over the active clients of `order`."""
    server, channel = empty_decision(problem)
    kernel.greedy(problem, order[problem.active[order]], allowed, UNGUIDED, server, channel)
    return server, channel


def anywhere(problem: Problem) -> np.ndarray:
    """Allow every client every server, `(N, M)`."""
    return np.ones(problem.edge_delay.shape, np.bool_)


@solver
def random_feasible(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Random feasible: every client a pair of its own."""
    return random_start(system, problem, rng)


@solver
def greedy(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Greedy in the order of the clients' indices: each takes the pair that makes the round so far cheapest."""
    return greedy_in_order(problem, np.arange(problem.active.size), anywhere(problem))


@solver
def greedy_weakest(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Greedy, clients of weakest best mean gain first."""
    return greedy_in_order(problem, weakest_first(state), anywhere(problem))


@solver
def greedy_strongest(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Greedy, clients of strongest best mean gain first."""
    return greedy_in_order(problem, weakest_first(state)[::-1], anywhere(problem))


def swap_from_random(best_improvement: bool) -> Solver:
    """Build swap matching from a random feasible start."""

    def swap(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
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

    def decompose(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        allowed = nearest_association(system, state, problem)
        if rule == "cost":
            return greedy_in_order(problem, np.arange(problem.active.size), allowed)
        server = np.where(problem.active, np.argmax(allowed, axis=1), -1)
        channel = np.full(server.size, -1)
        kernel.own_best_channel(problem, server, channel, rule == "time")
        return server, channel

    decompose.__doc__ = f"""Decomposition: nearest server with a vacant channel, then the channel by own {rule}."""
    return solver(decompose)


def nearest_with_index(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Nearest server with a vacant channel; channel = index mod K, the next vacant one where that is taken."""
    server = np.where(problem.active, np.argmax(nearest_association(system, state, problem), axis=1), -1)
    channel = np.full(server.size, -1)
    channels = system.params.num_channels
    for client in np.flatnonzero(problem.active):
        wanted = (client + np.arange(channels)) % channels
        channel[client] = next(k for k in wanted if k not in channel[server == server[client]])
    return server, channel


def iterative_greedy(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Greedy over (client, pair): in every step the cheapest addition of all."""
    server, channel = empty_decision(problem)
    kernel.iterative_greedy(problem, server, channel)
    return server, channel


def swap_from_greedy(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Swap matching from the weakest-first greedy, first improvement."""
    server, channel = greedy_in_order(problem, weakest_first(state), anywhere(problem))
    kernel.swap_matching(problem, server, channel, False)
    return server, channel


def randomized_greedy(orders: int, swap: bool) -> Solver:
    """Build the best of several weakest-first greedies in perturbed order (GRASP), with a swap at the end or not."""

    def grasp(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        active = np.flatnonzero(problem.active)
        strength = np.log(np.max(state.mean_gain[active], axis=-1))
        noisy = strength + rng.standard_normal((orders, active.size))
        server, channel = empty_decision(problem)
        kernel.best_greedy(problem, active[np.argsort(noisy, axis=-1)], UNGUIDED, server, channel)
        if swap:
            kernel.swap_matching(problem, server, channel, False)
        return server, channel

    ending = ", then swap matching" if swap else ""
    grasp.__doc__ = (
        f"""Randomised greedy: the best of {orders} weakest-first orders with N(0, 1) on log gain{ending}."""
    )
    return solver(grasp)


def cheapest(problem: Problem, decisions: Iterable[Pair]) -> Pair:
    """Return the decision of the lowest cost."""
    return min(decisions, key=lambda decision: kernel.round_cost(problem, *decision))


def multi_start(starts: int) -> Solver:
    """Build the best of several swap matchings from random starts."""

    def restart(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        decisions = [random_start(system, problem, rng) for _ in range(starts)]
        for server, channel in decisions:
            kernel.swap_matching(problem, server, channel, False)
        return cheapest(problem, decisions)

    restart.__doc__ = f"""The best of {starts} swap matchings from random starts."""
    return solver(restart)


def annealing(runs: int, steps: int) -> Solver:
    """Build simulated annealing, several runs, each ended by swap matching; the best is kept."""

    def anneal(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        active = np.flatnonzero(problem.active)
        if not active.size:
            return empty_decision(problem)
        decisions = [random_start(system, problem, rng) for _ in range(runs)]
        for server, channel in decisions:
            clients = active[rng.integers(active.size, size=steps)]
            pairs = rng.integers(system.num_actions, size=steps)
            kernel.anneal(problem, server, channel, clients, pairs, rng.random(steps))
            kernel.swap_matching(problem, server, channel, False)
        return cheapest(problem, decisions)

    anneal.__doc__ = f"""Simulated annealing over moves and swaps, {runs} runs of {steps:,} steps, each with a swap."""
    return solver(anneal)


def exact(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
    """Optimum by branch and bound, for small cases.

    Raises:
        ValueError: more clients than `EXACT_CLIENTS`.
    """
    active = int(problem.active.sum())
    if active > EXACT_CLIENTS:
        raise ValueError(f"{active} clients are active, the exact search takes at most {EXACT_CLIENTS}")
    order = weakest_first(state)
    server, channel = swap_from_greedy(system, state, problem, rng)
    if active:
        kernel.branch_and_bound(problem, order[problem.active[order]], server, channel)
    return server, channel


def best_fixed(samples: int, starts: int) -> Solver:
    """Build a decision that is the same for every round: an estimate of what a state without channels can reach.

    It locally minimises the mean log cost over sampled twins of the system by swap matching from random starts (sample
    average approximation), once per set of parameters; clients whose budget is spent are left out when it is used.
    """

    @functools.lru_cache(maxsize=16)
    def learn(params: AssociationParams) -> Pair:
        system = AssociationSystem(params)
        rng = generator(0, 0, 0, 3)
        state = system.start(system.draw(numbers(0, 0, 0, (samples,), stream=3)))
        first = problem_of(system, take(state, 0))
        constants = system.constants(state.uplink_gain)
        uplink_powers = received_powers(constants.client_power[:, None, None], state.uplink_gain)
        downlink_powers = received_powers(constants.server_power[:, None], state.downlink_gain)
        best, found = np.inf, empty_decision(first)
        for _ in range(starts):
            server, channel = random_start(system, first, rng)
            average = kernel.swap_on_average(first, uplink_powers, downlink_powers, server, channel)
            if average < best:
                best, found = average, (server, channel)
        return found

    def fixed(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        server, channel = learn(system.params)
        return np.where(problem.active, server, -1), np.where(problem.active, channel, -1)

    fixed.__doc__ = f"""A fixed joint decision: the average over {samples} sampled twins, locally minimised."""
    return solver(fixed)


EXACT_CLIENTS = 8
"""The search grows with the clients' number like (M K)^N: eight of them take seconds at M K = 12."""

SOLVERS: dict[str, Solver] = {
    "swap_matching": swap_from_random(best_improvement=False),
    "swap_matching_best": swap_from_random(best_improvement=True),
    "swap_from_greedy": solver(swap_from_greedy),
    "greedy": greedy,
    "greedy_weakest": greedy_weakest,
    "greedy_strongest": greedy_strongest,
    "greedy_iterative": solver(iterative_greedy),
    "decomposition_gain": decomposition("gain"),
    "decomposition_time": decomposition("time"),
    "decomposition_cost": decomposition("cost"),
    "nearest_index": solver(nearest_with_index),
    "random_feasible": random_feasible,
    **{f"grasp_{n}": randomized_greedy(n, swap=False) for n in (8, 16, 32)},
    **{f"grasp_{n}_swap": randomized_greedy(n, swap=True) for n in (8, 16, 32)},
    "multi_start": multi_start(20),
    "annealing": annealing(2, 200_000),
    "exact": solver(exact),
    "best_fixed": best_fixed(samples=200, starts=3),
}

DEFAULTS = (
    "swap_matching",
    "swap_from_greedy",
    "greedy",
    "greedy_weakest",
    "grasp_8_swap",
    "d3qn",
    "d3qn_best",
    "decomposition_gain",
    "decomposition_time",
    "decomposition_cost",
    "random_feasible",
)

REFERENCES = ("swap_matching", "exact")
