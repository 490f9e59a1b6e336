"""Functions that numba compiles once: the next process reads them from disk."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


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

    def compile_(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:
            warn_of_no_folder()
            compiled = numba.njit(**options)(function)
        return compiled

    return compile_
