"""The correlation of twin and SIMPLER comes with intervals over layouts and over policies."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.types import EpisodeResult, Outcome

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "twin_predicts_simpler.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("twin_predicts_simpler", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_ladder(folder: Path, backend: str, rates=(1.0, 0.8, 0.5, 0.2, 0.1), episodes: int = 24) -> None:
    rng = np.random.default_rng([7, len(backend)])
    for noise, rate in enumerate(rates):
        path = folder / f"{backend}-vlm2vla-{noise}cm" / "results.jsonl"
        path.parent.mkdir(parents=True)
        lines = []
        for task in TASKS:
            for k in range(episodes):
                outcome = Outcome.SUCCESS if rng.random() < rate else Outcome.FAILURE
                lines.append(
                    EpisodeResult(task, k, 0, backend, "default", "scripted", "vlm2vla", "grid", "x", outcome).to_json()
                )
        path.write_text("".join(line + "\n" for line in lines))


def test_five_points_give_a_wide_interval_over_policies(script, tmp_path, capsys):
    for backend in ("mujoco", "simpler"):
        write_ladder(tmp_path, backend)
    script.main(tmp_path, draws=300, as_json=True)
    told = capsys.readouterr().out
    report = json.loads(told.splitlines()[-1])["all tasks"]
    assert report["pearson"] > 0.95
    low, high = report["pearson_over_layouts"]
    assert low < report["pearson"] < high <= 1
    assert low > 0.9
    wide_low, wide_high = report["pearson_over_policies"]
    assert wide_low < report["pearson"] <= wide_high
    assert wide_high - wide_low > 0
    assert "pearson " in told
    assert "over layouts" in told
    assert "over policies" in told


def test_the_same_layouts_are_drawn_for_both_simulators(script):
    """Where both simulators agree layout by layout, no draw moves r from 1, nor MMRV from 0."""
    rng = np.random.default_rng(0)
    task = (rng.random((5, 24)) < np.array([0.95, 0.8, 0.5, 0.3, 0.1])[:, None]).astype(float)
    report = script.compare([task], [task], draws=100, seed=0)
    assert report["pearson_over_layouts"] == pytest.approx((1.0, 1.0))
    assert report["mmrv_over_layouts"] == (0.0, 0.0)


def test_an_episode_without_a_verdict_is_left_out_and_a_missing_one_is_told(script, tmp_path):
    write_ladder(tmp_path, "mujoco")
    path = tmp_path / "mujoco-vlm2vla-2cm/results.jsonl"
    first, *rest = path.read_text().splitlines()
    broken = dataclasses.replace(EpisodeResult.from_json(first), outcome=Outcome.ERROR).to_json()
    path.write_text("\n".join([broken, *rest]) + "\n")
    found = script.outcomes(script.ladder(tmp_path, "mujoco"), "mujoco")
    assert np.isnan(found["spoon_on_towel"][2]).sum() == 1
    path.write_text("\n".join(rest) + "\n")
    with pytest.raises(RunFolderError, match="different numbers of episodes"):
        script.outcomes(script.ladder(tmp_path, "mujoco"), "mujoco")
    with pytest.raises(RunFolderError, match="is not there"):
        script.outcomes(script.ladder(tmp_path, "simpler"), "simpler")


def test_any_policies_can_be_ranked_each_with_its_two_runs(script, tmp_path, capsys):
    for backend in ("mujoco", "simpler"):
        write_ladder(tmp_path, backend)
    runs = [f"p{n}={tmp_path}/mujoco-vlm2vla-{n}cm,{tmp_path}/simpler-vlm2vla-{n}cm" for n in (0, 2, 4)]
    script.main(pairs=tuple(runs), draws=50, as_json=True)
    told = capsys.readouterr().out
    assert json.loads(told.splitlines()[-1])["all tasks"]["pearson"] > 0.95
    assert "p2 " in told
    with pytest.raises(SettingError, match="at least three policies"):
        script.main(pairs=tuple(runs[:2]))
    with pytest.raises(SettingError, match="expected NAME=TWIN_RUN,SIMPLER_RUN"):
        script.main(pairs=(*runs, "p9=only-one"))
    swapped = f"p1={tmp_path}/simpler-vlm2vla-1cm,{tmp_path}/mujoco-vlm2vla-1cm"
    with pytest.raises(RunFolderError, match="is a run on simpler; expected one on mujoco"):
        script.main(pairs=(*runs, swapped))
