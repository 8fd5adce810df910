"""Does the twin rank policies as the true SIMPLER scenes do? Pearson r and MMRV over the noise ladder.

    python benchmarks/widowx_oracle.py --only ladder --keep runs/ladder
    python benchmarks/widowx_oracle.py --only ladder --keep runs/ladder --backend simpler
    python benchmarks/twin_predicts_simpler.py runs/ladder

The five rungs of the ladder are five policies. MMRV is the mean over policies of the worst rank violation, weighted by
how far apart SIMPLER holds the two; 0 is best. Both measures as in simpler-env/SimplerEnv@4ab7178
simpler_env/utils/metrics.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tyro

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.results import Summary, read_results, summarize

LADDER = (0, 1, 2, 3, 4)
"""[cm]"""


def pearson(predicted: np.ndarray, true: np.ndarray) -> float:
    """Correlation of two (n,) rows of success rates; nan if either does not vary."""
    a, b = predicted - predicted.mean(), true - true.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def mean_maximum_rank_violation(predicted: np.ndarray, true: np.ndarray) -> float:
    """MMRV of two (n,) rows of success rates."""
    violated = (predicted[:, None] < predicted[None]) != (true[:, None] < true[None])
    return float((np.abs(true[:, None] - true[None]) * violated).max(axis=1).mean())


def rungs(folder: Path, backend: str) -> list[dict[str, Summary]]:
    """For every rung, the summary of each task and of "all tasks"; RunFolderError if a run is not there."""
    found = []
    for noise in LADDER:
        path = folder / f"{backend}-vlm2vla-{noise}cm" / "results.jsonl"
        if not path.is_file():
            raise RunFolderError(
                f"{path} is not there. Make it: python benchmarks/widowx_oracle.py --only ladder --keep DIR"
            )
        summary = summarize(read_results(path))
        found.append({**summary.tasks, "all tasks": summary.overall})
    return found


def main(folder: tyro.conf.Positional[Path], *, as_json: bool = False) -> None:
    """Print the table.

    Args:
        folder: what `widowx_oracle.py --keep` was given, for both backends.
        as_json: print one JSON object as the last line.
    """
    twin, simpler = rungs(folder, "mujoco"), rungs(folder, "simpler")
    report = {}
    for name in [*TASKS, "all tasks"]:
        pairs = [(a[name].success_at_end, b[name].success_at_end) for a, b in zip(twin, simpler, strict=True)]
        ours, theirs = (np.array([rate.rate for rate in side], dtype=float) for side in zip(*pairs, strict=True))
        measures = {"pearson": pearson(ours, theirs), "mmrv": mean_maximum_rank_violation(ours, theirs)}
        report[name] = measures
        print(f"\n{name}: Pearson r {measures['pearson']:.3f}, MMRV {measures['mmrv']:.3f}")
        for noise, (our_rate, their_rate) in zip(LADDER, pairs, strict=True):
            print(f"  noise {noise} cm   twin {our_rate!s:32} SIMPLER {their_rate}")
    if as_json:
        print(json.dumps(report))


if __name__ == "__main__":
    tyro.cli(main)
