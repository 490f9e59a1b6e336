"""Pickles and MATLAB files: honest ones are read as by their own libraries, damaged and harmful ones are refused."""

import os
import pickle
import re
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedtwin.core import matlab, pickles
from fedtwin.core.files import read_limited
from fedtwin.core.matlab import read_matrices
from fedtwin.core.pickles import read_pickle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy.io import loadmat, savemat
from test_federated_data import python2_pickle

Reader = Callable[[Path], Any]
PLAIN = (type(None), bool, int, float, str, bytes, bytearray, np.dtype, np.generic)
PROTOCOLS = range(6)
quick = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        assert_same(list(found.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    else:
        assert repr(found) == repr(expected)


def assert_well_formed(value: Any, size: int) -> None:
    """Hold that a value is plain, with arrays of at most `size` bytes of their own."""
    if isinstance(value, list | tuple | dict):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            assert_well_formed(item, size)
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind in "biuf"
        assert value.nbytes <= size
        base = value if value.base is None else value.base
        assert base.flags.owndata
        with np.errstate(all="ignore"):
            value.sum()
    else:
        assert isinstance(value, PLAIN)


def damages(content: bytes) -> Iterator[bytes]:
    """Give a file with each byte set to 0, to 255 and with each of its bits turned, and cut off at each length."""
    for place, byte in enumerate(content):
        for other in {0, 255, *(byte ^ 1 << bit for bit in range(8))} - {byte}:
            yield content[:place] + bytes([other]) + content[place + 1 :]


def assert_survives(read: Reader, file: Path, contents: Iterator[bytes]) -> int:
    """Hold that each content is refused by a `ValueError` that names the file, or well formed; return how many are."""
    refused = 0
    for content in contents:
        file.write_bytes(content)
        try:
            assert_well_formed(read(file), len(content))
        except ValueError as error:
            assert str(file) in str(error)  # noqa: PT017
            refused += 1
    return refused


def refused(read: Reader, file: Path, content: bytes, expected: str) -> None:
    """Hold that a content is refused with a message, before it costs a megabyte more than its size."""
    file.write_bytes(content)
    caught = ""
    tracemalloc.start()
    try:
        read(file)
    except ValueError as error:
        caught = str(error)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert expected in caught
    assert str(file) in caught
    assert most < 100 * len(content) + 2**20


def shown(value: Any) -> str:
    """Name a case by its message."""
    return value if isinstance(value, str) else "bytes"


# Pickles

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.binary(max_size=300)
    | st.binary(max_size=5).map(bytearray)
)
NUMBERS = st.sampled_from(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
ARRAYS = NUMBERS.flatmap(
    lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))
)
VALUES = st.recursive(
    LEAVES | ARRAYS | NUMBERS.flatmap(lambda kind: arrays_of.from_dtype(np.dtype(kind))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_are_read_as_by_python(tmp_path: Path, protocol: int) -> None:
    @quick
    @given(VALUES)
    def holds(value: Any) -> None:
        (tmp_path / "values").write_bytes(pickle.dumps(value, protocol))
        assert_same(read_pickle(tmp_path / "values"), value)

    holds()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_order(tmp_path: Path, protocol: int) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    views = [array.T, np.asfortranarray(array), array[::2], array.transpose(1, 0, 2), array[:, :, ::-1]]
    swapped = [view.astype(f">{kind}") for view in views for kind in ("i2", "i4", "u8", "f4", "f8")]
    locked = np.arange(3.0)
    locked.flags.writeable = False
    file = tmp_path / "arrays"
    file.write_bytes(pickle.dumps([*views, *swapped, locked], protocol))
    found = read_pickle(file)
    for one, other in zip(found, [*views, *swapped, locked], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype.newbyteorder("=")
        assert one.flags.writeable
    assert found[1].flags.f_contiguous


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_values_are_read(tmp_path: Path, protocol: int) -> None:
    array, numbers = np.arange(5), [1, 2]
    (tmp_path / "shared").write_bytes(
        pickle.dumps({"a": array, "b": array, "c": numbers, "d": (numbers, numbers)}, protocol)
    )
    found = read_pickle(tmp_path / "shared")
    assert found["a"] is found["b"]
    assert found["c"] is found["d"][0] is found["d"][1]
    np.testing.assert_array_equal(found["a"], array)


def test_pickles_of_python_2_and_numpy_1(tmp_path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    (tmp_path / "batch").write_bytes(python2_pickle(pixels, [3, 4]))
    assert_same(read_pickle(tmp_path / "batch"), {b"data": pixels, b"labels": [3, 4]})
    text = rb"""(lp0
S'it\'s \x00\xff\n'
p1
aS"a'b"
ag1
aI01
aI00
aI-7
aL12345678901234567890L
aF1.5
aV\u20ac
a."""
    (tmp_path / "batch").write_bytes(text)
    expected = [b"it's \0\xff\n", b"a'b", b"it's \0\xff\n", True, False, -7, 12345678901234567890, 1.5, "\u20ac"]
    assert_same(read_pickle(tmp_path / "batch"), expected)


def test_pickles_of_numpy_1(tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3)
    for protocol in PROTOCOLS:
        content = pickle.dumps([array, array[0, 1]], protocol)
        for name in (b"numpy._core.multiarray", b"numpy._core.numeric"):
            old = name.replace(b"_core", b"core")
            content = content.replace(bytes([len(name)]) + name, bytes([len(old)]) + old).replace(
                b"c" + name, b"c" + old
            )
        assert b"_core" not in content
        content = re.sub(rb"\x95.{8}", b"", content, flags=re.DOTALL)  # Frames may be left out.
        (tmp_path / "old").write_bytes(content)
        assert_same(read_pickle(tmp_path / "old"), [array, array[0, 1]])


SMALL = {
    "data": np.arange(4, dtype=np.uint8).reshape(2, 2),
    "labels": [np.int32(1), 300, True, 2.5],
    3: (None, b"\xfe", {}),
}
PICKLES = {f"protocol {number}": pickle.dumps(SMALL, number) for number in (0, 2, 4, 5)}
PICKLES["Python 2"] = python2_pickle(SMALL["data"], [1, 3])  # type: ignore[arg-type]


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES)
def test_damaged_pickles_harm_nothing(tmp_path: Path, content: bytes) -> None:
    assert assert_survives(read_pickle, tmp_path / "damaged", damages(content)) > len(content)
    cut = (content[:length] for length in range(len(content)))
    assert assert_survives(read_pickle, tmp_path / "damaged", cut) == len(content)


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_run_no_code(tmp_path: Path, protocol: int) -> None:
    made = str(tmp_path / "made").encode()
    harmful = {
        f"names {os.mkdir.__module__}.mkdir": pickle.dumps([Harm(tmp_path / "made")], protocol),
        "names os.mkdir": b"cos\nmkdir\n(V" + made + b"\ntR.",
        "names __builtin__.eval": b"c__builtin__\neval\n(V__import__('os').mkdir('" + made + b"')\ntR.",
    }
    for message, content in harmful.items():
        refused(read_pickle, tmp_path / "harm", content, message)
        assert not (tmp_path / "made").exists()
        pickle.loads(content)
        (tmp_path / "made").rmdir()  # The pickle would have made it.


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "getattr"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy._core.numeric", "_frombuffer.__globals__"),
        ("this", "s"),
        ("n" * 300, "x"),
    ],
)
def test_pickles_name_nothing_but_arrays(tmp_path: Path, module: str, name: str) -> None:
    by_stack = b"".join(b"X" + struct.pack("<I", len(word)) + word.encode() for word in (module, name)) + b"\x93"
    for named in (b"\x80\4" + by_stack, f"c{module}\n{name}\n".encode()):
        message = f"names {f'{module}.{name}'[:100]}, must name nothing but NumPy arrays"
        refused(read_pickle, tmp_path / "names", named + b".", message)
        assert "this" not in sys.modules


DTYPE = b"cnumpy\ndtype\n"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR"
STATE = b"(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t"


def dtype(code: bytes, state: bytes = STATE) -> bytes:
    return DTYPE + b"(U" + bytes([len(code)]) + code + b"K\0K\1tR" + state + b"b"


def array(shape: bytes, kind: bytes = dtype(b"i8"), raw: bytes = b"U\x08" + bytes(8), order: bytes = b"\x89") -> bytes:
    return EMPTY + b"(K\1" + shape + kind + order + raw + b"tb."


def test_the_array_that_is_damaged_below_is_whole(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(array(b"(K\1t"))
    assert_same(read_pickle(tmp_path / "whole"), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # What could name or make something
        (b"P1\n.", "the opcode PERSID"),
        (b"K\1Q.", "the opcode BINPERSID"),
        (b"\x82\1.", "the opcode EXT1"),
        (b"\x83\1\0.", "the opcode EXT2"),
        (b"\x84\1\0\0\0.", "the opcode EXT4"),
        (b"(S'exit'\nios\nsystem\n.", "the opcode INST"),
        (b"(cnumpy\nndarray\no.", "the opcode OBJ"),
        (b"cnumpy\nndarray\n)\x81.", "the opcode NEWOBJ"),
        (b"cnumpy\nndarray\n)}\x92.", "the opcode NEWOBJ_EX"),
        (b"\x8f.", "the opcode EMPTY_SET"),
        (b"(\x91.", "the opcode FROZENSET"),
        (b"\x97.", "the opcode NEXT_BUFFER"),
        (b"\xff.", "the opcode ff"),
        (b"}}b.", "it has dict where it needs unfinished"),
        (b"]}b.", "it has list where it needs unfinished"),
        (array(b"(K\1t")[:-1] + b"}b.", "it has ndarray where it needs unfinished"),
        (b"})R.", "it has dict where it needs name"),
        (b"cnumpy\nndarray\n]R.", "it has list where it needs tuple"),
        (b"cnumpy\nndarray\n(K\1tR.", "it calls numpy.ndarray"),
        (b"cnumpy\nndarray\n.", "it leaves numpy.ndarray"),
        (b"](cnumpy\ndtype\ne.", "it leaves numpy.dtype"),
        (EMPTY + b".", "an array without content"),
        (b"}K\1" + EMPTY + b"s.", "an array without content"),
        (b"K\1cnumpy\nndarray\n\x93.", "it has name where it needs str"),
        # Types
        (dtype(b"O8", STATE.replace(b"<", b"|")) + b".", "its dtype must be of booleans, integers or floats"),
        (dtype(b"V8") + b".", "its dtype must be of"),
        (dtype(b"c16") + b".", "its dtype must be of"),
        (dtype(b"M8") + b".", "its dtype must be of"),
        (DTYPE + b"(]K\0K\1tR.", "its dtype must be of"),
        (DTYPE + b"(U\2i8K\1K\1tR.", "its dtype must be of"),
        (dtype(b"i8", STATE.replace(b"K\3", b"K\4")) + b".", "must be of version 3"),
        (dtype(b"i8", STATE.replace(b"K\0t", b"K\x3ft")) + b".", "must be of version 3"),
        (dtype(b"i8", STATE.replace(b"J\xff\xff\xff\xffJ", b"K\x08J")) + b".", "must be of version 3"),
        (dtype(b"i8", STATE.replace(b"NNN", b"N)N")) + b".", "must be a version, a byte order"),
        (dtype(b"i8", b"N") + b".", "must be a version, a byte order"),
        (dtype(b"i8", STATE.replace(b"<", b"|")) + b".", "the byte order of its dtype"),
        (dtype(b"u1") + b".", "the byte order of its dtype"),
        # Arrays
        (array(b"(K\1t", b"cnumpy\ndtype\n"), "the state of an array must be"),
        (array(b"(K\1t", DTYPE + b"(U\2i8K\0K\1tR"), "the state of an array must be"),
        (array(b"(K\1t", raw=b"]"), "the state of an array must be"),
        (array(b"(K\1t", raw=b"X\x08\0\0\0" + bytes(8)), "the state of an array must be"),
        (array(b"(K\1t", order=b"K\2"), "the state of an array must be"),
        (array(b"K\1"), "the state of an array must be"),
        (array(b"(K\2t"), "8 bytes are no array (2,) of int64"),
        (array(b"(K\0t"), "8 bytes are no array (0,) of int64"),
        (array(b")", raw=b"U\x10" + bytes(16)), "16 bytes are no array () of int64"),
        (array(b"(K\1t", raw=b"U\x09" + bytes(9)), "9 bytes are no array (1,) of int64"),
        (array(b"(J\xff\xff\xff\xffJ\xff\xff\xff\xfft"), "an array must have at most 32 axes of 0.."),
        (array(b"(\x8a\6\0\xa0\x72\x4e\x18\x09t"), "an array must have at most 32 axes of 0.."),  # 1e13
        (array(b"(\x8a\x09" + bytes(7) + b"\x80\0K\2t"), "an array must have at most 32 axes of 0.."),  # 2**63
        (array(b"(L1" + b"0" * 400 + b"L\nt"), "an array must have at most 32 axes of 0.."),
        (array(b"(J\0\0\0\x40J\0\0\0\x40J\0\0\0\x10t"), "8 bytes are no array"),  # 2**88
        (array(b"(K\0" + b"J\0\0\0\x40" * 3 + b"t", raw=b"U\0"), "array is too big"),
        (array(b"(" + b"K\1" * 33 + b"t"), "an array must have at most 32 axes of 0.."),
        (array(b"(F1.0\nt"), "an array must have at most 32 axes of 0.."),
        (array(b"(K\1t", dtype(b"b1", STATE.replace(b"<", b"|")), b"U\1\2"), "booleans must be bytes 0 and 1"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\0tU\1btR.", "must make a numpy.ndarray"),
        (b"cnumpy.core.multiarray\nscalar\n(" + dtype(b"i8") + b"U\4aaaatR.", "4 bytes are no array () of int64"),
        (b"cnumpy.core.multiarray\nscalar\n(" + dtype(b"i8") + b"NtR.", "a scalar must have a dtype and bytes"),
        (b"cnumpy.core.numeric\n_frombuffer\n(N" + dtype(b"i8") + b")V\n\x8c\1CtR.", "_frombuffer must have bytes"),
        (b"cnumpy.core.numeric\n_frombuffer\n(U\0" + dtype(b"i8") + b"(K\0t\x8c\1AtR.", "must be C, F, or K"),
        (b"cnumpy.core.numeric\n_frombuffer\n(U\0" + dtype(b"i8") + b"(K\0t\x8c\1K(K\1ttR.", "must be C, F, or K"),
        (
            b"cnumpy.core.numeric\n_frombuffer\n(U\0" + dtype(b"i8") + b"(K\0K\0t\x8c\1K(K\0K\0ttR.",
            "must be C, F, or K",
        ),
        (b"c_codecs\nencode\n(Vabc\nVutf-8\ntR.", "must have text and latin1"),
        (b"c_codecs\nencode\n(V\\u20ac\nVlatin1\ntR.", "latin-1"),
        (b"c__builtin__\nbytes\n(J\0\0\0\x7ftR.", "bytes must have no arguments"),
        (b"c__builtin__\nbytearray\n(J\0\0\0\x7ftR.", "bytearray must have bytes"),
        # The machine
        (b"", "1 bytes must follow, but 0 do"),
        (b"pickle", "a line must follow"),
        (b".", "it leaves 0 values and 0 marks"),
        (b"NN.", "it leaves 2 values"),
        (b"(N.", "it leaves 1 values and 1 marks"),
        (b"N.N", "1 bytes follow its end"),
        (b"a.", "from an empty stack"),
        (b"q\0.", "on an empty stack"),
        (b"]((a.", "from an empty stack"),
        (b"t.", "it returns to a mark, but none is set"),
        (b"0.", "it returns to a mark, but none is set"),
        (b"g7\n.", "takes value 7 from its memo"),
        (b"h\7.", "takes value 7 from its memo"),
        (b"NNa.", "it has nonetype where it needs list"),
        (b"](K\1u.", "it has list where it needs dict"),
        (b"}(K\1u.", "a key without a value"),
        (b"}]Ns.", "a key is a list"),
        (b"})Ns.", "a key is a tuple"),
        (b"}\x8a\x0a" + b"\1" * 10 + b"Ns.", "a key is a int, must be text, bytes or a number of 64 bits"),
        (b"\x80\6N.", "its protocol is 6, must be in 0..5"),
        (b"I1_0\n.", "an integer of at most"),
        (b"I\n.", "an integer of at most"),
        (b"Fa\n.", "could not convert"),
        (b"S'a\n.", "a string in quotes"),
        (b"S'\\q'\n.", "a string in quotes"),
        (b"S'\\'\n.", "a string in quotes"),
        (b"X\1\0\0\0\xff.", "utf-8"),
        (b"c\xff\nx\n.", "utf-8"),
        (b"cnumpy", "a line must follow"),
        # What claims or builds too much
        (b"\x8b\xff\xff\xff\x7f", "2147483647 bytes must follow, but 0 do"),
        (b"\x8b\xff\xff\xff\xff", "-1 bytes must follow"),
        (b"T\xff\xff\xff\xff", "-1 bytes must follow"),
        (b"\x8e" + b"\xff" * 8, "18446744073709551615 bytes must follow"),
        (b"\x96" + b"\xff" * 8, "18446744073709551615 bytes must follow"),
        (b"\x95" + b"\xff" * 7 + b"\0N.", "a frame of"),
        (b"I" + b"9" * 10**6 + b"\n.", "an integer of at most 4300 digits"),
        (b"L-" + b"9" * 10**6 + b"L\n.", "an integer of at most 4300 digits"),
        (b"N" + b"p" + b"9" * 10**6 + b"\n.", "an integer of at most 4300 digits"),
    ],
    ids=shown,
)
def test_pickles_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    refused(read_pickle, tmp_path / "refused", content, expected)


MANY = 100_000


@pytest.mark.parametrize(
    "content",
    [
        b"]" * MANY + b"a" * (MANY - 1) + b".",
        b"}K\1" * MANY + b"N" + b"s" * MANY + b".",
        b"(" * MANY + b"t" * MANY + b".",
        b")" + b"\x85" * MANY + b".",
        b"]q\0" + b"]q\1h\0h\1aq\2h\1q\0" * (MANY // 4) + b"0.",
        b"]q\0h\0a.",
        b"}q\0K\1h\0s.",
        b"]q\0h\0\x85a.",
        b"]q\0(h\0h\0e.",
    ],
    ids=[
        "lists",
        "dictionaries",
        "tuples",
        "pairs",
        "downwards",
        "a list in itself",
        "a dictionary",
        "a tuple",
        "twice",
    ],
)
def test_deep_nesting_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "deep").write_bytes(content)
    with pytest.raises(ValueError, match=r"more than 64 lists|values and 0 marks"):
        read_pickle(tmp_path / "deep")


def test_nesting_up_to_the_limit_is_read(tmp_path: Path) -> None:
    value: Any = 1
    for _ in range(pickles.MOST_LEVELS):
        value = [value]
    (tmp_path / "deep").write_bytes(pickle.dumps((value[0], value[0])))
    assert_same(read_pickle(tmp_path / "deep"), (value[0], value[0]))
    shared = (value[0][0], [value[0]])  # The same list, and once a level deeper.
    (tmp_path / "deep").write_bytes(pickle.dumps(shared))
    refused(read_pickle, tmp_path / "deep", pickle.dumps(shared), "more than 64 lists")
    (tmp_path / "dropped").write_bytes(b"]" * MANY + b"a" * (MANY - 1) + b"0N.")
    assert read_pickle(tmp_path / "dropped") is None


@pytest.mark.parametrize("doublings", [20, 60])
def test_what_is_shared_is_looked_at_once(tmp_path: Path, doublings: int) -> None:
    (tmp_path / "shared").write_bytes(b"N" + b"q\0h\0\x86" * doublings + b".")
    assert isinstance(read_pickle(tmp_path / "shared"), tuple)


def test_a_few_bytes_do_not_become_many(tmp_path: Path) -> None:
    raw = b"B" + struct.pack("<I", 10**5) + bytes(10**5) + b"q\7"
    many = array(b"(M\xd4\x30t", raw=b"h\7")[:-1]  # 12,500 numbers
    refused(
        read_pickle, tmp_path / "arrays", b"(" + raw + many * 1000 + b"l.", "it makes more than 2 times its own size"
    )
    text = b"X" + struct.pack("<I", 10**5) + bytes(10**5) + b"q\7"
    encoded = b"c_codecs\nencode\n(h\7Vlatin1\ntR"
    refused(
        read_pickle, tmp_path / "texts", b"(" + text + encoded * 1000 + b"l.", "it makes more than 2 times its own size"
    )
    copied = b"c__builtin__\nbytearray\n(h\7tR"
    refused(
        read_pickle, tmp_path / "copies", b"(" + raw + copied * 1000 + b"l.", "it makes more than 2 times its own size"
    )


def test_opcodes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "many").write_bytes(b"]" * 10**5)
    monkeypatch.setattr(pickles, "MOST_OPCODES", 100)
    with pytest.raises(ValueError, match=r"many is refused .* more than 100 opcodes \(at byte 100\)"):
        read_pickle(tmp_path / "many")


@pytest.mark.parametrize(("read", "most"), [(read_pickle, pickles.MOST_BYTES), (read_matrices, matlab.MOST_BYTES)])
def test_large_files_are_not_read(tmp_path: Path, read: Reader, most: int) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", most + 1)
    with pytest.raises(ValueError, match=f"large has {most + 1} bytes, must have at most {most}"):
        read(tmp_path / "large")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
    assert read_limited(Path("/dev/zero"), 10) == b""


# MATLAB files

STORED = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}
CLASSES = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "i8": 14, "u8": 15}


def element(order: str, kind: int, data: bytes, small: bool = False) -> bytes:
    if small and len(data) <= 4:
        word = struct.pack(f"{order}HH", *((kind, len(data)) if order == "<" else (len(data), kind)))
        return word + data.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(order: str, name: str, array: np.ndarray, number: int | None = None, small: bool = True) -> bytes:
    """Return the element of an array, of another class than that of its type if `number` is given."""
    kind = array.dtype.str[1:]
    parts = (
        element(order, 6, struct.pack(f"{order}II", number or CLASSES[kind], 0)),
        element(order, 5, struct.pack(f"{order}{array.ndim}i", *array.shape), small),
        element(order, 1, name.encode(), small),
        element(order, STORED[kind], array.astype(f"{order}{kind}").tobytes("F"), small),
    )
    return element(order, 14, b"".join(parts))


def header(order: str, version: int = 0x0100) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", version, 0x4D49)


def packed(order: str, whole: bytes) -> bytes:
    data = zlib.compress(whole)
    return struct.pack(f"{order}II", 15, len(data)) + data


def same_as_scipy(file: Path) -> dict[str, np.ndarray]:
    """Read a file by both readers, hold that they agree and return its arrays."""
    found = read_matrices(file)
    expected = {name: value for name, value in loadmat(file, appendmat=False).items() if name in found}
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable
    return found


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
MATRICES = st.dictionaries(
    NAMES,
    st.sampled_from(list(STORED)).flatmap(
        lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=1, min_side=0, max_side=4))
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("compressed", [False, True])
def test_matrices_are_read_as_by_scipy(tmp_path: Path, compressed: bool) -> None:
    @quick
    @given(MATRICES)
    def holds(content: dict[str, np.ndarray]) -> None:
        savemat(tmp_path / "values", content, appendmat=False, do_compression=compressed, oned_as="row")
        assert list(same_as_scipy(tmp_path / "values")) == list(content)

    holds()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("small", [False, True])
def test_matrices_of_both_byte_orders(tmp_path: Path, order: str, small: bool) -> None:
    whole: dict[str, np.ndarray] = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in STORED}
    whole["a_long_name"] = np.arange(24.0).reshape(2, 3, 4)
    whole["few"] = np.array([[1, 2]], np.int16)
    elements = [matrix(order, name, array, small=small) for name, array in whole.items()]
    for content in (b"".join(elements), b"".join(packed(order, each) for each in elements)):
        (tmp_path / "values").write_bytes(header(order) + content)
        found = same_as_scipy(tmp_path / "values")
        assert list(found) == list(whole)
        for name, array in whole.items():
            assert_same(found[name], array)


@pytest.mark.parametrize(("stored", "declared"), [("u1", "f8"), ("i2", "f8"), ("u2", "i4"), ("i4", "f4"), ("f4", "f8")])
def test_matrices_stored_in_a_smaller_type(tmp_path: Path, stored: str, declared: str) -> None:
    array = np.array([[1, 2, 100]]).astype(stored)
    (tmp_path / "values").write_bytes(header("<") + matrix("<", "x", array, CLASSES[declared]))
    assert_same(same_as_scipy(tmp_path / "values")["x"], array)


@pytest.mark.parametrize("compressed", [False, True])
def test_other_classes_are_left_out(tmp_path: Path, compressed: bool) -> None:
    from scipy.sparse import csc_array

    content = {
        "cell": np.array([1, "a"], object),
        "struct": {"a": 1, "b": np.eye(2)},
        "text": "abc",
        "sparse": csc_array(np.eye(3)),
        "imaginary": np.array([[1j, 2]]),
        "truth": np.array([[True, False]]),
        "last": np.array([[5]]),
    }
    savemat(tmp_path / "values", content, appendmat=False, do_compression=compressed)
    assert_same(same_as_scipy(tmp_path / "values"), {"truth": np.array([[1, 0]], np.uint8), "last": np.array([[5]])})
    nameless = matrix("<", "", np.zeros((1, 1)))
    (tmp_path / "values").write_bytes(header("<") + nameless + matrix("<", "x", np.ones((1, 1))) + nameless)
    assert list(read_matrices(tmp_path / "values")) == ["x"]


def flowers(file: Path, compressed: bool) -> bytes:
    """Return a small file of the labels of Flowers-102."""
    labels = np.array([[102, 1, 2, 3, 50]], np.uint8)
    savemat(file, {"labels": labels}, appendmat=False, do_compression=compressed)
    return file.read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_matrices_harm_nothing(tmp_path: Path, compressed: bool) -> None:
    content = flowers(tmp_path / "labels.mat", compressed)
    data = len(content) - matlab.HEADER
    killing = content[:184] + b"\xff" + content[185:]  # SciPy 1.17 is killed by it where it is not compressed.
    refused(read_matrices, tmp_path / "labels.mat", killing, "at byte 128, ")
    assert assert_survives(read_matrices, tmp_path / "labels.mat", damages(content)) > 4 * data
    cut = (content[:length] for length in range(len(content)) if length != matlab.HEADER)
    assert assert_survives(read_matrices, tmp_path / "labels.mat", cut) == len(content) - 1


def test_damaged_matrices_of_every_part_harm_nothing(tmp_path: Path) -> None:
    arrays = (np.array([[1, 2]], np.int16), np.arange(2.0).reshape(1, 2, 1))
    content = header(">")[-8:] + b"".join(matrix(">", f"x{i}", array) for i, array in enumerate(arrays))
    whole = (bytes(120) + each for each in damages(content))
    assert assert_survives(read_matrices, tmp_path / "values", whole) > len(content)


ONE = np.array([[1.0]])
WHOLE = matrix("<", "x", ONE)


def parts(*elements: bytes) -> bytes:
    return element("<", 14, b"".join(elements))


FLAGS = element("<", 6, struct.pack("<II", 6, 0))
SIZES = element("<", 5, struct.pack("<ii", 1, 1))
NAME = element("<", 1, b"x", True)
NUMBER = element("<", 9, bytes(8))


def sized(*sizes: int) -> bytes:
    return parts(FLAGS, element("<", 5, struct.pack(f"<{len(sizes)}i", *sizes)), NAME, NUMBER)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "its header of 128 bytes must end"),
        (b"no MATLAB file" * 20, "its header of 128 bytes must end"),
        (header("<", 0x0400), "its header of 128 bytes must end"),
        (
            header("<", 0x0200) + bytes(384) + b"\x89HDF\r\n\x1a\n",
            "a file of MATLAB 7.3, which is HDF5, must be of version 5",
        ),
        (header(">", 0x0200), "a file of MATLAB 7.3"),
        (b"\x89HDF\r\n\x1a\n" + bytes(1000), "a file of MATLAB 7.3"),
        (header("<") + b"abcd", "at byte 128, a tag of 8 bytes must follow, but 4 bytes do"),
        (header("<") + WHOLE + b"abcd", f"at byte {128 + len(WHOLE)}, a tag of 8 bytes"),
        (header("<") + WHOLE[:-1], "bytes must follow a tag, but"),
        (header("<") + struct.pack("<II", 14, 2**32 - 1), "4294967295 bytes must follow a tag, but 0 do"),
        (header("<") + element("<", 9, bytes(8)), "it has type 9, must have 14 or 15"),
        (header("<") + WHOLE + WHOLE, "a second x must not follow"),
        (header("<") + parts(), "its array ends before its flags"),
        (header("<") + parts(element("<", 5, bytes(8))), "the flags of its array has type 5, must have 6"),
        (header("<") + parts(element("<", 6, bytes(4))), "the flags of its array have 4 bytes"),
        (header("<") + parts(element("<", 6, bytes(8))), "its array has class 0, must be in 1..17"),
        (header("<") + parts(FLAGS), "its array ends before its dimensions"),
        (header("<") + parts(FLAGS, SIZES), "its array ends before its name"),
        (header("<") + parts(FLAGS, SIZES, NAME), "numbers of type None"),
        (header("<") + parts(FLAGS, SIZES, NAME, element("<", 14, b"")), "numbers of type 14"),
        (header("<") + parts(FLAGS, SIZES, NAME, NUMBER, NUMBER), "its array goes on behind its numbers"),
        (header("<") + parts(FLAGS, SIZES, NAME, struct.pack("<HHI", 9, 5, 0)), "5 bytes must follow a tag, but 4 do"),
        (header("<") + sized(1), "the dimensions of its array have 4 bytes"),
        (header("<") + sized(*[1] * 33), "the dimensions of its array have 132 bytes"),
        (header("<") + sized(-1, -1), "the dimensions of its array are (-1, -1)"),
        (header("<") + sized(2**31 - 1, 1), "the dimensions of its array are (2147483647, 1)"),
        (header("<") + sized(2**28, 2**28, 2**8), "8 bytes are no array (268435456, 268435456, 256) of float64"),
        (header("<") + sized(1, 2), "8 bytes are no array (1, 2)"),
        (header("<") + sized(0, 2), "8 bytes are no array (0, 2)"),
        (header("<") + matrix("<", "x", ONE, CLASSES["i8"]), "its array of int64 is stored as float64"),
        (header("<") + matrix("<", "x", ONE, CLASSES["f4"]), "its array of float32 is stored as float64"),
        (header("<") + packed("<", WHOLE[:4]), "it is compressed and has 4 bytes"),
        (header("<") + packed("<", element("<", 9, bytes(8))), "it is compressed and has type 9"),
        (header("<") + packed("<", WHOLE + b"\0"), "it is not compressed from the"),
        (header("<") + packed("<", WHOLE[:-1]), "it is not compressed from the"),
        (header("<") + element("<", 15, b"no zlib."), "it is damaged: Error -3"),
        (header("<") + packed("<", struct.pack("<II", 14, 2**31)), "it has 2147483648 bytes when decompressed"),
        (
            header("<") + packed("<", struct.pack("<II", 14, 64) + bytes(2**26)),
            "it is not compressed from the 64 bytes",
        ),
    ],
    ids=shown,
)
def test_files_of_matlab_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    refused(read_matrices, tmp_path / "values.mat", content, expected)


def test_decompressed_bytes_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = [packed("<", matrix("<", f"x{i}", np.zeros((1, 1000)))) for i in range(9)]
    (tmp_path / "bombs").write_bytes(header("<") + b"".join(each))
    assert len(read_matrices(tmp_path / "bombs")) == 9
    monkeypatch.setattr(matlab, "MOST_BYTES", 20_000)
    with pytest.raises(ValueError, match=r"has 8048 bytes when decompressed, must have at most 3904 of 20000 for all"):
        read_matrices(tmp_path / "bombs")
