"""`LanguageActions`: an environment whose action is a sentence.

It is the shortest way to try what a language model would write: `env.step("move forward 3 cm")`. The sentence is read
and executed as in a rollout (`envs.executor`).
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.envs.record_video import add_frame, recorders_around
from vlm2vla_sim.errors import ActionTextError, EpisodeError, SettingError, unknown_name
from vlm2vla_sim.language.formats import ActionFormat, get_format, properties_of
from vlm2vla_sim.types import ActionChunk, Pose

MAX_CHARACTERS = 20_000
UNREADABLE = ("raise", "hold")
SETTLE = 4
"""Control steps. On the twin the distance to the target halves with every step, and all free motions of up to 15 cm and
90 degrees come within ARRIVED_CM and ARRIVED_DEGREES in 0 to 4 steps (measured for 18 sentences on table and sink)."""
ARRIVED_CM, ARRIVED_DEGREES = 0.2, 2.0
"""The arm has arrived when it is this near its target."""
STUCK_CM, STUCK_DEGREES = 0.03, 0.3
"""The arm has stopped when it moved less than this in a control step."""


class LanguageActions(gym.Wrapper[Any, Any, Any, np.ndarray], gym.utils.RecordConstructorArgs):
    """Reads an action text, carries out all the motion in it, and returns the observation afterwards.

    `step` makes several control steps; `gymnasium.wrappers.RecordVideo` around it records each of them.
    """

    def __init__(
        self,
        env: gym.Env[Any, np.ndarray],
        action_format: str | ActionFormat = "prose",
        *,
        unreadable: str = "raise",
        limits: motion.StepLimits | None = None,
        settle: int = SETTLE,
    ) -> None:
        """Wrap a `WidowXEnv`.

        Args:
            env: a `WidowXEnv`, wrapped or not.
            action_format: a name of `language.formats.FORMATS`, or a format of your own.
            unreadable: what a text that cannot be read does: "raise" ActionTextError, or "hold" still for one control
                step with the reason in info["parse_error"].
            limits: how a row of motion is split into control steps.
            settle: largest number of control steps that `step` holds still after the motion, until the arm has arrived
                (within 2 mm and 2 degrees of its target) or stopped. They count toward the length of the episode. With
                0, as in a rollout, the arm lags behind: it finishes the motion during the next sentence.
        """
        gym.utils.RecordConstructorArgs.__init__(
            self, action_format=action_format, unreadable=unreadable, limits=limits, settle=settle
        )
        gym.Wrapper.__init__(self, env)
        if unreadable not in UNREADABLE:
            raise unknown_name("way to treat unreadable text", unreadable, UNREADABLE)
        if isinstance(settle, bool) or not isinstance(settle, (int, np.integer)) or settle < 0:
            raise SettingError(f"settle is {settle!r}; expected a whole number of control steps, 0 or more.")
        if not isinstance(env.unwrapped, WidowXEnv):
            raise EpisodeError(f"LanguageActions wraps a WidowXEnv; it was given {type(env.unwrapped).__name__}.")
        self.action_format = get_format(action_format) if isinstance(action_format, str) else action_format
        self.action_space = spaces.Text(
            # The default alphabet has no space.
            max_length=MAX_CHARACTERS,
            min_length=0,
            charset=string.printable + "\u2212\u00b0",
        )
        self._widowx: WidowXEnv = env.unwrapped
        self._takes_gripper = "gripper" in inspect.signature(self.action_format.read).parameters
        self._unreadable = unreadable
        self._settle = int(settle)
        self._executor = Executor(limits)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see `WidowXEnv.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._executor.reset()
        self._executor.gripper = float(self._widowx.status.robot.gripper > 0.5)
        return observation, info

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Read `action` and carry it out, until it is done or the episode ends.

        In the format "prose" a sentence that does not mention the gripper leaves it as it is. The reward is that of the
        last control step. Keys that are added to info:

        - "steps": control steps made, those of settling included, and "settle_steps", those of settling alone;
        - "clipped": whether any of them was clipped;
        - "parse_error": why the text could not be read, or "";
        - "remaining_cm", "remaining_degrees": what is left to the controller's target, in position and rotation. More
          than 0.2 cm or 2 degrees: the arm is blocked or out of reach, or `settle` is too short.

        Raises:
            ActionTextError: the text cannot be read, and `unreadable` is "raise". The arm has not moved.
        """
        error = ""
        try:
            chunk = self._read(action)
        except ActionTextError as unreadable:
            if self._unreadable == "raise":
                raise
            chunk, error = None, str(unreadable)
        recorders = recorders_around(self)
        controls = self._control_steps(chunk)
        result = self.env.step(next(controls)[0])
        made, settling, clipped = 1, 0, result[4]["clipped"]
        while not (result[2] or result[3]) and (following := next(controls, None)) is not None:
            add_frame(recorders, self.env)  # of the step before; RecordVideo records that of the last one
            result = self.env.step(following[0])
            made, settling, clipped = made + 1, settling + following[1], clipped or result[4]["clipped"]
        observation, reward, terminated, truncated, info = result
        distance, angle = self._remaining()
        info |= {"steps": made, "settle_steps": settling, "clipped": clipped, "parse_error": error}
        info |= {"remaining_cm": round(distance, 3), "remaining_degrees": round(angle, 2)}
        return observation, float(reward), terminated, truncated, info

    def _read(self, text: str) -> ActionChunk:
        known: dict[str, Any] = {"gripper": self._executor.gripper} if self._takes_gripper else {}
        if properties_of(self.action_format).needs_pose:
            target = self._widowx.spec_task.arm.pose_to_numbers(self._widowx.status.robot.target)
            known["pose"] = np.array([*target, self._executor.gripper])
        return self.action_format.read(text, **known)

    def _control_steps(self, chunk: ActionChunk | None) -> Iterator[tuple[np.ndarray, bool]]:
        """The actions for the inner environment and whether each is one of settling, each after the one before ran."""
        for step in self._executor.steps(chunk):
            yield step.action, False
        before: Pose | None = None
        for _ in range(self._settle if chunk is not None else 0):
            distance, angle = self._remaining()
            if distance <= ARRIVED_CM and angle <= ARRIVED_DEGREES:
                return
            now = self._widowx.status.robot.tcp
            if before is not None:
                moved, turned = difference(before, now)
                if moved < STUCK_CM and turned < STUCK_DEGREES:
                    return
            before = now
            yield self._executor.hold(), True

    def _remaining(self) -> tuple[float, float]:
        robot = self._widowx.status.robot
        return difference(robot.tcp, robot.target)


def difference(first: Pose, second: Pose) -> tuple[float, float]:
    """Distance [cm] and angle [degrees] between two poses."""
    turn = quaternion_to_matrix(first.quaternion).T @ quaternion_to_matrix(second.quaternion)
    cosine = float(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    return 100 * float(np.linalg.norm(first.position - second.position)), float(np.degrees(np.arccos(cosine)))
