"""What a chat server says about its answers and its models is reported as it says it, and unknown is None."""

from __future__ import annotations

import json

import pytest
from chat_servers import answering, client, completion

from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.policies.base import Question, Sampling, is_whole, provenance
from vlm2vla_sim.types import Stage

ASK = Question("plan", "How?", sampling=Sampling(max_tokens=8))


def ask(answer, question=ASK, **settings) -> Stage:
    with answering(lambda _: answer) as (url, _):
        return client(url, constraint="off", retries=0, **settings).answer([question])[0]


@pytest.mark.parametrize(
    ("finish", "read"), [("stop", "stop"), ("length", "length"), (None, "")], ids=["stop", "length", "null"]
)
def test_the_end_of_an_answer_is_the_one_that_the_server_reports(finish, read):
    assert ask(completion("move down", finish)).finish == read


def test_an_answer_that_does_not_say_how_it_ended_has_no_known_end():
    answer = completion("move down", usage={"completion_tokens": 7})
    del answer["choices"][0]["finish_reason"]
    stage = ask(answer)
    assert (stage.finish, stage.tokens, is_whole(stage, ASK.sampling.max_tokens)) == ("", 7, True)
    answer["usage"]["completion_tokens"] = 8
    stage = ask(answer)
    assert (stage.finish, is_whole(stage, ASK.sampling.max_tokens)) == ("", False), "all tokens are used up"


@pytest.mark.parametrize(
    "finish", ["abort", "tool_calls", "content_filter", "repetition", "error", "", "STOP", 1, [], {}]
)
def test_an_answer_that_ended_in_another_way_is_a_fault_of_the_server(finish):
    with pytest.raises(ServerError, match=r"ended with finish_reason .*; expected stop, or length") as error:
        ask(completion("move down", finish))
    assert json.dumps(finish) in str(error.value)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"completion_tokens": 3}, 3),
        ({"completion_tokens": 3.0}, 3),
        ({"completion_tokens": 0}, 0),
        ({"completion_tokens": None}, None),
        ({"completion_tokens": -1}, None),
        ({"completion_tokens": True}, None),
        ({"completion_tokens": "3"}, None),
        ({"completion_tokens": 1e999}, None),
        ({"completion_tokens": 2.5}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_tokens_that_are_not_reported_are_unknown_and_not_none_at_all(usage, tokens):
    assert ask(completion("move down", usage=usage)).tokens == tokens
    assert ask(completion("move down")).tokens is None


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": completion("a")["choices"] * 2},
        {"choices": [completion("a")["choices"]]},
        {"choices": {"0": {}}},
        {"choices": [{"message": "move down"}]},
        {"choices": [{"text": "move down"}]},
        completion(["move down"]),
        completion({"text": "move down"}),
        completion(None),
    ],
)
def test_what_is_not_one_text_is_a_fault_of_the_server(answer):
    with pytest.raises(ServerError, match=r"no choice with a message|not text"):
        ask(answer)


# The models.


MODELS = [
    {"id": "base", "root": "/models/gemma", "parent": None, "digest": "aaa"},
    {"id": "alias", "root": "/models/gemma", "parent": None},
    {"id": "other", "root": "/models/qwen", "parent": None},
    {"id": "lora", "root": "/adapters/bridge", "parent": "base", "digest": "bbb"},
    {"id": "orphan"},
]


def differing(request):
    """The adapters say something else than the base models."""
    return completion(f"{request['model'] in ('lora', 'orphan')}")


@pytest.mark.parametrize(
    ("base", "adapter"), [("base", "lora"), ("alias", "lora"), ("other", "orphan"), ("base", "orphan")]
)
def test_an_adapter_of_the_model_is_accepted_under_each_of_its_names(base, adapter):
    with answering(differing, MODELS) as (url, _):
        assert client(url, model=base, adapter=adapter, constraint="off").provenance()["adapter"] == adapter


@pytest.mark.parametrize("parent", ["base", "elsewhere"])
def test_an_adapter_of_another_model_is_refused(parent):
    models = [*MODELS[:3], {"id": "lora", "parent": parent}]
    with answering(differing, models) as (url, asked):
        with pytest.raises(SettingError, match=f"'lora' .* belongs to the model '{parent}'.* given as 'other'"):
            client(url, model="other", adapter="lora", constraint="off")
        assert not asked


@pytest.mark.parametrize("adapter", ["base", "orphan"])
def test_an_adapter_in_the_place_of_the_base_model_is_refused(adapter):
    with answering(differing, MODELS) as (url, asked):
        with pytest.raises(SettingError, match=r"'lora' .* is itself an adapter, of 'base'\. Give --model base"):
            client(url, model="lora", adapter=adapter, constraint="off")
        assert not asked
        assert client(url, model="lora", constraint="off").provenance()["model"] == "lora"


def test_the_provenance_says_what_the_server_reports():
    with answering(differing, MODELS, version="0.33.0") as (url, _):
        full = provenance(client(url, adapter="lora", constraint="off"))
    assert full == {
        "server": url,
        "model": "base",
        "adapter": "lora",
        "constrained": False,
        "constraint_key": None,
        "thinking_key": None,
        "model_digest": "aaa",
        "adapter_digest": "bbb",
        "server_version": "0.33.0",
    }
    json.dumps(full)


@pytest.mark.parametrize(("header", "known"), [("llama.cpp", "llama.cpp"), ("", None)])
def test_what_the_server_does_not_report_is_unknown(header, known):
    with answering(differing, [{"id": "other", "digest": 7}], header=header) as (url, _):
        said = client(url, model="other", constraint="off").provenance()
    assert [said[key] for key in ("model_digest", "adapter_digest", "server_version")] == [None, None, known]


def test_no_password_of_the_address_is_printed_or_recorded():
    with answering(lambda _: (400, "no")) as (url, _):
        model = client(url.replace("//", "//me:s3cret@"), constraint="off", retries=0)
        assert model.provenance()["server"] == url
        with pytest.raises(SettingError) as error:
            model.answer([ASK])
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("entry", [{"name": "base"}, {"id": 7}, "base", None])
def test_a_list_of_models_that_cannot_be_read_is_a_fault_of_the_server(entry):
    with answering(differing, [entry]) as (url, _), pytest.raises(ServerError, match="list of models"):
        client(url, retries=0)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 900, "prompt_tokens_details": {"cached_tokens": 512}}, (900, 512)),
        ({"prompt_tokens": 900, "prompt_tokens_details": {"cached_tokens": 0}}, (900, 0)),
        ({"prompt_tokens": 900}, (900, None)),
        ({"prompt_tokens": 900, "prompt_tokens_details": None}, (900, None)),
        ({"prompt_tokens": 900, "prompt_tokens_details": {"cached_tokens": 901}}, (900, None)),
        ({"prompt_tokens_details": {"cached_tokens": 3}}, (None, None)),
        ({"prompt_tokens": None}, (None, None)),
        (None, (None, None)),
    ],
)
def test_tokens_of_the_prompt_are_those_the_server_reports(usage, counts):
    stage = ask(completion("move down", usage=usage))
    assert (stage.prompt_tokens, stage.cached_tokens) == counts
