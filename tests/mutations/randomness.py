"""Mutations of the random draws."""

from mutate import Mutation

TESTS = ("tests/test_twin.py", "tests/test_association.py")

MUTATIONS = (
    Mutation("fading not averaged", "core/randomness.py", "/ np.dtype(dtype).type(blocks)", "/ 1"),
    Mutation("round does not move the generator", "core/randomness.py", "0, 0, cycle, stream", "0, 0, 0, stream"),
)  # fmt: skip
