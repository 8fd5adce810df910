"""Where the camera of a recorded data set stands, as far as it is known."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_quaternion
from vlm2vla_sim.envs.backends import has_scene_camera
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.simpler_camera import SIZE, focal
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.envs.variation import axes_of, take_variation
from vlm2vla_sim.evaluation.settings import RunSettings


def recorded_camera(task: Task, settings: RunSettings) -> Camera | None:
    """The camera of the recorded images, where the options put it; None where the backend does not say."""
    if not has_scene_camera(settings.backend):
        return None
    variation, _ = take_variation(settings.backend_options)
    axes = variation.turn_camera(axes_of(task.scene.camera.quaternion))
    x, y, z = (np.array(task.scene.camera.position) + variation.camera_shift).tolist()
    w, i, j, k = matrix_to_quaternion(axes).tolist()
    fovy = float(np.degrees(2 * np.arctan(SIZE[1] / 2 / focal(variation))))
    return Camera((x, y, z), quaternion=(w, i, j, k), fovy=fovy)
