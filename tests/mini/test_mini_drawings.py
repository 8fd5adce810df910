"""Drawings show what is asked about them, read back from their pixels."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.mini.scenes.names import COLOURS
from vlm2vla_sim.mini.training import synthetic_shapes


def test_each_shape_has_its_colour_at_its_middle_and_no_two_touch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        drawing = synthetic_shapes.draw(rng)
        picture = drawing.picture()
        assert picture.shape == (224, 224, 3)
        for shape in drawing.shapes:
            middle = picture[round(shape.y), round(shape.x)] / 255
            assert np.abs(middle - COLOURS[shape.colour]).max() < 0.01
            for other in drawing.shapes:
                if other is not shape:
                    assert np.hypot(shape.x - other.x, shape.y - other.y) > shape.radius + other.radius


def test_shapes_of_one_size_fill_as_much_as_geometry_says() -> None:
    radius = 28.0
    filled = {}
    for kind in synthetic_shapes.SHAPES:
        one = synthetic_shapes.Drawing((synthetic_shapes.Shape(kind, "black", 112.0, 112.0, radius),), (230, 230, 230))
        filled[kind] = float((230 - one.picture()[..., 0].astype(float)).sum() / (230 - 255 * COLOURS["black"][0]))
    expected = {"circle": np.pi, "square": 2.0, "triangle": 3 * np.sqrt(3) / 4}
    for kind, share in expected.items():
        assert abs(filled[kind] / radius**2 - share) < 0.12, kind
    assert filled["star"] < filled["circle"] / 2


def test_answers_follow_from_the_shapes() -> None:
    shapes = (
        synthetic_shapes.Shape("circle", "red", 40.0, 100.0, 28.0),
        synthetic_shapes.Shape("star", "blue", 150.0, 60.0, 16.0),
        synthetic_shapes.Shape("star", "pink", 150.0, 160.0, 28.0),
    )
    asked = synthetic_shapes.ask(synthetic_shapes.Drawing(shapes, (200, 200, 200)), np.random.default_rng(1), count=30)
    known = {one.question: one.answer for one in asked}
    assert known == {
        "What colour is the circle?": "red",
        "Which shape is red?": "circle",
        "Which shape is blue?": "star",
        "Which shape is pink?": "star",
        "How many shapes are there?": "three",
    }


def test_left_and_bigger_are_told_of_single_shapes() -> None:
    shapes = (
        synthetic_shapes.Shape("square", "red", 40.0, 100.0, 28.0),
        synthetic_shapes.Shape("star", "blue", 150.0, 60.0, 16.0),
    )
    asked = synthetic_shapes.ask(synthetic_shapes.Drawing(shapes, (200, 200, 200)), np.random.default_rng(1), count=60)
    known = {one.question: one.answer for one in asked}
    assert known["Is the square left or right of the star?"] == "left"
    assert known["Is the star left or right of the square?"] == "right"
    assert known["Which is bigger, the star or the square?"] == "square"
