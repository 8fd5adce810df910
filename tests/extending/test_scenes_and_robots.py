"""A task, an object, a robot and a backend are one file each, outside the package, as the how-to pages show them."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from extension_lane import environment

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.simpler.backend import check_task
from vlm2vla_sim.envs.tasks import OWN_TASK_ID, TASKS, ObjectSpec, get_task, get_tasks
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.robots import get_robot
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S

pytest.importorskip("mujoco")
CARROT = TASKS["carrot_on_plate"]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("add_a_task", ["block_on_plate", "carrot_on_towel"]),
        ("add_an_object", ["red_block_on_plate"]),
        ("add_a_robot", ["carrot_on_plate_stiff_widowx"]),
        ("add_a_backend", ["carrot_on_plate"]),
    ],
)
def test_one_file_is_enough_and_the_scripted_policy_solves_it(page, run, tmp_path, name, tasks):
    rollout, evaluate = page(name)
    done = run(*rollout, "--image-size", "48", "64")
    assert done.returncode == 0, done.stderr
    assert "put" in done.stdout
    done = run(*evaluate, "--no-video", "--image-size", "48", "64", "--out", "out")
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "out" / "results.jsonl")
    assert sorted({result.task for result in results}) == tasks
    assert len(results) == 2 * len(tasks)
    assert all(result.success_at_end for result in results), [result.reason for result in results]


def test_a_run_with_tasks_of_ones_own_is_resumed_and_takes_several_workers(page, run, tmp_path):
    page("add_a_task")
    words = ["evaluate", "--tasks", "my_task:ALL", "--backend", "point", "--policy", "scripted", "--no-video"]
    done = run(*words, "--episodes", "1", "--workers", "2", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert len(read_results(tmp_path / "out" / "results.jsonl")) == 2
    done = run(*words, "--episodes", "1", "--out", "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert len(read_results(tmp_path / "out" / "results.jsonl")) == 2, "both were done"


def test_in_python_by_record_place_and_class(page, tmp_path):
    for name in ("add_a_task", "add_an_object", "add_a_robot", "add_a_backend"):
        page(name)
    (tmp_path / "check.py").write_text(
        "import gymnasium as gym\n"
        "import my_backend, my_task\n"
        "ID = 'vlm2vla_sim:vlm2vla/WidowX-v0'\n"
        "for task in (my_task.BLOCK_ON_PLATE, 'my_task:BLOCK_ON_PLATE', 'my_task:ALL#block_on_plate',\n"
        "             'my_object:RED_BLOCK_ON_PLATE', 'my_robot:CARROT_ON_PLATE'):\n"
        "    for backend in ('mujoco', 'my_backend:FloatingGripper', my_backend.FloatingGripper):\n"
        "        env = gym.make(ID, task=task, backend=backend, image_size=(32, 48))\n"
        "        observation, info = env.reset(seed=0)\n"
        "        assert observation['pixels']['primary'].shape == (32, 48, 3)\n"
        "        print(info['task'])\n"
        "        env.close()\n"
    )
    done = subprocess.run([sys.executable, "check.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = ["block_on_plate"] * 9 + ["red_block_on_plate"] * 3 + ["carrot_on_plate_stiff_widowx"] * 3
    assert done.stdout.split() == expected


def test_a_changed_copy_of_a_built_in_task_is_what_runs(tmp_path):
    """Its Gymnasium id and SIMPLER's name are still those of the original, and must not be used."""
    changed = dataclasses.replace(CARROT, target=TASKS["spoon_on_towel"].target)
    env = gym.make(OWN_TASK_ID, task=changed, backend="point", image_size=None)
    env.reset(seed=0)
    assert env.unwrapped.scene_state().target.name == "towel"  # type: ignore[attr-defined]
    with pytest.raises(SettingError, match="SIMPLER's own four tasks"):
        check_task(changed, "maniskill3")


def test_a_robot_of_ones_own_moves_the_arm_and_starts_where_it_says():
    home = (0.0, -0.20, 0.22, 0.0, 1.60, 0.0)
    setup = dataclasses.replace(WIDOWX_250S.setup("table"), home=home)
    robot = dataclasses.replace(WIDOWX_250S, name="other", setups={"table": setup}, tcp_offset=0.08)
    starts = []
    for task in (CARROT, dataclasses.replace(CARROT, robot=robot)):
        env = WidowXEnv(task, image_size=None)
        env.reset(options={"episode_id": 0})
        starts.append(env.status.robot.tcp.position)
        before = env.status.robot.tcp.position
        for _ in range(4):
            env.step(np.array([0.02, 0, 0, 0, 0, 0, 1], np.float32))
        assert env.status.robot.tcp.position[0] - before[0] > 0.04
        env.close()
    assert np.linalg.norm(starts[0] - starts[1]) > 0.02


def test_what_cannot_be_honoured_is_refused_with_a_sentence():
    bare = dataclasses.replace(CARROT, name="bare", source=ObjectSpec("thing", extents=(0.03, 0.03, 0.03), density=500))
    with pytest.raises(SettingError, match="'thing' has no look for MuJoCo"):
        WidowXEnv(bare)
    with pytest.raises(SettingError, match="adds no geom of group 3"):
        WidowXEnv(dataclasses.replace(bare, source=dataclasses.replace(bare.source, look=lambda body, spec: None)))
    with pytest.raises(SettingError, match="SIMPLER has no model of the object 'thing'"):
        check_task(bare, "simpler")
    other = dataclasses.replace(WIDOWX_250S, name="other", maniskill="", bridge=None)
    with pytest.raises(SettingError, match="do not have the robot 'other'"):
        check_task(dataclasses.replace(CARROT, robot=other), "simpler")
    with pytest.raises(SettingError, match="no numbers of a BridgeData server"):
        WidowXEnv(dataclasses.replace(CARROT, robot=other), backend="bridge")
    with pytest.raises(UnknownNameError, match="No robot named 'widowx'"):
        get_robot("widowx")
    with pytest.raises(SettingError, match=r"holds 4 tasks; name one of them: .*bridge:BRIDGE_TASKS#stack_cube"):
        get_task("vlm2vla_sim.envs.tasks.bridge:BRIDGE_TASKS")
    with pytest.raises(SettingError, match="is a Robot; expected"):
        get_tasks("vlm2vla_sim.robots.widowx_250s:WIDOWX_250S")


def test_a_copy_of_an_environment_that_has_rendered_goes_on_by_itself():
    env = WidowXEnv(CARROT, image_size=(32, 48))
    first = env.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
    other = copy.deepcopy(env)
    action = np.array([0.03, 0, -0.02, 0, 0, 0, 1], np.float32)
    moved = [other.step(action)[0]["pixels"]["primary"] for _ in range(3)][-1]
    np.testing.assert_array_equal([env.step(action)[0]["pixels"]["primary"] for _ in range(3)][-1], moved)
    assert (first != moved).any()
    env.close()
    np.testing.assert_array_equal(other.step(action)[0]["pixels"]["primary"].shape, (32, 48, 3))
    other.close()


def test_a_copy_of_a_real_arm_is_refused():
    env = WidowXEnv(CARROT, backend="bridge")
    with pytest.raises(SettingError, match="there is only one arm"):
        copy.deepcopy(env)
