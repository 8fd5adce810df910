"""Labels are the same whoever makes them: one process, several, or threads; a worker that dies loses nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from trajectory_fakes import Shades, motion, trajectory, write_folder

from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset
from vlm2vla_sim.data.datasets.stored_images import EncodedImages
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel import run
from vlm2vla_sim.data.relabel.job import LabelItem, LabelJob
from vlm2vla_sim.data.relabel.labels import LabelSettings, read_labels
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.data.relabel.run import label_dataset
from vlm2vla_sim.errors import DataError, SettingError
from vlm2vla_sim.evaluation.executors.local import LocalExecutor
from vlm2vla_sim.evaluation.executors.threads import ThreadExecutor

VIDEO = "videos/observation.images.image_0/chunk-000/file-{:03d}.mp4"
FILES = ("labels.jsonl", "skipped.jsonl", "summary.json")


class Stream:
    """A data set without random access, whose images come as bytes, like RLDS; it counts what was read."""

    kind = "rlds"

    def __init__(self, count: int, *, broken: int = -1) -> None:
        self._count, self._broken, self.read = count, broken, 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        states, actions = motion()
        shades = Shades(len(states), red=80)
        images = [_jpeg(shades, index) for index in range(len(states))]
        for number in range(self._count):
            self.read = number + 1
            spoilt = [*images[:-1], b""] if number == self._broken else images
            yield Trajectory(f"s/{number}", "put carrot on plate", 5.0, EncodedImages(spoilt), states, actions)


def _jpeg(shades: Shades, index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(shades[index]).save(file, "JPEG")
    return file.getvalue()


@dataclass(frozen=True)
class Mortal:
    """Labels by rules; its process dies at one trajectory once, and at another one always."""

    marks: Path

    def __call__(self, found: Trajectory) -> LabelledTrajectory:
        mark = self.marks / "s1"
        if found.name == "s/5" or (found.name == "s/1" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return relabel(found)


@dataclass(frozen=True)
class FirstIsSlow:
    """Labels by rules; the first trajectory takes as long as the others together."""

    seconds: float = 0.5

    def __call__(self, found: Trajectory) -> LabelledTrajectory:
        if found.name == "s/0":
            time.sleep(self.seconds)
        return relabel(found)


@pytest.fixture(autouse=True)
def processes_for_few(monkeypatch):
    monkeypatch.setattr(run, "PER_PROCESS", 1)


def settings(data: Path | str = "a stream", **changes: int) -> LabelSettings:
    return LabelSettings(str(data), DatasetOptions(), "rules", {}, **changes)


def content(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def test_processes_threads_and_a_resumed_set_have_the_bytes_of_one_process(tmp_path):
    data = tmp_path / "set"
    write_folder(data, 6)
    (data / VIDEO.format(1)).unlink()
    damaged = (data / VIDEO.format(4)).read_bytes()
    (data / VIDEO.format(4)).write_bytes(damaged[: len(damaged) * 3 // 4])
    label_dataset(open_dataset(data), relabel, settings(data), tmp_path / "one", workers=1)
    expected = content(tmp_path / "one")
    assert [len(lines.splitlines()) for lines in expected[:2]] == [4, 2]

    label_dataset(open_dataset(data), relabel, settings(data), tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == expected
    threads = ThreadExecutor()
    label_dataset(open_dataset(data), relabel, settings(data), tmp_path / "threads", workers=3, executor=threads)
    assert content(tmp_path / "threads") == expected
    first = expected[0].splitlines(keepends=True)[0]
    (tmp_path / "threads" / "labels.jsonl").write_bytes(first)
    (tmp_path / "threads" / "skipped.jsonl").write_bytes(b"")
    done = []
    label_dataset(
        open_dataset(data),
        relabel,
        settings(data),
        tmp_path / "threads",
        workers=1,
        resume=True,
        on_done=done.append,
    )
    assert len(done) == 5
    assert content(tmp_path / "threads") == expected


def test_a_process_that_dies_loses_nothing_of_a_stream(tmp_path):
    summary = label_dataset(Stream(8, broken=3), Mortal(tmp_path), settings(), tmp_path / "two", workers=2)
    label_dataset(Stream(8, broken=3), relabel, settings(), tmp_path / "one", workers=1)
    assert (summary.labelled, summary.skipped) == (6, 2)
    lines = (tmp_path / "one/labels.jsonl").read_text().splitlines()
    assert (tmp_path / "two/labels.jsonl").read_text().splitlines() == lines[:4] + lines[5:]
    broken, died = (json.loads(line) for line in (tmp_path / "two/skipped.jsonl").read_text().splitlines())
    assert broken == {"name": "s/3", "reason": f"Image {len(motion()[0]) - 1} cannot be decoded: it is empty."}
    assert died["name"] == "s/5"
    assert died["reason"].startswith("Labelling it broke off 2 times. attempt 1: its process was killed by SIGKILL; ")


def test_a_slow_trajectory_keeps_the_order_and_the_reader_from_running_ahead(tmp_path):
    stream, order, ahead = Stream(40), [], []

    def done(result) -> None:
        order.append(result.trajectory.name)
        ahead.append(stream.read - len(order))

    label_dataset(stream, FirstIsSlow(), settings(), tmp_path / "words", workers=2, on_done=done)
    assert order == [f"s/{number}" for number in range(40)]
    assert 1 < max(ahead) < 2 * run.AHEAD * 2


def test_a_name_that_occurs_twice_is_labelled_once_whatever_the_workers(tmp_path):
    class Twice(Stream):
        def __iter__(self) -> Iterator[Trajectory | Skipped]:
            yield from (trajectory(name=name) for name in "aab")

    label_dataset(Twice(3), relabel, settings(), tmp_path / "words", workers=3, executor=ThreadExecutor())
    lines = (tmp_path / "words/labels.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a", "b"]


def test_a_labeler_that_cannot_be_sent_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(SettingError, match=r"cannot be sent to other processes: .*executor=ThreadExecutor\(\)"):
        label_dataset(Stream(4), lambda found: relabel(found), settings(), tmp_path / "words", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_does_not_see_the_data_set_ends_the_work_and_skips_nothing(tmp_path):
    runner = LabelJob(relabel, True, tmp_path / "words", tmp_path / "absent").open(None)
    with pytest.raises(DataError, match="Every node needs the data set under this name"):
        runner.run(LabelItem(0, trajectory()))


def test_few_trajectories_start_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "PER_PROCESS", 16)
    seen = []

    class Watched(LocalExecutor):
        def run(self, job, items, limits):
            seen.append(limits.workers)
            return super().run(job, items, limits)

    label_dataset(Stream(31), relabel, settings(), tmp_path / "words", workers=4, check=False, executor=Watched())
    assert seen == [1]


def test_a_data_set_in_the_working_directory_has_the_name_of_its_folder(tmp_path, monkeypatch):
    data = tmp_path / "set"
    write_folder(data, 1)
    (data / "words.jsonl").unlink()
    monkeypatch.chdir(data)
    source: TrajectoryDataset = open_dataset(Path())
    assert [found.name for found in source] == ["set/00000"]
    label_dataset(source, relabel, settings(data), tmp_path / "words")
    assert len(list(read_labels(tmp_path / "words"))) == 1
