"""The kinds of phase: what a stretch of recorded motion does, as far as gripper, path and time of contact tell.

A demonstration has no force sensor. Contact is inferred: a gripper that goes down, moves along at its lowest height and
comes up again has pushed something; one that holds something and never lifts it has pulled it.
"""

from __future__ import annotations

REACH = "reach"
"""The empty gripper moves to where it will act."""
GRASP = "grasp"
"""It goes down, or on, to a thing and closes, whether or not it then holds it."""
REGRASP = "regrasp"
"""It closes again: after a grasp that missed, or where it has just let go."""
LIFT = "lift"
"""The held thing goes up from where it was grasped."""
CARRY = "carry"
"""The held thing moves, lifted."""
PLACE = "place"
"""The held thing goes down to where it is let go; the opening at its end belongs to it."""
RELEASE = "release"
"""The gripper opens without going down first."""
RETREAT = "retreat"
"""The empty gripper leaves what it has let go or pushed."""
PUSH = "push"
"""In contact, away from the robot or sideways: not lifted, held or not."""
PULL = "pull"
"""In contact, towards the robot: not lifted, held or not."""
SWEEP = "sweep"
"""In contact and not held, to and fro."""
WIPE = "wipe"
"""A held thing goes to and fro along a surface."""
ARC = "arc"
"""In contact along an arc, as a door or a lid opens and closes."""
TURN = "turn"
"""A held thing turns where it is."""
POUR = "pour"
"""A held thing tilts and comes back."""
FOLD = "fold"
"""A pinched cloth goes over to another place."""
PAUSE = "pause"
"""Nothing moves."""

KINDS = (
    *(REACH, GRASP, REGRASP, LIFT, CARRY, PLACE, RELEASE, RETREAT),
    *(PUSH, PULL, SWEEP, WIPE, ARC, TURN, POUR, FOLD, PAUSE),
)
"""All of them."""

IN_CONTACT = frozenset({PUSH, PULL, SWEEP, WIPE, ARC})
"""Kinds in which something is moved along without being lifted."""
WHOLE = IN_CONTACT | {TURN, POUR, FOLD}
"""Kinds that are one motion, whatever its directions are: not divided into up, down and across."""

_VERBS = {
    **dict.fromkeys(("push", "slide", "shove", "nudge"), PUSH),
    **dict.fromkeys(("pull", "drag", "draw"), PULL),
    **dict.fromkeys(("sweep", "brush", "swipe"), SWEEP),
    **dict.fromkeys(("wipe", "clean", "scrub", "rub", "dry", "dust"), WIPE),
    **dict.fromkeys(("open", "close", "shut"), ARC),
    **dict.fromkeys(("turn", "twist", "rotate", "flip", "screw", "unscrew"), TURN),
    **dict.fromkeys(("pour", "tip", "empty"), POUR),
    **dict.fromkeys(("fold", "unfold"), FOLD),
}
"""Verb of an instruction -> the kind of its main motion."""


def kinds_in(instruction: str) -> tuple[str, ...]:
    """The kinds that the verbs of an English instruction name, in order, each once.

    >>> kinds_in("Open the drawer and wiped the table"), kinds_in("put the carrot on the plate")
    (('arc', 'wipe'), ())
    """
    words = (word.strip(".,;:!?") for word in instruction.lower().split())
    return tuple(dict.fromkeys(kind for word in words for stem in _stems(word) if (kind := _VERBS.get(stem))))


def verb_of(instruction: str, kind: str) -> str:
    """The verb of `instruction`, in its plain form, that names `kind`; empty without one."""
    words = (word.strip(".,;:!?") for word in instruction.lower().split())
    return next((stem for word in words for stem in _stems(word) if _VERBS.get(stem) == kind), "")


def _stems(word: str) -> tuple[str, ...]:
    """What `word` may be a form of: "wiping" of "wip" and "wipe", "flipped" of "flipp", "flip" and "flippe"."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word.removesuffix(ending)
            return (word, stem, f"{stem}e", stem[:-1] if stem[-1] == stem[-2] else stem)
    return (word,)
