"""Answers in progress, and the rows of the attention cache that hold their prompts and those of earlier answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from vlm2vla_sim.errors import DecodingError
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.hf_grammar import AnswerState
from vlm2vla_sim.policies.models.hf_prompt import Prompt
from vlm2vla_sim.policies.models.key_values import KeyValues
from vlm2vla_sim.types import Stage


class Written(NamedTuple):
    """The tokens of an answer, without the end token, and `Stage.finish`."""

    tokens: list[int]
    finish: str


@dataclass(eq=False)
class Row:
    """One answer in progress."""

    prompt: Prompt
    images: Mapping[str, np.ndarray]
    """The prompt's images by their digests."""
    sampling: Sampling
    state: AnswerState | None
    chance: torch.Generator
    adapter: bool
    pending: list[int] = field(default_factory=list)
    """Tokens that have not been through the model yet."""
    answer: list[int] = field(default_factory=list)
    finish: str = ""
    """`Stage.finish`; empty while the answer is in progress."""
    error: Exception | None = None
    """Why the answer could not be completed."""
    positions: Callable[[int, int], torch.Tensor] | None = None
    """See `CachedText.positions`."""

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return bool(self.finish) or self.error is not None

    def check_end(self) -> None:
        """End the answer if its grammar is complete, or if no token is left: a complete answer is not cut off."""
        if self.state is not None and self.state.is_done:
            self.finish = "stop"
        elif len(self.answer) >= self.sampling.max_tokens:
            self.finish = "length"


class PendingAnswer:
    """A question that was taken in, and its answer once it has ended."""

    def __init__(self, question: Question, row: Row, read: Callable[[Question, list[int]], Stage]) -> None:
        """read: makes the answer of its tokens, without time and end."""
        self.row = row
        self._question, self._read = question, read
        self._started = time.perf_counter()
        self._seconds: float | None = None

    @property
    def done(self) -> bool:
        """Whether `stage` can be called."""
        if self._seconds is None and self.row.done:
            self._seconds = round(time.perf_counter() - self._started, 4)
        return self.row.done

    def stage(self) -> Stage:
        """The answer; the error that it ended with is raised."""
        if self.row.error is not None:
            raise self.row.error
        stage = self._read(self._question, self.row.answer)
        return dataclasses.replace(stage, seconds=self._seconds or 0.0, finish=self.row.finish)

    def cancel(self) -> None:
        """End it with an error, unless it has ended."""
        if not self.row.done:
            self.row.error = DecodingError("The answer was cancelled.")


@dataclass(eq=False)
class _Slot:
    """What a row of the attention cache holds."""

    keys: tuple[Hashable, ...] = ()
    """Of the prompt (`Prompt.keys`), also of an answer that has ended: a later prompt may begin alike."""
    adapter: bool = True
    length: int = 0
    """Tokens in the row."""
    used: int = 0
    """When it was last taken; the one that was not used for longest is overwritten first."""


class Slots:
    """The rows of an attention cache. Those of answers in progress come first, so that they are one block of it."""

    def __init__(self, cache: KeyValues) -> None:
        self.cache = cache
        self.rows: list[Row] = []
        """The answers in progress; the first one is in the cache's first row, and so on."""
        self._slots: list[_Slot] = []
        self._taken = 0

    def length(self, index: int) -> int:
        """Tokens of answer `index` that are in the cache."""
        return self._slots[index].length

    def start(self, row: Row, *, reuse: bool) -> int:
        """Take `row` in; returns how many tokens of its prompt are in the cache already.

        That is the longest beginning that it shares with a prompt in the cache, if `reuse`.
        """
        number = len(self.rows)
        source, shared = self._best(row) if reuse else (-1, 0)
        if source >= number and 2 * shared >= len(self._slots[source].keys):
            place = source
        else:
            place = self._spare()
            if shared:
                self.cache.ensure(len(self._slots), shared)
                self.cache.copy(source, place, shared)
        self._taken += 1
        self._slots[place] = _Slot(row.prompt.keys, row.adapter, shared, self._taken)
        self._exchange(place, number)
        self.rows.append(row)
        return shared

    def wrote(self, index: int, tokens: int) -> None:
        """`tokens` more tokens of answer `index` are in the cache."""
        self._slots[index].length += tokens

    def end(self, index: int, *, keep: bool) -> None:
        """Answer `index` has ended. keep: whether its prompt may be reused."""
        if not keep:
            self.cache.clean(index)
            self._slots[index] = _Slot()
        last = len(self.rows) - 1
        self._exchange(index, last)
        self.rows[index] = self.rows[last]
        self.rows.pop()

    def _best(self, row: Row) -> tuple[int, int]:
        """The place that shares the longest beginning with the prompt of `row`, and its length; -1 and 0 if none."""
        place, longest = -1, 0
        keys = row.prompt.keys
        for index, slot in enumerate(self._slots):
            if slot.adapter is row.adapter:
                shared = min(_shared(slot.keys, keys), slot.length, len(keys) - 1)
                while shared and _is_inside_image(keys[shared]):
                    shared -= 1
                # Of equal ones the one that is free: nothing need be copied.
                if shared > longest or (shared == longest and shared and index >= len(self.rows)):
                    place, longest = index, shared
        return place, longest

    def _spare(self) -> int:
        """A place to overwrite. Twice as many prompts are kept as there are answers in progress."""
        number = len(self.rows)
        if len(self._slots) < 2 * (number + 1):
            self._slots.append(_Slot())
            if len(self._slots) > self.cache.rows:
                self.cache.ensure(max(len(self._slots), 2 * self.cache.rows), self.cache.columns)
            return len(self._slots) - 1
        return min(range(number, len(self._slots)), key=lambda index: self._slots[index].used)

    def _exchange(self, one: int, other: int) -> None:
        if one == other:
            return
        slots = self._slots
        self.cache.swap(one, other, max(slots[one].length, slots[other].length))
        slots[one], slots[other] = slots[other], slots[one]


def blocks_of(keys: Sequence[Hashable], length: int) -> list[int] | None:
    """For each token the number of the image that it is a part of, -1 for text; None if there is no image.

    keys: of the prompt's tokens (`Prompt.keys`). length: of the tokens, those of the answer included.
    """
    if not any(map(_is_image_start, keys)):
        return None
    blocks, number = [], -1
    for key in keys:
        number += _is_image_start(key)
        blocks.append(number if isinstance(key, tuple) else -1)
    return blocks + [-1] * (length - len(blocks))


def images_of(keys: Sequence[Hashable]) -> list[str]:
    """The digests of the images in a part of a prompt."""
    return [key[0] for key in keys if isinstance(key, tuple) and key[1] == 0]


def _is_image_start(key: Hashable) -> bool:
    return isinstance(key, tuple) and key[1] == 0


def _shared(left: tuple[Hashable, ...], right: tuple[Hashable, ...]) -> int:
    """The length of the common beginning."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


def _is_inside_image(key: Hashable) -> bool:
    """Whether a cut before this key would split an image, whose tokens attend to one another."""
    return isinstance(key, tuple) and key[1] > 0
