"""The live state of a session, as small files: the latest image, the policy's text, the open question.

The process that moves the arm is not a web server, because a browser that hangs must not delay the arm. It replaces
files atomically, and `vlm2vla watch` serves them.
"""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from PIL import Image

from vlm2vla_sim.core.atomic import write_bytes, write_text
from vlm2vla_sim.errors import EpisodeAbortedError

if TYPE_CHECKING:
    from vlm2vla_sim.evaluation.operator.prompts import Operator
    from vlm2vla_sim.policies.base import Policy
    from vlm2vla_sim.types import Decision

FOLDER, STATE, FRAME, WANTED, BUTTONS = "live", "state.json", "frame.jpg", "wanted.jpg", "buttons.jsonl"
FIELDS = (
    "phase",
    "episode",
    "episodes",
    "who",
    "instruction",
    "subtask",
    "plan",
    "action",
    "motion",
    "step",
    "question",
)
"""Keys of `state.json`, besides "info" and "time"."""


class LiveView:
    """Writes `live/` in a session's folder."""

    def __init__(self, run: Path) -> None:
        self.path = run / FOLDER
        self.path.mkdir(parents=True, exist_ok=True)
        self._state: dict[str, Any] = dict.fromkeys(FIELDS, "")
        self.update(phase="starting")

    @property
    def buttons(self) -> Path:
        """The file that button presses are appended to."""
        return self.path / BUTTONS

    def update(self, **changes: Any) -> None:
        """Change the state; keys as in `FIELDS`, and "info"."""
        self._state |= changes | {"time": time.time()}
        write_text(self.path / STATE, json.dumps(self._state, ensure_ascii=False), sync=False)

    def show(self, image: np.ndarray, name: str = FRAME) -> None:
        """Replace an image, (H, W, 3) uint8 RGB."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=85)
        write_bytes(self.path / name, buffer.getvalue(), sync=False)


class LiveViewWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Shows every step in a `LiveView`, and ends the episode when the operator presses Stop."""

    def __init__(self, env: gym.Env[Any, Any], live: LiveView, operator: Operator) -> None:
        super().__init__(env)
        self._live, self._operator = live, operator
        self.episode = 0
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps = 0
        self._publish(observation, info)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's; EpisodeAbortedError when the operator has pressed Stop."""
        if self._operator.asked_to_stop(self.episode):
            raise EpisodeAbortedError("The operator pressed stop.")
        result = self.env.step(action)
        self._steps += 1
        self._live.update(motion=_describe(action))
        self._publish(result[0], result[4])
        return result

    def _publish(self, observation: Any, info: dict[str, Any]) -> None:
        self._live.show(observation["pixels"]["primary"])
        plain = {
            key: value for key, value in info.items() if isinstance(value, (bool, int, float, str)) and key != "server"
        }
        self._live.update(step=self._steps, info=plain)


class ReportingPolicy:
    """A policy whose text is shown in a `LiveView` as it is written."""

    def __init__(self, policy: Policy, live: LiveView) -> None:
        self._policy, self._live = policy, live

    def reset(self, instruction: str, seed: int = 0) -> None:
        """As the policy's."""
        self._live.update(instruction=instruction, subtask="", plan="", action="")
        self._policy.reset(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """As the policy's."""
        decision = self._policy.act(observation)
        if decision is not None:
            self._live.update(subtask=decision.subtask, plan=decision.plan, action=decision.action)
        return decision


def _describe(action: np.ndarray) -> str:
    x, y, z = 100 * np.asarray(action[:3], dtype=float)
    return f"dx {x:+.1f}, dy {y:+.1f}, dz {z:+.1f} cm, gripper {'open' if action[6] > 0.5 else 'closed'}"
