"""Motion in contact: along a surface, or with something that is held and not lifted."""

from __future__ import annotations

import itertools

import numpy as np

from vlm2vla_sim.data.relabel.kinds import ARC, IN_CONTACT, PULL, PUSH, SWEEP, WIPE
from vlm2vla_sim.data.relabel.polyline import corners, distance_to_chord
from vlm2vla_sim.data.relabel.recorded import RecordedMotion, runs

LOW = 0.015
"""[m] above its lowest point, a gripper is still in contact."""
STROKE = 0.03
"""[m] shortest way of a motion to and fro."""


def low_runs(recorded: RecordedMotion, start: int, stop: int, *, shortest: float) -> list[tuple[int, int]]:
    """The (first, last) frames of the stretches at the lowest height, over at least `shortest` [m] seen from above."""
    heights = recorded.positions[start : stop + 1, 2]
    found = []
    for first, last in runs(heights <= heights.min() + LOW + recorded.path.noise):
        first, last = start + first, start + last
        way = recorded.positions[first : last + 1, :2] - recorded.positions[first, :2]
        if np.linalg.norm(way, axis=1).max() >= shortest:
            found.append((first, last))
    return found


def strokes(recorded: RecordedMotion, first: int, last: int) -> list[int]:
    """The frames from `first` to `last`, both included, at which the way seen from above turns back."""
    tolerance = max(0.01, 2 * recorded.path.noise)
    frames = [first + corner for corner in corners(recorded.positions[first : last + 1, :2], tolerance)]
    turning = [first]
    for at, after in itertools.pairwise(frames[1:]):
        come = recorded.positions[at, :2] - recorded.positions[turning[-1], :2]
        go = recorded.positions[after, :2] - recorded.positions[at, :2]
        lengths = np.linalg.norm(come) * np.linalg.norm(go)
        if min(np.linalg.norm(come), np.linalg.norm(go)) >= STROKE and come @ go < -0.3 * lengths:
            turning.append(at)
    return [*turning, last]


def kind_in_contact(recorded: RecordedMotion, first: int, last: int, *, held: bool) -> str:
    """The kind of a motion in contact from frame `first` to `last`: by its shape, then by the instruction's verb."""
    way = recorded.positions[first : last + 1, :2]
    if len(strokes(recorded, first, last)) > 3:
        shape = WIPE if held else SWEEP
    elif is_arc(way, noise=recorded.path.noise):
        shape = ARC
    else:
        ahead, aside = way[-1] - way[0]
        shape = PULL if -ahead >= abs(aside) else PUSH
    named = [kind for kind in recorded.hints if kind in IN_CONTACT]
    return shape if not named or shape in named else named[0]


def is_arc(points: np.ndarray, *, noise: float) -> bool:
    """Whether `points`, (n, 2) [m], lie on a circle's arc of at least 35 degrees, and clearly not on a line."""
    if len(points) < 5 or distance_to_chord(points).max() < 0.012 + 2 * noise:
        return False
    # |p|^2 = 2 c p + (r^2 - |c|^2), linear in c and the rest; about the mean, where it is well conditioned.
    places = points - points.mean(axis=0)
    system = np.concatenate([2 * places, np.ones((len(places), 1))], axis=1)
    (x, y, rest), *_ = np.linalg.lstsq(system, (places**2).sum(axis=1), rcond=None)
    radius = float(np.sqrt(max(rest + x * x + y * y, 0.0)))
    spokes = places - [x, y]
    off = np.abs(np.linalg.norm(spokes, axis=1) - radius).max()
    angles = np.unwrap(np.arctan2(spokes[:, 1], spokes[:, 0]))
    swept = abs(angles[-1] - angles[0])
    return bool(0.03 <= radius <= 0.8 and off <= max(0.006, 2.5 * noise) and swept >= np.radians(35))


def there_and_back(recorded: RecordedMotion, first: int, last: int) -> int | None:
    """The frame at which a single way there turns back; None for a way that does not, or does several times."""
    turning = strokes(recorded, first, last)
    return turning[1] if len(turning) == 3 else None
