"""The dense targets say what each place shows; their loss is least where they are told right."""

from __future__ import annotations

import dataclasses

import numpy as np
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402 - torch is needed below

from vlm2vla_sim.mini.scenes.annotation import TABLE, Facts, Thing  # noqa: E402
from vlm2vla_sim.mini.scenes.names import CLASSES  # noqa: E402
from vlm2vla_sim.mini.training.dense_targets import NOT_TOLD, PLACES, RANGES, DenseHeads, Targets, dense_targets  # noqa: E402

CARROT = Thing("carrot", "carrot", (0.30, -0.05, 0.02), 90.0, TABLE, 900, "orange")
SCENE = Facts("table", (CARROT,), (0.29, -0.01, 0.135), 30.0, 1.0)


def test_a_cell_takes_what_it_shows_most_and_things_come_before_the_robot() -> None:
    seen = np.zeros((56, 56), np.uint8)
    seen[:4, :4] = 1  # robot
    seen[1:3, 1:3] = CLASSES.index("carrot")
    seen[30, 30] = CLASSES.index("carrot")  # one pixel is not enough
    kinds, places, turns = dense_targets((seen, SCENE), 14)
    assert kinds[0] == CLASSES.index("carrot")
    assert set(kinds[1:]) == {0}
    np.testing.assert_allclose(places[0], (30, -5, 2, 30, 0, 30, -10), atol=1e-5)
    assert turns[0] == 90.0


def test_a_drawing_teaches_nothing_here() -> None:
    kinds, _, _ = dense_targets(None, 16)
    assert set(kinds) == {NOT_TOLD}
    heads = DenseHeads(8)
    targets = Targets(*(torch.from_numpy(part)[None] for part in dense_targets(None, 16)))
    assert heads.loss(torch.randn(1, 256, 8), targets).item() == 0.0


def test_the_loss_is_least_where_the_heads_are_right() -> None:
    torch.manual_seed(0)
    tokens, heads = torch.randn(1, 1, 8), DenseHeads(8)
    seen = np.full((56, 56), CLASSES.index("carrot"), np.uint8)
    told = Targets(*(torch.from_numpy(part)[None] for part in dense_targets((seen, SCENE), 1)))
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        heads.loss(tokens, told).backward()
        optimizer.step()
    right = heads.loss(tokens, told).item()
    for wrong in (
        dataclasses.replace(told, places=told.places + 2),
        dataclasses.replace(told, turns=told.turns + 45),
        dataclasses.replace(told, kinds=torch.full_like(told.kinds, CLASSES.index("spoon"))),
    ):
        assert heads.loss(tokens, wrong).item() > right + 0.5
    hidden = torch.nn.functional.layer_norm(tokens, (8,))
    said = [int(head(hidden).argmax()) + RANGES[axis][0] for axis, head in zip(PLACES, heads.places, strict=True)]
    assert said == [30, -5, 2, 30, 0, 30, -10]
    half_turn = dataclasses.replace(told, turns=told.turns + 180)
    assert abs(heads.loss(tokens, half_turn).item() - right) < 1e-4
