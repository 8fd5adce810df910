"""A run folder keeps everything, overwrites nothing, and can be taken up again after any kind of end."""

from __future__ import annotations

import errno
import json
import os

import pytest
from test_results import episode

from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.results import read_results, summarize
from vlm2vla_sim.evaluation.run_folder import RunFolder, default_folder
from vlm2vla_sim.evaluation.settings import RunSettings

SETTINGS = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=3, backend="point")


def start(path, settings=SETTINGS, *, resume=False) -> RunFolder:
    return RunFolder(path, settings, resume=resume)


def test_the_settings_are_saved_with_the_versions_and_read_back(tmp_path):
    start(tmp_path / "a" / "run").close()
    saved = json.loads((tmp_path / "a" / "run" / "settings.json").read_text())
    assert RunSettings.from_json(saved) == SETTINGS
    assert saved["versions"]["vlm2vla_sim"]
    assert saved["started"].endswith("+00:00")


def test_every_result_is_on_disk_as_soon_as_it_is_appended(tmp_path):
    folder = start(tmp_path)
    for k in range(3):
        folder.append(episode(episode_id=k))
        assert len(read_results(tmp_path / "results.jsonl")) == k + 1
    folder.close()


def test_half_a_surrogate_pair_said_by_a_model_is_kept(tmp_path):
    said = episode(decisions=({"action": "\ud83d", "error": "?"},))
    folder = start(tmp_path)
    folder.append(said)
    folder.close()
    assert read_results(tmp_path / "results.jsonl") == [said]


@pytest.mark.parametrize("name", ["settings.json", "results.jsonl", "notes.txt"])
def test_a_folder_with_anything_in_it_is_refused(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(RunFolderError, match=r"is not empty.*--resume.*--out DIR"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_resuming_goes_on_after_what_is_there(tmp_path):
    folder = start(tmp_path)
    folder.append(episode(episode_id=0))
    folder.close()
    folder = start(tmp_path, resume=True)
    assert folder.earlier == [episode(episode_id=0)]
    folder.append(episode(episode_id=1))
    folder.close()
    assert [result.episode_id for result in read_results(tmp_path / "results.jsonl")] == [0, 1]


def test_resuming_what_does_not_exist_yet_starts_it(tmp_path):
    folder = start(tmp_path / "new", resume=True)
    assert folder.earlier == []
    folder.close()


def test_resuming_a_folder_without_a_run_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(RunFolderError, match=r"holds no settings\.json"):
        start(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("policy", "random", "policy hold, not random"),
        ("tasks", ("stack_cube", "carrot_on_plate"), "tasks carrot_on_plate, not stack_cube, carrot_on_plate"),
        ("episodes", 4, "episodes 3, not 4"),
        ("backend", "mujoco", "backend point, not mujoco"),
        ("action_format", "prose", "action_format vlm2vla, not prose"),
        ("layouts", "random", "layouts grid, not random"),
        ("seed", 1, "seed 0, not 1"),
        ("noise_cm", 2.0, r"noise_cm 0\.0, not 2\.0"),
        ("image_size", (224, 224), "image_size 480, 640, not 224, 224"),
        ("quality", "high", "quality fast, not high"),
        ("backend_options", {"profile": "maniskill3"}, "backend_options none, not profile=maniskill3"),
    ],
)
def test_resuming_with_another_setting_is_refused_by_name(tmp_path, name, value, shown):
    start(tmp_path).close()
    other = RunSettings(**{**vars(SETTINGS), name: value})
    with pytest.raises(RunFolderError, match=shown):
        start(tmp_path, other, resume=True)


def test_settings_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"settings\.json cannot be read"):
        start(tmp_path, resume=True)


@pytest.mark.parametrize("cut", [1, 40, -2])
def test_a_line_that_a_crash_cut_off_is_moved_aside_and_its_episode_is_open_again(tmp_path, cut):
    folder = start(tmp_path)
    folder.append(episode(episode_id=0))
    folder.close()
    torn = (episode(episode_id=1).to_json() + "\n")[:cut]
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write(torn)
    folder = start(tmp_path, resume=True)
    assert [result.episode_id for result in folder.earlier] == [0]
    folder.append(episode(episode_id=1))
    folder.close()
    assert [result.episode_id for result in read_results(tmp_path / "results.jsonl")] == [0, 1]
    assert (tmp_path / "results.torn").read_text() == torn + "\n"


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    folder = start(tmp_path)
    with pytest.raises(RunFolderError, match="Another process is writing"):
        start(tmp_path, resume=True)
    folder.close()
    start(tmp_path, resume=True).close()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"The run folder .*run cannot be written: Not a directory.*--out DIR"):
        start(tmp_path / "file" / "run")


def test_a_disk_without_room_for_a_result_is_a_sentence_and_what_was_there_stays(tmp_path):
    folder = start(tmp_path)
    folder.append(episode(episode_id=0))
    file = folder._store._files["results.jsonl"]._file
    kept = os.dup(file.fileno())
    with open("/dev/full", "ab", buffering=0) as full:
        os.dup2(full.fileno(), file.fileno())
    with pytest.raises(RunFolderError, match=f"episode 1 could not be written to .*{os.strerror(errno.ENOSPC)}"):
        folder.append(episode(episode_id=1))
    folder.close()
    os.close(kept)
    assert [result.episode_id for result in read_results(tmp_path / "results.jsonl")] == [0]


def test_the_summary_is_replaced_as_a_whole(tmp_path):
    folder = start(tmp_path)
    folder.write_summary(summarize([]))
    folder.write_summary(summarize([episode()]))
    folder.close()
    assert json.loads((tmp_path / "summary.json").read_text())["overall"]["n"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "results.jsonl",
        "settings.json",
        "summary.json",
    ]


def test_the_default_folder_says_when_who_and_where():
    path = default_folder(RunSettings(policy="my_lab.policies:make", backend="mujoco"))
    assert path.parent.name == "runs"
    assert path.name[4] == "-"
    assert path.name.endswith("-my_lab.policies_make-mujoco")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"episodes": 0}, "0 episodes were asked for; expected 1 or more"),
        ({"tasks": ()}, "No task was asked for"),
        ({"tasks": ("carrot_on_plate",) * 2}, "asked for twice"),
        ({"seed": -1}, "The seed is -1"),
        ({"noise_cm": float("nan")}, "The noise is nan cm"),
        ({"noise_cm": -1}, "The noise is -1 cm"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, words):
    with pytest.raises(SettingError, match=words):
        RunSettings(**values)
