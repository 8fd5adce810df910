"""The embedded model on layouts that it never saw, between what bounds it from above and from below.

    python benchmarks/mini_success.py                    # 200 random layouts on the twin, every policy
    python benchmarks/mini_success.py --only mini --episodes 12

The layouts are drawn from a seed on the far side of a line that training's scenes must not cross; that they did not is
read from what the model's own folders say about their data.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import tyro

from vlm2vla_sim.evaluation.results import RunSummary
from vlm2vla_sim.evaluation.run_folder import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT
from vlm2vla_sim.policies.mini import WEIGHTS

POLICIES = ("scripted", "mini", "hold", "random")


def check_unseen(seed: int, base: Path, adapter: Path) -> None:
    """AssertionError unless the run's seed and everything the model was trained on lie on different sides."""
    recipe = json.loads((base / "recipe.json").read_text(encoding="utf-8"))
    record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    trained_on = [recipe["shards"]]
    while record:
        trained_on.append(record["data"]["about"]["shards"])
        record = record["went_on_from"]
    for shards in trained_on:
        assert shards, "the model does not say what it was trained on"
        assert max(shards) < HELD_OUT <= seed, f"seed {seed} is not apart from the shards {shards}"


def measure(settings: RunSettings, *, workers: int, keep: Path | None) -> RunSummary:
    """The summary of one run; its folder, with videos, is kept under `keep` if that is given."""
    with tempfile.TemporaryDirectory() as scratch:
        out = (keep or Path(scratch)) / settings.policy
        resume = (out / "settings.json").exists()
        return run_suite(settings, out=out, video=keep is not None, workers=workers, resume=resume).summary


def main(
    *, episodes: int = 50, seed: int = HELD_OUT, workers: int = 2, only: str = "", keep: Path | None = None
) -> None:
    """Print the table.

    Args:
        episodes: of every task.
        seed: that the layouts are drawn from.
        workers: processes.
        only: one policy instead of all.
        keep: a folder that keeps every run; runs found there are continued.
    """
    check_unseen(seed, WEIGHTS / "base", WEIGHTS / "adapter")
    for policy in [only] if only else POLICIES:
        started = time.perf_counter()
        settings = RunSettings(policy, episodes=episodes, layouts="random", seed=seed)
        summary = measure(settings, workers=workers, keep=keep)
        cells = [f"{task.success_at_end.k}/{task.success_at_end.n}" for task in summary.tasks.values()]
        seconds = time.perf_counter() - started
        print(
            " | ".join(
                [f"{policy:9}", *(f"{c:>7}" for c in cells), str(summary.overall.success_at_end), f"{seconds:.0f} s"]
            )
        )


if __name__ == "__main__":
    tyro.cli(main)
