"""Build a robot description (`robots.base.Robot`) as an MJCF model: links, collision boxes and position servos.

The published MuJoCo model of the WidowX has another gripper and other gains, and would neither droop, lag nor grasp
like SIMPLER's. Here the numbers of the description are used, and the meshes of the manufacturer are only drawn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mujoco
import numpy as np

from vlm2vla_sim.core.rotations import euler_sxyz_to_matrix, matrix_to_quaternion
from vlm2vla_sim.errors import missing_extra
from vlm2vla_sim.robots.base import ArmLink, Bevel, MeshFiles, Robot

VISUAL, COLLISION = 2, 3
"""Geom groups, by MuJoCo's convention: 2 is drawn, 3 collides and is not drawn."""
TCP = "tcp"
"""Site at the tool centre point, between the fingers; its x axis points out of the gripper."""
MATERIAL = "robot"


def find_mesh(files: MeshFiles, name: str) -> Path:
    """The STL file of the mesh `name`; MissingExtraError if the package that carries it is absent."""
    folder = Path(files.folder)
    if files.package:
        found = importlib.util.find_spec(files.package)
        if found is None or not found.submodule_search_locations:
            raise missing_extra("The robot's meshes", files.distribution or files.package, "")
        folder = Path(next(iter(found.submodule_search_locations))) / folder
    return folder / files.pattern.format(name)


def add_arm(spec: mujoco.MjSpec, robot: Robot) -> None:
    """Add `robot`, its servos and the site `TCP` to `spec`, its base at the world's origin, facing +x."""
    spec.add_material(name=MATERIAL, rgba=[*robot.colour, 1], specular=0.25, shininess=0.2)
    if robot.meshes is not None:
        for name in sorted({link.mesh for link in robot.links if link.mesh}):
            spec.add_mesh(name=name, file=str(find_mesh(robot.meshes, name)), scale=[robot.meshes.scale] * 3)
    bodies = {"": spec.worldbody}
    for link in robot.links:
        bodies[link.name] = _add_link(bodies[link.parent], link, robot)
    _add_boxes(bodies, robot)
    bodies[robot.tcp_link].add_site(name=TCP, pos=[robot.tcp_offset, 0, 0], group=4)
    for joint, stiffness, damping in zip(robot.arm_joints, robot.stiffness, robot.damping, strict=True):
        _add_servo(spec, joint, stiffness, damping)
    for joint in robot.gripper.joints:  # one servo each: either finger may be stopped alone
        _add_servo(spec, joint, robot.gripper.stiffness, robot.gripper.damping)


def _add_link(parent: mujoco.MjsBody, link: ArmLink, robot: Robot) -> mujoco.MjsBody:
    turn = euler_sxyz_to_matrix(np.array(link.inertia_rpy))
    xx, yy, zz, xy, xz, yz = link.inertia
    inertia = turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T
    body = parent.add_body(
        name=link.name,
        pos=link.position,
        mass=link.mass,
        ipos=link.com,
        fullinertia=[*np.diag(inertia), inertia[0, 1], inertia[0, 2], inertia[1, 2]],
        explicitinertial=True,
        gravcomp=1.0,
    )
    if link.mesh:
        body.add_geom(
            name=f"{link.name}_mesh",
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=link.mesh,
            pos=link.mesh_position,
            quat=matrix_to_quaternion(euler_sxyz_to_matrix(np.array(link.mesh_rpy))),
            material=MATERIAL,
            contype=0,
            conaffinity=0,
            mass=0.0,
            group=VISUAL,
        )
    if link.joint:
        slides = link.joint in robot.gripper.joints
        body.add_joint(
            name=link.joint,
            type=mujoco.mjtJoint.mjJNT_SLIDE if slides else mujoco.mjtJoint.mjJNT_HINGE,
            axis=link.axis,
            range=link.limits,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            armature=robot.finger_armature if slides else robot.arm_armature,
            damping=0.0 if slides else robot.joint_friction,
            solref_limit=[0.008, 1],
        )
    return body


def _add_boxes(bodies: dict[str, mujoco.MjsBody], robot: Robot) -> None:
    """Add the collision boxes of both fingers, then those of other links; a link without a mesh shows its boxes."""
    gripper = robot.gripper
    drawn = {link.name for link in robot.links if not link.mesh}
    for sign, name in zip((1, -1), gripper.links, strict=True):
        for part, (low, high) in gripper.boxes.items():
            mirrored = sorted((sign * low[1], sign * high[1]))
            corners = (low[0], mirrored[0], low[2]), (high[0], mirrored[1], high[2])
            _add_box(bodies[name], f"{name}_{part}", *corners, drawn=name in drawn)
        if gripper.bevel is not None:
            _add_bevel(bodies[name], f"{name}_bevel", gripper.bevel, sign)
    for box in robot.boxes:
        _add_box(bodies[box.link], box.name, box.low, box.high, drawn=box.link in drawn)


def _add_bevel(body: mujoco.MjsBody, name: str, bevel: Bevel, sign: int) -> None:
    """The box under a bevel; sign: 1 for the left finger, -1 for the right one, its mirror image."""
    end, back = np.array(bevel.end), np.array(bevel.back)
    along = back - end
    length = float(np.hypot(*along))
    outward = np.array([along[1], -along[0]]) / length
    middle = (end + back - outward * bevel.depth) / 2
    turn = sign * float(np.arctan2(outward[1], outward[0]))
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[middle[0], sign * middle[1], 0],
        quat=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)],
        size=[bevel.depth / 2, length / 2, bevel.half_width],
        mass=0.0,
        group=COLLISION,
    )


def _add_box(
    body: mujoco.MjsBody, name: str, low: tuple[float, ...], high: tuple[float, ...], *, drawn: bool = False
) -> None:
    place = {"type": mujoco.mjtGeom.mjGEOM_BOX, "pos": (np.array(low) + high) / 2, "size": (np.array(high) - low) / 2}
    body.add_geom(name=name, mass=0.0, group=COLLISION, **place)
    if drawn:
        look = {"material": MATERIAL, "group": VISUAL, "contype": 0, "conaffinity": 0}
        body.add_geom(name=f"{name}_drawn", mass=0.0, **look, **place)


def _add_servo(spec: mujoco.MjSpec, joint: str, kp: float, kv: float) -> None:
    """A position servo without a force limit (see `robots.widowx_250s`)."""
    spec.add_actuator(
        name=joint,
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        gainprm=[kp] + [0] * 9,
        biasprm=[0, -kp, -kv] + [0] * 7,
    )
