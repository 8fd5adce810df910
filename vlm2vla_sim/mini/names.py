"""What things and colours are called in the mini world: words that pictures, facts and questions share."""

from __future__ import annotations

COLOURS = {
    "red": (0.80, 0.10, 0.10), "blue": (0.12, 0.22, 0.75), "white": (0.92, 0.92, 0.92), "black": (0.06, 0.06, 0.06),
    "pink": (0.95, 0.50, 0.65), "brown": (0.38, 0.22, 0.10), "gray": (0.50, 0.50, 0.50), "cyan": (0.20, 0.80, 0.85),
}  # fmt: skip
"""What objects may be painted; RGB 0..1."""
UNSEEN = {"magenta": (0.85, 0.10, 0.75), "lime": (0.55, 0.95, 0.15), "navy": (0.05, 0.08, 0.32)}
"""Colours that are kept for the test of generalisation and never drawn in training."""
OWN_COLOUR = {
    "carrot": "orange", "plate": "yellow", "spoon": "green", "towel": "cyan", "green_cube": "green",
    "yellow_cube": "yellow", "eggplant": "purple", "basket": "yellow",
}  # fmt: skip
CLASSES = ("stage", "robot", "carrot", "plate", "spoon", "towel", "green cube", "yellow cube", "eggplant", "basket")
"""What a pixel of `View.seen` can show."""


def words(name: str) -> str:
    """An object's name as it is said."""
    return name.replace("_", " ")
