"""Keeps what happens in an episode, step by step and decision by decision, for `failures` and `agreement`.

It reads the state that the environment has computed anyway, and renders nothing. Where the scene is not known, no
failure is named; words and motion are compared all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.evaluation.agreement import (
    Motion,
    compare_words,
    measured_motion,
    summarize_words,
    written_motion,
)
from vlm2vla_sim.evaluation.failures import DONE, STOPPED, Asked, EpisodeEvents, Moment, classify
from vlm2vla_sim.policies.language_action import VERIFIED
from vlm2vla_sim.policies.verifier import TruthVerifier, subtask_kind
from vlm2vla_sim.types import Body, Decision, Outcome, RobotState, SceneState, Status

BORDER_SLACK = 0.001
"""[m] from the border of the workspace within which the arm's target is at it."""


class EventLog:
    """The record of one episode in `env`."""

    def __init__(self, env: WidowXEnv) -> None:
        self._env = env
        self._moments: list[Moment] = []
        self._asked: list[Asked] = []
        self._words: list[dict[str, Any]] = []
        self._ended = ""
        self._told = 1.0
        self._plan = ""
        self._last: Decision | None = None
        self._told_before = 1.0
        self._path: list[np.ndarray] = []
        self._start_height = self._goal_height = 0.0

    def start(self, gripper: float) -> None:
        """The episode starts. gripper: what it counts as having been told, 0 closed .. 1 open."""
        self._told = gripper
        status = self._env.status
        if status.scene is not None:
            source, target = status.scene.source, status.scene.target
            self._start_height = float(source.pose.position[2])
            top = float(target.pose.position[2]) + _half_height(target)
            self._goal_height = top + _half_height(source) - self._start_height
            self._note_moment(status, status.scene, {})

    def step(self, info: Mapping[str, Any]) -> None:
        """A control step was made; `info` is what `WidowXEnv.step` returned."""
        self._told = float(info["sent_action"][6])
        status = self._env.status
        self._path.append(_pose(status.robot))
        if status.scene is not None:
            self._note_moment(status, status.scene, info)

    def decided(self, decision: Decision) -> None:
        """A decision was made, and the one before it, if any, is carried out."""
        self._finish()
        passed, was_done = None, None
        if self._last is not None and any(stage.name == "verify" for stage in decision.stages):
            passed, was_done = decision.subtask != self._last.subtask, self._truth(self._last.subtask)
        self._asked.append(Asked(decision.chunk is not None, passed, was_done))
        self._last, self._told_before, self._path = decision, self._told, [_pose(self._env.status.robot)]
        self._plan = decision.plan if isinstance(decision.plan, str) else ""  # A user's policy may leave it None.

    def stopped(self, reason: str) -> None:
        """The policy makes no further decision. reason: its own words, which may be empty."""
        self._finish()
        self._last = None
        self._ended = DONE if reason.startswith(VERIFIED) else STOPPED

    def report(self, outcome: Outcome, decisions: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        """`decisions`, `failure` and `words` of the episode's result.

        decisions: as in results.jsonl; each is returned with its comparison as "words".
        """
        if self._last is not None:  # The episode ended before the last decision was carried out.
            self._words.append(compare_words(self._plan, self._written(self._last), None))
            self._last = None
        compared = [{**entry, "words": words} for entry, words in zip(decisions, self._words, strict=True)]
        failure = None
        if outcome is Outcome.FAILURE and self._moments:
            failure = classify(EpisodeEvents(self._moments, self._asked, self._goal_height, self._ended))
        return {"decisions": tuple(compared), "failure": failure, "words": summarize_words(compared)}

    # Parts.

    def _note_moment(self, status: Status, scene: SceneState, info: Mapping[str, Any]) -> None:
        height = float(scene.source.pose.position[2]) - self._start_height
        self._moments.append(
            Moment(
                distance=_distance(status.robot.tcp.position, scene.source),
                height=height,
                over_target=_is_over(scene.source, scene.target),
                grasped=scene.grasped,
                told_closed=self._told <= 0.5,
                at_border=bool(info.get("clipped")) and self._is_at_border(status.robot),
                moved_wrong=bool(info.get("moved_wrong_object")),
            )
        )

    def _is_at_border(self, robot: RobotState) -> bool:
        workspace, at = self._env.spec_task.setup.workspace, robot.target.position
        return bool(
            (at <= np.add(workspace.low, BORDER_SLACK)).any() or (at >= np.add(workspace.high, -BORDER_SLACK)).any()
        )

    def _truth(self, subtask: str) -> bool | None:
        if self._env.status.scene is None or subtask_kind(subtask) not in ("grasp", "release"):
            return None
        return TruthVerifier(self._env.scene_state).is_done(subtask)

    def _finish(self) -> None:
        """Compare the decision that has been carried out."""
        if self._last is not None:
            moved = measured_motion(np.array(self._path), self._told_before)
            self._words.append(compare_words(self._plan, self._written(self._last), moved))

    def _written(self, decision: Decision) -> Motion | None:
        return None if decision.chunk is None else written_motion(decision.chunk.deltas, self._told_before)


def _pose(robot: RobotState) -> np.ndarray:
    """(4,) position of the TCP [m] and opening."""
    return np.array([*robot.tcp.position, robot.gripper])


def _distance(point: np.ndarray, body: Body) -> float:
    """[m] from a point to the body's declared box; 0 inside it."""
    local = quaternion_to_matrix(body.pose.quaternion).T @ (point - body.pose.position)
    return float(np.linalg.norm(np.maximum(np.abs(local) - body.extents / 2, 0.0)))


def _half_height(body: Body) -> float:
    """[m] from the body's centre to the highest corner of its declared box."""
    return float(np.abs(quaternion_to_matrix(body.pose.quaternion)[2]) @ body.extents / 2)


def _is_over(source: Body, target: Body) -> bool:
    """Whether the source's centre is above the target's declared box, within the two axes that lie flattest."""
    rotation = quaternion_to_matrix(target.pose.quaternion)
    offset = source.pose.position - target.pose.position
    upright = int(np.argmax(np.abs(rotation[2])))
    inside = np.abs(rotation.T @ (offset * (1, 1, 0))) <= target.extents / 2
    return bool(offset[2] > 0 and np.delete(inside, upright).all())
