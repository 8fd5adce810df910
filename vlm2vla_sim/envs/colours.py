"""Colours by name: what objects may be painted, and what a question or an instruction calls them."""

from __future__ import annotations

COLOURS = {
    "red": (0.80, 0.10, 0.10), "blue": (0.12, 0.22, 0.75), "white": (0.92, 0.92, 0.92), "black": (0.06, 0.06, 0.06),
    "pink": (0.95, 0.50, 0.65), "brown": (0.38, 0.22, 0.10), "gray": (0.50, 0.50, 0.50), "cyan": (0.20, 0.80, 0.85),
    "magenta": (0.85, 0.10, 0.75), "lime": (0.55, 0.95, 0.15), "navy": (0.05, 0.08, 0.32),
}  # fmt: skip
"""RGB 0..1."""
