"""Runs with a suite: every episode is told apart by its condition, wherever results are kept, resumed or compared."""

from __future__ import annotations

import dataclasses
import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import fakes
import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.errors import NotComparableError, RunFolderError, SettingError, UnknownNameError
from vlm2vla_sim.evaluation import gates
from vlm2vla_sim.evaluation.comparison.compare import Verdict, compare
from vlm2vla_sim.evaluation.comparison.sides import read_side
from vlm2vla_sim.evaluation.comparison.stopping import StopRule
from vlm2vla_sim.evaluation.merge import merge_runs
from vlm2vla_sim.evaluation.report.page import write_report
from vlm2vla_sim.evaluation.results import format_table, read_results
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.evaluation.suite import SuiteRun, check_settings, run_suite
from vlm2vla_sim.evaluation.with_suite import with_suite
from vlm2vla_sim.types import EpisodeResult

SUITE = """
name = "mine"
version = 1
title = "for tests"
episodes = 3
tasks = ["carrot_on_plate", "stack_cube"]
backends = ["any"]

[[condition]]
name = "plain"
factor = "none"
level = "as it is"

[[condition]]
name = "told-otherwise"
factor = "words"
level = "other"
tasks = ["carrot_on_plate"]
instruction = "place the carrot upon the plate"

[[condition]]
name = "dim"
factor = "light"
level = "dim"
options.light = 0.4

[[condition]]
name = "anywhere"
factor = "layout"
level = "random"
tasks = ["stack_cube"]
layouts = "random"

[[condition]]
name = "only-there"
factor = "light"
level = "off"
backends = ["simpler"]
"""
BASE = RunSettings(backend="fakes:LitBackend", image_size=(48, 64))
CELLS = [
    ("carrot_on_plate", "plain"),
    ("carrot_on_plate", "told-otherwise"),
    ("carrot_on_plate", "dim"),
    ("stack_cube", "plain"),
    ("stack_cube", "dim"),
    ("stack_cube", "anywhere"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("suites")


@pytest.fixture(scope="module")
def suite(folder) -> str:
    (folder / "mine.toml").write_text(SUITE)
    return str(folder / "mine.toml")


@pytest.fixture(scope="module")
def settings(suite) -> RunSettings:
    return with_suite(BASE, suite)


@pytest.fixture(scope="module")
def whole(folder, settings) -> SuiteRun:
    """A run of the scripted policy; not to be changed."""
    return run_suite(settings, out=folder / "whole", video=False)


@pytest.fixture(scope="module")
def holding(folder, settings) -> SuiteRun:
    """The same episodes of a policy that does nothing; not to be changed."""
    return run_suite(dataclasses.replace(settings, policy="hold"), out=folder / "holding", video=False)


def content(results) -> list[EpisodeResult]:
    return sorted(
        (dataclasses.replace(r, seconds=0, versions={}, video="") for r in results), key=lambda result: result.key
    )


def test_every_episode_says_its_condition_and_has_the_seed_of_the_task_alone(whole):
    expected = sorted((task, name, k) for task, name in CELLS for k in range(3))
    assert sorted(result.key for result in whole.results) == expected
    dim = [result for result in whole.results if result.condition == "dim"]
    assert {(r.suite, r.factor, r.level, r.profile) for r in dim} == {("mine@1", "light", "dim", "lit 0.4")}
    assert {r.layouts for r in whole.results if r.condition == "anywhere"} == {"random"}
    told = {r.instruction for r in whole.results if r.condition == "told-otherwise"}
    assert told == {"place the carrot upon the plate"}
    seeds = {(r.task, r.episode_id): set() for r in whole.results}
    for result in whole.results:
        seeds[result.task, result.episode_id].add(result.seed)
    assert all(len(found) == 1 for found in seeds.values())


def test_an_environment_is_made_for_other_options_only(whole, settings, tmp_path):
    fakes.LitBackend.made = 0
    run_suite(settings, out=tmp_path / "run", video=False)
    # Of each task, the plain conditions share one; "dim" has its own, and "anywhere" comes after it.
    assert fakes.LitBackend.made == 5


def test_the_table_and_the_summary_go_by_factor_and_level(whole):
    lines = format_table(whole.summary).splitlines()
    names = [line.split("  ")[0] for line in lines[2:11]]
    assert names[:4] == ["none: as it is", "layout: random", "light: dim", "words: other"]
    assert names[5:7] == ["carrot_on_plate", "stack_cube"]
    assert names[8] == "all tasks"
    assert any(line.startswith("Conditions share their scenes") for line in lines)
    saved = json.loads((whole.folder / "summary.json").read_text())
    assert saved["factors"]["light"]["dim"]["n"] == saved["conditions"]["dim"]["n"] == 6


def test_what_is_not_offered_is_counted_and_said(whole, settings, capsys, suite, tmp_path):
    assert settings.left_out == ("only-there",)
    assert json.loads((whole.folder / "settings.json").read_text())["left_out"] == ["only-there"]
    flags = ["--suite", suite, "--backend", "fakes:LitBackend", "--image-size", "48", "64"]
    flags += ["--tasks", "stack_cube", "--episodes", "1", "--out", str(tmp_path / "run"), "--report"]
    assert main(["evaluate", *flags, "--min-success", "each-condition=1", "--junit", str(tmp_path / "j.xml")]) == 0
    told = capsys.readouterr().err
    assert "1 of 4 conditions are not offered on fakes:LitBackend and were left out: only-there." in told
    assert "EPISODE 3/3 anywhere stack_cube ep 0: success" in told
    names = [part.get("name") for part in ElementTree.parse(tmp_path / "j.xml").getroot()]
    assert names == ["anywhere.stack_cube", "dim.stack_cube", "plain.stack_cube"]
    videos = {result.video for result in read_results(tmp_path / "run" / "results.jsonl")}
    assert videos == {f"videos/{name}/ep0000_stack_cube_success.mp4" for name in ("plain", "dim", "anywhere")}
    assert all((tmp_path / "run" / video).is_file() for video in videos)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "were left out: only-there" in page
    assert "is not finished" not in page
    assert "vlm2vla evaluate --policy scripted --suite mine --tasks stack_cube --episodes 1" in page


def test_a_run_is_resumed_where_it_was(whole, settings, suite, tmp_path):
    copied = shutil.copytree(whole.folder, tmp_path / "run")
    lines = (copied / "results.jsonl").read_text().splitlines(keepends=True)
    (copied / "results.jsonl").write_text("".join(lines[::2]))
    assert content(run_suite(settings, out=copied, video=False, resume=True).results) == content(whole.results)
    for change, words in [
        (lambda text: text.replace("version = 1", "version = 2"), r"suite mine@1 sha256:\w+, not mine@2"),
        (lambda text: text.replace("0.4", "0.5"), r"suite mine@1 sha256:\w+, not mine@1"),
    ]:
        (tmp_path / "other.toml").write_text(change(Path(suite).read_text()))
        with pytest.raises(RunFolderError, match=words):
            run_suite(with_suite(BASE, str(tmp_path / "other.toml")), out=copied, video=False, resume=True)


def test_shards_and_workers_make_the_same_run(whole, settings, tmp_path):
    shards = [run_suite(settings, out=tmp_path / f"{k}", video=False, shard=Shard(k, 2)).folder for k in range(2)]
    merged = merge_runs(shards, tmp_path / "merged")
    assert (content(merged.results), merged.missing) == (content(whole.results), 0)
    with pytest.raises(RunFolderError, match="plain carrot_on_plate 1"):
        merge_runs(shards[:1], tmp_path / "part")
    with pytest.raises(RunFolderError, match="plain carrot_on_plate episode 0 is in"):
        merge_runs([shards[0], whole.folder], tmp_path / "twice")
    several = run_suite(settings, out=tmp_path / "workers", video=False, workers=2)
    assert content(several.results) == content(whole.results)


def test_two_runs_are_compared_by_factor(whole, holding, tmp_path, suite):
    (found,) = compare(read_side(str(whole.folder)), [read_side(str(holding.folder))])
    names = [cell.name for cell in found.cells]
    factors = ["none (factor)", "words (factor)", "light (factor)", "layout (factor)"]
    assert names == ["carrot_on_plate", "stack_cube", *factors, "overall"]
    assert (found.verdict, found.overall.only_baseline) == (Verdict.WORSE, 18)
    assert {cell.name: cell.baseline.n for cell in found.levels}["light: dim"] == 6
    assert found.repeated_scenes
    write_report([whole.folder, holding.folder], tmp_path / "page.html", embed="never")
    page = (tmp_path / "page.html").read_text()
    assert "light: dim" in page
    assert "Success at the last step by factor" in page
    (tmp_path / "other.toml").write_text(Path(suite).read_text().replace("version = 1", "version = 2"))
    other = run_suite(with_suite(BASE, str(tmp_path / "other.toml"), episodes=1), out=tmp_path / "other", video=False)
    with pytest.raises(NotComparableError, match=r"suite: mine@1 sha256:\w+, mine@2"):
        compare(read_side(str(whole.folder)), [read_side(str(other.folder))])
    plain = run_suite(dataclasses.replace(BASE, tasks=("stack_cube",), episodes=1), out=tmp_path / "none", video=False)
    with pytest.raises(NotComparableError, match=r"suite: mine@1"):
        compare(read_side(str(whole.folder)), [read_side(str(plain.folder))])


def test_a_run_of_one_condition_stops_early_and_one_of_shared_scenes_is_refused(whole, settings, tmp_path):
    worse = dataclasses.replace(settings, policy="hold")
    with pytest.raises(SettingError, match="the same scenes in several conditions"):
        run_suite(worse, out=tmp_path / "shared", video=False, stop=StopRule(str(whole.folder)))
    assert not (tmp_path / "shared").exists()
    head, _, conditions = SUITE.partition("[[condition]]")
    dim = next(one for one in conditions.split("[[condition]]") if 'name = "dim"' in one)
    (tmp_path / "dim.toml").write_text(f"{head}[[condition]]{dim}")
    one = with_suite(BASE, str(tmp_path / "dim.toml"), episodes=24)
    full = run_suite(one, out=tmp_path / "full", video=False)
    worse = dataclasses.replace(one, policy="hold")
    made = run_suite(worse, out=tmp_path / "run", video=False, stop=StopRule(str(full.folder)))
    assert made.stopped is not None
    assert (made.stopped.verdict, len(made.results)) == ("worse", 2 * made.stopped.rounds)
    order = json.loads((tmp_path / "run" / "settings.json").read_text())["stopping"]["order"]
    assert {name: sorted(tasks) for name, tasks in order.items()} == {"dim": ["carrot_on_plate", "stack_cube"]}
    (found,) = compare(read_side(str(full.folder)), [read_side(str(made.folder))])
    assert (found.verdict, found.overall.baseline.n) == (Verdict.WORSE, made.stopped.pairs)
    again = run_suite(worse, out=tmp_path / "run", video=False, stop=StopRule(str(full.folder)), resume=True)
    assert again.stopped == made.stopped


def test_a_required_rate_may_be_that_of_a_condition(holding):
    given = gates.read_requirements(["each-condition=0.5", "dim=0.1"], ["stack_cube"], ["plain", "dim"])
    assert [str(one) for one in given] == ["dim 10 %", "plain 50 %"]
    assert gates.missed(holding.summary, given)[1] == "plain 50 % is required; reached: 0.0 % (0 of 6)."
    with pytest.raises(UnknownNameError, match="Did you mean 'dim'"):
        gates.read_requirements(["dime=0.5"], [], ["dim"])


def test_a_folder_from_before_there_were_suites_is_resumed_and_compared(tmp_path):
    old = dataclasses.replace(BASE, backend="point", tasks=("stack_cube",), episodes=2)
    run = run_suite(old, out=tmp_path / "old", video=False)
    saved = json.loads((run.folder / "settings.json").read_text())
    for key in ("suite", "conditions", "left_out"):
        del saved[key]
    (run.folder / "settings.json").write_text(json.dumps(saved))
    lines = [json.loads(line) for line in (run.folder / "results.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in one.items() if k not in ("suite", "condition", "factor", "level")} for one in lines]
    (run.folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in kept))
    assert content(run_suite(old, out=run.folder, video=False, resume=True).results) == content(run.results)
    now = run_suite(old, out=tmp_path / "now", video=False)
    (found,) = compare(read_side(str(run.folder)), [read_side(str(now.folder))])
    assert found.overall.baseline.n == 2
    assert found.levels == ()


def test_settings_that_contradict_a_suite_are_refused(suite, tmp_path):
    def asked(**changes) -> RunSettings:
        return check_settings(with_suite(dataclasses.replace(BASE, **changes), suite))

    with pytest.raises(SettingError, match=r"dim sets light itself"):
        asked(backend_options={"light": 1.0})
    with pytest.raises(SettingError, match=r"told-otherwise says what the policy is told.*\(es\)"):
        asked(language="es")
    with pytest.raises(UnknownNameError, match="option of the backend 'point' named 'light'"):
        asked(backend="point")
    with pytest.raises(SettingError, match=r"leave out the instruction"):
        with_suite(dataclasses.replace(BASE, tasks=("stack_cube",), instruction="stack them"), suite)
    with pytest.raises(UnknownNameError, match="No task of the suite named 'spoon_on_towel'"):
        with_suite(BASE, suite, tasks=["spoon_on_towel"])
    with pytest.raises(SettingError, match="have a condition named anywhere"):
        with_suite(BASE, [suite, suite])
    with pytest.raises(SettingError, match=r"different numbers of episodes \(3, 24\)"):
        with_suite(BASE, f"{suite},simpler")
    assert with_suite(BASE, f"{suite},simpler", episodes=2).episodes == 2
    (tmp_path / "there.toml").write_text(SUITE.replace('backends = ["any"]', 'backends = ["simpler"]'))
    with pytest.raises(SettingError, match="None of the 5 conditions"):
        with_suite(BASE, str(tmp_path / "there.toml"))
    with pytest.raises(SettingError, match=r"Give a suite to evaluation\.with_suite\.with_suite"):
        RunSettings(suite="language")
    with pytest.raises(SettingError, match="A recording takes no suite"):
        record(with_suite(BASE, suite), tmp_path / "data")


def test_an_episode_is_traced_by_its_condition(whole, capsys):
    words = ["trace", str(whole.folder), "1", "--task", "stack_cube"]
    assert main(words) == 1
    assert "choose one with --condition" in capsys.readouterr().err
    assert main([*words, "--condition", "dim"]) == 0
    assert "condition dim of mine@1" in capsys.readouterr().out
    assert len(read_results(whole.folder / "results.jsonl")) == 18
