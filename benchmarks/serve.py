"""The rivals' side of a comparison: a sample whenever one is asked for. Needs nothing but Python."""

import sys
from collections.abc import Callable


def serve(sample: Callable[[], float]) -> None:
    """Answer every line of standard input with one sample (a rate per second), until the input ends."""
    for _ in sys.stdin:
        print(f"rate {sample()!r}", flush=True)
