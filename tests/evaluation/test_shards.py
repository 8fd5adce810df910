"""The shards of a run, merged, are the run; what does not belong together is not merged."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.merge import merge_runs
from vlm2vla_sim.evaluation.results import read_results, sort_results
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.types import EpisodeResult

TASKS = ("carrot_on_plate", "stack_cube")
SETTINGS = RunSettings(policy="scripted", tasks=TASKS, episodes=3, backend="point", image_size=(48, 64))


def content(result: EpisodeResult) -> EpisodeResult:
    return dataclasses.replace(result, seconds=0, versions={})


def run_shards(root: Path, count: int, settings: RunSettings = SETTINGS, *, video: bool = False) -> list[Path]:
    return [run_suite(settings, out=root / str(k), video=video, shard=Shard(k, count)).folder for k in range(count)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    """Four shards of one run; not to be changed."""
    return run_shards(tmp_path_factory.mktemp("shards"), 4)


@pytest.fixture
def copies(shards, tmp_path) -> list[Path]:
    return [Path(shutil.copytree(shard, tmp_path / "shards" / shard.name)) for shard in shards]


def edit_settings(folder: Path, change: Callable[[dict], object]) -> None:
    file = folder / "settings.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def test_four_shards_merged_are_one_run(shards, tmp_path):
    whole = run_suite(SETTINGS, out=tmp_path / "whole", video=False)
    assert [len(read_results(shard / "results.jsonl")) for shard in shards] == [2, 2, 1, 1]
    made = merge_runs(shards, tmp_path / "merged")
    assert list(map(content, made.results)) == list(map(content, whole.results))
    assert read_results(tmp_path / "merged" / "results.jsonl") == sort_results(made.results)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "merged")]
    for summary in summaries:
        for part in (summary["overall"], *summary["tasks"].values()):
            part.pop("seconds")
    assert summaries[0] == summaries[1]
    settings = json.loads((tmp_path / "merged" / "settings.json").read_text())
    assert RunSettings.from_json(settings) == SETTINGS
    assert settings["merged"] == [str(shard) for shard in shards]
    assert "shard" not in settings
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".new")] == []


def test_videos_and_logs_are_merged(tmp_path):
    settings = dataclasses.replace(SETTINGS, tasks=TASKS[:1], episodes=2, backend="fakes:FaultyBackend")
    made = merge_runs(run_shards(tmp_path, 2, settings, video=True), tmp_path / "merged")
    done, broken = made.results
    assert (made.folder / done.video).read_bytes() == (tmp_path / "0" / done.video).read_bytes()
    assert "Traceback" in (made.folder / "logs" / "ep0001_carrot_on_plate.txt").read_text()
    assert "ep0001_carrot_on_plate.txt" in broken.reason


def test_missing_episodes_are_named_and_can_be_run_in_the_merged_folder(shards, tmp_path, capsys):
    with pytest.raises(RunFolderError, match=r"2 episodes are in none of the runs: carrot_on_plate 0, stack_cube 1\. "):
        merge_runs(shards[1:], tmp_path / "merged")
    words = ["merge", *map(str, shards[1:]), "--out", str(tmp_path / "merged")]
    assert main(words) == 1
    assert list(tmp_path.iterdir()) == []
    assert main([*words, "--partial"]) == 0
    assert "4 episodes (2 episodes are missing)" in capsys.readouterr().out
    told = []
    run_suite(SETTINGS, out=tmp_path / "merged", video=False, resume=True, on_result=told.append)
    assert [(result.task, result.episode_id) for result in told] == [("carrot_on_plate", 0), ("stack_cube", 1)]


def test_an_episode_in_two_runs_is_refused(shards, tmp_path):
    again = run_suite(SETTINGS, out=tmp_path / "again", video=False, shard=Shard(3, 6))
    with pytest.raises(RunFolderError, match=r"stack_cube episode 0 is in .*3 and in .*again"):
        merge_runs([*shards, again.folder], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda saved: saved.update(seed=7), r"0 was made with seed 0, not 7"),
        (lambda saved: saved.update(policy_options={"model": "b"}), r"made with policy_options none, not model=b"),
        (lambda saved: saved["versions"].update(numpy="1.0"), r"two versions of numpy: .* in .*0 and 1\.0 in .*2"),
        (lambda saved: saved["versions"].update(prompts="0"), r"two versions of prompts"),
        (lambda saved: saved["versions"].update(commit="0"), r"two versions of commit"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(copies, tmp_path, change, words):
    edit_settings(copies[2], change)
    if "commit" in words:
        edit_settings(copies[0], lambda saved: saved["versions"].update(commit="1"))
    with pytest.raises(RunFolderError, match=words):
        merge_runs(copies, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_other_weights_are_refused_and_another_place_of_the_same_weights_is_not(copies, tmp_path):
    for k, digest in enumerate(["a", "a", "a", "b"]):
        weights = {"model": {"weights": f"/node{k}/model", "weights_digest": digest}}
        edit_settings(copies[k], lambda saved, weights=weights: saved.update(provenance=weights))
    with pytest.raises(RunFolderError, match=r"other weights or another server: model\.weights was /node0/model"):
        merge_runs(copies, tmp_path / "merged")
    assert merge_runs(copies[:3], tmp_path / "merged", partial=True).missing == 1


def test_episodes_of_a_newer_package_in_the_same_folder_are_refused(copies, tmp_path):
    file = copies[1] / "results.jsonl"
    (line, *others) = map(json.loads, file.read_text().splitlines())
    line["versions"]["vlm2vla_sim"] = "99.0"
    file.write_text("".join(json.dumps(value) + "\n" for value in (line, *others)))
    with pytest.raises(RunFolderError, match=r"two versions of vlm2vla_sim: .* and 99\.0"):
        merge_runs(copies, tmp_path / "merged")


def test_a_package_that_one_process_has_not_loaded_is_no_other_version(copies, tmp_path):
    edit_settings(copies[1], lambda saved: saved["versions"].update(unloaded="2.13.0"))
    merge_runs(copies, tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "settings.json").read_text())["versions"]["unloaded"] == "2.13.0"


def test_what_is_no_run_or_no_free_folder_is_refused(shards, tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(RunFolderError, match=r"is not a run of `vlm2vla evaluate`"):
        merge_runs([*shards, tmp_path], tmp_path / "merged")
    with pytest.raises(RunFolderError, match=r"There is no folder"):
        merge_runs([tmp_path / "absent"], tmp_path / "merged")
    with pytest.raises(RunFolderError, match=r"is not empty.*--out DIR"):
        merge_runs(shards, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "precious"


@pytest.mark.parametrize("text", ["4/4", "1/0", "-1/4", "1", "1/4/2", "a/4", ""])
def test_a_shard_that_does_not_exist_is_refused(text):
    with pytest.raises(SettingError, match=r"expected I/N with I from 0 to N - 1, such as 0/4"):
        Shard.parse(text)


def test_a_shard_is_resumed_as_the_same_shard_and_one_without_episodes_is_refused(tmp_path):
    run_suite(SETTINGS, out=tmp_path / "run", video=False, shard=Shard(1, 4))
    for other, words in [(Shard(2, 4), r"shard 1/4, not shard 2/4"), (None, "shard 1/4, not a whole run")]:
        with pytest.raises(RunFolderError, match=words):
            run_suite(SETTINGS, out=tmp_path / "run", video=False, shard=other, resume=True)
    run_suite(SETTINGS, out=tmp_path / "run", video=False, shard=Shard(1, 4), resume=True)
    with pytest.raises(SettingError, match=r"has 6 episodes; shard 6/7 has none"):
        run_suite(SETTINGS, out=tmp_path / "none", video=False, shard=Shard(6, 7))
    assert not (tmp_path / "none").exists()


def test_the_command_line_runs_a_shard_and_counts_its_episodes(tmp_path, capsys):
    words = ["evaluate", "--backend", "point", "--policy", "hold", "--episodes", "2", "--no-video"]
    assert main([*words, "--shard", "1/4", "--out", str(tmp_path / "run")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("EPISODE")]
    assert [line.split(":")[0] for line in lines] == [
        "EPISODE 1/2 spoon_on_towel ep 1",
        "EPISODE 2/2 stack_cube ep 1",
    ]
    for text in ("4/4", ""):  # "" is a shell variable without a value
        assert main([*words, "--shard", text, "--out", str(tmp_path / "other")]) == 1
