"""Scenes in which something is held look like those after a grasp in which physics had its say."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim import frames
from vlm2vla_sim.envs import motion, tasks
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.mini.arranging import HANGING, HELD_OPENING, heading
from vlm2vla_sim.mini.facts import TABLE, Facts, Thing
from vlm2vla_sim.mini.lessons import Teacher
from vlm2vla_sim.mini.names import words


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
