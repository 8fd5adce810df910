"""Who says that a subtask is done, and what they say to odd answers."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest

from vlm2vla_sim.errors import EpisodeAbortedError
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR, ModelVerifier, OperatorVerifier, TruthVerifier
from vlm2vla_sim.testing import FakeTextModel
from vlm2vla_sim.types import Body, Pose, SceneState

BEFORE, AFTER = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
ASK = {"current": "grasp the carrot", "following": "put it on the plate"}


def scene(at=(0.3, 0.0, 0.1), *, grasped=False, touching=()) -> SceneState:
    level = np.array([1.0, 0, 0, 0])
    carrot = Body("carrot", Pose(np.array(at), level), np.full(3, 0.03))
    plate = Body("plate", Pose(np.array([0.3, 0.0, 0.01]), level), np.full(3, 0.1))
    return SceneState(carrot, plate, frozenset(touching), grasped)


@pytest.mark.parametrize(
    ("said", "advance", "unclear"),
    [("advance", True, False), ("retry", False, False), ("hard to say", False, True), ("", False, True)],
)
def test_a_model_advances_only_when_it_clearly_says_so(said, advance, unclear):
    model = FakeTextModel({"verify": [said]})
    judgement = ModelVerifier(model, constrained=False).judge(BEFORE, AFTER, **ASK)
    assert judgement.advance is advance
    assert bool(judgement.stage.error) is unclear
    assert [image[0, 0, 0] for image in model.images[0]] == [0, 1], "before comes first"


def test_the_grammar_of_verdicts_allows_two_words_and_nothing_else():
    assert [bool(re.fullmatch(ANSWER_GRAMMAR.regex, word)) for word in ("advance", "retry", "Advance", "advance.")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("subtask", "state", "done"),
    [
        ("Grasp the carrot", scene(grasped=True), True),
        ("Grasp the carrot", scene(), False),
        ("move the carrot over the plate", scene(grasped=True), True),
        ("move the carrot over the plate", scene((0.2, 0.1, 0.1), grasped=True), False),
        ("put the carrot on the plate", scene((0.3, 0.01, 0.03)), True),
        ("put the carrot on the plate", scene((0.3, 0.01, 0.03), grasped=True), False),
        ("put the carrot on the plate", scene((0.3, 0.01, 0.03), touching=["table"]), False),
        ("put the carrot on the plate", scene((0.1, 0.2, 0.03), touching=["table"]), False),
        ("look around", scene(), True),
    ],
)
def test_the_truth_goes_by_the_verb_and_the_scene(subtask, state, done):
    judgement = TruthVerifier(lambda: state).judge(BEFORE, AFTER, current=subtask, following="")
    assert judgement.advance is done


def test_the_operator_is_asked_until_the_answer_is_yes_or_no():
    typed, asked, said = iter(["what?", "", "Y"]), [], io.StringIO()
    judgement = OperatorVerifier(lambda text: asked.append(text) or next(typed), said).judge(BEFORE, AFTER, **ASK)
    assert judgement.advance
    assert len(asked) == 3
    assert "grasp the carrot" in asked[0]
    assert "'what?' was typed; expected y, n or q." in said.getvalue()


def test_the_operator_can_stop_the_episode_and_so_does_the_end_of_input():
    with pytest.raises(EpisodeAbortedError, match="operator stopped"):
        OperatorVerifier(lambda _: "q").judge(BEFORE, AFTER, **ASK)

    def closed(_: str) -> str:
        raise EOFError

    with pytest.raises(EpisodeAbortedError, match="no operator can answer"):
        OperatorVerifier(closed).judge(BEFORE, AFTER, **ASK)


def test_the_adapter_can_be_left_out_of_the_verifiers_question():
    seen = []

    class Spy(FakeTextModel):
        def answer(self, questions):
            seen.extend(dataclasses.asdict(q)["adapter"] for q in questions)
            return super().answer(questions)

    ModelVerifier(Spy({"verify": ["retry"]}), adapter=False).judge(BEFORE, AFTER, **ASK)
    assert seen == [False]
