"""Whole paths through the SIMPLER scenes: from a checkout to an image, from a sentence to a solved task."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.simpler import assets
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation.episode import run_episode

pytestmark = pytest.mark.simpler
MakeEnv = Callable[..., WidowXEnv]


@pytest.mark.parametrize(
    ("task", "episode_id"),
    [("spoon_on_towel", 1), ("carrot_on_plate", 7), ("stack_cube", 14), ("eggplant_in_basket", 3)],
)
def test_the_scripted_policy_solves_each_task_through_its_words(make_env: MakeEnv, task: str, episode_id: int) -> None:
    result = run_episode(make_env(task), "scripted", episode_id=episode_id)
    assert result.reason == ""
    assert result.success_at_end
    assert result.success_released
    assert result.success_settled
    assert result.grasped
    assert (result.backend, result.profile) == ("simpler", "simpler")


REPORT = """
import dataclasses
import json
from vlm2vla_sim.envs.base import WidowXEnv
env = WidowXEnv("carrot_on_plate", backend="simpler")
image = env.reset(options={"episode_id": 5})[0]["pixels"]["primary"]
for _ in range(3):
    env.step([0.02, 0.01, -0.02, 0, 0, 0.1, 0])
scene, robot = env.scene_state(), env.status.robot
print(json.dumps([p.tolist() for p in (scene.source.pose.position, scene.target.pose.position, robot.tcp.position)]))
"""


def test_a_linked_checkout_without_its_stages_gives_the_same_scene(make_env: MakeEnv, tmp_path: Path) -> None:
    shipped = assets.folder()
    checkout = tmp_path / "checkout"
    (checkout / "data").mkdir(parents=True)
    for name in ("custom", "real_inpainting"):
        (checkout / "data" / name).symlink_to(shipped / assets.DATA_SET / name)
    robot = checkout / "mani_skill2_real2sim/assets/descriptions/widowx_description"
    shutil.copytree(shipped / assets.ROBOT, robot, ignore=shutil.ignore_patterns("*.srdf"))
    description = robot / assets.URDF
    mimic = '<child link="right_finger_link"/>\n<mimic joint="left_finger" multiplier="1" offset="0"/>'
    description.write_text(description.read_text().replace('<child link="right_finger_link"/>', mimic))

    assets.link(checkout, tmp_path / "assets")
    surroundings = {**os.environ, "VLM2VLA_ASSETS": str(tmp_path / "assets")}
    surroundings.pop("MS_ASSET_DIR", None)
    run = subprocess.run(
        [sys.executable, "-c", REPORT],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]

    env = make_env("carrot_on_plate")
    env.reset(options={"episode_id": 5})
    for _ in range(3):
        env.step(np.array([0.02, 0.01, -0.02, 0, 0, 0.1, 0]))
    scene = env.scene_state()
    here = [scene.source.pose.position, scene.target.pose.position, env.status.robot.tcp.position]
    assert np.array(json.loads(run.stdout)) == pytest.approx(np.array(here), abs=5e-4)


def test_a_task_of_ones_own_with_simplers_objects_is_solved_on_simplers_scene(make_env: MakeEnv) -> None:
    """The block and the plate come from different lists of SIMPLER, and ManiSkill has no scene with both."""
    carrot, stack = TASKS["carrot_on_plate"], TASKS["stack_cube"]
    task = dataclasses.replace(carrot, name="block_on_plate", source=stack.source)
    env = make_env(task)
    env.reset(options={"episode_id": 4})
    scene = env.scene_state()
    for body, xy in ((scene.source, task.layouts[4].source_xy), (scene.target, task.layouts[4].target_xy)):
        there = task.scene.base.from_world(np.array([*xy, task.scene.support_height]))
        assert np.abs(body.pose.position[:2] - there[:2]).max() < 0.01, body.name
    result = run_episode(env, "scripted", episode_id=4)
    assert result.reason == ""
    assert result.success_at_end
