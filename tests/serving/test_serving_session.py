"""A decision served in steps is the decision that the rollout carries out, whatever the client's rhythm."""

from __future__ import annotations

import numpy as np
import pytest

from vlm2vla_sim.envs import motion
from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.serving.action_stream import ActionStream
from vlm2vla_sim.types import ActionChunk, Decision, Stage

FORMAT = get_format("prose")


class Reading:
    """Says these texts in turn, then None; an exception is raised."""

    def __init__(self, *texts) -> None:
        self.texts, self.ended = texts, ""

    def reset(self, instruction, seed=0):
        self.left, self.told = list(self.texts), (instruction, seed)

    def act(self, observation):
        if not self.left:
            self.ended = "done: it is on the plate"
            return None
        text = self.left.pop(0)
        if isinstance(text, Exception):
            raise text
        return text if isinstance(text, Decision) else Decision("subtask", "plan", text, FORMAT.read(text))


def session(*texts, rows=0) -> ActionStream:
    made = ActionStream(Reading(*texts), rows=rows)
    made.reset("put carrot on plate", 7)
    return made


def test_a_decision_is_given_as_the_steps_of_the_rollout():
    text = "move forward 10 cm, close gripper"
    move = session(text).next({})
    expected = list(motion.split(FORMAT.read(text).deltas, gripper=1.0))
    assert len(expected) == 7, "four of 2.5 cm, three for the gripper"
    np.testing.assert_array_equal(move.steps, np.array(expected))
    assert move.text == {
        "subtask": "subtask",
        "plan": "plan",
        "action": text,
        "error": "",
        "parse_failures": 0,
    }


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 10])
def test_any_number_of_rows_at_a_time_gives_the_same_steps_filled_up_with_standing_still(rows):
    whole = session("move forward 10 cm, close gripper", "move up 5 cm, close gripper").next({}).steps
    client = session("move forward 10 cm, close gripper", "move up 5 cm, close gripper", rows=rows)
    answers = [client.next({}).steps for _ in range(-(-len(whole) // rows))]
    assert all(len(answer) == rows for answer in answers)
    given = np.concatenate(answers)
    np.testing.assert_array_equal(given[: len(whole)], whole)
    assert not given[len(whole) :].any(), "neither motion nor a gripper that opens"


def test_the_gripper_is_taken_to_be_as_the_client_says():
    closed = {"agent_pos": np.array([0.3, 0, 0.1, 0, 0, 0, 0.2], np.float32)}
    assert len(session("close gripper").next(closed).steps) == 1, "it is closed: nothing to wait for"
    assert len(session("close gripper").next({}).steps) == 3


def test_a_policy_that_is_done_stands_still_for_as_long_as_it_is_asked():
    client = session("close gripper", rows=3)
    client.next({})
    for _ in range(3):
        move = client.next({})
        assert move.text == {"done": True, "ended": "done: it is on the plate"}
        np.testing.assert_array_equal(move.steps, [[0, 0, 0, 0, 0, 0, 0]] * 3)


def test_unreadable_words_are_one_step_of_standing_still_and_one_failure():
    babble = Decision("s", "p", "hm", chunk=None, error="no numbers", parse_failures=2)
    client = session(babble, ActionTextError("nor here"), "move up 1 cm, open gripper")
    first, second, third = (client.next({}) for _ in range(3))
    assert (first.text["error"], first.text["parse_failures"]) == ("no numbers", 2)
    assert (second.text["error"], second.text["parse_failures"]) == ("nor here", 1)
    assert len(first.steps) == len(second.steps) == 1
    assert third.text["error"] == ""


def test_failures_of_a_decision_are_told_once_though_it_is_given_in_several_answers():
    again = Decision("s", "p", "up", FORMAT.read("move up 10 cm, open gripper"), parse_failures=2)
    client = session(again, rows=1)
    assert [client.next({}).text["parse_failures"] for _ in range(4)] == [2, 0, 0, 0]


def test_answers_that_were_cut_off_are_told_once():
    stages = tuple(Stage("plan", "move", finish=finish) for finish in ("length", "stop", "length"))
    again = Decision("s", "p", "up", FORMAT.read("move up 10 cm, open gripper"), stages)
    client = session(again, "close gripper", rows=3)
    assert [client.next({}).text.get("truncations") for _ in range(3)] == [2, None, None]


def test_rows_that_are_steps_already_are_handed_on_as_they_are():
    rows = np.array([[0.05, 0, 0, 0, 0, 0, 0.3], [0.05, 0, 0, 0, 0, 0, 0.0]], np.float32)
    decision = Decision("s", "p", "x", ActionChunk(rows, "x", stepwise=True))
    np.testing.assert_array_equal(session(decision).next({}).steps, rows)


def test_a_new_episode_forgets_the_old_one():
    client = session("move forward 10 cm, close gripper", rows=1)
    first = client.next({}).steps
    client.reset("stack it", 8)
    np.testing.assert_array_equal(client.next({}).steps, first)
