"""Find an object by its name in a table, or by `package.module:NAME`.

Every extension point (backend, policy, format, verifier, metric, ...) resolves names here, so that what is built in and
what a user brings follow the same rules and fail with the same errors.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from vlm2vla_sim.errors import ExtensionError, Vlm2VlaError, unknown_name

PLACE = "package.module:NAME"


def find(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """The object called `name`.

    Args:
        kind: what is looked for, for the error text, such as "policy".
        name: a key of `table`, or "package.module:NAME". The working directory is searched as well as `sys.path`.
        table: name -> the object, or the text "package.module:NAME" of where it is, imported when it is asked for.

    Raises:
        UnknownNameError: nothing has this name.
        ExtensionError: the module was found, and importing it failed; the text says where and why.
    """
    entry = table.get(name, name if is_place(name) else None)
    if entry is None:
        raise unknown_name(kind, name, [*table, PLACE])
    if not (isinstance(entry, str) and is_place(entry)):
        return entry
    module_name, _, attribute = entry.partition(":")
    module = _import(kind, name, module_name, [*table, PLACE])
    try:
        return getattr(module, attribute)
    except AttributeError:
        names = [known for known, value in vars(module).items() if _is_defined_in(module, known, value)]
        raise unknown_name(f"{kind} in {module_name}", attribute, names) from None


@contextlib.contextmanager
def making(kind: str, name: str) -> Iterator[None]:
    """Call what `find` found: ExtensionError, with file and line, where an object of the user's fails to be made."""
    try:
        yield
    except Exception as error:  # A constructor of the user's may raise anything.
        if isinstance(error, Vlm2VlaError) or not is_place(name):
            raise
        raise ExtensionError(f"The {kind} {name!r} cannot be made: {_describe(error)}.") from error


def is_place(name: object) -> bool:
    """Whether `name` has the form "package.module:NAME"."""
    module, colon, attribute = str(name).partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _is_defined_in(module: ModuleType, name: str, value: object) -> bool:
    """Whether `name` is the module's own: not private, and not imported from elsewhere."""
    return not (name.startswith("_") or isinstance(value, ModuleType)) and (
        getattr(value, "__module__", module.__name__) == module.__name__
    )


def _import(kind: str, name: str, module_name: str, known: list[str]) -> ModuleType:
    if module_name not in sys.modules:  # asked for at every step of an episode, and the working directory costs 0.3 ms
        _search_working_directory()
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # A module of the user's may raise anything while it is imported.
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise unknown_name(kind, name, known) from error
        if module_name.startswith("vlm2vla_sim.") or isinstance(error, Vlm2VlaError):
            raise
        raise ExtensionError(f"The {kind} {name!r} cannot be imported: {_describe(error)}.") from error


def _search_working_directory() -> None:
    """The console script has its own folder on the path, not the working directory.

    At the end of the path, a file there hides no installed package.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _describe(error: Exception) -> str:
    """The error and the place in the user's code: for a syntax error the traceback ends in importlib."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
