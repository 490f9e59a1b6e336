"""A device that computes and then sends on a share of a band, within an energy budget. Slides, part 2."""

import dataclasses
from typing import Any

from ..core.arrays import Array, clip, namespace
from ..core.records import some_of
from . import compute, radio


@dataclasses.dataclass(frozen=True)
class Device:
    """What devices compute and send with, the same for all of them.

    In what follows cycles and bits are those to compute and to send, the share is that of the band, and
    `snr_per_watt` the signal to noise of the whole band per W sent, in 1/W; shapes `(...)` broadcast.
    """

    coefficient: float
    """Computing costs coefficient x cycles x frequency^2, in J s^2."""
    frequency_min: float
    """In Hz, as the largest one."""
    frequency_max: float
    power_min: float
    """In W, as the largest one."""
    power_max: float
    bandwidth: float
    """Of the whole band in Hz."""
    noise: str
    """"psd" or "fixed"; see `radio.band_rate`."""

    def computing_energy(self, *, cycles: Array, frequency: Array) -> Array:
        """Energy in J of computing at a frequency in Hz, `(...)`."""
        return compute.cycles_energy(cycles=cycles, frequency=frequency, coefficient=self.coefficient)

    def rate(self, *, share: Array, snr: Array) -> Array:
        """Rate in bit/s on a share of the band, `(...)`."""
        return radio.band_rate(bandwidth=self.bandwidth, share=share, snr=snr, noise=self.noise)

    def power_for_energy(self, *, bits: Array, energy: Array, share: Array, snr_per_watt: Array) -> Array:
        """Largest power in W with which sending costs at most an energy in J; see `radio.power_for_energy`."""
        link: dict[str, Any] = some_of(self, ("bandwidth", "noise", "power_min", "power_max"))
        return radio.power_for_energy(bits=bits, energy=energy, share=share, snr_per_watt=snr_per_watt, **link)

    def least_energy(self, *, cycles: Array, bits: Array, share: Array, snr_per_watt: Array) -> Array:
        """Energy in J of least frequency and least power, `(...)`; inf where there are bits and the share is 0."""
        rate = self.rate(share=share, snr=self.power_min * snr_per_watt)
        xp, sends = namespace(rate), rate > 0.0
        delay = radio.transmission_delay(bits=bits, rate=xp.where(sends, rate, 1.0))
        energy = self.computing_energy(cycles=cycles, frequency=self.frequency_min)
        energy = energy + radio.transmission_energy(power=self.power_min, delay=delay)
        return xp.where(sends | (bits == 0.0), energy, xp.inf)

    def least_share(self, *, energy_budget: Array, cycles: Array, bits: Array, snr_per_watt: Array) -> Array:
        """Share with which least frequency and least power just keep a budget in J: the inverse of `least_energy`.

        Returns:
            Share `(...)`, above 1 where the whole band is too little; inf: no band is enough.
        """
        left = energy_budget - self.computing_energy(cycles=cycles, frequency=self.frequency_min)
        xp, able = namespace(left), left > 0.0
        rate = self.power_min * bits / xp.where(able, left, 1.0)
        snr = self.power_min * snr_per_watt + xp.zeros_like(left)
        share = radio.share_for_rate(bandwidth=self.bandwidth, rate=rate, snr=snr, noise=self.noise)
        return xp.where(able, share, xp.inf)

    def nominal_time(
        self, *, energy_budget: Array, cycles: Array, bits: Array, share: Array, snr_per_watt: Array
    ) -> Array:
        """Time of computing and sending with at most half of a budget in J for computing, and the rest for sending.

        Returns:
            Time `(...)` in s; inf where least frequency and least power exceed the budget.
        """
        xp = namespace(cycles)
        frequency = xp.sqrt(0.5 * energy_budget / self.computing_energy(cycles=cycles, frequency=1.0))
        frequency = clip(frequency, self.frequency_min, self.frequency_max)
        left = energy_budget - self.computing_energy(cycles=cycles, frequency=frequency)
        wide = snr_per_watt + xp.zeros_like(left)
        power = self.power_for_energy(bits=bits, energy=left, share=share, snr_per_watt=wide)
        rate = self.rate(share=share, snr=power * snr_per_watt)
        time = compute.cycles_delay(cycles=cycles, frequency=frequency)
        time = time + radio.transmission_delay(bits=bits, rate=rate)
        least = self.least_energy(cycles=cycles, bits=bits, share=share, snr_per_watt=snr_per_watt)
        return xp.where(least <= energy_budget, time, xp.inf)

    def within_energy(
        self,
        frequency: Array,
        power: Array,
        *,
        budget: Array,
        cycles: Array,
        bits: Array,
        share: Array,
        snr_per_watt: Array,
    ) -> tuple[Array, Array]:
        """Frequency and power lowered until a budget in J holds, its parts in the proportion that was asked for.

        Sending's least counts before computing's where the budget is too small for both. The share is above 0; cycles
        and bits are 0 for who takes no part.

        Returns:
            Frequency in Hz and power in W, `(...)`.
        """
        xp = namespace(budget)

        def sending(power: Array) -> Array:
            rate = self.rate(share=share, snr=power * snr_per_watt)
            delay = radio.transmission_delay(bits=bits, rate=xp.where(bits > 0.0, rate, 1.0))
            return radio.transmission_energy(power=power, delay=delay)

        asked = sending(power)
        total = self.computing_energy(cycles=cycles, frequency=frequency) + asked
        over = total > budget
        least_sent = sending(xp.zeros_like(power) + self.power_min)
        slowest = xp.zeros_like(frequency) + self.frequency_min
        least_spent = self.computing_energy(cycles=cycles, frequency=slowest)
        sent = clip(budget * asked / xp.where(over, total, 1.0), least_sent)
        sent = xp.minimum(sent, xp.maximum(budget - least_spent, least_sent))
        drain = self.computing_energy(cycles=xp.where(over, cycles, 1.0), frequency=1.0)
        slower = clip(xp.sqrt(clip(budget - sent, 0.0) / drain), self.frequency_min, frequency)
        frequency = xp.where(over, slower, frequency)
        left = budget - self.computing_energy(cycles=cycles, frequency=frequency)
        weaker = self.power_for_energy(bits=bits, energy=left, share=share, snr_per_watt=snr_per_watt)
        return frequency, xp.where(over, xp.minimum(weaker, power), power)
