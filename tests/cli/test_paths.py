"""Whatever folder a command is told to write to, it writes there, or says at once why it cannot."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.testing import PointBackend

SHORT = dataclasses.replace(get_task("carrot_on_plate"), max_steps=3)
AWKWARD = (dataclasses.replace(SHORT, name="../a/b:c\n%d"), dataclasses.replace(SHORT, name="x" * 300))
"""Tasks whose names are no names of files."""
FOLDERS = [
    "2026-11-28T04:25",
    "./run:2",
    "x" * 200,
    "100 % of it, %03d",
    'it\'s a "name"',
    "grüße 胡萝卜",
    "./-leading",
    "a[1]*?",
    "http:",
    "a\nb",
]
IMPOSSIBLE = {"x" * 256: "a name of 256 bytes", "é" * 130: "a name of 260 bytes", "a/" * 2000: "bytes from the root"}
COMMANDS = {
    "evaluate": ["evaluate", "--policy", "hold", "--tasks", "{task}", "--episodes", "1", "--image-size", "48", "64"],
    "record": ["record", "--policy", "hold", "--keep-failures", "--tasks", "{task}", "--episodes", "1"],
    "rollout": ["rollout", "--policy", "hold", "--image-size", "48", "64", "{task}"],
    "session": [
        "robot",
        "session",
        "--backend",
        "mujoco",
        "--policies",
        "hold",
        "--episodes",
        "1",
        "--tasks",
        "{task}",
    ],
}
HERE = __name__


@pytest.fixture(autouse=True)
def stdin(monkeypatch):
    """The operator's terminal, at which nobody sits."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))


def words(command: str, task: str, out: str) -> list[str]:
    return [word.format(task=task) for word in COMMANDS[command]] + ["--out", out]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_any_name_gets_its_video(tmp_path, monkeypatch, capsys, read_video, command, folder):
    monkeypatch.chdir(tmp_path)
    assert main(words(command, f"{HERE}:SHORT", folder)) == 0, capsys.readouterr().err
    (video,) = Path(folder).glob("**/*.mp4")
    assert len(read_video(video)) == (3 if command == "record" else 4)
    assert [path.name for path in tmp_path.iterdir()] == [Path(folder).name], "and nothing beside it"


@pytest.mark.parametrize("folder", IMPOSSIBLE)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys, command, folder):
    monkeypatch.chdir(tmp_path)
    assert main(words(command, f"{HERE}:SHORT", folder)) == 1
    said = capsys.readouterr().err
    assert IMPOSSIBLE[folder] in said
    assert "Choose a shorter one (--out DIR)." in said
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("number", range(len(AWKWARD)))
def test_a_task_of_any_name_has_files_in_its_folder(tmp_path, monkeypatch, capsys, command, number):
    monkeypatch.chdir(tmp_path)
    assert main(words(command, f"{HERE}:AWKWARD#{AWKWARD[number].name}", "out")) == 0, capsys.readouterr().err
    assert len([*Path("out").glob("**/*.mp4")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for results in Path("out").glob("**/results.jsonl"):
        assert json.loads(results.read_text())["task"] == AWKWARD[number].name, "the result has the name itself"


@pytest.mark.parametrize("folder", ["./run:2", "a[1]*?", "100 % %03d", "a::b", "x" * 200])
def test_a_data_set_in_a_folder_of_any_name_is_read_back(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    recorded = [word.replace("hold", "scripted") for word in words("record", f"{HERE}:SHORT", folder)]
    assert main(recorded) == 0
    assert main([*recorded, "--resume"]) == 0, "read back by the writer"
    (found,) = open_dataset(Path(folder), DatasetOptions())
    assert isinstance(found, Trajectory)
    assert found.images[2].shape == (480, 640, 3)
    out = f"{folder}.labels"
    assert main(["relabel", folder, "--out", out]) == 0
    assert main(["inspect", out, "--out", f"{folder}.html"]) == 0
    assert Path(f"{folder}.html").is_file()


@pytest.mark.parametrize("name", ["a/b", "../x", "x\ny", "n\0l", "y" * 300])
def test_a_policy_of_any_name_has_a_folder_of_its_own(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(
        policy="hold",
        policy_name=name,
        tasks=(f"{HERE}:SHORT",),
        episodes=1,
        backend=f"{PointBackend.__module__}:PointBackend",
    )
    made = run_suite(settings, video=False)
    assert made.folder.parent == Path("runs")
    assert [result.policy for result in made.results] == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len([*Path("runs").iterdir()]) == 1


@pytest.mark.parametrize(
    "command", [["inspect"], ["relabel", "--out", "o"], ["train", "--model", "m", "--out", "o"], ["trace"], ["watch"]]
)
def test_a_folder_that_cannot_exist_is_not_found(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main([command[0], "x" * 300, *command[1:]]) == 1
    assert "the name is too long" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
