"""A model in this process thinks if it is asked to: free text up to its limit, then the answer under its grammar."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from vlm_lane import need_vlm

need_vlm()

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling, prepare_thinking  # noqa: E402
from vlm2vla_sim.policies.language_action import PAPER, LanguageActionPolicy, LoopSettings  # noqa: E402
from vlm2vla_sim.policies.models import random_model  # noqa: E402
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import HfSettings, LoadedModel, load_processor  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel  # noqa: E402
from vlm2vla_sim.policies.models.thinking import Kind, find_thinking  # noqa: E402
from vlm2vla_sim.serving.model_server import ModelServer, ServedModel  # noqa: E402

TURN = "<start_of_turn>model\n"
PLAIN = random_model.CHAT_TEMPLATE


def opening(text: str, more: str = "") -> str:
    """The chat template with `text` behind the beginning of an answer."""
    head, turn, tail = PLAIN.rpartition(TURN)
    return head + turn + text + tail + more


SWITCHED = opening("{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}")
SWITCHED_OPEN = opening("<think>\n{% if not (enable_thinking | default(true)) %}\n</think>\n\n{% endif %}")
ALWAYS = opening("<think>\n", "{# ends with </think> #}")
EFFORT = opening("{% if reasoning_effort == 'none' %}[THINK][/THINK]{% endif %}")
GEMMA = opening("{% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}")


@pytest.fixture(scope="module")
def parts():
    """A tiny Gemma 3 whose tokenizer has the marks, and its processor."""
    tokenizer = random_model.make_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>", "<channel|>"])
    return random_model.make_random_model(random_model.size_config(random_model.TINY, tokenizer), tokenizer)


def with_template(parts, template: str, **settings) -> HfModel:
    model, processor = parts
    processor.chat_template = template
    return HfModel(HfSettings("tiny", **settings), loaded=LoadedModel(model, processor))


@pytest.mark.parametrize(
    ("template", "kind", "opened", "after"),
    [
        (PLAIN, Kind.NEVER, False, None),
        (SWITCHED, Kind.SWITCHED, False, "\n\n"),
        (SWITCHED_OPEN, Kind.SWITCHED, True, "\n\n"),
        (ALWAYS, Kind.ALWAYS, True, "\n\n"),
        (opening("", "{# ends with </think> #}"), Kind.UNSAID, False, "\n\n"),
        (EFFORT, Kind.SWITCHED, False, ""),
        (GEMMA, Kind.SWITCHED, False, ""),
    ],
    ids=["never", "switched", "switched, opened", "always", "unsaid", "effort", "gemma"],
)
def test_templates_are_told_apart_by_rendering_them(parts, template, kind, opened, after):
    _, processor = parts
    processor.chat_template = template
    found = find_thinking(processor)
    assert (found.kind, found.opened, found.marks and found.marks.after) == (kind, opened, after)


@pytest.mark.parametrize("template", [SWITCHED, SWITCHED_OPEN, ALWAYS], ids=["switched", "opened", "always"])
@pytest.mark.parametrize("fast", [True, False], ids=["cached", "generate"])
def test_it_thinks_within_its_limit_and_then_follows_the_grammar(parts, pictures, fast, template):
    model = with_template(parts, template, fast=fast)
    grammar = get_format("vlm2vla").grammar()
    questions = [
        Question("action", "Go.", (pictures[0],), grammar, Sampling(max_tokens=200), thinking=limit)
        for limit in (20, 40)
    ]
    questions += [Question("plan", "Go.", (pictures[1],), sampling=Sampling(max_tokens=8), thinking=20)]
    if template is not ALWAYS:
        questions += [dataclasses.replace(question, thinking=0) for question in questions]
    stages = model.answer(questions)
    for question, stage in zip(questions, stages, strict=True):
        assert bool(stage.reasoning) == bool(question.thinking)
        assert stage.reasoning_tokens == question.thinking, "a random model never ends its reasoning"
        assert "think>" not in stage.reasoning + stage.text
        if question.grammar:
            assert np.isfinite(get_format("vlm2vla").read(stage.text).deltas).all()
        else:
            assert (stage.tokens, stage.finish) == (question.limit, "length")
    known = [(stage.text, stage.reasoning, stage.tokens) for stage in stages]
    alone = [model.answer([question])[0] for question in questions]
    assert [(stage.text, stage.reasoning, stage.tokens) for stage in alone] == known


def test_cached_and_plain_decoding_think_alike(parts, pictures):
    question = Question("plan", "Go.", (pictures[0],), sampling=Sampling(max_tokens=8), thinking=24)
    fast, plain = (with_template(parts, SWITCHED, fast=fast).tokens(question) for fast in (True, False))
    assert fast == plain


def test_a_reasoning_that_the_model_ends_itself_is_followed_by_the_answer(parts):
    model = with_template(parts, SWITCHED)
    state = model._start(Question("action", "Go.", grammar=get_format("vlm2vla").grammar(), thinking=100))
    ids = model._thinking.tokens
    for token in [*ids.opening, 300, 301]:
        state.consume(token)
    assert state.forced() == []
    end = model.tokenizer.eos_token_id
    allowed = set(state.allowed().tolist())
    assert ids.end in allowed
    assert not {end, model.image_token} & allowed, "a turn does not end inside the reasoning"
    state.consume(ids.end)
    assert state.forced() == list(ids.after)
    state.consume(ids.after[0])
    assert len(state.allowed()) < 10, "the grammar holds now"
    stage = model._read(Question("plan", "", thinking=9), [*ids.opening, 300, ids.end, *ids.after, 301])
    assert (stage.text, stage.reasoning_tokens) == (model.tokenizer.decode([301]).lstrip(), 5)


@pytest.mark.parametrize(
    ("template", "tokens", "match"),
    [
        (PLAIN, 64, "has none of the marks"),
        (ALWAYS, 0, r"always thinks: its chat template begins every answer with '<think>'"),
        (EFFORT, 64, r"'\[/THINK\]', in several tokens"),
    ],
)
def test_what_a_model_cannot_do_is_refused_when_the_policy_is_made(parts, template, tokens, match):
    model = with_template(parts, template)
    settings = LoopSettings(reasoning=False, thinking_tokens=tokens)
    with pytest.raises(SettingError, match=match):
        LanguageActionPolicy(model, get_format("vlm2vla"), None, settings=settings)
    with pytest.raises(SettingError, match=match):
        model.answer([Question("plan", "Go.", thinking=tokens)])


def test_a_template_with_a_switch_thinks_only_if_asked_also_in_training(parts, tmp_path):
    _, processor = parts
    processor.chat_template = SWITCHED_OPEN
    processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gemma3"}')
    turns = [{"role": "user", "content": [{"type": "text", "text": "Go."}]}]
    loaded = load_processor(str(tmp_path))
    for variables, end in (({}, "</think>\n\n"), ({"enable_thinking": True}, "<think>\n")):
        assert loaded.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **variables).endswith(end)
    loaded.save_pretrained(tmp_path)
    again = load_processor(str(tmp_path))
    assert again.chat_template == loaded.chat_template, "set once"
    assert find_thinking(again).kind is Kind.SWITCHED


def test_the_server_of_this_package_thinks_like_the_model_in_this_process(parts, pictures):
    model = with_template(parts, SWITCHED)
    grammar = get_format("vlm2vla").grammar()
    questions = [
        Question("plan", "Go.", (pictures[0],), sampling=Sampling(max_tokens=8), thinking=24),
        Question("action", "Go.", (pictures[0],), grammar, Sampling(max_tokens=200), thinking=24),
        Question("plan", "Go.", (pictures[0],), sampling=Sampling(max_tokens=8)),
    ]
    with ModelServer(ServedModel(model, "base")) as server:
        remote = ChatModel(ServerSettings(server.url, "base"))
        prepare_thinking(remote, 24)
        prepare_thinking(remote, 0)
        there = remote.answer(questions)
    here = model.answer(questions)
    for one, other in zip(here, there, strict=True):
        assert (one.text, one.reasoning, one.tokens, one.reasoning_tokens, one.finish) == (
            other.text,
            other.reasoning,
            other.tokens,
            other.reasoning_tokens,
            other.finish,
        )
    with ModelServer(ServedModel(with_template(parts, ALWAYS), "base")) as server:
        remote = ChatModel(ServerSettings(server.url, "base", constraint="off"))
        with pytest.raises(SettingError, match="cannot be told not to"):
            prepare_thinking(remote, 0)
        prepare_thinking(remote, 24)


def test_a_decision_keeps_the_reasoning_of_each_stage(parts, pictures):
    model = with_template(parts, SWITCHED)
    settings = LoopSettings(reasoning=False, thinking_tokens=20, sampling=PAPER.greedy())
    policy = LanguageActionPolicy(model, get_format("vlm2vla"), None, settings=settings)
    policy.reset("put carrot on plate")
    decision = policy.act({"pixels": {"primary": pictures[0]}, "agent_pos": np.zeros(7)})
    assert decision is not None
    (stage,) = decision.to_json()["stages"]
    assert stage["name"] == "action"
    assert stage["reasoning"]
    assert stage["reasoning_tokens"] == 20
    assert decision.chunk is not None
