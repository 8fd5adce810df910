"""What a simulation of the SIMPLER scenes does for the backend: ManiSkill 3 in this process, or the original."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vlm2vla_sim.envs.tasks import Layout
from vlm2vla_sim.types import RobotState, SceneState


class Simulation(Protocol):
    """One task's scene; the first `reset` loads it."""

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version, of those that make the results in another interpreter than this one."""
        ...

    @property
    def upstream_success(self) -> bool | None:
        """The verdict of the original SIMPLER's own code on the last step; None elsewhere, and before a step."""
        ...

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Place the objects as `layout` says, let them settle, and send the arm home."""
        ...

    def move(self, delta: np.ndarray) -> None:
        """One control step; delta: (7,) float64, see `types.ACTION_SIZE`."""
        ...

    def image(self) -> np.ndarray:
        """(480, 640, 3) uint8: SIMPLER's image, now."""
        ...

    def robot(self) -> RobotState:
        """The arm after the last step."""
        ...

    def scene(self) -> SceneState:
        """Ground truth of the objects after the last step."""
        ...

    def close(self) -> None:
        """Release the scene. May be called twice."""
        ...
