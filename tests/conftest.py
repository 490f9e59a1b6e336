import math
from collections.abc import Callable, Iterator

import pytest
import torch
from fedtwin.core.compiling import worth_compiling


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small products take longer on several threads than on one, and tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether loops over NumPy arrays run compiled from now on, until the test ends."""
    return lambda wanted: monkeypatch.setattr(worth_compiling, "left", 0 if wanted else math.inf)
