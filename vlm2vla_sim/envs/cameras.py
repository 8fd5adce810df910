"""Cameras of your own in a simulated scene: `gym.make(..., cameras={"side": Camera(...)})`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.observations import check_image_size
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.types import frozen_array

RESERVED = ("primary", "pixels", "agent_pos")
"""Names that an observation already has."""


@dataclass(frozen=True)
class Camera:
    """A camera that stands still in a simulated scene; all coordinates are in the robot's base frame.

    It is given either `look_at` or `quaternion`.

    >>> Camera((0.3, -0.6, 0.4), look_at=(0.3, 0.0, 0.0), size=(240, 320)).fovy
    45.0
    """

    position: tuple[float, float, float]
    """x, y, z [m]."""
    look_at: tuple[float, float, float] | None = None
    """x, y, z [m] of a point that appears in the middle of the image. The image is level: up in the image is up in the
    scene, or the base's x axis for a camera that looks straight down or up."""
    quaternion: tuple[float, float, float, float] | None = None
    """w, x, y, z of the rotation from camera axes to base axes, of unit length. Camera axes: x is where the camera
    looks, y is left in the image, z is up."""
    fovy: float = 45.0
    """Vertical field of view [degrees], 1 to 170."""
    size: tuple[int, int] | None = None
    """(height, width) of the image [pixels]; None for the environment's `image_size`."""

    def __post_init__(self) -> None:
        self._set("position", self._numbers("position", 3))
        if (self.look_at is None) == (self.quaternion is None):
            given = "neither of them was" if self.look_at is None else "both were"
            raise SettingError(f"A camera needs either look_at or quaternion; {given} given.")
        if self.look_at is not None:
            self._set("look_at", self._numbers("look_at", 3))
            if np.linalg.norm(np.array(self.look_at) - self.position) < 1e-6:
                raise SettingError(f"The camera looks at {self.look_at}, which is where it stands.")
        if self.quaternion is not None:
            self._set("quaternion", self._numbers("quaternion", 4))
            if abs(float(np.linalg.norm(self.quaternion)) - 1) > 1e-3:
                raise SettingError(f"Camera.quaternion is {self.quaternion}; expected w, x, y, z of unit length.")
        if isinstance(self.fovy, bool) or not isinstance(self.fovy, (int, float)) or not 1 <= self.fovy <= 170:
            raise SettingError(f"Camera.fovy is {self.fovy!r}; expected 1 to 170 degrees.")
        if self.size is not None:
            self._set("size", check_image_size(self.size, "Camera.size"))

    def axes(self) -> np.ndarray:
        """(3, 3) float64, columns: where the camera looks, its left, its up; base frame."""
        if self.quaternion is not None:
            return quaternion_to_matrix(np.array(self.quaternion) / np.linalg.norm(self.quaternion))
        forward = np.array(self.look_at, dtype=np.float64) - self.position
        forward = forward / np.linalg.norm(forward)
        up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 1 - 1e-6 else np.array([1.0, 0.0, 0.0])
        left = np.cross(up, forward)
        left = left / np.linalg.norm(left)
        return np.stack([forward, left, np.cross(forward, left)], axis=1)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _numbers(self, name: str, count: int) -> tuple[float, ...]:
        try:
            return tuple(frozen_array(getattr(self, name), (count,), f"Camera.{name}").tolist())
        except (TypeError, ValueError) as error:
            raise SettingError(f"Camera.{name} is {getattr(self, name)!r}; expected {count} finite numbers.") from error


def read_cameras(cameras: Mapping[str, Any] | None, image_size: tuple[int, int] | None) -> dict[str, Camera]:
    """The cameras of a simulated scene, each with a size.

    Args:
        cameras: name -> `Camera`, or a mapping with its fields, as a settings file has it.
        image_size: (height, width) of cameras that have none of their own; None where the environment renders none.

    Raises:
        SettingError: a name that is taken, a device of a real camera, or cameras where no images are rendered.
    """
    if not cameras:
        return {}
    if not isinstance(cameras, Mapping):
        raise SettingError(f"cameras is {cameras!r}; expected a mapping such as {{'side': Camera(...)}}.")
    if image_size is None:
        raise SettingError("cameras were given, and image_size=None renders no images. Give an image_size.")
    return {name: _read_camera(name, camera, image_size) for name, camera in cameras.items()}


def _read_camera(name: str, camera: Any, image_size: tuple[int, int]) -> Camera:
    if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
        raise SettingError(
            f"A camera is called {name!r}; expected letters, digits and underscores, and none of {', '.join(RESERVED)}."
        )
    if isinstance(camera, Mapping):
        fields = [field.name for field in dataclasses.fields(Camera)]
        unknown = [key for key in camera if key not in fields]
        if unknown or "position" not in camera:
            given = ", ".join(map(str, camera))
            raise SettingError(f"The camera {name!r} has {given}; expected position and others of {', '.join(fields)}.")
        camera = Camera(**camera)
    if not isinstance(camera, Camera):
        raise SettingError(
            f"The camera {name!r} is {camera!r}; a simulated scene takes a vlm2vla_sim.Camera. Devices such as "
            "/dev/video0 are for the backend 'bridge'."
        )
    return camera if camera.size is not None else dataclasses.replace(camera, size=image_size)
