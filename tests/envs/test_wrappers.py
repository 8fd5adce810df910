"""A sentence moves the arm where it says, and an unreadable one is dealt with as asked."""

from __future__ import annotations

import pickle
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from vlm2vla_sim import LanguageActions, make_vec
from vlm2vla_sim.envs.motion import StepLimits
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import ActionTextError, EpisodeError, SettingError, UnknownNameError
from vlm2vla_sim.language.formats import get_format

ID = TASKS["carrot_on_plate"].env_id
SMALL = (32, 48)
# x, y, z [cm], yaw [degrees], gripper.
SENTENCES = {
    "move forward 3 cm, open gripper": (3, 0, 0, 0, 1),
    "move backward 3 cm, open gripper": (-3, 0, 0, 0, 1),
    "move left 4 cm, open gripper": (0, 4, 0, 0, 1),
    "move right 4 cm, open gripper": (0, -4, 0, 0, 1),
    "move up 6 cm, open gripper": (0, 0, 6, 0, 1),
    "move down 5 cm, open gripper": (0, 0, -5, 0, 1),
    "rotate counterclockwise 20 degrees, open gripper": (0, 0, 0, 20, 1),
    "rotate clockwise 20 degrees, open gripper": (0, 0, 0, -20, 1),
    "close gripper": (0, 0, 0, 0, 0),
    "move forward 3 cm and right 2 cm and down 4 cm, close gripper": (3, -2, -4, 0, 0),
    "move forward 3 cm, close gripper; move up 5 cm, close gripper": (3, 0, 5, 0, 0),
}


def make(backend: str = "point", *args, **options) -> LanguageActions:
    return LanguageActions(gym.make(ID, backend=backend, image_size=SMALL), *args, **options)


@pytest.mark.parametrize(("sentence", "moved"), SENTENCES.items(), ids=SENTENCES)
def test_a_sentence_moves_the_point_exactly_where_it_says(sentence, moved):
    env = make()
    before = env.reset(options={"episode_id": 0})[0]["agent_pos"]
    after, _, terminated, truncated, info = env.step(sentence)
    x, y, z, yaw, gripper = moved
    np.testing.assert_allclose((after["agent_pos"] - before)[:3], np.array([x, y, z]) / 100, atol=1e-6)
    np.testing.assert_allclose((after["agent_pos"] - before)[3:6], [0, 0, np.radians(yaw)], atol=1e-6)
    assert after["agent_pos"][6] == pytest.approx(gripper)
    assert (terminated, truncated, info["clipped"]) == (False, False, False)
    assert info["parse_error"] == ""


@pytest.mark.parametrize(
    ("sentence", "moved", "gripper"),
    [
        ("move forward 3 cm and right 2 cm, close gripper", (3, -2, 0), 0),
        ("move left 4 cm and down 2 cm, open gripper", (0, 4, -2), 1),
        ("move forward 4 cm", (4, 0, 0), 1),
        ("move right 10 cm", (0, -10, 0), 1),
    ],
)
def test_a_sentence_moves_the_twin_the_same_way_and_the_arm_has_arrived_on_return(sentence, moved, gripper):
    env = make("mujoco")
    before = env.reset(options={"episode_id": 0})[0]["agent_pos"]
    after, _, _, _, info = env.step(sentence)
    np.testing.assert_allclose((after["agent_pos"] - before)[:3], np.array(moved) / 100, atol=0.002)
    assert after["agent_pos"][6] == pytest.approx(gripper, abs=0.06)
    assert info["remaining_cm"] <= 0.2
    assert info["remaining_degrees"] <= 2
    env.close()


@pytest.mark.parametrize("sentence", ["move forward 4 cm", "move left 15 cm", "rotate counterclockwise 90 degrees"])
def test_four_steps_of_settling_are_enough_for_free_motion(sentence):
    env = make("mujoco", settle=20)
    env.reset(options={"episode_id": 0})
    info = env.step(sentence)[4]
    assert 1 <= info["settle_steps"] <= 4
    assert info["steps"] > info["settle_steps"]
    env.close()


def test_without_settling_the_arm_lags_and_info_says_by_how_much():
    env = make("mujoco", settle=0)
    before = env.reset(options={"episode_id": 0})[0]["agent_pos"]
    after, _, _, _, info = env.step("move forward 4 cm")
    assert (info["steps"], info["settle_steps"]) == (2, 0)
    missing = [4, 0, 0] - 100 * (after["agent_pos"] - before)[:3]
    assert info["remaining_cm"] == pytest.approx(np.linalg.norm(missing), abs=0.01)
    assert info["remaining_cm"] > 0.8
    env.step("stay")
    assert env.step("rotate clockwise 20 degrees")[4]["remaining_degrees"] > 5
    env.close()


def test_an_arm_that_cannot_get_there_is_not_waited_for():
    env = make("mujoco", settle=20)
    env.reset(options={"episode_id": 0})
    info = env.step("move forward 40 cm")[4]
    assert info["settle_steps"] == 1
    assert info["remaining_cm"] > 5
    env.close()


def test_settling_ends_with_the_episode():
    env = LanguageActions(gym.make(ID, image_size=None, max_episode_steps=3))
    env.reset(seed=0)
    *_, truncated, info = env.step("move forward 4 cm")
    assert (truncated, info["steps"], info["settle_steps"]) == (True, 3, 1)
    env.close()


def test_a_sentence_that_does_not_mention_the_gripper_leaves_it_as_it_is():
    env = make()
    env.reset(options={"episode_id": 0})
    for said, gripper in [(None, 1), ("close gripper", 0), ("open gripper", 1)]:
        if said:
            env.step(said)
        before = env.unwrapped.status.robot.tcp.position
        observation, _, _, _, info = env.step("move forward 4 cm")
        assert env.unwrapped.status.robot.tcp.position[0] - before[0] == pytest.approx(0.04)
        assert observation["agent_pos"][6] == gripper
        assert info["steps"] == 2, "the gripper did not change, so there is nothing to wait for"


@pytest.mark.parametrize("sentence", ["move forward 0.04 m", "move forward 4 centimeters", "go 40 mm forward", "stay"])
def test_a_person_may_use_other_units_and_may_stay(sentence):
    env = make()
    before = env.reset(options={"episode_id": 0})[0]["agent_pos"]
    after, _, _, _, info = env.step(sentence)
    expected = 0 if sentence == "stay" else 0.04
    np.testing.assert_allclose((after["agent_pos"] - before)[:3], [expected, 0, 0], atol=1e-6)
    assert info["steps"] == (1 if sentence == "stay" else 2)


@pytest.mark.parametrize("action_format", ["vlm2vla", "prose", "integers"])
def test_every_format_drives_the_arm(action_format):
    text = get_format(action_format).write(np.array([[0.03, -0.02, -0.04, 0, 0, 0, 1]], np.float32))
    env = make("point", action_format)
    before = env.reset(seed=0)[0]["agent_pos"]
    after = env.step(text)[0]["agent_pos"]
    np.testing.assert_allclose((after - before)[:3], [0.03, -0.02, -0.04], atol=1e-3)


def test_a_format_object_of_your_own_serves_as_well():
    env = make("point", get_format("vlm2vla"))
    env.reset(seed=0)
    assert env.step("[[3, 0, 0, 1]]")[4]["steps"] == 2


def test_info_counts_the_steps_a_sentence_took():
    env = make()
    env.reset(options={"episode_id": 0})
    assert env.step("move forward 2 cm, open gripper")[4]["steps"] == 1
    assert env.step("move backward 5 cm, open gripper")[4]["steps"] == 2
    assert env.step("move up 5 cm, close gripper")[4]["steps"] == 2 + 3
    assert env.step("close gripper")[4]["steps"] == 1, "the gripper is closed already: hold still for one"


def test_info_says_when_any_of_the_steps_was_clipped():
    env = make()
    env.reset(options={"episode_id": 0})
    assert env.step("move down 40 cm, open gripper")[4]["clipped"] is True
    assert env.step("move up 10 cm, open gripper")[4]["clipped"] is False
    assert env.step("move down 12 cm, open gripper; move up 2 cm, open gripper")[4]["clipped"] is True


def test_a_sentence_that_is_longer_than_the_episode_ends_with_it():
    env = make()
    env.reset(options={"episode_id": 0})
    texts = ["move left 30 cm, open gripper; move right 30 cm, open gripper"] * 3
    results = [env.step(text) for text in texts]
    assert [result[4]["steps"] for result in results] == [24, 24, 12]
    assert [result[3] for result in results] == [False, False, True]


def test_other_limits_split_a_sentence_otherwise():
    env = make(limits=StepLimits(step=0.05))
    env.reset(seed=0)
    assert env.step("move forward 5 cm, open gripper")[4]["steps"] == 1


def test_an_unreadable_sentence_raises_where_and_why():
    env = make()
    env.reset(seed=0)
    before = env.unwrapped.status.robot.target.position
    with pytest.raises(ActionTextError, match="prose"):
        env.step("go get it")
    np.testing.assert_array_equal(env.unwrapped.status.robot.target.position, before)


def test_an_unreadable_sentence_holds_still_for_one_step_where_that_is_asked_for():
    env = make(unreadable="hold")
    env.reset(seed=0)
    env.step("close gripper")
    before = env.unwrapped.status.robot
    *_, info = env.step("go get it")
    assert info["steps"] == 1
    assert "go get it" in info["parse_error"] or "prose" in info["parse_error"]
    np.testing.assert_array_equal(env.unwrapped.status.robot.tcp.position, before.tcp.position)
    assert env.unwrapped.status.robot.gripper == 0.0, "it keeps holding"
    assert env.step("open gripper")[4]["parse_error"] == ""


def test_the_gripper_counts_as_open_again_after_a_reset():
    env = make()
    env.reset(seed=0)
    env.step("close gripper")
    env.reset(seed=0)
    assert env.step("open gripper")[4]["steps"] == 1
    assert env.step("close gripper")[4]["steps"] == 3


def test_the_action_space_holds_the_sentences():
    env = make()
    for sentence in [*SENTENCES, "[[3, 0, -8, 1], [0, 0, 0, 0]]", "rotate 20\u00b0\n", "", "move forward \u22123 cm"]:
        assert sentence in env.action_space
    assert 3 not in env.action_space
    assert "x" * 20_001 not in env.action_space


def test_what_it_cannot_wrap_or_do_is_refused():
    with pytest.raises(EpisodeError, match="wraps a WidowXEnv; it was given CartPoleEnv"):
        LanguageActions(gym.make("CartPole-v1"))
    with pytest.raises(UnknownNameError, match=r"unreadable text named 'ignore'\. .*Available: raise, hold"):
        make(unreadable="ignore")
    with pytest.raises(UnknownNameError, match=r"No action format named 'pros'\. Did you mean 'prose'"):
        make("point", "pros")


@pytest.mark.parametrize("settle", [-1, 1.5, True, "4"])
def test_a_settle_time_that_makes_no_sense_is_refused(settle):
    with pytest.raises(SettingError, match=r"settle is .*; expected a whole number of control steps, 0 or more"):
        make(settle=settle)


def test_the_environment_can_be_made_again_from_its_spec():
    env = make("mujoco", "vlm2vla", unreadable="hold", limits=StepLimits(step=0.05), settle=0)
    again = gym.make(env.spec)
    assert isinstance(again, LanguageActions)
    assert again.spec == env.spec
    ends = []
    for made in (env, again):
        made.reset(seed=3)
        infos = [made.step(text)[4] for text in ("[[5, 0, 0, 1]]", "no idea")]
        ends.append((made.unwrapped.status.robot.tcp.position.tolist(), [info["steps"] for info in infos]))
        made.close()
    assert ends[0] == ends[1]
    assert ends[0][1] == [1, 1]


def test_its_spec_goes_through_json():
    env = LanguageActions(gym.make(ID, backend="point"), "prose", unreadable="hold", settle=2)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, LanguageActions)
    assert again.reset(seed=0)[1] == env.reset(seed=0)[1]
    assert again.step("no idea")[4]["parse_error"] != ""


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_vector_of_them_takes_a_sentence_each(mode):
    wrapper = partial(LanguageActions, action_format="prose", unreadable="hold")
    assert pickle.loads(pickle.dumps(wrapper)).func is LanguageActions
    envs = make_vec(ID, 2, mode=mode, wrappers=(wrapper,), backend="point", image_size=SMALL)
    before, _ = envs.reset(seed=0)
    before = before["agent_pos"].copy()
    after, _, _, _, infos = envs.step(("move forward 5 cm, open gripper", "no idea"))
    np.testing.assert_allclose(after["agent_pos"][:, 0] - before[:, 0], [0.05, 0.0], atol=1e-6)
    assert list(infos["steps"]) == [2, 1]
    assert infos["parse_error"][0] == ""
    assert infos["parse_error"][1] != ""
    envs.close()
