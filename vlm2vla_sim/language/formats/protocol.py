"""The protocol of an action format."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.language.formats.grid import Resolution
from vlm2vla_sim.types import ActionChunk


class ActionFormat(Protocol):
    """Writes motion as text, and parses it.

    A format that needs more than the text declares it in an attribute `properties`, a `FormatProperties`. If that says
    `needs_pose`, `write` and `read` have a further argument `pose`. A format whose rows cannot be motions of any length
    also has a method `pieces` (see `properties.in_pieces`).

    A format whose texts show their own end may have a method `is_self_delimiting(text) -> bool`, which is called with
    texts that `read` accepts: True if no shorter beginning of the text is an action. Of the built-in formats, `vlm2vla`
    and `tokens` have it: their list ends with its outer bracket. A `prose` or `integers` action cut off after a row is
    a whole action of fewer rows, so that only the model can tell (`Stage.finish`).
    """

    @property
    def name(self) -> str:
        """The name in `FORMATS`, or one of your own."""
        ...

    @property
    def resolution(self) -> Resolution:
        """The resolution of `write`."""
        ...

    @property
    def rules(self) -> str:
        """The rules of the format, in a few sentences for the prompt."""
        ...

    @property
    def example(self) -> str:
        """A short output of `write`, for the prompt."""
        ...

    def write(self, deltas: np.ndarray) -> str:
        """`deltas`, (1 to 32, 7) as in `ActionChunk.deltas`, rounded to the resolution; a gripper above 0.5 is open.

        ActionError for another shape, or a number that is not finite or too large.
        """
        ...

    def read(self, text: str) -> ActionChunk:
        """The action in `text`, at the precision it is written with. The inverse of `write` on the resolution's grid.

        ActionTextError with the position and the reason for any other text; the time is bounded for every text.
        """
        ...

    def grammar(self) -> Grammar:
        """A grammar of the texts that `write` produces; `read` accepts all of them."""
        ...
