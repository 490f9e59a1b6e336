"""What a model costs at each of its cuts: operations, bits sent and bits held on either side, per sample.

What `profiler` measured stands in a table beside this file, and is read without torch.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ...core.checks import unknown_name

TABLE = Path(__file__).with_name("profiles.json")


def check_cut(cut: Any, blocks: int) -> None:
    """Raise `ValueError` unless a model of so many blocks has the cut."""
    if isinstance(cut, bool) or not isinstance(cut, int) or not 0 <= cut <= blocks:
        raise ValueError(f"cut is {cut!r}, must be an integer in 0..{blocks}: the model has {blocks} blocks")


@dataclasses.dataclass(frozen=True)
class Cut:
    """A model cut in two, per sample; FLOP and bit."""

    client_forward_flops: int
    client_backward_flops: int
    server_forward_flops: int
    server_backward_flops: int
    activation_bits: int
    """What the client sends: at cut 0 the sample, at the last cut the output."""
    gradient_bits: int
    """What the client's part needs back: as many as the activations, or 0 where nothing of it is trained."""
    client_parameter_bits: int
    server_parameter_bits: int
    client_trainable_bits: int
    """Those of the client's parameters that are trained."""
    server_trainable_bits: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """Cost of every block of a model, per sample; `cut` adds them up on either side.

    A block's backward pass is the same wherever the model is cut, for it depends only on what is trained.
    """

    forward_flops: tuple[int, ...]
    """FLOP of every block."""
    backward_flops: tuple[int, ...]
    """FLOP of every block: gradients of trained weights, and of the input where an earlier block is trained."""
    activation_bits: tuple[int, ...]
    """Bits of the sample and of every block's output: one more than there are blocks."""
    parameter_bits: tuple[int, ...]
    """Bits of every block's parameters; fixed statistics of batch normalisation are none."""
    trainable_bits: tuple[int, ...]
    """Bits of those that are trained."""

    @classmethod
    def from_lists(cls, lists: Mapping[str, list[int]]) -> Self:
        """Build a profile from JSON."""
        return cls(**{name: tuple(values) for name, values in lists.items()})

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.forward_flops)

    def cut(self, cut: int) -> Cut:
        """Return what the first `cut` blocks cost the client, and the others the server.

        Raises:
            ValueError: a cut that the model lacks.
        """
        check_cut(cut, len(self))
        sides = {"client": slice(cut), "server": slice(cut, None)}
        sums = {
            f"{side}_{name}": sum(getattr(self, name)[blocks])
            for side, blocks in sides.items()
            for name in ("forward_flops", "backward_flops", "parameter_bits", "trainable_bits")
        }
        sent = self.activation_bits[cut]
        return Cut(activation_bits=sent, gradient_bits=sent if any(self.trainable_bits[:cut]) else 0, **sums)


@functools.cache
def _stored() -> Mapping[str, Profile]:
    """Read the stored table."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Profile.from_lists(row) for name, row in rows.items()}


def stored_profile(name: str) -> Profile:
    """Return a profile of the stored table.

    Raises:
        ValueError: an unknown name; the nearest is given.
    """
    if name not in _stored():
        raise unknown_name("profile", name, _stored())
    return _stored()[name]
