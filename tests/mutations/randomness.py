"""Mutations of the random draws."""

from mutate import Mutation

TESTS = ("tests/test_randomness.py",)

MUTATIONS = (
    Mutation("fading not averaged", "envs/fading.py", "self.blocks).mean(-1)", "self.blocks).sum(-1)"),
    Mutation("one round of the generator left out", "core/philox.py", "LANES, ROUNDS = 4, 10", "LANES, ROUNDS = 4, 9"),
    Mutation("copies share a key", "core/randomness.py", "seed & philox.WORD, seed >> 32", "0 * seed, seed >> 32"),
    Mutation("a call takes the numbers of the one before", "core/randomness.py", "self._next = self._next, self._next + blocks", "self._next = self._next, self._next"),
    Mutation("fading of the client before", "envs/fading.py", "rows = used + arange_like(clients, channel, channels)", "rows = used + arange_like(clients, channel, channels - 1)"),
    Mutation("fading begins with the round's first numbers", "envs/fading.py", "numbers = rows + self.first", "numbers = 1 * rows"),
    Mutation("training plays what is evaluated", "core/randomness.py", "return SPACES[space] + check_seed", "return check_seed"),
    Mutation("round does not move the generator", "core/randomness.py", "0, 0, cycle, stream", "0, 0, 0, stream", ("tests/test_association.py",)),
)  # fmt: skip
