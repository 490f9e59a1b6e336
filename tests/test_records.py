"""Records: what a field declares of an array is what is checked, in either library."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import torch
from fedtwin.core.arrays import Array
from fedtwin.core.records import array, check_record


@dataclasses.dataclass(frozen=True)
class Record:
    """A field of every kind."""

    distance: Array = array("N", "m", above=5.0)
    trust: Array = array("N", "", at_least=-1.0, at_most=1.0)
    budget: Array = array("", "J", at_least=0.0, infinite=True)
    anything: Array = array("", "J", infinite=True)
    place: Array = array("N", "", kind="integer", at_least=-1, at_most=3)
    on: Array = array("N", kind="boolean")


GOOD: dict[str, Any] = {
    "distance": np.array([5.5, 6.0]),
    "trust": np.array([-1.0, 1.0]),
    "budget": np.array(np.inf),
    "anything": np.array(-1.0),
    "place": np.array([-1, 3]),
    "on": np.array([True, False]),
}


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("distance", 5.0, "distance[1] is 5.0 m, must be finite and above 5"),
        ("distance", np.inf, "distance[1] is inf m, must be finite and above 5"),
        ("trust", -1.5, "trust[1] is -1.5, must be finite and at least -1 and at most 1"),
        ("trust", 1.5, "trust[1] is 1.5, must be finite and at least -1 and at most 1"),
        ("budget", -1.0, "budget is -1.0 J, must be at least 0"),
        ("budget", np.nan, "budget is nan J, must be at least 0"),
        ("anything", np.nan, "anything is nan J, must be a number"),
        ("anything", -np.inf, "anything is -inf J, must be a number"),
        ("place", 4, "place[1] is 4, must be finite and at least -1 and at most 3"),
        ("place", [0.0, 1.0], "place has dtype float64, must be int64"),
        ("on", [0, 1], "on has dtype int64, must be bool"),
        ("distance", [6, 7], "distance has dtype int64, must be float64"),
        ("trust", [[0.0, 0.0]], "trust has shape (1, 2), must be (2,)"),
    ],
)
def test_declared_kinds_and_limits_are_checked(library: Any, name: str, value: Any, message: str) -> None:
    check_record(Record(**{each: library(own) for each, own in GOOD.items()}), Record, {"N": 2}, "float64")
    changed = np.array(value)
    if not isinstance(value, list):
        changed = GOOD[name].copy()
        changed[(-1,) * changed.ndim] = value
    record = Record(**{each: library(own) for each, own in {**GOOD, name: changed}.items()})
    given = message if library is np.asarray else message.replace("has dtype ", "has dtype torch.")
    with pytest.raises(ValueError, match=f"^{re.escape(given)}$"):
        check_record(record, Record, {"N": 2}, "float64")


def test_limits_that_there_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown limit of an array 'at_leats'; did you mean 'at_least'"):
        array("N", at_leats=0)
