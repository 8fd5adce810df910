"""What holds for every backend, simulated or real: the contract of `envs.backends.Backend`.

A backend whose packages or assets are absent is skipped with the reason, unless VLM2VLA_REQUIRE names it: CI must not
report green for what it did not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from lane import cannot_run
from robot_bench import SERVERS, mock_controller, mock_server

from vlm2vla_sim.envs.backends import BACKENDS, is_real_robot
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import ActionError, AssetsError, MissingExtraError, RendererError
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S

SMALL = (32, 48)
HOLD = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
MakeEnv = Callable[[str], WidowXEnv]
EVERY_BACKEND = [pytest.param(name, marks=[pytest.mark.simpler] if name == "simpler" else []) for name in BACKENDS]


@pytest.fixture(scope="module", params=EVERY_BACKEND)
def make_env(request: pytest.FixtureRequest) -> Iterator[MakeEnv]:
    """`make_env(task)`: an environment on each backend in turn; the same task gives the same one again."""
    name, made = request.param, {}
    beside = ExitStack()

    def make(task: str) -> WidowXEnv:
        if task not in made:
            try:
                # A mock stands in for the real arm, behind the same protocol.
                options = {}
                if name in SERVERS:
                    options = beside.enter_context(mock_server(task, SMALL, name))
                elif name == "widowx_ai":
                    host = f"127.0.7.{1 + list(TASKS).index(task)}"
                    options = beside.enter_context(mock_controller(task, SMALL, host=host)).options
                made[task] = WidowXEnv(task, backend=name, image_size=SMALL, **options)
                made[task].reset(options={"episode_id": 0})
            except (AssetsError, MissingExtraError, RendererError) as absent:
                if name in ("mujoco", "point"):
                    raise  # part of every installation
                cannot_run("robot" if is_real_robot(name) else name, str(absent))
        return made[task]

    yield make
    for env in made.values():
        env.close()
    beside.close()


@pytest.fixture
def env(make_env: MakeEnv) -> WidowXEnv:
    """Carrot on plate, just reset."""
    env = make_env("carrot_on_plate")
    env.reset(options={"episode_id": 0})
    return env


def real(env: WidowXEnv) -> bool:
    """Whether this is a real arm or the mock of one."""
    return is_real_robot(env.backend_name)


def go(env: WidowXEnv, *parts: float, steps: int = 1, settle: int = 5) -> np.ndarray:
    """(7,) how the arm's state changed by `steps` equal actions and a rest; the gripper stays as `parts` says."""
    before = env.unwrapped._backend.observe()["agent_pos"]
    action = np.array(parts, np.float32)
    for _ in range(steps):
        env.step(action)
    for _ in range(settle):
        observation, *_ = env.step(HOLD * [1, 1, 1, 1, 1, 1, parts[6]])
    return observation["agent_pos"] - before


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_and_what_is_seen_lies_in_the_space(make_env, task):
    env = make_env(task)
    observation, info = env.reset(seed=1, options={"episode_id": 23})
    assert observation in env.observation_space
    assert info["instruction"] == TASKS[task].instruction
    rng = np.random.default_rng(0)
    for _ in range(5):
        observation, reward, *_ = env.step(rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32))
        assert observation in env.observation_space
        assert reward in (0.0, 1.0)


@pytest.mark.parametrize(
    ("action", "index", "sign"),
    [
        ((0.02, 0, 0, 0, 0, 0, 1), 0, 1),
        ((-0.02, 0, 0, 0, 0, 0, 1), 0, -1),
        ((0, 0.02, 0, 0, 0, 0, 1), 1, 1),
        ((0, -0.02, 0, 0, 0, 0, 1), 1, -1),
        ((0, 0, 0.02, 0, 0, 0, 1), 2, 1),
        ((0, 0, -0.02, 0, 0, 0, 1), 2, -1),
    ],
)
def test_the_arm_moves_along_the_base_axes_as_told(env, action, index, sign):
    change = go(env, *action, steps=2)
    expected = np.zeros(3)
    expected[index] = sign * 0.04
    np.testing.assert_allclose(change[:3], expected, atol=0.005)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_positive_turn_is_counterclockwise_from_above(env, sign):
    change = go(env, 0, 0, 0, 0, 0, sign * 0.2, 1)
    assert change[5] == pytest.approx(sign * 0.2, abs=0.03)
    np.testing.assert_allclose(change[:3], 0, atol=0.005)


def test_the_gripper_closes_at_zero_and_opens_at_one(env):
    assert env.unwrapped.status.robot.gripper == pytest.approx(1.0, abs=0.1)  # the real gripper stops at 0.91
    go(env, *HOLD[:6], 0.0)
    assert env.unwrapped.status.robot.gripper == pytest.approx(0.0, abs=0.05)
    go(env, *HOLD[:6], 1.0)
    assert env.unwrapped.status.robot.gripper == pytest.approx(1.0, abs=0.1)


def test_the_state_is_what_the_status_says(env):
    observation, *_ = env.step(np.array([0.02, 0.01, 0, 0, 0, 0.1, 1], np.float32))
    robot = env.status.robot
    np.testing.assert_allclose(observation["agent_pos"], WIDOWX_250S.agent_pos(robot.tcp, robot.gripper), atol=1e-5)


def test_what_is_no_action_is_refused_before_the_backend_sees_it(env, monkeypatch):
    seen = []
    monkeypatch.setattr(env._backend, "move", seen.append)
    for wrong in (np.full(7, np.nan), np.array([np.inf, 0, 0, 0, 0, 0, 1]), np.zeros(6), np.zeros((1, 7))):
        with pytest.raises(ActionError):
            env.step(wrong)
    assert seen == []


def test_the_backend_is_given_limited_actions_only(env, monkeypatch):
    seen, move = [], env._backend.move
    monkeypatch.setattr(env._backend, "move", lambda delta: (seen.append(delta), move(delta)))
    info = env.step(np.array([0.3, 0, 0, 0, 0, 2.0, 7], np.float32))[4]
    assert info["clipped"]
    np.testing.assert_allclose(seen, [[0.05, 0, 0, 0, 0, 0.25, 1]], atol=1e-6)


def test_the_same_episode_starts_the_same_again(env):
    first, _ = env.reset(seed=0, options={"episode_id": 4})
    env.step(np.array([0.05, 0.02, -0.03, 0, 0, 0, 0], np.float32))
    second, _ = env.reset(seed=0, options={"episode_id": 4})
    difference = np.abs(first["pixels"]["primary"].astype(int) - second["pixels"]["primary"])
    # A real camera has noise, and an arm comes back to its start within millimetres.
    assert difference.mean() < 1.5 if real(env) else difference.max() == 0
    np.testing.assert_allclose(first["agent_pos"], second["agent_pos"], atol=0.005 if real(env) else 0)


def test_a_image_once_given_stays_as_it_was(env):
    image = env.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
    kept = image.copy()
    for _ in range(3):
        later = env.step(np.array([0.05, 0.03, 0, 0, 0, 0, 1], np.float32))[0]["pixels"]["primary"]
    np.testing.assert_array_equal(image, kept)
    assert np.any(later != kept), "and a later one shows the motion"


def test_it_names_its_profile_and_objects(env):
    assert env.profile
    scene = env.scene_state()
    assert (scene.source.name, scene.target.name) == ("carrot", "plate")
    np.testing.assert_allclose(scene.source.extents, TASKS["carrot_on_plate"].source.extents)
