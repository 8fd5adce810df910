"""The upper bound: a policy that is told where everything is, and still has to say every move in words.

It is what shows that a task can be done at all through the language: its sentences go through the same reader, motion
and environment as a model's. It sees ground truth, so its score is a ceiling to hold a model against, never a result.
With `noise_cm` it misjudges where things are, which gives a ladder of weaker policies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language import plan_words
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import Body, Decision, RobotState, SceneState, Stage

if TYPE_CHECKING:
    from vlm2vla_sim.language.formats import ActionFormat

GRASP_DEPTH = 0.004
"""[m] by which the TCP is lowered below the top of a flat object's middle; bounded by the table."""
TIP_GAP = 0.004
"""[m] the fingertips stay above the surface: touching it, high-friction tips stick and the gripper does not close."""
RELEASE_GAP = 0.006
"""[m] between the object and what it is put on when the gripper opens."""
REACH = 0.5
"""[m] the longest move it asks for. A squeezed object may be shot off the table, metres away: it goes on trying."""
APPROACHES = ((0.0, 0.0), (np.pi / 6, 0.25), (np.pi / 6, -0.25), (-np.pi / 6, 0.25), (-np.pi / 6, -0.25))
"""How each further attempt to grasp differs, since a wall may be in the way of one: [rad] turned away from straight
across the object, and shifted along it, as a part of its length."""
OPEN, CLOSED = 1.0, 0.0


def make(context: PolicyContext) -> ScriptedPolicy:
    """The scripted policy for `context`; SettingError on a backend that does not know where things are."""
    if context.see is None or context.robot is None:
        raise SettingError("The policy 'scripted' needs the scene and the arm's state in its context.")
    return ScriptedPolicy(context.see, context.robot, context.action_format, noise_cm=context.noise_cm, arm=context.arm)


@dataclass(frozen=True, eq=False)
class _View:
    """What the policy believes at a look; base frame [m]."""

    source: Body
    held: bool
    source_at: np.ndarray
    """(3,) centre of mass."""
    target_at: np.ndarray
    """(3,) centre of mass."""
    target_top: float
    arm: RobotState


class ScriptedPolicy:
    """Picks the source up and puts it on the target, looking again before every sentence."""

    def __init__(
        self,
        see: Callable[[], SceneState],
        robot: Callable[[], RobotState],
        action_format: ActionFormat,
        *,
        noise_cm: float = 0.0,
        arm: Robot = WIDOWX_250S,
    ) -> None:
        """Make it from `see` and `robot`, which give ground truth now.

        noise_cm: standard deviation, in x and in y, of the error with which it sees each object; drawn anew for every
        attempt to grasp. arm: the robot's description.
        """
        self._see = see
        self._arm = arm
        self._robot = robot
        self._format = action_format
        self._noise = noise_cm / 100
        self._rng = np.random.default_rng(0)
        self.reset("")

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng(seed)
        self._subtasks: tuple[str, str] | None = None
        self._height: float | None = None
        self._attempts = 0
        self._misjudge()

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next sentence; None once the object lies on the target and the gripper is clear of it."""
        view = self._look()
        stages = [] if self._subtasks else [self._list_subtasks(view)]
        assert self._subtasks is not None
        if view.held:
            step = self._carry(view)
            subtask = self._subtasks[1]
        elif self._is_placed(view):
            if self._is_clear(view):
                return None
            step = (plan_words.leave(), [self._up_to(view, self._travel_height(view), OPEN)])
            subtask = self._subtasks[1]
        else:
            step = self._fetch(view)
            subtask = self._subtasks[0]
        plan, rows = step
        text = self._format.write(np.array(rows, dtype=np.float32))
        stages += [Stage("plan", plan), Stage("action", text)]
        return Decision(subtask=subtask, plan=plan, action=text, chunk=self._format.read(text), stages=tuple(stages))

    # Looking.

    def _misjudge(self) -> None:
        self._errors = self._rng.normal(0.0, self._noise, (2, 2)) if self._noise else np.zeros((2, 2))

    def _look(self) -> _View:
        scene, arm = self._see(), self._robot()
        offsets = np.concatenate([self._errors, np.zeros((2, 1))], axis=1)
        if self._height is None:
            self._height = float(arm.target.position[2])
        return _View(
            source=scene.source,
            held=scene.grasped,
            source_at=scene.source.pose.position + offsets[0],
            target_at=scene.target.pose.position + offsets[1],
            target_top=float(scene.target.pose.position[2] + scene.target.extents[2] / 2),
            arm=arm,
        )

    def _list_subtasks(self, view: _View) -> Stage:
        scene = self._see()
        source, target = (body.name.replace("_", " ") for body in (scene.source, scene.target))
        preposition = "into" if scene.target.container else "on"
        self._subtasks = (f"grasp the {source}", f"put the {source} {preposition} the {target}")
        return Stage("subtasks", "\n".join(f"{i}. {words}" for i, words in enumerate(self._subtasks, start=1)))

    # Deciding.

    def _fetch(self, view: _View) -> tuple[str, list[np.ndarray]]:
        """Go above the object, turned across it; once there, go down and close."""
        name = f"the {view.source.name.replace('_', ' ')}"
        shift, turn = self._to_hover(view)
        if np.abs(shift[:2]).max() > 0.75 * self._step or abs(turn) > 0.75 * self._turn:
            rows = [self._up_to(view, self._travel_height(view), OPEN)] if self._is_low(view) else []
            drop = self._travel_height(view) - view.arm.target.position[2] if not rows else 0.0
            rows.append(_row(shift[0], shift[1], drop, OPEN, turn=turn))
            return plan_words.approach(plan_words.horizontal(rows[-1]), name), rows
        down = self._grasp_height(view) - view.arm.target.position[2]
        down = np.ceil(down / self._step - 1e-6) * self._step
        self._attempts += 1
        self._misjudge()
        rows = [_row(0, 0, down, OPEN), _row(0, 0, 0, OPEN), _row(0, 0, 0, CLOSED)]
        return plan_words.descend(name), rows

    def _carry(self, view: _View) -> tuple[str, list[np.ndarray]]:
        """Lift; go over the target; go down and open."""
        scene = self._see()
        name, goal = (f"the {body.name.replace('_', ' ')}" for body in (scene.source, scene.target))
        shift = view.target_at[:2] - view.source_at[:2] - (view.arm.target.position - view.arm.tcp.position)[:2]
        height = self._travel_height(view)
        if np.abs(shift).max() <= 0.75 * self._step:
            bottom = scene.source.pose.position[2] - self._half_height(scene.source) - view.arm.tcp.position[2]
            down = view.target_top + RELEASE_GAP - bottom - view.arm.target.position[2]
            down = min(0.0, np.ceil(down / self._step - 1e-6) * self._step)
            rows = [_row(0, 0, down, CLOSED), _row(0, 0, 0, CLOSED), _row(0, 0, 0, OPEN)]
            return plan_words.lower(name, goal), rows
        if self._is_low(view):
            return plan_words.lift(name), [self._up_to(view, height, CLOSED)]
        row = _row(shift[0], shift[1], 0, CLOSED)
        return plan_words.carry(name, plan_words.horizontal(row), goal), [row, _row(0, 0, 0, CLOSED)]

    # Geometry.

    @property
    def _step(self) -> float:
        return self._format.resolution.translation

    @property
    def _turn(self) -> float:
        return float(np.radians(self._format.resolution.rotation))

    def _to_hover(self, view: _View) -> tuple[np.ndarray, float]:
        """(shift in x, y [m], turn about z [rad]) that bring the open gripper over the object, across its long side."""
        angle, part = APPROACHES[self._attempts % len(APPROACHES)]
        along = _heading(view.source.pose.quaternion, axis=0)
        aside = part * view.source.extents[0] * np.array([np.cos(along), np.sin(along), 0.0])
        shift = view.source_at + aside - view.arm.target.position
        opening = _heading(view.arm.target.quaternion, axis=1)
        length, width = view.source.extents[:2]
        # The fingers close across the shorter side; a square object may be taken either way.
        across = _heading(view.source.pose.quaternion, axis=1 if length >= width else 0) + angle
        period = np.pi / 2 if abs(length - width) < 0.003 else np.pi
        turn = (across - opening + period / 2) % period - period / 2
        return shift, float(turn)

    def _half_height(self, body: Body) -> float:
        return float(body.extents[2] / 2)

    def _grasp_height(self, view: _View) -> float:
        """[m] of the TCP: a little below the object's middle, the tips clear of what it lies on."""
        middle = view.source.pose.position[2]
        surface = middle - self._half_height(view.source)
        return max(middle - GRASP_DEPTH, surface + self._arm.gripper.fingertip + TIP_GAP)

    def _travel_height(self, view: _View) -> float:
        """[m] of the TCP: that of the arm's home, from which everything on the stage lies below."""
        return view.arm.target.position[2] if self._height is None else self._height

    def _is_low(self, view: _View) -> bool:
        return view.arm.target.position[2] < self._travel_height(view) - 1.5 * self._step

    def _up_to(self, view: _View, height: float, gripper: float) -> np.ndarray:
        return _row(0, 0, max(self._step, height - view.arm.target.position[2]), gripper)

    def _is_placed(self, view: _View) -> bool:
        offset = view.source_at - view.target_at
        return bool(np.linalg.norm(offset[:2]) < 0.04 and 0 < offset[2] < 0.07)

    def _is_clear(self, view: _View) -> bool:
        return view.arm.tcp.position[2] - view.source.pose.position[2] > 0.06


def _row(dx: float, dy: float, dz: float, gripper: float, *, turn: float = 0.0) -> np.ndarray:
    """(7,) as in `types.ACTION_SIZE`, no further than `REACH`; `turn` [rad] about +z."""
    return np.array([*np.clip([dx, dy, dz], -REACH, REACH), 0.0, 0.0, turn, gripper])


def _heading(quaternion: np.ndarray, *, axis: int) -> float:
    """[rad] direction, seen from above, of a body's x (0) or y (1) axis."""
    w, x, y, z = quaternion
    if axis == 0:
        return float(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)))
    return float(np.arctan2(1 - 2 * (x * x + z * z), 2 * (x * y - w * z)))


FACTORY = PolicyFactory(make, takes_noise=True, needs_truth=True)
"""The policy "scripted"."""
