"""Every answer of the model in this process says whether it is whole or was cut off, whichever way it is decoded."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from vlm_lane import make_llava, need_vlm

need_vlm()

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_decode import Optimizations  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.random_model import save_random_model  # noqa: E402
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR  # noqa: E402

CLOSED = get_format("vlm2vla").grammar()
"""Complete after its last bracket: nothing but an end token may follow."""
OPEN = get_format("prose").grammar()
"""Never complete before its last row: after "open gripper" another row may follow."""


@pytest.fixture(scope="module", params=["fast", "fast, nothing forced", "generate", "another family"])
def model(request, tiny_folder, tmp_path_factory) -> HfModel:
    if request.param == "another family":
        return HfModel(HfSettings(str(make_llava(tmp_path_factory.mktemp("llava"))), dtype="float32"))
    made = HfModel(HfSettings(str(tiny_folder), dtype="float32", fast=request.param != "generate"))
    if "nothing" in request.param:
        made.decoder.optimizations = Optimizations(images=False, prefix=False, forced=False)
    return made


def ask(picture, most: int, grammar=None, *, stage: str = "action") -> Question:
    return Question(stage, "Go.", (picture,), grammar, Sampling(max_tokens=most))


@pytest.mark.parametrize("grammar", [CLOSED, ANSWER_GRAMMAR], ids=["action", "verify"])
def test_a_grammar_that_is_complete_at_the_very_limit_ends_the_answer_and_one_token_less_cuts_it(
    model, pictures, grammar
):
    (whole,) = model.answer([ask(pictures[0], 2048, grammar)])
    assert whole.finish == "stop"
    (exact,) = model.answer([ask(pictures[0], whole.tokens, grammar)])
    assert (exact.text, exact.finish) == (whole.text, "stop")
    for less in range(1, min(whole.tokens, 12)):
        (cut,) = model.answer([ask(pictures[0], whole.tokens - less, grammar)])
        assert (cut.finish, cut.tokens) == ("length", whole.tokens - less)


def test_a_grammar_that_could_go_on_at_the_limit_is_cut_off(model, pictures):
    (whole,) = model.answer([ask(pictures[0], 2048, OPEN)])
    assert whole.finish == "stop"
    if whole.text.count(";") < 31:  # with 32 rows the grammar is complete
        assert model.answer([ask(pictures[0], whole.tokens, OPEN)])[0].finish == "length"
    assert model.answer([ask(pictures[0], whole.tokens + 1, OPEN)])[0].finish == "stop"


def test_a_free_answer_is_whole_only_with_an_end_token(model, pictures):
    ends, model._ends = model._ends, tuple(range(500))  # a random model hardly ever ends by itself
    try:
        if model.decoder:
            model.decoder._ends = frozenset(model._ends)
        stages = [model.answer([ask(picture, 40, stage="plan")])[0] for picture in pictures]
    finally:
        model._ends = ends
        if model.decoder:
            model.decoder._ends = frozenset(ends)
    assert {stage.finish for stage in stages} <= {"stop", "length"}
    assert all((stage.finish == "length") == (stage.tokens == 40) for stage in stages)
    assert "stop" in {stage.finish for stage in stages}
    assert model.answer([ask(pictures[0], 5, stage="plan")])[0].finish == "length"


def test_a_batch_says_of_each_answer_what_is_said_of_it_alone(model, pictures):
    questions = [
        ask(pictures[k], most, grammar)
        for k, (most, grammar) in enumerate([(2048, CLOSED), (7, CLOSED), (7, None), (7, OPEN), (2048, ANSWER_GRAMMAR)])
    ]
    alone = [model.answer([question])[0] for question in questions]
    together = model.answer(questions)
    assert [(stage.text, stage.finish) for stage in together] == [(stage.text, stage.finish) for stage in alone]
    assert [stage.finish for stage in together] == ["stop", "length", "length", "length", "stop"]
    same = [dataclasses.replace(question, sampling=Sampling(max_tokens=60)) for question in questions]
    alone = [model.answer([question])[0] for question in same]
    assert [(s.text, s.finish) for s in model.answer(same)] == [(s.text, s.finish) for s in alone]


@pytest.fixture(scope="module", params=[True, False], ids=["fast", "generate"])
def short_sighted(request, tmp_path_factory) -> HfModel:
    """A model whose context is 80 tokens."""
    folder = save_random_model(tmp_path_factory.mktemp("short"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 80
    (folder / "config.json").write_text(json.dumps(config))
    return HfModel(HfSettings(str(folder), dtype="float32", fast=request.param))


def test_a_prompt_that_is_longer_than_the_context_is_refused(short_sighted, pictures):
    with pytest.raises(SettingError, match=r"The prompt has \d+ tokens.* at most 80 \(max_position_embeddings\)"):
        short_sighted.answer([Question("plan", "now " * 100, (pictures[0],))])


def test_an_answer_that_reaches_the_end_of_the_context_is_cut_off_there_alone_and_in_a_batch(short_sighted, pictures):
    questions = [
        Question("plan", "Go." + " now" * k, (pictures[0],), sampling=Sampling(max_tokens=500)) for k in (0, 6)
    ]
    alone = [short_sighted.answer([question])[0] for question in questions]
    read = [int(np.ravel(short_sighted.inputs([question])["input_ids"]).size) for question in questions]
    assert [stage.tokens for stage in alone] == [80 - tokens for tokens in read]
    assert [stage.finish for stage in alone] == ["length", "length"]
    assert [stage.text for stage in short_sighted.answer(questions)] == [stage.text for stage in alone]
