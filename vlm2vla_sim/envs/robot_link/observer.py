"""What is known of the arm and the scene: the last fresh observation of the server, cameras, and ground truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.envs.base import Observation
from vlm2vla_sim.envs.probe import CameraLook, Look
from vlm2vla_sim.envs.robot_link.cameras import open_camera, read_cameras
from vlm2vla_sim.envs.robot_link.freshness import FrameClock, too_old
from vlm2vla_sim.envs.robot_link.images import ImageReader, decode_jpeg
from vlm2vla_sim.envs.robot_link.link import RawObservation, RobotLink
from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.envs.tasks import Layout
from vlm2vla_sim.errors import LinkLostError, SettingError
from vlm2vla_sim.types import Pose, RobotState, SceneState, Status


class Observer:
    """Observes one arm; an image that is too old is never used."""

    tcp: Pose
    """Measured pose of the gripper, base frame; set by the first `update`."""
    gripper_reading: float
    """[0.20 closed .. 1.08 open]"""
    age: float
    """[s] of the last image on arrival, at least."""
    seconds: float
    """[s] that the last observation took, at most half a period."""
    seen_at: float
    """[s] by the clock, when the last observation arrived; set by the first `update`."""
    scene: SceneState | None
    """From the mock server's ground truth, else None."""

    def __init__(
        self,
        client: RobotLink,
        settings: RobotSettings,
        *,
        cameras: Mapping[str, str] | str,
        truth: str,
        clock: Callable[[], float],
    ) -> None:
        """Open the additional cameras; nothing is sent. Arguments: see `bridge.backend.BridgeBackend`.

        Raises:
            SettingError: a camera that cannot be opened, or cameras without an image size.
        """
        self._client, self._settings, self._clock = client, settings, clock
        self._frame_clock = FrameClock()
        size = settings.image_size
        if isinstance(cameras, str):
            cameras = read_cameras(cameras.split(","), primary=not settings.own_camera)
        self._sent = {name: source for name, source in cameras.items() if source in settings.image_keys}
        if self._sent and size is None:
            raise _no_images()
        self._sent_clocks = {name: FrameClock() for name in self._sent}
        self._reader = ImageReader(size) if settings.own_camera and size is not None else None
        self._sent_readers = {name: ImageReader(size) for name in self._sent} if size is not None else {}
        self._cameras = _open_cameras({name: cameras[name] for name in cameras if name not in self._sent}, settings)
        self._truth = _open_truth(truth)
        self._pixels: np.ndarray | None = None
        self._more: dict[str, np.ndarray] = {}
        self.scene = None
        self.begin()

    @property
    def knows_scene(self) -> bool:
        """Whether the mock server's ground truth is used."""
        return self._truth is not None

    @property
    def camera_sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of every additional camera."""
        size = self._settings.image_size
        names = [name for name in (*self._sent, *self._cameras) if name != "primary"]
        return {} if size is None else dict.fromkeys(names, size)

    @property
    def converted(self) -> str:
        """What had to be converted of the last image; see `images.ImageReader`."""
        readers = [] if self._reader is None else [self._reader, *self._sent_readers.values()]
        return " ".join(dict.fromkeys(reader.converted for reader in readers if reader.converted))

    def begin(self) -> None:
        """Start an episode: forget what the last one measured."""
        self.gripper_reading, self.age, self.seconds = 1.0, 0.0, 0.0

    def place(self, layout: Layout) -> None:
        """Have the mock server place the objects; nothing on a real arm, where the operator does."""
        if self._truth is not None:
            self._truth.place(layout)

    def update(self) -> None:
        """Fetch a fresh observation; LinkLostError when there is none within `frame_timeout`."""
        settings = self._settings
        end = self._clock() + settings.frame_timeout
        while True:
            raw = self._client.observe()
            self.age = max(self._ages(raw))
            if self.age <= settings.max_frame_age:
                break
            if self._clock() > end:
                raise too_old(
                    self.age,
                    trip=raw.arrived - raw.asked,
                    limit=settings.max_frame_age,
                    waited=settings.frame_timeout,
                    round_trip=self._client.round_trip,
                )
            time.sleep(min(0.05, settings.max_frame_age / 10))
        # At most half a period, so that a slow camera leaves time for the motion.
        self.seen_at = raw.arrived
        self.seconds = min(raw.arrived - raw.asked, settings.period / 2)
        self.tcp, self.gripper_reading = settings.robot.pose_from_numbers(raw.state), float(raw.state[6])
        self._pixels = None if self._reader is None else self._reader.read(raw.jpeg)
        self._more = {name: reader.read(raw.more[self._sent[name]]) for name, reader in self._sent_readers.items()}
        self.scene = self._truth.scene() if self._truth is not None else None

    def look(self) -> Look:
        """One observation for `probe`, whatever its age; what is known of an episode stays as it is."""
        raw = self._client.observe()
        settings, robot = self._settings, self._settings.robot
        state = robot.agent_pos(robot.pose_from_numbers(raw.state), settings.opening(float(raw.state[6])))
        cameras = {"primary": look_at_jpeg(raw.jpeg, self._age(raw))} if settings.own_camera else {}
        cameras |= {name: look_at_jpeg(jpeg, None) for name, jpeg in raw.more.items()}
        cameras |= {name: look_at_device(camera) for name, camera in self._cameras.items()}
        return Look(raw.arrived - raw.asked, state, cameras)

    def observation(self) -> Observation:
        """The last observation of the arm, with the newest frames of the additional cameras."""
        state = self._settings.robot.agent_pos(self.tcp, self._opening)
        if self._settings.image_size is None:
            return {"agent_pos": state}
        pixels = dict(self._more) if self._pixels is None else {"primary": self._pixels, **self._more}
        pixels |= {name: camera.read_latest() for name, camera in self._cameras.items()}
        return {"pixels": pixels, "agent_pos": state}

    def status(self, target: Pose) -> Status:
        """The arm as last observed, with the controller's `target`, and the scene if it is known."""
        return Status(RobotState(tcp=self.tcp, target=target, gripper=self._opening), self.scene)

    def close(self) -> None:
        """Release the cameras and disconnect from the ground truth. May be called twice."""
        for camera in self._cameras.values():
            camera.close()
        if self._truth is not None:
            self._truth.close()

    def _ages(self, raw: RawObservation) -> Iterator[float]:
        """[s] of every image that is used of those that the server sends, and of "primary"."""
        yield self._age(raw)
        for name, key in self._sent.items():
            if key not in raw.more:
                raise LinkLostError(
                    f"The camera {name!r} is the server's {key!r}, which it does not send. Start the server with that "
                    "camera, or leave it out.",
                    reason="camera_stale",
                )
            yield self._sent_clocks[name].age(raw.more[key], asked=raw.asked, arrived=raw.arrived)

    def _age(self, raw: RawObservation) -> float:
        """[s] of the image on arrival, at least; a camera of this machine hands out none that is too old."""
        if self._settings.own_camera:
            return self._frame_clock.age(raw.jpeg, asked=raw.asked, arrived=raw.arrived)
        return self._cameras["primary"].age() if "primary" in self._cameras else 0.0

    @property
    def _opening(self) -> float:
        return self._settings.opening(self.gripper_reading)


def look_at_jpeg(jpeg: bytes, age: float | None) -> CameraLook:
    """The image of an observation in its own size, with one channel where it has one."""
    try:
        return CameraLook(decode_jpeg(jpeg), age)
    except LinkLostError as lost:
        return CameraLook(None, problem=str(lost))


def look_at_device(camera: Any) -> CameraLook:
    """The newest image of an additional camera, or why there is none."""
    try:
        return CameraLook(camera.read_latest(), camera.age())
    except LinkLostError as lost:
        return CameraLook(None, problem=str(lost))


def _open_cameras(cameras: Mapping[str, str], settings: RobotSettings) -> dict[str, Any]:
    size = settings.image_size
    if size is not None and not settings.own_camera and "primary" not in cameras:
        raise SettingError(
            f"The backend {settings.backend!r} has no camera of its own. Name one of this machine, "
            "cameras={'primary': '/dev/video0'} (--camera primary=/dev/video0), or set image_size=None for policies "
            "that use no images."
        )
    if not cameras:
        return {}
    if size is None:
        raise _no_images()
    for name, source in cameras.items():
        if not isinstance(source, str):
            raise SettingError(
                f"The camera {name!r} is {source!r}; the backend {settings.backend!r} takes a device or file such as "
                "/dev/video2."
            )
    if "primary" in cameras and settings.own_camera:
        raise SettingError(
            f"The camera 'primary' of the backend {settings.backend!r} is the robot server's. Give this one another "
            "name."
        )
    return {name: open_camera(source, size=size, name=name) for name, source in cameras.items()}


def _no_images() -> SettingError:
    return SettingError("cameras were given, and image_size=None reads no images. Give an image_size.")


def _open_truth(address: str) -> Any:
    if not address:
        return None
    from vlm2vla_sim.envs.robot_link.ground_truth import TruthClient

    return TruthClient(address)
