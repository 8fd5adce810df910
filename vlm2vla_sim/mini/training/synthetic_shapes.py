"""Images of synthetic shapes, and questions about them: knowledge that has nothing to do with the robot.

Whether a model still counts triangles after its adapter has learnt to act says more about forgetting than whether it
still recognises the objects that it moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vlm2vla_sim.mini.scenes.object_catalog import COLOURS
from vlm2vla_sim.mini.scenes.rendered_dataset import IMAGE_SIDE
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer
from vlm2vla_sim.mini.training.text_tasks import SHAPES

COUNTS = ("one", "two", "three", "four")
_CORNERS = {"square": 4, "triangle": 3, "star": 5}


@dataclass(frozen=True)
class Shape:
    """One shape."""

    kind: str
    colour: str
    x: float
    y: float
    """[pixels] centre, from the top left corner."""
    radius: float
    """[pixels] of the circle through its corners."""


@dataclass(frozen=True)
class ShapeImage:
    """Shapes that do not touch, on a plain background."""

    shapes: tuple[Shape, ...]
    background: tuple[int, int, int]
    """RGB, 0..255."""

    def render(self) -> np.ndarray:
        """(IMAGE_SIDE, IMAGE_SIDE, 3) uint8 RGB."""
        canvas = Image.new("RGB", (2 * IMAGE_SIDE, 2 * IMAGE_SIDE), self.background)
        pen = ImageDraw.Draw(canvas)
        for shape in self.shapes:
            fill = tuple(round(255 * part) for part in COLOURS[shape.colour])
            x, y, radius = 2 * shape.x, 2 * shape.y, 2 * shape.radius
            if shape.kind == "circle":
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill)
            else:
                pen.polygon(_outline(shape.kind, x, y, radius), fill)
        return np.asarray(canvas.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR))


def sample_image(rng: np.random.Generator) -> ShapeImage:
    """A random image of one to four shapes."""
    background = tuple(int(part) for part in rng.integers(150, 236, 3))
    count, shapes = int(rng.integers(1, 5)), []
    names = [colour for colour in COLOURS if colour not in ("white", "gray")]
    while len(shapes) < count:
        radius = float(rng.choice([16.0, 28.0]) + rng.uniform(-3, 3))
        x, y = rng.uniform(radius + 2, IMAGE_SIDE - radius - 2, 2)
        if all(math.hypot(x - other.x, y - other.y) > radius + other.radius + 4 for other in shapes):
            kind, colour = str(rng.choice(SHAPES)), str(rng.choice(names))
            shapes.append(Shape(kind, colour, float(x), float(y), radius))
    return ShapeImage(tuple(shapes), background)  # type: ignore[arg-type] - three parts


def sample(image: ShapeImage, rng: np.random.Generator, *, count: int) -> list[QuestionAnswer]:
    """Up to `count` different questions about one image; fewer if it has little to ask about."""
    chosen: dict[str, QuestionAnswer] = {}
    for _ in range(4 * count):
        one = _KINDS[int(rng.integers(len(_KINDS)))](image, rng)
        if one is not None and len(chosen) < count:
            chosen.setdefault(one.question, one)
    return list(chosen.values())


def _unique(image: ShapeImage) -> list[Shape]:
    """Shapes whose kind occurs once."""
    kinds = [shape.kind for shape in image.shapes]
    return [shape for shape in image.shapes if kinds.count(shape.kind) == 1]


def _pick(shapes: list[Shape], rng: np.random.Generator) -> Shape:
    return shapes[int(rng.integers(len(shapes)))]


def _colour(image: ShapeImage, rng: np.random.Generator) -> QuestionAnswer | None:
    if not (unique := _unique(image)):
        return None
    shape = _pick(unique, rng)
    return QuestionAnswer("drawn colour", f"What colour is the {shape.kind}?", shape.colour)


def _which(image: ShapeImage, rng: np.random.Generator) -> QuestionAnswer | None:
    colours = [shape.colour for shape in image.shapes]
    unique = [shape for shape in image.shapes if colours.count(shape.colour) == 1]
    if not unique:
        return None
    shape = _pick(unique, rng)
    return QuestionAnswer("drawn shape", f"Which shape is {shape.colour}?", shape.kind)


def _count(image: ShapeImage, rng: np.random.Generator) -> QuestionAnswer | None:
    return QuestionAnswer("drawn count", "How many shapes are there?", COUNTS[len(image.shapes) - 1])


def _side(image: ShapeImage, rng: np.random.Generator) -> QuestionAnswer | None:
    unique = _unique(image)
    if len(unique) < 2:
        return None
    one, other = (unique[int(index)] for index in rng.choice(len(unique), size=2, replace=False))
    if abs(one.x - other.x) < 12:
        return None
    side = "left" if one.x < other.x else "right"
    return QuestionAnswer("drawn side", f"Is the {one.kind} left or right of the {other.kind}?", side)


def _bigger(image: ShapeImage, rng: np.random.Generator) -> QuestionAnswer | None:
    unique = _unique(image)
    if len(unique) < 2:
        return None
    one, other = (unique[int(index)] for index in rng.choice(len(unique), size=2, replace=False))
    if abs(one.radius - other.radius) < 6:
        return None
    bigger = one if one.radius > other.radius else other
    return QuestionAnswer("drawn size", f"Which is bigger, the {one.kind} or the {other.kind}?", bigger.kind)


_KINDS: tuple[Callable[[ShapeImage, np.random.Generator], QuestionAnswer | None], ...] = (
    _colour,
    _which,
    _count,
    _side,
    _bigger,
)


def _outline(kind: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Corner points [pixels], one of them (of a square: a side) at the top."""
    corners = _CORNERS[kind]
    steps = 2 * corners if kind == "star" else corners
    start = -math.pi / 2 + (math.pi / 4 if kind == "square" else 0.0)
    points = []
    for step in range(steps):
        far = radius * (0.45 if kind == "star" and step % 2 else 1.0)
        angle = start + 2 * math.pi * step / steps
        points.append((x + far * math.cos(angle), y + far * math.sin(angle)))
    return points
