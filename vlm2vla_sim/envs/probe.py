"""What a robot tells of itself without moving: which server answers, how fast, what its cameras see, where the arm is.

A backend may have a method `probe() -> Probe`. It sends no motion, may be called before the first `reset`, and leaves
None or empty what its wire cannot tell. `vlm2vla robot doctor` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlm2vla_sim.robots.base import Workspace

ROUND_TRIPS = 20
"""Requests that a probe times."""
LOOKS = 10
"""Observations that a probe takes."""


@dataclass(frozen=True, eq=False)
class CameraLook:
    """One image of one camera."""

    image: np.ndarray | None
    """uint8, as the camera sent it: (H, W, 3) RGB, or (H, W) of a camera with one channel; None where none came."""
    age: float | None = None
    """[s] on arrival, at least; None where nothing is known of it."""
    problem: str = ""
    """Why there is no image."""


@dataclass(frozen=True, eq=False)
class Look:
    """One observation, whatever its age."""

    seconds: float | None
    """[s] that it took; None where it is not asked for over a wire."""
    state: np.ndarray
    """(7,) float32, see `Robot.agent_pos`."""
    cameras: Mapping[str, CameraLook]


@dataclass(frozen=True, eq=False)
class Probe:
    """What one robot told."""

    server: str = ""
    """Who answered, with its version, on one line; empty where the wire does not tell."""
    round_trips: tuple[float, ...] = ()
    """[s] of requests for which the robot does nothing; empty where there are none."""
    looks: tuple[Look, ...] = ()
    no_looks: str = ""
    """Why there is no observation yet, where there is none."""
    joints: np.ndarray | None = None
    """(n,) [rad] in the order of `Robot.arm_joints`; None where the wire does not tell."""
    workspace: Workspace | None = None
    """The box that the gripper's target may not leave; None: the task's."""
    start: np.ndarray | None = None
    """(3,) [m, base frame] where a reset brings the gripper; None where it is not known."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Name -> version of what the robot's side and its driver consist of, as far as they say."""
