"""Why an episode failed: episodes that fail in each way on purpose, and the rules at both sides of their thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import gymnasium as gym
import numpy as np
import pytest
from fakes import Babbler, FaultyBackend, UnseeingBackend

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation import event_log
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.failures import (
    BORDER,
    DONE,
    DROP,
    LABELS,
    NEAR,
    STOPPED,
    Asked,
    EpisodeEvents,
    Moment,
    classify,
)
from vlm2vla_sim.evaluation.setup import widowx
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.language_action import LanguageActionPolicy
from vlm2vla_sim.policies.scripted import ScriptedPolicy
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier
from vlm2vla_sim.types import ActionChunk, Body, Decision, Outcome, Pose, SceneState, Stage

OPEN, CLOSED = 1, 0


class Arm:
    """The state of the arm and the scene, and rows that bring the gripper to a place."""

    def __init__(self, env: gym.Env) -> None:
        self._env = widowx(env)

    @property
    def scene(self) -> SceneState:
        return self._env.scene_state()

    @property
    def source(self) -> np.ndarray:
        return self.scene.source.pose.position

    @property
    def goal(self) -> np.ndarray:
        return self.scene.target.pose.position

    def to(self, place: np.ndarray, gripper: int) -> np.ndarray:
        """(1, 7) the row that moves the gripper to `place`, seen from its target; the gripper acts afterwards."""
        return np.array([[*(place - self._env.status.robot.target.position), 0, 0, 0, gripper]])

    def shift(self, dx: float, dy: float, dz: float, gripper: int) -> np.ndarray:
        return np.array([[dx, dy, dz, 0, 0, 0, gripper]])


Script = Callable[[Arm], Iterator[np.ndarray]]


class Motions:
    """Moves as a script says, after the scripted policy has grasped the object if asked to; then holds still."""

    def __init__(self, env: gym.Env, script: Script, *, grasp: bool) -> None:
        inner = widowx(env)
        self._see = inner.scene_state
        self._grasp = ScriptedPolicy(self._see, lambda: inner.status.robot, get_format("vlm2vla")) if grasp else None
        self._rows = script(Arm(env))
        self._told = OPEN

    def reset(self, instruction: str, seed: int = 0) -> None:
        if self._grasp is not None:
            self._grasp.reset(instruction, seed)

    def act(self, observation) -> Decision:
        if self._grasp is not None and not self._see().grasped:
            decision = self._grasp.act(observation)
            assert decision is not None
            return decision
        self._grasp, self._told = None, CLOSED if self._grasp else self._told
        rows = next(self._rows, np.array([[0, 0, 0, 0, 0, 0, self._told]]))
        self._told = int(rows[-1, 6])
        return Decision("move", "", "rows", ActionChunk(rows, "rows"))


class Stops:
    """Makes no decision."""

    ended = ""

    def reset(self, instruction: str, seed: int = 0) -> None:
        pass

    def act(self, observation) -> None:
        return None


def run(task: str, script: Script, *, grasp: bool = True, backend: str = "mujoco", **options):
    env = gym.make(TASKS[task].env_id, backend=backend, image_size=None, **options)
    with env:
        return run_episode(env, Motions(env, script, grasp=grasp), episode_id=0)


def lift(arm: Arm, by: float = 0.08) -> Iterator[np.ndarray]:
    yield arm.shift(0, 0, by, CLOSED)
    yield arm.shift(0, 0, 0, CLOSED)


def carry_over(arm: Arm, aside: tuple[float, float]) -> Iterator[np.ndarray]:
    """Move the held object over the target, or beside it by `aside` [m]."""
    for _ in range(2):
        dx, dy = (arm.goal - arm.source)[:2] + aside
        yield arm.shift(dx, dy, 0, CLOSED)
        yield np.repeat(arm.shift(0, 0, 0, CLOSED), 3, axis=0)  # The arm lags behind its target.


def close_beside(arm: Arm) -> Iterator[np.ndarray]:
    yield arm.to(arm.source + np.array([0, 0.055, 0.08]), OPEN)
    yield arm.shift(0, 0, -0.08, CLOSED)
    yield arm.shift(0, 0, 0.08, CLOSED)


def let_go_in_the_air(arm: Arm) -> Iterator[np.ndarray]:
    yield from lift(arm)
    yield arm.shift(0, 0, 0, OPEN)


def put_beside(arm: Arm) -> Iterator[np.ndarray]:
    yield from lift(arm)
    yield from carry_over(arm, (0.0, 0.09))
    yield arm.shift(0, 0, -0.075, CLOSED)
    yield arm.shift(0, 0, 0, OPEN)
    yield arm.shift(0, 0, 0.1, OPEN)


def release_high_and_askew(arm: Arm) -> Iterator[np.ndarray]:
    yield from lift(arm, 0.1)
    yield from carry_over(arm, (0.0135, 0.0))
    yield arm.shift(0, 0, 0, OPEN)


def hold_above_the_target(arm: Arm) -> Iterator[np.ndarray]:
    yield from lift(arm)
    yield from carry_over(arm, (0.0, 0.0))


@pytest.mark.parametrize(
    ("label", "script", "grasp"),
    [
        ("missed_grasp", close_beside, False),
        ("dropped", let_go_in_the_air, True),
        ("placed_outside", put_beside, True),
        ("toppled_after_release", release_high_and_askew, True),
        ("not_released", hold_above_the_target, True),
    ],
)
def test_a_stack_of_cubes_that_fails_on_the_twin_is_labelled_by_what_happened(label, script, grasp):
    result = run("stack_cube", script, grasp=grasp)
    assert result.outcome is Outcome.FAILURE
    assert result.failure == label


@pytest.mark.parametrize(("task", "options"), [("stack_cube", {}), ("carrot_on_plate", {"distractors": 2})])
def test_a_policy_that_moves_another_object_is_told_so(task, options):
    """The block that is to be stacked on, or a distractor."""
    with gym.make(TASKS[task].env_id, image_size=None, **options) as env:
        inner = widowx(env)

        def mistaken() -> SceneState:
            scene = inner.scene_state()
            wrong = scene.others[0] if scene.others else scene.target
            goal = scene.target if scene.others else scene.source
            return dataclasses.replace(scene, source=wrong, target=goal, grasped=_near(inner, wrong))

        policy = ScriptedPolicy(mistaken, lambda: inner.status.robot, get_format("vlm2vla"))
        result = run_episode(env, policy, episode_id=0)
    assert result.failure == "wrong_object"
    assert not result.moved_correct_object


def _near(env, body) -> bool:
    """Whether the gripper is closed around a body: the scene tells it of the source only."""
    robot = env.status.robot
    return robot.gripper < 0.9 and bool(np.linalg.norm(robot.tcp.position - body.pose.position) < 0.03)


# Without physics.


def push_forward(arm: Arm) -> Iterator[np.ndarray]:
    while True:
        yield arm.shift(0.05, 0, 0, OPEN)


def hover(arm: Arm) -> Iterator[np.ndarray]:
    yield arm.to(arm.source + np.array([0, 0, 0.05]), OPEN)


@pytest.mark.parametrize(
    ("label", "script"),
    [("workspace", push_forward), ("out_of_steps", hover), ("never_approached", lambda arm: iter(()))],
)
def test_an_arm_that_never_closes_its_gripper_ran_into_a_limit_or_out_of_steps(label, script):
    assert run("carrot_on_plate", script, grasp=False, backend="point").failure == label


def point_env(backend: str = "point"):
    return gym.make(TASKS["carrot_on_plate"].env_id, backend=backend, image_size=(48, 64))


def test_a_policy_that_stops_gave_up_and_one_that_babbles_has_parse_errors():
    assert run_episode(point_env(), Stops()).failure == "gave_up"
    assert run_episode(point_env(), Babbler()).failure == "parse_errors"


def loop(verifier: FakeVerifier) -> LanguageActionPolicy:
    answers = {"subtasks": ["1. grasp the carrot\n2. put the carrot on the plate"]}
    model = FakeTextModel({**answers, "plan": ["move up"], "action": ["[[0, 0, 1, 1]]"]})
    return LanguageActionPolicy(model, get_format("vlm2vla"), verifier)


def test_a_verifier_that_passes_what_was_not_done_was_too_early():
    assert run_episode(point_env(), loop(FakeVerifier((True,)))).failure == "verifier_too_early"
    gave_up = run_episode(point_env(), loop(FakeVerifier((False,))))
    assert gave_up.reason.startswith("gave up")
    assert gave_up.failure == "gave_up"


def test_a_verifier_that_never_passes_what_was_done_is_told_so():
    class Unpassed(Motions):
        """Holds the object, and its verifier says "retry" all the time."""

        def act(self, observation) -> Decision:
            return dataclasses.replace(
                super().act(observation), subtask="grasp the carrot", stages=(Stage("verify", "retry"),)
            )

    with point_env() as env:
        assert run_episode(env, Unpassed(env, lift, grasp=True)).failure == "verifier_never"


def test_a_success_a_fault_and_an_unknown_scene_have_no_label():
    assert run_episode(point_env(), "scripted").failure is None
    fault = run_episode(point_env(f"fakes:{FaultyBackend.__name__}"), "hold", episode_id=1)
    assert (fault.outcome, fault.failure) == (Outcome.ERROR, None)
    unknown = run_episode(point_env(f"fakes:{UnseeingBackend.__name__}"), "hold")
    assert (unknown.outcome, unknown.failure) == (Outcome.UNKNOWN, None)


def test_distances_and_places_are_those_of_the_declared_boxes_in_their_own_axes():
    half = np.sqrt(0.5)
    quarter, upright = (half, 0, 0, half), (half, half, 0, 0)  # about z; about x: the box's y axis points up
    extents = np.array([0.10, 0.02, 0.04])
    box = [Body("box", Pose(np.array([0.3, 0, 0]), np.array(q)), extents) for q in ((1, 0, 0, 0), quarter, upright)]
    points = np.array([[0.4, 0.0, 0.0]] * 3)
    assert event_log._distances(points, box).round(9).tolist() == [0.05, 0.09, 0.05]
    assert event_log._distances(np.array([[0.3, 0.04, 0.0]] * 3), box).round(9).tolist() == [0.03, 0.0, 0.02]

    def over(x: float, y: float, z: float = 0.05) -> list[bool]:
        above = [Body("it", Pose(np.array([0.3 + x, y, z]), np.array([1.0, 0, 0, 0])), extents)] * 3
        return event_log._are_over(above, box).tolist()

    assert over(0.049, 0.009) == [True, False, True]
    assert over(0.009, 0.049) == [False, True, False]
    assert over(0.0, 0.019) == [False, True, True]
    assert over(0.0, 0.0, -0.05) == [False] * 3


# The rules, at both sides of their thresholds.

FAR = Moment(distance=0.2, height=0.0, over_target=False, grasped=False, told_closed=False)
CLOSING = dataclasses.replace(FAR, distance=0.01, told_closed=True)
HELD = dataclasses.replace(CLOSING, grasped=True)
UP = dataclasses.replace(HELD, height=0.05)
OVER = dataclasses.replace(UP, over_target=True)
LEFT = FAR


def label(*moments: Moment, asked: tuple[Asked, ...] = (), goal: float = 0.0, ended: str = "") -> str:
    return classify(EpisodeEvents((FAR, *moments), asked, goal, ended))


def at(moment: Moment, **values) -> Moment:
    return dataclasses.replace(moment, **values)


@pytest.mark.parametrize(
    ("expected", "moments"),
    [
        ("never_approached", [at(FAR, distance=NEAR + 1e-6)]),
        ("out_of_steps", [at(FAR, distance=NEAR)]),
        ("missed_grasp", [at(CLOSING, distance=NEAR)]),
        ("never_approached", [at(CLOSING, distance=NEAR + 1e-6)]),
        ("missed_grasp", [HELD, at(CLOSING, height=0.0)]),  # slipped before it was lifted
        ("out_of_steps", [HELD]),
        ("out_of_steps", [HELD, UP]),
        ("not_released", [HELD, UP, OVER]),
        ("dropped", [HELD, UP, at(FAR, told_closed=True)]),
        ("dropped", [HELD, OVER, at(FAR, told_closed=True)]),
        ("dropped", [HELD, UP, at(HELD, height=DROP + 1e-6), LEFT]),
        ("placed_outside", [HELD, UP, at(HELD, height=DROP), LEFT]),
        ("wrong_target", [HELD, UP, at(HELD, height=DROP, over_other=True), LEFT]),
        ("dropped", [HELD, UP, at(HELD, height=DROP + 1e-6, over_other=True), LEFT]),
        ("toppled_after_release", [HELD, UP, at(OVER, over_other=True), LEFT]),
        ("toppled_after_release", [HELD, UP, OVER, LEFT]),
        ("toppled_after_release", [HELD, UP, OVER, LEFT, HELD, FAR]),  # a later attempt that lifts nothing
        ("toppled_after_release", [HELD, UP, at(HELD, on_target=True), LEFT]),  # askew, but judged to be on it
        ("toppled_after_release", [HELD, UP, HELD, at(LEFT, on_target=True), LEFT]),
        ("placed_outside", [HELD, UP, at(OVER, on_target=True), HELD, LEFT]),
        ("placed_outside", [HELD, UP, OVER, LEFT, HELD, UP, HELD, LEFT]),  # a later one that does
        ("not_released", [HELD, UP, at(OVER, grasped=False), OVER]),  # contacts come and go
        ("dropped", [HELD, UP, at(OVER, grasped=False, distance=0.03), at(OVER, grasped=False)]),
        ("wrong_object", [CLOSING, at(FAR, moved_wrong=True)]),
        ("missed_grasp", [at(CLOSING, moved_wrong=True), FAR]),  # it was brought back
        ("wrong_object", [at(CLOSING, lifted_other=True), FAR]),  # lifted, and put down where it was
        ("placed_outside", [HELD, UP, HELD, at(LEFT, moved_wrong=True)]),
    ],
)
def test_what_happened_last_to_a_lifted_object_decides_else_how_far_the_arm_got(expected, moments):
    assert label(*moments) == expected


def test_an_object_that_is_let_go_beside_a_high_target_is_dropped_from_that_height_on():
    beside = at(HELD, height=0.05)
    assert label(HELD, UP, beside, LEFT) == "dropped"
    assert label(HELD, UP, beside, LEFT, goal=0.04) == "placed_outside"
    assert label(HELD, UP, beside, LEFT, goal=0.02 - 1e-6) == "dropped"
    assert label(HELD, UP, at(HELD, height=DROP + 1e-6), LEFT, goal=-0.1) == "dropped", "the start is higher"


def test_shares_of_steps_and_decisions_count_from_their_thresholds():
    border = at(FAR, at_border=True)
    steps = 20
    stopped = [border] * int(BORDER * steps)
    assert label(*stopped, *[FAR] * (steps - len(stopped))) == "workspace"
    assert label(*stopped[1:], *[FAR] * (steps - len(stopped) + 1)) == "never_approached"
    read, unread = Asked(True), Asked(False)
    assert label(HELD, UP, LEFT, asked=(read, unread)) == "parse_errors"
    assert label(HELD, UP, LEFT, asked=(read, read, unread)) == "dropped"


def test_answers_of_the_verifier_count_where_the_truth_is_known():
    again, late = Asked(True, False, False), Asked(True, False, True)
    early, passed, carried = Asked(True, True, False), Asked(True, True, True), Asked(True, True, None)
    assert label(HELD, UP, asked=(late, again, late)) == "verifier_never"
    assert label(HELD, UP, asked=(late, again)) == "out_of_steps"
    assert label(HELD, UP, asked=(late, late, passed)) == "out_of_steps", "it was passed in the end"
    assert label(CLOSING, asked=(early, again)) == "verifier_too_early"
    assert label(CLOSING, asked=(carried, passed)) == "missed_grasp"
    assert label(HELD, UP, LEFT, asked=(early,)) == "dropped", "the object was lifted all the same"
    assert label(HELD, UP, ended=DONE) == "verifier_too_early"
    assert label(HELD, UP, ended=STOPPED) == "gave_up"
    assert label(HELD, UP, HELD, LEFT, ended=DONE) == "placed_outside"


def test_every_label_is_named_for_people():
    assert all(name and not name[0].isupper() and "_" not in name for name in LABELS.values())
