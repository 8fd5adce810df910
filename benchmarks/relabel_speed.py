"""Speed and memory of relabelling a data set by rules.

    python benchmarks/relabel_speed.py              # 1,000 episodes, images of 640 x 480, two workers

The set is made of a few demonstrations on the twin, each repeated under a new name, with its own files. The relabelling
runs in a process of its own, whose largest memory the operating system tells; every image is decoded once, to find
broken videos, which is most of the time.
"""

from __future__ import annotations

import dataclasses
import json as json_module
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.data.datasets.lerobot_layout import IMAGE, VIDEO, part, read_annotations
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset, read_trajectories
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.relabel.labels import LabelSettings
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.data.relabel.run import label_dataset
from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.evaluation.settings import RunSettings


def make(folder: Path, *, episodes: int, size: tuple[int, int]) -> int:
    """Write the data set; return how many images it has."""
    seeds = folder.with_name("seeds")
    record(RunSettings(tasks=("carrot_on_plate", "stack_cube"), episodes=4, image_size=size), seeds, workers=2)
    originals: list[Trajectory] = list(read_trajectories(open_dataset(seeds)))
    words = read_annotations(seeds)
    writer = LeRobotWriter(folder, size=size, fps=CONTROL_HZ)
    folder.mkdir(parents=True)
    for number in range(episodes):
        index = number % len(originals)
        film = seeds / VIDEO.format(video_key=IMAGE, **part(index))
        copy = folder / "copy.mp4"
        shutil.copyfile(film, copy)
        named = dataclasses.replace(words[index], name=f"{words[index].task}/{number:05d}")
        writer.add_with_video(copy, originals[index].states, originals[index].actions, named)
    return sum(len(originals[number % len(originals)]) for number in range(episodes))


def measure(folder: Path, out: Path, *, workers: int, check: bool) -> dict[str, float]:
    """Relabel; seconds, and the largest memory [MiB] of this process and of one worker process."""
    settings = LabelSettings(str(folder), DatasetOptions(), "rules", {})
    start = time.perf_counter()
    summary = label_dataset(open_dataset(folder), relabel, settings, out, workers=workers, check=check)
    seconds = time.perf_counter() - start
    here, worker = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"labelled": summary.labelled, "seconds": seconds, "here_mib": here, "worker_mib": worker}


def main(
    *,
    episodes: int = 1000,
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (480, 640),
    workers: int = 2,
    measured: tuple[Path, ...] = (),
    unchecked: bool = False,
    json: bool = False,
) -> None:
    """Print the table.

    Args:
        episodes: in the data set.
        image_size: of its images.
        workers: processes that check images and label.
        measured: relabel this data set into that folder, in this process, and print the figures (for internal use).
        unchecked: with --measured, do not decode the images.
        json: print one JSON object as the last line.
    """
    if measured:
        print(json_module.dumps(measure(*measured, workers=workers, check=not unchecked)))
        return
    report = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        start = time.perf_counter()
        pictures = make(folder, episodes=episodes, size=image_size)
        print(f"{episodes} episodes, {pictures} images, written in {time.perf_counter() - start:.0f} s", flush=True)
        print(f"cores: {os.cpu_count()}, workers: {workers}", flush=True)
        for name, flags in (("every image decoded", []), ("images not decoded", ["--unchecked"])):
            out = Path(scratch) / f"labels{len(report)}"
            command = [sys.executable, __file__, "--measured", str(folder), str(out), "--workers", str(workers), *flags]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json_module.loads(done.stdout.splitlines()[-1])
            found["episodes_per_minute"] = 60 * found["labelled"] / found["seconds"]
            found["peak_mib"] = found["here_mib"] + workers * found["worker_mib"]
            report[name] = found
            print(
                f"{name:24} {found['labelled']:.0f} labelled, {found['episodes_per_minute']:.0f} episodes/min, at most "
                f"{found['here_mib']:.0f} MiB and {workers} x {found['worker_mib']:.0f} MiB in workers",
                flush=True,
            )
    if json:
        print(json_module.dumps(report))


if __name__ == "__main__":
    tyro.cli(main)
