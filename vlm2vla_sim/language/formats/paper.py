"""The format `paper`: rows of numbers in metres, as the figure of the VLM2VLA paper prints them.

The paper does not state the unit. Its example, `[0.1, 0.03, -0.2, 1]` for "move down toward the pepper and grasp it",
is 20 cm down in metres and two millimetres in centimetres. It has no rotation; the three further numbers of a row are
an extension, in degrees. (Hancock et al., "Actions as Language", arXiv 2509.22195, the project's overview figure.)
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.language.formats.properties import FormatProperties
from vlm2vla_sim.language.formats.rows import RowsFormat


@dataclass(frozen=True)
class PaperFormat(RowsFormat):
    """`[[0.03, 0, -0.08, 1], [0, 0, 0, 0]]`: dx, dy, dz [m], gripper; with rotation, roll, pitch, yaw [degrees].

    >>> from vlm2vla_sim.language.formats.rows import EXAMPLE
    >>> PaperFormat().write(EXAMPLE)
    '[[0.03, 0, -0.08, 1], [0, 0, 0, 0]]'
    >>> PaperFormat().read("[0.1, 0.03, -0.2, 1]").deltas[0].astype(float).round(3).tolist()
    [0.1, 0.03, -0.2, 0.0, 0.0, 0.0, 1.0]
    """

    name = "paper"
    unit = "m"

    @property
    def properties(self) -> FormatProperties:
        """See `FormatProperties`."""
        return FormatProperties(origin="VLM2VLA as printed, arXiv 2509.22195", unit="m")

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        return super().rules.replace("in cm", "in metres")
