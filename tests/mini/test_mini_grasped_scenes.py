"""Sampled states with a held or a stacked object agree with what physics does."""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from vlm2vla_sim.envs import motion, tasks
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.mini.scenes.annotation import TABLE, ObjectAnnotation, SceneAnnotation
from vlm2vla_sim.mini.scenes.arrangement import heading
from vlm2vla_sim.mini.scenes.arrangement_sampler import HELD_DROP
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, STACKED_OFFSET, Grasp, label
from vlm2vla_sim.mini.training.expert_labels import ExpertLabeler
from vlm2vla_sim.mini.training.expert_plans import plan_and_rows
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S


def grasp_of(name: str) -> Grasp:
    grasp = BY_CLASS[label(name)].grasp
    assert grasp is not None
    return grasp


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_grasped_object_hangs_and_opens_the_gripper_as_sampled(name: str) -> None:
    env = gym.make(tasks.get_task(name).env_id, image_size=None).unwrapped
    env.reset(seed=0, options={"episode_id": 0})
    status = env._backend.status()  # type: ignore[attr-defined]
    objects = [
        ObjectAnnotation(
            label(body.name),
            label(body.name),
            tuple(map(float, body.pose.position)),  # type: ignore[arg-type]
            (np.degrees(heading(body.pose)) + 90) % 180 - 90,
            TABLE,
            9000,
            "",
        )
        for body in (status.scene.source, status.scene.target)
    ]
    state = WIDOWX_250S.agent_pos(status.robot.tcp, status.robot.gripper)
    x, y, z = map(float, state[:3])
    annotation = SceneAnnotation(
        tasks.get_task(name).scene.name, tuple(objects), (x, y, z), float(np.degrees(state[5])), 1.0
    )
    action_format = get_format("vlm2vla")
    _, rows = plan_and_rows(annotation, (objects[0], objects[1]), putting=False)
    for action in motion.split(action_format.read(ExpertLabeler(action_format).write(rows)).deltas, gripper=1.0):
        env.step(action)
    status = env._backend.status()  # type: ignore[attr-defined]
    assert status.scene.grasped
    assert status.robot.gripper == pytest.approx(grasp_of(status.scene.source.name).opening, abs=0.1)
    hanging = status.scene.source.pose.position[2] - status.robot.tcp.position[2]
    assert HELD_DROP[0] - 0.004 < hanging < HELD_DROP[1] + 0.004
    env.close()


@pytest.mark.parametrize("turned", [0.0, np.pi / 4])
def test_a_cube_at_the_greatest_sampled_offset_stays_on_the_other(turned: float) -> None:
    task = tasks.get_task("stack_cube")
    env = gym.make(task.env_id, image_size=None).unwrapped
    env.reset(seed=0, options={"episode_id": 0})
    model, data = env._backend._model, env._backend._data  # type: ignore[attr-defined]
    green, yellow = (int(model.joint(name).qposadr[0]) for name in ("green_cube", "yellow_cube"))
    height, rest = data.qpos[yellow + 2], grasp_of("green_cube").resting_height
    data.qpos[yellow + 3 : yellow + 7] = [np.cos(turned / 2), 0, 0, np.sin(turned / 2)]
    data.qpos[green : green + 7] = data.qpos[yellow : yellow + 7]
    data.qpos[green : green + 3] += [STACKED_OFFSET[1], STACKED_OFFSET[1], 2 * rest]
    mujoco.mj_step(model, data, nstep=round(1.0 / model.opt.timestep))
    assert data.qpos[green + 2] - height == pytest.approx(2 * rest, abs=0.002)
    env.close()
