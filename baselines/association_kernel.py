"""Compiled cost of the association system and the searches that call it thousands of times.

The one exception to "the cost is `System.cost`": search-type solvers evaluate whole schedules in about a microsecond.
A test holds `round_cost` equal to `AssociationSystem.cost` to 1e-9 on random and on partial decisions. Everything
compiled stands in this one file, so that the on-disk cache always sees a change.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

IMPROVEMENT = 1e-9
"""A change counts as better if the cost falls by more than this share: rounding can not make a search cycle."""


class Problem(NamedTuple):
    """One round of the association system as the compiled code reads it (SI units, contiguous float64)."""

    uplink_power: Floats
    """P_n h (N, M, K): power of client n at server m on channel k, eq (10)."""
    downlink_power: Floats
    """P_m h (N, M, K): power of server m at client n on channel k, eq (15)."""
    uplink_bits: Floats
    downlink_bits: Floats
    client_power: Floats
    local_delay: Floats
    local_energy: Floats
    edge_delay: Floats
    """Delay (N, M) that client n's samples add to every client of server m, eq (7)."""
    active: NDArray[np.bool_]
    noise: float
    rate: float
    """G / ln 2, so that the rate is rate * log1p(SINR), eqs (9) and (14)."""
    time_weight: float
    energy_weight: float


@njit(cache=True)
def link_delays(problem: Problem, server: Integers, channel: Integers, n: int) -> tuple[float, float]:
    """Up- and downlink delay of client n, eqs (9), (10), (12) and (14)-(16)."""
    m, k = server[n], channel[n]
    up, down = 0.0, 0.0
    for other in range(server.size):
        if other != n and channel[other] == k:
            up += problem.uplink_power[other, m, k]
            down += problem.downlink_power[n, server[other], k]
    up_rate = problem.rate * math.log1p(problem.uplink_power[n, m, k] / (problem.noise + up))
    down_rate = problem.rate * math.log1p(problem.downlink_power[n, m, k] / (problem.noise + down))
    return problem.uplink_bits[n] / up_rate, problem.downlink_bits[n] / down_rate


@njit(cache=True)
def refresh(problem: Problem, server: Integers, channel: Integers, k: int, up: Floats, down: Floats) -> None:
    """Compute the link delays of every client on channel k anew."""
    for n in range(server.size):
        if channel[n] == k:
            up[n], down[n] = link_delays(problem, server, channel, n)


@njit(cache=True)
def total(problem: Problem, server: Integers, up: Floats, down: Floats, load: Floats) -> float:
    """System cost (19a) of the clients that have a server, from their link delays; `load` (M,) is scratch space."""
    load[:] = 0.0
    for n in range(server.size):
        if server[n] >= 0:
            load[server[n]] += problem.edge_delay[n, server[n]]
    slowest, energy = 0.0, 0.0
    for n in range(server.size):
        if server[n] >= 0:
            slowest = max(slowest, problem.local_delay[n] + up[n] + load[server[n]] + down[n])
            energy += problem.local_energy[n] + problem.client_power[n] * up[n]
    return problem.time_weight * slowest + problem.energy_weight * energy


@njit(cache=True)
def round_cost(problem: Problem, server: Integers, channel: Integers) -> float:
    """System cost (19a) of a decision; -1: absent."""
    up, down = np.zeros(server.size), np.zeros(server.size)
    for n in range(server.size):
        if server[n] >= 0:
            up[n], down[n] = link_delays(problem, server, channel, n)
    return total(problem, server, up, down, np.empty(problem.edge_delay.shape[1]))


@njit(cache=True)
def exchange(server: Integers, channel: Integers, holder: Integers, n: int, m: int, k: int) -> int:
    """Give client n the pair (m, k); whoever holds it takes n's pair. Returns the channel that n left."""
    other, old_m, old_k = holder[m, k], server[n], int(channel[n])
    server[n], channel[n], holder[m, k], holder[old_m, old_k] = m, k, n, other
    if other >= 0:
        server[other], channel[other] = old_m, old_k
    return old_k


@njit(cache=True)
def holders(problem: Problem, server: Integers, channel: Integers, up: Floats, down: Floats) -> Integers:
    """Return who holds each pair (M, K), -1: nobody; computes the link delays of all clients on the way."""
    holder = np.full(problem.uplink_power.shape[1:], -1)
    for n in range(server.size):
        if server[n] >= 0:
            holder[server[n], channel[n]] = n
            up[n], down[n] = link_delays(problem, server, channel, n)
    return holder


@njit(cache=True)
def changed_cost(
    problem: Problem, server: Integers, channel: Integers, k: int, j: int, up: Floats, down: Floats, load: Floats
) -> float:
    """System cost after a change on channels k and j alone; refreshes their delays in `up` and `down`."""
    refresh(problem, server, channel, k, up, down)
    if j != k:
        refresh(problem, server, channel, j, up, down)
    return total(problem, server, up, down, load)


@njit(cache=True)
def swap_matching(problem: Problem, server: Integers, channel: Integers, best_improvement: bool) -> int:
    """Swap two clients' pairs or move one to a vacant pair while the cost falls; returns the evaluations made.

    Clients are visited in turn. First improvement takes every change that helps as it is found; best improvement the
    best of a client's changes. It ends when no single change of any client helps: the matching is pairwise stable.
    """
    clients, servers, channels = problem.uplink_power.shape
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    kept_up, kept_down = np.empty(clients), np.empty(clients)
    holder = holders(problem, server, channel, up, down)
    cost = total(problem, server, up, down, load)
    evaluations, stable, n = 1, 0, 0
    while stable < clients:
        stable += 1
        best, best_m, best_k = cost * (1.0 - IMPROVEMENT), -1, -1
        for pair in range(servers * channels if server[n] >= 0 else 0):
            m, k = pair // channels, pair % channels
            if holder[m, k] == n:
                continue
            kept_up[:], kept_down[:] = up, down
            old_m = server[n]
            old_k = exchange(server, channel, holder, n, m, k)
            trial = changed_cost(problem, server, channel, old_k, k, up, down, load)
            evaluations += 1
            if trial < best and not best_improvement:
                cost, best, stable = trial, trial * (1.0 - IMPROVEMENT), 0
                continue
            if trial < best:
                best, best_m, best_k = trial, m, k
            exchange(server, channel, holder, n, old_m, old_k)
            up[:], down[:] = kept_up, kept_down
        if best_m >= 0:
            old_k = exchange(server, channel, holder, n, best_m, best_k)
            cost, stable = changed_cost(problem, server, channel, old_k, best_k, up, down, load), 0
        n = (n + 1) % clients
    return evaluations


@njit(cache=True)
def greedy(problem: Problem, order: Integers, allowed: NDArray[np.bool_], server: Integers, channel: Integers) -> None:
    """Give each client of `order` the vacant pair, of those `allowed` (N, M), that makes the round so far cheapest."""
    clients, servers, channels = problem.uplink_power.shape
    server[:], channel[:] = -1, -1
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    kept_up, kept_down = np.empty(clients), np.empty(clients)
    taken = np.zeros((servers, channels), np.bool_)
    for n in order:
        best, best_m, best_k = np.inf, -1, -1
        kept_up[:], kept_down[:] = up, down
        for pair in range(servers * channels):
            m, k = pair // channels, pair % channels
            if taken[m, k] or not allowed[n, m]:
                continue
            server[n], channel[n] = m, k
            refresh(problem, server, channel, k, up, down)
            trial = total(problem, server, up, down, load)
            if trial < best:
                best, best_m, best_k = trial, m, k
            up[:], down[:] = kept_up, kept_down
        server[n], channel[n] = best_m, best_k
        taken[best_m, best_k] = True
        refresh(problem, server, channel, best_k, up, down)


@njit(cache=True)
def own_best_channel(problem: Problem, server: Integers, channel: Integers, by_time: bool) -> None:
    """Give each client, in index order, the vacant channel of its server with the best own gain or own link time."""
    clients, servers, channels = problem.uplink_power.shape
    taken = np.zeros((servers, channels), np.bool_)
    for n in range(clients):
        m = server[n]
        if m < 0:
            continue
        best, best_k = np.inf, -1
        for k in range(channels):
            if taken[m, k]:
                continue
            channel[n] = k
            if by_time:
                up, down = link_delays(problem, server, channel, n)
                score = up + down
            else:
                score = -problem.uplink_power[n, m, k]
            if score < best:
                best, best_k = score, k
        channel[n] = best_k
        taken[m, best_k] = True


@njit(cache=True)
def iterative_greedy(problem: Problem, server: Integers, channel: Integers) -> None:
    """Serve in every step the client and the vacant pair that make the round so far cheapest; writes the decision."""
    clients, servers, channels = problem.uplink_power.shape
    server[:], channel[:] = -1, -1
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    kept_up, kept_down = np.empty(clients), np.empty(clients)
    taken = np.zeros((servers, channels), np.bool_)
    for _ in range(problem.active.sum()):
        best, best_n, best_m, best_k = np.inf, -1, -1, -1
        kept_up[:], kept_down[:] = up, down
        for n in range(clients):
            if server[n] >= 0 or not problem.active[n]:
                continue
            for pair in range(servers * channels):
                m, k = pair // channels, pair % channels
                if taken[m, k]:
                    continue
                server[n], channel[n] = m, k
                refresh(problem, server, channel, k, up, down)
                trial = total(problem, server, up, down, load)
                if trial < best:
                    best, best_n, best_m, best_k = trial, n, m, k
                up[:], down[:] = kept_up, kept_down
                server[n], channel[n] = -1, -1
        server[best_n], channel[best_n] = best_m, best_k
        taken[best_m, best_k] = True
        refresh(problem, server, channel, best_k, up, down)


@njit(cache=True)
def best_greedy(problem: Problem, orders: Integers, server: Integers, channel: Integers) -> None:
    """Run the greedy in every order of `orders` (n, N) and keep the cheapest decision."""
    allowed = np.ones(problem.edge_delay.shape, np.bool_)
    trial_server, trial_channel = np.empty_like(server), np.empty_like(channel)
    best = np.inf
    for row in range(orders.shape[0]):
        greedy(problem, orders[row], allowed, trial_server, trial_channel)
        cost = round_cost(problem, trial_server, trial_channel)
        if cost < best:
            best = cost
            server[:], channel[:] = trial_server, trial_channel


@njit(cache=True)
def anneal(
    problem: Problem, server: Integers, channel: Integers, clients_of: Integers, pairs: Integers, uniforms: Floats
) -> None:
    """Simulated annealing over moves and swaps from the given decision; ends in the cheapest decision seen.

    Proposal s gives client `clients_of[s]` the pair `pairs[s]` (its holder takes the client's pair) and is accepted
    with probability exp(-relative rise / temperature), the temperature falling from 0.3 to 1e-4 geometrically.
    """
    clients, servers, channels = problem.uplink_power.shape
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    kept_up, kept_down = np.empty(clients), np.empty(clients)
    holder = holders(problem, server, channel, up, down)
    cost = total(problem, server, up, down, load)
    best, best_server, best_channel = cost, server.copy(), channel.copy()
    steps = pairs.size
    for step in range(steps):
        temperature = 0.3 * (1e-4 / 0.3) ** (step / steps)
        n, m, k = clients_of[step], pairs[step] // channels, pairs[step] % channels
        if holder[m, k] == n:
            continue
        old_m = server[n]
        kept_up[:], kept_down[:] = up, down
        old_k = exchange(server, channel, holder, n, m, k)
        trial = changed_cost(problem, server, channel, old_k, k, up, down, load)
        if trial < cost or uniforms[step] < math.exp((cost - trial) / (cost * temperature)):
            cost = trial
            if cost < best:
                best = cost
                best_server[:], best_channel[:] = server, channel
        else:
            exchange(server, channel, holder, n, old_m, old_k)
            up[:], down[:] = kept_up, kept_down
    server[:], channel[:] = best_server, best_channel


@njit(cache=True)
def branch_and_bound(problem: Problem, order: Integers, server: Integers, channel: Integers) -> int:
    """Find the optimum, depth first over the clients of `order`; returns the nodes visited.

    `server` and `channel` hold a feasible decision, whose cost is the first bound. Another client only adds
    interference, load and energy, so the cost of those placed so far is a lower bound of every completion.
    """
    clients, servers, channels = problem.uplink_power.shape
    best = round_cost(problem, server, channel) * (1.0 + 1e-12)
    trial_server, trial_channel = np.full(clients, -1), np.full(clients, -1)
    taken = np.zeros(servers * channels, np.bool_)
    pair = np.full(order.size, -1)
    depth, visited = 0, 0
    while depth >= 0:
        n = order[depth]
        if pair[depth] >= 0:
            taken[pair[depth]] = False
            trial_server[n], trial_channel[n] = -1, -1
        pair[depth] += 1
        while pair[depth] < servers * channels and taken[pair[depth]]:
            pair[depth] += 1
        if pair[depth] == servers * channels:
            pair[depth] = -1
            depth -= 1
            continue
        taken[pair[depth]] = True
        trial_server[n], trial_channel[n] = pair[depth] // channels, pair[depth] % channels
        visited += 1
        cost = round_cost(problem, trial_server, trial_channel)
        if cost >= best:
            continue
        if depth == order.size - 1:
            best = cost
            server[:], channel[:] = trial_server, trial_channel
        else:
            depth += 1
    return visited


@njit(cache=True)
def mean_log_cost(
    first: Problem, uplink_powers: Floats, downlink_powers: Floats, server: Integers, channel: Integers
) -> float:
    """Sample average of log cost: one decision on every twin of `uplink_powers`, `downlink_powers` (S, N, M, K)."""
    logs = 0.0
    for sample in range(uplink_powers.shape[0]):
        twin = Problem(
            uplink_powers[sample],
            downlink_powers[sample],
            first.uplink_bits,
            first.downlink_bits,
            first.client_power,
            first.local_delay,
            first.local_energy,
            first.edge_delay,
            first.active,
            first.noise,
            first.rate,
            first.time_weight,
            first.energy_weight,
        )
        logs += math.log(round_cost(twin, server, channel))
    return logs / len(uplink_powers)


@njit(cache=True)
def swap_on_average(
    first: Problem, uplink_powers: Floats, downlink_powers: Floats, server: Integers, channel: Integers
) -> float:
    """Swap matching on the sample average of log cost, first improvement; returns the average it ends with."""
    clients, servers, channels = first.uplink_power.shape
    holder = holders(first, server, channel, np.empty(clients), np.empty(clients))
    cost = mean_log_cost(first, uplink_powers, downlink_powers, server, channel)
    stable, n = 0, 0
    while stable < clients:
        stable += 1
        for pair in range(servers * channels):
            m, k = pair // channels, pair % channels
            if holder[m, k] == n:
                continue
            old_m = server[n]
            old_k = exchange(server, channel, holder, n, m, k)
            trial = mean_log_cost(first, uplink_powers, downlink_powers, server, channel)
            if trial < cost - IMPROVEMENT:
                cost, stable = trial, 0
            else:
                exchange(server, channel, holder, n, old_m, old_k)
        n = (n + 1) % clients
    return cost
