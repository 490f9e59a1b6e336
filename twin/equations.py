"""The equations that compiled functions call, each compiled from its own source; see `core.compiling.compilable`."""

from ..core.compiling import compilable
from . import radio, rounds

compilable(radio.shannon_rate)
compilable(radio.transmission_delay)
sinr = compilable(radio.sinr)
link_of = compilable(radio.link_of)
transmission_energy = compilable(radio.transmission_energy)
system_cost = compilable(rounds.system_cost)
