"""Corners of a path: where it must be divided so that straight lines between them stay close to it."""

from __future__ import annotations

import numpy as np


def distance_to_chord(points: np.ndarray) -> np.ndarray:
    """(n,) [m] distance of each of `points`, (n, k), to the straight line from the first to the last of them.

    Beyond the ends of the line the distance to the end counts, so that a path that overshoots and returns is not
    straight.
    """
    chord, offsets = points[-1] - points[0], points - points[0]
    along = np.clip(offsets @ chord / max(float(chord @ chord), 1e-12), 0, 1)
    return np.linalg.norm(offsets - along[:, None] * chord, axis=1)


def corners(points: np.ndarray, tolerance: float) -> list[int]:
    """Indices of `points`, (n, k), the first and the last included, between which the path is straight to `tolerance`.

    Ramer, Douglas and Peucker's division: at the point that is farthest from the line, as long as that is too far.
    """
    kept, spans = {0, len(points) - 1}, [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        distances = distance_to_chord(points[first : last + 1])
        far = int(np.argmax(distances))
        if distances[far] > tolerance:
            kept.add(first + far)
            spans += [(first, first + far), (first + far, last)]
    return sorted(kept)
