"""Learning procedures, one file an algorithm: its class and its own settings."""

from collections.abc import Mapping

from ...core.checks import unknown_name
from ..procedure import Procedure
from .adaptive_split import AdaptiveSplit
from .centralized import Centralized
from .cloud_edge_client import CloudEdgeClient
from .fedavg import FedAvg
from .fedsgd import FedSGD
from .quantized_split import QuantizedSplit
from .split import SplitLearning
from .splitfed import SplitFed

PROCEDURES: Mapping[str, type[Procedure]] = {
    "cloud_edge_client": CloudEdgeClient,
    "fedavg": FedAvg,
    "fedsgd": FedSGD,
    "split": SplitLearning,
    "splitfed": SplitFed,
    "adaptive_split": AdaptiveSplit,
    "quantized_split": QuantizedSplit,
    "centralized": Centralized,
}
"""Procedures by name."""


def find_procedure(name: str) -> type[Procedure]:
    """Return the class of a procedure.

    Raises:
        ValueError: an unknown name; the nearest is given.
    """
    if name not in PROCEDURES:
        raise unknown_name("procedure", name, PROCEDURES)
    return PROCEDURES[name]
