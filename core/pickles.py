"""Pickles of plain values and NumPy arrays, read without running them: nothing that a file names is imported or called.

A pickle is a program for a machine with a stack, marks on it and a memo. This machine knows the opcodes of protocols 0
to 5 that plain values and arrays are written with, and makes arrays itself from the type, shape and bytes that stand
in the file, once they fit each other.
"""

import codecs
import pickletools
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .files import read_limited
from .pickled_arrays import CALLS, Name, Unfinished

MOST_BYTES = 2**30
"""Of a file; the largest of CIFAR has 155 MB."""
MOST_OPCODES = 2**22
"""In a file: a byte may make a list, so that the size alone would allow a hundred times as much memory."""
MOST_COPIES = 2
"""Bytes of all that is made of other values (bytes of text, arrays of bytes), as a multiple of the file's."""
MOST_LEVELS = 64
"""Of lists, tuples and dictionaries one in another."""
MOST_DIGITS = sys.int_info.default_max_str_digits
"""Of an integer written as text: reading one takes the square of them."""

OPCODE_NAMES = {known.code: known.name for known in pickletools.opcodes}
INTEGER = re.compile(rb"-?[0-9]+")
ESCAPED = re.compile(rb"""(?:[^\\]|\\(?:[\\'"abfnrtv]|x[0-9a-fA-F]{2}))*+""", re.DOTALL)
"""Between quotes, as Python 2 writes it; other escapes are warned of when they are decoded."""


class _Machine:
    """What a pickle works on: its bytes, a stack for each open mark, and the memo."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0
        self.stacks: list[list[Any]] = [[]]
        self.memo: dict[int, Any] = {}
        self.spare = MOST_COPIES * len(content)

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= len(self.content) - self.place:
            raise ValueError(f"{size} bytes must follow, but {len(self.content) - self.place} do")
        self.place += size
        return self.content[self.place - size : self.place]

    def line(self) -> bytes:
        """Return what stands before the next end of a line."""
        end = self.content.find(b"\n", self.place)
        if end < 0:
            raise ValueError("a line must follow, but the file ends within")
        return self.take(end + 1 - self.place)[:-1]

    def number(self, size: int, signed: bool = False) -> int:
        """Return the next bytes as an integer."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def pop(self, kind: type = object) -> Any:
        """Take the top off the stack, which is of a kind."""
        if not self.stacks[-1]:
            raise ValueError("it takes a value from an empty stack")
        return _of_kind(self.stacks[-1].pop(), kind)

    def top(self, kind: type = object) -> Any:
        """Return the top of the stack, which is of a kind."""
        if not self.stacks[-1]:
            raise ValueError("it needs a value on an empty stack")
        return _of_kind(self.stacks[-1][-1], kind)

    def pop_mark(self) -> list[Any]:
        """Take off all above the last mark, and the mark."""
        if len(self.stacks) == 1:
            raise ValueError("it returns to a mark, but none is set")
        return self.stacks.pop()

    def spend(self, size: int) -> None:
        """Count bytes that are made of others, so that a few bytes of the memo can not become many arrays."""
        self.spare -= size
        if self.spare < 0:
            raise ValueError(f"it makes more than {MOST_COPIES} times its own size of other values")

    def run(self) -> Any:
        """Run all opcodes and return the value that they leave.

        Raises:
            ValueError: says what is wrong; `place` is behind it.
        """
        for _ in range(MOST_OPCODES):
            opcode = self.take(1)
            if opcode in VALUES:
                value = VALUES[opcode](self)
                self.stacks[-1].append(value)
            elif opcode in CHANGES:
                CHANGES[opcode](self)
            elif opcode == b".":
                return self._result()
            else:
                name = OPCODE_NAMES.get(opcode.decode("latin1"), opcode.hex())
                raise ValueError(f"it holds the opcode {name}, which neither plain values nor arrays have")
        raise ValueError(f"it has more than {MOST_OPCODES} opcodes")

    def _result(self) -> Any:
        if len(self.stacks) > 1 or len(self.stacks[0]) != 1:
            raise ValueError(
                f"it leaves {sum(map(len, self.stacks))} values and {len(self.stacks) - 1} marks, must be one value"
            )
        if self.place < len(self.content):
            raise ValueError(f"{len(self.content) - self.place} bytes follow its end")
        _check_levels(self.stacks[0][0], {}, 0)
        return self.stacks[0][0]


def _check_levels(value: Any, known: dict[int, int], level: int) -> int:
    """Return how many containers stand in each other in a value that itself stands in `level` of them.

    Args:
        value: whatever the stack holds.
        known: the answers so far, by `id`: what is shared is looked at once.
        level: of the value; it bounds the recursion, also where a list holds itself.

    Raises:
        ValueError: too many, or something that is no value.
    """
    if isinstance(value, Name | Unfinished):
        raise ValueError(
            f"it leaves {value.name if isinstance(value, Name) else 'an array without content'} as a value"
        )
    if not isinstance(value, list | tuple | dict):
        return 0
    if id(value) not in known and level < MOST_LEVELS:
        inside: Iterable[Any] = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + max((_check_levels(item, known, level + 1) for item in inside), default=0)
    levels = known.get(id(value), 1)
    if level + levels > MOST_LEVELS:
        raise ValueError(f"more than {MOST_LEVELS} lists, tuples and dictionaries stand in each other")
    return levels


def _of_kind(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        given, needed = (named.__name__.lower() for named in (type(value), kind))
        raise ValueError(f"it has {given} where it needs {needed}")
    return value


def _named(module: str, name: str) -> Name:
    """Return what stands for a name; NumPy 1 and Python 2 had other modules."""
    whole = re.sub(r"^numpy\.core\.", "numpy._core.", f"{module}.{name}")
    whole = re.sub(r"^__builtin__\.", "builtins.", whole)
    if whole not in CALLS:
        raise ValueError(f"it names {f'{module}.{name}'[:100]}, must name nothing but NumPy arrays")
    return Name(whole)


def _stack_global(machine: _Machine) -> Name:
    name = machine.pop(str)
    return _named(machine.pop(str), name)


def _reduce(machine: _Machine) -> Any:
    given = machine.pop(tuple)
    return CALLS[machine.pop(Name).name](machine.spend, given)


def _build(machine: _Machine) -> Any:
    state = machine.pop()
    unfinished = machine.pop(Unfinished)
    unfinished.value = unfinished.finish(state)
    return unfinished.value


def _integer(text: bytes) -> int:
    if len(text) > MOST_DIGITS or not INTEGER.fullmatch(text):
        raise ValueError(f"an integer of at most {MOST_DIGITS} digits must follow")
    return int(text)


def _integer_or_boolean(machine: _Machine) -> int:
    text = machine.line()
    return text == b"01" if text in (b"00", b"01") else _integer(text)


def _string(machine: _Machine) -> bytes:
    text = machine.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"') or not ESCAPED.fullmatch(text[1:-1]):
        raise ValueError("a string in quotes must follow")
    return codecs.escape_decode(text[1:-1])[0]


def _get(machine: _Machine, key: int) -> Any:
    if key not in machine.memo:
        raise ValueError(f"it takes value {key} from its memo, which was never put there")
    kept = machine.memo[key]
    return kept.value if isinstance(kept, Unfinished) and kept.value is not None else kept


def _put(machine: _Machine, key: int) -> None:
    machine.memo[key] = machine.top()


def _last(machine: _Machine, count: int) -> tuple[Any, ...]:
    return tuple(machine.pop() for _ in range(count))[::-1]


def _set_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Put keys and values into a dictionary."""
    if len(items) % 2:
        raise ValueError("a dictionary has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Hashes of nested tuples recurse without bound; of large integers any number may be equal.
        if not isinstance(key, str | bytes | int | float | None) or (isinstance(key, int) and key.bit_length() > 64):
            raise ValueError(f"a key is a {type(key).__name__}, must be text, bytes or a number of 64 bits")
        target[key] = value
    return target


def _append_all(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.top(list).extend(items)


def _append(machine: _Machine) -> None:
    item = machine.pop()
    machine.top(list).append(item)


def _set_all(machine: _Machine) -> None:
    items = machine.pop_mark()
    _set_items(machine.top(dict), items)


def _set(machine: _Machine) -> None:
    item = _last(machine, 2)
    _set_items(machine.top(dict), list(item))


def _drop(machine: _Machine) -> None:
    if machine.stacks[-1]:
        machine.pop()
    else:
        machine.pop_mark()


def _protocol(machine: _Machine) -> None:
    protocol = machine.number(1)
    if protocol > 5:
        raise ValueError(f"its protocol is {protocol}, must be in 0..5")


def _frame(machine: _Machine) -> None:
    size = machine.number(8)
    if size > len(machine.content) - machine.place:
        raise ValueError(f"a frame of {size} bytes must follow, but {len(machine.content) - machine.place} do")


VALUES: Mapping[bytes, Callable[[_Machine], Any]] = {
    b"N": lambda machine: None,
    b"\x88": lambda machine: True,
    b"\x89": lambda machine: False,
    b"I": _integer_or_boolean,
    b"J": lambda machine: machine.number(4, signed=True),
    b"K": lambda machine: machine.number(1),
    b"M": lambda machine: machine.number(2),
    b"L": lambda machine: _integer(machine.line().removesuffix(b"L")),
    b"\x8a": lambda machine: machine.number(machine.number(1), signed=True),
    b"\x8b": lambda machine: machine.number(machine.number(4, signed=True), signed=True),
    b"F": lambda machine: float(machine.line()),
    b"G": lambda machine: struct.unpack(">d", machine.take(8))[0],
    b"S": _string,
    b"T": lambda machine: machine.take(machine.number(4, signed=True)),
    b"U": lambda machine: machine.take(machine.number(1)),
    b"C": lambda machine: machine.take(machine.number(1)),
    b"B": lambda machine: machine.take(machine.number(4)),
    b"\x8e": lambda machine: machine.take(machine.number(8)),
    b"\x96": lambda machine: bytearray(machine.take(machine.number(8))),
    b"V": lambda machine: machine.line().decode("raw-unicode-escape"),
    b"\x8c": lambda machine: machine.take(machine.number(1)).decode("utf-8", "surrogatepass"),
    b"X": lambda machine: machine.take(machine.number(4)).decode("utf-8", "surrogatepass"),
    b"\x8d": lambda machine: machine.take(machine.number(8)).decode("utf-8", "surrogatepass"),
    b")": lambda machine: (),
    b"\x85": lambda machine: _last(machine, 1),
    b"\x86": lambda machine: _last(machine, 2),
    b"\x87": lambda machine: _last(machine, 3),
    b"t": lambda machine: tuple(machine.pop_mark()),
    b"]": lambda machine: [],
    b"l": lambda machine: machine.pop_mark(),
    b"}": lambda machine: {},
    b"d": lambda machine: _set_items({}, machine.pop_mark()),
    b"c": lambda machine: _named(machine.line().decode(), machine.line().decode()),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"b": _build,
    b"2": lambda machine: machine.top(),
    b"g": lambda machine: _get(machine, _integer(machine.line())),
    b"h": lambda machine: _get(machine, machine.number(1)),
    b"j": lambda machine: _get(machine, machine.number(4)),
}
"""Opcodes that put a value on the stack, and where it comes from."""

CHANGES: Mapping[bytes, Callable[[_Machine], None]] = {
    b"(": lambda machine: machine.stacks.append([]),
    b"0": _drop,
    b"1": lambda machine: machine.pop_mark().clear(),
    b"a": _append,
    b"e": _append_all,
    b"s": _set,
    b"u": _set_all,
    b"p": lambda machine: _put(machine, _integer(machine.line())),
    b"q": lambda machine: _put(machine, machine.number(1)),
    b"r": lambda machine: _put(machine, machine.number(4)),
    b"\x94": lambda machine: _put(machine, len(machine.memo)),
    b"\x80": _protocol,
    b"\x95": _frame,
}
"""Opcodes that change what is there."""


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds: plain values, lists, tuples, dictionaries, and NumPy arrays and scalars of numbers.

    Strings of Python 2 become bytes. Keys of dictionaries are text, bytes or numbers; arrays own their memory and have
    the native byte order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has more than `MOST_BYTES` bytes, is no whole pickle, or holds or names anything else; the
            message says what, and behind which byte.
    """
    machine = _Machine(read_limited(path, MOST_BYTES))
    try:
        return machine.run()
    except ValueError as error:
        raise ValueError(f"{path} is refused as a pickle of arrays: {error} (at byte {machine.place})") from error
