"""Effect of the options that divide motion into rows: rows per episode, and how far the text ends from the motion.

    python benchmarks/relabel_rows.py               # 96 scripted picks, recorded on the twin
    python benchmarks/relabel_rows.py --data DIR    # a recorded data set

The paper's post-processing (appendix 6.2) merges steps until one axis has moved 2.5 cm without a change of sign, or the
whole 5 cm. Each arm has its numbers in a part or in whole. No simulator carries anything out: the end error is the
distance between the end of the summed rows and the measured end; the corner error is the largest distance of the
measured path from the polyline of the rows.
"""

from __future__ import annotations

import json as json_module
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from awkward_motion import awkward

from vlm2vla_sim.data.datasets.open import open_dataset, read_trajectories
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.relabel.path import RowThresholds
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.evaluation.settings import RunSettings

NEVER = 1000.0
"""[cm] a threshold that no motion reaches."""
ARMS = {
    "every step a row": RowThresholds(axis_cm=0.01, total_cm=0.01, straight_cm=0),
    "2.5 cm on one axis": RowThresholds(axis_cm=2.5, total_cm=NEVER, straight_cm=0),
    "5 cm absolute": RowThresholds(axis_cm=NEVER, total_cm=5.0, straight_cm=0),
    "both: the paper's": RowThresholds(straight_cm=0),
    "both, straight to 1 cm": RowThresholds(straight_cm=1.0),
    "both, straight to 0.5 cm (default)": RowThresholds(),
}


def errors(labelled: LabelledTrajectory) -> tuple[float, float]:
    """[cm] the end error and the corner error of the text."""
    states = labelled.trajectory.states[:, :3].astype(np.float64)
    rows = np.concatenate([phase.chunk.deltas[:, :3] for phase in labelled.phases]).astype(np.float64)
    corners = states[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(rows, axis=0)])
    stop = min(labelled.phases[-1].stop, len(states) - 1)
    starts, legs = corners[:-1], np.diff(corners, axis=0)
    offsets = states[: stop + 1, None] - starts
    along = np.clip((offsets * legs).sum(axis=-1) / np.maximum((legs**2).sum(axis=-1), 1e-12), 0, 1)
    away = np.linalg.norm(offsets - along[..., None] * legs, axis=-1).min(axis=1)
    return 100 * float(np.linalg.norm(corners[-1] - states[stop])), 100 * float(away.max())


def main(
    *,
    episodes: int = 24,
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    json: bool = False,
) -> None:
    """Print the table.

    Args:
        episodes: of every task.
        data: a recorded data set to use; by default one is recorded.
        json: print one JSON object as the last line.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = data or Path(scratch) / "demonstrations"
        if data is None:
            record(RunSettings(episodes=episodes, image_size=(120, 160)), folder, keep_failures=True, workers=2)
        picks = list(read_trajectories(open_dataset(folder)))
        sets: dict[str, list[Trajectory]] = {
            "scripted picks": picks,
            "awkward, noisy": [awkward(0, number).trajectory for number in range(96)],
        }
        report = {}
        for name, trajectories in sets.items():
            print(f"{name}: {len(trajectories)} episodes")
            for arm, thresholds in ARMS.items():
                made = [relabel(one, LabelingRules(cuts=thresholds)) for one in trajectories]
                rows = np.mean([sum(len(phase.chunk.deltas) for phase in one.phases) for one in made])
                ends, corners = np.array([errors(one) for one in made]).T
                report[f"{name}: {arm}"] = {
                    "rows": float(rows),
                    "end_cm": float(ends.mean()),
                    "end_cm_worst": float(ends.max()),
                    "corner_cm": float(corners.mean()),
                    "corner_cm_worst": float(corners.max()),
                }
                print(
                    f"  {arm:36} {rows:5.1f} rows, end off by {ends.mean():.2f} cm (at most {ends.max():.2f}), corners "
                    f"by {corners.mean():.2f} cm (at most {corners.max():.2f})",
                    flush=True,
                )
    if json:
        print(json_module.dumps(report))


if __name__ == "__main__":
    tyro.cli(main)
