"""The command line prints text or JSON, and answers every mistake with one sentence and an exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vlm2vla_sim import errors
from vlm2vla_sim.cli import main
from vlm2vla_sim.cli.report import EpisodeReporter
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.types import EpisodeResult, Outcome

POINT = ("--backend", "point", "--image-size", "48", "64")


@pytest.fixture
def vlm2vla(capsys, monkeypatch, tmp_path):
    """Runs a command line in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        status = main.main(words)
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from vlm2vla_sim.cli import main as cli; status = cli.main(['--help']); "
        "heavy = {'mujoco', 'torch', 'tyro', 'PIL', 'tqdm', 'imageio'} & set(sys.modules); print(status, sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "0 []"
    for name in main.COMMANDS:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_explains_itself(vlm2vla, name):
    status, out, _ = vlm2vla(name, "--help")
    assert status == 0
    assert f"usage: vlm2vla {name}" in out
    # "robot" is a family whose members say it, and "watch" a server that has nothing to say.
    assert "--json" in out or name in ("robot", "watch")


def test_no_command_is_wrong_usage_and_shows_the_commands(vlm2vla):
    status, out, _ = vlm2vla()
    assert status == 2
    assert "evaluate" in out


def test_a_command_that_does_not_exist_is_guessed(vlm2vla):
    status, _, told = vlm2vla("evaluat")
    assert status == 2
    assert "No command named 'evaluat'. Did you mean 'evaluate'?" in told


def test_a_flag_that_does_not_exist_is_wrong_usage(vlm2vla):
    status, out, told = vlm2vla("tasks", "--jsn")
    assert status == 2
    assert "--jsn" in out + told


def test_values_of_a_flag_that_was_given_twice_are_not_lost(vlm2vla):
    for words, flag in (
        (["evaluate", "--policy", "hold", "--tasks", "stack_cube", "--tasks=carrot_on_plate"], "--tasks"),
        (["robot", "doctor", "--camera", "a=/dev/video0", "--no-motion", "--camera", "b=/dev/video1"], "--camera"),
    ):
        status, _, told = vlm2vla(*words)
        assert (status, f"{flag} was given twice. Give it once, with all its values" in told) == (1, True)


def test_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vlm2vla_sim", "tasks"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (
        1,
        "vlm2vla tasks: The output cannot be written: No space left on device.\n",
    )


def test_the_version_is_told(vlm2vla):
    status, out, _ = vlm2vla("--version")
    assert status == 0
    assert out.startswith("vlm2vla_sim 0.")
    assert f"python {sys.version_info.major}." in out


def test_tasks_are_listed_in_words_and_in_json(vlm2vla):
    status, out, _ = vlm2vla("tasks")
    assert status == 0
    for task in TASKS.values():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{task.name} ")]
        assert task.instruction in line
        assert task.env_id in line
        assert str(task.max_steps) in line.split()
    _, out, _ = vlm2vla("tasks", "--json")
    assert [task["task"] for task in json.loads(out)] == list(TASKS)
    assert json.loads(out)[3]["simpler_id"] == "PutEggplantInBasketScene-v0"


def test_a_sentence_is_shown_as_rows_and_in_every_format(vlm2vla):
    status, out, _ = vlm2vla("formats", "move forward 3 cm and down 8 cm, open gripper; close gripper")
    assert status == 0
    assert "Read as prose" in out
    assert out.splitlines()[4].split()[:7] == ["3", "0", "-8", "0", "0", "0", "1"]
    assert "vlm2vla      [[3, 0, -8, 1], [0, 0, 0, 0]]" in out
    _, out, _ = vlm2vla("formats", "[[3, 0, -8, 1], [0, 0, 0, 0]]", "--format", "vlm2vla", "--json")
    values = json.loads(out)
    assert values["read_as"] == "vlm2vla"
    assert values["deltas"][0] == pytest.approx([0.03, 0, -0.08, 0, 0, 0, 1])
    assert values["written"]["prose"] == "move forward 3 cm and down 8 cm, open gripper; close gripper"


def test_a_sentence_that_no_format_reads_says_why_for_each(vlm2vla):
    status, out, told = vlm2vla("formats", "go there")
    assert (status, out) == (1, "")
    for name in ("vlm2vla", "prose", "integers"):
        assert f"  {name}: Unreadable {name} action" in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--format", "vlm2vla"), "Unreadable vlm2vla action"),
        (("--format", "pros"), "No action format named 'pros'. Did you mean 'prose'?"),
    ],
)
def test_a_sentence_is_read_as_what_was_asked_for_and_nothing_else(vlm2vla, words, expected):
    status, _, told = vlm2vla("formats", "move forward 3 cm, close gripper", *words)
    assert status == 1
    assert expected in told


def test_without_a_sentence_the_formats_are_described_by_example(vlm2vla):
    _, out, _ = vlm2vla("formats", "--json")
    for entry in json.loads(out):
        status, out, _ = vlm2vla("formats", entry["example"], "--format", entry["format"])
        assert status == 0
        assert f"Read as {entry['format']}" in out
    _, out, _ = vlm2vla("formats")
    assert "tokens\n  One token per number; which tokens depends on the model's tokenizer." in out


def test_a_rollout_prints_what_the_policy_says_and_where_the_video_is(vlm2vla, tmp_path):
    status, out, _ = vlm2vla("rollout", "carrot_on_plate", *POINT, "--episode", "3", "--out", "films")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["task", "put", "carrot", "on", "plate"]
    assert any(line.startswith("    says  [[") for line in lines)
    assert any(line.startswith("   moves  move ") for line in lines)
    assert lines[-2].startswith("carrot_on_plate episode 3: success at the last step (first at step ")
    assert lines[-1] == "Video: films/ep0003_carrot_on_plate_success.mp4"
    assert (tmp_path / "films" / "ep0003_carrot_on_plate_success.mp4").is_file()


def test_a_rollout_in_json_is_one_line_and_leaves_the_words_to_standard_error(vlm2vla, tmp_path):
    status, out, told = vlm2vla("rollout", *POINT, "--policy", "hold", "--format", "prose", "--no-video", "--json")
    values = json.loads(out)
    assert status == 0
    assert (values["outcome"], values["action_format"], values["steps"]) == ("failure", "prose", 60)
    assert "stay" in told
    assert list(tmp_path.iterdir()) == []


def test_a_rollout_that_breaks_exits_3_and_says_why(vlm2vla, tmp_path):
    status, out, _ = vlm2vla("rollout", "--backend", "fakes:AlwaysFaultyBackend", "--no-video")
    assert status == 3
    assert "error: BackendFaultError: Nothing works. (traceback: ep0000_carrot_on_plate.txt)" in out


def test_a_rollout_says_what_could_not_be_read(vlm2vla):
    _, out, _ = vlm2vla("rollout", *POINT, "--policy", "fakes:make_muttering", "--no-video")
    assert "says  hm" in out
    assert "error  Unreadable vlm2vla action" in out
    assert "no success at the last step (never in 60 steps)." in out


def test_an_evaluation_prints_a_table_and_where_everything_is(vlm2vla, tmp_path):
    status, out, told = vlm2vla("evaluate", *POINT, "--tasks", "stack_cube", "carrot_on_plate", "--episodes", "2")
    assert status == 0
    lines = told.splitlines()
    assert len(lines) == 4, "without a terminal there is no progress bar, but a line per episode"
    assert re.fullmatch(r"EPISODE 3/4 carrot_on_plate ep 0: success, [0-9]+\.[0-9] s", lines[2])
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-scripted-point")
    assert "all tasks        4/4 100.0 % (51.0 to 100.0)" in out
    assert f"Results  runs/{folder.name}/results.jsonl" in out
    assert f"Videos   runs/{folder.name}/videos (4)" in out


def test_all_tasks_are_run_when_none_is_named(vlm2vla, tmp_path):
    _, out, _ = vlm2vla("evaluate", *POINT, "--episodes", "1", "--no-video", "--policy", "hold", "--out", "run")
    assert [line.split()[0] for line in out.splitlines()[2:6]] == list(TASKS)
    assert not (tmp_path / "run" / "videos").exists()
    assert "Videos" not in out


def test_an_evaluation_in_json_is_the_summary_on_one_line(vlm2vla, tmp_path):
    flags = ("--tasks", "carrot_on_plate", "--episodes", "2", "--policy", "hold", "--no-video", "--out", "run")
    status, out, _ = vlm2vla("evaluate", *POINT, *flags, "--json")
    values = json.loads(out)
    assert status == 0, "a low score is no error"
    assert values.pop("folder") == "run"
    assert values == json.loads((tmp_path / "run" / "summary.json").read_text())


def test_every_flag_reaches_the_settings(vlm2vla, tmp_path):
    flags = "--policy scripted --tasks carrot_on_plate --episodes 1 --format prose --layouts random"
    flags += " --language es --seed 7 --noise 1.5 --image-size 64 80 --quality high"
    flags += " --out run --no-video --workers 2 --isolate"
    flags += " --backend fakes:TunableBackend --backend-options host=here port=5 slow=false gain=0.5 name=007"
    status, _, _ = vlm2vla("evaluate", *flags.split(), "--episode-timeout", "60")
    assert status == 0
    saved = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert {key: saved[key] for key in saved if key not in ("started", "versions")} == {
        "language": "es",
        "instruction": "",
        "policy": "scripted",
        "tasks": ["carrot_on_plate"],
        "episodes": 1,
        "backend": "fakes:TunableBackend",
        "action_format": "prose",
        "layouts": "random",
        "seed": 7,
        "noise_cm": 1.5,
        "image_size": [64, 80],
        "quality": "high",
        "backend_options": {"host": "here", "port": 5, "slow": False, "gain": 0.5, "name": "007"},
        "policy_options": {},
        "policy_name": "",
        "metrics": [],
        "suite": "",
        "conditions": [],
        "left_out": [],
        "max_steps": None,
    }
    (result,) = read_results(tmp_path / "run" / "results.jsonl")
    assert result.profile == "here:5"


def test_an_evaluation_of_which_every_episode_broke_exits_3(vlm2vla):
    flags = ("--tasks", "carrot_on_plate", "--episodes", "2", "--policy", "hold", "--no-video")
    status, out, told = vlm2vla("evaluate", "--backend", "fakes:AlwaysFaultyBackend", *flags)
    assert status == 3
    assert "carrot_on_plate  -" in out
    assert re.search(r"EPISODE 2/2 carrot_on_plate ep 1: error, [0-9.]+ s: BackendFaultError: Nothing works\.", told)
    assert "2 of 2 episodes ended in an error and are not scored. First: carrot_on_plate episode 0: Backend" in told


@pytest.mark.parametrize("command", ["evaluate", "record"])
def test_if_some_episodes_end_in_an_error_it_says_how_many_and_exits_4(vlm2vla, command):
    flags = ("--tasks", "carrot_on_plate", "--episodes", "3", "--out", "run", "--image-size", "48", "64")
    status, _, told = vlm2vla(command, "--backend", "fakes:FaultyBackend", *flags)
    assert status == 4
    expected = "1 of 3 episodes ended in an error and are not scored. First: carrot_on_plate episode 1: "
    assert f"{expected}BackendFaultError: The link to the robot was lost." in told.splitlines()[-1]


def test_a_resumed_evaluation_counts_the_episodes_that_are_done(vlm2vla, tmp_path):
    flags = ("--tasks", "carrot_on_plate", "--episodes", "3", "--policy", "hold", "--no-video", "--out", "run")
    vlm2vla("evaluate", *POINT, *flags)
    results = tmp_path / "run" / "results.jsonl"
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:2]))
    _, _, told = vlm2vla("evaluate", *POINT, *flags, "--resume")
    assert [line.split(":")[0] for line in told.splitlines()] == ["EPISODE 3/3 carrot_on_plate ep 2"]


def test_on_a_terminal_only_episodes_that_are_not_scored_get_a_line(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    report = EpisodeReporter(RunSettings(tasks=("carrot_on_plate",), episodes=2))
    asked = {"task": "carrot_on_plate", "seed": 0, "backend": "", "profile": "", "policy": "", "action_format": ""}
    for k, outcome in enumerate((Outcome.FAILURE, Outcome.ABORTED)):
        report(EpisodeResult(**asked, episode_id=k, layouts="", instruction="", outcome=outcome, reason="Stopped."))
    assert capsys.readouterr().err == "EPISODE 2/2 carrot_on_plate ep 1: aborted, 0.0 s: Stopped.\n"


@pytest.mark.parametrize(
    "words",
    [
        "evaluate --policy nope",
        "evaluate --policy scripted --policy-options speed=2",
        "evaluate --backend-options speed=2",
        "evaluate --policy fakes:make_without_weights",
        "evaluate --policy fakes:make_without_weights --workers 2",
        "evaluate --policy fakes:make_without_weights --out a/b/run",
        "evaluate --backend fakes:BlindBackend",
        "record --policy fakes:make_without_weights --out data",
        "rollout --policy fakes:make_without_weights",
        "rollout --policy nope",
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(vlm2vla, tmp_path, words):
    status, _, told = vlm2vla(*words.split(), "--image-size", "48", "64")
    assert status == 1
    assert told.startswith("vlm2vla ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_is_kept_when_a_run_cannot_start(vlm2vla, tmp_path):
    (tmp_path / "run").mkdir()
    words = ("--policy", "fakes:make_without_weights", "--out", "run", "--no-video")
    assert vlm2vla("evaluate", *POINT, *words)[0] == 1
    assert list((tmp_path / "run").iterdir()) == []


def test_a_resumed_run_that_cannot_start_keeps_its_results(vlm2vla, tmp_path):
    flags = ("--tasks", "carrot_on_plate", "--no-video", "--out", "run", "--policy", "fakes:make_with_weights")
    (tmp_path / "weights").touch()
    assert vlm2vla("evaluate", *POINT, *flags, "--episodes", "1")[0] == 0
    (tmp_path / "weights").unlink()
    results = tmp_path / "run" / "results.jsonl"
    before = results.read_text()
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    (tmp_path / "run" / "settings.json").write_text(json.dumps({**settings, "episodes": 2}))
    assert vlm2vla("evaluate", *POINT, *flags, "--episodes", "2", "--resume")[0] == 1
    assert results.read_text() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--tasks carot", "No task named 'carot'. Did you mean 'carrot_on_plate'?"),
        ("--backend mujco", "No backend named 'mujco'. Did you mean 'mujoco'?"),
        ("--policy scripteds", "No policy named 'scripteds'. Did you mean 'scripted'?"),
        ("--format prosa", "No action format named 'prosa'. Did you mean 'prose'?"),
        ("--layouts grids", "layouts is 'grids'; expected 'grid' or 'random'"),
        ("--episodes 25", "25 episodes of spoon_on_towel were asked for, but its grid has 24."),
        ("--episodes 0", "0 episodes were asked for; expected 1 or more."),
        ("--workers 0", "0 workers were asked for"),
        ("--noise -1", "The noise is -1.0 cm; expected 0 or more."),
        ("--policy hold --noise 1", "The policy 'hold' takes no noise, but 1 cm was asked for."),
        ("--image-size 4 4", "image_size is (4, 4); expected (height, width)"),
        ("--backend-options profile", "'profile' is not an option of a backend; expected NAME=VALUE"),
        ("--resume", "--resume needs the folder of the run to continue: add --out DIR."),
        ("--backend fakes:AbsentBackend", "Install it: pip install 'vlm2vla_sim[absent]'"),
        ("--backend fakes:BlindBackend", "No picture can be drawn: install libegl1."),
        ("--out /dev/null/run", "The run folder /dev/null/run cannot be written: Not a directory."),
    ],
)
def test_a_mistake_is_met_with_one_sentence_and_status_1(vlm2vla, words, expected):
    status, out, told = vlm2vla("evaluate", "--backend", "point", "--no-video", *words.split())
    assert (status, out) == (1, "")
    assert told.startswith("vlm2vla evaluate: ")
    assert expected in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1


def test_an_episode_beyond_the_grid_is_refused(vlm2vla):
    status, _, told = vlm2vla("rollout", "--backend", "point", "--episode", "24", "--no-video")
    assert status == 1
    assert "carrot_on_plate has no episode 24: its grid has 24 episodes, 0 to 23." in told


def test_a_folder_in_use_is_refused_and_continued_on_request(vlm2vla):
    flags = ("--tasks", "carrot_on_plate", "--episodes", "1", "--policy", "hold", "--no-video", "--out", "run")
    assert vlm2vla("evaluate", *POINT, *flags)[0] == 0
    status, _, told = vlm2vla("evaluate", *POINT, *flags)
    assert status == 1
    assert "The folder run is not empty. Continue the run in it with --resume" in told
    assert vlm2vla("evaluate", *POINT, *flags, "--resume")[0] == 0


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_with_debug_an_error_shows_where_it_came_from(vlm2vla, monkeypatch, way):
    words = ["evaluate", "--tasks", "carot"]
    if way == "flag":
        words.append("--debug")
    else:
        monkeypatch.setenv("VLM2VLA_DEBUG", "1")
    with pytest.raises(errors.UnknownNameError):
        vlm2vla(*words)


def test_ctrl_c_during_a_single_rollout_exits_130_without_a_traceback(vlm2vla):
    status, _, told = vlm2vla("rollout", "--backend", "fakes:InterruptedBackend", "--episode", "1", "--no-video")
    assert status == 130
    assert told.strip() == "Interrupted."


def test_a_reader_that_leaves_early_is_no_traceback():
    command = [sys.executable, "-m", "vlm2vla_sim", "formats"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
        assert child.wait(60) == 1


def test_the_console_script_is_installed_and_runs_outside_the_checkout(tmp_path):
    script = Path(sys.executable).with_name("vlm2vla")
    words = [
        *POINT,
        "--policy",
        "hold",
        "--tasks",
        "carrot_on_plate",
        "--episodes",
        "1",
        "--workers",
        "2",
        "--no-video",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [script, "evaluate", *words, "--out", "run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0/1" in done.stdout


def run_module(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """`python -m vlm2vla_sim` in a process of its own, in which an encoding can be set."""
    command = [sys.executable, "-m", "vlm2vla_sim", *words]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=120, check=False)


def test_the_package_runs_as_a_module(tmp_path):
    done = run_module("tasks", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert [task["task"] for task in json.loads(done.stdout)] == list(TASKS)
    assert run_module("no-such-command", cwd=tmp_path).returncode == 2


ASCII_COMMANDS = [
    *([name, "--help"] for name in main.COMMANDS),
    *(["robot", name, "--help"] for name in ("session", "stand-in", "faults", "sleep")),
    ["--help"],
    ["--version"],
    ["tasks"],
    ["tasks", "--no-such-flag"],
    ["formats"],
    ["formats", "--json"],
    ["formats", "move forward 3 cm, rotate clockwise 20 degrees, close gripper"],
    ["formats", "go there … \u4f60"],
    ["assets", "status", "--to", "nowhere"],
    ["doctor", "--model", "\u4f60"],
    ["trace", "\u4f60"],
    ["rollout", *POINT, "--no-video", "--policy", "hold", "--language", "zh"],
    ["evaluate", *POINT, "--episodes", "1", "--tasks", "carrot_on_plate", "--no-video", "--language", "zh", "--json"],
    ["record", "--backend", "point", "--image-size", "48", "64", "--episodes", "1", "--language", "hi", "--out", "d"],
    ["relabel", "\u4f60", "--out", "x"],
    ["inspect", "\u4f60"],
    ["train", "\u4f60", "--model", "m", "--out", "x"],
]


@pytest.mark.parametrize("words", ASCII_COMMANDS, ids=" ".join)
def test_nothing_that_is_printed_breaks_an_ascii_terminal(tmp_path, words):
    done = run_module(*words, cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    told = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in told
    assert "UnicodeEncodeError" not in told
    assert told.strip()
    if "--json" in words:
        json.loads(done.stdout)
