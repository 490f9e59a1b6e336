"""Mutations of the readers of files."""

from mutate import Mutation

TESTS = ("tests/test_core_readers.py",)

MUTATIONS = (
    Mutation("pickled array of fewer bytes than there are", "core/pickled_arrays.py", "math.prod(shape) != len(data)", "math.prod(shape) > len(data)"),
    Mutation("pickled types of any kind", "core/pickled_arrays.py", "_text(given[0]) not in NUMBER_TYPES", "not _text(given[0])"),
    Mutation("a few bytes of a pickle become many", "core/pickles.py", "self.spare -= size", "self.spare -= 0 * size"),
    Mutation("pickled lists nest without end", "core/pickles.py", "if level + levels > MOST_LEVELS:", "if level > MOST_LEVELS:"),
    Mutation("strings of Python 2 with their escapes", "core/pickles.py", "return codecs.escape_decode(text[1:-1])[0]", "return text[1:-1]"),
    Mutation("MATLAB's arrays in the order of C", "core/matlab.py", 'part.data, order="F")', 'part.data, order="C")'),
    Mutation("MATLAB's compression without end", "core/matlab.py", "engine.unconsumed_tail, size + 1)", "engine.unconsumed_tail)"),
    Mutation("MATLAB's decompressed bytes not counted together", "core/matlab.py", "left -= len(matrix)", "left -= 0 * len(matrix)"),
)  # fmt: skip
