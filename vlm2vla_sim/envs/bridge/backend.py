"""Backend "bridge": a real arm such as the WidowX 250 S of BridgeData, through the BridgeData robot server.

Actions, observations and info are the same as on every other backend. Three things are different and are handled here:
the positions of the objects are unknown, the arm may not have done what the server reports, and an image may be old.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.envs.bridge.client import ROBOT_FAULT, BridgeClient, LinkState, RawObservation
from vlm2vla_sim.envs.bridge.freshness import FrameClock
from vlm2vla_sim.envs.bridge.grip import Grip
from vlm2vla_sim.envs.bridge.protocol import PORT, Timeouts
from vlm2vla_sim.envs.bridge.stall import StallWatch
from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.errors import LinkLostError, SettingError, Vlm2VlaError
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import Pose, RobotState, SceneState, Status

AT_START = 0.05
"""[m] from the start pose within which the arm has arrived."""
JUMP = 0.06
"""[m] off the straight line to its target beyond which something else moved the arm: a hard reset, or a person."""
REANCHOR_SECONDS = 0.5
Corner = tuple[float, float, float]


class BridgeBackend:
    """A real arm, or the mock server; see `envs.base.Backend` and, for its guarantees, docs/real_robot.md."""

    real_robot = True
    knows_scene: bool | None = None
    """Only with `truth`, the state channel of a mock server."""

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        host: str = "127.0.0.1",
        port: int = PORT,
        allow_remote: bool = False,
        workspace: Workspace | tuple[Corner, Corner] | None = None,
        start: tuple[float, ...] | None = None,
        period: float = 1.0 / CONTROL_HZ,
        max_frame_age: float = 0.5,
        frame_timeout: float = 3.0,
        park: bool = False,
        camera_topic: str = "/blue/image_raw",
        cameras: Mapping[str, str] | None = None,
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
        box = workspace if isinstance(workspace, Workspace) else Workspace(*workspace) if workspace else None
        self._robot = task.arm
        server = self._robot.bridge_server
        self._workspace = box or task.setup.workspace
        self._start = np.array(_start(task, start), dtype=np.float64)
        self._park_pose = Pose(np.array(server.park), frames.matrix_to_quaternion(self._robot.down))
        if self._start.shape != (6,) or not np.isfinite(self._start).all():
            raise SettingError(f"start is {start}; expected x, y, z [m], roll, pitch, yaw [rad].")
        if (
            not (np.array(self._workspace.low) <= self._start[:3]).all()
            or not (self._start[:3] <= np.array(self._workspace.high)).all()
        ):
            raise SettingError(f"The start {self._start[:3].tolist()} lies outside the workspace {self._workspace}.")
        if not 0 <= period <= 5 or not 0 < max_frame_age <= frame_timeout:
            raise SettingError(
                f"period is {period} s (expected 0 to 5), max_frame_age {max_frame_age} s (expected more than 0 and at "
                f"most frame_timeout, {frame_timeout} s)."
            )
        self._client = BridgeClient(
            host, port, workspace=self._workspace, allow_remote=allow_remote, timeouts=timeouts, clock=clock
        )
        self._image_size, self._period, self._clock = image_size, period, clock
        self._max_age, self._frame_timeout, self._park = max_frame_age, frame_timeout, park
        self._camera_topic = camera_topic
        self._initialised = False
        self._frame_clock = FrameClock()
        self._cameras = _open_cameras(cameras or {}, image_size)
        self._truth = _open_truth(truth)
        self.knows_scene = self._truth is not None
        self._scene: SceneState | None = None
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
        return {} if self._image_size is None else dict.fromkeys(self._cameras, self._image_size)

    def report(self) -> dict[str, Any]:
        """For `info`: age of the frame on arrival [s], stalls so far, whether a soft hold is on, state of the link."""
        return {
            "frame_age": self._age,
            "stalled": self._stalled,
            "stalls": self._stalls,
            "soft_hold": self._grip.holding,
            "link": self._client.link.value,
            "server": self._client.identity.text if self._client.identity else "",
            "success_known": self._scene is not None,
        }

    # The methods of a backend.

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Send the arm to its start. The operator places the objects; the mock server places them itself."""
        try:
            self._restore_link()
            if self._truth is not None:
                self._truth.place(layout)
            if not self._initialised:
                self._client.init(self._env_params())
                self._initialised = True
            self._client.reset()
            self._begin()
            self._update()
        except LinkLostError:
            self._initialised = False
            raise
        self._target = self._tcp
        missed = float(np.linalg.norm(self._tcp.position - self._start[:3]))
        if missed > AT_START:
            self._initialised = False
            raise LinkLostError(
                f"After reset the gripper is {100 * missed:.0f} cm from its start. Is something in its way, or a "
                "motor in error? Check the arm before the next reset.",
                reason=ROBOT_FAULT,
            )

    def move(self, delta: np.ndarray) -> None:
        """One control step: send it, let the arm move for the rest of the period, observe."""
        try:
            self._wait_for_period()
            self._stalled = False
            self._step(np.asarray(delta, dtype=np.float64))
            self._wait_for_period(lead=self._observe_seconds)
            before = self._tcp.position
            self._update()
            self._check_for_jump(before)
            if self._grip.watch(self._reading):
                self._step(np.array([0, 0, 0, 0, 0, 0, delta[6]], dtype=np.float64))
            if self._stall.watch(self._target, self._tcp):
                self._reanchor(float(delta[6]))
        except LinkLostError as lost:
            self._initialised &= lost.reason != ROBOT_FAULT
            raise

    def observe(self) -> Observation:
        """The last observation; its age is in `report`."""
        state = self._robot.agent_pos(self._tcp, self._robot.opening_from_bridge(self._reading))
        if self._pixels is None:
            return {"agent_pos": state}
        pixels = {"primary": self._pixels}
        pixels |= {name: camera.read_latest() for name, camera in self._cameras.items()}
        return {"pixels": pixels, "agent_pos": state}

    def status(self) -> Status:
        """The arm as last observed; no scene, unless the mock server's ground truth is used."""
        robot = RobotState(tcp=self._tcp, target=self._target, gripper=self._robot.opening_from_bridge(self._reading))
        return Status(robot, self._scene)

    def close(self) -> None:
        """Disconnect and leave the arm holding its position; with `park`, and a working link, park it first."""
        try:
            if self._park and self._initialised:
                self._park = False
                self._park_arm()
        finally:
            self._client.close()
            for camera in self._cameras.values():
                camera.close()
            if self._truth is not None:
                self._truth.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> BridgeBackend:
        raise SettingError("An environment on the backend 'bridge' cannot be copied: there is only one arm.")

    # Internals.

    def _begin(self) -> None:
        self._grip, self._stall = Grip(closed=self._robot.finger_to_bridge(self._robot.gripper.closed)), StallWatch()
        self._stalled, self._stalls = False, 0
        self._sent_at = -np.inf
        self._observe_seconds = 0.0
        self._age = 0.0
        self._reading = 1.0

    def _restore_link(self) -> None:
        if self._client.link is LinkState.CLOSED:
            self._client.connect()
        elif self._client.link is LinkState.UNKNOWN:
            self._initialised &= self._client.resync()

    def _env_params(self) -> dict[str, Any]:
        low, high = self._workspace.low, self._workspace.high
        return {
            "fix_zangle": 0.1,
            "move_duration": 0.2,
            "adaptive_wait": True,
            "move_to_rand_start_freq": 1,
            # The last two numbers bound pitch and gripper, which "xyz" clipping ignores.
            "override_workspace_boundaries": [[*map(float, low), -1.57, 0.0], [*map(float, high), 1.57, 0.0]],
            "action_clipping": "xyz",
            "catch_environment_except": False,
            "start_state": [*map(float, self._start), 1.0],
            "skip_move_to_neutral": False,
            "return_full_image": True,
            "camera_topics": [{"name": self._camera_topic}],
        }

    def _step(self, delta: np.ndarray, *, blocking: bool = False) -> None:
        """Send `delta`, shortened where the turn about the gripper would carry the target out of the workspace."""
        delta, _ = motion.limit(delta, target=self._target.position, workspace=self._workspace)
        low = np.minimum(self._workspace.low, self._target.position)
        high = np.maximum(self._workspace.high, self._target.position)
        after = frames.advance_target(self._target, self._tcp, delta)
        delta[:3] += np.clip(after.position, low, high) - after.position
        if np.abs(delta[:3]).max() > motion.MAX_STEP:
            # A target far ahead of the arm moves far when rotated about it; without the rotation it stays inside.
            delta, _ = motion.limit(
                delta * [0, 0, 0, 0, 0, 0, 1], target=self._target.position, workspace=self._workspace
            )
        action = frames.action_to_bridge(delta)
        # The Euler angles of a rotation within the limit may exceed it by a rounding error.
        action[3:6] = np.clip(action[3:6], -motion.MAX_TURN, motion.MAX_TURN)
        action[6] = self._grip.command(float(delta[6]))
        after = frames.advance_target(self._target, self._tcp, frames.action_from_bridge(action))
        inside = np.clip(after.position, low, high)  # the effect of that rounding error
        action[:3] = np.clip(action[:3] + inside - after.position, -motion.MAX_STEP, motion.MAX_STEP)
        after = Pose(inside, after.quaternion)
        self._sent_at = self._clock()
        self._client.step(action, before=self._target, after=after, blocking=blocking)
        self._target = after

    def _wait_for_period(self, *, lead: float = 0.0) -> None:
        left = self._sent_at + self._period - lead - self._clock()
        if left > 0:
            time.sleep(left)

    def _update(self) -> None:
        """Fetch a fresh observation; LinkLostError when there is none within `frame_timeout`."""
        end = self._clock() + self._frame_timeout
        while True:
            raw = self._client.observe()
            self._age = self._frame_clock.age(raw.jpeg, asked=raw.asked, arrived=raw.arrived)
            if self._age <= self._max_age:
                break
            if self._clock() > end:
                raise LinkLostError(
                    f"The camera's image is at least {self._age:.1f} s old, and no newer one came within "
                    f"{self._frame_timeout:g} s. Check the camera's cable and its ROS node.",
                    reason="camera_stale",
                )
            time.sleep(min(0.05, self._max_age / 10))
        # At most half a period, so that a slow camera leaves time for the motion.
        self._observe_seconds = min(raw.arrived - raw.asked, self._period / 2)
        self._tcp, self._reading = self._robot.pose_from_numbers(raw.state), float(raw.state[6])
        self._pixels = None if self._image_size is None else decode_image(raw, self._image_size)
        self._scene = self._truth.scene() if self._truth is not None else None

    def _check_for_jump(self, before: np.ndarray) -> None:
        way = self._target.position - before
        along = float(np.clip(np.dot(self._tcp.position - before, way) / max(float(way @ way), 1e-9), 0, 1))
        jump = float(np.linalg.norm(self._tcp.position - (before + along * way)))
        if jump > JUMP:
            raise LinkLostError(
                f"The gripper is {100 * jump:.0f} cm off the path to its target: its server was reset, or the arm was "
                "moved by hand.",
                reason=ROBOT_FAULT,
            )

    def _reanchor(self, gripper: float) -> None:
        """The arm does not follow: set the controller's target to the measured pose, so that no offset accumulates."""
        self._stalled = True
        self._stalls += 1
        here = np.clip(self._tcp.position, self._workspace.low, self._workspace.high)
        self._client.move(Pose(here, self._tcp.quaternion), REANCHOR_SECONDS)
        self._update()
        self._target = self._tcp
        # A move leaves its duration in the servos; one blocking step restores their 0.2 s.
        self._step(np.array([0, 0, 0, 0, 0, 0, gripper]), blocking=True)
        self._stall = StallWatch()

    def _park_arm(self) -> None:
        try:
            self._restore_link()
            identity = self._client.identity
            if identity is not None and "sleep" in identity.methods:
                self._client.sleep()
                return
            park = self._park_pose
            above = np.array([*self._tcp.position[:2], max(self._tcp.position[2], park.position[2])])
            for position in (above, park.position):
                inside = np.clip(position, self._workspace.low, self._workspace.high)
                self._client.move(Pose(inside, park.quaternion), 2.0)
        except Vlm2VlaError as error:
            raise LinkLostError(f"The arm could not be parked and holds where it is: {error}") from error


def decode_image(raw: RawObservation, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the image of an observation, resized to `size` (height, width)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw.jpeg), formats=("JPEG",)) as image:
            if image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.BOX)
            return frames.image_from_bridge(np.asarray(image.convert("RGB")))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise LinkLostError(f"The camera's image cannot be decoded: {error}", reason="camera_stale") from error


def _start(task: Task, start: tuple[float, ...] | None) -> tuple[float, ...]:
    """The given start pose, else that of the task's robot in front of its scene; SettingError if there is none."""
    found = start or task.setup.start
    if found is None:
        raise SettingError(
            f"The robot {task.arm.name!r} has no start pose for the scene {task.scene.name!r}. Give one: "
            "start=(x, y, z, roll, pitch, yaw)."
        )
    return found


def _open_cameras(cameras: Mapping[str, str], size: tuple[int, int] | None) -> dict[str, Any]:
    if not cameras:
        return {}
    if size is None:
        raise SettingError("cameras were given, and image_size=None reads no images. Give an image_size.")
    for name, source in cameras.items():
        if not isinstance(source, str):
            raise SettingError(
                f"The camera {name!r} is {source!r}; the backend 'bridge' takes a device or file such as /dev/video2."
            )
    from vlm2vla_sim.envs.bridge.cameras import DeviceCamera

    return {name: DeviceCamera(source, size=size, name=name) for name, source in cameras.items()}


def _open_truth(address: str) -> Any:
    if not address:
        return None
    from vlm2vla_sim.envs.bridge.ground_truth import TruthClient

    return TruthClient(address)
