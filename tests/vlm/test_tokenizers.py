"""Under a grammar every kind of tokenizer writes texts of the grammar, or is refused with a sentence."""

from __future__ import annotations

import functools
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vlm_lane import make_llava, need_vlm

need_vlm()

import transformers  # noqa: E402
from tokenizer_kinds import KINDS, SPACED, SYMBOLS, as_transformers, wordpiece  # noqa: E402
from tokenizers import decoders  # noqa: E402

from vlm2vla_sim.analysis.scorer import Scorer  # noqa: E402
from vlm2vla_sim.errors import BackendFaultError, DecodingError, SettingError  # noqa: E402
from vlm2vla_sim.language.formats import FORMATS, get_format  # noqa: E402
from vlm2vla_sim.language.formats.grammar import Grammar, Literal, compile_grammar  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings  # noqa: E402
from vlm2vla_sim.policies.models.action_symbols import find_symbols  # noqa: E402
from vlm2vla_sim.policies.models.answer_frame import (  # noqa: E402
    answer_ends,
    answer_frame,
    answer_text,
    learned_text,
    written_answer,
)
from vlm2vla_sim.policies.models.byte_vocabulary import ByteVocabulary  # noqa: E402
from vlm2vla_sim.policies.models.hf_grammar import GrammarCompiler, GrammarState  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.random_model import save_random_model  # noqa: E402
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR, ModelVerifier  # noqa: E402

GRAMMARS = (*FORMATS, "verify")
ANSWERS = 20
END = 5
"""<end_of_turn>"""
CHANGES = {"smollm with prefix": ("vlm2vla", "prose", "integers"), "commas": ("vlm2vla", "prose", "tokens")}
"""The kinds that read a format's texts as other ones: answers can be constrained, and nothing can be taught."""


def format_called(name: str) -> Any:
    return get_format(name, symbols=SYMBOLS if name == "tokens" else None)


def grammar_called(name: str) -> Grammar:
    return ANSWER_GRAMMAR if name == "verify" else format_called(name).grammar()


def processor_of(tokenizer: Any) -> Any:
    """What `answer_frame` needs of a processor."""
    return SimpleNamespace(tokenizer=tokenizer, apply_chat_template=tokenizer.apply_chat_template)


@functools.cache
def made(kind: str) -> tuple[Any, GrammarCompiler]:
    tokenizer = as_transformers(KINDS[kind]())
    frame = answer_frame(processor_of(tokenizer))
    return tokenizer, GrammarCompiler(tokenizer, vocabulary=len(tokenizer) + 50, ends=[1, END], frame=frame)


def write(state: GrammarState, seed: int) -> list[int]:
    rng, tokens = random.Random(seed), []
    while (token := rng.choice(state.allowed().tolist())) not in (1, END):
        state.consume(token)
        tokens.append(token)
    state.consume(token)
    return tokens


def written_texts(name: str) -> list[str]:
    """Texts of a format, as training has them."""
    if name == "verify":
        return ["advance", "retry"]
    rng, texts = np.random.default_rng(0), []
    for rows in range(1, 13):
        deltas = np.zeros((rows, 7))
        deltas[:, :3] = rng.integers(-20, 21, (rows, 3)) / 100
        deltas[:, 3:6] = np.radians(5 * rng.integers(-9, 10, (rows, 3)))
        deltas[:, 6] = rng.integers(0, 2, rows)
        texts.append(format_called(name).write(deltas))
    return texts


# What is written.


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_a_text_of_the_grammar(kind, name):
    tokenizer, compiler = made(kind)
    grammar, frame = grammar_called(name), answer_frame(processor_of(tokenizer))
    texts = {answer_text(tokenizer, write(compiler.start(grammar), seed), frame) for seed in range(ANSWERS)}
    assert all(re.fullmatch(grammar.regex, text) for text in texts)
    assert len(texts) >= (2 if name == "verify" else ANSWERS // 2)
    if name != "verify":
        for text in texts:
            format_called(name).read(text)


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_that_are_taught_are_allowed_in_evaluation(kind, name):
    """One by one, the space that the tokenizer puts before a text and the end of the turn included."""
    tokenizer, compiler = made(kind)
    processor = processor_of(tokenizer)
    frame = answer_frame(processor)
    for text in written_texts(name):
        kept = learned_text(processor, frame, 0, "Look.", text) == text
        assert kept is (name not in CHANGES.get(kind, ()))
        if kept:
            ids = tokenizer(written_answer(processor, 0, "Look.", text), add_special_tokens=False)["input_ids"]
            state = compiler.start(grammar_called(name))
            for token in ids[: ids.index(END) + 1]:
                assert token in state.allowed().tolist(), (text, tokenizer.convert_ids_to_tokens(ids), token)
                state.consume(token)


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_of_an_answer_is_that_of_its_kind(kind):
    frame = answer_frame(processor_of(made(kind)[0]))
    assert (frame.spaces, frame.end) == (int(kind in SPACED), END)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_tokens_are_the_text_that_decode_gives(kind):
    """Also for letters of several tokens; tokens without a text are none."""
    tokenizer, _ = made(kind)
    vocabulary = ByteVocabulary(tokenizer, size=len(tokenizer))
    for text in ("x°µ, 12cm", "xé 漢 ok", "x[[3, -8]]"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.decode(ids, skip_special_tokens=True).lstrip(" ")
        assert b"".join(vocabulary.tokens[token] for token in ids).decode().lstrip(" ") == decoded
    assert not any(vocabulary.tokens[token] for token in range(9)), "special tokens are no text"


@pytest.mark.parametrize("kind", KINDS)
def test_forced_text_has_one_tokenization_of_exactly_its_bytes(kind):
    tokenizer, compiler = made(kind)
    vocabulary = ByteVocabulary(tokenizer, size=len(tokenizer))
    grammar = compile_grammar(Literal("[3, 0, -8, 1], then stop"))
    state = compiler.start(grammar)
    tokens = write(state, 0)
    text = b"".join(vocabulary.tokens[token] for token in tokens).decode()
    assert text.removeprefix(" ") == "[3, 0, -8, 1], then stop"
    if kind not in SPACED:
        assert {tuple(write(compiler.start(grammar), seed)) for seed in range(5)} == {tuple(tokens)}


def test_the_vocabulary_of_the_model_may_be_smaller_or_larger_than_the_tokenizers():
    tokenizer, _ = made("qwen")
    grammar = grammar_called("vlm2vla")
    for size in (len(tokenizer) - 200, len(tokenizer) - 1, len(tokenizer), len(tokenizer) + 77):
        compiler = GrammarCompiler(tokenizer, vocabulary=size, ends=[END])
        for seed in range(5):
            tokens = write(compiler.start(grammar), seed)
            assert max(tokens) < size
            assert re.fullmatch(grammar.regex, tokenizer.decode(tokens))


def test_a_padded_call_elsewhere_does_not_change_what_is_forced():
    tokenizer, compiler = made("gemma")
    expected = write(compiler.start(ANSWER_GRAMMAR), 0)
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=3)
    assert write(compiler.start(ANSWER_GRAMMAR), 0) == expected


# What is refused.


def refused(tokenizer: Any, grammar: Grammar | None = None, **given: Any) -> str:
    compiler = GrammarCompiler(tokenizer, vocabulary=len(tokenizer), ends=[END], **given)
    with pytest.raises(SettingError) as caught:
        compiler.start(grammar or grammar_called("vlm2vla"))
    return str(caught.value)


def test_wordpiece_is_refused_by_its_property():
    said = refused(as_transformers(wordpiece()))
    assert "model WordPiece, decoder WordPiece" in said
    assert "constrained=false" in said


def test_a_tokenizer_in_python_is_refused_where_a_grammar_is_asked_for():
    class Slow:
        name_or_path = "slow"

        def __len__(self) -> int:
            return 10

    assert "not a fast one" in refused(Slow())


def test_a_decoder_that_rewrites_the_text_is_refused_with_what_came_out():
    raw = KINDS["gemma"]()
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Replace(", ", ",")]
    raw.decoder = decoders.Sequence(steps)
    said = refused(as_transformers(raw))
    assert "decodes an answer under the grammar" in said
    assert re.search(r"to '\[\[-?\d+,-?\d", said)


def test_a_character_that_the_vocabulary_lacks_is_refused_before_the_first_answer():
    said = refused(as_transformers(KINDS["metaspace"]()), compile_grammar(Literal("turn 5°")))
    assert "cannot write the texts of the grammar turn 5°" in said


def test_a_grammar_that_llguidance_refuses_is_a_setting():
    _, compiler = made("gemma")
    with pytest.raises(SettingError, match="llguidance refuses the grammar"):
        compiler.start(Grammar("a", "start: nothing"))


@pytest.mark.parametrize("kind", ["gemma", "llama-2", "byte-level with prefix", "unigram"])
@pytest.mark.parametrize(
    "grammar",
    [Grammar("", 'start: " "? /[a-z ,]+/'), Grammar("[a-z]+", "start: /[a-z]+/")],
)
def test_a_clients_grammar_without_a_regex_or_an_end_is_no_reason_to_refuse(kind, grammar):
    made(kind)[1].start(grammar)


@pytest.mark.parametrize("kind", ["gemma", "llama-2", "byte-level with prefix", "qwen"])
def test_a_probe_that_is_cut_off_inside_a_letter_of_several_tokens_is_no_reason_either(kind):
    made(kind)[1].start(Grammar("", "start: /[°é漢]+/"))


def test_clean_up_of_spaces_does_not_reach_an_answer():
    """transformers would make "3 , 0" of it: "3, 0"."""
    tokenizer = as_transformers(KINDS["unigram"](), clean_up_tokenization_spaces=True)
    grammar = compile_grammar(Literal("move 3 , then stop ."))
    compiler = GrammarCompiler(tokenizer, vocabulary=len(tokenizer), ends=[END])
    tokens = write(compiler.start(grammar), 0)
    assert tokenizer.decode(tokens) == "move 3, then stop."
    assert answer_text(tokenizer, tokens, answer_frame(processor_of(tokenizer))) == "move 3 , then stop ."


# An error is told from the end.


def test_a_matcher_in_error_is_an_error_and_not_the_end():
    _, compiler = made("gemma")
    state = compiler.start(grammar_called("vlm2vla"))
    with pytest.raises(DecodingError, match="llguidance failed"):
        state.consume(compiler._tokenizer.convert_tokens_to_ids("x"))
    for read in (lambda: state.is_done, state.forced, state.allowed):
        with pytest.raises(DecodingError, match="llguidance failed"):
            read()
    assert issubclass(DecodingError, BackendFaultError), "an episode ends with the outcome error, and the run goes on"


# The end of an answer.


def ends_of(eos: Any, *, logits: int = 1000, template: str | None = None) -> tuple[int, ...]:
    tokenizer = as_transformers(KINDS["gemma"]())
    if template is not None:
        tokenizer.chat_template = template
    model: Any = SimpleNamespace(
        generation_config=SimpleNamespace(eos_token_id=eos),
        get_output_embeddings=lambda: SimpleNamespace(out_features=logits),
    )
    return answer_ends(model, tokenizer, answer_frame(processor_of(tokenizer)))


def test_the_end_of_a_turn_ends_an_answer_also_where_the_generation_config_misses_it():
    assert ends_of(1) == (1, END)
    assert ends_of([1, END]) == (1, END)
    assert ends_of(None) == (1, END)
    assert ends_of([999_999, 1]) == (1, END), "a token that the model cannot write ends nothing"


def test_a_model_without_any_end_is_refused():
    with pytest.raises(
        SettingError, match="No token ends an answer: eos_token_id is 999999, and the model has 4 logits"
    ):
        ends_of(999_999, logits=4)


# Whole models.


def with_tokenizer(folder: Path, kind: str) -> Path:
    """The folder of a random model, with its tokenizer replaced by another kind."""
    tokenizer = as_transformers(KINDS[kind]())
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    kept = getattr(processor, "chat_template", None)
    processor.tokenizer = tokenizer
    processor.chat_template = kept or tokenizer.chat_template
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def spaced(tmp_path_factory) -> Path:
    """A tiny Gemma 3 with a tokenizer that puts a space before every text."""
    return with_tokenizer(save_random_model(tmp_path_factory.mktemp("spaced")), "byte-level with prefix")


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", GRAMMARS)
def test_a_model_with_a_prefix_space_answers_readably_in_both_decoders(spaced, pictures, name, fast):
    model = HfModel(HfSettings(str(spaced), dtype="float32", fast=fast))
    assert (model.decoder is not None) is fast
    how = Sampling(temperature=1.5, max_tokens=2048)
    questions = [Question("action", "Go.", (pictures[k],), grammar_called(name), how, k) for k in range(4)]
    for stage in model.answer(questions):
        assert re.fullmatch(grammar_called(name).regex, stage.text)


def test_both_decoders_write_the_same_tokens_with_a_prefix_space(spaced, pictures):
    fast, plain = (HfModel(HfSettings(str(spaced), dtype="float32", fast=fast)) for fast in (True, False))
    for name in GRAMMARS:
        question = Question("action", "Go.", (pictures[0],), grammar_called(name), Sampling(max_tokens=300))
        assert fast.tokens(question) == plain.tokens(question)


@pytest.mark.parametrize("kind", ["llama-2", "commas"])
def test_another_family_with_such_a_tokenizer_answers_readably(kind, tmp_path, pictures):
    model = HfModel(HfSettings(str(with_tokenizer(make_llava(tmp_path), kind)), dtype="float32"))
    for name in ("vlm2vla", "prose", "verify"):
        how = Sampling(temperature=1.0, max_tokens=2048)
        question = Question("action", "Go.", (pictures[0],), grammar_called(name), how, 3)
        assert re.fullmatch(grammar_called(name).regex, model.answer([question])[0].text)


def test_a_policy_is_refused_when_it_is_made_and_not_in_its_first_episode(tiny_folder, tmp_path):
    model = HfModel(HfSettings(str(tiny_folder), dtype="float32"))
    model._grammars = GrammarCompiler(as_transformers(wordpiece()), vocabulary=600, ends=[END])
    with pytest.raises(SettingError, match="WordPiece"):
        LanguageActionPolicy(model, get_format("vlm2vla"), None, settings=LoopSettings(reasoning=False))
    with pytest.raises(SettingError, match="WordPiece"):
        ModelVerifier(model)
    free = LoopSettings(reasoning=False, constrained=False)
    LanguageActionPolicy(model, get_format("vlm2vla"), None, settings=free)
    ModelVerifier(model, constrained=False)


# Scores and symbols.


def test_a_text_that_the_tokenizer_changes_is_not_scored():
    scorer = Scorer.__new__(Scorer)
    scorer.tokenizer = made("commas")[0]
    with pytest.raises(SettingError, match=r"changes the text that is to be scored: '\[3, 0\]' becomes '\[3,0\]'"):
        scorer.score(Question("action", ""), ["[3, 0]"])
    scorer.tokenizer = made("llama-2")[0]
    ids = scorer._answer_ids("[3, 0]")
    assert scorer.tokenizer.decode(ids) == "[3, 0]"
    assert scorer.tokenizer.convert_ids_to_tokens(ids)[0].startswith("▁"), "as training teaches it"


def test_a_special_token_is_no_symbol_for_a_digit_although_transformers_does_not_list_it():
    tokenizer = made("gemma")[0]
    assert END not in tokenizer.all_special_ids
    scores = np.zeros(len(tokenizer))
    scores[END] = -50.0
    ranker: Any = SimpleNamespace(tokenizer=tokenizer, image_token=8, first_scores=lambda question: scores)
    symbols = find_symbols(ranker)
    assert "<end_of_turn>" not in symbols
