"""The protocol of the manipulator_gym server: methods, keys, and what differs between its interfaces.

rail-berkeley/manipulator_gym@c547d41 interfaces/interface_service.py; youliangtan/agentlace@76984f9 action.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from vlm2vla_sim.envs.robot_link.server_identity import ServerKind
from vlm2vla_sim.errors import unknown_name

PORT = 5556
ACTION_KEYS = ("reset", "step_action", "configure", "move_eef", "move_gripper", "custom_fn")
PRIMARY, WRIST = "primary_img", "wrist_img"
OBSERVATION_KEYS = ("eef_pose", "gripper_state", PRIMARY, WRIST)
SERVER = ServerKind("manipulator_gym server", ("step_action", "move_eef", "move_gripper"), "manipulator_gym", PORT)
MOVE_SECONDS = 4.0
"""[s] that `move_eef` takes, near or far. interfaces/viperx.py:96-98, widowx_ros2.py:127-129"""
MOTIONS = ("step_action", "move_eef")
"""How a control step is sent: as a change of the server's target, or as a pose, which takes `MOVE_SECONDS`."""


@dataclass(frozen=True)
class Interface:
    """One of the server's interfaces to a WidowX 250 S, by the flag with which `manipulator_server.py` is started."""

    name: str
    max_change: float | None
    """[m, rad] to which the server clips each of the six numbers of a step; None where it does not."""
    gripper_reading: str
    """"finger": (finger - low) / (high - low), or "motor": the angle [rad] of the gripper's motor."""
    folds: bool
    """Whether `reset` can fold the arm."""
    gripper_seconds: float
    """[s] for which a step that opens or closes the gripper keeps the server."""


INTERFACES = {
    # interfaces/viperx.py:56-92, widowx.py:77-130: ROS 1
    "widowx": Interface("widowx", None, "finger", folds=True, gripper_seconds=0.1),
    # interfaces/widowx_ros2.py:66-140
    "widowx_ros2": Interface("widowx_ros2", 0.01, "motor", folds=False, gripper_seconds=1.5),
}


def find_interface(name: str) -> Interface:
    """The interface of that name; UnknownNameError."""
    if name not in INTERFACES:
        raise unknown_name("interface of manipulator_gym", name, INTERFACES)
    return INTERFACES[name]


def describe_server(port: int) -> str:
    """The server's description of itself, JSON. The robot's own client compares it letter by letter."""
    config = {
        "port_number": port,
        "action_keys": list(ACTION_KEYS),
        "observation_keys": list(OBSERVATION_KEYS),
        "broadcast_port": port + 1,
        "version": "0.0.1",
    }
    return json.dumps(config, separators=(",", ":"))
