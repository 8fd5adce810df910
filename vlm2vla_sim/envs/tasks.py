"""The four SIMPLER Bridge tasks: instruction, length, 24 episodes and success rule, each number with its source.

Without this table the twin, the true SIMPLER scenes and the real arm would each carry their own copy, and a score on
one would not mean the same as a score on another. MS2 below is simpler-env/ManiSkill2_real2sim@ef7a4d4,
`mani_skill2_real2sim/`; its `put_on_in_scene.py` is in `envs/custom_scenes/`.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.frames import BaseFrame
from vlm2vla_sim.envs.motion import Workspace
from vlm2vla_sim.errors import EpisodeError, unknown_name


@dataclass(frozen=True)
class ObjectSpec:
    """An object of a scene: our name for it, SIMPLER's model, and the box and density SIMPLER declares."""

    name: str
    model: str
    """Folder in SIMPLER's `data/custom/models`."""
    extents: tuple[float, float, float]
    """[m] full lengths of the *declared* bounding box, which the success rule uses (not the mesh's own box)."""
    density: float
    """[kg/m^3]"""


@dataclass(frozen=True)
class Scene:
    """A stage: where the robot stands on it and how it waits."""

    name: str
    base: BaseFrame
    home: tuple[float, float, float, float, float, float]
    """Joint angles at the start [rad]: waist, shoulder, elbow, forearm roll, wrist angle, wrist rotate."""
    support_height: float
    """World height of the surface that carries the objects [m]."""
    workspace: Workspace
    """The box the gripper's target may not leave; ours (SIMPLER has none), wide enough for every episode."""


@dataclass(frozen=True)
class Layout:
    """Where the two objects are dropped, in SIMPLER's world (x, y [m]; yaw [rad] about +z)."""

    source_xy: tuple[float, float]
    source_yaw: float
    target_xy: tuple[float, float]
    target_yaw: float = 0.0


@dataclass(frozen=True)
class Region:
    """Where random layouts put the objects, in SIMPLER's world."""

    source_low: tuple[float, float]
    source_high: tuple[float, float]
    target_low: tuple[float, float]
    target_high: tuple[float, float]
    """[m]"""
    yaw_low: float
    yaw_high: float
    """[rad] of the source; the target keeps yaw 0, as in SIMPLER."""
    distance: float
    """[m] between the two centres at least: the smallest distance on SIMPLER's own grid."""


@dataclass(frozen=True)
class Task:
    """One task: everything about it that does not depend on who simulates it."""

    name: str
    env_id: str
    simpler_id: str
    """Id in SIMPLER (ManiSkill 3 has the same name with -v1)."""
    instruction: str
    max_steps: int
    scene: Scene
    source: ObjectSpec
    target: ObjectSpec
    layouts: tuple[Layout, ...]
    """SIMPLER's episodes, in its order."""
    region: Region
    height_slack: float
    """[m] how much higher than touching the source may be and still be on the target (`z_flag_required_offset`)."""
    only_target_contact: bool
    """Whether the source may touch only the target and the robot (`success_require_src_completely_on_target`)."""
    own: bool = False
    """A task in the user's own words: a person arranges the scene and says whether it was done (see `own_task`)."""

    def layout(self, episode_id: int) -> Layout:
        """The layout of one of SIMPLER's episodes; EpisodeError if there is no such episode."""
        if isinstance(episode_id, (bool, np.bool_)) or not isinstance(episode_id, (int, np.integer)):
            raise EpisodeError(
                f"episode_id is {episode_id!r}; expected a whole number from 0 to {len(self.layouts) - 1}."
            )
        if self.own and episode_id >= 0:
            return self.layouts[0]
        if not 0 <= episode_id < len(self.layouts):
            raise EpisodeError(
                f"{self.name} has no episode {episode_id}: SIMPLER's grid has {len(self.layouts)} episodes, "
                f"0 to {len(self.layouts) - 1}. For layouts beyond the grid use options={{'layout': 'random'}} and a "
                "seed."
            )
        return self.layouts[int(episode_id)]

    def random_layout(self, rng: np.random.Generator) -> Layout:
        """A layout drawn evenly over the task's region, the objects at least `region.distance` apart."""
        region = self.region
        while True:
            source = rng.uniform(region.source_low, region.source_high)
            target = rng.uniform(region.target_low, region.target_high)
            yaw = rng.uniform(region.yaw_low, region.yaw_high)
            if np.linalg.norm(source - target) >= region.distance:
                return Layout(
                    source_xy=(float(source[0]), float(source[1])),
                    source_yaw=float(yaw),
                    target_xy=(float(target[0]), float(target[1])),
                )


# MS2 envs/custom_scenes/base_env.py:280,287-293. The plate rests at z = 0.869532 (mani_skill 3.0.1 put_on_in_scene.py).
TABLE = Scene(
    name="table",
    base=BaseFrame(0.147, 0.028, 0.870),
    home=(-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398),
    support_height=0.86953,
    workspace=Workspace((0.12, -0.25, 0.0), (0.50, 0.30, 0.40)),
)
# MS2 envs/custom_scenes/base_env.py:282,289-290; the floor of SIMPLER's toy sink, measured on its mesh, is at 0.9202.
SINK = Scene(
    name="sink",
    base=BaseFrame(0.127, 0.060, 0.85),
    home=(-0.2600599, -0.12875618, 0.04461369, -0.00652761, 1.7033415, -0.26983038),
    support_height=0.9202,
    workspace=Workspace((0.12, -0.30, 0.0), (0.50, 0.30, 0.40)),
)

# MS2 data/custom/info_bridge_custom_v0.json and info_bridge_custom_baked_tex_v0.json
CARROT = ObjectSpec("carrot", "bridge_carrot_generated_modified", (0.115, 0.032, 0.038), 700)
PLATE = ObjectSpec("plate", "bridge_plate_objaverse_larger", (0.110, 0.110, 0.006), 1000)
SPOON = ObjectSpec("spoon", "bridge_spoon_generated_modified", (0.140, 0.0346, 0.0260), 1200)
TOWEL = ObjectSpec("towel", "table_cloth_generated_shorter", (0.100, 0.100, 0.010), 330)
GREEN_CUBE = ObjectSpec("green_cube", "baked_green_cube_3cm", (0.030, 0.030, 0.030), 1000)
YELLOW_CUBE = ObjectSpec("yellow_cube", "baked_yellow_cube_3cm", (0.030, 0.030, 0.030), 1000)
EGGPLANT = ObjectSpec("eggplant", "eggplant", (0.0783, 0.0374, 0.0380), 400)
BASKET = ObjectSpec("basket", "dummy_sink_target_plane", (0.130, 0.080, 0.002), 100000)


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


_ALL = (
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
        region=Region((-0.115, 0.191), (-0.095, 0.221), (-0.125, 0.025), (-0.125, 0.025), -np.pi / 4, np.pi / 4, 0.1),
        height_slack=0.06,  # MS2 put_on_in_scene.py:452-455
        only_target_contact=False,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task called `name`, which may also be its Gymnasium id; UnknownNameError lists them otherwise."""
    for task in TASKS.values():
        if name in (task.name, task.env_id):
            return task
    raise unknown_name("task", name, TASKS)


OWN_TASK_ID = "vlm2vla/WidowX-v0"
"""Gymnasium id of an environment whose task is a sentence: `gym.make(OWN_TASK_ID, task="...", backend="bridge")`."""


def own_task(instruction: str, max_steps: int = 60) -> Task:
    """A task that is only its instruction, for a robot with a person beside it; EpisodeError for an empty one.

    Where the objects are, nobody knows but the person: the layout and the objects of the result stand for nothing.
    """
    words = " ".join(instruction.split())
    if not words or len(words) > 300:
        raise EpisodeError(f"The task is {instruction[:80]!r}; expected an instruction of 1 to 300 characters.")
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:60] or "own_task"
    unknown = ObjectSpec("unknown", "", (0.03, 0.03, 0.03), 1000)
    return Task(
        name=name,
        env_id=OWN_TASK_ID,
        simpler_id="",
        instruction=words,
        max_steps=max_steps,
        scene=TABLE,
        source=unknown,
        target=unknown,
        layouts=(Layout((-0.16, 0.0), 0.0, (-0.16, 0.0)),),
        region=_table_region(0.075, 0.0),
        height_slack=0.0,
        only_target_contact=False,
        own=True,
    )
