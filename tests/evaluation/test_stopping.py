"""A run that stops when its comparison is decided: what it records, that speed does not matter, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import NotComparableError, RunFolderError, SettingError
from vlm2vla_sim.evaluation.comparison.compare import NOT_COUNTED, Verdict, compare, discordant
from vlm2vla_sim.evaluation.comparison.sides import read_side
from vlm2vla_sim.evaluation.comparison.stopping import StopRule, StopWatch
from vlm2vla_sim.evaluation.executors.base import Limits
from vlm2vla_sim.evaluation.executors.local import LocalExecutor
from vlm2vla_sim.evaluation.merge import merge_runs
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.evaluation.suite import SuiteRun, run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

TASKS = ("carrot_on_plate", "stack_cube", "spoon_on_towel")
BASE = RunSettings(policy="scripted", tasks=TASKS, episodes=12, backend="point", image_size=(48, 64))
NOISY = dataclasses.replace(BASE, noise_cm=2.5)
FLAGS = ["--backend", "point", "--tasks", *TASKS, "--episodes", "12", "--image-size", "48", "64", "--no-video"]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory) -> str:
    """A full run of the scripted policy; not to be changed."""
    return str(run_suite(BASE, out=tmp_path_factory.mktemp("runs") / "baseline", video=False).folder)


@pytest.fixture(scope="module")
def stopped(baseline, tmp_path_factory) -> SuiteRun:
    """A worse policy, stopped early; not to be changed."""
    return run_suite(NOISY, out=tmp_path_factory.mktemp("runs") / "stopped", video=False, stop=StopRule(baseline))


def content(results) -> list[EpisodeResult]:
    return [dataclasses.replace(result, seconds=0, versions={}) for result in results]


def record(folder: Path) -> dict:
    return json.loads((folder / "settings.json").read_text())["stopping"]


def test_a_worse_policy_is_stopped_and_the_folder_says_why(baseline, stopped):
    state, saved = stopped.stopped, record(stopped.folder)
    assert state is not None
    assert (state.verdict, state.pairs) == ("worse", len(stopped.results))
    assert state.rounds < 12
    assert saved["state"] == dataclasses.asdict(state)
    assert (saved["when"], saved["baseline"], saved["margin"], saved["confidence"]) == ("decided", baseline, 0.15, 0.95)
    assert {task: sorted(numbers) for task, numbers in saved["order"].items()} == {t: [*range(12)] for t in TASKS}
    assert len({tuple(numbers) for numbers in saved["order"].values()}) == 3
    assert [*range(12)] not in saved["order"].values()
    ran = [(r.task, r.episode_id) for r in read_results(stopped.folder / "results.jsonl")]
    assert ran == [(task, saved["order"][task][k]) for k in range(state.rounds) for task in saved["order"]]


def test_compare_uses_what_holds_at_any_time(baseline, stopped):
    (found,) = compare(read_side(baseline), [read_side(str(stopped.folder))])
    state = stopped.stopped
    assert found.verdict is Verdict.WORSE
    assert (found.overall.low, found.overall.high, found.overall.baseline.n) == (state.low, state.high, state.pairs)
    assert found.overall.detectable is None
    assert found.to_json()["stopping"]["state"]["verdict"] == "worse"
    unplanned = dataclasses.replace(read_side(str(stopped.folder)), stopping=None)
    (biased,) = compare(read_side(baseline), [unplanned])
    assert biased.overall.high < found.overall.high


def test_the_command_says_that_it_was_stopped(baseline, stopped, tmp_path, capsys):
    out = str(tmp_path / "run")
    flags = [*FLAGS, "--noise", "2.5", "--out", out]
    assert main(["evaluate", *flags, "--baseline", baseline, "--stop-when", "decided"]) == 0
    assert f"Worse than {baseline} after {stopped.stopped.pairs} pairs" in capsys.readouterr().out
    assert content(read_results(tmp_path / "run" / "results.jsonl")) == content(
        read_results(stopped.folder / "results.jsonl")
    )
    assert main(["compare", baseline, out]) == 1
    said = capsys.readouterr().out
    assert f"stopped early, after {stopped.stopped.rounds} of 12 rounds" in said
    assert "anytime-valid" in said
    assert "with a probability of 80 %" not in said
    assert main(["report", baseline, out, "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "The run may have stopped early" in page
    assert "with a probability of 80 %" not in page


def test_workers_that_run_ahead_change_nothing(baseline, stopped, tmp_path):
    run = run_suite(NOISY, out=tmp_path / "run", video=False, stop=StopRule(baseline), workers=3)
    assert run.stopped == stopped.stopped
    extra = len(run.results) - run.stopped.pairs
    assert 0 <= extra <= 6
    (found,) = compare(read_side(baseline), [read_side(str(run.folder))])
    assert found.overall.baseline.n == run.stopped.pairs
    assert found.left_out.get(NOT_COUNTED, 0) == extra
    assert len(discordant(found)) == found.overall.only_baseline + found.overall.only_candidate


def test_a_run_that_was_interrupted_goes_on_with_the_same_test(baseline, stopped, tmp_path):
    folder = Path(shutil.copytree(stopped.folder, tmp_path / "run"))
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    kept = [lines[5], *lines[:4]]  # as workers may have left them
    (folder / "results.jsonl").write_text("".join(kept))
    values = json.loads((folder / "settings.json").read_text())
    values["stopping"]["state"] = None
    (folder / "settings.json").write_text(json.dumps(values))
    (half,) = compare(read_side(baseline), [read_side(str(folder))])
    assert (half.overall.baseline.n, half.left_out[NOT_COUNTED]) == (3, 2)  # one round is complete
    again = run_suite(NOISY, out=folder, video=False, stop=StopRule(baseline), resume=True)
    assert again.stopped == stopped.stopped
    assert content(again.results) == content(stopped.results)
    told = []
    run_suite(NOISY, out=folder, video=False, stop=StopRule(baseline), resume=True, on_result=told.append)
    assert told == []  # it is decided


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (None, "it may stop early"),
        (StopRule("", margin=0.2), r"margin 0\.15, not 0\.2"),
        (StopRule("", confidence=0.9), r"confidence 0\.95, not 0\.9"),
    ],
)
def test_another_rule_does_not_continue_it(baseline, stopped, tmp_path, stop, said):
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    stop = stop and dataclasses.replace(stop, baseline=baseline)
    with pytest.raises(RunFolderError, match=said):
        run_suite(NOISY, out=folder, video=False, stop=stop, resume=True)


def test_another_baseline_does_not_continue_it(baseline, stopped, tmp_path):
    changed = Path(shutil.copytree(baseline, tmp_path / "baseline"))
    lines = [json.loads(line) for line in (changed / "results.jsonl").read_text().splitlines()]
    lines[0] |= {"outcome": "failure", "success_at_end": False}
    (changed / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = shutil.copytree(stopped.folder, tmp_path / "run")
    with pytest.raises(RunFolderError, match="had other episodes or results"):
        run_suite(NOISY, out=folder, video=False, stop=StopRule(str(changed)), resume=True)
    with pytest.raises(RunFolderError, match="does not stop early"):
        run_suite(BASE, out=changed, video=False, stop=StopRule(baseline), resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "36 of the 36 episodes have no partner"),
        ({"episodes": 13}, "3 of the 39 episodes have no partner"),
        ({"layouts": "random"}, "layouts: grid, random"),
        ({"quality": "high"}, "quality: fast, high"),
        ({"backend": "fakes:FaultyBackend"}, "backend: point, fakes:FaultyBackend"),
    ],
)
def test_a_baseline_that_is_not_paired_is_refused_before_anything_is_written(baseline, tmp_path, change, said):
    with pytest.raises(NotComparableError, match=said):
        run_suite(dataclasses.replace(NOISY, **change), out=tmp_path / "run", video=False, stop=StopRule(baseline))
    assert not (tmp_path / "run").exists()


def test_a_baseline_of_another_version_is_refused_at_the_first_result(baseline, tmp_path):
    old = Path(shutil.copytree(baseline, tmp_path / "old"))
    lines = (old / "results.jsonl").read_text().replace('"vlm2vla_sim": "', '"vlm2vla_sim": "0.0-')
    (old / "results.jsonl").write_text(lines)
    with pytest.raises(NotComparableError, match="version of vlm2vla_sim: "):
        run_suite(NOISY, out=tmp_path / "run", video=False, stop=StopRule(str(old)))


def test_what_cannot_stop_early_is_refused(baseline, stopped, tmp_path, capsys):
    with pytest.raises(SettingError, match="shard cannot stop"):
        run_suite(NOISY, out=tmp_path / "run", video=False, stop=StopRule(baseline), shard=Shard(0, 2))
    with pytest.raises(NotComparableError, match="may itself have stopped early"):
        run_suite(NOISY, out=tmp_path / "run", video=False, stop=StopRule(str(stopped.folder)))
    with pytest.raises(RunFolderError, match="may have stopped early"):
        merge_runs([stopped.folder], tmp_path / "merged")
    for rule in (StopRule(baseline, margin=0), StopRule(baseline, confidence=95)):
        with pytest.raises(SettingError, match="expected"):
            run_suite(NOISY, out=tmp_path / "run", video=False, stop=rule)
    stop = ["--baseline", baseline, "--stop-when", "decided"]
    for flags, said in (
        (["--baseline", baseline], "--baseline was given without --stop-when"),
        (["--margin", "10"], "--margin was given without --stop-when"),
        (["--stop-when", "decided"], "add --baseline RUN"),
        ([*stop, "--policies", "hold", "scripted"], "about one policy"),
        ([*stop, "--min-success", "0.5"], "Give one of them"),
    ):
        assert main(["evaluate", *FLAGS, "--out", str(tmp_path / "run"), *flags]) == 1
        assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_compare_refuses_what_it_cannot_account_for(baseline, stopped, tmp_path):
    side = read_side(str(stopped.folder))
    with pytest.raises(NotComparableError, match="two runs at a time"):
        compare(read_side(baseline), [side, side])
    with pytest.raises(NotComparableError, match="name it alone"):
        read_side(f"{stopped.folder},{baseline}")
    other = dataclasses.replace(
        read_side(baseline), episodes=tuple(dataclasses.replace(e, seed=1, layouts="random") for e in side.episodes)
    )
    alone = dataclasses.replace(side, episodes=tuple(dataclasses.replace(e, layouts="random") for e in side.episodes))
    with pytest.raises(NotComparableError, match="accounted for in pairs only"):
        compare(other, [alone])
    folder = Path(shutil.copytree(stopped.folder, tmp_path / "run"))
    values = json.loads((folder / "settings.json").read_text())
    del values["stopping"]["order"]
    (folder / "settings.json").write_text(json.dumps(values))
    with pytest.raises(RunFolderError, match="not by which rule or in which order"):
        read_side(str(folder))


def test_a_round_with_an_episode_that_has_no_outcome_does_not_count(baseline, stopped):
    watch = StopWatch(StopRule(baseline), NOISY)
    results = {r.key: r for r in stopped.results}
    first, *rounds = watch.record.rounds[: stopped.stopped.rounds]
    broken = dataclasses.replace(results[first[1]], outcome=Outcome.ERROR, success_at_end=None, profile="", versions={})
    assert [watch.add(r) for r in (results[first[0]], broken, results[first[2]])] == [None] * 3
    looked = [watch.add(results[episode]) for episodes in rounds for episode in episodes]
    assert looked[:-1] == [None] * (len(looked) - 1)
    state = watch._look()
    assert (state.rounds, state.pairs) == (len(rounds) + 1, 3 * len(rounds))


class _Order:
    """A job that says in which order its items were begun, by their results."""

    folder, fresh_for_group = Path(), False

    def open(self, models):
        return self

    def run(self, item):
        return item

    def close(self):
        pass

    def group(self, item):
        return item[0]

    def broken(self, item, reason):
        raise AssertionError(reason)

    def annotated(self, result, note):
        return result


def test_workers_begin_no_item_far_ahead_of_the_first_that_has_not_ended():
    items = [(group, k) for k in range(12) for group in "abc"]
    ended = list(LocalExecutor().run(_Order(), items, Limits(2, isolated=True, ahead=6)))
    assert sorted(ended) == sorted(items)
    left = list(items)
    for item in ended:
        assert items.index(item) < items.index(left[0]) + 6
        left.remove(item)
