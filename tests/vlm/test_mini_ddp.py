"""Two processes pretrain one model: gradients are averaged, batches shared, and both end with the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vlm_lane import need_vlm

need_vlm()

from ddp_worker import RECIPE  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.mini.scenes import rendered_dataset  # noqa: E402

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], dict]:
    """What each of the two processes wrote, and the record of the model."""
    folder = tmp_path_factory.mktemp("ddp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_dataset, "SHARD_SIZE", 24)
        rendered_dataset.render_shards(folder / "scenes", [0])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [*launcher, str(HERE / "ddp_worker.py"), str(folder)]
    done = subprocess.run(run, check=False, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    each = [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    return each, json.loads((folder / "base" / "recipe.json").read_text(encoding="utf-8"))


def test_gradients_are_averaged_and_unused_weights_have_none(told) -> None:
    for one in told[0]:
        assert one["gradients"] == [[1.5, 3.0], [2.0, 4.0], None]
        assert one["total"] == 3.0


def test_the_gradients_of_both_phases_are_the_mean_of_each_processs_own(told) -> None:
    for one in told[0]:
        vision, annealing = one["errors"]
        assert vision < 1e-6
        assert annealing < 1e-6


def test_both_end_with_the_same_weights_and_one_reports(told) -> None:
    (first, second), recipe = told
    assert first["base"]["weights"] == second["base"]["weights"]
    assert first["base"]["lines"] == [0, RECIPE.vision_updates, RECIPE.total - 1]
    assert second["base"]["lines"] == []
    assert recipe["processes"] == 2
    assert recipe["images"] == RECIPE.images, "of both together"
    assert recipe["cpu_seconds"] > 0


def test_both_resume_from_the_same_checkpoint(told) -> None:
    first, second = told[0]
    assert first["resumed"]["lines"] == [RECIPE.total - 1], "it begins after the checkpoint at update 4"
    assert first["resumed"]["weights"] == second["resumed"]["weights"]
    assert first["resumed"]["weights"] != first["base"]["weights"], "a resumed run has another data order"


def test_each_of_two_processes_has_half_of_every_batch() -> None:
    half = RECIPE.per_process(2)
    assert (half.images, half.annealing_images, half.annealing_texts) == (2, 1, 1)
    assert half.total == RECIPE.total
    with pytest.raises(SettingError, match=r"3 processes cannot share images \(4\), annealing_images \(2\), annealing"):
        RECIPE.per_process(3)
