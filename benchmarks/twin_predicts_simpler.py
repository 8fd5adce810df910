"""Does the twin rank policies as the true SIMPLER scenes do? Pearson r and MMRV over the noise ladder.

    python benchmarks/widowx_oracle.py --only ladder --keep runs/ladder
    python benchmarks/widowx_oracle.py --only ladder --keep runs/ladder --backend simpler
    python benchmarks/twin_predicts_simpler.py runs/ladder

The five rungs of the ladder are one policy with five levels of noise. MMRV is the mean over policies of the worst rank
violation, weighted by how far apart SIMPLER holds the two; 0 is best. Both measures as in
simpler-env/SimplerEnv@4ab7178 simpler_env/utils/metrics.py.

Each measure has two 95 % percentile bootstrap intervals. "Over layouts" draws the layouts of every task again, the same
ones for all policies and both simulators: how far chance in these episodes moves the measure. "Over policies" draws
five of the five policies again: how far it depends on which policies were compared; five points make it wide.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.types import Outcome

LADDER = (0, 1, 2, 3, 4)
"""[cm]"""
VERDICTS = {Outcome.SUCCESS: 1.0, Outcome.FAILURE: 0.0}


def pearson(predicted: np.ndarray, true: np.ndarray) -> float:
    """Correlation of two (n,) rows of success rates; nan if either does not vary."""
    a, b = predicted - predicted.mean(), true - true.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def mean_maximum_rank_violation(predicted: np.ndarray, true: np.ndarray) -> float:
    """MMRV of two (n,) rows of success rates."""
    violated = (predicted[:, None] < predicted[None]) != (true[:, None] < true[None])
    return float((np.abs(true[:, None] - true[None]) * violated).max(axis=1).mean())


def outcomes(folder: Path, backend: str) -> dict[str, np.ndarray]:
    """Task -> (5, layouts) 1 for a success at the end, 0 for a failure, nan for an episode without a verdict.

    RunFolderError if a run is not there, or another number of layouts than in the first.
    """
    found: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}
    for noise in LADDER:
        path = folder / f"{backend}-vlm2vla-{noise}cm" / "results.jsonl"
        if not path.is_file():
            raise RunFolderError(
                f"{path} is not there. Make it: python benchmarks/widowx_oracle.py --only ladder --keep DIR"
            )
        results = read_results(path)
        for task, rungs in found.items():
            own = sorted((one for one in results if one.task == task), key=lambda one: one.episode_id)
            rungs.append(np.array([VERDICTS.get(one.outcome, np.nan) for one in own]))
    if len({len(rung) for rungs in found.values() for rung in rungs}) != 1:
        raise RunFolderError(f"The runs of {backend} in {folder} have different numbers of episodes; finish them.")
    return {task: np.stack(rungs) for task, rungs in found.items()}


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the draws, (n,); those without a value are left out."""
    known = draws[~np.isnan(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def compare(twin: Sequence[np.ndarray], simpler: Sequence[np.ndarray], *, draws: int, seed: int) -> dict[str, Any]:
    """The measures over some tasks, (5, layouts) each, with their intervals."""
    rng = np.random.default_rng(seed)
    rates = [np.nanmean(np.concatenate(side, axis=1), axis=1) for side in (twin, simpler)]
    again: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"layouts": [], "policies": []}
    for _ in range(draws):
        chosen = [rng.integers(task.shape[1], size=task.shape[1]) for task in twin]
        drawn = [
            np.nanmean(np.concatenate([task[:, k] for task, k in zip(side, chosen, strict=True)], axis=1), axis=1)
            for side in (twin, simpler)
        ]
        again["layouts"].append((drawn[0], drawn[1]))
        policies = rng.integers(len(LADDER), size=len(LADDER))
        again["policies"].append((rates[0][policies], rates[1][policies]))
    report: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        report[name] = measure(*rates)
        for over, pairs in again.items():
            report[f"{name}_over_{over}"] = interval(np.array([measure(*pair) for pair in pairs]))
    return report


def main(folder: tyro.conf.Positional[Path], *, draws: int = 2000, seed: int = 0, as_json: bool = False) -> None:
    """Print the table.

    Args:
        folder: what `widowx_oracle.py --keep` was given, for both backends.
        draws: of the bootstrap.
        seed: of the bootstrap.
        as_json: print one JSON object as the last line.
    """
    twin, simpler = outcomes(folder, "mujoco"), outcomes(folder, "simpler")
    report = {}
    for name in [*TASKS, "all tasks"]:
        tasks = list(TASKS) if name == "all tasks" else [name]
        sides = [[side[task] for task in tasks] for side in (twin, simpler)]
        report[name] = compare(*sides, draws=draws, seed=seed)
        print(f"\n{name}:")
        for measure in MEASURES:
            ends = {over: report[name][f"{measure}_over_{over}"] for over in ("layouts", "policies")}
            told = "; ".join(f"over {over} {low:.3f} to {high:.3f}" for over, (low, high) in ends.items())
            print(f"  {measure} {report[name][measure]:.3f} ({told})")
        for index, noise in enumerate(LADDER):
            ours, theirs = (_rate(np.concatenate([task[index] for task in side])) for side in sides)
            print(f"  noise {noise} cm   twin {ours!s:32} SIMPLER {theirs}")
    if as_json:
        print(json.dumps(report))


def _rate(verdicts: np.ndarray) -> Rate:
    known = verdicts[~np.isnan(verdicts)]
    return Rate(int(known.sum()), len(known))


MEASURES = {"pearson": pearson, "mmrv": mean_maximum_rank_violation}

if __name__ == "__main__":
    tyro.cli(main)
