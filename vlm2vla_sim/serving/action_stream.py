"""One client's episode with a policy of ours: its decisions, as the control steps that carry them out.

The same decision has to mean the same steps here as in `rollout.py`, or a score from somebody else's harness would be
the score of another policy.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.envs import motion
from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.policies.base import Policy, close_policy
from vlm2vla_sim.types import Decision


@dataclass(frozen=True, eq=False)
class Move:
    """What is answered to one question."""

    steps: np.ndarray
    """(T >= 1, 7) float32 as `types.ACTION_SIZE`, one row for each control step."""
    words: dict[str, Any]
    """Plain values: "subtask", "plan", "action", "error", "parse_failures"; or "done" and "ended"."""


class Session:
    """A policy, and the steps of its last decision that have not been asked for yet."""

    def __init__(self, policy: Policy, *, rows: int) -> None:
        """rows: steps in an answer; 0 for all those of a decision. Too few are filled up with standing still."""
        self._policy, self._rows = policy, rows
        self._limits = motion.StepLimits()
        self._steps: deque[np.ndarray] = deque()
        self._words: dict[str, Any] = {}
        self._gripper: float | None = None

    def reset(self, instruction: str, seed: int) -> None:
        """Start an episode."""
        self._steps.clear()
        self._words, self._gripper = {}, None
        self._policy.reset(instruction, seed)

    def next(self, observation: dict[str, Any]) -> Move:
        """The next steps, given the latest observation; the policy is asked when none are left."""
        if self._gripper is None:
            seen = observation.get("agent_pos")
            self._gripper = 1.0 if seen is None else float(seen[6] > 0.5)
        if self._words.get("done"):
            return Move(self._fill([]), self._words)
        if not self._steps:
            self._decide(observation)
        taken = [self._steps.popleft() for _ in range(min(len(self._steps), self._rows or len(self._steps)))]
        words = self._words
        if "parse_failures" in words:
            self._words = words | {"parse_failures": 0}  # a decision's failures are told once
        return Move(self._fill(taken), words)

    def close(self) -> None:
        """Release what the policy holds."""
        close_policy(self._policy)

    # Parts.

    def _decide(self, observation: dict[str, Any]) -> None:
        try:
            decision = self._policy.act(observation)
        except ActionTextError as error:
            decision = Decision("", "", "", chunk=None, parse_failures=1, error=str(error))
        if decision is None:
            self._words = {"done": True, "ended": str(getattr(self._policy, "ended", ""))}
            return
        self._words = {"subtask": decision.subtask, "plan": decision.plan, "action": decision.action}
        if decision.chunk is None:
            failures = max(decision.parse_failures, 1)
            why = decision.error or "The action text could not be read."
            self._words |= {"error": why, "parse_failures": failures}
            self._steps.append(self._still())
            return
        self._words |= {"error": "", "parse_failures": decision.parse_failures}
        assert self._gripper is not None
        rows = decision.chunk.deltas
        split = motion.split(rows, gripper=self._gripper, limits=self._limits)
        self._steps.extend(rows if decision.chunk.stepwise else split)
        self._gripper = float(rows[-1][6])

    def _fill(self, steps: list[np.ndarray]) -> np.ndarray:
        # Once the last step is taken, the gripper stays as that step left it.
        still = self._still() if not steps else np.concatenate([np.zeros(6), steps[-1][6:]])
        missing = max(self._rows, 1) - len(steps)
        return np.array([*steps, *[still] * missing], np.float32)

    def _still(self) -> np.ndarray:
        return np.array([0, 0, 0, 0, 0, 0, self._gripper], np.float32)
