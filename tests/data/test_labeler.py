"""A model's labels are used when they add up, asked for again when not, and never paid for twice."""

from __future__ import annotations

import json

import pytest
from trajectory_fakes import PICK_AND_PLACE, trajectory

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.relabel.labeler import Labeler, LabelerSettings
from vlm2vla_sim.data.relabel.labeling_cost import Prices, estimate
from vlm2vla_sim.data.relabel.labels import from_json, to_json
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.data.relabel.shown_frames import event_frames
from vlm2vla_sim.errors import AnswerError, DataError, SettingError
from vlm2vla_sim.language.label_prompt import read_spans

FRAMES = sum(steps for steps, *_ in PICK_AND_PLACE)


def answer(*phases: tuple[int, int, str, str]) -> str:
    keys = ("start", "stop", "subtask", "plan")
    return json.dumps([dict(zip(keys, phase, strict=True)) for phase in phases])


GOOD = answer(
    (0, 6, "reach the carrot", "move forward and left, turning clockwise"),
    (6, 15, "take the carrot", "move down, then close the gripper"),
    (15, 31, "bring it to the plate", "move up, right and down, then open the gripper"),
    (31, FRAMES, "retreat", "move up"),
)


class Model:
    """Says what it is given, in turn."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.prompts: list[str] = []
        self.pictures: list[int] = []

    def __call__(self, prompt, pictures):
        self.prompts.append(prompt)
        self.pictures.append(len(pictures))
        return self._answers[min(len(self.prompts), len(self._answers)) - 1]


def labeler(model, tmp_path, **changes) -> Labeler:
    return Labeler(model, LabelerSettings("gemini", **changes), LabelingRules(), tmp_path / "answers")


def test_words_come_from_the_model_and_numbers_from_the_motion(tmp_path):
    model = Model("Here it is:\n```json\n" + GOOD + "\n```")
    labelled = labeler(model, tmp_path)(trajectory())
    assert labelled.subtasks == ("reach the carrot", "take the carrot", "bring it to the plate", "retreat")
    assert [(phase.start, phase.stop, phase.chunk.text) for phase in labelled.phases] == [
        (0, 6, "[[0, 0, 0, 0, 0, -70, 1], [12, 6, 0, 0, 0, 0, 1]]"),
        (6, 15, "[[0, 0, -10, 1], [0, 0, 0, 1], [0, 0, 0, 0]]"),
        (15, 31, "[[0, 0, 8, 0], [0, -12, 0, 0], [0, 0, -6, 0], [0, 0, 0, 1]]"),
        (31, FRAMES, "[[0, 0, 8, 1]]"),
    ]
    assert model.pictures == [6]


def test_the_model_gets_every_step_in_numbers_the_axes_and_which_pictures_it_sees(tmp_path):
    model = Model(GOOD)
    labeler(model, tmp_path)(trajectory())
    (prompt,) = model.prompts
    assert "\n0: 30.0 0.0 15.0 | 0 0 0 | 1.00 -> 1\n" in prompt
    assert "\n6: 42.0 6.0 15.0 | 0 0 -69 | 1.00 -> 1\n" in prompt
    assert f"\n{FRAMES - 1}: " in prompt
    assert prompt.count(" | ") == 2 * FRAMES
    assert "x is forward (away from the robot), y is left and z is up" in prompt
    # The ends, after the gripper closed (15) and opened (31), and two turns (6, when it goes down; 25, again).
    assert "at the steps 0, 6, 15, 25, 31, 39" in prompt
    assert "put carrot on plate" in prompt


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I cannot see a robot.", "no JSON list"),
        ("[{]", "cannot be read"),
        ("[]", "lists 0 phases"),
        ("[1]", "Phase 1 is no JSON object"),
        (answer((1, FRAMES, "a", "b")), "Phase 1 goes from 1 to .* expected it to start at 0"),
        (answer((0, 9, "a", "b"), (11, FRAMES, "a", "b")), "Phase 2 goes from 11 .*start at 9"),
        (answer((0, 9, "a", "b"), (8, FRAMES, "a", "b")), "Phase 2 goes from 8 .*start at 9"),
        (answer((0, 9, "a", "b")), f"stops at 9; expected {FRAMES}"),
        (answer((0, FRAMES, "a", "")), "plan of 0 characters"),
        (json.dumps([{"start": "0", "stop": FRAMES, "subtask": "a", "plan": "b"}]), "expected whole numbers"),
        (
            answer(*((k, k + 1, f"s{k}", "b") for k in range(9)), (9, FRAMES, "a", "b")),
            "more than 8 different subtasks",
        ),
    ],
)
def test_phases_that_do_not_add_up_are_asked_for_again_with_the_reason(tmp_path, said, why):
    with pytest.raises(AnswerError, match=why) as refused:
        read_spans(said, FRAMES)
    model = Model(said, GOOD)
    assert len(labeler(model, tmp_path)(trajectory()).phases) == 4
    assert len(model.prompts) == 2
    assert model.prompts[1].endswith(f"could not be used: {refused.value} Answer again, with the JSON list only.")


def test_a_model_that_never_adds_up_is_given_up_with_a_reason(tmp_path):
    model = Model("no")
    with pytest.raises(DataError, match="queried 2 times without a usable answer; the last one: There is no JSON list"):
        labeler(model, tmp_path)(trajectory())
    assert len(model.prompts) == 2
    assert "You answered:\nno\n" in model.prompts[1], "the answer is repaired, not written anew"


def test_an_answer_is_not_paid_for_twice(tmp_path):
    first, second = Model("no", GOOD), Model("never asked")
    made = labeler(first, tmp_path)(trajectory())
    again = labeler(second, tmp_path)(trajectory(name="the same under another name"))
    assert second.prompts == []
    assert [phase.chunk.text for phase in again.phases] == [phase.chunk.text for phase in made.phases]
    hot = Model(GOOD)
    labeler(hot, tmp_path, temperature=0.9)(trajectory())
    assert len(hot.prompts) == 1, "another temperature is another question"
    labeler(second, tmp_path, pictures=3)  # other pictures are another question
    with pytest.raises(DataError):
        labeler(second, tmp_path, pictures=3)(trajectory())
    assert second.pictures == [3, 3]


def test_nothing_is_sent_about_what_cannot_be_labelled(tmp_path):
    model = Model(GOOD)
    with pytest.raises(DataError, match="the model was not queried"):
        labeler(model, tmp_path)(trajectory(instruction=""))
    assert model.prompts == []


def test_a_border_in_the_middle_of_a_grasp_loses_no_motion(tmp_path):
    """A model may say that a phase begins while the gripper closes."""
    model = Model(
        answer(
            (0, 13, "a", "move forward, then down, and close the gripper"),
            (13, 31, "c", "move up and right, then down, and open the gripper"),
            (31, FRAMES, "c", "move up"),
        )
    )
    labelled = labeler(model, tmp_path)(trajectory())
    said = sum(phase.chunk.deltas[:, :3].sum(axis=0) for phase in labelled.phases)
    rules = sum(phase.chunk.deltas[:, :3].sum(axis=0) for phase in relabel(trajectory()).phases)
    assert said == pytest.approx(rules, abs=1e-6)
    assert [phase.chunk.deltas[-1, 6] for phase in labelled.phases] == [0, 1, 1]


def phases(*changes: tuple[int, str]) -> str:
    """GOOD with the plans of some phases replaced."""
    items = json.loads(GOOD)
    for number, plan in changes:
        items[number]["plan"] = plan
    return json.dumps(items)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (phases((0, "move forward and right")), "Phase 1 (steps 0 to 6): its plan says right, but the gripper moves"),
        (phases((3, "go away")), "Phase 4 (steps 31 to 40): its plan does not say up, but the gripper moves 8 cm up"),
        (phases((1, "move down")), "Phase 2 (steps 6 to 15): the gripper closes at step 12, which its plan does not"),
        (phases((1, "move down and open the gripper")), "its plan says open, but the gripper closes at step 12"),
        (phases((3, "move up, gripper closed")), "its plan says that the gripper is closed, but it is open at the end"),
        (
            answer((0, FRAMES, "a", "move forward, down, up, right, then open the gripper")),
            "the gripper changes at the steps 12 and 28; expected a phase to end at each change",
        ),
        (
            answer((0, 15, "a", "move forward, then down; close the gripper"), (15, FRAMES, "b", "move right; open")),
            "and then the arm moves 8 cm; expected the phase to end at step 31",
        ),
        (
            answer(
                (0, 6, "take", "move forward"),
                (6, 15, "take", "move down, then close the gripper"),
                (15, 19, "away", "move up"),
                (19, 25, "take", "move right"),
                (25, 31, "away", "move down, then open the gripper"),
                (31, FRAMES, "take", "move up"),
            ),
            "The subtask 'away' comes twice, with another one between in which the gripper does not change",
        ),
    ],
)
def test_what_contradicts_the_motion_is_sent_back_with_what_was_measured(tmp_path, said, why):
    model = Model(said, GOOD)
    labelled = labeler(model, tmp_path)(trajectory())
    assert len(labelled.phases) == 4
    assert why in model.prompts[1]
    assert f"You answered:\n{said}\n" in model.prompts[1]
    assert len(model.prompts) == 2


@pytest.mark.parametrize(
    "said",
    [
        f"The gripper [the left one] closes at [12, 13]. A draft: [{{'x'}}], so:\n```json\n{GOOD}\n```\nDone [1].",
        json.dumps({"phases": json.loads(GOOD), "note": "as asked"}),
        f"First I thought {answer((0, 9, 'a', 'b'))}, but it has to be {GOOD}",
        phases((0, "move 12 cm forward and 6 cm left, turning by 70 degrees"), (1, "move down; close the 2 fingers")),
    ],
)
def test_text_around_the_json_and_digits_in_a_plan_cost_no_second_request(tmp_path, said):
    model = Model(said)
    labelled = labeler(model, tmp_path)(trajectory())
    assert len(model.prompts) == 1
    assert [phase.stop for phase in labelled.phases] == [6, 15, 31, FRAMES]
    assert not any("cm" in phase.plan or "70" in phase.plan for phase in labelled.phases)


def test_the_frames_shown_are_those_at_which_something_happens():
    labels = relabel(trajectory())
    assert event_frames(labels, 4) == [0, 15, 31, FRAMES - 1]
    assert set(event_frames(labels, 4)) < set(event_frames(labels, 8))
    assert event_frames(labels, 1) == [0]
    still = relabel(trajectory(((30, (0.01, 0.0, 0.0), 0.0, 1.0),)))
    assert event_frames(still, 3) == [0, 14, 29], "where nothing happens, the middle"


def test_agreement_with_the_rules_says_what_differs_and_is_stored(tmp_path):
    same = labeler(Model(GOOD), tmp_path)(trajectory())
    assert same.agreement is not None
    assert (same.agreement.borders, same.agreement.directions, same.agreement.names) == (1.0, 1.0, 1.0)
    assert (same.agreement.score, same.agreement.differences) == (1.0, ())
    later = answer(
        (0, 6, "reach the mushroom", "move forward"),
        (6, 13, "reach the mushroom", "move down and close the gripper"),
        (13, 31, "bring it to the plate", "move right, then open the gripper"),
        (31, FRAMES, "retreat", "move up"),
    )
    other = labeler(Model(later), tmp_path / "other")(trajectory())
    assert other.agreement is not None
    assert other.agreement.names == 0.5
    assert other.agreement.directions == pytest.approx(17 / 27)
    assert other.agreement.differences == (
        "Steps 15 to 19: the rules say up, the model says right.",
        "Steps 25 to 31: the rules say down, the model says right.",
        "No subtask of the model says 'carrot'.",
    )
    line = json.loads(json.dumps(to_json(other)))
    assert from_json(line, other.trajectory).agreement == other.agreement
    assert "agreement" not in to_json(relabel(trajectory()))


class Listed(list):
    kind = "listed"


def test_the_cost_is_told_before_anything_is_sent():
    source = Listed([Skipped("x", "broken"), *(trajectory(name=str(n)) for n in range(9))])
    told = estimate(source, Prices(input=2.0, output=10.0), pictures=6, retries=1)
    assert (told.trajectories, told.most_requests) == (10, 20)
    # Ten prompts of some 3,000 characters and six pictures of 258 tokens each.
    assert 15_000 + 10_000 < told.input_tokens < 15_000 + 25_000
    assert told.cost == pytest.approx((2 * told.input_tokens + 10 * told.output_tokens) / 1e6)
    assert estimate(source, Prices(), pictures=6, retries=1, limit=4).trajectories == 4
    assert estimate(source, Prices(), pictures=6, retries=1, done=7).trajectories == 3
    with pytest.raises(DataError, match="nothing was sent"):
        estimate(Listed([Skipped("x", "broken")]), Prices(), pictures=6, retries=1)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingError, match="pictures is 0"):
        LabelerSettings("m", pictures=0)
