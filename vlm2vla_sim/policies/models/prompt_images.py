"""Images in a prompt: what the image processor makes of them, and what stands for them in the text.

Gemma 3 writes every image alike. Other families write as many image tokens as the processed image has, so that it is
processed before the prompt can be written, and the result is kept until the image is encoded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from vlm2vla_sim.errors import SettingError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

KEPT_INPUTS = 4
"""Processed images that are kept. Some have megabytes."""
KEPT_TEXTS = 256
"""Images whose text is kept: those of a cycle, for many environments."""


@dataclass(frozen=True)
class ImageText:
    """An image in a prompt."""

    text: str
    tokens: int
    """Image tokens in `text`."""
    grid: tuple[int, int] | None = None
    """Their rows and columns, where the processor tells them."""


class PromptImages:
    """Writes images for the prompts of one processor."""

    def __init__(self, processor: Any) -> None:
        """processor: of a model."""
        self._processor = processor
        alike = getattr(processor, "full_image_sequence", None)
        self._alike = None if alike is None else ImageText(alike, processor.image_seq_length)
        self._made: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._written: OrderedDict[str, ImageText] = OrderedDict()

    @property
    def mark(self) -> str:
        """What the chat template writes for an image."""
        return self._processor.image_token if self._alike is None else self._processor.boi_token

    def write(self, name: str, image: np.ndarray) -> ImageText:
        """What replaces the mark of `image`, (H, W, 3) uint8, whose digest is `name`."""
        if self._alike is not None:
            return self._alike
        return _kept(self._written, name, lambda: self._write(image), most=KEPT_TEXTS)

    def inputs(self, image: np.ndarray) -> Mapping[str, torch.Tensor]:
        """The vision tower's inputs for one image."""
        if self._alike is not None:
            return self._process(image)
        return _kept(self._made, digest(image), lambda: self._process(image), most=KEPT_INPUTS)

    def _process(self, image: np.ndarray) -> Mapping[str, torch.Tensor]:
        from PIL import Image

        return self._processor.image_processor(images=[Image.fromarray(check_image(image))], return_tensors="pt")

    def _write(self, image: np.ndarray) -> ImageText:
        inputs = self.inputs(image)
        text = self._processor.replace_image_token(inputs, 0)
        grid: tuple[int, int] | None = None
        if "image_grid_thw" in inputs:
            side = self._processor.image_processor.merge_size
            _, rows, columns = inputs["image_grid_thw"][0].tolist()
            grid = rows // side, columns // side
        return ImageText(text, text.count(self._processor.image_token), grid)


def _kept(store: OrderedDict[str, T], name: str, make: Callable[[], T], *, most: int) -> T:
    """`store[name]`, made if it is not there; the one that was not used for longest is dropped."""
    if name not in store:
        store[name] = make()
        if len(store) > most:
            store.popitem(last=False)
    store.move_to_end(name)
    return store[name]


def digest(image: np.ndarray) -> str:
    """A hash of the image's shape and pixels."""
    image = np.ascontiguousarray(check_image(image))
    return hashlib.blake2b(image.data, digest_size=16, salt=repr(image.shape).encode()[:16]).hexdigest()


def check_image(image: np.ndarray) -> np.ndarray:
    """`image`; SettingError unless it is (H, W, 3) uint8."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise SettingError(f"An image is {image.shape} {image.dtype}; expected (height, width, 3) uint8 RGB.")
    return image
