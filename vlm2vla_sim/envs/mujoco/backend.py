"""Backend "mujoco": the MuJoCo twin of the SIMPLER WidowX scenes, on any CPU, without downloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.envs.cameras import Camera, read_cameras
from vlm2vla_sim.envs.distractors import choose_distractors, place_distractors
from vlm2vla_sim.envs.image_effects import ImageEffects
from vlm2vla_sim.envs.mujoco import arm, scene
from vlm2vla_sim.envs.mujoco.contacts import ContactReader
from vlm2vla_sim.envs.mujoco.drawing.backdrop import read_backdrop
from vlm2vla_sim.envs.mujoco.ik import ArmSolver
from vlm2vla_sim.envs.mujoco.renderer import OffscreenRenderer
from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.envs.variation import Variation
from vlm2vla_sim.errors import EpisodeError, unknown_name
from vlm2vla_sim.types import Pose, RobotState, SceneState, Status, Touch

QUALITIES = ("fast", "high")
BACKDROPS = ("stage", "photo")
DROP = 0.004
"""[m] above its resting height at which an object is released."""
SETTLE_SECONDS = 1.0


class MujocoBackend:
    """A task's scene in MuJoCo; see `envs.base.Backend` for the methods."""

    scene_camera = True
    profile = "twin"

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        backdrop: str = "stage",
        cameras: Mapping[str, Camera] | None = None,
        variation: Variation | None = None,
    ) -> None:
        """Compile the scene.

        Args:
            task: what is simulated.
            image_size: (height, width) of the image; None renders none.
            quality: "fast", or "high" with cast shadows and anti-aliasing.
            backdrop: "stage" draws table or sink; "photo" shows SIMPLER's photo behind robot and objects, as SIMPLER
                does, and needs SIMPLER's assets (`vlm2vla assets`).
            cameras: further cameras, by name. Their images are in observation["pixels"] beside "primary". They show
                the drawn stage, also where "primary" shows the photo. It is drawn as far as "primary" sees it, and the
                image is black beyond.
            variation: what differs from SIMPLER's scene; an environment is given its fields by name.

        Raises:
            UnknownNameError: no such quality or backdrop.
            SettingError: the variation cannot be had in this scene, an object has no look, or a camera makes no sense.
            AssetsError: the photo is missing.
        """
        if quality not in QUALITIES:
            raise unknown_name("quality", quality, QUALITIES)
        if backdrop not in BACKDROPS:
            raise unknown_name("backdrop", backdrop, BACKDROPS)
        variation = variation or Variation()
        self.layout_margin = variation.layout_margin
        self._task = task = variation.scale(task)
        self._home = variation.home(task)
        self._image_size = image_size
        self._photo = read_backdrop(task, image_size, variation) if backdrop == "photo" and image_size else None
        self._distractors = choose_distractors(task, variation.distractors)
        self._cameras = read_cameras(cameras, image_size)
        self._effects = ImageEffects(variation)
        self._model = scene.build_model(
            task,
            quality=quality,
            image_size=image_size,
            extras=(*task.others, *self._distractors),
            cameras=self._cameras,
            variation=variation,
        )
        self._data = mujoco.MjData(self._model)
        self._substeps = round(1.0 / (CONTROL_HZ * self._model.opt.timestep))
        self._robot = robot = task.arm
        self._solver = ArmSolver(self._model, robot)
        self._contacts = ContactReader(self._model, robot, source=task.source.name, target=task.target.name)
        self._further = {
            spec.name: ContactReader(self._model, robot, source=spec.name, target="") for spec in task.others
        }
        self._arm_qpos = [int(self._model.joint(name).qposadr[0]) for name in robot.arm_joints]
        self._finger_qpos = [int(self._model.joint(name).qposadr[0]) for name in robot.gripper.joints]
        self._arm_ctrl = [self._model.actuator(name).id for name in robot.arm_joints]
        self._finger_ctrl = [self._model.actuator(name).id for name in robot.gripper.joints]
        self._site = self._model.site(arm.TCP).id
        self._target = Pose(np.zeros(3), np.array([1.0, 0, 0, 0]))
        # Made when the first image is rendered: a process that has rendered cannot be forked safely, and vector
        # environments make one environment in the parent.
        self._renderer: OffscreenRenderer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies: everything but the OpenGL context. A copy opens its own when it renders."""
        return self.__dict__ | {"_renderer": None}

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Place the objects, let them come to rest, arm at home, gripper open. `rng`: for distractors and noise."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._arm_qpos] = self._home
        self._data.ctrl[self._arm_ctrl] = self._home
        self._data.qpos[self._finger_qpos] = self._robot.gripper.open
        self._data.ctrl[self._finger_ctrl] = self._robot.gripper.open
        rest = self._task.source_rest(layout)
        heights = self._task.base_heights
        for spec, place in self._task.places(layout):
            if spec is self._task.source and rest is not None:
                self._put(spec.name, rest.pose())
            elif spec.fixed is None:
                self._place(spec.name, place.xy, place.yaw, above=heights.get(spec.name, 0.0))
        places = place_distractors(self._task, self._distractors, layout, rng)
        for distractor, (xy, yaw) in zip(self._distractors, places, strict=True):
            self._place(distractor.name, xy, yaw)
        mujoco.mj_step(self._model, self._data, nstep=round(SETTLE_SECONDS / self._model.opt.timestep))
        mujoco.mj_forward(self._model, self._data)
        self._target = self._tcp()
        self._effects.start(rng)

    def move(self, delta: np.ndarray) -> None:
        """One control step: advance the target, solve for the joints, run the servos for a fifth of a second."""
        self._target = frames.advance_target(self._target, self._tcp(), delta)
        now = self._data.qpos[self._arm_qpos]
        angles = self._solver.solve(self._target, now)
        # Out of reach: hold the present angles, as SIMPLER does.
        # simpler-env/ManiSkill2_real2sim@ef7a4d4 pd_ee_pose.py:114-116
        self._data.ctrl[self._arm_ctrl] = now if angles is None else angles
        gripper = self._robot.gripper
        self._data.ctrl[self._finger_ctrl] = gripper.open if delta[6] > 0.5 else gripper.closed
        mujoco.mj_step(self._model, self._data, nstep=self._substeps)
        # Positions and contacts that belong to the state after the last substep, not before it.
        mujoco.mj_forward(self._model, self._data)
        self._effects.advance()

    def observe(self) -> Observation:
        """The image of SIMPLER's camera, and the proprioception (`Robot.agent_pos`)."""
        state = self.observe_state()
        if self._image_size is None:
            return state
        pixels = self.renderer().render(self._data, scene.PRIMARY_CAMERA)
        if self._photo is not None:
            pixels = np.where(self.foreground()[..., None], pixels, self._photo)
        others = {n: self.renderer().render(self._data, n, camera.size) for n, camera in self._cameras.items()}
        return {"pixels": self._effects.apply({"primary": pixels, **others}), **state}

    def observe_state(self) -> Observation:
        """The observation without images."""
        return {"agent_pos": self._robot.agent_pos(self._tcp(), self._opening())}

    @property
    def camera_sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of the image of every camera besides "primary"."""
        return {name: camera.size for name, camera in self._cameras.items() if camera.size is not None}

    def renderer(self) -> OffscreenRenderer:
        """The renderer, made when it is first asked for; EpisodeError for an environment without images."""
        if self._image_size is None:
            raise EpisodeError("No image can be rendered: the environment was made with image_size=None.")
        if self._renderer is None:
            self._renderer = OffscreenRenderer(self._model, *self._image_size)
        return self._renderer

    def foreground(self) -> np.ndarray:
        """(H, W) bool: where the robot or an object is visible, which SIMPLER cuts out of its own rendering."""
        return self.segmentation() > 0

    def segmentation(self) -> np.ndarray:
        """(H, W) int32: the id of the body that is visible in each pixel, 0 for the stage."""
        return self.renderer().segment(self._data, scene.PRIMARY_CAMERA)

    def body_name(self, number: int) -> str:
        """The name of a body of `segmentation`."""
        return self._model.body(number).name

    def status(self) -> Status:
        """Ground truth after the last step."""
        robot = RobotState(tcp=self._tcp(), target=self._target, gripper=self._opening())
        touch = self._contacts.read(self._data)
        source, target = self._task.source, self._task.target
        on = self._com(target.name) if target.fixed is None else target.fixed.pose()
        bodies = source.body(self._com(source.name)), target.body(on)
        further = *self._task.others, *self._distractors
        others = tuple(spec.body(self._com(spec.name)) for spec in further)
        read = {name: reader.read(self._data) for name, reader in self._further.items()}
        touches = {name: Touch(one.touching, one.touches_robot, one.grasped) for name, one in read.items()}
        return Status(robot, SceneState(*bodies, **vars(touch), others=others, touches=touches))

    def close(self) -> None:
        """Free the renderer. May be called twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _place(self, name: str, xy: tuple[float, float], yaw: float, *, above: float = 0.0) -> None:
        stage = self._task.scene
        turn = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
        pose = stage.base.pose_from_world(np.array([*xy, stage.support_height + above + DROP]), turn)
        address = int(self._model.joint(name).qposadr[0])
        self._data.qpos[address : address + 7] = [*pose.position, *pose.quaternion]
        mujoco.mj_kinematics(self._model, self._data)
        self._data.qpos[address + 2] += pose.position[2] - self._lowest(name)

    def _put(self, name: str, rest: Pose) -> None:
        """Put an object so that its centre of mass and its rotation are those of `rest`."""
        turn = rest.quaternion / np.linalg.norm(rest.quaternion)
        offset = frames.quaternion_to_matrix(turn) @ self._model.body(name).ipos
        address = int(self._model.joint(name).qposadr[0])
        self._data.qpos[address : address + 7] = [*(rest.position - offset), *turn]

    def _lowest(self, name: str) -> float:
        """[m] height of the lowest corner of the boxes around the object's collision geoms."""
        model, data, body = self._model, self._data, self._model.body(name)
        geoms = np.arange(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
        geoms = geoms[model.geom_group[geoms] == arm.COLLISION]
        rows = data.geom_xmat[geoms].reshape(-1, 3, 3)[:, 2]
        centre, half = model.geom_aabb[geoms, :3], model.geom_aabb[geoms, 3:]
        return float((data.geom_xpos[geoms, 2] + (rows * centre).sum(1) - (np.abs(rows) * half).sum(1)).min())

    def _tcp(self) -> Pose:
        rotation = self._data.site_xmat[self._site].reshape(3, 3)
        return Pose(self._data.site_xpos[self._site], frames.matrix_to_quaternion(rotation))

    def _com(self, name: str) -> Pose:
        body = self._data.body(name)
        return Pose(body.xipos, body.xquat / np.linalg.norm(body.xquat))

    def _opening(self) -> float:
        return self._robot.gripper.opening(float(self._data.qpos[self._finger_qpos].mean()))
