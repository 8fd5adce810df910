"""What a verifier said is recorded beside the simulator's truth, and counted by kind of subtask."""

from __future__ import annotations

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest
from fakes import UnseeingBackend

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.rates import wilson_interval
from vlm2vla_sim.evaluation.results import format_table, summarize
from vlm2vla_sim.evaluation.verdicts import VerdictRate, misjudged, verdict_tables
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier
from vlm2vla_sim.types import EpisodeResult

SUBTASKS = "1. grasp the carrot\n2. look around\n3. put the carrot on the plate"


def point_env(backend: str = "point") -> gym.Env:
    return gym.make(TASKS["carrot_on_plate"].env_id, backend=backend, image_size=(48, 64))


def says(*verdicts: bool, backend: str = "point", attempts: int = 10) -> EpisodeResult:
    """An episode of a loop that never touches the carrot, whose verifier says `verdicts`, the last one ever after."""
    model = FakeTextModel({"subtasks": [SUBTASKS], "plan": ["move up"], "action": ["[[0, 0, 1, 1]]"]})
    settings = LoopSettings(max_attempts=attempts)
    policy = LanguageActionPolicy(model, get_format("vlm2vla"), FakeVerifier(verdicts), settings=settings)
    with point_env(backend) as env:
        return run_episode(env, policy)


def verdicts_of(result: EpisodeResult) -> list[tuple[object, object, object] | None]:
    found = []
    for decision in result.decisions:
        verdict = decision["verdict"]
        found.append(verdict and (decision["subtask"], verdict["said"], verdict["truth"]))
    return found


def test_each_decision_has_what_was_said_of_its_subtask_and_the_truth_the_last_one_included():
    assert verdicts_of(says(False, True, True, True)) == [
        ("grasp the carrot", False, False),
        ("grasp the carrot", True, False),
        ("look around", True, None),
        ("put the carrot on the plate", True, False),
    ]
    gave_up = says(False, attempts=2)
    assert verdicts_of(gave_up) == [("grasp the carrot", False, False)] * 2, "also the one after which it gave up"
    assert "gave up" in gave_up.reason


def test_nobody_knows_the_truth_without_a_scene_and_nothing_is_said_without_a_verifier():
    assert verdicts_of(says(True, backend=f"fakes:{UnseeingBackend.__name__}"))[0] == ("grasp the carrot", True, None)
    with point_env() as env:
        scripted = run_episode(env, "scripted")
    assert set(verdicts_of(scripted)) == {None}
    assert verdict_tables([scripted]) == {}
    old = dataclasses.replace(scripted, decisions=tuple({"subtask": "grasp it"} for _ in range(2)))
    assert verdict_tables([old]) == {}, "results of a version that did not record it"


@pytest.fixture(scope="module")
def oracle() -> EpisodeResult:
    with point_env() as env:
        return run_episode(env, "oracle")


def test_a_verifier_that_reads_the_truth_is_always_right(oracle):
    tables = verdict_tables([oracle])
    assert list(tables) == ["grasp", "release"]
    for table in tables.values():
        assert table.done.k == table.done.n == 1
        assert (table.not_done.k, table.unknown) == (0, 0)
    assert tables["grasp"].not_done.n >= 1, "it took several motions"


def test_the_record_changes_no_decision(oracle):
    """A verifier that is asked changes nothing but the keys of the record."""

    class Blind(LanguageActionPolicy):
        judgement = property(lambda self: None, lambda self, value: None)

    def decisions(kind: type[LanguageActionPolicy]) -> list[dict[str, object]]:
        model = FakeTextModel({"subtasks": [SUBTASKS], "plan": ["move up"], "action": ["[[0, 0, 1, 1]]"]})
        with point_env() as env:
            result = run_episode(env, kind(model, get_format("vlm2vla"), FakeVerifier((False, True))))
        return [{key: value for key, value in one.items() if key != "verdict"} for one in result.decisions]

    assert decisions(Blind) == decisions(LanguageActionPolicy)


def test_verdicts_are_counted_by_kind_and_truth_with_the_interval_of_as_many_episodes(oracle):
    results = [says(False, False, True, attempts=3), says(True), oracle]
    summary = summarize(results)
    grasp, other = summary.overall.verdicts["grasp"], summary.overall.verdicts["other"]
    assert (other.done.n, other.not_done.n, other.unknown) == (0, 0, 2)
    assert (grasp.not_done.k, grasp.not_done.episodes) == (2, 3)
    assert grasp.not_done.n == 4 + sum(
        decision["subtask"] == "Grasp the carrot" and decision["verdict"]["said"] is False
        for decision in oracle.decisions
        if decision["verdict"]
    )
    rate = grasp.not_done.k / grasp.not_done.n
    assert grasp.not_done.interval() == wilson_interval(3 * rate, 3)
    plain = json.loads(json.dumps(summary.to_json()))["overall"]["verdicts"]
    assert plain["other"]["done"] == {"k": 0, "n": 0, "episodes": 0, "rate": None, "low": None, "high": None}
    assert plain["grasp"]["not_done"]["low"] == pytest.approx(wilson_interval(3 * rate, 3)[0])
    lines = format_table(summary).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Subtasks that the verifier passed"))
    assert [line.split()[0] for line in lines[start + 1 :]] == ["passed,", "grasp", "put", "other"]
    assert str(grasp.not_done) in lines[start + 2]


def test_the_interval_holds_where_the_verdicts_of_an_episode_are_alike():
    """Wilson's interval of as many trials as verdicts would miss the rate far more often than 1 in 20."""
    rng = np.random.default_rng(0)
    missed = {"ours": 0, "by verdicts": 0}
    for _ in range(500):
        wrong = rng.random(40) < rng.beta(1, 9, 40)  # of 10 % on average, each episode with one answer for all
        k, n = int(4 * wrong.sum()), 160
        low, high = VerdictRate(k, n, 40).interval() or (0, 0)
        missed["ours"] += not low <= 0.1 <= high
        low, high = wilson_interval(k, n)
        missed["by verdicts"] += not low <= 0.1 <= high
    assert missed["ours"] <= 0.07 * 500 < 0.15 * 500 < missed["by verdicts"]


def test_a_wrong_verdict_is_marked_where_decisions_are_read(tmp_path, capsys):
    assert misjudged({"verdict": {"said": False, "truth": True}}) == ["the verifier said try again, and it was done"]
    assert misjudged({"verdict": {"said": True, "truth": None}}) == misjudged({"verdict": None}) == []
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.json").write_text('{"policy": "loop", "tasks": ["carrot_on_plate"]}')
    (run / "results.jsonl").write_text(says(True).to_json() + "\n")
    assert main(["trace", str(run), "0"]) == 0
    assert capsys.readouterr().out.count("VERIFIER  the verifier said done, and it was not") == 2
    assert main(["report", str(run), "--out", str(tmp_path / "page.html"), "--embed-videos", "never"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "the verifier said done, and it was not" in page
    assert "passed, of those not done" in page
