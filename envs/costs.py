"""What rounds of systems cost that spend time and energy on computing and on sending."""

import dataclasses
import functools
import operator
from collections.abc import Sequence

from ..core.arrays import Array, pick
from ..core.records import array
from ..twin import rounds


def totals(*, delays: Sequence[Array], energies: Sequence[Array]) -> dict[str, Array]:
    """Return time and energy of clients and of the round from their parts `(..., N)`, by the names of `Totals`."""
    time, energy = (functools.reduce(operator.add, parts) for parts in (delays, energies))
    return {
        "client_time": time,
        "client_energy": energy,
        "round_time": rounds.round_time(client_time=time),
        "energy": rounds.total_energy(client_energy=energy),
    }


@dataclasses.dataclass(frozen=True)
class Totals:
    """Time and energy of clients and of the round."""

    client_time: Array = array("N", "s", "sum of the delays")
    client_energy: Array = array("N", "J", "sum of the energies")
    round_time: Array = array("", "s", "the slowest client's time")
    energy: Array = array("", "J", "energy of all clients")


@dataclasses.dataclass(frozen=True)
class RoundCost(Totals):
    """Delays and energies of a round; clients that take no part count 0."""

    compute_delay: Array = array("N", "s", "client and server")
    uplink_delay: Array = array("N", "s")
    compute_energy: Array = array("N", "J")
    uplink_energy: Array = array("N", "J")

    @property
    def communication_delay(self) -> Array:
        """Time on the air `(..., N)` in s."""
        return self.uplink_delay

    def parts(self) -> dict[str, Array]:
        """Return time as parts of the slowest client's, and energy as parts of the sum, each `(...)`."""
        slowest = self.client_time.argmax(axis=-1)[..., None]
        computing, sending = (pick(delay, slowest)[..., 0] for delay in (self.compute_delay, self.communication_delay))
        return {
            "compute_time": computing,
            "communication_time": sending,
            "compute_energy": self.compute_energy.sum(axis=-1),
            "communication_energy": self.uplink_energy.sum(axis=-1),
        }
