"""What a round costs. Equation numbers: Zhao et al., JSAC 2023."""

from ..core.arrays import Array, namespace


def round_time(*, client_time: Array) -> Array:
    """Time of a round, eq (17): the slowest client's time, `(..., N)` to `(...)` in s; absent clients count 0."""
    xp = namespace(client_time)
    return xp.max(client_time, axis=-1)


def total_energy(*, client_energy: Array) -> Array:
    """Energy of all clients, the inner sum of eq (19a), `(..., N)` to `(...)` in J; absent clients count 0."""
    return client_energy.sum(axis=-1)


def system_cost(*, round_time: Array, energy: Array, time_weight: float, energy_weight: float) -> Array:
    """System cost of a round, eq (19a): lambda T + mu sum E, with lambda in 1/s and mu in 1/J."""
    return time_weight * round_time + energy_weight * energy
