"""Delay and energy of computing. Equation numbers: Zhao et al., JSAC 2023."""

from ..core.arrays import Array, summed


def local_delay(*, samples: Array, flop_per_sample: Array, flops: Array) -> Array:
    """Local computing delay, eq (5): T = D psi / F.

    Args:
        samples: samples of the round D, `(..., N)`.
        flop_per_sample: load of the head psi, FLOP per sample, forward and backward.
        flops: speed of the client F, `(..., N)` in FLOP/s.

    Returns:
        Delay `(..., N)` in s.
    """
    return samples * flop_per_sample / flops


def local_energy(*, samples: Array, energy_per_sample: Array) -> Array:
    """Energy of local computing, eq (6): E = D omega, `(..., N)` in J, with omega in J per sample."""
    return samples * energy_per_sample


def samples_per_server(*, samples: Array, server: Array, num_servers: int) -> Array:
    """Samples that every server receives, the inner sum of eq (7).

    Args:
        samples: samples of the round `(N,)` or `(..., N)`.
        server: chosen server `(..., N)`, -1 where a client is absent.
        num_servers: M.

    Returns:
        Samples `(..., M)`.
    """
    return summed(samples, server, num_servers)


def edge_delay(*, server_samples: Array, flop_per_sample: Array, server_flops: Array) -> Array:
    """Edge computing delay, eq (7), of any client at each server: T = psi (sum of D at the server) / F.

    A server shares its speed in proportion to the samples, so a client's own D cancels and its clients end together.

    Args:
        server_samples: samples at each server `(..., M)`.
        flop_per_sample: load of the body psi, FLOP per sample, forward and backward.
        server_flops: speed of the servers F `(M,)` in FLOP/s.

    Returns:
        Delay at each server `(..., M)` in s.
    """
    return flop_per_sample * server_samples / server_flops


def cycles_delay(*, cycles: Array, frequency: Array) -> Array:
    """Time of computing: cycles over frequency (Hz), in s. Split federated learning slides, parts 2 and 3."""
    return cycles / frequency


def cycles_energy(*, cycles: Array, frequency: Array, coefficient: float) -> Array:
    """Energy of computing: coefficient x cycles x frequency^2, in J. Slides, parts 2 and 3.

    Args:
        cycles: `(...)`.
        frequency: `(...)` in Hz.
        coefficient: zeta / 2 of part 2, or kappa_1 of part 3, in J s^2 per cycle.

    Returns:
        Energy `(...)` in J.
    """
    return coefficient * cycles * frequency**2
