"""SIMPLER's camera, in pixels: focal length, principal point and size of its images."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.envs.variation import Variation

FOCAL, CENTRE, SIZE = 623.588, (319.501, 239.545), (640, 480)
"""[pixels] focal length, principal point and size (columns, rows) of SIMPLER's camera.
simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py"""


def focal(variation: Variation) -> float:
    """[pixels] focal length of the varied camera, for images of SIMPLER's size."""
    if variation.camera_fov is None:
        return FOCAL
    return float(SIZE[1] / 2 / np.tan(np.radians(variation.camera_fov) / 2))
