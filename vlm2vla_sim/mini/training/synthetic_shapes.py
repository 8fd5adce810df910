"""Simple drawings and questions about them: what the base knows of pictures that no robot ever acts on.

The internet is not a table with a carrot. Whether an adapter that learnt to act still counts triangles tells more about
forgetting than whether it still knows the carrot that it moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vlm2vla_sim.mini.scenes.names import COLOURS
from vlm2vla_sim.mini.training.scene_questions import Exchange
from vlm2vla_sim.mini.training.text_tasks import SHAPES

SIDE = 224
COUNTS = ("one", "two", "three", "four")
_CORNERS = {"square": 4, "triangle": 3, "star": 5}


@dataclass(frozen=True)
class Shape:
    """One thing that is drawn."""

    kind: str
    colour: str
    x: float
    y: float
    """[pixels] of its middle, from the top left."""
    radius: float


@dataclass(frozen=True)
class Drawing:
    """Shapes that do not touch, on a plain ground."""

    shapes: tuple[Shape, ...]
    ground: tuple[int, int, int]

    def picture(self) -> np.ndarray:
        """(SIDE, SIDE, 3) uint8 RGB."""
        image = Image.new("RGB", (2 * SIDE, 2 * SIDE), self.ground)
        pen = ImageDraw.Draw(image)
        for shape in self.shapes:
            fill = tuple(round(255 * part) for part in COLOURS[shape.colour])
            x, y, radius = 2 * shape.x, 2 * shape.y, 2 * shape.radius
            if shape.kind == "circle":
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill)
            else:
                pen.polygon(_outline(shape.kind, x, y, radius), fill)
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def draw(rng: np.random.Generator) -> Drawing:
    """A random drawing of one to four shapes."""
    ground = tuple(int(part) for part in rng.integers(150, 236, 3))
    wanted, shapes = int(rng.integers(1, 5)), []
    names = [colour for colour in COLOURS if colour not in ("white", "gray")]
    while len(shapes) < wanted:
        radius = float(rng.choice([16.0, 28.0]) + rng.uniform(-3, 3))
        x, y = rng.uniform(radius + 2, SIDE - radius - 2, 2)
        if all(math.hypot(x - other.x, y - other.y) > radius + other.radius + 4 for other in shapes):
            kind, colour = str(rng.choice(SHAPES)), str(rng.choice(names))
            shapes.append(Shape(kind, colour, float(x), float(y), radius))
    return Drawing(tuple(shapes), ground)  # type: ignore[arg-type] - three parts


def ask(drawing: Drawing, rng: np.random.Generator, *, count: int) -> list[Exchange]:
    """Up to `count` questions about one drawing, none twice."""
    asked: dict[str, Exchange] = {}
    for _ in range(4 * count):
        one = _KINDS[int(rng.integers(len(_KINDS)))](drawing, rng)
        if one is not None and len(asked) < count:
            asked.setdefault(one.question, one)
    return list(asked.values())


def _single(drawing: Drawing) -> list[Shape]:
    """Shapes whose kind is drawn once."""
    kinds = [shape.kind for shape in drawing.shapes]
    return [shape for shape in drawing.shapes if kinds.count(shape.kind) == 1]


def _pick(shapes: list[Shape], rng: np.random.Generator) -> Shape:
    return shapes[int(rng.integers(len(shapes)))]


def _colour(drawing: Drawing, rng: np.random.Generator) -> Exchange | None:
    if not (single := _single(drawing)):
        return None
    shape = _pick(single, rng)
    return Exchange("drawn colour", f"What colour is the {shape.kind}?", shape.colour)


def _which(drawing: Drawing, rng: np.random.Generator) -> Exchange | None:
    colours = [shape.colour for shape in drawing.shapes]
    single = [shape for shape in drawing.shapes if colours.count(shape.colour) == 1]
    if not single:
        return None
    shape = _pick(single, rng)
    return Exchange("drawn shape", f"Which shape is {shape.colour}?", shape.kind)


def _count(drawing: Drawing, rng: np.random.Generator) -> Exchange | None:
    return Exchange("drawn count", "How many shapes are there?", COUNTS[len(drawing.shapes) - 1])


def _side(drawing: Drawing, rng: np.random.Generator) -> Exchange | None:
    single = _single(drawing)
    if len(single) < 2:
        return None
    one, other = (single[int(index)] for index in rng.choice(len(single), size=2, replace=False))
    if abs(one.x - other.x) < 12:
        return None
    side = "left" if one.x < other.x else "right"
    return Exchange("drawn side", f"Is the {one.kind} left or right of the {other.kind}?", side)


def _bigger(drawing: Drawing, rng: np.random.Generator) -> Exchange | None:
    single = _single(drawing)
    if len(single) < 2:
        return None
    one, other = (single[int(index)] for index in rng.choice(len(single), size=2, replace=False))
    if abs(one.radius - other.radius) < 6:
        return None
    bigger = one if one.radius > other.radius else other
    return Exchange("drawn size", f"Which is bigger, the {one.kind} or the {other.kind}?", bigger.kind)


_KINDS: tuple[Callable[[Drawing, np.random.Generator], Exchange | None], ...] = (
    _colour,
    _which,
    _count,
    _side,
    _bigger,
)


def _outline(kind: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Corners, one of them (of a square: a side) on top."""
    corners = _CORNERS[kind]
    steps = 2 * corners if kind == "star" else corners
    start = -math.pi / 2 + (math.pi / 4 if kind == "square" else 0.0)
    points = []
    for step in range(steps):
        far = radius * (0.45 if kind == "star" and step % 2 else 1.0)
        angle = start + 2 * math.pi * step / steps
        points.append((x + far * math.cos(angle), y + far * math.sin(angle)))
    return points
