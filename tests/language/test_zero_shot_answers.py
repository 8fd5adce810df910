"""Answers of hosted models: chatter, headings, fences and JSON are read through; two actions are refused."""

from __future__ import annotations

import pytest

from vlm2vla_sim.errors import AnswerError
from vlm2vla_sim.language.zero_shot_answers import MAX_ANSWER, ZeroShotAnswer, read_zero_shot_answer

ROWS = "[[0, 0, -3, 1]]"


@pytest.mark.parametrize(
    "text",
    [
        f"Scene: a carrot.\nSubtask: grasp it\nPlan: move down\nAction: {ROWS}",
        f"Sure!\n\n**Subtask:** grasp it\n**Plan:** move down\n**Action:** {ROWS}\n\nI hope this helps!",
        f"```\nSubtask: grasp it\nPlan: move down\nAction: {ROWS}\n```",
        f"### Subtask\ngrasp it\n### Plan\nmove down\n### Action\n```json\n{ROWS}\n```\n\nGood luck.",
        f"1. Subtask: grasp it\n2. Plan: move down\n3. Action: `{ROWS}`",
        f"- subtask: grasp it\n- PLAN: *move down*\n- ACTION:\n{ROWS}",
        f"<think>Action: [[9, 9, 9, 1]]? No.</think>Subtask: grasp it\nPlan: move down\nAction: {ROWS}",
        f'Here:\n```json\n{{"subtask": "grasp it", "plan": "move down", "action": {ROWS}}}\n```',
        f'{{"Subtask": "grasp it", "Plan": "move down", "Action": "{ROWS}", "scene": null}}',
        f"Subtask: grasp it\nPlan: move down\nAction: {ROWS}\nAction: {ROWS}",
    ],
)
def test_the_parts_are_found_however_they_are_dressed(text):
    assert read_zero_shot_answer(text) == ZeroShotAnswer(ROWS, "grasp it", "move down")


def test_an_answer_without_headings_is_all_action():
    assert read_zero_shot_answer(f"```\n{ROWS}\n```").action == ROWS
    assert read_zero_shot_answer("move down 3 cm, open gripper").action == "move down 3 cm, open gripper"


@pytest.mark.parametrize("text", ["Action: done", "Plan: none\n**Action:** *Done.*", "done", '{"action": "DONE"}'])
def test_done_is_no_action(text):
    answer = read_zero_shot_answer(text)
    assert (answer.done, answer.action) == (True, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("<think>hm</think>", "is empty"),
        ("Plan: move down", "no line that begins with 'Action:'"),
        (f"Action: {ROWS}\nThe gripper is lower now.\nAction: [[0, 0, 5, 0]]", "2 different actions"),
        ("x" * (MAX_ANSWER + 1), "expected at most"),
        ('{"action": null, "plan": "move"}', "no line that begins with 'Action:'"),
    ],
)
def test_what_is_not_clear_is_refused(text, why):
    with pytest.raises(AnswerError, match=why):
        read_zero_shot_answer(text)


def test_a_nested_or_broken_object_is_no_endless_search():
    assert read_zero_shot_answer("Plan: {{{{ move\nAction: " + ROWS).action == ROWS
    with pytest.raises(AnswerError):
        read_zero_shot_answer("Plan: " + "{" * 20_000)
