"""SIMPLER's own photo as the background, for users who have SIMPLER's assets.

With it the twin's image equals SIMPLER's pixel for pixel wherever neither robot nor object is visible. The photo is
read from the user's assets and is not part of this package.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from vlm2vla_sim.envs.photo import vary_photo
from vlm2vla_sim.envs.simpler import assets
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.envs.variation import Variation
from vlm2vla_sim.errors import AssetsError, SettingError

PHOTOS = assets.DATA_SET / "real_inpainting"
DEFAULT = Variation()


def read_backdrop(task: Task, image_size: tuple[int, int], variation: Variation = DEFAULT) -> np.ndarray:
    """The photo of the task's scene: (H, W, 3) uint8 RGB, varied, and resampled to `image_size`.

    Raises:
        SettingError: SIMPLER has no photo of this scene, or the photo cannot follow the variation.
        AssetsError: the assets folder lacks the file.
    """
    if not task.scene.photo:
        raise SettingError(f"SIMPLER has no photo of the scene {task.scene.name!r}; leave backdrop='stage'.")
    path = assets.folder() / PHOTOS / task.scene.photo
    if not path.is_file():
        raise AssetsError(
            f"backdrop='photo' needs SIMPLER's photo {path.name}, which is not in {assets.folder()}. "
            "Run `vlm2vla assets` to see what is missing and how to get it."
        )
    height, width = image_size
    photo = Image.open(path).convert("RGB")
    if variation.changed:
        photo = Image.fromarray(vary_photo(np.asarray(photo), task.scene, variation))
    if photo.size != (width, height):
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(photo)
