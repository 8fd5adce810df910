"""Backend "simpler": the original SIMPLER scenes with the same interface as every other backend.

Profile "simpler", the default, follows the original SIMPLER on ManiSkill 3. Profile "maniskill3" leaves ManiSkill 3's
physics, start, centre of rotation and success as they are. Profile "original" is the original SIMPLER itself, in an
interpreter of its own. `docs/howto/use_the_simpler_scenes.md` says how they differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.envs.base import Observation
from vlm2vla_sim.envs.image_effects import ImageEffects
from vlm2vla_sim.envs.photo import check_photo
from vlm2vla_sim.envs.simpler.maniskill3 import ManiSkill3
from vlm2vla_sim.envs.simpler.original import OriginalSimpler
from vlm2vla_sim.envs.simpler.simulation import Simulation
from vlm2vla_sim.envs.tasks import Layout, Task, is_built_in
from vlm2vla_sim.envs.variation import Variation, part_of_scene, refuse
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.types import Status

PROFILES = ("simpler", "maniskill3", "original")
SHADERS = {"fast": "minimal", "high": "default"}
"""`quality` -> ManiSkill's shader pack. The images differ little; "high" takes twice the time."""


class SimplerBackend:
    """A task's scene of SIMPLER; see `envs.base.Backend` for the methods."""

    scene_camera = True
    stretches_images = True
    own_process = True
    """SAPIEN allows no second environment in a process, and a crash in its native code ends the process."""

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        profile: str = "simpler",
        render_backend: str = "auto",
        python: str = "",
        variation: Variation | None = None,
    ) -> None:
        """Check that the scene can run here; `reset` loads it.

        Args:
            task: what is simulated.
            image_size: SIMPLER's image is 480 x 640; another size is that image resampled (Lanczos), with the same
                field of view; None renders none.
            quality: one of `SHADERS`; the profile "original" has "fast" only.
            profile: one of `PROFILES`.
            render_backend: "auto" (an NVIDIA GPU if there is one, else the CPU), "gpu" or "cpu"; the profile "original"
                takes "auto" only.
            python: for the profile "original", the interpreter that has `simpler_env`
                (see `original_process.find_python`).
            variation: what differs from SIMPLER's scene; an environment is given its fields by name. Behind robot and
                objects is a photo: `envs.photo` says what it can follow.

        Raises:
            SettingError: SIMPLER does not have the task's robot, scene or objects, or cannot have the variation; or the
                interpreter of the profile "original" is missing or lacks something.
            AssetsError, MissingExtraError, RendererError: files, packages or a driver are missing.
        """
        if quality not in SHADERS:
            raise unknown_name("quality", quality, SHADERS)
        if profile not in PROFILES:
            raise unknown_name("profile", profile, PROFILES)
        variation = variation or Variation()
        check_task(task, profile)
        check_variation(task, profile, variation)
        self.layout_margin = variation.layout_margin
        self.profile = profile
        self._effects = ImageEffects(variation)
        self._image_size = image_size
        self._arm = task.arm
        self.simulation: Simulation
        if profile == "original":
            for option, value, only in (("quality", quality, "fast"), ("render_backend", render_backend, "auto")):
                if value != only:
                    raise SettingError(
                        f"The profile 'original' draws as SIMPLER does: leave out {option}, which is {value!r}."
                    )
            self.simulation = OriginalSimpler(task, python=python)
            return
        if python:
            raise SettingError(
                f"python={python!r} is for profile='original'; the profile {profile!r} runs in this one."
            )
        self.simulation = ManiSkill3(
            task, profile=profile, shader=SHADERS[quality], render_backend=render_backend, variation=variation
        )

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version, of those that make the results in another interpreter than this one."""
        return self.simulation.versions

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Start `layout` in a new physics scene; in a used one the same episode would end differently."""
        self.simulation.reset(layout, rng)
        self._effects.start(rng)

    def move(self, delta: np.ndarray) -> None:
        """One control step of 100 substeps; delta: (7,) float64, see `types.ACTION_SIZE`."""
        self.simulation.move(delta)
        self._effects.advance()

    def observe(self) -> Observation:
        """SIMPLER's image, and the proprioception (`Robot.agent_pos`)."""
        state = self.observe_state()
        if self._image_size is None:
            return state
        image = self.simulation.image()
        if image.shape[:2] != self._image_size:
            height, width = self._image_size
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
        return {"pixels": self._effects.apply({"primary": image}), **state}

    def observe_state(self) -> Observation:
        """The observation without images."""
        robot = self.simulation.robot()
        return {"agent_pos": self._arm.agent_pos(robot.tcp, robot.gripper)}

    def status(self) -> Status:
        """Ground truth after the last step."""
        return Status(self.simulation.robot(), self.simulation.scene())

    def report(self) -> dict[str, Any]:
        """For `info`: the verdict of the original SIMPLER's own code on this step, beside that of our judge."""
        return {"upstream_success": self.simulation.upstream_success}

    def close(self) -> None:
        """Release the scene. May be called twice."""
        self.simulation.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> SimplerBackend:
        raise SettingError(
            "An environment on the backend 'simpler' cannot be copied: its scene is held by SAPIEN. Make another one "
            "with gymnasium.make and reset it to the same episode."
        )


def check_task(task: Task, profile: str) -> None:
    """SettingError unless SIMPLER has the robot, the scene and the objects of `task`."""
    robot = task.arm
    if not robot.maniskill:
        raise SettingError(f"The SIMPLER scenes do not have the robot {robot.name!r}; use the backend 'mujoco'.")
    if not task.scene.maniskill:
        raise SettingError(f"SIMPLER does not have the scene {task.scene.name!r}; use the backend 'mujoco'.")
    for spec in task.objects:
        if not spec.model and not spec.card:
            raise SettingError(
                f"SIMPLER has no model of the object {spec.name!r}: its ObjectSpec names none (`model=`). Use the "
                "backend 'mujoco'."
            )
    if profile != "simpler" and not is_built_in(task):
        raise SettingError(
            f"The profile {profile!r} has SIMPLER's own four tasks only, not {task.name!r}; use profile='simpler'."
        )


def check_variation(task: Task, profile: str, variation: Variation) -> None:
    """SettingError with a sentence for what SIMPLER's scene of `task` cannot have."""
    if profile != "simpler":
        inside = [name for name in variation.changed if not name.startswith(("image_", "jpeg_", "layout_"))]
        refuse(inside, f"the profile {profile!r} leaves the scene as it is; use profile='simpler'.")
    if variation.target_colour and task.target.fixed is not None:
        raise part_of_scene(task, "target_colour")
    for which, spec in (("source", task.source), ("target", task.target)):
        if spec.card:
            refuse(variation.changes(f"{which}_"), f"the {spec.name} is a printed card here; use the backend 'mujoco'.")
    check_photo(task.scene, variation)
    variation.home(task)
