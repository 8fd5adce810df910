"""What a robot description holds: joints, gripper, servo gains, poses, workspace and conventions of one arm.

Every backend reads these records, and no other module repeats their numbers. Lengths are metres, angles radians, masses
kilograms, unless a field says otherwise. The base frame has x forward, y left and z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlm2vla_sim.core.rotations import (
    euler_sxyz_to_matrix,
    matrix_to_euler_sxyz,
    matrix_to_quaternion,
    quaternion_to_matrix,
)
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.types import Pose

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Workspace:
    """The box that the gripper's target may not leave; base frame [m]."""

    low: Vector
    high: Vector


@dataclass(frozen=True)
class ArmLink:
    """A rigid link and the joint that connects it to its parent."""

    name: str
    parent: str
    """Name of the parent link; empty for the base."""
    position: Vector
    """Of the joint, in the parent's frame [m]."""
    mass: float
    com: Vector
    """Centre of mass in the link frame [m]."""
    inertia: tuple[float, float, float, float, float, float]
    """ixx, iyy, izz, ixy, ixz, iyz about the centre of mass [kg m^2], in axes turned by `inertia_rpy`."""
    inertia_rpy: Vector = (0.0, 0.0, 0.0)
    mesh: str = ""
    """Name of the mesh (see `MeshFiles`); empty for a link that is drawn as its collision boxes."""
    mesh_position: Vector = (0.0, 0.0, 0.0)
    mesh_rpy: Vector = (0.0, 0.0, 0.0)
    joint: str = ""
    """Empty for a link that is fixed to its parent."""
    axis: Vector = (0.0, 0.0, 0.0)
    limits: tuple[float, float] = (0.0, 0.0)
    """[rad] of a rotating joint, [m] of a finger joint."""


@dataclass(frozen=True)
class MeshFiles:
    """Where the STL files of the links are."""

    folder: str
    """Below `package`, or an absolute path when `package` is empty."""
    pattern: str = "{}.stl"
    """File name; {} stands for `ArmLink.mesh`."""
    package: str = ""
    """Importable package that carries the files."""
    distribution: str = ""
    """What to install when `package` is absent."""
    scale: float = 1.0
    """Metres per unit of the files."""


@dataclass(frozen=True)
class CollisionBox:
    """A box of a link that collides; two opposite corners in the link frame [m]."""

    link: str
    name: str
    low: Vector
    high: Vector


@dataclass(frozen=True)
class Bevel:
    """The slanted surface behind a fingertip, in the left finger's frame; the right finger has its mirror image."""

    end: tuple[float, float]
    """x, y of the edge at the fingertip."""
    back: tuple[float, float]
    """x, y of the edge behind it."""
    depth: float
    """Thickness of the box under the surface."""
    half_width: float


@dataclass(frozen=True)
class Gripper:
    """Two fingers on prismatic joints that move in opposite directions along the y axis of their links."""

    joints: tuple[str, str]
    links: tuple[str, str]
    """Left finger first; it opens along its own +y, the right one along its own -y."""
    closed: float
    """Finger joint position of the closed gripper."""
    open: float
    """Finger joint position of the open gripper."""
    stiffness: float
    """[N/m] of each finger's servo."""
    damping: float
    """[N s/m]"""
    fingertip: float
    """Distance from the tool centre point to the fingertips."""
    boxes: Mapping[str, tuple[Vector, Vector]] = field(default_factory=dict)
    """Name -> corners of the left finger's collision boxes, in its link frame; mirrored in y for the right finger."""
    bevel: Bevel | None = None

    def opening(self, finger: float) -> float:
        """Finger joint position -> opening, 0 closed .. 1 open."""
        return float(np.clip((finger - self.closed) / (self.open - self.closed), 0.0, 1.0))

    def finger(self, opening: float) -> float:
        """Opening, 0 closed .. 1 open -> finger joint position."""
        return self.closed + opening * (self.open - self.closed)


@dataclass(frozen=True)
class ArmSetup:
    """How the arm is set up in front of one scene."""

    home: tuple[float, ...]
    """Joint angles at the start of an episode, in the order of `Robot.arm_joints`."""
    workspace: Workspace
    start: tuple[float, float, float, float, float, float] | None = None
    """The same start as a pose for the real arm: x, y, z, roll, pitch, yaw (0 = gripper down)."""


@dataclass(frozen=True)
class BridgeServer:
    """Numbers of the BridgeData robot server that drives this robot."""

    finger_low: float
    """Finger joint position at which the server's gripper reading is 0."""
    finger_high: float
    """Finger joint position at which the reading is 1."""
    neutral: tuple[float, ...]
    """Joint angles to which the server drives before every start."""
    park: Vector
    """Where the gripper goes, pointing down, when the arm is parked; base frame."""
    neutral_position: Vector | None = None
    """Of the gripper at `neutral`, base frame; None where it is not known: then every init is followed by a reset."""


@dataclass(frozen=True)
class TrossenController:
    """How the vendor's driver trossen-arm addresses this robot."""

    model: str
    """Member of `trossen_arm.Model`."""
    end_effector: str
    """Member of `trossen_arm.StandardEndEffector`; it defines the tool frame that the controller reports."""
    park: tuple[float, ...]
    """Joint angles [rad] at which the arm rests without power."""


@dataclass(frozen=True)
class InterbotixGripper:
    """How manipulator_gym and Interbotix's driver read the gripper of this robot."""

    finger_low: float
    """Finger joint position [m] at which manipulator_gym's reading on ROS 1 is 0."""
    finger_high: float
    """Finger joint position at which that reading is 1."""
    horn: float
    """[m] of the motor's horn, which drives a finger through a rod as a crank does."""
    rod: float
    """[m]"""


@dataclass(frozen=True, eq=False)
class Robot:
    """One arm with a two-finger gripper. Two records are equal only if they are the same object."""

    name: str
    links: tuple[ArmLink, ...]
    """Parents before children."""
    arm_joints: tuple[str, ...]
    """From the base outward."""
    stiffness: tuple[float, ...]
    """[N m/rad] of the position servos, in the order of `arm_joints`."""
    damping: tuple[float, ...]
    """[N m s/rad]"""
    gripper: Gripper
    tcp_link: str
    """The tool centre point (TCP) lies on the x axis of this link, which points out of the gripper."""
    tcp_offset: float
    gripper_down: tuple[Vector, Vector, Vector]
    """Rotation matrix of the TCP frame at roll = pitch = yaw = 0 of the proprioception."""
    setups: Mapping[str, ArmSetup]
    """By scene name; a scene that is not listed has the first one."""
    meshes: MeshFiles | None = None
    boxes: tuple[CollisionBox, ...] = ()
    """Collision boxes besides those of the fingers."""
    colour: Vector = (0.275, 0.275, 0.28)
    """RGB, 0 to 1."""
    arm_armature: float = 0.1
    """[kg m^2] rotor inertia of the arm joints in MuJoCo, which keeps light links stable under stiff servos."""
    finger_armature: float = 0.3
    """[kg] the same for the finger joints."""
    joint_friction: float = 0.5
    """[N m s/rad] passive damping of the arm joints in MuJoCo."""
    maniskill: str = ""
    """ManiSkill's name of this robot; empty for a robot that the SIMPLER scenes do not have."""
    bridge: BridgeServer | None = None
    """None for a robot that no BridgeData server drives."""
    interbotix: InterbotixGripper | None = None
    """None for a robot that Interbotix's packages do not drive."""
    trossen: TrossenController | None = None
    """None for a robot that no Trossen controller drives."""

    def setup(self, scene: str) -> ArmSetup:
        """The setup in front of the scene of that name."""
        return self.setups.get(scene, next(iter(self.setups.values())))

    @property
    def link_names(self) -> frozenset[str]:
        """Names of all links."""
        return frozenset(link.name for link in self.links)

    @property
    def down(self) -> np.ndarray:
        """(3, 3) float64 `gripper_down`."""
        return np.array(self.gripper_down)

    # Proprioception: x, y, z [m], roll, pitch, yaw [rad, fixed axes, 0 = gripper down], and the gripper.

    def agent_pos(self, tcp: Pose, opening: float) -> np.ndarray:
        """(7,) float32 proprioception: the pose of `tcp` as above, and the opening 0..1."""
        return np.concatenate([self.pose_to_numbers(tcp), [opening]]).astype(np.float32)

    def pose_to_numbers(self, tcp: Pose) -> np.ndarray:
        """A TCP pose -> (6,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down]."""
        euler = matrix_to_euler_sxyz(quaternion_to_matrix(tcp.quaternion) @ self.down.T)
        return np.concatenate([tcp.position, euler])

    def pose_from_numbers(self, numbers: np.ndarray) -> Pose:
        """The inverse of `pose_to_numbers`; further numbers, such as the gripper's, are not read."""
        rotation = euler_sxyz_to_matrix(np.asarray(numbers[3:6], dtype=np.float64)) @ self.down
        return Pose(np.asarray(numbers[:3], dtype=np.float64), matrix_to_quaternion(rotation))

    # The gripper reading of the BridgeData server.

    def opening_from_bridge(self, reading: float) -> float:
        """Gripper reading of the BridgeData server -> opening, 0 closed .. 1 open."""
        server = self.bridge_server
        return self.gripper.opening(server.finger_low + reading * (server.finger_high - server.finger_low))

    def opening_to_bridge(self, opening: float) -> float:
        """Opening, 0 closed .. 1 open -> gripper reading of the BridgeData server."""
        return self.finger_to_bridge(self.gripper.finger(opening))

    def finger_to_bridge(self, finger: float) -> float:
        """Finger joint position [m] -> gripper reading of the BridgeData server."""
        server = self.bridge_server
        return (finger - server.finger_low) / (server.finger_high - server.finger_low)

    @property
    def bridge_server(self) -> BridgeServer:
        """`bridge`; SettingError for a robot that no BridgeData server drives."""
        if self.bridge is None:
            raise SettingError(
                f"The robot {self.name!r} has no numbers of a BridgeData server. "
                "Give its description `bridge=BridgeServer(...)`, or use another backend."
            )
        return self.bridge

    @property
    def interbotix_gripper(self) -> InterbotixGripper:
        """`interbotix`; SettingError for a robot that Interbotix's packages do not drive."""
        if self.interbotix is None:
            raise SettingError(
                f"The robot {self.name!r} has no numbers of an Interbotix gripper. "
                "Give its description `interbotix=InterbotixGripper(...)`, or use another backend."
            )
        return self.interbotix
