"""Trackers get every episode once, with the figures of the run so far; one that fails costs the run nothing."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tracker_fakes
from lane import cannot_run

from vlm2vla_sim import errors
from vlm2vla_sim.cli.main import main
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import InterruptedRunError, run_suite

TASKS = ("carrot_on_plate", "stack_cube")
SETTINGS = RunSettings(policy="scripted", tasks=TASKS, episodes=2, backend="point", image_size=(48, 64))
MEMORY = "tracker_fakes:Memory"


@pytest.fixture(autouse=True)
def calls() -> list[tuple]:
    tracker_fakes.CALLS.clear()
    return tracker_fakes.CALLS


def run(out: Path, *trackers: str, settings: RunSettings = SETTINGS, **options):
    return run_suite(settings, out=out, video=False, trackers=trackers, **options)


def test_your_own_tracker_is_told_of_every_episode_and_of_the_end(tmp_path, calls, capsys):
    made = run(tmp_path / "run", MEMORY)
    assert [call[0] for call in calls] == ["open", *["log"] * 4, "close"]
    opened = calls[0][1]
    assert (opened.folder, opened.settings["policy"]) == (tmp_path / "run", "scripted")
    assert [call[1] for call in calls[1:5]] == [1, 2, 3, 4]
    first, last = calls[1][2], calls[4][2]
    assert first["episode/success"] == first["run/success_rate"] == 1.0
    assert first["task/carrot_on_plate/success_low"] == pytest.approx(0.2065, abs=1e-4)
    assert last["run/success_low"] == made.summary.overall.success_at_end.to_json()["low"]
    assert "task/carrot_on_plate/success_rate" not in last, "the episode was of the other task"
    assert calls[5][1]["final/task/stack_cube/success_at_end_rate"] == 1.0
    saved = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert saved["trackers"] == {MEMORY: {"logged": 4, "failed": 0, "error": ""}}
    assert saved == made.summary.to_json()
    assert capsys.readouterr().out == "", "what a tracker prints is not the command's output"


def test_what_is_not_known_is_not_logged(tmp_path, calls):
    settings = dataclasses.replace(SETTINGS, policy="hold", backend="fakes:UnseeingBackend", episodes=1)
    run(tmp_path / "run", MEMORY, settings=settings)
    logged = set(calls[1][2])
    assert not {"episode/success", "run/success_rate", "run/success_low"} & logged
    assert {"episode/seconds", "run/errors"} <= logged
    assert calls[-1] == ("close", {})


def test_a_run_that_is_resumed_is_the_same_run_and_counts_on(tmp_path, calls):
    run(tmp_path / "run", MEMORY)
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "results.jsonl").write_text("".join(lines[:3]))
    run(tmp_path / "run", MEMORY, resume=True)
    opened = [call[1].id for call in calls if call[0] == "open"]
    assert opened[0] == opened[1]
    assert [call[1] for call in calls if call[0] == "log"] == [1, 2, 3, 4, 4]


def test_workers_are_one_run(tmp_path, calls):
    run(tmp_path / "run", MEMORY, workers=2)
    assert [call[:2] for call in calls if call[0] == "log"] == [("log", step) for step in (1, 2, 3, 4)]


def test_a_tracker_that_fails_is_said_once_and_counted_and_the_run_goes_on(tmp_path, capsys):
    out = tmp_path / "run"
    command = "evaluate --backend point --policy scripted --episodes 2 --no-video --image-size 48 64"
    words = [*command.split(), "--out", str(out), "--tasks", *TASKS, "--tracker", "tracker_fakes:FailsOften", MEMORY]
    assert main(words) == 0
    found = json.loads((out / "summary.json").read_text())["trackers"]
    error = "ConnectionError: nobody listens at step 1"
    assert found["tracker_fakes:FailsOften"] == {"logged": 2, "failed": 3, "error": error}
    assert found[MEMORY]["logged"] == 4
    said = capsys.readouterr()
    assert said.err.count("failed, and the run goes on") == 1
    assert "The tracker 'tracker_fakes:FailsOften' failed 3 times; it has 2 episodes of this session" in said.out


@pytest.mark.parametrize(
    ("tracker", "kind", "words"),
    [
        (
            "tracker_fakes:CannotOpen",
            errors.SettingError,
            "could not be opened, .*: RuntimeError: no key is configured",
        ),
        ("tracker_fakes:Mute", errors.ExtensionError, "has no method log, close"),
        ("tracker_fakes:Nobody", errors.UnknownNameError, "Nobody"),
        ("wandv", errors.UnknownNameError, "No tracker named 'wandv'. Did you mean 'wandb'"),
        (MEMORY, errors.SettingError, "given twice"),
    ],
)
def test_a_tracker_that_cannot_be_used_ends_the_run_before_it_starts(tmp_path, calls, tracker, kind, words):
    with pytest.raises(kind, match=words):
        run(tmp_path / "run", MEMORY, tracker)
    assert not (tmp_path / "run").exists()
    assert [call[0] for call in calls] in ([], ["open", "close"])


@pytest.mark.parametrize("name", ["trackio", "wandb", "tensorboard"])
def test_a_package_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, name, None)
    for module in [module for module in sys.modules if module.startswith(f"{name}.")]:
        monkeypatch.setitem(sys.modules, module, None)
    command = ["evaluate", "--backend", "point", "--policy", "hold", "--out", str(tmp_path / "run"), "--tracker", name]
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"vlm2vla evaluate: The tracker '{name}' needs the package '{name}', which is not installed. "
        f"Install it: pip install 'vlm2vla_sim[{name}]'\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("rollout", "--rerun", "a.rrd"), ("evaluate", "--rerun")])
def test_a_recording_without_rerun_is_one_sentence_too(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main([*words, "--backend", "point", "--policy", "hold", "--out", str(tmp_path / "run")]) == 1
    assert "(--rerun) needs the package 'rerun-sdk', which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_closes_its_trackers(tmp_path, calls):
    settings = dataclasses.replace(SETTINGS, backend="fakes:InterruptedBackend")
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "run", MEMORY, settings=settings)
    assert [call[0] for call in calls] == ["open", "log", "close"]


# The real packages.


def need_package(name: str, lane: str = "trackers") -> None:
    if importlib.util.find_spec(name) is None:
        cannot_run(lane, f"needs {name}: pip install 'vlm2vla_sim[{name}]'")


def test_tensorboard_reads_back_what_was_logged_in_two_sessions(tmp_path):
    need_package("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = run(tmp_path / "run", "tensorboard")
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "results.jsonl").write_text("".join(lines[:3]))
    run(tmp_path / "run", "tensorboard", resume=True)
    files = sorted((tmp_path / "run" / "tensorboard").iterdir())
    assert len(files) == 2
    first, second = (EventAccumulator(str(file)).Reload() for file in files)
    low = [(event.step, event.value) for event in first.Scalars("run/success_low")]
    assert [step for step, _ in low] == [1, 2, 3, 4]
    assert low[-1][1] == pytest.approx(made.summary.overall.success_at_end.to_json()["low"])
    assert [event.step for event in second.Scalars("run/success_low")] == [4]
    assert second.Scalars("final/overall/grasped_rate")[0].value == 1.0
    text = first.Tensors("settings")[0].tensor_proto.string_val[0]
    assert b'"policy": "scripted"' in text


def wandb_records(path: Path) -> Iterator:
    """The records of a .wandb file: blocks of 32 KiB, each record in pieces with a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # A record of one piece, or the last piece of one.
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def items(fields) -> dict[str, object]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in fields}


def test_wandb_has_written_settings_steps_and_summary(tmp_path, monkeypatch):
    need_package("wandb")
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_DIR": tmp_path,
        "HOME": tmp_path,
        "WANDB_SILENT": "true",
    }.items():
        monkeypatch.setenv(name, str(value))
    made = run(tmp_path / "run", "wandb")
    assert made.summary.trackers["wandb"] == {"logged": 4, "failed": 0, "error": ""}
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(file))
    (start,) = [record.run for record in records if record.HasField("run")]
    identity = json.loads((tmp_path / "run" / "settings.json").read_text())["tracker_id"]
    assert (start.run_id, start.display_name, start.project) == (identity, "run", "vlm2vla_sim")
    assert items(start.config.update)["policy"] == "scripted"
    history = [items(record.history.item) for record in records if record.HasField("history")]
    assert [entry["_step"] for entry in history] == [1, 2, 3, 4]
    assert history[-1]["run/success_low"] == made.summary.overall.success_at_end.to_json()["low"]
    summary: dict[str, object] = {}
    for record in records:
        if record.HasField("summary"):
            summary |= items(record.summary.update)
    assert summary["final/overall/success_at_end_rate"] == 1


def test_trackio_continues_its_run(tmp_path, monkeypatch):
    need_package("trackio", lane="trackio")  # it allows no Pillow 13
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    made = run(tmp_path / "run", "trackio")
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "results.jsonl").write_text("".join(lines[:3]))
    run(tmp_path / "run", "trackio", resume=True)
    (name,) = SQLiteStorage.get_runs("vlm2vla_sim")
    logs = [entry for entry in SQLiteStorage.get_logs("vlm2vla_sim", name) if "run/success_low" in entry]
    assert [entry["step"] for entry in logs] == [1, 2, 3, 4, 4]
    assert logs[3]["run/success_low"] == made.summary.overall.success_at_end.to_json()["low"]
