"""The environment as `lerobot-eval` drives it: its names of observations, seeds that count SIMPLER's episodes.

Read by LeRobot of an environment (lerobot 0.4.4 and 0.6.1, scripts/lerobot_eval.py rollout, envs/utils.py): `pixels`
and `agent_pos` of an observation; `is_success` of info; the attributes `task`, `task_description` and
`_max_episode_steps` of the outermost wrapper.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.policies.remote.convert import check_rows, read_deltas
from vlm2vla_sim.policies.remote.observations import write_proprio

ENV_ID = "vlm2vla_lerobot/WidowX-v0"
NEW_ROLLOUT = "lerobot_new_rollout"
"""The option with which lerobot 0.6 marks the resets of its own (0.6.1 envs/utils.py:183)."""


class LeRobotEpisodes(gym.Wrapper[dict[str, Any], np.ndarray, dict[str, Any], np.ndarray]):
    """A `WidowXEnv` with a step limit, for `lerobot-eval`.

    With layouts "grid", the seed N starts SIMPLER's episode N modulo 24, so that 24 episodes of an evaluation are all
    of them. Success is that of the last step, SIMPLER's official rule.
    """

    def __init__(self, env: WidowXEnv, *, camera: str, convention: str) -> None:
        """camera: what the image is called. convention: of states and actions, one of "lerobot" in `conventions`."""
        self._convention = find_convention("lerobot", convention)
        self.inner = env
        super().__init__(TimeLimit(env, env.spec_task.max_steps))
        self._camera = camera
        image = env.observation_space["pixels"]["primary"]  # type: ignore[index]
        size = write_proprio(np.zeros(7), self._convention).shape
        state = spaces.Box(-np.inf, np.inf, size, np.float32)
        # What is too large is limited by the environment, as in our own evaluation.
        self.action_space = spaces.Box(-np.inf, np.inf, (self._convention.width,), np.float32)
        self.observation_space = spaces.Dict({"pixels": spaces.Dict({camera: image}), "agent_pos": state})

    @property
    def task(self) -> str:
        """The task's name."""
        return self.inner.task

    @property
    def task_description(self) -> str:
        """The instruction."""
        return self.inner.task_description

    @property
    def _max_episode_steps(self) -> int:
        return self.inner.spec_task.max_steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without one, any. options: as in `WidowXEnv.reset`."""
        options = {key: value for key, value in (options or {}).items() if key != NEW_ROLLOUT}
        if seed is not None and self.inner.layouts == "grid" and "layout" not in options:
            options.setdefault("episode_id", seed % len(self.inner.spec_task.layouts))
        observation, info = self.env.reset(seed=seed, options=options)
        return self._observation(observation), self._info(info)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Make one control step. action: (7,) in the convention."""
        (delta,) = read_deltas(check_rows(action, self._convention), self._convention)
        observation, reward, terminated, truncated, info = self.env.step(delta.astype(np.float32))
        return self._observation(observation), float(reward), terminated, truncated, self._info(info)

    def _observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        state = write_proprio(observation["agent_pos"], self._convention)
        return {"pixels": {self._camera: observation["pixels"]["primary"]}, "agent_pos": state}

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        return {"is_success": bool(info["is_success"]), "episode_id": info["episode_id"], "clipped": info["clipped"]}


def make_episodes(
    task: str,
    *,
    camera: str = "image_0",
    convention: str = "vlm2vla",
    image_size: tuple[int, int] = (480, 640),
    render_mode: str | None = "rgb_array",
    **options: Any,
) -> LeRobotEpisodes:
    """Entry point of `ENV_ID`. task, image_size, options: as in `WidowXEnv`; SettingError for a real robot."""
    env = WidowXEnv(task, image_size=image_size, render_mode=render_mode, **options)
    if env.knows_scene is False:
        env.close()
        raise SettingError(
            f"The backend {env.backend_name!r} does not know whether an episode succeeds, and lerobot-eval asks at "
            "every step. Use a simulator here, and `vlm2vla robot session` for a real arm."
        )
    return LeRobotEpisodes(env, camera=camera, convention=convention)


make_episodes.metadata = WidowXEnv.metadata  # type: ignore[attr-defined]


def register_episodes() -> None:
    """Register `ENV_ID` with Gymnasium. May be called again."""
    if ENV_ID not in gym.registry:
        # No wrapper of Gymnasium's: LeRobot reads attributes of the outermost environment.
        place = f"{make_episodes.__module__}:{make_episodes.__name__}"
        gym.register(id=ENV_ID, entry_point=place, order_enforce=False, disable_env_checker=True)
