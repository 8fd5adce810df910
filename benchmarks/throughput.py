"""Episodes per minute of an evaluation, by the number of episodes at the same time.

    python benchmarks/throughput.py --policy mini --concurrency 1 4 8
    python benchmarks/throughput.py --policy scripted --concurrency 1 2 --video

Each row is a run of `run_suite` in a process of its own, over the same published layouts; rows of one call are made one
after another, so their ratios can be quoted on a quiet machine. Seconds include starting the processes and loading the
model, as a user waits for them.
Memory is the largest resident size of the main process and of the largest worker.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from vlm2vla_sim import RunSettings, run_suite


def measure(settings: RunSettings, concurrency: int, *, video: bool) -> dict[str, object]:
    """One run: seconds, success, peak memory [MiB]."""
    out = Path(tempfile.mkdtemp(prefix="throughput-"))
    started = time.perf_counter()
    try:
        made = run_suite(settings, out=out / "run", video=video, workers=concurrency)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    seconds = time.perf_counter() - started
    here, workers = (
        resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "concurrency": concurrency,
        "episodes": len(made.results),
        "seconds": round(seconds, 1),
        "seconds_per_episode": round(seconds / len(made.results), 3),
        "episodes_per_minute": round(60 * len(made.results) / seconds, 1),
        "success": made.summary.overall.success_at_end.to_json(),
        "main_mib": here,
        "worker_mib": workers if concurrency > 1 else None,
    }


def main(
    *,
    policy: str = "mini",
    backend: str = "mujoco",
    episodes: int = 24,
    concurrency: tuple[int, ...] = (1, 4, 8),
    video: bool = False,
    as_json: bool = False,
    one: bool = False,
) -> None:
    """Print a table, a row for each concurrency.

    Args:
        policy: A policy by name.
        backend: A simulator.
        episodes: Of each of the four tasks.
        concurrency: Episodes at the same time.
        video: Write videos.
        as_json: Print the rows as one line of JSON.
        one: Measure the first concurrency in this process, and print it as JSON (used for the rows).
    """
    settings = RunSettings(policy=policy, backend=backend, episodes=episodes)
    if one:
        print(json.dumps(measure(settings, concurrency[0], video=video)))
        return
    rows = []
    for number in concurrency:
        words = [sys.executable, __file__, "--one", "--policy", policy, "--backend", backend]
        words += ["--episodes", str(episodes), "--concurrency", str(number), *(["--video"] if video else [])]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    if as_json:
        print(json.dumps(rows))
        return
    print(f"{policy} on {backend}, {4 * episodes} episodes, video {'on' if video else 'off'}")
    print("concurrency  s per episode  episodes per minute  ratio  main [MiB]  worker [MiB]  success")
    for row in rows:
        ratio = rows[0]["seconds"] / row["seconds"]
        worker = "-" if row["worker_mib"] is None else str(row["worker_mib"])
        print(
            f"{row['concurrency']:11d}  {row['seconds_per_episode']:13.2f}  {row['episodes_per_minute']:19.1f}  "
            f"{ratio:5.2f}  {row['main_mib']:10d}  {worker:>12}  {row['success']['k']}/{row['success']['n']}"
        )


if __name__ == "__main__":
    tyro.cli(main)
