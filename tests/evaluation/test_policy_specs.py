"""A policy specification reaches its policy from every command; unknown outcomes and metrics are reported as such."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim import PolicyContext, PolicySpec, RunSettings, run_episode, run_policies, run_suite
from vlm2vla_sim.cli.main import main
from vlm2vla_sim.envs.backends import check_backend_options
from vlm2vla_sim.errors import ExtensionError, SettingError, UnknownNameError
from vlm2vla_sim.evaluation.metrics import check_value
from vlm2vla_sim.evaluation.operator.episode_log import SessionSettings
from vlm2vla_sim.evaluation.operator.prompts import Operator, StreamAnswers
from vlm2vla_sim.evaluation.operator.session import run_session
from vlm2vla_sim.evaluation.rates import Mean, Rate
from vlm2vla_sim.evaluation.results import format_table, summarize
from vlm2vla_sim.policies.baselines import HoldPolicy
from vlm2vla_sim.policies.spec import read_policy_spec
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Outcome, Status

HERE = __name__
SEEN: list[PolicyContext] = []


def make_noting(context: PolicyContext) -> HoldPolicy:
    """A policy that remembers what it was made with."""
    SEEN.append(context)
    return HoldPolicy(context.action_format)


class UnknowingBackend(PointBackend):
    """A simulator or robot that cannot tell where the objects are, and says nothing more about itself."""

    def status(self) -> Status:
        return Status(super().status().robot, None)


class AnyOptionBackend(PointBackend):
    """A backend that takes any option."""

    def __init__(self, task: Any, *, image_size: Any = None, quality: str = "fast", **options: Any) -> None:
        super().__init__(task, image_size=image_size, quality=quality)
        self.profile = json.dumps(options)


class DeclaredUnknowingBackend(UnknowingBackend):
    knows_scene = False


class BackendWithoutImageSize:
    """Cannot be made as every backend is."""

    def __init__(self, task: Any) -> None:
        self.task = task


def make_broken(context: PolicyContext) -> HoldPolicy:
    """A policy that fails to be made."""
    raise ZeroDivisionError("weights of size zero")


class Steps:
    """How many control steps were made."""

    def reset(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        self.count = 0

    def step(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        assert info["sent_action"].shape == (7,)
        self.count += 1

    def result(self) -> float | None:
        return self.count


class EverOpen(Steps):
    def result(self) -> bool | None:
        return self.count > 3


class Unmeasurable(Steps):
    def result(self) -> float | None:
        return None


class NotANumber(Steps):
    def result(self) -> float | None:
        return float("nan")


CARROT = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=2, backend="point", image_size=(48, 64))


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


def write_spec(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


FULL = f"""
name = "mine"
policy = "{HERE}:make_noting"
format = "prose"
language = "es"
model = "a/model"
adapter = "an/adapter"

[options]
temperature = 0.5
greedy = true
"""


def test_a_file_specifies_a_policy_completely(tmp_path):
    spec = read_policy_spec(write_spec(tmp_path / "a.toml", FULL))
    options = {"temperature": 0.5, "greedy": True, "model": "a/model", "adapter": "an/adapter"}
    assert spec == PolicySpec(f"{HERE}:make_noting", "prose", 0.0, options, "es", "mine")
    assert PolicySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_specification_is_named_after_its_file(tmp_path):
    assert read_policy_spec(write_spec(tmp_path / "baseline.toml", 'policy = "hold"')).label == "baseline"


def test_yaml_says_the_same(tmp_path):
    pytest.importorskip("yaml")
    spec = read_policy_spec(write_spec(tmp_path / "a.yaml", "policy: hold\nformat: prose\noptions: {x: 1}\n"))
    assert spec == PolicySpec("hold", "prose", 0.0, {"x": 1}, "en", "a")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('polcy = "hold"', "No key of a policy specification in .*a.toml named 'polcy'. Did you mean 'policy'"),
        ("policy = 3", "`policy` in .* is 3; expected a str"),
        ('noise = "much"', "`noise` in .* is 'much'; expected a float"),
        ("options = 3", "expected a table of NAME = VALUE"),
        ('model = "a"\noptions = {model = "b"}', "gives model twice"),
        ("options = {x = [1]}", r"The option x in .* is \[1\]; expected a text, a number, true or false"),
        ("policy = ", "cannot be read"),
        ("noise = 1", "names no policy; expected a line such as policy"),
        ("", "names no policy"),
        ('policy = "hold"\nnoise = -1', "The noise is -1 cm; expected 0 or more"),
    ],
)
def test_what_is_wrong_in_a_file_is_refused_in_a_sentence(tmp_path, text, error):
    with pytest.raises((SettingError, UnknownNameError), match=error):
        read_policy_spec(write_spec(tmp_path / "a.toml", text))


def test_other_files_are_no_specification(tmp_path):
    with pytest.raises(SettingError, match=r"no policy specification by its name; expected a \.toml"):
        read_policy_spec(write_spec(tmp_path / "a.ini", "policy = hold"))
    with pytest.raises(SettingError, match="cannot be read"):
        read_policy_spec(tmp_path / "absent.toml")


def test_a_session_hands_every_option_to_its_policy(tmp_path, capsys):
    """`robot session --policies vlm` could not be given --model: options were dropped on the way."""
    answers = tmp_path / "answers.txt"
    answers.write_text("y\n")
    flags = "--backend point --episodes 1 --no-video --model m --adapter a --format prose --always-ask"
    words = ["robot", "session", "--out", str(tmp_path / "s"), "--policies", f"{HERE}:make_noting", *flags.split()]
    assert main([*words, "--policy-options", "temperature=0.5", "--answers", str(answers)]) == 0, capsys.readouterr()
    [context] = SEEN
    assert context.options == {"model": "m", "adapter": "a", "temperature": 0.5}
    assert context.action_format.name == "prose"
    [line] = (tmp_path / "s" / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["policy"] == f"{HERE}:make_noting"


def test_a_session_of_two_files_keeps_them_apart(tmp_path):
    for name in "ab":
        write_spec(tmp_path / f"{name}.toml", f'policy = "{HERE}:make_noting"\nmodel = "model-{name}"\n')
    specs = tuple(read_policy_spec(tmp_path / f"{name}.toml") for name in "ab")
    settings = SessionSettings(specs, ("carrot_on_plate",), 1, backend="point")
    operator = Operator([StreamAnswers(io.StringIO("y\nn\n"))], say=lambda text: None, always_ask=True)
    end = run_session(settings, tmp_path / "s", operator, live=False, video=False)
    assert end.done == 2
    assert {context.options["model"] for context in SEEN} == {"model-a", "model-b"}
    assert sorted(line.split(":")[0] for line in end.table.splitlines()) == ["a (vlm2vla)", "b (vlm2vla)"]


def test_two_policies_of_one_name_are_refused():
    with pytest.raises(SettingError, match="Two policies have the same name: hold, hold"):
        SessionSettings((PolicySpec("hold"), PolicySpec("hold", "prose")), ("carrot_on_plate",), 1)


def test_a_session_gives_each_policy_its_language(tmp_path):
    specs = (PolicySpec("hold", name="english"), PolicySpec("hold", language="es", name="spanish"))
    operator = Operator([StreamAnswers(io.StringIO("y\ny\n"))], say=lambda text: None, always_ask=True)
    settings = SessionSettings(specs, ("carrot_on_plate",), 1, backend="point")
    run_session(settings, tmp_path / "s", operator, live=False, video=False)
    results = map(json.loads, (tmp_path / "s" / "results.jsonl").read_text().splitlines())
    told = {result["policy"]: result["instruction"] for result in results}
    assert told["english"] == "put carrot on plate"
    assert told["spanish"] != told["english"]


def test_several_policies_run_on_the_same_episodes_in_folders_of_their_own(tmp_path, capsys):
    write_spec(tmp_path / "a.toml", 'policy = "hold"\n')
    write_spec(tmp_path / "b.toml", 'policy = "scripted"\nformat = "prose"\n')
    flags = "--backend point --tasks carrot_on_plate --episodes 2 --no-video --image-size 48 64"
    words = ["evaluate", "--policies", str(tmp_path / "a.toml"), str(tmp_path / "b.toml"), *flags.split()]
    assert main([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["a"]["overall"]["success_at_end"]["k"] == 0
    assert values["b"]["overall"]["success_at_end"]["k"] == 2
    seeds = []
    for name in "ab":
        lines = (tmp_path / "run" / name / "results.jsonl").read_text().splitlines()
        seeds.append([json.loads(line)["seed"] for line in lines])
        assert {json.loads(line)["policy"] for line in lines} == {name}
    assert seeds[0] == seeds[1]
    assert main([*words, "--policy", "random", "--out", str(tmp_path / "other")]) == 1
    assert "--policy and --policies were both given" in capsys.readouterr().err


def test_policies_whose_folders_would_be_one_are_refused(tmp_path):
    several = [CARROT.with_policy(PolicySpec("hold", name=name)) for name in ("a b", "a_b")]
    with pytest.raises(SettingError, match="Two policies have the same name"):
        run_policies(several, out=tmp_path / "run", video=False)
    assert not (tmp_path / "run").exists()


def test_flags_beside_a_file_are_refused(tmp_path, capsys):
    path = write_spec(tmp_path / "a.toml", 'policy = "hold"\n')
    assert main(["evaluate", "--policy", str(path), "--format", "prose", "--backend", "point"]) == 1
    assert "specifies the whole policy; leave out --format" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["UnknowingBackend", "DeclaredUnknowingBackend"])
def test_an_episode_of_which_nobody_knows_the_end_is_no_failure(tmp_path, backend):
    """It was scored 0/2 0.0 %."""
    settings = RunSettings("hold", ("carrot_on_plate",), 2, f"{HERE}:{backend}", image_size=(48, 64))
    made = run_suite(settings, out=tmp_path / "run", video=True)
    assert [result.outcome for result in made.results] == [Outcome.UNKNOWN] * 2
    overall = made.summary.overall
    assert (overall.n, overall.n_unknown, overall.success_at_end.rate) == (0, 2, None)
    assert overall.steps == 120
    line = json.loads((tmp_path / "run" / "results.jsonl").read_text().splitlines()[0])
    unknown = ("success_at_end", "success_once", "success_released", "grasped", "moved_correct_object", "on_target")
    assert {line[key] for key in unknown} == {None}
    assert line["video"].endswith("_unknown.mp4")
    assert "Episodes scored: 0; errors: 0; of unknown outcome: 2." in format_table(made.summary)
    assert "0.0 %" not in format_table(made.summary)


def test_a_policy_that_needs_the_truth_is_refused_before_anything_starts_where_nobody_knows_it(tmp_path):
    settings = RunSettings("scripted", ("carrot_on_plate",), 1, f"{HERE}:DeclaredUnknowingBackend", image_size=(48, 64))
    with pytest.raises(SettingError, match=r"reads the simulator's ground truth, and the backend .* does not know"):
        run_suite(settings, out=tmp_path / "run", video=False)
    assert not (tmp_path / "run").exists()


def test_a_backend_that_takes_any_option_is_treated_alike_by_gym_and_by_a_run(tmp_path):
    """`gym.make` accepted what `evaluate` refused."""
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0", backend=AnyOptionBackend, speed=3)
    assert env.unwrapped.profile == '{"speed": 3}'  # type: ignore[attr-defined]
    settings = RunSettings(
        "hold", ("carrot_on_plate",), 1, f"{HERE}:AnyOptionBackend", backend_options={"speed": 3}, image_size=(48, 64)
    )
    assert run_suite(settings, out=tmp_path / "run", video=False).results[0].profile == '{"speed": 3}'
    with pytest.raises(UnknownNameError, match="option of the backend 'point'"):
        check_backend_options("point", ["speed"])
    with pytest.raises(UnknownNameError, match="option of the backend"):
        check_backend_options(AnyOptionBackend, ["image_size"])


def test_a_metric_of_ones_own_appears_in_results_summary_and_table(tmp_path, capsys):
    metrics = [f"{HERE}:Steps", f"{HERE}:EverOpen", f"{HERE}:Unmeasurable", "path_length_cm"]
    flags = "--backend point --policy scripted --tasks carrot_on_plate --episodes 2 --no-video"
    assert main(["evaluate", *flags.split(), "--out", str(tmp_path / "run"), "--metrics", *metrics]) == 0
    table = capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert [line["metrics"]["Steps"] for line in lines] == [60, 60]
    assert [line["metrics"]["EverOpen"] for line in lines] == [True, True]
    assert [line["metrics"]["Unmeasurable"] for line in lines] == [None, None]
    assert all(20 < line["metrics"]["path_length_cm"] < 200 for line in lines)
    overall = json.loads((tmp_path / "run" / "summary.json").read_text())["overall"]["metrics"]
    assert overall["Steps"] == {"n": 2, "mean": 60.0, "low": 60.0, "high": 60.0}
    assert overall["EverOpen"]["k"] == overall["EverOpen"]["n"] == 2
    assert overall["Unmeasurable"] == {"n": 0, "mean": None, "low": None, "high": None}
    assert {"Steps", "EverOpen", "Unmeasurable", "path_length_cm"} <= set(table.splitlines()[0].split())


def test_a_metric_that_measures_no_number_is_an_error_and_no_result():
    with pytest.raises(ExtensionError, match=r"'x' measured nan; expected a finite number"):
        check_value("x", float("nan"))
    with pytest.raises(ExtensionError, match="'x' measured 'far'"):
        check_value("x", "far")
    assert check_value("x", np.float32(0.5)) == 0.5
    assert check_value("x", np.bool_(True)) is True
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(48, 64))
    with pytest.raises(ExtensionError, match="NotANumber"):
        run_episode(env, "hold", metrics=[f"{HERE}:NotANumber"])


@pytest.mark.parametrize(
    ("metrics", "error"),
    [
        (("speed",), "No metric named 'speed'"),
        ((f"{HERE}:FULL",), "has no method reset, step, result"),
        ((f"{HERE}:Steps", f"{HERE}:Steps"), "Two metrics have the same name"),
    ],
)
def test_metrics_that_cannot_be_used_are_refused_before_the_run(tmp_path, metrics, error):
    settings = RunSettings("hold", ("carrot_on_plate",), 1, "point", image_size=(48, 64), metrics=metrics)
    with pytest.raises((UnknownNameError, ExtensionError, SettingError), match=error):
        run_suite(settings, out=tmp_path / "run", video=False)
    assert not (tmp_path / "run").exists()


def test_the_mean_of_a_metric_has_an_interval_that_holds_it():
    mean = Mean.of([1.0, 2.0, 3.0, 4.0])
    assert mean.mean == 2.5
    assert mean.low is not None
    assert mean.high is not None
    assert 1.0 <= mean.low < 2.5 < mean.high <= 4.0
    assert Mean.of([7.0]).to_json() == {"n": 1, "mean": 7.0, "low": None, "high": None}
    assert str(Mean.of([])) == "-"


def test_a_metric_that_is_true_or_false_becomes_a_rate(tmp_path):
    settings = RunSettings("hold", ("carrot_on_plate",), 2, "point", image_size=(48, 64), metrics=(f"{HERE}:EverOpen",))
    made = run_suite(settings, out=tmp_path / "run", video=False)
    assert summarize(made.results).overall.metrics == {"EverOpen": Rate(2, 2)}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"backend": f"{HERE}:BackendWithoutImageSize"},
            "takes no image_size and no quality; expected a class",
        ),
        (
            {"policy": f"{HERE}:make_broken"},
            "The policy .* cannot be made: ZeroDivisionError: .*specs.py, line",
        ),
    ],
)
def test_what_cannot_be_made_is_a_sentence_and_leaves_no_folder(tmp_path, changes, error):
    with pytest.raises(ExtensionError, match=error):
        run_suite(dataclasses.replace(CARROT, **changes), out=tmp_path / "run", video=False)
    assert not (tmp_path / "run").exists()
