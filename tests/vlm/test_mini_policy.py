"""The shipped embedded model: small, with a record of its data, and it solves tasks from images."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest
from vlm_lane import make_adapter, need_vlm

need_vlm()

import torch  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402 - what is below needs the extra
from vlm2vla_sim.evaluation.results import RunSummary  # noqa: E402
from vlm2vla_sim.evaluation.settings import RunSettings  # noqa: E402
from vlm2vla_sim.evaluation.suite import run_suite  # noqa: E402
from vlm2vla_sim.mini.model.architecture import MiniSize, make_model, make_processor  # noqa: E402
from vlm2vla_sim.mini.model.tokenizer import make_tokenizer  # noqa: E402
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT  # noqa: E402
from vlm2vla_sim.mini.training.recipe import PretrainingRecipe  # noqa: E402
from vlm2vla_sim.mini.training.vocabulary import texts  # noqa: E402
from vlm2vla_sim.policies.mini import WEIGHTS, MiniOptions  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings, load_model  # noqa: E402

SMALL = MiniSize(hidden=64, layers=1, heads=2, feed_forward=64, vision_hidden=64, vision_layers=1)


def run(folder: Path, *, workers: int = 1, **changed) -> RunSummary:
    tasks = ("spoon_on_towel", "eggplant_in_basket")
    settings = RunSettings("mini", tasks, episodes=3, layouts="random", seed=HELD_OUT + 1, **changed)
    return run_suite(settings, out=folder, video=False, workers=workers).summary


def test_it_is_small_and_records_its_training_data():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 25e6
    model = load_model(HfSettings(str(WEIGHTS / "base"), str(WEIGHTS / "adapter"), dtype="float32"))
    assert sum(weight.numel() for weight in model.model.parameters()) < 10e6
    used = model.provenance()
    assert used["base_checked"] == "digest", "the adapter's record names the base that is shipped with it"
    assert used["adapter_keys"] == 2 * 7 * 4
    recipe = json.loads((WEIGHTS / "base" / "recipe.json").read_text())
    record = json.loads((WEIGHTS / "adapter" / "training.json").read_text())
    assert max(recipe["shards"]) < HELD_OUT
    assert {name: recipe[name] for name in dataclasses.asdict(PretrainingRecipe())} == dataclasses.asdict(
        PretrainingRecipe()
    ), "the shipped base was made by the default recipe"
    while record:
        assert max(record["data"]["about"]["shards"]) < HELD_OUT
        record = record["went_on_from"]


def test_it_runs_on_one_thread():
    assert MiniOptions().threads == 1
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        HfModel(HfSettings(str(WEIGHTS / "base"), dtype="float32", threads=MiniOptions().threads))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(SettingError, match="threads is -1"):
        HfSettings("m", threads=-1)


def test_it_solves_tasks_from_images_reproducibly(tmp_path):
    summary = run(tmp_path / "one")
    # At its measured success rate, six failures in a row do not happen by chance.
    assert summary.overall.success_at_end.k >= 1
    results, again, together = ({}, {}, {})
    run(tmp_path / "two")
    run(tmp_path / "three", workers=4)  # one model for all, asked in batches
    for name, kept in (("one", results), ("two", again), ("three", together)):
        for line in map(json.loads, (tmp_path / name / "results.jsonl").read_text().splitlines()):
            kept[line["task"], line["episode_id"]] = [
                [stage["text"] for stage in decision["stages"]] for decision in line["decisions"]
            ]
    assert results == again == together


def test_the_loop_runs_with_an_untrained_model_of_the_same_architecture(tmp_path):
    processor = make_processor(make_tokenizer(texts()), SMALL)
    for part in (make_model(processor.tokenizer, SMALL), processor):
        part.save_pretrained(tmp_path / "base")
    make_adapter(tmp_path / "base", tmp_path / "adapter", scale=0.02)
    options = {"model": str(tmp_path / "base"), "adapter": str(tmp_path / "adapter"), "reasoning": False}
    settings = RunSettings("mini", ("carrot_on_plate",), episodes=1, policy_options=options)
    (result,) = run_suite(settings, out=tmp_path / "run", video=False).results
    assert result.outcome.value in ("success", "failure"), result.reason
    actions = [decision["action"] for decision in result.decisions]
    assert actions
    assert all(text.startswith("[[") for text in actions), "constrained by the grammar"


def test_plans_depend_on_the_image(tmp_path):
    run(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    plans = {line["decisions"][0]["plan"] for line in lines if line["task"] == "spoon_on_towel"}
    assert len(plans) == 3, "three layouts, three positions"


def test_missing_weights_are_an_error_that_says_how_to_make_them(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.mini.WEIGHTS", Path("nowhere"))
    with pytest.raises(SettingError, match="make mini"):
        MiniOptions(model=str(Path("nowhere") / "base"))


def test_loading_the_model_and_its_adapter_warns_of_nothing_to_come():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        load_model(HfSettings(str(WEIGHTS / "base"), str(WEIGHTS / "adapter"), dtype="float32"))
    assert [str(one.message) for one in told if one.category is FutureWarning] == []
