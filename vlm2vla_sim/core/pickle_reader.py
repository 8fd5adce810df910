"""Read the data of a pickle and nothing but the data: protocols 2 to 5, builtins and numeric NumPy arrays.

A pickle is a program, and `pickle.loads` runs it. This interpreter knows the instructions that data needs, and counts
operations, depth and bytes, so that a small frame cannot cost much time or memory. `pickle_opaque` reads files whose
other entries may be anything. Opcodes: Python's
`Lib/pickletools.py` (which is not used here, because it imports pickle).
"""

# ruff: noqa: D102 - the operations are pickle's opcodes, by their names in pickletools

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from vlm2vla_sim.core.pickle_names import MEANINGS, NAMES, Name, Unfinished, as_key, finish
from vlm2vla_sim.errors import WireError

PROTOCOLS = range(2, 6)
MAX_OPERATIONS = 200_000
MAX_NODES = 200_000
"""Values in a message, one that is referred to twice counted twice."""
MAX_DEPTH = 32
MAX_CREATED = 256 * 2**20
"""[bytes] made while reading, all copies together."""
MAX_INT = 16
"""[bytes] of a whole number."""


def read(message: bytes) -> Any:
    """The data in the pickle `message`; WireError if it is cut off, too large, or wants more than data."""
    return run(Machine(message), not_data=(Name, Unfinished, np.dtype))


def run(machine: Machine, *, not_data: tuple[type, ...]) -> Any:
    """What `machine` leaves behind, when it is of bounded size, free of cycles and free of the types `not_data`."""
    try:
        value = machine.run()
    # Every way in which bytes can be nonsense: bad UTF-8, a stack too short, numbers that fit no shape.
    except (LookupError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise WireError(f"The message makes no sense ({type(error).__name__}: {str(error)[:200]}).") from error
    return _checked(value, not_data)


def _checked(root: Any, not_data: tuple[type, ...]) -> Any:
    nodes, todo = 0, [(root, 0)]
    while todo:
        value, depth = todo.pop()
        nodes += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise WireError(f"The message holds more than {MAX_NODES} values or {MAX_DEPTH} levels.")
        if isinstance(value, not_data):
            raise WireError("The message holds a name or half an array in place of data.")
        if isinstance(value, dict):
            todo += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, (list, tuple)):
            todo += [(item, depth + 1) for item in value]
    return root


class Machine:
    """The stack machine of one message."""

    def __init__(self, message: bytes) -> None:
        self._bytes = message
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._created = 0

    def run(self) -> Any:
        """Carry out the message up to its STOP."""
        for _ in range(MAX_OPERATIONS):
            opcode = self._take(1)
            if opcode == b".":
                if len(self._stack) != 1 or self._marks or self._at != len(self._bytes):
                    raise WireError(
                        f"The message ends with {len(self._stack)} values; expected one, and nothing after."
                    )
                return self._stack[0]
            operation = self.operations().get(opcode)
            if operation is None:
                raise WireError(f"The message uses opcode {opcode!r}, which plain data does not need.")
            operation(self)
        raise WireError(f"The message takes more than {MAX_OPERATIONS} operations.")

    def operations(self) -> dict[bytes, Callable[[Any], None]]:
        """What each opcode does."""
        return OPERATIONS

    # Reading bytes.

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._bytes):
            raise WireError("The message is cut off.")
        self._created += count
        if self._created > MAX_CREATED:
            raise WireError(f"Reading the message would take more than {MAX_CREATED // 2**20} MiB.")
        piece, self._at = self._bytes[self._at : end], end
        return piece

    def _number(self, code: str) -> Any:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _line(self) -> str:
        end = self._bytes.find(b"\n", self._at, self._at + 256)
        if end < 0:
            raise WireError("The message is cut off.")
        return self._take(end + 1 - self._at)[:-1].decode("ascii")

    # The stack.

    def _pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise WireError("The message takes a value that is not there.")
        return self._stack.pop()

    def _to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _key(self, value: Any) -> Any:
        return as_key(value)

    def _top(self, kind: type) -> Any:
        value = self._stack[-1]
        if type(value) is not kind:
            raise WireError(f"The message adds to a {type(value).__name__} as if it were a {kind.__name__}.")
        return value

    # Operations, one or more opcodes each.

    def protocol(self) -> None:
        number = self._number("<B")
        if number not in PROTOCOLS:
            raise WireError(f"The message is of pickle protocol {number}; expected 2 to 5.")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_new(self, kind: type) -> None:
        self._stack.append(kind())

    def number(self, code: str) -> None:
        self._stack.append(self._number(code))

    def long(self) -> None:
        size = self._number("<B")
        if size > MAX_INT:
            raise WireError(f"The message holds a whole number of {size} bytes; expected at most {MAX_INT}.")
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def text(self, length: str) -> None:
        self._stack.append(self._take(self._number(length)).decode("utf-8", "surrogatepass"))

    def bytes(self, length: str) -> None:
        self._stack.append(self._take(self._number(length)))

    def tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def tuple_to_mark(self) -> None:
        self._stack.append(tuple(self._to_mark()))

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def append(self) -> None:
        item = self._pop()
        self._top(list).append(item)

    def append_many(self) -> None:
        items = self._to_mark()
        self._top(list).extend(items)

    def add_many(self) -> None:
        items = self._to_mark()
        self._top(set).update(map(self._key, items))

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict)[self._key(key)] = value

    def set_many(self) -> None:
        items = self._to_mark()
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def frozenset(self) -> None:
        self._stack.append(frozenset(map(self._key, self._to_mark())))

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def put(self, length: str) -> None:
        self._memo[self._number(length)] = self._stack[-1]

    def get(self, length: str) -> None:
        value = self._memo[self._number(length)]
        # Once built, the memo means the finished array.
        finished = isinstance(value, Unfinished) and value.value is not None
        self._stack.append(value.value if finished else value)

    def name(self) -> None:
        module = self._line()
        self._push_name(module, self._line())

    def name_from_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._push_name(module, name)

    def _push_name(self, module: Any, name: Any) -> None:
        known = isinstance(module, str) and isinstance(name, str) and (module, name) in NAMES
        if not known:
            what = f"{module}.{name}"[:100]
            raise WireError(f"The message names a callable, {what}. Nothing was run; do not trust this peer.")
        self._stack.append(Name(NAMES[module, name]))

    def reduce(self) -> None:
        arguments, name = self._pop(), self._pop()
        self._stack.append(self._called(name, arguments))

    def _called(self, name: Any, arguments: Any) -> Any:
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise WireError("The message calls something that is not a name.")
        # Copies are paid for before they are made: `_codecs.encode` doubles its argument, a list its numbers.
        self._created += sum(len(item) for item in arguments if isinstance(item, (str, bytes)))
        self._take(0)
        return MEANINGS[name.word](*arguments)

    def build(self) -> None:
        state, unfinished = self._pop(), self._pop()
        self._stack.append(self._built(unfinished, state))

    def _built(self, unfinished: Any, state: Any) -> Any:
        if not isinstance(unfinished, Unfinished) or type(state) is not tuple:
            raise WireError("The message sets the state of something that has none.")
        unfinished.value = finish(unfinished, state)
        return unfinished.value


OPERATIONS: dict[bytes, Callable[[Any], None]] = {
    b"\x80": Machine.protocol,
    b"\x95": lambda m: m._number("<Q"),  # FRAME: how much follows, which we count ourselves
    b"N": partial(Machine.push, value=None),
    b"\x88": partial(Machine.push, value=True),
    b"\x89": partial(Machine.push, value=False),
    b"J": partial(Machine.number, code="<i"),
    b"K": partial(Machine.number, code="<B"),
    b"M": partial(Machine.number, code="<H"),
    b"G": partial(Machine.number, code=">d"),
    b"\x8a": Machine.long,
    b"\x8c": partial(Machine.text, length="<B"),
    b"X": partial(Machine.text, length="<I"),
    b"\x8d": partial(Machine.text, length="<Q"),
    b"C": partial(Machine.bytes, length="<B"),
    b"B": partial(Machine.bytes, length="<I"),
    b"\x8e": partial(Machine.bytes, length="<Q"),
    b"\x96": partial(Machine.bytes, length="<Q"),
    b"]": partial(Machine.push_new, kind=list),
    b"}": partial(Machine.push_new, kind=dict),
    b"\x8f": partial(Machine.push_new, kind=set),
    b")": partial(Machine.tuple, count=0),
    b"\x85": partial(Machine.tuple, count=1),
    b"\x86": partial(Machine.tuple, count=2),
    b"\x87": partial(Machine.tuple, count=3),
    b"t": Machine.tuple_to_mark,
    b"(": Machine.mark,
    b"a": Machine.append,
    b"e": Machine.append_many,
    b"\x90": Machine.add_many,
    b"s": Machine.set_item,
    b"u": Machine.set_many,
    b"\x91": Machine.frozenset,
    b"\x94": Machine.memoize,
    b"q": partial(Machine.put, length="<B"),
    b"r": partial(Machine.put, length="<I"),
    b"h": partial(Machine.get, length="<B"),
    b"j": partial(Machine.get, length="<I"),
    b"c": Machine.name,
    b"\x93": Machine.name_from_stack,
    b"R": Machine.reduce,
    b"b": Machine.build,
}
