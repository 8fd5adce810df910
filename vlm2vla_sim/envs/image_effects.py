"""Changes of the images of a simulated scene after it was rendered: colour shifts, sensor noise, JPEG.

The order is that of a camera: light and colour, then the sensor's noise, then compression. Every camera's image is
changed. The noise of an image depends on the episode, the step and the camera only, so that images that nobody looks at
need not be drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from vlm2vla_sim.envs.colours import hue
from vlm2vla_sim.envs.variation import Variation

GREY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


class ImageEffects:
    """The image options of a `Variation`, for the images of one environment."""

    def __init__(self, variation: Variation) -> None:
        self._variation = variation
        self._on = bool(variation.changes("image_", "jpeg_"))
        self._seed = self._step = 0

    def start(self, rng: np.random.Generator) -> None:
        """Begin an episode. A number is drawn from `rng` only if there is noise."""
        self._step = 0
        if self._variation.image_noise:
            self._seed = int(rng.integers(2**63))

    def advance(self) -> None:
        """A control step was made."""
        self._step += 1

    def apply(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The images of this step, changed. images: camera -> (H, W, 3) uint8 RGB; the order of cameras matters."""
        if not self._on:
            return dict(images)
        return {name: self._change(image, number) for number, (name, image) in enumerate(images.items())}

    def _change(self, image: np.ndarray, camera: int) -> np.ndarray:
        asked = self._variation
        pixels = image.astype(np.float32)
        pixels *= np.float32(asked.image_brightness) * np.array(hue(asked.image_tint), np.float32)
        if asked.image_saturation != 1:
            grey = (pixels @ GREY.astype(np.float32))[..., None]
            pixels = grey + np.float32(asked.image_saturation) * (pixels - grey)
        if asked.image_contrast != 1:
            mean = pixels.mean()
            pixels = mean + np.float32(asked.image_contrast) * (pixels - mean)
        if asked.image_noise:
            rng = np.random.default_rng([self._seed, self._step, camera])
            pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(asked.image_noise)
        changed = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        return _compress(changed, asked.jpeg_quality) if asked.jpeg_quality else changed


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).convert("RGB"))
