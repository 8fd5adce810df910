"""`vlm2vla formats`: the motion that an action text stands for, and the same motion in every action format.

Use it to see why a model's answer is refused, or is read as another motion than intended.
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
"""Formats whose symbols depend on a model's tokenizer."""
HEADING = ("dx cm", "dy cm", "dz cm", "rx deg", "ry deg", "rz deg", "gripper", "motion")


def formats(
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]")] = "",
    *,
    format_: Annotated[str, tyro.conf.arg(name="format")] = "any",
    json: bool = False,
) -> CommandResult:
    """Parse an action text and show the motion, row by row, and in every format. Without a text, list the formats.

    A row is a translation in the robot's base frame (x forward, y left, z up), a rotation vector, and the gripper
    (0 closed, 1 open).

    Args:
        text: An action text in quotes, for example "move forward 3 cm, close gripper".
        format_: The format to parse it with; "any" uses the first that accepts it.
        json: Print JSON.
    """
    if not text:
        return _list_formats(as_json=json)
    chunk, name = _read(text, format_)
    written = {other.name: _write(other, chunk) for other in _usable_formats()}
    values = {"read_as": name, "deltas": chunk.deltas.astype(np.float64).round(6).tolist(), "written": written}
    scaled = chunk.deltas * [100, 100, 100, *np.rad2deg([1, 1, 1]), 1]
    rows = [
        (*(f"{number:g}" for number in row.round(2).tolist()), motion)
        for row, motion in zip(scaled, describe(chunk), strict=True)
    ]
    lines = [
        f"Read as {name}:",
        "",
        columns([HEADING, *rows]),
        "",
        "The same motion in every format, rounded to its resolution:",
        "",
    ]
    width = max(map(len, written))
    lines += [f"  {other.ljust(width)}  {line}" for other, line in written.items()]
    return CommandResult("\n".join(lines), values, json)


def _usable_formats() -> list[ActionFormat]:
    return [get_format(name) for name in FORMATS if name not in NEEDS_A_MODEL]


def _read(text: str, name: str) -> tuple[ActionChunk, str]:
    if name != "any":
        return get_format(name).read(text), name
    refusals = []
    for candidate in _usable_formats():
        try:
            return candidate.read(text), candidate.name
        except ActionTextError as error:
            refusals.append(f"  {candidate.name}: {error}")
    raise ActionTextError("No action format accepts this text.\n" + "\n".join(refusals))


def _write(action_format: ActionFormat, chunk: ActionChunk) -> str:
    try:
        return action_format.write(chunk.deltas)
    except ActionError as error:
        return f"(not possible: {error})"


def _list_formats(*, as_json: bool) -> CommandResult:
    found = _usable_formats()
    values = [{"format": f.name, "rules": f.rules, "example": f.example} for f in found]
    blocks = [f"{f.name}\n  {f.rules}\n  Example: {f.example}" for f in found]
    blocks += [
        f"{name}\n  One token per number; which tokens depends on the model's tokenizer."
        for name in FORMATS
        if name in NEEDS_A_MODEL
    ]
    return CommandResult("\n\n".join(blocks), values, as_json)
