"""Loops that numba compiles: when they are worth loading, and where their code is kept."""

import functools
import math
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

LOADING = 1 << 15
"""Numbers that are left to operations on arrays before compiled loops are loaded, which takes most of a second."""


class Worth:
    """Whether loops over NumPy arrays run compiled: once enough numbers have passed; not where numba must not.

    The same function on arrays gives the same bits, so that nothing but the time depends on what passed before.
    """

    def __init__(self) -> None:
        """Begin with nothing passed."""
        self.left = math.inf if int(os.environ.get("NUMBA_DISABLE_JIT", "0")) else LOADING

    def __call__(self, numbers: int) -> bool:
        """Count the numbers that a loop is about to handle, and say whether it is to run compiled."""
        if self.left > 0:
            self.left -= numbers
        return self.left <= 0


worth_compiling = Worth()
"""The one count of a process."""


@functools.cache
def warn_of_no_folder() -> None:
    """Say once that compiled code can not be kept."""
    warnings.warn(
        "compiled code can not be kept: numba may write neither beside their source nor to the user's cache folder, "
        "so every process compiles them anew, which takes seconds; let NUMBA_CACHE_DIR name a folder it may write to",
        RuntimeWarning,
        stacklevel=3,
    )


def cached_njit(**options: Any) -> Callable[[Function], Function]:
    """Compile as `numba.njit` does, and keep the code on disk.

    numba takes the first folder that it may write to: `NUMBA_CACHE_DIR`, `__pycache__` beside the source, or that of
    the user's caches. Where there is none, functions are compiled in memory, and one warning says so.
    """
    import numba

    def compile_(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:
            warn_of_no_folder()
            compiled = numba.njit(**options)(function)
        return compiled

    return compile_
