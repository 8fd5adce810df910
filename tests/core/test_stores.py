"""The four folders that record work line by line behave alike: runs, sessions, label sets, training runs."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pytest

from vlm2vla_sim.core import store as store_module
from vlm2vla_sim.core.json_lines import JsonLines, read_lines
from vlm2vla_sim.core.store import Store
from vlm2vla_sim.data.datasets.open import DatasetOptions
from vlm2vla_sim.data.relabel.labels import LabelFolder, LabelSettings
from vlm2vla_sim.data.relabel.rules import LabelingRules
from vlm2vla_sim.errors import DataError, RunFolderError
from vlm2vla_sim.evaluation.operator.episode_log import EpisodeLog, SessionSettings
from vlm2vla_sim.evaluation.run_folder import RunFolder
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.training.progress import open_work
from vlm2vla_sim.training.settings import TrainSettings

RUN = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=3)
SESSION = SessionSettings((PolicySpec("hold"), PolicySpec("random")), ("carrot_on_plate",), 2)
LABELS = LabelSettings("somewhere", DatasetOptions(), "rules", LabelingRules())
COMMANDED_LABELS = dataclasses.replace(LABELS, options=LabelingRules("commanded"))
TRAINING = TrainSettings("model")


@dataclass(frozen=True)
class Kind:
    """One of the four."""

    start: Callable[..., Any]
    settings_file: str
    lines: str
    error: type[Exception]
    other: Callable[..., Any]
    """As `start`, with another setting."""
    said: str
    """The sentence about it."""
    removed: tuple[str | int, ...]
    """Where in the settings file a field with a default stands, at its default."""


def start_training(path: Path, *, resume: bool, settings: TrainSettings = TRAINING) -> Store:
    rows = path.with_name("rows")
    rows.mkdir(exist_ok=True)
    (rows / "rows.jsonl").write_text("{}\n")
    return open_work(path, settings, rows, resume=resume)


KINDS = {
    "run": Kind(
        lambda path, resume: RunFolder(path, RUN, resume=resume),
        "settings.json",
        "results.jsonl",
        RunFolderError,
        lambda path, resume: RunFolder(path, dataclasses.replace(RUN, seed=7), resume=resume),
        r"The run in .* was made with seed 0, not 7\. Resume it with the settings it was made with",
        ("noise_cm",),
    ),
    "session": Kind(
        lambda path, resume: EpisodeLog(path, SESSION, resume=resume),
        "plan.json",
        "episodes.jsonl",
        RunFolderError,
        lambda path, resume: EpisodeLog(path, dataclasses.replace(SESSION, episodes=9), resume=resume),
        "The session in .* was made with episodes 2, not 9",
        ("policies", 1, "action_format"),
    ),
    "label set": Kind(
        lambda path, resume: LabelFolder(path, LABELS, resume=resume),
        "settings.json",
        "labels.jsonl",
        DataError,
        lambda path, resume: LabelFolder(
            path, dataclasses.replace(LABELS, options=LabelingRules("commanded")), resume=resume
        ),
        r"The label set in .* was made with options\.motion reached, not commanded",
        ("options", "carry_rest"),
    ),
    "training run": Kind(
        lambda path, resume: start_training(path, resume=resume),
        "settings.json",
        "steps.jsonl",
        RunFolderError,
        lambda path, resume: start_training(path, resume=resume, settings=dataclasses.replace(TRAINING, rank=8)),
        r"The training run in .* was made with settings\.rank 16, not 8",
        ("settings", "dropout"),
    ),
}


@pytest.fixture(params=KINDS)
def kind(request) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_PATIENCE", 0.0)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_version_with_one_more_settings_field_resumes_what_an_earlier_one_began(tmp_path, kind):
    kind.start(tmp_path / "x", resume=False).close()
    *way, name = kind.removed

    def remove(values: Any) -> None:
        for step in way:
            values = values[step]
        del values[name]

    edit(tmp_path / "x" / kind.settings_file, remove)
    kind.start(tmp_path / "x", resume=True).close()


def test_a_version_with_one_settings_field_less_resumes_what_an_earlier_one_began(tmp_path, kind):
    kind.start(tmp_path / "x", resume=False).close()

    def add(values: Any) -> None:
        for step in (None, *kind.removed[:-1]):
            values = values if step is None else values[step]
            if isinstance(values, dict):
                values["a field that was removed"] = 5

    edit(tmp_path / "x" / kind.settings_file, add)
    kind.start(tmp_path / "x", resume=True).close()


def test_another_setting_is_refused_by_name_with_its_old_and_new_value(tmp_path, kind):
    kind.start(tmp_path / "x", resume=False).close()
    with pytest.raises(kind.error, match=kind.said):
        kind.other(tmp_path / "x", resume=True)
    kind.start(tmp_path / "x", resume=True).close()


def test_two_writers_are_refused(tmp_path, kind, impatient):
    first = kind.start(tmp_path / "x", resume=False)
    with pytest.raises(kind.error, match=r"Another process is writing to .*x.*--out DIR"):
        kind.start(tmp_path / "x", resume=True)
    first.close()
    kind.start(tmp_path / "x", resume=True).close()


def test_a_torn_last_line_is_set_aside(tmp_path, kind):
    kind.start(tmp_path / "x", resume=False).close()
    path = tmp_path / "x" / kind.lines
    path.write_bytes(b'{"torn": "by a cra')
    kind.start(tmp_path / "x", resume=True).close()
    assert path.read_bytes() == b""
    assert path.with_suffix(".torn").read_bytes() == b'{"torn": "by a cra\n'


def test_a_folder_in_use_or_of_something_else_is_refused_and_left_alone(tmp_path, kind):
    kind.start(tmp_path / "x", resume=False).close()
    with pytest.raises(kind.error, match=r"x is not empty\. Continue .* with --resume, or choose another folder"):
        kind.start(tmp_path / "x", resume=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(kind.error, match=f"holds no {kind.settings_file}"):
        kind.start(tmp_path / "mine", resume=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path, kind):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(kind.error, match=r"folder .*x cannot be written: .*--out DIR"):
        kind.start(tmp_path / "x", resume=False)


def test_a_start_that_was_killed_before_the_settings_were_written_is_started_again(tmp_path, kind):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".lock").touch()
    (tmp_path / "x" / f"{kind.settings_file}.new").write_text("{")
    kind.start(tmp_path / "x", resume=False).close()
    kind.start(tmp_path / "x", resume=True).close()


def test_where_the_file_system_cannot_lock_work_goes_on_without(tmp_path, kind, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    kind.start(tmp_path / "x", resume=False).close()
    kind.start(tmp_path / "x", resume=True).close()


HOLDER = """
import sys, time
from pathlib import Path
from vlm2vla_sim.core.store import Store
store = Store(Path(sys.argv[1]), {}, resume=True, kind="run", error=OSError, files=("a.jsonl",))
store.append("a.jsonl", "{}")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path: Path, seconds: float) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def open_store(path: Path, **changes: Any) -> Store:
    return Store(path, {}, **{"resume": True, "kind": "run", "error": RunFolderError, "files": ("a.jsonl",), **changes})


def test_another_process_is_kept_out_and_a_killed_one_is_not(tmp_path, impatient):
    with hold(tmp_path, 60) as process:
        with pytest.raises(RunFolderError, match="Another process is writing"):
            open_store(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        store = open_store(tmp_path)
        assert store.lines("a.jsonl") == ["{}"]
        store.close()


def test_a_lock_that_is_released_within_a_moment_is_waited_for(tmp_path):
    with hold(tmp_path, 0.6):
        began = time.monotonic()
        open_store(tmp_path).close()
        assert time.monotonic() - began > 0.3


def test_a_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    file, synced = JsonLines(tmp_path / "a.jsonl"), []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((tmp_path / "a.jsonl").read_bytes()))
    file.append('{"a": "\ud83d"}')
    assert synced == [b'{"a": "\\ud83d"}\n']
    file.close()


class Narrow:
    """A file on a disk that takes `most` bytes at a time, and `room` in all."""

    def __init__(self, file: Any, most: int, room: int) -> None:
        self._file, self._most, self._room = file, most, room

    def write(self, content: Any) -> int:
        count = min(self._most, self._room, len(content))
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= count
        return self._file.write(content[:count])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_line_that_is_taken_in_parts_is_written_whole_and_one_that_does_not_fit_not_at_all(tmp_path):
    store = open_store(tmp_path)
    file = store._files["a.jsonl"]
    whole = file._file
    file._file = Narrow(whole, most=3, room=17)
    store.append("a.jsonl", '{"a": 1}')
    with pytest.raises(RunFolderError, match=r"Result 2 could not be written to .*a\.jsonl: No space left.*--resume"):
        store.append("a.jsonl", '{"a": 2}' * 5, what="Result 2")
    file._file = whole
    store.append("a.jsonl", '{"a": 3}')
    store.close()
    assert list(read_lines(tmp_path / "a.jsonl")) == ['{"a": 1}', '{"a": 3}']


def test_the_first_lines_can_be_kept(tmp_path):
    store = open_store(tmp_path)
    for k in range(5):
        store.append("a.jsonl", f'{{"k": {k}}}')
    store.keep_first("a.jsonl", 2)
    store.append("a.jsonl", "{}")
    store.keep_first("a.jsonl", 9)
    store.close()
    assert list(read_lines(tmp_path / "a.jsonl")) == ['{"k": 0}', '{"k": 1}', "{}"]


def test_a_torn_line_longer_than_a_block_is_set_aside_whole(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    JsonLines(tmp_path / "a.jsonl").close()
    assert (tmp_path / "a.jsonl").read_bytes() == b'{"a": 1}\n'
    assert (tmp_path / "a.torn").read_bytes() == b"x" * 200_000 + b"\n"


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_settings_that_cannot_be_read_are_named(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"settings\.json cannot be read"):
        open_store(tmp_path)


def test_what_is_recorded_beside_the_settings_is_not_compared(tmp_path):
    open_store(tmp_path, recorded={"started": "yesterday"}).close()
    open_store(tmp_path, recorded={"started": "today"}).close()
    assert json.loads((tmp_path / "settings.json").read_text()) == {"started": "yesterday"}


def test_a_file_of_settings_is_compared_where_it_is_and_written_where_it_is_not(tmp_path):
    file = tmp_path / "made_with.json"
    store_module.check_made_with(file, {"rules": RUN}, kind="recording", error=RunFolderError)
    store_module.check_made_with(file, {"rules": RUN}, kind="recording", error=RunFolderError)
    other = {"rules": dataclasses.replace(RUN, seed=3)}
    with pytest.raises(RunFolderError, match=r"The recording in .* was made with rules\.seed 0, not 3\. Resume it"):
        store_module.check_made_with(file, other, kind="recording", error=RunFolderError)


def test_the_package_uses_no_fcntl():
    root = Path(store_module.__file__).parent.parent
    assert not [path for path in root.rglob("*.py") if "fcntl" in path.read_text(encoding="utf-8")]


WITHOUT_FCNTL = """
import sys, warnings
sys.modules["fcntl"] = None
import vlm2vla_sim
from vlm2vla_sim.cli.main import main
from vlm2vla_sim.core.store import Store
from pathlib import Path
warnings.simplefilter("ignore")
Store(Path(sys.argv[1]), {}, resume=False, kind="run", error=OSError, files=("a.jsonl",)).close()
"""


def test_the_package_is_imported_and_a_folder_is_locked_where_there_is_no_fcntl(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL, str(tmp_path / "x")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x" / "settings.json").exists()
