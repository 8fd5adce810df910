"""LanguageActions: an environment whose action is a sentence.

It is the shortest way to try what a model would say: `env.step("move forward 3 cm, close gripper")`. The words go
through the same reader and the same motion as in a rollout, so what works here works there.
"""

from __future__ import annotations

import string
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import Observation, WidowXEnv
from vlm2vla_sim.errors import ActionTextError, EpisodeError, unknown_name
from vlm2vla_sim.language.formats import ActionFormat, get_format

MAX_CHARACTERS = 20_000
UNREADABLE = ("raise", "hold")


class LanguageActions(gym.Wrapper[Observation, Any, Observation, Any]):  # Gymnasium below 1.4 wants all four
    """Takes action text, carries out all the motion it means, and returns what is seen afterwards."""

    def __init__(
        self,
        env: gym.Env[Observation, np.ndarray],
        action_format: str | ActionFormat = "prose",
        *,
        unreadable: str = "raise",
        limits: motion.StepLimits | None = None,
    ) -> None:
        """Wrap a `WidowXEnv` (wrapped or not).

        action_format: a name of `language.formats.FORMATS` or a format of your own. unreadable: what a sentence that
        cannot be read does: "raise" ActionTextError, or "hold" still for one control step, the reason in
        info["parse_error"]. limits: how a row is split into steps.
        """
        super().__init__(env)
        if unreadable not in UNREADABLE:
            raise unknown_name("way to treat unreadable text", unreadable, UNREADABLE)
        if not isinstance(env.unwrapped, WidowXEnv):
            raise EpisodeError(f"LanguageActions wraps a WidowXEnv; it was given {type(env.unwrapped).__name__}.")
        self.action_format = get_format(action_format) if isinstance(action_format, str) else action_format
        # Not the default alphabet, which has no space.
        self.action_space = spaces.Text(
            max_length=MAX_CHARACTERS, min_length=0, charset=string.printable + "\u2212\u00b0"
        )
        self._unreadable = unreadable
        self._limits = limits or motion.StepLimits()
        self._gripper = 1.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the gripper is open."""
        self._gripper = 1.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Read `action` and carry it out, until done or the episode ends.

        The reward is that of the last control step. info gains "steps" (control steps made), "clipped" (whether any of
        them was), and "parse_error" (empty when the words were read).
        """
        error = ""
        try:
            steps = list(
                motion.split(self.action_format.read(action).deltas, gripper=self._gripper, limits=self._limits)
            )
        except ActionTextError as unreadable:
            if self._unreadable == "raise":
                raise
            error = str(unreadable)
            steps = [np.array([0, 0, 0, 0, 0, 0, self._gripper], np.float32)]
        made, clipped = 0, False
        while True:
            observation, reward, terminated, truncated, info = self.env.step(steps[made])
            self._gripper = float(steps[made][6])
            made += 1
            clipped |= info["clipped"]
            if terminated or truncated or made == len(steps):
                break
        info |= {"steps": made, "clipped": clipped, "parse_error": error}
        return observation, float(reward), terminated, truncated, info
