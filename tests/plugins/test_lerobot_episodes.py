"""The environment as lerobot-eval drives it, without the package lerobot; with it, see test_lerobot_eval.py."""

from __future__ import annotations

import importlib.util

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import MissingExtraError, ServerError, SettingError, UnknownNameError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.lerobot.episodes import ENV_ID, NEW_ROLLOUT, LeRobotEpisodes, register_episodes
from vlm2vla_sim.policies.spec import PolicySpec

SIZE = (48, 64)
HALF_TURN = np.pi / 2


@pytest.fixture
def env():
    register_episodes()
    made = gym.make(ENV_ID, disable_env_checker=True, task="carrot_on_plate", backend="point", image_size=SIZE)
    yield made
    made.close()


def test_lerobot_finds_what_it_reads_on_the_outermost_environment(env):
    assert isinstance(env, LeRobotEpisodes)
    assert (env.task, env.task_description, env._max_episode_steps) == ("carrot_on_plate", "put carrot on plate", 60)
    assert env.metadata["render_fps"] == 5
    observation, info = env.reset(seed=1000, options={NEW_ROLLOUT: True})
    assert env.observation_space.contains(observation)
    assert observation["pixels"]["image_0"].shape == (*SIZE, 3)
    assert env.render().shape == (*SIZE, 3)
    assert info["is_success"] is False


def test_24_seeds_in_a_row_are_the_24_episodes_of_simpler(env):
    assert [env.reset(seed=1000 + number)[1]["episode_id"] for number in range(24)] == [*range(16, 24), *range(16)]
    random = LeRobotEpisodes(
        WidowXEnv("carrot_on_plate", backend="point", image_size=SIZE, layouts="random"),
        camera="top",
        convention="vlm2vla",
    )
    assert random.reset(seed=1000)[1]["episode_id"] == -1
    assert random.reset(seed=1000, options={"episode_id": 3})[1]["episode_id"] == 3
    with pytest.raises(UnknownNameError, match="layuot"):
        env.reset(seed=0, options={"layuot": "random"})


def test_an_episode_in_a_vector_ends_with_its_success_in_final_info(env):
    vector = gym.vector.SyncVectorEnv(
        [lambda: gym.make(ENV_ID, disable_env_checker=True, task="carrot_on_plate", backend="point", image_size=SIZE)]
        * 2,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
    )
    vector.reset(seed=[1000, 1001])
    still = np.array([[0, 0, 0, 0, 0, 0, 1]] * 2, np.float32)
    for _ in range(59):
        *_, truncated, info = vector.step(still)
        assert "final_info" not in info
    *_, truncated, info = vector.step(still)
    assert truncated.all()
    assert info["final_info"]["is_success"].tolist() == [False, False]
    vector.close()


def test_actions_and_states_of_bridge_are_converted(env):
    """Euler angles about fixed axes; the servo reads 1.08 at an open gripper and 0.20 at a closed one."""
    bridge = LeRobotEpisodes(
        WidowXEnv("carrot_on_plate", backend="point", image_size=SIZE), camera="image_0", convention="bridge"
    )
    ours, _ = env.reset(seed=0)
    theirs, _ = bridge.reset(seed=0)
    assert theirs["agent_pos"].shape == (8,)
    assert np.array_equal(theirs["agent_pos"][:6], ours["agent_pos"][:6])
    assert theirs["agent_pos"][6] == 0
    assert theirs["agent_pos"][7] == pytest.approx(1.08, abs=0.01)
    turn = 0.1
    bridge.step(np.array([0.01, 0, 0, turn, 0, turn, 0.4]))
    for _ in range(3):
        theirs, *_ = bridge.step(np.array([0, 0, 0, 0, 0, 0, 0.4]))
    assert theirs["agent_pos"][7] == pytest.approx(0.20, abs=0.01), "0.4 counts as closed"
    with pytest.raises(ServerError, match=r"shape \(6,\)"):
        bridge.step(np.zeros(6))


def test_a_backend_that_cannot_tell_success_is_refused():
    with pytest.raises(SettingError, match="does not know whether an episode succeeds"):
        gym.make(ENV_ID, disable_env_checker=True, task="carrot_on_plate", backend="bridge", image_size=SIZE)
    with pytest.raises(UnknownNameError, match="vlm2vla, pi0-bridge, bridge"):
        gym.make(ENV_ID, disable_env_checker=True, task="carrot_on_plate", backend="point", convention="euler")


@pytest.mark.filterwarnings("default")  # importing lerobot warns of what its own packages lack
def test_the_policy_lerobot_names_what_it_lacks(tmp_path):
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=SIZE)
    with pytest.raises(SettingError, match="needs the folder that LeRobot saved: --model"):
        run_episode(env, PolicySpec("lerobot"))
    with pytest.raises(SettingError, match=r"has no config\.json"):
        run_episode(env, PolicySpec("lerobot", options={"model": str(tmp_path)}))
    (tmp_path / "config.json").write_text("{}")
    if importlib.util.find_spec("lerobot") is None:
        with pytest.raises(MissingExtraError, match=r"needs the package lerobot.*vlm2vla serve --policy lerobot"):
            run_episode(env, PolicySpec("lerobot", options={"model": str(tmp_path)}))
    else:
        with pytest.raises(SettingError, match=r"LeRobot cannot load the policy in .* \(KeyError"):
            run_episode(env, PolicySpec("lerobot", options={"model": str(tmp_path)}))
