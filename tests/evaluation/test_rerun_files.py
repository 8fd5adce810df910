"""Recordings for the Rerun viewer hold what the episode's result and video hold, as Rerun's own reader returns it."""

from __future__ import annotations

import io
import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane import need
from PIL import Image

from vlm2vla_sim import errors
from vlm2vla_sim.cli.main import main
from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.evaluation.rerun_files import RerunFolder, check_rerun_file
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite

need("trackers", "rerun", extra="rerun")

Rows = list[tuple[int | None, float | None, Any]]
"""(step, time [s], value)."""


def read(path: Path) -> dict[str, Rows]:
    """ "entity:component" -> its rows, by step, read by Rerun."""
    from rerun.chunk import RrdReader

    found: dict[str, Rows] = defaultdict(list)
    for chunk in RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        names = batch.schema.names
        steps = batch.column("step").to_pylist() if "step" in names else [None] * batch.num_rows
        # As integers: pyarrow makes no Python objects of nanoseconds.
        times = batch.column("time").cast("int64").to_pylist() if "time" in names else steps
        seconds = [None if time is None else time / 1e9 for time in times]
        for name in names:
            if ":" in name:
                values = batch.column(name).to_pylist()
                found[f"{chunk.entity_path}:{name.split(':')[-1]}"] += zip(steps, seconds, values, strict=True)
    return {name: sorted(rows, key=lambda row: row[0] or 0) for name, rows in found.items()}


@pytest.fixture(scope="module")
def rolled(tmp_path_factory) -> tuple[dict[str, Rows], Any, Path]:
    """(the recording, the result, the folder) of one episode of the oracle."""
    folder = tmp_path_factory.mktemp("rerun")
    command = "rollout carrot_on_plate --backend point --policy oracle --image-size 48 64 --no-video --json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out := io.StringIO())
        assert main([*command.split(), "--rerun", str(folder / "one.rrd"), "--out", str(folder)]) == 0
    return read(folder / "one.rrd"), json.loads(out.getvalue()), folder


def test_every_step_has_its_picture_gripper_and_objects(rolled):
    recorded, result, _ = rolled
    steps = list(range(result["steps"] + 1))
    entities = {"cameras/primary:blob", "world/gripper:positions", "gripper/measured:scalars", "success:scalars"}
    for name in entities:
        assert [row[0] for row in recorded[f"/{name}"]] == steps, name
    assert [row[0] for row in recorded["/gripper/told:scalars"]] == steps[1:], "nothing is told before the first step"
    assert recorded["/success:scalars"][-1][2] == [1.0]
    assert recorded["/world/gripper:positions"][5][1] == pytest.approx(5 / CONTROL_HZ)
    path = recorded["/world/gripper/path:strips"][-1][2][0]
    np.testing.assert_allclose(path, [row[2][0] for row in recorded["/world/gripper:positions"]])
    picture = np.array(Image.open(io.BytesIO(bytes(recorded["/cameras/primary:blob"][0][2][0]))))
    assert picture.shape == (48, 64, 3)
    carrot = np.array([row[2][0] for row in recorded["/world/objects/carrot:centers"]])
    plate = np.array(recorded["/world/objects/plate:centers"][-1][2][0])
    assert np.linalg.norm(carrot[0, :2] - plate[:2]) > 0.04 > np.linalg.norm(carrot[-1, :2] - plate[:2])
    told = [row[2][0] for row in recorded["/gripper/told:scalars"]]
    assert {0.0, 1.0} <= set(told)


def test_the_words_stand_at_the_step_at_which_they_were_written(rolled):
    recorded, result, _ = rolled
    words = [(step, text[0]) for step, _, text in recorded["/words:text"]]
    for decision in result["decisions"]:
        assert (decision["step"], f"subtask: {decision['subtask']}") in words
        assert (decision["step"], f"action: {decision['action']}") in words
    assert any(text.startswith("verify: ") for _, text in words)
    (ending,) = recorded["/episode:text"]
    assert ending[0] is None, "on no timeline"
    assert "carrot_on_plate, episode 0" in ending[2][0]
    assert "**success**" in ending[2][0]


def test_the_result_is_that_of_an_episode_that_is_not_recorded(rolled, capsys):
    _, result, folder = rolled
    assert [path.name for path in folder.iterdir()] == ["one.rrd"], "nothing unfinished is left"
    command = "rollout carrot_on_plate --backend point --policy oracle --image-size 48 64 --no-video --json"
    assert main([*command.split(), "--out", str(folder)]) == 0
    plain = json.loads(capsys.readouterr().out)
    for one in (plain, result):
        one["seconds"] = 0
        for decision in one["decisions"]:
            for stage in decision["stages"]:
                stage["seconds"] = 0
    assert plain == result


def test_evaluate_writes_one_recording_for_each_episode_and_none_for_one_that_was_interrupted(tmp_path):
    settings = RunSettings("scripted", ("stack_cube",), 2, backend="point", image_size=(48, 64))
    made = run_suite(settings, out=tmp_path / "run", video=False, recorder=pickle.loads(pickle.dumps(RerunFolder())))
    files = sorted((tmp_path / "run" / "rerun").iterdir())
    assert [file.name for file in files] == ["ep0000_stack_cube.rrd", "ep0001_stack_cube.rrd"]
    for file, result in zip(files, made.results, strict=True):
        assert f"seed {result.seed}" in read(file)["/episode:text"][0][2][0]
    command = "evaluate --policy hold --backend fakes:InterruptedBackend --tasks stack_cube --episodes 2 --no-video"
    words = [*command.split(), "--image-size", "48", "64", "--rerun", "--out", str(tmp_path / "two")]
    assert main(words) == 130
    assert [file.name for file in (tmp_path / "two" / "rerun").iterdir()] == ["ep0000_stack_cube.rrd"]
    assert len(read_results(tmp_path / "two" / "results.jsonl")) == 1


def test_a_robot_without_a_scene_and_an_episode_with_a_fault_are_recorded_as_far_as_they_went(tmp_path):
    for backend, last in (("UnseeingBackend", 60), ("FaultyBackend", 2)):
        settings = RunSettings("hold", ("carrot_on_plate",), 2, backend=f"fakes:{backend}", image_size=(48, 64))
        run_suite(settings, out=tmp_path / backend, video=False, recorder=RerunFolder())
        recorded = read(tmp_path / backend / "rerun" / "ep0001_carrot_on_plate.rrd")
        assert recorded["/gripper/measured:scalars"][-1][0] == last
        assert ("/world/objects/carrot:centers" in recorded) is (backend == "FaultyBackend")


def test_a_recording_that_cannot_be_written_is_a_sentence_before_the_episode(tmp_path):
    with pytest.raises(errors.SettingError, match=r"a name that ends with \.rrd"):
        check_rerun_file(tmp_path / "one.mp4")
    (tmp_path / "folder.rrd").mkdir()
    with pytest.raises(errors.RunFolderError, match="it is a folder"):
        check_rerun_file(tmp_path / "folder.rrd")
