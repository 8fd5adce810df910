"""Contacts are read by the original SIMPLER's thresholds, whichever body SAPIEN names first."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vlm2vla_sim.envs.simpler.contacts import Bodies, is_grasped, touches, touching

CARROT, PLATE, TABLE, LEFT, RIGHT, WRIST = range(6)
BODIES = Bodies(
    CARROT,
    target=frozenset({PLATE}),
    links=frozenset({LEFT, RIGHT, WRIST}),
    fingers=(LEFT, RIGHT),
    names={TABLE: "table"},
)
OPENING = (np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0]))


def contact(first: int, second: int, *impulses: tuple[float, float, float]) -> SimpleNamespace:
    """A contact of SAPIEN: two bodies and the impulse on the first at each point."""
    bodies = [SimpleNamespace(entity=SimpleNamespace(per_scene_id=number)) for number in (first, second)]
    return SimpleNamespace(bodies=bodies, points=[SimpleNamespace(impulse=np.array(i)) for i in impulses])


def test_resting_on_the_table_is_touching_it() -> None:
    assert touching([contact(CARROT, TABLE, (0, 0, 1e-3))], BODIES) == {"table"}
    assert touching([contact(TABLE, CARROT, (0, 0, -1e-3))], BODIES) == {"table"}


def test_target_and_robot_may_be_touched() -> None:
    found = [contact(CARROT, PLATE, (0, 0, 1e-3)), contact(LEFT, CARROT, (0, 1e-3, 0))]
    assert touching(found, BODIES) == frozenset()


@pytest.mark.parametrize(
    ("found", "target", "robot"),
    [
        ([], False, False),
        ([contact(PLATE, CARROT, (0, 0, 1e-3))], True, False),
        ([contact(CARROT, PLATE, (0, 0, 0.9e-6))], False, False),
        ([contact(CARROT, LEFT, (0, 1e-3, 0))], False, True),
        ([contact(WRIST, CARROT, (0, 1e-3, 0)), contact(CARROT, PLATE, (0, 0, 1e-3))], True, True),
        ([contact(PLATE, LEFT, (0, 0, 1.0)), contact(PLATE, TABLE, (0, 0, 1.0))], False, False),
    ],
)
def test_what_carries_it_is_told_from_what_it_only_lies_near(found, target, robot) -> None:
    assert touches(found, BODIES, BODIES.target) is target
    assert touches(found, BODIES, BODIES.links) is robot


def test_being_near_without_pressing_is_not_touching() -> None:
    assert touching([contact(CARROT, TABLE, (0, 0, 0.9e-6))], BODIES) == frozenset()
    assert touching([contact(CARROT, TABLE)], BODIES) == frozenset()
    assert touching([contact(PLATE, TABLE, (0, 0, 1.0))], BODIES) == frozenset()


def test_the_points_of_a_contact_are_added_before_they_are_weighed() -> None:
    assert touching([contact(CARROT, TABLE, (0, 0, 1.0), (0, 0, -1.0))], BODIES) == frozenset()


def squeeze(angle: float, left: float = 1e-3, right: float = 1e-3) -> list[SimpleNamespace]:
    """Both fingers pushed open, the left one `angle` degrees off its opening direction."""
    radians = np.radians(angle)
    push = (left * np.sin(radians), left * np.cos(radians), 0.0)
    return [contact(LEFT, CARROT, push), contact(CARROT, RIGHT, (0.0, right, 0.0))]


def test_a_grasp_is_both_fingers_pushed_open() -> None:
    assert is_grasped(squeeze(0), BODIES, OPENING)
    assert not is_grasped(squeeze(0)[:1], BODIES, OPENING)
    assert not is_grasped([], BODIES, OPENING)


@pytest.mark.parametrize(("angle", "grasped"), [(59, True), (61, False), (180, False)])
def test_a_finger_counts_within_60_degrees_of_its_opening_direction(angle: float, grasped: bool) -> None:
    assert is_grasped(squeeze(angle), BODIES, OPENING) is grasped


@pytest.mark.parametrize(("impulse", "grasped"), [(1.1e-6, True), (0.9e-6, False)])
def test_a_finger_counts_from_a_millionth_of_a_newton_second(impulse: float, grasped: bool) -> None:
    assert is_grasped(squeeze(0, right=impulse), BODIES, OPENING) is grasped
