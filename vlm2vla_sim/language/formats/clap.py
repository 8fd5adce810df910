"""The format `clap`: what the arm does in words, then its control steps as whole numbers.

CLAP (arXiv 2607.08974) writes the summed motion between `<think>` and `</think>`, in centimetres and steps of ten
degrees, and then the steps as VLA-0 does. Its code is not public: the words are LAP's, by the same authors' convention.
The numbers alone decide the motion; the words stay in the text, where the report compares them with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import check_deltas
from vlm2vla_sim.language.formats.lap import LapFormat, sentence_pattern
from vlm2vla_sim.language.formats.properties import FormatProperties
from vlm2vla_sim.language.formats.vla0 import Vla0Format, steps_pattern
from vlm2vla_sim.types import ActionChunk

BEGIN, END = "<think>", "</think>"
_END = re.compile(r"</\s*think\s*>", re.IGNORECASE)
_LAST_LETTER = re.compile(r"[A-Za-z>](?=[^A-Za-z>]*\Z)")


@dataclass(frozen=True)
class ClapFormat(Vla0Format):
    """`<think> move forward 4 cm, move down 4 cm, open gripper </think> 854 505 92 497 544 504 1000 ...`.

    >>> from vlm2vla_sim.language.formats.statistics import BRIDGE
    >>> ClapFormat(BRIDGE).write(np.array([[0.02, 0, -0.02, 0, 0, 0, 1]]))
    '<think> move forward 2 cm, move down 2 cm, open gripper </think> 854 505 92 497 544 504 1000'
    """

    name = "clap"

    @property
    def properties(self) -> FormatProperties:
        """See `FormatProperties`."""
        return replace(super().properties, origin="CLAP, arXiv 2607.08974", prefix=True)

    @property
    def rules(self) -> str:
        """How to write it, for the prompt."""
        return (
            f"First say between {BEGIN} and {END} what the gripper does: how far it moves in all in cm, tilts and "
            f"rotates in degrees, then open gripper or close gripper. {super().rules}"
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`."""
        words = LapFormat().write(add_up(check_deltas(deltas, self.horizon)))
        return f"{BEGIN} {words} {END} {super().write(deltas)}"

    def read(self, text: str) -> ActionChunk:
        """See `ActionFormat.read`: the numbers after the words. Without the tags, those after the last letter."""
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        ends = list(_END.finditer(cursor.plain)) or list(_LAST_LETTER.finditer(cursor.plain))
        start = ends[-1].end() if ends else 0
        if not re.search("[0-9]", cursor.plain[start:]):
            raise cursor.error("there are no numbers after the words; expected the control steps.", start)
        # Blanks in place of the words: positions in an error stay those of the text.
        return replace(super().read(" " * start + text[start:]), text=text)

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        words = (g.Literal(f"{BEGIN} "), sentence_pattern(), g.Literal(f" {END} "))
        return g.compile_grammar(g.Sequence((*words, steps_pattern(self.horizon))))


def add_up(rows: np.ndarray) -> np.ndarray:
    """(T, 7) control steps -> (1, 7), the whole motion: translations added, rotations one after the other."""
    turn = np.eye(3)
    for row in rows:
        turn = rotvec_to_matrix(row[3:6]) @ turn
    return np.array([[*rows[:, :3].sum(axis=0), *matrix_to_rotvec(turn), rows[-1, 6]]])
