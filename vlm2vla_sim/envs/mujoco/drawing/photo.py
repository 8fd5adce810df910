"""SIMPLER's camera, and the 3D points of its pixels on given planes.

The stages are rebuilt from SIMPLER's two photos: following a pixel's ray to a known plane puts every edge where the
photo shows it. Lengths [m], base frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh, sheet
from vlm2vla_sim.envs.simpler_camera import CENTRE, FOCAL
from vlm2vla_sim.envs.tasks import CameraPose

AHEAD, LEFT, UP = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Patch:
    """A flat part of the photo and the plane on which it is placed."""

    point: tuple[float, float, float]
    normal: tuple[float, float, float]
    """A point and a normal of the plane; base frame."""
    pixels: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
    """(column, row) of the corners: top left, top right, bottom left, bottom right. May lie outside the image."""


class Photo:
    """The image plane of one camera."""

    def __init__(self, camera: CameraPose) -> None:
        self.eye = np.array(camera.position)
        """(3,) float64 [m]"""
        self.axes = quaternion_to_matrix(np.array(camera.quaternion))
        """(3, 3) float64, columns: the camera's viewing direction, its left, its up."""

    def ray(self, column: float, row: float) -> np.ndarray:
        """(3,) float64: the viewing direction of a pixel, 1 m deep."""
        return self.axes @ [1.0, (CENTRE[0] - column) / FOCAL, (CENTRE[1] - row) / FOCAL]

    def corners(self, patch: Patch) -> np.ndarray:
        """(2, 2, 3) float64 [m]: the corners of the patch; rows top and bottom, columns left and right."""
        point, normal = np.array(patch.point), np.array(patch.normal)
        rays = np.stack([self.ray(*pixel) for pixel in patch.pixels])
        depth = ((point - self.eye) @ normal) / (rays @ normal)
        return (self.eye + rays * depth[:, None]).reshape(2, 2, 3)

    def mesh(self, patch: Patch) -> Mesh:
        """The patch as a surface, one texture over it."""
        return sheet(self.corners(patch))
