"""Two real processes train one base: gradients are averaged, batches shared, and both end with the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vlm_lane import need_vlm

need_vlm()

from together import RECIPE  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.mini.scenes import rendered_dataset  # noqa: E402

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], dict]:
    """What each of two processes has in the end, and the record of what they made."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_dataset, "SHARD", 24)
        rendered_dataset.fill(folder / "album", [0])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [*launcher, str(HERE / "together.py"), str(folder)]
    done = subprocess.run(run, check=False, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    each = [json.loads((folder / f"{number}.json").read_text(encoding="utf-8")) for number in range(2)]
    return each, json.loads((folder / "base" / "recipe.json").read_text(encoding="utf-8"))


def test_gradients_are_averaged_and_what_nobody_learnt_is_left_alone(told) -> None:
    for one in told[0]:
        assert one["gradients"] == [[1.5, 3.0], [2.0, 4.0], None]
        assert one["total"] == 3.0


def test_both_end_with_the_same_weights_and_one_of_them_reports(told) -> None:
    (first, second), recipe = told
    assert first["weights"] == second["weights"]
    assert [int(line.split()[0]) for line in first["lines"]] == [0, RECIPE.looks, RECIPE.total - 1]
    assert second["lines"] == []
    assert recipe["processes"] == 2
    assert recipe["pictures"] == RECIPE.pictures, "of both together"
    assert recipe["cpu_seconds"] > 0


def test_what_one_of_two_does_is_half_of_every_batch() -> None:
    half = RECIPE.shared_by(2)
    assert (half.pictures, half.settled_pictures, half.pages) == (2, 1, 1)
    assert half.total == RECIPE.total
    with pytest.raises(SettingError, match=r"3 processes cannot share pictures \(4\), settled_pictures \(2\), pages"):
        RECIPE.shared_by(3)
