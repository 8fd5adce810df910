"""Scenes in which something is held or stacked are such as physics leaves."""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs import motion, tasks
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.mini.scenes.annotation import TABLE, Facts, Thing
from vlm2vla_sim.mini.scenes.arrangement import BESIDE_BLOCK, HANGING, HELD_OPENING, heading
from vlm2vla_sim.mini.scenes.names import words
from vlm2vla_sim.mini.training.expert_labels import LYING, Teacher


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_grasped_thing_hangs_and_opens_the_gripper_as_arranged(name: str) -> None:
    env = gym.make(tasks.get_task(name).env_id, image_size=None).unwrapped
    env.reset(seed=0, options={"episode_id": 0})
    status = env._backend.status()  # type: ignore[attr-defined]
    things = [
        Thing(
            words(body.name),
            words(body.name),
            tuple(map(float, body.pose.position)),  # type: ignore[arg-type]
            (np.degrees(heading(body.pose)) + 90) % 180 - 90,
            TABLE,
            9000,
            "",
        )
        for body in (status.scene.source, status.scene.target)
    ]
    state = frames.agent_pos(status.robot.tcp, status.robot.gripper)
    at = tuple(map(float, state[:3]))
    facts = Facts(tasks.get_task(name).scene.name, tuple(things), at, float(np.degrees(state[5])), 1.0)  # type: ignore[arg-type]
    action_format = get_format("vlm2vla")
    teacher = Teacher(action_format)
    _, rows = teacher.decide(facts, *things, putting=False)
    for action in motion.split(action_format.read(teacher._write(rows)).deltas, gripper=1.0):
        env.step(action)
    status = env._backend.status()  # type: ignore[attr-defined]
    assert status.scene.grasped
    assert status.robot.gripper == pytest.approx(HELD_OPENING[words(status.scene.source.name)], abs=0.1)
    hanging = status.scene.source.pose.position[2] - status.robot.tcp.position[2]
    assert HANGING[0] - 0.004 < hanging < HANGING[1] + 0.004
    env.close()


@pytest.mark.parametrize("turned", [0.0, np.pi / 4])
def test_a_block_put_down_as_far_beside_the_middle_as_arranged_stays_up(turned: float) -> None:
    task = tasks.get_task("stack_cube")
    env = gym.make(task.env_id, image_size=None).unwrapped
    env.reset(seed=0, options={"episode_id": 0})
    model, data = env._backend._model, env._backend._data  # type: ignore[attr-defined]
    green, yellow = (int(model.joint(name).qposadr[0]) for name in ("green_cube", "yellow_cube"))
    height = data.qpos[yellow + 2]
    data.qpos[yellow + 3 : yellow + 7] = [np.cos(turned / 2), 0, 0, np.sin(turned / 2)]
    data.qpos[green : green + 7] = data.qpos[yellow : yellow + 7]
    data.qpos[green : green + 3] += [BESIDE_BLOCK[1], BESIDE_BLOCK[1], 2 * LYING["green cube"]]
    mujoco.mj_step(model, data, nstep=round(1.0 / model.opt.timestep))
    assert data.qpos[green + 2] - height == pytest.approx(2 * LYING["green cube"], abs=0.002)
    env.close()
