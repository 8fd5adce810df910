"""Encodes a question for a transformers model: tokens, and pixels for its images.

The stages of a cycle are different questions about the same image. To find the beginning that two prompts share, every
position of a prompt has a key that is equal only if its content is equal: `Prompt.keys`.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.prompt_images import PromptImages, check_image, digest
from vlm2vla_sim.policies.models.thinking import NEVER, Thinking

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
    grids: tuple[tuple[int, int], ...] = ()
    """Rows and columns of the tokens of each image, for processors that tell them."""


class PromptMaker:
    """Encodes prompts with a model's processor and chat template."""

    def __init__(self, processor: Any, *, image_token: int | None, thinking: Thinking = NEVER) -> None:
        """image_token: the token for a part of an image; None for models that encode images in another way."""
        self.processor = processor
        self._image_token, self._thinking = image_token, thinking
        self._images = PromptImages(processor)

    def variables(self, question: Question) -> dict[str, Any]:
        """The variables of the chat template for `question`."""
        return self._thinking.variables(on=bool(question.thinking))

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
        """The question in tokens, as the processor writes it. For models that `cached_text` knows."""
        text = self.processor.apply_chat_template(
            self.messages(question), tokenize=False, add_generation_prompt=True, **self.variables(question)
        )
        digests = tuple(map(digest, question.images))
        written = [self._images.write(name, image) for name, image in zip(digests, question.images, strict=True)]
        mark = self._images.mark
        parts = text.split(mark)
        if len(parts) != len(digests) + 1:
            raise SettingError(
                f"The prompt has {len(parts) - 1} marks of an image, {mark!r}, for {len(digests)} "
                "images. Take the mark out of the instruction."
            )
        text = parts[0] + "".join(image.text + part for image, part in zip(written, parts[1:], strict=True))
        start = self.processor.tokenizer.bos_token
        ids = self.processor.tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"]
        places = [(name, place) for name, image in zip(digests, written, strict=True) for place in range(image.tokens)]
        if ids.count(self._image_token) != len(places):
            raise SettingError(
                f"{len(digests)} images need {len(places)} image tokens; the prompt has {ids.count(self._image_token)}."
            )
        following = iter(places)
        keys = tuple(next(following) if token == self._image_token else token for token in ids)
        return Prompt(tuple(ids), keys, digests, tuple(image.grid for image in written if image.grid))

    def image_inputs(self, image: np.ndarray) -> Mapping[str, torch.Tensor]:
        """The vision tower's inputs for one image, (H, W, 3) uint8 RGB, made by transformers' image processor."""
        return self._images.inputs(image)

    def pixels(self, image: np.ndarray) -> torch.Tensor:
        """The pixels among them."""
        return self.image_inputs(image)["pixel_values"]
