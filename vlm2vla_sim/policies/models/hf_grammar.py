"""Constrained decoding for transformers models, with llguidance.

Without a grammar, some answers cannot be parsed as motion. Here every token that the grammar does not allow gets
probability zero, and tokens without an alternative are reported, so that they need not be computed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.language.formats.grammar import Grammar

try:
    import torch
    from transformers import LogitsProcessor
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error
try:
    import llguidance.hf
    from llguidance import LLMatcher
except ModuleNotFoundError as error:
    raise missing_extra("Constrained decoding", error.name or "llguidance", "vlm") from error

if TYPE_CHECKING:
    from collections.abc import Sequence


class GrammarCompiler:
    """Compiles grammars for one tokenizer, with a cache."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, ends: Sequence[int]) -> None:
        """tokenizer: a fast one. vocabulary: the number of logits. ends: the tokens that end an answer."""
        self.vocabulary = vocabulary
        self._ends = tuple(ends)
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends))
        self._fresh = functools.lru_cache(maxsize=32)(self._compile)

    def start(self, grammar: Grammar) -> GrammarState:
        """A new answer under `grammar`."""
        return GrammarState(self._fresh(grammar.lark).deep_copy(), self.vocabulary, self._ends)

    def _compile(self, lark: str) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(lark))
        if matcher.is_error():
            raise SettingError(f"llguidance refuses the grammar: {matcher.get_error()}")
        return matcher


class GrammarState:
    """The state of one answer in its grammar.

    Forced text is tokenized in one way, the tokenizer's own. Other tokenizations of the same characters are not
    allowed, so that an answer's tokens do not depend on whether forced tokens are computed or appended.
    """

    def __init__(self, matcher: LLMatcher, vocabulary: int, ends: tuple[int, ...]) -> None:
        self._matcher = matcher
        self._ends = list(ends)
        self._bits = torch.zeros((vocabulary + 31) // 32, dtype=torch.int32)
        self._shifts = torch.arange(32, dtype=torch.int32)
        self._vocabulary = vocabulary
        self.ended = False
        """Whether an end token was consumed; in a batch, only padding follows it."""

    @property
    def is_done(self) -> bool:
        """Whether only an end token may follow."""
        return self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """The tokens that must come next, in order; none if there is an alternative."""
        return self._matcher.compute_ff_tokens()

    def allowed(self) -> torch.Tensor:
        """Indices, (K,) int64 ascending, of the tokens that may come next."""
        if self.is_done:
            return torch.tensor(sorted(self._ends))
        if forced := self.forced():
            return torch.tensor(forced[:1])
        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.numel() * 4)
        spread = (self._bits[:, None] >> self._shifts) & 1
        return spread.reshape(-1)[: self._vocabulary].nonzero().squeeze(1)

    def consume(self, token: int) -> None:
        """Advance by a token that is allowed."""
        if token in self._ends and (self.is_done or self._matcher.is_accepting()):
            self.ended = True
            return
        if not self._matcher.consume_token(token):
            raise AssertionError(
                f"The grammar refuses token {token}, which it had allowed: {self._matcher.get_error()}"
            )


class GrammarProcessor(LogitsProcessor):
    """The same constraint for `generate` of transformers, with one grammar or none for each row of the batch."""

    def __init__(self, states: Sequence[GrammarState | None], *, prompt_length: int) -> None:
        """prompt_length: columns of the prompt, padding included."""
        self._states = states
        self._read = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        """Scores (B, V) with all tokens that are not allowed at minus infinity."""
        new = input_ids[:, self._read :].tolist()
        self._read = input_ids.shape[1]
        kept = torch.full_like(scores, float("-inf"))
        for row, state in enumerate(self._states):
            if state is None:
                kept[row] = scores[row]
                continue
            for token in new[row]:
                if not (state.is_done or state.ended):
                    state.consume(token)
            allowed = state.allowed().to(scores.device)
            kept[row, allowed] = scores[row, allowed]
        return kept
