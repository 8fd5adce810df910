"""The four SIMPLER Bridge tasks: instruction, length, 24 episodes and success rule, each number with its source.

MS2 below is simpler-env/ManiSkill2_real2sim@ef7a4d4 `mani_skill2_real2sim/`; its `put_on_in_scene.py` is in
`envs/custom_scenes/`.
"""

from __future__ import annotations

import itertools

import numpy as np

from vlm2vla_sim.envs.tasks.layouts import Layout, Region
from vlm2vla_sim.envs.tasks.objects import (
    BASKET,
    CARROT,
    EGGPLANT,
    GREEN_CUBE,
    PLATE,
    SPOON,
    TOWEL,
    YELLOW_CUBE,
)
from vlm2vla_sim.envs.tasks.records import RestPose, Task
from vlm2vla_sim.envs.tasks.scenes import SINK, TABLE


def _pairs(half: float) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The 12 ordered pairs of corners of a square of half-length `half` about (-0.16, 0) [m, world]."""
    # MS2 put_on_in_scene.py:248-266, 330-349: x varies slowest, and every corner is paired with every other one.
    corners = [(-0.16 + sx * half, sy * half) for sx in (-1, 1) for sy in (-1, 1)]
    return list(itertools.permutations(corners, 2))


def _corner_layouts(yaws: tuple[float, ...], halves: tuple[float, ...]) -> tuple[Layout, ...]:
    """Layouts on the corners of squares: pair by pair, each with every yaw (MS2 put_on_in_scene.py:188-196)."""
    return tuple(Layout(s, yaw, t) for half in halves for s, t in _pairs(half) for yaw in yaws)


def _sink_layouts() -> tuple[Layout, ...]:
    """Eggplant starts: 2 x 4 positions, each with 3 yaws (MS2 put_on_in_scene.py:384-412, 444-448)."""
    return tuple(
        Layout((float(x), float(y)), yaw, (-0.125, 0.025))
        for x in np.linspace(-0.115, -0.095, 2)
        for y in np.linspace(0.191, 0.221, 4)
        for yaw in (0.0, np.pi / 4, -np.pi / 4)
    )


def _table_region(half: float, distance: float) -> Region:
    low, high = (-0.16 - half, -half), (-0.16 + half, half)
    return Region(low, high, low, high, yaw_low=-np.pi, yaw_high=np.pi, distance=distance)


# The eggplant rolls after its drop, and no two physics engines roll it alike: settled by MuJoCo it would start
# centimetres from where SIMPLER starts it. Episodes 0 to 23; measured on the backend "simpler", profile "simpler"
# (mani-skill 3.0.1, sapien 3.0.3, CPU), after its drop and settling.
# fmt: off
_SINK_RESTS = tuple(RestPose(position, quaternion) for position, quaternion in (
    ((0.2462, -0.1339, 0.0885), (0.02550, -0.11325, 0.07879, -0.99011)),
    ((0.2464, -0.1303, 0.0887), (0.39571, -0.11704, 0.02806, -0.91046)),
    ((0.2184, -0.1682, 0.0870), (0.11053, -0.21600, -0.91090, 0.33376)),
    ((0.2534, -0.1780, 0.0869), (0.05166, -0.19750, 0.84964, -0.48625)),
    ((0.2464, -0.1401, 0.0882), (0.39940, -0.11902, 0.02438, -0.90869)),
    ((0.2437, -0.1461, 0.0880), (0.36021, 0.09179, -0.10866, 0.92196)),
    ((0.2462, -0.1531, 0.0878), (0.01242, -0.11411, 0.05549, -0.99184)),
    ((0.2464, -0.1498, 0.0879), (0.39337, -0.12414, 0.01606, -0.91082)),
    ((0.2436, -0.1556, 0.0878), (0.35748, 0.08437, -0.09541, 0.92520)),
    ((0.2462, -0.1631, 0.0878), (0.01316, -0.11415, 0.05539, -0.99183)),
    ((0.2465, -0.1595, 0.0878), (0.39099, -0.12756, 0.00608, -0.91149)),
    ((0.2435, -0.1655, 0.0878), (0.36726, 0.08334, -0.09635, 0.92135)),
    ((0.2162, -0.1288, 0.0889), (0.86200, 0.08432, -0.11835, -0.48564)),
    ((0.2264, -0.1303, 0.0886), (0.39575, -0.11704, 0.02805, -0.91044)),
    ((0.2235, -0.1365, 0.0882), (0.35252, 0.09261, -0.11837, 0.92366)),
    ((0.2123, -0.1363, 0.0882), (0.79416, 0.11319, -0.22070, -0.55479)),
    ((0.2265, -0.1399, 0.0882), (0.40147, -0.12307, 0.01773, -0.90739)),
    ((0.2237, -0.1464, 0.0880), (0.35697, 0.09453, -0.11523, 0.92215)),
    ((0.2372, -0.1527, 0.0881), (0.27197, -0.17770, 0.16838, -0.93065)),
    ((0.2265, -0.1501, 0.0879), (0.38798, -0.12190, 0.02186, -0.91331)),
    ((0.2237, -0.1556, 0.0877), (0.35177, 0.08496, -0.09486, 0.92739)),
    ((0.2362, -0.1561, 0.0878), (0.35597, -0.12710, 0.01104, -0.92575)),
    ((0.2265, -0.1595, 0.0877), (0.38977, -0.12755, 0.00626, -0.91202)),
    ((0.2234, -0.1655, 0.0877), (0.37037, 0.08301, -0.09665, 0.92011)),
))
# fmt: on

BRIDGE_TASKS = (
    Task(
        name="spoon_on_towel",
        env_id="vlm2vla/WidowXSpoonOnTowel-v0",
        simpler_id="PutSpoonOnTableClothInScene-v0",
        instruction="put the spoon on the towel",  # MS2 put_on_in_scene.py:281
        max_steps=60,  # MS2 put_on_in_scene.py:240
        scene=TABLE,
        source=SPOON,
        target=TOWEL,
        layouts=_corner_layouts((0.0, np.pi / 2), (0.075,)),  # MS2 put_on_in_scene.py:248-274
        region=_table_region(0.075, 0.15),
        height_slack=0.02,
        only_target_contact=False,  # MS2 put_on_in_scene.py:276-278
    ),
    Task(
        name="carrot_on_plate",
        env_id="vlm2vla/WidowXCarrotOnPlate-v0",
        simpler_id="PutCarrotOnPlateInScene-v0",
        instruction="put carrot on plate",  # MS2 put_on_in_scene.py:319
        max_steps=60,  # MS2 put_on_in_scene.py:284
        scene=TABLE,
        source=CARROT,
        target=PLATE,
        layouts=_corner_layouts((np.pi, -np.pi / 2), (0.075,)),  # MS2 put_on_in_scene.py:290-316
        region=_table_region(0.075, 0.15),
        height_slack=0.02,
        only_target_contact=True,
    ),
    Task(
        name="stack_cube",
        env_id="vlm2vla/WidowXStackCube-v0",
        simpler_id="StackGreenCubeOnYellowCubeBakedTexInScene-v0",
        instruction="stack the green block on the yellow block",  # MS2 put_on_in_scene.py:360
        max_steps=60,  # MS2 put_on_in_scene.py:322
        scene=TABLE,
        source=GREEN_CUBE,
        target=YELLOW_CUBE,
        layouts=_corner_layouts((0.0,), (0.05, 0.10)),  # MS2 put_on_in_scene.py:330-357
        region=_table_region(0.10, 0.10),
        height_slack=0.02,
        only_target_contact=True,
    ),
    Task(
        name="eggplant_in_basket",
        env_id="vlm2vla/WidowXEggplantInBasket-v0",
        simpler_id="PutEggplantInBasketScene-v0",
        instruction="put eggplant into yellow basket",  # MS2 put_on_in_scene.py:424
        max_steps=120,  # MS2 put_on_in_scene.py:375
        scene=SINK,
        source=EGGPLANT,
        target=BASKET,
        layouts=_sink_layouts(),
        source_rests=_SINK_RESTS,
        region=Region((-0.115, 0.191), (-0.095, 0.221), (-0.125, 0.025), (-0.125, 0.025), -np.pi / 4, np.pi / 4, 0.1),
        height_slack=0.06,  # MS2 put_on_in_scene.py:452-455
        only_target_contact=False,
    ),
)
