"""A uniform quantiser: numbers as packed integers of q bits with their range, and back (SFLAM: slides, part 3)."""

import dataclasses
import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ...core.checks import unknown_name
from ...twin.precision import FEWEST_BITS, WHOLE_BITS

Span = Literal["tensor", "sample"]
"""What has a range of its own: a whole message, or every sample of it."""
OCTET = 8
"""Bits of a byte; as many integers of q bits fill q bytes."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What is sent of `R` messages of one shape."""

    packed: Tensor
    """`(R, ceil(M q / 8))` bytes of the M numbers of each message."""
    low: Tensor
    """`(R, S)` float32: least number of each span; S = 1 or the samples; S = 0 for numbers sent as they are."""
    high: Tensor
    """`(R, S)` float32: greatest number of each span."""
    shape: tuple[int, ...]
    """Of the messages, `(R, B, ...)`."""
    bits: int
    """q."""

    @property
    def message_bytes(self) -> int:
        """Bytes of one message: ceil(M q / 8), and 8 for each range."""
        tensors = (self.packed, self.low, self.high)
        return sum(tensor[0].numel() * tensor.element_size() for tensor in tensors)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack integers `(R, M)` of `bits` bits each, int64, into bytes `(R, ceil(M bits / 8))`, lowest bits first."""
    count = codes.shape[1]
    octets = torch.nn.functional.pad(codes, (0, -count % OCTET)).view(len(codes), -1, OCTET)
    packed = codes.new_zeros(*octets.shape[:2], bits)
    for place in range(bits):
        for code in range(OCTET * place // bits, (OCTET * place + OCTET - 1) // bits + 1):
            shift = code * bits - OCTET * place
            packed[..., place] |= octets[..., code] << shift if shift > 0 else octets[..., code] >> -shift
    return (packed & 0xFF).to(torch.uint8).flatten(1)[:, : math.ceil(count * bits / OCTET)]


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the `count` integers of each row of bytes, `(R, count)` int64: the inverse of `pack`."""
    whole = torch.nn.functional.pad(packed.long(), (0, -packed.shape[1] % bits)).view(len(packed), -1, bits)
    codes = whole.new_zeros(*whole.shape[:2], OCTET)
    for code in range(OCTET):
        for place in range(code * bits // OCTET, (code * bits + bits - 1) // OCTET + 1):
            shift = OCTET * place - code * bits
            codes[..., code] |= whole[..., place] << shift if shift > 0 else whole[..., place] >> -shift
    return (codes & ((1 << bits) - 1)).flatten(1)[:, :count]


def step_of(low: Tensor, high: Tensor, bits: int) -> Tensor:
    """Return (high - low) / (2^q - 1) in float64: the distance of two levels, 0 where all numbers are equal."""
    return (high.double() - low.double()) / ((1 << bits) - 1)


def check_quantizer(bits: Any, span: Any) -> None:
    """Raise `ValueError` unless `bits` is an integer in 2..32 and `span` one of `Span`."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not FEWEST_BITS <= bits <= WHOLE_BITS:
        raise ValueError(f"bits are {bits!r}, must be an integer in {FEWEST_BITS}..{WHOLE_BITS}")
    if span not in get_args(Span):
        raise unknown_name("span", str(span), get_args(Span))


def encode(values: Tensor, bits: int, *, span: Span = "tensor", uniform: Tensor | None = None) -> Encoded:
    """Quantise messages: every number becomes the nearest of 2^q equally spaced levels of its span.

    The least and the greatest number of a span are levels and are sent as float32, so that both come back exactly.

    Args:
        values: `(R, B, ...)` float32, R messages of B samples each; they do not touch each other.
        bits: q per number, 2..32; at 32 nothing is quantised.
        span: whether a message has one range, or each of its samples one.
        uniform: of the shape of `values`, drawn from U(0, 1): numbers are rounded up with the probability with which
            they come back right on average; None: to the nearest level.

    Raises:
        ValueError: bits out of range, an unknown span, messages without numbers, other numbers than float32, or one
            that is not finite.
    """
    check_quantizer(bits, span)
    if values.dtype != torch.float32 or values.ndim < 2 or not values.numel():
        given = f"{values.dtype} {tuple(values.shape)}"
        raise ValueError(f"values are {given}, must be torch.float32 (messages, samples, ...), at least one number")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"values hold {int((~torch.isfinite(values)).sum())} that are not finite, must be finite")
    messages = len(values)
    if bits == WHOLE_BITS:
        none = values.new_empty(messages, 0)
        packed = values.reshape(messages, -1).contiguous().view(torch.uint8)
        return Encoded(packed, none, none, tuple(values.shape), bits)
    parts = values.reshape(messages, values.shape[1] if span == "sample" else 1, -1)
    low, high = parts.amin(dim=2), parts.amax(dim=2)
    step = step_of(low, high, bits)[..., None]
    places = torch.where(step > 0, (parts.double() - low[..., None].double()) / step, 0.0)
    rounded = places.round() if uniform is None else (places + uniform.reshape(parts.shape)).floor()
    codes = rounded.clamp_(0, (1 << bits) - 1).long().flatten(1)
    return Encoded(pack(codes, bits), low, high, tuple(values.shape), bits)


def decode(encoded: Encoded) -> Tensor:
    """Return what the receiver makes of messages, `(R, B, ...)` float32: low + code step, from the bytes alone."""
    if encoded.bits == WHOLE_BITS:
        return encoded.packed.view(torch.float32).view(encoded.shape)
    messages, spans = encoded.low.shape
    codes = unpack(encoded.packed, encoded.bits, math.prod(encoded.shape[1:])).view(messages, spans, -1)
    step = step_of(encoded.low, encoded.high, encoded.bits)[..., None]
    return (encoded.low[..., None].double() + codes * step).float().view(encoded.shape)
