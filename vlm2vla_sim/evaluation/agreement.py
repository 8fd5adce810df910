"""Words against motion: does a policy write what it says, and does the arm do what was written?

Three things are compared in every decision: what its plan said (`language.plan_reader`), what its action text says (the
rows that were read from it), and what the arm did (the gripper's measured pose before and after). Each pair agrees,
disagrees, or cannot be judged. A direction that nobody names is no disagreement, and neither is a word that is not
known: only what is said and not done, or written and not done, counts. Rotations are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.language.plan_reader import Direction, direction_name, read_motion
from vlm2vla_sim.language.plan_words import SMALLEST

LAG = 0.03
"""[m] by which the arm may stay behind its target; as `policies.language_action.MAX_LAG`. A written direction below
SMALLEST + LAG that was not measured is not judged."""
GRIPPER_CHANGE = 0.1
"""Of the opening, 0 closed .. 1 open: a smaller change is no motion of the gripper. One that closes on the widest
object of the tasks changes by 0.3."""
_ROUNDING = 1e-4
"""[m] so that a centimetre in float32 is a centimetre."""

PAIRS = ("said_written", "written_moved", "said_moved")
"""What is compared: plan and action text, action text and arm, plan and arm."""


@dataclass(frozen=True)
class Motion:
    """A motion as written, or as measured."""

    travel: np.ndarray
    """(2, 3) [m] the furthest that it goes forward, left, up (row 0) and backward, right, down (row 1), from wherever
    it begins to: down by 10 cm and up by 3 is both. Base frame."""
    gripper: int
    """At its end: 1 open, 0 closed."""
    gripper_changed: bool = False


def written_motion(deltas: np.ndarray, gripper_before: float) -> Motion:
    """What rows say. deltas: (T, 7) as `ActionChunk.deltas`; gripper_before: what the gripper was last told."""
    gripper = int(deltas[-1, 6] > 0.5)
    path = np.zeros((len(deltas) + 1, 3))
    np.cumsum(deltas[:, :3], axis=0, out=path[1:])
    return Motion(_travel(path), gripper, gripper != int(gripper_before > 0.5))


def measured_motion(path: np.ndarray, gripper_before: float) -> Motion:
    """What the arm did. path: (T + 1, 4) position of the TCP [m] and opening 0 .. 1, before and after every step.

    A gripper that did not move is as it was told before, `gripper_before`.
    """
    change = float(path[-1, 3] - path[0, 3])
    changed = abs(change) >= GRIPPER_CHANGE
    return Motion(_travel(path[:, :3]), int(change > 0) if changed else int(gripper_before > 0.5), changed)


def _travel(path: np.ndarray) -> np.ndarray:
    if len(path) == 2:  # A single step, which policies that predict control steps make every time.
        step = path[1] - path[0]
        return np.maximum([step, -step], 0.0)
    rise = (path - np.minimum.accumulate(path)).max(axis=0)
    return np.array([rise, (np.maximum.accumulate(path) - path).max(axis=0)])


def compare_words(plan: str, written: Motion | None, moved: Motion | None) -> dict[str, Any]:
    """The comparison of one decision, plain values: its entry "words" in `decisions` of results.jsonl.

    Args:
        plan: the plan as the policy wrote it.
        written: None where the action text could not be read.
        moved: None where the decision was not carried out to its end, as when the episode ended.

    Returns:
        "said", "written", "moved": the directions and the gripper, by name (None: unknown); and for each of `PAIRS`
        true, false, or None where nothing could be judged.
    """
    said = read_motion(plan)
    told = [*map(direction_name, said.directions), *([] if said.gripper is None else [_gripper_name(said.gripper)])]
    result: dict[str, Any] = {"said": told, "written": _describe(written), "moved": _describe(moved)}
    verdicts: dict[str, list[bool | None]] = {pair: [] for pair in PAIRS}
    if written is not None:
        verdicts["said_written"] = [_is_named(_amount(written, d)) for d in said.directions]
        if said.gripper is not None:
            verdicts["said_written"].append(said.gripper == written.gripper)
        if moved is not None:
            asked = _directions(written)
            verdicts["written_moved"] = [_was_made(d, written, moved) for d in asked]
            if written.gripper_changed:
                verdicts["written_moved"].append(moved.gripper == written.gripper)
            verdicts["said_moved"] = [_was_made(d, written, moved) for d in said.directions]
            if said.gripper is not None:
                verdicts["said_moved"].append(said.gripper == moved.gripper)
    return result | {pair: _all(found) for pair, found in verdicts.items()}


def summarize_words(decisions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The shares of agreement in an episode: `words` of its line in results.jsonl; None without a compared decision.

    decisions: entries of `decisions`. A share is that of the decisions for which the pair could be judged; None for
    none.
    """
    compared = [decision["words"] for decision in decisions if decision.get("words")]
    if not compared:
        return None
    shares = {pair: _share(words[pair] for words in compared) for pair in PAIRS}
    return {"decisions": len(compared), **shares}


def disagreements(words: Mapping[str, Any]) -> list[str]:
    """A line for every pair of a decision that disagrees. words: as from `compare_words`."""
    lines = []
    for pair in PAIRS:
        if words.get(pair) is False:
            first, second = pair.split("_")
            lines.append(f"{first}: {_listed(words[first])}; {second}: {_listed(words[second])}")
    return lines


def _amount(motion: Motion, direction: Direction) -> float:
    axis, sign = direction
    return motion.travel.item(int(sign < 0), axis)


def _directions(motion: Motion) -> list[Direction]:
    forth, back = motion.travel.tolist()
    amounts = [(axis, sign, way[axis]) for axis in range(3) for sign, way in ((1, forth), (-1, back))]
    return [(axis, sign) for axis, sign, amount in amounts if _is_named(amount)]


def _is_named(amount: float) -> bool:
    return amount >= SMALLEST - _ROUNDING


def _was_made(direction: Direction, written: Motion, moved: Motion) -> bool | None:
    """Whether the arm moved that way; None for a motion too small to tell from the arm's lag."""
    if _is_named(_amount(moved, direction)):
        return True
    asked = _amount(written, direction)
    small = _is_named(asked) and asked < SMALLEST + LAG - _ROUNDING
    opposite = (direction[0], -direction[1])
    turned = _amount(moved, opposite) >= LAG and not _is_named(_amount(written, opposite))
    return None if small and not turned else False


def _all(verdicts: Sequence[bool | None]) -> bool | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return all(known) if known else None


def _share(verdicts: Iterable[bool | None]) -> float | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None


def _describe(motion: Motion | None) -> list[str] | None:
    if motion is None:
        return None
    return [*map(direction_name, _directions(motion)), _gripper_name(motion.gripper)]


def _gripper_name(gripper: int) -> str:
    return "open" if gripper else "closed"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "no motion"
