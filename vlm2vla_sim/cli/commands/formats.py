"""`vlm2vla formats`: the motion that an action text stands for, and the same motion in every action format.

Use it to see why a model's answer is refused, or is read as another motion than intended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import tyro

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.errors import ActionError, ActionTextError
from vlm2vla_sim.language.formats import (
    DIALECTS,
    FORMATS,
    ActionFormat,
    describe,
    get_format,
    needs_statistics,
    properties_of,
)
from vlm2vla_sim.language.formats.goal_json import EXAMPLE_POSE
from vlm2vla_sim.language.formats.properties import in_pieces, read_action, write_action
from vlm2vla_sim.language.formats.statistics import BRIDGE
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

    Formats that depend on the arm's pose are read and written for an open gripper at x 30, y 0, z 20 cm that points
    down; those over the range of a data set, for that of BridgeData V2.

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
        "The same motion in every format, rounded to its resolution; | separates texts, from x 30, y 0, z 20 cm on:",
        "",
    ]
    width = max(map(len, written))
    lines += [f"  {other.ljust(width)}  {line}" for other, line in written.items()]
    return CommandResult("\n".join(lines), values, json)


def _usable_formats() -> list[ActionFormat]:
    own = [get_format(name) for name in FORMATS if name not in NEEDS_A_MODEL]
    return [*own, *map(_get, DIALECTS)]


def _get(name: str) -> ActionFormat:
    """The format; one of bins over the range of BridgeData V2, and read where the arm is at `EXAMPLE_POSE`."""
    return get_format(name, statistics=BRIDGE if needs_statistics(name) else None)


def _read(text: str, name: str) -> tuple[ActionChunk, str]:
    if name != "any":
        return read_action(_get(name), text, EXAMPLE_POSE), name
    refusals = []
    for candidate in _usable_formats():
        try:
            return read_action(candidate, text, EXAMPLE_POSE), candidate.name
        except ActionTextError as error:
            refusals.append(f"  {candidate.name}: {error}")
    raise ActionTextError("No action format accepts this text.\n" + "\n".join(refusals))


def _write(action_format: ActionFormat, chunk: ActionChunk) -> str:
    try:
        pieces = in_pieces(action_format, chunk.deltas, gripper=float(EXAMPLE_POSE[6]))
        return " | ".join(_write_pieces(action_format, pieces))
    except ActionError as error:
        return f"(not possible: {error})"


def _write_pieces(action_format: ActionFormat, pieces: list[np.ndarray]) -> Iterator[str]:
    """The texts of `pieces`, one after the other, from `EXAMPLE_POSE` on."""
    pose = EXAMPLE_POSE.copy()
    for piece in pieces:
        yield write_action(action_format, piece, pose)
        pose[:3] += piece[:, :3].sum(axis=0)
        pose[6] = piece[-1, 6]


def _list_formats(*, as_json: bool) -> CommandResult:
    found = _usable_formats()
    values = [{"format": f.name, "rules": f.rules, "example": f.example} for f in found]
    origins = {f.name: origin for f in found if (origin := properties_of(f).origin)}
    values = [{**value, "origin": origins.get(value["format"], "")} for value in values]
    named = [(f, f"{f.name} ({origins[f.name]})" if f.name in origins else f.name) for f in found]
    blocks = [f"{name}\n  {f.rules}\n  Example: {f.example}" for f, name in named]
    blocks += [
        f"{name}\n  One token per number; which tokens depends on the model's tokenizer."
        for name in FORMATS
        if name in NEEDS_A_MODEL
    ]
    return CommandResult("\n\n".join(blocks), values, as_json)
