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
from vlm2vla_sim.language.formats import FORMATS, ActionStatistics, get_format
from vlm2vla_sim.language.formats.vla0 import Vla0Format
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


# Formats of other projects.


def moving() -> LabelledTrajectory:
    """Its recorded commands are 1 cm forward a step and, in the fourth phase, the gripper open."""
    labelled = make_labelled()
    actions, states = np.zeros((14, 7)), np.zeros((14, 7))
    actions[:, 0], actions[11:, 6] = 0.01, 1
    states[:, 0], states[:, 2] = 0.25 + 0.01 * np.arange(14), 0.2
    trajectory = dataclasses.replace(labelled.trajectory, actions=actions, states=states)
    return dataclasses.replace(labelled, trajectory=trajectory)


def actions_of(spoken, labelled: LabelledTrajectory) -> tuple[list[Example], ExampleMaker]:
    maker = ExampleMaker(ExampleSettings(spoken, stages=("action",)))
    return list(maker.make([labelled])), maker


def test_a_sentence_of_a_second_says_the_sum_of_five_recorded_steps():
    labelled = moving()
    rows, _ = actions_of(get_format("lap"), labelled)
    assert [row.completion for row in rows] == [
        *("move forward 4 cm, close gripper", "move forward 3 cm, close gripper", "move forward 4 cm, close gripper"),
        "move forward 2 cm, open gripper",
    ]
    assert np.array_equal(rows[1].images[0], labelled.trajectory.images[4])


def test_control_steps_say_the_recorded_commands_as_many_as_fit():
    statistics = ActionStatistics.of([moving().trajectory.actions])
    rows, _ = actions_of(get_format("vla0", statistics=statistics), moving())
    assert [len(row.completion.split()) // 7 for row in rows] == [4, 3, 4, 2]
    short = Vla0Format(statistics, horizon=2)
    rows, _ = actions_of(short, moving())
    assert [len(row.completion.split()) // 7 for row in rows] == [2, 2, 2, 1, 2, 2, 2]
    np.testing.assert_allclose(short.read(rows[-1].completion).deltas, moving().trajectory.actions[11:13], atol=1e-6)


def test_a_goal_is_where_the_labelled_motion_leads_from_where_the_arm_was():
    rows, _ = actions_of(get_format("goal-json"), moving())
    right = -round(100 * moving().phases[0].chunk.deltas[0, 1])
    assert f'"position": [35, {-right}, 20]' in rows[0].completion


def test_what_cannot_be_said_of_a_recording_is_refused_or_counted():
    with pytest.raises(SettingError, match="'choice' cannot be made of recorded motion"):
        ExampleSettings(get_format("choice"))
    fast = dataclasses.replace(moving(), trajectory=dataclasses.replace(moving().trajectory, fps=10.0))
    rows, maker = actions_of(get_format("lap"), fast)
    assert (rows, maker.skipped["an action of steps at another rate than 5 Hz"]) == ([], 4)
