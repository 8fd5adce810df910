"""Words against motion: a plan, the text of its action, and what the arm did."""

from __future__ import annotations

import dataclasses
import re

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation.agreement import PAIRS, compare_words, disagreements, measured_motion, written_motion
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.outcome_shares import word_shares
from vlm2vla_sim.evaluation.results import format_table, summarize
from vlm2vla_sim.evaluation.setup import make_policy
from vlm2vla_sim.language.plan_reader import direction_name, read_motion
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import Decision


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("move left and forward above the carrot, with the gripper open", "forward left open"),
        ("move down to the carrot, then close the gripper", "down closed"),
        ("lift the carrot", "up"),
        ("lower the carrot to the plate, then open the gripper", "down open"),
        ("carry the spoon backward and right over the towel", "backward right"),
        ("it is at 23, 5, 3; move backward and right above it, down, close the gripper, up", "backward right closed"),
        ("Move the gripper to the left and slightly downwards.", "left down"),
        ("Raise the arm, and keep the gripper closed", "up closed"),
        ("tilt left, then rotate clockwise and move up", "up"),
        ("turn right a little; move backwards", "backward"),
        ("pick up the block on the left", ""),
        ("pick it up and release", "open"),
        ("move close to the left block, right next to the plate", ""),
        ("move to the left of the plate", ""),
        ("do not move left, move right", "right"),
        ("move down to grasp it", "down"),
        ("move right above it", ""),
        ("stay where you are", ""),
        ("muévete a la izquierda y abre la pinza", ""),
        ("向左移动", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_directions_and_the_gripper_are_read_from_a_plan_and_nothing_else_is(plan, said):
    motion = read_motion(plan)
    gripper = {None: [], 1: ["open"], 0: ["closed"]}[motion.gripper]
    assert [*map(direction_name, motion.directions), *gripper] == said.split()


def rows(*values: tuple[float, float, float, int]) -> np.ndarray:
    """Rows of dx, dy, dz [cm], gripper."""
    return np.array([[x / 100, y / 100, z / 100, 0, 0, 0, g] for x, y, z, g in values], np.float32)


def path(*values: tuple[float, float, float, float]) -> np.ndarray:
    """x, y, z [cm] and opening after every step, from (0, 0, 0) and open."""
    return np.array([(0, 0, 0, 1), *values]) * [0.01, 0.01, 0.01, 1]


YES, NO, UNKNOWN = True, False, None


@pytest.mark.parametrize(
    ("plan", "written", "moved", "verdicts"),
    [
        ("move left", rows((0, 5, 0, 1)), path((0, 4, 0, 1)), (YES, YES, YES)),
        ("move left", rows((0, 1, 0, 1)), path((0, 1, 0, 1)), (YES, YES, YES)),
        ("move left", rows((0, 0.9, 0, 1)), path((0, 0.9, 0, 1)), (NO, UNKNOWN, NO)),
        ("move right", rows((0, 5, 0, 1)), path((0, 4, 0, 1)), (NO, YES, NO)),
        ("move left", rows((0, 5, 0, 1)), path((0, 0, 0, 1)), (YES, NO, NO)),
        ("move left", rows((0, 3.9, 0, 1)), path((0, 0, 0, 1)), (YES, UNKNOWN, UNKNOWN)),
        ("move left", rows((0, 4, 0, 1)), path((0, 0.9, 0, 1)), (YES, NO, NO)),
        ("move left", rows((0, 2, 0, 1)), path((0, -2.9, 0, 1)), (YES, UNKNOWN, UNKNOWN)),
        ("move left", rows((0, 2, 0, 1)), path((0, -3.1, 0, 1)), (YES, NO, NO)),
        ("move left", rows((0, 5, -9, 1)), path((0, 4, -9, 1)), (YES, YES, YES)),  # "down" is not said
        ("stay", rows((0, 5, 0, 1)), path((0, 5, 0, 1)), (UNKNOWN, YES, UNKNOWN)),
        ("stay", rows((0, 0, 0, 1)), path((0, 0, 0, 1)), (UNKNOWN, UNKNOWN, UNKNOWN)),
        ("move down", rows((0, 0, -2, 1), (0, 0, 3, 1)), path((0, 0, -2, 1), (0, 0, 1, 1)), (YES, YES, YES)),
        ("close the gripper", rows((0, 0, 0, 0)), path((0, 0, 0, 0.85)), (YES, YES, YES)),
        ("close the gripper", rows((0, 0, 0, 0)), path((0, 0, 0, 0.95)), (YES, NO, NO)),
        ("close the gripper", rows((0, 0, 0, 1)), path((0, 0, 0, 1)), (NO, UNKNOWN, NO)),
        ("open the gripper", rows((0, 0, 0, 1)), path((0, 0, 0, 1)), (YES, UNKNOWN, YES)),
        ("move left", None, path((0, 0, 0, 1)), (UNKNOWN, UNKNOWN, UNKNOWN)),
        ("move left", rows((0, 5, 0, 1)), None, (YES, UNKNOWN, UNKNOWN)),
    ],
)
def test_a_pair_agrees_disagrees_or_cannot_be_judged(plan, written, moved, verdicts):
    found = compare_words(
        plan,
        None if written is None else written_motion(written, 1.0),
        None if moved is None else measured_motion(moved, 1.0),
    )
    assert tuple(found[pair] for pair in PAIRS) == verdicts
    assert len(disagreements(found)) == verdicts.count(False)


OPPOSITE = {"left": "right", "forward": "backward", "up": "down", "lift": "lower", "open": "close"}
OPPOSITE |= {second: first for first, second in OPPOSITE.items()}


def inverted(plan: str) -> str:
    return re.sub(r"\w+", lambda word: OPPOSITE.get(word[0], word[0]), plan)


class Liar:
    """Does as another policy and says the opposite."""

    def __init__(self, policy) -> None:
        self._policy = policy
        self.reset = policy.reset

    def act(self, observation) -> Decision | None:
        decision = self._policy.act(observation)
        return decision and dataclasses.replace(decision, plan=inverted(decision.plan))


@pytest.fixture(scope="module")
def honest_and_liar():
    """One episode each of the scripted policy and of its liar, on the twin."""
    with gym.make(TASKS["carrot_on_plate"].env_id, image_size=None) as env:
        policy = make_policy(env, PolicySpec("scripted"))
        return run_episode(env, policy, episode_id=4), run_episode(env, Liar(policy), episode_id=4)


def test_the_scripted_policy_does_what_it_says_and_one_that_says_the_opposite_does_not(honest_and_liar):
    honest, liar = honest_and_liar
    assert liar.steps == honest.steps
    assert [d["deltas"] for d in liar.decisions] == [d["deltas"] for d in honest.decisions], "the same motions"
    assert honest.words == {"decisions": len(honest.decisions), "said_written": 1, "written_moved": 1, "said_moved": 1}
    assert len(honest.decisions) >= 5
    assert liar.words == {"decisions": len(liar.decisions), "said_written": 0, "written_moved": 1, "said_moved": 0}


def test_the_summary_has_the_mean_share_of_the_episodes(honest_and_liar):
    summary = summarize(honest_and_liar)
    assert summary.overall.words["said_written"].mean == 50
    assert summary.overall.to_json()["words"]["written_moved"]["n"] == 2  # type: ignore[index]
    assert "50.0 % (9.5 to 90.5)" in format_table(summary)
    assert word_shares([dataclasses.replace(honest_and_liar[0], words=None)]) == {}
