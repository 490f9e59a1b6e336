"""Clients that train together: mini-batch gradient descent on models cut in two, heads with clients, bodies in groups.

Three engines give the same result: *stacked* (parameters on a leading axis, one batched product per layer), *looped*
(one model after the other, what convolutions want on a CPU) and *mapped* (`torch.func.vmap`, for a GPU).
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from . import looped, mapped, stacked
from .work import Segment, TrainingDiverged, Work

Way = Literal["stacked", "looped", "mapped"]
ENGINES: Mapping[Way, Callable[[Work], Tensor]] = {
    "stacked": stacked.train,
    "looped": looped.train,
    "mapped": mapped.train,
}
"""Each trains in place and returns `(T, A)` the summed loss of every client's batch in every step."""


def choose_way(head: Segment, body: Segment, device: torch.device, sample_shape: tuple[int, ...], alone: bool) -> Way:
    """Return the fastest way, as measured: dense models stacked, convolutions looped on a CPU and mapped elsewhere.

    Args:
        head: the clients' part.
        body: the servers' part.
        device: where they train.
        sample_shape: of one sample; very small images are mapped on a CPU too.
        alone: whether every client trains a body of its own.
    """
    if head.stackable() and body.stackable():
        return "stacked"
    if not alone or head.trained or not mapped.suits(body):
        return "looped"
    return "mapped" if device.type != "cpu" or mapped.is_small(sample_shape) else "looped"


def train_together(work: Work, way: Way) -> Tensor:
    """Train heads and bodies in place, a mini-batch of every client at a time.

    Returns:
        `(A,)` mean loss of each client over the samples it trained on.

    Raises:
        TrainingDiverged: a loss is NaN or infinite; names the client.
    """
    sums, batches = ENGINES[way](work), work.batches
    broken = ~torch.isfinite(sums)
    if bool(broken.any()):
        step, row = broken.nonzero()[0].tolist()
        raise TrainingDiverged(
            f"the loss of client_{batches.clients[row]} is {float(sums[step, row])}, must be finite: "
            f"lower learning_rate = {work.rule.learning_rate:g}"
        )
    return sums.sum(dim=0) / torch.from_numpy(batches.samples).to(sums)
