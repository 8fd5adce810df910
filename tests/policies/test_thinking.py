"""The reasoning of a model on a server is kept apart from its answer, and what a server ignores is noticed."""

from __future__ import annotations

import pytest
from chat_servers import answering, client, completion

from vlm2vla_sim.errors import ServerError, SettingError, UnknownNameError
from vlm2vla_sim.policies.base import Question, Sampling, mark_cut_off, prepare, prepare_thinking
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE
from vlm2vla_sim.policies.models.thinking import split_reasoning
from vlm2vla_sim.policies.vlm import VlmOptions
from vlm2vla_sim.types import Stage

ASK = Question("plan", "How?", sampling=Sampling(max_tokens=8), thinking=64)


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("<think>\nlook\n</think>\n\nmove", ("look", "move")),
        ("look\n</think>\n\nmove", ("look", "move")),  # the prompt held the start mark
        ("<think>\nlook at", ("look at", "")),  # cut off
        ("<think>\n\n</think>\n\nmove", ("", "move")),
        ("<|channel>thought\nlook<channel|>move", ("look", "move")),
        ("[THINK]look[/THINK]move", ("look", "move")),
        ("move", ("", "move")),
        (" move\n", ("", " move\n")),
        ("write <think> first", ("", "write <think> first")),
    ],
)
def test_reasoning_and_answer_of_one_text(text, split):
    assert split_reasoning(text) == split


def said(text, finish="stop", tokens=None, **message) -> dict:
    answer = completion(text, finish, usage={"completion_tokens": 9})
    answer["choices"][0]["message"] |= message
    if tokens is not None:
        answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": tokens}
    return answer


def ask(answer, question=ASK) -> Stage:
    with answering(lambda _: answer) as (url, _):
        return client(url, constraint="off", retries=0).answer([question])[0]


@pytest.mark.parametrize(
    ("answer", "text", "reasoning", "tokens"),
    [
        (said("move", reasoning_content="look"), "move", "look", None),
        (said("\n\nmove", reasoning="look", tokens=4), "move", "look", 4),
        (said("<think>look</think>move"), "move", "look", None),
        (said(None, "length", reasoning="look at"), "", "look at", None),
        (said("", "length", reasoning="look at", reasoning_content=""), "", "look at", None),
    ],
)
def test_the_reasoning_is_read_from_each_place_where_servers_put_it(answer, text, reasoning, tokens):
    stage = ask(answer)
    assert (stage.text, stage.reasoning, stage.reasoning_tokens, stage.tokens) == (text, reasoning, tokens, 9)


def test_an_answer_without_reasoning_has_none():
    stage = ask(said("move"), Question("plan", "How?"))
    assert (stage.reasoning, stage.reasoning_tokens) == ("", 0)


def test_an_answer_that_is_only_reasoning_says_so():
    marked = mark_cut_off(ask(said(None, "length", reasoning="look at")), ASK.limit)
    assert "only reasoning, 9 tokens" in marked.error
    assert "limit of 72" in marked.error
    assert "thinking_tokens" in marked.error
    ended = mark_cut_off(ask(said("", "stop", reasoning="look")), ASK.limit)
    assert "ended it without an answer" in ended.error


def server(*, on=(), off=(), refused=(), default=False, parser=True, grammar=True):
    """What a server says whose model thinks. on, off: fields it honours. parser: it knows where a reasoning ends."""

    def say(request):
        variables = {
            f"chat_template_kwargs.{name}": value for name, value in request.get("chat_template_kwargs", {}).items()
        }
        fields = variables | {
            name: request[name] for name in ("reasoning_effort", "thinking_token_budget") if name in request
        }
        if names := set(fields) & set(refused):
            return 400, f"Unknown field {min(names)}"
        thinks = default
        for name, value in fields.items():
            if name != "thinking_token_budget":
                wants = value not in (False, "none")
                thinks = wants if name in (on if wants else off) else thinks
        constrained = "structured_outputs" in request and grammar
        answer = NONSENSE[0] if constrained else "Hello."
        if not thinks or (constrained and not parser):
            return said(answer)
        return said(answer, reasoning_content="They greet me.") if parser else said(f"<think>Hm.</think>{answer}")

    return say


KWARGS = "chat_template_kwargs.enable_thinking"


@pytest.mark.parametrize(
    ("how", "sent"),
    [
        ({"on": [KWARGS]}, {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 64}),
        ({"on": [KWARGS], "refused": ["thinking_token_budget"]}, {"chat_template_kwargs": {"enable_thinking": True}}),
        ({"on": ["chat_template_kwargs.thinking"]}, {"chat_template_kwargs": {"thinking": True}}),
        ({"on": ["reasoning_effort"], "refused": [KWARGS]}, {"reasoning_effort": "medium"}),
        ({"default": True, "refused": [KWARGS, "chat_template_kwargs.thinking", "reasoning_effort"]}, {}),
    ],
    ids=["variable and budget", "variable", "other variable", "effort", "always"],
)
def test_thinking_is_asked_for_in_the_way_that_the_server_honours(how, sent):
    with answering(server(**how)) as (url, asked):
        model = client(url)
        prepare_thinking(model, 64)
        (stage,) = model.answer([ASK])
    assert (stage.text, stage.reasoning) == ("Hello.", "They greet me.")
    request = asked[-1]
    assert request["max_tokens"] == 8 + 64
    assert {
        key: request[key] for key in request if "think" in key or key in ("chat_template_kwargs", "reasoning_effort")
    } == sent


@pytest.mark.parametrize(
    ("how", "sent"),
    [
        ({"default": True, "off": [KWARGS]}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"default": True, "off": ["reasoning_effort"]}, {"reasoning_effort": "none"}),
        ({"refused": [KWARGS, "chat_template_kwargs.thinking", "reasoning_effort"]}, {}),
    ],
)
def test_a_model_that_thinks_by_itself_is_told_not_to(how, sent):
    with answering(server(**how)) as (url, asked):
        model = client(url)
        prepare_thinking(model, 0)
        prepare_thinking(model, 0)  # asked once
        count = len(asked)
        (stage,) = model.answer([Question("plan", "How?")])
    assert (stage.text, stage.reasoning) == ("Hello.", "")
    assert {key: asked[-1][key] for key in ("chat_template_kwargs", "reasoning_effort") if key in asked[-1]} == sent
    assert len(asked) == count + 1


@pytest.mark.parametrize(
    ("how", "tokens", "match"),
    [
        ({}, 64, r"shows no reasoning \(chat_template_kwargs.enable_thinking with thinking_token_budget: no reasoning"),
        ({"refused": [KWARGS]}, 64, r"shows no reasoning .*refused \(status 400: Unknown field"),
        ({"default": True}, 0, r"cannot be told not to \(chat_template_kwargs.enable_thinking: it thinks;"),
        ({"on": [KWARGS], "parser": False}, 64, "does not think once a grammar is sent"),
    ],
    ids=["never", "field refused", "always", "grammar in the way"],
)
def test_what_a_server_does_not_honour_is_refused_before_the_first_question(how, tokens, match):
    with answering(server(**how)) as (url, _), pytest.raises(SettingError, match=match):
        prepare_thinking(client(url), tokens)


@pytest.mark.parametrize(("off", "limit"), [([KWARGS], 24), ([], 24 + 1024)])
def test_the_grammar_probe_of_a_model_that_thinks_by_itself_is_answered(off, limit):
    """With the limit of the probe, all its tokens are reasoning."""
    say = server(default=True, off=off)

    def short(request):
        answer = say(request)
        if request["max_tokens"] < 1000 and "reasoning_content" in answer["choices"][0]["message"]:
            answer["choices"][0]["message"]["content"] = None
        return answer

    with answering(short) as (url, asked):
        assert client(url).provenance()["constraint_key"] == "structured_outputs.regex"
    assert asked[-1]["max_tokens"] == limit


def test_the_provenance_names_the_field():
    with answering(server(on=[KWARGS])) as (url, _):
        model = client(url)
        prepare_thinking(model, 0)
        assert model.provenance()["thinking_key"] is None
        prepare_thinking(model, 64)
        assert model.provenance()["thinking_key"] == KWARGS


def test_a_text_model_that_cannot_think_is_told_at_once():
    prepare_thinking(object(), 0)
    with pytest.raises(SettingError, match="the text model object cannot think"):
        prepare_thinking(object(), 64)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"thinking_tokens": 64}, "thinking is false"), ({"thinking": True, "thinking_tokens": 3}, "expected 16 or more")],
)
def test_options_that_make_no_sense_are_refused(options, match):
    with pytest.raises(SettingError, match=match):
        VlmOptions(model="base", **options)


# What else a server may leave out without a word.


@pytest.mark.parametrize(("counts", "sees"), [((9, 9), False), ((9, 265), True), ((None, None), True)])
def test_a_server_that_drops_pictures_is_refused_by_its_own_count(counts, sees):
    def say(request):
        pictures = any(part["type"] == "image_url" for part in request["messages"][0]["content"])
        return completion("Hello.", usage={"prompt_tokens": counts[pictures]})

    with answering(say) as (url, _):
        model = client(url, constraint="off")
        if sees:
            prepare(model, [])
        else:
            with pytest.raises(SettingError, match="does not get pictures: a question with one has 9 tokens"):
                prepare(model, [])


def test_a_server_that_fails_at_pictures_only_is_told_from_one_that_is_not_there():
    def say(request):
        pictures = any(part["type"] == "image_url" for part in request["messages"][0]["content"])
        return (500, "image input is not supported") if pictures else completion("Hello.", usage={"prompt_tokens": 9})

    with answering(say) as (url, _):
        model = client(url, constraint="off", retries=0)
        with pytest.raises(ServerError, match=r"fails at one with a picture.*image input is not supported"):
            prepare(model, [])


@pytest.mark.parametrize("pinned", [True, False])
def test_a_name_that_is_not_listed_is_accepted_only_where_the_server_tells_names_apart(pinned):
    def say(request):
        return completion("Hello.") if request["model"] == "/models/tiny" or not pinned else (400, "pinned")

    with answering(say) as (url, _):
        if pinned:
            assert client(url, model="/models/tiny", constraint="off").provenance()["model"] == "/models/tiny"
        else:
            with pytest.raises(UnknownNameError, match=r"No model on the server .* named '/models/tiny'"):
                client(url, model="/models/tiny", constraint="off")
