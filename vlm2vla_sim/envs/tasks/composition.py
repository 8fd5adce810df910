"""Tasks of two steps: two objects in any order or in a given one, and "pick, place and lift"."""

from __future__ import annotations

from vlm2vla_sim.core.goals import LIFTED, ON, Goal
from vlm2vla_sim.envs.tasks.objects import CARROT, GREEN_CUBE, PLATE, SPOON, TOWEL, YELLOW_CUBE
from vlm2vla_sim.envs.tasks.records import Task
from vlm2vla_sim.envs.tasks.table_tasks import FAR, LEFT, NEAR, RIGHT, at, table_task

FRONT = -0.080
"""[m] x of long objects that lie along x, clear of what is behind them."""
_CARROT_ON_PLATE = Goal(ON, CARROT.name, PLATE.name)
_SPOON_ON_TOWEL = Goal(ON, SPOON.name, TOWEL.name)
_TABLEWARE = (CARROT, PLATE, SPOON, TOWEL)
_TABLEWARE_PLACES = [
    # Carrot, plate, spoon, towel: what belongs together stands on one side, or crosswise.
    [at(FRONT, a * 0.085 + y), at(FAR, b * 0.075 + y), at(FRONT, -a * 0.085 + y), at(FAR, -b * 0.075 + y)]
    for y in (0.0, 0.01)
    for a in (LEFT, RIGHT)
    for b in (LEFT, RIGHT)
]
CARROT_AND_SPOON = table_task(
    "carrot_and_spoon",
    "put the carrot on the plate and the spoon on the towel",
    _TABLEWARE,
    _TABLEWARE_PLACES,
    goals=(_CARROT_ON_PLATE, _SPOON_ON_TOWEL),
)
CARROT_THEN_SPOON = table_task(
    "carrot_then_spoon",
    "first put the carrot on the plate, then put the spoon on the towel",
    _TABLEWARE,
    _TABLEWARE_PLACES,
    goals=(_CARROT_ON_PLATE, _SPOON_ON_TOWEL),
    ordered=True,
)
CARROT_THEN_LIFT_SPOON = table_task(
    "place_carrot_then_lift_spoon",
    "put the carrot on the plate, then pick up the spoon",
    _TABLEWARE,
    _TABLEWARE_PLACES,
    goals=(_CARROT_ON_PLATE, Goal(LIFTED, SPOON.name)),
    ordered=True,
)

_BLOCKS = (GREEN_CUBE, PLATE, YELLOW_CUBE, TOWEL)
_BLOCKS_SWAPPED = (GREEN_CUBE, TOWEL, YELLOW_CUBE, PLATE)
_BLOCK_PLACES = [
    [at(NEAR, a * 0.05 + y), at(FAR, b * 0.075 + y), at(NEAR, -a * 0.05 + y), at(FAR, -b * 0.075 + y)]
    for y in (0.0, 0.01)
    for a in (LEFT, RIGHT)
    for b in (LEFT, RIGHT)
]
SORT_BLOCKS = table_task(
    "sort_blocks",
    "put the green block on the plate and the yellow block on the towel",
    _BLOCKS,
    _BLOCK_PLACES,
    goals=(Goal(ON, GREEN_CUBE.name, PLATE.name), Goal(ON, YELLOW_CUBE.name, TOWEL.name)),
)
SORT_BLOCKS_SWAPPED = table_task(
    "sort_blocks_swapped",
    "put the green block on the towel and the yellow block on the plate",
    _BLOCKS_SWAPPED,
    [[a, d, c, b] for a, b, c, d in _BLOCK_PLACES],
    goals=(Goal(ON, GREEN_CUBE.name, TOWEL.name), Goal(ON, YELLOW_CUBE.name, PLATE.name)),
)
PICK_PLACE_LIFT = table_task(
    "pick_place_lift",
    "pick up the green block, place it on the plate, and lift it again",
    (GREEN_CUBE, PLATE, YELLOW_CUBE, TOWEL),
    _BLOCK_PLACES,
    goals=(Goal(ON, GREEN_CUBE.name, PLATE.name), Goal(LIFTED, GREEN_CUBE.name)),
    ordered=True,
)

TASKS: tuple[Task, ...] = (
    CARROT_AND_SPOON,
    CARROT_THEN_SPOON,
    CARROT_THEN_LIFT_SPOON,
    SORT_BLOCKS,
    SORT_BLOCKS_SWAPPED,
    PICK_PLACE_LIFT,
)
"""All of them."""
