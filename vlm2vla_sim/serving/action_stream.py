"""The control steps of a policy's decisions, a few at a time, for one client of a server."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.policies.base import Policy, close_policy, decide, provenance


@dataclass(frozen=True, eq=False)
class ActionResponse:
    """The response to one request."""

    steps: np.ndarray
    """(T >= 1, 7) float32 as `types.ACTION_SIZE`, one row for each control step."""
    text: dict[str, Any]
    """Plain values: "subtask", "plan", "action", "error", "parse_failures", and "truncations" if there are any; or only
    "done" and "ended"."""


class ActionStream:
    """A policy, and the control steps of its last decision that have not been sent yet."""

    def __init__(self, policy: Policy, *, rows: int) -> None:
        """rows: steps in a response, 0 for all steps of a decision. Missing steps are filled with holding still."""
        self._policy, self._rows = policy, rows
        self._executor = Executor()
        self._steps: deque[np.ndarray] = deque()
        self._text: dict[str, Any] = {}
        self._started = False

    @property
    def provenance(self) -> dict[str, Any]:
        """What the policy really uses, for clients: as `policies.base.provenance`, without this machine's folders."""
        return _without_folders(provenance(self._policy))

    def reset(self, instruction: str, seed: int) -> None:
        """Start an episode."""
        self._steps.clear()
        self._text, self._started = {}, False
        self._policy.reset(instruction, seed)

    def next(self, observation: dict[str, Any]) -> ActionResponse:
        """The next steps, given the latest observation; the policy decides when none are left."""
        if not self._started:
            self._executor.reset(observation.get("agent_pos"))
            self._started = True
        if self._text.get("done"):
            return ActionResponse(self._fill([]), self._text)
        if not self._steps:
            self._decide(observation)
        taken = [self._steps.popleft() for _ in range(min(len(self._steps), self._rows or len(self._steps)))]
        text = self._text
        if "parse_failures" in text:
            # The failures of a decision are reported once.
            self._text = {key: value for key, value in text.items() if key != "truncations"} | {"parse_failures": 0}
        return ActionResponse(self._fill(taken), text)

    def close(self) -> None:
        """Release what the policy holds."""
        close_policy(self._policy)

    def _decide(self, observation: dict[str, Any]) -> None:
        decision = decide(self._policy, observation)
        if decision is None:
            self._text = {"done": True, "ended": str(getattr(self._policy, "ended", ""))}
            return
        self._text = {
            "subtask": decision.subtask,
            "plan": decision.plan,
            "action": decision.action,
            "error": decision.error if decision.chunk is None else "",
            "parse_failures": decision.parse_failures,
        }
        if cut_off := sum(stage.finish == "length" for stage in decision.stages):
            self._text["truncations"] = cut_off
        self._steps.extend(step.action for step in self._executor.steps(decision.chunk))

    def _fill(self, steps: list[np.ndarray]) -> np.ndarray:
        # Once the last step is taken, the gripper stays as that step left it.
        still = self._executor.hold() if not steps else np.concatenate([np.zeros(6), steps[-1][6:]])
        missing = max(self._rows, 1) - len(steps)
        return np.array([*steps, *[still] * missing], np.float32)


def _without_folders(value: Any) -> Any:
    """`value` with the last part of each absolute path instead of the path."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
