"""Backend "bridge": the real WidowX 250 S of BridgeData, through the robot server that its laboratories run.

To a policy it is one more backend: same actions, same observations, same info. What is different stays in here: nobody
knows where the objects are, the arm may not do what it said it did, and a picture may be old.
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
from vlm2vla_sim.envs.bridge.client import ROBOT_FAULT, BridgeClient, Link, RawObservation
from vlm2vla_sim.envs.bridge.freshness import FrameClock
from vlm2vla_sim.envs.bridge.grip import Grip
from vlm2vla_sim.envs.bridge.protocol import PORT, Timeouts
from vlm2vla_sim.envs.bridge.stall import StallWatch
from vlm2vla_sim.envs.motion import Workspace
from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.errors import LinkLostError, SettingError, Vlm2VlaError
from vlm2vla_sim.types import Pose, RobotState, SceneState, Status

STARTS = {"table": (0.292, -0.006, 0.135, -0.005, 0.057, -0.019), "sink": (0.250, -0.068, 0.228, 0.007, 0.048, 0.009)}
"""x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down]: SIMPLER's own start, so that sim and real begin alike."""
AT_START = 0.05
"""[m] from the start pose within which the arm counts as having arrived."""
JUMP = 0.06
"""[m] off the line to its target beyond which the arm was moved by another: a hard reset of its server, or a hand."""
PARK = Pose(np.array([0.20, 0.0, 0.12]), frames.matrix_to_quaternion(frames.BRIDGE_GRIPPER_DOWN))
"""Where `park` sends an arm whose server knows no "sleep": close to its base, gripper down, above the table."""
REANCHOR_SECONDS = 0.5
Corner = tuple[float, float, float]


class BridgeBackend:
    """A real arm, or a stand-in; see `envs.base.Backend` for the contract and docs/real_robot.md for the promises."""

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

        host, port: of the robot server. allow_remote: let `host` be another machine. workspace: the box (low, high)
        [m, base frame] that the gripper's target may not leave; by default the task's. start: x, y, z [m], roll, pitch,
        yaw [rad, 0 = gripper down]. period: [s] from one step to the next. max_frame_age: [s] older frames are not
        shown. frame_timeout: [s] a fresh one is waited for. park: fold the arm up when closing. camera_topic: the ROS
        topic of the camera. cameras: further cameras on this machine, name -> device or file (see `cameras`).
        truth: address of a stand-in's state channel (for tests); a real arm has none. quality: ignored.
        """
        box = workspace if isinstance(workspace, Workspace) else Workspace(*workspace) if workspace else None
        self._workspace = box or task.scene.workspace
        self._start = np.array(start or STARTS.get(task.scene.name, STARTS["table"]), dtype=np.float64)
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

    # What the environment asks for beyond the contract.

    @property
    def profile(self) -> str:
        """Who the robot is: part of every result."""
        identity = self._client.identity
        return identity.label if identity else "widowx250s, not connected"

    @property
    def camera_sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of every further camera."""
        return {} if self._image_size is None else dict.fromkeys(self._cameras, self._image_size)

    def report(self) -> dict[str, Any]:
        """For `info`: the frame's age on arrival [s], stalls so far, whether the gripper holds softly, the link."""
        return {
            "frame_age": self._age,
            "stalled": self._stalled,
            "stalls": self._stalls,
            "soft_hold": self._grip.holding,
            "link": self._client.link.value,
            "server": self._client.identity.text if self._client.identity else "",
            "success_known": self._scene is not None,
        }

    # The contract.

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Send the arm to its start. The objects are a person's business, or a stand-in's through its state channel."""
        try:
            self._restore_link()
            if self._truth is not None:
                self._truth.place(layout)
            if not self._initialised:
                self._client.init(self._env_params())
                self._initialised = True
            self._client.reset()
            self._begin()
            self._look()
        except LinkLostError:
            self._initialised = False
            raise
        self._target = self._tcp
        missed = float(np.linalg.norm(self._tcp.position - self._start[:3]))
        if missed > AT_START:
            self._initialised = False
            raise LinkLostError(
                f"After reset the gripper is {100 * missed:.0f} cm from its start. Is something in the arm's way, or a "
                "motor in error? (Look at the arm before the next reset.)",
                reason=ROBOT_FAULT,
            )

    def move(self, delta: np.ndarray) -> None:
        """One control step: send it, let the arm move for the rest of the period, look."""
        try:
            self._wait_for_period()
            self._stalled = False
            self._step(np.asarray(delta, dtype=np.float64))
            self._wait_for_period(lead=self._look_seconds)
            before = self._tcp.position
            self._look()
            self._check_for_jump(before)
            if self._grip.watch(self._reading):
                self._step(np.array([0, 0, 0, 0, 0, 0, delta[6]], dtype=np.float64))
            if self._stall.watch(self._target, self._tcp):
                self._reanchor(float(delta[6]))
        except LinkLostError as lost:
            self._initialised &= lost.reason != ROBOT_FAULT
            raise

    def observe(self) -> Observation:
        """The last look; its age is in `report`."""
        state = frames.agent_pos(self._tcp, frames.opening_from_bridge(self._reading))
        if self._pixels is None:
            return {"agent_pos": state}
        pixels = {"primary": self._pixels}
        pixels |= {name: camera.read_latest() for name, camera in self._cameras.items()}
        return {"pixels": pixels, "agent_pos": state}

    def status(self) -> Status:
        """The arm as of the last look; no scene, unless a stand-in's state channel tells."""
        robot = RobotState(tcp=self._tcp, target=self._target, gripper=frames.opening_from_bridge(self._reading))
        return Status(robot, self._scene)

    def close(self) -> None:
        """Hang up and leave the arm holding, after sending it to sleep if `park` was asked for and the link is well."""
        try:
            if self._park and self._initialised:
                self._park = False
                self._fold_up()
        finally:
            self._client.close()
            for camera in self._cameras.values():
                camera.close()
            if self._truth is not None:
                self._truth.close()

    # Parts.

    def _begin(self) -> None:
        self._grip, self._stall = Grip(), StallWatch()
        self._stalled, self._stalls = False, 0
        self._sent_at = -np.inf
        self._look_seconds = 0.0
        self._age = 0.0
        self._reading = 1.0

    def _restore_link(self) -> None:
        if self._client.link is Link.CLOSED:
            self._client.connect()
        elif self._client.link is Link.UNKNOWN:
            self._initialised &= self._client.resync()

    def _env_params(self) -> dict[str, Any]:
        low, high = self._workspace.low, self._workspace.high
        return {
            "fix_zangle": 0.1,
            "move_duration": 0.2,
            "adaptive_wait": True,
            "move_to_rand_start_freq": 1,
            # The last two numbers bound pitch and gripper, which "xyz" clipping does not read.
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
            # A target far ahead of the arm swings far when turned about it; without the turn it stays inside.
            delta, _ = motion.limit(
                delta * [0, 0, 0, 0, 0, 0, 1], target=self._target.position, workspace=self._workspace
            )
        action = frames.action_to_bridge(delta)
        # The Euler angles of a turn within the limit may exceed it by a hair.
        action[3:6] = np.clip(action[3:6], -motion.MAX_TURN, motion.MAX_TURN)
        action[6] = self._grip.command(float(delta[6]))
        after = frames.advance_target(self._target, self._tcp, frames.action_from_bridge(action))
        inside = np.clip(after.position, low, high)  # what the hair did
        action[:3] = np.clip(action[:3] + inside - after.position, -motion.MAX_STEP, motion.MAX_STEP)
        after = Pose(inside, after.quaternion)
        self._sent_at = self._clock()
        self._client.step(action, before=self._target, after=after, blocking=blocking)
        self._target = after

    def _wait_for_period(self, *, lead: float = 0.0) -> None:
        left = self._sent_at + self._period - lead - self._clock()
        if left > 0:
            time.sleep(left)

    def _look(self) -> None:
        """A look that is fresh, or LinkLostError."""
        end = self._clock() + self._frame_timeout
        while True:
            raw = self._client.observe()
            self._age = self._frame_clock.age(raw.jpeg, asked=raw.asked, arrived=raw.arrived)
            if self._age <= self._max_age:
                break
            if self._clock() > end:
                raise LinkLostError(
                    f"The camera shows a picture that is at least {self._age:.1f} s old, and nothing newer came within "
                    f"{self._frame_timeout:g} s. Check the camera's cable and its ROS node.",
                    reason="camera_stale",
                )
            time.sleep(min(0.05, self._max_age / 10))
        # At most half a period, so that a slow camera does not eat the time in which the arm moves.
        self._look_seconds = min(raw.arrived - raw.asked, self._period / 2)
        self._tcp, self._reading = frames.pose_from_bridge(raw.state), float(raw.state[6])
        self._pixels = None if self._image_size is None else decode_picture(raw, self._image_size)
        self._scene = self._truth.scene() if self._truth is not None else None

    def _check_for_jump(self, before: np.ndarray) -> None:
        way = self._target.position - before
        along = float(np.clip(np.dot(self._tcp.position - before, way) / max(float(way @ way), 1e-9), 0, 1))
        jump = float(np.linalg.norm(self._tcp.position - (before + along * way)))
        if jump > JUMP:
            raise LinkLostError(
                f"The gripper is {100 * jump:.0f} cm off the way to where it was sent: its server reset itself, or the "
                "arm was moved by hand.",
                reason=ROBOT_FAULT,
            )

    def _reanchor(self, gripper: float) -> None:
        """The arm does not follow: tell the controller that its target is where the arm is; what piled up is gone."""
        self._stalled = True
        self._stalls += 1
        here = np.clip(self._tcp.position, self._workspace.low, self._workspace.high)
        self._client.move(Pose(here, self._tcp.quaternion), REANCHOR_SECONDS)
        self._look()
        self._target = self._tcp
        # A move leaves its duration in the servos; one blocking step brings their 0.2 s back.
        self._step(np.array([0, 0, 0, 0, 0, 0, gripper]), blocking=True)
        self._stall = StallWatch()

    def _fold_up(self) -> None:
        try:
            self._restore_link()
            identity = self._client.identity
            if identity is not None and "sleep" in identity.methods:
                self._client.sleep()
                return
            above = np.array([*self._tcp.position[:2], max(self._tcp.position[2], PARK.position[2])])
            for position in (above, PARK.position):
                inside = np.clip(position, self._workspace.low, self._workspace.high)
                self._client.move(Pose(inside, PARK.quaternion), 2.0)
        except Vlm2VlaError as error:
            raise LinkLostError(f"The arm could not be parked and holds where it is: {error}") from error


def decode_picture(raw: RawObservation, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the picture in an answer of the robot, in `size` (height, width)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw.jpeg), formats=("JPEG",)) as picture:
            if picture.size != (size[1], size[0]):
                picture = picture.resize((size[1], size[0]), Image.Resampling.BOX)
            return frames.picture_from_bridge(np.asarray(picture.convert("RGB")))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise LinkLostError(f"The camera's picture cannot be decoded: {error}", reason="camera_stale") from error


def _open_cameras(cameras: Mapping[str, str], size: tuple[int, int] | None) -> dict[str, Any]:
    if not cameras or size is None:
        return {}
    from vlm2vla_sim.envs.bridge.cameras import Camera

    return {name: Camera(source, size=size, name=name) for name, source in cameras.items()}


def _open_truth(address: str) -> Any:
    if not address:
        return None
    from vlm2vla_sim.envs.bridge.ground_truth import TruthClient

    return TruthClient(address)
