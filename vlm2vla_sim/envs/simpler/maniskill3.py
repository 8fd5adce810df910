"""The SIMPLER scenes on ManiSkill 3: the simulation behind the profiles "simpler" and "maniskill3" (see `scenes`)."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.distractors import choose_distractors, place_distractors
from vlm2vla_sim.envs.simpler import assets, contacts, devices
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task
from vlm2vla_sim.envs.variation import Variation
from vlm2vla_sim.errors import BackendFaultError
from vlm2vla_sim.types import Body, Pose, RobotState, SceneState, Touch

CAMERA = "3rd_view_camera"
TCP = "ee_gripper_link"
"""ManiSkill's names of the camera and of the link between the fingers."""
NAMES = {"arena": "table"}
"""ManiSkill's name of a body -> ours in `SceneState.touching`, where they differ."""


class ManiSkill3:
    """A task's scene on ManiSkill 3; see `simulation.Simulation` for the methods."""

    versions: dict[str, str] = {}  # noqa: RUF012 - what runs in this process says it itself
    upstream_success = None

    def __init__(self, task: Task, *, profile: str, shader: str, render_backend: str, variation: Variation) -> None:
        """Check that the scene can run here; `reset` loads it.

        Args:
            task: what is simulated, with SIMPLER's own sizes.
            profile: "simpler" or "maniskill3".
            shader: ManiSkill's shader pack.
            render_backend: as `devices.RENDER_BACKENDS`.
            variation: what differs from SIMPLER's scene.

        Raises:
            AssetsError, MissingExtraError, RendererError: files, packages or a driver are missing.
        """
        self._own, self._variation, self._profile = task, variation, profile
        self._distractors = choose_distractors(task, variation.distractors)
        assets.prepare()
        self._render_backend = devices.probe().choose(render_backend)
        self._shader = shader
        self._task = variation.scale(task)
        self._robot = task.arm
        self._base = task.scene.base
        # Made at the first reset: a vector environment makes one environment in the parent process only for its spaces.
        self.env: Any = None

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Start `layout` in a new physics scene; in a used one the same episode would end differently."""
        with _upstream("reset"):
            if self.env is None:
                self.env = self._load()
            options: dict[str, Any] = {"layout": layout, "reconfigure": True}
            if self._distractors:
                options["places"] = place_distractors(self._task, self._distractors, layout, rng)
            _, self._evaluation = self.env.reset(options=options)
        self._links = self.env.agent.robot.links_map
        self._bodies = self._identify()

    def move(self, delta: np.ndarray) -> None:
        """One control step of 100 substeps; delta: (7,) float64, see `types.ACTION_SIZE`."""
        step = delta[:3]
        if self._profile == "simpler":
            # ManiSkill rotates the target about itself, the original about the gripper; a translation corrects this.
            before = self._target()
            step = frames.advance_target(before, self._tcp(), delta).position - before.position
        turn = frames.rotvec_to_euler_XYZ(delta[3:6])
        action = np.array([*step, *turn, frames.gripper_to_simpler(delta[6])], dtype=np.float32)
        with _upstream("step"):
            # ManiSkill's step() without its image, which takes nine tenths of the time: `image` renders it.
            self.env._step_action(action)
            self._evaluation = self.env.get_info()

    def image(self) -> np.ndarray:
        """(480, 640, 3) uint8: SIMPLER's image, now."""
        with _upstream("rendering"):
            observation = self.env.get_obs(self._evaluation, unflattened=True)
        return observation["sensor_data"][CAMERA]["rgb"][0].cpu().numpy()

    def robot(self) -> RobotState:
        """The arm after the last step."""
        opening = self._robot.gripper.opening(float(self.env.agent.robot.get_qpos()[0, -2:].mean()))
        return RobotState(tcp=self._tcp(), target=self._target(), gripper=opening)

    def scene(self) -> SceneState:
        """Ground truth of the objects after the last step."""
        found = self.env.scene.px.get_contacts()
        others = self._task.others
        touching = contacts.touching(found, self._bodies)
        on = contacts.touches(found, self._bodies, self._bodies.target)
        if on and self._task.target.container:
            # The walls of SIMPLER's basket are part of the sink's body; its floor is the target.
            touching -= {self._task.scene.name}
        return SceneState(
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

    def close(self) -> None:
        """Release the scene. May be called twice."""
        if self.env is not None:
            self.env.close()
            self.env = None

    def _load(self) -> Any:
        """ManiSkill's environment; importing it and loading the meshes takes some seconds."""
        from vlm2vla_sim.envs.simpler import scenes

        return scenes.make_scene(
            self._own,
            profile=self._profile,
            shader=self._shader,
            render_backend=self._render_backend,
            variation=self._variation,
            others=self._distractors,
        )

    def _tcp(self) -> Pose:
        pose = self._links[TCP].pose.sp
        return self._base.pose_from_world(pose.p, pose.q)

    def _target(self) -> Pose:
        numbers = self.env.agent.get_controller_state()["arm"]["target_pose"][0].numpy().astype(np.float64)
        return Pose(numbers[:3], numbers[3:] / np.linalg.norm(numbers[3:]))

    def _body(self, spec: ObjectSpec) -> Body:
        body = self.env.objs[assets.actor_name(self._own, spec)]._bodies[0]
        own = body.entity.pose
        centre = (own * body.cmass_local_pose).p
        return spec.body(self._base.pose_from_world(centre, own.q))

    def _is_grasped(self, found: list[Any]) -> bool:
        if self._profile == "maniskill3":
            return bool(self.env.agent.is_grasping(self.env.objs[self._task.source.model]))
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
        numbers = self._numbers = {str(part.name): number for number, part in self.env.segmentation_id_map.items()}
        actors = {assets.actor_name(self._own, spec): spec.name for spec in self._task.objects}
        return contacts.Bodies(
            source=numbers[assets.actor_name(self._own, self._task.source)],
            target=frozenset({numbers[assets.actor_name(self._own, self._task.target)]}),
            links=frozenset(numbers[name] for name in self._links),
            fingers=(numbers["left_finger_link"], numbers["right_finger_link"]),
            names={number: actors.get(name) or NAMES.get(name, name) for name, number in numbers.items()},
        )


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
