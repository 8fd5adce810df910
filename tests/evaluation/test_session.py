"""The person in the loop: every answer means one thing, silence is never a success, and nothing said is lost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scenario_table import Measured

import vlm2vla_sim.evaluation.operator.session as session_module
from vlm2vla_sim.errors import EpisodeAbortedError, RunFolderError, SettingError
from vlm2vla_sim.evaluation.operator.episode_log import EpisodeLog, PolicySpec, SessionSettings
from vlm2vla_sim.evaluation.operator.prompts import ButtonAnswers, Label, Operator, StreamAnswers
from vlm2vla_sim.evaluation.operator.session import run_session
from vlm2vla_sim.evaluation.rates import Mean, wilson_interval
from vlm2vla_sim.evaluation.results import format_table, read_results, summarize
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Status

BLINDFOLDED = f"{__name__}:BlindBackend"


class BlindBackend(PointBackend):
    """The point robot as a real arm is: nobody knows where the objects are."""

    def status(self) -> Status:
        known = super().status()
        return Status(known.robot, None)


def settings(**changes: object) -> SessionSettings:
    values: dict[str, object] = {
        "policies": (PolicySpec("hold"), PolicySpec("random")),
        "tasks": ("carrot_on_plate", "stack_cube"),
        "episodes": 2,
        "backend": BLINDFOLDED,
    }
    return SessionSettings(**(values | changes))  # type: ignore[arg-type]


def operator(text: str, **options: bool) -> tuple[Operator, list[str]]:
    said: list[str] = []
    return Operator([StreamAnswers(io.StringIO(text))], say=said.append, **options), said


def run(text: str, out: Path, *, resume: bool = False, **changes: object):
    return run_session(settings(**changes), out, operator(text)[0], resume=resume, video=False, live=False)


def read(out: Path, name: str = "episodes.jsonl") -> list[dict]:
    path = out / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# Answers.


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("y\n", Label("success", 100.0)),
        ("YES\n", Label("success", 100.0)),
        ("n\n", Label("failure", 0.0)),
        ("40\n", Label("partial", 40.0)),
        ("100\n", Label("success", 100.0)),
        ("100.0 %\n100%\n", Label("success", 100.0)),
        ("99.5\n", Label("partial", 99.5)),
        ("62,5\n", Label("partial", 62.5)),
        ("0\n", Label("failure", 0.0)),
        ("1e2\n1_0\n100.1\ninf\n101\n7 0\n70\n", Label("partial", 70.0)),
        ("r\n", Label("redo")),
        ("a\n", Label("abort")),
        ("note the carrot rolled\ny\n", Label("success", 100.0, ("the carrot rolled",))),
        ("maybe\n120\n-1\nnan\n\nn\n", Label("failure", 0.0)),
        ("", Label("abort")),
        ("note only this\n", Label("abort", notes=("only this",))),
        ("\n\n\n", Label("abort")),
    ],
)
def test_every_answer_means_one_thing_and_the_end_of_input_is_an_abort(text, label):
    assert operator(text)[0].judge(3, None) == label


def test_a_note_is_kept_with_its_own_episode_and_attempt_only():
    asked, _ = operator("note hit the table\nr\nnote slipped\ny\nn\n")
    assert asked.judge(0, None) == Label("redo", notes=("hit the table",))
    assert asked.judge(0, None) == Label("success", 100.0, ("slipped",))
    assert asked.judge(1, None) == Label("failure", 0.0)
    asked, _ = operator("note lamp on\n\nnote lamp off\ny\n")
    asked.wait_for_scene(2, "Arrange.")
    assert asked.judge(2, None).notes == ("lamp on", "lamp off")


def test_where_the_backend_knows_nobody_is_asked_unless_always():
    asked, said = operator("")
    assert asked.judge(1, known=True) == Label("success", 100.0, automatic=True)
    assert asked.judge(1, known=False) == Label("failure", 0.0, automatic=True)
    assert said == []
    assert operator("n\n", always_ask=True)[0].judge(1, known=True) == Label("failure", 0.0)


def test_an_answer_with_a_number_waits_for_its_trial():
    source = StreamAnswers(io.StringIO("2: y\n1: n\n"))
    asked = Operator([source], say=lambda words: None)
    assert asked.judge(1, None).word == "failure"
    assert asked.judge(2, None).word == "success"
    assert asked.judge(3, None).word == "abort"


def test_the_scene_is_waited_for_and_the_end_of_input_stops_the_session():
    asked, said = operator("what?\nnote lamp on\n\n")
    asked.wait_for_scene(0, "Arrange.")
    assert "Arrange." in said[0]
    with pytest.raises(EpisodeAbortedError):
        asked.wait_for_scene(1, "Arrange.")


def test_a_button_for_another_trial_or_from_before_the_question_is_ignored(tmp_path):
    path = tmp_path / "buttons.jsonl"

    def press(episode: int, button: str) -> None:
        with path.open("a") as file:
            file.write(json.dumps({"episode": episode, "button": button}) + "\n")

    press(4, "success")
    source = ButtonAnswers(path)
    assert source.read(4, 0.0) is None
    press(3, "success")
    press(4, "failure")
    assert source.read(4, 0.0) == "n"
    press(4, "success")
    source.drain()
    assert source.read(4, 0.0) is None


# Sessions.


def test_a_session_writes_what_the_person_said_and_not_what_the_robot_could_not_know(tmp_path):
    end = run("y\nn\n70\nnote slipped\nn\ny\nn\nn\nn\n", tmp_path / "s")
    assert (end.done, end.planned, end.stopped) == (8, 8, "")
    records = read(tmp_path / "s")
    assert [r["label"]["word"] for r in records[:4]] == ["success", "failure", "partial", "failure"]
    assert [r["result"]["outcome"] for r in records[:4]] == ["success", "failure", "failure", "failure"]
    assert records[3]["label"]["notes"] == ["slipped"]
    assert records[2]["label"]["score"] == 70
    results = read(tmp_path / "s", "results.jsonl")
    assert sum(r["success_at_end"] for r in results) == 2
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert summary["overall"]["success_at_end"]["k"] == 2
    assert set(summary["policies"]) == {"hold", "random"}


def test_progress_is_averaged_with_an_interval_and_what_nobody_knows_is_null(tmp_path):
    end = run("100\n70\n", tmp_path / "s", policies=(PolicySpec("hold"),), tasks=("stack_cube",))
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    low, high = wilson_interval(1.7, 2)
    expected = {"n": 2, "mean": 85.0, "low": pytest.approx(100 * low), "high": pytest.approx(100 * high)}
    assert summary["overall"]["progress"] == expected
    assert summary["policies"]["hold"]["tasks"]["stack_cube"]["progress"] == expected
    assert summary["overall"]["success_at_end"]["k"] == 1
    assert f"1 of 2, 50.0 % (9.5 to 90.5), progress 85 ({100 * low:.4g} to {100 * high:.4g})" in end.table
    for name in ("success_once", "success_released", "grasped", "consecutive_grasp", "moved_correct_object"):
        nothing = {"k": 0, "n": 0, "rate": None, "low": None, "high": None}
        assert summary["overall"][name] == nothing, f"{name}: a rate over the successes alone would be 100 %"
        assert all(line[name] is None for line in read(tmp_path / "s", "results.jsonl"))
    assert [line["progress"] for line in read(tmp_path / "s", "results.jsonl")] == [100.0, 70.0]
    assert "progress" in format_table(summarize(read_results(tmp_path / "s" / "results.jsonl")))


def test_equal_scores_and_no_score_have_honest_intervals():
    assert Mean.of_progress([]) == Mean(0, None, None, None)
    full = Mean.of_progress([100.0] * 5)
    assert (full.mean, full.high) == (100.0, 100.0)
    assert full.low == pytest.approx(56.55, abs=0.01)  # Wilson's for 5 of 5
    assert Mean.of_progress([50.0]).low == pytest.approx(5.46, abs=0.01)


def test_a_label_against_the_simulators_leaves_nothing_it_contradicts(tmp_path):
    chosen = settings(backend="point", policies=(PolicySpec("scripted"),), tasks=("stack_cube",))
    asked = operator("n\ny\n", always_ask=True)[0]
    run_session(chosen, tmp_path / "s", asked, video=False, live=False)
    first, second = read(tmp_path / "s", "results.jsonl")
    assert (first["success_at_end"], first["success_once"], first["success_released"]) == (False, True, False)
    assert (second["success_at_end"], second["success_once"], second["success_released"]) == (True, True, True)


def test_a_simulator_that_knows_judges_by_itself(tmp_path):
    chosen = settings(backend="point", policies=(PolicySpec("scripted"), PolicySpec("hold")), tasks=("stack_cube",))
    end = run_session(chosen, tmp_path / "s", operator("")[0], video=False, live=False)
    assert end.done == 4
    assert "scripted (vlm2vla): 2 of 2" in end.table
    assert "hold (vlm2vla): 0 of 2" in end.table


def test_redo_runs_the_trial_again_and_counts_once(tmp_path):
    run("r\nr\ny\n" + "n\n" * 7, tmp_path / "s")
    records = read(tmp_path / "s")
    assert len(records) == 8
    assert records[0]["attempts"] == 3
    assert [e["event"] for e in read(tmp_path / "s", "events.jsonl")] == ["redo", "redo"]


def test_the_order_is_random_the_same_when_resumed_and_pairs_stay_together(tmp_path):
    plan = settings(episodes=12).plan()
    assert plan == settings(episodes=12).plan()
    assert plan != settings(episodes=12, seed=1).plan()
    assert [t.episode_id for t in plan] != sorted(t.episode_id for t in plan)
    pairs = [plan[k : k + 2] for k in range(0, len(plan), 2)]
    assert all(a.task == b.task and a.episode_id == b.episode_id for a, b in pairs)
    first = Counter(a.policy for a, _ in pairs)
    assert min(first.values()) >= 4  # neither is always first
    whole = [r["episode"] for r in (run("n\n" * 8, tmp_path / "whole"), read(tmp_path / "whole"))[1]]
    run("n\nn\nn\n", tmp_path / "cut")
    assert len(read(tmp_path / "cut")) == 3
    end = run("n\n" * 5, tmp_path / "cut", resume=True)
    assert end.done == 8
    assert [r["episode"] for r in read(tmp_path / "cut")] == whole


def test_a_blind_session_names_nobody_before_its_end(tmp_path):
    chosen = settings(blind=True, backend=BLINDFOLDED)
    said: list[str] = []
    asked = Operator([StreamAnswers(io.StringIO("n\n" * 3))], say=said.append)
    end = run_session(chosen, tmp_path / "s", asked, video=False, live=True, say=said.append)
    spoken = " ".join(said) + (tmp_path / "s" / "live" / "state.json").read_text()
    assert end.table == ""
    assert "hold" not in spoken
    assert "random" not in spoken
    assert {chosen.title(t) for t in chosen.plan()} == {"A", "B"}
    end = run_session(chosen, tmp_path / "s", operator("n\n" * 5)[0], resume=True, video=False, live=False)
    assert " = hold" in end.table


class Flaky(BlindBackend):
    """Breaks every other episode."""

    resets = 0

    def reset(self, layout: object, rng: np.random.Generator) -> None:
        super().reset(layout, rng)  # type: ignore[arg-type]
        Flaky.resets += 1

    def move(self, delta: np.ndarray) -> None:
        from vlm2vla_sim.errors import LinkLostError

        if Flaky.resets % 2:
            raise LinkLostError("The cable was pulled.")
        super().move(delta)


def test_faults_are_run_again_and_counted_apart_from_the_policys_failures(tmp_path):
    Flaky.resets = 0
    chosen = settings(backend=f"{__name__}:Flaky", policies=(PolicySpec("hold"),), tasks=("stack_cube",))
    end = run_session(chosen, tmp_path / "s", operator("y\ny\n")[0], video=False, live=False)
    assert end.done == 2
    assert [e["event"] for e in read(tmp_path / "s", "events.jsonl")] == ["fault", "fault"]
    assert "link_lost" in read(tmp_path / "s", "events.jsonl")[0]["reason"]
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert summary["overall"]["success_at_end"] | {"low": 0, "high": 0} == {
        "k": 2,
        "n": 2,
        "rate": 1.0,
        "low": 0,
        "high": 0,
    }
    assert "2 attempts run again" in end.table


def test_a_robot_that_breaks_again_and_again_stops_the_session_without_a_label(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Flaky, "move", lambda self, delta: (_ for _ in ()).throw(session_module.BackendFaultError("dead"))
    )
    end = run_session(
        settings(backend=f"{__name__}:Flaky"), tmp_path / "s", operator("y\n")[0], video=False, live=False
    )
    assert end.done == 0
    assert "3 times in a row" in end.stopped
    assert read(tmp_path / "s") == []


def test_a_folder_is_neither_overwritten_nor_resumed_with_other_settings(tmp_path):
    run("n\n" * 8, tmp_path / "s")
    with pytest.raises(RunFolderError, match="--resume"):
        run("n\n", tmp_path / "s")
    with pytest.raises(RunFolderError, match="made with seed 0, not 5"):
        run("n\n", tmp_path / "s", resume=True, seed=5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match="is not empty"):
        run("n\n", tmp_path / "other")
    with pytest.raises(SettingError):
        settings(episodes=0)


def test_a_session_killed_after_its_last_line_has_complete_results_once_it_is_taken_up_again(tmp_path):
    run("n\n" * 8, tmp_path / "s")
    (tmp_path / "s" / "results.jsonl").write_text("")
    assert run("", tmp_path / "s", resume=True).done == 8
    assert len(read(tmp_path / "s", "results.jsonl")) == 8


def test_two_sessions_cannot_write_to_one_folder(tmp_path):
    log = EpisodeLog(tmp_path / "s", settings(), resume=False)
    with pytest.raises(RunFolderError, match="Another process is writing"):
        EpisodeLog(tmp_path / "s", settings(), resume=True)
    log.close()


def test_a_line_that_a_crash_cut_off_is_a_trial_that_was_not_made(tmp_path):
    run("n\nn\n", tmp_path / "s")
    path = tmp_path / "s" / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert run("y\n" * 7, tmp_path / "s", resume=True).done == 8
    assert [r["episode"]["number"] for r in read(tmp_path / "s")] == list(range(8))
    assert read(tmp_path / "s")[1]["label"]["word"] == "success"


KILLS = 20
SHORT = {"max_episode_steps": 3, "image_size": (32, 32)}
EPISODES = 24
ANSWERS = "".join(f"{k}: {'y' if k % 3 else 'n'}\n" for k in range(EPISODES))


def whole_session(out: Path, say=lambda words: None):
    """A session of `EPISODES` short episodes, begun or gone on with."""
    asked = operator(ANSWERS)[0]
    chosen = settings(episodes=EPISODES // 4)
    return run_session(chosen, out, asked, resume=True, video=False, live=False, env_options=SHORT, say=say)


NURSERY = """
import os, sys
sys.path[:0] = {path!r}
import {module} as tests
from pathlib import Path
for line in sys.stdin:
    child = os.fork()
    if not child:
        tests.whole_session(Path(line.strip()), say=lambda words: print(words, flush=True))
        os._exit(0)
    print("child", child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.mark.scenario("file-killed")
def test_a_session_killed_at_any_moment_loses_and_repeats_no_labelled_trial(tmp_path, outcome):
    """SIGKILL at 20 random moments, one session each; then the rest of the session, then the count."""
    rng = random.Random(4)
    cut_short = 0
    command = [sys.executable, "-c", NURSERY.format(path=sys.path, module=__name__)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        nursery.stdin.write(f"{tmp_path / 'measure'}\n")
        nursery.stdin.flush()
        nursery.stdout.readline()
        started = time.monotonic()
        while nursery.stdout.readline() != "ended\n":
            pass
        usual = time.monotonic() - started  # of such a child, not of this process, which imports at its first session
        for kill in range(KILLS):
            out = tmp_path / f"run{kill}"
            nursery.stdin.write(f"{out}\n")
            nursery.stdin.flush()
            child = int(nursery.stdout.readline().split()[1])
            time.sleep(rng.uniform(0.0, 0.9 * usual))
            with contextlib.suppress(ProcessLookupError):  # it was quicker than we
                os.kill(child, signal.SIGKILL)
            told = set()
            while (line := nursery.stdout.readline()) != "ended\n":
                told.add(int(line.split()[2].rstrip(":")))
            before = {r["episode"]["number"] for r in read_whole(out)}
            assert told <= before  # what the person was told is recorded, is
            cut_short += 0 < len(before) < EPISODES
            assert whole_session(out).done == EPISODES
            records = read(out)
            assert [r["episode"]["number"] for r in records] == list(range(EPISODES))
            assert all((r["result"]["outcome"] == "success") == bool(r["episode"]["number"] % 3) for r in records)
            assert len(read(out, "results.jsonl")) == EPISODES
        nursery.stdin.close()
    assert cut_short > KILLS / 3  # many were interrupted half-way
    outcome(Measured("-9, then 0", f"{EPISODES} of {EPISODES}, each once", "none"))


def read_whole(out: Path) -> list[dict]:
    path = out / "episodes.jsonl"
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
