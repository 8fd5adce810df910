"""Images of synthetic shapes show what is asked about them, read back from their pixels."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.mini.scenes.object_catalog import COLOURS
from vlm2vla_sim.mini.training import synthetic_shapes


def test_each_shape_has_its_colour_at_its_centre_and_no_two_touch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        image = synthetic_shapes.sample_image(rng)
        pixels = image.render()
        assert pixels.shape == (224, 224, 3)
        for shape in image.shapes:
            centre = pixels[round(shape.y), round(shape.x)] / 255
            assert np.abs(centre - COLOURS[shape.colour]).max() < 0.01
            for other in image.shapes:
                if other is not shape:
                    assert np.hypot(shape.x - other.x, shape.y - other.y) > shape.radius + other.radius


def test_areas_follow_from_the_radius() -> None:
    radius = 28.0
    filled = {}
    for kind in synthetic_shapes.SHAPES:
        one = synthetic_shapes.ShapeImage(
            (synthetic_shapes.Shape(kind, "black", 112.0, 112.0, radius),), (230, 230, 230)
        )
        filled[kind] = float((230 - one.render()[..., 0].astype(float)).sum() / (230 - 255 * COLOURS["black"][0]))
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
    questions = synthetic_shapes.sample(
        synthetic_shapes.ShapeImage(shapes, (200, 200, 200)), np.random.default_rng(1), count=30
    )
    known = {one.question: one.answer for one in questions}
    assert known == {
        "What colour is the circle?": "red",
        "Which shape is red?": "circle",
        "Which shape is blue?": "star",
        "Which shape is pink?": "star",
        "How many shapes are there?": "three",
    }


def test_side_and_size_are_asked_about_unique_shapes() -> None:
    shapes = (
        synthetic_shapes.Shape("square", "red", 40.0, 100.0, 28.0),
        synthetic_shapes.Shape("star", "blue", 150.0, 60.0, 16.0),
    )
    questions = synthetic_shapes.sample(
        synthetic_shapes.ShapeImage(shapes, (200, 200, 200)), np.random.default_rng(1), count=60
    )
    known = {one.question: one.answer for one in questions}
    assert known["Is the square left or right of the star?"] == "left"
    assert known["Is the star left or right of the square?"] == "right"
    assert known["Which is bigger, the star or the square?"] == "square"
