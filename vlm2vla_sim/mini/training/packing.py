"""Several questions about one picture in one sequence: the picture is read once, and no question sees another.

A picture costs a small model several times what a question does. Packed, five questions cost about what two would;
the answers' scores are those of five separate conversations (tested).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vlm2vla_sim.mini.model.model import NUMBERS, number_tokens
from vlm2vla_sim.mini.scenes.annotation import to_degrees

NEAR = ((0, 0.56), (-1, 0.20), (1, 0.20), (-2, 0.02), (2, 0.02))
"""How a measured centimetre is shared with its neighbours: nobody sees the difference between 31.4 and 31.6."""
TURNED = ((0, 0.80), (-15, 0.10), (15, 0.10), (0, 0.0), (0, 0.0))
"""The same for a turn in steps of 15 degrees, around its period."""
STEP = 32
"""Lengths of batches are multiples of it: each new shape costs the matrix library a kernel of its own."""
EXACT = ((0, 1.0), (0, 0.0), (0, 0.0), (0, 0.0), (0, 0.0))


@dataclass(frozen=True)
class Turn:
    """One question with its answer, in words."""

    question: str
    answer: str
    sees: bool = True
    """False for a question that is asked without the picture."""
    period: int = 0
    """[degrees] after which a thing looks the same again, where the answer's numbers were measured and neighbours are
    nearly right; 0 for answers that are right or wrong."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What the model is given, and what it is to say."""

    ids: torch.Tensor
    """(B, L)"""
    positions: torch.Tensor
    """(B, L)"""
    mask: torch.Tensor
    """(B, 1, L, L) bool: who may look at whom."""
    rows: torch.Tensor
    """(N, 2): where an answer's token is predicted from: row of the batch, place in it."""
    targets: torch.Tensor
    """(N, 5) tokens, the right one first, then its neighbours."""
    shares: torch.Tensor
    """(N, 5) of the probability each should have."""


class Packer:
    """Makes batches in the form of the chat template."""

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        self._known: dict[str, list[int]] = {}
        self._image_token = self._tokenizer.convert_tokens_to_ids("<image_soft_token>")
        start = f"{self._tokenizer.bos_token}<start_of_turn>user\n"
        self._start = self._encode(start)
        self._image = self._encode(processor.full_image_sequence)
        self._numbers = number_tokens(self._tokenizer)
        self._values = {token: number for number, token in self._numbers.items()}

    def pack(self, rows: Sequence[Sequence[Turn]], *, pictures: bool = True) -> Batch:
        """One row for each picture; without `pictures`, as many rows of questions that need none."""
        made = [self._row(turns, self._image if pictures else []) for turns in rows]
        length = STEP * math.ceil(max(len(ids) for ids, *_ in made) / STEP)
        ids = np.zeros((len(made), length), np.int64)
        positions = np.zeros((len(made), length), np.int64)
        owner = np.full((len(made), length), -9, np.int64)
        places, targets, shares = [], [], []
        for index, (tokens, at, of, answers) in enumerate(made):
            ids[index, : len(tokens)], positions[index, : len(tokens)], owner[index, : len(tokens)] = tokens, at, of
            for place, target, share in answers:
                places.append((index, place))
                targets.append(target)
                shares.append(share)
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            torch.from_numpy(_who_sees_whom(owner))[:, None],
            torch.tensor(places),
            torch.tensor(targets),
            torch.tensor(shares, dtype=torch.float32),
        )

    def _row(
        self, turns: Sequence[Turn], image: list[int]
    ) -> tuple[list[int], list[int], list[int], list[tuple[int, list, list]]]:
        """Tokens, positions, owners (0 start, 1 picture, 2.. questions, negative without picture), answers."""
        tokens = [*self._start, *image]
        at = list(range(len(tokens)))
        of = [0] * len(self._start) + [1 if token == self._image_token else -1 for token in image]
        answers: list[tuple[int, list, list]] = []
        for number, turn in enumerate(turns, start=2):
            asked = self._encode(f"{turn.question}<end_of_turn>\n<start_of_turn>model\n")
            said = self._encode(f"{turn.answer}<end_of_turn>")
            first = len(self._start) + (len(image) if turn.sees else 0)
            begin = len(tokens)
            tokens += asked + said
            at += range(first, first + len(asked) + len(said))
            of += [number if turn.sees else -number] * (len(asked) + len(said))
            for offset, token in enumerate(said):
                target, share = self._target(token, turn, last=offset == len(said) - 2)
                answers.append((begin + len(asked) + offset - 1, target, share))
        return tokens, at, of, answers

    def _target(self, token: int, turn: Turn, *, last: bool) -> tuple[list[int], list[float]]:
        value = self._values.get(token)
        if value is None or not turn.period:
            pattern, values = EXACT, [value] * 5
        elif last and "turned" in turn.answer:
            pattern = TURNED
            values = [to_degrees(value + step, period=turn.period) for step, _ in pattern]
        else:
            pattern = NEAR
            values = [max(NUMBERS[0], min(NUMBERS[-1], value + step)) for step, _ in pattern]
        near = [token if number is None else self._numbers[number] for number in values]
        return near, [share for _, share in pattern]

    def _encode(self, text: str) -> list[int]:
        if text not in self._known:
            if len(self._known) > 200_000:
                self._known.clear()
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known[text]


def _who_sees_whom(owner: np.ndarray) -> np.ndarray:
    """(B, L, L) bool. owner: (B, L), 0 start, 1 picture, -1 its frame, n question with, -n without picture, -9 none."""
    length = owner.shape[1]
    past = np.tril(np.ones((length, length), bool))[None]
    looker, seen = owner[:, :, None], owner[:, None, :]
    common = (seen == 0) | (((seen == 1) | (seen == -1)) & ((looker > 0) | (looker == -1)))
    allowed = past & ((looker == seen) | common)
    allowed |= (looker == 1) & (seen == 1)
    # Filling looks at itself, or its softmax would have nothing to share out.
    return allowed | np.eye(length, dtype=bool)[None]
