"""The live state of a session, as small files: the latest image, the policy's text, the open question.

The process that moves the arm is not a web server, because a browser that hangs must not delay the arm. It replaces
files atomically, and `vlm2vla watch` serves them.
"""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from PIL import Image

from vlm2vla_sim.core.atomic import write_bytes, write_text
from vlm2vla_sim.evaluation.operator.stop import StopFile

if TYPE_CHECKING:
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
    "stop",
)
"""Keys of `state.json`, besides "info", those of `_TIMES`, "stops", and "pid" and "host" of the session's process.

"phase" is "starting", "resetting" (the arm drives to its start), "scene", "running", "thinking", "judge" or "over";
"stop" says that a stop was received, or has taken effect; "stops" counts how often it was set.
"""
_TIMES = ("time", "since", "begun", "thought")
"""When the state was written, when its phase began, when the policy began the episode [s since 1970]; and for how long
it has thought in this episode, without the thought that it is in [s]. Null where there is none."""


class LiveView:
    """Writes `live/` in a session's folder. What cannot be written is said once; the session goes on without it."""

    def __init__(self, run: Path, *, say: Callable[[str], None] = lambda text: None) -> None:
        self.path = run / FOLDER
        self._say = say
        self._lock = threading.Lock()
        self._broken = False
        self._state: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "stops": 0}
        self._state |= dict.fromkeys(FIELDS, "") | dict.fromkeys(_TIMES)
        self._try(StopFile(self.path / StopFile.NAME).create)
        self.update(phase="starting")

    @property
    def buttons(self) -> Path:
        """The file that button presses are appended to."""
        return self.path / BUTTONS

    def update(self, **changes: Any) -> None:
        """Change the state; keys as in `FIELDS`, and "info". May be called from any thread."""
        with self._lock:
            now, phase, since = time.time(), self._state["phase"], self._state["since"]
            if changes.get("phase", phase) != phase:
                if phase == "thinking":
                    self._state["thought"] = (self._state["thought"] or 0.0) + now - since
                self._state["since"] = now
            self._state["stops"] += "stop" in changes
            self._state |= changes | {"time": now}
            text = json.dumps(self._state, ensure_ascii=False)
            self._try(lambda: write_text(self.path / STATE, text, sync=False))

    def show(self, image: np.ndarray, name: str = FRAME) -> None:
        """Replace an image, (H, W, 3) uint8 RGB."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=85)
        self._try(lambda: write_bytes(self.path / name, buffer.getvalue(), sync=False))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if not self._broken:
                self._say(f"The live view {self.path} cannot be written: {error.strerror}. The session goes on.")
            self._broken = True


class LiveViewWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Shows every step in a `LiveView`."""

    def __init__(self, env: gym.Env[Any, Any], live: LiveView) -> None:
        super().__init__(env)
        self._live = live
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        self._live.update(phase="resetting", question="")
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps = 0
        self._publish(observation, info)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
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
    """A policy of which a `LiveView` shows whether it thinks and, unless the session is blind, what it writes."""

    def __init__(self, policy: Policy, live: LiveView, *, text: bool) -> None:
        """text: whether its text is shown; a policy may be recognised by it."""
        self._policy, self._live, self._text = policy, live, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def reset(self, instruction: str, seed: int = 0) -> None:
        """As the policy's."""
        # In two steps: what an earlier episode thought is not added to this one's.
        self._live.update(phase="thinking", instruction=instruction, subtask="", plan="", action="")
        self._live.update(begun=time.time(), thought=0.0)
        self._policy.reset(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """As the policy's."""
        self._live.update(phase="thinking")
        decision = self._policy.act(observation)
        shown = {} if decision is None or not self._text else _texts(decision)
        self._live.update(phase="running", **shown)
        return decision


def _texts(decision: Decision) -> dict[str, str]:
    return {"subtask": decision.subtask, "plan": decision.plan, "action": decision.action}


def _describe(action: np.ndarray) -> str:
    x, y, z = 100 * np.asarray(action[:3], dtype=float)
    return f"dx {x:+.1f}, dy {y:+.1f}, dz {z:+.1f} cm, gripper {'open' if action[6] > 0.5 else 'closed'}"
