"""Answers about subtasks, plans and success are read however a model lists them; what is not clear is not guessed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.errors import AnswerError
from vlm2vla_sim.language.answers import VerifierAnswer, read_plan, read_subtasks, read_verifier_answer
from vlm2vla_sim.language.prompts import MAX_SUBTASKS

TWO = ("grasp the carrot", "put it on the plate")


@pytest.mark.parametrize(
    "text",
    [
        "1. grasp the carrot\n2. put it on the plate",
        "1) grasp the carrot.\n\n2) put it on the plate.",
        "Sure, here they are:\n\n1. **grasp the carrot**\n2. **put it on the plate**\n\nLet me know!",
        "Step 1: grasp the carrot\nStep 2: put it on the plate",
        "1. grasp the carrot 2. put it on the plate",
        "- grasp the carrot\n- put it on the plate",
        "Subtasks:\n* grasp the carrot\n• put it on the plate\n",
        "grasp the carrot\nput it on the plate",
        "The subtasks are:\ngrasp the carrot;\nput it on the plate.",
        '["grasp the carrot", "put it on the plate"]',
        '```json\n["grasp the carrot",\n "put it on  the plate"]\n```\nThat is all.',
        '["grasp the carrot", "put it on the plate"] is what I would do',
        '1. "grasp the carrot"\n2. `put it on the plate`',
    ],
)
def test_subtasks_are_read_from_any_list_a_model_makes(text: str) -> None:
    assert read_subtasks(text) == TWO


def test_a_single_line_is_a_single_subtask() -> None:
    assert read_subtasks("put carrot on plate") == ("put carrot on plate",)


def test_a_line_that_ends_a_sentence_with_a_number_is_not_a_list() -> None:
    assert read_subtasks("stack it on block 2. Then let go") == ("stack it on block 2. Then let go",)


def test_a_number_inside_a_line_does_not_split_it() -> None:
    assert read_subtasks("1. move 3 cm up\n2. stack block 2 on block 1") == ("move 3 cm up", "stack block 2 on block 1")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "list of subtasks is empty"),
        ("``` ```", "list of subtasks is empty"),
        ("1. \n2. ", "There is no subtask in"),
        ("The subtasks are:", "There is no subtask in 'The subtasks are:'"),
        ("[]", "There is no subtask in"),
        ("[grasp the carrot]", "starts with '\\[' but is no JSON"),
        ("[" * 5000, "is no JSON"),
        ('[{"subtask": "grasp"}]', "holds something else than texts"),
        ("[1, 2]", "holds something else than texts"),
        ("\n".join(f"{index}. again" for index in range(1, MAX_SUBTASKS + 2)), "lists 9 subtasks; expected at most 8"),
        ("1. " + "grasp " * 60, "A subtask has 359 characters, at most 300"),
        ("x" * 10_001, "has 10,001 characters; at most 10,000 are read"),
    ],
)
def test_what_is_no_list_of_subtasks_is_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(AnswerError, match=complaint):
        read_subtasks(text)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("move down and slightly forward", "move down and slightly forward"),
        ("Motion plan: move down,\nthen close the gripper.\n", "move down, then close the gripper"),
        ("```\nmove down\n```", "move down"),
        ("'move down'", "move down"),
    ],
)
def test_a_plan_is_one_line_without_its_wrapping(text: str, plan: str) -> None:
    assert read_plan(text) == plan


@pytest.mark.parametrize("text", ["", " \n", "plan: ", "move " * 100, "x" * 10_001])
def test_no_plan_or_an_essay_is_refused(text: str) -> None:
    with pytest.raises(AnswerError, match="motion plan"):
        read_plan(text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("advance", VerifierAnswer.ADVANCE),
        ("Advance.", VerifierAnswer.ADVANCE),
        ("**ADVANCE** - the carrot is no longer on the table", VerifierAnswer.ADVANCE),
        ("Yes, it is held.", VerifierAnswer.ADVANCE),
        ("The carrot is on the plate.\n\nadvance", VerifierAnswer.ADVANCE),
        ("The answer is: advance", VerifierAnswer.ADVANCE),
        ('{"verdict": "advance"}', VerifierAnswer.ADVANCE),
        ("retry", VerifierAnswer.RETRY),
        ("Retry: it cannot advance, the carrot is not held.", VerifierAnswer.RETRY),
        ("No, the carrot is still there.", VerifierAnswer.RETRY),
        ("The carrot is not held.\nRetry", VerifierAnswer.RETRY),
        ("I would say retry", VerifierAnswer.RETRY),
        ("", VerifierAnswer.UNCLEAR),
        ("???", VerifierAnswer.UNCLEAR),
        ("The picture shows a plate.", VerifierAnswer.UNCLEAR),
        ("I would not advance yet", VerifierAnswer.UNCLEAR),
        ("It can't advance", VerifierAnswer.UNCLEAR),
        ("Either advance or retry", VerifierAnswer.UNCLEAR),
        ("Advance\nretry", VerifierAnswer.UNCLEAR),
        ("Not sure", VerifierAnswer.UNCLEAR),
        ("advanced robotics", VerifierAnswer.UNCLEAR),
        ("advance" + " " * 10_000, VerifierAnswer.UNCLEAR),
    ],
)
def test_a_verdict_is_read_only_when_it_is_clear(text: str, verdict: VerifierAnswer) -> None:
    assert read_verifier_answer(text) is verdict


@settings(deadline=None)
@given(st.text(max_size=400))
def test_no_text_makes_a_reader_of_answers_fail_in_another_way(text: str) -> None:
    assert read_verifier_answer(text) in VerifierAnswer
    for read in (read_subtasks, read_plan):
        with contextlib.suppress(AnswerError):
            read(text)
