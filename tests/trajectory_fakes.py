"""Recorded motion that nobody recorded: a pick and place in numbers, and data sets made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlm2vla_sim.data.datasets.lerobot_layout import DecisionRecord, EpisodeAnnotation
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.episode import Trajectory

SIZE = (48, 64)
OPEN, CLOSED = 1.0, 0.0

PICK_AND_PLACE = (
    # steps, (dx, dy, dz) [m] and yaw [rad] of each, gripper
    (6, (0.02, 0.01, 0.0), -0.2, OPEN),
    (5, (0.0, 0.0, -0.02), 0.0, OPEN),
    (1, (0.0, 0.0, 0.0), 0.0, OPEN),
    (3, (0.0, 0.0, 0.0), 0.0, CLOSED),
    (4, (0.0, 0.0, 0.02), 0.0, CLOSED),
    (6, (0.0, -0.02, 0.0), 0.0, CLOSED),
    (3, (0.0, 0.0, -0.02), 0.0, CLOSED),
    (3, (0.0, 0.0, 0.0), 0.0, OPEN),
    (4, (0.0, 0.0, 0.02), 0.0, OPEN),
    (5, (0.0, 0.0, 0.0), 0.0, OPEN),
)
"""12 cm forward, 6 cm left, turned by 69 degrees clockwise; 10 down, grasp, 8 up, 12 right, 6 down, release, 8 up."""


class Shades:
    """Pictures of one colour each, told apart by their brightness."""

    def __init__(self, count: int, *, size: tuple[int, int] = SIZE, red: int = 0) -> None:
        self._count, self._size, self._red = count, size, red

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        picture = np.full((*self._size, 3), 4 * (index % 60), np.uint8)
        picture[..., 0] = self._red
        return picture


def motion(parts=PICK_AND_PLACE, *, held: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """States and actions of an arm that is exactly where it was told to be. held: opening with something in it."""
    state = np.array([0.30, 0.0, 0.15, 0.0, 0.0, 0.0, 1.0])
    states, actions = [], []
    for steps, move, yaw, gripper in parts:
        for _ in range(steps):
            states.append(state.copy())
            actions.append([*move, 0.0, 0.0, yaw, gripper])
            state += np.array([*move, 0.0, 0.0, yaw, 0.0])
            state[6] = 1.0 if gripper else held
    return np.array(states, np.float32), np.array(actions, np.float32)


def trajectory(
    parts=PICK_AND_PLACE, *, name: str = "fake/0", instruction: str = "put carrot on plate", held: float = 0.4, fps=5.0
) -> Trajectory:
    states, actions = motion(parts, held=held)
    return Trajectory(name, instruction, fps, Shades(len(states)), states, actions)


def words(name: str, instruction: str = "put carrot on plate") -> EpisodeAnnotation:
    said = (DecisionRecord(0, 6, "grasp the carrot", "move forward", "[[12, 6, 0, 1]]"),)
    return EpisodeAnnotation(name, instruction, "success", task="carrot_on_plate", episode_id=0, decisions=said)


def write_folder(root: Path, count: int, *, parts=PICK_AND_PLACE, size: tuple[int, int] = SIZE) -> LeRobotWriter:
    """A LeRobot folder with `count` episodes, whose pictures are of different red."""
    writer = LeRobotWriter(root, size=size, fps=5)
    for index in range(len(writer), len(writer) + count):
        states, actions = motion(parts)
        pictures = Shades(len(states), size=size, red=40 * (index % 6))
        instruction = "put carrot on plate" if index % 2 == 0 else "put the spoon on the towel"
        name = f"fake/{index:05d}"
        writer.add(Trajectory(name, instruction, 5.0, pictures, states, actions), words(name, instruction))
    return writer
