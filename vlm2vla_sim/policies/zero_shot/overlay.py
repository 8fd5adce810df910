"""Coordinates drawn on the pictures of a zero-shot model: the axes of the robot's base, or a grid on the table."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm2vla_sim.core.pinhole import PinholeCamera, SceneGeometry
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.language.zero_shot_scene import OVERLAYS, ZeroShotFacts

X_COLOUR, Y_COLOUR = (235, 40, 40), (20, 170, 60)
"""RGB of the x axis and of what is numbered with x; of y."""
OPACITY = 150
"""Of the grid's lines, 0 .. 255: what lies under them stays visible."""
SAMPLES = 60
"""Pieces of a line: one that leaves the picture is drawn as far as it is seen."""


def check_overlay(overlay: str, geometry: SceneGeometry | None) -> None:
    """SettingError unless `overlay` can be drawn on the pictures of a robot with this geometry."""
    if not overlay:
        return
    if overlay not in OVERLAYS:
        raise unknown_name("overlay", overlay, OVERLAYS)
    if geometry is None or geometry.camera is None or geometry.surface is None:
        missing = "the environment" if geometry is None else "the camera" if geometry.camera is None else "the table"
        raise SettingError(
            f"overlay={overlay} draws places of the table on the picture, and where {missing} is, is not known here. "
            "Leave the overlay out; the simulators know it, a real arm does not."
        )


def draw_overlay(picture: np.ndarray, facts: ZeroShotFacts) -> np.ndarray:
    """A copy of `picture`, (H, W, 3) uint8 RGB, with `facts.overlay` drawn on it; the picture itself without one."""
    geometry = facts.geometry
    if not facts.overlay or geometry is None or geometry.camera is None or geometry.surface is None:
        return picture
    image = Image.fromarray(picture).convert("RGBA")
    sheet = Image.new("RGBA", image.size)
    pen = _Pen(ImageDraw.Draw(sheet), geometry.camera, geometry.surface)
    (_axes if facts.overlay == "axes" else _grid)(pen, facts, geometry)
    return np.asarray(Image.alpha_composite(image, sheet).convert("RGB"))


class _Pen:
    """Draws on the surface, as the camera sees it."""

    def __init__(self, draw: ImageDraw.ImageDraw, camera: PinholeCamera, surface: float) -> None:
        self._draw, self._camera, self._surface = draw, camera, surface
        self._thick = max(1, round(camera.size[0] / 400))
        self._letter = max(9, round(camera.size[0] / 34))
        self._font = ImageFont.load_default(size=self._letter)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: tuple[int, ...], width: int = 1
    ) -> None:
        """A line between two places x, y [m]."""
        pixels = self._camera.project(self._places(np.linspace(start, end, SAMPLES + 1)))
        for first, second in itertools.pairwise(pixels):
            if np.isfinite([first, second]).all():
                self._draw.line([*first, *second], fill=colour, width=width * self._thick)

    def label(self, places: np.ndarray, text: str, colour: tuple[int, int, int]) -> None:
        """`text` at the first of `places`, (N, 2) x and y [m], that is in the picture with room for it."""
        height, width = self._camera.size
        room = self._letter
        for column, row in self._camera.project(self._places(places)):
            if 2 * room < column < width - 2 * room and room < row < height - room:
                self._draw.text(
                    (column, row), text, colour, self._font, "mm", stroke_width=self._thick + 1, stroke_fill="white"
                )
                return

    def arrow(self, start: tuple[float, float], end: tuple[float, float], colour: tuple[int, int, int]) -> None:
        """An arrow between two places x, y [m]."""
        self.line(start, end, colour, 2)
        along = np.subtract(end, start)
        for turn in (np.array([[-0.9, -0.4], [0.4, -0.9]]), np.array([[-0.9, 0.4], [-0.4, -0.9]])):
            x, y = np.add(end, 0.22 * turn @ along)
            self.line(end, (float(x), float(y)), colour, 2)

    def _places(self, places: np.ndarray) -> np.ndarray:
        return np.column_stack([places, np.full(len(places), self._surface)])


def _axes(pen: _Pen, facts: ZeroShotFacts, geometry: SceneGeometry) -> None:
    x, y = facts.origin
    for end, name, colour in (((x + facts.spacing, y), "x", X_COLOUR), ((x, y + facts.spacing), "y", Y_COLOUR)):
        pen.arrow(facts.origin, end, colour)
        pen.label(np.array([end]) + 0.25 * np.subtract(end, facts.origin), name, colour)


def _grid(pen: _Pen, facts: ZeroShotFacts, geometry: SceneGeometry) -> None:
    (low_x, low_y), (high_x, high_y) = geometry.low[:2].tolist(), geometry.high[:2].tolist()
    for x in _multiples(low_x, high_x, facts.spacing):
        pen.line((x, low_y), (x, high_y), (*X_COLOUR, OPACITY))
    for y in _multiples(low_y, high_y, facts.spacing):
        pen.line((low_x, y), (high_x, y), (*Y_COLOUR, OPACITY))
    # Numbers of x stand on the right ends of its lines, those of y on the near ends, half a square inside.
    inside = np.linspace(0, 1, SAMPLES)[:, None]
    for x in _multiples(low_x, high_x, facts.spacing):
        pen.label(np.array([x, low_y]) + inside * [0, high_y - low_y], f"x={100 * x:.0f}", X_COLOUR)
    for y in _multiples(low_y, high_y, facts.spacing):
        pen.label(np.array([low_x, y]) + inside * [high_x - low_x, 0], f"y={100 * y:.0f}", Y_COLOUR)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [step * number for number in range(first, last + 1)]
