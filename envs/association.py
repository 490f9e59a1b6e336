"""Client association and channel assignment (Zhao et al., JSAC 2023; equation numbers are the paper's).

N clients train a split model with M edge servers over K orthogonal channels. In every round each client is given one
server and one channel; it uploads features, the server trains the body and returns gradients on the same channel.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ..core.arrays import Array, as_int64, counted, like, namespace, of_agent, one_hot, pick
from ..core.checks import whole_numbers
from ..core.randomness import Numbers, generator, numbers
from ..core.records import array, names_of, part_of
from ..core.settings import parameter
from ..federated.plan import Plan
from ..twin import compute, geometry, radio, rounds
from ..twin.learning import LossCurve
from .account import Account, continued, opened
from .actions import Actions
from .costs import Totals, totals
from .draws import between
from .fading import Channels, Fading
from .observations import Field, seen
from .parameters import AMPLE, DBM, Params
from .parts import Axis, Choice
from .progress import Progress
from .scene import Scene, links_of, used_share
from .system import System

PerNode = float | tuple[float, ...]
SPEED: Mapping[str, Any] = {"unit": "FLOP/s", "above": 0}
BUDGET: Mapping[str, Any] = {"symbol": "E_max", "unit": "J", **AMPLE}

PAPER_FEATURE_BITS = 10 * 14 * 14 * 1024 * 32.0
"""ResNet-50 stages 1-3 on 10 frames: 14 x 14 x 1024 values of 32 bit each."""

SMALLEST_COST = 1e-30
"""Keeps the inverse of a round in which nobody was left to serve finite; its reward is 0 all the same."""

REFERENCE_ROUNDS = 256
"""Random rounds of which the cheapest fixes rho (section VI)."""


@dataclasses.dataclass(frozen=True)
class AssociationParams(Params):
    """Parameters of the association system; the defaults are the paper's (Table I and section VI)."""

    num_clients: int = parameter(16, symbol="N", at_least=1, doc="clients")
    num_servers: int = parameter(4, symbol="M", at_least=1, doc="edge servers on the square's border, corners first")
    num_channels: int = parameter(10, symbol="K", at_least=1, doc="orthogonal channels, shared by all servers")
    side: float = parameter(600.0, unit="m", above=0, doc="side of the square")
    bandwidth: float = parameter(4e6, symbol="G", unit="Hz", above=0, doc="bandwidth of a channel")
    server_power_dbm: PerNode = parameter(33.0, symbol="P_m", **DBM, per="num_servers", doc="power of a server")
    client_power_dbm: PerNode = parameter(23.0, symbol="P_n", **DBM, per="num_clients", doc="power of a client")
    noise_dbm: float = parameter(-114.0, symbol="sigma^2", **DBM, doc="noise power of a channel")
    path_loss_intercept_db: float = parameter(35.3, unit="dB", at_least=-300, at_most=300, doc="path loss at 1 m")
    path_loss_slope_db: float = parameter(37.6, unit="dB", above=0, at_most=300, doc="path loss per decade of distance")
    min_distance: float = parameter(1.0, unit="m", above=0, doc="smallest distance of the path-loss law")
    coherence_blocks: int = parameter(
        1, symbol="L", at_least=1, doc="independent Rayleigh blocks that a round averages"
    )
    reciprocal: bool = parameter(True, doc="one fading for up- and downlink")
    samples: PerNode = parameter(128.0, symbol="D_n", above=0, per="num_clients", doc="samples per client and round")
    feature_bits: float = parameter(PAPER_FEATURE_BITS, symbol="xi_H", unit="bit", above=0, doc="features per sample")
    gradient_bits: float = parameter(PAPER_FEATURE_BITS, symbol="xi_B", unit="bit", above=0, doc="gradients per sample")
    head_flop: float = parameter(0.0, symbol="psi_H", unit="FLOP", at_least=0, doc="head per sample (0: frozen)")
    body_flop: float = parameter(4.89e10, symbol="psi_B", unit="FLOP", at_least=0, doc="body per sample")
    client_flops: PerNode = parameter(35.6e12, symbol="F_n", **SPEED, per="num_clients", doc="speed of a client")
    server_flops: PerNode = parameter(35.6e12, symbol="F_m", **SPEED, per="num_servers", doc="speed of a server")
    head_energy: PerNode = parameter(
        0.0, symbol="omega_H", unit="J", at_least=0, per="num_clients", doc="client energy per sample for the head"
    )
    time_weight: float = parameter(1.0, symbol="lambda", unit="1/s", at_least=0, doc="weight of time in the cost")
    energy_weight: float = parameter(1.0, symbol="mu", unit="1/J", at_least=0, doc="weight of energy in the cost")
    time_budget: float = parameter(math.inf, symbol="T_max", unit="s", **AMPLE, doc="time of an episode (inf: ample)")
    energy_budget_low: float = parameter(math.inf, **BUDGET, doc="least energy budget of a client (inf: ample)")
    energy_budget_high: float = parameter(math.inf, **BUDGET, doc="largest energy budget of a client")
    positions: Literal["episode", "round", "fixed"] = parameter(
        "episode", doc="when clients are placed anew; fixed: one layout for good"
    )
    layout_seed: int = parameter(0, at_least=0, doc="seed of the fixed layout")
    decisions: Literal["simultaneous", "sequential"] = parameter(
        "simultaneous", doc="sequential: in turn inside a round, weakest mean gain first, C5 enforced"
    )
    observation: Literal["auto", "paper", "local", "sequential"] = parameter(
        "auto", doc="what clients see; auto: local, or sequential where decisions are"
    )
    reward_rule: Literal["inverse_cost", "paper"] = parameter(
        "inverse_cost",
        symbol="U",
        doc="inverse_cost: reference_cost / cost; paper: rho + 1 / cost, eq (20), rho = 1.05 / reference_cost",
    )
    twin_error_source: Literal["fading", "shadowing", "path_loss"] = parameter(
        "fading", doc="what the twin misjudges: every channel, every link, or every server's path loss"
    )

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        pairs = self.num_servers * self.num_channels
        enough, limit = self.num_clients <= pairs, f"at most the {pairs} (server, channel) pairs"
        reason = "sequential decisions enforce C5, one client per pair"
        self.require(enough or self.decisions != "sequential", "num_clients", f"{limit}: {reason}")
        if self.time_weight == 0 and self.energy_weight == 0:
            raise ValueError("time_weight and energy_weight are both 0, at least one must be above 0")
        if math.isinf(self.energy_budget_low) != math.isinf(self.energy_budget_high):
            raise ValueError("energy_budget_low and energy_budget_high must both be finite, or both inf")
        self.require_order(("energy_budget_low", "energy_budget_high"))
        if self.observation == "sequential" and self.decisions != "sequential":
            raise ValueError("observation 'sequential' needs decisions='sequential'")

    @property
    def nodes(self) -> tuple[int, int, int]:
        """Numbers of clients, servers and channels."""
        return self.num_clients, self.num_servers, self.num_channels

    def path_gain(self, distance: Array) -> Array:
        """Return the path gain at distances `(...)` in m."""
        law = {"intercept_db": self.path_loss_intercept_db, "slope_db": self.path_loss_slope_db}
        return radio.path_gain(distance=distance, min_distance=self.min_distance, **law)


@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides in a round; a reciprocal channel has one array for both directions."""

    position: Array = array("N 2", "m", "of the clients")
    energy_budget: Array = array("N", "J", "E_max", above=0, infinite=True)
    uplink_fading: Array | Fading = array("N M K", "", "fading power, mean 1", above=0)
    downlink_fading: Array | Fading = array("N M K", "", "fading power, mean 1", above=0)
    estimate_error: Array = array("errors_N errors_M errors_K", "", "standard normal error of the twin's estimate")


@dataclasses.dataclass(frozen=True)
class Links:
    """How the clients' links did in a round; absent clients count 0."""

    uplink_rate: Array = array("N", "bit/s", "eq (9)")
    downlink_rate: Array = array("N", "bit/s", "eq (14)")
    uplink_delay: Array = array("N", "s", "eq (12)")
    downlink_delay: Array = array("N", "s", "eq (16)")
    edge_delay: Array = array("N", "s", "eq (7)")


@dataclasses.dataclass(frozen=True)
class Cost(Totals, Links):
    """What a round costs, eqs (17) and (18); absent clients count 0."""

    local_delay: Array = array("N", "s", "eq (5)")
    system_cost: Array = array("", "", "eq (19a)")


@dataclasses.dataclass(frozen=True)
class State(Account, Links, Channels):
    """The network at the start of a round, which is its problem too, and how its links did in the round before."""

    position: Array = array("N 2", "m")
    estimate_error: Array = array("errors_N errors_M errors_K", "", "standard normal")
    energy_budget: Array = array("N", "J", "E_max")
    server_clients: Array = array("M", "", "clients of each server in the last round")
    channel_clients: Array = array("K", "", "clients on each channel in the last round")

    @functools.cached_property
    def active(self) -> Array:
        """Clients `(..., N)` whose energy budget is not spent."""
        return self.energy_used <= self.energy_budget


@dataclasses.dataclass(frozen=True)
class Decision:
    """Server and channel of each client; -1 in both: the client is absent."""

    server: Array = array("N", "", "0..M-1, or -1", kind="integer")
    channel: Array = array("N", "", "0..K-1, or -1", kind="integer")


@dataclasses.dataclass(frozen=True)
class Constants:
    """What follows from the parameters alone, as arrays of one library."""

    server_position: Array
    client_power: Array
    server_power: Array
    samples: Array
    local_delay: Array
    local_energy: Array
    uplink_bits: Array
    downlink_bits: Array
    server_flops: Array

    @classmethod
    def of(cls, p: AssociationParams) -> "Constants":
        """Compute them in NumPy."""
        samples, flops, energy = (p.per_node(name) for name in ("samples", "client_flops", "head_energy"))
        return cls(
            server_position=geometry.square_border(count=p.num_servers, side=p.side),
            client_power=radio.dbm_to_watt(p.per_node("client_power_dbm")),
            server_power=radio.dbm_to_watt(p.per_node("server_power_dbm")),
            samples=samples,
            local_delay=compute.local_delay(samples=samples, flop_per_sample=p.head_flop, flops=flops),
            local_energy=compute.local_energy(samples=samples, energy_per_sample=energy),
            uplink_bits=samples * p.feature_bits,
            downlink_bits=samples * p.gradient_bits,
            server_flops=p.per_node("server_flops"),
        )


class Scales:
    """Ends of the scales on which observations are shown.

    Gains lie between the square's diagonal (and a fade of -40 dB) and the smallest distance (and a fade of +10 dB),
    rates and delays within six decades from the best link.
    """

    def __init__(self, p: AssociationParams) -> None:
        """Find the best and the worst that a link can be."""
        c, samples = Constants.of(p), float(np.min(p.per_node("samples")))
        self.weakest, nearest = p.path_gain(np.array([p.side * math.sqrt(2.0), 0.0])).tolist()
        self.strongest, self.noise = max(nearest, 10.0 * self.weakest), radio.dbm_to_watt(p.noise_dbm)
        self.heard, sent = (float(np.max(power)) * self.strongest * 10.0 for power in (c.client_power, c.server_power))
        best = radio.sinr(signal=np.array([self.heard, sent]), interference=0.0, noise=self.noise)
        self.up, self.down = up, down = radio.shannon_rate(bandwidth=p.bandwidth, sinr=best).tolist()
        self.up_time, self.down_time = samples * p.feature_bits / up, samples * p.gradient_bits / down
        self.edge_time = float(np.sum(c.samples)) * p.body_flop / float(np.min(c.server_flops))

    def gain(self, margin: float, size: int) -> tuple[Any, ...]:
        """Return the scale of a gain."""
        return "", self.weakest / margin**4, self.strongest * margin, size, "log"

    def delays(self, size: int) -> Iterator[tuple[Any, ...]]:
        """Return the scales of the delays up, down, and of the worst client."""
        times = (self.up_time, "(12)"), (self.down_time, "(16)"), (min(self.up_time, self.down_time), "(17)")
        return (("s", time, 1e6 * time, size, "log", source) for time, source in times)


def observation_fields(params: AssociationParams, kind: str) -> tuple[Field, ...]:
    """Return what a client sees: "paper" (section V-A), "local" adds its own links, "sequential" sees every pair."""
    p, s, clients, servers, channels = params, Scales(params), *params.nodes
    if kind == "sequential":
        return pair_fields(s, clients, servers * channels)
    count, left, shared = ("", 0.0, clients), ("", 0.0, 1.0, 1), {"source": "V-A", "shared": True}
    time, energy = (f"{each} left, share of the budget" for each in ("time", "energy"))
    own, before, last = {"source": "V-A"}, "in the previous round", "in the last round"
    paper = (
        seen(lambda v: v.state.server_clients, f"clients per server {before}", "|N_m|", *count, servers, **shared),
        seen(lambda v: v.state.channel_clients, f"clients per channel {before}", "|N_k|", *count, channels, **shared),
        seen(lambda v: 1.0 - v.state.time_used[..., None] / p.time_budget, time, "1 - sum T / T_max", *left, **shared),
        seen(lambda v: 1.0 - v.state.energy_used / v.state.energy_budget, energy, "1 - sum E / E_max", *left, **own),
    )
    if kind == "paper":
        return paper
    up_rate, down_rate = (("bit/s", best * 1e-6, best, 1, "log") for best in (s.up, s.down))
    up_delay, down_delay, _ = s.delays(1)
    edge_delay = ("s", 0.0, max(s.edge_time, 1e-9), 1, "linear", "(7)")
    return (
        *paper,
        seen(lambda v: v.state.mean_gain, "own mean gain to each server", "", *s.gain(1.0, servers)),
        seen(lambda v: v.state.uplink_rate, f"own uplink rate {last}", "R^H", *up_rate, "(9)"),
        seen(lambda v: v.state.downlink_rate, f"own downlink rate {last}", "R^B", *down_rate, "(14)"),
        seen(lambda v: v.state.uplink_delay, f"own uplink delay {last}", "T^H,cm", *up_delay),
        seen(lambda v: v.state.edge_delay, f"own edge delay {last}", "T^B,cp", *edge_delay),
        seen(lambda v: v.state.downlink_delay, f"own downlink delay {last}", "T^B,cm", *down_delay),
    )


def pair_fields(s: Scales, clients: int, pairs: int) -> tuple[Field, ...]:
    """Return what a client sees of every pair; the readers take the columns of the system's `view` in order."""
    count, (up, down, worst) = ("", 0.0, clients, pairs), s.delays(pairs)
    rows = (
        ("own mean gain to the pair's server", "", *s.gain(1.0, pairs)),
        ("own gain on the pair", "h", *s.gain(10.0, pairs)),
        ("pair is taken", "", "", 0.0, 1.0, pairs, "linear", "(19f)"),
        ("clients on the pair's channel so far", "|N_k|", *count),
        ("clients of the pair's server so far", "|N_m|", *count),
        ("own uplink delay with the interference so far", "T^H,cm", *up),
        ("own downlink delay with the interference so far", "T^B,cm", *down),
        ("power the server hears on the channel", "", "W", s.noise * 1e-3, s.heard, pairs, "log", "(10)"),
        ("worst client time so far", "T", *worst),
    )
    return tuple(seen(operator.itemgetter(place), *row) for place, row in enumerate(rows))


@functools.lru_cache(maxsize=64)
def lowest_random_cost(params: AssociationParams) -> float:
    """Return the lowest system cost of one batch of random rounds (section VI: the batch that fixes rho)."""
    system = AssociationSystem(dataclasses.replace(params, dtype="float64"))
    state = system.start(system.draw(numbers(0, 0, 0, (REFERENCE_ROUNDS,))))
    decision = system.actions.drawn(generator(0, 0, 0), state.energy_used.shape)
    return float(np.min(system.price(state, decision).system_cost))


class AssociationSystem(System[Draw, State, State, Decision, Cost]):
    """Who talks to which server on which channel, and what the round costs."""

    name = "association"
    version = 1
    params_type = AssociationParams
    draw_type = Draw
    presets: ClassVar = {
        "paper": {"observation": "paper", "reward_rule": "paper"},
        "compressed": {"feature_bits": PAPER_FEATURE_BITS / 400, "gradient_bits": PAPER_FEATURE_BITS / 400},
        "heterogeneous": {"energy_budget_low": 500.0, "energy_budget_high": 5000.0},
        "large": {"num_clients": 1024, "num_channels": 320},
    }
    observation_kinds: ClassVar = {
        "local": {"observation": "local"},
        "paper": {"observation": "paper"},
        "sequential": {"decisions": "sequential"},
    }
    figures: ClassVar = {
        "single_rounds": ("figure_6", "Figure 6: single rounds"),
        "round_by_round": ("figure_7", "Figure 7: round by round"),
        "distributions": ("figure_8", "Figure 8: distributions"),
        "learning": ("figure_10_11", "Figures 10 and 11: loss and accuracy"),
    }
    curve = LossCurve(1.858, 4.431e4, 5.377, "python -m fedtwin.studies.progress association --task-options {}")
    procedure = "cloud_edge_client"
    params: AssociationParams

    def __init__(self, params: AssociationParams) -> None:
        """Derive constants from the parameters."""
        super().__init__(params)
        p = params
        self.turns = p.decisions == "sequential"
        self.sees_alone = p.observation == "sequential" or (p.observation == "auto" and self.turns)
        self.noise = radio.dbm_to_watt(p.noise_dbm)
        links = dict(zip("NMK", p.nodes, strict=True))
        axes = {"fading": "NMK", "shadowing": "NM", "path_loss": "M"}[p.twin_error_source] if p.twin_error_db else ""
        errors = {f"errors_{axis}": count if axis in axes else 1 for axis, count in links.items()}
        self.sizes, self.errors = {**links, "2": 2, **errors}, tuple(errors.values())

    def make_actions(self) -> Actions:
        """Declare the (server, channel) pair; index = server K + channel."""
        p = self.params
        pair = Axis("server", "alpha", p.num_servers, "(8)"), Axis("channel", "beta", p.num_channels, "(11)")
        return Actions(Decision, Choice(*pair, exclusive="counted"))

    def make_observations(self) -> Sequence[Field]:
        """Declare what a client sees."""
        kind = "sequential" if self.sees_alone else self.params.observation
        return observation_fields(self.params, "local" if kind == "auto" else kind)

    def make_constants(self) -> Constants:
        """Return powers, loads and speeds of the nodes."""
        return Constants.of(self.params)

    # A round.

    def draw(self, rng: Numbers) -> Draw:
        """Draw positions, budgets, fading and estimation errors of one round."""
        p, clients = self.params, self.params.num_clients
        place = rng.uniform((3, clients), p.dtype)
        uplink = Fading.drawn(rng, p.nodes, p.coherence_blocks, p.dtype)
        return Draw(
            position=place[..., :2, :].swapaxes(-1, -2) * p.side,
            energy_budget=between(place[..., 2, :], p.energy_budget_low, p.energy_budget_high),
            uplink_fading=uplink,
            downlink_fading=uplink if p.reciprocal else Fading.drawn(rng, p.nodes, p.coherence_blocks, p.dtype),
            estimate_error=self.draw_error(rng, self.errors, place[..., :1, :1, None]),
        )

    @functools.cached_property
    def layout(self) -> Array:
        """Positions `(N, 2)` in m of the fixed layout, the same for either floating type."""
        return self.fixed_draw(self.params.layout_seed).position

    def start(self, draw: Draw) -> State:
        """Return the state of the first round: nothing used, nobody served yet."""
        p, position, xp = self.params, draw.position, namespace(draw.position)
        if p.positions == "fixed":
            position = xp.zeros_like(position) + like(self.layout, position)
        mean_gain, nothing = self._mean_gain(position), xp.zeros_like(draw.energy_budget)
        return State(
            uplink_fading=draw.uplink_fading,
            downlink_fading=draw.downlink_fading,
            position=position,
            mean_gain=mean_gain,
            estimate_error=draw.estimate_error,
            energy_budget=draw.energy_budget,
            server_clients=xp.zeros_like(mean_gain[..., 0, :]),
            channel_clients=counted(xp.full_like(position[..., 0], -1, dtype=xp.int64), p.num_channels, position.dtype),
            **dict.fromkeys(names_of(Links), nothing),
            **opened(nothing),
        )

    def advance(self, state: State, decision: Decision, draw: Draw, cost: Cost, progress: Progress) -> State:
        """Return the state of the next round: budgets spent, loads and rates remembered, channels drawn anew."""
        p, kind, moves = self.params, state.energy_used.dtype, self.params.positions == "round"
        return State(
            uplink_fading=draw.uplink_fading,
            downlink_fading=draw.downlink_fading,
            position=draw.position if moves else state.position,
            mean_gain=self._mean_gain(draw.position) if moves else state.mean_gain,
            estimate_error=draw.estimate_error if moves or p.twin_error_source == "fading" else state.estimate_error,
            energy_budget=state.energy_budget,
            server_clients=counted(decision.server, p.num_servers, kind),
            channel_clients=counted(decision.channel, p.num_channels, kind),
            **part_of(cost, Links),
            **continued(state, cost, progress, cost.round_time),
        )

    def _mean_gain(self, position: Array) -> Array:
        servers = self.constants(position).server_position
        return self.params.path_gain(geometry.distances(clients=position, servers=servers))

    def misjudged(self, state: State, ratio: Array) -> dict[str, Any]:
        """Return what is off by a ratio: the fading of every channel, or the mean gain."""
        if self.params.twin_error_source == "fading":
            return state.other_fading(ratio)
        return {"mean_gain": state.mean_gain * ratio[..., 0]}

    def ended(self, state: State) -> tuple[Array, Array]:
        """Return (terminated, truncated): time or every client's energy is spent; the last round is over."""
        terminated = (state.time_used > self.params.time_budget) | ~state.active.any(axis=-1)
        return terminated, (state.cycle >= self.params.max_cycles) & ~terminated

    # What is legal, and in which order.

    def able(self, problem: State) -> Array:
        """Return the clients `(..., N)` whose energy budget is not spent."""
        return problem.active

    def turn_order(self, problem: State) -> Array:
        """Return the clients `(..., N)` in the order of their turns: weakest best mean gain first."""
        xp = namespace(problem.mean_gain)
        return xp.argsort(xp.max(problem.mean_gain, axis=-1), axis=-1)

    def pair_clients(self, decision: Decision) -> Array:
        """Return how many clients use each (server, channel) pair, `(..., M, K)` integers."""
        holders = self.actions.holders(decision)
        return namespace(holders).reshape(holders, (*holders.shape[:-1], *self.action_grid))

    # What it costs and brings.

    def price(self, problem: State, decision: Decision) -> Cost:
        """Return the round's delays, energies and system cost, eqs (5)-(19a); absent clients count 0."""
        p, c, xp = self.params, self.constants(problem.mean_gain), namespace(problem.mean_gain)
        server, channel = as_int64(decision.server), as_int64(decision.channel)
        up, down = problem.gains_on(channel)
        # (..., N): every client on the pair that it uses; absent clients on any, until they count 0.
        powers = {"client_power": c.client_power, "server_power": c.server_power, "noise": self.noise}
        links = {"uplink_gain": up, "downlink_gain": down, "server": server, "channel": channel}
        uplink_sinr, downlink_sinr = radio.sinr_of_links(**links, **powers, num_channels=p.num_channels)
        uplink_rate, uplink = radio.link_of(sinr=uplink_sinr, bits=c.uplink_bits, bandwidth=p.bandwidth)
        downlink_rate, downlink = radio.link_of(sinr=downlink_sinr, bits=c.downlink_bits, bandwidth=p.bandwidth)
        load = compute.samples_per_server(samples=c.samples, server=server, num_servers=p.num_servers)
        per_server = compute.edge_delay(server_samples=load, flop_per_sample=p.body_flop, server_flops=c.server_flops)
        served, edge = functools.partial(xp.where, server >= 0), pick(per_server, server)
        spent = c.local_energy + radio.transmission_energy(power=c.client_power, delay=uplink)
        names = ("local_delay", "uplink_delay", "edge_delay", "downlink_delay")
        delays = [served(delay, 0.0) for delay in (c.local_delay, uplink, edge, downlink)]
        total = totals(delays=delays, energies=(served(spent, 0.0),))
        weights = {"time_weight": p.time_weight, "energy_weight": p.energy_weight}
        return Cost(
            uplink_rate=served(uplink_rate, 0.0),
            downlink_rate=served(downlink_rate, 0.0),
            system_cost=rounds.system_cost(round_time=total["round_time"], energy=total["energy"], **weights),
            **dict(zip(names, delays, strict=True)),
            **total,
        )

    def amount(self, state: State, decision: Decision, cost: Cost) -> Array:
        """Return the samples `(...)` that the round trains on: the paper counts rounds of whoever takes part."""
        return self.present_sum(decision, self.constants(state.mean_gain).samples)

    def reward(self, state: State, cost: Cost, progress: Progress) -> Array:
        """Return the shared reward `(..., N)` of the round that led to `state`; 0 once a budget is spent, eq (20)."""
        inverse, rho = 1.0 / (cost.system_cost + SMALLEST_COST), self.reference_cost
        shared = 1.05 / rho + inverse if self.params.reward_rule == "paper" else rho * inverse
        earns = state.active & (state.time_used <= self.params.time_budget)[..., None]
        return namespace(inverse).where(earns, self.with_progress(shared[..., None], progress), 0.0)

    @functools.cached_property
    def reference_cost(self) -> float:
        """Lowest system cost of a batch of random rounds; see `lowest_random_cost`."""
        return lowest_random_cost(self.params)

    def procedure_options(self) -> dict[str, Any]:
        """Return the number of edge servers, once the samples were found whole; see `whole_samples`."""
        self.whole_samples()
        return {"num_servers": self.params.num_servers}

    def plan(self, state: State, decision: Decision) -> Plan:
        """Return the plan of a round: clients learn at their servers, with the samples that the costs count."""
        return Plan(np.asarray(decision.server), samples=self.whole_samples())

    def whole_samples(self) -> np.ndarray:
        """Return the samples `(N,)` of each client and round as integers; see `whole_numbers`."""
        return whole_numbers(self.constants(np.empty(0)).samples, "samples", self.agents.__getitem__)

    def view(self, state: State, problem: State, partial: Decision | None, agent: Array | None) -> Any:
        """Return what is read: where decisions are sequential, columns `(..., M K)` in the order of `pair_fields`."""
        if not self.sees_alone:
            return super().view(state, problem, partial, agent)
        assert partial is not None
        c, xp, is_own = self.constants(problem.mean_gain), namespace(agent), one_hot(agent, len(self.agents))
        others = Decision(xp.where(is_own, -1, partial.server), xp.where(is_own, -1, partial.channel))
        count = xp.astype(self.pair_clients(others), problem.mean_gain.dtype)
        # (..., M, K): what the client would have on every pair, with the interference of those that chose before.
        gains = {"uplink_gain": problem.uplink_gain, "downlink_gain": problem.downlink_gain}
        powers = {"client_power": c.client_power, "server_power": c.server_power, "noise": self.noise}
        up, down, heard = radio.sinr_on_every_pair(
            agent=agent, channel=others.channel, pair_count=count, **gains, **powers
        )
        links = (up, c.uplink_bits[agent]), (down, c.downlink_bits[agent])
        blocks = (
            of_agent(problem.mean_gain, agent)[..., :, None],
            of_agent(problem.uplink_gain, agent),
            xp.minimum(count, xp.ones_like(count)),
            xp.sum(count, axis=-2)[..., None, :],
            xp.sum(count, axis=-1)[..., :, None],
            *(radio.link_of(sinr=s, bits=b[..., None, None], bandwidth=self.params.bandwidth)[1] for s, b in links),
            heard,
            self.price(problem, others).round_time[..., None, None],
        )
        shape = (*count.shape[:-2], self.num_actions)
        return [xp.reshape(xp.broadcast_to(block, count.shape), shape) for block in blocks]

    def scene(self, state: State, decision: Decision, title: str = "") -> Scene:
        """Return what a picture of this round shows: map, links, loads and budgets."""
        p, server, channel = self.params, np.asarray(decision.server), np.asarray(decision.channel)
        places = state.position, self.constants(state.mean_gain).server_position
        loads = {
            "clients per server": links_of(server, p.num_servers),
            "clients per channel": links_of(channel, p.num_channels),
        }
        budgets = {
            "energy": used_share(state.energy_used, state.energy_budget),
            "time": used_share(state.time_used[None], p.time_budget),
        }
        clients, servers = (np.asarray(place, np.float64) for place in places)
        return Scene(
            title, p.side, clients, servers, server, channel, p.num_channels, loads, budgets, "clients per channel"
        )
