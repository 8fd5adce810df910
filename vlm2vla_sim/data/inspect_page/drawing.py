"""Small SVGs of a trajectory: its path from above and from the side, over an image of it, and the gripper over time."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.data.episode import LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.envs.cameras import Camera

PLOT = 260
"""[px] width and height of a plot."""
SMALL = 120
"""[px] of the plan view of one phase."""
APART = 1.0
"""[px] a point of a line that is nearer to the one before it is left out."""
NEAR = 0.05
"""[m] points that are not at least this far in front of a camera are not drawn."""


def project(camera: Camera, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where points appear in an image of a camera.

    Args:
        camera: the camera, without distortion.
        points: (n, 3) [m], base frame.
        size: (height, width) of the image [px].

    Returns:
        (n, 2) float64 [px] from the top left corner: right, down. NaN for points that are not in front of the camera.
    """
    height, width = size
    depth, left, up = ((points - np.array(camera.position)) @ camera.axes()).T
    focal = height / 2 / np.tan(np.radians(camera.fovy) / 2)
    depth = np.where(depth > NEAR, depth, np.nan)
    return np.column_stack([width / 2 - focal * left / depth, height / 2 - focal * up / depth])


def over_image(labelled: LabelledTrajectory, phase: Phase, colour: str, size: tuple[int, int]) -> str:
    """The path over an image of `size` (height, width), the part of `phase` in its colour; empty without a camera."""
    camera = labelled.trajectory.camera
    if camera is None:
        return ""
    places = project(camera, labelled.trajectory.states[:, :3].astype(np.float64), size)
    drawn = _path_and_part(labelled, places, phase, colour)
    return f'<svg class="over" viewBox="0 0 {size[1]} {size[0]}" aria-hidden="true">{drawn}</svg>'


def plan_of_phase(labelled: LabelledTrajectory, phase: Phase, colour: str) -> str:
    """The path from above, the part of `phase` in its colour."""
    places, _ = _fit(labelled.trajectory, (1, 0), SMALL)
    drawn = _path_and_part(labelled, places, phase, colour)
    label = f"path from above, steps {phase.start} to {phase.stop}"
    return f'<svg class="plan" viewBox="0 0 {SMALL} {SMALL}" role="img" aria-label="{label}">{drawn}</svg>'


def plot(labelled: LabelledTrajectory, colours: dict[str, str], *, axes: tuple[int, int], caption: str) -> str:
    """The path in the plane of two state columns, (horizontal, vertical); y points to the left of the page."""
    trajectory = labelled.trajectory
    places, scale = _fit(trajectory, axes, PLOT)
    parts = [_ruler(scale)]
    ends = [(phase.start, phase.stop, colours[phase.subtask]) for phase in labelled.phases]
    for start, stop, colour in [*ends, (labelled.phases[-1].stop, len(places) - 1, "rest")]:
        parts.append(_line(places[start : min(stop, len(places) - 1) + 1], f"part {colour}"))
    # One element for all dots: a page has hundreds of trajectories, whose elements decide how soon it opens.
    parts.append(f'<path class="step" d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)}"/>')
    parts += _rings(trajectory, places)
    x, y = places[0]
    side, shift = (' text-anchor="end"', -6) if x > 0.7 * PLOT else ("", 6)
    parts.append(f'<text x="{x + shift:.1f}" y="{y - 6:.1f}"{side}>start</text>')
    return _figure("".join(parts), f"path {caption}", caption)


def gripper_plot(trajectory: Trajectory) -> str:
    """The measured and the commanded gripper opening over time."""
    x = 20 + np.arange(len(trajectory)) * (PLOT - 40) / max(len(trajectory) - 1, 1)

    def line(values: np.ndarray, kind: str) -> str:
        return _line(np.column_stack([x, PLOT - 30 - values * (PLOT - 60)]), kind)

    told = line((trajectory.actions[:, 6] > 0.5).astype(float), "told")
    drawn = told + line(trajectory.states[:, 6], "measured")
    return _figure(drawn, "gripper opening", "gripper opening: measured, commanded (dashed)")


def _figure(drawn: str, label: str, caption: str) -> str:
    return (
        f'<figure><svg class="plot-square" viewBox="0 0 {PLOT} {PLOT}" role="img" aria-label="{label}">{drawn}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _fit(trajectory: Trajectory, axes: tuple[int, int], side: float) -> tuple[np.ndarray, float]:
    """(T, 2) [px] the positions in a square of `side` [px], and its scale [px/m]."""
    states = trajectory.states
    across = states[:, axes[0]] * (-1 if axes[0] == 1 else 1)
    points = np.stack([across, states[:, axes[1]]], axis=1).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.85 * side / max(float((high - low).max()), 0.05)
    return (points - (low + high) / 2) * [scale, -scale] + side / 2, scale


def _path_and_part(labelled: LabelledTrajectory, places: np.ndarray, phase: Phase, colour: str) -> str:
    trajectory, end = labelled.trajectory, labelled.phases[-1].stop
    part = places[phase.start : min(phase.stop, len(places) - 1) + 1]
    whole = places[: min(end, len(places) - 1) + 1]
    parts = [_line(whole, "way"), _line(part, f"part {colour}")]
    if np.isfinite(part[0]).all():
        parts.append(f'<circle class="here {colour}" cx="{part[0, 0]:.1f}" cy="{part[0, 1]:.1f}" r="4"/>')
    return "".join([*parts, *_rings(trajectory, places, phase)])


def _rings(trajectory: Trajectory, places: np.ndarray, phase: Phase | None = None) -> list[str]:
    """A ring where the gripper is told to change, in `phase` or at any time."""
    told = trajectory.actions[:, 6] > 0.5
    frames = np.flatnonzero(told[1:] != told[:-1]) + 1
    if phase is not None:
        frames = frames[(frames >= phase.start) & (frames < phase.stop)]
    return [
        f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
        for x, y in places[frames]
        if np.isfinite([x, y]).all()
    ]


def _line(places: np.ndarray, kind: str) -> str:
    """places: (n, 2) [px]; those that are not finite are left out."""
    kept: list[tuple[float, float]] = []
    finite = places[np.isfinite(places).all(axis=1)].tolist()
    for number, (x, y) in enumerate(finite):
        if not kept or number == len(finite) - 1 or abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= APART:
            kept.append((x, y))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in kept)
    return f'<polyline class="{kind}" points="{points}"/>' if points else ""


def _ruler(scale: float) -> str:
    return f'<path class="ruler" d="M10 {PLOT - 8}h{0.05 * scale:.1f}"/><text x="10" y="{PLOT - 12}">5 cm</text>'
