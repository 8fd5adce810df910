"""A grammar that a server refuses or ignores is found before the first question, or at the answer that shows it."""

from __future__ import annotations

import json
import re

import pytest
from chat_servers import answering, client, completion

from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE, PROBE, WAYS, gbnf

FORMAT = get_format("vlm2vla").grammar()
ACTION = Question("action", "Go.", (), FORMAT, Sampling(max_tokens=50))
ROW = "[[0, 0, -8, 1]]"


R, L, B = FORMAT.regex, FORMAT.lark, gbnf(FORMAT.regex)
SENT = {
    ("regex", "structured_outputs.regex"): {"structured_outputs": {"regex": R}},
    ("regex", "guided_regex"): {"guided_regex": R},
    ("regex", "response_format.structural_tag"): {
        "response_format": {"type": "structural_tag", "format": {"type": "regex", "pattern": R}}
    },
    ("regex", "response_format.regex"): {"response_format": {"type": "regex", "value": R}},
    ("regex", "regex"): {"regex": R},
    ("regex", "grammar.regex"): {"grammar": {"type": "regex", "value": R}},
    ("regex", "grammar"): {"grammar": B},
    ("grammar", "structured_outputs.grammar"): {"structured_outputs": {"grammar": L}},
    ("grammar", "guided_grammar"): {"guided_grammar": L},
    ("grammar", "grammar.lark"): {"grammar": {"type": "lark", "value": L}},
    ("grammar", "ebnf"): {"ebnf": B},
    ("grammar", "grammar"): {"grammar": B},
}
"""Option and field -> what is sent for `FORMAT`, as the servers' documentation has it."""
FIELDS = {field for sent in SENT.values() for field in sent}


def honouring(sent, otherwise="ignore"):
    """A server that knows one field only; it ignores every other one, or refuses it with the status `otherwise`."""
    probe = json.dumps(sent)
    for text, stands_for in ((R, PROBE.grammar.regex), (L, PROBE.grammar.lark), (B, gbnf(PROBE.grammar.regex))):
        probe = probe.replace(json.dumps(text), json.dumps(stands_for))

    def say(request):
        grammar = {field: request[field] for field in FIELDS & request.keys()}
        if grammar in (sent, json.loads(probe)):
            return completion(ROW if grammar == sent else NONSENSE[1])
        if otherwise != "ignore" and grammar:
            return otherwise, '{"error": {"message": "unknown field"}}'
        return completion("Hello! How can I help?")

    return say


REGEX = SENT["regex", "structured_outputs.regex"]


@pytest.mark.parametrize("otherwise", ["ignore", 400, 422, 501])
@pytest.mark.parametrize(("constraint", "key"), SENT)
def test_the_first_field_that_a_server_honours_is_used_for_the_whole_run(constraint, key, otherwise):
    with answering(honouring(SENT[constraint, key], otherwise)) as (url, asked):
        model = client(url, constraint=constraint)
        before = len(asked)
        assert [stage.text for stage in model.answer([ACTION, ACTION])] == [ROW, ROW]
        assert (model.provenance()["constrained"], model.provenance()["constraint_key"]) == (True, key)
    assert before == 1 + [name for kind, name in SENT if kind == constraint].index(key), "tried in this order"
    assert [{field: request[field] for field in FIELDS & request.keys()} for request in asked[before:]] == [
        SENT[constraint, key]
    ] * 2


def test_a_server_that_ignores_every_field_stops_the_run_with_what_was_tried():
    with answering(lambda _: completion("Hello!")) as (url, asked):
        with pytest.raises(SettingError) as error:
            client(url)
        assert len(asked) == len(WAYS["regex"])
        assert all(f"{way.key}: ignored (it answered 'Hello!')" in str(error.value) for way in WAYS["regex"])
        assert "constrained=false" in str(error.value)
        asked.clear()
        model = client(url, constraint="off")
        (stage,) = model.answer([ACTION])
    assert (stage.text, stage.error) == ("Hello!", "")
    assert [key for key in asked[0] if key in ("structured_outputs", "guided_regex", "response_format")] == []
    assert (model.provenance()["constrained"], model.provenance()["constraint_key"]) == (False, None)


def test_a_server_that_refuses_every_field_is_told_with_its_words():
    def say(request):
        return (400, "no structured outputs") if len(request) > 6 else completion("Hello!")

    with (
        answering(say) as (url, _),
        pytest.raises(SettingError, match=r"guided_regex: refused \(status 400: no struct"),
    ):
        client(url)


@pytest.mark.parametrize("status", [401, 404, 413])
def test_another_refusal_is_not_taken_for_a_field_that_is_unknown(status):
    with (
        answering(lambda _: (status, "not you")) as (url, asked),
        pytest.raises(SettingError, match=f"status {status}"),
    ):
        client(url)
    assert len(asked) == 1


def test_a_probe_that_is_half_followed_does_not_count():
    with (
        answering(lambda _: completion(f"Sure: {NONSENSE[0]}")) as (url, _),
        pytest.raises(SettingError, match="ignored"),
    ):
        client(url)


@pytest.mark.parametrize("text", ["I will move down.", ROW + " and then stop", "", "[[0, 0, -8, 7]]"])
def test_an_answer_outside_the_grammar_is_a_fault_of_the_server_though_the_probe_passed(text):
    honoured = honouring(REGEX)
    with answering(lambda request: honoured(request) if "hello" in str(request) else completion(text)) as (url, asked):
        model = client(url, retries=2)
        with pytest.raises(ServerError, match=r"asked 3 times.*does not follow the grammar"):
            model.answer([ACTION])
        assert len(asked) == 1 + 3
        (free,) = model.answer([Question("plan", "How?")])
    assert (free.text, free.retries) == (text, 0)


def test_one_answer_outside_the_grammar_costs_one_counted_retry():
    texts = iter(["Hello!", ROW])
    honoured = honouring(REGEX)
    with answering(lambda asked: honoured(asked) if "hello" in str(asked) else completion(next(texts))) as (url, _):
        (stage,) = client(url).answer([ACTION])
    assert (stage.text, stage.retries) == (ROW, 1)


def test_a_constrained_answer_that_is_cut_off_says_so():
    honoured = honouring(REGEX)
    cut = completion("[[0, 0, -8", "length")
    with answering(lambda asked: honoured(asked) if "hello" in str(asked) else cut) as (url, _):
        (stage,) = client(url).answer([ACTION])
    assert (stage.text, stage.finish) == ("[[0, 0, -8", "length")


@pytest.mark.parametrize(
    ("constraint", "grammar"), [("regex", Grammar("", "start: /a/")), ("grammar", Grammar("a", ""))]
)
def test_a_grammar_without_the_form_that_is_sent_is_refused(constraint, grammar):
    with (
        answering(honouring(SENT[constraint, WAYS[constraint][0].key])) as (url, _),
        pytest.raises(SettingError, match="choose the other one"),
    ):
        client(url, constraint=constraint).answer([Question("action", "Go.", (), grammar)])


# GBNF, which llama.cpp reads. The grammars of all formats were read by llama.cpp itself (docs/log.md).


def test_gbnf_says_what_the_regular_expression_says():
    assert gbnf(r"(a|b\?)?[0-9x]{2}") == 'root ::= ( "a" | "b?" )? [0-9x]{2}'
    assert gbnf('say "ab"{1,2}c') == r'root ::= "say \"ab" "\""{1,2} "c"'
    assert gbnf("((ab){2}|){0,3}x") == 'root ::= group2{0,3} "x"\ngroup1 ::= "ab"\ngroup2 ::= group1{2} | ""'
    assert gbnf("") == 'root ::= ""'


@pytest.mark.parametrize("regex", [r"\d", "a.c", "^a", "a$", "(?:a)", "[^]]", "?a", "(|+)", "{2}", "a\\"])
def test_what_gbnf_cannot_say_is_refused_and_never_changed(regex):
    with pytest.raises(SettingError, match="cannot be written as a GBNF grammar"):
        gbnf(regex)


TEXTS = {
    "vlm2vla": (ROW, "[[3, 0, -8, 1], [0, 0, 0, 0]]", "[[3, 0, -8, 2]]", "[3, 0, -8, 1]", "[[3, 0, -8, 1]"),
    "prose": ("move down 8 cm, open gripper", "move down 8 cm", "close gripper; open gripper", "close gripper;"),
    "integers": ("0 500 1000 500 500 500 1000", "500 500 500 500 500 500 7", "500 500"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_decoder_that_reads_gbnf_allows_what_the_regular_expression_does(name):
    llguidance = pytest.importorskip("llguidance", reason="the decoder is optional: pip install llguidance")
    from llguidance.gbnf_to_lark import any_to_lark

    regex = get_format(name).grammar().regex
    lark = llguidance.LLMatcher.grammar_from_lark(any_to_lark(gbnf(regex)))
    verdicts = []
    for text in TEXTS[name]:
        matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), lark)
        read = matcher.try_consume_tokens(list(text.encode()))
        verdicts.append(read == len(text) and matcher.is_accepting())
    assert verdicts == [bool(re.fullmatch(regex, text)) for text in TEXTS[name]]
    assert set(verdicts) == {True, False}
