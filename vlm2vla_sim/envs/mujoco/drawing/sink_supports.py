"""Collision geoms of the toy sink: what its floor, rims and basket are made of for the physics. Base frame [m]."""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco.drawing.paint import add_box


def add_sink_supports(spec: mujoco.MjSpec) -> None:
    """Add the blocks and slopes of sink and basket."""
    for name, low, high in _BLOCKS:
        centre, half = (np.add(high, low) / 2, np.subtract(high, low) / 2)
        add_box(spec.worldbody, name, centre=tuple(centre), half=tuple(half))
    _add_slopes(spec)


# Low and high corner [m] of each block. The heights are those of SIMPLER's collision mesh, 82 convex parts, which
# lies at (-0.16, 0.13, 0.88) in its world. simpler-env/ManiSkill2_real2sim@ef7a4d4 data/custom/models/sink
_BLOCKS = (
    ("sink_floor", (0.186, -0.240, 0.030), (0.342, -0.110, 0.0708)),
    ("sink_front", (0.150, -0.262, 0.030), (0.181, 0.130, 0.1250)),
    ("sink_toe", (0.150, -0.262, 0.030), (0.186, 0.130, 0.0920)),
    ("sink_back", (0.340, -0.262, 0.030), (0.424, 0.130, 0.1300)),
    ("sink_rack", (0.360, -0.030, 0.130), (0.402, 0.096, 0.1460)),
    ("sink_right", (0.186, -0.262, 0.030), (0.340, -0.238, 0.1250)),
    ("sink_left", (0.186, 0.082, 0.030), (0.340, 0.130, 0.1280)),
    ("sink_foot", (0.333, -0.240, 0.030), (0.340, -0.046, 0.0880)),
    ("sink_ridge", (0.186, -0.037, 0.030), (0.340, -0.025, 0.1290)),
    ("sink_shoulder", (0.186, -0.048, 0.030), (0.340, -0.017, 0.0920)),
    ("basket_floor", (0.186, -0.018, 0.030), (0.342, 0.083, 0.0775)),
    ("basket_foot", (0.322, -0.018, 0.030), (0.342, 0.040, 0.0885)),
)


def _add_slopes(spec: mujoco.MjSpec) -> None:
    """The tub's floor rises by 4 mm towards the basket, from y = -0.11; the front rim leans away from fingers."""
    slope, thickness = 0.065, 0.02
    geom = add_box(spec.worldbody, "sink_slope", centre=(0.264, 0, 0), half=(0.078, 0.033, thickness))
    geom.pos[1:] = [-0.078, 0.0708 + 0.032 * slope - thickness]
    geom.quat = [np.cos(slope / 2), np.sin(slope / 2), 0, 0]
    # From (x, z) = (0.181, 0.125) down to (0.186, 0.092): on a sharp edge there a finger that comes down would stay.
    lean, thickness = np.arctan2(0.005, 0.033), 0.005
    geom = add_box(spec.worldbody, "sink_rim", centre=(0, -0.066, 0), half=(thickness, 0.196, 0.017))
    geom.pos[::2] = [0.1835 - thickness * np.cos(lean), 0.1085 - thickness * np.sin(lean)]
    geom.quat = [np.cos(lean / 2), 0, -np.sin(lean / 2), 0]
