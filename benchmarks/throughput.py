"""Episodes per minute of an evaluation, by policy, simulator, video and the number of episodes at the same time.

    python benchmarks/throughput.py --policy mini --concurrency 1 4 8
    python benchmarks/throughput.py --policy scripted mini --backend mujoco simpler --video off on --as-json

Each row is a run of `run_suite` in a process of its own, over the same published layouts; rows of one call are made one
after another, so their ratios can be quoted on a quiet machine. Each episode at the same time is a worker process;
with one, the episodes run in the main process. Seconds include starting the processes and loading the model, as a user
waits for them. Memory is the largest resident size of the main process and of the largest worker, and the largest sum
over all processes, in which a page that several share is counted once. What could not be measured is null, with the
reason.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from vlm2vla_sim import RunSettings, run_suite

SAMPLE = 0.25
"""[s] between two looks at the memory of all processes."""
FIGURES = ("seconds", "seconds_per_episode", "episodes_per_minute", "success", "main_mib", "worker_mib", "peak_mib")
IN_MAIN = "episodes run in the main process"
NO_PSS = "only Linux tells the memory that processes share"


class PeakMemory:
    """The largest memory of this process and all below it [MiB], while it is entered; None where it is not told."""

    def __init__(self) -> None:
        self.mib: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = False
        while not ended:
            ended = self._stop.wait(SAMPLE)
            found = [_shared_size(process) for process in _family(os.getpid())]
            sizes = [size for size in found if size is not None]
            if sizes:
                self.mib = max(self.mib or 0, sum(sizes) // 1024)


def _family(process: int) -> list[int]:
    """The process and all below it."""
    found = [process]
    for one in found:
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in file.read_text().split()]
            except OSError:  # it has just ended
                continue
    return found


def _shared_size(process: int) -> int | None:
    """[KiB] of a process, a page that n processes share counted as 1/n; None if it has ended or is not told."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)


def measure(settings: RunSettings, concurrency: int, *, video: bool) -> dict[str, Any]:
    """The figures of one run."""
    out = Path(tempfile.mkdtemp(prefix="throughput-"))
    started = time.perf_counter()
    try:
        with PeakMemory() as peak:
            made = run_suite(settings, out=out / "run", video=video, workers=concurrency)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    seconds = time.perf_counter() - started
    here, workers = (
        resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": round(seconds, 1),
        "seconds_per_episode": round(seconds / len(made.results), 3),
        "episodes_per_minute": round(60 * len(made.results) / seconds, 1),
        "success": made.summary.overall.success_at_end.to_json(),
        "main_mib": here,
        "worker_mib": workers if concurrency > 1 else None,
        "peak_mib": peak.mib,
    }


def main(
    *,
    policy: tuple[str, ...] = ("mini",),
    backend: tuple[str, ...] = ("mujoco",),
    video: tuple[Literal["off", "on"], ...] = ("off",),
    concurrency: tuple[int, ...] = (1, 4, 8),
    episodes: int = 24,
    as_json: bool = False,
    one: bool = False,
) -> None:
    """Print a table, a row for each combination. The exit status is 1 if a row could not be measured.

    Args:
        policy: Policies by name.
        backend: Simulators.
        video: Without and with videos.
        concurrency: Episodes at the same time.
        episodes: Of each of the four tasks.
        as_json: Print the rows as a last line of JSON as well.
        one: Measure the first combination in this process, and print it as JSON (used for the rows).
    """
    if one:
        settings = RunSettings(policy=policy[0], backend=backend[0], episodes=episodes)
        print(json.dumps(measure(settings, concurrency[0], video=video[0] == "on")))
        return
    rows: list[dict[str, Any]] = []
    print(" ".join(f"{title:>{width}}" for title, width in COLUMNS.items()), flush=True)
    for combination in itertools.product(policy, backend, video):
        group: list[dict[str, Any]] = []
        for number in concurrency:
            group.append(compare(run_row(*combination, number, episodes), group))
            print(describe(group[-1]), flush=True)
        rows += group
    if as_json:
        print(json.dumps({"benchmark": "throughput", "cpus": os.cpu_count(), "rows": rows}))
    if any(row["seconds"] is None for row in rows):
        sys.exit(1)


def run_row(policy: str, backend: str, video: str, concurrency: int, episodes: int) -> dict[str, Any]:
    """A row, measured in a process of its own."""
    words = [sys.executable, __file__, "--one", "--policy", policy, "--backend", backend, "--video", video]
    words += ["--episodes", str(episodes), "--concurrency", str(concurrency)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"policy": policy, "backend": backend, "video": video == "on", "concurrency": concurrency}
    row |= {"episodes": 4 * episodes, **dict.fromkeys(FIGURES)}
    reasons = {"worker_mib": IN_MAIN, "peak_mib": NO_PSS}
    if done.returncode:
        failure = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        reasons = dict.fromkeys(FIGURES, failure)
    else:
        row |= json.loads(done.stdout.splitlines()[-1])
    return row | {"reasons": {name: reason for name, reason in reasons.items() if row[name] is None}}


def compare(row: dict[str, Any], before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row with its speed relative to the first one, and how much of what more workers could give that is."""
    first = before[0] if before else row
    if row["seconds"] is None or first["seconds"] is None:
        reason = (row["reasons"] or first["reasons"]).get("seconds", "")
        return {**row, "speed_up": None, "efficiency": None} | {
            "reasons": row["reasons"] | {"speed_up": reason, "efficiency": reason}
        }
    faster = first["seconds"] / row["seconds"]
    more = row["concurrency"] / first["concurrency"]
    return row | {"speed_up": round(faster, 2), "efficiency": round(faster / more, 2)}


COLUMNS = {
    "policy": 10,
    "backend": 8,
    "video": 6,
    "concurrency": 12,
    "s/episode": 10,
    "episodes/min": 13,
    "speed-up": 9,
    "efficiency": 11,
    "main MiB": 9,
    "worker MiB": 11,
    "all MiB": 8,
    "success": 8,
}


def describe(row: dict[str, Any]) -> str:
    """The row as a line of the table."""
    cells = [row["policy"], row["backend"], "on" if row["video"] else "off", row["concurrency"]]
    cells += [row[name] for name in ("seconds_per_episode", "episodes_per_minute", "speed_up", "efficiency")]
    cells += [row[name] for name in ("main_mib", "worker_mib", "peak_mib")]
    success = row["success"]
    cells.append(None if success is None else f"{success['k']}/{success['n']}")
    line = " ".join(f"{'-' if cell is None else cell!s:>{w}}" for cell, w in zip(cells, COLUMNS.values(), strict=True))
    return line if row["seconds"] is not None else f"{line}  {row['reasons']['seconds']}"


if __name__ == "__main__":
    tyro.cli(main)
