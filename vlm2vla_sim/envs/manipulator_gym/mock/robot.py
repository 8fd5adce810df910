"""The robot of the mock server: the methods of the real server's interfaces, with the MuJoCo twin as its arm.

It reproduces the real server's behaviour, faults included: True without motion, steps that ROS 2 clips to a centimetre,
an arm that remembers its own target, a server that ends when its robot raises an exception.

rail-berkeley/manipulator_gym@c547d41 interfaces/interface_service.py, viperx.py, widowx.py, widowx_ros2.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vlm2vla_sim.envs.manipulator_gym.conventions import pose_to_absolute, reading_from_finger
from vlm2vla_sim.envs.manipulator_gym.mock.interbotix_arm import InterbotixArm
from vlm2vla_sim.envs.manipulator_gym.protocol import MOVE_SECONDS, PRIMARY, WRIST, Interface, describe_server
from vlm2vla_sim.envs.robot_link.mock.clocks import Clock, WallClock
from vlm2vla_sim.envs.robot_link.mock.robot import ExecutedAction, jpeg
from vlm2vla_sim.envs.robot_link.mock.servo_twin import ServoTwin

STEP_SECONDS = 0.1
"""[s] of a step's motion. interfaces/widowx.py:108"""
CONTROL_SECONDS = 0.2
"""[s] that pass in lockstep for one control step."""
OBS_SECONDS = 0.02
FOLDED = (0.0, -1.80, 1.55, 0.0, 0.80, 0.0)
"""[rad] the sleep pose. Interbotix/interbotix_ros_manipulators@0bb2b0e wx250s.yaml"""
ENDED = 1e9
"""[s] for which a server that ended does not come back by itself."""


class MockManipulator:
    """The server without its socket."""

    def __init__(self, twin: ServoTwin, clock: Clock, *, interface: Interface, blocking: bool = True) -> None:
        """interface: which of the server's interfaces. blocking: whether a step waits for its motion."""
        self._twin, self._clock, self._interface, self._blocking = twin, clock, interface, blocking
        self._arm = InterbotixArm(twin)
        self._open = True
        self.acts: list[ExecutedAction] = []
        self.obs_seconds = OBS_SECONDS

    def reply(self, message: Any, frame: bytes, port: int) -> dict[str, Any]:
        """The reply to one request, decoded and as it came."""
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "hash":
            return {"success": True, "payload": describe_server(port)}
        if kind == "obs":
            return self._observe()
        if kind == "act":
            return self._execute(message["key"], message["payload"], frame)
        return {"success": False, "message": "Invalid payload"}

    def forget(self) -> None:
        """The server was restarted."""
        self._arm.capture()

    def crash(self) -> float:
        """The real server does not catch exceptions of its robot: it ends."""
        return ENDED

    def disturb(self) -> None:
        """Another client folds the arm."""
        self._fold()

    # Methods.

    def _observe(self) -> dict[str, Any]:
        if isinstance(self._clock, WallClock):
            self._clock.spend(self.obs_seconds)
        seen = {
            "eef_pose": pose_to_absolute(self._twin.tcp()),
            "gripper_state": reading_from_finger(self._twin.robot, self._interface, self._twin.finger()),
            PRIMARY: jpeg(self._twin.render()),
        }
        if self._twin.second_camera:
            seen[WRIST] = jpeg(self._twin.render(self._twin.second_camera))
        return seen

    def _execute(self, key: str, payload: Any, frame: bytes) -> dict[str, Any]:
        methods: dict[str, Callable[[Any], np.ndarray]] = {
            "reset": self._reset,
            "step_action": self._step,
            "move_eef": self._move,
            "move_gripper": self._move_gripper,
            "configure": lambda options: np.zeros(0),
        }
        if key == "custom_fn":
            return {"status": False, "error": "Method not found"}
        if key not in methods:
            raise ValueError(f"Invalid action type: {key}")
        numbers = methods[key](payload)
        target = self._arm.target[:3].copy()
        self.acts.append(ExecutedAction(key, np.array(numbers, dtype=float), target, frame))
        return {"status": True}

    def _step(self, action: np.ndarray) -> np.ndarray:
        action = np.array(action, dtype=np.float64)
        if action.shape != (7,):
            raise ValueError(f"action is {action.shape}")
        change, most = action[:6], self._interface.max_change
        self._arm.move_by(change if most is None else np.clip(change, -most, most), seconds=STEP_SECONDS)
        if self._blocking and isinstance(self._clock, WallClock):
            self._clock.spend(STEP_SECONDS)
        elif not isinstance(self._clock, WallClock):
            self._clock.step(STEP_SECONDS if most is not None else CONTROL_SECONDS)
        self._move_gripper(1.0 if action[6] > 0.5 else 0.0)
        return action

    def _move(self, pose: np.ndarray) -> np.ndarray:
        pose = np.array(pose, dtype=np.float64)
        if pose.shape != (6,):
            raise ValueError("pose is not 6D")
        self._arm.move_to(pose, seconds=MOVE_SECONDS)
        self._clock.spend(MOVE_SECONDS + 0.2)
        return pose

    def _move_gripper(self, state: float) -> np.ndarray:
        wanted = state > (0.25 if self._interface.folds else 0.5)
        self._twin.set_gripper(1.0 if wanted else 0.0)
        if wanted != self._open:
            self._clock.spend(self._interface.gripper_seconds)
        self._open = wanted
        return np.array([state])

    def _reset(self, options: dict[str, Any]) -> np.ndarray:
        if options.get("reset_pose", True):
            state = np.array(options.get("target_state", [0.258325, 0, 0.19065, 0, np.pi / 2, 0, 1.0]))
            self._move_gripper(float(state[6]))
            self._move(state[:6])
            if options.get("go_sleep"):
                self._fold()
        return np.zeros(0)

    def _fold(self) -> None:
        self._twin.set_profile(2.0, 1.0)
        self._twin.go_to_joints(np.array(FOLDED))
        self._clock.spend(2.5)
        self._arm.capture()
