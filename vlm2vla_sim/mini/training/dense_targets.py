"""Dense supervision of the vision tower: what each patch of an image shows, and where that object is.

An answer says one thing about an image; here every patch predicts the class, position, ends and yaw of its object,
which teaches a small model to see within minutes. The two ends are there for the yaw: a model learns positions long
before it learns an angle, and two positions make an angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from vlm2vla_sim.mini.scenes.annotation import SceneAnnotation
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, CLASSES, ROBOT_CLASS, STAGE_CLASS

RANGES = {"x": (5, 50), "y": (-35, 35), "z": (-2, 38)}
"""[cm] lowest and highest bin of each axis, base frame; bins are 1 cm wide."""
POSITION_AXES = ("x", "y", "z", "x", "y", "x", "y")
"""Axis of each column of `DenseTargets.positions`: the centre, then the two ends."""
HALF_LENGTH = 5.0
"""[cm] from the centre of a long object to what is taught as its ends."""
YAW_BINS = 24
"""Over 180 degrees."""
SPREAD, YAW_SPREAD = 0.6, 6.0
"""[cm], [degrees] standard deviation of the Gaussian that a measured value becomes over its bins."""
IGNORED = -100
"""Class of a cell without a target: the index that torch's cross_entropy ignores."""
LONG = tuple(index for index, name in enumerate(CLASSES) if name in BY_CLASS and BY_CLASS[name].is_long)
YAW_PERIOD = tuple(
    180 if index == ROBOT_CLASS else BY_CLASS[name].yaw_period if name in BY_CLASS else 0
    for index, name in enumerate(CLASSES)
)
"""[degrees] by class; 0 for a class without a yaw. The robot's yaw is that of its gripper."""


@dataclass(frozen=True)
class DenseTargets:
    """What T cells of each of B images show."""

    classes: torch.Tensor
    """(B, T) int64; STAGE_CLASS for the stage."""
    positions: torch.Tensor
    """(B, T, 7) [cm] base frame: centre x, y, z, then ends x, y, x, y."""
    yaws: torch.Tensor
    """(B, T) [degrees]"""


class DenseHeads(torch.nn.Module):
    """Predict from the token of a cell what it shows and where that is."""

    def __init__(self, width: int) -> None:
        """width: of the tokens."""
        super().__init__()
        self.class_head = torch.nn.Linear(width, len(CLASSES))
        self.position_heads = torch.nn.ModuleList(
            torch.nn.Linear(width, RANGES[axis][1] - RANGES[axis][0] + 1) for axis in POSITION_AXES
        )
        self.yaw_head = torch.nn.Linear(width, YAW_BINS)

    def loss(self, tokens: torch.Tensor, targets: DenseTargets) -> torch.Tensor:
        """The sum of the cross-entropies, a scalar; tokens: (B, T, width)."""
        tokens = functional.layer_norm(tokens.float(), tokens.shape[-1:])
        has_object = targets.classes > STAGE_CLASS
        if not bool(has_object.any()):
            return tokens.sum() * 0.0
        loss = functional.cross_entropy(self.class_head(tokens).flatten(0, 1), targets.classes.flatten())
        seen, classes = tokens[has_object], targets.classes[has_object]
        positions, yaws = targets.positions[has_object], targets.yaws[has_object]
        is_long = torch.isin(classes, torch.tensor(LONG))
        for index, (axis, head) in enumerate(zip(POSITION_AXES, self.position_heads, strict=True)):
            low, high = RANGES[axis]
            rows = slice(None) if index < 3 else is_long
            distance = torch.arange(low, high + 1) - positions[rows, index : index + 1].clamp(low, high)
            loss = loss + (0.25 if index < 3 else 0.0625) * _gaussian_loss(head(seen[rows]), distance / SPREAD)
        periods = torch.tensor(YAW_PERIOD, dtype=torch.float32)[classes]
        has_yaw = periods > 0
        period = periods[has_yaw, None]
        distance = torch.arange(YAW_BINS) * (180.0 / YAW_BINS) - yaws[has_yaw, None]
        distance = (distance + period / 2) % period - period / 2
        return loss + 0.25 * _gaussian_loss(self.yaw_head(seen[has_yaw]), distance / YAW_SPREAD)


def dense_targets(
    scene: tuple[np.ndarray, SceneAnnotation] | None, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes (side^2,), positions (side^2, 7) [cm] and yaws (side^2,) [degrees] of an image's cells.

    scene: (G, G) class map and annotation, or None for an image that is not of a scene. A cell has the class that most
    of it shows; any object takes precedence over the robot, and the robot over the stage.
    """
    if scene is None:
        cells = side * side
        return np.full(cells, IGNORED), np.zeros((cells, 7), np.float32), np.zeros(cells, np.float32)
    class_map, annotation = scene
    edges = np.linspace(0, class_map.shape[0], side + 1).round().astype(int)[:-1]
    counts = np.eye(len(CLASSES), dtype=np.float32)[class_map]
    counts = np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1).reshape(side * side, -1)
    enough = max(2.0, 0.08 * (class_map.shape[0] / side) ** 2)
    counts[:, STAGE_CLASS] = 0
    of_objects = counts[:, ROBOT_CLASS + 1 :].max(1)
    counts[:, ROBOT_CLASS] = np.where(of_objects >= enough, 0, counts[:, ROBOT_CLASS])
    classes = np.where(counts.max(1) >= enough, counts.argmax(1), STAGE_CLASS)
    positions, yaws = np.zeros((len(CLASSES), 7), np.float32), np.zeros(len(CLASSES), np.float32)
    measured = [(ROBOT_CLASS, annotation.tcp_position, annotation.gripper_yaw)]
    measured += [(CLASSES.index(item.class_name), item.position, item.yaw) for item in annotation.objects]
    for index, position, yaw in measured:
        x, y, z = (100 * value for value in position)
        along, across = HALF_LENGTH * np.cos(np.radians(yaw)), HALF_LENGTH * np.sin(np.radians(yaw))
        positions[index] = (x, y, z, x + along, y + across, x - along, y - across)
        yaws[index] = yaw
    return classes, positions[classes], yaws[classes]


def _gaussian_loss(scores: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of (N, bins) scores with Gaussians; distance: (N, bins) of each bin, in standard deviations."""
    if not len(scores):
        return scores.sum()
    wanted = torch.exp(-0.5 * distance**2)
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp_min(1e-6)
    return -(wanted * functional.log_softmax(scores, dim=-1)).sum(-1).mean()
