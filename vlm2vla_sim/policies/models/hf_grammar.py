"""Constrained decoding for transformers models, with llguidance.

Without a grammar, some answers cannot be parsed as motion. Here every token that the grammar does not allow gets
probability zero, and tokens without an alternative are reported, so that they need not be computed.
"""

from __future__ import annotations

import functools
import json
import random
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlm2vla_sim.errors import DecodingError, GrammarError, missing_extra
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.models.answer_frame import NO_FRAME, AnswerFrame, answer_text
from vlm2vla_sim.policies.models.byte_vocabulary import ByteVocabulary
from vlm2vla_sim.policies.models.grammar_match import GrammarMatcher

try:
    import torch
    from transformers import LogitsProcessor
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error
try:
    from llguidance import LLMatcher, LLTokenizer
except ModuleNotFoundError as error:
    raise missing_extra("Constrained decoding", error.name or "llguidance", "vlm") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBES = 6
"""Answers that are written at random, to check a tokenizer with a grammar."""
PROBE_TOKENS = 512
"""The most tokens of such an answer."""


class GrammarCompiler:
    """Compiles grammars for one tokenizer, with a cache, and checks that the tokenizer can write their texts."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, ends: Sequence[int], frame: AnswerFrame = NO_FRAME) -> None:
        """tokenizer: a fast one. vocabulary: the number of logits. ends: the tokens that end an answer.

        frame: what the chat template puts around an answer.
        """
        self.vocabulary = vocabulary
        self._tokenizer, self._ends, self._frame = tokenizer, tuple(ends), frame
        self._fresh = functools.lru_cache(maxsize=32)(self._compile)

    def start(self, grammar: Grammar) -> GrammarState:
        """A new answer under `grammar`.

        GrammarError for a grammar that llguidance refuses, and for a tokenizer that cannot write its texts: at the
        first answer under a grammar, some are written at random and compared with it.
        """
        return self._state(self._fresh(grammar))

    def _state(self, matcher: LLMatcher) -> GrammarState:
        return GrammarState(matcher.deep_copy(), self.vocabulary, self._ends)

    @functools.cached_property
    def _table(self) -> ByteVocabulary:
        return ByteVocabulary(self._tokenizer, size=self.vocabulary)

    @functools.cached_property
    def _tokens(self) -> LLTokenizer:
        return LLTokenizer(_Wrapper(self._table, self._ends), eos_token=list(self._ends))  # type: ignore[arg-type]

    def _compile(self, grammar: Grammar) -> LLMatcher:
        source = LLMatcher.grammar_from_lark(grammar.lark)
        if self._frame.spaces:
            start = {"lark_grammar": f'start: " "{{0,{self._frame.spaces}}} @answer'}
            source = json.dumps({"grammars": [start, {"name": "answer", "lark_grammar": grammar.lark}]})
        matcher = LLMatcher(self._tokens, source, log_level=0)
        if matcher.is_error():
            raise GrammarError(f"llguidance refuses the grammar: {_short(matcher.get_error(), 300)}")
        self._probe(grammar, matcher)
        return matcher

    def _probe(self, grammar: Grammar, matcher: LLMatcher) -> None:
        """GrammarError unless answers that are drawn at random decode to the text that the grammar has allowed.

        A whole one is also compared with the regular expression, which a grammar from a client of `serve-model` may
        lack; its texts may also have no end.
        """
        asked = _short(grammar.regex or grammar.lark)
        name = self._tokenizer.name_or_path or "this model"
        advice = "Use another action format or another model, or constrained=false."
        for seed in range(PROBES):
            try:
                tokens, ended = self._write(self._state(matcher), random.Random(seed))
            except DecodingError as error:
                raise GrammarError(
                    f"The tokenizer of {name} cannot write the texts of the grammar {asked}: {error} {advice}"
                ) from error
            text = answer_text(self._tokenizer, tokens, self._frame)
            written = b"".join(self._table.tokens[token] for token in tokens).decode(errors="replace")
            same = _comparable(text, self._frame) == _comparable(written, self._frame)
            if not same or (ended and grammar.regex and not GrammarMatcher(grammar).matches(text)):
                raise GrammarError(
                    f"The tokenizer of {name} decodes an answer under the grammar {asked} to "
                    f"{_short(text)!r}, which is not a text of the grammar. {advice}"
                )

    def _write(self, state: GrammarState, rng: random.Random) -> tuple[list[int], bool]:
        """An answer that is drawn at random, and whether it ended."""
        tokens: list[int] = []
        while len(tokens) < PROBE_TOKENS:
            token = rng.choice(state.allowed().tolist())
            state.consume(token)
            if token in self._ends:
                return tokens, True
            tokens.append(token)
        return tokens, False


class _Wrapper:
    """A `ByteVocabulary` as llguidance takes it (`llguidance.TokenizerWrapper`)."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, table: ByteVocabulary, ends: Sequence[int]) -> None:
        self.tokens = table.tokens
        self.special_token_ids = sorted({*table.special, *ends})
        self.eos_token_id = ends[0]
        self._encode = table.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


class AnswerState(Protocol):
    """Which tokens may come next in an answer that is not free: by a grammar, or behind reasoning."""

    @property
    def ended(self) -> bool:
        """Whether an end token was consumed; in a batch, only padding follows it."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether only an end token may follow."""
        ...

    def forced(self) -> list[int]:
        """The tokens that must come next, in order; none if there is an alternative."""
        ...

    def allowed(self) -> torch.Tensor:
        """Indices, (K,) int64 ascending, of the tokens that may come next."""
        ...

    def allow(self, words: np.ndarray) -> None:
        """Write the tokens that may come next as bits, the lowest first, into `words`, (V / 32,) int32."""
        ...

    def consume(self, token: int) -> None:
        """Advance by a token that is allowed."""
        ...


class GrammarState:
    """The state of one answer in its grammar. DecodingError if llguidance fails.

    Forced text is tokenized in one way, the tokenizer's own. Other tokenizations of the same characters are not
    allowed, so that an answer's tokens do not depend on whether forced tokens are computed or appended.
    """

    def __init__(self, matcher: LLMatcher, vocabulary: int, ends: tuple[int, ...]) -> None:
        self._matcher = matcher
        self._ends = list(ends)
        self._vocabulary = vocabulary
        self.ended = False
        """Whether an end token was consumed; in a batch, only padding follows it."""

    @property
    def is_done(self) -> bool:
        """Whether only an end token may follow."""
        stopped = self._matcher.is_stopped()
        if stopped:
            self._check()  # a matcher in error says that it is stopped
        return stopped

    def forced(self) -> list[int]:
        """The tokens that must come next, in order; none if there is an alternative."""
        tokens = self._matcher.compute_ff_tokens()
        self._check()
        return tokens

    def allowed(self) -> torch.Tensor:
        """Indices, (K,) int64 ascending, of the tokens that may come next."""
        words = np.zeros((self._vocabulary + 31) // 32, np.int32)
        self.allow(words)
        bits = np.unpackbits(words.view(np.uint8), count=self._vocabulary, bitorder="little")
        return torch.from_numpy(bits.nonzero()[0])

    def allow(self, words: np.ndarray) -> None:
        """Write the tokens that may come next as bits, the lowest first, into `words`, (V / 32,) int32."""
        only = self._ends if self.is_done else self.forced()[:1]
        if only:
            words[:] = 0
            for token in only:
                words.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)
            return
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        self._check()
        if not words.any():
            raise DecodingError("The vocabulary has no token that the grammar allows next.")

    def consume(self, token: int) -> None:
        """Advance by a token that is allowed."""
        if token in self._ends and (self.is_done or self._matcher.is_accepting()):
            self.ended = True
            return
        if not self._matcher.consume_token(token):
            self._check()
            raise DecodingError(f"The grammar refuses token {token}, which it had allowed.")

    def _check(self) -> None:
        if self._matcher.is_error():
            raise DecodingError(f"llguidance failed: {_short(self._matcher.get_error(), 300)}")


def _comparable(text: str, frame: AnswerFrame) -> str:
    """`text` without the spaces of the frame, and without a character that was cut off."""
    return (text.lstrip(" ") if frame.spaces else text).rstrip("\N{REPLACEMENT CHARACTER}")


def _short(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."


class GrammarProcessor(LogitsProcessor):
    """The same constraint for `generate` of transformers, with one grammar or none for each row of the batch."""

    def __init__(self, states: Sequence[AnswerState | None], *, prompt_length: int) -> None:
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
