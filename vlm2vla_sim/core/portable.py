"""What crosses a process boundary."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any


def portable(error: Exception) -> Exception:
    """`error`, or a RuntimeError with its text where it cannot be sent through a pipe."""
    try:
        # As the pipe does. (The stub takes the function for a method.)
        ForkingPickler.loads(ForkingPickler.dumps(error))  # pyright: ignore[reportAttributeAccessIssue]
    except Exception:  # An exception's own constructor may raise anything.
        notes = getattr(error, "__notes__", [])
        return RuntimeError("\n".join([f"{type(error).__name__}: {error}", *notes]))
    return error


def why_not_portable(value: Any) -> Exception | None:
    """The error with which `value` cannot be sent to another process; None if it can. Nothing is read back."""
    try:
        ForkingPickler.dumps(value)
    except Exception as error:  # the value's own methods may raise anything
        return error
    return None
