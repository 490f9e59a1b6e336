"""Parameters that systems share: of every system, and of a cell whose links lose power with distance."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ..core.arrays import Array
from ..core.settings import Settings, parameter
from ..twin import radio

DBM: Mapping[str, Any] = {"unit": "dBm", "at_least": -300, "at_most": 300}
"""Limits of powers on a logarithmic scale: what is beyond them is no power but a slip."""
AMPLE: Mapping[str, Any] = {"above": 0, "infinite": True}
"""Limits of a budget that may be endless."""


@dataclasses.dataclass(frozen=True)
class Params(Settings):
    """Parameters that every system has; a system's own dataclass adds the paper's."""

    max_cycles: int = parameter(25, symbol="R", at_least=1, doc="rounds of an episode")
    dtype: Literal["float64", "float32"] = parameter(
        "float64", doc="floating type of everything that is drawn and computed"
    )
    progress_weight: float = parameter(
        0.0, unit="1/nat", at_least=0, doc="reward for what a round takes from the held-out loss, predicted or measured"
    )
    twin_error_db: float = parameter(
        0.0, unit="dB", at_least=0, at_most=100, doc="standard deviation of the twin's estimate around the true gain"
    )


@dataclasses.dataclass(frozen=True)
class CellParams(Params):
    """Parameters of a cell around one receiver: noise, path loss, powers, and what asking for too much costs."""

    noise: Literal["psd", "fixed"] = parameter(
        "psd", doc="noise of the bandwidth in use (psd), or of the whole band whatever is used (fixed)"
    )
    noise_density_dbm: float = parameter(
        -174.0, symbol="n_0", unit="dBm/Hz", at_least=-300, at_most=300, doc="density of the noise"
    )
    reference_loss_db: float = parameter(30.0, symbol="h_0", unit="dB", at_least=-300, at_most=300, doc="loss at 1 m")
    path_loss_exponent: float = parameter(3.0, symbol="gamma", above=0, at_most=30, doc="exponent of the path loss")
    flops_per_cycle: tuple[float, ...] = parameter(
        (16.0, 32.0, 64.0), symbol="kappa", unit="FLOP", above=0, doc="operations per cycle of clients, one is drawn"
    )
    power_min: float = parameter(0.01, symbol="p_min", unit="W", above=0, doc="least power")
    power_max: float = parameter(0.2, symbol="p_max", unit="W", above=0, doc="largest power")

    def __post_init__(self) -> None:
        """Reject values that contradict each other."""
        super().__post_init__()
        self.require_order(("power_min", "power_max"))

    def noise_power(self, bandwidth: float) -> float:
        """Return the noise in W of a bandwidth in Hz."""
        return float(radio.noise_power(density_dbm=self.noise_density_dbm, bandwidth=bandwidth))

    def path_gain(self, distance: Array) -> Array:
        """Return the path gain at distances `(...)` in m."""
        slope = 10.0 * self.path_loss_exponent
        return radio.path_gain(distance=distance, intercept_db=self.reference_loss_db, slope_db=slope, min_distance=1.0)
