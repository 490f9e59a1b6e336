"""What quantising costs and brings. Split federated learning slides, part 3."""

from ..core.arrays import Array, namespace


def quantized_bits(*, full_bits: Array, bits: Array, bits_max: int) -> Array:
    """Bits on the air: those of full precision times q / q_max, `(...)`."""
    return full_bits * bits / bits_max


def learning_benefit(*, bits: Array, amplitude: float, rate: float, floor: float) -> Array:
    """Accuracy that activations of q bits allow: O(q) = a (1 - e^(-b q)) + c, `(...)`."""
    xp = namespace(bits)
    return amplitude * (1.0 - xp.exp(-rate * bits)) + floor
