"""Folders of LeRobot 2.0 and 2.1, as most public copies of BridgeData are, read as those of version 3 are."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from trajectory_fakes import SIZE, Shades, motion

from vlm2vla_sim.cli import main
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.video.encoder import write_video

CAMERA = "observation.images.image_0"
TASKS = ("put carrot on plate", "stack the green block on the yellow block")
BRIDGE = DatasetOptions(convention="bridge")


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_v2(root: Path, *, version: str = "v2.1", first: int = 0, count: int = 3, images: bool = False) -> None:
    """A folder with the files of version 2: a table and a video per episode, lines of JSON. first: the first index."""
    states, actions = motion()
    servo = np.column_stack([states[:, :6], np.zeros(len(states)), 0.2 + 0.88 * states[:, 6]]).astype(np.float32)
    data, film = f"data/chunk-{first // 1000:03d}", f"videos/chunk-{first // 1000:03d}/{CAMERA}"
    for part in (data, film):
        (root / part).mkdir(parents=True)
    indices = range(first, first + count)
    for index in indices:
        pictures = Shades(len(states), red=40 * (index % 6))
        columns = {
            "observation.state": pa.array(servo.tolist(), pa.list_(pa.float32(), 8)),
            "action": pa.array(actions.tolist(), pa.list_(pa.float32(), 7)),
            "timestamp": pa.array(np.arange(len(states), dtype=np.float32) / 5),
            "frame_index": np.arange(len(states)),
            "episode_index": np.full(len(states), index),
            "index": np.arange(len(states)),
            "task_index": np.full(len(states), index % 2),
        }
        if images:
            columns[CAMERA] = pa.array([{"bytes": png(pictures[n]), "path": None} for n in range(len(states))])
        else:
            frames = (pictures[n] for n in range(len(states)))
            write_video(root / film / f"episode_{index:06d}.mp4", frames, size=SIZE, fps=5)
        pq.write_table(pa.table(columns), root / data / f"episode_{index:06d}.parquet")
    write_jsonl(root / "meta/tasks.jsonl", [{"task_index": k, "task": task} for k, task in enumerate(TASKS)])
    lines = [{"episode_index": k, "tasks": [TASKS[k % 2]], "length": len(states)} for k in indices]
    write_jsonl(root / "meta/episodes.jsonl", lines)
    (root / ("meta/stats.json" if version == "v2.0" else "meta/episodes_stats.jsonl")).write_text("{}")
    dtype = "image" if images else "video"
    info = {
        "codebase_version": version,
        "robot_type": "widowx",
        "total_episodes": first + count,
        "total_frames": count * len(states),
        "total_tasks": 2,
        "total_videos": count,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": 5,
        "splits": {"train": f"0:{first + count}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {
            CAMERA: {"dtype": dtype, "shape": [*SIZE, 3], "names": ["height", "width", "rgb"]},
            "observation.state": {"dtype": "float32", "shape": [8], "names": {"motors": ["x", "y", "z"]}},
            "action": {"dtype": "float32", "shape": [7], "names": {"motors": ["x", "y", "z"]}},
            "task_index": {"dtype": "int64", "shape": [1], "names": None},
        },
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
@pytest.mark.parametrize("images", [False, True])
def test_every_number_instruction_and_picture_is_read(tmp_path, version, images):
    write_v2(tmp_path, version=version, images=images)
    found = list(open_dataset(tmp_path, BRIDGE))
    assert [one.name.rpartition("/")[2] for one in found] == ["00000", "00001", "00002"]
    assert [one.instruction for one in found] == [TASKS[0], TASKS[1], TASKS[0]]
    states, actions = motion()
    for index, one in enumerate(found):
        assert one.success is None  # nobody says, which is no failure
        assert np.allclose(one.states, states, atol=1e-5)
        assert np.allclose(one.actions, actions, atol=1e-6)
        check_images(one)
        assert one.images[9].mean(axis=(0, 1)) == pytest.approx([40 * index, 36, 36], abs=4)


def test_the_thousandth_episode_is_in_the_next_folder(tmp_path):
    write_v2(tmp_path, first=1999, count=1)
    (one,) = open_dataset(tmp_path, BRIDGE)
    assert (tmp_path / "data/chunk-001/episode_001999.parquet").is_file()
    assert one.name.endswith("01999")
    check_images(one)


def test_what_is_missing_is_passed_over_with_its_reason(tmp_path):
    write_v2(tmp_path)
    (tmp_path / f"videos/chunk-000/{CAMERA}/episode_000001.mp4").unlink()
    (tmp_path / "data/chunk-000/episode_000002.parquet").unlink()
    first, second, third = open_dataset(tmp_path, BRIDGE)
    assert not isinstance(first, Skipped)
    assert isinstance(second, Skipped)
    assert isinstance(third, Skipped)
    assert "is missing: there is no videos/chunk-000/" in second.reason
    assert "episode_000002.parquet cannot be read" in third.reason


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("episodes.jsonl", None, "episodes.jsonl cannot be read"),
        ("episodes.jsonl", '{"episode_index": 0}\n', "Line 1 of .*episodes.jsonl does not have the fields .*length"),
        ("episodes.jsonl", "[1]\n", "Line 1 of"),
        ("episodes.jsonl", "{\n", "episodes.jsonl cannot be read"),
        ("episodes.jsonl", '{"episode_index": 0, "length": null}\n', "The metadata of .* cannot be read"),
        ("tasks.jsonl", '{"task": "x"}\n', "Line 1 of .*tasks.jsonl"),
        ("tasks.jsonl", '{"task": "x", "task_index": "a"}\n', "tasks.jsonl"),
    ],
)
def test_broken_metadata_end_in_a_sentence(tmp_path, file, content, sentence):
    write_v2(tmp_path)
    path = tmp_path / "meta" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=sentence):
        open_dataset(tmp_path, BRIDGE)


def test_relabel_reads_it(tmp_path, capsys):
    write_v2(tmp_path / "set")
    flags = ("--convention", "bridge", "--out", str(tmp_path / "labels"), "--json")
    assert main.main(["relabel", str(tmp_path / "set"), *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labelled"], told["skipped"]) == (3, 0)
    assert "grasp the green block" in (tmp_path / "labels/labels.jsonl").read_text()
