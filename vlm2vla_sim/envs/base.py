"""`WidowXEnv`: the one Gymnasium environment, on every backend, simulated or real."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from vlm2vla_sim.core.control_steps import CONTROL_HZ
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.backends import backend_name, check_backend_options, find_task, make_backend
from vlm2vla_sim.envs.instruction_check import check_instruction
from vlm2vla_sim.envs.judge import UNKNOWN, Judge, start_flags
from vlm2vla_sim.envs.lazy_images import LazyImages, expire_images
from vlm2vla_sim.envs.observations import Observation, check_form, check_image_size, in_form, observation_space
from vlm2vla_sim.envs.reset_options import LAYOUTS, choose_layout
from vlm2vla_sim.envs.scene_geometry import scene_geometry
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.envs.turns import Turns
from vlm2vla_sim.errors import EpisodeError, LinkLostError, SettingError, unknown_name
from vlm2vla_sim.types import SceneState, Status


class WidowXEnv(gym.Env[Any, np.ndarray]):
    """A WidowX 250 S with a task.

    Action: (7,) float32, see `types.ACTION_SIZE`. Observation: `observations.Observation`, or another of
    `observations.FORMS`. Reward: 1.0 after every step at which the task is solved, else 0.0; always 0.0 where the
    backend does not know the scene. An episode does not end at success unless `terminate_on_success` is set, because
    SIMPLER scores the *last* step of a full-length episode. The step limit comes from `gym.make`. Threads may use an
    environment in turns, such as those of `asyncio.to_thread`; a method called while another one runs is refused.

    Keys of info: "instruction", "task", "episode_id" (-1 for a random layout), "clipped" (whether the action was
    limited), "sent_action" (the limited action, (7,) float64; None after a reset), "is_success", "goals" (whether each
    of `Task.all_goals` is reached), the fields of `judge.SuccessFlags`, "upstream_success" (the verdict of the original
    SIMPLER's own code; None after a reset, and on every profile but "original"), and what the backend reports of
    itself. All flags are None where the scene is not known; "settled" also where the backend reports no contacts.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        task: str | Task,
        *,
        backend: str | type = "mujoco",
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        layouts: str = "grid",
        terminate_on_success: bool = False,
        instruction: str = "",
        observation: str = "dict",
        render_mode: str | None = None,
        **backend_options: Any,
    ) -> None:
        """Make the environment; the simulation or the connection starts at the first `reset`.

        Args:
            task: a `tasks.Task`, a name of `tasks.TASKS`, its environment id, or "package.module:NAME". On a real robot
                also any instruction.
            backend: a name of `backends.BACKENDS`, "package.module:Class", or the class itself.
            image_size: (height, width) of the images. None renders none, for policies that use no images: the
                observation then is {"agent_pos"}.
            quality: "fast", or "high" with cast shadows and anti-aliasing.
            layouts: where the objects are when `reset` is not told: "grid", one of SIMPLER's episodes, or "random",
                anywhere in the task's region.
            terminate_on_success: end the episode at the first step at which the task is solved.
            instruction: text in place of the task's own instruction, in other words or in any language. It does not
                change what counts as success: one that asks for something else is refused, as far as it can be read
                (`instruction_check`), unless the backend does not know the scene.
            observation: the form of the observations, one of `observations.FORMS`: "dict", "flat" or "image".
            render_mode: "rgb_array" for `render` to return images.
            backend_options: for the backend, such as `cameras`.

        Raises:
            UnknownNameError: a task, backend, option or value that does not exist.
            EpisodeError: an image size that makes no sense.
            SettingError: options that contradict each other or that the backend cannot honour.
        """
        if layouts not in LAYOUTS:
            raise unknown_name("kind of layouts", layouts, LAYOUTS)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown_name("render mode", render_mode, self.metadata["render_modes"])
        if render_mode is not None and image_size is None:
            raise SettingError(f"render_mode={render_mode!r} needs an image, and image_size=None renders none.")
        self.spec_task: Task = find_task(task, backend)
        self.backend_name = backend_name(backend)
        self.render_mode = render_mode
        self.layouts = layouts
        self._terminate_on_success = terminate_on_success
        self._turns = Turns()
        image_size = None if image_size is None else check_image_size(image_size)
        shared = [*inspect.signature(WidowXEnv.__init__).parameters]
        check_backend_options(backend, backend_options, shared=shared[2:-1])  # without self, task, backend_options
        self._backend = make_backend(backend, self.spec_task, image_size=image_size, quality=quality, **backend_options)
        try:
            self.instruct(instruction or self.spec_task.instruction)
        except SettingError:
            self._backend.close()
            raise
        if terminate_on_success and self.knows_scene is False:
            raise SettingError(
                f"terminate_on_success=True needs a backend that knows the scene, and {self.backend_name!r} "
                "does not. Leave it out."
            )
        cameras = getattr(self._backend, "camera_sizes", {})
        self._cameras = () if image_size is None else ("primary", *cameras)
        self.geometry = scene_geometry(self.spec_task, backend, image_size, backend_options)
        """What is known of the scene without looking: camera, reachable box, height of the table."""
        self.images_on_demand = False
        """True: the images of an observation are drawn when they are read, on a backend that can (`LazyImages`), for
        observations of the form "dict". `run_episode` sets it: drawing takes most of a step."""
        self.observation = check_form(observation, image_size, cameras)
        self.observation_space = observation_space(image_size, cameras, self.observation)
        self._status: Status | None = None
        self._judge: Judge | None = None
        self._observation: Observation = {}
        self._episode_id = -1
        bound = np.array([*[motion.MAX_STEP] * 3, *[motion.MAX_TURN] * 3, 1], np.float32)
        self.action_space = spaces.Box(np.append(-bound[:6], np.float32(0)), bound)

    # Attributes that LeRobot and callers read.

    @property
    def task(self) -> str:
        """The task's name."""
        return self.spec_task.name

    @property
    def task_description(self) -> str:
        """The instruction: the task's own, or `instruction`."""
        return self._instruction

    @property
    def _max_episode_steps(self) -> int:
        return self.spec_task.max_steps

    @property
    def profile(self) -> str:
        """Which rules the backend follows. It is part of every result."""
        return str(getattr(self._backend, "profile", "default"))

    @property
    def simulator_versions(self) -> dict[str, str]:
        """Package -> version, of those that make the results outside this process's interpreter."""
        return dict(getattr(self._backend, "versions", {}))

    @property
    def knows_scene(self) -> bool | None:
        """Whether the backend knows where the objects are; see `backends.Backend.knows_scene`."""
        return getattr(self._backend, "knows_scene", True)

    @property
    def status(self) -> Status:
        """Robot and scene after the last step, with ground truth: for scoring, oracles and tests, not for policies.

        EpisodeError before the first `reset`, and after one that failed.
        """
        if self._status is None:
            raise EpisodeError("There is no state before the first reset(). Call env.reset() first.")
        return self._status

    # Gymnasium.

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: for everything random in the environment.
            options: {"episode_id": k} for SIMPLER's k-th layout; {"layout": "grid"} for one of SIMPLER's, or
                {"layout": "random"} for any in the task's region, drawn from the seed. By default as `layouts` says.

        Raises:
            EpisodeError: there is no such episode, or `options` is no mapping.
            UnknownNameError: an option or a layout that does not exist.
            SettingError: options that contradict each other.
        """
        with self._turns.take("reset()"):
            return self._reset(seed, options)

    def _reset(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        margin = getattr(self._backend, "layout_margin", 0.0)
        layout, self._episode_id = choose_layout(self.spec_task, options, self.layouts, self.np_random, margin)
        self._status = self._judge = None  # nothing of the last episode, should the backend fail
        expire_images(self._observation)
        self._backend.reset(layout, self.np_random)
        status = self._status = self._backend.status()
        self._judge = Judge(self.spec_task, status.scene) if status.scene else None
        self._observation = self._observe()
        flags = start_flags(status.scene) if status.scene else UNKNOWN
        return in_form(self._observation, self.observation), self._info(flags, clipped=False)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Make one control step, 0.2 s.

        When the link to a real robot is lost, the episode ends truncated with info["reason"] and info["fault"], and the
        observation is the last one.

        Raises:
            ActionError: `action` has another shape than (7,), or a number that is not finite. The arm has not moved.
        """
        with self._turns.take("step()"):
            return self._step(action)

    def _step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        target = self.status.robot.target.position
        delta, clipped = motion.limit(action, target=target, workspace=self.spec_task.setup.workspace)
        try:
            expire_images(self._observation)
            self._backend.move(delta)
            status = self._status = self._backend.status()
            self._observation = self._observe()
        except LinkLostError as lost:
            info = self._info(UNKNOWN, clipped=clipped, sent=delta) | {"reason": lost.reason, "fault": str(lost)}
            return in_form(self._observation, self.observation), 0.0, False, True, info
        flags = dataclasses.asdict(self._judge.judge(status.scene)) if self._judge and status.scene else UNKNOWN
        success = flags["success"] is True
        info, seen = self._info(flags, clipped=clipped, sent=delta), in_form(self._observation, self.observation)
        return seen, float(success), self._terminate_on_success and success, False, info

    def render(self) -> np.ndarray | None:
        """A copy of the latest image of the camera "primary", (H, W, 3) uint8 RGB; None without render_mode."""
        if self.render_mode != "rgb_array" or "pixels" not in self._observation:
            return None
        return self._observation["pixels"]["primary"].copy()

    def close(self) -> None:
        """Release the backend, once a method that still runs in another thread has returned."""
        with self._turns.take("close()", wait=True):
            expire_images(self._observation)
            self._backend.close()

    def instruct(self, instruction: str) -> None:
        """Give the policy another instruction from the next episode on; SettingError as in the constructor."""
        with self._turns.take("instruct()"):
            judged = self.knows_scene is not False and not self.spec_task.own
            self.instruction_fits = check_instruction(instruction, self.spec_task, judged=judged)
            self._instruction = instruction

    def check_during_reset(self, check: Callable[[], None]) -> None:
        """Have `check` called between two motions of a reset, on a backend that makes several; it may raise."""
        if hasattr(self._backend, "safe_point"):
            self._backend.safe_point = check

    # Parts.

    def _observe(self) -> Observation:
        """The observation now; its images are drawn later where that is asked for and possible."""
        observe_state = getattr(self._backend, "observe_state", None)
        if not (self.images_on_demand and self._cameras and self.observation == "dict" and observe_state):
            return self._backend.observe()
        return {"pixels": LazyImages(self._cameras, self._draw), **observe_state()}

    def _draw(self) -> dict[str, np.ndarray]:
        with self._turns.take("Drawing an image"):
            return self._backend.observe()["pixels"]

    def _info(
        self, flags: Mapping[str, bool | None], *, clipped: bool, sent: np.ndarray | None = None
    ) -> dict[str, Any]:
        return {
            "instruction": self.task_description,
            "task": self.task,
            "episode_id": self._episode_id,
            "is_success": flags["success"],
            "clipped": clipped,
            "goals": self._judge.reached if self._judge and flags["success"] is not None else None,
            "sent_action": None if sent is None else sent.copy(),
            **flags,
            "upstream_success": None,
            # What only this backend reports: the age of a real camera's image, a stall.
            **copy.deepcopy(getattr(self._backend, "report", dict)()),
        }

    def scene_state(self) -> SceneState:
        """Ground truth of the scene; EpisodeError where the backend does not know it, as on a real arm."""
        if self.status.scene is None:
            raise EpisodeError(f"The backend {self.backend_name!r} does not know where the objects are.")
        return self.status.scene


def make_task_env(task: str | Task, **options: Any) -> gym.Env[Any, np.ndarray]:
    """Entry point of `tasks.OWN_TASK_ID`: a `WidowXEnv` whose episodes have the length of `task`."""
    env = WidowXEnv(task, **options)
    return TimeLimit(env, env.spec_task.max_steps)


# Gymnasium reads the render modes from the entry point.
make_task_env.metadata = WidowXEnv.metadata  # type: ignore[attr-defined]
