"""One Gymnasium environment for every WidowX, simulated or real, and the five methods a backend must have.

A policy, a rollout or a test that works with one backend works with all of them, because none of them ever sees more
than this file offers.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.judge import Judge, SuccessFlags
from vlm2vla_sim.envs.tasks import TASKS, Layout, Task, get_task, own_task
from vlm2vla_sim.errors import EpisodeError, LinkLostError, unknown_name
from vlm2vla_sim.types import SceneState, Status

Observation = dict[str, Any]
"""{"pixels": {"primary": (H, W, 3) uint8 RGB}, "agent_pos": (7,) float32 as `frames.agent_pos`}"""

CONTROL_HZ = 5
"""Control steps per second. simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:167-168"""

BACKENDS = {
    "mujoco": "vlm2vla_sim.envs.mujoco.backend:MujocoBackend",
    "simpler": "vlm2vla_sim.envs.simpler.backend:SimplerBackend",
    "point": "vlm2vla_sim.testing:PointBackend",
    "bridge": "vlm2vla_sim.envs.bridge.backend:BridgeBackend",
}
"""Name -> "module:class". The module is imported when the backend is asked for, not before."""

REAL_BACKENDS = frozenset({"bridge"})
"""Backends with a person beside them, who can arrange and judge a task in any words."""

RESET_OPTIONS = ("episode_id", "layout")


class Backend(Protocol):
    """What stands behind the environment, simulator or robot: made with (task, image_size=, quality=, **options)."""

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Put the objects where `layout` says, let them settle, and send the arm home."""
        ...

    def move(self, delta: np.ndarray) -> None:
        """Carry out one control step. delta: (7,) float64, see `types.ACTION_SIZE`; already limited."""
        ...

    def observe(self) -> Observation:
        """The camera picture and the arm's state, now."""
        ...

    def status(self) -> Status:
        """Robot and, in a simulator, scene state after the last step."""
        ...

    def close(self) -> None:
        """Release the renderer, the processes, the connection. May be called twice."""
        ...


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
        backend: str = "mujoco",
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
        `BACKENDS`. image_size: (height, width); None draws no pictures, for policies that do not look: the observation
        then has "agent_pos" only.
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
        self.backend_name = backend
        self.render_mode = render_mode
        self.layouts = layouts
        self._terminate_on_success = terminate_on_success
        self._instruction = instruction or self.spec_task.instruction
        image_size = None if image_size is None else check_image_size(image_size)
        check_options(backend, backend_options)
        self._backend = load_backend(backend)(self.spec_task, image_size=image_size, quality=quality, **backend_options)
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

        When a real robot falls silent the episode ends truncated with info["reason"]; the observation is the last one.
        """
        target = self.status.robot.target.position
        delta, clipped = motion.limit(action, target=target, workspace=self.spec_task.scene.workspace)
        try:
            self._backend.move(delta)
            status = self._status = self._backend.status()
            self._observation = self._observe()
        except LinkLostError as lost:
            info = self._info(None, clipped=clipped) | {"reason": lost.reason, "fault": str(lost)}
            return copy.deepcopy(self._observation), 0.0, False, True, info
        verdict = self._judge.judge(status.scene) if self._judge and status.scene else None
        success = verdict is not None and verdict.success
        info = self._info(verdict, clipped=clipped)
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

    def _info(self, verdict: SuccessFlags | None, *, clipped: bool) -> dict[str, Any]:
        flags = dataclasses.asdict(verdict) if verdict else {f.name: False for f in dataclasses.fields(SuccessFlags)}
        return {
            "instruction": self.task_description,
            "task": self.task,
            "episode_id": self._episode_id,
            "is_success": flags["success"],
            "clipped": clipped,
            **flags,
            # What only this backend has to say: the age of a real camera's frame, a stall.
            **getattr(self._backend, "report", dict)(),
        }

    def scene_state(self) -> SceneState:
        """Ground truth of the scene, for the scripted upper bound; EpisodeError where nobody knows it (a real arm)."""
        if self.status.scene is None:
            raise EpisodeError(f"The backend {self.backend_name!r} does not know where the objects are.")
        return self.status.scene


def find_task(task: str, backend: str) -> Task:
    """The task of that name or id; on a real robot also one made of any other words (`tasks.own_task`)."""
    known = task in TASKS or any(task == known.env_id for known in TASKS.values())
    # A single word is a name, and most likely a misspelt one.
    return own_task(task) if backend in REAL_BACKENDS and not known and " " in task.strip() else get_task(task)


def load_backend(name: str) -> Any:
    """The class behind a name of `BACKENDS`, or your own when `name` is "package.module:Class"."""
    module_name, colon, attribute = BACKENDS.get(name, str(name)).partition(":")
    if not (colon and module_name and attribute):
        raise unknown_name("backend", name, BACKENDS)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A missing package *inside* the module is another matter, with its own message.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise unknown_name("backend", name, [*BACKENDS, "package.module:Class"]) from error
    if not hasattr(module, attribute):
        raise unknown_name(f"backend in {module_name}", attribute, [n for n in vars(module) if n.endswith("Backend")])
    return getattr(module, attribute)


def check_options(backend: str, options: Iterable[str]) -> None:
    """UnknownNameError for an option that neither `WidowXEnv` nor the backend of that name takes."""
    own = inspect.signature(WidowXEnv.__init__).parameters
    parameters = inspect.signature(load_backend(backend)).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = dict.fromkeys(name for name in [*own, *parameters] if name not in ("self", "task", "backend_options"))
    for name in options:
        if name not in known:
            raise unknown_name(f"option of the environment on the backend {backend!r}", name, known)


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
