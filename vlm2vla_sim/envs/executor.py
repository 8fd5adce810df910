"""From a decision to the control steps that carry it out.

Rollouts, servers and `LanguageActions` all execute decisions here, so that the same decision means the same steps
wherever it is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.envs import motion
from vlm2vla_sim.types import ActionChunk


@dataclass(frozen=True, eq=False)
class ControlStep:
    """One action for `WidowXEnv.step`, and the row of the chunk it belongs to."""

    action: np.ndarray
    """(7,) float32, see `types.ACTION_SIZE`."""
    row: int
    """Index into `ActionChunk.deltas`; -1 for a step that holds still."""


class Executor:
    """Splits chunks into control steps, and keeps what the gripper was last told."""

    def __init__(self, limits: motion.StepLimits | None = None) -> None:
        """limits: how a row is split into steps."""
        self._limits = limits or motion.StepLimits()
        self.gripper = 1.0
        """What the gripper was last told: 0 closed .. 1 open."""

    def reset(self, agent_pos: np.ndarray | None = None) -> None:
        """Start an episode. agent_pos: (7,) as `Robot.agent_pos`; without it the gripper counts as open."""
        self.gripper = 1.0 if agent_pos is None else float(agent_pos[6] > 0.5)

    def steps(self, chunk: ActionChunk | None) -> Iterator[ControlStep]:
        """The steps of `chunk`, one after the other; a single step that holds still where there is none.

        The gripper counts as told once the step that tells it has been taken from the iterator.
        """
        if chunk is None:
            yield ControlStep(self.hold(), -1)
            return
        for number, row in enumerate(chunk.deltas):
            how = {"gripper": self.gripper, "limits": self._limits, "least": chunk.row_steps}
            steps = [row] if chunk.stepwise else motion.split(row[None], **how)
            for step in steps:
                self.gripper = float(step[6])
                yield ControlStep(np.asarray(step, np.float32), number)

    def hold(self) -> np.ndarray:
        """(7,) float32: no motion, the gripper as it was last told."""
        return np.array([0, 0, 0, 0, 0, 0, self.gripper], np.float32)
