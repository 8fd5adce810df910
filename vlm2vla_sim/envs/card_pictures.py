"""The pictures of the printed cards, drawn from simple shapes: animals, digits, flags, faces.

They are bold and plain, because a card is some 30 pixels wide in an image of 224 x 224.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

SIZE = 256
"""[px] side of a picture."""
_SCALE = 4
"""Pictures are drawn so many times larger and reduced, for smooth edges."""
INK, PAPER = (25, 25, 25), (250, 250, 248)


class _Pen:
    """Draws on a square of 100 x 100 units, y down."""

    def __init__(self) -> None:
        self._unit = SIZE * _SCALE / 100
        self.image = Image.new("RGB", (SIZE * _SCALE, SIZE * _SCALE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def disc(self, x: float, y: float, rx: float, ry: float | None = None, *, fill: tuple[int, int, int]) -> None:
        ry = rx if ry is None else ry
        self._draw.ellipse(self._scaled(x - rx, y - ry, x + rx, y + ry), fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, *, fill: tuple[int, int, int]) -> None:
        self._draw.rectangle(self._scaled(x0, y0, x1, y1), fill=fill)

    def shape(self, *corners: float, fill: tuple[int, int, int]) -> None:
        """A polygon: x, y, x, y, ..."""
        self._draw.polygon(self._scaled(*corners), fill=fill)

    def line(self, *corners: float, width: float, fill: tuple[int, int, int] = INK) -> None:
        """A line with round ends and joints: x, y, x, y, ..."""
        self._draw.line(self._scaled(*corners), fill=fill, width=round(width * self._unit), joint="curve")
        for x, y in zip(corners[::2], corners[1::2], strict=True):
            self.disc(x, y, width / 2, fill=fill)

    def arc(self, x: float, y: float, r: float, *, start: float, end: float, width: float) -> None:
        """Part of a circle with round ends, clockwise from `start` to `end` [degrees, 0 is right]."""
        angles = np.radians(np.linspace(start, end, 40))
        self.line(*np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=-1).ravel(), width=width)

    def _scaled(self, *numbers: float) -> list[float]:
        return [number * self._unit for number in numbers]


def _cat(pen: _Pen) -> None:
    orange, pink = (238, 150, 60), (240, 170, 170)
    for side in (-1, 1):
        pen.shape(50 + side * 38, 8, 50 + side * 40, 55, 50 + side * 6, 28, fill=orange)
        pen.shape(50 + side * 33, 19, 50 + side * 34, 40, 50 + side * 17, 29, fill=pink)
    pen.disc(50, 58, 38, 34, fill=orange)
    for side in (-1, 1):
        pen.disc(50 + side * 16, 52, 8, 10, fill=(140, 205, 80))
        pen.disc(50 + side * 16, 52, 3, 9, fill=INK)
        for rise in (-6, 2, 10):
            pen.line(50 + side * 20, 70 + rise * 0.3, 50 + side * 47, 66 + rise, width=1.8)
    pen.shape(44, 64, 56, 64, 50, 71, fill=(200, 80, 90))
    pen.arc(44, 72, 6, start=0, end=170, width=2.5)
    pen.arc(56, 72, 6, start=10, end=180, width=2.5)


def _dog(pen: _Pen) -> None:
    fur, dark, muzzle = (150, 98, 55), (82, 50, 28), (238, 218, 190)
    pen.disc(50, 48, 32, 38, fill=fur)
    for side in (-1, 1):
        pen.disc(50 + side * 36, 48, 12, 32, fill=dark)
        pen.disc(50 + side * 13, 40, 6, 7, fill=(255, 255, 255))
        pen.disc(50 + side * 13, 41, 4, 5, fill=INK)
    pen.disc(50, 70, 23, 20, fill=muzzle)
    pen.disc(50, 85, 8, 12, fill=(235, 90, 110))
    pen.disc(50, 60, 10, 7, fill=INK)
    pen.line(50, 66, 50, 76, width=2.5)
    pen.arc(42, 76, 8, start=0, end=140, width=2.5)
    pen.arc(58, 76, 8, start=40, end=180, width=2.5)


def _fish(pen: _Pen) -> None:
    blue, dark = (50, 120, 215), (25, 70, 150)
    pen.shape(60, 50, 96, 20, 90, 50, 96, 80, fill=dark)
    pen.shape(30, 35, 50, 10, 62, 35, fill=dark)
    pen.disc(42, 52, 36, 26, fill=blue)
    pen.disc(24, 45, 7, fill=(255, 255, 255))
    pen.disc(23, 45, 4, fill=INK)
    pen.arc(6, 58, 12, start=-10, end=50, width=3)
    for x in (48, 60):
        pen.arc(x - 16, 54, 16, start=-40, end=40, width=3)


def _three(pen: _Pen) -> None:
    pen.arc(48, 31, 19, start=-160, end=90, width=13)
    pen.arc(48, 68, 20, start=-90, end=160, width=13)


def _seven(pen: _Pen) -> None:
    pen.line(26, 16, 74, 16, 44, 86, width=13)


def _japan(pen: _Pen) -> None:
    pen.box(0, 14, 100, 86, fill=(255, 255, 255))
    pen.disc(50, 50, 24, fill=(200, 20, 50))
    _frame(pen)


def _france(pen: _Pen) -> None:
    for left, colour in ((0, (25, 50, 150)), (33.4, (255, 255, 255)), (66.7, (225, 30, 50))):
        pen.box(left, 14, left + 33.4, 86, fill=colour)
    _frame(pen)


def _frame(pen: _Pen) -> None:
    """Grey paper above and below a flag."""
    pen.box(0, 0, 100, 14, fill=(150, 150, 150))
    pen.box(0, 86, 100, 100, fill=(150, 150, 150))


def _face(pen: _Pen) -> None:
    pen.disc(50, 50, 47, fill=INK)
    pen.disc(50, 50, 44, fill=(255, 212, 50))
    for x in (34, 66):
        pen.disc(x, 38, 6, 9, fill=INK)


def _happy(pen: _Pen) -> None:
    _face(pen)
    pen.arc(50, 46, 29, start=25, end=155, width=8)


def _sad(pen: _Pen) -> None:
    _face(pen)
    pen.arc(50, 90, 25, start=215, end=325, width=8)
    pen.shape(27, 66, 34, 52, 41, 66, fill=(60, 150, 240))
    pen.disc(34, 67, 7, fill=(60, 150, 240))


PICTURES: dict[str, Callable[[_Pen], None]] = {
    "cat": _cat,
    "dog": _dog,
    "fish": _fish,
    "three": _three,
    "seven": _seven,
    "japan": _japan,
    "france": _france,
    "happy": _happy,
    "sad": _sad,
}
"""Picture -> what draws it."""


@functools.cache
def draw_card(picture: str) -> np.ndarray:
    """(`SIZE`, `SIZE`, 3) uint8 RGB: one of `PICTURES` on white paper with a dark edge."""
    pen = _Pen()
    PICTURES[picture](pen)
    small = np.asarray(pen.image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)).copy()
    edge = SIZE // 40
    for side in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
        small[side] = (90, 90, 90)
    small.flags.writeable = False
    return small
