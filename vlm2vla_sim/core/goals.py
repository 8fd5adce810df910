"""What a task asks for, as goals of single objects, and the scene as it concerns one of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.types import Body, SceneState, Touch

ON, LIFTED = "on", "lifted"
KINDS = (ON, LIFTED)
LIFT = 0.05
"""[m] above its start from which a held object counts as lifted."""


@dataclass(frozen=True)
class Goal:
    """What is to happen to one object: it lies on (or in) another one, or it is held in the air."""

    kind: str
    """"on" or "lifted"."""
    moved: str = ""
    """Name of the object; empty for the scene's source."""
    place: str = ""
    """Name of the object that it is to be put on; empty for the scene's target, and for "lifted"."""
    height_slack: float = 0.02
    """[m] See `envs.tasks.Task.height_slack`."""
    only_target_contact: bool = False
    """See `envs.tasks.Task.only_target_contact`."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS or (self.place and self.kind == LIFTED):
            raise SettingError(
                f"A goal is of the kind {self.kind!r} with the place {self.place!r}; expected 'on', or 'lifted' "
                "without a place."
            )


def seen_for(scene: SceneState, goal: Goal) -> SceneState:
    """`scene` as it concerns `goal`: its object is the source, and its place the target.

    SettingError where the scene has no such object, or does not report what it touches. For "lifted" the target stays,
    unless it is the object itself; then it is the scene's source.
    """
    bodies = {body.name: body for body in (scene.source, scene.target, *scene.others)}
    moved = goal.moved or scene.source.name
    place = goal.place or (scene.target if moved != scene.target.name else scene.source).name
    if (moved, place) == (scene.source.name, scene.target.name):
        return scene
    touch = _touch(scene, moved)
    if touch is None or place not in bodies:
        known = ", ".join(bodies)
        raise SettingError(
            f"The goal to have {moved!r} {goal.kind} {place!r} needs both objects and their contacts, and the "
            f"scene reports {known}. Use another backend."
        )
    return dataclasses.replace(
        scene,
        source=bodies[moved],
        target=bodies[place],
        touching=touch.touching - {place},
        grasped=touch.grasped,
        on_target=None,
        touches_target=place in touch.touching,
        touches_robot=touch.touches_robot,
        others=tuple(body for name, body in bodies.items() if name not in (moved, place)),
    )


def _touch(scene: SceneState, name: str) -> Touch | None:
    if name != scene.source.name:
        return scene.touches.get(name)
    if scene.touches_robot is None or scene.touches_target is None:
        return None
    on = {scene.target.name} if scene.touches_target else set()
    return Touch(scene.touching | on, scene.touches_robot, scene.grasped)


def height_above(body: Body, start: Body) -> float:
    """[m] of a body's centre of mass above its height in `start`."""
    return float(body.pose.position[2] - start.pose.position[2])


def is_lifted(now: SceneState, start: SceneState) -> bool:
    """Whether the source is held, `LIFT` or more above its height in `start`."""
    return now.grasped and height_above(now.source, start.source) >= LIFT
