"""Split point, bandwidth, frequency and power of vehicles in split federated learning (slides, part 2: ASFL).

N vehicles cross the cell of a road-side unit. In every round each is given a cut of the model: it trains the blocks
before the cut, the unit those behind it; activations go up, their gradients come down, the vehicle's part goes both
ways. The round lasts as long as the slowest vehicle; every vehicle has an energy budget.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from ..core import randomness
from ..core.arrays import Array, arange_like, like, namespace
from ..core.checks import (
    check_float_array,
    check_integers,
    check_same_library,
    check_shape,
    reject,
    reject_not_finite,
    reject_not_positive,
)
from ..core.settings import parameter
from ..federated.plan import Plan
from ..federated.profile import stored_profile
from ..twin import compute, geometry, radio, rounds
from .fields import Field, scaled, unscaled
from .scene import Scene
from .system import Params, System

SPREAD = 2.0
"""Shares follow the softmax of this times the action's number: they differ by a factor of e^4 at most."""

ROUNDING = 1e-9
"""Relative excess of a limit that is rounding and no violation; 1e-5 where numbers have single precision."""


@dataclasses.dataclass(frozen=True)
class SplitPointParams(Params):
    """Parameters of the split-point system; the slides state none of radio and energy, all defaults are ours."""

    num_vehicles: int = parameter(10, symbol="N", at_least=1, doc="vehicles in the cell")
    profile: str = parameter("resnet18_cifar", doc="measured model whose blocks are divided (federated/profiles.json)")
    num_cuts: int = parameter(4, symbol="J", at_least=1, doc="cuts: behind the first block, the second, ...")
    bandwidth: float = parameter(20e6, symbol="W", unit="Hz", above=0, doc="bandwidth of the uplink, to be shared")
    noise: Literal["psd", "fixed"] = parameter(
        "psd", doc="noise of the share in use (psd), or of the whole band whatever the share (fixed, as in the slides)"
    )
    noise_density_dbm: float = parameter(
        -174.0, symbol="n_0", unit="dBm/Hz", at_least=-300, at_most=300, doc="density of the noise"
    )
    reference_loss_db: float = parameter(30.0, symbol="h_0", unit="dB", at_least=-300, at_most=300, doc="loss at 1 m")
    path_loss_exponent: float = parameter(3.0, symbol="gamma", above=0, at_most=30, doc="exponent of the path loss")
    least_fading: float = parameter(0.1, at_least=0, doc="fading power below which a vehicle waits for a better block")
    radius: float = parameter(400.0, unit="m", above=0, doc="radius of the cell")
    road_offset: float = parameter(50.0, unit="m", above=0, doc="distance of the road from the unit")
    speed_low: float = parameter(5.0, unit="m/s", above=0, doc="least speed of a vehicle")
    speed_high: float = parameter(15.0, unit="m/s", above=0, doc="largest speed of a vehicle")
    pause: float = parameter(1.0, unit="s", above=0, doc="time between rounds, in which vehicles drive on")
    samples_low: int = parameter(40, symbol="|D_n|", at_least=1, doc="least number of samples in a round")
    samples_high: int = parameter(120, symbol="|D_n|", at_least=1, doc="largest number of samples in a round")
    flops_per_cycle: tuple[float, ...] = parameter(
        (16.0, 32.0, 64.0), symbol="kappa", unit="FLOP", above=0, doc="operations per cycle of vehicles, one is drawn"
    )
    server_flops: float = parameter(
        2e12, symbol="f_s kappa_s", unit="FLOP/s", above=0, doc="speed of the unit for each vehicle"
    )
    downlink_rate: float = parameter(100e6, symbol="R^DL", unit="bit/s", above=0, doc="rate down to each vehicle")
    switched_capacitance: float = parameter(
        1e-27, symbol="zeta", unit="J s^2", above=0, doc="computing costs zeta / 2 x cycles x frequency^2"
    )
    energy_budget_low: float = parameter(1.0, symbol="E", unit="J", above=0, doc="least energy budget of a round")
    energy_budget_high: float = parameter(5.0, symbol="E", unit="J", above=0, doc="largest energy budget of a round")
    frequency_min: float = parameter(0.2e9, symbol="f_min", unit="Hz", above=0, doc="least frequency")
    frequency_max: float = parameter(2e9, symbol="f_max", unit="Hz", above=0, doc="largest frequency")
    power_min: float = parameter(0.01, symbol="phi_min", unit="W", above=0, doc="least power")
    power_max: float = parameter(0.2, symbol="phi_max", unit="W", above=0, doc="largest power")
    reference_time: float = parameter(20.0, unit="s", above=0, doc="time of a round whose reward is 0")
    reward_rule: Literal["shared", "own"] = parameter(
        "shared", doc="shared: ln(reference_time / round time); own: each vehicle's with its own time"
    )
    violation_weight: float = parameter(
        1.0, at_least=0, doc="reward lost per unit of ln(energy asked for / budget) above 0"
    )
    violation_margin: float = parameter(
        0.0, at_least=0, at_most=0.99, doc="share of the budget below it at which the loss of reward begins"
    )
    progress_weight: float = parameter(
        0.0, at_least=0, doc="reward for learning progress: per predicted sample, or live per unit of accuracy gained"
    )
    twin_error_db: float = parameter(
        0.0, unit="dB", at_least=0, at_most=100, doc="standard deviation of the twin's estimate around the true gain"
    )

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        self.require_order(
            ("speed_low", "speed_high"),
            ("samples_low", "samples_high"),
            ("energy_budget_low", "energy_budget_high"),
            ("frequency_min", "frequency_max"),
            ("power_min", "power_max"),
        )
        if self.road_offset >= self.radius:
            raise ValueError(f"road_offset is {self.road_offset} m, must be below radius = {self.radius} m")
        blocks = len(stored_profile(self.profile).forward_flops)
        if self.num_cuts >= blocks:
            raise ValueError(f"num_cuts is {self.num_cuts}, must be below the {blocks} blocks of {self.profile}")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a round asks to be decided, SI units; leading batch axes `...`, N vehicles, J cuts.

    Rows of vehicles that do not take part are 0 in `cycles`, `uplink_bits` and `fixed_time`.
    """

    cycles: Array
    """A `(..., N, J)`: cycles of the vehicle's part, forward and backward, all samples of the round."""
    uplink_bits: Array
    """U `(..., N, J)`: activations of all samples and the vehicle's part of the model."""
    fixed_time: Array
    """C `(..., N, J)` in s: broadcast, server, gradients down."""
    energy_budget: Array
    """E `(..., N)` in J."""
    snr_per_watt: Array
    """g / (n0 W) `(..., N)` in 1/W: signal to noise of the whole band, per W sent."""
    server_time: Array
    """The part of `fixed_time` in which the server computes, `(..., N, J)` in s."""
    taking_part: Array
    """`(..., N)` booleans."""
    bandwidth: float
    """W in Hz."""
    switched_capacitance: float
    """zeta in J s^2 per cycle; computing costs zeta / 2 x cycles x f^2."""
    frequency_min: float
    frequency_max: float
    """Hz."""
    power_min: float
    power_max: float
    """W."""
    noise: Literal["psd", "fixed"]
    """How noise counts on a share of the band; see `twin.radio.band_rate`."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What each vehicle does, `(..., N)`; a vehicle that does not take part has cut -1 and 0 in the rest."""

    cut: Array
    """Integers in 0..J-1, -1: does not take part."""
    bandwidth_share: Array
    """b, sum at most 1."""
    frequency: Array
    """f in Hz."""
    power: Array
    """p in W."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a round costs; vehicles that do not take part count 0."""

    compute_delay: Array
    """Vehicle and server `(..., N)` in s."""
    uplink_delay: Array
    """`(..., N)` in s."""
    downlink_delay: Array
    """Broadcast and gradients `(..., N)` in s."""
    client_time: Array
    """Sum of the delays `(..., N)` in s."""
    compute_energy: Array
    """`(..., N)` in J."""
    uplink_energy: Array
    """`(..., N)` in J."""
    client_energy: Array
    """Sum of the energies `(..., N)` in J."""
    round_time: Array
    """The slowest vehicle's time `(...)` in s."""
    energy: Array
    """Energy of all vehicles `(...)` in J."""
    uplink_rate: Array
    """`(..., N)` in bit/s."""


def at_cut(values: Array, cut: Array) -> Array:
    """Return `values` `(..., N, J)` at each vehicle's cut `(..., N)`; 0 where that is -1."""
    xp = namespace(values)
    chosen = arange_like(values.shape[-1], cut) == cut[..., None]
    return xp.sum(xp.where(chosen, values, 0.0), axis=-1)


def computing_energy(problem: Problem, cycles: Array | float, frequency: Array | float) -> Array:
    """Return zeta / 2 A f^2 `(...)` in J of `cycles` A at `frequency` f in Hz."""
    coefficient = 0.5 * problem.switched_capacitance
    return compute.cycles_energy(cycles=cycles, frequency=frequency, coefficient=coefficient)


def drain(problem: Problem, cycles: Array | float) -> Any:
    """Return D = zeta / 2 A `(...)` in J s^2: computing `cycles` A at f costs D f^2."""
    return computing_energy(problem, cycles, 1.0)


def round_cost(problem: Problem, decision: Decision) -> Cost:
    """Return what a decision costs: the one place where delays and energies are put together.

    Args:
        problem: leading axes `...`.
        decision: `(..., N)`; not checked.
    """
    xp = namespace(problem.cycles)
    present = decision.cut >= 0
    frequency = xp.where(present, decision.frequency, 1.0)
    cycles, bits = at_cut(problem.cycles, decision.cut), at_cut(problem.uplink_bits, decision.cut)
    fixed, server = at_cut(problem.fixed_time, decision.cut), at_cut(problem.server_time, decision.cut)
    power = xp.where(present, decision.power, 0.0)
    rate = radio.band_rate(
        bandwidth=problem.bandwidth,
        share=xp.where(present, decision.bandwidth_share, 0.0),
        snr=power * problem.snr_per_watt,
        noise=problem.noise,
    )
    uplink = radio.transmission_delay(bits=bits, rate=xp.where(bits > 0.0, rate, 1.0))
    local = compute.cycles_delay(cycles=cycles, frequency=frequency)
    spent = computing_energy(problem, cycles, frequency)
    sent = radio.transmission_energy(power=power, delay=uplink)
    client_time = local + uplink + fixed
    return Cost(
        compute_delay=local + server,
        uplink_delay=uplink,
        downlink_delay=fixed - server,
        client_time=client_time,
        compute_energy=spent,
        uplink_energy=sent,
        client_energy=spent + sent,
        round_time=rounds.round_time(client_time=client_time),
        energy=rounds.total_energy(client_energy=spent + sent),
        uplink_rate=xp.where(present, rate, 0.0),
    )


@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides in a round: fading, and the vehicles that drive into the cell."""

    position: Array
    """Of vehicles in the first round, along the road `(..., N)` in m; 0 is nearest to the unit."""
    speed: Array
    """`(..., N)` in m/s."""
    samples: Array
    """`(..., N)`, whole."""
    flops_per_cycle: Array
    """`(..., N)`."""
    energy_budget: Array
    """`(..., N)` in J."""
    fading: Array
    """Fading power `(..., N)`, mean about 1."""
    estimate_error: Array
    """Standard normal error of the twin's estimate `(..., N)`."""


@dataclasses.dataclass(frozen=True)
class State:
    """The vehicles at the start of a round."""

    position: Array
    """Along the road, in driving direction, `(..., N)` in m; 0 is nearest to the unit."""
    speed: Array
    """`(..., N)` in m/s."""
    samples: Array
    """|D_n| `(..., N)`, whole."""
    flops_per_cycle: Array
    """kappa `(..., N)`."""
    energy_budget: Array
    """E of a round `(..., N)` in J."""
    gain: Array
    """Power gain of the uplink `(..., N)`."""
    estimate_error: Array
    """Standard normal `(..., N)`."""
    cycle: Array
    """Rounds completed `(...)`."""
    time_used: Array
    """`(...)` in s."""
    energy_used: Array
    """`(..., N)` in J."""
    taking_part: Array
    """`(..., N)` booleans: who can be served in this round, as the twin sees it; see `SplitPointSystem.able`."""


LOADS = ("cycles", "uplink_bits", "fixed_time", "server_time")
"""What vehicles that do not take part have none of."""


def nominal_time(problem: Problem) -> Array:
    """Return each cut's time `(..., N, J)` in s at an equal share, with at most half of the budget for computing.

    It is inf where least frequency and least power exceed the budget.
    """
    xp = namespace(problem.cycles)
    share = xp.zeros_like(problem.energy_budget) + 1.0 / problem.energy_budget.shape[-1]
    budget = problem.energy_budget[..., None]
    frequency = xp.clip(
        xp.sqrt(0.5 * budget / drain(problem, problem.cycles)),
        problem.frequency_min,
        problem.frequency_max,
    )
    link = {
        "bandwidth": problem.bandwidth,
        "share": share[..., None],
        "noise": problem.noise,
    }
    spent = computing_energy(problem, problem.cycles, frequency)
    snr = problem.snr_per_watt[..., None]
    power = radio.power_for_energy(
        bits=problem.uplink_bits, energy=budget - spent, snr_per_watt=snr + xp.zeros_like(spent),
        power_min=problem.power_min, power_max=problem.power_max, **link,
    )  # fmt: skip
    uplink = radio.transmission_delay(bits=problem.uplink_bits, rate=radio.band_rate(snr=power * snr, **link))
    time = compute.cycles_delay(cycles=problem.cycles, frequency=frequency) + uplink + problem.fixed_time
    return xp.where(least_energy(problem, share) <= budget, time, xp.inf)


def least_energy(problem: Problem, share: Array) -> Array:
    """Return the energy `(..., N, J)` in J of least frequency and least power at shares `(..., N)`; inf at share 0."""
    xp = namespace(problem.cycles)
    spent = computing_energy(problem, problem.cycles, problem.frequency_min)
    rate = radio.band_rate(
        bandwidth=problem.bandwidth, share=share, snr=problem.power_min * problem.snr_per_watt, noise=problem.noise
    )
    sends = (rate > 0.0)[..., None]
    delay = radio.transmission_delay(bits=problem.uplink_bits, rate=xp.where(sends, rate[..., None], 1.0))
    sent = radio.transmission_energy(power=problem.power_min, delay=delay)
    return xp.where(sends | (problem.uplink_bits == 0.0), spent + sent, xp.inf)


def lifted_shares(problem: Problem, share: Array) -> Array:
    """Return shares moved towards equal ones, as little as lets every vehicle keep its budget at some cut.

    An equal share suffices whoever takes part; a vehicle needs the share at which least power and frequency just keep
    its budget.
    """
    xp = namespace(share)
    present = xp.astype(problem.taking_part, share.dtype)
    equal = present / xp.clip(xp.sum(present, axis=-1, keepdims=True), 1.0, None)
    spent = computing_energy(problem, problem.cycles, problem.frequency_min)
    left = problem.energy_budget[..., None] - spent
    able = left > 0.0
    least = radio.share_for_rate(
        bandwidth=problem.bandwidth,
        rate=problem.power_min * problem.uplink_bits / xp.where(able, left, 1.0),
        snr=(problem.power_min * problem.snr_per_watt)[..., None] + xp.zeros_like(left),
        noise=problem.noise,
    )
    needed = xp.min(xp.where(able, least, xp.inf), axis=-1)
    floor = xp.minimum(needed * (1.0 + 1e-6), equal)
    short = xp.clip(floor - share, 0.0, None)
    room = equal - share
    step = xp.where(short > 0.0, short / xp.where(room > 0.0, room, 1.0), 0.0)
    most = xp.clip(xp.max(step, axis=-1, keepdims=True), 0.0, 1.0)
    return share + most * (equal - share)


def within_budget(problem: Problem, decision: Decision, budget: Array) -> Decision:
    """Lower frequency and power until the budget `(..., N)` holds, its parts in the proportion that was asked for."""
    xp = namespace(decision.power)
    present = decision.cut >= 0
    asked = round_cost(problem, decision)
    over = present & (asked.client_energy > budget)
    one = xp.astype(present, decision.power.dtype)
    floor = dataclasses.replace(decision, frequency=problem.frequency_min * one, power=problem.power_min * one)
    least = round_cost(problem, floor)
    total = xp.where(over, asked.client_energy, 1.0)
    sent = xp.clip(budget * asked.uplink_energy / total, least.uplink_energy, None)
    sent = xp.minimum(sent, xp.maximum(budget - least.compute_energy, least.uplink_energy))
    cycles = at_cut(problem.cycles, decision.cut)
    slower = xp.sqrt(xp.clip(budget - sent, 0.0, None) / drain(problem, xp.where(over, cycles, 1.0)))
    frequency = xp.where(over, xp.clip(slower, problem.frequency_min, decision.frequency), decision.frequency)
    spent = computing_energy(problem, cycles, frequency)
    weaker = radio.power_for_energy(
        bits=at_cut(problem.uplink_bits, decision.cut),
        energy=budget - spent,
        bandwidth=problem.bandwidth,
        share=xp.where(present, decision.bandwidth_share, 1.0),
        snr_per_watt=problem.snr_per_watt,
        noise=problem.noise,
        power_min=problem.power_min,
        power_max=problem.power_max,
    )
    power = xp.where(over, xp.minimum(weaker, decision.power), decision.power)
    return dataclasses.replace(decision, frequency=frequency, power=power)


class SplitPointSystem(System):
    """Where the model is cut for each vehicle, and with what it computes and sends."""

    name: ClassVar[str] = "split_point"
    version: ClassVar[int] = 0
    params_type: ClassVar[type[Params]] = SplitPointParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "slides": {"noise": "fixed"},
        "digits": {"profile": "mlp", "num_cuts": 2},
    }
    observation_kinds: ClassVar[Mapping[str, Mapping[str, Any]]] = {"local": {}}
    objective: ClassVar[str] = "round_time"
    quantities: ClassVar[Mapping[str, str]] = {"round_time": "round time in s", "energy": "energy in J"}
    params: SplitPointParams

    def __init__(self, params: SplitPointParams) -> None:
        """Derive agents, fields and constants from the parameters."""
        super().__init__(params)
        p = params
        self.agents = tuple(f"vehicle_{n}" for n in range(p.num_vehicles))
        self.num_actions = p.num_cuts
        self.action_size = p.num_cuts + 3
        self.half_length = geometry.half_chord(radius=p.radius, offset=p.road_offset)
        self.noise_power = radio.noise_power(density_dbm=p.noise_density_dbm, bandwidth=p.bandwidth)
        profile = stored_profile(p.profile)
        forward, backward = (
            np.cumsum(part, dtype=np.float64) for part in (profile.forward_flops, profile.backward_flops)
        )
        cuts = slice(0, p.num_cuts)
        self.vehicle_flop = (forward + backward)[cuts]
        self.server_flop = (forward[-1] + backward[-1]) - self.vehicle_flop
        self.activation_bits = np.asarray(profile.activation_bits[1:], np.float64)[cuts]
        self.model_bits = np.cumsum(profile.trainable_bits, dtype=np.float64)[cuts]
        self.action_fields = (
            Field("cut, a score each", "epsilon", "", 0, p.num_cuts - 1, p.num_cuts, source="C4"),
            Field("bandwidth share, by softmax", "beta", "", 0.0, 1.0, 1, source="C1"),
            Field("frequency", "f", "Hz", p.frequency_min, p.frequency_max, 1, "log", "C5"),
            Field("power", "phi", "W", p.power_min, p.power_max, 1, "log", "C6"),
        )
        self.observation_fields = self._observation_fields()
        self._frames: list[list[Any]] = []

    def _observation_fields(self) -> tuple[Field, ...]:
        p = self.params
        loss = radio.path_gain(distance=np.array([p.radius, p.road_offset]), **self._path_loss).tolist()
        low, high = (gain / self.noise_power for gain in (loss[0] * max(p.least_fading, 1e-2), loss[1] * 10.0))
        longest = 1e3 * p.reference_time
        speeds = p.flops_per_cycle
        return (
            Field("share of vehicles that take part", "", "", 0.0, 1.0, 1, shared=True),
            Field(
                "geometric mean of nominal times", "", "s", 1e-3 * p.reference_time, longest, 1, "log", shared=True
            ),
            Field("takes part", "alpha", "", 0.0, 1.0, 1),
            Field("samples", "|D_n|", "", 0.0, p.samples_high, 1),
            Field("operations per cycle", "kappa", "FLOP", 0.5 * min(speeds), 2.0 * max(speeds), 1, "log"),
            Field("energy budget", "E", "J", 0.5 * p.energy_budget_low, 2.0 * p.energy_budget_high, 1, "log"),
            Field("signal to noise of the band per W", "", "1/W", low, high, 1, "log"),
            Field("time left in the cell", "", "s", 0.1, 2.0 * self.half_length / p.speed_low, 1, "log"),
            Field(
                "nominal time at each cut: an equal share, half of the energy for computing",
                "t_n", "s", 1e-3 * p.reference_time, longest, p.num_cuts, "log",
            ),
        )  # fmt: skip

    @property
    def _path_loss(self) -> dict[str, float]:
        p = self.params
        slope = 10.0 * p.path_loss_exponent
        return {"intercept_db": p.reference_loss_db, "slope_db": slope, "min_distance": 1.0}

    # What chance does.

    def draw(self, rng: Any, batch: tuple[int, ...] = ()) -> Draw:
        """Draw fading and arriving vehicles of one round, with a NumPy or a torch generator."""
        p = self.params
        share = randomness.uniform(rng, (*batch, 6, p.num_vehicles), p.dtype)
        xp = namespace(share)
        kinds = like(np.asarray(p.flops_per_cycle), share)
        kind = xp.astype(xp.floor(share[..., 3, :] * len(p.flops_per_cycle)), xp.int64)
        error = 0.0 * share[..., 0, :]
        if p.twin_error_db:
            error = randomness.normal(rng, (*batch, p.num_vehicles), p.dtype)
        fading = randomness.exponential(1.0 * share[..., 5, :])
        samples = xp.floor(p.samples_low + share[..., 2, :] * (p.samples_high - p.samples_low + 1))
        return Draw(
            position=-self.half_length * share[..., 0, :],
            speed=p.speed_low + share[..., 1, :] * (p.speed_high - p.speed_low),
            samples=xp.clip(samples, p.samples_low, p.samples_high),
            flops_per_cycle=kinds[xp.clip(kind, 0, len(p.flops_per_cycle) - 1)],
            energy_budget=p.energy_budget_low + share[..., 4, :] * (p.energy_budget_high - p.energy_budget_low),
            fading=xp.clip(fading, p.least_fading, None),
            estimate_error=error,
        )

    def check_draw(self, draw: Draw) -> None:
        """Raise `ValueError` for a draw of another shape, with NaN, or with a number out of its range."""
        if not isinstance(draw, Draw):
            raise ValueError(f"the draw is a {type(draw).__name__}, must be a fedtwin.envs.split_point.Draw")
        for field in dataclasses.fields(Draw):
            value = getattr(draw, field.name)
            check_float_array(value, self.params.dtype, field.name)
            check_shape(value, (*tuple(draw.position.shape[:-1]), self.params.num_vehicles), field.name)
        reject_not_finite(draw.estimate_error, label="estimate_error")
        outside = ~(abs(draw.position) <= self.half_length)
        reject(outside, draw.position, label="position", unit="m", limit=f"within {self.half_length:g} m of the unit")
        for name, unit in (("speed", "m/s"), ("samples", ""), ("flops_per_cycle", "FLOP"), ("energy_budget", "J")):
            reject_not_positive(getattr(draw, name), label=name, unit=unit)
        reject_not_positive(draw.fading, label="fading")

    # How a round begins and ends.

    def _gain(self, position: Array, fading: Array) -> Array:
        distance = namespace(position).sqrt(position**2 + self.params.road_offset**2)
        return fading * radio.path_gain(distance=distance, **self._path_loss)

    def start(self, draw: Draw) -> State:
        """Return the state of the first round: vehicles in the half of the cell that they enter by."""
        xp = namespace(draw.position)
        zero = xp.zeros_like(draw.position)
        return self._selected(
            State(
                position=draw.position,
                speed=draw.speed,
                samples=draw.samples,
                flops_per_cycle=draw.flops_per_cycle,
                energy_budget=draw.energy_budget,
                gain=self._gain(draw.position, draw.fading),
                estimate_error=draw.estimate_error,
                cycle=xp.zeros_like(zero[..., 0], dtype=xp.int64),
                time_used=zero[..., 0],
                energy_used=zero,
                taking_part=xp.ones_like(zero, dtype=xp.bool),
            )
        )

    def _selected(self, state: State) -> State:
        return dataclasses.replace(state, taking_part=self.able(self.believed(state)))

    def able(self, state: State) -> Array:
        """Return the vehicles `(..., N)` that can be served at an equal share of the band.

        Least power and frequency keep the budget at some cut, and the nominal time is within the time that the vehicle
        stays in the cell: who would leave before the round ends is not selected (slides, part 2).
        """
        nominal = nominal_time(self._loads(state))
        left = geometry.dwell_time(position=state.position, speed=state.speed, half_length=self.half_length)
        return namespace(nominal).min(nominal, axis=-1) <= left

    def advance(self, state: State, decision: Decision, draw: Draw, cost: Cost | None = None) -> State:
        """Return the state of the next round: vehicles drive on, those that leave make room for new ones."""
        cost = self.cost(state, decision) if cost is None else cost
        xp = namespace(state.position)
        passed = (cost.round_time + self.params.pause)[..., None]
        position = state.position + state.speed * passed
        gone = position > self.half_length

        def renewed(own: Array, new: Array) -> Array:
            return xp.where(gone, new, own)

        position = renewed(position, xp.zeros_like(position) - self.half_length)
        return self._selected(
            State(
                position=position,
                speed=renewed(state.speed, draw.speed),
                samples=renewed(state.samples, draw.samples),
                flops_per_cycle=renewed(state.flops_per_cycle, draw.flops_per_cycle),
                energy_budget=renewed(state.energy_budget, draw.energy_budget),
                gain=self._gain(position, draw.fading),
                estimate_error=draw.estimate_error,
                cycle=state.cycle + 1,
                time_used=state.time_used + passed[..., 0],
                energy_used=renewed(state.energy_used + cost.client_energy, xp.zeros_like(position)),
                taking_part=state.taking_part,
            )
        )

    def believed(self, state: State) -> State:
        """Return the state as the twin sees it: gains off by the stated error, everything else as it is."""
        if not self.params.twin_error_db:
            return state
        ratio = radio.decibel_to_ratio(state.estimate_error * self.params.twin_error_db)
        return dataclasses.replace(state, gain=state.gain * ratio)

    # What a round asks.

    def problem(self, state: State) -> Problem:
        """Return the round as a frozen problem in SI units, `(..., N, J)`."""
        return self._frame(state)[0]

    def _frame(self, state: State) -> tuple[Problem, Array]:
        """Return the problem, and the nominal times `(..., N, J)`, inf at cuts that no budget allows."""
        for frame in self._frames:
            if frame[0] is state:
                frame[1] = self._build(state) if frame[1] is None else frame[1]
                return frame[1]  # type: ignore[no-any-return]
        return self._build(state)

    def remember(self, *states: State) -> None:
        """Build the problems of these states once; nothing else is remembered."""
        self._frames = [[state, None] for state in states]

    def _loads(self, state: State) -> Problem:
        """Return the problem as if everybody took part."""
        p, xp = self.params, namespace(state.gain)

        def constant(values: np.ndarray) -> Array:
            return like(values, state.gain)

        samples = state.samples[..., None]
        cycles = samples * constant(self.vehicle_flop) / state.flops_per_cycle[..., None]
        bits, model = samples * constant(self.activation_bits), constant(self.model_bits)
        server = samples * constant(self.server_flop) / p.server_flops
        fixed = radio.transmission_delay(bits=model + bits, rate=p.downlink_rate) + server
        return Problem(
            cycles=cycles,
            uplink_bits=bits + model,
            fixed_time=fixed,
            energy_budget=state.energy_budget,
            snr_per_watt=state.gain / self.noise_power,
            server_time=server,
            taking_part=xp.ones_like(state.gain, dtype=xp.bool),
            bandwidth=p.bandwidth,
            switched_capacitance=p.switched_capacitance,
            frequency_min=p.frequency_min,
            frequency_max=p.frequency_max,
            power_min=p.power_min,
            power_max=p.power_max,
            noise=p.noise,
        )

    def _build(self, state: State) -> tuple[Problem, Array]:
        every, xp = self._loads(state), namespace(state.gain)
        present = state.taking_part[..., None]
        loads = {name: xp.where(present, getattr(every, name), 0.0) for name in LOADS}
        return dataclasses.replace(every, taking_part=state.taking_part, **loads), nominal_time(every)

    def mask(self, state: State, partial: Decision) -> Array:
        """Return the cuts `(..., N, J)` that the budget allows at an equal share; index 0 alone for who stays out."""
        xp = namespace(state.gain)
        problem, nominal = self._frame(state)
        first = arange_like(self.num_actions, state.gain) == 0
        present = problem.taking_part[..., None]
        return xp.astype(xp.where(present, xp.isfinite(nominal), first), xp.int8)

    # What vehicles may decide.

    def agent_state(self, state: State) -> Array:
        """Return the energy that each vehicle used, `(..., N)` in J."""
        return state.energy_used

    def undecided(self, state: State) -> Decision:
        """Return the decision in which nobody takes part."""
        xp = namespace(state.gain)
        zero = xp.zeros_like(state.gain)
        return Decision(xp.zeros_like(zero, dtype=xp.int64) - 1, zero, zero, zero)

    def read(self, state: State, actions: Array) -> Decision:
        """Return what `actions` `(..., N, J + 3)` ask for, limits of energy aside.

        The cut has the highest score, shares are the softmax of the next number, frequency and power follow the last
        two on a logarithmic scale.
        """
        p, xp = self.params, namespace(actions)
        problem = self.problem(state)
        present = problem.taking_part
        numbers = xp.astype(actions, state.gain.dtype)
        scores, rest = numbers[..., : p.num_cuts], numbers[..., p.num_cuts :]
        weight = xp.where(present, xp.exp(SPREAD * rest[..., 0]), 0.0)
        total = xp.sum(weight, axis=-1, keepdims=True)
        return Decision(
            cut=xp.where(present, xp.argmax(scores, axis=-1), -1),
            bandwidth_share=weight / xp.where(total > 0.0, total, 1.0),
            frequency=xp.where(present, scaled(rest[..., 1], p.frequency_min, p.frequency_max), 0.0),
            power=xp.where(present, scaled(rest[..., 2], p.power_min, p.power_max), 0.0),
        )

    def decide(self, state: State, actions: Array, *, validate: bool = True) -> Decision:
        """Turn actions `(..., N, J + 3)` into a decision that keeps every limit.

        Shares move towards equal ones as far as some vehicle needs it to keep its budget at all; each vehicle takes
        the cut of the highest score among those that its budget allows; computing and sending then share what the
        budget allows in the proportion that was asked for.

        Raises:
            ValueError: actions of another shape or type, or outside -1..1; names the vehicle.
        """
        if validate:
            self.check_actions(actions, tuple(state.gain.shape))
        asked, problem = self.read(state, actions), self.problem(state)
        xp = namespace(actions)
        share = lifted_shares(problem, asked.bandwidth_share)
        least = least_energy(problem, share)
        budget = problem.energy_budget * (1.0 - self.rounding / 10.0)
        scores = xp.astype(actions[..., : self.params.num_cuts], state.gain.dtype)
        allowed = least <= budget[..., None]
        cut = xp.argmax(xp.where(allowed, scores, -2.0), axis=-1)
        cut = xp.where(xp.any(allowed, axis=-1), cut, xp.argmin(least, axis=-1))
        chosen = dataclasses.replace(asked, cut=xp.where(problem.taking_part, cut, -1), bandwidth_share=share)
        return within_budget(problem, chosen, budget)

    @property
    def rounding(self) -> float:
        """Relative excess of a budget that is rounding."""
        return ROUNDING if self.params.dtype == "float64" else 1e-5

    def actions_of(self, decision: Decision) -> Array:
        """Return actions `(..., N, J + 3)` that lead to `decision`: 1 for the cut, -1 for others, and its numbers."""
        p, xp = self.params, namespace(decision.power)
        present = decision.cut >= 0
        scores = xp.where(arange_like(p.num_cuts, decision.cut) == decision.cut[..., None], 1.0, -1.0)
        share = xp.where(decision.bandwidth_share > 0.0, decision.bandwidth_share, 1.0)
        log_share = xp.log(share)
        most = xp.max(xp.where(present, log_share, -xp.inf), axis=-1, keepdims=True)
        fewest = xp.min(xp.where(present, log_share, xp.inf), axis=-1, keepdims=True)
        somebody = xp.any(present, axis=-1, keepdims=True)
        middle = 0.5 * (xp.where(somebody, most, 0.0) + xp.where(somebody, fewest, 0.0))
        numbers = (
            (log_share - middle) / SPREAD,
            unscaled(decision.frequency, p.frequency_min, p.frequency_max),
            unscaled(decision.power, p.power_min, p.power_max),
        )
        whole = xp.concat([scores, *(xp.where(present, number, 0.0)[..., None] for number in numbers)], axis=-1)
        return xp.astype(xp.clip(whole, -1.0, 1.0), xp.float32)

    def projected(self, state: State, decision: Decision, actions: Array) -> Array:
        """Return the vehicles `(..., N)` whose decision is not what `actions` asked for."""
        xp = namespace(actions)
        asked = self.read(state, actions)
        changed = asked.cut != decision.cut
        for name in ("bandwidth_share", "frequency", "power"):
            own, wanted = getattr(decision, name), getattr(asked, name)
            changed = changed | (xp.abs(own - wanted) > 1e-6 * wanted)
        return changed

    def _asked_energy(self, state: State, actions: Array) -> Array:
        """Return the energy that `actions` ask for, over the budget, `(..., N)`; 0 for who does not take part."""
        problem = self.problem(state)
        return round_cost(problem, self.read(state, actions)).client_energy / problem.energy_budget

    def violated(self, state: State, decision: Decision, actions: Array) -> Array:
        """Return the vehicles `(..., N)` that asked for more energy than their budget."""
        return self._asked_energy(state, actions) > 1.0 + self.rounding

    def penalty(self, state: State, decision: Decision, actions: Array) -> Array | None:
        """Return `violation_weight` x ln(energy asked for / budget less the margin) above 0, `(..., N)`."""
        if not self.params.violation_weight:
            return None
        xp = namespace(state.gain)
        return self.params.violation_weight * xp.log(
            xp.clip(self._asked_energy(state, actions) / (1.0 - self.params.violation_margin), 1.0, None)
        )

    def check_decision(self, state: State, decision: Decision, *, complete: bool = False) -> None:
        """Raise `ValueError` for a decision of another library, shape or type, or that breaks a limit of the cell.

        With `complete`, also where a vehicle that can take part is left out, or a budget is exceeded.
        """
        p, xp = self.params, namespace(state.gain)
        shape = tuple(state.gain.shape)
        check_same_library(decision.cut, state.gain, "cut")
        check_integers(decision.cut, shape, -1, p.num_cuts - 1, "cut", self.agents.__getitem__)
        present = decision.cut >= 0
        for name, unit, low, high in (
            ("bandwidth_share", "", 0.0, 1.0),
            ("frequency", "Hz", p.frequency_min, p.frequency_max),
            ("power", "W", p.power_min, p.power_max),
        ):
            value = getattr(decision, name)
            check_same_library(value, state.gain, name)
            check_shape(value, shape, name)
            slack = self.rounding
            inside = (value >= low * (1.0 - slack)) & (value <= high * (1.0 + slack))
            self._reject(present & ~inside, value, name, f"in {low:g}..{high:g}", unit=unit)
        self._reject(
            present & ~(decision.bandwidth_share > 0.0),
            decision.bandwidth_share,
            "bandwidth_share",
            "above 0: the vehicle takes part",
        )
        total = xp.sum(xp.where(present, decision.bandwidth_share, 0.0), axis=-1)
        reject(~(total <= 1.0 + self.rounding), total, label="sum of bandwidth_share", unit="", limit="at most 1")
        problem = self.problem(state)
        stays_out = present & ~problem.taking_part
        self._reject(stays_out, decision.cut, "cut", "-1: the vehicle does not take part")
        if complete:
            left_out = ~present & problem.taking_part
            self._reject(left_out, decision.cut, "cut", "at least 0: the vehicle takes part")
            believed = self.problem(self.believed(state))
            spent = round_cost(believed, decision).client_energy
            over = spent > believed.energy_budget * (1.0 + self.rounding)
            self._reject(over, spent, "energy", "within the vehicle's budget", unit="J")

    # What the round costs and brings.

    def cost(self, state: State, decision: Decision, *, validate: bool = True) -> Cost:
        """Return the round's delays and energies; vehicles that do not take part count 0.

        More energy than a budget allows is priced all the same: `check_decision(..., complete=True)` tells.

        Args:
            state: `(..., N)`.
            decision: `(..., N)`.
            validate: check decision and gains.

        Raises:
            ValueError: a decision outside its limits, or gains that are NaN or not positive.
        """
        if validate:
            reject_not_positive(state.gain, label="gain")
            self.check_decision(state, decision)
        return round_cost(self.problem(state), decision)

    def taking_part(self, decision: Decision) -> Array:
        """Return how many vehicles `(...)` take part."""
        return namespace(decision.cut).sum(decision.cut >= 0, axis=-1)

    def predict(self, state: State, decision: Decision) -> Array:
        """Return the samples `(...)` that the round trains on."""
        xp = namespace(state.samples)
        return xp.sum(xp.where(decision.cut >= 0, state.samples, 0.0), axis=-1)

    def reward(self, state: State, cost: Cost, progress: Array) -> Array:
        """Return ln(reference_time / time) `(..., N)`, of the round or of each vehicle; 0 where nobody takes part."""
        xp = namespace(cost.client_time)
        p = self.params
        time = cost.client_time if p.reward_rule == "own" else cost.round_time[..., None]
        busy = time > 0.0
        earned = xp.where(busy, xp.log(p.reference_time / xp.where(busy, time, 1.0)), 0.0)
        if p.progress_weight:
            earned = earned + (p.progress_weight * progress)[..., None]
        return earned + xp.zeros_like(cost.client_time)

    def report(self, cost: Cost) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return what infos carry: round time and energy with the slowest vehicle's parts; times and energies."""
        xp = namespace(cost.client_time)
        slowest = xp.argmax(cost.client_time, axis=-1)[..., None]

        def of_slowest(value: Array) -> Array:
            return xp.take_along_axis(value, slowest, axis=-1)[..., 0]

        shared = {
            "round_time": cost.round_time,
            "energy": cost.energy,
            "compute_time": of_slowest(cost.compute_delay),
            "communication_time": of_slowest(cost.uplink_delay + cost.downlink_delay),
            "compute_energy": xp.sum(cost.compute_energy, axis=-1),
            "communication_energy": xp.sum(cost.uplink_energy, axis=-1),
        }
        return shared, {"client_time": cost.client_time, "client_energy": cost.client_energy}

    # What vehicles see.

    def observe(self, state: State, partial: Decision, agent: Array | None = None) -> Array:
        """Return observations in [0, 1] as float32: `(..., N, size)`, or `(..., size)` of one vehicle `(...)`."""
        xp = namespace(state.gain)
        problem, nominal = self._frame(state)
        present = xp.astype(problem.taking_part, state.gain.dtype)
        highest = 1e3 * self.params.reference_time
        times = xp.clip(nominal, None, highest)
        count = xp.sum(present, axis=-1, keepdims=True)
        logs = xp.sum(present * xp.log(xp.min(times, axis=-1)), axis=-1, keepdims=True) / xp.clip(count, 1.0, None)
        left = geometry.dwell_time(position=state.position, speed=state.speed, half_length=self.half_length)
        wide = xp.zeros_like(present)
        columns = (
            count / len(self.agents) + wide,
            xp.exp(logs) + wide,
            present,
            state.samples,
            state.flops_per_cycle,
            problem.energy_budget,
            problem.snr_per_watt,
            left,
        )
        raw = xp.concat([xp.stack(columns, axis=-1), times], axis=-1)
        seen = self.normaliser(raw)
        if agent is None:
            return seen
        return xp.take_along_axis(seen, agent[..., None, None], axis=-2)[..., 0, :]

    # Live learning.

    def procedure(self, task: Any, seed: int) -> Any:
        """Return adaptive split federated learning of a task among these vehicles.

        Raises:
            ValueError: a model with fewer blocks than there are cuts.
        """
        procedure = task.adaptive_split(self.params.num_vehicles, seed)
        if self.params.num_cuts > len(procedure.model):
            raise ValueError(
                f"num_cuts is {self.params.num_cuts}, must be at most the {len(procedure.model)} blocks of the task's "
                f"model {task.model}: take a model with more blocks, such as cnn, or fewer cuts"
            )
        return procedure

    def plan(self, state: State, decision: Decision) -> Plan:
        """Return the plan of a round: each vehicle's cut, and the samples that the costs count."""
        cut = np.asarray(decision.cut)
        samples = np.asarray(state.samples).astype(np.int64)
        return Plan(np.where(cut >= 0, 0, -1), samples=samples, cut=np.where(cut >= 0, cut + 1, 1))

    def scene(self, state: State, decision: Decision, title: str = "") -> Scene:
        """Return what a picture of this round shows: the road, links coloured by cut, shares and budgets.

        Vehicles of odd numbers drive the other way, on the unit's other side.
        """
        p = self.params
        position = np.asarray(state.position, np.float64)
        way = np.where(np.arange(p.num_vehicles) % 2 == 0, 1.0, -1.0)
        cut = np.asarray(decision.cut)
        spent = np.asarray(round_cost(self.problem(state), decision).client_energy, np.float64)
        return Scene(
            title=title,
            side=2.0 * p.radius,
            clients=p.radius + np.stack([way * position, -way * p.road_offset], axis=-1),
            servers=np.array([[p.radius, p.radius]]),
            link=np.where(cut >= 0, 0, -1),
            colour=cut,
            num_colours=p.num_cuts,
            loads={
                "vehicles per cut": np.bincount(cut[cut >= 0], minlength=p.num_cuts),
                "share of the band in %": 100.0 * np.asarray(decision.bandwidth_share, np.float64),
            },
            coloured="vehicles per cut",
            budgets={"energy": np.clip(spent / np.asarray(state.energy_budget, np.float64), 0.0, 1.0)},
        )
