"""What the model is taught about each object and stage: one record each, and the tables derived from them.

The set is closed: class numbers and words belong to the shipped weights. A further task of the package needs no entry
here; an entry changes the training data and needs new weights (`make mini`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm2vla_sim.envs import colours, tasks
from vlm2vla_sim.envs.mujoco.scene import BASKET_POSE
from vlm2vla_sim.envs.tasks import ObjectSpec, Task
from vlm2vla_sim.types import Pose

HELD_OUT_COLOURS = ("magenta", "lime", "navy")
"""Colours reserved for the generalisation test; never used in training."""
COLOURS = {name: colour for name, colour in colours.COLOURS.items() if name not in HELD_OUT_COLOURS}
"""Colours that objects may be painted in training; RGB 0..1."""
FLAT = 0.011
"""[m] An object that is less high is a support: it is neither grasped nor turned at random."""


@dataclass(frozen=True)
class Grasp:
    """Measured facts of an object that can be grasped."""

    opening: float
    """Gripper opening (0..1) while the object is held, measured after grasps on the MuJoCo twin."""
    resting_height: float
    """[m] height of the centre of mass over the table when the object lies on it, measured on the MuJoCo twin."""


@dataclass(frozen=True)
class Placement:
    """How something is put down on an object."""

    release_height: int
    """[cm] height of the TCP that releases an object held in the middle."""
    preposition: str = "on"
    offset: tuple[float, float] = (0.018, 0.045)
    """[m] standard deviation and maximum, per axis, of the distance between the two centres."""


STACKED_OFFSET = (0.006, 0.010)
"""[m] `Placement.offset` of blocks. They are 2.9 cm wide and stay up only if the upper one's centre is over the lower
one."""


@dataclass(frozen=True)
class CatalogObject:
    """One object."""

    spec: ObjectSpec
    colour: str
    """Name of the unpainted object's colour."""
    translations: tuple[str, str, str]
    """Spanish with its article, Mandarin, Hindi."""
    clearance: float
    """[m] radius that is kept free of other objects, seen from above."""
    grasp: Grasp | None = None
    placement: Placement | None = None
    yaw_period: int = 0
    """[degrees] period of the yaw in the dense targets; 0 if no yaw is taught."""
    is_long: bool = False
    """Whether the dense targets have the positions of its two ends."""
    is_cube: bool = False
    """A cube is named by its colour, and "block" in text; its yaw has a period of 90 degrees in answers."""

    @property
    def class_name(self) -> str:
        """The class in CLASSES and in annotations: "green cube"."""
        return label(self.spec.name)

    @property
    def spoken_name(self) -> str:
        """The name in questions and instructions: "green block"."""
        return spoken_name(self.class_name)

    @property
    def is_flat(self) -> bool:
        """Whether it is only a support for other objects."""
        return self.spec.extents[2] < FLAT

    def name_in(self, colour: str) -> str:
        """Name of the object when it has `colour`."""
        return f"{colour} cube" if self.is_cube else self.class_name


def label(name: str) -> str:
    """The name of an `ObjectSpec` as words: "green cube" for "green_cube"."""
    return name.replace("_", " ")


def spoken_name(name: str) -> str:
    """`name` as SIMPLER's instructions have it: cubes are blocks."""
    return name.replace("cube", "block")


_CUBE = Placement(7, offset=STACKED_OFFSET)
# fmt: off
CATALOG = (
    CatalogObject(
        tasks.CARROT, "orange", ("la zanahoria", "胡萝卜", "गाजर"), clearance=0.062,
        grasp=Grasp(0.4, 0.0175), yaw_period=180, is_long=True,
    ),
    CatalogObject(
        tasks.PLATE, "yellow", ("el plato", "盘子", "प्लेट"), clearance=0.056, placement=Placement(4),
    ),
    CatalogObject(
        tasks.SPOON, "green", ("la cuchara", "勺子", "चम्मच"), clearance=0.070,
        grasp=Grasp(0.2, 0.0108), yaw_period=180, is_long=True,
    ),
    CatalogObject(
        tasks.TOWEL, "cyan", ("la toalla", "毛巾", "तौलिया"), clearance=0.068, placement=Placement(4), yaw_period=90,
    ),
    CatalogObject(
        tasks.GREEN_CUBE, "green", ("el bloque verde", "绿色方块", "हरा ब्लॉक"), clearance=0.022,
        grasp=Grasp(0.4, 0.0145), placement=_CUBE, yaw_period=90, is_cube=True,
    ),
    CatalogObject(
        tasks.YELLOW_CUBE, "yellow", ("el bloque amarillo", "黄色方块", "पीला ब्लॉक"), clearance=0.022,
        grasp=Grasp(0.4, 0.0145), placement=_CUBE, yaw_period=90, is_cube=True,
    ),
    CatalogObject(
        tasks.EGGPLANT, "purple", ("la berenjena", "茄子", "बैंगन"), clearance=0.042,
        grasp=Grasp(0.55, 0.0170), yaw_period=180, is_long=True,
    ),
    CatalogObject(
        tasks.BASKET, "yellow", ("la cesta", "篮子", "टोकरी"), clearance=0.022, placement=Placement(13, "into"),
    ),
)
# fmt: on
"""Every object, in the order of its class number and of the tokenizer's texts."""
BY_CLASS = {item.class_name: item for item in CATALOG}
CLASSES = ("stage", "robot", *BY_CLASS)
"""What a pixel of a class map can show; a class number is an index into it."""
STAGE_CLASS, ROBOT_CLASS = 0, 1
SPOKEN_NAMES = tuple(item.spoken_name for item in CATALOG)


@dataclass(frozen=True, eq=False)
class FixedTarget:
    """A target that is part of the stage."""

    item: CatalogObject
    pose: Pose
    """Base frame."""
    surface: float
    """[m] height of its surface over `pose`."""


@dataclass(frozen=True)
class TcpRange:
    """Where a random TCP of a stage is."""

    x: tuple[float, float]
    y: tuple[float, float]
    """[m]"""
    frame: Literal["base", "world"]
    """Frame of `x` and `y`: the robot's base, or SIMPLER's world."""
    low: float
    """[m] least height over the stage, before `rim` is added."""
    rim: float = 0.0
    """[m] added to every height, where the stage has a rim."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage, with the objects that may lie on it and the ranges that scenes are sampled from."""

    task: Task
    """The task whose scene is compiled."""
    items: tuple[CatalogObject, ...]
    """Movable objects, in the order of CATALOG."""
    pairs: tuple[tuple[str, str], ...]
    """Names of the sources and targets that are placed together."""
    travel_height: int
    """[cm] height of the TCP while the gripper moves sideways."""
    grasp_height: int
    """[cm] height of the TCP that grasps an object lying on the stage. The arm waits 13.5 cm over the table and 22.8 cm
    over the sink and moves by whole centimetres, so that 3 is in truth 2.5 and 10 is 9.8: fingertips 1 cm above what
    the object lies on."""
    tcp_range: TcpRange
    fixed_target: FixedTarget | None = None
    resting_poses: int = 0
    """How many resting poses are sampled for an object that rolls, and stays where it comes to rest. 0: objects lie
    in one way, anywhere on the stage."""

    @property
    def is_confined(self) -> bool:
        """Whether objects stay near their sampled resting poses, so that nothing can be stacked."""
        return self.resting_poses > 0


TASK_ORDER = ("carrot_on_plate", "spoon_on_towel", "stack_cube", "eggplant_in_basket")
"""The tasks, in the order of the tokenizer's texts."""


def _stages() -> dict[str, Stage]:
    carrot, *_, eggplant = (tasks.get_task(name) for name in TASK_ORDER)
    on_table = [task for task in map(tasks.get_task, TASK_ORDER) if task.scene is carrot.scene]
    table = Stage(
        carrot,
        tuple(item for item in CATALOG if item.spec is not eggplant.target),
        tuple((task.source.name, task.target.name) for task in on_table),
        travel_height=9,
        grasp_height=3,
        tcp_range=TcpRange((-0.28, -0.04), (-0.12, 0.12), "world", low=0.04),
    )
    sink = Stage(
        eggplant,
        tuple(item for item in CATALOG if item.spec is eggplant.source),
        (),
        travel_height=20,
        grasp_height=10,
        tcp_range=TcpRange((0.20, 0.34), (-0.20, 0.09), "base", low=0.05, rim=0.05),
        fixed_target=FixedTarget(BY_CLASS[label(eggplant.target.name)], BASKET_POSE, surface=0.004),
        resting_poses=60,
    )
    return {stage.task.scene.name: stage for stage in (table, sink)}


STAGES = _stages()
"""By name of the `envs.tasks.Scene`."""
