"""What a failed demonstration did is not taught as the task: it gives verdicts only, and no more than are known."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelled_fakes import make_labelled
from trajectory_fakes import CLOSED, OPEN, PICK_AND_PLACE, SIZE, Shades, motion, trajectory, words

from vlm2vla_sim.cli import main
from vlm2vla_sim.cli.commands.train import make_rows
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.examples.folder import read_about, read_rows
from vlm2vla_sim.data.examples.maker import FAILED, ExampleMaker, ExampleSettings
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.errors import DataError, SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.training.row_settings import RowSettings
from vlm2vla_sim.video.encoder import write_video

UNKNOWN = "a verdict that the recording does not tell"


def write(root: Path, outcomes: str, *, solved: np.ndarray | None = None) -> LeRobotWriter:
    """A folder whose episodes succeed ("s") or fail ("f")."""
    writer = LeRobotWriter(root, size=SIZE, fps=5)
    states, actions = motion()
    for index, letter in enumerate(outcomes):
        film = root.with_name("film.mp4")
        outcome = {"s": "success", "f": "failure", "a": "aborted"}[letter]
        annotation = dataclasses.replace(words(f"fake/{index:05d}"), outcome=outcome)
        if solved is None:
            writer.add(trajectory(name=annotation.name), annotation)
        else:
            pictures = Shades(len(states))
            write_video(film, (pictures[n] for n in range(len(states))), size=SIZE, fps=5)
            writer.add_with_video(film, states, actions, annotation, solved=solved)
    return writer


def column(root: Path, index: int) -> list[bool]:
    return pq.read_table(root / f"data/chunk-000/file-{index:03d}.parquet")["next.success"].to_pylist()


def made_of(labelled: LabelledTrajectory, **settings) -> tuple[ExampleMaker, list]:
    maker = ExampleMaker(ExampleSettings(get_format("vlm2vla"), **settings))
    return maker, list(maker.make_one(labelled))


# The column -----------------------------------------------------------------------------------------------------------


def test_the_last_frame_has_the_outcome_and_the_others_what_was_seen(tmp_path):
    count = len(motion()[0])
    seen = np.arange(count) == 20
    write(tmp_path / "set", "sf", solved=seen)
    write(tmp_path / "unseen", "sf")
    assert column(tmp_path / "set", 0) == [n in (20, count - 1) for n in range(count)]
    assert column(tmp_path / "set", 1) == [n == 20 for n in range(count)]  # solved once, and lost again
    assert column(tmp_path / "unseen", 0) == [False] * (count - 1) + [True]
    assert [one.success for one in open_dataset(tmp_path / "set")] == [True, False]
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["features"]["next.success"] == {"dtype": "bool", "shape": [1], "names": None}
    stats = json.loads((tmp_path / "unseen/meta/stats.json").read_text())
    assert stats["next.success"]["mean"] == pytest.approx([0.5 / count])


def test_an_outcome_that_nobody_knows_is_not_written_as_a_failure(tmp_path):
    with pytest.raises(DataError, match="outcome of 'fake/00000' is 'aborted'; expected 'success' or 'failure'"):
        write(tmp_path / "set", "a")


def drop_column(root: Path, index: int) -> None:
    path = root / f"data/chunk-000/file-{index:03d}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["next.success"]), path)


def as_an_earlier_version(root: Path) -> None:
    for index in range(2):
        drop_column(root, index)
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    del info["features"]["next.success"]
    path.write_text(json.dumps(info))


def test_a_recording_of_an_earlier_version_says_it_in_its_annotations_and_is_not_continued(tmp_path):
    write(tmp_path / "set", "sf")
    as_an_earlier_version(tmp_path / "set")
    assert [one.success for one in open_dataset(tmp_path / "set")] == [True, False]
    with pytest.raises(DataError, match=r"earlier version, without the column next.success.*choose another folder"):
        LeRobotWriter(tmp_path / "set", size=SIZE, fps=5)


def test_without_a_column_and_annotations_nothing_is_taken_for_a_failure(tmp_path):
    write(tmp_path / "set", "sf")
    as_an_earlier_version(tmp_path / "set")
    (tmp_path / "set/words.jsonl").unlink()
    found = [relabel(one) for one in open_dataset(tmp_path / "set")]
    assert [one.trajectory.success for one in found] == [None, None]
    stages = [Counter(row.stage for row in made_of(one)[1]) for one in found]
    assert stages[0] == stages[1]
    assert stages[0]["action"] == len(found[0].phases)


@pytest.mark.parametrize(
    ("values", "success"),
    [
        (lambda n: [[False]] * (n - 1) + [[True]], True),  # bool in a list of one, as some writers have it
        (lambda n: [0.0] * n, False),
        (lambda n: [0.0] * (n - 1) + [1.0], True),
        (lambda n: [float("nan")] * n, None),
    ],
)
def test_other_peoples_columns_are_read_by_their_last_frame(tmp_path, values, success):
    write(tmp_path / "set", "s")
    (tmp_path / "set/words.jsonl").unlink()
    path = tmp_path / "set/data/chunk-000/file-000.parquet"
    table = pq.read_table(path).drop_columns(["next.success"])
    pq.write_table(table.append_column("next.success", pa.array(values(len(table)))), path)
    (one,) = open_dataset(tmp_path / "set")
    assert one.success is success


# The examples ---------------------------------------------------------------------------------------------------------


def failed(labelled: LabelledTrajectory, success: bool | None = False) -> LabelledTrajectory:
    return dataclasses.replace(labelled, trajectory=dataclasses.replace(labelled.trajectory, success=success))


def test_a_failure_teaches_the_verifier_only_and_never_that_it_is_done():
    labelled = relabel(trajectory())
    maker, rows = made_of(failed(labelled))
    assert {(row.stage, row.completion) for row in rows} == {("verify", "retry")}
    assert maker.skipped == {FAILED: 1, UNKNOWN: 1}  # whether the carrot was grasped, nobody knows
    assert "put the carrot on the plate" in rows[-1].prompt
    shown = [round(float(row.images[1][0, 0, 1]) / 4) for row in rows]
    assert labelled.phases[-1].stop == shown[-1]  # the end of the episode, where a success is done
    assert [row.completion for row in made_of(failed(labelled, True))[1] if row.stage == "verify"][-1] == "advance"
    closing = next(phase.stop for phase in labelled.phases if "close the gripper" in phase.plan)
    assert closing not in shown


def test_it_is_used_like_the_others_where_that_is_asked_for_but_for_false_verdicts():
    labelled = failed(relabel(trajectory()))
    _, rows = made_of(labelled, include_failures=True)
    stages = Counter(row.stage for row in rows)
    assert stages["action"] == stages["plan"] == len(labelled.phases)
    assert stages["subtasks"] == 1
    assert {row.completion for row in rows if row.stage == "verify"} == {"retry"}


def test_a_failure_that_ends_on_the_way_says_nothing_about_the_step_it_ends_with():
    """Time was up after the grasp: the grasp may be done, and only the whole task is known not to be."""
    on_the_way = (*PICK_AND_PLACE[:4], (9, (0.0, 0.0, 0.0), 0.0, CLOSED), (4, (0.0, 0.0, 0.0), 0.0, CLOSED))
    for instruction, known in (("put carrot on plate", False), ("pick up the carrot", True)):
        labelled = relabel(trajectory(on_the_way, instruction=instruction))
        assert labelled.subtasks == ("grasp the carrot",)
        maker, rows = made_of(failed(shortened(labelled)))
        shown = [round(float(row.images[1][0, 0, 1]) / 4) for row in rows]
        assert (labelled.phases[-1].stop - 1 in shown) is known, instruction
        assert maker.skipped[UNKNOWN] == (not known)
        assert {row.completion for row in rows} == {"retry"}


def shortened(labelled: LabelledTrajectory) -> LabelledTrajectory:
    """The same, its last phase one frame shorter, so that there is an image after it."""
    *others, last = labelled.phases
    return dataclasses.replace(labelled, phases=(*others, dataclasses.replace(last, stop=last.stop - 1)))


def test_a_subtask_that_comes_again_was_not_surely_done_the_first_time():
    """A success in which the carrot was dropped, and grasped again."""
    twice = (
        *PICK_AND_PLACE[:8],
        (3, (0.0, 0.0, 0.0), 0.0, OPEN),
        (4, (0.0, 0.02, 0.02), 0.0, OPEN),
        *PICK_AND_PLACE[1:],
    )
    labelled = relabel(trajectory(twice))
    order = [phase.subtask for phase in labelled.phases]
    changes = [a for a, b in zip(order, [*order[1:], ""], strict=True) if a != b]
    assert changes == ["grasp the carrot", "put the carrot on the plate"] * 2
    maker, rows = made_of(labelled)
    assert maker.skipped[UNKNOWN] == 2
    assert [row.completion for row in rows if row.stage == "verify"].count("advance") == 2


def test_without_reasoning_a_failure_gives_nothing():
    maker, rows = made_of(failed(make_labelled()), reasoning=False)
    assert rows == []
    assert maker.skipped == {FAILED: 1}
    assert made_of(failed(make_labelled()), reasoning=False, include_failures=True)[1]


def test_failures_only_are_refused_and_leave_no_folder(tmp_path):
    write(tmp_path / "set", "ff")
    assert main.main(["relabel", str(tmp_path / "set"), "--out", str(tmp_path / "labels"), "--json"]) == 0
    settings = RowSettings.collect(tmp_path / "labels", "no model", "float32", {})
    with pytest.raises(SettingError, match=r"All 2 demonstrations failed.*--include-failures"):
        make_rows(tmp_path / "labels", tmp_path / "rows", settings)
    assert not list(tmp_path.glob("rows*"))
    settings = RowSettings.collect(tmp_path / "labels", "no model", "float32", {"include_failures": True})
    assert make_rows(tmp_path / "labels", tmp_path / "rows", settings).stages["action"] > 0


def test_rows_of_an_earlier_version_that_hold_failures_are_refused(tmp_path):
    write(tmp_path / "set", "sf")
    assert main.main(["relabel", str(tmp_path / "set"), "--out", str(tmp_path / "labels"), "--json"]) == 0
    settings = RowSettings.collect(tmp_path / "labels", "no model", "float32", {})
    make_rows(tmp_path / "labels", tmp_path / "rows", settings)
    settings.check(tmp_path / "rows")
    about = read_about(tmp_path / "rows")
    del about["include_failures"]
    (tmp_path / "rows/about.json").write_text(json.dumps(about))
    with pytest.raises(SettingError, match="made with include_failures True, not False"):
        settings.check(tmp_path / "rows")
    write(tmp_path / "good", "s")
    (tmp_path / "labels/settings.json").write_text(json.dumps({"data": str(tmp_path / "good"), "source": {}}))
    settings.check(tmp_path / "rows")


# The commands ---------------------------------------------------------------------------------------------------------


def test_failed_carrots_on_the_twin_are_counted_by_every_command_and_teach_no_grasp(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("--tasks", "carrot_on_plate", "--episodes", "4", "--noise", "4", "--image-size", "48", "64")
    assert main.main(["record", *asked, "--keep-failures", "--out", "set"]) == 0
    assert "(4 episodes; 3 of them failed)" in capsys.readouterr().out
    assert main.main(["relabel", "set", "--out", "labels"]) == 0
    told = capsys.readouterr().out
    assert "1 trajectories labelled" in told
    assert "Failed demonstrations: 3." in told
    assert "--include-failures" in told
    lines = [json.loads(line) for line in Path("labels/labels.jsonl").read_text().splitlines()]
    assert [line["success"] for line in lines].count(False) == 3
    settings = RowSettings.collect(Path("labels"), "no model", "float32", {})
    make_rows(Path("labels"), Path("rows"), settings)
    stages = Counter(row["stage"] for row in read_rows(Path("rows")))
    assert stages["subtasks"] == 1
    assert stages["action"] == sum(len(line["phases"]) for line in lines if line["success"])
    assert read_about(Path("rows"))["skipped"][FAILED] == 3
    assert main.main(["inspect", "labels"]) == 0
    assert Path("inspect.html").read_text().count("failed: training uses it for the verifier only") == 3
