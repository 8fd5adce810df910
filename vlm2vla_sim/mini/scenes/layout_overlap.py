"""Compares the layouts of an evaluation with those of the training scenes: was the model trained on them?

Scenes and evaluated layouts come from different generators, so that comparing their seeds says nothing. The positions
of the task's objects are compared instead. A layout is near a scene if the source and the target are each within `NEAR`
of where they lie in that scene. Some layouts are near one by chance, and in the narrow sink all are; so the share is
compared with that of control layouts, drawn for the same tasks from other seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.tasks import TASKS, Task
from vlm2vla_sim.evaluation.rates import Rate, wilson_interval
from vlm2vla_sim.evaluation.setup import episode_seed, widowx
from vlm2vla_sim.mini.scenes.annotation import GRIPPER
from vlm2vla_sim.mini.scenes.arrangement import Arrangement
from vlm2vla_sim.mini.scenes.rendered_dataset import shard_arrangements
from vlm2vla_sim.mini.scenes.scene_renderer import open_renderers

NEAR = 0.005
"""[m] The model reads and writes positions in whole centimetres: closer than half of one, its answers are the same."""
CONFIDENCE = 0.999
"""Of the two intervals that have to be apart before layouts count as trained on."""
CONTROL_SEEDS = tuple(range(700_000_001, 700_000_005))
"""Run seeds of the control layouts, which nothing uses besides."""


@dataclass(frozen=True)
class Overlap:
    """The layouts of one task that are near a training scene."""

    task: str
    evaluated: Rate
    control: Rate
    """The same for layouts that no training can have used."""

    @property
    def is_leak(self) -> bool:
        """Whether more evaluated layouts are near a training scene than chance explains."""
        low, _ = wilson_interval(self.evaluated.k, self.evaluated.n, CONFIDENCE)
        _, high = wilson_interval(self.control.k, self.control.n, CONFIDENCE)
        return low > high

    def __str__(self) -> str:
        return (
            f"{self.task}: {self.evaluated.k} of {self.evaluated.n} layouts are within {100 * NEAR:g} cm of a training "
            f"scene, by chance {self.control.k} of {self.control.n}"
        )


def find_overlaps(
    arrangements: Iterable[Arrangement], *, seed: int, episodes: int, tasks: Sequence[str] = tuple(TASKS)
) -> list[Overlap]:
    """Compare the layouts of a run (`layouts="random"`, its seed and episodes per task) with the training scenes."""
    scenes = positions_in_scenes(arrangements)
    overlaps = []
    for name in tasks:
        evaluated, *controls = evaluated_positions(TASKS[name], seeds=(seed, *CONTROL_SEEDS), episodes=episodes)
        sides = evaluated, np.concatenate(controls)
        rates = [Rate(int(_are_near(layouts, scenes[name]).sum()), len(layouts)) for layouts in sides]
        overlaps.append(Overlap(name, *rates))
    return overlaps


def training_arrangements(shards: Sequence[int]) -> Iterator[Arrangement]:
    """The arrangements of these shards, in about a second each, without rendering."""
    renderers = open_renderers()
    try:
        for number in shards:
            yield from shard_arrangements(number, renderers)
    finally:
        for renderer in renderers:
            renderer.close()


def positions_in_scenes(arrangements: Iterable[Arrangement]) -> dict[str, np.ndarray]:
    """Task -> (N, 4) x, y of source and target [m], base frame, for the scenes where they lie apart on the stage.

    A target that is part of the stage is where the task has it.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in TASKS}
    fixed = {name: task.target.fixed.pose().position[:2] for name, task in TASKS.items() if task.target.fixed}
    for arrangement in arrangements:
        lying = {one.name: one.pose.position[:2] for one in arrangement.objects if one.support != GRIPPER}
        for name, task in TASKS.items():
            target = fixed.get(name, lying.get(task.target.name))
            if task.source.name in lying and target is not None:
                found[name].append(np.concatenate([lying[task.source.name], target]))
    return {name: np.array(rows).reshape(-1, 4) for name, rows in found.items()}


def evaluated_positions(task: Task, *, seeds: Sequence[int], episodes: int) -> np.ndarray:
    """(seeds, episodes, 4) x, y of source and target [m], base frame, at the start of each episode of these runs."""
    env = gym.make(task.env_id, image_size=None)
    rows = []
    for seed in seeds:
        for index in range(episodes):
            env.reset(seed=episode_seed(seed, task.name, index), options={"layout": "random"})
            scene = widowx(env).scene_state()
            target = task.target.fixed.pose() if task.target.fixed else scene.target.pose
            rows.append(np.concatenate([scene.source.pose.position[:2], target.position[:2]]))
    env.close()
    return np.array(rows).reshape(len(seeds), episodes, 4)


def _are_near(layouts: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    """(layouts,) bool: whether a scene has both objects within `NEAR`."""
    near = np.zeros(len(layouts), bool)
    for index, layout in enumerate(layouts):
        apart = np.linalg.norm((scenes - layout).reshape(-1, 2, 2), axis=2)
        near[index] = bool((apart <= NEAR).all(axis=1).any())
    return near
