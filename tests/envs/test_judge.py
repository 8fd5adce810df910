"""Each flag of the judge, on scenes built by hand, at both sides of its threshold.

Lengths in the comments are worked out by hand from SIMPLER's declared boxes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vlm2vla_sim.envs.judge import REST_STEPS, Judge, SuccessFlags, is_at_rest, is_settled, start_flags
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.types import Body, Pose, SceneState

MM = 0.001
START = (0.40, 0.10, 0.020)
TARGET = (0.35, -0.05, 0.003)


def about(axis: str, degrees: float) -> np.ndarray:
    """(4,) quaternion of a turn about a base axis."""
    half = np.radians(degrees) / 2
    return np.array([np.cos(half), *(np.sin(half) * np.eye(3)["xyz".index(axis)])])


def scene(
    task: str = "carrot_on_plate",
    *,
    source: tuple[float, ...] = START,
    target: tuple[float, ...] = TARGET,
    source_turn: np.ndarray | None = None,
    target_turn: np.ndarray | None = None,
    touching: tuple[str, ...] = (),
    grasped: bool = False,
    on_target: bool | None = None,
    on: bool | None = True,
    robot: bool | None = False,
) -> SceneState:
    spec = TASKS[task]
    still = np.array([1.0, 0, 0, 0])
    return SceneState(
        source=Body(
            spec.source.name,
            Pose(np.array(source), still if source_turn is None else source_turn),
            np.array(spec.source.extents),
        ),
        target=Body(
            spec.target.name,
            Pose(np.array(target), still if target_turn is None else target_turn),
            np.array(spec.target.extents),
        ),
        touching=frozenset(touching),
        grasped=grasped,
        on_target=on_target,
        touches_target=on,
        touches_robot=robot,
    )


def over(dx: float, dy: float, dz: float) -> tuple[float, float, float]:
    return (TARGET[0] + dx, TARGET[1] + dy, TARGET[2] + dz)


def verdict(now: SceneState, *, settled: SceneState | None = None, task: str = "carrot_on_plate") -> SuccessFlags:
    return Judge(TASKS[task], settled or scene(task)).judge(now)


# Where the source must be.

# Half the target's box in x, y and its length, plus 3 mm.
REACHES = {
    "spoon_on_towel": np.hypot(50, 50) + 3,
    "carrot_on_plate": np.hypot(55, 55) + 3,
    "stack_cube": np.hypot(15, 15) + 3,
    "eggplant_in_basket": np.hypot(65, 40) + 3,
}
# Half heights of source and target together, plus what the task grants.
HEIGHTS = {
    "spoon_on_towel": 13 + 5 + 20,
    "carrot_on_plate": 19 + 3 + 20,
    "stack_cube": 15 + 15 + 20,
    "eggplant_in_basket": 19 + 1 + 60,
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0.6, -0.8)])
def test_the_source_must_be_within_the_targets_half_diagonal_and_3_mm(task, direction):
    def at(millimetres: float) -> bool:
        dx, dy = np.array(direction) * millimetres * MM
        return verdict(scene(task, source=over(dx, dy, 0.02)), task=task).success

    assert at(0)
    assert at(REACHES[task] - 1)
    assert not at(REACHES[task] + 1)


@pytest.mark.parametrize("task", TASKS)
def test_the_source_must_be_above_the_target_but_not_float(task):
    def at(millimetres: float) -> bool:
        return verdict(scene(task, source=over(0, 0, millimetres * MM)), task=task).success

    assert at(HEIGHTS[task] - 1)
    assert not at(HEIGHTS[task] + 1)
    assert at(0.5)
    assert not at(0)
    assert not at(-0.5)


def test_the_targets_own_movement_does_not_matter_only_where_the_two_are_to_each_other():
    elsewhere = (0.20, 0.15, 0.30)
    above = (0.20, 0.15, 0.32)
    assert verdict(scene(source=above, target=elsewhere)).success


# SIMPLER turns the declared lengths by the settled rotation and keeps their signs: a box that is turned by 45 degrees
# about z measures (l - w) / sqrt 2 in one direction, and one on its side may have a negative height.


def test_a_target_that_lies_turned_has_simplers_signed_box():
    turned = about("z", 45)
    settled = scene("eggplant_in_basket", target_turn=turned)
    # (130 - 80, 130 + 80) / sqrt 2 = (35.36, 148.49): half diagonal 76.32, as before, for a turn keeps a length.
    near = scene("eggplant_in_basket", target_turn=turned, source=over(0.0783, 0, 0.02))
    far = scene("eggplant_in_basket", target_turn=turned, source=over(0.0803, 0, 0.02))
    assert verdict(near, settled=settled, task="eggplant_in_basket").success
    assert not verdict(far, settled=settled, task="eggplant_in_basket").success


def test_a_target_that_lies_tilted_reaches_less_far():
    # The plate on edge: (6, 110, -110): half diagonal 55.08, height -110, which asks for 55 mm less.
    settled = scene(target_turn=about("y", 90))

    def at(dx: float, dz: float) -> bool:
        return verdict(scene(source=over(dx * MM, 0, dz * MM)), settled=settled).success

    assert at(57, 0.5) is False, "gap = 0.5 + 55 - 19 = 36.5 mm is more than 20"
    lying = scene(target_turn=about("y", 90), source_turn=about("y", -90))

    # The carrot on its head as well: its height is +115, so that touching is at -55 + 57.5 = 2.5 mm.
    def both(dx: float, dz: float) -> bool:
        return verdict(scene(source=over(dx * MM, 0, dz * MM)), settled=lying).success

    assert both(57, 10)
    assert not both(59.2, 10)
    assert both(0, 21.5)
    assert not both(0, 23.5)


def test_a_source_that_lay_tilted_at_the_start_counts_with_its_settled_height():
    # The carrot's 115 mm and 38 mm, tilted by 30 degrees about y: -115/2 + 38 * 0.866 = -24.59 mm; half of it: -12.30.
    settled = scene(source_turn=about("y", 30))
    allowed = 3 - 12.30 + 20

    def at(millimetres: float, turn: np.ndarray | None = None) -> bool:
        return verdict(scene(source=over(0, 0, millimetres * MM), source_turn=turn), settled=settled).success

    assert at(allowed - 0.5)
    assert not at(allowed + 0.5)
    # How it is turned later changes nothing.
    assert at(allowed - 0.5, about("x", 90))
    assert not at(allowed + 0.5, about("x", 90))


# What it may touch.


@pytest.mark.parametrize(
    ("task", "may_touch"),
    [("spoon_on_towel", True), ("carrot_on_plate", False), ("stack_cube", False), ("eggplant_in_basket", True)],
)
def test_only_carrot_and_block_may_touch_nothing_but_the_target(task, may_touch):
    on = over(0, 0, 0.02)
    assert verdict(scene(task, source=on), task=task).success
    assert verdict(scene(task, source=on, touching=("table",)), task=task).success is may_touch


def test_a_backends_own_word_replaces_the_rule():
    assert verdict(scene(on_target=True)).success
    assert not verdict(scene(source=over(0, 0, 0.02), on_target=False)).success


# Partial credit.


def test_a_grasp_once_seen_stays_seen():
    judge = Judge(TASKS["carrot_on_plate"], scene())
    assert [judge.judge(scene(grasped=held)).grasped for held in (False, True, False, False)] == [
        False,
        True,
        True,
        True,
    ]


def test_a_grasp_is_consecutive_from_the_fifth_step_in_a_row_and_stays_so():
    def flags(*held: int) -> list[bool]:
        judge = Judge(TASKS["carrot_on_plate"], scene())
        return [judge.judge(scene(grasped=bool(one))).consecutive_grasp for one in held]

    assert flags(1, 1, 1, 1, 1, 0) == [False] * 4 + [True] * 2
    assert flags(1, 1, 1, 1, 0, 1, 1, 1, 1, 0) == [False] * 10


@pytest.mark.parametrize(
    ("source_mm", "target_mm", "correct", "wrong"),
    [
        (29, 0, False, False),
        (31, 0, True, False),
        (31, 32, False, True),
        (32, 31, True, False),
        (0, 31, False, True),
        (0, 29, False, False),
        (40, 40, False, False),
    ],
)
def test_an_object_has_moved_from_3_cm_on_and_the_one_that_moved_further_counts(source_mm, target_mm, correct, wrong):
    settled = scene(source=(0.0, 0.0, 0.02), target=(0.0, 0.0, 0.0))
    now = scene(source=(0.6 * source_mm * MM, -0.8 * source_mm * MM, 0.02), target=(0.0, target_mm * MM, 0.0))
    said = verdict(now, settled=settled)
    assert (said.moved_correct_object, said.moved_wrong_object) == (correct, wrong)


def test_a_distractor_that_moved_further_than_the_source_is_the_wrong_object():
    def beside(mm: float) -> tuple[Body, ...]:
        poses = (Pose(np.array([0.2, 0.2, 0.02]), about("z", 0)), Pose(np.array([0.5, mm * MM, 0.02]), about("z", 0)))
        return tuple(Body(f"other {k}", pose, np.full(3, 0.04)) for k, pose in enumerate(poses))

    def moved(source_mm: float, other_mm: float) -> tuple[bool, bool]:
        judge = Judge(TASKS["carrot_on_plate"], dataclasses.replace(scene(), others=beside(0)))
        source = (START[0] + source_mm * MM, START[1], START[2])
        said = judge.judge(dataclasses.replace(scene(source=source), others=beside(other_mm)))
        return said.moved_correct_object, said.moved_wrong_object

    assert moved(0, 31) == (False, True)
    assert moved(0, 29) == (False, False)
    assert moved(40, 31) == (True, False)
    assert moved(40, 41) == (False, True)


def test_lifting_is_not_moving():
    said = verdict(scene(source=(START[0], START[1], 0.3)))
    assert not said.moved_correct_object


def test_an_object_that_came_back_has_not_moved():
    judge = Judge(TASKS["carrot_on_plate"], scene())
    assert judge.judge(scene(source=(0.5, 0.1, 0.02))).moved_correct_object
    assert not judge.judge(scene()).moved_correct_object


# Success and letting go.


def test_released_is_success_with_an_open_hand():
    on = over(0, 0, 0.02)
    held, free, missed = scene(source=on, grasped=True), scene(source=on), scene()
    assert (verdict(held).success, verdict(held).released) == (True, False)
    assert (verdict(free).success, verdict(free).released) == (True, True)
    assert (verdict(missed).success, verdict(missed).released) == (False, False)


def test_success_is_of_this_step_only():
    judge = Judge(TASKS["carrot_on_plate"], scene())
    on = scene(source=over(0, 0, 0.02))
    assert [judge.judge(s).success for s in (scene(), on, scene(), on)] == [False, True, False, True]
    assert judge.judge(on).on_target


# Settled: released, at rest, and carried by the target alone.

ON = over(0, 0, 0.022)
STILL = (scene(source=ON),) * (REST_STEPS + 1)


def settled(*last: SceneState, before: tuple[SceneState, ...] = STILL, success: bool = True) -> bool | None:
    return is_settled([*before[: REST_STEPS + 1 - len(last)], *last], success=success)


def test_an_object_that_lies_on_the_target_alone_is_settled():
    assert is_settled(STILL, success=True) is True
    assert is_settled(STILL, success=False) is False


@pytest.mark.parametrize(
    "now",
    [
        scene(source=ON, on=False),
        scene(source=ON, robot=True),
        scene(source=ON, grasped=True),
        scene(source=ON, touching=("table",)),
        scene(source=ON, touching=("spoon",)),
    ],
    ids=["hangs above it", "leans on the gripper", "is held", "rests on the table too", "lies on something else too"],
)
def test_an_object_that_is_not_carried_by_the_target_alone_is_not_settled(now):
    assert settled(now) is False
    for task in TASKS:  # also where SIMPLER lets the object touch the table
        judge = Judge(TASKS[task], scene(task, source=ON))
        assert [judge.judge(now).settled for _ in range(REST_STEPS + 2)] == [False] * (REST_STEPS + 2)


@pytest.mark.parametrize(
    ("moved", "settles"),
    [((0.0009, 0, 0), True), ((0, 0, -0.0009), True), ((0.0011, 0, 0), False), ((0, 0, -0.0011), False)],
)
@pytest.mark.parametrize("body", ["source", "target"])
@pytest.mark.parametrize("age", range(1, REST_STEPS + 1))
def test_an_object_is_at_rest_when_neither_moved_a_millimetre_in_two_steps(moved, settles, body, age):
    place = {"source": ON, "target": TARGET}
    place[body] = tuple(np.add(place[body], moved))
    past = list(STILL)
    past[REST_STEPS - age] = scene(source=place["source"], target=place["target"])
    assert is_at_rest(past) is settles
    assert is_settled(past, success=True) is settles


@pytest.mark.parametrize(("degrees", "settles"), [(0.9, True), (-0.9, True), (1.1, False), (180.0, False)])
@pytest.mark.parametrize("flip", [1, -1])
def test_an_object_is_at_rest_when_it_did_not_turn_a_degree(degrees, settles, flip):
    """A quaternion and its negative are the same rotation."""
    assert is_at_rest([scene(source=ON, source_turn=flip * about("z", degrees)), *STILL[1:]]) is settles


def test_a_movement_longer_ago_is_forgotten_and_fewer_steps_are_no_rest():
    assert is_at_rest([scene(), *STILL])
    assert not is_at_rest(STILL[1:])
    judge = Judge(TASKS["carrot_on_plate"], scene())
    said = [judge.judge(scene(source=ON)) for _ in range(REST_STEPS + 2)]
    assert [flags.released for flags in said] == [True] * (REST_STEPS + 2)
    assert [flags.settled for flags in said] == [False] * REST_STEPS + [True] * 2


def test_an_object_in_flight_is_released_and_not_settled():
    """Falling from 1.9 cm above the target, in steps of a control step's length in slow motion."""
    judge = Judge(TASKS["stack_cube"], scene("stack_cube"))
    heights = [0.030 + 0.019 * share for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0)]
    said = [judge.judge(scene("stack_cube", source=over(0, 0, height), on=height < 0.0301)) for height in heights]
    assert all(flags.released for flags in said)
    assert [flags.settled for flags in said] == [False] * 7 + [True]


@pytest.mark.parametrize("unknown", [{"on": None}, {"robot": None}, {"on": None, "robot": None}])
def test_without_contacts_it_is_unknown_of_success_and_failure_alike(unknown):
    """Were a failure known and a success not, every rate would be 0."""
    for success in (True, False):
        assert settled(scene(source=ON, **unknown), success=success) is None
    assert start_flags(scene(**unknown))["settled"] is None
    assert start_flags(scene())["settled"] is False


def test_a_backends_own_verdict_counts_for_settled_too():
    judge = Judge(TASKS["carrot_on_plate"], scene(source=ON, on_target=False))
    assert [judge.judge(scene(source=ON, on_target=False)).settled for _ in range(3)] == [False] * 3
    judge = Judge(TASKS["carrot_on_plate"], scene(on_target=True))
    assert [judge.judge(scene(on_target=True)).settled for _ in range(3)][-1] is True
