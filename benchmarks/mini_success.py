"""Success of the embedded model on held-out layouts, with an upper bound and two lower bounds.

    python benchmarks/mini_success.py                    # 200 random layouts on the MuJoCo twin, every policy
    python benchmarks/mini_success.py --only mini --episodes 12

First the script compares the layouts with those of the scenes that the model's folders say it was trained on.
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
from vlm2vla_sim.mini.scenes.layout_overlap import find_overlaps, training_arrangements
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT
from vlm2vla_sim.policies.mini import WEIGHTS

POLICIES = ("scripted", "mini", "hold", "random")


def check_unseen(seed: int, episodes: int, base: Path, adapter: Path) -> None:
    """Print how many layouts lie near a training scene; AssertionError if they are more than chance explains.

    The scenes are made again, without rendering, from the shards that the model's folders record.
    """
    overlaps = find_overlaps(training_arrangements(trained_on(base, adapter)), seed=seed, episodes=episodes)
    for overlap in overlaps:
        print(overlap, flush=True)
    leaks = [overlap.task for overlap in overlaps if overlap.is_leak]
    assert not leaks, f"the model was trained on layouts of {', '.join(leaks)} that seed {seed} evaluates"


def trained_on(base: Path, adapter: Path) -> list[int]:
    """The shards of scenes that base and adapter were trained on; AssertionError if a training does not record them."""
    record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    shards = [json.loads((base / "recipe.json").read_text(encoding="utf-8"))["shards"]]
    while record:
        shards.append(record["data"]["about"]["shards"])
        record = record["went_on_from"]
    assert all(shards), "the model does not record its training data"
    return sorted({number for some in shards for number in some})


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
    check_unseen(seed, episodes, WEIGHTS / "base", WEIGHTS / "adapter")
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
