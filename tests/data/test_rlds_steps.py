"""Episodes of RLDS data sets as NumPy values, without TensorFlow: public schemas are read, everything else is named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trajectory_fakes import motion

from vlm2vla_sim.data.datasets.rlds_steps import read_steps, usual_camera
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError

OPEN_AT_THE_END = ((3, (0.02, 0.01, 0.0), -0.2, 1.0),)
CLOSED_AT_THE_END = ((2, (0.02, 0.0, 0.0), 0.0, 1.0), (2, (0.0, 0.0, -0.01), 0.0, 0.0))


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (shade, shade, shade)).save(file, "JPEG")
    return file.getvalue()


def orig(parts=OPEN_AT_THE_END, *, first: bool = True, last: bool = True, cameras=("image_0",)) -> list[dict[str, Any]]:
    """Steps as `bridge_orig` has them. first, last: whether the action of zeros is there that nobody commanded."""
    states, actions = motion(parts)
    theirs = np.column_stack([states[:, :6], 0.2 + 0.88 * states[:, 6]]).astype(np.float32)
    zero = np.zeros((1, 7), np.float32)
    actions = np.concatenate([zero[: int(first)], actions, zero[: int(last)]])
    theirs = np.concatenate([theirs[: int(first)], theirs, theirs[len(theirs) - int(last) :]])
    return [
        {
            "observation": {"state": state, **{key: jpeg(60 + 10 * index) for key in cameras}},
            "action": action,
            "language_instruction": b"put the carrot on the plate",
            "is_first": np.bool_(index == 0),
            "is_last": np.bool_(index == len(actions) - 1),
        }
        for index, (state, action) in enumerate(zip(theirs, actions, strict=True))
    ]


def oxe(parts=OPEN_AT_THE_END, **flags: bool) -> list[dict[str, Any]]:
    """The same as Open X-Embodiment's `bridge` 0.1.0 has them."""
    return [
        {
            "observation": {
                "state": step["observation"]["state"],
                "image": step["observation"]["image_0"],
                "natural_language_instruction": step["language_instruction"],
                "natural_language_embedding": np.zeros(512, np.float32),
            },
            "action": {
                "world_vector": step["action"][:3],
                "rotation_delta": step["action"][3:6],
                "open_gripper": np.bool_(step["action"][6]),
                "terminate_episode": np.float32(step["is_last"]),
            },
        }
        for step in orig(parts, **flags)
    ]


def read(steps, metadata=None, *, camera: str = "image_0", convention: str = "bridge") -> Trajectory:
    return read_steps(steps, metadata, name="set/0", camera=camera, fps=5.0, convention=convention)


def brightness(trajectory: Trajectory) -> list[int]:
    return [round(float(trajectory.images[index].mean())) for index in range(len(trajectory))]


@pytest.mark.parametrize(("make", "camera"), [(orig, "image_0"), (oxe, "image")])
@pytest.mark.parametrize(("parts", "gripper"), [(OPEN_AT_THE_END, [1, 1, 1, 1]), (CLOSED_AT_THE_END, [1, 1, 0, 0, 0])])
def test_the_actions_of_zeros_that_the_builder_adds_do_not_close_the_gripper(make, camera, parts, gripper):
    found = read(make(parts), camera=camera)
    states, actions = motion(parts)
    assert found.actions[:, 6].tolist() == gripper
    assert np.allclose(found.actions[:-1], actions, atol=1e-6)
    assert found.actions[-1, :6].tolist() == [0] * 6
    assert np.allclose(found.states[:-1], states, atol=1e-5)
    # The first image goes with its action; the last one shows the result, and stays.
    assert brightness(found) == [70 + 10 * index for index in range(len(states) + 1)]
    assert found.instruction == "put the carrot on the plate"


@pytest.mark.parametrize("make", [orig, oxe])
def test_what_was_commanded_at_the_ends_stays(make):
    found = read(make(CLOSED_AT_THE_END, first=False, last=False), camera="image_0" if make is orig else "image")
    assert np.allclose(found.actions, motion(CLOSED_AT_THE_END)[1], atol=1e-6)


def test_actions_of_zeros_in_the_middle_are_commands_to_hold_a_closed_gripper():
    parts = ((2, (0.02, 0.0, 0.0), 0.0, 1.0), (2, (0.0, 0.0, 0.0), 0.0, 0.0), (2, (0.0, 0.0, 0.01), 0.0, 1.0))
    assert read(orig(parts)).actions[:, 6].tolist() == [1, 1, 0, 0, 1, 1, 1]


def test_only_bridges_convention_has_actions_that_nobody_commanded():
    """A rotation vector's zeros may be meant."""
    steps = orig(first=True, last=True)
    found = read(steps, convention="vlm2vla")
    assert len(found) == len(steps)
    assert found.actions[[0, -1]].tolist() == [[0] * 7, [0] * 7]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_an_episode_in_which_nothing_was_commanded_is_named(count):
    steps = orig()
    with pytest.raises(DataError, match="None of its actions was commanded"):
        read(([steps[0], steps[-1]] * 3)[:count])


# Absent cameras -------------------------------------------------------------------------------------------------------

ALL = [f"image_{index}" for index in range(4)]
SOME_THERE = {"has_image_0": True, "has_image_1": np.bool_(False), "has_image_2": 0, "has_image_3": np.array(False)}
NONE_THERE = dict.fromkeys((f"has_image_{index}" for index in range(4)), np.bool_(False))


@pytest.mark.parametrize("camera", ALL[1:])
def test_a_camera_that_the_metadata_denies_is_not_delivered(camera):
    with pytest.raises(DataError, match=rf"'{camera}' is absent: has_{camera} is false.*image_0"):
        read(orig(cameras=ALL), SOME_THERE, camera=camera)


def test_a_camera_that_is_there_beside_absent_ones_is_read():
    assert len(read(orig(cameras=ALL), SOME_THERE)) == 4


@pytest.mark.parametrize("metadata", [NONE_THERE, {}, None, "text"])
def test_metadata_that_denies_every_camera_says_nothing_and_the_images_decide(metadata):
    """The builder looks in the wrong place: its flags are all false while the images are there."""
    steps = orig(cameras=ALL)
    for step in steps:
        step["observation"]["image_1"] = jpeg(0)
    assert len(read(steps, metadata)) == 4
    with pytest.raises(DataError, match="'image_1' is absent: its images are all black"):
        read(steps, metadata, camera="image_1")


def test_a_camera_that_saw_nothing_at_first_is_there():
    steps = orig()
    for step in steps[:3]:
        step["observation"]["image_0"] = jpeg(0)
    assert brightness(read(steps))[:2] == [0, 0]


@pytest.mark.parametrize(
    ("cameras", "usual"),
    [(["image_1", "image_0"], "image_0"), (["image", "image_1"], "image"), (["image_wrist"], "image_wrist")],
)
def test_the_usual_camera(cameras, usual):
    assert usual_camera(cameras) == usual


def test_one_of_several_unknown_cameras_is_not_chosen():
    assert usual_camera(["image_left", "image_right"]) == ""
    assert usual_camera([]) == ""


# Instructions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "metadata", "text"),
    [
        (b" put it down \n", {}, "put it down"),
        ("put it down", {"has_language": True}, "put it down"),
        (np.array(b"put it down", dtype=object), {}, "put it down"),
        (b"pi\xf1ata", {}, "pi�ata"),
        (b"", {"has_language": False}, ""),
        (b"placeholder", {"has_language": np.bool_(False)}, ""),
        (None, {}, ""),
    ],
)
def test_an_instruction(stored, metadata, text):
    steps = orig()
    for step in steps:
        step["language_instruction"] = stored
    assert read(steps, metadata).instruction == text


def test_an_instruction_that_is_no_text_is_named():
    steps = orig()
    for step in steps:
        step["language_instruction"] = np.zeros(512, np.int32)
    with pytest.raises(DataError, match=r"The instruction is array.*expected a text"):
        read(steps)


# Other schemas --------------------------------------------------------------------------------------------------------


def with_action(**changes: Any) -> list[dict[str, Any]]:
    steps = oxe()
    for step in steps:
        step["action"] |= changes
    return steps


def with_step(index: int, **changes: Any) -> list[dict[str, Any]]:
    steps = orig()
    steps[index] |= changes
    return steps


def without(key: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in step.items() if name != key} for step in orig()]


@pytest.mark.parametrize(
    ("steps", "camera", "reason"),
    [
        ([], "image_0", "It has no steps"),
        (with_action(gripper_closedness_action=0.0), "image", "dictionaries of gripper_closedness_action.*read are"),
        (with_action(open_gripper=0.4), "image", "open_gripper is 0.4; expected true or false"),
        (with_action(open_gripper=b"yes"), "image", "open_gripper is b'yes'; expected true or false"),
        (with_action(world_vector=np.zeros(2)), "image", r"world_vector contains .* \(1, 2\); expected \(T, 3\)"),
        (with_step(0, action={"world_vector": 1}), "image_0", "actions are dictionaries of world_vector; read are"),
        (with_step(2, action=oxe()[2]["action"]), "image_0", "actions are dictionaries, and one is a ndarray"),
        (with_step(1, action=np.zeros(6)), "image_0", "action does not contain rows of numbers: they differ in length"),
        (with_step(1, action=None), "image_0", "action does not contain rows of numbers"),
        (with_step(1, action=["0.1"] * 7), "image_0", "action does not contain rows of numbers"),
        (with_step(1, action=np.full(7, np.nan)), "image_0", "actions contain a value that is not finite"),
        (with_step(1, observation=None), "image_0", "Step 1 has no observation/state; step/observation holds a None"),
        (with_step(1, observation={}), "image_0", "Step 1 has no observation/state; step/observation holds nothing"),
        ([*orig()[:2], "text"], "image_0", "Step 2 has no action; step holds a str"),
        (without("action"), "image_0", "Step 0 has no action; step holds observation, language_instruction"),
        (orig(), "image_2", "Step 1 has no observation/image_2"),
        (orig(), "state", "state of step 1 is array.*expected an encoded image"),
    ],
)
def test_another_schema_is_named(steps, camera, reason):
    with pytest.raises(DataError, match=reason):
        read(steps, camera=camera)
