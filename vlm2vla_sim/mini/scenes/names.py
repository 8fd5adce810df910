"""What things and colours are called in the mini world: words that pictures, facts and questions share."""

from __future__ import annotations

from vlm2vla_sim.envs import colours

UNSEEN = ("magenta", "lime", "navy")
"""Colours that are kept for the test of generalisation and never drawn in training."""
COLOURS = {name: colour for name, colour in colours.COLOURS.items() if name not in UNSEEN}
"""What objects may be painted in training; RGB 0..1."""
OWN_COLOUR = {
    "carrot": "orange", "plate": "yellow", "spoon": "green", "towel": "cyan", "green_cube": "green",
    "yellow_cube": "yellow", "eggplant": "purple", "basket": "yellow",
}  # fmt: skip
CLASSES = ("stage", "robot", "carrot", "plate", "spoon", "towel", "green cube", "yellow cube", "eggplant", "basket")
"""What a pixel of `View.seen` can show."""


def words(name: str) -> str:
    """An object's name as it is said."""
    return name.replace("_", " ")
