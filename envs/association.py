"""Client association and channel assignment (Zhao et al., JSAC 2023; equation numbers are the paper's).

N clients train a split model with M edge servers over K orthogonal channels. In every round each client is given one
server and one channel; it uploads features, the server trains the body and returns gradients on the same channel.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from ..core import randomness
from ..core.arrays import Array, arange_like, like, namespace, one_hot, pick
from ..core.checks import (
    check_float_array,
    check_integers,
    check_same_library,
    check_shape,
    reject_not_finite,
    reject_not_positive,
)
from ..core.settings import parameter
from ..core.trees import tree_map
from ..federated.plan import Plan
from ..twin import compute, geometry, radio, rounds
from .fields import Field, Normaliser
from .scene import Scene
from .system import Params, System

PerNode = float | tuple[float, ...]

PAPER_FEATURE_BITS = 10 * 14 * 14 * 1024 * 32.0
"""ResNet-50 stages 1-3 on 10 frames: 14 x 14 x 1024 values of 32 bit each."""

SMALLEST_COST = 1e-30
"""Keeps the inverse of a round in which nobody was left to serve finite; its reward is 0 all the same."""


@dataclasses.dataclass(frozen=True)
class AssociationParams(Params):
    """Parameters of the association system; the defaults are the paper's (Table I and section VI)."""

    num_clients: int = parameter(16, symbol="N", at_least=1, doc="clients")
    num_servers: int = parameter(4, symbol="M", at_least=1, doc="edge servers on the square's border, corners first")
    num_channels: int = parameter(10, symbol="K", at_least=1, doc="orthogonal channels, shared by all servers")
    side: float = parameter(600.0, unit="m", above=0, doc="side of the square")
    bandwidth: float = parameter(4e6, symbol="G", unit="Hz", above=0, doc="bandwidth of a channel")
    server_power_dbm: PerNode = parameter(
        33.0, symbol="P_m", unit="dBm", at_least=-300, at_most=300, per="num_servers", doc="power of a server"
    )
    client_power_dbm: PerNode = parameter(
        23.0, symbol="P_n", unit="dBm", at_least=-300, at_most=300, per="num_clients", doc="power of a client"
    )
    noise_dbm: float = parameter(
        -114.0, symbol="sigma^2", unit="dBm", at_least=-300, at_most=300, doc="noise power of a channel"
    )
    path_loss_intercept_db: float = parameter(35.3, unit="dB", at_least=-300, at_most=300, doc="path loss at 1 m")
    path_loss_slope_db: float = parameter(37.6, unit="dB", above=0, at_most=300, doc="path loss per decade of distance")
    min_distance: float = parameter(1.0, unit="m", above=0, doc="smallest distance of the path-loss law")
    coherence_blocks: int = parameter(
        1, symbol="L", at_least=1, doc="independent Rayleigh blocks whose power a round averages (1: quasi-static)"
    )
    reciprocal: bool = parameter(True, doc="one fading for up- and downlink")
    samples: PerNode = parameter(128.0, symbol="D_n", above=0, per="num_clients", doc="samples per client and round")
    feature_bits: float = parameter(PAPER_FEATURE_BITS, symbol="xi_H", unit="bit", above=0, doc="features per sample")
    gradient_bits: float = parameter(PAPER_FEATURE_BITS, symbol="xi_B", unit="bit", above=0, doc="gradients per sample")
    head_flop: float = parameter(0.0, symbol="psi_H", unit="FLOP", at_least=0, doc="head per sample (0: frozen)")
    body_flop: float = parameter(4.89e10, symbol="psi_B", unit="FLOP", at_least=0, doc="body per sample")
    client_flops: PerNode = parameter(
        35.6e12, symbol="F_n", unit="FLOP/s", above=0, per="num_clients", doc="speed of a client"
    )
    server_flops: PerNode = parameter(
        35.6e12, symbol="F_m", unit="FLOP/s", above=0, per="num_servers", doc="speed of a server"
    )
    head_energy: PerNode = parameter(
        0.0, symbol="omega_H", unit="J", at_least=0, per="num_clients", doc="client energy per sample for the head"
    )
    time_weight: float = parameter(1.0, symbol="lambda", unit="1/s", at_least=0, doc="weight of time in the cost")
    energy_weight: float = parameter(1.0, symbol="mu", unit="1/J", at_least=0, doc="weight of energy in the cost")
    time_budget: float = parameter(
        math.inf, symbol="T_max", unit="s", above=0, infinite=True, doc="time of an episode (inf: ample)"
    )
    energy_budget_low: float = parameter(
        math.inf, symbol="E_max", unit="J", above=0, infinite=True, doc="least energy budget of a client (inf: ample)"
    )
    energy_budget_high: float = parameter(
        math.inf, symbol="E_max", unit="J", above=0, infinite=True, doc="largest energy budget of a client"
    )
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
    progress_weight: float = parameter(
        0.0, at_least=0, doc="reward for learning progress: per predicted sample, or live per unit of accuracy gained"
    )
    twin_error_db: float = parameter(
        0.0, unit="dB", at_least=0, at_most=100, doc="standard deviation of the twin's estimate around the true gain"
    )
    twin_error_source: Literal["fading", "shadowing", "path_loss"] = parameter(
        "fading", doc="what the twin misjudges: every channel, every link, or every server's path loss"
    )

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        pairs = self.num_servers * self.num_channels
        if self.decisions == "sequential" and self.num_clients > pairs:
            raise ValueError(
                f"num_clients is {self.num_clients}, must be at most the {pairs} (server, channel) pairs: "
                "sequential decisions enforce C5, one client per pair"
            )
        if self.time_weight == 0 and self.energy_weight == 0:
            raise ValueError("time_weight and energy_weight are both 0, at least one must be above 0")
        if math.isinf(self.energy_budget_low) != math.isinf(self.energy_budget_high):
            raise ValueError("energy_budget_low and energy_budget_high must both be finite, or both inf")
        if self.energy_budget_low > self.energy_budget_high:
            raise ValueError(
                f"energy_budget_low is {self.energy_budget_low} J, must be at most "
                f"energy_budget_high = {self.energy_budget_high} J"
            )
        if self.observation == "sequential" and self.decisions != "sequential":
            raise ValueError("observation 'sequential' needs decisions='sequential'")


@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides in a round."""

    position: Array
    """Clients' positions `(..., N, 2)` in m."""
    energy_budget: Array
    """E_max `(..., N)` in J."""
    uplink_fading: Array
    """Fading power `(..., N, M, K)`, mean 1."""
    downlink_fading: Array
    """The same array where the channel is reciprocal."""
    estimate_error: Array
    """Standard normal error of the twin's estimate, broadcastable to `(..., N, M, K)`."""


@dataclasses.dataclass(frozen=True)
class State:
    """The network at the start of a round, and what the rounds before it left."""

    position: Array
    """`(..., N, 2)` in m."""
    mean_gain: Array
    """Path gain `(..., N, M)`."""
    uplink_gain: Array
    """h of eq (10) `(..., N, M, K)`."""
    downlink_gain: Array
    """h of eq (15) `(..., N, M, K)`."""
    estimate_error: Array
    """Standard normal, broadcastable to `(..., N, M, K)`."""
    energy_budget: Array
    """`(..., N)` in J."""
    energy_used: Array
    """`(..., N)` in J."""
    time_used: Array
    """`(...)` in s."""
    cycle: Array
    """Rounds completed `(...)`."""
    server_clients: Array
    """Clients of each server in the previous round `(..., M)`."""
    channel_clients: Array
    """Clients on each channel in the previous round `(..., K)`."""
    uplink_rate: Array
    """Previous round `(..., N)` in bit/s."""
    downlink_rate: Array
    """Previous round `(..., N)` in bit/s."""
    uplink_delay: Array
    """Previous round `(..., N)` in s."""
    downlink_delay: Array
    """Previous round `(..., N)` in s."""
    edge_delay: Array
    """Previous round `(..., N)` in s."""

    @property
    def active(self) -> Array:
        """Clients `(..., N)` whose energy budget is not spent."""
        return self.energy_used <= self.energy_budget


@dataclasses.dataclass(frozen=True)
class Decision:
    """Server and channel of each client, integers `(..., N)`; -1 in both: the client is absent."""

    server: Array
    channel: Array


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a round costs; absent clients count 0."""

    local_delay: Array
    """Eq (5) `(..., N)` in s."""
    uplink_delay: Array
    """Eq (12) `(..., N)` in s."""
    edge_delay: Array
    """Eq (7) `(..., N)` in s."""
    downlink_delay: Array
    """Eq (16) `(..., N)` in s."""
    client_time: Array
    """Sum of the four delays `(..., N)` in s."""
    client_energy: Array
    """Eq (18) `(..., N)` in J."""
    round_time: Array
    """Eq (17) `(...)` in s."""
    energy: Array
    """Energy of all clients `(...)` in J."""
    system_cost: Array
    """Eq (19a) `(...)`."""
    uplink_rate: Array
    """Eq (9) `(..., N)` in bit/s."""
    downlink_rate: Array
    """Eq (14) `(..., N)` in bit/s."""


def per_node(value: PerNode, count: int) -> np.ndarray:
    """Spread one number, or one per node, to an array `(count,)`."""
    return np.zeros(count) + value


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


def observation_fields(params: AssociationParams, kind: str) -> tuple[Field, ...]:
    """Return what a client sees: "paper" (section V-A), "local" adds its own links, "sequential" sees every pair.

    The bounds follow from the parameters: gains between the square's diagonal (and a fade of -40 dB) and the
    smallest distance (and a fade of +10 dB), rates and delays over six decades from the best link.
    """
    p = params
    servers, channels, pairs = p.num_servers, p.num_channels, p.num_servers * p.num_channels
    loss = {"intercept_db": p.path_loss_intercept_db, "slope_db": p.path_loss_slope_db, "min_distance": p.min_distance}
    weakest, strongest = radio.path_gain(distance=np.array([p.side * math.sqrt(2.0), 0.0]), **loss).tolist()
    strongest = max(strongest, 10.0 * weakest)
    noise = radio.dbm_to_watt(p.noise_dbm)
    heard = float(np.max(radio.dbm_to_watt(per_node(p.client_power_dbm, p.num_clients)))) * strongest * 10.0
    sent = float(np.max(radio.dbm_to_watt(per_node(p.server_power_dbm, servers)))) * strongest * 10.0
    best = radio.sinr(signal=np.array([heard, sent]), interference=0.0, noise=noise)
    up, down = radio.shannon_rate(bandwidth=p.bandwidth, sinr=best).tolist()
    most = per_node(p.samples, p.num_clients)
    up_time, down_time = float(np.min(most)) * p.feature_bits / up, float(np.min(most)) * p.gradient_bits / down
    edge = float(np.sum(most)) * p.body_flop / float(np.min(per_node(p.server_flops, servers)))

    def gain(name: str, symbol: str, size: int, margin: float) -> Field:
        return Field(name, symbol, "", weakest / margin**4, strongest * margin, size, "log")

    def delay(name: str, symbol: str, shortest: float, size: int, source: str) -> Field:
        return Field(name, symbol, "s", shortest, 1e6 * shortest, size, "log", source)

    if kind == "sequential":
        return (
            gain("own mean gain to the pair's server", "", pairs, 1.0),
            gain("own gain on the pair", "h", pairs, 10.0),
            Field("pair is taken", "", "", 0.0, 1.0, pairs, source="(19f)"),
            Field("clients on the pair's channel so far", "|N_k|", "", 0.0, p.num_clients, pairs),
            Field("clients of the pair's server so far", "|N_m|", "", 0.0, p.num_clients, pairs),
            delay("own uplink delay with the interference so far", "T^H,cm", up_time, pairs, "(12)"),
            delay("own downlink delay with the interference so far", "T^B,cm", down_time, pairs, "(16)"),
            Field("power the server hears on the channel", "", "W", noise * 1e-3, heard, pairs, "log", "(10)"),
            delay("worst client time so far", "T", min(up_time, down_time), pairs, "(17)"),
        )
    fields = (
        Field(
            "clients per server in the previous round",
            "|N_m|",
            "",
            0.0,
            p.num_clients,
            servers,
            source="V-A",
            shared=True,
        ),
        Field(
            "clients per channel in the previous round",
            "|N_k|",
            "",
            0.0,
            p.num_clients,
            channels,
            source="V-A",
            shared=True,
        ),
        Field("time left, share of the budget", "1 - sum T / T_max", "", 0.0, 1.0, 1, source="V-A", shared=True),
        Field("energy left, share of the budget", "1 - sum E / E_max", "", 0.0, 1.0, 1, source="V-A"),
    )
    if kind == "paper":
        return fields
    return (
        *fields,
        gain("own mean gain to each server", "", servers, 1.0),
        Field("own uplink rate in the last round", "R^H", "bit/s", up * 1e-6, up, 1, "log", "(9)"),
        Field("own downlink rate in the last round", "R^B", "bit/s", down * 1e-6, down, 1, "log", "(14)"),
        delay("own uplink delay in the last round", "T^H,cm", up_time, 1, "(12)"),
        Field("own edge delay in the last round", "T^B,cp", "s", 0.0, max(edge, 1e-9), 1, source="(7)"),
        delay("own downlink delay in the last round", "T^B,cm", down_time, 1, "(16)"),
    )


REFERENCE_COST: Mapping[str, float] = {"paper": 46932.98030872362, "compressed": 118.03397346843826}
"""`AssociationSystem.reference_cost` of the presets, stored; `heterogeneous` costs rounds as `paper` does."""

NOT_COST = {
    "max_cycles": 25,
    "dtype": "float64",
    "time_budget": math.inf,
    "energy_budget_low": math.inf,
    "energy_budget_high": math.inf,
    "decisions": "simultaneous",
    "observation": "auto",
    "reward_rule": "inverse_cost",
    "twin_error_db": 0.0,
    "twin_error_source": "fading",
    "progress_weight": 0.0,
}


def cost_parameters(params: AssociationParams) -> AssociationParams:
    """Return the parameters with everything neutral that a random round's cost does not depend on."""
    positions = "fixed" if params.positions == "fixed" else "episode"
    return dataclasses.replace(params, positions=positions, **NOT_COST)  # type: ignore[arg-type]


class AssociationSystem(System):
    """Who talks to which server on which channel, and what the round costs."""

    name: ClassVar[str] = "association"
    version: ClassVar[int] = 0
    params_type: ClassVar[type[Params]] = AssociationParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"observation": "paper", "reward_rule": "paper"},
        "compressed": {
            "feature_bits": PAPER_FEATURE_BITS / 400,
            "gradient_bits": PAPER_FEATURE_BITS / 400,
        },
        "heterogeneous": {"energy_budget_low": 500.0, "energy_budget_high": 5000.0},
    }
    observation_kinds: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "local": {"observation": "local"},
        "paper": {"observation": "paper"},
        "sequential": {"decisions": "sequential"},
    }
    params: AssociationParams

    def __init__(self, params: AssociationParams) -> None:
        """Derive agents, fields and constants from the parameters."""
        super().__init__(params)
        self.agents = tuple(f"client_{n}" for n in range(params.num_clients))
        self.action_fields = (
            Field("server", "alpha", "", 0, params.num_servers - 1, 1, source="(8)"),
            Field("channel", "beta", "", 0, params.num_channels - 1, 1, source="(11)"),
        )
        self.num_actions = params.num_servers * params.num_channels
        self.action_grid = (params.num_servers, params.num_channels)
        self.turns = params.decisions == "sequential"
        self.noise = radio.dbm_to_watt(params.noise_dbm)
        self.observation = params.observation
        if params.observation == "auto":
            self.observation = "sequential" if self.turns else "local"
        self.observation_fields = observation_fields(params, self.observation)
        self._constants: dict[tuple[Any, Any], Constants] = {}
        self._masks: dict[Any, tuple[Array, Array]] = {}

    def constants(self, array: Array) -> Constants:
        """Return the constants in the library, on the device and with the floating type of `array`."""
        key = (array.device, array.dtype)
        if key not in self._constants:
            p = self.params
            samples = per_node(p.samples, p.num_clients)
            client_flops = per_node(p.client_flops, p.num_clients)
            head_energy = per_node(p.head_energy, p.num_clients)
            values = Constants(
                server_position=geometry.square_border(count=p.num_servers, side=p.side),
                client_power=radio.dbm_to_watt(per_node(p.client_power_dbm, p.num_clients)),
                server_power=radio.dbm_to_watt(per_node(p.server_power_dbm, p.num_servers)),
                samples=samples,
                local_delay=compute.local_delay(samples=samples, flop_per_sample=p.head_flop, flops=client_flops),
                local_energy=compute.local_energy(samples=samples, energy_per_sample=head_energy),
                uplink_bits=samples * p.feature_bits,
                downlink_bits=samples * p.gradient_bits,
                server_flops=per_node(p.server_flops, p.num_servers),
            )
            self._constants[key] = tree_map(lambda value: like(value, array), values)
        return self._constants[key]

    # What chance does.

    def draw(self, rng: Any, batch: tuple[int, ...] = ()) -> Draw:
        """Draw positions, budgets, fading and estimation errors of one round, with a NumPy or a torch generator."""
        p = self.params
        clients, links = p.num_clients, (p.num_clients, p.num_servers, p.num_channels)
        quasi_static = p.coherence_blocks == 1
        fadings = 1 if p.reciprocal else 2
        size = math.prod(links) if quasi_static else 0
        share = randomness.uniform(rng, (*batch, 3 * clients + fadings * size), p.dtype)
        xp = namespace(share)
        position = xp.reshape(share[..., : 2 * clients], (*batch, clients, 2)) * p.side
        width = p.energy_budget_high - p.energy_budget_low if math.isfinite(p.energy_budget_high) else 0.0
        budget = p.energy_budget_low + share[..., 2 * clients : 3 * clients] * width
        if quasi_static:
            fading = randomness.exponential(xp.reshape(share[..., 3 * clients :], (*batch, fadings, *links)))
        else:
            blocks = p.coherence_blocks
            fading = randomness.averaged_rayleigh_power(rng, (*batch, fadings, *links), blocks, p.dtype)
        uplink = fading[..., 0, :, :, :]
        downlink = uplink if p.reciprocal else fading[..., 1, :, :, :]
        error = uplink[..., :1, :1, :1] * 0.0
        if p.twin_error_db:
            error = randomness.normal(rng, self.error_shape(batch), p.dtype)
        return Draw(position, budget, uplink, downlink, error)

    def error_shape(self, batch: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Shape of the estimation error: one number per channel, per link or per server."""
        p = self.params
        shapes = {
            "fading": (p.num_clients, p.num_servers, p.num_channels),
            "shadowing": (p.num_clients, p.num_servers, 1),
            "path_loss": (1, p.num_servers, 1),
        }
        return (*batch, *(shapes[p.twin_error_source] if p.twin_error_db else (1, 1, 1)))

    @functools.cached_property
    def layout(self) -> Array:
        """Positions `(N, 2)` in m of the fixed layout, the same for either floating type."""
        rng = randomness.generator(self.params.layout_seed, 0, 0)
        return self._in_double_precision.draw(rng).position

    @functools.cached_property
    def _in_double_precision(self) -> "AssociationSystem":
        return AssociationSystem(dataclasses.replace(self.params, dtype="float64"))

    def check_draw(self, draw: Draw) -> None:
        """Raise `ValueError` for a draw of another shape, with NaN, or with fading or budgets that are not positive."""
        p = self.params
        links = (p.num_clients, p.num_servers, p.num_channels)
        shapes = {
            "position": (p.num_clients, 2),
            "energy_budget": (p.num_clients,),
            "uplink_fading": links,
            "downlink_fading": links,
            "estimate_error": self.error_shape(),
        }
        if not isinstance(draw, Draw):
            raise ValueError(f"the draw is a {type(draw).__name__}, must be a fedtwin.envs.association.Draw")
        for name in shapes:
            check_float_array(getattr(draw, name), p.dtype, name)
        batch = tuple(draw.position.shape[:-2])
        for name, shape in shapes.items():
            check_shape(getattr(draw, name), (*batch, *shape), name)
        reject_not_finite(draw.position, label="position", unit="m")
        reject_not_positive(draw.energy_budget, label="energy_budget", unit="J", infinite=True)
        reject_not_positive(draw.uplink_fading, label="uplink_fading")
        reject_not_positive(draw.downlink_fading, label="downlink_fading")
        reject_not_finite(draw.estimate_error, label="estimate_error")

    # How a round begins and ends.

    def _mean_gain(self, position: Array) -> Array:
        p = self.params
        return radio.path_gain(
            distance=geometry.distances(clients=position, servers=self.constants(position).server_position),
            intercept_db=p.path_loss_intercept_db,
            slope_db=p.path_loss_slope_db,
            min_distance=p.min_distance,
        )

    def start(self, draw: Draw) -> State:
        """Return the state of the first round: nothing used, nobody served yet."""
        position = draw.position
        xp = namespace(position)
        if self.params.positions == "fixed":
            position = xp.zeros_like(position) + like(self.layout, position)
        mean_gain = self._mean_gain(position)
        per_client = xp.zeros_like(draw.energy_budget)
        per_server = xp.zeros_like(mean_gain[..., 0, :])
        per_channel = xp.zeros_like(draw.uplink_fading[..., 0, 0, :])
        uplink, downlink = self._faded(mean_gain, draw)
        return State(
            position=position,
            mean_gain=mean_gain,
            uplink_gain=uplink,
            downlink_gain=downlink,
            estimate_error=draw.estimate_error,
            energy_budget=draw.energy_budget,
            energy_used=per_client,
            time_used=per_client[..., 0],
            cycle=xp.zeros_like(per_client[..., 0], dtype=xp.int64),
            server_clients=per_server,
            channel_clients=per_channel,
            uplink_rate=per_client,
            downlink_rate=per_client,
            uplink_delay=per_client,
            downlink_delay=per_client,
            edge_delay=per_client,
        )

    def _faded(self, mean_gain: Array, draw: Draw) -> tuple[Array, Array]:
        uplink = radio.faded_gain(mean_gain=mean_gain, fading=draw.uplink_fading)
        if draw.downlink_fading is draw.uplink_fading:
            return uplink, uplink
        return uplink, radio.faded_gain(mean_gain=mean_gain, fading=draw.downlink_fading)

    def advance(self, state: State, decision: Decision, draw: Draw, cost: Cost | None = None) -> State:
        """Return the state of the next round: budgets spent, loads and rates remembered, channels drawn anew."""
        p = self.params
        cost = self.cost(state, decision) if cost is None else cost
        xp = namespace(state.uplink_gain)
        position, mean_gain, error = state.position, state.mean_gain, state.estimate_error
        if p.positions == "round":
            position = draw.position
            mean_gain = self._mean_gain(position)
        if p.positions == "round" or p.twin_error_source == "fading":
            error = draw.estimate_error
        uplink, downlink = self._faded(mean_gain, draw)
        kind = state.energy_used.dtype
        return State(
            position=position,
            mean_gain=mean_gain,
            uplink_gain=uplink,
            downlink_gain=downlink,
            estimate_error=error,
            energy_budget=state.energy_budget,
            energy_used=state.energy_used + cost.client_energy,
            time_used=state.time_used + cost.round_time,
            cycle=state.cycle + 1,
            server_clients=xp.astype(one_hot(decision.server, p.num_servers), kind).sum(axis=-2),
            channel_clients=xp.astype(one_hot(decision.channel, p.num_channels), kind).sum(axis=-2),
            uplink_rate=cost.uplink_rate,
            downlink_rate=cost.downlink_rate,
            uplink_delay=cost.uplink_delay,
            downlink_delay=cost.downlink_delay,
            edge_delay=cost.edge_delay,
        )

    def believed(self, state: State) -> State:
        """Return the state as the twin sees it: gains off by the stated error, everything else as it is."""
        if not self.params.twin_error_db:
            return state
        ratio = radio.decibel_to_ratio(state.estimate_error * self.params.twin_error_db)
        uplink = state.uplink_gain * ratio
        downlink = uplink if state.downlink_gain is state.uplink_gain else state.downlink_gain * ratio
        mean_gain = state.mean_gain
        if self.params.twin_error_source != "fading":
            mean_gain = mean_gain * ratio[..., 0]
        return dataclasses.replace(state, uplink_gain=uplink, downlink_gain=downlink, mean_gain=mean_gain)

    def ended(self, state: State) -> tuple[Array, Array]:
        """Return (terminated, truncated): time or every client's energy is spent; the last round is over."""
        xp = namespace(state.energy_used)
        terminated = (state.time_used > self.params.time_budget) | ~xp.any(state.active, axis=-1)
        return terminated, (state.cycle >= self.params.max_cycles) & ~terminated

    # What clients may decide.

    def agent_state(self, state: State) -> Array:
        """Return the energy that each client used, `(..., N)` in J."""
        return state.energy_used

    def undecided(self, state: State) -> Decision:
        """Return the decision in which every client is absent."""
        xp = namespace(state.energy_used)
        nobody = xp.zeros_like(state.energy_used, dtype=xp.int64) - 1
        return Decision(nobody, nobody)

    def turn_order(self, state: State) -> Array:
        """Return the clients `(..., N)` in the order of their turns: weakest best mean gain first."""
        xp = namespace(state.mean_gain)
        return xp.argsort(xp.max(state.mean_gain, axis=-1), axis=-1)

    def mask(self, state: State, partial: Decision) -> Array:
        """Return the legal pairs `(..., N, M K)` as int8; index = server K + channel.

        Sequential decisions leave out pairs that are taken (C5). A client whose budget is spent has one legal entry,
        0, its no-op.
        """
        xp = namespace(state.energy_used)
        no_op, legal = self._simple_masks(partial.server)
        if self.turns:
            free = xp.astype(self.pair_clients(partial) == 0, xp.int8)
            legal = xp.reshape(free, (*free.shape[:-2], 1, self.num_actions))
        active = xp.astype(state.active, xp.int8)[..., None]
        return active * legal + (1 - active) * no_op

    def _simple_masks(self, array: Array) -> tuple[Array, Array]:
        """Return the mask of a client that is out, and of one that may take any pair."""
        if array.device not in self._masks:
            xp = namespace(array)
            pairs = arange_like(self.num_actions, array)
            self._masks[array.device] = xp.astype(pairs == 0, xp.int8), xp.astype(pairs >= 0, xp.int8)
        return self._masks[array.device]

    def pair_clients(self, decision: Decision) -> Array:
        """Return how many clients use each (server, channel) pair, `(..., M, K)` integers."""
        xp = namespace(decision.server)
        servers = one_hot(decision.server, self.params.num_servers)[..., :, None]
        channels = one_hot(decision.channel, self.params.num_channels)[..., None, :]
        return xp.sum(servers & channels, axis=-3)

    def decide(self, state: State, actions: Array, *, validate: bool = True) -> Decision:
        """Turn actions `(..., N)` into a decision.

        A client whose budget is spent is absent whatever it asks for. Sequential decisions give a pair that was taken
        earlier in the round's order to nobody else: the client gets the free pair with the nearest index.

        Raises:
            ValueError: actions of another shape or type, or outside 0..M K - 1; names the client.
        """
        if validate:
            self.check_actions(actions, tuple(state.energy_used.shape))
        xp = namespace(actions)
        actions = actions if actions.dtype == xp.int64 else xp.astype(actions, xp.int64)
        if not self.turns:
            server = xp.where(state.active, actions // self.params.num_channels, -1)
            return Decision(server, xp.where(state.active, actions % self.params.num_channels, -1))
        partial, order = self.undecided(state), self.turn_order(state)
        for turn in range(self.params.num_clients):
            client = order[..., turn]
            action = xp.take_along_axis(actions, client[..., None], axis=-1)[..., 0]
            partial = self.decide_turn(state, partial, client, action)
        return partial

    def decide_turn(self, state: State, partial: Decision, agent: Array, action: Array) -> Decision:
        """Give client `agent` `(...)` the free pair nearest to `action` `(...)`; absent if its budget is spent."""
        xp = namespace(action)
        channels = self.params.num_channels
        taken = xp.reshape(self.pair_clients(partial) > 0, (*action.shape, self.num_actions))
        distance = xp.abs(arange_like(self.num_actions, action) - action[..., None])
        pair = xp.argmin(xp.where(taken, distance + self.num_actions, distance), axis=-1)
        chosen = one_hot(agent, self.params.num_clients) & state.active
        return Decision(
            xp.where(chosen, (pair // channels)[..., None], partial.server),
            xp.where(chosen, (pair % channels)[..., None], partial.channel),
        )

    def actions_of(self, decision: Decision) -> Array:
        """Return the actions `(..., N)` that lead to `decision`; an absent client's is its no-op, 0."""
        xp = namespace(decision.server)
        return xp.where(decision.server < 0, 0, decision.server * self.params.num_channels + decision.channel)

    def check_decision(self, state: State, decision: Decision, *, complete: bool = False) -> None:
        """Raise `ValueError` for a decision of another library, shape or type, or outside the servers and channels.

        With `complete`, also where a client whose budget is not spent has no server.
        """
        if complete:
            left_out = (decision.server < 0) & state.active
            self._reject(left_out, decision.server, "server", "at least 0: the client is active")
        shape = tuple(state.uplink_gain.shape[:-2])
        for name, count in (("server", self.params.num_servers), ("channel", self.params.num_channels)):
            check_same_library(getattr(decision, name), state.uplink_gain, name)
            check_integers(getattr(decision, name), shape, -1, count - 1, name, self.agents.__getitem__)
        differ = (decision.server < 0) != (decision.channel < 0)
        self._reject(differ, decision.channel, "channel", "-1 exactly where the server is -1")

    def check_gains(self, state: State) -> None:
        """Raise `ValueError` for gains that are NaN, infinite or not positive."""
        reject_not_positive(state.uplink_gain, label="uplink_gain")
        reject_not_positive(state.downlink_gain, label="downlink_gain")

    # What the round costs and brings.

    def cost(self, state: State, decision: Decision, *, validate: bool = True) -> Cost:
        """Return the round's delays, energies and system cost, eqs (5)-(19a); absent clients count 0.

        Args:
            state: gains `(..., N, M, K)`; other parts are not used.
            decision: integers `(..., N)`.
            validate: check decision and gains; costs some microseconds.

        Raises:
            ValueError: a decision outside its range, or gains that are NaN or not positive.
        """
        if validate:
            self.check_decision(state, decision)
            self.check_gains(state)
        p, c = self.params, self.constants(state.uplink_gain)
        xp = namespace(state.uplink_gain)
        server, channel = decision.server, decision.channel
        if server.dtype != xp.int64 or channel.dtype != xp.int64:
            server, channel = xp.astype(server, xp.int64), xp.astype(channel, xp.int64)
        present = server >= 0
        at = xp.where(present, server, 0)
        disturbs = radio.co_channel(channel=channel)
        uplink_pairs = radio.gain_to_pairs(gain=state.uplink_gain, server=server, channel=channel)
        downlink_pairs = uplink_pairs
        if state.downlink_gain is not state.uplink_gain:
            downlink_pairs = radio.gain_to_pairs(gain=state.downlink_gain, server=server, channel=channel)
        uplink_sinr = radio.uplink_sinr(
            pair_gain=uplink_pairs, client_power=c.client_power, disturbs=disturbs, noise=self.noise
        )
        downlink_sinr = radio.downlink_sinr(
            pair_gain=downlink_pairs, serving_power=c.server_power[at], disturbs=disturbs, noise=self.noise
        )
        uplink_rate = radio.shannon_rate(bandwidth=p.bandwidth, sinr=uplink_sinr)
        downlink_rate = radio.shannon_rate(bandwidth=p.bandwidth, sinr=downlink_sinr)
        uplink_delay = radio.transmission_delay(bits=c.uplink_bits, rate=uplink_rate)
        downlink_delay = radio.transmission_delay(bits=c.downlink_bits, rate=downlink_rate)
        uplink_energy = radio.transmission_energy(power=c.client_power, delay=uplink_delay)
        load = compute.samples_per_server(samples=c.samples, server=server, num_servers=p.num_servers)
        per_server = compute.edge_delay(server_samples=load, flop_per_sample=p.body_flop, server_flops=c.server_flops)
        edge_delay = pick(per_server, at)
        served = functools.partial(xp.where, present)
        parts = [served(part, 0.0) for part in (c.local_delay, uplink_delay, edge_delay, downlink_delay)]
        client_time = parts[0] + parts[1] + parts[2] + parts[3]
        client_energy = served(c.local_energy + uplink_energy, 0.0)
        round_time = rounds.round_time(client_time=client_time)
        energy = rounds.total_energy(client_energy=client_energy)
        system_cost = rounds.system_cost(
            round_time=round_time, energy=energy, time_weight=p.time_weight, energy_weight=p.energy_weight
        )
        return Cost(
            local_delay=parts[0],
            uplink_delay=parts[1],
            edge_delay=parts[2],
            downlink_delay=parts[3],
            client_time=client_time,
            client_energy=client_energy,
            round_time=round_time,
            energy=energy,
            system_cost=system_cost,
            uplink_rate=served(uplink_rate, 0.0),
            downlink_rate=served(downlink_rate, 0.0),
        )

    def conflicts(self, decision: Decision) -> Array:
        """Return how many clients `(...)` break C5: those on a (server, channel) pair beyond its first client."""
        xp = namespace(decision.server)
        clients = self.pair_clients(decision)
        return xp.sum(xp.maximum(clients - 1, xp.zeros_like(clients)), axis=(-2, -1))

    def taking_part(self, decision: Decision) -> Array:
        """Return how many clients `(...)` have a server."""
        return namespace(decision.server).sum(decision.server >= 0, axis=-1)

    def predict(self, state: State, decision: Decision) -> Array:
        """Return the samples `(...)` that the round trains on: the paper counts rounds of whoever takes part."""
        xp = namespace(state.uplink_gain)
        samples = self.constants(state.uplink_gain).samples
        return xp.sum(xp.where(decision.server >= 0, samples, 0.0), axis=-1)

    def procedure(self, task: Any, seed: int) -> Any:
        """Return cloud-edge-client learning of a task among these clients and servers (Algorithm 1)."""
        self.whole_samples()
        return task.cloud_edge_client(self.params.num_clients, self.params.num_servers, seed)

    def plan(self, state: State, decision: Decision) -> Plan:
        """Return the plan of a round: clients learn at their servers, with the samples that the costs count."""
        return Plan(np.asarray(decision.server), samples=self.whole_samples())

    def whole_samples(self) -> np.ndarray:
        """Return the samples `(N,)` of each client and round as integers.

        Raises:
            ValueError: a number that is not whole.
        """
        given = np.asarray(per_node(self.params.samples, self.params.num_clients))
        whole = given.astype(np.int64)
        self._reject(whole != given, given, "samples", "whole: live learning takes them")
        return whole

    def reward(self, state: State, cost: Cost, progress: Array) -> Array:
        """Return the shared reward `(..., N)` of the round that led to `state`; 0 once a budget is spent, eq (20).

        `progress_weight` adds to it in proportion to the round's learning progress.
        """
        xp = namespace(cost.system_cost)
        inverse = 1.0 / (cost.system_cost + SMALLEST_COST)
        if self.params.reward_rule == "paper":
            shared = 1.05 / self.reference_cost + inverse
        else:
            shared = self.reference_cost * inverse
        if self.params.progress_weight:
            shared = shared + self.params.progress_weight * progress
        earns = state.active & (state.time_used <= self.params.time_budget)[..., None]
        return xp.where(earns, shared[..., None], 0.0)

    @functools.cached_property
    def reference_cost(self) -> float:
        """Lowest system cost of one batch of 256 random rounds (section VI: the batch that fixes rho).

        Stored for the presets, computed for parameters that cost other rounds. The rounds are feasible, or draw pairs
        with repetition where there are more clients than pairs.
        """
        for preset, stored in REFERENCE_COST.items():
            if cost_parameters(self.params) == cost_parameters(AssociationParams.create(self.presets[preset])):
                return stored
        return self._in_double_precision.lowest_random_cost()

    def lowest_random_cost(self) -> float:
        """Compute the lowest system cost of the batch that `reference_cost` describes."""
        rng = randomness.generator(0, 0, 0)
        state = self.start(self.draw(rng, (256,)))
        if self.params.num_clients > self.num_actions:
            pairs = rng.integers(self.num_actions, size=(256, self.params.num_clients))
            decision = Decision(pairs // self.params.num_channels, pairs % self.params.num_channels)
        else:
            decision = self.random_feasible(rng, (256,))
        return float(np.min(self.cost(state, decision).system_cost))

    def random_feasible(self, rng: np.random.Generator, batch: tuple[int, ...] = ()) -> Decision:
        """Draw a decision in which every client has a pair of its own, uniformly.

        Raises:
            ValueError: more clients than pairs.
        """
        self.require_pairs(self.params.num_clients)
        order = np.argsort(rng.random((*batch, self.num_actions)), axis=-1)[..., : self.params.num_clients]
        return Decision(order // self.params.num_channels, order % self.params.num_channels)

    def require_pairs(self, clients: int) -> None:
        """Raise `ValueError` where C5 cannot hold: more clients than (server, channel) pairs."""
        if clients > self.num_actions:
            raise ValueError(
                f"{clients} clients are to be served, must be at most the {self.num_actions} "
                "(server, channel) pairs: C5 allows one client per pair"
            )

    def report(self, cost: Cost) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return what infos carry: round time, energy and system cost; per client its time and energy."""
        shared = {"round_time": cost.round_time, "energy": cost.energy, "system_cost": cost.system_cost}
        return shared, {"client_time": cost.client_time, "client_energy": cost.client_energy}

    # What clients see.

    def observe(self, state: State, partial: Decision, agent: Array | None = None) -> Array:
        """Return observations in [0, 1] as float32: `(..., N, size)`, or `(..., size)` of one client `(...)`."""
        xp = namespace(state.energy_used)
        if self.observation != "sequential":
            seen = self._own_view(state)
            return seen if agent is None else xp.take_along_axis(seen, agent[..., None, None], axis=-2)[..., 0, :]
        if agent is not None:
            return self.normaliser(self._pair_view(state, partial, agent))
        clients = [xp.zeros_like(partial.server[..., 0]) + n for n in range(self.params.num_clients)]
        return self.normaliser(xp.stack([self._pair_view(state, partial, client) for client in clients], axis=-2))

    @functools.cached_property
    def _own_normalisers(self) -> tuple[Normaliser, Normaliser]:
        shared = tuple(field for field in self.observation_fields if field.shared)
        return Normaliser(shared), Normaliser(self.observation_fields[len(shared) :])

    def _own_view(self, state: State) -> Array:
        xp = namespace(state.energy_used)
        normalise_shared, normalise_own = self._own_normalisers
        time_left = 1.0 - state.time_used[..., None] / self.params.time_budget
        shared = normalise_shared(xp.concat([state.server_clients, state.channel_clients, time_left], axis=-1))
        own = [(1.0 - state.energy_used / state.energy_budget)[..., None]]
        if self.observation == "local":
            links = (state.uplink_rate, state.downlink_rate)
            delays = (state.uplink_delay, state.edge_delay, state.downlink_delay)
            own += [state.mean_gain, *(part[..., None] for part in (*links, *delays))]
        each = normalise_own(xp.concat(own, axis=-1))
        wide = shared[..., None, :] + xp.zeros_like(each[..., :1])
        return xp.concat([wide, each], axis=-1)

    def _pair_view(self, state: State, partial: Decision, agent: Array) -> Array:
        p, c = self.params, self.constants(state.uplink_gain)
        xp = namespace(state.uplink_gain)
        is_own = one_hot(agent, p.num_clients)
        server, channel = xp.where(is_own, -1, partial.server), xp.where(is_own, -1, partial.channel)
        others = Decision(server, channel)
        count = xp.astype(self.pair_clients(others), state.uplink_gain.dtype)

        def own(array: Array) -> Array:
            index = xp.reshape(agent, (*agent.shape, *(1,) * (array.ndim - agent.ndim)))
            index = xp.broadcast_to(index, (*agent.shape, 1, *array.shape[agent.ndim + 1 :]))
            return xp.squeeze(xp.take_along_axis(array, index, axis=agent.ndim), axis=agent.ndim)

        gain, downlink_gain = own(state.uplink_gain), own(state.downlink_gain)
        heard = radio.interference_at_servers(gain=state.uplink_gain, client_power=c.client_power, channel=channel)
        disturbance = radio.interference_at_client(gain=downlink_gain, server_power=c.server_power, pair_count=count)
        uplink_sinr = radio.sinr(
            signal=c.client_power[agent][..., None, None] * gain, interference=heard, noise=self.noise
        )
        downlink_sinr = radio.sinr(
            signal=c.server_power[:, None] * downlink_gain,
            interference=disturbance[..., None, :],
            noise=self.noise,
        )
        uplink_rate = radio.shannon_rate(bandwidth=p.bandwidth, sinr=uplink_sinr)
        downlink_rate = radio.shannon_rate(bandwidth=p.bandwidth, sinr=downlink_sinr)
        worst = self.cost(state, others, validate=False).round_time
        blocks = (
            own(state.mean_gain)[..., :, None],
            gain,
            xp.minimum(count, xp.ones_like(count)),
            xp.sum(count, axis=-2)[..., None, :],
            xp.sum(count, axis=-1)[..., :, None],
            radio.transmission_delay(bits=c.uplink_bits[agent][..., None, None], rate=uplink_rate),
            radio.transmission_delay(bits=c.downlink_bits[agent][..., None, None], rate=downlink_rate),
            heard,
            worst[..., None, None],
        )
        wide = [xp.reshape(xp.broadcast_to(block, gain.shape), (*agent.shape, self.num_actions)) for block in blocks]
        return xp.concat(wide, axis=-1)

    def scene(self, state: State, decision: Decision, title: str = "") -> Scene:
        """Return what a picture of this round shows: map, links, loads and budgets."""
        p = self.params
        as_numpy = functools.partial(np.asarray, dtype=np.float64)
        server, channel = np.asarray(decision.server), np.asarray(decision.channel)
        return Scene(
            title=title,
            side=p.side,
            clients=as_numpy(state.position),
            servers=as_numpy(self.constants(state.mean_gain).server_position),
            link=server,
            colour=channel,
            num_colours=p.num_channels,
            loads={
                "clients per server": np.bincount(server[server >= 0], minlength=p.num_servers),
                "clients per channel": np.bincount(channel[channel >= 0], minlength=p.num_channels),
            },
            coloured="clients per channel",
            budgets={
                "energy": np.clip(as_numpy(state.energy_used) / as_numpy(state.energy_budget), 0.0, 1.0),
                "time": np.clip(as_numpy(state.time_used)[None] / p.time_budget, 0.0, 1.0),
            },
        )
