"""The Lark grammar, read by a real constrained decoder, allows the same texts as the regex."""

from __future__ import annotations

import random
import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from formats_under_test import FORMATS, dialect, in_every_format, random_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm2vla_sim.language.formats import DIALECTS, ActionFormat

llguidance = pytest.importorskip("llguidance", reason="the constrained decoder is optional: pip install llguidance")

END = 256
NAMES = st.sampled_from(list(FORMATS))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


class Bytes:
    """A tokenizer with one token for each byte, and one for the end."""

    eos_token_id = END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(END)), b"<end>")
    special_token_ids = (END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def decoder() -> SimpleNamespace:
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))
    return SimpleNamespace(tokenizer=tokenizer, matchers={})


def start(action_format: ActionFormat) -> Any:
    """A matcher at the beginning of an answer in `action_format`."""
    matchers = decoder().matchers
    if action_format not in matchers:
        grammar = llguidance.LLMatcher.grammar_from_lark(action_format.grammar().lark)
        matchers[action_format] = llguidance.LLMatcher(decoder().tokenizer, grammar)
    matcher = matchers[action_format]
    matcher.reset()
    assert not matcher.is_error(), matcher.get_error()
    return matcher


def allows(action_format: ActionFormat, text: str) -> bool:
    matcher, tokens = start(action_format), list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@in_every_format
def test_a_decoder_understands_the_grammar(action_format: ActionFormat) -> None:
    grammar = llguidance.LLMatcher.grammar_from_lark(action_format.grammar().lark)
    assert llguidance.LLMatcher.validate_grammar(grammar) == ""
    assert allows(action_format, action_format.example)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_decoder_allows_in_a_dialect_what_its_regex_allows(name: str) -> None:
    spoken, rng = dialect(name), np.random.default_rng(1)
    regex = spoken.grammar().regex
    assert allows(spoken, spoken.example)
    for _ in range(5):
        text = random_text(regex, rng)
        assert allows(spoken, text)
        at = int(rng.integers(len(text)))
        for changed in (text[:at], text[:at] + text[at + 1 :], text + "0"):
            assert allows(spoken, changed) == bool(re.fullmatch(regex, changed))


@in_every_format
def test_the_grammar_and_the_regex_count_the_rows_alike(action_format: ActionFormat) -> None:
    row = action_format.write(np.array([[0, 0, 0, 0, 0, 0, 1]]))
    separator = {"prose": "; ", "integers": " "}.get(action_format.name, ", ")
    listed = "[" in row
    for rows in (1, 32, 33):
        text = separator.join([row[1:-1] if listed else row] * rows)
        text = f"[{text}]" if listed else text
        assert allows(action_format, text) == (rows <= 32)
        assert bool(re.fullmatch(action_format.grammar().regex, text)) == (rows <= 32)


@SLOW
@given(st.data(), NAMES)
def test_what_fits_the_regex_fits_the_grammar(data: st.DataObject, name: str) -> None:
    text = data.draw(st.from_regex(FORMATS[name].grammar().regex, fullmatch=True))
    assert allows(FORMATS[name], text)


@SLOW
@given(st.data(), NAMES)
def test_of_a_text_with_one_character_changed_regex_and_grammar_think_the_same(data: st.DataObject, name: str) -> None:
    regex = FORMATS[name].grammar().regex
    text = data.draw(st.from_regex(regex, fullmatch=True))
    at = data.draw(st.integers(0, len(text)))
    instead = data.draw(st.sampled_from([*"0123456789-., []x", "", "00", ", 1"]))
    changed = text[:at] + instead + text[at + data.draw(st.integers(0, 2)) :]
    assert allows(FORMATS[name], changed) == bool(re.fullmatch(regex, changed))


@in_every_format
def test_whatever_a_constrained_model_says_at_random_can_be_read(action_format: ActionFormat) -> None:
    randomness = random.Random(0)
    for _ in range(20):
        matcher, said = start(action_format), bytearray()
        while not matcher.is_stopped():
            mask = np.frombuffer(matcher.compute_logit_bias(), dtype=np.uint8)
            allowed = np.flatnonzero(mask).tolist()
            # A coin that ends the answer soon after it may end.
            token = END if END in allowed and randomness.random() < 0.3 else randomness.choice(allowed)
            matcher.consume_token(token)
            said += bytes([token]) if token != END else b""
        text = said.decode()
        action_format.read(text)
        assert re.fullmatch(action_format.grammar().regex, text)
