"""LeRobot's environment "vlm2vla": SIMPLER's WidowX tasks, on the twin or on the original scenes.

`lerobot-eval --env.type=vlm2vla --env.task=carrot_on_plate`. Fields of `EnvConfig`: lerobot 0.4.4 and 0.6.1,
envs/configs.py.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.lerobot.episodes import ENV_ID, register_episodes
from vlm2vla_sim.policies.remote.conventions import find_convention

register_episodes()


@EnvConfig.register_subclass("vlm2vla")
@dataclass
class Vlm2VlaEnv(EnvConfig):
    """Options of the environment, on the command line as `--env.NAME=VALUE`."""

    task: str | None = "carrot_on_plate"
    """A task's name, as `vlm2vla tasks` lists them; with lerobot 0.5 and newer also several, "a,b", or "all"."""
    fps: int = CONTROL_HZ
    backend: str = "mujoco"
    """"mujoco" for the twin, "simpler" for the original scenes."""
    backend_options: dict[str, Any] = field(default_factory=dict)
    """Options of the backend, {"profile": "maniskill3"}."""
    layouts: str = "grid"
    """"grid": the seed N starts SIMPLER's episode N modulo 24; "random": anywhere, drawn from the seed."""
    instruction: str = ""
    """In place of the task's own."""
    convention: str = "vlm2vla"
    """Of states and actions: "vlm2vla" for policies trained on data sets that `vlm2vla` wrote, "bridge" for those
    trained on LeRobot's copies of BridgeData (Euler angles, servo reading)."""
    camera: str = "image_0"
    """The policy gets the image as observation.images.NAME."""
    image_height: int = 480
    image_width: int = 640
    """[px]"""
    terminate_on_success: bool = False
    """End an episode at its first success; SIMPLER scores the last step of a full one."""
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps != CONTROL_HZ:
            raise SettingError(f"env.fps is {self.fps}; a control step takes 0.2 s, so leave it at {CONTROL_HZ}.")
        if len(self.task_names) > 1 and not hasattr(EnvConfig, "create_envs"):
            raise SettingError(
                f"env.task is {self.task!r}; this version of lerobot evaluates one task at a time. Name one of "
                f"{', '.join(TASKS)}, or install lerobot 0.5 or newer."
            )
        state = find_convention("lerobot", self.convention).proprio_length
        image = (self.image_height, self.image_width, 3)
        key = f"pixels/{self.camera}"
        self.features = {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(7,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(state,)),
            key: PolicyFeature(type=FeatureType.VISUAL, shape=image),
        }
        self.features_map = {
            "action": "action",
            "agent_pos": "observation.state",
            key: f"observation.images.{self.camera}",
        }

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks that `task` names."""
        return tuple(TASKS) if self.task == "all" else tuple((self.task or "").split(","))

    @property
    def package_name(self) -> str:
        """The module that registers `gym_id`."""
        return __name__

    @property
    def gym_id(self) -> str:
        """What `gym.make` is called with."""
        return ENV_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Options of `episodes.make_episodes`."""
        return {
            "task": self.task,
            "backend": self.backend,
            "layouts": self.layouts,
            "instruction": self.instruction,
            "convention": self.convention,
            "camera": self.camera,
            "image_size": (self.image_height, self.image_width),
            "terminate_on_success": self.terminate_on_success,
            **self.backend_options,
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, Any]]:
        """A vector environment for each task, as lerobot 0.5 and newer asks for them."""
        made = {}
        for number, name in enumerate(self.task_names):
            one = dataclasses.replace(self, task=name)
            parent: Any = super(Vlm2VlaEnv, one)
            made[number] = parent.create_envs(n_envs, use_async_envs)[self.type][0]
        return {self.type: made}
