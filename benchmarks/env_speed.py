"""Environment steps per CPU-second, physics and rendering together: the twin, and ManiSkill 3 where it is installed.

    python benchmarks/env_speed.py

Each row runs in a process of its own, on the carrot task, with the same small random actions. CPU-seconds, not seconds:
the figure then does not depend on how many cores draw, and little on what else the machine is doing. Rows of one call
are made one after another, so their ratios can be quoted.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tyro

LOOPS = (
    "twin 640x480",
    "twin 224x224",
    "twin 640x480, quality high",
    "our simpler backend 640x480",
    "our simpler backend 640x480, profile maniskill3",
    "our simpler backend, no image read",
    "ManiSkill 3 640x480",
)
WARM_UP, STEPS, EPISODE = 20, 180, 60


def actions(count: int) -> np.ndarray:
    """(count, 7) float32 small moves, see `types.ACTION_SIZE`; the same for every row."""
    rng = np.random.default_rng(0)
    moves = rng.uniform(-0.01, 0.01, (count, 3))
    turns = rng.uniform(-0.05, 0.05, (count, 3))
    gripper = (rng.random((count, 1)) > 0.1).astype(float)
    return np.concatenate([moves, turns, gripper], axis=1).astype(np.float32)


def steps_per_cpu_second(reset: Callable[[int], Any], step: Callable[[np.ndarray], Any]) -> float:
    """Steps per CPU-second of this process, all threads; the resets of every 60 steps are counted as well."""
    moves = actions(WARM_UP + STEPS)
    reset(0)
    for move in moves[:WARM_UP]:
        step(move)
    start = time.process_time()
    for index, move in enumerate(moves[WARM_UP:]):
        if index % EPISODE == 0:
            reset(index // EPISODE)
        step(move)
    return STEPS / (time.process_time() - start)


def measure_ours(*, images_on_demand: bool = False, **options: Any) -> float:
    """The loop on an environment of ours."""
    import gymnasium as gym

    import vlm2vla_sim  # noqa: F401 - registers the environments

    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", **options)
    env.unwrapped.images_on_demand = images_on_demand  # type: ignore[attr-defined]
    try:
        return steps_per_cpu_second(lambda k: env.reset(seed=k, options={"episode_id": k}), env.step)
    finally:
        env.close()


def measure_maniskill() -> float:
    """The loop on ManiSkill 3's own carrot scene, untouched, set up as it is quickest on a CPU."""
    from vlm2vla_sim.envs.simpler import assets

    assets.prepare()  # before mani_skill is imported: it reads the asset folder's name once
    import gymnasium as gym
    import mani_skill.envs  # noqa: F401 - registers the environments
    import torch

    torch.set_num_threads(1)
    env = gym.make(
        "PutCarrotOnPlateInScene-v1",
        obs_mode="rgb+segmentation",
        sim_backend="physx_cpu",
        render_backend="cpu",
        sensor_configs={"shader_pack": "minimal"},
    )
    try:
        return steps_per_cpu_second(lambda k: env.reset(seed=k, options={"episode_id": k}), env.step)
    finally:
        env.close()


def measure(loop: str) -> float:
    """Run one row here."""
    measures: dict[str, Callable[[], float]] = {
        "twin 640x480": measure_ours,
        "twin 224x224": lambda: measure_ours(image_size=(224, 224)),
        "twin 640x480, quality high": lambda: measure_ours(quality="high"),
        "our simpler backend 640x480": lambda: measure_ours(backend="simpler"),
        "our simpler backend 640x480, profile maniskill3": lambda: measure_ours(
            backend="simpler", profile="maniskill3"
        ),
        "our simpler backend, no image read": lambda: measure_ours(backend="simpler", images_on_demand=True),
        "ManiSkill 3 640x480": measure_maniskill,
    }
    return measures[loop]()


def main(*, loop: str = "", repeat: int = 3, as_json: bool = False) -> None:
    """Print the table.

    Args:
        loop: run this row only, in this process, and print its figure.
        repeat: how often each row is measured; the median is printed.
        as_json: print one JSON object as the last line.
    """
    if loop:
        print(measure(loop))
        return
    figures: dict[str, float | None] = {}
    print(f"{'carrot_on_plate':48} steps per CPU-second, median of {repeat} (lowest to highest)", flush=True)
    for name in LOOPS:
        if "twin" not in name and importlib.util.find_spec("mani_skill") is None:
            figures[name] = None
            print(f"{name:48} not measured: mani_skill is not installed", flush=True)
            continue
        command = [sys.executable, __file__, "--loop", name]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(repeat)]
        rates = sorted(float(run.splitlines()[-1]) for run in runs)
        figures[name] = rates[len(rates) // 2]
        print(f"{name:48} {figures[name]:6.1f} ({rates[0]:.1f} to {rates[-1]:.1f})", flush=True)
    twin, maniskill = figures["twin 640x480"], figures["ManiSkill 3 640x480"]
    if twin and maniskill:
        print(f"\nThe twin makes {twin / maniskill:.1f} times ManiSkill 3's steps per CPU-second at 640x480.")
    if as_json:
        print(json.dumps(figures))


if __name__ == "__main__":
    tyro.cli(main)
