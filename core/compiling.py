"""Loops that numba compiles: when they are worth loading, and where their code is kept."""

import functools
import hashlib
import math
import os
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .arrays import namespace

Function = TypeVar("Function", bound=Callable[..., Any])
Equation = TypeVar("Equation", bound=types.FunctionType)

LOADING = 1 << 15
"""Numbers that are left to operations on arrays before compiled loops are loaded, which takes most of a second."""


class Worth:
    """Whether loops over NumPy arrays run compiled: once enough numbers have passed; not where numba must not.

    The same function on arrays gives the same bits, so that nothing but the time depends on what passed before.
    """

    def __init__(self) -> None:
        """Begin with nothing passed."""
        self.left = LOADING if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") else math.inf

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
        "or keeps it in an unknown way, so every process compiles it anew, which takes seconds; "
        "let NUMBA_CACHE_DIR name a folder it may write to",
        RuntimeWarning,
        stacklevel=3,
    )


def _digest() -> str:
    """Return a digest of the sources that compiled functions take equations from."""
    sources = [path for folder in ("core", "twin") for path in (Path(__file__).parents[1] / folder).glob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()


EQUATIONS = _digest()
"""What the sources were when they were imported: what is compiled later is compiled from that."""


@functools.cache
def compilable(equation: Equation) -> Equation:
    """Let compiled functions call an equation, which is compiled from its own source; its arguments are numbers there.

    Returns:
        The equation.

    Raises:
        ValueError: the equation has defaults or is no function of a module.
    """
    import numba

    if equation.__defaults__ or equation.__kwdefaults__ or equation.__closure__:
        raise ValueError(f"{equation.__qualname__} has defaults or is a closure, must be a function without")

    _know_namespace()
    code = equation.__code__
    # numba takes arguments by name, but none that may not be given otherwise.
    code = code.replace(co_argcount=code.co_argcount + code.co_kwonlyargcount, co_kwonlyargcount=0)
    function = types.FunctionType(code, equation.__globals__, equation.__name__)
    numba.extending.overload(equation, strict=False)(lambda *arguments, **named: function)
    return equation


@functools.cache
def _know_namespace() -> None:
    """Let numba compile `namespace`: it is NumPy."""
    import numba
    import numpy as np

    numba.extending.overload(namespace, inline="always", strict=False)(lambda array: lambda array: np)


def cached_njit(**options: Any) -> Callable[[Function], Function]:
    """Compile as `numba.njit` does, and keep the code on disk.

    numba takes the first folder that it may write to: `NUMBA_CACHE_DIR`, `__pycache__` beside the source, or that of
    the user's caches. Where there is none, functions are compiled in memory, and one warning says so.
    """
    import numba

    def compile_(function: Function) -> Function:
        try:
            compiled = numba.njit(cache=True, **options)(function)
            if compiled is not function:
                # numba compares the source of this function alone, not of those it calls in other files.
                index = compiled._cache._cache_file
                index._source_stamp = (index._source_stamp, EQUATIONS)
        except (RuntimeError, AttributeError):
            warn_of_no_folder()
            compiled = numba.njit(**options)(function)
        return compiled  # type: ignore[no-any-return]

    return compile_
