"""The embedded model as it is shipped: small, of known data, and it moves the arm by what it sees and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vlm_lane import need_vlm

need_vlm()

from vlm2vla_sim.errors import SettingError  # noqa: E402 - what is below needs the extra
from vlm2vla_sim.mini.album import HELD_OUT  # noqa: E402
from vlm2vla_sim.policies.hf_model import HfSettings, load_model  # noqa: E402
from vlm2vla_sim.policies.mini import WEIGHTS, MiniOptions  # noqa: E402
from vlm2vla_sim.results import RunSummary  # noqa: E402
from vlm2vla_sim.run_folder import RunSettings  # noqa: E402
from vlm2vla_sim.suite import run_suite  # noqa: E402


def run(folder: Path, **changed) -> RunSummary:
    tasks = ("spoon_on_towel", "eggplant_in_basket")
    settings = RunSettings("mini", tasks, episodes=3, layouts="random", seed=HELD_OUT + 1, **changed)
    return run_suite(settings, out=folder, video=False).summary


def test_it_is_small_and_says_what_it_was_made_of():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 25e6
    model = load_model(HfSettings(str(WEIGHTS / "base"), str(WEIGHTS / "adapter"), dtype="float32"))
    assert sum(weight.numel() for weight in model.model.parameters()) < 10e6
    recipe = json.loads((WEIGHTS / "base" / "recipe.json").read_text())
    record = json.loads((WEIGHTS / "adapter" / "training.json").read_text())
    assert max(recipe["shards"]) < HELD_OUT
    assert max(record["data"]["about"]["shards"]) < HELD_OUT


def test_it_solves_tasks_from_pixels_and_says_the_same_again(tmp_path):
    summary = run(tmp_path / "one")
    # A fair coin of its measured success would have to fall wrong six times to miss this.
    assert summary.overall.success_at_end.k >= 1
    results, again = ([], [])
    run(tmp_path / "two")
    for name, kept in (("one", results), ("two", again)):
        for line in (tmp_path / name / "results.jsonl").read_text().splitlines():
            kept.append([decision["action"] for decision in json.loads(line)["decisions"]])
    assert results == again


def test_what_is_shown_decides_what_is_said(tmp_path):
    run(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    plans = {line["decisions"][0]["plan"] for line in lines if line["task"] == "spoon_on_towel"}
    assert len(plans) == 3, "three layouts, three places"


def test_without_its_weights_it_says_how_to_make_them(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.mini.WEIGHTS", Path("nowhere"))
    with pytest.raises(SettingError, match="make mini"):
        MiniOptions(model=str(Path("nowhere") / "base"))
