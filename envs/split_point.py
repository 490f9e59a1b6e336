"""Split point, bandwidth, frequency and power of vehicles in split federated learning (slides, part 2: ASFL).

N vehicles cross the cell of a road-side unit. In every round each is given a cut of the model: it trains the blocks
before the cut, the unit those behind it; activations go up, their gradients come down, the vehicle's part goes both
ways. The round lasts as long as the slowest vehicle; every vehicle has an energy budget.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ..core.arrays import Array, at_choice, clip, namespace
from ..core.checks import reject
from ..core.randomness import Numbers
from ..core.records import array, constant, part_of, some_of
from ..core.settings import parameter
from ..federated.models.profile import stored_profile
from ..federated.plan import AdaptiveSplitPlan
from ..twin import compute, geometry, radio
from ..twin.device import Device
from ..twin.feasible import lifted_shares
from ..twin.learning import LossCurve
from ..twin.workload import Workload, divided
from .account import Account, continued, opened
from .actions import Actions
from .costs import RoundCost, totals
from .draws import between, one_of, whole_between
from .observations import Field, View, geometric_mean, present_share, seen
from .parameters import CellParams
from .parts import Axis, Choice, Number, Share
from .progress import Progress
from .scene import Scene, used_share
from .system import TIME_AND_ENERGY, Limit, System


@dataclasses.dataclass(frozen=True)
class SplitPointParams(CellParams):
    """Parameters of the split-point system; the slides state none of radio and energy, all defaults are ours."""

    num_vehicles: int = parameter(10, symbol="N", at_least=1, doc="vehicles in the cell")
    profile: str = parameter("resnet18_cifar", doc="measured model whose blocks are divided (a name in profiles.json)")
    num_cuts: int = parameter(4, symbol="J", at_least=1, doc="cuts: behind the first block, the second, ...")
    bandwidth: float = parameter(20e6, symbol="W", unit="Hz", above=0, doc="bandwidth of the uplink, to be shared")
    least_fading: float = parameter(0.1, at_least=0, doc="fading power below which a vehicle waits for a better block")
    radius: float = parameter(400.0, unit="m", above=0, doc="radius of the cell")
    road_offset: float = parameter(50.0, unit="m", above=0, doc="distance of the road from the unit")
    speed_low: float = parameter(5.0, unit="m/s", above=0, doc="least speed of a vehicle")
    speed_high: float = parameter(15.0, unit="m/s", above=0, doc="largest speed of a vehicle")
    pause: float = parameter(1.0, unit="s", above=0, doc="time between rounds, in which vehicles drive on")
    samples_low: int = parameter(40, symbol="|D_n|", at_least=1, doc="least number of samples in a round")
    samples_high: int = parameter(120, symbol="|D_n|", at_least=1, doc="largest number of samples in a round")
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

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        self.require_order(
            ("speed_low", "speed_high"),
            ("samples_low", "samples_high"),
            ("energy_budget_low", "energy_budget_high"),
            ("frequency_min", "frequency_max"),
        )
        self.require(self.road_offset < self.radius, "road_offset", f"below radius = {self.radius} m")
        blocks = len(stored_profile(self.profile).forward_flops)
        self.require(self.num_cuts < blocks, "num_cuts", f"below the {blocks} blocks of {self.profile}")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a round asks to be decided, SI units; leading batch axes `...`, N vehicles, J cuts.

    Rows of vehicles that do not take part are 0 in `cycles`, `uplink_bits`, `fixed_time` and `server_time`.
    """

    cycles: Array = array("N J", "", "A: cycles of the vehicle's part, forward and backward, all samples of the round")
    uplink_bits: Array = array("N J", "bit", "U: activations of all samples and the vehicle's part of the model")
    fixed_time: Array = array("N J", "s", "C: broadcast, server, gradients down")
    energy_budget: Array = array("N", "J", "E")
    snr_per_watt: Array = array("N", "1/W", "g / (n0 W): signal to noise of the whole band, per W sent")
    server_time: Array = array("N J", "s", "the part of `fixed_time` in which the server computes")
    taking_part: Array = array("N", kind="boolean")
    bandwidth: float = constant("Hz", "W")
    switched_capacitance: float = constant("J s^2", "zeta; computing costs zeta / 2 x cycles x f^2")
    frequency_min: float = constant("Hz")
    frequency_max: float = constant("Hz")
    power_min: float = constant("W")
    power_max: float = constant("W")
    noise: Literal["psd", "fixed"] = constant("", "how noise counts on a share of the band; see `twin.radio.band_rate`")

    @functools.cached_property
    def device(self) -> Device:
        """What every vehicle computes and sends with."""
        names = ("frequency_min", "frequency_max", "power_min", "power_max", "bandwidth", "noise")
        return Device(coefficient=0.5 * self.switched_capacitance, **some_of(self, names))

    @property
    def work(self) -> dict[str, Any]:
        """What there is to do at every cut, as `device` takes it."""
        return {"cycles": self.cycles, "bits": self.uplink_bits, "snr_per_watt": self.snr_per_watt[..., None]}


@dataclasses.dataclass(frozen=True)
class Decision:
    """What each vehicle does; a vehicle that does not take part has cut -1 and 0 in the rest."""

    cut: Array = array("N", "", "0..J-1, -1: does not take part", kind="integer")
    bandwidth_share: Array = array("N", "", "b, sum at most 1")
    frequency: Array = array("N", "Hz", "f")
    power: Array = array("N", "W", "p")


@dataclasses.dataclass(frozen=True)
class Cost(RoundCost):
    """What a round costs; vehicles that do not take part count 0."""

    downlink_delay: Array = array("N", "s", "broadcast and gradients")
    uplink_rate: Array = array("N", "bit/s")

    @property
    def communication_delay(self) -> Array:
        """Time on the air `(..., N)` in s, both ways."""
        return self.uplink_delay + self.downlink_delay


@dataclasses.dataclass(frozen=True)
class Vehicles:
    """What vehicles bring with them, until they leave the cell."""

    speed: Array = array("N", "m/s", above=0)
    samples: Array = array("N", "", "|D_n|, whole", above=0)
    flops_per_cycle: Array = array("N", "FLOP", "kappa", above=0)
    energy_budget: Array = array("N", "J", "E of a round", above=0)


@dataclasses.dataclass(frozen=True)
class Draw(Vehicles):
    """What chance decides in a round: fading, and the vehicles that drive into the cell."""

    position: Array = array("N", "m", "in the first round, along the road; 0 is nearest to the unit")
    fading: Array = array("N", "", "fading power, mean about 1", above=0)
    estimate_error: Array = array("N", "", "standard normal error of the twin's estimate")


@dataclasses.dataclass(frozen=True)
class State(Account, Vehicles):
    """The vehicles at the start of a round."""

    position: Array = array("N", "m", "along the road, in driving direction; 0 is nearest to the unit")
    gain: Array = array("N", "", "power gain of the uplink", above=0)
    estimate_error: Array = array("N", "", "standard normal")
    nominal_time: Array = array("N J", "s", "`nominal_time` of everybody, as the twin sees it")
    taking_part: Array = array("N", "", "who can be served in this round, as the twin sees it", kind="boolean")


def computing_energy(problem: Problem, cycles: Array | float, frequency: Array | float) -> Array:
    """Return zeta / 2 A f^2 `(...)` in J of `cycles` A at `frequency` f in Hz."""
    return problem.device.computing_energy(cycles=cycles, frequency=frequency)


def drain(problem: Problem, cycles: Array | float) -> Any:
    """Return D = zeta / 2 A `(...)` in J s^2: computing `cycles` A at f costs D f^2."""
    return computing_energy(problem, cycles, 1.0)


def round_cost(problem: Problem, decision: Decision) -> Cost:
    """Return what a decision `(..., N)` costs: the one place where delays and energies are put together."""
    xp = namespace(problem.cycles)
    present = decision.cut >= 0
    frequency = xp.where(present, decision.frequency, 1.0)
    # (..., N, J) at the chosen cut: (..., N), 0 for who does not take part.
    cycles, bits = at_choice(problem.cycles, decision.cut), at_choice(problem.uplink_bits, decision.cut)
    fixed, server = at_choice(problem.fixed_time, decision.cut), at_choice(problem.server_time, decision.cut)
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
    return Cost(
        compute_delay=local + server,
        uplink_delay=uplink,
        downlink_delay=fixed - server,
        compute_energy=spent,
        uplink_energy=sent,
        uplink_rate=xp.where(present, rate, 0.0),
        **totals(delays=(local, uplink, fixed), energies=(spent, sent)),
    )


def least_energy(problem: Problem, share: Array) -> Array:
    """Return the energy `(..., N, J)` in J of least frequency and least power at shares `(..., N)`; inf at share 0."""
    return problem.device.least_energy(**problem.work, share=share[..., None])


def within_budget(problem: Problem, decision: Decision, budget: Array) -> Decision:
    """Lower frequency and power until the budget `(..., N)` holds, its parts in the proportion that was asked for."""
    frequency, power = problem.device.within_energy(
        decision.frequency,
        decision.power,
        budget=budget,
        cycles=at_choice(problem.cycles, decision.cut),
        bits=at_choice(problem.uplink_bits, decision.cut),
        share=namespace(decision.power).where(decision.cut >= 0, decision.bandwidth_share, 1.0),
        snr_per_watt=problem.snr_per_watt,
    )
    return dataclasses.replace(decision, frequency=frequency, power=power)


class SplitPointSystem(System[Draw, State, Problem, Decision, Cost]):
    """Where the model is cut for each vehicle, and with what it computes and sends."""

    name = "split_point"
    version = 1
    params_type = SplitPointParams
    draw_type = Draw
    presets: ClassVar = {"slides": {"noise": "fixed"}, "digits": {"profile": "mlp", "num_cuts": 2}}
    agent = "vehicle"
    objective = "round_time"
    quantities: ClassVar = TIME_AND_ENERGY
    curve = LossCurve(2.219, 1.122e4, 4.711, "python -m fedtwin.studies.progress split_point --rounds 40")
    procedure = "adaptive_split"
    params: SplitPointParams

    def __init__(self, params: SplitPointParams) -> None:
        """Derive constants from the parameters."""
        super().__init__(params)
        self.sizes = {**self.sizes, "J": params.num_cuts}
        self.half_length = geometry.half_chord(radius=params.radius, offset=params.road_offset)
        self.noise_power = params.noise_power(params.bandwidth)

    def make_constants(self) -> Workload:
        """Return what the model costs at each cut."""
        return divided(stored_profile(self.params.profile), self.params.num_cuts)

    def make_actions(self) -> Actions:
        """Declare cut, share of the band, frequency and power."""
        p = self.params
        return Actions(
            Decision,
            Choice(Axis("cut", "epsilon", p.num_cuts, "C4")),
            Share("bandwidth_share", "beta", 2.0, "C1"),
            Number("frequency", "f", "Hz", p.frequency_min, p.frequency_max, "C5"),
            Number("power", "phi", "W", p.power_min, p.power_max, "C6"),
        )

    def make_observations(self) -> Sequence[Field]:
        """Declare what a vehicle sees; gains reach from a deep fade at the cell's edge to one of +10 dB at the unit."""
        p, cuts = self.params, self.params.num_cuts
        loss = p.path_gain(np.array([p.radius, p.road_offset])).tolist()
        low, high = (gain / self.noise_power for gain in (loss[0] * max(p.least_fading, 1e-2), loss[1] * 10.0))
        time, stay = ("s", 1e-3 * p.reference_time, 1e3 * p.reference_time), 2.0 * self.half_length / p.speed_low
        kappa = ("FLOP", 0.5 * min(p.flops_per_cycle), 2.0 * max(p.flops_per_cycle), 1, "log")
        budget = ("J", 0.5 * p.energy_budget_low, 2.0 * p.energy_budget_high, 1, "log")
        nominal = "nominal time at each cut: an equal share, half of the energy for computing"
        common = {"shared": True}

        def taking_part(v: View) -> Array:
            return present_share(v.state.taking_part, v.state.gain.dtype)

        def fastest_mean(v: View) -> Array:
            return geometric_mean(namespace(v.state.gain).min(self.bounded_time(v), axis=-1), v.state.taking_part)

        return (
            seen(taking_part, "share of vehicles that take part", "", "", 0.0, 1.0, 1, **common),
            seen(fastest_mean, "geometric mean of nominal times", "", *time, 1, "log", **common),
            seen(lambda v: v.state.taking_part, "takes part", "alpha", "", 0.0, 1.0, 1),
            seen(lambda v: v.state.samples, "samples", "|D_n|", "", 0.0, p.samples_high, 1),
            seen(lambda v: v.state.flops_per_cycle, "operations per cycle", "kappa", *kappa),
            seen(lambda v: v.state.energy_budget, "energy budget", "E", *budget),
            seen(lambda v: v.problem.snr_per_watt, "signal to noise of the band per W", "", "1/W", low, high, 1, "log"),
            seen(lambda v: self.dwell_time(v.state), "time left in the cell", "", "s", 0.1, stay, 1, "log"),
            seen(self.bounded_time, nominal, "t_n", *time, cuts, "log"),
        )

    def bounded_time(self, view: View) -> Array:
        """Return the nominal times `(..., N, J)` in s, at most the longest that observations show."""
        return clip(view.state.nominal_time, None, 1e3 * self.params.reference_time)

    # A round.

    def draw(self, rng: Numbers) -> Draw:
        """Draw fading and arriving vehicles of one round."""
        p = self.params
        share = rng.uniform((5, p.num_vehicles), p.dtype)
        place, speed, samples, kappa, budget = (share[..., row, :] for row in range(5))
        fading = rng.exponential((p.num_vehicles,), p.dtype)
        return Draw(
            position=-self.half_length * place,
            speed=between(speed, p.speed_low, p.speed_high),
            samples=whole_between(samples, p.samples_low, p.samples_high),
            flops_per_cycle=one_of(kappa, p.flops_per_cycle),
            energy_budget=between(budget, p.energy_budget_low, p.energy_budget_high),
            fading=clip(fading, p.least_fading),
            estimate_error=self.draw_error(rng, (p.num_vehicles,), place),
        )

    def check_draw(self, draw: Draw) -> None:
        """Raise `ValueError` for a draw of another shape, with NaN, or with a number out of its range."""
        super().check_draw(draw)
        outside = ~(abs(draw.position) <= self.half_length)
        reject(outside, draw.position, label="position", unit="m", limit=f"within {self.half_length:g} m of the unit")

    def start(self, draw: Draw) -> State:
        """Return the state of the first round: vehicles in the half of the cell that they enter by."""
        return self._next(draw.position, part_of(draw, Vehicles), draw, opened(draw.position))

    def advance(self, state: State, decision: Decision, draw: Draw, cost: Cost, progress: Progress) -> State:
        """Return the state of the next round: vehicles drive on, those that leave make room for new ones."""
        xp, passed = namespace(state.position), cost.round_time + self.params.pause
        position = state.position + state.speed * passed[..., None]
        gone, new = position > self.half_length, part_of(draw, Vehicles)
        vehicles = {name: xp.where(gone, new[name], own) for name, own in part_of(state, Vehicles).items()}
        account = continued(state, cost, progress, passed)
        account["energy_used"] = xp.where(gone, 0.0, account["energy_used"])
        return self._next(xp.where(gone, -self.half_length, position), vehicles, draw, account)

    def _next(self, position: Array, vehicles: dict[str, Array], draw: Draw, account: dict[str, Array]) -> State:
        """Return the state of vehicles at positions; who would leave before the round ends is not selected (slides)."""
        xp = namespace(position)
        gain = draw.fading * self.params.path_gain(xp.sqrt(position**2 + self.params.road_offset**2))
        own = {"position": position, "gain": gain, "estimate_error": draw.estimate_error, **vehicles, **account}
        state = State(**own, nominal_time=gain, taking_part=gain > 0.0)
        nominal = self._nominal_time(self._loads(self.believed(state)))
        able = xp.min(nominal, axis=-1) <= self.dwell_time(state)
        return State(**own, nominal_time=nominal, taking_part=able)

    def _nominal_time(self, every: Problem) -> Array:
        """Return each cut's time `(..., N, J)` in s at an equal share of the band; see `Device.nominal_time`."""
        budget = every.energy_budget[..., None]
        share = namespace(budget).zeros_like(budget) + 1.0 / len(self.agents)
        return every.device.nominal_time(**every.work, energy_budget=budget, share=share) + every.fixed_time

    def dwell_time(self, state: State) -> Array:
        """Return how long each vehicle stays in the cell, `(..., N)` in s."""
        return geometry.dwell_time(position=state.position, speed=state.speed, half_length=self.half_length)

    def problem(self, state: State) -> Problem:
        """Return the round as a frozen problem in SI units, `(..., N, J)`."""
        every, present = self._loads(state), state.taking_part[..., None]
        loads = ("cycles", "uplink_bits", "fixed_time", "server_time")
        own = {name: namespace(present).where(present, getattr(every, name), 0.0) for name in loads}
        return dataclasses.replace(every, taking_part=state.taking_part, **own)

    def _loads(self, state: State) -> Problem:
        """Return the problem as if everybody took part."""
        p, load = self.params, self.constants(state.gain)
        # (..., N, 1) times (J,): every vehicle at every cut.
        samples = state.samples[..., None]
        bits, server = samples * load.activation_bits, samples * load.server_flop / p.server_flops
        fixed = radio.transmission_delay(bits=load.model_bits + bits, rate=p.downlink_rate) + server
        return Problem(
            cycles=samples * load.client_flop / state.flops_per_cycle[..., None],
            uplink_bits=bits + load.model_bits,
            fixed_time=fixed,
            energy_budget=state.energy_budget,
            snr_per_watt=state.gain / self.noise_power,
            server_time=server,
            taking_part=namespace(state.gain).ones_like(state.gain, dtype=bool),
            **p.subset("bandwidth", "switched_capacitance", "frequency_min", "frequency_max"),
            **p.subset("power_min", "power_max", "noise"),
        )

    # What is legal.

    def able(self, problem: Problem) -> Array:
        """Return the vehicles `(..., N)` that take part."""
        return problem.taking_part

    def allowed(self, state: State, problem: Problem) -> Array:
        """Return the cuts `(..., N, J)` that the budget allows at an equal share."""
        return namespace(state.gain).isfinite(state.nominal_time)

    def repair(self, problem: Problem, asked: Decision, scores: Array | None) -> Decision:
        """Return the nearest decision that keeps every limit.

        Shares move towards equal ones as far as some vehicle needs it to keep its budget at all; each vehicle takes
        the cut of the highest score among those that its budget allows; computing and sending then share what the
        budget allows in the proportion that was asked for.
        """
        xp, present = namespace(scores), problem.taking_part
        least = problem.device.least_share(**problem.work, energy_budget=problem.energy_budget[..., None])
        share = lifted_shares(share=asked.bandwidth_share, floor=xp.min(least, axis=-1), present=present)
        least = least_energy(problem, share)
        budget = problem.energy_budget * (1.0 - self.rounding / 10.0)
        allowed = least <= budget[..., None]
        cut = xp.argmax(xp.where(allowed, scores, -2.0), axis=-1)
        cut = xp.where(xp.any(allowed, axis=-1), cut, xp.argmin(least, axis=-1))
        chosen = dataclasses.replace(asked, cut=xp.where(present, cut, -1), bandwidth_share=share)
        return within_budget(problem, chosen, budget)

    def limits(self, problem: Problem, decision: Decision) -> tuple[Limit, ...]:
        """Return the energy budgets."""
        spent = round_cost(problem, decision).client_energy
        return (Limit("energy", "J", spent, problem.energy_budget, "within the vehicle's budget"),)

    def penalty(self, used: Array) -> Array | None:
        """Return `violation_weight` x ln(energy asked for / budget less the margin) above 0, `(..., N)`."""
        p, xp = self.params, namespace(used)
        if not p.violation_weight:
            return None
        return p.violation_weight * xp.log(clip(used / (1.0 - p.violation_margin), 1.0))

    # What it costs and brings.

    def price(self, problem: Problem, decision: Decision) -> Cost:
        """Return the round's delays and energies; vehicles that do not take part count 0."""
        return round_cost(problem, decision)

    def amount(self, state: State, decision: Decision, cost: Cost) -> Array:
        """Return the samples `(...)` that the round trains on."""
        return self.present_sum(decision, state.samples)

    def reward(self, state: State, cost: Cost, progress: Progress) -> Array:
        """Return ln(reference_time / time) `(..., N)`, of the round or of each vehicle; 0 where nobody takes part."""
        xp, p = namespace(cost.client_time), self.params
        time = cost.client_time if p.reward_rule == "own" else cost.round_time[..., None]
        busy = time > 0.0
        earned = xp.where(busy, xp.log(p.reference_time / xp.where(busy, time, 1.0)), 0.0)
        return self.with_progress(earned, progress) + xp.zeros_like(cost.client_time)

    def procedure_options(self) -> dict[str, Any]:
        """Return the number of cuts, which the task's model must have blocks for."""
        return {"num_cuts": self.params.num_cuts}

    def plan(self, state: State, decision: Decision) -> AdaptiveSplitPlan:
        """Return the plan of a round: each vehicle's cut, and the samples that the costs count."""
        cut = np.asarray(decision.cut)
        samples = np.asarray(state.samples).astype(np.int64)
        return AdaptiveSplitPlan(np.where(cut >= 0, 0, -1), samples=samples, cut=np.where(cut >= 0, cut + 1, 1))

    def scene(self, state: State, decision: Decision, title: str = "") -> Scene:
        """Return what a picture of this round shows: the road, links colored by cut, shares and budgets.

        Vehicles of odd numbers drive the other way, on the unit's other side.
        """
        p, position = self.params, np.asarray(state.position, np.float64)
        way = np.where(np.arange(p.num_vehicles) % 2 == 0, 1.0, -1.0)
        spent = self.cost(state, decision, validate=False).client_energy
        return Scene.of_cell(
            title,
            p.radius,
            np.stack([way * position, -way * p.road_offset], axis=-1),
            decision.cut,
            p.num_cuts,
            "vehicles per cut",
            loads={"share of the band in %": 100.0 * np.asarray(decision.bandwidth_share, np.float64)},
            budgets={"energy": used_share(spent, state.energy_budget)},
        )
