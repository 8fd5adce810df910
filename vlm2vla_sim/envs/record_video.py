"""Records every control step with Gymnasium's `RecordVideo` around an environment whose step is many control steps.

`RecordVideo` asks for an image once a step, and of a list of images it keeps the last (Gymnasium 1.1 to 1.4,
`wrappers/rendering.py`, `_capture_frame`). A wrapper does not know what is around it, so the recorder is found on the
call stack.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import RecordVideo


def recorders_around(env: gym.Env[Any, Any]) -> list[RecordVideo]:
    """The `RecordVideo` wrappers around `env` that are being stepped or reset right now, from the inside out."""
    found: list[RecordVideo] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, RecordVideo) and owner not in found and _wraps(owner, env):
            found.append(owner)
        frame = frame.f_back
    return found


def add_frame(recorders: list[RecordVideo], env: gym.Env[Any, Any]) -> None:
    """Append the current image of `env`, (H, W, 3) uint8 RGB, to the video of every recorder that is recording."""
    for recorder in recorders:
        if not recorder.recording or len(recorder.recorded_frames) >= recorder.video_length:
            continue
        # A wrapper that collects images (render mode "rgb_array_list") gives each of them out once.
        image = env.render() if env.render_mode == "rgb_array" else env.unwrapped.render()
        if isinstance(image, np.ndarray):
            recorder.recorded_frames.append(image)


def _wraps(wrapper: gym.Wrapper[Any, Any, Any, Any], env: gym.Env[Any, Any]) -> bool:
    inner: gym.Env[Any, Any] = wrapper
    while isinstance(inner, gym.Wrapper):
        inner = inner.env
        if inner is env:
            return True
    return False
