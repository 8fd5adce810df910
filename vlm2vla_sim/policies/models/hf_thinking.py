"""An answer that begins with reasoning, for models in this process: free text first, then the answer's grammar.

The state of such an answer stands in the place of its grammar's state, so that every way to decode treats it alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vlm2vla_sim.policies.models.answer_frame import AnswerFrame, answer_text
from vlm2vla_sim.policies.models.hf_grammar import AnswerState
from vlm2vla_sim.policies.models.thinking import Thinking
from vlm2vla_sim.types import Stage


class ThinkingState:
    """An `AnswerState`: which tokens may come next in an answer that begins with reasoning."""

    def __init__(
        self,
        thinking: Thinking,
        answer: AnswerState | None,
        *,
        budget: int,
        vocabulary: int,
        ends: Sequence[int],
        image_token: int,
    ) -> None:
        """thinking: of a model that can think. answer: the state behind the reasoning, None where the answer is free.

        budget: the most tokens of the reasoning; then it is ended. ends: the tokens that end an answer. image_token:
        stands for a part of an image, which no answer contains.
        """
        assert thinking.tokens is not None
        self._tokens, self._answer = thinking.tokens, answer
        self._forced = [] if thinking.opened else list(self._tokens.opening)
        self._left = budget
        self._thinks = True
        self._vocabulary, self._ends, self._image_token = vocabulary, frozenset(ends), image_token
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether an end token was consumed."""
        return self._ended or (self._answer is not None and self._answer.ended)

    @property
    def is_done(self) -> bool:
        """Whether only an end token may follow."""
        return self._answer is not None and not self._before_answer and self._answer.is_done

    @property
    def _before_answer(self) -> bool:
        return self._thinks or bool(self._forced)

    def forced(self) -> list[int]:
        """The tokens that must come next, in order; none if there is an alternative."""
        if self._before_answer:
            return list(self._forced)
        return [] if self._answer is None else self._answer.forced()

    def allowed(self) -> torch.Tensor:
        """Indices, (K,) int64 ascending, of the tokens that may come next."""
        words = np.zeros((self._vocabulary + 31) // 32, np.int32)
        self.allow(words)
        bits = np.unpackbits(words.view(np.uint8), count=self._vocabulary, bitorder="little")
        return torch.from_numpy(bits.nonzero()[0])

    def allow(self, words: np.ndarray) -> None:
        """Write the tokens that may come next as bits, the lowest first, into `words`, (V / 32,) int32."""
        if not self._before_answer and self._answer is not None:
            self._answer.allow(words)
            return
        bits = words.view(np.uint32)
        if self._forced:
            words[:] = 0
            bits[self._forced[0] // 32] |= np.uint32(1 << self._forced[0] % 32)
            return
        words[:] = -1
        # A turn does not end before its answer has begun.
        for token in {self._image_token, *(self._ends if self._thinks else ())}:
            if token < self._vocabulary:
                bits[token // 32] &= ~np.uint32(1 << token % 32)

    def consume(self, token: int) -> None:
        """Advance by a token that is allowed."""
        forced = self._forced.pop(0) if self._forced else None
        if self._thinks:
            self._left -= 1
            if token == self._tokens.end:
                self._thinks, self._forced = False, list(self._tokens.after)
            elif not self._forced and self._left <= len(self._tokens.closing) + len(self._tokens.after):
                self._forced = list(self._tokens.closing)
        elif forced is not None:
            return
        elif self._answer is not None:
            self._answer.consume(token)
        elif token in self._ends:
            self._ended = True


def read_answer(tokenizer: Any, tokens: list[int], frame: AnswerFrame, thinking: Thinking, *, on: bool) -> Stage:
    """The text, the reasoning and the tokens of an answer, without name, time and end.

    on: whether the model was made to think.
    """
    marks, ids = thinking.marks, thinking.tokens
    reasoning, answer = ids.split(tokens, thinking=on) if ids else ([], tokens)
    text = answer_text(tokenizer, answer, frame)
    if marks is None or not reasoning:
        return Stage("", text, len(tokens))
    thought = tokenizer.decode(reasoning, skip_special_tokens=False, clean_up_tokenization_spaces=False).strip()
    thought = thought.removeprefix(marks.start).removeprefix(marks.before).partition(marks.end)[0].strip()
    return Stage("", text.lstrip(), len(tokens), reasoning=thought, reasoning_tokens=len(reasoning))
