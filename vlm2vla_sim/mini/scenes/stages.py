"""What scenes are sampled from on each stage: its objects, heights and ranges; one record each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, CATALOG, CatalogObject, label
from vlm2vla_sim.types import Pose


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
    assert eggplant.target.fixed is not None
    table = Stage(
        carrot,
        tuple(item for item in CATALOG if item.spec.fixed is None),
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
        fixed_target=FixedTarget(BY_CLASS[label(eggplant.target.name)], eggplant.target.fixed.pose(), surface=0.004),
        resting_poses=60,
    )
    return {stage.task.scene.name: stage for stage in (table, sink)}


STAGES = _stages()
"""By name of the `envs.tasks.Scene`."""
