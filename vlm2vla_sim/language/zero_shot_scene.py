"""What a zero-shot prompt says of robot and scene: fingers, box, table, camera, and where the gripper is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.pinhole import PinholeCamera, SceneGeometry

TIP_GAP = 0.008
"""[m] between fingertips and surface in a grasp: the arm ends a few millimetres lower than it is sent."""

_FINGERS = (
    "The gripper's point is between its fingers; the fingertips reach {tip:.1f} cm further. At roll, pitch and yaw 0 "
    "the gripper points straight down, one finger on the left of the point and one on the right, so that it closes "
    "along y. A positive yaw turns it anticlockwise, seen from above.\n"
)
_BOX = "The gripper's point can go to x from {0:g} to {1:g} cm, y from {2:g} to {3:g} cm, z from {4:g} to {5:g} cm.\n"
_SURFACE = (
    "Objects stand on a surface at z = {height:.1f} cm. Fingertips that touch it stick: to grasp what lies flat on it, "
    "bring the gripper's point to z = {lowest:.1f} cm, not lower.\n"
)
_CAMERA = (
    "The camera is at x {0:.1f}, y {1:.1f}, z {2:.1f} cm. The picture is {width} pixels wide and {height} high; "
    "columns count from its left edge, rows from its upper edge. The camera looks along the direction ({looks}) of x, "
    "y, z. In the picture, right is the direction ({right}), and down is ({down}). A point that is f cm away from the "
    "camera along its view, r to the right and d down, appears at column {column:.1f} + {across:.1f} r / f, row "
    "{row:.1f} + {along:.1f} d / f.\n"
)
_NO_CAMERA = "Where the camera stands is not known: see from the gripper in the picture how directions appear in it.\n"
_STATE = (
    "The gripper's point is at x {0:.1f}, y {1:.1f}, z {2:.1f} cm{seen}; roll {3:.0f}, pitch {4:.0f}, yaw {5:.0f} "
    "degrees; "
)
_OPENING = "the gripper is {opening:.0f} percent open.\n"
_SENT = "It was sent to x {0:.1f}, y {1:.1f}, z {2:.1f} cm; roll {3:.0f}, pitch {4:.0f}, yaw {5:.0f} degrees.\n"
OVERLAYS = {
    "axes": (
        "Drawn on every picture: from the point ({0:g}, {1:g}) cm of the surface, a red arrow of {2:g} cm along x "
        "(forward) and a green one along y (left).\n"
    ),
    "grid": (
        "Drawn on every picture: a grid on the surface with a line every {step:g} cm, numbered with x in red and with "
        "y in green, in cm; the lines are drawn over whatever stands on the surface.\n"
    ),
}


@dataclass(frozen=True, eq=False)
class ZeroShotFacts:
    """What a zero-shot prompt tells of robot and scene."""

    fingertip: float
    """[m] from the gripper's point to the fingertips."""
    geometry: SceneGeometry | None = None
    """None: neither the box nor the camera is known, as on a policy server."""
    steps: int = 0
    """Control steps of an episode; 0: not known."""
    overlay: str = ""
    """What is drawn on the pictures: "axes", "grid", or nothing."""
    origin: tuple[float, float] = (0.0, 0.0)
    """[m] x and y of the place from which the axes are drawn."""
    spacing: float = 0.1
    """[m] between the lines of the grid, and the length of the axes."""

    @property
    def camera(self) -> PinholeCamera | None:
        """The camera, where it is known."""
        return None if self.geometry is None else self.geometry.camera


def describe_place(facts: ZeroShotFacts) -> str:
    """What is known of the fingers, the box, the surface, the camera and what is drawn on its pictures."""
    geometry = facts.geometry
    parts = [_FINGERS.format(tip=100 * facts.fingertip)]
    if geometry is None:
        return "".join([*parts, _NO_CAMERA])
    bounds = [100 * float(value) for pair in zip(geometry.low, geometry.high, strict=True) for value in pair]
    parts.append(_BOX.format(*(round(bound, 1) for bound in bounds)))
    if geometry.surface is not None:
        lowest = 100 * (geometry.surface + facts.fingertip + TIP_GAP)
        parts.append(_SURFACE.format(height=_plus(100 * geometry.surface), lowest=lowest))
    if geometry.camera is None:
        return "".join([*parts, _NO_CAMERA])
    parts.append(describe_camera(geometry.camera))
    if geometry.surface is not None:
        parts.append(_describe_view(geometry, geometry.camera, geometry.surface))
    if facts.overlay:
        x, y = (100 * place for place in facts.origin)
        length = 100 * facts.spacing
        parts.append(OVERLAYS[facts.overlay].format(x, y, length, step=length))
    return "".join(parts)


def describe_camera(camera: PinholeCamera) -> str:
    """Where the camera is, and at which pixel a point appears."""
    looks, left, up = camera.axes.T
    return _CAMERA.format(
        *(_plus(100 * float(value)) for value in camera.position),
        width=camera.size[1],
        height=camera.size[0],
        looks=_direction(looks),
        right=_direction(-left),
        down=_direction(-up),
        column=camera.centre[0],
        row=camera.centre[1],
        across=camera.focal[0],
        along=camera.focal[1],
    )


def _describe_view(geometry: SceneGeometry, camera: PinholeCamera, surface: float) -> str:
    """How directions appear in the middle of the table, and the pixels of some of its places."""
    middle = np.array([*((geometry.low + geometry.high) / 2)[:2], surface])
    at = camera.project(middle[None])[0]
    moved = camera.project(middle + 0.1 * np.eye(3))
    if not np.isfinite([*at, *moved.ravel()]).all():
        return ""
    ways = [
        f"10 cm {name} {'are' if number else 'appear as'} {_shift(after - at)}"
        for number, (name, after) in enumerate(zip(("forward", "to the left", "up"), moved, strict=True))
    ]
    text = f"In the middle of the reachable surface, {', '.join(ways)}. "
    xs, ys = (np.linspace(geometry.low[axis], geometry.high[axis], 3) for axis in (0, 1))
    places = np.array([[round(x, 2), round(y, 2), surface] for x in xs for y in ys])
    seen = [
        f"({100 * place[0]:.0f}, {_plus(100 * place[1]):.0f}) at column {pixel[0]:.0f}, row {pixel[1]:.0f}"
        for place, pixel, visible in zip(places, camera.project(places), camera.sees(places), strict=True)
        if visible
    ]
    return text + (f"Places x, y of the surface in the picture: {'; '.join(seen)}.\n" if seen else "\n")


def describe_state(state: np.ndarray, *, sent: np.ndarray | None = None, camera: PinholeCamera | None = None) -> str:
    """The gripper's state as lines of a prompt. state: (7,) as an observation's `agent_pos`.

    sent: (6,) x, y, z [m], roll, pitch, yaw [rad] to which the gripper was last sent and from which the next motion
    starts, as the first six of `state`; None: not known.
    """
    position = np.asarray(state[:3], np.float64)
    seen = ""
    if camera is not None and camera.sees(position[None])[0]:
        column, row = camera.project(position[None])[0]
        seen = f", in the picture at column {column:.0f}, row {row:.0f}"
    text = _STATE.format(*_pose(state), seen=seen) + _OPENING.format(opening=_plus(100 * float(state[6]), 0))
    return text if sent is None else text + _SENT.format(*_pose(sent))


def _direction(vector: np.ndarray) -> str:
    return ", ".join(f"{_plus(float(value), 3):.3f}" for value in vector)


def _shift(pixels: np.ndarray) -> str:
    """A displacement in the picture, such as "93 pixels up and 20 right"."""
    right, down = (round(float(value)) for value in pixels)
    across = f"{abs(right)} {'right' if right > 0 else 'left'}"
    along = f"{abs(down)} {'down' if down > 0 else 'up'}"
    words = [across, along] if abs(right) > abs(down) else [along, across]
    first, _, way = words[0].partition(" ")
    return f"{first} pixels {way} and {words[1]}"


def _pose(numbers: np.ndarray) -> list[float]:
    """x, y, z [m], roll, pitch, yaw [rad] in cm, to a tenth, and whole degrees."""
    turns = [_plus(math.degrees(float(angle)), 0) for angle in numbers[3:6]]
    return [*(_plus(100 * float(value)) for value in numbers[:3]), *turns]


def _plus(value: float, digits: int = 1) -> float:
    """`value` rounded, without the sign of a zero."""
    return round(value, digits) + 0.0
