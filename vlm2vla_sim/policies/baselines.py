"""Two lower bounds: a policy that stays where it is, and one that says random small motions.

Without them nobody can tell a policy that has learned little from a task that is easy, or a broken loop from a weak
policy. Both speak: their words go through the same reader as a model's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.policies import PolicyFactory
from vlm2vla_sim.types import Decision

STAY = np.array([[0, 0, 0, 0, 0, 0, 1]], np.float32)
"""(1, 7) as `ActionChunk.deltas`: no motion, gripper open, which is how an episode starts."""

LONGEST = 0.05
"""[m] per axis: the farthest a random row goes, one step of the arm."""
WIDEST = np.deg2rad(15)
"""[rad] the largest random turn about the vertical."""


class HoldPolicy:
    """Says "stay" until the episode is over."""

    def __init__(self, action_format: ActionFormat) -> None:
        self._format = action_format

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Nothing to prepare: it holds whatever the instruction."""

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """One row that moves nothing."""
        return say(STAY, self._format, subtask="do nothing", plan="stay where you are")


class RandomPolicy:
    """Says one to three random rows at a time: up to 5 cm along each axis, up to 15 degrees, gripper either way."""

    def __init__(self, action_format: ActionFormat) -> None:
        self._format = action_format
        self._rng = np.random.default_rng(0)

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start over; everything it says follows from `seed`."""
        self._rng = np.random.default_rng(seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next random words."""
        rows = np.zeros((self._rng.integers(1, 4), 7), np.float32)
        rows[:, :3] = self._rng.uniform(-LONGEST, LONGEST, (len(rows), 3))
        rows[:, 5] = self._rng.uniform(-WIDEST, WIDEST, len(rows))
        rows[:, 6] = self._rng.integers(0, 2)
        return say(rows, self._format, subtask="move about at random", plan="no plan")


def say(rows: np.ndarray, action_format: ActionFormat, *, subtask: str, plan: str) -> Decision:
    """`rows` put into words and read back, so that what moves the arm is what the words mean.

    rows: (T, 7) float32 as `ActionChunk.deltas`.
    """
    words = action_format.write(rows)
    return Decision(subtask=subtask, plan=plan, action=words, chunk=action_format.read(words))


HOLD = PolicyFactory(lambda context: HoldPolicy(context.action_format))
"""The policy "hold"."""
RANDOM = PolicyFactory(lambda context: RandomPolicy(context.action_format))
"""The policy "random"."""
