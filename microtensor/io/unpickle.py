"""A safe unpickler for PyTorch's files: an interpreter of pickle opcodes that can build data and nothing else.

A pickle is a program for a stack machine. Python's `pickle` imports any function that the program names and calls it with any
arguments, so loading an untrusted pickle can run any code. Its `Unpickler` can be restricted, but still allocates memory on
request (five bytes make the C version allocate gigabytes, for a memo with index 2³¹), and supports opcodes that PyTorch's files
never use. This one supports only those that they use. Names are looked up in a table and never imported; only functions in the
table are called. Any other name becomes a `Placeholder`.

Opcodes are documented in CPython's Lib/pickletools.py. Supported are the protocols 2 (PyTorch's default) to 5.
"""

from __future__ import annotations

import pickle  # for the names of the opcodes only
import struct
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, BinaryIO

from .placeholder import Placeholder

MAX_NAME_BYTES = 256
"""Length of the name of a module or function."""

MAX_COPIES_PER_BYTE = 2
"""Items that may be copied per byte of the pickle read so far. Honest pickles copy fewer items than they have bytes."""

CALL_ITEMS = 2
"""Cost of a call in items, besides its arguments."""

EMPTY_SET_ITEMS = 3
"""Cost of an empty set in items: it takes 216 bytes of memory, for one byte of the pickle."""

MAX_TUPLE_KEYS = 4096
"""Tuples that may be keys: a malicious pickle can choose tuples whose hashes collide, which makes dicts slow."""

MAX_KEY_ITEMS = 64
"""Items of a tuple that is a key."""


@dataclass(frozen=True, eq=False)
class Constructor:
    """A function that a pickle may call: `build`, which must check its arguments (they come from the file) and run no code.

    Its time and memory must be proportional to the lengths of its arguments and of their items, which the interpreter counts.
    It may read values nested deeper, but not copy them.

    Args:
        keyed: `build` uses its arguments as keys, and takes a function `checked_key` to check them.
    """

    name: str
    build: Callable[..., Any]
    keyed: bool = False


class Stateful:
    """An object whose state the pickle may set with the opcode BUILD."""

    def set_state(self, state: Any) -> None:
        """Check `state`, which may be any value, and keep what is needed."""
        raise NotImplementedError


class Unpickler:
    """Reads one pickle after another from a file.

    Args:
        file: read from its current position to the end of each pickle.
        size: of the file, in bytes.
        find_class: (module, name) → a value, a Constructor, or a Placeholder.
        persistent_load: a persistent id, which refers to an object outside of the pickle → that object.
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
        self.below: list[list[Any]] = []  # the stacks below each MARK
        self.memo: dict[int, Any] = {}
        self.copied = self.tuples = 0

    def load(self) -> Any:
        """The object that the next pickle describes: plain values, bytes, lists, tuples, dicts, sets, and what
        `find_class`, its constructors and `persistent_load` return. It may contain itself, and an object may occur repeatedly.

        Raises:
            ValueError: the pickle is damaged, uses opcodes that PyTorch's files do not, or copies too many items.
        """
        self.begin, self.copied, self.tuples = self.left, 0, 0
        self.stack, self.below, self.memo = [], [], {}
        try:
            while (opcode := self.read(1)) != pickle.STOP:
                follow = OPCODES.get(opcode)
                if follow is None:
                    raise ValueError(f"its pickle has the opcode {opcode!r}, which PyTorch's files do not use")
                follow(self)
            if self.below or len(self.stack) != 1:
                raise ValueError(f"its pickle is damaged: it ends with {len(self.stack)} objects")
            return self.stack[0]
        except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise ValueError(f"its pickle is damaged, some {self.begin - self.left} bytes in: {error!r}"[:300]) from error
        finally:
            self.stack, self.below, self.memo = [], [], {}

    # Reading

    def read(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise ValueError("its pickle ends in the middle")
        content = self.file.read(count)
        self.left -= count
        return content

    def number(self, count: int) -> int:
        """An unsigned integer of `count` bytes."""
        return int.from_bytes(self.read(count), "little")

    def signed(self, count: int) -> int:
        """A signed integer of `count` bytes."""
        return int.from_bytes(self.read(count), "little", signed=True)

    def line(self) -> str:
        """The next bytes up to a line feed, decoded."""
        line = self.file.readline(MAX_NAME_BYTES)
        self.left -= len(line)
        if self.left < 0 or not line.endswith(b"\n"):
            raise ValueError("its pickle ends in the middle of a name, or has a name that is too long")
        return line[:-1].decode()

    # Limits on memory and time

    def count(self, items: int) -> None:
        """Count items before they are copied, or before memory worth as many items is taken.

        Raises:
            ValueError: they exceed the limit for the bytes of the pickle read so far.
        """
        self.copied += items
        if self.copied > MAX_COPIES_PER_BYTE * (self.begin - self.left):
            raise ValueError("its pickle builds too much from too few bytes: it copies the same items again and again")

    def checked_key(self, key: Any) -> Any:
        """Check a key of a dict or an element of a set: hashing and comparing it must be fast, whatever the file chose.

        Objects that hash by identity are allowed too: descriptions of tensors occur as keys in optimiser states.

        Raises:
            ValueError: it is a tuple of more than a few numbers and strings (nested tuples can take forever to hash), an
                integer of more than 64 bits (a million of them can be chosen to collide), or of a type that cannot be a key.
        """
        if isinstance(key, tuple) and len(key) <= MAX_KEY_ITEMS and self.tuples < MAX_TUPLE_KEYS:
            self.tuples += 1
            self.count(len(key))
            if all(map(_is_simple, key)):
                return key
        elif _is_simple(key) or getattr(type(key), "__hash__", None) is object.__hash__:
            return key
        raise ValueError(f"its pickle has a key of type {type(key).__name__}; only str and numbers of 64 bits are allowed")

    # Building

    def pop_mark(self) -> list[Any]:
        """The objects since the last MARK."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def call(self, function: Any, arguments: Any) -> Any:
        """Call `function`, a Constructor or Placeholder. All copying of Python objects happens here, and is counted."""
        if isinstance(function, Placeholder):
            self.count(CALL_ITEMS)
            return Placeholder(function.name, function.reason)
        self.count(CALL_ITEMS + _length(_expect(tuple, arguments)))
        build = _expect(Constructor, function)
        return build.build(*arguments, checked_key=self.checked_key) if build.keyed else build.build(*arguments)

    def append(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        if isinstance(self.stack[-1], Placeholder):  # of a subclass of list
            return
        _expect(list, self.stack[-1]).extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Put alternating keys and values into the dict on top of the stack."""
        if isinstance(self.stack[-1], Placeholder):  # of a subclass of dict
            return
        found = _expect(dict, self.stack[-1])
        for key, item in zip(items[::2], items[1::2], strict=True):
            found[self.checked_key(key)] = item

    def add(self, items: list[Any]) -> None:
        """Add to the set on top of the stack."""
        _expect(set, self.stack[-1]).update(self.checked_key(item) for item in items)

    def build(self) -> None:
        """Set the state of the object below. Attributes of a dict, such as the _metadata of a state_dict, are dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, (Placeholder, Stateful)):
            target.set_state(state)
        else:
            _expect((dict, list), target)
            _expect((dict, tuple), state)


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
    if machine.number(8) > machine.left:  # the length of a frame is not needed otherwise
        raise ValueError("its pickle ends in the middle")


def _follow_stack_global(machine: Unpickler) -> None:
    module, name = _pop_items(machine, 2)
    if not isinstance(module, str) or not isinstance(name, str) or max(len(module), len(name)) > MAX_NAME_BYTES:
        raise ValueError("its pickle has a name that is not a str, or is too long")
    machine.stack.append(machine.find_class(module, name))


def _follow_empty_set(machine: Unpickler) -> None:
    machine.count(EMPTY_SET_ITEMS)
    machine.stack.append(set())


def _follow_newobj_ex(machine: Unpickler) -> None:
    kind, arguments, named = _pop_items(machine, 3)
    if _expect(dict, named) and not isinstance(kind, Placeholder):
        raise ValueError("its pickle passes keyword arguments, which no constructor takes")
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


def _pop_items(machine: Unpickler, count: int) -> list[Any]:
    """Pop the top `count` objects of the stack, lowest first."""
    if len(machine.stack) < count:
        raise IndexError("the stack is empty")
    items = machine.stack[-count:]
    del machine.stack[-count:]
    return items


def _pushes(make: Callable[[Unpickler], Any]) -> Callable[[Unpickler], None]:
    """An opcode that pushes the result of `make`."""

    def follow(machine: Unpickler) -> None:
        made = make(machine)  # may replace machine.stack
        machine.stack.append(made)

    return follow


def _memoizes(width: int) -> Callable[[Unpickler], None]:
    """An opcode that stores the top of the stack in the memo, under an index of `width` bytes."""

    def follow(machine: Unpickler) -> None:
        machine.memo[machine.number(width)] = machine.stack[-1]

    return follow


def _is_simple(key: Any) -> bool:
    if isinstance(key, int):
        return -(2**63) < key < 2**63
    return key is None or isinstance(key, (str, float, bytes, Placeholder))


def _length(arguments: tuple[Any, ...]) -> int:
    """How many items the arguments of a call have, plus the lengths of these items."""
    total = 0
    for each in arguments:
        if isinstance(each, Sized):
            total += len(each)
            if isinstance(each, (tuple, list)):
                total += sum(len(inner) for inner in each if isinstance(inner, Sized))
    return total


def _expect(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind):
        names = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
        raise TypeError(f"expected a {names}, got a {type(value).__name__}")
    return value


OPCODES: dict[bytes, Callable[[Unpickler], None]] = {
    pickle.PROTO: _follow_proto,
    pickle.FRAME: _follow_frame,
    # scalars
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
    # stack and memo
    pickle.MARK: _follow_mark,
    pickle.POP: lambda machine: _pop_items(machine, 1).clear(),
    pickle.POP_MARK: lambda machine: machine.pop_mark().clear(),
    pickle.DUP: _pushes(lambda machine: machine.stack[-1]),
    pickle.BINGET: _pushes(lambda machine: machine.memo[machine.number(1)]),
    pickle.LONG_BINGET: _pushes(lambda machine: machine.memo[machine.number(4)]),
    pickle.BINPUT: _memoizes(1),
    pickle.LONG_BINPUT: _memoizes(4),
    pickle.MEMOIZE: _follow_memoize,
    # containers
    pickle.EMPTY_TUPLE: _pushes(lambda machine: ()),
    pickle.TUPLE1: _pushes(lambda machine: tuple(_pop_items(machine, 1))),
    pickle.TUPLE2: _pushes(lambda machine: tuple(_pop_items(machine, 2))),
    pickle.TUPLE3: _pushes(lambda machine: tuple(_pop_items(machine, 3))),
    pickle.TUPLE: _pushes(lambda machine: tuple(machine.pop_mark())),
    pickle.EMPTY_LIST: _pushes(lambda machine: []),
    pickle.APPEND: lambda machine: machine.append(_pop_items(machine, 1)),
    pickle.APPENDS: lambda machine: machine.append(machine.pop_mark()),
    pickle.EMPTY_DICT: _pushes(lambda machine: {}),
    pickle.SETITEM: lambda machine: machine.set_items(_pop_items(machine, 2)),
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_mark()),
    pickle.EMPTY_SET: _follow_empty_set,
    pickle.ADDITEMS: lambda machine: machine.add(machine.pop_mark()),
    pickle.FROZENSET: _follow_frozenset,
    # names and calls
    pickle.GLOBAL: _pushes(lambda machine: machine.find_class(machine.line(), machine.line())),
    pickle.STACK_GLOBAL: _follow_stack_global,
    pickle.BINPERSID: _pushes(lambda machine: machine.persistent_load(machine.stack.pop())),
    pickle.REDUCE: _pushes(lambda machine: machine.call(*_pop_items(machine, 2))),
    pickle.NEWOBJ: _pushes(lambda machine: machine.call(*_pop_items(machine, 2))),
    pickle.NEWOBJ_EX: _follow_newobj_ex,
    pickle.BUILD: lambda machine: machine.build(),
}
"""Opcode → what to do. PyTorch's files of protocols 2 to 5 use no others."""
