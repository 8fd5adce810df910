"""Labelled trajectories made in memory, for tests of what is made of them."""

from __future__ import annotations

import time

import numpy as np

from vlm2vla_sim.data.episode import LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.types import ActionChunk


def slowly(trajectory: Trajectory) -> LabelledTrajectory:
    """Label by rules, slowly enough for a test to kill the process meanwhile."""
    time.sleep(0.3)
    return relabel(trajectory)


def make_labelled(number: int = 0, *, side: int = 48, closing_frame: bool = True) -> LabelledTrajectory:
    """A carrot episode of 14 frames in four phases, the first two of one subtask; every picture is another one."""
    rng = np.random.default_rng(number)
    length = 14 if closing_frame else 13
    pictures = rng.integers(0, 256, (length, side, side + 16, 3), np.uint8)
    names = ("Grasp the carrot.", "Move it over the plate", "Put it down")
    right = round(float(rng.integers(1, 9)) / 100, 2)
    rows = (
        [[0.1, -right, 0, 0, 0, 0, 1]],
        [[0, 0, -0.09, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]],
        [[0, 0, 0.1, 0, 0, 0, 0], [0.02, 0.12, 0, 0, 0, 0.5, 0]],
        [[0, 0, -0.05, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]],
    )
    plans = ("Move forward and right.", "move down, then close the gripper", "move up and left", "move down; open")
    ends = (4, 7, 11, 13)
    phases = tuple(
        Phase(start, stop, names[max(0, k - 1)], plans[k], ActionChunk(np.array(rows[k]), "as written"))
        for k, (start, stop) in enumerate(zip((0, *ends), ends, strict=False))
    )
    trajectory = Trajectory(
        f"fake/{number:05}", "put carrot on plate", 5.0, pictures, np.zeros((length, 7)), np.zeros((length, 7))
    )
    return LabelledTrajectory(trajectory, names, phases)
