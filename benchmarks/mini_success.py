"""Success of the embedded model on held-out layouts, with an upper bound and two lower bounds.

    python benchmarks/mini_success.py                    # 200 random layouts on the MuJoCo twin, every policy
    python benchmarks/mini_success.py --only mini --episodes 12

The seed has to be one of the held-out range; the script checks the training records of the model's folders.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import tyro

from vlm2vla_sim.evaluation.results import RunSummary
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT
from vlm2vla_sim.policies.mini import WEIGHTS

POLICIES = ("scripted", "mini", "hold", "random")


def check_unseen(seed: int, base: Path, adapter: Path) -> None:
    """AssertionError unless the seed is held out and every shard the model was trained on is not."""
    recipe = json.loads((base / "recipe.json").read_text(encoding="utf-8"))
    record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    trained_on = [recipe["shards"]]
    while record:
        trained_on.append(record["data"]["about"]["shards"])
        record = record["went_on_from"]
    for shards in trained_on:
        assert shards, "the model does not record its training data"
        assert max(shards) < HELD_OUT <= seed, f"seed {seed} is not held out from the shards {shards}"


def measure(settings: RunSettings, *, workers: int, keep: Path | None) -> RunSummary:
    """The summary of one run; with `keep`, its folder is kept there, with videos."""
    with tempfile.TemporaryDirectory() as scratch:
        out = (keep or Path(scratch)) / settings.policy
        resume = (out / "settings.json").exists()
        return run_suite(settings, out=out, video=keep is not None, workers=workers, resume=resume).summary


def main(
    *, episodes: int = 50, seed: int = HELD_OUT, workers: int = 2, only: str = "", keep: Path | None = None
) -> None:
    """Print the table.

    Args:
        episodes: Episodes of each task.
        seed: Seed for layouts and policy.
        workers: Number of processes.
        only: One policy instead of all.
        keep: Folder in which every run is kept; runs found there are continued.
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
