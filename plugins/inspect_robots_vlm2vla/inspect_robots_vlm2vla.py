"""Inspect Robots: the embodiment "vlm2vla" (WidowX, SIMPLER's tasks), policies of `vlm2vla_sim`, and the task.

Interfaces: inspect-robots 0.60.0 embodiment.py, policy.py, task.py. A scene is one of SIMPLER's episodes of one task;
its success is that of the last step, SIMPLER's official rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from inspect_robots.embodiment import PRIVILEGED_SUCCESS, RESETTABLE, SEEDABLE, EmbodimentBase, EmbodimentInfo
from inspect_robots.policy import PolicyBase, PolicyConfig, PolicyInfo
from inspect_robots.scene import Scene
from inspect_robots.spaces import ActionSemantics, Box, CameraSpec, ObservationSpace, StateField, StateSpec
from inspect_robots.task import Task
from inspect_robots.types import Action, ActionChunk, Observation, StepResult

from vlm2vla_sim.envs.base import CONTROL_HZ, WidowXEnv
from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.envs.motion import MAX_STEP, MAX_TURN
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy, needs_truth
from vlm2vla_sim.policies.base import decide

CAMERA, STATE = "primary", "agent_pos"
HIGH = np.array([*[MAX_STEP] * 3, *[MAX_TURN] * 3, 1.0])
ACTIONS = Box(
    shape=(7,),
    low=np.append(-HIGH[:6], 0.0),
    high=HIGH,
    semantics=ActionSemantics(
        control_mode="eef_delta_pose",
        rotation_repr="axis_angle",
        gripper="continuous",
        frame="base",
        dim_labels=("dx", "dy", "dz", "rx", "ry", "rz", "gripper"),
    ),
)
DOCS = (
    "Deltas in the frame of the robot's base: +x forward, +y left, +z up [m]; rotation vector [rad]; gripper 0 closed, "
    "1 open."
)


def _observations(size: tuple[int, int]) -> ObservationSpace:
    state = StateSpec((StateField(STATE, (7,), "x, y, z [m], roll, pitch, yaw [rad], opening", "float32"),))
    return ObservationSpace(cameras=(CameraSpec(CAMERA, *size),), state=state)


def simpler_task(task: str = "carrot_on_plate", episodes: int = 24) -> Task:
    """The first `episodes` of SIMPLER's layouts of a task."""
    found = get_task(task)
    if not 1 <= episodes <= len(found.layouts):
        raise SettingError(f"episodes is {episodes}; {task} has {len(found.layouts)}.")
    scenes = [
        Scene(f"{found.name}-{number:02d}", found.instruction, metadata={"task": found.name, "episode_id": number})
        for number in range(episodes)
    ]
    return Task(f"vlm2vla/{found.name}", scenes, "success_at_end", max_steps=found.max_steps)


class WidowXEmbodiment(EmbodimentBase):
    """A `WidowXEnv` whose task and episode a scene names."""

    def __init__(self, backend: str = "mujoco", height: int = 480, width: int = 640, **options: Any) -> None:
        self._options = {"backend": backend, "image_size": (height, width), **options}
        self._env: WidowXEnv | None = None
        self._steps = 0
        self.info = EmbodimentInfo(
            name="vlm2vla",
            action_space=ACTIONS,
            observation_space=_observations((height, width)),
            control_hz=float(CONTROL_HZ),
            is_simulated=True,
            capabilities=frozenset({SEEDABLE, RESETTABLE, PRIVILEGED_SUCCESS}),
            docs=DOCS,
            environment_id=f"vlm2vla_sim/{backend}",
        )

    def reset(self, scene: Scene, *, seed: int | None = None) -> Observation:
        """Start the episode of a scene that `simpler_task` made; SettingError for another one."""
        if not {"task", "episode_id"} <= set(scene.metadata):
            raise SettingError(f"The scene {scene.id!r} names no task and episode_id; use the task vlm2vla.")
        if self._env is None or self._env.task != scene.metadata["task"]:
            self.close()
            self._env = WidowXEnv(scene.metadata["task"], **self._options)
        self._steps = 0
        observation, _ = self._env.reset(seed=seed, options={"episode_id": scene.metadata["episode_id"]})
        return self._observation(observation, scene.instruction)

    def step(self, action: Action) -> StepResult:
        """Make one control step."""
        assert self._env is not None, "step() before reset()"
        observation, reward, _, _, info = self._env.step(np.asarray(action.data, np.float32))
        self._steps += 1
        success, last = bool(info["is_success"]), self._steps == self._env.spec_task.max_steps
        return StepResult(
            self._observation(observation, self._env.task_description),
            reward=reward,
            terminated=success and last,
            termination_reason="success" if success and last else None,
            truncated=last and not success,
            info={"success": success, "clipped": info["clipped"]},
        )

    def close(self) -> None:
        """Close the environment."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _observation(self, seen: dict[str, Any], instruction: str) -> Observation:
        return Observation({CAMERA: seen["pixels"]["primary"]}, {STATE: seen["agent_pos"]}, instruction)


class LanguagePolicy(PolicyBase):
    """A policy of `vlm2vla_sim`; each decision is a chunk of control steps. options: of the policy."""

    def __init__(self, policy: str = "mini", action_format: str = "vlm2vla", steps: int = 60, **options: Any) -> None:
        if needs_truth(policy):
            raise SettingError(
                f"The policy {policy!r} reads the simulator's truth, which Inspect Robots does not pass on."
            )
        context = PolicyContext(task="", steps=steps, action_format=get_format(action_format), options=options)
        self._policy, self._executor, self._trial = load_policy(policy, context), Executor(), 0
        self.config = PolicyConfig()
        self.info = PolicyInfo(f"vlm2vla/{policy}", ACTIONS, _observations((480, 640)), control_hz=float(CONTROL_HZ))

    def reset(self, scene: Scene) -> None:
        """Begin a scene; the policy's randomness comes from the number of the trial."""
        self._policy.reset(scene.instruction, seed=self._trial)
        self._trial, self._executor = self._trial + 1, Executor()

    def act(self, observation: Observation) -> ActionChunk:
        """The control steps of the next decision; one that holds still where there is none."""
        seen = {"pixels": {"primary": observation.images[CAMERA]}, "agent_pos": observation.state[STATE]}
        decision = decide(self._policy, seen)
        words = {} if decision is None else {"plan": decision.plan, "action": decision.action, "error": decision.error}
        steps = [step.action for step in self._executor.steps(decision.chunk if decision else None)]
        return ActionChunk([Action(step) for step in steps], control_hz=float(CONTROL_HZ), meta=words)
