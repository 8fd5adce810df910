"""What the model is taught about each object: one record each, and the tables derived from them.

The set is closed: class numbers and words belong to the shipped weights. A further task of the package needs no entry
here; an entry changes the training data and needs new weights (`make mini`).
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.envs import colours, tasks
from vlm2vla_sim.envs.tasks import ObjectSpec

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
    def preposition(self) -> str:
        """Of putting something down there: "into" a container, else "on"."""
        return "into" if self.spec.container else "on"

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
        tasks.BASKET, "yellow", ("la cesta", "篮子", "टोकरी"), clearance=0.022, placement=Placement(13),
    ),
)
# fmt: on
"""Every object, in the order of its class number and of the tokenizer's texts."""
BY_CLASS = {item.class_name: item for item in CATALOG}
CLASSES = ("stage", "robot", *BY_CLASS)
"""What a pixel of a class map can show; a class number is an index into it."""
STAGE_CLASS, ROBOT_CLASS = 0, 1
SPOKEN_NAMES = tuple(item.spoken_name for item in CATALOG)
