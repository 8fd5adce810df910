"""BridgeData's own folders become trajectories in our convention; a pickle that wants more than data runs nothing."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trajectory_fakes import motion

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import DataError, SettingError

DATE = "2022-05-01_12-00-00"


def write_trajectory(
    root: Path, number: int = 0, *, date: str = DATE, protocol: int = 4, steps: int = 12, as_dicts: bool = True
) -> Path:
    """A folder as the robot's recorder leaves it, `steps` pictures long."""
    folder = root / f"toykitchen2/put/00/{date}/raw/traj_group0/traj{number}"
    for camera in ("images0", "images1"):
        (folder / camera).mkdir(parents=True)
        for step in range(steps):
            shade = Image.new("RGB", (32, 24), (200, 10 * step, 30))
            shade.save(folder / camera / f"im_{step}.jpg", quality=95)
    states, actions = motion()
    states = np.column_stack([states[:steps, :6], 0.2 + 0.88 * states[:steps, 6]]).astype(np.float64)
    listed = [
        {"actions": row, "policy_type": "teleop"} if as_dicts else row for row in actions[: steps - 1].astype(float)
    ]
    dump(folder / "obs_dict.pkl", {"full_state": states, "time_stamp": [0.2 * n for n in range(steps)]}, protocol)
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
