"""The twin moves, grips, rests, draws and repeats itself as SIMPLER's scenes do, or better."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import mujoco
import numpy as np
import pytest

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.mujoco import renderer
from vlm2vla_sim.envs.mujoco.backend import MujocoBackend
from vlm2vla_sim.envs.mujoco.ik import ArmSolver
from vlm2vla_sim.envs.tasks import TASKS, Task
from vlm2vla_sim.errors import RendererError, UnknownNameError
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import Pose

SMALL = (32, 48)
HOLD = np.array([0, 0, 0, 0, 0, 0, 1.0])
CLOSE, OPEN = HOLD * [1, 1, 1, 1, 1, 1, 0], HOLD
RNG = np.random.default_rng(0)
TABLE_TASKS = [task for name, task in TASKS.items() if name != "eggplant_in_basket"]


def fresh(task: str = "carrot_on_plate", episode: int = 0, **options) -> MujocoBackend:
    """A twin at the start of one of SIMPLER's episodes."""
    backend = MujocoBackend(TASKS[task], **{"image_size": SMALL, **options})
    backend.reset(TASKS[task].layout(episode), RNG)
    return backend


# Moving.


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("centimetres", [2, -2])
def test_a_step_moves_the_gripper_along_that_axis_and_no_other(axis, centimetres):
    backend = fresh()
    before = backend.status().robot.tcp.position
    delta = HOLD.copy()
    delta[axis] = centimetres / 100
    backend.move(delta)
    for _ in range(6):
        backend.move(HOLD)
    moved = backend.status().robot.tcp.position - before
    np.testing.assert_allclose(moved, delta[:3], atol=0.003)


@pytest.mark.parametrize("degrees", [15, -15])
def test_a_positive_turn_is_counterclockwise_seen_from_above_and_stays_in_place(degrees):
    backend = fresh()

    def finger_direction() -> float:
        """[rad] from the right finger to the left one, seen from above."""
        left, right = (backend._data.body(f"{side}_finger_link").xpos for side in ("left", "right"))
        return float(np.arctan2(*(left - right)[[1, 0]]))

    before, place = finger_direction(), backend.status().robot.tcp.position
    backend.move(np.array([0, 0, 0, 0, 0, np.radians(degrees), 1]))
    for _ in range(6):
        backend.move(HOLD)
    assert np.degrees(finger_direction() - before) == pytest.approx(degrees, abs=0.7)
    np.testing.assert_allclose(backend.status().robot.tcp.position, place, atol=0.003)


def test_the_left_finger_is_on_the_robots_left():
    data = fresh()._data
    assert data.body("left_finger_link").xpos[1] > data.body("right_finger_link").xpos[1] + 0.05


@pytest.mark.parametrize(
    ("task", "state"),
    [
        ("carrot_on_plate", (0.292, -0.006, 0.135, -0.005, 0.057, -0.019, 1.0)),
        ("eggplant_in_basket", (0.250, -0.068, 0.228, 0.007, 0.048, 0.009, 1.0)),
    ],
)
def test_the_arm_starts_where_simplers_does_with_an_open_gripper(task, state):
    # Bridge's proprioception of SIMPLER's first state, computed from its joint angles and urdf.
    np.testing.assert_allclose(fresh(task).observe()["agent_pos"], state, atol=0.001)


def test_out_of_reach_the_arm_stays_and_comes_back():
    backend = fresh()
    for _ in range(8):
        backend.move(np.array([0.05, 0, 0, 0, 0, 0, 1]))
    far = backend.status().robot
    assert far.target.position[0] > 0.6
    assert far.tcp.position[0] < 0.5
    for _ in range(8):
        backend.move(np.array([-0.05, 0, 0, 0, 0, 0, 1]))
    for _ in range(5):
        backend.move(HOLD)
    np.testing.assert_allclose(backend.observe()["agent_pos"][:3], [0.292, -0.006, 0.135], atol=0.003)


def test_the_solver_says_what_it_cannot_reach():
    backend = fresh()
    solver, home = ArmSolver(backend._model, WIDOWX_250S), np.array(TASKS["carrot_on_plate"].setup.home)
    here = backend.status().robot.tcp
    solved = solver.solve(here, home)
    assert solved is not None
    np.testing.assert_allclose(solver.forward(solved)[0], here.position, atol=1e-4)
    assert solver.solve(Pose(np.array([2.0, 0, 0]), here.quaternion), home) is None


# Gripping. Finger joint [mm] after each control step, measured in SIMPLER (mani-skill 3.0.1, sapien 3.0.3).


def finger(backend: MujocoBackend) -> float:
    """[mm]"""
    return 1000 * float(backend._data.qpos[backend._finger_qpos].mean())


def test_the_gripper_closes_as_fast_as_simplers():
    backend = fresh()
    assert finger(backend) == pytest.approx(37.0, abs=0.2)
    for expected in (23.10, 17.98, 16.10):
        backend.move(CLOSE)
        assert finger(backend) == pytest.approx(expected, abs=0.1)


def test_the_gripper_opens_as_fast_as_simplers():
    backend = fresh()
    for _ in range(8):
        backend.move(CLOSE)
    assert finger(backend) == pytest.approx(15.0, abs=0.1)
    for expected in (28.93, 34.03, 35.91):
        backend.move(OPEN)
        assert finger(backend) == pytest.approx(expected, abs=0.1)


def test_closing_on_an_object_holds_it_and_closing_on_air_does_not():
    backend = fresh("stack_cube")
    block = backend.status().scene.source.pose.position
    steps = 12
    way = np.array([*(block[:2] - backend.status().robot.tcp.position[:2]), -0.115])
    for _ in range(steps):
        backend.move(np.array([*(way / steps), 0, 0, 0, 1]))
    for _ in range(4):
        backend.move(HOLD)
    assert not backend.status().scene.grasped
    for _ in range(4):
        backend.move(CLOSE)
    held = backend.status()
    assert held.scene.grasped
    assert held.robot.gripper > 0.05, "the block keeps the fingers apart"
    for _ in range(5):
        backend.move(np.array([0, 0, 0.02, 0, 0, 0, 0.0]))
    lifted = backend.status().scene
    assert lifted.source.pose.position[2] > block[2] + 0.06
    assert lifted.touching == frozenset()
    empty = fresh("stack_cube")
    for _ in range(4):
        empty.move(CLOSE)
    assert not empty.status().scene.grasped
    assert empty.status().scene.touching == {"table"}


def finger_point(backend: MujocoBackend, *place: float) -> np.ndarray:
    """(3,) a place in the left finger's frame [m] in the world's."""
    body = backend._data.body("left_finger_link")
    return body.xpos + body.xmat.reshape(3, 3) @ np.array(place)


def test_a_finger_pressed_on_an_object_stands_on_it_and_does_not_sink_in():
    backend = fresh("stack_cube")
    cube = backend.status().scene.source.pose.position
    for _ in range(4):  # the end of the finger over the middle of the cube
        backend.move(np.array([*(cube - finger_point(backend, 0.0432, -0.0075, 0))[:2], 0, 0, 0, 0, 1.0]))
    for _ in range(5):
        backend.move(np.array([0, 0, -0.025, 0, 0, 0, 1.0]))
    robot = backend.status().robot
    assert robot.target.position[2] < 0.012, "the arm presses with all its force"
    assert robot.tcp.position[2] > 0.041
    assert np.linalg.norm(backend.status().scene.source.pose.position - cube) < 0.003


def touched(backend: MujocoBackend, start: np.ndarray, way: np.ndarray) -> float:
    """[m] along `way` from `start` to the first collision geom."""
    groups, hit = np.array([0, 0, 0, 1, 0, 0], np.uint8), np.zeros(1, np.int32)
    return mujoco.mj_ray(backend._model, backend._data, start, way, groups, 1, -1, hit)


def test_a_finger_ends_in_an_edge_3_millimetres_thick_with_a_bevel_behind_it():
    backend = fresh()
    back = finger_point(backend, 0, 0, 0) - finger_point(backend, 1, 0, 0)
    ends = [0.0632 - touched(backend, finger_point(backend, 0.0632, y, 0), back) for y in (-0.0085, -0.0065, -0.003)]
    assert ends == pytest.approx([0.0432, 0.0432, 0.0407], abs=2e-4)


def test_the_inner_edge_of_the_sinks_front_leans_away_as_simplers_does():
    backend = fresh("eggplant_in_basket")
    down = np.array([0, 0, -1.0])
    tops = [0.2 - touched(backend, np.array([x, -0.13, 0.2]), down) for x in (0.176, 0.183, 0.190)]
    assert tops == pytest.approx([0.125, 0.118, 0.071], abs=0.007)  # SIMPLER's collision mesh, at the same places


# Resting.

# Centres of mass of source and target [m, base frame] after SIMPLER's fall, in its own engine, SAPIEN 2.2.2.
AT_REST = {
    ("spoon_on_towel", 0): ((0.37376, 0.10307, 0.01099), (0.38133, -0.04525, 0.00386)),
    ("spoon_on_towel", 23): ((0.23191, -0.05523, 0.01099), (0.23133, 0.10475, 0.00386)),
    ("carrot_on_plate", 1): ((0.38221, 0.11137, 0.01751), (0.38210, -0.04708, 0.00307)),
    ("stack_cube", 12): ((0.40703, 0.12796, 0.01453), (0.40703, -0.07205, 0.01453)),
}


@pytest.mark.parametrize(("task", "episode"), AT_REST)
def test_objects_come_to_rest_within_a_millimetre_of_simplers(task: str, episode: int):
    scene_state = fresh(task, episode).status().scene
    for body, place in zip((scene_state.source, scene_state.target), AT_REST[task, episode], strict=True):
        np.testing.assert_allclose(body.pose.position, place, atol=0.001)


@pytest.mark.parametrize("task", TABLE_TASKS, ids=lambda task: task.name)
def test_at_the_start_both_objects_lie_where_the_layout_says(task: Task):
    backend = MujocoBackend(task, image_size=SMALL)
    for number, layout in enumerate(task.layouts):
        backend.reset(layout, RNG)
        for spec, xy, yaw in (
            (task.source, layout.source_xy, layout.source_yaw),
            (task.target, layout.target_xy, layout.target_yaw),
        ):
            body = backend._data.body(spec.name)
            expected = task.scene.base.from_world(np.array([*xy, task.scene.support_height]))
            assert np.linalg.norm(body.xpos[:2] - expected[:2]) < 0.003, (number, spec.name)
            # The robot's base is turned by half a turn.
            heading = np.arctan2(*body.xmat.reshape(3, 3)[[1, 0], 0])
            assert np.cos(heading - yaw - np.pi) > np.cos(np.radians(2)), (number, spec.name)


def test_at_the_start_the_eggplant_lies_where_simplers_does():
    task = TASKS["eggplant_in_basket"]
    backend = MujocoBackend(task, image_size=SMALL)
    for layout, rest in zip(task.layouts, task.source_rests, strict=True):
        backend.reset(layout, RNG)
        scene_state = backend.status().scene
        np.testing.assert_allclose(scene_state.source.pose.position, rest.position, atol=0.003)
        assert abs(scene_state.source.pose.quaternion @ np.array(rest.quaternion)) > np.cos(np.radians(10) / 2)
        assert scene_state.touching == {"sink"}


def test_what_rests_keeps_resting():
    for task in TASKS:
        backend = fresh(task, episode=3)
        before = backend.status().scene
        for _ in range(20):
            backend.move(HOLD)
        after = backend.status().scene
        for name in ("source", "target"):
            moved = getattr(after, name).pose.position - getattr(before, name).pose.position
            assert np.abs(moved).max() < 0.001, (task, name)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_random_layout_starts_at_rest_apart_and_on_the_stage(task: Task):
    backend = MujocoBackend(task, image_size=SMALL)
    for seed in range(5):
        layout = task.random_layout(np.random.default_rng(seed))
        backend.reset(layout, RNG)
        state = backend.status().scene
        assert state.touching == {task.scene.name}
        expected = task.scene.base.from_world(np.array([*layout.source_xy, task.scene.support_height]))
        rolled = 0.05 if task.target.fixed else 0.02  # nor is the carrot's and the spoon's centre their origin
        assert np.linalg.norm(state.source.pose.position[:2] - expected[:2]) < rolled
        assert 0 < state.source.pose.position[2] - expected[2] < 0.04


# Repeating.

PLAY = """
import hashlib
import numpy as np
from vlm2vla_sim.envs.base import WidowXEnv
env = WidowXEnv("carrot_on_plate", image_size=(48, 64))
digest = hashlib.sha256()
observation, _ = env.reset(seed=0, options={"episode_id": 2})
rng = np.random.default_rng(7)
for _ in range(30):
    digest.update(observation["pixels"]["primary"].tobytes())
    digest.update(env._backend._data.qpos.tobytes() + env._backend._data.qvel.tobytes())
    action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
    observation, *_ = env.step(action)
env.close()
"""


def played() -> str:
    names: dict[str, Any] = {}
    exec(PLAY, names)
    return names["digest"].hexdigest()


def test_the_same_actions_give_the_same_bytes_in_this_process_and_in_another():
    first = played()
    assert played() == first
    code = PLAY + "\nprint(digest.hexdigest())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == first


def test_an_episode_leaves_nothing_behind_for_the_next_one():
    used = fresh()
    for _ in range(10):
        used.move(np.array([0.03, 0.03, -0.04, 0, 0, 0.1, 0]))
    used.reset(TASKS["carrot_on_plate"].layout(5), RNG)
    new = fresh(episode=5)
    for backend in (used, new):
        for _ in range(3):
            backend.move(np.array([0.01, -0.02, -0.02, 0, 0, 0, 0]))
    np.testing.assert_array_equal(used._data.qpos, new._data.qpos)
    np.testing.assert_array_equal(used.observe()["pixels"]["primary"], new.observe()["pixels"]["primary"])


# Drawing.


def test_the_same_state_gives_the_same_picture_and_looking_changes_nothing():
    backend, unseen = fresh(), fresh()
    first = backend.observe()["pixels"]["primary"]
    np.testing.assert_array_equal(first, backend.observe()["pixels"]["primary"])
    for each in (backend, unseen):
        each.move(CLOSE)
    np.testing.assert_array_equal(backend._data.qpos, unseen._data.qpos)
    assert np.any(first != backend.observe()["pixels"]["primary"])


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (224, 224), (480, 640)])
def test_a_picture_has_the_size_asked_for_and_shows_something(size):
    shown = fresh(image_size=size).observe()["pixels"]["primary"]
    assert shown.shape == (*size, 3)
    assert shown.dtype == np.uint8
    assert shown.std() > 20


def test_high_quality_changes_the_picture_and_not_the_physics():
    fast, high = fresh(image_size=(120, 160)), fresh(image_size=(120, 160), quality="high")
    for backend in (fast, high):
        for _ in range(3):
            backend.move(np.array([0.02, 0.01, -0.03, 0, 0, 0, 0]))
    np.testing.assert_array_equal(fast._data.qpos, high._data.qpos)
    images = [backend.observe()["pixels"]["primary"].astype(int) for backend in (fast, high)]
    darker = (images[0] - images[1]).mean(axis=-1) > 15
    assert darker.mean() > 0.01, "shadows fall"
    with pytest.raises(UnknownNameError, match="No quality named 'ultra'"):
        fresh(quality="ultra")


def test_sixty_environments_can_be_made_drawn_and_closed_in_one_process():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><light pos="0 0 3"/><camera name="eye" pos="0 0 2"/>
        <geom type="sphere" size=".5" rgba="1 0 0 1"/></worldbody></mujoco>"""
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for _ in range(55):
        drawn = renderer.OffscreenRenderer(model, 16, 16)
        assert drawn.render(data, "eye").std() > 20
        drawn.close()
        drawn.close()
    for _ in range(5):
        env = WidowXEnv("stack_cube", image_size=(16, 16))
        assert env.reset(seed=0)[0]["pixels"]["primary"].std() > 20
        env.close()


def test_two_environments_draw_in_turns_without_disturbing_each_other():
    alone = fresh("stack_cube").observe()["pixels"]["primary"]
    first, second = fresh("stack_cube"), fresh("eggplant_in_basket", image_size=(64, 64))
    first.observe()
    other = second.observe()["pixels"]["primary"]
    np.testing.assert_array_equal(first.observe()["pixels"]["primary"], alone)
    first.close()
    np.testing.assert_array_equal(second.observe()["pixels"]["primary"], other)


def test_without_any_opengl_the_error_names_the_packages(monkeypatch):
    monkeypatch.setattr(renderer, "platforms", lambda: ("no_such_platform",))
    with pytest.raises(
        RendererError, match=r"tried no_such_platform: .*apt-get install libegl1 libopengl0 libgl1-mesa"
    ):
        fresh().observe()


def draw_in_a_fresh_process(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` without a screen."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MUJOCO_GL")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment | variables, check=False)


ONE_PICTURE = """
from vlm2vla_sim.envs.base import WidowXEnv
env = WidowXEnv("stack_cube", image_size=(32, 48))
print(env.reset(seed=0)[0]["pixels"]["primary"].std() > 20)
"""


@pytest.mark.parametrize(
    ("platform", "sentence"),
    [
        ("nonsense", "MuJoCo could not be imported with MUJOCO_GL='nonsense'"),
        ("glfw", "tried glfw"),
    ],
)
def test_a_platform_that_does_not_work_here_is_named_with_the_way_out(platform, sentence):
    """GLFW needs a screen, and there is none; a platform that MuJoCo does not know fails while it is imported."""
    done = draw_in_a_fresh_process(ONE_PICTURE, MUJOCO_GL=platform)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("vlm2vla_sim.errors.RendererError: ")
    assert sentence in last
    assert "apt-get install libegl1" in last
    assert "MUJOCO_GL" in last


def test_it_draws_whoever_imported_mujoco_first_and_without_a_screen():
    done = draw_in_a_fresh_process("import mujoco\n" + ONE_PICTURE)
    assert done.stdout.strip() == "True", done.stderr


def test_the_platforms_follow_the_system_and_what_mujoco_is_told(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    for system, expected in (
        ("linux", ("egl", "osmesa")),
        ("darwin", ("cgl", "glfw")),
        ("win32", ("glfw",)),
    ):
        monkeypatch.setattr(sys, "platform", system)
        assert renderer.platforms() == expected
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("MUJOCO_GL", " OSMesa ")
    assert renderer.platforms() == ("osmesa",)


def test_the_pose_of_the_gripper_is_that_of_bridge(monkeypatch):
    robot = fresh().status().robot
    pointing = frames.quaternion_to_matrix(robot.tcp.quaternion)[:, 0]
    assert pointing[2] < -0.99, "the gripper points down"
    np.testing.assert_allclose(robot.target.position, robot.tcp.position)
