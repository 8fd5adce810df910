"""Additional cameras on this machine, through OpenCV: always the newest frame.

A camera driver queues frames. Read once per decision, the queue would return frames from before the arm moved. A thread
reads every frame and keeps the newest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import LinkLostError, SettingError, missing_extra

MAX_AGE_MS = 500.0
FIRST_FRAME_SECONDS = 5.0
"""[s] allowed for a camera to start."""


def read_cameras(pairs: Iterable[str], *, primary: bool = False) -> dict[str, str]:
    """NAME=DEVICE, ... as a dictionary; SettingError for anything else.

    primary: whether "primary" may be one of them, for a robot whose server has no camera of that name.
    """
    cameras: dict[str, str] = {}
    for pair in pairs:
        name, sign, source = pair.partition("=")
        if not (name.isidentifier() and sign and source) or (name == "primary" and not primary) or name in cameras:
            raise SettingError(f"A camera was given as {pair!r}; expected NAME=DEVICE, such as wrist=/dev/video2.")
        cameras[name] = source
    return cameras


def open_camera(source: str, *, size: tuple[int, int], name: str) -> Any:
    """The camera `source`: a device or file, or the address of a mock's ground truth, whose camera is rendered.

    size: (height, width) of the frames. SettingError when it cannot be opened.
    """
    if source.startswith("tcp://"):
        from vlm2vla_sim.envs.robot_link.ground_truth import RenderedCamera

        return RenderedCamera(source, size=size)
    return DeviceCamera(source, size=size, name=name)


class DeviceCamera:
    """One camera, or a file in its place: an image, or a video that is played at its own frame rate."""

    def __init__(
        self,
        source: str,
        *,
        size: tuple[int, int],
        name: str = "camera",
        max_age_ms: float = MAX_AGE_MS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """source: such as /dev/video2, 2, or a file. size: (height, width) of the frames."""
        try:
            import cv2
        except ImportError as error:
            raise missing_extra("An additional camera", "opencv-python-headless", "robot") from error
        self._cv2, self._name, self._size, self._max_age = cv2, name, size, max_age_ms
        self._clock = clock
        self._source = source
        self._still = Path(source).suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp")
        self._capture = self._open()
        self._lock = threading.Lock()
        self._latest: np.ndarray | None = None
        self._arrived = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_frames, daemon=True)
        self._thread.start()
        end = time.monotonic() + FIRST_FRAME_SECONDS
        while self._latest is None and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.005)
        if self._latest is None:
            self.close()
            raise SettingError(f"The camera {name} ({source}) delivers no frame. Is another program using it?")

    def read_latest(self, max_age_ms: float | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB, a fresh array; LinkLostError ("camera_stale") when the newest is too old."""
        limit = self._max_age if max_age_ms is None else max_age_ms
        with self._lock:
            latest, age = self._latest, 1000 * (self._clock() - self._arrived)
        if latest is None or age > limit:
            raise LinkLostError(
                f"The newest frame of the camera {self._name} is {age:.0f} ms old; at most {limit:.0f} ms are "
                "allowed. Check its cable.",
                reason="camera_stale",
            )
        return latest.copy()

    def age(self) -> float:
        """[s] since the newest frame came."""
        with self._lock:
            return self._clock() - self._arrived

    def close(self) -> None:
        """Release the camera. May be called twice."""
        self._stop.set()
        self._thread.join(2.0)
        self._capture.release()

    def _open(self) -> Any:
        cv2, source = self._cv2, self._source
        if not source.isdigit() and not Path(source).exists():
            raise SettingError(f"There is no camera {source}. List them: ls /dev/video*")
        if source.isdigit() or source.startswith("/dev/"):
            capture = cv2.VideoCapture(int(source) if source.isdigit() else source, cv2.CAP_V4L2)
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        else:
            capture = cv2.VideoCapture(source)
        if not capture.isOpened():
            raise SettingError(f"The camera {self._name} ({source}) cannot be opened. Is another program using it?")
        return capture

    def _read_frames(self) -> None:
        device = self._source.isdigit() or self._source.startswith("/dev/")
        rate = self._capture.get(self._cv2.CAP_PROP_FPS) or 30.0
        pause = 0.0 if device else 1.0 / min(max(rate, 1.0), 60.0)
        while not self._stop.is_set():
            valid, frame = self._capture.read()
            if valid:
                self._keep(frame)
            elif self._still and self._latest is not None:
                with self._lock:  # An image file stands for a camera in front of which nothing moves.
                    self._arrived = self._clock()
            elif not device:
                return  # End of the video: its last frame becomes too old.
            self._stop.wait(pause if valid or not device else 0.01)

    def _keep(self, frame: np.ndarray) -> None:
        height, width = self._size
        rgb = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
        if rgb.shape[:2] != (height, width):
            rgb = self._cv2.resize(rgb, (width, height), interpolation=self._cv2.INTER_AREA)
        with self._lock:
            self._latest, self._arrived = rgb, self._clock()
