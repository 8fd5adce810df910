"""Decodes answers token by token, with caches for images and prompt beginnings, and without computing forced tokens.

Three `generate` calls a cycle encode the same image three times and compute every comma that the grammar forces. Here
an image is encoded once, the attention cache of a prompt's beginning is reused for every later prompt with the same
beginning, and forced tokens go through the model together with the token before them. The answers are the same as those
of `generate`; the tests compare them token by token.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vlm2vla_sim.policies.base import Sampling
from vlm2vla_sim.policies.models.hf_batch import Batch, CachedPrompt, Row, start_batch
from vlm2vla_sim.policies.models.hf_prompt import Prompt

KEPT_IMAGES = 64
"""Encoded images that are kept: two for each environment, for more environments than fit in a batch."""
KEPT_PREFIXES = 2
"""Attention caches that are kept: those of the last two stages."""


@dataclass
class Counts:
    """What has been computed so far, for tests and benchmarks."""

    images: int = 0
    """Images that went through the vision tower."""
    read: int = 0
    """Prompt tokens that were computed."""
    reused: int = 0
    """Prompt tokens taken from an earlier prompt."""
    steps: int = 0
    """Passes through the language model."""
    forced: int = 0
    """Answer tokens that the grammar forced."""


@dataclass(frozen=True)
class Optimizations:
    """Which computations are avoided: all by default. Benchmarks turn them off one by one."""

    images: bool = True
    prefix: bool = True
    forced: bool = True


class Decoder:
    """Decodes answers, for models whose `forward` takes Gemma 3's arguments."""

    def __init__(
        self,
        forward: Callable[..., Any],
        encode: Callable[[torch.Tensor], torch.Tensor],
        *,
        image_token: int,
        pad: int,
        ends: Sequence[int],
        window: int,
        device: torch.device,
    ) -> None:
        """Set up the decoder; caches are empty.

        forward: the model itself. encode: pixels of one image -> its (1, tokens, hidden) features. window: columns over
        which a sliding attention layer looks back.
        """
        self._forward_model, self._encode = forward, encode
        self._image_token, self._pad, self._ends = image_token, pad, frozenset(ends)
        self._window, self._device = window, device
        self._features: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._kept: dict[bool, deque[list[CachedPrompt]]] = {on: deque(maxlen=KEPT_PREFIXES) for on in (False, True)}
        self.counts = Counts()
        self.optimizations = Optimizations()

    def clear(self) -> None:
        """Empty the caches."""
        self._features.clear()
        for kept in self._kept.values():
            kept.clear()

    @torch.inference_mode()
    def generate(
        self, rows: list[Row], pixels: Callable[[str], torch.Tensor], *, adapter: bool, vision_adapter: bool
    ) -> None:
        """Decode the answer of every row, into `Row.answer` and `Row.finish`.

        pixels: an image's pixels by its digest. adapter: whether the adapter is enabled; attention caches are kept
        apart for both. vision_adapter: whether the adapter also changes the vision tower.
        """
        self._image = lambda name: self._encoded((name, adapter and vision_adapter), lambda: pixels(name))
        known = [prompt for prompts in reversed(self._kept[adapter]) for prompt in prompts]
        batch, shared = start_batch(rows, known if self.optimizations.prefix else (), window=self._window)
        for row in rows:
            row.pending = list(row.prompt.ids[shared:])
            self._take_forced(row)
        self.counts.reused += shared * len(rows)
        self.counts.read += sum(len(row.prompt.ids) - shared for row in rows)
        self._read(batch, self._step(batch))
        if self.optimizations.prefix:
            self._kept[adapter].append([batch.prompt_of(index) for index in range(len(rows))])
        self._run(batch)
        if not self.optimizations.images:
            self._features.clear()

    # The decoding loop.

    def _run(self, batch: Batch) -> None:
        while not all(row.done for row in batch.rows):
            width = max(len(row.pending) for row in batch.rows)
            if len(batch.rows) > 1 and batch.live.shape[1] + width > self._window:
                # Masked columns between a row's tokens would push tokens out of a sliding attention window.
                for index, row in enumerate(batch.rows):
                    if not row.done:
                        self._run(batch.alone(index))
                return
            self._read(batch, self._step(batch))

    def _step(self, batch: Batch) -> torch.Tensor:
        """Compute the pending tokens, padded on the left; returns the scores (B, V) float32 of the next token."""
        width = max(len(row.pending) for row in batch.rows)
        ids = torch.full((len(batch.rows), width), self._pad)
        live = torch.zeros_like(ids)
        for index, row in enumerate(batch.rows):
            if row.pending:
                ids[index, width - len(row.pending) :] = torch.tensor(row.pending)
                live[index, width - len(row.pending) :] = 1
        # The token stands for part of an image; an answer cannot contain it.
        types = (ids == self._image_token).long()
        batch.live = torch.cat([batch.live, live], 1)
        batch.types = torch.cat([batch.types, types], 1)
        images = {}
        if types.any():
            names = [name for row in batch.rows for name in _images_in(row.prompt, row.pending, self._image_token)]
            features = torch.cat([self._image(name) for name in names])
            images["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=features)}
            # The attention mask covers all columns, so the types of all are needed.
            images["token_type_ids"] = batch.types.to(self._device)
        positions = (batch.live.cumsum(1) - 1).clamp(min=0)[:, -width:]
        self.counts.steps += 1
        scores = self._forward_model(
            input_ids=ids.to(self._device),
            attention_mask=batch.live.to(self._device),
            position_ids=positions.to(self._device),
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
            **images,
        ).logits[:, -1]
        for row in batch.rows:
            row.pending = []
        return scores.float()

    def _read(self, batch: Batch, scores: torch.Tensor) -> None:
        """Choose the next token of every row that is not done."""
        for row, score in zip(batch.rows, scores, strict=True):
            if row.done:
                continue
            token = self._choose(row, score)
            if row.state is not None:
                row.state.consume(token)
            if token in self._ends:
                row.finish = "stop"
                continue
            row.answer.append(token)
            row.pending = [token]
            self._take_forced(row)
            row.check_end()

    def _choose(self, row: Row, scores: torch.Tensor) -> int:
        if row.state is not None:
            allowed = row.state.allowed()
            return int(allowed[_draw(scores[allowed.to(scores.device)], row.sampling, row.chance)])
        scores = scores.clone()
        scores[self._image_token] = float("-inf")
        return _draw(scores, row.sampling, row.chance)

    def _take_forced(self, row: Row) -> None:
        """Append the tokens that the grammar forces; the row is done if they end the answer."""
        if row.state is None or not self.optimizations.forced:
            return
        row.check_end()
        while not row.done and (forced := row.state.forced()):
            for token in forced[: row.sampling.max_tokens - len(row.answer)]:
                row.state.consume(token)
                row.answer.append(token)
                row.pending.append(token)
                self.counts.forced += 1
            row.check_end()

    # Caches.

    def _encoded(self, name: Hashable, pixels: Callable[[], torch.Tensor]) -> torch.Tensor:
        if name not in self._features:
            self._features[name] = self._encode(pixels())
            self.counts.images += 1
            if len(self._features) > KEPT_IMAGES:
                self._features.popitem(last=False)
        self._features.move_to_end(name)
        return self._features[name]


def _images_in(prompt: Prompt, pending: list[int], image_token: int) -> tuple[str, ...]:
    """The digests of the images in the pending part of a prompt, which are its last ones."""
    if not prompt.images or image_token not in pending:
        return ()
    per_image = prompt.ids.count(image_token) // len(prompt.images)
    return prompt.images[len(prompt.images) - pending.count(image_token) // per_image :]


def _draw(scores: torch.Tensor, sampling: Sampling, chance: torch.Generator) -> int:
    """The index of the sampled entry of `scores`, (K,) float32."""
    if sampling.temperature == 0:
        return int(scores.argmax())
    chances = (scores.cpu() / sampling.temperature).softmax(0)
    if sampling.top_p < 1:
        sorted_chances, order = chances.sort(descending=True, stable=True)
        # The likeliest token is always kept: no probability precedes it.
        kept = sorted_chances.cumsum(0) - sorted_chances < sampling.top_p
        return int(order[torch.multinomial(sorted_chances * kept, 1, generator=chance)])
    return int(torch.multinomial(chances, 1, generator=chance))
