"""A run is of one set of weights: what the policy really used is kept with its settings and compared on resume."""

from __future__ import annotations

import dataclasses
import json

import pytest
from test_results import episode

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.operator.episode_log import (
    EpisodeLog,
    EpisodeRecord,
    PlannedEpisode,
    PolicySpec,
    SessionSettings,
)
from vlm2vla_sim.evaluation.operator.prompts import Label
from vlm2vla_sim.evaluation.run_folder import RunFolder
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.types import Outcome

SETTINGS = RunSettings(policy="hold", tasks=("carrot_on_plate",), episodes=9, backend="point")


def used(digest: str | None, path: str = "/models/a", **more) -> dict:
    return {"model": {"model": path, "model_digest": digest, **more}}


def run(path, *results, resume: bool = False) -> None:
    folder = RunFolder(path, SETTINGS, resume=resume)
    try:
        for result in results:
            folder.append(result)
    finally:
        folder.close()


def settings_of(path) -> dict:
    return json.loads((path / "settings.json").read_text())


def test_the_first_result_leaves_its_provenance_in_the_settings(tmp_path):
    run(tmp_path, episode(episode_id=0, provenance=used("aa")), episode(episode_id=1, provenance=used("aa")))
    assert settings_of(tmp_path)["provenance"] == used("aa")
    assert RunSettings.from_json(settings_of(tmp_path)) == SETTINGS
    assert settings_of(tmp_path)["versions"]
    assert [json.loads(line)["provenance"] for line in (tmp_path / "results.jsonl").read_text().splitlines()] == [
        used("aa")
    ] * 2


def test_other_weights_under_the_same_path_do_not_continue_a_run(tmp_path):
    run(tmp_path, episode(episode_id=0, provenance=used("aa")))
    with pytest.raises(RunFolderError, match=r"model\.model_digest was aa and is bb\..*--out DIR"):
        run(tmp_path, episode(episode_id=1, provenance=used("bb")), resume=True)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1, "its result is not mixed in"
    assert settings_of(tmp_path)["provenance"] == used("aa")
    run(tmp_path, episode(episode_id=1, provenance=used("aa")), resume=True)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (used("aa", constrained=True), used("aa", constrained=False), "model.constrained was True and is False"),
        (used("aa"), used("aa", adapter_digest="cc"), "model.adapter_digest was unknown and is cc"),
        (used("aa", adapter_digest="cc"), used("aa"), "model.adapter_digest was cc and is unknown"),
        (used(None), used(None, "/models/b"), "model.model was /models/a and is /models/b"),
        (used("aa"), {**used("aa"), "verifier": {"model_digest": "v"}}, "verifier was unknown"),
    ],
)
def test_anything_that_was_really_used_is_compared(tmp_path, before, after, said):
    run(tmp_path, episode(episode_id=0, provenance=before))
    with pytest.raises(RunFolderError, match=said):
        run(tmp_path, episode(episode_id=1, provenance=after), resume=True)


def test_the_same_weights_elsewhere_continue_a_run(tmp_path):
    run(tmp_path, episode(episode_id=0, provenance=used("aa", "/here")))
    run(tmp_path, episode(episode_id=1, provenance=used("aa", "/there")), resume=True)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.ABORTED])
def test_an_episode_that_was_not_run_to_its_end_says_nothing_of_the_weights(tmp_path, outcome):
    broken = episode(episode_id=0, outcome=outcome, provenance=used(None))
    run(tmp_path, broken)
    assert "provenance" not in settings_of(tmp_path)
    run(tmp_path, episode(episode_id=1, provenance=used("aa")), resume=True)
    assert settings_of(tmp_path)["provenance"] == used("aa")


def test_a_policy_without_weights_leaves_none(tmp_path):
    run(tmp_path, episode(episode_id=0))
    assert "provenance" not in settings_of(tmp_path)


def test_a_session_keeps_the_provenance_of_each_policy(tmp_path):
    settings = SessionSettings(
        (PolicySpec("hold", name="one"), PolicySpec("hold", name="two")), ("carrot_on_plate",), 3
    )

    def add(number: int, policy: str, digest: str) -> None:
        log = EpisodeLog(tmp_path, settings, resume=True)
        try:
            planned = PlannedEpisode(number, "carrot_on_plate", number, 0)
            result = dataclasses.replace(episode(episode_id=number, provenance=used(digest)), policy=policy)
            log.add(EpisodeRecord(planned, Label("success", 1.0, (), False), result, 1))
        finally:
            log.close()

    add(0, "one", "aa")
    add(1, "two", "bb")
    assert json.loads((tmp_path / "plan.json").read_text())["provenance"] == {"one": used("aa"), "two": used("bb")}
    with pytest.raises(RunFolderError, match=r"'two' uses now: model\.model_digest was bb and is aa"):
        add(2, "two", "aa")
    add(2, "one", "aa")
    assert len((tmp_path / "episodes.jsonl").read_text().splitlines()) == 3
