"""Backend "simpler": the original SIMPLER scenes with the same interface as every other backend.

Profile "simpler", the default, follows the original SIMPLER. Profile "maniskill3" leaves ManiSkill 3's physics, start,
centre of rotation and success as they are. `scenes` and `docs/architecture.md` say how they differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.base import Observation
from vlm2vla_sim.envs.distractors import choose_distractors, place_distractors
from vlm2vla_sim.envs.image_effects import ImageEffects
from vlm2vla_sim.envs.photo import check_photo
from vlm2vla_sim.envs.simpler import assets, contacts, devices
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task, is_built_in
from vlm2vla_sim.envs.variation import Variation, part_of_scene, refuse
from vlm2vla_sim.errors import BackendFaultError, SettingError, unknown_name
from vlm2vla_sim.types import Body, Pose, RobotState, SceneState, Status, Touch

PROFILES = ("simpler", "maniskill3")
SHADERS = {"fast": "minimal", "high": "default"}
"""`quality` -> ManiSkill's shader pack. The images differ little; "high" takes twice the time."""
CAMERA = "3rd_view_camera"
TCP = "ee_gripper_link"
"""ManiSkill's names of the camera and of the link between the fingers."""
NAMES = {"arena": "table"}
"""ManiSkill's name of a body -> ours in `SceneState.touching`, where they differ."""


class SimplerBackend:
    """A task's scene on ManiSkill 3; see `envs.base.Backend` for the methods."""

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
        variation: Variation | None = None,
    ) -> None:
        """Check that the scene can run here; `reset` loads it.

        Args:
            task: what is simulated.
            image_size: SIMPLER's image is 480 x 640; another size is that image resampled (Lanczos), with the same
                field of view; None renders none.
            quality: one of `SHADERS`.
            profile: one of `PROFILES`.
            render_backend: "auto" (an NVIDIA GPU if there is one, else the CPU), "gpu" or "cpu".
            variation: what differs from SIMPLER's scene; an environment is given its fields by name. Behind robot and
                objects is a photo: `envs.photo` says what it can follow.

        Raises:
            SettingError: SIMPLER does not have the task's robot, scene or objects, or cannot have the variation.
            AssetsError, MissingExtraError, RendererError: files, packages or a driver are missing.
        """
        if quality not in SHADERS:
            raise unknown_name("quality", quality, SHADERS)
        if profile not in PROFILES:
            raise unknown_name("profile", profile, PROFILES)
        variation = variation or Variation()
        check_task(task, profile)
        check_variation(task, profile, variation)
        self._own, self._variation = task, variation
        self.layout_margin = variation.layout_margin
        self._distractors = choose_distractors(task, variation.distractors)
        self._effects = ImageEffects(variation)
        assets.prepare()
        self.profile = profile
        self._render_backend = devices.probe().choose(render_backend)
        self._shader = SHADERS[quality]
        self._image_size = image_size
        self._task = variation.scale(task)
        self._robot = task.arm
        self._base = task.scene.base
        # Made at the first reset: a vector environment makes one environment in the parent process only for its spaces.
        self._env: Any = None

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Start `layout` in a new physics scene; in a used one the same episode would end differently."""
        with _upstream("reset"):
            if self._env is None:
                self._env = self._load()
            options: dict[str, Any] = {"layout": layout, "reconfigure": True}
            if self._distractors:
                options["places"] = place_distractors(self._task, self._distractors, layout, rng)
            _, self._evaluation = self._env.reset(options=options)
        self._effects.start(rng)
        self._links = self._env.agent.robot.links_map
        self._bodies = self._identify()

    def move(self, delta: np.ndarray) -> None:
        """One control step of 100 substeps; delta: (7,) float64, see `types.ACTION_SIZE`."""
        step = delta[:3]
        if self.profile == "simpler":
            # ManiSkill rotates the target about itself, the original about the gripper; a translation corrects this.
            before = self._target()
            step = frames.advance_target(before, self._tcp(), delta).position - before.position
        turn = frames.rotvec_to_euler_XYZ(delta[3:6])
        action = np.array([*step, *turn, frames.gripper_to_simpler(delta[6])], dtype=np.float32)
        with _upstream("step"):
            # ManiSkill's step() without its image, which takes nine tenths of the time: `observe` renders it.
            self._env._step_action(action)
            self._evaluation = self._env.get_info()
        self._effects.advance()

    def observe(self) -> Observation:
        """SIMPLER's image, and the proprioception (`Robot.agent_pos`)."""
        state = self.observe_state()
        if self._image_size is None:
            return state
        return {"pixels": self._effects.apply({"primary": self._render(self._image_size)}), **state}

    def observe_state(self) -> Observation:
        """The observation without images."""
        return {"agent_pos": self._robot.agent_pos(self._tcp(), self._opening())}

    def status(self) -> Status:
        """Ground truth after the last step."""
        robot = RobotState(tcp=self._tcp(), target=self._target(), gripper=self._opening())
        found = self._env.scene.px.get_contacts()
        others = self._task.others
        touching = contacts.touching(found, self._bodies)
        on = contacts.touches(found, self._bodies, self._bodies.target)
        if on and self._task.target.container:
            # The walls of SIMPLER's basket are part of the sink's body; its floor is the target.
            touching -= {self._task.scene.name}
        scene = SceneState(
            source=self._body(self._task.source),
            target=self._body(self._task.target),
            touching=touching,
            grasped=self._is_grasped(found),
            touches_target=on,
            touches_robot=contacts.touches(found, self._bodies, self._bodies.links),
            on_target=bool(self._evaluation["success"]) if "success" in self._evaluation else None,
            others=tuple(self._body(spec) for spec in (*others, *self._distractors)),
            touches={spec.name: self._touch(found, spec) for spec in others},
        )
        return Status(robot, scene)

    def close(self) -> None:
        """Release the scene. May be called twice."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _load(self) -> Any:
        """ManiSkill's environment; importing it and loading the meshes takes some seconds."""
        from vlm2vla_sim.envs.simpler import scenes

        return scenes.make_scene(
            self._own,
            profile=self.profile,
            shader=self._shader,
            render_backend=self._render_backend,
            variation=self._variation,
            others=self._distractors,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> SimplerBackend:
        raise SettingError(
            "An environment on the backend 'simpler' cannot be copied: its scene is held by SAPIEN. Make another one "
            "with gymnasium.make and reset it to the same episode."
        )

    def _render(self, size: tuple[int, int]) -> np.ndarray:
        with _upstream("rendering"):
            observation = self._env.get_obs(self._evaluation, unflattened=True)
        image = observation["sensor_data"][CAMERA]["rgb"][0].cpu().numpy()
        if image.shape[:2] != size:
            height, width = size
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
        return image

    def _tcp(self) -> Pose:
        pose = self._links[TCP].pose.sp
        return self._base.pose_from_world(pose.p, pose.q)

    def _target(self) -> Pose:
        numbers = self._env.agent.get_controller_state()["arm"]["target_pose"][0].numpy().astype(np.float64)
        return Pose(numbers[:3], numbers[3:] / np.linalg.norm(numbers[3:]))

    def _opening(self) -> float:
        return self._robot.gripper.opening(float(self._env.agent.robot.get_qpos()[0, -2:].mean()))

    def _body(self, spec: ObjectSpec) -> Body:
        body = self._env.objs[assets.actor_name(self._own, spec)]._bodies[0]
        own = body.entity.pose
        centre = (own * body.cmass_local_pose).p
        return spec.body(self._base.pose_from_world(centre, own.q))

    def _is_grasped(self, found: list[Any]) -> bool:
        if self.profile == "maniskill3":
            return bool(self._env.agent.is_grasping(self._env.objs[self._task.source.model]))
        return contacts.is_grasped(found, self._bodies, self._finger_openings())

    def _touch(self, found: list[Any], spec: ObjectSpec) -> Touch:
        bodies = dataclasses.replace(self._bodies, source=self._numbers[spec.name], target=frozenset())
        return Touch(
            contacts.touching(found, bodies),
            contacts.touches(found, bodies, bodies.links),
            contacts.is_grasped(found, bodies, self._finger_openings()),
        )

    def _finger_openings(self) -> tuple[np.ndarray, np.ndarray]:
        """(3,) each, world: the directions in which the left and the right finger open."""
        left, right = (self._links[f"{side}_finger_link"].pose.sp.q for side in ("left", "right"))
        return frames.quaternion_to_matrix(left)[:, 1], -frames.quaternion_to_matrix(right)[:, 1]

    def _identify(self) -> contacts.Bodies:
        numbers = self._numbers = {str(part.name): number for number, part in self._env.segmentation_id_map.items()}
        actors = {assets.actor_name(self._own, spec): spec.name for spec in self._task.objects}
        return contacts.Bodies(
            source=numbers[assets.actor_name(self._own, self._task.source)],
            target=frozenset({numbers[assets.actor_name(self._own, self._task.target)]}),
            links=frozenset(numbers[name] for name in self._links),
            fingers=(numbers["left_finger_link"], numbers["right_finger_link"]),
            names={number: actors.get(name) or NAMES.get(name, name) for name, number in numbers.items()},
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
    if profile == "maniskill3" and not is_built_in(task):
        raise SettingError(
            f"The profile 'maniskill3' has ManiSkill's own four tasks only, not {task.name!r}; use profile='simpler'."
        )


def check_variation(task: Task, profile: str, variation: Variation) -> None:
    """SettingError with a sentence for what SIMPLER's scene of `task` cannot have."""
    if profile == "maniskill3":
        inside = [name for name in variation.changed if not name.startswith(("image_", "jpeg_", "layout_"))]
        refuse(inside, "the profile 'maniskill3' leaves ManiSkill's scene as it is; use profile='simpler'.")
    if variation.target_colour and task.target.fixed is not None:
        raise part_of_scene(task, "target_colour")
    for which, spec in (("source", task.source), ("target", task.target)):
        if spec.card:
            refuse(variation.changes(f"{which}_"), f"the {spec.name} is a printed card here; use the backend 'mujoco'.")
    check_photo(task.scene, variation)
    variation.home(task)


@contextlib.contextmanager
def _upstream(doing: str) -> Iterator[None]:
    """Call ManiSkill: hide warnings about its own code, and report failures of SAPIEN as BackendFaultError.

    ManiSkill composes each image with torch. The tensors are so small that further threads only wait for each other:
    on two cores a step with its image takes three times the CPU time. So torch gets one thread here, and a model of
    this process keeps its own number of threads.
    """
    import torch

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        try:
            yield
        except RuntimeError as error:
            raise BackendFaultError(f"SAPIEN failed during {doing}: {error}") from error
        finally:
            torch.set_num_threads(threads)
