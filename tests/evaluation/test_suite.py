"""A run survives crashes, hangs, Ctrl-C and full disks, and its results do not depend on how it was carried out."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import MARKER, OddError, ProcessBackend

from vlm2vla_sim import errors
from vlm2vla_sim.evaluation.results import read_results, sort_results
from vlm2vla_sim.evaluation.run_folder import RunFolder
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import InterruptedRunError, SuiteRun, run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

HERE = Path(__file__).parents[1]
CARROT = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=3, backend="point", image_size=(48, 64))


def run(out: Path, settings: RunSettings = CARROT, **options) -> SuiteRun:
    return run_suite(settings, out=out, **{"video": False, **options})


def troubled(backend: str, **changes) -> RunSettings:
    return dataclasses.replace(CARROT, backend=f"fakes:{backend}", **changes)


def content(result: EpisodeResult) -> EpisodeResult:
    """What must not depend on how fast or in which process an episode ran."""
    return dataclasses.replace(result, seconds=0, versions={})


def outcomes(run: SuiteRun) -> list[str]:
    return [result.outcome.value for result in run.results]


def test_a_run_leaves_settings_results_summary_and_a_video_per_episode(tmp_path):
    settings = dataclasses.replace(CARROT, policy="scripted", tasks=("stack_cube", "carrot_on_plate"), episodes=2)
    told = []
    made = run(tmp_path / "run", settings, video=True, on_result=told.append)
    assert made.folder == tmp_path / "run"
    assert sorted(path.name for path in made.folder.iterdir() if path.name != ".lock") == [
        "results.jsonl",
        "settings.json",
        "summary.json",
        "videos",
    ]
    assert [(r.task, r.episode_id) for r in made.results] == [
        ("carrot_on_plate", 0),
        ("carrot_on_plate", 1),
        ("stack_cube", 0),
        ("stack_cube", 1),
    ]
    assert all((made.folder / result.video).is_file() for result in made.results)
    assert sorted(told, key=made.results.index) == list(made.results)
    assert json.loads((made.folder / "summary.json").read_text()) == made.summary.to_json()
    assert made.summary.overall.success_at_end.k == 4
    assert sort_results(read_results(made.folder / "results.jsonl")) == list(made.results)


def test_two_workers_make_the_same_results_as_none(tmp_path):
    settings = dataclasses.replace(CARROT, policy="random", tasks=("spoon_on_towel", "eggplant_in_basket"), episodes=4)
    alone = run(tmp_path / "1", settings)
    together = run(tmp_path / "2", settings, workers=2)
    assert list(map(content, together.results)) == list(map(content, alone.results))
    assert len({result.seed for result in alone.results}) == 8
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in "12"]
    for summary in summaries:
        for part in (summary["overall"], *summary["tasks"].values()):
            part.pop("seconds")
    assert summaries[0] == summaries[1]


def test_random_layouts_go_beyond_simplers_grid(tmp_path):
    settings = dataclasses.replace(CARROT, layouts="random", episodes=26)
    assert len(run(tmp_path / "run", settings).results) == 26


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"episodes": 25}, errors.EpisodeError, "25 episodes of carrot_on_plate.*grid has 24.*--layouts random"),
        ({"tasks": ("carot",)}, errors.UnknownNameError, "No task named 'carot'. Did you mean 'carrot_on_plate'"),
        ({"backend": "mojoco"}, errors.UnknownNameError, "No backend named 'mojoco'. Did you mean 'mujoco'"),
        ({"policy": "scripd"}, errors.UnknownNameError, "No policy named 'scripd'. Did you mean 'scripted'"),
        ({"policy": "fakes:make_nothing"}, errors.UnknownNameError, "No policy in fakes named 'make_nothing'"),
        ({"policy": "no_such_module:make"}, errors.UnknownNameError, "No policy named 'no_such_module:make'"),
        ({"action_format": "pros"}, errors.UnknownNameError, "No action format named 'pros'. Did you mean 'prose'"),
        ({"layouts": "grd"}, errors.SettingError, "'grid' or 'random'"),
        ({"noise_cm": 1.0}, errors.SettingError, "'hold' takes no noise"),
        ({"backend_options": {"prof": 1}}, errors.UnknownNameError, "No option of the backend 'point' named 'prof'"),
        (
            {"backend": "simpler", "backend_options": {"profil": "maniskill3"}},
            errors.UnknownNameError,
            "No option of the backend 'simpler' named 'profil'. Did you mean 'profile'",
        ),
        ({"image_size": (4, 4)}, errors.EpisodeError, "image_size is"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_what_no_episode_could_be_run_with_ends_the_run_in_a_sentence(tmp_path, changes, kind, words, workers):
    with pytest.raises(kind, match=words):
        run(tmp_path / "run", dataclasses.replace(CARROT, **changes), workers=workers)


@pytest.mark.parametrize(("options", "words"), [({"workers": 0}, "0 workers"), ({"episode_timeout": 0}, "0 s")])
def test_options_that_make_no_sense_are_refused(tmp_path, options, words):
    with pytest.raises(errors.SettingError, match=words):
        run(tmp_path / "run", **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_extra_ends_the_run_with_its_pip_line(tmp_path, workers):
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'vlm2vla_sim\[absent\]'"):
        run(tmp_path / "run", troubled("AbsentBackend"), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_machine_that_cannot_draw_ends_the_run_instead_of_failing_every_episode(tmp_path, workers):
    with pytest.raises(errors.RendererError, match="install libegl1"):
        run(tmp_path / "run", troubled("BlindBackend"), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("backend", ["FaultyBackend", "BuggyBackend"])
def test_an_episode_that_breaks_is_an_error_and_the_run_goes_on(tmp_path, backend, workers):
    made = run(tmp_path / "run", troubled(backend), workers=workers)
    assert outcomes(made) == ["failure", "error", "failure"]
    assert (made.summary.overall.n, made.summary.overall.n_error) == (2, 1)
    assert "ep0001_carrot_on_plate.txt" in made.results[1].reason
    assert "Traceback" in (made.folder / "logs" / "ep0001_carrot_on_plate.txt").read_text()


def test_an_aborted_episode_is_neither_success_nor_failure(tmp_path):
    made = run(tmp_path / "run", troubled("AbortedBackend"))
    assert outcomes(made) == ["failure", "aborted", "failure"]
    assert (made.summary.overall.n, made.summary.overall.n_aborted) == (2, 1)


@pytest.mark.parametrize(
    ("backend", "death"), [("KilledBackend", "was killed by SIGKILL"), ("ExitingBackend", "ended with exit status 7")]
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_takes_one_episode_with_it_after_a_second_try(tmp_path, backend, death, workers):
    made = run(tmp_path / "run", troubled(backend), workers=workers, isolate=True)
    assert outcomes(made) == ["failure", "error", "failure"]
    reason = made.results[1].reason
    assert reason == f"The episode broke off 2 times. attempt 1: its process {death}; attempt 2: its process {death}."


def test_a_worker_that_dies_once_costs_nothing_but_a_note(tmp_path, monkeypatch):
    monkeypatch.setenv(MARKER, str(tmp_path / "marker"))
    made = run(tmp_path / "run", troubled("KilledOnceBackend"), isolate=True, video=True)
    assert outcomes(made) == ["failure"] * 3
    assert made.results[1].reason == ("This is attempt 2; the one before broke off: its process was killed by SIGKILL.")
    assert [result.reason for result in made.results[::2]] == ["", ""]
    left = sorted(path.name for path in (made.folder / "videos").iterdir())
    assert left == [
        "ep0000_carrot_on_plate_failure.mp4",
        "ep0001_carrot_on_plate_failure.mp4",
        "ep0001_carrot_on_plate_unfinished.mp4",
        "ep0002_carrot_on_plate_failure.mp4",
    ]


def test_a_worker_that_hangs_is_stopped_and_the_run_goes_on(tmp_path):
    made = run(tmp_path / "run", troubled("HangingBackend"), isolate=True, episode_timeout=2)
    assert outcomes(made) == ["failure", "error", "failure"]
    assert "attempt 2: it did not end within 2 s" in made.results[1].reason


def test_a_backend_that_needs_it_gets_a_process_for_every_task(tmp_path, monkeypatch):
    monkeypatch.setattr(ProcessBackend, "own_process", True, raising=False)
    settings = dataclasses.replace(CARROT, backend="fakes:ProcessBackend", tasks=("carrot_on_plate", "stack_cube"))
    made = run(tmp_path / "run", settings)
    processes = [result.profile for result in made.results]
    assert len(set(processes)) == 2, "one for each task"
    assert len(set(processes[:3])) == 1, "kept from one episode to the next"
    assert str(os.getpid()) not in processes


def test_one_worker_without_isolation_is_this_process(tmp_path):
    made = run(tmp_path / "run", troubled("ProcessBackend"))
    assert {result.profile for result in made.results} == {str(os.getpid())}


def test_an_error_of_a_factory_reaches_the_caller_with_where_it_came_from(tmp_path):
    settings = dataclasses.replace(CARROT, policy="fakes:make_broken")
    expected = r"The policy 'fakes:make_broken' cannot be made: OddError: cannot \(.*fakes\.py, line"
    with pytest.raises(errors.ExtensionError, match=expected) as caught:
        run(tmp_path / "1", settings, video=True)
    assert isinstance(caught.value.__cause__, OddError)
    with pytest.raises(errors.ExtensionError, match=expected):
        run(tmp_path / "2", settings, isolate=True)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_leaves_no_folder_and_no_video(tmp_path):
    options = {"server": "ws://127.0.0.1:1", "convention": "vlm2vla", "timeout": 0.2}
    settings = dataclasses.replace(CARROT, policy="openpi", policy_options=options)
    with pytest.raises(errors.ServerError):
        run(tmp_path / "run", settings, video=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tasks", "metrics"])
def test_a_text_in_place_of_names_is_refused(name):
    with pytest.raises(
        errors.SettingError, match=f"{name} is the text 'carrot_on_plate'; expected a sequence of names"
    ):
        RunSettings(**{name: "carrot_on_plate"})


def test_your_own_policy_is_run_by_naming_its_factory(tmp_path):
    made = run(tmp_path / "run", dataclasses.replace(CARROT, policy="fakes:make_words"), workers=2)
    assert {result.policy for result in made.results} == {"fakes:make_words"}
    assert made.results[0].decisions[0]["action"] == "[[3, 0, 0, 1]]"


def test_a_policy_that_does_not_look_needs_no_pictures_but_then_there_is_no_video(tmp_path):
    blind = dataclasses.replace(CARROT, policy="scripted", image_size=None)
    assert outcomes(run(tmp_path / "run", blind)) == ["success"] * 3
    with pytest.raises(errors.SettingError, match=r"image_size=None renders no images"):
        run(tmp_path / "filmed", blind, video=True)
    assert not (tmp_path / "filmed").exists()


def test_a_run_in_a_used_folder_is_refused_and_changes_nothing(tmp_path):
    first = run(tmp_path / "run")
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    with pytest.raises(errors.RunFolderError, match=r"not empty.*--resume"):
        run(tmp_path / "run")
    with pytest.raises(errors.RunFolderError, match="made with seed 0, not 5"):
        run(tmp_path / "run", dataclasses.replace(CARROT, seed=5), resume=True)
    assert {path: path.read_bytes() for path in first.folder.iterdir()} == before


def test_resuming_a_finished_run_repeats_nothing(tmp_path):
    first = run(tmp_path / "run")
    told = []
    again = run(tmp_path / "run", resume=True, on_result=told.append)
    assert told == []
    assert again.results == first.results


def test_ctrl_c_keeps_what_is_done_and_the_run_can_be_continued(tmp_path):
    with pytest.raises(InterruptedRunError, match=r"1 of 3 episodes are done and kept in .*run.*--resume"):
        run(tmp_path / "run", troubled("InterruptedBackend"))
    assert [result.episode_id for result in read_results(tmp_path / "run" / "results.jsonl")] == [0]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["overall"]["n"] == 1


def test_ctrl_c_between_writing_a_result_and_counting_it_loses_nothing(tmp_path, monkeypatch):
    append = RunFolder.append

    def append_and_interrupt(folder: RunFolder, result: EpisodeResult) -> None:
        append(folder, result)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "append", append_and_interrupt)
    with pytest.raises(InterruptedRunError, match="1 of 3 episodes are done"):
        run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["overall"]["n"] == 1


def test_ctrl_c_in_a_terminal_does_not_reach_the_workers(tmp_path):
    code = f"""
        import dataclasses, sys
        sys.path[:0] = [{str(HERE)!r}, {str(Path(__file__).parent)!r}]
        from test_suite import run, troubled
        made = run({str(tmp_path / "run")!r}, troubled("MaskBackend"), workers=2)
        print([result.profile for result in made.results])
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["blocked: True"] * 3)


@pytest.fixture
def start_child(tmp_path):
    """Starts `vlm2vla evaluate` in a process group of its own, with a backend that reports its steps in a file."""
    children = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vlm2vla_sim", "evaluate", "--backend", "fakes:SlowBackend"]
        command += ["--policy", "random", "--tasks", "carrot_on_plate", "--episodes", "4", "--image-size", "48", "64"]
        environment = {**os.environ, "PYTHONPATH": str(HERE), MARKER: str(tmp_path / "steps")}
        (tmp_path / "steps").touch()
        child = subprocess.Popen(
            [*command, "--out", str(tmp_path / "run"), *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def in_the_middle(tmp_path: Path) -> bool:
    """Whether an episode is done and another is under way."""
    results = tmp_path / "run" / "results.jsonl"
    done = results.read_bytes().count(b"\n") if results.exists() else 0
    return done >= 1 and (tmp_path / "steps").stat().st_size >= 60 * done + 10


def wait_for(holds: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.01)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_real_ctrl_c_in_the_middle_of_an_episode_exits_130_and_keeps_the_results(tmp_path, start_child, workers):
    child = start_child("--workers", workers)
    results = tmp_path / "run" / "results.jsonl"
    wait_for(lambda: in_the_middle(tmp_path), child)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, told = child.communicate(timeout=60)
    assert child.returncode == 130, told
    assert "Interrupted: " in told
    assert "--resume" in told
    assert "Traceback" not in told
    assert out == ""
    done = read_results(results)
    assert 1 <= len(done) < 4
    assert f"{len(done)} of 4 episodes are done" in told
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["overall"]["n"] == len(done)

    again = start_child("--workers", workers, "--resume")
    _, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
    _same_as_undisturbed(tmp_path)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_run_is_continued_without_losing_or_repeating_an_episode(tmp_path, start_child, workers):
    child = start_child("--workers", workers)
    wait_for(lambda: in_the_middle(tmp_path), child)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    done = len(read_results(tmp_path / "run" / "results.jsonl"))
    assert 1 <= done < 4
    with (tmp_path / "run" / "results.jsonl").open("a") as file:
        file.write('{"task": "carrot_on_plate", "episode_id": 3, "se')

    again = start_child("--workers", workers, "--resume")
    out, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert "0/4" in out
    _same_as_undisturbed(tmp_path)


def _same_as_undisturbed(tmp_path: Path) -> None:
    results = read_results(tmp_path / "run" / "results.jsonl")
    assert sorted(result.episode_id for result in results) == [0, 1, 2, 3]
    settings = dataclasses.replace(CARROT, policy="random", episodes=4)
    expected = {result.episode_id: result for result in run(tmp_path / "undisturbed", settings).results}
    for result in results:
        wanted = dataclasses.replace(expected[result.episode_id], backend="fakes:SlowBackend", video=result.video)
        assert content(result) == content(wanted)
        assert (tmp_path / "run" / result.video).is_file()


def test_a_script_without_a_main_guard_is_told_so_when_its_workers_import_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from vlm2vla_sim.evaluation.run_folder import RunFolder
        from vlm2vla_sim.evaluation.settings import RunSettings
        from vlm2vla_sim.evaluation.suite import run_suite
        settings = RunSettings("hold", ("carrot_on_plate",), 1, "point", image_size=(48, 64))
        run_suite(settings, out={str(tmp_path / "run")!r}, resume=True, isolate=True)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def test_a_disk_that_fills_up_ends_the_run_in_a_sentence_and_keeps_the_results(tmp_path):
    code = textwrap.dedent(f"""
        import resource, sys
        sys.path.insert(0, {str(HERE)!r})
        from vlm2vla_sim.cli import main as cli
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        words = "evaluate --backend fakes:CrowdedBackend --policy hold --tasks carrot_on_plate --episodes 3"
        sys.exit(cli.main([*words.split(), "--out", {str(tmp_path / "run")!r}]))
        """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    first, sentence = done.stderr.strip().splitlines()
    assert first.startswith("EPISODE 1/3 carrot_on_plate ep 0: failure, ")
    assert "ep0001_carrot_on_plate_unfinished.mp4 could not be written" in sentence
    assert [result.episode_id for result in read_results(tmp_path / "run" / "results.jsonl")] == [0]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["overall"]["n"] == 1


def test_an_episode_that_a_person_sees_fail_says_failure_in_the_name_of_its_video(tmp_path):
    made = run(tmp_path / "run", video=True)
    assert [Outcome(Path(result.video).stem.rsplit("_", 1)[1]) for result in made.results] == [Outcome.FAILURE] * 3
