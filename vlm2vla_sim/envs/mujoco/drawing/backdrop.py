"""SIMPLER's own photo as a backdrop, for whoever has its assets.

With it the twin's picture equals SIMPLER's pixel for pixel wherever neither robot nor object is seen, so that what is
left to compare is what moves. The photo is SIMPLER's: read from the user's assets, never part of this package.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from vlm2vla_sim.envs.simpler import assets
from vlm2vla_sim.envs.tasks import SINK, Task
from vlm2vla_sim.errors import AssetsError

PHOTOS = assets.DATA_SET / "real_inpainting"


def read_backdrop(task: Task, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB, resampled to `image_size`; AssetsError if the assets folder has no such photo."""
    path = assets.folder() / PHOTOS / ("bridge_sink.png" if task.scene is SINK else "bridge_real_eval_1.png")
    if not path.is_file():
        raise AssetsError(
            f"backdrop='photo' needs SIMPLER's photo {path.name}, which is not in {assets.folder()}. "
            "Run `vlm2vla assets` to see what is missing and how to get it."
        )
    height, width = image_size
    photo = Image.open(path).convert("RGB")
    if photo.size != (width, height):
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(photo)
