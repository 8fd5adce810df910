"""What the source touches, and whether the gripper holds it: SIMPLER's contact tests on MuJoCo's contacts.

simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:100-112, agents/robots/widowx.py:109-137
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from vlm2vla_sim.robots.base import Robot

MIN_FORCE = 1e-6
"""SIMPLER's threshold is an impulse of 1e-6 N s; a resting contact exceeds either by far."""
MAX_ANGLE = 60.0
"""[degrees] between the opening direction and the force on a finger."""


@dataclass(frozen=True)
class Touch:
    """What the source presses against; fields as in `types.SceneState`."""

    touching: frozenset[str]
    touches_target: bool
    touches_robot: bool
    grasped: bool


class ContactReader:
    """Reads the contacts of one model; `source` and `target` are body names.

    A target that is part of the scene has no body; the names of its geoms begin with its name, as in "basket_floor".
    """

    def __init__(self, model: mujoco.MjModel, robot: Robot, *, source: str, target: str) -> None:
        self._model = model
        self._source = model.body(source).id
        self._fingers = {model.body(name).id: sign for name, sign in zip(robot.gripper.links, (1.0, -1.0), strict=True)}
        self._target = target
        self._links = {i for i in range(model.nbody) if model.body(i).name in robot.link_names}
        self._force = np.zeros(6)

    def read(self, data: mujoco.MjData) -> Touch:
        """The contacts of the state in `data`."""
        touched: set[str] = set()
        on_robot = False
        pushes = {finger: np.zeros(3) for finger in self._fingers}
        bodies = self._model.geom_bodyid[data.contact.geom]
        for index in np.flatnonzero((bodies == self._source).any(axis=1)):
            first, second = (int(b) for b in bodies[index])
            other = second if first == self._source else first
            mujoco.mj_contactForce(self._model, data, index, self._force)
            if np.linalg.norm(self._force[:3]) <= MIN_FORCE:
                continue
            on_robot |= other in self._links
            if other in pushes:
                # The frame's rows are the contact's axes; the force is that of geom 1 on geom 2.
                push = data.contact.frame[index].reshape(3, 3).T @ self._force[:3]
                pushes[other] += push if second == other else -push
            elif other not in self._links:
                touched.add(self._label(data.contact.geom[index], other))
        grasped = all(self._presses(data, finger, push) for finger, push in pushes.items())
        return Touch(frozenset(touched - {self._target}), self._target in touched, on_robot, grasped)

    def _label(self, geoms: np.ndarray, other: int) -> str:
        """Name of the other body; for the stage, which has no bodies, the first word of the geom's name."""
        if other:
            return self._model.body(other).name
        geom = next(int(g) for g in geoms if self._model.geom_bodyid[g] == 0)
        return self._model.geom(geom).name.split("_")[0]

    def _presses(self, data: mujoco.MjData, finger: int, push: np.ndarray) -> bool:
        strength = float(np.linalg.norm(push))
        if strength <= MIN_FORCE:
            return False
        opening = self._fingers[finger] * data.xmat[finger].reshape(3, 3)[:, 1]
        return float(opening @ push) >= strength * np.cos(np.radians(MAX_ANGLE))
