"""Several questions about one image in one sequence: the image is encoded once, and no question attends to another.

An image costs a small model several times as much as a question. Packed, five questions cost about as much as two; the
answers' scores equal those of five separate conversations (tested).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vlm2vla_sim.mini.model.tokenizer import NUMBERS, number_tokens
from vlm2vla_sim.mini.scenes.annotation import to_degrees
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer

SOFT_CM = ((0, 0.56), (-1, 0.20), (1, 0.20), (-2, 0.02), (2, 0.02))
"""Soft target of a measured centimetre, as (offset, probability): 31.4 and 31.6 cannot be told apart in the image."""
SOFT_DEGREES = ((0, 0.80), (-15, 0.10), (15, 0.10), (0, 0.0), (0, 0.0))
"""The same for a yaw in steps of 15 degrees, modulo its period."""
LENGTH_STEP = 32
"""Sequence lengths are multiples of it: the matrix library compiles a kernel for each new shape."""
EXACT = ((0, 1.0), (0, 0.0), (0, 0.0), (0, 0.0), (0, 0.0))


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """B sequences of length L, with N answer tokens to predict."""

    token_ids: torch.Tensor
    """(B, L)"""
    positions: torch.Tensor
    """(B, L)"""
    mask: torch.Tensor
    """(B, 1, L, L) bool: which token attends to which."""
    predicted_at: torch.Tensor
    """(N, 2): sequence, and position in it, whose output predicts the answer token."""
    targets: torch.Tensor
    """(N, 5) token ids, the right one first, then its neighbours."""
    probabilities: torch.Tensor
    """(N, 5) target probability of each."""


class Packer:
    """Makes batches in the form of the chat template."""

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        self._cache: dict[str, list[int]] = {}
        self._image_token = self._tokenizer.convert_tokens_to_ids("<image_soft_token>")
        start = f"{self._tokenizer.bos_token}<start_of_turn>user\n"
        self._start = self._encode(start)
        self._image = self._encode(processor.full_image_sequence)
        self._numbers = number_tokens(self._tokenizer)
        self._values = {token: number for number, token in self._numbers.items()}

    def pack(self, rows: Sequence[Sequence[QuestionAnswer]], *, images: bool = True) -> PackedBatch:
        """One sequence for each row of questions, each with an image unless `images` is false."""
        packed = [self._sequence(row, self._image if images else []) for row in rows]
        length = LENGTH_STEP * math.ceil(max(len(ids) for ids, *_ in packed) / LENGTH_STEP)
        ids = np.zeros((len(packed), length), np.int64)
        positions = np.zeros((len(packed), length), np.int64)
        owner = np.full((len(packed), length), -9, np.int64)
        predicted_at, targets, probabilities = [], [], []
        for index, (tokens, at, of, answers) in enumerate(packed):
            ids[index, : len(tokens)], positions[index, : len(tokens)], owner[index, : len(tokens)] = tokens, at, of
            for place, target, probability in answers:
                predicted_at.append((index, place))
                targets.append(target)
                probabilities.append(probability)
        return PackedBatch(
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            torch.from_numpy(_attention_mask(owner))[:, None],
            torch.tensor(predicted_at),
            torch.tensor(targets),
            torch.tensor(probabilities, dtype=torch.float32),
        )

    def _sequence(
        self, row: Sequence[QuestionAnswer], image: list[int]
    ) -> tuple[list[int], list[int], list[int], list[tuple[int, list, list]]]:
        """Tokens, positions, owners (as in `_attention_mask`), answers (position, target, probabilities)."""
        tokens = [*self._start, *image]
        at = list(range(len(tokens)))
        of = [0] * len(self._start) + [1 if token == self._image_token else -1 for token in image]
        answers: list[tuple[int, list, list]] = []
        for number, item in enumerate(row, start=2):
            question = self._encode(f"{item.question}<end_of_turn>\n<start_of_turn>model\n")
            answer = self._encode(f"{item.answer}<end_of_turn>")
            first = len(self._start) + (len(image) if item.needs_image else 0)
            begin = len(tokens)
            tokens += question + answer
            at += range(first, first + len(question) + len(answer))
            of += [number if item.needs_image else -number] * (len(question) + len(answer))
            for offset, token in enumerate(answer):
                target, probability = self._target(token, item, last=offset == len(answer) - 2)
                answers.append((begin + len(question) + offset - 1, target, probability))
        return tokens, at, of, answers

    def _target(self, token: int, item: QuestionAnswer, *, last: bool) -> tuple[list[int], list[float]]:
        value = self._values.get(token)
        if value is None or not item.period:
            pattern, values = EXACT, [value] * 5
        elif last and "turned" in item.answer:
            pattern = SOFT_DEGREES
            values = [to_degrees(value + offset, period=item.period) for offset, _ in pattern]
        else:
            pattern = SOFT_CM
            values = [max(NUMBERS[0], min(NUMBERS[-1], value + offset)) for offset, _ in pattern]
        near = [token if number is None else self._numbers[number] for number in values]
        return near, [probability for _, probability in pattern]

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            if len(self._cache) > 200_000:
                self._cache.clear()
            self._cache[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._cache[text]


def _attention_mask(owner: np.ndarray) -> np.ndarray:
    """(B, L, L) bool: whether a token (second axis) attends to another (third axis).

    owner: (B, L): 0 start, 1 image, -1 the tokens that frame it, n a question with the image, -n one without it (n from
    2 on), -9 padding.
    """
    length = owner.shape[1]
    past = np.tril(np.ones((length, length), bool))[None]
    query, key = owner[:, :, None], owner[:, None, :]
    shared = (key == 0) | (((key == 1) | (key == -1)) & ((query > 0) | (query == -1)))
    allowed = past & ((query == key) | shared)
    allowed |= (query == 1) & (key == 1)
    # Padding attends to itself; a softmax over nothing would be NaN.
    return allowed | np.eye(length, dtype=bool)[None]
