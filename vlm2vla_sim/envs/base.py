"""One Gymnasium environment for every WidowX, simulated or real, and the five methods a backend must have.

A policy, a rollout or a test that works with one backend works with all of them, because none of them ever sees more
than this file offers.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.backends import backend_name, check_backend_options, is_real_robot, make_backend
from vlm2vla_sim.envs.judge import Judge, SuccessFlags
from vlm2vla_sim.envs.tasks import TASKS, Layout, Task, get_task, own_task
from vlm2vla_sim.errors import EpisodeError, LinkLostError, unknown_name
from vlm2vla_sim.types import SceneState, Status

Observation = dict[str, Any]
"""{"pixels": {"primary": (H, W, 3) uint8 RGB}, "agent_pos": (7,) float32 as `frames.agent_pos`}"""

CONTROL_HZ = 5
"""Control steps per second. simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:167-168"""

RESET_OPTIONS = ("episode_id", "layout")


class WidowXEnv(gym.Env[Observation, np.ndarray]):
    """A WidowX 250 S in front of one of the Bridge tasks.

    Action: (7,) float32, `types.ACTION_SIZE`. Observation: `Observation`. Reward: 1.0 on a step at which the task
    stands solved, else 0.0. An episode does not end at success unless `terminate_on_success` is set: SIMPLER scores the
    *last* step of a full-length episode, and the step limit comes from `gym.make`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        task: str,
        *,
        backend: str | type = "mujoco",
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        layouts: str = "grid",
        terminate_on_success: bool = False,
        instruction: str = "",
        render_mode: str | None = None,
        **backend_options: Any,
    ) -> None:
        """Make the environment; the simulator itself starts at the first `reset`.

        task: a name of `tasks.TASKS` or its environment id; on a real robot also any instruction. backend: a name of
        `backends.BACKENDS`, "package.module:Class", or the class itself. image_size: (height, width); None draws no
        images, for policies that do not look: the observation then has "agent_pos" only.
        quality: "fast", or "high" with cast shadows and smooth edges. layouts: what `reset` draws when it is not told,
        "grid" (one of SIMPLER's episodes) or "random" (anywhere in the task's region). instruction: what is said in
        place of the task's own words, in any language; what counts as success stays the task's.
        backend_options: handed to the backend.
        """
        if layouts not in ("grid", "random"):
            raise unknown_name("kind of layouts", layouts, ("grid", "random"))
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown_name("render mode", render_mode, self.metadata["render_modes"])
        self.spec_task: Task = find_task(task, backend)
        self.backend_name = backend_name(backend)
        self.render_mode = render_mode
        self.layouts = layouts
        self._terminate_on_success = terminate_on_success
        self._instruction = instruction or self.spec_task.instruction
        image_size = None if image_size is None else check_image_size(image_size)
        shared = inspect.signature(WidowXEnv.__init__).parameters
        own = [name for name in shared if name not in ("self", "task", "backend_options")]
        check_backend_options(backend, backend_options, shared=own)
        self._backend = make_backend(backend, self.spec_task, image_size=image_size, quality=quality, **backend_options)
        self._status: Status | None = None
        self._judge: Judge | None = None
        self._observation: Observation = {}
        self._frame: np.ndarray | None = None
        self._episode_id = -1
        self.observation_space = observation_space(image_size, getattr(self._backend, "camera_sizes", {}))
        bound = [motion.MAX_STEP] * 3 + [motion.MAX_TURN] * 3
        self.action_space = spaces.Box(
            np.array([-b for b in bound] + [0], np.float32), np.array([*bound, 1], np.float32)
        )

    # What LeRobot and people ask for by name.

    @property
    def task(self) -> str:
        """The task's name."""
        return self.spec_task.name

    @property
    def task_description(self) -> str:
        """The instruction in words."""
        return self._instruction

    @property
    def _max_episode_steps(self) -> int:
        return self.spec_task.max_steps

    @property
    def profile(self) -> str:
        """Which rules the backend follows; part of every result."""
        return str(getattr(self._backend, "profile", "default"))

    @property
    def knows_scene(self) -> bool | None:
        """Whether the backend knows where the objects are; see `backends.Backend.knows_scene`."""
        return getattr(self._backend, "knows_scene", True)

    @property
    def status(self) -> Status:
        """Robot and scene as of the last step, ground truth included: for judges, oracles, tests; not for policies."""
        if self._status is None:
            raise EpisodeError("There is no state before the first reset(). Call env.reset() first.")
        return self._status

    # Gymnasium.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        options: {"episode_id": k} for SIMPLER's k-th layout, {"layout": "random"} for one drawn from the seed,
        {"layout": "grid"} for one of SIMPLER's drawn from the seed; by default as the environment was made.
        """
        super().reset(seed=seed)
        layout, self._episode_id = self._choose_layout(options or {})
        self._backend.reset(layout, self.np_random)
        status = self._status = self._backend.status()
        self._judge = Judge(self.spec_task, status.scene) if status.scene else None
        self._observation = self._observe()
        return self._observation, self._info(None, clipped=False)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step, a fifth of a second. ActionError for a wrong shape or a number that is not finite.

        info["sent_action"] is the action the arm was given, (7,) float64: limited in length and to the workspace;
        None after a reset.

        When a real robot falls silent the episode ends truncated with info["reason"]; the observation is the last one.
        """
        target = self.status.robot.target.position
        delta, clipped = motion.limit(action, target=target, workspace=self.spec_task.scene.workspace)
        try:
            self._backend.move(delta)
            status = self._status = self._backend.status()
            self._observation = self._observe()
        except LinkLostError as lost:
            info = self._info(None, clipped=clipped, sent=delta) | {"reason": lost.reason, "fault": str(lost)}
            return copy.deepcopy(self._observation), 0.0, False, True, info
        verdict = self._judge.judge(status.scene) if self._judge and status.scene else None
        success = verdict is not None and verdict.success
        info = self._info(verdict, clipped=clipped, sent=delta)
        return self._observation, float(success), self._terminate_on_success and success, False, info

    def render(self) -> np.ndarray | None:
        """The latest camera picture, (H, W, 3) uint8 RGB, if render_mode is "rgb_array"."""
        return self._frame if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the backend."""
        self._backend.close()

    # Parts.

    def _choose_layout(self, options: dict[str, Any]) -> tuple[Layout, int]:
        for key in options:
            if key not in RESET_OPTIONS:
                raise unknown_name("reset option", key, RESET_OPTIONS)
        if options.get("episode_id") is not None:
            episode_id = options["episode_id"]
            return self.spec_task.layout(episode_id), int(episode_id)
        kind = options.get("layout") or self.layouts
        if kind == "random":
            return self.spec_task.random_layout(self.np_random), -1
        if kind != "grid":
            raise unknown_name("layout", kind, ("grid", "random"))
        episode_id = int(self.np_random.integers(len(self.spec_task.layouts)))
        return self.spec_task.layout(episode_id), episode_id

    def _observe(self) -> Observation:
        observation = self._backend.observe()
        self._frame = observation["pixels"]["primary"] if "pixels" in observation else None
        return observation

    def _info(self, verdict: SuccessFlags | None, *, clipped: bool, sent: np.ndarray | None = None) -> dict[str, Any]:
        flags = dataclasses.asdict(verdict) if verdict else {f.name: False for f in dataclasses.fields(SuccessFlags)}
        return {
            "instruction": self.task_description,
            "task": self.task,
            "episode_id": self._episode_id,
            "is_success": flags["success"],
            "clipped": clipped,
            "sent_action": sent,
            **flags,
            # What only this backend has to say: the age of a real camera's frame, a stall.
            **getattr(self._backend, "report", dict)(),
        }

    def scene_state(self) -> SceneState:
        """Ground truth of the scene, for the scripted upper bound; EpisodeError where nobody knows it (a real arm)."""
        if self.status.scene is None:
            raise EpisodeError(f"The backend {self.backend_name!r} does not know where the objects are.")
        return self.status.scene


def find_task(task: str, backend: str | type) -> Task:
    """The task of that name or id; on a real robot also one made of any other words (`tasks.own_task`)."""
    known = task in TASKS or any(task == known.env_id for known in TASKS.values())
    # A single word is a name, and most likely a misspelt one.
    return own_task(task) if not known and " " in task.strip() and is_real_robot(backend) else get_task(task)


def observation_space(
    image_size: tuple[int, int] | None, cameras: Mapping[str, tuple[int, int]] = MappingProxyType({})
) -> spaces.Dict:
    """The space of `Observation`; without "pixels" if there is no image size.

    cameras: (height, width) of every camera besides "primary".
    """
    # Generous but finite: metres, radians (Euler angles reach +-pi), opening.
    low = np.array([-1, -1, -1, -np.pi, -np.pi, -np.pi, 0], np.float32)
    high = np.array([1, 1, 1, np.pi, np.pi, np.pi, 1], np.float32)
    parts: dict[str, spaces.Space[Any]] = {"agent_pos": spaces.Box(low, high)}
    if image_size is not None:
        sizes = {"primary": image_size, **cameras}
        parts["pixels"] = spaces.Dict({name: spaces.Box(0, 255, (*size, 3), np.uint8) for name, size in sizes.items()})
    return spaces.Dict(parts)


def check_image_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) as whole numbers; EpisodeError unless both lie in 16 .. 4096."""
    numbers = list(size) if isinstance(size, Iterable) else []
    whole = [n for n in numbers if isinstance(n, (int, float, np.integer)) and n in range(16, 4097)]
    if len(numbers) != 2 or len(whole) != 2:
        raise EpisodeError(f"image_size is {size!r}; expected (height, width), each a whole number from 16 to 4096.")
    return int(whole[0]), int(whole[1])
