"""Keeps what happens in an episode, step by step and decision by decision: for `failures`, `agreement` and `verdicts`.

While the episode runs, it only keeps the states that the environment has computed anyway, and renders nothing. Where
the scene is not known, no failure is named; words and motion are compared all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core.goals import ON, Goal, height_above, seen_for
from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.evaluation.agreement import compare_words, measured_motion, summarize_words, written_motion
from vlm2vla_sim.evaluation.failures import DONE, LIFTED, STOPPED, Asked, EpisodeEvents, Moment, classify
from vlm2vla_sim.policies.base import Judgement
from vlm2vla_sim.policies.language_action import VERIFIED
from vlm2vla_sim.policies.verifier import is_truly_done, subtask_kind
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import Body, Decision, Outcome, SceneState, Status

BORDER_SLACK = 0.001
"""[m] from the border of the workspace within which the arm's target is at it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What is kept of the reset, and of every control step."""

    status: Status
    told: float
    """What the gripper was last told: 0 closed .. 1 open."""
    clipped: bool = False
    moved_wrong: bool = False
    goals: tuple[bool, ...] = ()
    """Of each of the task's goals, whether it is reached."""


class EventLog:
    """The record of one episode in `env`."""

    def __init__(self, env: WidowXEnv) -> None:
        self._env = env
        self._steps: list[_Step] = []
        self._decisions: list[tuple[int, Decision]] = []
        self._verdicts: dict[int, dict[str, bool | None]] = {}
        self._ended, self._stopped_at = "", -1

    def start(self, gripper: float) -> None:
        """The episode starts. gripper: what it counts as having been told, 0 closed .. 1 open."""
        self._steps.append(_Step(self._env.status, gripper))

    def step(self, info: Mapping[str, Any]) -> None:
        """A control step was made; `info` is what `WidowXEnv.step` returned."""
        clipped, wrong = bool(info["clipped"]), bool(info["moved_wrong_object"])
        told, reached = float(info["sent_action"][6]), tuple(info["goals"] or ())
        self._steps.append(_Step(self._env.status, told, clipped, wrong, reached))

    def judged(self, judgement: object) -> None:
        """The policy was asked. judgement: what its verifier answered about the decision before, if it was asked.

        That is kept with the truth at this moment, as "verdict" of that decision; anything but a `Judgement` is not.
        """
        if not isinstance(judgement, Judgement) or not self._decisions:
            return
        scene, (_, decision) = self._steps[-1].status.scene, self._decisions[-1]
        truth = None if scene is None else is_truly_done(decision.subtask, scene, self._env.spec_task.goals)
        self._verdicts[len(self._decisions) - 1] = {"said": bool(judgement.advance), "truth": truth}

    def decided(self, decision: Decision) -> None:
        """A decision was made; the one before it, if any, has been carried out."""
        self._decisions.append((len(self._steps) - 1, decision))

    def stopped(self, reason: str) -> None:
        """The policy makes no further decision. reason: its own words, which may be empty."""
        self._ended = DONE if reason.startswith(VERIFIED) else STOPPED
        self._stopped_at = len(self._steps) - 1

    def report(self, outcome: Outcome, decisions: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        """`decisions`, `failure` and `words` of the episode's result.

        decisions: as in results.jsonl; each is returned with its comparison as "words", and as "verdict" with what the
        verifier said of its subtask after it was carried out ("said", true for "advance") and whether that was done in
        the simulator ("truth", None where it is not known); None if the verifier was not asked.
        """
        compared = [
            {**entry, "words": words, "verdict": self._verdicts.get(number)}
            for number, (entry, words) in enumerate(zip(decisions, self._words(), strict=True))
        ]
        scenes = [step.status.scene for step in self._steps]
        known = [scene for scene in scenes if scene is not None]
        failure = None
        if outcome is Outcome.FAILURE and known and len(known) == len(scenes):
            failure = classify(self._events(known))
        return {"decisions": tuple(compared), "failure": failure, "words": summarize_words(compared)}

    # Parts.

    def _words(self) -> list[dict[str, Any]]:
        """The comparison of every decision."""
        ends = [start for start, _ in self._decisions[1:]]
        # Whether the last decision was carried out to its end is known only if the policy was asked once more.
        ends.append(self._stopped_at)
        poses = np.array([[*step.status.robot.tcp.position, step.status.robot.gripper] for step in self._steps])
        words = []
        for (start, decision), end in zip(self._decisions, ends, strict=False):
            told = self._steps[start].told
            written = None if decision.chunk is None else written_motion(decision.chunk.deltas, told)
            moved = None if end < 0 else measured_motion(poses[start : end + 1], told)
            plan = decision.plan if isinstance(decision.plan, str) else ""  # A user's policy may leave it None.
            words.append(compare_words(plan, written, moved))
        return words

    def _events(self, whole: Sequence[SceneState]) -> EpisodeEvents:
        """The record as it concerns the first goal that is not reached at the end."""
        task = self._env.spec_task
        reached = self._steps[-1].goals or (False,)
        number = reached.index(False) if False in reached else 0
        goal = task.all_goals[number]
        scenes = [seen_for(scene, goal) for scene in whole]
        first, workspace = scenes[0], task.setup.workspace
        moved = {goal.moved or task.source.name for goal in task.all_goals}
        tcp = np.array([step.status.robot.tcp.position for step in self._steps])
        aim = np.array([step.status.robot.target.position for step in self._steps])
        start_height = float(first.source.pose.position[2])
        top = float(first.target.pose.position[2]) + _half_height(first.target)
        per_moment = zip(
            self._steps,
            scenes,
            _distances(tcp, [scene.source for scene in scenes]),
            _are_over([scene.source for scene in scenes], [scene.target for scene in scenes]) & (goal.kind == ON),
            _are_over_others(scenes),
            _are_others_lifted(whole, moved),
            _are_at_border(aim, workspace),
            strict=True,
        )
        moments = [
            Moment(
                distance=float(distance),
                height=float(scene.source.pose.position[2]) - start_height,
                over_target=bool(over),
                grasped=scene.grasped,
                told_closed=step.told <= 0.5,
                at_border=step.clipped and bool(at_border),
                moved_wrong=step.moved_wrong,
                on_target=bool(step.goals) and step.goals[number],
                over_other=bool(over_other),
                lifted_other=bool(lifted_other),
            )
            for step, scene, distance, over, over_other, lifted_other, at_border in per_moment
        ]
        goal_height = top + _half_height(first.source) - start_height
        return EpisodeEvents(moments, self._asked(whole), goal_height, self._ended)

    def _asked(self, scenes: Sequence[SceneState]) -> list[Asked]:
        asked = []
        before = ""
        for number, (start, decision) in enumerate(self._decisions):
            passed = was_done = None
            if number and any(stage.name == "verify" for stage in decision.stages):
                passed, was_done = decision.subtask != before, _truth(before, scenes[start], self._env.spec_task.goals)
            asked.append(Asked(decision.chunk is not None, passed, was_done))
            before = decision.subtask
        return asked


def _truth(subtask: str, scene: SceneState, goals: Sequence[Goal]) -> bool | None:
    """Whether a subtask of grasping or releasing is done; None for any other."""
    return is_truly_done(subtask, scene, goals) if subtask_kind(subtask) in ("grasp", "release") else None


def _positions(bodies: Sequence[Body]) -> np.ndarray:
    """(T, 3) [m], base frame."""
    return np.array([body.pose.position for body in bodies])


def _to_local(vectors: np.ndarray, bodies: Sequence[Body]) -> np.ndarray:
    """(T, 3) vectors of the base frame -> the same in the axes of the body then."""
    quaternions = np.array([body.pose.quaternion for body in bodies])
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    scalar, axis = quaternions[:, :1], -quaternions[:, 1:]  # of the inverse rotation
    across = 2 * np.cross(axis, vectors)
    return vectors + scalar * across + np.cross(axis, across)


def _distances(points: np.ndarray, bodies: Sequence[Body]) -> np.ndarray:
    """(T,) [m] from each of `points`, (T, 3), to the declared box of the body then; 0 inside it."""
    local = _to_local(points - _positions(bodies), bodies)
    return np.linalg.norm(np.maximum(np.abs(local) - bodies[0].extents / 2, 0.0), axis=1)


def _are_over(sources: Sequence[Body], targets: Sequence[Body]) -> np.ndarray:
    """(T,) bool: the source's centre is above the target's declared box, within the two axes that lie flattest."""
    offsets = _positions(sources) - _positions(targets)
    inside = np.abs(_to_local(offsets * (1, 1, 0), targets)) <= targets[0].extents / 2
    upright = _to_local(np.broadcast_to([0.0, 0.0, 1.0], offsets.shape), targets)
    inside[np.arange(len(inside)), np.abs(upright).argmax(axis=1)] = True
    return inside.all(axis=1) & (offsets[:, 2] > 0)


def _are_over_others(scenes: Sequence[SceneState]) -> np.ndarray:
    """(T,) bool: the source's centre is above the declared box of one of the further objects."""
    sources = [scene.source for scene in scenes]
    rows = [_are_over(sources, bodies) for bodies in zip(*(scene.others for scene in scenes), strict=True)]
    return np.any(rows, axis=0) if rows else np.zeros(len(scenes), bool)


def _are_others_lifted(scenes: Sequence[SceneState], moved: Collection[str]) -> np.ndarray:
    """(T,) bool: the gripper holds an object above the support that no goal moves, as far as contacts are reported."""
    start = {body.name: body for body in scenes[0].others if body.name not in moved}
    return np.array(
        [
            any(
                scene.touches[body.name].grasped and height_above(body, start[body.name]) >= LIFTED
                for body in scene.others
                if body.name in start and body.name in scene.touches
            )
            for scene in scenes
        ]
    )


def _are_at_border(positions: np.ndarray, workspace: Workspace) -> np.ndarray:
    """(T,) bool. positions: (T, 3) [m]."""
    low, high = np.add(workspace.low, BORDER_SLACK), np.add(workspace.high, -BORDER_SLACK)
    return np.any((positions <= low) | (positions >= high), axis=1)


def _half_height(body: Body) -> float:
    """[m] from the body's centre to the highest corner of its declared box."""
    return float(np.abs(quaternion_to_matrix(body.pose.quaternion)[2]) @ body.extents / 2)
