"""Folders we write are LeRobot's, field by field; what we read is what was written; what is broken is passed over."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from trajectory_fakes import PICK_AND_PLACE, SIZE, Shades, motion, trajectory, words, write_folder

from vlm2vla_sim.data.datasets import lerobot_write
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.conventions import ACTION_NAMES, CONVENTIONS, STATE_NAMES, convert
from vlm2vla_sim.data.datasets.lerobot_layout import (
    ACTION,
    IMAGE,
    STATE,
    combine_stats,
    number_stats,
    read_annotations,
)
from vlm2vla_sim.data.datasets.lerobot_read import Columns, LeRobotFolder
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import DataError, ExtensionError, UnknownNameError
from vlm2vla_sim.video.encoder import write_video

FRAMES = sum(steps for steps, *_ in PICK_AND_PLACE)


def video(root: Path, index: int = 0) -> Path:
    return root / f"videos/{IMAGE}/chunk-000/file-{index:03d}.mp4"


def rewrite_info(root: Path, **changes) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("lerobot") / "set"
    write_folder(root, 3)
    return root


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(written, tmp_path / "set"))


# Written --------------------------------------------------------------------------------------------------------------


def test_the_folder_has_the_files_and_fields_of_lerobot_v3(written):
    info = json.loads((written / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["robot_type"], info["chunks_size"]) == (5, "widowx", 1000)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 3 * FRAMES, 2)
    assert info["splits"] == {"train": "0:3"}
    assert info["data_path"].format(chunk_index=0, file_index=0) == "data/chunk-000/file-000.parquet"
    assert (written / info["video_path"].format(video_key=IMAGE, chunk_index=0, file_index=2)).is_file()
    assert info["features"][ACTION] == {"dtype": "float32", "shape": [7], "names": list(ACTION_NAMES)}
    assert info["features"][STATE] == {"dtype": "float32", "shape": [7], "names": list(STATE_NAMES)}
    assert info["features"][IMAGE]["shape"] == [*SIZE, 3]
    assert info["features"][IMAGE]["info"]["video.codec"] == "h264"
    data = pq.read_table(written / "data/chunk-000/file-001.parquet")
    assert {name: str(data.schema.field(name).type) for name in data.column_names} == {
        ACTION: "fixed_size_list<element: float>[7]",
        STATE: "fixed_size_list<element: float>[7]",
        "next.success": "bool",
        "timestamp": "float",
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
    }
    assert data["index"].to_pylist() == list(range(FRAMES, 2 * FRAMES))
    assert data["timestamp"].to_pylist()[:3] == pytest.approx([0.0, 0.2, 0.4])
    tasks = pq.read_table(written / "meta/tasks.parquet")
    assert tasks.to_pylist() == [
        {"task_index": 0, "task": "put carrot on plate"},
        {"task_index": 1, "task": "put the spoon on the towel"},
    ]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_an_episode_is_found_through_its_line_of_metadata(written):
    (row,) = pq.read_table(written / "meta/episodes/chunk-000/file-001.parquet").to_pylist()
    assert row["episode_index"] == 1
    assert row["tasks"] == ["put the spoon on the towel"]
    assert (row["length"], row["dataset_from_index"], row["dataset_to_index"]) == (FRAMES, FRAMES, 2 * FRAMES)
    assert (row["data/chunk_index"], row["data/file_index"]) == (0, 1)
    assert (row[f"videos/{IMAGE}/chunk_index"], row[f"videos/{IMAGE}/file_index"]) == (0, 1)
    assert row[f"videos/{IMAGE}/from_timestamp"] == 0.0
    assert row[f"videos/{IMAGE}/to_timestamp"] == pytest.approx(FRAMES / 5)
    assert row[f"stats/{ACTION}/max"][6] == 1.0
    assert np.shape(row[f"stats/{IMAGE}/mean"]) == (3, 1, 1)
    assert row[f"stats/{IMAGE}/mean"][0][0][0] == pytest.approx(40 / 255, abs=0.02)


def test_statistics_of_parts_together_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(size=(60, 4))
    parts = [{"x": number_stats(part)} for part in np.split(values, [10, 45])]
    together, whole = combine_stats(combine_stats(parts[0], parts[1]), parts[2])["x"], number_stats(values)
    for key in ("min", "max", "mean", "std", "count"):
        assert np.allclose(together[key], whole[key]), key
    assert np.allclose(together["q50"], whole["q50"], atol=0.3)


def test_what_is_read_is_what_was_written(written):
    states, actions = motion()
    found = list(open_dataset(written))
    assert [one.name for one in found] == ["fake/00000", "fake/00001", "fake/00002"]
    assert [one.instruction for one in found][:2] == ["put carrot on plate", "put the spoon on the towel"]
    for index, one in enumerate(found):
        assert one.fps == 5
        assert np.array_equal(one.states, states)
        assert np.array_equal(one.actions, actions)
        check_images(one)
        for frame in (0, 1, 17, len(one) - 1):  # 17 is in the second window of frames
            assert one.images[frame].shape == (*SIZE, 3)
            assert one.images[frame].mean(axis=(0, 1)) == pytest.approx(
                [40 * index, 4 * (frame % 60), 4 * (frame % 60)], abs=4
            )


def test_the_words_beside_it_are_read_back(written):
    assert [one.name for one in read_annotations(written)] == ["fake/00000", "fake/00001", "fake/00002"]
    assert read_annotations(written)[0] == words("fake/00000")


def test_a_folder_goes_on_where_it_stopped(folder):
    assert len(write_folder(folder, 2)) == 5
    assert [one.name for one in open_dataset(folder)][-1] == "fake/00004"
    assert json.loads((folder / "meta/stats.json").read_text())[ACTION]["count"] == [5 * FRAMES]


def test_no_episode_is_written_twice(folder):
    writer = LeRobotWriter(folder, size=SIZE, fps=5)
    with pytest.raises(DataError, match=r"'fake/00001' is already in"):
        writer.add(trajectory(name="fake/00001"), words("fake/00001"))
    assert len(list(open_dataset(folder))) == 3


@pytest.mark.parametrize(
    "crash_at",
    ["LeRobotWriter._append_annotation", "LeRobotWriter._write_tasks", "LeRobotWriter._write_table", "write_text"],
)
def test_an_episode_that_a_crash_interrupts_is_not_there_and_its_place_is_taken(folder, monkeypatch, crash_at):
    def crash(*_):
        raise KeyboardInterrupt

    module = "vlm2vla_sim.data.datasets.lerobot_write"
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{crash_at}", crash)
        with pytest.raises(KeyboardInterrupt):
            write_folder(folder, 1)
    assert [one.name for one in open_dataset(folder)] == ["fake/00000", "fake/00001", "fake/00002"]
    assert len(read_annotations(folder)) == 3
    write_folder(folder, 2)
    found = list(open_dataset(folder))
    assert [one.name for one in found] == [f"fake/{index:05d}" for index in range(5)]
    assert len(read_annotations(folder)) == 5
    for one in found:
        check_images(one)


def test_statistics_do_not_count_an_episode_that_a_crash_kept_out(folder, monkeypatch):
    """The crash comes after the statistics were written and before the episode was counted."""
    # The same episodes, their videos copied: two encodings of one video seldom have the very same bits.
    whole = write_folder(shutil.copytree(folder, folder.parent / "whole"), 1)
    assert len(whole) == 4
    write = lerobot_write.write_text

    def crash(path, text):
        if path.name == "info.json":
            raise KeyboardInterrupt
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr("vlm2vla_sim.data.datasets.lerobot_write.write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            write_folder(folder, 1)
    write_folder(folder, 1)
    expected, found = (json.loads((root / "meta/stats.json").read_text()) for root in (whole.root, folder))
    for key in expected:
        for name in ("min", "max", "mean", "std", "count"):
            assert np.allclose(found[key][name], expected[key][name]), (key, name)


def test_a_picture_of_another_size_leaves_nothing_behind(folder):
    states, actions = motion()
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    film = folder.parent / "film.mp4"
    pictures = Shades(len(states), size=(32, 32))
    write_video(film, (pictures[n] for n in range(len(states))), size=(32, 32), fps=5)
    with pytest.raises(DataError, match="32 x 32"):
        LeRobotWriter(folder, size=SIZE, fps=5).add_with_video(film, states, actions, words("fake/x"))
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before


def test_words_that_cannot_be_read_end_in_one_sentence(folder):
    (folder / "words.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"words.jsonl cannot be read.*move it away"):
        open_dataset(folder)


def test_another_kind_of_folder_is_not_gone_on_with(folder):
    with pytest.raises(DataError, match="other columns, image size or frame rate"):
        LeRobotWriter(folder, size=(64, 64), fps=5)


def test_the_package_lerobot_opens_it(tmp_path):
    """In a process of its own, where the package is installed: it brings torch. The fields are checked above."""
    code = """
import sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("local/set", root=sys.argv[1])
item = data[len(data) - 1]
print(len(data), data.meta.total_episodes, item["task"], tuple(item["observation.images.image_0"].shape),
      round(float(item["observation.images.image_0"][0, 0, 0]) * 255), sorted(data.meta.stats))
"""
    python = os.environ.get("VLM2VLA_LEROBOT_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import lerobot"], capture_output=True, check=False).returncode:
        pytest.skip(
            "needs the package lerobot: pip install 'lerobot>=0.4,<0.5' (0.5 and newer need Python 3.12), here or in "
            "an environment whose Python VLM2VLA_LEROBOT_PYTHON names"
        )
    write_folder(tmp_path / "set", 3)
    done = subprocess.run([python, "-c", code, str(tmp_path / "set")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()[-1]
    assert shown.startswith(f"{3 * FRAMES} 3 put carrot on plate (3, {SIZE[0]}, {SIZE[1]}) ")
    assert abs(int(shown.split(") ")[1].split()[0]) - 80) <= 4


# Read: other people's, and broken ones --------------------------------------------------------------------------------


def write_theirs(root: Path, *, names: tuple[str, str, str]) -> None:
    """A folder as lerobot writes it: several episodes in one file of each kind, other names, Bridge's convention."""
    picture, state, action = names
    states, actions = motion()
    theirs = np.column_stack([states[:, :6], np.zeros(len(states)), 0.2 + 0.88 * states[:, 6]]).astype(np.float32)
    rows = {state: [], action: [], "episode_index": [], "task_index": []}
    for index in range(2):
        rows[state] += theirs.tolist()
        rows[action] += actions.tolist()
        rows["episode_index"] += [index] * len(states)
        rows["task_index"] += [index] * len(states)
    for part in ("data", "meta/episodes", f"videos/{picture}"):
        (root / part / "chunk-000").mkdir(parents=True)
    pq.write_table(pa.table(rows), root / "data/chunk-000/file-000.parquet", row_group_size=7)
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": ["put carrot on plate", "stack"]})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    count = len(states)
    episodes = [
        {
            "episode_index": index,
            "tasks": ["unused"],
            "length": count,
            "data/chunk_index": 0,
            "data/file_index": 0,
            f"videos/{picture}/chunk_index": 0,
            f"videos/{picture}/file_index": 0,
            f"videos/{picture}/from_timestamp": index * count / 5,
        }
        for index in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    both = [Shades(count, red=0)[n] for n in range(count)] + [Shades(count, red=200)[n] for n in range(count)]
    write_video(root / f"videos/{picture}/chunk-000/file-000.mp4", both, size=SIZE, fps=5)
    info = {
        "codebase_version": "v3.0",
        "fps": 5,
        "total_episodes": 2,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            picture: {"dtype": "video", "shape": [*SIZE, 3], "names": None},
            state: {"dtype": "float32", "shape": [8], "names": None},
            action: {"dtype": "float32", "shape": [7], "names": None},
        },
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def test_another_persons_folder_is_read_by_the_names_and_the_convention_given(tmp_path):
    write_theirs(tmp_path, names=("observation.images.top", "proprio", "command"))
    options = DatasetOptions(state="proprio", action="command", convention="bridge")
    found = list(open_dataset(tmp_path, options))
    assert [one.instruction for one in found] == ["put carrot on plate", "stack"]
    states, actions = motion()
    for index, one in enumerate(found):
        # The servo's 0.20 is closed and its 1.08 open, whatever lies between.
        assert np.allclose(one.states[:, :6], states[:, :6], atol=1e-6)
        assert one.states[:, 6] == pytest.approx(states[:, 6], abs=1e-5)
        assert np.allclose(one.actions, actions, atol=1e-6)
        check_images(one)
        assert one.images[len(one) - 1].mean(axis=(0, 1))[0] == pytest.approx(200 * index, abs=4)
        assert one.images[3].mean(axis=(0, 1))[1:] == pytest.approx([12, 12], abs=4)


OWN = dataclasses.replace(CONVENTIONS["bridge"], action=lambda actions: 0.01 * actions)
"""Actions in centimetres."""
NO_CONVENTION = 3


def test_a_convention_of_your_own_is_named_as_package_module_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    write_theirs(tmp_path, names=("observation.images.top", "proprio", "command"))
    options = DatasetOptions(state="proprio", action="command", convention="bridge")
    own = dataclasses.replace(options, convention="test_lerobot_folder:OWN")
    for plain, scaled in zip(open_dataset(tmp_path, options), open_dataset(tmp_path, own), strict=True):
        assert scaled.actions[:, :3] == pytest.approx(0.01 * plain.actions[:, :3])
        assert np.abs(plain.actions[:, :3]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("bridges", UnknownNameError, "No convention of data sets named 'bridges'. Did you mean 'bridge'"),
        ("test_lerobot_folder:NO_CONVENTION", ExtensionError, "is 3; expected a .*DatasetConvention"),
    ],
)
def test_a_convention_that_is_none_is_refused_before_anything_is_read(tmp_path, monkeypatch, name, error, sentence):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    write_theirs(tmp_path, names=("observation.images.top", "proprio", "command"))
    with pytest.raises(error, match=sentence):
        open_dataset(tmp_path, DatasetOptions(state="proprio", action="command", convention=name))


def test_what_the_folder_does_not_say_is_asked_for(tmp_path):
    write_theirs(tmp_path, names=("observation.images.top", "proprio", "command"))
    with pytest.raises(UnknownNameError, match=r"column of the data set named 'observation.state'.*proprio"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"does not declare the convention.*--convention"):
        open_dataset(tmp_path, DatasetOptions(state="proprio", action="command"))
    with pytest.raises(UnknownNameError, match=r"--picture.*named 'wrist'.*observation.images.top"):
        open_dataset(tmp_path, DatasetOptions(picture="wrist", state="proprio", action="command", convention="bridge"))


def test_bridges_numbers_become_ours():
    """R = Rz(0.3) Ry(0.2) Rx(0.1), and its axis times its angle, worked out apart from our code."""
    state = np.array([[0.3, -0.1, 0.05, 0.1, 0.2, 0.3, 0.20], [0.3, -0.1, 0.05, 0.1, 0.2, 0.3, 1.08]])
    action = np.array([[0.01, 0.02, -0.03, 0.1, 0.2, 0.3, 1.0], [0, 0, 0, 0, 0, -0.2, 0.0]])
    states, actions = convert(state, action, "bridge")
    assert states[:, :6] == pytest.approx(state[:, :6])
    assert states[:, 6] == pytest.approx([0.0, 1.0], abs=1e-6)
    assert actions[0] == pytest.approx([0.01, 0.02, -0.03, 0.06892461, 0.21322593, 0.28874894, 1.0], abs=1e-6)
    assert actions[1] == pytest.approx([0, 0, 0, 0, 0, -0.2, 0.0], abs=1e-6)


def table_of(root: Path) -> Path:
    return root / "data/chunk-000/file-001.parquet"


def break_video(root: Path) -> None:
    data = bytearray(video(root, 1).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    video(root, 1).write_bytes(bytes(data))


def cut_video(root: Path) -> None:
    pictures = Shades(FRAMES - 5)
    write_video(video(root, 1), (pictures[n] for n in range(FRAMES - 5)), size=SIZE, fps=5)


def quick_video(root: Path) -> None:
    pictures = Shades(FRAMES)
    write_video(video(root, 1), (pictures[n] for n in range(FRAMES)), size=SIZE, fps=30)


def nan_actions(root: Path) -> None:
    path = table_of(root)
    table = pq.read_table(path)
    rows = table.column(ACTION).to_pylist()
    rows[4][2] = float("nan")
    at = table.column_names.index(ACTION)
    pq.write_table(table.set_column(at, ACTION, pa.array(rows, pa.list_(pa.float32(), 7))), path)


def short_table(root: Path) -> None:
    path = table_of(root)
    pq.write_table(pq.read_table(path).slice(0, 9), path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda root: video(root, 1).unlink(), f"camera '{IMAGE}' is missing: there is no videos/"),
        (lambda root: video(root, 1).write_bytes(b"no video at all"), "file-001.mp4 is no video that can be read"),
        (break_video, "file-001.mp4 holds .* frames that can be read"),
        (cut_video, f"file-001.mp4 holds {FRAMES - 5} of {FRAMES} frames"),
        (quick_video, "has 30 frames a second; its data set says 5"),
        (nan_actions, "actions contain a value that is not finite, first in frame 4"),
        (short_table, f"It has 9 frames; the data set's metadata says {FRAMES}"),
        (
            lambda root: (root / "data/chunk-000/file-001.parquet").write_bytes(b"PAR1"),
            "file-001.parquet cannot be read",
        ),
        (lambda root: (root / "data/chunk-000/file-001.parquet").unlink(), "file-001.parquet cannot be read"),
    ],
)
def test_a_broken_episode_is_passed_over_with_its_reason_and_the_others_are_read(folder, spoil, reason):
    spoil(folder)
    good, bad = [], []
    for one in LeRobotFolder(folder):
        if isinstance(one, Skipped):
            bad.append(one)
            continue
        try:
            check_images(one)
            good.append(one.name)
        except DataError as error:
            bad.append(Skipped(one.name, str(error)))
    assert good == ["fake/00000", "fake/00002"]
    assert [one.name for one in bad] == ["fake/00001"]
    assert re.search(reason, bad[0].reason), bad[0].reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codebase_version": "v1.6"}, "of version v1.6; expected 2.0, 2.1 or v3.0. Convert"),
        ({"codebase_version": "v2.1"}, r"tasks.jsonl cannot be read"),  # it says so, and has the files of version 3
        ({"total_episodes": None}, r"The metadata of .* cannot be read \(TypeError"),
        ({"data_path": "data/{other}.parquet"}, r"The metadata of .* cannot be read \(KeyError: 'other'"),
        ({"fps": 0}, "has fps 0;"),
        ({"fps": "five"}, "has fps 'five';"),
        ({"features": {}}, "has no camera"),
        ({"features": None}, "cannot be read"),
    ],
)
def test_metadata_that_cannot_be_true_ends_in_one_sentence(folder, changes, words):
    rewrite_info(folder, **changes)
    with pytest.raises(DataError, match=words):
        open_dataset(folder)


def test_a_folder_that_is_none_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"is not a data set: .*info.json.*dataset_info.json.*obs_dict.pkl"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="There is no folder"):
        open_dataset(tmp_path / "nowhere")


def test_pictures_in_the_table_are_read_too(folder):
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    stored = []
    for number in range(len(table)):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(file, format="PNG")
        stored.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(table.append_column("front", pa.array(stored)), path)
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    rewrite_info(folder, features=features | {"front": {"dtype": "image", "shape": [8, 8, 3]}}, total_episodes=1)
    (one,) = LeRobotFolder(folder, Columns(image="front"))
    assert [int(one.images[n][0, 0, 0]) for n in (0, 5, len(one) - 1)] == [0, 5, len(one) - 1]


def test_a_data_set_larger_than_the_memory_it_takes_is_read_through(tmp_path):
    """60 episodes of 640 x 480, here all of one film: 2.2 GB of pictures, looked at in less than 64 MiB."""
    write_folder(tmp_path, 1, size=(480, 640))
    count = 60
    episodes, data = (tmp_path / part / "chunk-000/file-000.parquet" for part in ("meta/episodes", "data"))
    (row,) = pq.read_table(episodes).to_pylist()
    pq.write_table(pa.Table.from_pylist([row | {"episode_index": index} for index in range(count)]), episodes)
    table = pq.read_table(data)
    at = table.column_names.index("episode_index")
    many = [table.set_column(at, "episode_index", pa.array([index] * FRAMES)) for index in range(count)]
    pq.write_table(pa.concat_tables(many), data)
    rewrite_info(tmp_path, total_episodes=count)
    (tmp_path / "words.jsonl").unlink()
    seen = 0
    tracemalloc.start()
    try:
        for one in open_dataset(tmp_path):
            assert not isinstance(one, Skipped)
            assert one.images[FRAMES // 2].shape == (480, 640, 3)
            seen += len(one)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen * 480 * 640 * 3 > 2 * 2**30
    assert peak < 64 * 2**20
