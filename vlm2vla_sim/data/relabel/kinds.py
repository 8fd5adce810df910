"""The kinds of phase: what a stretch of recorded motion does, as far as gripper, path and time of contact tell.

A demonstration has no force sensor. Contact is inferred: a gripper that goes down, moves along at its lowest height and
comes up again has pushed something; one that holds something and never lifts it has pulled it.
"""

from __future__ import annotations

from vlm2vla_sim.language.instruction_parser import parse

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
    """The kinds that the verbs of an instruction name, in order, each once.

    >>> kinds_in("Open the drawer and wiped the table"), kinds_in("put the brush on the clean plate")
    (('arc', 'wipe'), ())
    """
    return tuple(dict.fromkeys(_VERBS[verb] for verb in _verbs(instruction) if verb in _VERBS))


def verb_of(instruction: str, kind: str) -> str:
    """The verb of `instruction`, in its plain form, that names `kind`; empty without one."""
    return next((verb for verb in _verbs(instruction) if _VERBS.get(verb) == kind), "")


def _verbs(instruction: str) -> list[str]:
    return [clause.verb.split()[0] for clause in parse(instruction).asked]
