"""The policy "scripted": reads the simulator's ground truth and writes every motion as text. An upper bound.

Its text goes through the same parser, controller and environment as a model's, so it shows that a task can be solved
through text at all. `noise_cm` adds an error to the positions of the objects, which gives weaker policies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm2vla_sim.core.goals import LIFTED, ON, Goal, seen_for
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language import plan_words
from vlm2vla_sim.language.formats.properties import in_pieces, read_action, write_action
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import Body, Decision, RobotState, SceneState, Stage

if TYPE_CHECKING:
    from vlm2vla_sim.language.formats import ActionFormat

GRASP_DEPTH = 0.004
"""[m] by which the TCP is lowered below the middle of a flat object; limited by the table."""
TIP_GAP = 0.004
"""[m] between fingertips and surface: high-friction tips that touch it stick, and the gripper does not close."""
RELEASE_GAP = 0.006
"""[m] between the object and its target when the gripper opens."""
REACH = 0.5
"""[m] the longest motion on an axis. A squeezed object may slip out and end metres away; the policy keeps trying."""
APPROACHES = ((0.0, 0.0), (np.pi / 6, 0.25), (np.pi / 6, -0.25), (-np.pi / 6, 0.25), (-np.pi / 6, -0.25))
"""How repeated attempts to grasp differ, since a wall may block one: [rad] rotation away from straight across the
object, and the shift along the object as a fraction of its length."""
OPEN, CLOSED = 1.0, 0.0


def make(context: PolicyContext) -> ScriptedPolicy:
    """The scripted policy for `context`; SettingError without the scene and the arm's state."""
    if context.see is None or context.robot is None:
        raise SettingError("The policy 'scripted' needs the scene and the arm's state in its context.")
    how = {"noise_cm": context.noise_cm, "arm": context.arm, "goals": context.goals}
    return ScriptedPolicy(context.see, context.robot, context.action_format, **how)


@dataclass(frozen=True, eq=False)
class _Estimate:
    """The scene as it concerns the present goal, as the policy perceives it; base frame [m]."""

    source: Body
    target: Body
    held: bool
    source_at: np.ndarray
    """(3,) centre of mass."""
    target_at: np.ndarray
    """(3,) centre of mass."""
    target_top: float
    arm: RobotState


class ScriptedPolicy:
    """Reaches one goal after the other, reading the scene again before every decision.

    By default the goal is to have the source on the target.
    """

    def __init__(
        self,
        see: Callable[[], SceneState],
        robot: Callable[[], RobotState],
        action_format: ActionFormat,
        *,
        noise_cm: float = 0.0,
        arm: Robot = WIDOWX_250S,
        goals: Sequence[Goal] = (),
    ) -> None:
        """Create the policy from `see` and `robot`, which return the present ground truth.

        noise_cm: standard deviation, in x and in y, of the error of each object's position, drawn anew for every
        attempt to grasp. arm: the robot's description. goals: `PolicyContext.goals`.
        """
        self._see = see
        self._arm = arm
        self._robot = robot
        self._format = action_format
        self._noise = noise_cm / 100
        self._goals = goals
        self._commanded = CommandedPose(robot, arm)
        self._rng = np.random.default_rng(0)
        self.reset("")

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng(seed)
        self._subtasks: list[tuple[str, str]] = []
        self._current = 0
        self._height: float | None = None
        self._attempts = 0
        self._pending: list[np.ndarray] = []
        """Motions that are decided and not said yet, in a format that says one at a time; each (T, 7)."""
        self._said = ("", "")
        self._commanded.reset()
        self._draw_errors()

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next decision; None once every goal is reached and the gripper is clear of what it put down."""
        stages = [] if self._subtasks else [self._list_subtasks()]
        if self._pending:
            return self._say(*self._said, stages)
        while self._is_reached(estimate := self._perceive()):
            if self._current + 1 == len(self._subtasks):
                return None
            self._current += 1
            self._attempts = 0
        grasp, put = self._subtasks[self._current]
        lift = self._kind == LIFTED
        if estimate.held:
            subtask, (plan, rows) = put, self._lift(estimate) if lift else self._carry(estimate)
        elif not lift and self._is_placed(estimate):
            rows = [self._up_to(estimate, self._travel_height(estimate), OPEN)]
            subtask, plan = put, plan_words.leave()
        else:
            subtask, (plan, rows) = grasp, self._fetch(estimate)
        gripper = float(pose[6]) if (pose := self._commanded.now({})) is not None else OPEN
        self._pending = in_pieces(self._format, np.array(rows, dtype=np.float32), gripper=gripper)
        return self._say(subtask, plan, stages)

    def _say(self, subtask: str, plan: str, stages: list[Stage]) -> Decision:
        """Say the next of the motions that are decided."""
        self._said = (subtask, plan)
        pose = self._commanded.now({})
        text = write_action(self._format, self._pending.pop(0), pose)
        chunk = read_action(self._format, text, pose)
        self._commanded.said(chunk)
        stages += [Stage("plan", plan), Stage("action", text)]
        return Decision(subtask=subtask, plan=plan, action=text, chunk=chunk, stages=tuple(stages))

    # Perception.

    def _draw_errors(self) -> None:
        self._errors = self._rng.normal(0.0, self._noise, (2, 2)) if self._noise else np.zeros((2, 2))

    def _perceive(self) -> _Estimate:
        scene, arm = self._scene(self._current), self._robot()
        offsets = np.concatenate([self._errors, np.zeros((2, 1))], axis=1)
        if self._height is None:
            self._height = float(arm.target.position[2])
        return _Estimate(
            source=scene.source,
            target=scene.target,
            held=scene.grasped,
            source_at=scene.source.pose.position + offsets[0],
            target_at=scene.target.pose.position + offsets[1],
            target_top=float(scene.target.pose.position[2] + scene.target.extents[2] / 2),
            arm=arm,
        )

    def _scene(self, number: int) -> SceneState:
        """The scene as it concerns a goal."""
        return seen_for(self._see(), self._goals[number]) if self._goals else self._see()

    @property
    def _kind(self) -> str:
        return self._goals[self._current].kind if self._goals else ON

    def _list_subtasks(self) -> Stage:
        for number in range(max(len(self._goals), 1)):
            scene = self._scene(number)
            source, target = (body.name.replace("_", " ") for body in (scene.source, scene.target))
            preposition = "into" if scene.target.container else "on"
            put = f"put the {source} {preposition} the {target}"
            lift = bool(self._goals) and self._goals[number].kind == LIFTED
            self._subtasks.append((f"grasp the {source}", f"lift the {source}" if lift else put))
        listed = [words for pair in self._subtasks for words in pair]
        return Stage("subtasks", "\n".join(f"{i}. {words}" for i, words in enumerate(listed, start=1)))

    def _is_reached(self, estimate: _Estimate) -> bool:
        if self._kind == LIFTED:
            return estimate.held and not self._is_low(estimate)
        return not estimate.held and self._is_placed(estimate) and self._is_clear(estimate)

    # Decisions.

    def _fetch(self, estimate: _Estimate) -> tuple[str, list[np.ndarray]]:
        """Move above the object, rotated across it; then lower and close the gripper."""
        name = f"the {estimate.source.name.replace('_', ' ')}"
        shift, turn = self._to_hover(estimate)
        if np.abs(shift[:2]).max() > 0.75 * self._step or abs(turn) > 0.75 * self._turn:
            rows = [self._up_to(estimate, self._travel_height(estimate), OPEN)] if self._is_low(estimate) else []
            drop = self._travel_height(estimate) - estimate.arm.target.position[2] if not rows else 0.0
            rows.append(_row(shift[0], shift[1], drop, OPEN, turn=turn))
            return plan_words.approach(plan_words.horizontal(rows[-1]), name), rows
        down = self._grasp_height(estimate) - estimate.arm.target.position[2]
        down = np.ceil(down / self._step - 1e-6) * self._step
        self._attempts += 1
        self._draw_errors()
        rows = [_row(0, 0, down, OPEN), _row(0, 0, 0, OPEN), _row(0, 0, 0, CLOSED)]
        return plan_words.descend(name), rows

    def _lift(self, estimate: _Estimate) -> tuple[str, list[np.ndarray]]:
        rows = [self._up_to(estimate, self._travel_height(estimate), CLOSED), _row(0, 0, 0, CLOSED)]
        return plan_words.lift(f"the {estimate.source.name.replace('_', ' ')}"), rows

    def _carry(self, estimate: _Estimate) -> tuple[str, list[np.ndarray]]:
        """Lift; move over the target; lower and open the gripper."""
        name, goal = (f"the {body.name.replace('_', ' ')}" for body in (estimate.source, estimate.target))
        shift = (
            estimate.target_at[:2]
            - estimate.source_at[:2]
            - (estimate.arm.target.position - estimate.arm.tcp.position)[:2]
        )
        height = self._travel_height(estimate)
        if np.abs(shift).max() <= 0.75 * self._step:
            source = estimate.source
            bottom = source.pose.position[2] - self._half_height(source) - estimate.arm.tcp.position[2]
            down = estimate.target_top + RELEASE_GAP - bottom - estimate.arm.target.position[2]
            down = min(0.0, np.ceil(down / self._step - 1e-6) * self._step)
            rows = [_row(0, 0, down, CLOSED), _row(0, 0, 0, CLOSED), _row(0, 0, 0, OPEN)]
            return plan_words.lower(name, goal), rows
        if self._is_low(estimate):
            return plan_words.lift(name), [self._up_to(estimate, height, CLOSED)]
        row = _row(shift[0], shift[1], 0, CLOSED)
        return plan_words.carry(name, plan_words.horizontal(row), goal), [row, _row(0, 0, 0, CLOSED)]

    # Geometry.

    @property
    def _step(self) -> float:
        return self._format.resolution.translation

    @property
    def _turn(self) -> float:
        return float(np.radians(self._format.resolution.rotation))

    def _to_hover(self, estimate: _Estimate) -> tuple[np.ndarray, float]:
        """(shift in x, y [m], turn about z [rad]) that bring the open gripper over the object, across its long side."""
        angle, part = APPROACHES[self._attempts % len(APPROACHES)]
        along = _heading(estimate.source.pose.quaternion, axis=0)
        aside = part * estimate.source.extents[0] * np.array([np.cos(along), np.sin(along), 0.0])
        shift = estimate.source_at + aside - estimate.arm.target.position
        opening = _heading(estimate.arm.target.quaternion, axis=1)
        length, width = estimate.source.extents[:2]
        # The fingers close across the shorter side; a square object can be grasped either way.
        across = _heading(estimate.source.pose.quaternion, axis=1 if length >= width else 0) + angle
        period = np.pi / 2 if abs(length - width) < 0.003 else np.pi
        turn = (across - opening + period / 2) % period - period / 2
        return shift, float(turn)

    def _half_height(self, body: Body) -> float:
        return float(body.extents[2] / 2)

    def _grasp_height(self, estimate: _Estimate) -> float:
        """[m] of the TCP: slightly below the object's middle, with the tips clear of the surface."""
        middle = estimate.source.pose.position[2]
        surface = middle - self._half_height(estimate.source)
        return max(middle - GRASP_DEPTH, surface + self._arm.gripper.fingertip + TIP_GAP)

    def _travel_height(self, estimate: _Estimate) -> float:
        """[m] of the TCP: its height at home, above all objects."""
        return estimate.arm.target.position[2] if self._height is None else self._height

    def _is_low(self, estimate: _Estimate) -> bool:
        return estimate.arm.target.position[2] < self._travel_height(estimate) - 1.5 * self._step

    def _up_to(self, estimate: _Estimate, height: float, gripper: float) -> np.ndarray:
        return _row(0, 0, max(self._step, height - estimate.arm.target.position[2]), gripper)

    def _is_placed(self, estimate: _Estimate) -> bool:
        offset = estimate.source_at - estimate.target_at
        return bool(np.linalg.norm(offset[:2]) < 0.04 and 0 < offset[2] < 0.07)

    def _is_clear(self, estimate: _Estimate) -> bool:
        return estimate.arm.tcp.position[2] - estimate.source.pose.position[2] > 0.06


def _row(dx: float, dy: float, dz: float, gripper: float, *, turn: float = 0.0) -> np.ndarray:
    """(7,) as in `types.ACTION_SIZE`, limited to `REACH`; `turn` [rad] about +z."""
    return np.array([*np.clip([dx, dy, dz], -REACH, REACH), 0.0, 0.0, turn, gripper])


def _heading(quaternion: np.ndarray, *, axis: int) -> float:
    """[rad] direction, seen from above, of a body's x (0) or y (1) axis."""
    w, x, y, z = quaternion
    if axis == 0:
        return float(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)))
    return float(np.arctan2(1 - 2 * (x * x + z * z), 2 * (x * y - w * z)))


FACTORY = PolicyFactory(make, takes_noise=True, needs_truth=True)
"""The policy "scripted"."""
