"""Training rows are, byte for byte, what the loop and the verifier send, and what they read back."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from labelled_fakes import make_labelled

from vlm2vla_sim.data.episode import Example, LabelledTrajectory, Phase
from vlm2vla_sim.data.examples.maker import STAGES, ExampleMaker, ExampleSettings, to_chat
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.answers import read_plan, read_subtasks, read_verifier_answer
from vlm2vla_sim.language.formats import FORMATS, get_format
from vlm2vla_sim.language.translations import CHECKED, LANGUAGES, TRANSLATIONS, translate
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings
from vlm2vla_sim.policies.verifier import ModelVerifier
from vlm2vla_sim.types import ActionChunk, Stage

LOOP = ("subtasks", "plan", "action", "verify")
RARE = tuple("ΔΘΛΞΠΣΦΨΩЖ")


def format_called(name: str):
    return get_format(name, symbols=RARE if name == "tokens" else None)


class Teacher:
    """A `TextModel` that answers with the row whose question it is asked, and keeps every question."""

    def __init__(self, rows: list[Example]) -> None:
        self.rows, self.asked = rows, []

    def answer(self, questions):
        self.asked += questions
        return [Stage(question.stage, self.find(question).completion, finish="stop") for question in questions]

    def find(self, question: Question) -> Example:
        (row,) = [row for row in self.rows if same(row, question)]
        return row


def same(row: Example, question: Question) -> bool:
    """Whether the row is this question, byte for byte, in words and pixels."""
    return (
        (row.stage, row.prompt) == (question.stage, question.prompt)
        and len(row.images) == len(question.images)
        and all(np.array_equal(a, b) for a, b in zip(row.images, question.images, strict=True))
    )


def rows_of(labelled: LabelledTrajectory, name: str = "vlm2vla", **settings) -> list[Example]:
    return list(ExampleMaker(ExampleSettings(format_called(name), **settings)).make([labelled]))


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_the_loop_that_follows_a_trajectory_asks_the_very_rows_it_was_taught_with(name, state):
    labelled = make_labelled()
    rows = rows_of(labelled, name, stages=LOOP, state=state)
    teacher = Teacher(rows)
    settings = LoopSettings(state=state)
    policy = LanguageActionPolicy(teacher, format_called(name), ModelVerifier(teacher), settings=settings)
    policy.reset(labelled.trajectory.instruction)
    for phase in labelled.phases:
        now = {"primary": labelled.trajectory.images[phase.start]}
        decision = policy.act({"pixels": now, "agent_pos": labelled.trajectory.states[phase.start]})
        expected = format_called(name).read(format_called(name).write(phase.chunk.deltas))
        np.testing.assert_array_equal(decision.chunk.deltas, expected.deltas)
    last = {"primary": labelled.trajectory.images[-1]}
    assert policy.act({"pixels": last, "agent_pos": labelled.trajectory.states[-1]}) is None
    assert policy.ended.startswith("done")
    assert [q.stage for q in teacher.asked].count("verify") == len(labelled.phases)
    missed = [row for row in rows if not any(same(row, question) for question in teacher.asked)]
    assert {(row.stage, row.completion) for row in missed} == {("verify", "retry")}, "only the half-way pictures"


@pytest.mark.parametrize("name", FORMATS)
def test_without_reasoning_the_rows_are_what_that_variant_asks(name):
    labelled = make_labelled(1)
    rows = rows_of(labelled, name, reasoning=False)
    assert [row.stage for row in rows] == ["action"] * len(labelled.phases)
    teacher = Teacher(rows)
    policy = LanguageActionPolicy(teacher, format_called(name), None, settings=LoopSettings(reasoning=False))
    policy.reset(labelled.trajectory.instruction)
    for phase in labelled.phases:
        policy.act({"pixels": {"primary": labelled.trajectory.images[phase.start]}})
    assert all(same(row, question) for row, question in zip(rows, teacher.asked, strict=True))


def test_every_completion_is_what_evaluation_reads_as_the_label():
    labelled = make_labelled()
    said = {stage: [row.completion for row in rows_of(labelled) if row.stage == stage] for stage in STAGES}
    assert [read_subtasks(text) for text in said["subtasks"]] == [
        ("Grasp the carrot", "Move it over the plate", "Put it down")
    ]
    assert [read_plan(text) for text in said["plan"]] == [read_plan(phase.plan) for phase in labelled.phases]
    assert all(read_verifier_answer(text) in ("advance", "retry") for text in said["verify"])


def test_the_verdict_is_advance_after_a_subtasks_last_phase_only():
    labelled = make_labelled()
    pictures = labelled.trajectory.images
    verdicts = [row for row in rows_of(labelled) if row.stage == "verify"]
    after = {
        phase.stop: next(row.completion for row in verdicts if np.array_equal(row.images[1], pictures[phase.stop]))
        for phase in labelled.phases
    }
    assert after == {4: "retry", 7: "advance", 11: "advance", 13: "advance"}
    assert "After that comes: Move it over the plate" in verdicts[0].prompt, "an earlier phase knows what comes next"
    assert "That is the last subtask." in verdicts[-1].prompt


def test_the_tokens_format_writes_no_digit_in_its_answer():
    actions = [row.completion for row in rows_of(make_labelled(), "tokens") if row.stage == "action"]
    assert actions
    assert not any(character.isdigit() for text in actions for character in text)


def test_translated_instructions_are_asked_too_and_the_answer_stays_the_same():
    rows = [row for row in rows_of(make_labelled(), languages=("en", "es", "zh", "hi")) if row.stage == "subtasks"]
    assert len(rows) == 4
    assert len({row.completion for row in rows}) == 1
    for language, row in zip(("en", "es", "zh", "hi"), rows, strict=True):
        assert translate("put carrot on plate", language) in row.prompt


def test_every_task_is_translated_into_every_language_in_its_own_script():
    assert set(TRANSLATIONS) == {task.instruction for task in TASKS.values()}
    scripts = {"es": r"[a-z]", "zh": "[一-鿿]", "hi": "[ऀ-ॿ]"}
    for translations in TRANSLATIONS.values():
        assert set(translations) | {"en"} == set(LANGUAGES)
        for language, translation in translations.items():
            assert re.search(scripts[language], translation.text), translation.text
    assert set(CHECKED) == set(scripts)


def test_what_cannot_be_taught_is_skipped_with_its_reason_and_the_rest_is_kept():
    good = make_labelled(closing_frame=False)
    too_far = Phase(0, 13, good.subtasks[0], "move", ActionChunk(np.array([[0.9, 0, 0, 0, 0, 0, 1.0]]), ""))
    no_plan = dataclasses.replace(good.phases[0], plan="'' .")
    cases = {
        "a trajectory without phases": dataclasses.replace(good, phases=()),
        "motion that the format cannot write": dataclasses.replace(good, phases=(too_far,)),
        "a plan that cannot be parsed back": dataclasses.replace(good, phases=(no_plan, *good.phases[1:])),
        "subtasks that cannot be parsed back": dataclasses.replace(good, subtasks=(*good.subtasks, '""')),
        "a verdict without an image after the motion": good,
    }
    for reason, labelled in cases.items():
        maker = ExampleMaker(ExampleSettings(format_called("vlm2vla")))
        list(maker.make([labelled]))
        assert maker.skipped[reason] == 1, (reason, maker.skipped)
    maker = ExampleMaker(ExampleSettings(format_called("vlm2vla"), languages=("en", "hi")))
    moved = dataclasses.replace(good, trajectory=dataclasses.replace(good.trajectory, instruction="dance"))
    assert [row.stage for row in maker.make([moved])].count("subtasks") == 1
    assert maker.skipped["an instruction without a translation (hi)"] == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stages": ("act",)}, "No stage named 'act'"),
        ({"languages": ("fr",)}, "No language named 'fr'"),
        ({"stages": ()}, "stages or the languages are empty"),
        ({"stages": ("plan",), "reasoning": False}, "Without reasoning"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings, said):
    with pytest.raises(ValueError, match=said):
        ExampleSettings(format_called("vlm2vla"), **settings)
    assert issubclass(SettingError, ValueError)


def test_a_chat_row_holds_the_pictures_the_question_and_the_answer():
    row = next(row for row in rows_of(make_labelled()) if row.stage == "verify")
    chat = to_chat(row)
    assert [np.array_equal(np.asarray(a), b) for a, b in zip(chat["images"], row.images, strict=True)] == [True, True]
    (user,) = chat["prompt"]
    assert [part["type"] for part in user["content"]] == ["image", "image", "text"]
    assert user["content"][-1]["text"] == row.prompt
    assert chat["completion"][0]["content"] == [{"type": "text", "text": row.completion}]
