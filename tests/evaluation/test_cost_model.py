"""What an evaluation is computed to cost: the page shows the script's tables, and its arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "cost_model.py"
PAGE = ROOT / "docs" / "howto" / "plan_an_evaluation.md"
BIG = "google/gemma-3-12b-it"


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import cost_model

    return cost_model


def costs(model, gpus: int, *, name: str = BIG, gpu: str = "h100", episodes: int = 288, batch: int = 32, **changed):
    return model.cost(
        name, model.GPUS[gpu], gpus, episodes=episodes, batch=batch, simulator=model.SIMULATORS["mujoco"],
        work=replace(model.Work(), **changed),
    )  # fmt: skip


def test_the_page_shows_what_the_script_prints():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    assert done.stdout in PAGE.read_text(encoding="utf-8")


def test_one_answer_is_bound_by_reading_the_weights(model):
    """11.77 G weights of two bytes and 700 tokens of 393,216 bytes, at 60 % of 3.35 TB/s."""
    assert costs(model, 1, batch=1).step_seconds == pytest.approx((2 * 11.766e9 + 700 * 393216) / 2.01e12, rel=1e-3)


def test_a_small_model_is_bound_by_starting_kernels(model):
    assert costs(model, 1, name="google/gemma-3-4b-it", gpu="h200", batch=1).step_seconds == pytest.approx(34 * 0.0002)


def test_time_and_work_add_up(model):
    one = costs(model, 1)
    running = 288 * 2.6 / one.cycles_per_second
    assert one.wall_seconds == pytest.approx(60 + running)
    assert one.cycles_per_second == pytest.approx(32 / one.cycle_seconds)
    assert costs(model, 1, cycles=5.2).wall_seconds > 1.9 * one.wall_seconds - 60


def test_more_gpus_are_faster_and_dearer_and_share_the_episodes(model):
    runs = [costs(model, gpus) for gpus in (1, 8, 64, 288)]
    assert [run.batch for run in runs] == [32, 32, 4, 1]
    walls, hours = [run.wall_seconds for run in runs], [run.gpu_hours for run in runs]
    assert walls == sorted(walls, reverse=True)
    assert hours == sorted(hours)
    assert all(run.concurrency <= -(-288 // run.gpus) for run in runs)


def test_what_does_not_fit_is_said(model):
    assert costs(model, 1).fits
    assert not costs(model, 1, batch=96).fits


def test_json_has_every_input_and_figure():
    words = [sys.executable, str(SCRIPT), "--gpus", "2", "--backend", "simpler", "--as-json"]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert told.keys() == {"benchmark", "model", "gpu", "simulator", "work", "efficiency", "costs"}
    assert [one["gpus"] for one in told["costs"]] == [2]
    assert None not in told["costs"][0].values()


def test_nonsense_is_refused():
    done = subprocess.run([sys.executable, str(SCRIPT), "--gpus", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Numbers are 1 or more" in done.stderr
