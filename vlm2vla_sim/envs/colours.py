"""Colours by name: what objects may be painted, and what a question or an instruction calls them."""

from __future__ import annotations

import re

from vlm2vla_sim.errors import unknown_name

COLOURS = {
    "red": (0.80, 0.10, 0.10), "blue": (0.12, 0.22, 0.75), "white": (0.92, 0.92, 0.92), "black": (0.06, 0.06, 0.06),
    "pink": (0.95, 0.50, 0.65), "brown": (0.38, 0.22, 0.10), "gray": (0.50, 0.50, 0.50), "cyan": (0.20, 0.80, 0.85),
    "magenta": (0.85, 0.10, 0.75), "lime": (0.55, 0.95, 0.15), "navy": (0.05, 0.08, 0.32),
}  # fmt: skip
"""RGB 0..1."""


def find_colour(name: str) -> tuple[float, float, float]:
    """The colour called `name`, or given as "#rrggbb": RGB 0..1, as displayed. UnknownNameError otherwise."""
    if re.fullmatch("#[0-9a-fA-F]{6}", name):
        red, green, blue = (int(name[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return red, green, blue
    if name not in COLOURS:
        raise unknown_name("colour", name, [*COLOURS, "#rrggbb"])
    return COLOURS[name]


def hue(name: str) -> tuple[float, float, float]:
    """The colour of a light: `find_colour` with its brightest channel at 1; white for an empty text."""
    if not name:
        return (1.0, 1.0, 1.0)
    colour = find_colour(name)
    most = max(*colour, 1e-6)
    return colour[0] / most, colour[1] / most, colour[2] / most
