"""Pickles as PyTorch writes them, read by a small interpreter that can make data and do nothing else.

A pickle is a program for a stack machine. Python's own interpreter for it imports whatever the program names, and calls it
with whatever the program says. It can be told to import less; but it also gives memory to whoever asks (five bytes make the
C version allocate gigabytes, for a memo with the index 2³¹), and follows instructions that PyTorch's files never use.
Those that they do use fit on three pages, so anyone can check that there is nothing to fear: names are looked up in a table,
never imported, and only what the table gives is ever called. All else that a pickle names becomes a `Placeholder`.

The instructions: Lib/pickletools.py of CPython. Protocols 2, which PyTorch writes unless it is told otherwise, to 5.
"""

from __future__ import annotations

import pickle  # the names of the instructions
import struct
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, BinaryIO

from .placeholder import Placeholder

LONGEST_NAME = 256
"""Bytes of a module's or a function's name."""

COPIES = 2
"""How many items may be copied in all, for each byte of the pickle. One that is well meant has fewer items than bytes."""

CALL = 2
"""What a call counts, in items, beside its arguments' own."""

EMPTY_SET_ITEMS = 3
"""What an empty set counts: it takes 216 bytes of memory, and one of the pickle."""

MOST_TUPLES = 4096
"""How many tuples may be keys in all: whoever makes a pickle can choose ones that Python finds in no dict quickly."""

LONGEST_KEY = 64
"""Items of a tuple that is a key."""


@dataclass(frozen=True, eq=False)
class Constructor:
    """What a pickle may call: `build`, with arguments that the pickle gives. `build` must check them, and run nothing.

    What `build` takes time or memory for must be in proportion to the lengths of its arguments, which the interpreter counts,
    and of what they hold themselves. It may read what is deeper, and not copy it.

    Args:
        keyed: it makes keys of what it is given, and takes a function `checked_key` too.
    """

    name: str
    build: Callable[..., Any]
    keyed: bool = False


class Stateful:
    """What a constructor may give, if the pickle is to tell it more with the instruction BUILD."""

    def set_state(self, state: Any) -> None:
        """Check `state`, which may be anything, and keep what is needed."""
        raise NotImplementedError


class Unpickler:
    """Reads one pickle after another from a file.

    Args:
        file: read from where it stands. Afterwards it stands behind the pickle.
        size: of the file, in bytes. No pickle ends behind it.
        find_class: "module", "name" → what a pickle means by them: a value, a Constructor, or a Placeholder.
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
        self.begin = self.left
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each MARK
        self.memo: dict[int, Any] = {}
        self.copied = self.tuples = 0

    def load(self) -> Any:
        """The object that the next pickle describes, made of plain values, bytes, lists, tuples, dicts, sets, and what
        `find_class`, its constructors and `persistent_load` give. It may hold itself, and one object may be in many places.

        Raises:
            ValueError: the pickle is damaged, uses more of the language than PyTorch's files do, or makes much of little.
        """
        self.begin, self.copied, self.tuples = self.left, 0, 0
        self.stack, self.below, self.memo = [], [], {}
        try:
            while (instruction := self.read(1)) != pickle.STOP:
                follow = INSTRUCTIONS.get(instruction)
                if follow is None:
                    raise ValueError(f"its pickle has the instruction {instruction!r}, which PyTorch's files do not use")
                follow(self)
            if self.below or len(self.stack) != 1:
                raise ValueError(f"its pickle is damaged: it ends with {len(self.stack)} objects")
            return self.stack[0]
        except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise ValueError(f"its pickle is damaged, some {self.begin - self.left} bytes in: {error!r}"[:300]) from error
        finally:
            self.stack, self.below, self.memo = [], [], {}

    # What it reads

    def read(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise ValueError("its pickle ends in the middle")
        content = self.file.read(count)
        self.left -= count
        return content

    def number(self, count: int) -> int:
        """An integer of so many bytes, without sign."""
        return int.from_bytes(self.read(count), "little")

    def signed(self, count: int) -> int:
        """An integer of so many bytes, with sign."""
        return int.from_bytes(self.read(count), "little", signed=True)

    def line(self) -> str:
        """The next bytes up to a line feed, as a text."""
        line = self.file.readline(LONGEST_NAME)
        self.left -= len(line)
        if self.left < 0 or not line.endswith(b"\n"):
            raise ValueError("its pickle ends in the middle of a name, or has one that is too long")
        return line[:-1].decode()

    # What it counts

    def count(self, items: int) -> None:
        """Items are about to be copied, or as much memory taken.

        Raises:
            ValueError: they are too many for the bytes of the pickle that were read so far.
        """
        self.copied += items
        if self.copied > COPIES * (self.begin - self.left):
            raise ValueError("its pickle makes much of little, by copying the same items again and again")

    def checked_key(self, key: Any) -> Any:
        """A key of a dict or an element of a set, if Python finds such ones in no time, whatever they are. A description of a
        tensor is found by its identity, and may be a key in what is not read.

        Raises:
            ValueError: it is a tuple that holds more than a few numbers and texts, for it may hold the same tuples again and
                again; an integer of more than 64 bits, which can be chosen to collide with a million others; or no key.
        """
        if isinstance(key, tuple) and len(key) <= LONGEST_KEY and self.tuples < MOST_TUPLES:
            self.tuples += 1
            self.count(len(key))
            if all(map(_is_simple, key)):
                return key
        elif _is_simple(key) or getattr(type(key), "__hash__", None) is object.__hash__:
            return key
        raise ValueError(f"its pickle has a key of type {type(key).__name__}; only text and numbers of 64 bits are read")

    # What it makes

    def pop_mark(self) -> list[Any]:
        """The objects since the last MARK."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def call(self, function: Any, arguments: Any) -> Any:
        """What `function` makes of `arguments`. All that Python objects can be copied by goes through here, and is counted."""
        if isinstance(function, Placeholder):
            self.count(CALL)
            return Placeholder(function.name, function.reason)
        self.count(CALL + _length(_of(tuple, arguments)))
        build = _of(Constructor, function)
        return build.build(*arguments, checked_key=self.checked_key) if build.keyed else build.build(*arguments)

    def append(self, items: list[Any]) -> None:
        """To the list on top of the stack."""
        if isinstance(self.stack[-1], Placeholder):  # of a class derived from list
            return
        _of(list, self.stack[-1]).extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Keys and values in turn, into the dict on top of the stack."""
        if isinstance(self.stack[-1], Placeholder):  # of a class derived from dict
            return
        found = _of(dict, self.stack[-1])
        for key, item in zip(items[::2], items[1::2], strict=True):
            found[self.checked_key(key)] = item

    def add(self, items: list[Any]) -> None:
        """To the set on top of the stack."""
        _of(set, self.stack[-1]).update(self.checked_key(item) for item in items)

    def build(self) -> None:
        """What belongs to the object below it. The attributes of a dict, such as the _metadata of a state_dict, are dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, (Placeholder, Stateful)):
            target.set_state(state)
        else:
            _of((dict, list), target)
            _of((dict, tuple), state)


def _follow_proto(machine: Unpickler) -> None:
    protocol = machine.number(1)
    if not 2 <= protocol <= 5:
        raise ValueError(f"its pickle is of protocol {protocol}; 2 to 5 are read")


def _follow_int(machine: Unpickler) -> None:
    digits = machine.line()  # as Python 2 wrote integers of more than 32 bits
    if len(digits) > 20:
        raise ValueError("its pickle has a decimal integer of more than 64 bits")
    machine.stack.append({"00": False, "01": True}.get(digits, int(digits)))


def _follow_frame(machine: Unpickler) -> None:
    if machine.number(8) > machine.left:  # otherwise it says nothing that is needed
        raise ValueError("its pickle ends in the middle")


def _follow_stack_global(machine: Unpickler) -> None:
    module, name = _pop(machine, 2)
    if not isinstance(module, str) or not isinstance(name, str) or max(len(module), len(name)) > LONGEST_NAME:
        raise ValueError("its pickle has a name that is no text, or too long")
    machine.stack.append(machine.find_class(module, name))


def _follow_empty_set(machine: Unpickler) -> None:
    machine.count(EMPTY_SET_ITEMS)
    machine.stack.append(set())


def _follow_newobj_ex(machine: Unpickler) -> None:
    kind, arguments, named = _pop(machine, 3)
    if _of(dict, named) and not isinstance(kind, Placeholder):
        raise ValueError("its pickle gives arguments by name to what takes none")
    machine.stack.append(machine.call(kind, arguments))


def _follow_frozenset(machine: Unpickler) -> None:
    items = machine.pop_mark()
    machine.count(EMPTY_SET_ITEMS)
    machine.stack.append(frozenset(map(machine.checked_key, items)))


def _follow_mark(machine: Unpickler) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _follow_memoize(machine: Unpickler) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _pop(machine: Unpickler, count: int) -> list[Any]:
    """The top `count` objects of the stack, lowest first."""
    if len(machine.stack) < count:
        raise IndexError("the stack is empty")
    items = machine.stack[-count:]
    del machine.stack[-count:]
    return items


def _pushes(make: Callable[[Unpickler], Any]) -> Callable[[Unpickler], None]:
    """An instruction that puts on the stack what `make` gives."""

    def follow(machine: Unpickler) -> None:
        made = make(machine)  # may set another stack
        machine.stack.append(made)

    return follow


def _keeps(width: int) -> Callable[[Unpickler], None]:
    """An instruction that puts the object on top of the stack into the memo, under a number of so many bytes."""

    def follow(machine: Unpickler) -> None:
        machine.memo[machine.number(width)] = machine.stack[-1]

    return follow


def _is_simple(key: Any) -> bool:
    if isinstance(key, int):
        return -(2**63) < key < 2**63
    return key is None or isinstance(key, (str, float, bytes, Placeholder))


def _length(arguments: tuple[Any, ...]) -> int:
    """How many items the arguments of a call have, and those among them that hold others themselves."""
    total = 0
    for each in arguments:
        if isinstance(each, Sized):
            total += len(each)
            if isinstance(each, (tuple, list)):
                total += sum(len(inner) for inner in each if isinstance(inner, Sized))
    return total


def _of(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind):
        names = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
        raise TypeError(f"expected a {names}, got a {type(value).__name__}")
    return value


INSTRUCTIONS: dict[bytes, Callable[[Unpickler], None]] = {
    pickle.PROTO: _follow_proto,
    pickle.FRAME: _follow_frame,
    # plain values
    pickle.NONE: _pushes(lambda machine: None),
    pickle.NEWTRUE: _pushes(lambda machine: True),
    pickle.NEWFALSE: _pushes(lambda machine: False),
    pickle.BININT1: _pushes(lambda machine: machine.number(1)),
    pickle.BININT2: _pushes(lambda machine: machine.number(2)),
    pickle.BININT: _pushes(lambda machine: machine.signed(4)),
    pickle.LONG1: _pushes(lambda machine: machine.signed(machine.number(1))),
    pickle.LONG4: _pushes(lambda machine: machine.signed(machine.number(4))),
    pickle.INT: _follow_int,
    pickle.BINFLOAT: _pushes(lambda machine: struct.unpack(">d", machine.read(8))[0]),
    pickle.SHORT_BINUNICODE: _pushes(lambda machine: machine.read(machine.number(1)).decode("utf-8", "surrogatepass")),
    pickle.BINUNICODE: _pushes(lambda machine: machine.read(machine.number(4)).decode("utf-8", "surrogatepass")),
    pickle.BINUNICODE8: _pushes(lambda machine: machine.read(machine.number(8)).decode("utf-8", "surrogatepass")),
    pickle.SHORT_BINSTRING: _pushes(lambda machine: machine.read(machine.number(1)).decode()),  # a str of Python 2
    pickle.BINSTRING: _pushes(lambda machine: machine.read(machine.number(4)).decode()),
    pickle.SHORT_BINBYTES: _pushes(lambda machine: machine.read(machine.number(1))),
    pickle.BINBYTES: _pushes(lambda machine: machine.read(machine.number(4))),
    pickle.BINBYTES8: _pushes(lambda machine: machine.read(machine.number(8))),
    pickle.BYTEARRAY8: _pushes(lambda machine: machine.read(machine.number(8))),
    # the stack and the memo
    pickle.MARK: _follow_mark,
    pickle.POP: lambda machine: _pop(machine, 1).clear(),
    pickle.POP_MARK: lambda machine: machine.pop_mark().clear(),
    pickle.DUP: _pushes(lambda machine: machine.stack[-1]),
    pickle.BINGET: _pushes(lambda machine: machine.memo[machine.number(1)]),
    pickle.LONG_BINGET: _pushes(lambda machine: machine.memo[machine.number(4)]),
    pickle.BINPUT: _keeps(1),
    pickle.LONG_BINPUT: _keeps(4),
    pickle.MEMOIZE: _follow_memoize,
    # what holds others
    pickle.EMPTY_TUPLE: _pushes(lambda machine: ()),
    pickle.TUPLE1: _pushes(lambda machine: tuple(_pop(machine, 1))),
    pickle.TUPLE2: _pushes(lambda machine: tuple(_pop(machine, 2))),
    pickle.TUPLE3: _pushes(lambda machine: tuple(_pop(machine, 3))),
    pickle.TUPLE: _pushes(lambda machine: tuple(machine.pop_mark())),
    pickle.EMPTY_LIST: _pushes(lambda machine: []),
    pickle.APPEND: lambda machine: machine.append(_pop(machine, 1)),
    pickle.APPENDS: lambda machine: machine.append(machine.pop_mark()),
    pickle.EMPTY_DICT: _pushes(lambda machine: {}),
    pickle.SETITEM: lambda machine: machine.set_items(_pop(machine, 2)),
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_mark()),
    pickle.EMPTY_SET: _follow_empty_set,
    pickle.ADDITEMS: lambda machine: machine.add(machine.pop_mark()),
    pickle.FROZENSET: _follow_frozenset,
    # what has a name
    pickle.GLOBAL: _pushes(lambda machine: machine.find_class(machine.line(), machine.line())),
    pickle.STACK_GLOBAL: _follow_stack_global,
    pickle.BINPERSID: _pushes(lambda machine: machine.persistent_load(machine.stack.pop())),
    pickle.REDUCE: _pushes(lambda machine: machine.call(*_pop(machine, 2))),
    pickle.NEWOBJ: _pushes(lambda machine: machine.call(*_pop(machine, 2))),
    pickle.NEWOBJ_EX: _follow_newobj_ex,
    pickle.BUILD: lambda machine: machine.build(),
}
"""What to do at each instruction. Those that are not here are not in PyTorch's files of protocols 2 to 5."""
