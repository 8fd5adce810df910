"""`vlm2vla formats`: what a sentence means as motion, and how every format would write the same motion.

The quickest way to see why a model's answer was not read, or was read otherwise than meant.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import tyro

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.errors import ActionError, ActionTextError
from vlm2vla_sim.language.formats import FORMATS, ActionFormat, describe, get_format
from vlm2vla_sim.types import ActionChunk

NEEDS_A_MODEL = frozenset({"tokens"})
"""Formats whose symbols depend on a model's vocabulary."""
HEADING = ("dx cm", "dy cm", "dz cm", "rot x °", "rot y °", "rot z °", "gripper", "in words")


def formats(
    sentence: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[SENTENCE]")] = "",
    *,
    format_: Annotated[str, tyro.conf.arg(name="format")] = "any",
    json: bool = False,
) -> CommandResult:
    """Read an action text and show its rows and how every format writes them; without a text, list the formats.

    Args:
        sentence: The text, for example "move forward 3 cm, close gripper". Quote it.
        format_: The format to read it as; "any" takes the first that can read it.
        json: Print JSON.
    """
    if not sentence:
        return _list_formats(as_json=json)
    chunk, name = _read(sentence, format_)
    written = {other.name: _write(other, chunk) for other in _usable_formats()}
    values = {"read_as": name, "deltas": chunk.deltas.astype(np.float64).round(6).tolist(), "written": written}
    scaled = chunk.deltas * [100, 100, 100, *np.rad2deg([1, 1, 1]), 1]
    rows = [
        (*(f"{number:g}" for number in row.round(2).tolist()), words)
        for row, words in zip(scaled, describe(chunk), strict=True)
    ]
    lines = [
        f"Read as {name}:",
        "",
        columns([HEADING, *rows]),
        "",
        "Written by every format, at its own resolution:",
        "",
    ]
    width = max(map(len, written))
    lines += [f"  {other.ljust(width)}  {text}" for other, text in written.items()]
    return CommandResult("\n".join(lines), values, json)


def _usable_formats() -> list[ActionFormat]:
    return [get_format(name) for name in FORMATS if name not in NEEDS_A_MODEL]


def _read(sentence: str, name: str) -> tuple[ActionChunk, str]:
    if name != "any":
        return get_format(name).read(sentence), name
    refusals = []
    for candidate in _usable_formats():
        try:
            return candidate.read(sentence), candidate.name
        except ActionTextError as error:
            refusals.append(f"  {candidate.name}: {error}")
    raise ActionTextError("No format can read this text.\n" + "\n".join(refusals))


def _write(action_format: ActionFormat, chunk: ActionChunk) -> str:
    try:
        return action_format.write(chunk.deltas)
    except ActionError as error:
        return f"(cannot: {error})"


def _list_formats(*, as_json: bool) -> CommandResult:
    found = _usable_formats()
    values = [{"format": f.name, "rules": f.rules, "example": f.example} for f in found]
    blocks = [f"{f.name}\n  {f.rules}\n  Example: {f.example}" for f in found]
    blocks += [f"{name}\n  Needs the vocabulary of a model." for name in FORMATS if name in NEEDS_A_MODEL]
    return CommandResult("\n\n".join(blocks), values, as_json)
