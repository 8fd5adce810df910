"""How each object lies on a stage, found once by simulating its fall."""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.tasks import ObjectSpec
from vlm2vla_sim.mini.scenes.stages import Stage
from vlm2vla_sim.types import Pose

FALL = 1.5
"""[s] after which an object lies still."""
DROP_POSITION = ((-0.16, 0.0), 0.0)
"""x, y [m] and yaw [rad] in SIMPLER's world at which an object is dropped where one resting pose is enough."""
ELSEWHERE = Pose(np.array([0.0, 0.0, 40.0]), np.array([1.0, 0, 0, 0]))
"""Where the other objects are meanwhile: they fall without meeting anything."""


def place(model: mujoco.MjModel, data: mujoco.MjData, spec: ObjectSpec, pose: Pose) -> None:
    """Set the pose of an object's centre of mass, base frame."""
    offset = frames.quaternion_to_matrix(pose.quaternion) @ model.body(spec.name).ipos
    address = int(model.joint(spec.name).qposadr[0])
    data.qpos[address : address + 7] = [*(pose.position - offset), *pose.quaternion]


def resting_poses(model: mujoco.MjModel, data: mujoco.MjData, stage: Stage, spec: ObjectSpec) -> list[Pose]:
    """Poses (centre of mass, base frame) in which the object comes to rest when it is dropped. Changes `data`."""
    task, scene = stage.task, stage.task.scene
    joints = [int(model.joint(name).qposadr[0]) for name in task.arm.arm_joints]
    actuators = [model.actuator(name).id for name in task.arm.arm_joints]
    rng = np.random.default_rng(0)
    poses = []
    for _ in range(max(1, stage.resting_poses)):
        mujoco.mj_resetData(model, data)
        data.qpos[joints] = data.ctrl[actuators] = np.array(task.setup.home)
        for other in stage.items:
            place(model, data, other.spec, ELSEWHERE)
        xy, yaw = DROP_POSITION
        if stage.is_confined:
            layout = task.random_layout(rng)
            xy, yaw = layout.source_xy, layout.source_yaw
        rotation = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
        position = np.array([*xy, scene.support_height + spec.extents[2] / 2 + 0.02])
        place(model, data, spec, scene.base.pose_from_world(position, rotation))
        mujoco.mj_step(model, data, nstep=round(FALL / model.opt.timestep))
        body = data.body(spec.name)
        poses.append(Pose(body.xipos.copy(), body.xquat / np.linalg.norm(body.xquat)))
    return poses
