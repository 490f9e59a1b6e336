"""Bits, channel and power of devices in quantised split learning (slides, part 3: SFLAM).

N devices hold the embedding of a vision transformer, a server the rest. In every round a device may get one of M
channels; it sends its activations, quantised to q bits, within the deadline. More bits teach more and cost more energy:
the round is worth the sum of learning benefit over energy.
"""

import dataclasses
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
    reject,
    reject_not_finite,
    reject_not_positive,
)
from ..core.settings import parameter
from ..federated.plan import Plan
from ..federated.profile import stored_profile
from ..twin import compute, quantization, radio, rounds
from .fields import Field, scaled, unscaled
from .scene import Scene
from .system import Params, System

ROUNDING = 1e-9
"""Relative excess of a limit that is rounding and no violation; 1e-5 where numbers have single precision."""


MOST_BITS_PER_HERTZ = 100.0
"""Rates are asked for up to here, at which the power is far beyond any limit: more would overflow."""


@dataclasses.dataclass(frozen=True)
class QuantizationParams(Params):
    """Parameters of the quantisation system; the slides state none of radio and energy, the defaults are ours."""

    num_clients: int = parameter(20, symbol="N", at_least=1, doc="devices")
    num_channels: int = parameter(10, symbol="M", at_least=1, doc="channels, each for one device")
    profile: str = parameter("vit_b16", doc="measured model; its first block is the device's (federated/profiles.json)")
    bandwidth: float = parameter(1e6, symbol="B_m", unit="Hz", above=0, doc="bandwidth of a channel")
    noise: Literal["psd", "fixed"] = parameter(
        "psd", doc="noise of the channel in use (psd), or of all channels together (fixed)"
    )
    noise_density_dbm: float = parameter(
        -174.0, symbol="n_0", unit="dBm/Hz", at_least=-300, at_most=300, doc="density of the noise"
    )
    reference_loss_db: float = parameter(30.0, symbol="h_0", unit="dB", at_least=-300, at_most=300, doc="loss at 1 m")
    path_loss_exponent: float = parameter(3.0, symbol="gamma", above=0, at_most=30, doc="exponent of the path loss")
    nearest: float = parameter(50.0, unit="m", above=0, doc="least distance of a device from the base station")
    farthest: float = parameter(400.0, unit="m", above=0, doc="largest distance of a device from the base station")
    samples: int = parameter(16, symbol="b", at_least=1, doc="samples of a device in a round")
    flops_per_cycle: tuple[float, ...] = parameter(
        (16.0, 32.0, 64.0), symbol="C_n D_n", unit="FLOP", above=0, doc="cores x operations per cycle, one is drawn"
    )
    frequency_low: float = parameter(1.0e9, symbol="f_n", unit="Hz", above=0, doc="least frequency of a device")
    frequency_high: float = parameter(1.5e9, symbol="f_n", unit="Hz", above=0, doc="largest frequency of a device")
    energy_coefficient: float = parameter(
        1e-27, symbol="kappa_1", unit="J s^2", above=0, doc="computing costs kappa_1 x cycles x frequency^2"
    )
    server_time: float = parameter(0.1, symbol="T_s", unit="s", at_least=0, doc="computing time of the server")
    deadline: float = parameter(2.0, symbol="T_max", unit="s", above=0, doc="longest time of a device")
    power_min: float = parameter(0.01, symbol="p_min", unit="W", above=0, doc="least power")
    power_max: float = parameter(0.2, symbol="p_max", unit="W", above=0, doc="largest power")
    bits_min: int = parameter(2, symbol="q_min", at_least=1, at_most=64, doc="fewest bits of a number")
    bits_max: int = parameter(32, symbol="q_max", at_least=1, at_most=64, doc="most bits, and those of full precision")
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
    progress_weight: float = parameter(
        0.0, at_least=0, doc="reward for learning progress: per predicted sample, or live per unit of accuracy gained"
    )
    positions: Literal["episode", "round"] = parameter("episode", doc="when devices are placed anew")
    twin_error_db: float = parameter(
        0.0, unit="dB", at_least=0, at_most=100, doc="standard deviation of the twin's estimate around the true gain"
    )

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        self.require_order(
            ("nearest", "farthest"),
            ("frequency_low", "frequency_high"),
            ("power_min", "power_max"),
            ("bits_min", "bits_max"),
        )
        stored_profile(self.profile)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a round asks to be decided, SI units; leading batch axes `...`, N devices, M channels."""

    snr_per_watt: Array
    """G = g / (n0 B) `(..., N, M)` in 1/W: signal to noise of the channel, per W sent."""
    channel_bandwidth: Array
    """B `(M,)` in Hz."""
    full_bits: Array
    """s0 `(..., N)`: bits of the activations at `bits_max` bits each."""
    compute_energy: Array
    """`(..., N)` in J."""
    compute_time: Array
    """`(..., N)` in s."""
    server_time: float
    """s."""
    deadline: float
    """T_max in s."""
    power_min: float
    power_max: float
    """W."""
    bits_min: int
    bits_max: int
    benefit: tuple[float, float, float]
    """(a, b, c) of O(q) = a (1 - e^(-b q)) + c."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What each device does, `(..., N)`; a device without a channel has channel -1 and 0 in the rest."""

    channel: Array
    """Integers in 0..M-1, -1: none; a channel serves at most one device."""
    bits: Array
    """q, integers in bits_min..bits_max."""
    power: Array
    """p in W."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a round costs and brings; devices without a channel count 0."""

    compute_delay: Array
    """Device and server `(..., N)` in s."""
    uplink_delay: Array
    """`(..., N)` in s."""
    client_time: Array
    """Sum of the delays `(..., N)` in s."""
    compute_energy: Array
    """`(..., N)` in J."""
    uplink_energy: Array
    """`(..., N)` in J."""
    client_energy: Array
    """Sum of the energies `(..., N)` in J."""
    bits: Array
    """q `(..., N)`."""
    client_benefit: Array
    """O(q) `(..., N)`: accuracy that the device's bits allow."""
    client_efficiency: Array
    """O(q) / E `(..., N)` in 1/J."""
    round_time: Array
    """The slowest device's time `(...)` in s."""
    energy: Array
    """Energy of all devices `(...)` in J."""
    efficiency: Array
    """Sum of the devices' efficiencies `(...)` in 1/J."""


def on_channel(values: Array, channel: Array) -> Array:
    """Return `values` `(..., N, M)` on each device's channel `(..., N)`; 0 where that is -1."""
    return namespace(values).where(channel >= 0, pick(values, channel[..., None])[..., 0], 0.0)


def round_cost(problem: Problem, decision: Decision) -> Cost:
    """Return what a decision costs and brings: the one place where delays, energies and benefits are put together.

    Args:
        problem: leading axes `...`.
        decision: `(..., N)`; not checked.
    """
    xp = namespace(problem.snr_per_watt)
    present = decision.channel >= 0
    power = xp.where(present, decision.power, 0.0)
    snr = power * on_channel(problem.snr_per_watt, decision.channel)
    rate = radio.shannon_rate(bandwidth=pick(problem.channel_bandwidth, decision.channel), sinr=snr)
    bits = xp.astype(decision.bits, snr.dtype)
    sent_bits = quantization.quantized_bits(full_bits=problem.full_bits, bits=bits, bits_max=problem.bits_max)
    uplink = xp.where(present, radio.transmission_delay(bits=sent_bits, rate=xp.where(present, rate, 1.0)), 0.0)
    computing = xp.where(present, problem.compute_time + problem.server_time, 0.0)
    spent = xp.where(present, problem.compute_energy, 0.0)
    sent = radio.transmission_energy(power=power, delay=uplink)
    amplitude, rise, floor = problem.benefit
    benefit = quantization.learning_benefit(bits=bits, amplitude=amplitude, rate=rise, floor=floor)
    client_energy = spent + sent
    efficiency = xp.where(present, benefit / xp.where(present, client_energy, 1.0), 0.0)
    client_time = computing + uplink
    return Cost(
        compute_delay=computing,
        uplink_delay=uplink,
        client_time=client_time,
        compute_energy=spent,
        uplink_energy=sent,
        client_energy=client_energy,
        bits=xp.where(present, bits, 0.0),
        client_benefit=xp.where(present, benefit, 0.0),
        client_efficiency=efficiency,
        round_time=rounds.round_time(client_time=client_time),
        energy=rounds.total_energy(client_energy=client_energy),
        efficiency=xp.sum(efficiency, axis=-1),
    )


@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides in a round."""

    distance: Array
    """Of devices from the base station `(..., N)` in m."""
    angle: Array
    """Direction of the devices `(..., N)` in rad, for pictures."""
    flops_per_cycle: Array
    """`(..., N)`."""
    frequency: Array
    """`(..., N)` in Hz."""
    fading: Array
    """Fading power `(..., N, M)`, mean 1."""
    estimate_error: Array
    """Standard normal error of the twin's estimate `(..., N, M)`."""


@dataclasses.dataclass(frozen=True)
class State:
    """The devices at the start of a round, and what the round before brought them."""

    distance: Array
    """`(..., N)` in m."""
    angle: Array
    """`(..., N)` in rad."""
    flops_per_cycle: Array
    """`(..., N)`."""
    frequency: Array
    """`(..., N)` in Hz."""
    gain: Array
    """Power gain of every channel `(..., N, M)`."""
    estimate_error: Array
    """Standard normal `(..., N, M)`."""
    cycle: Array
    """Rounds completed `(...)`."""
    energy_used: Array
    """`(..., N)` in J."""
    efficiency: Array
    """O / E in the previous round `(..., N)` in 1/J."""


def time_left(problem: Problem) -> Array:
    """Return the time `(..., N)` in s that computing leaves for sending before the deadline; negative: none."""
    return problem.deadline - problem.server_time - problem.compute_time


def needed_snr(problem: Problem, bits: Array, bandwidth: Array) -> Array:
    """Return the least signal to noise with which bits meet the deadline, `(..., N, k)`; inf: none does.

    Args:
        problem: of the round.
        bits: `(..., N, k)`: of k channels, or of one that stands for all (k = 1).
        bandwidth: of those channels, in Hz.
    """
    xp = namespace(problem.snr_per_watt)
    left = time_left(problem)[..., None]
    sent = quantization.quantized_bits(full_bits=problem.full_bits[..., None], bits=bits, bits_max=problem.bits_max)
    in_time = left > 0.0
    rate = sent / xp.where(in_time, left, 1.0)
    most = MOST_BITS_PER_HERTZ * bandwidth
    snr = radio.sinr_for_rate(rate=xp.minimum(rate, most), bandwidth=bandwidth)
    return xp.where(in_time & (rate <= most), snr, xp.inf)


def needed_power(problem: Problem, bits: Array) -> Array:
    """Return the least power `(..., N, M)` in W with which `bits` `(..., N, M)` meet the deadline; inf: none does."""
    power = needed_snr(problem, bits, problem.channel_bandwidth) / problem.snr_per_watt
    return namespace(power).clip(power, problem.power_min, None)


def most_bits(problem: Problem) -> Array:
    """Return the bits `(..., N, M)`, not rounded, that the largest power sends within the deadline."""
    xp = namespace(problem.snr_per_watt)
    left = time_left(problem)[..., None]
    rate = radio.shannon_rate(bandwidth=problem.channel_bandwidth, sinr=problem.power_max * problem.snr_per_watt)
    return xp.clip(left, 0.0, None) * rate * problem.bits_max / problem.full_bits[..., None]


def match(scores: Array) -> Array:
    """Give channels to devices, highest score first, one each.

    Args:
        scores: `(..., N, M)`; -inf: never.

    Returns:
        Channel `(..., N)`, -1: none.
    """
    xp = namespace(scores)
    *batch, clients, channels = scores.shape
    left = xp.astype(xp.reshape(scores, (math.prod(batch), clients * channels)), scores.dtype, copy=True)
    pairs = xp.reshape(left, (-1, clients, channels))
    copies = arange_like(left.shape[0], left)
    matched = xp.zeros_like(pairs[..., 0], dtype=xp.int64) - 1
    for _ in range(min(clients, channels)):
        best = xp.argmax(left, axis=-1)
        client, channel = best // channels, best % channels
        found = left[copies, best] > -xp.inf
        matched[copies, client] = xp.where(found, channel, matched[copies, client])
        pairs[copies, client] = -xp.inf
        pairs[copies, :, channel] = -xp.inf
    return xp.reshape(matched, (*batch, clients))


class QuantizationSystem(System):
    """Which channel each device gets, and with how many bits and how much power it sends."""

    name: ClassVar[str] = "quantization"
    version: ClassVar[int] = 0
    params_type: ClassVar[type[Params]] = QuantizationParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fixed": {"noise": "fixed"},
        "tight": {"deadline": 1.2},
        "large": {"num_clients": 100, "num_channels": 100},
    }
    observation_kinds: ClassVar[Mapping[str, Mapping[str, Any]]] = {"local": {}}
    objective: ClassVar[str] = "efficiency"
    maximised: ClassVar[bool] = True
    quantities: ClassVar[Mapping[str, str]] = {
        "efficiency": "efficiency in 1/J",
        "round_time": "round time in s",
        "energy": "energy in J",
    }
    params: QuantizationParams

    def __init__(self, params: QuantizationParams) -> None:
        """Derive agents, fields and constants from the parameters."""
        super().__init__(params)
        p = params
        self.agents = tuple(f"client_{n}" for n in range(p.num_clients))
        self.num_actions = p.num_channels + 1
        self.action_size = p.num_channels + 3
        heard = p.bandwidth * (p.num_channels if p.noise == "fixed" else 1)
        self.noise_power = radio.noise_power(density_dbm=p.noise_density_dbm, bandwidth=heard)
        profile = stored_profile(p.profile)
        self.device_flop = float(p.samples * (profile.forward_flops[0] + profile.backward_flops[0]))
        self.full_bits = float(p.samples * profile.activation_bits[1]) * p.bits_max / 32.0
        self.action_fields = (
            Field("channel, a score each; the last: none", "z", "", 0, p.num_channels, p.num_channels + 1),
            Field("bits", "q", "", p.bits_min, p.bits_max, 1, "log"),
            Field("power", "p", "W", p.power_min, p.power_max, 1, "log"),
        )
        self.observation_fields = self._observation_fields()
        self._frames: list[list[Any]] = []

    def _observation_fields(self) -> tuple[Field, ...]:
        p = self.params
        ends = radio.path_gain(distance=np.array([p.farthest, p.nearest]), **self._path_loss) / self.noise_power
        cycles = self.device_flop / np.array([max(p.flops_per_cycle), min(p.flops_per_cycle)])
        energy = compute.cycles_energy(
            cycles=cycles, frequency=np.array([p.frequency_low, p.frequency_high]), coefficient=p.energy_coefficient
        ).tolist()
        low, high = ends.tolist()
        return (
            Field("signal to noise per W, on each channel", "G", "1/W", 1e-2 * low, 10.0 * high, p.num_channels, "log"),
            Field("computing energy", "E^cmp", "J", 0.9 * energy[0], 1.1 * energy[1], 1, "log"),
            Field("time left to send", "T_max - T^cmp - T_s", "s", 0.0, p.deadline, 1),
            Field("own efficiency in the last round", "O / E", "1/J", 0.0, 1.0 / energy[0], 1),
        )

    @property
    def _path_loss(self) -> dict[str, float]:
        p = self.params
        return {"intercept_db": p.reference_loss_db, "slope_db": 10.0 * p.path_loss_exponent, "min_distance": 1.0}

    # What chance does.

    def draw(self, rng: Any, batch: tuple[int, ...] = ()) -> Draw:
        """Draw places, devices and fading of one round, with a NumPy or a torch generator."""
        p = self.params
        clients, channels = p.num_clients, p.num_channels
        share = randomness.uniform(rng, (*batch, clients * (4 + channels)), p.dtype)
        xp = namespace(share)
        own = xp.reshape(share[..., : 4 * clients], (*batch, 4, clients))
        kinds = like(np.asarray(p.flops_per_cycle), share)
        kind = xp.astype(xp.floor(own[..., 2, :] * len(p.flops_per_cycle)), xp.int64)
        area = p.nearest**2 + own[..., 0, :] * (p.farthest**2 - p.nearest**2)
        fading = randomness.exponential(1.0 * xp.reshape(share[..., 4 * clients :], (*batch, clients, channels)))
        error = 0.0 * fading
        if p.twin_error_db:
            error = randomness.normal(rng, (*batch, clients, channels), p.dtype)
        return Draw(
            distance=xp.sqrt(area),
            angle=2.0 * np.pi * own[..., 1, :],
            flops_per_cycle=kinds[xp.clip(kind, 0, len(p.flops_per_cycle) - 1)],
            frequency=p.frequency_low + own[..., 3, :] * (p.frequency_high - p.frequency_low),
            fading=fading,
            estimate_error=error,
        )

    def check_draw(self, draw: Draw) -> None:
        """Raise `ValueError` for a draw of another shape, with NaN, or with a number out of its range."""
        p = self.params
        if not isinstance(draw, Draw):
            raise ValueError(f"the draw is a {type(draw).__name__}, must be a fedtwin.envs.quantization.Draw")
        wide = ("fading", "estimate_error")
        for field in dataclasses.fields(Draw):
            value = getattr(draw, field.name)
            check_float_array(value, p.dtype, field.name)
            own = (p.num_clients, p.num_channels) if field.name in wide else (p.num_clients,)
            check_shape(value, (*tuple(draw.distance.shape[:-1]), *own), field.name)
        for name in ("angle", "estimate_error"):
            reject_not_finite(getattr(draw, name), label=name)
        for name, unit in (("distance", "m"), ("flops_per_cycle", "FLOP"), ("frequency", "Hz"), ("fading", "")):
            reject_not_positive(getattr(draw, name), label=name, unit=unit)

    # How a round begins and ends.

    def _gain(self, distance: Array, fading: Array) -> Array:
        return radio.path_gain(distance=distance, **self._path_loss)[..., None] * fading

    def start(self, draw: Draw) -> State:
        """Return the state of the first round: nothing used, nobody served yet."""
        xp = namespace(draw.distance)
        zero = xp.zeros_like(draw.distance)
        return State(
            distance=draw.distance,
            angle=draw.angle,
            flops_per_cycle=draw.flops_per_cycle,
            frequency=draw.frequency,
            gain=self._gain(draw.distance, draw.fading),
            estimate_error=draw.estimate_error,
            cycle=xp.zeros_like(zero[..., 0], dtype=xp.int64),
            energy_used=zero,
            efficiency=zero,
        )

    def advance(self, state: State, decision: Decision, draw: Draw, cost: Cost | None = None) -> State:
        """Return the state of the next round: fading drawn anew, energy and efficiency remembered."""
        cost = self.cost(state, decision) if cost is None else cost
        placed: Any = draw if self.params.positions == "round" else state
        return State(
            distance=placed.distance,
            angle=placed.angle,
            flops_per_cycle=placed.flops_per_cycle,
            frequency=placed.frequency,
            gain=self._gain(placed.distance, draw.fading),
            estimate_error=draw.estimate_error,
            cycle=state.cycle + 1,
            energy_used=state.energy_used + cost.client_energy,
            efficiency=cost.client_efficiency,
        )

    def believed(self, state: State) -> State:
        """Return the state as the twin sees it: gains off by the stated error, everything else as it is."""
        if not self.params.twin_error_db:
            return state
        ratio = radio.decibel_to_ratio(state.estimate_error * self.params.twin_error_db)
        return dataclasses.replace(state, gain=state.gain * ratio)

    # What a round asks.

    def problem(self, state: State) -> Problem:
        """Return the round as a frozen problem in SI units, `(..., N, M)`."""
        return self._frame(state)[0]

    def _frame(self, state: State) -> tuple[Problem, Array]:
        """Return the problem, and the channels on which the fewest bits meet the deadline."""
        for frame in self._frames:
            if frame[0] is state:
                frame[1] = self._build(state) if frame[1] is None else frame[1]
                return frame[1]  # type: ignore[no-any-return]
        return self._build(state)

    def remember(self, *states: State) -> None:
        """Build the problems of these states once; nothing else is remembered."""
        self._frames = [[state, None] for state in states]

    def _build(self, state: State) -> tuple[Problem, Array]:
        p, xp = self.params, namespace(state.gain)
        cycles = self.device_flop / state.flops_per_cycle
        made = Problem(
            snr_per_watt=state.gain / self.noise_power,
            channel_bandwidth=like(np.full(p.num_channels, p.bandwidth), state.gain),
            full_bits=xp.zeros_like(state.distance) + self.full_bits,
            compute_energy=compute.cycles_energy(
                cycles=cycles, frequency=state.frequency, coefficient=p.energy_coefficient
            ),
            compute_time=compute.cycles_delay(cycles=cycles, frequency=state.frequency),
            server_time=p.server_time,
            deadline=p.deadline,
            power_min=p.power_min,
            power_max=p.power_max,
            bits_min=p.bits_min,
            bits_max=p.bits_max,
            benefit=(p.benefit_amplitude, p.benefit_rate, p.benefit_floor),
        )
        fewest = xp.zeros_like(state.distance)[..., None] + p.bits_min
        most = p.power_max * (1.0 + self.rounding / 10.0)
        return made, most * made.snr_per_watt >= needed_snr(made, fewest, p.bandwidth)

    def feasible(self, state: State) -> Array:
        """Return the channels `(..., N, M)` on which the fewest bits meet the deadline."""
        return self._frame(state)[1]

    def mask(self, state: State, partial: Decision) -> Array:
        """Return the legal choices `(..., N, M + 1)`: channels that meet the deadline, and none (the last)."""
        xp = namespace(state.gain)
        able = self.feasible(state)
        return xp.concat([xp.astype(able, xp.int8), xp.ones_like(able[..., :1], dtype=xp.int8)], axis=-1)

    # What devices may decide.

    def agent_state(self, state: State) -> Array:
        """Return the energy that each device used, `(..., N)` in J."""
        return state.energy_used

    def undecided(self, state: State) -> Decision:
        """Return the decision in which nobody has a channel."""
        xp = namespace(state.gain)
        nothing = xp.zeros_like(state.distance, dtype=xp.int64)
        return Decision(nothing - 1, nothing, xp.zeros_like(state.distance))

    def read(self, state: State, actions: Array) -> Decision:
        """Return what `actions` `(..., N, M + 3)` ask for, limits aside.

        The highest score is the channel (the last one: none); bits and power follow the last two numbers on a
        logarithmic scale.
        """
        p, xp = self.params, namespace(actions)
        choice = xp.argmax(actions[..., : self.num_actions], axis=-1)
        served = choice < p.num_channels
        numbers = xp.astype(actions[..., -2:], state.gain.dtype)
        bits = xp.round(scaled(numbers[..., 0], p.bits_min, p.bits_max))
        power = scaled(numbers[..., 1], p.power_min, p.power_max)
        return Decision(
            channel=xp.where(served, choice, -1),
            bits=xp.where(served, xp.astype(bits, xp.int64), 0),
            power=xp.where(served, power, 0.0),
        )

    def decide(self, state: State, actions: Array, *, validate: bool = True) -> Decision:
        """Turn actions `(..., N, M + 3)` into a decision that keeps every limit.

        Channels go to the strongest preferences first, one device each: a preference is what a channel's score has
        above the device's own score of none, and the fewest bits must meet the deadline. Bits are then at most what the
        largest power sends in time, power at least what the bits need.

        Raises:
            ValueError: actions of another shape or type, or outside -1..1; names the device.
        """
        if validate:
            self.check_actions(actions, tuple(state.distance.shape))
        xp, p, problem = namespace(actions), self.params, self.problem(state)
        numbers = xp.astype(actions, state.gain.dtype)
        preference = numbers[..., : p.num_channels] - numbers[..., p.num_channels, None]
        wanted = self.feasible(state) & (preference > 0.0)
        channel = match(xp.where(wanted, preference, -xp.inf))
        served = channel >= 0
        asked = scaled(numbers[..., -2], p.bits_min, p.bits_max)
        chosen = dataclasses.replace(
            problem,
            snr_per_watt=xp.where(served, on_channel(problem.snr_per_watt, channel), 1.0)[..., None],
            channel_bandwidth=pick(problem.channel_bandwidth, channel)[..., None],
        )
        room = xp.floor(most_bits(chosen)[..., 0] * (1.0 + self.rounding / 10.0))
        bits = xp.clip(xp.minimum(xp.round(asked), room), p.bits_min, p.bits_max)
        least = xp.clip(needed_power(chosen, bits[..., None])[..., 0], p.power_min, p.power_max)
        power = xp.maximum(scaled(numbers[..., -1], p.power_min, p.power_max), least)
        return Decision(
            channel=channel,
            bits=xp.where(served, xp.astype(bits, xp.int64), 0),
            power=xp.where(served, power, 0.0),
        )

    @property
    def rounding(self) -> float:
        """Relative excess of a limit that is rounding."""
        return ROUNDING if self.params.dtype == "float64" else 1e-5

    def actions_of(self, decision: Decision) -> Array:
        """Return actions `(..., N, M + 3)` that lead to `decision`: 1 for the channel, -1 for others, its numbers."""
        p, xp = self.params, namespace(decision.power)
        served = decision.channel >= 0
        choice = xp.where(served, decision.channel, p.num_channels)
        scores = xp.where(one_hot(choice, self.num_actions), 1.0, -1.0)
        bits = unscaled(xp.astype(decision.bits, decision.power.dtype), p.bits_min, p.bits_max)
        numbers = (bits, unscaled(decision.power, p.power_min, p.power_max))
        whole = xp.concat([scores, *(xp.where(served, number, 0.0)[..., None] for number in numbers)], axis=-1)
        return xp.astype(xp.clip(whole, -1.0, 1.0), xp.float32)

    def projected(self, state: State, decision: Decision, actions: Array) -> Array:
        """Return the devices `(..., N)` whose decision is not what `actions` asked for."""
        xp = namespace(actions)
        asked = self.read(state, actions)
        power = xp.abs(decision.power - asked.power) > 1e-6 * asked.power
        return (asked.channel != decision.channel) | (asked.bits != decision.bits) | power

    def violated(self, state: State, decision: Decision, actions: Array) -> Array:
        """Return the devices `(..., N)` that asked for a channel that another got, or would miss the deadline."""
        asked = self.read(state, actions)
        late = round_cost(self.problem(state), asked).client_time > self.params.deadline * (1.0 + self.rounding)
        contested = (asked.channel >= 0) & (asked.channel != decision.channel)
        return late | contested

    def penalty(self, state: State, decision: Decision, actions: Array) -> Array | None:
        """Return `violation_weight` for each device that asked for what it may not have, `(..., N)`."""
        if not self.params.violation_weight:
            return None
        xp = namespace(state.gain)
        violated = self.violated(state, decision, actions)
        return self.params.violation_weight * xp.astype(violated, state.gain.dtype)

    def check_decision(self, state: State, decision: Decision, *, complete: bool = False) -> None:
        """Raise `ValueError` for a decision of another library, shape or type, or that breaks a limit.

        With `complete`, also where two devices have one channel, or a device misses the deadline on the twin.
        """
        p = self.params
        shape = tuple(state.distance.shape)
        for name, low, high in (("channel", -1, p.num_channels - 1), ("bits", 0, p.bits_max)):
            check_same_library(getattr(decision, name), state.gain, name)
            check_integers(getattr(decision, name), shape, low, high, name, self.agents.__getitem__)
        check_same_library(decision.power, state.gain, "power")
        check_shape(decision.power, shape, "power")
        served = decision.channel >= 0
        limit = f"in {p.bits_min}..{p.bits_max}"
        self._reject(served & (decision.bits < p.bits_min), decision.bits, "bits", limit)
        slack = self.rounding
        inside = (decision.power >= p.power_min * (1.0 - slack)) & (decision.power <= p.power_max * (1.0 + slack))
        limit = f"in {p.power_min:g}..{p.power_max:g}"
        self._reject(served & ~inside, decision.power, "power", limit, unit="W")
        if complete:
            contested = self.conflicts(decision)
            reject(contested > 0, contested, label="devices on a taken channel", unit="", limit="0")
            time = round_cost(self.problem(self.believed(state)), decision).client_time
            limit = f"at most the deadline of {p.deadline:g}"
            self._reject(time > p.deadline * (1.0 + slack), time, "time", limit, unit="s")

    # What the round costs and brings.

    def cost(self, state: State, decision: Decision, *, validate: bool = True) -> Cost:
        """Return the round's delays, energies and benefits; devices without a channel count 0.

        What no schedule may do is priced all the same, a channel given twice and a missed deadline among it:
        `check_decision(..., complete=True)` tells.

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

    def conflicts(self, decision: Decision) -> Array:
        """Return how many devices `(...)` have a channel that another has too, beyond its first."""
        xp = namespace(decision.channel)
        each = xp.sum(xp.astype(one_hot(decision.channel, self.params.num_channels), xp.int64), axis=-2)
        return xp.sum(xp.clip(each - 1, 0, None), axis=-1)

    def taking_part(self, decision: Decision) -> Array:
        """Return how many devices `(...)` have a channel."""
        return namespace(decision.channel).sum(decision.channel >= 0, axis=-1)

    def predict(self, state: State, decision: Decision) -> Array:
        """Return the samples `(...)` that the round trains on."""
        return self.params.samples * namespace(state.gain).astype(self.taking_part(decision), state.gain.dtype)

    def reward(self, state: State, cost: Cost, progress: Array) -> Array:
        """Return efficiency / reference_efficiency `(..., N)`, of the round or of each device."""
        p = self.params
        if p.reward_rule == "own":
            earned = p.num_channels * cost.client_efficiency / p.reference_efficiency
        else:
            earned = (cost.efficiency / p.reference_efficiency)[..., None]
        if p.progress_weight:
            earned = earned + (p.progress_weight * progress)[..., None]
        return earned + namespace(cost.client_time).zeros_like(cost.client_time)

    def report(self, cost: Cost) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return what infos carry: efficiency, times of the slowest device, energies and mean bits; times, energies."""
        xp = namespace(cost.client_time)
        slowest = xp.argmax(cost.client_time, axis=-1)[..., None]

        def of_slowest(value: Array) -> Array:
            return xp.take_along_axis(value, slowest, axis=-1)[..., 0]

        served = xp.sum(xp.astype(cost.client_time > 0.0, cost.client_time.dtype), axis=-1)
        shared = {
            "efficiency": cost.efficiency,
            "round_time": cost.round_time,
            "energy": cost.energy,
            "compute_time": of_slowest(cost.compute_delay),
            "communication_time": of_slowest(cost.uplink_delay),
            "compute_energy": xp.sum(cost.compute_energy, axis=-1),
            "communication_energy": xp.sum(cost.uplink_energy, axis=-1),
            "mean_bits": xp.sum(cost.bits, axis=-1) / xp.clip(served, 1.0, None),
        }
        own = {"client_time": cost.client_time, "client_energy": cost.client_energy}
        return shared, {**own, "client_efficiency": cost.client_efficiency}

    # What devices see.

    def observe(self, state: State, partial: Decision, agent: Array | None = None) -> Array:
        """Return observations in [0, 1] as float32: `(..., N, size)`, or `(..., size)` of one device `(...)`."""
        xp, problem = namespace(state.gain), self.problem(state)
        own = xp.stack([problem.compute_energy, time_left(problem), state.efficiency], axis=-1)
        seen = self.normaliser(xp.concat([problem.snr_per_watt, own], axis=-1))
        if agent is None:
            return seen
        return xp.take_along_axis(seen, agent[..., None, None], axis=-2)[..., 0, :]

    # Live learning.

    def procedure(self, task: Any, seed: int) -> Any:
        """Return quantised split federated learning of a task among these devices."""
        return task.quantized_split(self.params.num_clients, seed)

    def plan(self, state: State, decision: Decision) -> Plan:
        """Return the plan of a round: devices with a channel learn, with their bits and the samples of the costs."""
        channel = np.asarray(decision.channel)
        samples = np.full(channel.shape, self.params.samples, np.int64)
        bits = np.clip(np.asarray(decision.bits), 2, 32)
        return Plan(np.where(channel >= 0, 0, -1), samples=samples, bits=bits)

    def scene(self, state: State, decision: Decision, title: str = "") -> Scene:
        """Return what a picture of this round shows: map, links coloured by channel, bits and time used."""
        p = self.params
        distance, angle = (np.asarray(each, np.float64) for each in (state.distance, state.angle))
        offset = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1)
        channel = np.asarray(decision.channel)
        cost = round_cost(self.problem(state), decision)
        return Scene(
            title=title,
            side=2.0 * p.farthest,
            clients=p.farthest + offset,
            servers=np.array([[p.farthest, p.farthest]]),
            link=np.where(channel >= 0, 0, -1),
            colour=channel,
            num_colours=p.num_channels,
            loads={
                "devices per channel": np.bincount(channel[channel >= 0], minlength=p.num_channels),
                "bits of each device": np.asarray(decision.bits),
            },
            coloured="devices per channel",
            budgets={"time": np.clip(np.asarray(cost.client_time, np.float64) / p.deadline, 0.0, 1.0)},
        )
