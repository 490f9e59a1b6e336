"""How much the batch of a client counts in a step, among those that train the same copy of a part."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from ..data.population import Batches


@dataclasses.dataclass(frozen=True)
class Shares:
    """How much each client's batch counts in a step."""

    weight: Tensor
    """`(T, A)` factor of a sample's loss in the body's mean."""
    count: Tensor
    """`(T, A)` samples of the batch."""
    boost: Tensor | None = None
    """`(T, A)` factor that turns a gradient of the body's mean into one of the client's own; None: 1."""
    by_block: Tensor | None = None
    """`(T, A, blocks)` what makes a gradient of the summed loss one of the mean over a copy's samples; None: 1."""

    @classmethod
    def of(cls, batches: Batches, group: np.ndarray | None, device: torch.device) -> "Shares":
        """Compute the shares of all steps."""
        count = batches.count.T.astype(np.float32)
        own = np.maximum(count, 1.0)
        found = {"weight": 1.0 / own, "count": count}
        if group is not None and group.ndim == 2:
            through = np.stack([passing(batches.count, block).T for block in group.T], axis=-1)
            found |= {"weight": np.ones_like(own), "by_block": 1.0 / np.maximum(through, 1).astype(np.float32)}
        elif group is not None:
            whole = np.maximum(passing(batches.count, group).T.astype(np.float32), 1.0)
            found |= {"weight": 1.0 / whole, "boost": whole / own}
        return cls(**{name: torch.from_numpy(array).to(device) for name, array in found.items()})


def passing(count: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the samples `(A, T)` that pass the copy that each client uses, of `count` `(A, T)`, `group` `(A,)`."""
    together = np.zeros((int(group.max()) + 1, count.shape[1]), count.dtype)
    np.add.at(together, group, count)
    return np.asarray(together[group])
