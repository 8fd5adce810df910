"""Does the twin rank policies as the true SIMPLER scenes do? Pearson r and MMRV over several policies.

    python benchmarks/widowx_oracle.py --only ladder --keep runs/ladder
    python benchmarks/widowx_oracle.py --only ladder --keep runs/ladder --backend simpler
    python benchmarks/twin_predicts_simpler.py runs/ladder
    python benchmarks/twin_predicts_simpler.py --pairs mini=runs/mini,runs/mini-simpler hold=runs/hold,runs/hold-simpler

The five rungs of the ladder are one policy with five levels of noise; --pairs takes any policies, each with its run on
the twin and its run on the true scenes. MMRV is the mean over policies of the worst rank violation, weighted by how far
apart SIMPLER holds the two; 0 is best. Both measures as in simpler-env/SimplerEnv@4ab7178 simpler_env/utils/metrics.py.

Each measure has two 95 % percentile bootstrap intervals. "Over layouts" draws the layouts of every task again, the same
ones for all policies and both simulators: how far chance in these episodes moves the measure. "Over policies" draws
as many policies again: how far it depends on which policies were compared; few points make it wide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError, SettingError
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


def ladder(folder: Path, backend: str) -> dict[str, Path]:
    """Name of each rung -> its run folder."""
    return {f"noise {noise} cm": folder / f"{backend}-vlm2vla-{noise}cm" for noise in LADDER}


def read_pairs(pairs: Sequence[str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Policy -> run folder, on the twin and on the true scenes; each of `pairs` is "NAME=TWIN,SIMPLER"."""
    sides: tuple[dict[str, Path], dict[str, Path]] = {}, {}
    for pair in pairs:
        name, _, folders = pair.partition("=")
        if not name or folders.count(",") != 1 or name in sides[0]:
            raise SettingError(f"--pairs has {pair!r}; expected NAME=TWIN_RUN,SIMPLER_RUN, each name once.")
        for side, run in zip(sides, folders.split(","), strict=True):
            side[name] = Path(run)
    return sides


def outcomes(runs: Mapping[str, Path], backend: str) -> dict[str, np.ndarray]:
    """Task -> (policies, layouts) 1 for a success at the end, 0 for a failure, nan for an episode without a verdict.

    RunFolderError if a run is not there, is of another backend, or has another number of layouts than the first.
    """
    found: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}
    for run in runs.values():
        path = run / "results.jsonl"
        if not path.is_file():
            raise RunFolderError(
                f"{path} is not there. Make it: python benchmarks/widowx_oracle.py --only ladder --keep DIR, or "
                "vlm2vla evaluate --tasks all."
            )
        results = read_results(path)
        if others := {one.backend for one in results} - {backend}:
            raise RunFolderError(f"{run} is a run on {', '.join(sorted(others))}; expected one on {backend}.")
        for task, rungs in found.items():
            own = sorted((one for one in results if one.task == task), key=lambda one: one.episode_id)
            rungs.append(np.array([VERDICTS.get(one.outcome, np.nan) for one in own]))
    if len({len(rung) for rungs in found.values() for rung in rungs}) != 1:
        raise RunFolderError(f"The runs of {backend} have different numbers of episodes; finish them.")
    return {task: np.stack(rungs) for task, rungs in found.items()}


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the draws, (n,); those without a value are left out."""
    known = draws[~np.isnan(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def compare(twin: Sequence[np.ndarray], simpler: Sequence[np.ndarray], *, draws: int, seed: int) -> dict[str, Any]:
    """The measures over some tasks, (policies, layouts) each, with their intervals."""
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
        policies = rng.integers(len(rates[0]), size=len(rates[0]))
        again["policies"].append((rates[0][policies], rates[1][policies]))
    report: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        report[name] = measure(*rates)
        for over, pairs in again.items():
            report[f"{name}_over_{over}"] = interval(np.array([measure(*pair) for pair in pairs]))
    return report


def main(
    folder: tyro.conf.Positional[Path | None] = None,
    *,
    pairs: tuple[str, ...] = (),
    draws: int = 2000,
    seed: int = 0,
    as_json: bool = False,
) -> None:
    """Print the table.

    Args:
        folder: what `widowx_oracle.py --keep` was given, for both backends.
        pairs: NAME=TWIN_RUN,SIMPLER_RUN of each policy, in place of the folder; at least three.
        draws: of the bootstrap.
        seed: of the bootstrap.
        as_json: print one JSON object as the last line.
    """
    if (folder is None) == (not pairs) or 0 < len(pairs) < 3:
        raise SettingError("Name either the folder of the ladder, or at least three policies with --pairs.")
    runs = read_pairs(pairs) if folder is None else (ladder(folder, "mujoco"), ladder(folder, "simpler"))
    twin, simpler = outcomes(runs[0], "mujoco"), outcomes(runs[1], "simpler")
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
        for index, policy in enumerate(runs[0]):
            ours, theirs = (_rate(np.concatenate([task[index] for task in side])) for side in sides)
            print(f"  {policy:16} twin {ours!s:32} SIMPLER {theirs}")
    if as_json:
        print(json.dumps(report))


def _rate(verdicts: np.ndarray) -> Rate:
    known = verdicts[~np.isnan(verdicts)]
    return Rate(int(known.sum()), len(known))


MEASURES = {"pearson": pearson, "mmrv": mean_maximum_rank_violation}

if __name__ == "__main__":
    tyro.cli(main)
