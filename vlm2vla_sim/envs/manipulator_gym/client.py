"""Client of a manipulator_gym server: its messages, on the rules of every robot link.

The server keeps a target of its own and adds each step to it. It answers True whether or not its inverse kinematics
found joint angles, and ends when its robot raises an exception.

rail-berkeley/manipulator_gym@c547d41 interfaces/interface_service.py
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vlm2vla_sim.envs.manipulator_gym.conventions import (
    advance,
    change_to,
    finger_from_reading,
    pose_from_absolute,
    pose_to_absolute,
)
from vlm2vla_sim.envs.manipulator_gym.protocol import MOVE_SECONDS, OBSERVATION_KEYS, SERVER
from vlm2vla_sim.envs.manipulator_gym.settings import ManipulatorGymSettings
from vlm2vla_sim.envs.robot_link.link import RawObservation, RobotLink, fault
from vlm2vla_sim.types import Pose

MAX_PARTS = 40
"""Steps as which one control step may be sent to a server that clips them, before `move_eef` is faster."""


class ManipulatorGymClient(RobotLink):
    """A connection to one robot behind a manipulator_gym server."""

    server = SERVER

    def __init__(self, host: str, port: int, settings: ManipulatorGymSettings, **options: Any) -> None:
        """Nothing is sent before `connect`. options: as `RobotLink`."""
        super().__init__(host, port, workspace=settings.workspace, **options)
        self._settings = settings
        self._commanded: np.ndarray | None = None
        self._gripper: float | None = None
        """What the gripper was last told, or how it was found."""

    # Queries.

    def observe(self) -> RawObservation:
        """The arm's state and the cameras' images; LinkLostError when the robot cannot say."""
        asked = self._clock()
        message = {"type": "obs", "keys": list(OBSERVATION_KEYS)}
        reply = self._request(message, timeout=self._timeouts.obs, acts=False)
        arrived = self._clock()
        seen = reply if isinstance(reply, dict) else {}
        pose, reading, key = seen.get("eef_pose"), seen.get("gripper_state"), self._settings.camera_key
        if not isinstance(pose, np.ndarray) or pose.shape != (6,) or not isinstance(reading, (int, float)):
            raise fault(f"The robot reports no pose of its gripper, but {str(reply)[:100]!r}.")
        if not np.isfinite(pose).all() or not math.isfinite(reading):
            raise fault(f"The robot reports a state that is not finite: {pose.tolist()}, {reading}.")
        images = {name: seen[name] for name in self._settings.image_keys if isinstance(seen.get(name), bytes)}
        if key not in images:
            raise fault(f"The robot sends no image {key!r}; it sends {', '.join(images) or 'none'}.")
        opening = self._to_bridge(reading)
        if self._gripper is None:
            self._gripper = 1.0 if self._settings.robot.opening_from_bridge(opening) > 0.5 else 0.0
        state = np.append(self._settings.robot.pose_to_numbers(pose_from_absolute(pose)), opening)
        return RawObservation(state, images.pop(key), asked, arrived, more=images)

    def controller_target(self, measured: Pose) -> Pose:
        """The server's target, which is what it was last told and not where the arm is."""
        return measured if self._commanded is None else pose_from_absolute(self._commanded)

    # Actions.

    def prepare(self, settings: ManipulatorGymSettings) -> None:
        """Nothing: the server needs no settings."""

    def reset(self) -> None:
        """Open the gripper and drive to the start pose in 4 s."""
        self._act("move_gripper", 1.0, self._timeouts.step + self._settings.interface.gripper_seconds)
        self._gripper = 1.0
        self.move(self._settings.robot.pose_from_numbers(self._settings.start), MOVE_SECONDS)

    def step(self, action: np.ndarray, *, before: Pose, after: Pose, blocking: bool = False) -> None:
        """One control step; see `RobotLink.step`. The server decides by itself whether it waits for the motion."""
        action = self.check_step(action, before=before, after=after)
        if self._commanded is None:
            raise fault("The server's target is not known: nothing is sent until reset() has driven to the start.")
        gripper = 1.0 if action[6] > 0.5 else 0.0
        change = change_to(self._commanded, after)
        parts = self._parts(change)
        if self._settings.motion == "move_eef" or parts > MAX_PARTS:
            self.move(after, MOVE_SECONDS)
            change, parts = np.zeros(6), 1
        for number in range(parts):
            # The motion comes first: the gripper acts in the last part.
            told = gripper if number == parts - 1 or self._gripper is None else self._gripper
            self._step_by(change / parts, told)
        self._gripper = gripper

    def move(self, pose: Pose, seconds: float) -> None:
        """Drive to `pose` and wait; the server takes 4 s, whatever `seconds` says."""
        numbers = pose_to_absolute(pose)
        self._check(numbers, (6,), "pose")
        self._check_inside(pose.position, "pose")
        self._commanded = None
        self._act("move_eef", numbers, self._timeouts.move + MOVE_SECONDS)
        self._commanded = numbers

    def sleep(self) -> bool:
        """Fold the arm from above the table, on interfaces that can."""
        if not self._settings.interface.folds:
            return False
        if self._gripper is None:
            self.observe()  # a held object stays held
        above = pose_to_absolute(self._settings.park_pose)
        payload = {"reset_pose": True, "target_state": np.append(above, self._gripper or 0.0), "go_sleep": True}
        self._commanded = None
        self._act("reset", payload, self._timeouts.reset)
        return True

    # Internals.

    def _parts(self, change: np.ndarray) -> int:
        most = self._settings.interface.max_change
        return 1 if most is None else max(1, math.ceil(float(np.abs(change).max()) / most - 1e-9))

    def _step_by(self, change: np.ndarray, gripper: float) -> None:
        assert self._commanded is not None
        commanded, self._commanded = self._commanded, None  # not known while a reply is outstanding
        extra = self._settings.interface.gripper_seconds
        self._act("step_action", np.append(change, gripper), self._timeouts.step + extra)
        self._commanded = advance(commanded, change)

    def _to_bridge(self, reading: float) -> float:
        robot, limits = self._settings.robot, self._settings.gripper_range
        if limits is None:
            finger = finger_from_reading(robot, self._settings.interface, reading)
        else:
            closed, opened = limits
            finger = robot.gripper.finger((reading - closed) / (opened - closed))
        return robot.finger_to_bridge(finger)

    def _act(self, key: str, payload: Any, timeout: float) -> Any:
        reply = super()._act(key, payload, timeout)
        status = reply.get("status") if isinstance(reply, dict) else None
        if status is True:
            return reply
        if status in (False, None) and isinstance(reply, dict) and "status" in reply:
            raise fault(f"The robot could not execute {key!r}: {str(reply)[:100]}.")
        raise self._lose(f"The robot replied {key!r} with {str(reply)[:100]!r}; expected a status.")
