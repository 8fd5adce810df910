"""BridgeData's own folders become trajectories in our convention; a pickle that wants more than data runs nothing."""

from __future__ import annotations

import enum
import os
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trajectory_fakes import motion

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import DataError, SettingError

DATE = "2022-05-01_12-00-00"


def write_trajectory(
    root: Path,
    number: int = 0,
    *,
    date: str = DATE,
    protocol: int = 4,
    steps: int = 12,
    as_dicts: bool = True,
    columns: Sequence[int] = range(7),
    others: dict[str, Any] | None = None,
) -> Path:
    """A folder as the robot's recorder leaves it, `steps` pictures long.

    columns: of an action; others: further entries of both pickles.
    """
    folder = root / f"toykitchen2/put/00/{date}/raw/traj_group0/traj{number}"
    for camera in ("images0", "images1"):
        (folder / camera).mkdir(parents=True)
        for step in range(steps):
            shade = Image.new("RGB", (32, 24), (200, 10 * step, 30))
            shade.save(folder / camera / f"im_{step}.jpg", quality=95)
    states, actions = motion()
    states = np.column_stack([states[:steps, :6], 0.2 + 0.88 * states[:steps, 6]]).astype(np.float64)
    listed = [
        {"actions": row, "policy_type": "teleop", **(others or {})} if as_dicts else row
        for row in actions[: steps - 1, columns].astype(float)
    ]
    times = [0.2 * n for n in range(steps)]
    dump(folder / "obs_dict.pkl", {"full_state": states, "time_stamp": times, **(others or {})}, protocol)
    dump(folder / "policy_out.pkl", listed, protocol)
    (folder / "lang.txt").write_text("put the carrot on the plate\nplace the carrot\nconfidence: 1.0\n")
    return folder


def dump(path: Path, value: object, protocol: int = 4) -> None:
    path.write_bytes(pickle.dumps(value, protocol=protocol))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("as_dicts", [True, False])
def test_a_trajectory_is_read_in_our_convention(tmp_path, protocol, as_dicts):
    write_trajectory(tmp_path, protocol=protocol, as_dicts=as_dicts)
    source = open_dataset(tmp_path)
    assert (source.kind, len(source)) == ("bridge_raw", 1)
    (one,) = source
    assert not isinstance(one, Skipped)
    states, actions = motion()
    assert one.instruction == "put the carrot on the plate"
    assert one.name == f"toykitchen2/put/00/{DATE}/raw/traj_group0/traj0"
    assert one.fps == 5
    assert np.allclose(one.states, states[:12], atol=1e-5)
    assert np.allclose(one.actions[:11], actions[:11], atol=1e-6)
    assert one.actions[11].tolist() == [0, 0, 0, 0, 0, 0, 1]  # nothing was commanded at the last picture: hold
    assert one.images[5].shape == (24, 32, 3)
    assert one.images[5].mean(axis=(0, 1)) == pytest.approx([200, 50, 30], abs=6)
    check_images(one)


def test_what_was_recorded_when_the_camera_was_late_is_shifted(tmp_path):
    write_trajectory(tmp_path, date="2021-07-01_12-00-00")
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    states, actions = motion()
    assert len(one) == 11
    assert np.allclose(one.states, states[1:12], atol=1e-5)
    assert np.allclose(one.actions, actions[:11], atol=1e-6)
    assert one.images[0].mean(axis=(0, 1))[1] == pytest.approx(10, abs=6)


@pytest.mark.parametrize(
    ("date", "outer", "late"),
    [
        ("2022-05-01_12-00-00", "2021-07-01_12-00-00", False),  # the date of a download, of a copy
        ("2021-07-01_12-00-00", "2022-05-01_12-00-00", True),
        ("2021-07-22_23-59-59", "raw", True),
        ("2021-07-23_00-00-00", "raw", False),
    ],
)
def test_the_date_is_that_of_the_folder_above_raw(tmp_path, monkeypatch, date, outer, late):
    folder = write_trajectory(tmp_path / outer, date=date)
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    assert len(one) == 12 - late
    # The same when the data set is opened from within it, where its path does not hold the date.
    monkeypatch.chdir(folder.parent)
    (here,) = open_dataset(Path("."))
    assert not isinstance(here, Skipped)
    assert np.array_equal(here.actions, one.actions)


@pytest.mark.parametrize("date", ["2022-05-01", "lmdb"])
def test_without_a_date_it_is_not_known_whether_the_camera_was_late(tmp_path, date):
    write_trajectory(tmp_path / "2022-05-01_12-00-00", date=date)
    (one,) = open_dataset(tmp_path)
    assert isinstance(one, Skipped)
    assert re.search(rf"time of its recording is not known: the folder above 'raw' is '{date}'", one.reason)


@pytest.mark.parametrize(
    ("columns", "rotations"),
    [((0, 1, 2, 5, 6), (5,)), ((0, 1, 2, 6), ())],
    ids=["3trans1rot", "3trans"],
)
@pytest.mark.parametrize("as_dicts", [True, False])
def test_the_robots_other_action_modes_are_read(tmp_path, columns, rotations, as_dicts):
    write_trajectory(tmp_path, columns=columns, as_dicts=as_dicts)
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    expected = np.zeros((11, 7))
    for column in (0, 1, 2, *rotations, 6):
        expected[:, column] = motion()[1][:11, column]
    assert np.abs(expected[:, [0, 5][: 1 + len(rotations)]]).max() > 0.01
    assert np.allclose(one.actions[:11], expected, atol=1e-6)
    assert one.actions[11].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_actions_in_one_array_are_read(tmp_path):
    folder = write_trajectory(tmp_path)
    dump(folder / "policy_out.pkl", motion()[1][:11].astype(float))
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    assert np.allclose(one.actions[:11], motion()[1][:11], atol=1e-6)


def test_a_first_action_that_nobody_commanded_does_not_close_the_gripper(tmp_path):
    folder = write_trajectory(tmp_path)
    actions = motion()[1][:11].astype(float)
    actions[0] = 0
    dump(folder / "policy_out.pkl", list(actions))
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    assert len(one) == 11
    assert one.actions[:, 6].min() == 1
    assert np.allclose(one.states, motion()[0][1:12], atol=1e-5)
    assert one.images[0].mean(axis=(0, 1))[1] == pytest.approx(10, abs=6)


class Note:
    """An object of somebody's program."""

    def __init__(self) -> None:
        self.text, self.more = "a note", [1, 2]


class Mode(enum.Enum):
    TELEOP = 1


class Counts(dict):
    """A dictionary's own class."""


OTHERS = {
    "note": Note(),
    "listed": [Note(), {"inside": Note()}],
    "mode": Mode.TELEOP,
    "by_mode": {Mode.TELEOP: 1, (1, 2): 2, "set": {3, (4, 5)}},
    "ordered": OrderedDict([("a", 1), ("b", OrderedDict(c=np.zeros(3)))]),
    "default": defaultdict(list, a=[1]),
    "counts": Counts(a=1),
    "text": "text",
    "texts": np.array(["teleop", "scripted"]),
    "scalar_text": np.array(["teleop"])[0],
    "objects": np.array([Note(), None, "text"], dtype=object),
    "time": np.array(["2022-05-01"], dtype="datetime64[D]"),
    "records": np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
    "complex": np.zeros(2, dtype=complex),
    "type": np.dtype("float32"),
    "class": Path,
    "path": Path("a/b"),
    "nothing": None,
    "function": os.getcwd,
    "range": range(3),
    "slice": slice(1, 2),
    "large": [2**62, -(2**63), 2**1000, -(2**3000)],
    "complex_number": 1j,
}


@pytest.mark.parametrize("key", OTHERS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_an_entry_that_nobody_needs_may_be_anything(tmp_path, key, protocol):
    write_trajectory(tmp_path, protocol=protocol, others={key: OTHERS[key], "\0after": 1.0})
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped), one.reason
    assert np.allclose(one.states, motion()[0][:12], atol=1e-5)
    assert np.allclose(one.actions[:11], motion()[1][:11], atol=1e-6)


@pytest.mark.parametrize("protocol", [2, 4])
def test_dictionaries_of_another_class_of_the_standard_library_are_dictionaries(tmp_path, protocol):
    folder = write_trajectory(tmp_path)
    states = np.column_stack([motion()[0][:12, :6], 0.2 + 0.88 * motion()[0][:12, 6]])
    dump(folder / "obs_dict.pkl", OrderedDict(full_state=states, qpos=Note()), protocol)
    dump(folder / "policy_out.pkl", [OrderedDict(actions=row) for row in motion()[1][:11].astype(float)], protocol)
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped), one.reason
    assert np.allclose(one.states, motion()[0][:12], atol=1e-5)
    assert np.allclose(one.actions[:11], motion()[1][:11], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("obs_dict.pkl", {"full_state": Note()}, r"names a callable, test_bridge_raw.Note. Nothing was run"),
        ("obs_dict.pkl", {"full_state": [[0.0] * 6 + [Note()]] * 12}, "names a callable, test_bridge_raw.Note"),
        (
            "obs_dict.pkl",
            {"full_state": np.array([["0"] * 7] * 12)},
            "^obs_dict.pkl was not read: .*holds an array of .*; expected plain numbers",
        ),
        ("obs_dict.pkl", Note(), "names a callable, test_bridge_raw.Note"),
        ("policy_out.pkl", Note(), "names a callable, test_bridge_raw.Note"),
        ("policy_out.pkl", [Note()] * 11, "names a callable, test_bridge_raw.Note"),
        (
            "policy_out.pkl",
            [{"actions": np.array([Note()] * 7)}] * 11,
            "^policy_out.pkl was not read: .*holds an array of 'O8'; expected plain numbers",
        ),
        ("policy_out.pkl", [{"actions": ["1"] * 7}] * 11, "does not contain rows of numbers"),
        ("policy_out.pkl", [{"actions": [True] * 7}] * 11, "does not contain rows of numbers"),
        ("policy_out.pkl", [{"actions": [0.0] * 7}] * 10 + [{"actions": [0.0] * 5}], "they differ in length"),
        ("policy_out.pkl", [], "12 states and 0 actions"),
    ],
)
def test_what_is_needed_and_is_no_number_is_named(tmp_path, name, content, reason):
    folder = write_trajectory(tmp_path)
    dump(folder / name, content)
    (one,) = open_dataset(tmp_path)
    assert isinstance(one, Skipped)
    assert re.search(reason, one.reason), one.reason


def test_a_camera_whose_images_are_all_black_is_absent(tmp_path):
    folder = write_trajectory(tmp_path)
    for step in range(12):
        Image.new("RGB", (32, 24), (0, 0, 0)).save(folder / f"images1/im_{step}.jpg")
    (one,) = open_dataset(tmp_path, DatasetOptions(picture="images1"))
    assert isinstance(one, Skipped)
    assert "The camera 'images1' is absent: its images are all black" in one.reason
    (other,) = open_dataset(tmp_path)
    assert not isinstance(other, Skipped)


@pytest.mark.parametrize(
    ("text", "instruction"),
    [("confidence: 1.0\nput it down\n", "put it down"), ("\nput it down", ""), ("confidence: 0.5", ""), ("", "")],
)
def test_a_confidence_is_no_instruction(tmp_path, text, instruction):
    (write_trajectory(tmp_path) / "lang.txt").write_text(text)
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    assert one.instruction == instruction


@pytest.mark.parametrize("date", [DATE, "2021-07-01_12-00-00"])
def test_a_trajectory_of_one_image_has_no_actions(tmp_path, date):
    write_trajectory(tmp_path, steps=1, date=date)
    (one,) = open_dataset(tmp_path)
    assert isinstance(one, Skipped)
    assert one.reason == "It has no actions."


class Hostile:
    """Would leave a mark if it were run."""

    def __reduce__(self):
        return os.mkdir, (os.environ["MARK"],)


class Sly:
    def __reduce__(self):
        return eval, ("__import__('os').mkdir(__import__('os').environ['MARK'])",)


@pytest.mark.parametrize("hostile", [Hostile(), Sly()])
@pytest.mark.parametrize("name", ["obs_dict.pkl", "policy_out.pkl"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_hostile_pickle_is_passed_over_and_nothing_in_it_is_run(tmp_path, monkeypatch, hostile, name, protocol):
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    write_trajectory(tmp_path / "data", 0)
    bad = write_trajectory(tmp_path / "data", 1)
    dump(bad / name, {"full_state": hostile} if name.startswith("obs") else [{"actions": hostile}], protocol)
    good, skipped = open_dataset(tmp_path / "data")
    assert not isinstance(good, Skipped)
    assert isinstance(skipped, Skipped)
    assert re.search(rf"{name} was not read: .*names a callable, .*Nothing was run", skipped.reason)
    assert not mark.exists()
    pickle.loads((bad / name).read_bytes())  # the same bytes, read as others read them
    assert mark.exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "policy_out.pkl").unlink(), "policy_out.pkl is missing"),
        (lambda folder: (folder / "obs_dict.pkl").write_bytes(b"\x80\x04]"), "obs_dict.pkl was not read: .*cut off"),
        (lambda folder: dump(folder / "obs_dict.pkl", {"qpos": [1.0]}), "has no 'full_state'"),
        (lambda folder: dump(folder / "obs_dict.pkl", {"full_state": [["a"]]}), "does not contain rows of numbers"),
        (lambda folder: dump(folder / "policy_out.pkl", {"actions": 1}), "contains a dict; expected a list"),
        (lambda folder: dump(folder / "policy_out.pkl", [{}] * 11), r"array of shape \(11,\); expected \(T, 7\)"),
        (lambda folder: dump(folder / "policy_out.pkl", [[0.0] * 7] * 3), "12 states and 3 actions"),
        (
            lambda folder: dump(folder / "policy_out.pkl", [[0.0] * 6] * 11),
            r"array of shape \(11, 6\); expected \(T, 7\)",
        ),
        (lambda folder: dump(folder / "policy_out.pkl", [[float("inf")] * 7] * 11), "not finite, first in frame 0"),
        (lambda folder: (folder / "images0/im_7.jpg").unlink(), "11 images in images0 and 12 states"),
        (lambda folder: (folder / "images0/im_7.jpg").write_bytes(b"\xff\xd8no"), "images0/im_7.jpg cannot be decoded"),
    ],
)
def test_a_broken_trajectory_is_passed_over_with_its_reason(tmp_path, spoil, reason):
    write_trajectory(tmp_path, 0)
    spoil(write_trajectory(tmp_path, 1))
    good, bad = open_dataset(tmp_path)
    assert not isinstance(good, Skipped)
    check_images(good)
    if isinstance(bad, Skipped):
        assert re.search(reason, bad.reason), bad.reason
    else:
        with pytest.raises(DataError, match=reason):
            check_images(bad)


def test_a_camera_that_is_not_there_is_named_with_those_that_are(tmp_path):
    write_trajectory(tmp_path)
    (one,) = open_dataset(tmp_path, DatasetOptions(picture="images3"))
    assert isinstance(one, Skipped)
    assert "'images3' is missing; available: images0, images1" in one.reason
    (other,) = open_dataset(tmp_path, DatasetOptions(picture="images1"))
    assert not isinstance(other, Skipped)


def test_another_convention_is_not_taken_for_bridges(tmp_path):
    write_trajectory(tmp_path)
    with pytest.raises(SettingError, match=r"convention is .vlm2vla., but raw BridgeData folders are always"):
        open_dataset(tmp_path, DatasetOptions(convention="vlm2vla"))


def test_a_trajectory_without_words_has_none(tmp_path):
    (write_trajectory(tmp_path) / "lang.txt").unlink()
    (one,) = open_dataset(tmp_path)
    assert not isinstance(one, Skipped)
    assert one.instruction == ""
