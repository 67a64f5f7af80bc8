"""Pickles as PyTorch writes them, read by a small interpreter that can make data and do nothing else.

A pickle is a program for a stack machine. Python's own interpreter for it imports whatever the program names, and calls it
with whatever the program says. It can be told to import less; but it also gives memory to whoever asks (five bytes make the
C version allocate gigabytes, for a memo with the index 2³¹), and follows dozens of instructions that PyTorch's files never use.
The few that they do use fit on two pages, so anyone can check that there is nothing to fear: names are looked up in a table,
never imported, and only what the table gives is ever called.

The instructions: Lib/pickletools.py of CPython. Protocol 2, which PyTorch has always written.
"""

from __future__ import annotations

import pickle  # the names of the instructions
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

LONGEST_NAME = 256
"""Bytes of a module's or a function's name."""

COPIES = 2
"""How many items may be copied in all, for each byte of the pickle. One that is well meant has fewer items than bytes."""


@dataclass(frozen=True)
class Constructor:
    """What a pickle may call: `build`, with arguments that the pickle gives. `build` must check them, and run nothing."""

    name: str
    build: Callable[..., Any]


class Unpickler:
    """Reads one pickle after another from a file.

    Args:
        file: read from where it stands. Afterwards it stands behind the pickle.
        size: of the file, in bytes. No pickle ends behind it.
        find_class: "module", "name" → what a pickle means by them: a value, or a Constructor. It raises for all others.
        persistent_load: what a pickle says of an object that it does not hold itself → that object.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        find_class: Callable[[str, str], Any],
        persistent_load: Callable[[Any], Any],
    ) -> None:
        self.file, self.left = file, size - file.tell()
        self.find_class, self.persistent_load = find_class, persistent_load

    def load(self) -> Any:
        """The object that the next pickle describes, made of None, bool, int, float, str, list, tuple, dict, and what
        `find_class`, its constructors and `persistent_load` give. It may hold itself, and one object may be in many places.

        Raises:
            ValueError: the pickle is damaged, or uses more of the language than PyTorch's files do.
        """
        begin = self.left
        try:
            return self._run(begin)
        except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise ValueError(f"its pickle is damaged, some {begin - self.left} bytes in: {error!r}"[:300]) from error

    def _run(self, begin: int) -> Any:
        stack: list[Any] = []
        below: list[list[Any]] = []  # the stacks under each MARK
        memo: dict[int, Any] = {}
        copied = 0
        while True:
            match self._read(1):
                case pickle.BINGET:
                    stack.append(memo[self._number(1)])
                case pickle.LONG_BINGET:
                    stack.append(memo[self._number(4)])
                case pickle.BINPUT:
                    memo[self._number(1)] = stack[-1]
                case pickle.LONG_BINPUT:
                    memo[self._number(4)] = stack[-1]
                case pickle.BININT1:
                    stack.append(self._number(1))
                case pickle.BININT2:
                    stack.append(self._number(2))
                case pickle.BININT:
                    stack.append(int.from_bytes(self._read(4), "little", signed=True))
                case pickle.LONG1:
                    stack.append(int.from_bytes(self._read(self._number(1)), "little", signed=True))
                case pickle.LONG4:
                    stack.append(int.from_bytes(self._read(self._number(4)), "little", signed=True))
                case pickle.BINFLOAT:
                    stack.append(struct.unpack(">d", self._read(8))[0])
                case pickle.BINUNICODE:
                    stack.append(self._read(self._number(4)).decode("utf-8", "surrogatepass"))
                case pickle.SHORT_BINSTRING:  # a str of Python 2
                    stack.append(self._read(self._number(1)).decode())
                case pickle.BINSTRING:
                    stack.append(self._read(self._number(4)).decode())
                case pickle.NONE:
                    stack.append(None)
                case pickle.NEWTRUE:
                    stack.append(True)
                case pickle.NEWFALSE:
                    stack.append(False)
                case pickle.MARK:
                    below.append(stack)
                    stack = []
                case pickle.EMPTY_TUPLE:
                    stack.append(())
                case pickle.TUPLE1:
                    stack[-1:] = [(stack[-1],)]
                case pickle.TUPLE2:
                    stack[-2:] = [(stack[-2], stack[-1])]
                case pickle.TUPLE3:
                    stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
                case pickle.TUPLE:
                    items, stack = stack, below.pop()
                    stack.append(tuple(items))
                case pickle.EMPTY_LIST:
                    stack.append([])
                case pickle.APPEND:
                    item = stack.pop()
                    _of(list, stack[-1]).append(item)
                case pickle.APPENDS:
                    items, stack = stack, below.pop()
                    _of(list, stack[-1]).extend(items)
                case pickle.EMPTY_DICT:
                    stack.append({})
                case pickle.SETITEM:
                    key, item = stack[-2:]
                    del stack[-2:]
                    _of(dict, stack[-1])[checked_key(key)] = item
                case pickle.SETITEMS:
                    items, stack = stack, below.pop()
                    for key, item in zip(items[::2], items[1::2], strict=True):
                        _of(dict, stack[-1])[checked_key(key)] = item
                case pickle.GLOBAL:
                    stack.append(self.find_class(self._line(), self._line()))
                case pickle.BINPERSID:
                    stack.append(self.persistent_load(stack.pop()))
                case pickle.REDUCE:
                    arguments = _of(tuple, stack.pop())
                    copied += sum(len(a) for a in arguments if isinstance(a, (str, list, tuple, dict)))
                    if copied > COPIES * (begin - self.left):
                        raise ValueError("its pickle makes much of little, by copying the same items again and again")
                    stack.append(_of(Constructor, stack.pop()).build(*arguments))
                case pickle.BUILD:  # the attributes of an OrderedDict, such as the _metadata of a state_dict
                    _of(dict, stack.pop())
                    _of(dict, stack[-1])
                case pickle.PROTO:
                    if self._number(1) != 2:
                        raise ValueError("its pickle is of another protocol than 2, which PyTorch writes")
                case pickle.STOP:
                    if below or len(stack) != 1:
                        raise ValueError(f"its pickle is damaged: it ends with {len(stack)} objects")
                    return stack[0]
                case instruction:
                    raise ValueError(f"its pickle has the instruction {instruction!r}, which PyTorch's files do not use")

    def _read(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("its pickle ends in the middle")
        content = self.file.read(count)
        self.left -= count
        return content

    def _number(self, count: int) -> int:
        return int.from_bytes(self._read(count), "little")

    def _line(self) -> str:
        line = self.file.readline(LONGEST_NAME)
        self.left -= len(line)
        if self.left < 0 or not line.endswith(b"\n"):
            raise ValueError("its pickle ends in the middle of a name, or has one that is too long")
        return line[:-1].decode()


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got a {type(value).__name__}")
    return value


def checked_key(key: Any) -> Any:
    """A key of a dict or an element of a set, if Python finds such ones in no time, whatever they are.

    Raises:
        ValueError: it is a tuple, which may hold the same tuples again and again; a whole number of more than 64 bits, which
            can be chosen to collide with a million others; or no key at all.
    """
    if isinstance(key, (str, float)) or key is None or isinstance(key, int) and abs(key) < 2**63:
        return key
    raise ValueError(f"its pickle has a key of type {type(key).__name__}; only text and numbers of 64 bits are read")
