"""Where the camera of a recorded data set stands, as far as it is known."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.envs.backends import has_scene_camera
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.evaluation.settings import RunSettings

FOVY = float(np.degrees(2 * np.arctan(480 / 2 / 623.588)))
"""[degrees] vertical field of view of SIMPLER's camera: a focal length of 623.588 pixels in an image of 480 rows.
simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py"""


def recorded_camera(task: Task, settings: RunSettings) -> Camera | None:
    """The camera of the recorded images; None where the backend does not say, or an option moves it."""
    moved = any(name.startswith("camera_") for name in settings.backend_options)
    if moved or not has_scene_camera(settings.backend):
        return None
    pose = task.scene.camera
    return Camera(pose.position, quaternion=pose.quaternion, fovy=FOVY)
