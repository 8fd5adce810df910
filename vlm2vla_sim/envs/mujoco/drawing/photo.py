"""SIMPLER's camera, and where in space its pixels lie.

The stages are rebuilt from SIMPLER's two photos. A place in space that was only guessed would move every edge of the
picture; following a pixel's ray to a known plane puts it back where the photo has it. Lengths [m], base frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh, sheet
from vlm2vla_sim.envs.tasks import SINK, TABLE, Scene

FOCAL, CENTRE, SIZE = 623.588, (319.501, 239.545), (640, 480)
"""[pixels] focal length, optical axis and size (columns, rows).
simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py"""
# Position and quaternion on the robot's base, axes x forward, y left, z up. Same file.
_CAMERAS = {
    TABLE.name: ((0.0, -0.16, 0.36), (0.8992917, -0.09263245, 0.35892478, 0.23209205)),
    SINK.name: ((-0.00300001, -0.21, 0.39), (-0.907313, 0.0782, -0.36434, -0.194741)),
}
AHEAD, LEFT, UP = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Patch:
    """A flat piece of the photo and the plane it is taken to lie on."""

    point: tuple[float, float, float]
    normal: tuple[float, float, float]
    """A point and a normal of the plane; base frame."""
    pixels: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
    """(column, row) of the corners: top left, top right, bottom left, bottom right. May lie outside the picture."""


class Photo:
    """The view of one scene."""

    def __init__(self, scene: Scene) -> None:
        position, quaternion = _CAMERAS[scene.name]
        self.eye = np.array(position)
        """(3,) float64 [m]"""
        self.axes = quaternion_to_matrix(np.array(quaternion))
        """(3, 3) float64, columns: where the camera looks, its left, its up."""

    def ray(self, column: float, row: float) -> np.ndarray:
        """(3,) float64: the direction in which a pixel looks, 1 m deep."""
        return self.axes @ [1.0, (CENTRE[0] - column) / FOCAL, (CENTRE[1] - row) / FOCAL]

    def corners(self, patch: Patch) -> np.ndarray:
        """(2, 2, 3) float64 [m]: where the patch's corners lie; rows top and bottom, columns left and right."""
        point, normal = np.array(patch.point), np.array(patch.normal)
        rays = np.stack([self.ray(*pixel) for pixel in patch.pixels])
        depth = ((point - self.eye) @ normal) / (rays @ normal)
        return (self.eye + rays * depth[:, None]).reshape(2, 2, 3)

    def mesh(self, patch: Patch) -> Mesh:
        """The patch as a surface, one picture over it."""
        return sheet(self.corners(patch))
