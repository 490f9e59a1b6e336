"""Compiled cost of the association system and the searches that call it thousands of times.

The one exception to "the cost is `System.cost`": search-type solvers evaluate whole schedules in about a microsecond.
Interference, rates, delays and energies are those of `twin`, compiled from their own source; what a round adds up to is
written a second time, and so is what a learned scheduler sees of a pair, in single precision. Tests hold `round_cost`
equal to `AssociationSystem.cost` to 1e-9 on random and on partial decisions, and the fields to its observations.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.compiling import cached_njit
from ..twin.equations import link_of, sinr, system_cost, transmission_energy
from ..twin.radio_kernel import disturb, disturb_few, on_air

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Singles = NDArray[np.float32]

FEW = 8
"""Clients on a channel up to which their interference is added up pair by pair."""

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
    bandwidth: float
    """G of a channel."""
    time_weight: float
    energy_weight: float
    members: Integers
    """Scratch space of `disturb` (N,)."""
    passing: Floats
    """Scratch space of `disturb` (K, M), zeros between its calls, as the next."""
    serving: Floats


@cached_njit()
def refresh(problem: Problem, server: Integers, channel: Integers, only: int, up: Floats, down: Floats) -> None:
    """Compute the link delays of every client on channel `only` anew (-1: of all), eqs (9), (10), (12), (14)-(16)."""
    powers = problem.uplink_power, problem.downlink_power
    members = problem.members[: on_air(channel, only, problem.members)]
    if only >= 0 and members.size <= FEW:
        disturb_few(*powers, server, channel, members, up, down)
    else:
        disturb(*powers, server, channel, members, problem.passing, problem.serving, up, down)
    for n in members:
        m, k = server[n], channel[n]
        heard = sinr(signal=problem.uplink_power[n, m, k], interference=up[n], noise=problem.noise)
        up[n] = link_of(sinr=heard, bits=problem.uplink_bits[n], bandwidth=problem.bandwidth)[1]
        heard = sinr(signal=problem.downlink_power[n, m, k], interference=down[n], noise=problem.noise)
        down[n] = link_of(sinr=heard, bits=problem.downlink_bits[n], bandwidth=problem.bandwidth)[1]


@cached_njit()
def time_and_energy(
    problem: Problem, server: Integers, up: Floats, down: Floats, load: Floats
) -> tuple[float, int, float, float]:
    """Times and energy of the clients that have a server, from their link delays; `load` (M,) is scratch space.

    Returns:
        Round time (17), the client that sets it (-1: nobody), the sum of the clients' times, and their energy (18).
    """
    load[:] = 0.0
    for n in range(server.size):
        if server[n] >= 0:
            load[server[n]] += problem.edge_delay[n, server[n]]
    slowest, worst, times, energy = 0.0, -1, 0.0, 0.0
    for n in range(server.size):
        if server[n] >= 0:
            time = problem.local_delay[n] + up[n] + load[server[n]] + down[n]
            times += time
            if time > slowest:
                slowest, worst = time, n
            energy += problem.local_energy[n] + transmission_energy(power=problem.client_power[n], delay=up[n])
    return slowest, worst, times, energy


@cached_njit()
def total(problem: Problem, server: Integers, up: Floats, down: Floats, load: Floats) -> float:
    """System cost (19a) of the clients that have a server, from their link delays; `load` (M,) is scratch space."""
    slowest, _, _, energy = time_and_energy(problem, server, up, down, load)
    time_weight, energy_weight = problem.time_weight, problem.energy_weight
    return system_cost(  # type: ignore[no-any-return]
        round_time=slowest, energy=energy, time_weight=time_weight, energy_weight=energy_weight
    )


@cached_njit()
def round_cost(problem: Problem, server: Integers, channel: Integers) -> float:
    """System cost (19a) of a decision; -1: absent."""
    up, down = np.zeros(server.size), np.zeros(server.size)
    refresh(problem, server, channel, -1, up, down)
    return total(problem, server, up, down, np.empty(problem.edge_delay.shape[1]))


@cached_njit()
def exchange(server: Integers, channel: Integers, holder: Integers, n: int, m: int, k: int) -> int:
    """Give client n the pair (m, k); whoever holds it takes n's pair. Returns the channel that n left."""
    other, old_m, old_k = holder[m, k], server[n], int(channel[n])
    server[n], channel[n], holder[m, k], holder[old_m, old_k] = m, k, n, other
    if other >= 0:
        server[other], channel[other] = old_m, old_k
    return old_k


@cached_njit()
def holders(problem: Problem, server: Integers, channel: Integers, up: Floats, down: Floats) -> Integers:
    """Return who holds each pair (M, K), -1: nobody; computes the link delays of all clients on the way."""
    holder = np.full(problem.uplink_power.shape[1:], -1)
    for n in range(server.size):
        if server[n] >= 0:
            holder[server[n], channel[n]] = n
    refresh(problem, server, channel, -1, up, down)
    return holder


@cached_njit()
def changed_cost(
    problem: Problem, server: Integers, channel: Integers, k: int, j: int, up: Floats, down: Floats, load: Floats
) -> float:
    """System cost after a change on channels k and j alone; refreshes their delays in `up` and `down`."""
    refresh(problem, server, channel, k, up, down)
    if j != k:
        refresh(problem, server, channel, j, up, down)
    return total(problem, server, up, down, load)


@cached_njit()
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


@cached_njit()
def greedy(
    problem: Problem,
    order: Integers,
    allowed: NDArray[np.bool_],
    guide: Floats,
    server: Integers,
    channel: Integers,
) -> None:
    """Give each client of `order` the best vacant pair of those `allowed` (N, M); writes the decision.

    Best is the pair that makes the round so far cheapest; with a `guide` of `GUIDES` weights, the pair of the lowest
    log cost plus guided terms.
    """
    clients, servers, channels = problem.uplink_power.shape
    server[:], channel[:] = -1, -1
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    kept_up, kept_down = np.empty(clients), np.empty(clients)
    holder = np.full((servers, channels), -1)
    waiting = np.zeros(clients, np.bool_)
    waiting[order] = True
    terms = np.zeros((servers, channels))
    for turn in range(order.size):
        n = order[turn]
        waiting[n] = False
        if guide.size:
            guided_terms(problem, n, holder, waiting, guide, terms)
        best, best_m, best_k = np.inf, -1, -1
        kept_up[:], kept_down[:] = up, down
        for pair in range(servers * channels):
            m, k = pair // channels, pair % channels
            if holder[m, k] >= 0 or not allowed[n, m]:
                continue
            server[n], channel[n] = m, k
            refresh(problem, server, channel, k, up, down)
            if guide.size:
                slowest, _, times, energy = time_and_energy(problem, server, up, down, load)
                cost = problem.time_weight * (slowest + guide[0] * times) + problem.energy_weight * energy
                trial = math.log(cost) + guide[1] * math.log(up[n] + down[n]) + terms[m, k]
            else:
                trial = total(problem, server, up, down, load)
            if trial < best:
                best, best_m, best_k = trial, m, k
            up[:], down[:] = kept_up, kept_down
        server[n], channel[n] = best_m, best_k
        holder[best_m, best_k] = n
        refresh(problem, server, channel, best_k, up, down)


GUIDES = 8
"""Weights of a guide: sum of times; own link time; clients on the channel; then, scaled by the share of clients still
to come: clients on the channel, clients of the server, the strongest waiting client on the pair, own power heard by
the other servers, own power."""


ORDER_FEATURES = 6


@cached_njit()
def order_features(problem: Problem, mean_gain: Floats, clients: Integers) -> Floats:
    """What a learned order sees of `clients` (n,): (n, `ORDER_FEATURES`), each of mean 0 and deviation 1 over them.

    Log of the best and of the second best mean gain; log of the best, of the mean and of the fourth best power on a
    pair; how many of the clients have the same best server.
    """
    _, servers, channels = problem.uplink_power.shape
    features = np.zeros((clients.size, ORDER_FEATURES))
    nearest = np.empty(clients.size, np.int64)
    for row in range(clients.size):
        n = clients[row]
        nearest[row] = np.argmax(mean_gain[n])
        means = np.sort(np.log(mean_gain[n]))
        powers = np.sort(np.log(problem.uplink_power[n]).ravel())
        features[row, 0], features[row, 1] = means[-1], means[max(servers - 2, 0)]
        features[row, 2], features[row, 3] = powers[-1], powers.mean()
        features[row, 4] = powers[max(servers * channels - 4, 0)]
    for row in range(clients.size):
        features[row, 5] = (nearest == nearest[row]).sum()
    for f in range(ORDER_FEATURES):
        column = features[:, f]
        features[:, f] = (column - column.mean()) / (column.std() + 1e-9)
    return features


@cached_njit()
def guided_terms(
    problem: Problem, n: int, holder: Integers, waiting: NDArray[np.bool_], guide: Floats, terms: Floats
) -> None:
    """Write to `terms` (M, K) what a guide adds for client n on each pair beyond the round's cost so far."""
    clients, servers, channels = problem.uplink_power.shape
    left = waiting.sum() / clients
    on_channel, on_server = (holder >= 0).sum(axis=0), (holder >= 0).sum(axis=1)
    for k in range(channels):
        everywhere = 0.0
        for m in range(servers):
            everywhere += math.log(problem.uplink_power[n, m, k])
        for m in range(servers):
            strongest = 0.0
            for other in range(clients):
                if waiting[other]:
                    strongest = max(strongest, problem.uplink_power[other, m, k])
            own = math.log(problem.uplink_power[n, m, k])
            wanted = math.log(strongest) if strongest > 0.0 else own
            others = (everywhere - own) / max(servers - 1, 1)
            to_come = (
                guide[3] * on_channel[k]
                + guide[4] * on_server[m]
                + guide[5] * wanted
                + guide[6] * (others - own)
                + guide[7] * own
            )
            terms[m, k] = guide[2] * on_channel[k] + left * to_come


@cached_njit()
def repair(problem: Problem, server: Integers, channel: Integers, changes: int) -> int:
    """Let the slowest client move or swap, the best of its changes, while the cost falls; returns the changes made."""
    clients, servers, channels = problem.uplink_power.shape
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    kept_up, kept_down = np.empty(clients), np.empty(clients)
    holder = holders(problem, server, channel, up, down)
    for made in range(changes):
        _, n, _, _ = time_and_energy(problem, server, up, down, load)
        if n < 0:
            return made
        best, best_m, best_k = total(problem, server, up, down, load) * (1.0 - IMPROVEMENT), -1, -1
        kept_up[:], kept_down[:] = up, down
        old_m = server[n]
        for pair in range(servers * channels):
            m, k = pair // channels, pair % channels
            if holder[m, k] == n:
                continue
            old_k = exchange(server, channel, holder, n, m, k)
            trial = changed_cost(problem, server, channel, old_k, k, up, down, load)
            if trial < best:
                best, best_m, best_k = trial, m, k
            exchange(server, channel, holder, n, old_m, old_k)
            up[:], down[:] = kept_up, kept_down
        if best_m < 0:
            return made
        old_k = exchange(server, channel, holder, n, best_m, best_k)
        changed_cost(problem, server, channel, old_k, best_k, up, down, load)
    return changes


class PairWeights(NamedTuple):
    """A trained `PairNetwork` as the compiled code reads it (contiguous float32), advantages only."""

    low: Singles
    """Lowest raw value of each field, where its scale is logarithmic."""
    offset: Singles
    factor: Singles
    """Fields become (x - offset) factor, or that of log x, clipped to [0, 1]."""
    first: Singles
    """(hidden, fields), standardisation included."""
    first_bias: Singles
    own: Singles
    on_channel: Singles
    """The second layer's parts for a pair's own numbers and its channel's means (mixed, hidden)."""
    shared: Singles
    """Those for the means over its server, then over all pairs (2 hidden, mixed)."""
    mix_bias: Singles
    head: Singles
    """(last, mixed), of size 0 where there is none."""
    head_bias: Singles
    advantage: Singles
    """(last,)."""


@cached_njit(fastmath=True, error_model="numpy")
def log_single(value: Any) -> Any:
    """Natural logarithm of a positive normal float32; to 1e-6, and many at once where a loop calls it.

    x = 2^e f with f in [sqrt(1/2), sqrt(2)); log f = 2 artanh(t), t = (f - 1) / (f + 1), by its series.
    """
    bits = np.float32(value).view(np.int32)
    exponent = np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23)
    part = np.int32(bits - (exponent << np.int32(23))).view(np.float32)
    t = (part - np.float32(1.0)) / (part + np.float32(1.0))
    square = t * t
    series = np.float32(1.0 / 9.0)
    series = series * square + np.float32(1.0 / 7.0)
    series = series * square + np.float32(0.2)
    series = series * square + np.float32(1.0 / 3.0)
    series = series * square + np.float32(1.0)
    return np.float32(2.0) * t * series + np.float32(exponent) * np.float32(math.log(2.0))


@cached_njit(error_model="numpy")
def log_in_place(values: Singles) -> None:
    """Natural logarithm of positive normal float32 `values` (n,)."""
    for i in range(values.size):
        values[i] = log_single(values[i])


@cached_njit(fastmath=True)
def scale_field(values: Singles, weights: PairWeights, field: int) -> None:
    """Bring a field's values, logarithms where its scale is logarithmic, to [0, 1] in place."""
    offset, factor = weights.offset[field], weights.factor[field]
    for i in range(values.size):
        values[i] = min(max((values[i] - offset) * factor, np.float32(0.0)), np.float32(1.0))


@cached_njit(error_model="numpy")
def pair_fields(
    problem: Problem, own_gain: Floats, n: int, taken: Singles, heard: Floats, worst: float, weights: PairWeights,
    fields: Singles,
) -> None:  # fmt: skip
    """Write what client n sees of each pair to `fields` (9, M K): `AssociationSystem.observe`, sequential.

    `own_gain` (M,) is its mean gain, `taken` (M, K) is 1 where a pair is taken, `heard` (M, K) the power in W that
    every server hears on every channel, `worst` the worst client time so far.
    """
    _, servers, channels = problem.uplink_power.shape
    noise, low = problem.noise, weights.low
    up_signal, down_signal = problem.uplink_power[n], problem.downlink_power[n]
    on_channel, disturbance = np.zeros(channels, np.float32), np.zeros(channels)
    for m in range(servers):
        for k in range(channels):
            on_channel[k] += taken[m, k]
            disturbance[k] += taken[m, k] * down_signal[m, k]
    slowest = math.log(max(np.float32(worst), low[8]))
    for m in range(servers):
        on_server = np.float32(0.0)
        for k in range(channels):
            on_server += taken[m, k]
        first = m * channels
        gain = math.log(max(np.float32(own_gain[m]), low[0]))
        to_gain = 1.0 / problem.client_power[n]
        for k in range(channels):
            pair = first + k
            fields[0, pair] = gain
            fields[1, pair] = max(np.float32(up_signal[m, k] * to_gain), low[1])
            fields[2, pair] = taken[m, k]
            fields[3, pair] = on_channel[k]
            fields[4, pair] = on_server
            fields[5, pair] = np.float32(up_signal[m, k] / (noise + heard[m, k]))
            fields[6, pair] = np.float32(down_signal[m, k] / (noise + disturbance[k]))
            fields[7, pair] = max(np.float32(heard[m, k]), low[7])
            fields[8, pair] = slowest
    delays(problem, n, fields, weights)
    for field in (1, 5, 6, 7):
        log_in_place(fields[field])
    for field in range(9):
        scale_field(fields[field], weights, field)


@cached_njit(error_model="numpy")
def delays(problem: Problem, n: int, fields: Singles, weights: PairWeights) -> None:
    """Turn the SINR in `fields` 5 and 6 into up- and downlink delays of client n; log1p keeps small ones exact."""
    for field, load in ((5, problem.uplink_bits[n]), (6, problem.downlink_bits[n])):
        row, scale, low = fields[field], np.float32(load * math.log(2.0) / problem.bandwidth), weights.low[field]
        for i in range(row.size):
            sinr = row[i]
            grown = sinr + np.float32(1.0)
            rounded = grown - np.float32(1.0)
            exact = log_single(grown) * (sinr / rounded) if rounded > np.float32(0.0) else sinr
            row[i] = max(scale / exact, low)


@cached_njit(fastmath=True)
def add_product(a: Singles, b: Singles, out: Singles) -> None:
    """Add the matrix product a b to `out`, two rows of a and four of b at a time: BLAS is slower for so small ones."""
    rows, inner = a.shape
    whole = inner - inner % 4
    for i in range(0, rows, 2):
        # The last of an odd number of rows goes alone, with a partner of weight 0.
        pair = min(i + 1, rows - 1)
        weight = np.float32(1.0 if pair > i else 0.0)
        row, twin = out[i], out[pair]
        for j in range(0, whole, 4):
            w0, w1, w2, w3 = a[i, j], a[i, j + 1], a[i, j + 2], a[i, j + 3]
            v0, v1, v2, v3 = a[pair, j], a[pair, j + 1], a[pair, j + 2], a[pair, j + 3]
            x0, x1, x2, x3 = b[j], b[j + 1], b[j + 2], b[j + 3]
            for q in range(row.size):
                y0, y1, y2, y3 = x0[q], x1[q], x2[q], x3[q]
                row[q] += w0 * y0 + w1 * y1 + w2 * y2 + w3 * y3
                twin[q] += weight * (v0 * y0 + v1 * y1 + v2 * y2 + v3 * y3)
        for j in range(whole, inner):
            w0, v0, x = a[i, j], a[pair, j], b[j]
            for q in range(row.size):
                row[q] += w0 * x[q]
                twin[q] += weight * (v0 * x[q])


@cached_njit(fastmath=True)
def dense(weight: Singles, bias: Singles, x: Singles, rectify: bool) -> Singles:
    """A layer for all columns of x (inputs, n): weight x + bias, negative numbers cut off where `rectify`."""
    out = np.empty((weight.shape[0], x.shape[1]), np.float32)
    for i in range(out.shape[0]):
        out[i] = bias[i]
    add_product(weight, x, out)
    if rectify:
        cut_off(out)
    return out


@cached_njit(fastmath=True)
def cut_off(x: Singles) -> None:
    """Set negative numbers to 0."""
    flat = x.ravel()
    for i in range(flat.size):
        value = flat[i]
        flat[i] = value if value > np.float32(0.0) else np.float32(0.0)


@cached_njit(fastmath=True)
def pair_advantages(fields: Singles, servers: int, channels: int, weights: PairWeights) -> Singles:
    """Advantages (M K,) of `PairNetwork` for the fields (fields, M K) of one client."""
    first = dense(weights.first, weights.first_bias, fields, True)
    hidden, outputs = first.shape[0], weights.mix_bias.size
    pairs = first.reshape((hidden, servers, channels))
    by_channel, means = np.zeros((hidden, channels), np.float32), np.empty((servers, 2 * hidden), np.float32)
    per_server, per_channel = np.float32(1.0 / servers), np.float32(1.0 / channels)
    for h in range(hidden):
        everywhere = np.float32(0.0)
        for m in range(servers):
            mean = np.float32(0.0)
            for k in range(channels):
                by_channel[h, k] += pairs[h, m, k] * per_server
                mean += pairs[h, m, k] * per_channel
            means[m, h] = mean
            everywhere += mean * per_server
        means[:, hidden + h] = everywhere
    shared, mixed = np.empty((servers, outputs), np.float32), np.empty((outputs, servers * channels), np.float32)
    for m in range(servers):
        shared[m] = weights.mix_bias
    add_product(means, weights.shared, shared)
    channel_part = dense(weights.on_channel, np.zeros_like(weights.mix_bias), by_channel, False)
    for o in range(outputs):
        part, row = channel_part[o], mixed[o]
        for m in range(servers):
            addend = shared[m, o]
            for k in range(channels):
                row[m * channels + k] = part[k] + addend
    add_product(weights.own, first, mixed)
    cut_off(mixed)
    if weights.head.size:
        mixed = dense(weights.head, weights.head_bias, mixed, True)
    advantages = np.zeros(mixed.shape[1], np.float32)
    for h in range(mixed.shape[0]):
        row, weight = mixed[h], weights.advantage[h]
        for pair in range(row.size):
            advantages[pair] += weight * row[pair]
    return advantages


@cached_njit()
def learned(
    problem: Problem,
    mean_gain: Floats,
    order: Integers,
    weights: PairWeights,
    noise: Singles,
    server: Integers,
    channel: Integers,
) -> None:
    """Give each client of `order` the vacant pair of the highest advantage plus `noise` (N, M K)."""
    clients, servers, channels = problem.uplink_power.shape
    server[:], channel[:] = -1, -1
    up, down, load = np.zeros(clients), np.zeros(clients), np.empty(servers)
    taken, heard = np.zeros((servers, channels), np.float32), np.zeros((servers, channels))
    fields = np.empty((weights.low.size, servers * channels), np.float32)
    worst = 0.0
    for n in order:
        pair_fields(problem, mean_gain[n], n, taken, heard, worst, weights, fields)
        advantages = pair_advantages(fields, servers, channels, weights)
        best, best_m, best_k = -np.inf, -1, -1
        for m in range(servers):
            for k in range(channels):
                value = advantages[m * channels + k] + noise[n, m * channels + k]
                if value > best and taken[m, k] == 0.0:
                    best, best_m, best_k = value, m, k
        server[n], channel[n], taken[best_m, best_k] = best_m, best_k, 1.0
        for m in range(servers):
            heard[m, best_k] += problem.uplink_power[n, m, best_k]
        refresh(problem, server, channel, best_k, up, down)
        worst, _, _, _ = time_and_energy(problem, server, up, down, load)


@cached_njit()
def best_learned(
    problem: Problem,
    mean_gain: Floats,
    order: Integers,
    weights: PairWeights,
    noises: Singles,
    server: Integers,
    channel: Integers,
) -> None:
    """Make a schedule for every noise of `noises` (n, N, M K) and keep the cheapest."""
    trial_server, trial_channel = np.empty_like(server), np.empty_like(channel)
    best = np.inf
    for row in range(noises.shape[0]):
        learned(problem, mean_gain, order, weights, noises[row], trial_server, trial_channel)
        cost = round_cost(problem, trial_server, trial_channel)
        if cost < best:
            best = cost
            server[:], channel[:] = trial_server, trial_channel


@cached_njit()
def own_best_channel(problem: Problem, server: Integers, channel: Integers, by_time: bool) -> None:
    """Give each client, in index order, the vacant channel of its server with the best own gain or own link time."""
    clients, servers, channels = problem.uplink_power.shape
    taken, up, down = np.zeros((servers, channels), np.bool_), np.zeros(clients), np.zeros(clients)
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
                refresh(problem, server, channel, k, up, down)
                score = up[n] + down[n]
            else:
                score = -problem.uplink_power[n, m, k]
            if score < best:
                best, best_k = score, k
        channel[n] = best_k
        taken[m, best_k] = True


@cached_njit()
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


@cached_njit()
def best_greedy(problem: Problem, orders: Integers, guide: Floats, server: Integers, channel: Integers) -> None:
    """Run the greedy, guided or not, in every order of `orders` (n, N) and keep the cheapest decision."""
    allowed = np.ones(problem.edge_delay.shape, np.bool_)
    trial_server, trial_channel = np.empty_like(server), np.empty_like(channel)
    best = np.inf
    for row in range(orders.shape[0]):
        greedy(problem, orders[row], allowed, guide, trial_server, trial_channel)
        cost = round_cost(problem, trial_server, trial_channel)
        if cost < best:
            best = cost
            server[:], channel[:] = trial_server, trial_channel


@cached_njit()
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


@cached_njit()
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


@cached_njit()
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
            first.bandwidth,
            first.time_weight,
            first.energy_weight,
            first.members,
            first.passing,
            first.serving,
        )
        logs += math.log(round_cost(twin, server, channel))
    return logs / len(uplink_powers)


@cached_njit()
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
