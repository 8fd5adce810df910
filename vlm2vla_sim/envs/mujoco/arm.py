"""The WidowX 250 S in MuJoCo: our own model around the manufacturer's meshes, with SIMPLER's servo gains.

The published MuJoCo model of this arm has a gripper and gains of its own and would neither droop, lag nor grasp like
SIMPLER's. Frames, masses and limits are those of haosulab/ManiSkill-WidowX250S@6a12bb7 wx250s.urdf; gains those of
simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py:55-82. The meshes come from the package
`rtb-data`, which carries them; none is stored here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from vlm2vla_sim.core.frames import FINGER_CLOSED, FINGER_OPEN
from vlm2vla_sim.core.rotations import euler_sxyz_to_matrix, matrix_to_quaternion
from vlm2vla_sim.errors import missing_extra

MESHES = "xacro/trossen_descriptions/meshes/meshes_wx250s"
QUARTER = np.pi / 2
VISUAL, COLLISION = 2, 3
"""Geom groups, MuJoCo's custom: 2 is drawn, 3 collides and is not drawn."""
TCP = "tcp"
"""Site at SIMPLER's `ee_gripper_link`, between the fingers; its x axis points out of the gripper."""


@dataclass(frozen=True)
class Link:
    """A rigid part and the joint that carries it; lengths [m], angles [rad], masses [kg], inertias [kg m^2]."""

    name: str
    parent: str
    position: tuple[float, float, float]
    """Of the joint in the parent's frame."""
    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]
    """ixx, iyy, izz, ixy, ixz, iyz about the centre of mass."""
    inertia_rpy: tuple[float, float, float] = (0.0, 0.0, QUARTER)
    mesh: str = ""
    mesh_position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mesh_rpy: tuple[float, float, float] = (0.0, 0.0, QUARTER)
    joint: str = ""
    """Empty for a part that is fixed to its parent."""
    axis: tuple[float, float, float] = (0.0, 0.0, 0.0)
    limits: tuple[float, float] = (0.0, 0.0)


# fmt: off
LINKS = (
    Link("base_link", "", (0, 0, 0), 0.538736, (-0.0380446, 0.000613892, 0.0193354),
         (0.002115, 0.0006921, 0.002524, -1.635e-05, 6.998e-07, 4.642e-05), mesh="1-Base"),
    Link("shoulder_link", "base_link", (0, 0, 0.072), 0.480879, (2.23482e-05, 4.14609e-05, 0.0066287),
         (0.000379, 0.0005557, 0.0005889, 2.2e-09, -3.561e-07, 1.2245e-06), mesh="2-Shoulder",
         mesh_position=(0, 0, -0.003), joint="waist", axis=(0, 0, 1), limits=(-np.pi, np.pi)),
    Link("upper_arm_link", "shoulder_link", (0, 0, 0.03865), 0.430811, (0.0171605, 2.725e-07, 0.191323),
         (0.003463, 0.003587, 0.0004566, -1e-10, -2e-10, 0.0004272), mesh="3-UA",
         joint="shoulder", axis=(0, 1, 0), limits=(-1.8849555921538759, 1.9896753472735358)),
    Link("upper_forearm_link", "upper_arm_link", (0.04975, 0, 0.25), 0.234589, (0.107963, 0.000115876, 0),
         (3.971e-05, 0.0008878, 0.000888, 2.3528e-06, 0, 0), inertia_rpy=(0, 0, 0), mesh="4-UF", mesh_rpy=(0, 0, 0),
         joint="elbow", axis=(0, 1, 0), limits=(-2.1467549799530254, 1.6057029118347832)),
    Link("lower_forearm_link", "upper_forearm_link", (0.175, 0, 0), 0.220991, (0.0374395, 0.00522252, 0),
         (6.369e-05, 0.0001677, 0.0001834, -2.292e-05, 0, 0), inertia_rpy=(np.pi, 0, 0), mesh="5-LF",
         mesh_rpy=(np.pi, 0, 0), joint="forearm_roll", axis=(1, 0, 0), limits=(-np.pi, np.pi)),
    Link("wrist_link", "lower_forearm_link", (0.075, 0, 0), 0.084957, (0.04236, -1.0663e-05, 0.010577),
         (3.082e-05, 2.822e-05, 3.152e-05, 1.91e-08, 2.3e-09, 2.5481e-06), mesh="6-Wrist",
         joint="wrist_angle", axis=(0, 1, 0), limits=(-1.7453292519943295, 2.1467549799530254)),
    Link("gripper_link", "wrist_link", (0.065, 0, 0), 0.072885, (0.021631, 2.516e-07, 0.01141),
         (2.537e-05, 1.836e-05, 1.674e-05, 0, 0, 4.34e-07), mesh="7-Gripper", mesh_position=(-0.02, 0, 0),
         joint="wrist_rotate", axis=(1, 0, 0), limits=(-np.pi, np.pi)),
    Link("gripper_prop_link", "gripper_link", (0.0485, 0, 0), 0.00434, (0.000846, -1.6817e-06, 4.2e-05),
         (5.923e-07, 1.1156e-06, 5.743e-07, 0, 3.195e-07, -4e-10), mesh="8-Gripper-Prop",
         mesh_position=(-0.0685, 0, 0)),
    Link("gripper_bar_link", "gripper_link", (0.043, 0, 0), 0.034199, (0.009687, 8.177e-07, 0.004962),
         (7.4125e-06, 2.843e-05, 2.86e-05, -8e-10, -6e-10, -1.3889e-06), mesh="9-Gripper-Bar",
         mesh_position=(-0.063, 0, 0)),
    Link("left_finger_link", "gripper_link", (0.066, 0, 0), 0.016246, (0.013816, 0, 0),
         (4.731e-06, 1.5506e-06, 3.7467e-06, -4.56e-07, 0, 0), inertia_rpy=(np.pi, np.pi, QUARTER), mesh="10-Finger",
         mesh_position=(0, 0.005, 0), mesh_rpy=(np.pi, np.pi, 0), joint="left_finger", axis=(0, 1, 0),
         limits=(FINGER_CLOSED, FINGER_OPEN)),
    Link("right_finger_link", "gripper_link", (0.066, 0, 0), 0.016246, (0.013816, 0, 0),
         (4.731e-06, 1.5506e-06, 3.7467e-06, 4.56e-07, 0, 0), inertia_rpy=(0, np.pi, QUARTER), mesh="10-Finger",
         mesh_position=(0, -0.005, 0), mesh_rpy=(0, np.pi, 0), joint="right_finger", axis=(0, -1, 0),
         limits=(FINGER_CLOSED, FINGER_OPEN)),
)
# fmt: on
ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGER_JOINTS = ("left_finger", "right_finger")
FINGERS = ("left_finger_link", "right_finger_link")
TCP_OFFSET = 0.093575
"""[m] from gripper_link to ee_gripper_link along x: 0.043 + 0.023 + 0.027575 in the urdf."""

ARM_STIFFNESS = (
    1169.7891719504198,
    730.0,
    808.4601346394447,
    1229.1299089624076,
    1272.2760456418862,
    1056.3326605132252,
)
ARM_DAMPING = (330.0, 180.0, 152.12036565582588, 309.6215302722146, 201.04998711007383, 269.51458932695414)
"""[N m/rad], [N m s/rad], in the order of ARM_JOINTS. SIMPLER bounds the force as well (100 to 200 N m). PhysX applies
the bound to what is left after its implicit damping, which never reaches it; MuJoCo would cut the damping off with it
and the arm would swing, so there is no bound here."""

FINGER_STIFFNESS, FINGER_DAMPING = 1000.0, 200.0
"""[N/m], [N s/m] per finger."""
FINGER_TARGET_CLOSED, FINGER_TARGET_OPEN = FINGER_CLOSED, FINGER_OPEN
"""[m] SIMPLER asks for a millimetre beyond the limits (defaults.py:77-82), and SAPIEN 2 stops the target at them."""

FINGER_BOXES = {
    "root": ((-0.0121, -0.009, -0.0145), (0.016, 0.005, 0.0145)),
    "back": ((0.016, -0.009, -0.0130), (0.0382, 0.0, 0.0130)),
    "tip": ((0.016, -0.009, -0.0125), (0.0432, -0.006, 0.0125)),
}
"""Low and high corners [m] of the left finger's collision boxes, in its link frame. Measured on the finger mesh; the
inner face is flat at y = -9 mm, and the end is 3 mm thick."""
FINGER_BEVEL = ((0.0432, -0.006), (0.0382, 0.0), 0.004, 0.0115)
"""The bevel behind the end, without which a finger would come to stand on what it slides off in SIMPLER: x, y [m] of
its edges, how deep the box under it reaches, half its width."""
BAR_BOX = ((-0.012, -0.0517, -0.014), (0.028, 0.0517, 0.014))
PALM_BOX = ((-0.012, -0.020, -0.020), (0.043, 0.020, 0.030))


def mesh_folder() -> Path:
    """Where `rtb-data` keeps the WX250s meshes; MissingExtraError if the package is absent."""
    found = importlib.util.find_spec("rtbdata")
    if found is None or not found.submodule_search_locations:
        raise missing_extra("The arm's shape", "rtb-data", "")
    return Path(next(iter(found.submodule_search_locations))) / MESHES


def add_arm(spec: mujoco.MjSpec) -> None:
    """Add the arm, its servos and the site `TCP` to `spec`, its base at the world's origin, facing +x."""
    folder = mesh_folder()
    # SIMPLER's robot: near black, glossy (base_env.py:258-259). Values matched by eye to its first frames.
    spec.add_material(name="robot", rgba=[0.275, 0.275, 0.28, 1], specular=0.25, shininess=0.2)
    for name in sorted({link.mesh for link in LINKS}):
        spec.add_mesh(name=name, file=str(folder / f"WXSA-250-M-{name}.stl"), scale=[0.001, 0.001, 0.001])
    bodies = {"": spec.worldbody}
    for link in LINKS:
        bodies[link.name] = _add_link(bodies[link.parent], link)
    _add_boxes(bodies)
    bodies["gripper_link"].add_site(name=TCP, pos=[TCP_OFFSET, 0, 0], group=4)
    _add_servos(spec)


def _add_link(parent: mujoco.MjsBody, link: Link) -> mujoco.MjsBody:
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
    body.add_geom(
        name=f"{link.name}_mesh",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=link.mesh,
        pos=link.mesh_position,
        quat=matrix_to_quaternion(euler_sxyz_to_matrix(np.array(link.mesh_rpy))),
        material="robot",
        contype=0,
        conaffinity=0,
        mass=0.0,
        group=VISUAL,
    )
    if link.joint:
        slides = link.joint in FINGER_JOINTS
        body.add_joint(
            name=link.joint,
            type=mujoco.mjtJoint.mjJNT_SLIDE if slides else mujoco.mjtJoint.mjJNT_HINGE,
            axis=link.axis,
            range=link.limits,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            # Rotor inertia: keeps the light links stable under the stiff servos at our time step.
            armature=0.3 if slides else 0.1,
            damping=0.0 if slides else 0.5,
            solref_limit=[0.008, 1],
        )
    return body


def _add_boxes(bodies: dict[str, mujoco.MjsBody]) -> None:
    """Collision shapes: four boxes a finger, one for the bar that carries them, one for the palm."""
    for sign, name in zip((1, -1), FINGERS, strict=True):
        for part, (low, high) in FINGER_BOXES.items():
            mirrored = sorted((sign * low[1], sign * high[1]))
            _add_box(bodies[name], f"{name}_{part}", (low[0], mirrored[0], low[2]), (high[0], mirrored[1], high[2]))
        _add_bevel(bodies[name], f"{name}_bevel", sign)
    _add_box(bodies["gripper_bar_link"], "gripper_bar", *BAR_BOX)
    _add_box(bodies["gripper_link"], "palm", *PALM_BOX)


def _add_bevel(body: mujoco.MjsBody, name: str, sign: int) -> None:
    """The box under `FINGER_BEVEL`; sign: 1 for the left finger, -1 for the right one, its mirror image."""
    end, back, depth, half_width = np.array(FINGER_BEVEL[0]), np.array(FINGER_BEVEL[1]), *FINGER_BEVEL[2:]
    along = back - end
    length = float(np.hypot(*along))
    outward = np.array([along[1], -along[0]]) / length
    middle = (end + back - outward * depth) / 2
    turn = sign * float(np.arctan2(outward[1], outward[0]))
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[middle[0], sign * middle[1], 0],
        quat=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)],
        size=[depth / 2, length / 2, half_width],
        mass=0.0,
        group=COLLISION,
    )


def _add_box(body: mujoco.MjsBody, name: str, low: tuple[float, ...], high: tuple[float, ...]) -> None:
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(np.array(low) + high) / 2,
        size=(np.array(high) - low) / 2,
        mass=0.0,
        group=COLLISION,
    )


def _add_servos(spec: mujoco.MjSpec) -> None:
    """Position servos with SIMPLER's gains; each finger has its own, and may be stopped alone."""
    for joint, kp, kv in zip(ARM_JOINTS, ARM_STIFFNESS, ARM_DAMPING, strict=True):
        _add_servo(spec, joint, kp, kv)
    for joint in FINGER_JOINTS:
        _add_servo(spec, joint, FINGER_STIFFNESS, FINGER_DAMPING)


def _add_servo(spec: mujoco.MjSpec, joint: str, kp: float, kv: float) -> None:
    spec.add_actuator(
        name=joint,
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        gainprm=[kp] + [0] * 9,
        biasprm=[0, -kp, -kv] + [0] * 7,
    )
