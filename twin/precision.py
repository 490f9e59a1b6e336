"""What quantising costs and brings. Split federated learning slides, part 3."""

from ..core.arrays import Array, namespace

FEWEST_BITS, WHOLE_BITS = 2, 32
"""Bits per number that features and gradients may have; at 32 they are whole."""


def quantized_bits(*, full_bits: Array, bits: Array, bits_max: int) -> Array:
    """Bits on the air: those of full precision times q / q_max, `(...)`."""
    return full_bits * bits / bits_max


def learning_benefit(*, bits: Array, amplitude: float, rate: float, floor: float) -> Array:
    """Accuracy that activations of q bits allow: O(q) = a (1 - e^(-b q)) + c, `(...)`."""
    xp = namespace(bits)
    return amplitude * (1.0 - xp.exp(-rate * bits)) + floor
