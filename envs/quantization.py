"""Bits, channel and power of devices in quantized split learning (slides, part 3: SFLAM).

N devices hold the embedding of a vision transformer, a server the rest. In every round a device may get one of M
channels; it sends its activations, quantized to q bits, within the deadline. More bits teach more and cost more energy:
the round is worth the sum of learning benefit over energy.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ..core.arrays import Array, at_choice, cast, clip, like, namespace, pick
from ..core.randomness import Numbers
from ..core.records import array, constant, part_of
from ..core.settings import parameter
from ..federated.models.profile import stored_profile
from ..federated.plan import QuantizedSplitPlan
from ..twin import compute, geometry, precision, radio
from ..twin.feasible import match, snr_in_time
from ..twin.learning import LossCurve
from ..twin.precision import FEWEST_BITS, WHOLE_BITS
from .account import Account, continued, opened
from .actions import Actions
from .costs import RoundCost, totals
from .draws import between, one_of
from .observations import Field, seen
from .parameters import CellParams
from .parts import Axis, Choice, Number
from .progress import Progress
from .scene import Scene, used_share
from .system import TIME_AND_ENERGY, Limit, System

BITS: Mapping[str, Any] = {"at_least": FEWEST_BITS, "at_most": WHOLE_BITS}


@dataclasses.dataclass(frozen=True)
class QuantizationParams(CellParams):
    """Parameters of the quantization system; the slides state none of radio and energy, the defaults are ours."""

    num_clients: int = parameter(20, symbol="N", at_least=1, doc="devices")
    num_channels: int = parameter(10, symbol="M", at_least=1, doc="channels, each for one device")
    profile: str = parameter("vit_b16", doc="measured model; its first block is the device's (a name in profiles.json)")
    bandwidth: float = parameter(1e6, symbol="B_m", unit="Hz", above=0, doc="bandwidth of a channel")
    nearest: float = parameter(50.0, unit="m", above=0, doc="least distance of a device from the base station")
    farthest: float = parameter(400.0, unit="m", above=0, doc="largest distance of a device from the base station")
    samples: int = parameter(16, symbol="b", at_least=1, doc="samples of a device in a round")
    frequency_low: float = parameter(1.0e9, symbol="f_n", unit="Hz", above=0, doc="least frequency of a device")
    frequency_high: float = parameter(1.5e9, symbol="f_n", unit="Hz", above=0, doc="largest frequency of a device")
    energy_coefficient: float = parameter(
        1e-27, symbol="kappa_1", unit="J s^2", above=0, doc="computing costs kappa_1 x cycles x frequency^2"
    )
    server_time: float = parameter(0.1, symbol="T_s", unit="s", at_least=0, doc="computing time of the server")
    deadline: float = parameter(2.0, symbol="T_max", unit="s", above=0, doc="longest time of a device")
    bits_min: int = parameter(2, symbol="q_min", **BITS, doc="fewest bits of a number")
    bits_max: int = parameter(32, symbol="q_max", **BITS, doc="most bits, and those of full precision")
    benefit_amplitude: float = parameter(0.5, symbol="a", above=0, doc="O(q) = a (1 - e^(-b q)) + c")
    benefit_rate: float = parameter(0.6, symbol="b", above=0, doc="O(q) = a (1 - e^(-b q)) + c")
    benefit_floor: float = parameter(0.4, symbol="c", at_least=0, doc="O(q) = a (1 - e^(-b q)) + c")
    reference_efficiency: float = parameter(30.0, unit="1/J", above=0, doc="efficiency of a round whose reward is 1")
    reward_rule: Literal["shared", "own"] = parameter(
        "shared",
        doc="shared: efficiency / reference_efficiency; own: that of each device, times the number of channels",
    )
    violation_weight: float = parameter(
        0.1, at_least=0, doc="reward lost by a device that asked for a taken channel, or to miss the deadline"
    )
    positions: Literal["episode", "round"] = parameter("episode", doc="when devices are placed anew")

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        self.require_order(("nearest", "farthest"), ("frequency_low", "frequency_high"), ("bits_min", "bits_max"))
        stored_profile(self.profile)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a round asks to be decided, SI units; leading batch axes `...`, N devices, M channels."""

    snr_per_watt: Array = array("N M", "1/W", "G = g / (n0 B): signal to noise of the channel, per W sent")
    channel_bandwidth: Array = array("M", "Hz", "B, the same for all batch axes")
    full_bits: Array = array("N", "bit", "s0: bits of the activations at `bits_max` bits each")
    compute_energy: Array = array("N", "J")
    compute_time: Array = array("N", "s")
    server_time: float = constant("s")
    deadline: float = constant("s", "T_max")
    power_min: float = constant("W")
    power_max: float = constant("W")
    bits_min: int = constant()
    bits_max: int = constant()
    benefit: tuple[float, float, float] = constant("", "(a, b, c) of O(q) = a (1 - e^(-b q)) + c")

    @functools.cached_property
    def feasible(self) -> Array:
        """Channels `(..., N, M)` on which the fewest bits meet the deadline."""
        fewest = namespace(self.compute_time).zeros_like(self.compute_time)[..., None] + self.bits_min
        width = self.channel_bandwidth
        # (M,), or (1,) where one stands for all; on a device, asking whether it does would wait for it.
        alike = isinstance(width, np.ndarray) and (width == width[:1]).all()
        least = needed_snr(self, fewest, width[:1] if alike else width)
        return self.power_max * (1.0 + 1e-10) * self.snr_per_watt >= least


@dataclasses.dataclass(frozen=True)
class Decision:
    """What each device does; a device without a channel has channel -1 and 0 in the rest."""

    channel: Array = array("N", "", "0..M-1, -1: none; a channel serves at most one device", kind="integer")
    bits: Array = array("N", "", "q, bits_min..bits_max", kind="integer")
    power: Array = array("N", "W", "p")


@dataclasses.dataclass(frozen=True)
class Cost(RoundCost):
    """What a round costs and brings; devices without a channel count 0."""

    bits: Array = array("N", "", "q")
    client_benefit: Array = array("N", "", "O(q): accuracy that the device's bits allow")
    client_efficiency: Array = array("N", "1/J", "O(q) / E")
    efficiency: Array = array("", "1/J", "sum of the devices' efficiencies")


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where the devices are, and what they are; drawn once an episode, or every round."""

    distance: Array = array("N", "m", "from the base station", above=0)
    angle: Array = array("N", "rad", "direction, for pictures")
    flops_per_cycle: Array = array("N", "FLOP", above=0)
    frequency: Array = array("N", "Hz", above=0)


@dataclasses.dataclass(frozen=True)
class Draw(Devices):
    """What chance decides in a round."""

    fading: Array = array("N M", "", "fading power, mean 1", above=0)
    estimate_error: Array = array("N M", "", "standard normal error of the twin's estimate")


@dataclasses.dataclass(frozen=True)
class State(Account, Devices):
    """The devices at the start of a round, and what the rounds before it left."""

    gain: Array = array("N M", "", "power gain of every channel", above=0)
    estimate_error: Array = array("N M", "", "standard normal")
    efficiency: Array = array("N", "1/J", "O / E in the previous round")


def delays(problem: Problem, decision: Decision) -> tuple[Array, Array]:
    """Return the time `(..., N)` in s of computing, the server's included, and of sending; 0 without a channel."""
    xp, present = namespace(problem.snr_per_watt), decision.channel >= 0
    # (..., N): every device is seen on its own channel.
    snr = decision.power * at_choice(problem.snr_per_watt, decision.channel)
    rate = radio.shannon_rate(bandwidth=pick(problem.channel_bandwidth, decision.channel), sinr=snr)
    bits = cast(decision.bits, snr.dtype)
    sent = precision.quantized_bits(full_bits=problem.full_bits, bits=bits, bits_max=problem.bits_max)
    uplink = radio.transmission_delay(bits=sent, rate=xp.where(present, rate, 1.0))
    return xp.where(present, problem.compute_time + problem.server_time, 0.0), xp.where(present, uplink, 0.0)


def round_cost(problem: Problem, decision: Decision) -> Cost:
    """Return what a decision `(..., N)` costs and brings: the one place where its parts are put together."""
    xp, present = namespace(problem.snr_per_watt), decision.channel >= 0
    computing, uplink = delays(problem, decision)
    spent = xp.where(present, problem.compute_energy, 0.0)
    sent = radio.transmission_energy(power=xp.where(present, decision.power, 0.0), delay=uplink)
    bits = xp.where(present, cast(decision.bits, spent.dtype), 0.0)
    amplitude, rise, floor = problem.benefit
    benefit = precision.learning_benefit(bits=bits, amplitude=amplitude, rate=rise, floor=floor)
    benefit = xp.where(present, benefit, 0.0)
    total = totals(delays=(computing, uplink), energies=(spent, sent))
    efficiency = benefit / xp.where(present, total["client_energy"], 1.0)
    return Cost(
        compute_delay=computing,
        uplink_delay=uplink,
        compute_energy=spent,
        uplink_energy=sent,
        bits=bits,
        client_benefit=benefit,
        client_efficiency=efficiency,
        efficiency=efficiency.sum(axis=-1),
        **total,
    )


def time_left(problem: Problem) -> Array:
    """Return the time `(..., N)` in s that computing leaves for sending before the deadline; negative: none."""
    return problem.deadline - problem.server_time - problem.compute_time


def needed_snr(problem: Problem, bits: Array, bandwidth: Array) -> Array:
    """Return the least signal to noise with which bits `(..., N, k)` meet the deadline on k channels; inf: none."""
    sent = precision.quantized_bits(full_bits=problem.full_bits[..., None], bits=bits, bits_max=problem.bits_max)
    return snr_in_time(bits=sent, time=time_left(problem)[..., None], bandwidth=bandwidth)


def needed_power(problem: Problem, bits: Array) -> Array:
    """Return the least power `(..., N, M)` in W with which `bits` `(..., N, M)` meet the deadline; inf: none does."""
    power = needed_snr(problem, bits, problem.channel_bandwidth) / problem.snr_per_watt
    return clip(power, problem.power_min)


def most_bits(problem: Problem) -> Array:
    """Return the bits `(..., N, M)`, not rounded, that the largest power sends within the deadline."""
    left = time_left(problem)[..., None]
    rate = radio.shannon_rate(bandwidth=problem.channel_bandwidth, sinr=problem.power_max * problem.snr_per_watt)
    return clip(left, 0.0) * rate * problem.bits_max / problem.full_bits[..., None]


class QuantizationSystem(System[Draw, State, Problem, Decision, Cost]):
    """Which channel each device gets, and with how many bits and how much power it sends."""

    name = "quantization"
    version = 1
    params_type = QuantizationParams
    draw_type = Draw
    presets: ClassVar = {
        "fixed": {"noise": "fixed"},
        "tight": {"deadline": 1.2},
        "large": {"num_clients": 100, "num_channels": 100},
    }
    objective = "efficiency"
    maximized = True
    quantities: ClassVar = {"efficiency": "efficiency in 1/J", **TIME_AND_ENERGY}
    own_quantities = ("client_time", "client_energy", "client_efficiency")
    extras: ClassVar = {"mean_bits": "mean bits per number"}
    curve = LossCurve(2.296, 665.7, 5.357, "python -m fedtwin.studies.progress quantization")
    procedure = "quantized_split"
    params: QuantizationParams

    def __init__(self, params: QuantizationParams) -> None:
        """Derive constants from the parameters."""
        super().__init__(params)
        self.sizes = {**self.sizes, "M": params.num_channels}
        heard = params.bandwidth * (params.num_channels if params.noise == "fixed" else 1)
        self.noise_power = params.noise_power(heard)
        profile = stored_profile(params.profile)
        self.device_flop = float(params.samples * (profile.forward_flops[0] + profile.backward_flops[0]))
        self.full_bits = float(params.samples * profile.activation_bits[1]) * params.bits_max / WHOLE_BITS

    def make_actions(self) -> Actions:
        """Declare channel or none, bits and power."""
        p = self.params
        return Actions(
            Decision,
            Choice(Axis("channel", "z", p.num_channels), optional=True, exclusive="enforced"),
            Number("bits", "q", "", p.bits_min, p.bits_max, whole=True),
            Number("power", "p", "W", p.power_min, p.power_max),
        )

    def make_observations(self) -> Sequence[Field]:
        """Declare what a device sees; gains reach from a fade of -20 dB to one of +10 dB."""
        p = self.params
        low, high = (p.path_gain(np.array([p.farthest, p.nearest])) / self.noise_power).tolist()
        cycles = self.device_flop / np.array([max(p.flops_per_cycle), min(p.flops_per_cycle)])
        least, most = compute.cycles_energy(
            cycles=cycles, frequency=np.array([p.frequency_low, p.frequency_high]), coefficient=p.energy_coefficient
        ).tolist()
        snr = ("signal to noise per W, on each channel", "G", "1/W", 1e-2 * low, 10.0 * high, p.num_channels, "log")
        energy = ("computing energy", "E^cmp", "J", 0.9 * least, 1.1 * most, 1, "log")
        return (
            seen(lambda v: v.problem.snr_per_watt, *snr),
            seen(lambda v: v.problem.compute_energy, *energy),
            seen(lambda v: time_left(v.problem), "time left to send", "T_max - T^cmp - T_s", "s", 0.0, p.deadline, 1),
            seen(lambda v: v.state.efficiency, "own efficiency in the last round", "O / E", "1/J", 0.0, 1.0 / least, 1),
        )

    # A round.

    def draw(self, rng: Numbers) -> Draw:
        """Draw places, devices and fading of one round."""
        p, clients, channels = self.params, self.params.num_clients, self.params.num_channels
        share = rng.uniform((4, clients), p.dtype)
        distance, angle, kappa, frequency = (share[..., row, :] for row in range(4))
        fading = rng.exponential((clients, channels), p.dtype)
        return Draw(
            distance=namespace(share).sqrt(between(distance, p.nearest**2, p.farthest**2)),
            angle=2.0 * np.pi * angle,
            flops_per_cycle=one_of(kappa, p.flops_per_cycle),
            frequency=between(frequency, p.frequency_low, p.frequency_high),
            fading=fading,
            estimate_error=self.draw_error(rng, (clients, channels), fading),
        )

    def start(self, draw: Draw) -> State:
        """Return the state of the first round."""
        return self._next(draw, draw, namespace(draw.distance).zeros_like(draw.distance), opened(draw.distance))

    def advance(self, state: State, decision: Decision, draw: Draw, cost: Cost, progress: Progress) -> State:
        """Return the state of the next round: energy spent, efficiencies remembered, channels drawn anew."""
        placed = draw if self.params.positions == "round" else state
        return self._next(placed, draw, cost.client_efficiency, continued(state, cost, progress, cost.round_time))

    def _next(self, placed: Devices, draw: Draw, efficiency: Array, account: dict[str, Array]) -> State:
        own = {**part_of(placed, Devices), **account, "efficiency": efficiency}
        gain = self.params.path_gain(placed.distance)[..., None] * draw.fading
        return State(gain=gain, estimate_error=draw.estimate_error, **own)

    def problem(self, state: State) -> Problem:
        """Return the round as a frozen problem in SI units."""
        p, xp = self.params, namespace(state.gain)
        cycles = self.device_flop / state.flops_per_cycle
        return Problem(
            snr_per_watt=state.gain / self.noise_power,
            channel_bandwidth=like(np.full(p.num_channels, p.bandwidth), state.gain),
            full_bits=xp.zeros_like(state.distance) + self.full_bits,
            compute_energy=compute.cycles_energy(
                cycles=cycles, frequency=state.frequency, coefficient=p.energy_coefficient
            ),
            compute_time=compute.cycles_delay(cycles=cycles, frequency=state.frequency),
            **p.subset("server_time", "deadline", "power_min", "power_max", "bits_min", "bits_max"),
            benefit=(p.benefit_amplitude, p.benefit_rate, p.benefit_floor),
        )

    # What is legal.

    def allowed(self, state: State, problem: Problem) -> Array:
        """Return the choices `(..., N, M + 1)`: channels that meet the deadline, and none (the last)."""
        xp = namespace(problem.feasible)
        return xp.concat([problem.feasible, xp.ones_like(problem.feasible[..., :1])], axis=-1)

    def repair(self, problem: Problem, asked: Decision, scores: Array | None) -> Decision:
        """Return the nearest decision that keeps every limit.

        Channels go to the strongest preferences first, one device each: a preference is what a channel's score has
        above the device's own score of none, and the fewest bits must meet the deadline. Bits are then at most what the
        largest power sends in time, power at least what the bits need.
        """
        assert scores is not None
        xp = namespace(scores)
        preference = scores[..., :-1] - scores[..., -1:]
        channel = match(xp.where(problem.feasible & (preference > 0.0), preference, -xp.inf))
        served = channel >= 0
        # (..., N, 1): the problem as if every device's own channel were the only one.
        chosen = dataclasses.replace(
            problem,
            snr_per_watt=xp.where(served, at_choice(problem.snr_per_watt, channel), 1.0)[..., None],
            channel_bandwidth=pick(problem.channel_bandwidth, channel)[..., None],
        )
        room = xp.floor(most_bits(chosen)[..., 0] * (1.0 + self.rounding / 10.0))
        wanted = xp.minimum(xp.astype(asked.bits, room.dtype), room)
        bits = clip(wanted, problem.bits_min, problem.bits_max)
        least = clip(needed_power(chosen, bits[..., None])[..., 0], problem.power_min, problem.power_max)
        power = xp.where(served, xp.maximum(asked.power, least), 0.0)
        return Decision(channel, xp.where(served, xp.astype(bits, xp.int64), 0), power)

    def limits(self, problem: Problem, decision: Decision) -> tuple[Limit, ...]:
        """Return the deadline."""
        time = operator.add(*delays(problem, decision))
        return (Limit("time", "s", time, problem.deadline, f"at most the deadline of {problem.deadline:g}"),)

    def used(self, problem: Problem, asked: Decision, made: Decision) -> Array:
        """Return the share of the deadline that was asked for; inf for a channel that another got."""
        late = super().used(problem, asked, made)
        contested = (asked.channel >= 0) & (asked.channel != made.channel)
        return namespace(late).where(contested, namespace(late).inf, late)

    def penalty(self, used: Array) -> Array | None:
        """Return `violation_weight` for each device that asked for what it may not have, `(..., N)`."""
        if not self.params.violation_weight:
            return None
        return self.params.violation_weight * namespace(used).astype(used > 1.0 + self.rounding, used.dtype)

    # What it costs and brings.

    def price(self, problem: Problem, decision: Decision) -> Cost:
        """Return the round's delays, energies and benefits; devices without a channel count 0."""
        return round_cost(problem, decision)

    def amount(self, state: State, decision: Decision, cost: Cost) -> Array:
        """Return the sum of the devices' benefits."""
        return cost.client_benefit.sum(axis=-1)

    def reward(self, state: State, cost: Cost, progress: Progress) -> Array:
        """Return efficiency / reference_efficiency `(..., N)`, of the round or of each device."""
        p = self.params
        own = p.reward_rule == "own"
        efficiency = p.num_channels * cost.client_efficiency if own else cost.efficiency[..., None]
        earned = efficiency / p.reference_efficiency
        return self.with_progress(earned, progress) + namespace(earned).zeros_like(cost.client_time)

    def detail(self, cost: Cost) -> dict[str, Array]:
        """Return the parts of time and energy, and the mean bits of the devices that send."""
        served = (cost.client_time > 0.0).sum(axis=-1, dtype=cost.bits.dtype)
        return {**cost.parts(), "mean_bits": cost.bits.sum(axis=-1) / clip(served, 1.0)}

    def plan(self, state: State, decision: Decision) -> QuantizedSplitPlan:
        """Return the plan of a round: devices with a channel learn, with their bits and the samples of the costs."""
        channel = np.asarray(decision.channel)
        samples = np.full(channel.shape, self.params.samples, np.int64)
        return QuantizedSplitPlan(np.where(channel >= 0, 0, -1), samples=samples, bits=np.asarray(decision.bits))

    def scene(self, state: State, decision: Decision, title: str = "") -> Scene:
        """Return what a picture of this round shows: map, links colored by channel, bits and time used."""
        p = self.params
        place = {name: np.asarray(getattr(state, name), np.float64) for name in ("distance", "angle")}
        return Scene.of_cell(
            title,
            p.farthest,
            geometry.from_polar(**place),
            decision.channel,
            p.num_channels,
            "devices per channel",
            loads={"bits of each device": np.asarray(decision.bits)},
            budgets={"time": used_share(self.cost(state, decision, validate=False).client_time, p.deadline)},
        )
