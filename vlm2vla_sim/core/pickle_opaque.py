"""Reads the data of a pickle that also holds what is not data: objects, text arrays, classes of other programs.

Recorded files carry entries that no reader needs, and an object in one of them is no reason to refuse the numbers in
the others. Nothing is looked up or run here either: whatever is not data becomes an `Opaque`, which says what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vlm2vla_sim.core.pickle_names import KEYS, NAMES, Name, Unfinished
from vlm2vla_sim.core.pickle_reader import MAX_INT, OPERATIONS, Machine, run
from vlm2vla_sim.errors import WireError

MAPPINGS = {("collections", "OrderedDict"): "OrderedDict", ("collections", "defaultdict"): "defaultdict"}
"""(module, name) of dictionaries, which are read as `dict`."""


@dataclass(frozen=True, eq=False)
class Opaque:
    """Something in a pickle that is not plain data."""

    reason: str
    """A sentence: what it was."""


def read_with_opaque(message: bytes) -> Any:
    """The data in the pickle `message`, with an `Opaque` for what is not data; WireError as in `pickle_reader.read`."""
    return run(_Lenient(message), not_data=())


class _Lenient(Machine):
    def operations(self) -> dict[bytes, Callable[[Any], None]]:
        return _OPERATIONS

    def new(self, *, keywords: bool) -> None:
        """NEWOBJ and NEWOBJ_EX: an object of a class, which only programs have."""
        if keywords:
            self._pop()
        arguments, name = self._pop(), self._pop()
        self._stack.append(self._called(name, arguments))

    def drop(self) -> None:
        """POP; a mark counts as a value."""
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._pop()

    def drop_to_mark(self) -> None:
        self._to_mark()

    def any_long(self, *, length: str) -> None:
        """LONG1 and LONG4, of any size."""
        data = self._take(self._number(length))
        small = len(data) <= MAX_INT
        value = (
            int.from_bytes(data, "little", signed=True) if small else Opaque(f"It is a number of {len(data)} bytes.")
        )
        self._stack.append(value)

    def persistent(self) -> None:
        """A reference to something outside of the file."""
        self._pop()
        self._stack.append(Opaque("It refers to something outside of the file."))

    def _push_name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise WireError("The message names something without a text.")
        if (module, name) in MAPPINGS:
            self._stack.append(Name(MAPPINGS[module, name]))
        elif (module, name) in NAMES:
            super()._push_name(module, name)
        else:
            what = f"{module}.{name}"[:100]
            self._stack.append(Opaque(f"It names a callable, {what}. Nothing was run."))

    def _called(self, name: Any, arguments: Any) -> Any:
        if isinstance(name, Opaque):
            return name
        if isinstance(name, Name) and name.word in MAPPINGS.values() and type(arguments) is tuple:
            # Python writes the entries afterwards; Python 2 hands an OrderedDict a list of pairs.
            pairs = arguments[0] if name.word == "OrderedDict" and arguments else ()
            self._created += 16 * len(pairs)
            self._take(0)
            return {self._key(key): value for key, value in pairs}
        if inside := _opaque_in(arguments):
            return inside
        try:
            return super()._called(name, arguments)
        except WireError as error:
            self._take(0)  # a budget that is used up stays an error
            return Opaque(str(error))

    def _built(self, unfinished: Any, state: Any) -> Any:
        if isinstance(unfinished, Opaque):
            return unfinished
        if isinstance(unfinished, dict):  # attributes of a dictionary's own class
            return unfinished
        try:
            return super()._built(unfinished, state)
        except WireError as error:
            if not isinstance(unfinished, Unfinished):
                raise
            unfinished.value = _opaque_in(state) or Opaque(str(error))
            return unfinished.value

    def _key(self, value: Any) -> Any:
        return value if type(value) in KEYS else Opaque(f"It is a key of the type {type(value).__name__}.")

    def _top(self, kind: type) -> Any:
        # What is added to an unknown object is forgotten with it.
        return kind() if isinstance(self._stack[-1], Opaque) else super()._top(kind)


def _opaque_in(parts: Any) -> Opaque | None:
    return next((part for part in parts if isinstance(part, Opaque)), None) if isinstance(parts, tuple) else None


_OPERATIONS: dict[bytes, Callable[[Any], None]] = {
    **OPERATIONS,
    b"\x81": partial(_Lenient.new, keywords=False),
    b"\x92": partial(_Lenient.new, keywords=True),
    b"\x8a": partial(_Lenient.any_long, length="<B"),
    b"\x8b": partial(_Lenient.any_long, length="<I"),
    b"0": _Lenient.drop,
    b"1": _Lenient.drop_to_mark,
    b"Q": _Lenient.persistent,
}
