"""The original SIMPLER: the simulation behind the profile "original", in a process of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.simpler.original_process import START_SECONDS, OriginalProcess, check_interpreter, find_python
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task
from vlm2vla_sim.errors import BackendFaultError
from vlm2vla_sim.types import Body, Pose, RobotState, SceneState

PACKAGES = ("simpler_env", "mani_skill2_real2sim", "sapien")
"""Whose versions go into results. NumPy and Gymnasium are named by this interpreter's."""
NAMES: dict[str, str] = {"arena": "table"}
"""SIMPLER's name of a body -> ours in `SceneState.touching`, where they differ."""


class OriginalSimpler:
    """A task's scene in `simpler_env`; see `simulation.Simulation` for the methods."""

    def __init__(self, task: Task, *, python: str = "") -> None:
        """Check the interpreter; the first `reset` starts the process.

        task: one of SIMPLER's own.

        SettingError as `find_python`, or if the interpreter lacks something.
        """
        self._task, self._base = task, task.scene.base
        found = check_interpreter(find_python(python))
        self._python = found.python
        self.versions = {name: found.versions[name] for name in PACKAGES}
        self._process: OriginalProcess | None = None
        self._links: frozenset[str] = frozenset()
        self._now: dict[str, Any] = {}

    @property
    def upstream_success(self) -> bool | None:
        """What SIMPLER's own `evaluate` says of the last step; None after a reset."""
        return self._now.get("success")

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Start `layout` in a new physics scene: by its number where it is one of SIMPLER's episodes."""
        self._now = {}
        if self._process is None or not self._process.alive:
            self._process = OriginalProcess(self._python)
            made, _ = self._process.ask("make", seconds=START_SECONDS, task=self._task.simpler_id)
            self._links = frozenset(made["links"])
        if layout in self._task.layouts:
            place: dict[str, Any] = {"episode_id": self._task.layouts.index(layout)}
        else:
            turns = [frames.rotvec_to_quaternion(np.array([0, 0, yaw])) for yaw in _yaws(layout)]
            place = {"xy": [layout.source_xy, layout.target_xy], "quaternions": [turn.tolist() for turn in turns]}
        self._now, _ = self._process.ask("reset", **place)

    def move(self, delta: np.ndarray) -> None:
        """One control step of 100 substeps; delta: (7,) float64, see `types.ACTION_SIZE`."""
        action = [*delta[:6].tolist(), frames.gripper_to_simpler(delta[6])]
        self._now, _ = self._running().ask("step", action=action)

    def image(self) -> np.ndarray:
        """(480, 640, 3) uint8: SIMPLER's image, now."""
        answer, pixels = self._running().ask("image")
        return np.frombuffer(pixels, np.uint8).reshape(answer["shape"])

    def robot(self) -> RobotState:
        """The arm after the last step."""
        goal = np.array(self._now["goal"])
        target = Pose(goal[:3], goal[3:] / np.linalg.norm(goal[3:]))
        opening = self._task.arm.gripper.opening(float(np.mean(self._now["fingers"])))
        return RobotState(tcp=self._pose("tcp"), target=target, gripper=opening)

    def scene(self) -> SceneState:
        """Ground truth of the objects after the last step."""
        pressed: frozenset[str] = frozenset(self._now["pressed"])
        target: str = self._now["names"][1]
        touching = pressed - self._links - {target}
        if target in pressed and self._task.target.container:
            # The walls of SIMPLER's basket are part of the sink's body; its floor is the target.
            touching -= {self._task.scene.name}
        return SceneState(
            source=self._body("source", self._task.source),
            target=self._body("target", self._task.target),
            touching=frozenset(NAMES.get(name, name) for name in touching),
            grasped=self._now["grasped"],
            touches_target=target in pressed,
            touches_robot=bool(pressed & self._links),
        )

    def close(self) -> None:
        """End the process. May be called twice."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _running(self) -> OriginalProcess:
        if self._process is None or not self._process.alive or not self._now:
            raise BackendFaultError("The process of the original SIMPLER has ended. Call env.reset() to start another.")
        return self._process

    def _pose(self, name: str) -> Pose:
        numbers = np.array(self._now[name])
        return self._base.pose_from_world(numbers[:3], numbers[3:])

    def _body(self, name: str, spec: ObjectSpec) -> Body:
        return spec.body(self._pose(name))


def _yaws(layout: Layout) -> tuple[float, float]:
    return layout.source_yaw, layout.target_yaw
