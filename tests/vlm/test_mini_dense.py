"""Dense targets say what each cell shows, and their loss is least where the heads predict them."""

from __future__ import annotations

import dataclasses

import numpy as np
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402 - torch is needed below

from vlm2vla_sim.mini.scenes.annotation import TABLE, ObjectAnnotation, SceneAnnotation  # noqa: E402
from vlm2vla_sim.mini.scenes.object_catalog import CLASSES  # noqa: E402
from vlm2vla_sim.mini.training.dense_targets import (  # noqa: E402
    IGNORED,
    POSITION_AXES,
    RANGES,
    DenseHeads,
    DenseTargets,
    dense_targets,
)

CARROT = ObjectAnnotation("carrot", "carrot", (0.30, -0.05, 0.02), 90.0, TABLE, 900, "orange")
SCENE = SceneAnnotation("table", (CARROT,), (0.29, -0.01, 0.135), 30.0, 1.0)


def test_a_cell_has_its_most_frequent_class_and_objects_come_before_the_robot() -> None:
    class_map = np.zeros((56, 56), np.uint8)
    class_map[:4, :4] = 1  # robot
    class_map[1:3, 1:3] = CLASSES.index("carrot")
    class_map[30, 30] = CLASSES.index("carrot")  # one pixel is not enough
    classes, positions, yaws = dense_targets((class_map, SCENE), 14)
    assert classes[0] == CLASSES.index("carrot")
    assert set(classes[1:]) == {0}
    np.testing.assert_allclose(positions[0], (30, -5, 2, 30, 0, 30, -10), atol=1e-5)
    assert yaws[0] == 90.0


def test_an_image_of_shapes_has_no_dense_targets() -> None:
    classes, _, _ = dense_targets(None, 16)
    assert set(classes) == {IGNORED}
    heads = DenseHeads(8)
    targets = DenseTargets(*(torch.from_numpy(part)[None] for part in dense_targets(None, 16)))
    assert heads.loss(torch.randn(1, 256, 8), targets).item() == 0.0


def test_the_loss_is_least_where_the_heads_are_right() -> None:
    torch.manual_seed(0)
    tokens, heads = torch.randn(1, 1, 8), DenseHeads(8)
    class_map = np.full((56, 56), CLASSES.index("carrot"), np.uint8)
    targets = DenseTargets(*(torch.from_numpy(part)[None] for part in dense_targets((class_map, SCENE), 1)))
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        heads.loss(tokens, targets).backward()
        optimizer.step()
    right = heads.loss(tokens, targets).item()
    for wrong in (
        dataclasses.replace(targets, positions=targets.positions + 2),
        dataclasses.replace(targets, yaws=targets.yaws + 45),
        dataclasses.replace(targets, classes=torch.full_like(targets.classes, CLASSES.index("spoon"))),
    ):
        assert heads.loss(tokens, wrong).item() > right + 0.5
    hidden = torch.nn.functional.layer_norm(tokens, (8,))
    predicted = [
        int(head(hidden).argmax()) + RANGES[axis][0]
        for axis, head in zip(POSITION_AXES, heads.position_heads, strict=True)
    ]
    assert predicted == [30, -5, 2, 30, 0, 30, -10]
    half_turn = dataclasses.replace(targets, yaws=targets.yaws + 180)
    assert abs(heads.loss(tokens, half_turn).item() - right) < 1e-4
