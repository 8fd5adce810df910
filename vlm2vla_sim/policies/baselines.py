"""The policies "hold" and "random": lower bounds, one that does not move and one that writes random small motions.

They tell a weak policy from an easy task, and a broken loop from a weak policy. Their text goes through the same parser
as a model's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.formats.properties import in_pieces, read_action, write_action
from vlm2vla_sim.policies import PolicyFactory
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.types import Decision

STAY = np.array([[0, 0, 0, 0, 0, 0, 1]], np.float32)
"""(1, 7) as `ActionChunk.deltas`: no motion, gripper open, which is how an episode starts."""

MAX_MOVE = 0.05
"""[m] the largest random motion on an axis: one step of the arm."""
MAX_TURN = np.deg2rad(15)
"""[rad] the largest random rotation about the vertical."""


class HoldPolicy:
    """Does not move until the episode is over."""

    def __init__(self, action_format: ActionFormat, pose: CommandedPose | None = None) -> None:
        self._format, self._commanded = action_format, pose or CommandedPose()

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode; the instruction does not matter."""
        self._commanded.reset()

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """One row that moves nothing."""
        said = {"subtask": "do nothing", "plan": "stay where you are"}
        return to_decision(STAY, self._format, **said, pose=self._commanded.now(observation))


class RandomPolicy:
    """Writes one to three random rows at a time: up to 5 cm on each axis, up to 15 degrees, gripper open or closed."""

    def __init__(self, action_format: ActionFormat, pose: CommandedPose | None = None) -> None:
        self._format, self._commanded = action_format, pose or CommandedPose()
        self._rng = np.random.default_rng(0)

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode; all motions follow from `seed`."""
        self._commanded.reset()
        self._rng = np.random.default_rng(seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next random motion."""
        rows = np.zeros((self._rng.integers(1, 4), 7), np.float32)
        rows[:, :3] = self._rng.uniform(-MAX_MOVE, MAX_MOVE, (len(rows), 3))
        rows[:, 5] = self._rng.uniform(-MAX_TURN, MAX_TURN, len(rows))
        rows[:, 6] = self._rng.integers(0, 2)
        said = {"subtask": "move about at random", "plan": "no plan"}
        decision = to_decision(rows, self._format, **said, pose=self._commanded.now(observation))
        self._commanded.said(decision.chunk)
        return decision


def to_decision(
    rows: np.ndarray, action_format: ActionFormat, *, subtask: str, plan: str, pose: np.ndarray | None = None
) -> Decision:
    """The decision with `rows` written as text and parsed again, so that the arm executes what the text means.

    In a format that says less at a time, it is as much of them as one text can say.

    rows: (T, 7) float32 as `ActionChunk.deltas`. pose: (7,) as `formats.properties.POSE_SIZE`; None if unknown.
    """
    first = in_pieces(action_format, rows, gripper=1.0 if pose is None else float(pose[6]))[0]
    text = write_action(action_format, first, pose)
    return Decision(subtask=subtask, plan=plan, action=text, chunk=read_action(action_format, text, pose))


HOLD = PolicyFactory(lambda context: HoldPolicy(context.action_format, CommandedPose(context.robot, context.arm)))
"""The policy "hold"."""
RANDOM = PolicyFactory(lambda context: RandomPolicy(context.action_format, CommandedPose(context.robot, context.arm)))
"""The policy "random"."""
