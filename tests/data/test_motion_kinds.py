"""Each kind of motion has its name: told from gripper, path and contact, also when the arm shakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trajectory_fakes import CLOSED, OPEN, PICK_AND_PLACE, motion, trajectory

from vlm2vla_sim.data.relabel.kinds import kinds_in
from vlm2vla_sim.data.relabel.labels import from_json, to_json
from vlm2vla_sim.data.relabel.path import reached_path
from vlm2vla_sim.data.relabel.recorded import MotionRules
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.language.formats.grid import Resolution

DOWN, UP, STAY = (0.0, 0.0, -0.02), (0.0, 0.0, 0.02), (0.0, 0.0, 0.0)
ABOVE, LOWER, GRASP = (4, (0.02, 0.01, 0.0), 0.0, OPEN), (5, DOWN, 0.0, OPEN), (4, STAY, 0.0, CLOSED)
RELEASE, LEAVE, END = (4, STAY, 0.0, OPEN), (4, UP, 0.0, OPEN), (3, STAY, 0.0, OPEN)


def kinds(*parts, **options):
    rules = options.pop("rules", None)
    return [phase.kind for phase in relabel(trajectory(parts, **options), rules).phases]


def moves(steps, *move, gripper=CLOSED, yaw=0.0):
    return steps, move, yaw, gripper


@pytest.fixture(scope="module")
def benchmark():
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import awkward_motion
    import motion_phases

    yield awkward_motion, motion_phases
    patch.undo()


def test_awkward_and_noisy_motion_is_named_rightly(benchmark):
    awkward_motion, motion_phases = benchmark
    named, found, tilts = [], [], 0
    for number in range(36):
        one = awkward_motion.awkward(0, number)
        right, said, _ = motion_phases.judge(one, LabelingRules())
        named, found = named + right, found + said
        tilts += motion_phases.taught_tilts(one, LabelingRules())
    assert np.mean(named) >= 0.95
    assert np.mean(found) >= 0.95
    assert tilts <= 36 / 3  # before they were smoothed, five a trajectory


def test_a_pick_and_place_has_its_kinds_and_keeps_them_in_a_file():
    labelled = relabel(trajectory())
    assert [phase.kind for phase in labelled.phases] == ["reach", "grasp", "lift", "carry", "place", "retreat"]
    line = to_json(labelled)
    assert [phase.kind for phase in from_json(line, labelled.trajectory).phases] == [p["kind"] for p in line["phases"]]
    for phase in line["phases"]:
        del phase["kind"]  # a label set of an earlier version
    assert {phase.kind for phase in from_json(line, labelled.trajectory).phases} == {""}


@pytest.mark.parametrize(
    ("instruction", "aside", "kind"),
    [
        ("do it", (0.02, 0.0, 0.0), "push"),
        ("do it", (0.0, 0.02, 0.0), "push"),
        ("do it", (-0.02, 0.005, 0.0), "pull"),
        ("close the drawer", (0.02, 0.0, 0.0), "arc"),
        ("sweep the beans together", (0.02, 0.0, 0.0), "sweep"),
    ],
)
@pytest.mark.parametrize("fingers", [OPEN, CLOSED])
def test_an_empty_gripper_that_moves_along_the_table_is_in_contact(instruction, aside, kind, fingers):
    close = [(4, STAY, 0.0, CLOSED)] if fingers == CLOSED else []
    parts = [ABOVE, *close, moves(5, *DOWN, gripper=fingers), moves(5, *aside, gripper=fingers)]
    found = kinds(*parts, moves(4, *UP, gripper=fingers), instruction=instruction, held=0.0)
    assert found[-2:] == [kind, "retreat"]
    assert set(found[:-2]) == {"reach"}
    labelled = relabel(trajectory(parts, instruction=instruction, held=0.0))
    assert labelled.subtasks == (instruction,)


def test_a_lift_straight_up_is_a_lift_and_one_that_is_let_go_up_there_and_tried_again_is_a_miss():
    up, down = moves(5, *UP), moves(5, *DOWN)
    assert kinds(ABOVE, LOWER, GRASP, up) == ["reach", "grasp", "lift"]
    assert kinds(ABOVE, LOWER, GRASP, up, RELEASE, END)[:4] == ["reach", "grasp", "lift", "release"]
    assert kinds(ABOVE, LOWER, GRASP, up, down, RELEASE, LEAVE) == ["reach", "grasp", "lift", "place", "retreat"]
    again = kinds(ABOVE, LOWER, GRASP, up, RELEASE, LOWER, GRASP, up)
    assert again == ["reach", "grasp", "release", "regrasp", "lift"]


def test_what_is_held_and_not_lifted_is_pulled_turned_or_wiped():
    start = (ABOVE, LOWER, GRASP)
    assert kinds(*start, moves(4, -0.02, 0, 0), RELEASE, LEAVE)[2:] == ["pull", "release", "retreat"]
    assert kinds(*start, moves(1, 0.02, 0, 0), RELEASE, LEAVE)[2:] == ["push", "release", "retreat"], "2 cm are said"
    assert kinds(*start, moves(5, 0, 0, 0, yaw=0.15), RELEASE, LEAVE)[2:] == ["turn", "release", "retreat"]
    strokes = [moves(5, 0, sign * 0.02, 0) for sign in (1, -1, 1, -1)]
    labelled = relabel(trajectory((*start, *strokes, RELEASE, LEAVE), instruction="wipe the table"))
    assert [phase.kind for phase in labelled.phases][2:] == ["wipe", "release", "retreat"]
    assert labelled.phases[2].plan == "wipe to and fro, left and right"
    assert labelled.phases[2].chunk.text == "[[0, 10, 0, 0], [0, -10, 0, 0], [0, 10, 0, 0], [0, -10, 0, 0]]"


def test_a_cloth_that_the_fingers_nearly_close_on_is_held():
    over = (moves(4, 0.02, 0, 0.02), moves(4, 0.02, 0, -0.02))
    parts = (ABOVE, LOWER, GRASP, *over, RELEASE, LEAVE)
    assert kinds(*parts, held=0.03, instruction="do it") == ["reach", "grasp", "fold", "release", "retreat"]
    assert "fold" not in kinds(*parts, held=0.0, instruction="do it"), "closed to the end, it holds nothing"


def test_a_pause_is_a_phase_of_its_own_or_none():
    parts = (ABOVE, (8, STAY, 0.0, OPEN), *PICK_AND_PLACE[1:])
    labelled = relabel(trajectory(parts))
    assert [phase.kind for phase in labelled.phases][:3] == ["reach", "pause", "grasp"]
    pause = labelled.phases[1]
    assert (pause.start, pause.stop, pause.plan, pause.chunk.text) == (
        4,
        12,
        "wait, with the gripper open",
        "[[0, 0, 0, 1]]",
    )
    without = relabel(trajectory(parts), LabelingRules(kinds=MotionRules(leave_out_pauses=True)))
    assert [phase.chunk.text for phase in without.phases] == [
        phase.chunk.text for phase in labelled.phases if phase.kind != "pause"
    ]
    assert (without.phases[1].kind, without.phases[1].start) == ("grasp", 4)


def test_no_corner_is_cut():
    labelled = relabel(
        trajectory(
            (
                moves(4, 0.02, 0, 0, gripper=OPEN),
                moves(3, 0, 0.02, 0, gripper=OPEN),
                moves(5, 0, 0, -0.022, gripper=OPEN),
                END,
            )
        )
    )
    assert [phase.chunk.text for phase in labelled.phases] == ["[[8, 0, 0, 1], [0, 6, 0, 1]]", "[[0, 0, -11, 1]]"]


def test_small_motions_are_said_in_millimetres_where_the_text_can():
    parts = (moves(2, 0, 0.004, 0, gripper=OPEN), END)
    (phase,) = relabel(trajectory(parts), LabelingRules(resolution=Resolution(0.001, 1.0))).phases
    assert phase.plan == "move 8 mm left, with the gripper open"
    assert phase.chunk.text == "[[0, 0.8, 0, 1]]"
    (phase,) = relabel(trajectory(parts)).phases
    assert phase.chunk.text == "[[0, 1, 0, 1]]", "a text of whole centimetres cannot say it"


def test_where_the_arm_rests_its_target_is_said():
    """Fingers that press on the table stay 5 mm above what they were told; a centimetre of it would be lost."""
    states, actions = motion((*PICK_AND_PLACE[1:],))
    pressing = states.copy()
    pressing[6:9, 2] += 0.0055
    recorded = trajectory(PICK_AND_PLACE[1:])
    object.__setattr__(recorded, "states", pressing)
    first = relabel(recorded).phases[0].chunk.deltas
    assert first[:, 2].sum() == pytest.approx(-0.10)
    useless = np.array(actions)
    useless[:, :3] = 0.0
    object.__setattr__(recorded, "actions", useless)
    assert np.array_equal(reached_path(recorded).aims, reached_path(recorded).positions)


def test_verbs_tell_kinds_in_any_form():
    assert kinds_in("Wiping the table, then folded the towel") == ("wipe", "fold")
    assert kinds_in("pushes the can and twisted the knob") == ("push", "turn")
    assert kinds_in("put the carrot on the plate") == ()
