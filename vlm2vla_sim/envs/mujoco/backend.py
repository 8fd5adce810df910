"""Backend "mujoco": the embedded twin of the SIMPLER WidowX scenes, on any CPU, without downloads.

It is the default because everything else waits for it: rollouts in CI, the demo, the stand-in for the real arm.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.envs.mujoco import arm, scene, starts, variations
from vlm2vla_sim.envs.mujoco.contacts import ContactReader
from vlm2vla_sim.envs.mujoco.drawing.backdrop import read_backdrop
from vlm2vla_sim.envs.mujoco.ik import ArmSolver
from vlm2vla_sim.envs.mujoco.renderer import Picture
from vlm2vla_sim.envs.tasks import BASKET, EGGPLANT, Layout, Task
from vlm2vla_sim.errors import EpisodeError, SettingError, unknown_name
from vlm2vla_sim.types import Body, Pose, RobotState, SceneState, Status

QUALITIES = ("fast", "high")
BACKDROPS = ("stage", "photo")
DROP = 0.004
"""[m] above its resting height at which an object is let go."""
SETTLE_SECONDS = 1.0


class MujocoBackend:
    """The four Bridge scenes in MuJoCo; see `envs.base.Backend` for the contract."""

    profile = "twin"

    def __init__(
        self,
        task: Task,
        *,
        image_size: tuple[int, int] | None = (480, 640),
        quality: str = "fast",
        backdrop: str = "stage",
        source_colour: str = "",
        target_colour: str = "",
        distractors: int = 0,
    ) -> None:
        """Compile the scene.

        source_colour, target_colour: paint the object that is to be moved, or what it goes to, in a colour of
        `envs.colours`; empty for their own looks. distractors: how many things besides lie on the table, placed anew,
        by the environment's seed, at every reset.
        backdrop: "stage" draws table and sink; "photo" lays SIMPLER's own photo behind robot and objects, as SIMPLER
        does, and needs SIMPLER's assets (`vlm2vla assets`).
        """
        if quality not in QUALITIES:
            raise unknown_name("quality", quality, QUALITIES)
        if backdrop not in BACKDROPS:
            raise unknown_name("backdrop", backdrop, BACKDROPS)
        self._task = task
        self._image_size = image_size
        self._photo = read_backdrop(task, image_size) if backdrop == "photo" and image_size else None
        self._others = variations.choose_others(task, distractors)
        self._model = scene.build_model(task, quality=quality, image_size=image_size, extras=self._others)
        for name, colour in ((task.source.name, source_colour), (task.target.name, target_colour)):
            if colour:
                self._paint(name, variations.find_colour(colour))
        self._data = mujoco.MjData(self._model)
        self._substeps = round(1.0 / (CONTROL_HZ * self._model.opt.timestep))
        self._solver = ArmSolver(self._model)
        self._contacts = ContactReader(self._model, source=task.source.name, target=task.target.name)
        self._arm_qpos = [int(self._model.joint(name).qposadr[0]) for name in arm.ARM_JOINTS]
        self._finger_qpos = [int(self._model.joint(name).qposadr[0]) for name in arm.FINGER_JOINTS]
        self._arm_ctrl = [self._model.actuator(name).id for name in arm.ARM_JOINTS]
        self._finger_ctrl = [self._model.actuator(name).id for name in arm.FINGER_JOINTS]
        self._site = self._model.site(arm.TCP).id
        self._target = Pose(np.zeros(3), np.array([1.0, 0, 0, 0]))
        # Made at the first picture: a process that has drawn cannot be forked safely, and vector environments build one
        # environment in the parent.
        self._picture: Picture | None = None

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Place the objects, let them come to rest, arm at home with the gripper open. Only distractors are random."""
        mujoco.mj_resetData(self._model, self._data)
        home = np.array(self._task.scene.home)
        self._data.qpos[self._arm_qpos] = home
        self._data.ctrl[self._arm_ctrl] = home
        self._data.qpos[self._finger_qpos] = frames.FINGER_OPEN
        self._data.ctrl[self._finger_ctrl] = arm.FINGER_TARGET_OPEN
        if self._task.source is EGGPLANT and layout in self._task.layouts:
            self._put(EGGPLANT.name, *starts.EGGPLANT[self._task.layouts.index(layout)])
        else:
            self._place(self._task.source.name, layout.source_xy, layout.source_yaw)
        if self._task.target is not BASKET:
            self._place(self._task.target.name, layout.target_xy, layout.target_yaw)
        places = variations.place_others(self._task, self._others, layout, rng)
        for other, (xy, yaw) in zip(self._others, places, strict=True):
            self._place(other.name, xy, yaw)
        mujoco.mj_step(self._model, self._data, nstep=round(SETTLE_SECONDS / self._model.opt.timestep))
        mujoco.mj_forward(self._model, self._data)
        self._target = self._tcp()

    def move(self, delta: np.ndarray) -> None:
        """One control step: advance the target, solve for the joints, run the servos for a fifth of a second."""
        self._target = frames.advance_target(self._target, self._tcp(), delta)
        now = self._data.qpos[self._arm_qpos]
        angles = self._solver.solve(self._target, now)
        # Out of reach: stay, as SIMPLER does (simpler-env/ManiSkill2_real2sim@ef7a4d4 pd_ee_pose.py:114-116).
        self._data.ctrl[self._arm_ctrl] = now if angles is None else angles
        closed, opened = arm.FINGER_TARGET_CLOSED, arm.FINGER_TARGET_OPEN
        self._data.ctrl[self._finger_ctrl] = opened if delta[6] > 0.5 else closed
        mujoco.mj_step(self._model, self._data, nstep=self._substeps)
        # Positions and contacts that belong to the state after the last substep, not before it.
        mujoco.mj_forward(self._model, self._data)

    def observe(self) -> Observation:
        """The picture of SIMPLER's camera and Bridge's proprioception."""
        state = frames.agent_pos(self._tcp(), self._opening())
        if self._image_size is None:
            return {"agent_pos": state}
        if self._picture is None:
            self._picture = Picture(self._model, *self._image_size)
        pixels = self._picture.draw(self._data, scene.PRIMARY_CAMERA)
        if self._photo is not None:
            pixels = np.where(self.foreground()[..., None], pixels, self._photo)
        return {"pixels": {"primary": pixels}, "agent_pos": state}

    def foreground(self) -> np.ndarray:
        """(H, W) bool: where the robot or a loose object is seen, which is what SIMPLER cuts out of its own drawing."""
        return self.seen() > 0

    def seen(self) -> np.ndarray:
        """(H, W) int32: the id of the body seen in each pixel, 0 for the stage."""
        if self._image_size is None:
            raise EpisodeError("Nothing is drawn: the environment was made with image_size=None.")
        if self._picture is None:
            self._picture = Picture(self._model, *self._image_size)
        return self._picture.bodies(self._data, scene.PRIMARY_CAMERA)

    def body_name(self, number: int) -> str:
        """The name of a body of `seen`."""
        return self._model.body(number).name

    def status(self) -> Status:
        """Ground truth after the last step."""
        robot = RobotState(tcp=self._tcp(), target=self._target, gripper=self._opening())
        touching, grasped = self._contacts.read(self._data)
        source = Body(self._task.source.name, self._com(self._task.source.name), np.array(self._task.source.extents))
        target = Body(self._task.target.name, self._target_body(), np.array(self._task.target.extents))
        return Status(robot, SceneState(source=source, target=target, touching=touching, grasped=grasped))

    def close(self) -> None:
        """Free the renderer."""
        if self._picture is not None:
            self._picture.close()
            self._picture = None

    def _paint(self, name: str, colour: tuple[float, float, float]) -> None:
        if name == BASKET.name:
            raise SettingError("The basket is part of the sink and cannot be painted; leave its colour out.")
        variations.paint(self._model, name, colour)

    def _place(self, name: str, xy: tuple[float, float], yaw: float) -> None:
        stage = self._task.scene
        turn = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
        pose = stage.base.pose_from_world(np.array([*xy, stage.support_height + DROP]), turn)
        address = int(self._model.joint(name).qposadr[0])
        self._data.qpos[address : address + 7] = [*pose.position, *pose.quaternion]
        mujoco.mj_kinematics(self._model, self._data)
        self._data.qpos[address + 2] += pose.position[2] - self._lowest(name)

    def _put(self, name: str, com: tuple[float, ...], quaternion: tuple[float, ...]) -> None:
        """Put an object so that its centre of mass [m] and its turn are as given, base frame."""
        turn = np.array(quaternion) / np.linalg.norm(quaternion)
        offset = frames.quaternion_to_matrix(turn) @ self._model.body(name).ipos
        address = int(self._model.joint(name).qposadr[0])
        self._data.qpos[address : address + 7] = [*(com - offset), *turn]

    def _lowest(self, name: str) -> float:
        """[m] height of the lowest corner of the object's collision boxes."""
        model, data, body = self._model, self._data, self._model.body(name)
        geoms = np.arange(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
        geoms = geoms[model.geom_group[geoms] == arm.COLLISION]
        rows = data.geom_xmat[geoms].reshape(-1, 3, 3)[:, 2]
        centre, half = model.geom_aabb[geoms, :3], model.geom_aabb[geoms, 3:]
        return float((data.geom_xpos[geoms, 2] + (rows * centre).sum(1) - (np.abs(rows) * half).sum(1)).min())

    def _tcp(self) -> Pose:
        rotation = self._data.site_xmat[self._site].reshape(3, 3)
        return Pose(self._data.site_xpos[self._site], frames.matrix_to_quaternion(rotation))

    def _target_body(self) -> Pose:
        return scene.BASKET_POSE if self._task.target is BASKET else self._com(self._task.target.name)

    def _com(self, name: str) -> Pose:
        body = self._data.body(name)
        return Pose(body.xipos, body.xquat / np.linalg.norm(body.xquat))

    def _opening(self) -> float:
        return frames.opening_from_finger(float(self._data.qpos[self._finger_qpos].mean()))
