"""What each place of a picture shows and where that is: a loss that teaches a small model to see in minutes.

Answers alone say one thing about a picture; here every patch has to tell its object's class, place, ends and turn.
The ends are there for the turn: a place is learnt long before an angle is, and two places make an angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from vlm2vla_sim.mini.scenes.annotation import Facts
from vlm2vla_sim.mini.scenes.names import CLASSES

RANGES = {"x": (5, 50), "y": (-35, 35), "z": (-2, 38)}
"""[cm] lowest and highest bin of each axis, base frame; bins are 1 cm wide."""
PLACES = ("x", "y", "z", "x", "y", "x", "y")
"""Axis of each column of `Targets.places`: the centre, then the two ends."""
HALF = 5.0
"""[cm] from the centre of a long thing to what is called its ends."""
TURNS = 24
"""Bins of the turn, around half a circle."""
SPREAD, SPREAD_TURN = 0.6, 6.0
"""[cm], [degrees] of the bell that a measured value is spread by over its bins."""
NOT_TOLD = -100
"""Class of a cell that nothing is learnt from: what torch's cross_entropy ignores."""
LONG = tuple(CLASSES.index(kind) for kind in ("carrot", "spoon", "eggplant"))
SQUARE = tuple(CLASSES.index(kind) for kind in ("towel", "green cube", "yellow cube"))
TURNED = (1, *LONG, *SQUARE)
"""Classes with a turn; the robot's is its gripper's."""


@dataclass(frozen=True)
class Targets:
    """What the places of some pictures show."""

    kinds: torch.Tensor
    """(B, T) class, 0 for the stage."""
    places: torch.Tensor
    """(B, T, 7) [cm] of what is shown: its centre x, y, z and its ends x, y, x, y."""
    turns: torch.Tensor
    """(B, T) [degrees]"""


class DenseHeads(torch.nn.Module):
    """Read from the token of a place what it shows and where that is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = torch.nn.Linear(width, len(CLASSES))
        self.places = torch.nn.ModuleList(
            torch.nn.Linear(width, RANGES[axis][1] - RANGES[axis][0] + 1) for axis in PLACES
        )
        self.turn = torch.nn.Linear(width, TURNS)

    def loss(self, tokens: torch.Tensor, targets: Targets) -> torch.Tensor:
        """tokens: (B, T, width)."""
        tokens = functional.layer_norm(tokens.float(), tokens.shape[-1:])
        chosen = targets.kinds > 0
        if not bool(chosen.any()):
            return tokens.sum() * 0.0
        loss = functional.cross_entropy(self.kind(tokens).flatten(0, 1), targets.kinds.flatten())
        seen, kinds = tokens[chosen], targets.kinds[chosen]
        places, turns = targets.places[chosen], targets.turns[chosen]
        long = torch.isin(kinds, torch.tensor(LONG))
        for index, (axis, head) in enumerate(zip(PLACES, self.places, strict=True)):
            low, high = RANGES[axis]
            rows = slice(None) if index < 3 else long
            away = torch.arange(low, high + 1) - places[rows, index : index + 1].clamp(low, high)
            loss = loss + (0.25 if index < 3 else 0.0625) * _spread_loss(head(seen[rows]), away / SPREAD)
        turned = torch.isin(kinds, torch.tensor(TURNED))
        period = torch.where(torch.isin(kinds, torch.tensor(SQUARE)), 90.0, 180.0)[turned, None]
        away = torch.arange(TURNS) * (180.0 / TURNS) - turns[turned, None]
        away = (away + period / 2) % period - period / 2
        return loss + 0.25 * _spread_loss(self.turn(seen[turned]), away / SPREAD_TURN)


def dense_targets(shown: tuple[np.ndarray, Facts] | None, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class (side^2,), places (side^2, 7) [cm] and turn (side^2,) [degrees] of what each cell of a picture shows.

    shown: (G, G) map of classes and the facts, or None for a picture of something else. A cell takes the class that it
    shows most; any thing counts before the robot, and the robot before the stage.
    """
    if shown is None:
        cells = side * side
        return np.full(cells, NOT_TOLD), np.zeros((cells, 7), np.float32), np.zeros(cells, np.float32)
    seen, facts = shown
    edges = np.linspace(0, seen.shape[0], side + 1).round().astype(int)[:-1]
    counts = np.eye(len(CLASSES), dtype=np.float32)[seen]
    counts = np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1).reshape(side * side, -1)
    enough = max(2.0, 0.08 * (seen.shape[0] / side) ** 2)
    counts[:, 0] = 0
    counts[:, 1] = np.where(counts[:, 2:].max(1) >= enough, 0, counts[:, 1])
    kinds = np.where(counts.max(1) >= enough, counts.argmax(1), 0)
    places, turns = np.zeros((len(CLASSES), 7), np.float32), np.zeros(len(CLASSES), np.float32)
    told = [(1, facts.gripper, facts.turn)]
    told += [(CLASSES.index(thing.kind), thing.position, thing.yaw) for thing in facts.things]
    for kind, position, yaw in told:
        x, y, z = (100 * value for value in position)
        along, across = HALF * np.cos(np.radians(yaw)), HALF * np.sin(np.radians(yaw))
        places[kind] = (x, y, z, x + along, y + across, x - along, y - across)
        turns[kind] = yaw
    return kinds, places[kinds], turns[kinds]


def _spread_loss(scores: torch.Tensor, away: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of (N, bins) scores with a bell over the bins; away: (N, bins) in its standard deviations."""
    if not len(scores):
        return scores.sum()
    wanted = torch.exp(-0.5 * away**2)
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp_min(1e-6)
    return -(wanted * functional.log_softmax(scores, dim=-1)).sum(-1).mean()
