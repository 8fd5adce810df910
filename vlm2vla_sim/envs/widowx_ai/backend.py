"""Backend "widowx_ai": a Trossen WidowX AI arm, through the vendor's driver and cameras of this machine.

Actions, observations and info are those of every other backend. The driver takes joint goals: each step's target is
limited, kept in the workspace and turned into joint angles here, and what is out of reach is not sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.envs.probe import LOOKS, ROUND_TRIPS, Probe
from vlm2vla_sim.envs.robot_link.backend import RobotBackend
from vlm2vla_sim.envs.robot_link.settings import Corner, park_pose, start_or_default, workspace_or_default
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.envs.widowx_ai.link import TrossenLink
from vlm2vla_sim.envs.widowx_ai.settings import ArmSettings
from vlm2vla_sim.robots.base import Workspace

HOST = "192.168.1.2"
"""The address with which a controller leaves the factory."""


class WidowXAIBackend(RobotBackend):
    """A real arm, or the mock controller; see `envs.base.Backend` and, for its guarantees, docs/widowx_ai.md."""

    robot = "widowx_ai"
    own_camera = False

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        host: str = HOST,
        workspace: Workspace | tuple[Corner, Corner] | str | None = None,
        start: tuple[float, ...] | str | None = None,
        period: float = 1.0 / CONTROL_HZ,
        max_frame_age: float = 0.5,
        park: bool = False,
        cameras: Mapping[str, str] | str | None = None,
        timeout: float = 5.0,
        truth: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the cameras; the controller is connected at the first `reset`.

        Args:
            task: scene and robot; its instruction may be any (`tasks.own_task`).
            image_size: (height, width) of the images; None for none.
            quality: ignored.
            host: IP address of the controller.
            workspace: the box (low, high) [m, base frame] that the tool's target may not leave; default: the robot's.
            start: x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down]; default: the robot's.
            period: [s] from one control step to the next; each step's motion is spread over it, or over 0.2 s.
            max_frame_age: [s] older frames are not used.
            park: whether to drive the arm to its rest pose on `close`.
            cameras: name -> device or file (see `robot_link.cameras`), or "primary=/dev/video0,wrist=/dev/video2".
                Policies see "primary".
            timeout: [s] for the connection, and for each answer on it.
            truth: address of the mock controller's ground truth, for tests; a real arm has none.
            clock: [s]

        Raises:
            SettingError: a robot without this controller, a number out of range, no primary camera, or a camera that
                cannot be opened.
        """
        settings = ArmSettings(
            robot=task.arm,
            park_pose=park_pose(task.arm, (0.0, 0.0, 0.0)),
            workspace=workspace_or_default(task, workspace),
            start=start_or_default(task, start),
            image_size=image_size,
            period=period,
            max_frame_age=max_frame_age,
            frame_timeout=max_frame_age,
            home=task.setup.home,
        )
        self._trossen = TrossenLink(host, settings, timeout=timeout, clock=clock)
        super().__init__(self._trossen, settings, cameras=cameras or {}, truth=truth, park=park, clock=clock)

    @property
    def profile(self) -> str:
        """Which controller answered; part of every result."""
        identity = self._client.identity
        return identity.label if identity else "widowx_ai, not connected"

    def probe(self) -> Probe:
        """What the arm tells without moving; LinkLostError where nobody answers, RobotInUseError as in `reset`."""
        self._client.lock.acquire()
        self._restore_link()
        return Probe(
            self.profile,
            tuple(self._trossen.round_trip() for _ in range(ROUND_TRIPS)),
            tuple(self._observer.look() for _ in range(LOOKS)),
            joints=self._trossen.joints(),
            workspace=self._settings.workspace,
            start=self._settings.start[:3],
            versions=self._trossen.versions,
        )

    def report(self) -> dict[str, Any]:
        """As `RobotBackend.report`, with the gripper's effort [N] and the steps that were out of reach."""
        return {
            **super().report(),
            "grip_effort": self._trossen.effort,
            "unreachable": self._trossen.unreachable,
        }
