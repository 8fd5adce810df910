"""The policies of worker processes share one model, which stays in the process that started them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from fakes import SharedModel

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import SuiteRun, run_suite
from vlm2vla_sim.policies.vlm import MODEL_OPTIONS, VlmOptions, model_options
from vlm2vla_sim.types import EpisodeResult, Outcome

SETTINGS = RunSettings(
    policy="vlm",
    policy_options={"model": "fakes:SharedModel", "max_attempts": 4, "verifier": "adapter"},
    tasks=("spoon_on_towel", "carrot_on_plate"),
    episodes=2,
    backend="point",
    image_size=(48, 64),
)


def run(out: Path, settings: RunSettings = SETTINGS, **options) -> SuiteRun:
    return run_suite(settings, out=out, video=False, **options)


def content(result: EpisodeResult) -> EpisodeResult:
    """The result without what depends on the process and on the other episodes."""
    decisions = tuple(
        {**decision, "stages": [{**stage, "seconds": 0, "tokens": 0} for stage in decision["stages"]]}
        for decision in result.decisions
    )
    return dataclasses.replace(result, seconds=0, versions={}, provenance={}, decisions=decisions)


def test_many_workers_ask_one_model_and_get_the_answers_of_their_own_episodes(tmp_path):
    before = SharedModel.made
    together = run(tmp_path / "4", workers=4)
    assert SharedModel.made == before + 1
    alone = run(tmp_path / "1")
    assert list(map(content, together.results)) == list(map(content, alone.results))
    assert {result.provenance["model"]["process"] for result in together.results} == {os.getpid()}
    for result in together.results:
        thing = result.task.partition("_")[0]
        stages = [stage for decision in result.decisions for stage in decision["stages"]]
        assert {stage["text"] for stage in stages if stage["name"] == "plan"} == {f"move to the {thing}"}
    # `tokens` is the size of the batch here: several episodes were answered together.
    assert max(stage["tokens"] for r in together.results for d in r.decisions for stage in d["stages"]) > 1


def test_a_model_that_cannot_be_loaded_ends_the_run_in_a_sentence(tmp_path):
    options = {**SETTINGS.policy_options, "adapter": "absent"}
    with pytest.raises(SettingError, match="There is no such adapter"):
        run(tmp_path / "run", dataclasses.replace(SETTINGS, policy_options=options), workers=2)
    assert not (tmp_path / "run").exists()


def test_a_question_that_breaks_the_model_costs_its_own_episode_only(tmp_path):
    options = {**SETTINGS.policy_options, "adapter": "odd"}
    made = run(tmp_path / "run", dataclasses.replace(SETTINGS, policy_options=options), workers=4)
    outcomes = {result.task: result.outcome for result in made.results}
    assert outcomes == {"spoon_on_towel": Outcome.ERROR, "carrot_on_plate": Outcome.FAILURE}
    assert all("OddError" in r.reason for r in made.results if r.outcome is Outcome.ERROR)


def test_a_worker_that_dies_leaves_the_model_to_the_others(tmp_path):
    settings = dataclasses.replace(SETTINGS, backend="fakes:KilledBackend")
    made = run(tmp_path / "run", settings, workers=2)
    outcomes = {(result.task, result.episode_id): result.outcome for result in made.results}
    assert {key: outcome for key, outcome in outcomes.items() if key[1] == 0} == {
        ("spoon_on_towel", 0): Outcome.FAILURE,
        ("carrot_on_plate", 0): Outcome.FAILURE,
    }
    assert all(outcomes[key] is Outcome.ERROR for key in outcomes if key[1] == 1)


def test_options_of_the_loop_do_not_load_a_second_model():
    one = VlmOptions("folder", "adapter", sampling="greedy", state=True, max_rows=2)
    other = VlmOptions("folder", "adapter", verifier="base")
    assert model_options(one) == model_options(other)
    for name in MODEL_OPTIONS:
        on_server = VlmOptions("base", server="http://127.0.0.1:1/v1")
        options = on_server if name in ("server", "constraint", "timeout", "zero_shot", "minimal_request") else other
        value = {"constraint": "off", "server": "http://127.0.0.1:2/v1", "quantization": "8bit"}.get(name)
        value = (
            value
            or {"str": "x", "bool": not getattr(options, name), "int": 2, "float": 2.0}[
                type(getattr(options, name)).__name__
            ]
        )
        assert model_options(dataclasses.replace(options, **{name: value})) != model_options(options), name


def test_a_model_of_your_own_gets_all_options():
    options = VlmOptions("fakes:SharedModel", max_attempts=3)
    assert model_options(options) == options
