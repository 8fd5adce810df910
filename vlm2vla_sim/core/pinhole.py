"""A pinhole camera: where a point of the scene appears in the picture, and what lies behind a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.types import frozen_array

NEAR = 0.01
"""[m] in front of the camera, from which a point is seen."""


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """A camera without distortion; all coordinates are in the robot's base frame.

    >>> above = PinholeCamera(np.array([0.3, 0, 1]), np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]]),
    ...                       focal=(100, 100), centre=(32, 24), size=(48, 64))
    >>> above.project(np.array([[0.3, 0, 0], [0.4, 0, 0], [0.3, 0.1, 0]])).tolist()
    [[32.0, 24.0], [32.0, 14.0], [22.0, 24.0]]
    >>> above.on_plane(np.array([[22.0, 14.0]]), 0.0).round(3).tolist()
    [[0.4, 0.1, 0.0]]
    """

    position: np.ndarray
    """(3,) float64 [m]."""
    axes: np.ndarray
    """(3, 3) float64, columns: where the camera looks, its left, its up."""
    focal: tuple[float, float]
    """[pixels] focal length along a row and along a column."""
    centre: tuple[float, float]
    """[pixels] column and row of the point that it looks at, from the picture's left and upper edge."""
    size: tuple[int, int]
    """(height, width) [pixels]."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", frozen_array(self.position, (3,), "PinholeCamera.position"))
        object.__setattr__(self, "axes", frozen_array(self.axes, (3, 3), "PinholeCamera.axes"))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """(N,) [m] of points (N, 3), along the direction in which the camera looks."""
        return (np.asarray(points, np.float64) - self.position) @ self.axes[:, 0]

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) column and row [pixels] of points (N, 3) [m]; not a number for one that is not in front of it."""
        local = (np.asarray(points, np.float64) - self.position) @ self.axes
        ahead = np.where(local[:, 0] > NEAR, local[:, 0], np.nan)
        columns = self.centre[0] - self.focal[0] * local[:, 1] / ahead
        rows = self.centre[1] - self.focal[1] * local[:, 2] / ahead
        return np.stack([columns, rows], axis=1)

    def on_plane(self, pixels: np.ndarray, height: float) -> np.ndarray:
        """(N, 3) [m]: the points of the horizontal plane z = `height` [m] that appear at `pixels`, (N, 2) as above.

        Not a number where the plane is not in front of the camera.
        """
        pixels = np.asarray(pixels, np.float64)
        left = (self.centre[0] - pixels[:, 0]) / self.focal[0]
        up = (self.centre[1] - pixels[:, 1]) / self.focal[1]
        rays = np.stack([np.ones_like(left), left, up], axis=1) @ self.axes.T
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (height - self.position[2]) / rays[:, 2]
        along = np.where(np.isfinite(along) & (along > NEAR), along, np.nan)
        return self.position + rays * along[:, None]

    def sees(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: whether points (N, 3) lie inside the picture; what stands before them is not looked at."""
        pixels = self.project(points)
        height, width = self.size
        with np.errstate(invalid="ignore"):
            inside = (pixels >= 0) & (pixels < [width, height])
        return np.logical_and(inside[:, 0], inside[:, 1])


@dataclass(frozen=True, eq=False)
class SceneGeometry:
    """What is known of a robot's place before it looks: where it reaches, what objects lie on, where the camera is."""

    scene: str
    """Name of the scene, such as "table"."""
    low: np.ndarray
    """(3,) [m] lower corner of the box that the gripper's target may not leave; base frame."""
    high: np.ndarray
    """(3,) [m] upper corner."""
    surface: float | None = None
    """[m, base frame] height of the surface that carries the objects; None where it is not known."""
    camera: PinholeCamera | None = None
    """Of the image "primary"; None where it is not known, as on a real arm without calibration."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", frozen_array(self.low, (3,), "SceneGeometry.low"))
        object.__setattr__(self, "high", frozen_array(self.high, (3,), "SceneGeometry.high"))
