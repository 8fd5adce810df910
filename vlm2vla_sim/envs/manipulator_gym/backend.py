"""Backend "manipulator_gym": a WidowX 250 S on ROS 1 or ROS 2 (Interbotix), through a manipulator_gym server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.envs.manipulator_gym.client import ManipulatorGymClient
from vlm2vla_sim.envs.manipulator_gym.protocol import PORT, PRIMARY, find_interface
from vlm2vla_sim.envs.manipulator_gym.settings import ManipulatorGymSettings
from vlm2vla_sim.envs.robot_link.backend import RobotBackend
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts
from vlm2vla_sim.envs.robot_link.settings import Corner, park_pose, read_numbers, start_or_default, workspace_or_default
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.robots.base import Workspace


class ManipulatorGymBackend(RobotBackend):
    """A real arm behind a manipulator_gym server, or the mock server; for its guarantees see docs/real_robot.md."""

    soft_grip = False  # the server opens or closes, with a force of its own
    stall_behind = 0.015  # a step that the server did not carry out stays missing: its target is not ours any more

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        host: str = "127.0.0.1",
        port: int = PORT,
        allow_remote: bool = False,
        interface: str = "widowx",
        motion: str = "step_action",
        workspace: Workspace | tuple[Corner, Corner] | str | None = None,
        start: tuple[float, ...] | str | None = None,
        period: float = 1.0 / CONTROL_HZ,
        max_frame_age: float = 0.5,
        frame_timeout: float = 3.0,
        park: bool = False,
        camera_key: str = PRIMARY,
        cameras: Mapping[str, str] | None = None,
        gripper_range: tuple[float, float] | str | None = None,
        timeouts: Timeouts | None = None,
        truth: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before the first `reset`.

        Args:
            task: scene and robot; its instruction may be any (`tasks.own_task`).
            image_size: (height, width) of the images; None for none.
            quality: ignored.
            host: of the robot server.
            port: of the robot server.
            allow_remote: whether `host` may be another machine.
            interface: the flag with which the server was started: "widowx" (ROS 1) or "widowx_ros2".
            motion: how a control step is sent: "step_action", or "move_eef", an absolute pose, which takes 4 s.
            workspace: the box (low, high) [m, base frame] that the gripper's target may not leave; default: the task's.
            start: x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down]; default: the robot's for the task's scene.
            period: [s] from one control step to the next.
            max_frame_age: [s] older frames are not used.
            frame_timeout: [s] to wait for a fresh one.
            park: whether to park the arm on `close`.
            camera_key: the server's image that is the primary one: "primary_img" or "wrist_img".
            cameras: additional ones, name -> the server's "wrist_img" or "primary_img", or a device or file on this
                machine (see `robot_link.cameras`).
            gripper_range: the server's readings of the closed and of the open gripper; default: the interface's.
            timeouts: of the server's methods.
            truth: address of the mock server's ground truth, for tests; a real arm has none.
            clock: [s]

        Raises:
            SettingError: the robot has no Interbotix gripper, or a number is out of range.
        """
        task.arm.interbotix_gripper  # noqa: B018 - refused here for a robot that has none
        settings = ManipulatorGymSettings(
            robot=task.arm,
            park_pose=park_pose(task.arm, task.arm.bridge_server.park),
            workspace=workspace_or_default(task, workspace),
            start=start_or_default(task, start),
            image_size=image_size,
            period=period,
            max_frame_age=max_frame_age,
            frame_timeout=frame_timeout,
            interface=find_interface(interface),
            motion=motion,
            camera_key=camera_key,
            gripper_range=_pair(gripper_range) if isinstance(gripper_range, str) else gripper_range,
        )
        client = ManipulatorGymClient(host, port, settings, allow_remote=allow_remote, timeouts=timeouts, clock=clock)
        super().__init__(client, settings, cameras=cameras or {}, truth=truth, park=park, clock=clock)


def _pair(text: str) -> tuple[float, float]:
    closed, opened = read_numbers(
        text, (2,), "gripper_range", "the readings of the closed and the open gripper"
    ).tolist()
    return closed, opened
