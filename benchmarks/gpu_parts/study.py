"""The arms of `mini_study.py`, as many as the time allows; those that were finished before are not repeated."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from gpu_parts.report import Report, absent

NEEDS = ("mujoco", "OpenGL", "rtbdata", "gymnasium", "trl", "datasets", "peft", "tyro")
PREPARED = ("scenes", "base")
"""What `make mini` has left in its folder."""
UNTESTED = "an arm that solves nothing on the grid is not tested further"
SCRIPT = Path(__file__).parents[1] / "mini_study.py"


def measure(report: Report, *, folder: Path | None, seconds: float) -> None:
    """A row for each arm that was trained and tested; `seconds` for all of them."""
    reason = why_not(folder)
    if reason or folder is None:
        report.finish(reason)
        return
    from mini_study import ARMS, conditions, solved

    stop = time.monotonic() + seconds
    unfinished = []
    for name, arm in ARMS.items():
        left = stop - time.monotonic()
        failure = run_arm(name, folder, left) if left > 0 else "no time was left"
        if failure:
            unfinished.append(f"{name}: {failure}")
            continue
        tested = {test: solved(folder / "study" / name / test) for test, _ in conditions(arm, {})}
        cells = {test: {"k": rate.k, "n": rate.n} if rate.n else None for test, rate in tested.items()}
        report.add({test: UNTESTED for test, cell in cells.items() if cell is None}, arm=name, **cells)
    report.finish("; ".join(unfinished) or None)


def why_not(folder: Path | None) -> str:
    """Why no arm can be trained here; empty if it can."""
    missing = absent(NEEDS)
    if missing:
        return f"not measured: {', '.join(missing)} cannot be imported"
    if folder is None:
        return "not measured: no folder of `make mini` was given (MINI)"
    lacking = [name for name in PREPARED if not (folder / name).is_dir()]
    return f"not measured: {folder} has no {' and no '.join(lacking)}; `make mini` makes them" if lacking else ""


def run_arm(name: str, folder: Path, seconds: float) -> str:
    """Train and test one arm; why it is not finished, or empty."""
    command = [sys.executable, str(SCRIPT), name, "--work", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "stopped, the time was used up; the same command continues it"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]
    return ""
