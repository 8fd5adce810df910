"""Backend "bridge": a real arm such as the WidowX 250 S of BridgeData, through the BridgeData robot server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.envs.bridge.client import BridgeClient
from vlm2vla_sim.envs.bridge.protocol import PORT
from vlm2vla_sim.envs.bridge.settings import BridgeSettings
from vlm2vla_sim.envs.robot_link.backend import RobotBackend
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts
from vlm2vla_sim.envs.robot_link.settings import Corner, park_pose, start_or_default, workspace_or_default
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.robots.base import Workspace


class BridgeBackend(RobotBackend):
    """A real arm behind a BridgeData server, or the mock server; for its guarantees see docs/real_robot.md."""

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        host: str = "127.0.0.1",
        port: int = PORT,
        allow_remote: bool = False,
        workspace: Workspace | tuple[Corner, Corner] | str | None = None,
        start: tuple[float, ...] | str | None = None,
        period: float = 1.0 / CONTROL_HZ,
        max_frame_age: float = 0.5,
        frame_timeout: float = 3.0,
        park: bool = False,
        camera_topic: str = "/blue/image_raw",
        cameras: Mapping[str, str] | str | None = None,
        timeouts: Timeouts | None = None,
        truth: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before the first `reset`.

        Args:
            task: scene and robot; its instruction may be any (`tasks.own_task`).
            image_size: (height, width) of the images; None for none.
            quality: ignored.
            host: of the robot server: a name, an IPv4 or IPv6 address, with a port or without ("[::1]:5556").
            port: of the robot server.
            allow_remote: whether `host` may be another machine.
            workspace: the box (low, high) [m, base frame] that the gripper's target may not leave; default: the task's.
            start: x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down]; default: the robot's for the task's scene.
            period: [s] from one control step to the next.
            max_frame_age: [s] older frames are not used.
            frame_timeout: [s] to wait for a fresh one.
            park: whether to park the arm on `close`.
            camera_topic: ROS topic of the primary camera.
            cameras: additional cameras on this machine, name -> device or file (see `cameras`).
            timeouts: of the server's methods.
            truth: address of the mock server's ground truth, for tests; a real arm has none.
            clock: [s]

        Raises:
            SettingError: the robot has no BridgeData server, or a number is out of range.
        """
        settings = BridgeSettings(
            robot=task.arm,
            park_pose=park_pose(task.arm, task.arm.bridge_server.park),
            workspace=workspace_or_default(task, workspace),
            start=start_or_default(task, start),
            image_size=image_size,
            period=period,
            max_frame_age=max_frame_age,
            frame_timeout=frame_timeout,
            camera_topic=camera_topic,
        )
        client = BridgeClient(
            host, port, workspace=settings.workspace, allow_remote=allow_remote, timeouts=timeouts, clock=clock
        )
        super().__init__(client, settings, cameras=cameras or {}, truth=truth, park=park, clock=clock)
