"""A data set written as a LeRobot folder, version 2.1 or 3, is read back as it was; lerobot reads it as well."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from trajectory_fakes import PICK_AND_PLACE, SIZE, Shades, trajectory, write_folder

from vlm2vla_sim.cli import main
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.conventions import ACTION_NAMES
from vlm2vla_sim.data.datasets.lerobot_layout import ACTION, IMAGE, SUCCESS, read_annotations
from vlm2vla_sim.data.datasets.lerobot_write_v2 import LeRobotV2Writer
from vlm2vla_sim.data.datasets.open import check_images, open_dataset
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.data.exports.lerobot import VERSIONS, convert_dataset
from vlm2vla_sim.errors import DataError, RunFolderError
from vlm2vla_sim.video.encoder import write_video
from vlm2vla_sim.video.reader import VideoFrames

FRAMES = sum(steps for steps, *_ in PICK_AND_PLACE)


class Listed:
    """A data set in memory."""

    kind = "listed"

    def __init__(self, *found: Trajectory | Skipped) -> None:
        self._found = found

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Three recorded episodes, the first of which is solved before its end."""
    root = tmp_path_factory.mktemp("convert") / "set"
    write_folder(root, 3)
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    solved = [False] * 30 + [True] * (FRAMES - 30)
    pq.write_table(table.set_column(table.column_names.index(SUCCESS), SUCCESS, [solved]), path)
    return root


@pytest.fixture(scope="module")
def old(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("v21") / "set"
    convert_dataset(open_dataset(source), out, "lerobot-v2.1", license_name="mit")
    return out


def test_version_2_1_has_its_files_and_fields(old):
    info = json.loads((old / "meta/info.json").read_text())
    assert info["codebase_version"] == "v2.1"
    totals = ("total_episodes", "total_frames", "total_tasks", "total_videos", "total_chunks")
    assert [info[key] for key in totals] == [3, 3 * FRAMES, 2, 3, 1]
    where = {"episode_chunk": 0, "episode_index": 2}
    assert (old / info["data_path"].format(**where)).is_file()
    assert (old / info["video_path"].format(video_key=IMAGE, **where)).is_file()
    assert info["features"][ACTION] == {"dtype": "float32", "shape": [7], "names": list(ACTION_NAMES)}

    def lines(name: str) -> list[dict]:
        return [json.loads(line) for line in (old / "meta" / name).read_text().splitlines()]

    tasks = ["put carrot on plate", "put the spoon on the towel"]
    assert lines("tasks.jsonl") == [{"task_index": index, "task": task} for index, task in enumerate(tasks)]
    assert lines("episodes.jsonl")[1] == {"episode_index": 1, "tasks": [tasks[1]], "length": FRAMES}
    stats = lines("episodes_stats.jsonl")
    assert [line["episode_index"] for line in stats] == [0, 1, 2]
    assert set(stats[0]["stats"]) == set(info["features"])
    assert set(stats[0]["stats"][ACTION]) == {"min", "max", "mean", "std", "count"}
    assert stats[0]["stats"][ACTION]["max"][6] == 1.0
    assert np.shape(stats[0]["stats"][IMAGE]["mean"]) == (3, 1, 1)
    assert {path.name for path in (old / "meta").iterdir()} == {
        *("info.json", "tasks.jsonl", "episodes.jsonl", "episodes_stats.jsonl"),
    }
    assert 'license: "mit"' in (old / "README.md").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_converted_is_read_back_as_it_was(source, old, tmp_path, version):
    """Also from version 2.1, to which it was converted first."""
    convert_dataset(open_dataset(old), tmp_path / "out", version)
    pairs = zip(open_dataset(source), open_dataset(tmp_path / "out"), strict=True)
    for first, second in pairs:
        assert isinstance(first, Trajectory)
        assert isinstance(second, Trajectory)
        assert (first.name, first.instruction, first.fps) == (second.name, second.instruction, second.fps)
        assert np.array_equal(first.states, second.states)
        assert np.array_equal(first.actions, second.actions)
        assert np.array_equal(first.solved, second.solved)
        assert first.success == second.success
        check_images(second)
        assert np.array_equal(first.images[17], second.images[17]), "the video is copied, not encoded again"
    assert read_annotations(tmp_path / "out") == read_annotations(source)
    assert next(iter(open_dataset(tmp_path / "out"))).solved[:31].tolist() == [False] * 30 + [True]


def test_an_interrupted_conversion_goes_on(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    convert_dataset(open_dataset(source), out, "lerobot-v2.1", limit=1)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LeRobotV2Writer, "_write_tasks", crash)
        with pytest.raises(KeyboardInterrupt):
            convert_dataset(open_dataset(source), out, "lerobot-v2.1", resume=True)
    assert len(list(open_dataset(out))) == 1
    with pytest.raises(RunFolderError, match="--resume"):
        convert_dataset(open_dataset(source), out, "lerobot-v2.1")
    assert convert_dataset(open_dataset(source), out, "lerobot-v2.1", resume=True).episodes == 3
    assert [one.name for one in open_dataset(out)] == ["fake/00000", "fake/00001", "fake/00002"]
    assert len((out / "meta/episodes_stats.jsonl").read_text().splitlines()) == 3
    with pytest.raises(DataError, match="other columns, image size or frame rate"):
        convert_dataset(open_dataset(source), out, "lerobot-v3", resume=True)


def test_images_of_several_episodes_in_one_video_are_encoded_again(tmp_path):
    """A video that holds more than the episode is not copied."""
    count = 2 * FRAMES
    write_video(tmp_path / "both.mp4", (Shades(count)[index] for index in range(count)), size=SIZE, fps=5)
    later = VideoFrames(tmp_path / "both.mp4", first=FRAMES, count=FRAMES, fps=5)
    one = dataclasses.replace(trajectory(), images=later, success=True)
    convert_dataset(Listed(one), tmp_path / "out", "lerobot-v3")
    (found,) = open_dataset(tmp_path / "out")
    check_images(found)
    assert found.images[3].mean() == pytest.approx(later[3].mean(), abs=4)


def test_where_nobody_knows_whether_it_succeeded_there_is_no_column_that_says_so(tmp_path):
    unknown = [trajectory(name=f"bridge/{index}") for index in range(2)]
    known = dataclasses.replace(trajectory(name="known"), success=True)
    other = dataclasses.replace(trajectory(name="large"), images=Shades(FRAMES, size=(64, 64)))
    broken = Skipped("broken", "It has no images.")
    made = convert_dataset(Listed(broken, *unknown, known, other), tmp_path / "out", "lerobot-v3")
    assert made.episodes == 2
    assert [reason.split(";")[0] for reason in made.skipped] == [
        "It has no images.",
        "Whether it succeeded is known and of the first trajectory it is not, or the other way round",
        "Its images are 64 x 64 at 5 Hz",
    ]
    assert SUCCESS not in json.loads((tmp_path / "out/meta/info.json").read_text())["features"]
    assert [(one.name, one.success, one.solved) for one in open_dataset(tmp_path / "out")] == [
        ("bridge/0", None, None),
        ("bridge/1", None, None),
    ]
    odd = dataclasses.replace(trajectory(), images=Shades(FRAMES, size=(33, 48)))
    with pytest.raises(DataError, match="33 x 48; videos need even sides"):
        convert_dataset(Listed(odd), tmp_path / "odd", "lerobot-v3")
    assert not (tmp_path / "odd").exists()


def test_the_command_says_what_it_wrote_and_what_not(source, tmp_path, capsys):
    wrist = shutil.copytree(source, tmp_path / "two_cameras")
    info = json.loads((wrist / "meta/info.json").read_text())
    info["features"]["observation.images.wrist"] = info["features"][IMAGE]
    (wrist / "meta/info.json").write_text(json.dumps(info))
    arguments = ["convert", str(wrist), "--to", "lerobot-v2.1", "--out", str(tmp_path / "out"), "--limit", "2"]
    assert main.main(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 episodes.\nNot written: the columns observation.images.wrist.")


def lerobot_python() -> str:
    python = os.environ.get("VLM2VLA_LEROBOT_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import lerobot"], capture_output=True, check=False).returncode:
        pytest.skip("needs the package lerobot 0.4 (see test_lerobot_folder.py)")
    return python


def test_lerobot_converts_version_2_1_to_its_own(old, tmp_path):
    """lerobot 0.4 reads version 2.1 by its converter alone."""
    code = """
import sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset
convert_dataset("local/set", root=sys.argv[1], push_to_hub=False)
data = LeRobotDataset("local/set", root=sys.argv[1] + "/local/set")
item = data[len(data) - 1]
red = round(float(item["observation.images.image_0"][0, 0, 0]) * 255)
print(len(data), data.meta.total_episodes, item["task"], bool(item["next.success"]), abs(red - 80) <= 4)
"""
    shutil.copytree(old, tmp_path / "local/set")
    command = [lerobot_python(), "-c", code, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{3 * FRAMES} 3 put carrot on plate True True"
