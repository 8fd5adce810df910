"""What is known of a scene before anybody looks: camera, reachable box, height of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.core.pinhole import PinholeCamera, SceneGeometry
from vlm2vla_sim.envs.backends import has_scene_camera, load_backend, takes_variation
from vlm2vla_sim.envs.simpler_camera import CENTRE, FOCAL, SIZE, focal
from vlm2vla_sim.envs.tasks import Scene, Task
from vlm2vla_sim.envs.variation import Variation, axes_of, take_variation


def scene_geometry(
    task: Task, backend: str | type, image_size: tuple[int, int] | None, options: Mapping[str, Any]
) -> SceneGeometry:
    """The geometry of an environment made with these arguments; options: those of the backend.

    The camera is that of the scene, as the options move it, on a backend that declares `scene_camera`; elsewhere, as on
    a real arm, it is None. So is the height of the surface where a task is only an instruction.
    """
    box = task.setup.workspace
    camera = None
    if image_size is not None and has_scene_camera(backend):
        variation = take_variation(options)[0] if takes_variation(backend) else Variation()
        stretches = bool(getattr(load_backend(backend), "stretches_images", False))
        camera = primary_camera(task.scene, image_size, variation, stretches=stretches)
    return SceneGeometry(
        scene=task.scene.name,
        low=np.array(box.low),
        high=np.array(box.high),
        surface=None if task.own else task.scene.support_height - task.scene.base.z,
        camera=camera,
    )


def primary_camera(
    scene: Scene, image_size: tuple[int, int], variation: Variation | None = None, *, stretches: bool = False
) -> PinholeCamera:
    """SIMPLER's camera of `scene`, for images of `image_size` (height, width).

    stretches: an image of another shape than 4:3 is the whole picture resampled; else it shows more or less at its
    sides, with square pixels.
    """
    variation = variation or Variation()
    height, width = image_size
    down = height / SIZE[1]
    across = width / SIZE[0] if stretches else down
    length = FOCAL if variation.camera_fov is None else focal(variation)
    return PinholeCamera(
        position=np.array(scene.camera.position) + variation.camera_shift,
        axes=variation.turn_camera(axes_of(scene.camera.quaternion)),
        focal=(length * across, length * down),
        centre=(width / 2 + (CENTRE[0] - SIZE[0] / 2) * across, height / 2 + (CENTRE[1] - SIZE[1] / 2) * down),
        size=image_size,
    )
