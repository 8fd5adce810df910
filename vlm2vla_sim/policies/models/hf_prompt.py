"""Encodes a question for a transformers model: tokens, and pixels for its images.

The stages of a cycle are different questions about the same image. To find the beginning that two prompts share, every
position of a prompt has a key that is equal only if its content is equal: `Prompt.keys`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question in tokens."""

    ids: tuple[int, ...]
    keys: tuple[Hashable, ...]
    """One for each of `ids`: the token itself, or for an image token the image's digest and position in it."""
    images: tuple[str, ...]
    """The digest of each image, in their order in the prompt."""


class PromptMaker:
    """Encodes prompts with a model's processor and chat template."""

    def __init__(self, processor: Any, *, image_token: int | None) -> None:
        """image_token: the token for a part of an image; None for models that encode images in another way."""
        self.processor = processor
        self._image_token = image_token

    def messages(self, question: Question) -> list[dict[str, Any]]:
        """One user turn: images and text in the question's order."""
        from PIL import Image

        special = getattr(self.processor, "boi_token", None)
        if special and special in question.prompt:
            raise SettingError(
                f"The prompt contains {special!r}, which marks an image; take it out of the instruction."
            )
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image", "image": Image.fromarray(check_image(part))}
            for part in question.parts()
        ]
        return [{"role": "user", "content": parts}]

    @functools.cached_property
    def places_images(self) -> bool:
        """Whether the chat template keeps the order of images and text; some write all images first."""
        image, prompt = np.zeros((1, 1, 3), np.uint8), "first second"
        question = Question("order", prompt, (image,), places=(len("first"),))
        rendered = self.processor.apply_chat_template(self.messages(question), tokenize=False)
        start, end = (rendered.find(word) for word in prompt.split())
        return 0 <= start < end and bool(rendered[start + len("first") : end].strip())

    def encode(self, question: Question) -> Prompt:
        """The question in tokens; pixels are not processed. For models that encode images as Gemma 3 does."""
        text = self.processor.apply_chat_template(self.messages(question), tokenize=False, add_generation_prompt=True)
        text = text.replace(self.processor.boi_token, self.processor.full_image_sequence)
        ids = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        digests = tuple(map(digest, question.images))
        places = self.processor.image_seq_length
        keys: list[Hashable] = []
        seen = 0
        for token in ids:
            if token == self._image_token:
                keys.append((digests[seen // places], seen % places))
                seen += 1
            else:
                keys.append(token)
        if seen != places * len(digests):
            raise SettingError(
                f"{len(digests)} images need {places * len(digests)} image tokens; the prompt has {seen}."
            )
        return Prompt(tuple(ids), tuple(keys), digests)

    def pixels(self, image: np.ndarray) -> torch.Tensor:
        """The vision tower's input, (1, 3, side, side) float32. image: (H, W, 3) uint8 RGB."""
        from PIL import Image

        made = self.processor.image_processor(images=[Image.fromarray(check_image(image))], return_tensors="pt")
        return made["pixel_values"]


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
