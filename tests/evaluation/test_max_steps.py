"""Episodes of another length than SIMPLER's are a declared deviation: recorded, said, and not compared with others."""

from __future__ import annotations

import dataclasses
import json

import pytest

from vlm2vla_sim.cli.flags import RunFlags
from vlm2vla_sim.envs.tasks import is_built_in
from vlm2vla_sim.errors import NotComparableError, SettingError
from vlm2vla_sim.evaluation.comparison.compare import compare
from vlm2vla_sim.evaluation.comparison.sides import read_side
from vlm2vla_sim.evaluation.report.reproduce import commands
from vlm2vla_sim.evaluation.report.runs import read_runs
from vlm2vla_sim.evaluation.results import format_table
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.setup import episode_length, make_env, widowx
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.policies import published_steps

SETTINGS = RunSettings("hold", ("carrot_on_plate",), 2, backend="point", image_size=None)
LONGER = dataclasses.replace(SETTINGS, max_steps=75)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    return {name: run_suite(s, out=folder / name, video=False) for name, s in (("own", SETTINGS), ("longer", LONGER))}


def test_episodes_are_as_long_as_declared_and_their_results_say_so(runs):
    assert [(r.steps, r.max_steps) for r in runs["own"].results] == [(60, 60)] * 2
    assert [(r.steps, r.max_steps) for r in runs["longer"].results] == [(75, 75)] * 2
    folder = runs["longer"].folder
    assert json.loads((folder / "settings.json").read_text())["max_steps"] == 75
    assert json.loads((folder / "summary.json").read_text())["max_steps"] == {"carrot_on_plate": 75}
    assert "max_steps" not in json.loads((runs["own"].folder / "summary.json").read_text())
    assert "carrot_on_plate 75 (its own: 60)" in format_table(runs["longer"].summary)
    assert "its own" not in format_table(runs["own"].summary)
    ((command,), _) = commands(read_runs([folder])[0])
    assert "--max-steps 75" in command


def test_runs_of_two_limits_are_not_compared_unless_that_is_said(runs):
    own, longer = (read_side(str(runs[name].folder)) for name in ("own", "longer"))
    with pytest.raises(NotComparableError, match="max_steps: the task's own, 75"):
        compare(own, [longer])
    assert compare(own, [longer], allow=["max_steps"])[0].allowed == ("max_steps: the task's own, 75",)
    assert compare(longer, [longer])[0].allowed == ()


def test_a_folder_without_its_settings_is_refused_by_what_its_episodes_say(runs, tmp_path):
    for name, made in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.jsonl").write_bytes((made.folder / "results.jsonl").read_bytes())
    own, longer = (read_side(str(tmp_path / name)) for name in ("own", "longer"))
    with pytest.raises(NotComparableError, match=r"max_steps \(carrot_on_plate episode 0\): 60, 75"):
        compare(own, [longer])


def test_the_task_stays_the_built_in_one_and_nobody_exceeds_its_length_unsaid():
    env = make_env(LONGER, "carrot_on_plate")
    assert is_built_in(widowx(env).spec_task)
    assert episode_length(env) == 75
    env.close()
    with pytest.raises(SettingError, match="max_steps is 0"):
        dataclasses.replace(SETTINGS, max_steps=0)
    flags = RunFlags(policy="hold", backend="point", max_steps=90)
    assert flags.settings(tasks=["carrot_on_plate"]).max_steps == 90


def test_how_long_a_model_was_evaluated_is_known_where_its_convention_says_it():
    server = {"server": "http://127.0.0.1:1"}
    assert published_steps("openvla", {**server, "convention": "xvla"}) == 1200
    assert published_steps("openvla", {**server, "convention": "openvla"}) is None
    assert published_steps("hold", {}) is None
