"""The SIMPLER scenes behind the same interface: what any backend must do, and what this one promises besides."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import UnknownNameError

pytestmark = pytest.mark.simpler
MakeEnv = Callable[..., WidowXEnv]
HOLD = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
PHOTO_LEFT_TOP = (slice(0, 60), slice(0, 60))
"""A corner of the image where nothing but the photo is ever seen."""


def act(env: WidowXEnv, *actions: np.ndarray) -> dict[str, object]:
    """Take the actions; the last info."""
    info: dict[str, object] = {}
    for action in actions:
        *_, info = env.step(action)
    return info


def action(**parts: float) -> np.ndarray:
    """A control step by name: x, y, z [m], roll, pitch, yaw [rad], gripper (open unless told)."""
    names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    return np.array([{"gripper": 1.0, **parts}.get(name, 0.0) for name in names], np.float32)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_offers_the_spaces_and_the_info_of_every_other_backend(make_env: MakeEnv, task: str) -> None:
    env = make_env(task)
    observation, info = env.reset(seed=0, options={"episode_id": 3})
    assert env.observation_space.contains(observation)
    assert info["instruction"] == TASKS[task].instruction
    assert info["episode_id"] == 3
    after, reward, terminated, truncated, stepped = env.step(env.action_space.sample())
    assert env.observation_space.contains(after)
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert stepped.keys() == info.keys()
    assert env.profile == "simpler"
    scene = env.scene_state()
    assert (scene.source.name, scene.target.name) == (TASKS[task].source.name, TASKS[task].target.name)


HOMES = {"table": (0.2921, -0.0061, 0.1353), "sink": (0.2497, -0.0675, 0.2276)}
"""[m] SIMPLER's gripper at reset; the first measured in the original too."""


@pytest.mark.parametrize("task", ["carrot_on_plate", "eggplant_in_basket"])
def test_the_arm_starts_at_simplers_home_with_the_gripper_open(make_env: MakeEnv, task: str) -> None:
    env = make_env(task)
    observation, _ = env.reset(options={"episode_id": 0})
    home = HOMES[TASKS[task].scene.name]
    assert env.status.robot.tcp.position == pytest.approx(home, abs=2e-4)
    assert env.status.robot.target.position == pytest.approx(home, abs=2e-4)
    assert observation["agent_pos"][:3] == pytest.approx(home, abs=2e-4)
    assert observation["agent_pos"][6] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "axis", "sign"), [("x", 0, 1), ("x", 0, -1), ("y", 1, 1), ("y", 1, -1), ("z", 2, 1), ("z", 2, -1)]
)
def test_the_gripper_goes_where_it_is_told(make_env: MakeEnv, name: str, axis: int, sign: int) -> None:
    env = make_env("stack_cube")
    env.reset(options={"episode_id": 0})
    start = env.status.robot.tcp.position
    act(env, *[action(**{name: 0.01 * sign})] * 4, *[HOLD] * 4)
    moved = env.status.robot.tcp.position - start
    assert moved[axis] == pytest.approx(0.04 * sign, abs=0.004)
    assert np.delete(moved, axis) == pytest.approx([0, 0], abs=0.004)


@pytest.mark.parametrize(("name", "index"), [("roll", 3), ("pitch", 4), ("yaw", 5)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gripper_turns_as_it_is_told(make_env: MakeEnv, name: str, index: int, sign: int) -> None:
    env = make_env("stack_cube")
    env.reset(options={"episode_id": 0})
    start = frames.quaternion_to_matrix(env.status.robot.tcp.quaternion)
    act(env, *[action(**{name: 0.1 * sign})] * 3, *[HOLD] * 4)
    turn = frames.matrix_to_rotvec(frames.quaternion_to_matrix(env.status.robot.tcp.quaternion) @ start.T)
    assert turn[index - 3] == pytest.approx(0.3 * sign, abs=0.04)
    assert np.delete(turn, index - 3) == pytest.approx([0, 0], abs=0.04)


def test_the_gripper_closes_at_zero_and_opens_at_one(make_env: MakeEnv) -> None:
    env = make_env("stack_cube")
    env.reset(options={"episode_id": 0})
    act(env, *[action(gripper=0.0)] * 5)
    assert env.status.robot.gripper < 0.05
    act(env, *[HOLD] * 5)
    assert env.status.robot.gripper > 0.95


def test_a_picture_shows_robot_and_objects_on_simplers_photo(make_env: MakeEnv) -> None:
    env = make_env("carrot_on_plate")
    before = env.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
    after = env.reset(options={"episode_id": 12})[0]["pixels"]["primary"]
    assert (before[PHOTO_LEFT_TOP] == after[PHOTO_LEFT_TOP]).all()
    assert before[PHOTO_LEFT_TOP].std() > 5  # a photo, not a flat colour
    changed = np.abs(before.astype(int) - after).max(axis=2) > 30
    assert 0.01 < changed.mean() < 0.1  # the objects have moved, nothing else
    orange = (before[..., 0] > 150) & (before[..., 2] < 90) & (before[..., 0] > before[..., 1] * 1.4)
    assert orange.sum() > 500


def test_another_size_is_the_same_view_resampled(make_env: MakeEnv) -> None:
    large = make_env("stack_cube").reset(options={"episode_id": 2})[0]["pixels"]["primary"]
    small = make_env("stack_cube", image_size=(120, 160)).reset(options={"episode_id": 2})[0]["pixels"]["primary"]
    assert small.shape == (120, 160, 3)
    means = large.reshape(120, 4, 160, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).mean() < 2.0
    square = make_env("stack_cube", image_size=(96, 96)).reset(options={"episode_id": 2})[0]["pixels"]["primary"]
    squeezed = np.asarray(Image.fromarray(large).resize((96, 96), Image.Resampling.BOX))
    assert np.abs(square.astype(int) - squeezed).mean() < 3.0


@pytest.mark.parametrize("task", ["carrot_on_plate", "eggplant_in_basket"])
def test_an_episode_replays_bit_for_bit_whatever_came_between(make_env: MakeEnv, task: str) -> None:
    env = make_env(task)
    rng = np.random.default_rng(7)
    moves = [rng.uniform([-0.02] * 3 + [-0.1] * 3 + [0], [0.02] * 3 + [0.1] * 3 + [1]) for _ in range(12)]

    def play(episode_id: int) -> tuple[np.ndarray, np.ndarray]:
        env.reset(seed=episode_id, options={"episode_id": episode_id})
        image = np.zeros(0)
        states = []
        for move in moves:
            image = env.step(move)[0]["pixels"]["primary"]
            scene, robot = env.scene_state(), env.status.robot
            poses = (scene.source.pose, scene.target.pose, robot.tcp, robot.target)
            states.append(np.concatenate([np.concatenate([pose.position, pose.quaternion]) for pose in poses]))
        return np.stack(states), image

    states, image = play(4)
    others = [play(k)[0] for k in (0, 5)]
    again, repeated = play(4)
    assert (states == again).all()
    assert (image == repeated).all()
    assert not (states == others[0]).all()


def test_a_random_layout_lies_where_it_was_drawn(make_env: MakeEnv) -> None:
    env = make_env("stack_cube")
    for seed in range(3):
        env.reset(seed=seed, options={"layout": "random"})
        layout = TASKS["stack_cube"].random_layout(np.random.default_rng(seed))
        base = TASKS["stack_cube"].scene.base
        scene = env.scene_state()
        for body, xy in ((scene.source, layout.source_xy), (scene.target, layout.target_xy)):
            assert body.pose.position[:2] == pytest.approx(base.from_world(np.array([*xy, 0]))[:2], abs=0.003)
        yaw = 2 * np.arctan2(scene.source.pose.quaternion[3], scene.source.pose.quaternion[0])
        expected = layout.source_yaw + np.pi  # the base looks along world -x
        assert np.cos(4 * (yaw - expected)) == pytest.approx(1.0, abs=0.01)


def test_another_environment_in_the_process_changes_neither_the_first_nor_itself(make_env: MakeEnv) -> None:
    carrot = make_env("carrot_on_plate")
    carrot.reset(options={"episode_id": 0})
    before = carrot.step(HOLD)[0]["pixels"]["primary"].copy()
    eggplant = WidowXEnv("eggplant_in_basket", backend="simpler")
    try:
        sink = eggplant.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
        after = carrot.step(HOLD)[0]["pixels"]["primary"]
        # What is drawn over the sink's photo: the robot and the eggplant, not the simulated sink or table.
        photo = np.asarray(Image.open(overlay(eggplant)).convert("RGB"))
        shown = (np.abs(sink.astype(int) - photo).max(axis=2) > 0).mean()
    finally:
        eggplant.close()
    assert (np.abs(before.astype(int) - after).max(axis=2) > 0).mean() < 0.001
    assert 0.05 < shown < 0.35


def overlay(env: WidowXEnv) -> str:
    """The path of the photo behind an environment."""
    return env._backend.simulation.env.rgb_overlay_paths["3rd_view_camera"]


def test_two_hundred_resets_take_no_more_than_50_mebibytes(make_env: MakeEnv) -> None:
    env = make_env("stack_cube")
    for episode_id in range(20):  # caches fill
        env.reset(options={"episode_id": episode_id})
    before = resident()
    for episode_id in range(200):
        env.reset(options={"episode_id": episode_id % 24})
    assert resident() - before < 50


def resident() -> float:
    """[MiB] of memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_unknown_profiles_and_qualities_are_answered_with_the_known_ones(true_scenes: None) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'maniskill3'"):
        WidowXEnv("stack_cube", backend="simpler", profile="maniskill")
    with pytest.raises(UnknownNameError, match="Available: fast, high"):
        WidowXEnv("stack_cube", backend="simpler", quality="best")


def test_closing_twice_is_harmless(true_scenes: None) -> None:
    env = WidowXEnv("stack_cube", backend="simpler")
    env.close()
    env.reset(options={"episode_id": 0})
    env.close()
    env.close()


def test_a_step_longer_than_the_limit_is_shortened_and_said_so(make_env: MakeEnv) -> None:
    env = make_env("stack_cube")
    env.reset(options={"episode_id": 0})
    before = env.status.robot.target.position
    info = act(env, action(x=0.2))
    assert info["clipped"]
    assert env.status.robot.target.position[0] - before[0] == pytest.approx(motion.MAX_STEP, abs=1e-4)


def test_images_on_demand_are_those_of_every_step(make_env: MakeEnv) -> None:
    env = make_env("carrot_on_plate")
    seen = []
    for on_demand in (False, True):
        env.images_on_demand = on_demand
        env.reset(seed=0, options={"episode_id": 3})
        steps = [env.step(action(x=0.01, z=-0.01))[0] for _ in range(4)]
        seen.append(steps[-1]["pixels"]["primary"])
    np.testing.assert_array_equal(seen[0], seen[1])
