"""The backend of a robot behind a server, whatever the server's messages.

Actions, observations and info are the same as on every other backend. Three things are different and are handled here:
the positions of the objects are unknown, the arm may not have done what the server reports, and an image may be old.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.envs.base import Observation
from vlm2vla_sim.envs.probe import Probe
from vlm2vla_sim.envs.robot_link.bounded_step import bound_step
from vlm2vla_sim.envs.robot_link.grip import PATIENCE, Grip
from vlm2vla_sim.envs.robot_link.link import LinkState, RobotLink
from vlm2vla_sim.envs.robot_link.observer import Observer
from vlm2vla_sim.envs.robot_link.park import drive_to_park, sleep_robot
from vlm2vla_sim.envs.robot_link.probe import probe_robot
from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT
from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.envs.robot_link.stall import BEHIND, StallWatch
from vlm2vla_sim.envs.robot_link.start_pose import StartPose
from vlm2vla_sim.envs.robot_link.unexplained_motion import MotionWatch
from vlm2vla_sim.envs.tasks import Layout
from vlm2vla_sim.errors import LinkLostError, SettingError, Vlm2VlaError
from vlm2vla_sim.types import Pose, Status

STILL_THERE = 0.01
"""[m] from where a reset left the arm within which it needs no second one."""
REANCHOR_SECONDS = 0.5


class RobotBackend:
    """A real arm, or a mock server; see `envs.base.Backend` and, for its guarantees, docs/real_robot.md."""

    real_robot = True
    knows_scene: bool | None = None
    """Only with `truth`, the state channel of a mock server."""
    soft_grip = True
    """Whether a held object can be held with part of the motor's power."""
    stall_behind = BEHIND
    """[m] off its target at which an arm that is still is called stalled."""

    def __init__(
        self,
        client: RobotLink,
        settings: RobotSettings,
        *,
        cameras: Mapping[str, str] | str,
        truth: str,
        park: bool,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is sent before the first `reset`. Arguments: see `bridge.backend.BridgeBackend`."""
        self._settings, self._client = settings, client
        self._observer = Observer(client, settings, cameras=cameras, truth=truth, clock=clock)
        self._start = StartPose(self._observer, settings)
        self.knows_scene = self._observer.knows_scene
        self._park, self._clock = park, clock
        self.safe_point: Callable[[], None] = lambda: None
        """Called between two motions of a reset; what it raises ends the reset there."""
        self._initialised = False
        self._ready_for: Layout | None = None
        self._begin()

    # Optional attributes that the environment reads.

    @property
    def profile(self) -> str:
        """Which robot answered; part of every result."""
        identity = self._client.identity
        return identity.label if identity else "widowx250s, not connected"

    @property
    def camera_sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of every additional camera."""
        return self._observer.camera_sizes

    def report(self) -> dict[str, Any]:
        """For `info`: age of the image on arrival [s] and what was converted of it, stalls, soft hold, the link."""
        return {
            "frame_age": self._observer.age,
            "image_converted": self._observer.converted,
            "stalled": self._stalled,
            "stalls": self._stalls,
            "soft_hold": self._grip.holding,
            "link": self._client.link.value,
            "server": self._client.identity.text if self._client.identity else "",
            "success_known": self._observer.scene is not None,
        }

    # The methods of a backend.

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Send the arm to its start. The operator places the objects; the mock server places them itself.

        An arm that still stands there after the last reset, since which nothing was sent, does not move again.
        RobotInUseError while another client of this machine uses the robot.
        """
        try:
            self._client.lock.acquire()
            self._restore_link()
            if not self._stands_ready(layout):
                self._drive_to_start(layout)
        except LinkLostError:
            self._initialised, self._ready_for = False, None
            raise

    def move(self, delta: np.ndarray) -> None:
        """One control step: send it, let the arm move for the rest of the period, observe."""
        try:
            self._ready_for = None
            self._wait_for_period()
            paused, before = self._clock() - self._observer.seen_at, self._observer.tcp.position
            self._motion.check_pause(before, self._target.position, self._look, seconds=paused, clock=self._clock)
            self._stalled = False
            self._step(np.asarray(delta, dtype=np.float64))
            self._wait_for_period(lead=self._observer.seconds)
            before = self._observer.tcp.position
            self._motion.check_step(before, self._target.position, self._look())
            softened = self._grip.watch(self._observer.gripper_reading)
            self._check_gripper()
            if softened:
                self._step(np.array([0, 0, 0, 0, 0, 0, delta[6]], dtype=np.float64))
            if self._stall.watch(self._target, self._observer.tcp):
                self._reanchor(float(delta[6]))
        except LinkLostError as lost:
            self._initialised &= lost.reason != ROBOT_FAULT
            raise

    def observe(self) -> Observation:
        """The last observation; its age is in `report`."""
        return self._observer.observation()

    def status(self) -> Status:
        """The arm as last observed; no scene, unless the mock server's ground truth is used."""
        return self._observer.status(self._target)

    def probe(self) -> Probe:
        """What the robot tells without moving; LinkLostError where nobody answers, RobotInUseError as in `reset`."""
        self._client.lock.acquire()
        self._restore_link()
        return probe_robot(self._client, self._observer, self._settings, clock=self._clock)

    def sleep(self, *, force: bool = False) -> None:
        """Park the arm without a reset, from a second terminal, and disconnect; see `park.sleep_robot`."""
        sleep_robot(self._client, self._settings, force=force)

    def close(self) -> None:
        """Disconnect and leave the arm holding its position; with `park`, and a working link, park it first."""
        try:
            if self._park and self._initialised:
                self._park = False
                self._park_arm()
        finally:
            self._client.close()
            self._observer.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> RobotBackend:
        raise SettingError(
            f"An environment on the backend {self._settings.backend!r} cannot be copied: there is only one arm."
        )

    # Internals.

    def _begin(self) -> None:
        self._grip = Grip(closed=self._settings.closed_reading, soft=self.soft_grip)
        self._stall, self._motion = StallWatch(behind=self.stall_behind), MotionWatch(period=self._settings.period)
        self._stalled, self._stalls = False, 0
        self._sent_at = -np.inf
        self._observer.begin()

    def _restore_link(self) -> None:
        if self._client.link is LinkState.CLOSED:
            self._client.connect()
        elif self._client.link is LinkState.UNKNOWN:
            self._initialised &= self._client.resync()

    def _step(self, delta: np.ndarray, *, blocking: bool = False) -> None:
        """Send `delta`, bounded to the workspace, with the gripper's soft hold."""
        action, after = bound_step(
            delta, target=self._target, measured=self._observer.tcp, workspace=self._settings.workspace
        )
        action[6] = self._grip.command(float(action[6]))
        self._sent_at = self._clock()
        self._client.step(action, before=self._target, after=after, blocking=blocking)
        self._target = after

    def _wait_for_period(self, *, lead: float = 0.0) -> None:
        left = self._sent_at + self._settings.period - lead - self._clock()
        if left > 0:
            time.sleep(left)

    def _drive_to_start(self, layout: Layout) -> None:
        self._observer.place(layout)
        if self._prepare():
            self.safe_point()
            self._client.reset()
        self._begin()
        self._observer.update()
        self._start.check()
        self._target, self._ready_for = self._client.controller_target(self._observer.tcp), layout

    def _prepare(self) -> bool:
        """Make the server ready to move if that is to be done; whether the arm needs a reset."""
        if self._initialised:
            return True
        self._client.prepare(self._settings)
        self._initialised = True
        if not self._client.prepare_may_reset or self._start.is_near_neutral:
            return True
        self._observer.update()
        return not (self._start.is_reached and self._start.is_open)

    def _stands_ready(self, layout: Layout) -> bool:
        """Whether the last reset still holds: nothing was sent since, and the arm stands as it left it, open."""
        if self._ready_for is None or (self.knows_scene and self._ready_for != layout):
            return False
        moved = float(np.linalg.norm(self._look() - self._target.position))
        return moved < STILL_THERE and self._start.is_open

    def _look(self) -> np.ndarray:
        """(3,) [m] where the gripper is now, base frame."""
        self._observer.update()
        return self._observer.tcp.position

    def _check_gripper(self) -> None:
        if self._grip.stuck:
            raise LinkLostError(
                f"The gripper reads {self._observer.gripper_reading:.2f} (open) after it was told to close for "
                f"{PATIENCE} steps: it does not follow. Reboot its motor, or check its cable.",
                reason=ROBOT_FAULT,
            )

    def _reanchor(self, gripper: float) -> None:
        """The arm does not follow: set the controller's target to the measured pose, so that no offset accumulates."""
        self._stalled = True
        self._stalls += 1
        here = np.clip(self._observer.tcp.position, self._settings.workspace.low, self._settings.workspace.high)
        self._client.move(Pose(here, self._observer.tcp.quaternion), REANCHOR_SECONDS)
        self._observer.update()
        self._target = self._client.controller_target(self._observer.tcp)
        # A move leaves its duration in the servos; one blocking step restores their 0.2 s.
        self._step(np.array([0, 0, 0, 0, 0, 0, gripper]), blocking=True)
        self._stall = StallWatch(behind=self.stall_behind)
        self._motion.reanchor()

    def _park_arm(self) -> None:
        try:
            self._restore_link()
            drive_to_park(self._client, self._settings, self._client.observe().state[:3])
        except Vlm2VlaError as error:
            raise LinkLostError(f"The arm could not be parked and holds where it is: {error}") from error
