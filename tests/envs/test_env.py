"""The environment as Gymnasium, LeRobot and a newcomer meet it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import vlm2vla_sim
from vlm2vla_sim import make_vec
from vlm2vla_sim.envs.backends import load_backend
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.observations import FORMS
from vlm2vla_sim.envs.tasks import OWN_TASK_ID, TASKS
from vlm2vla_sim.errors import ActionError, EpisodeError, ExtensionError, SettingError, UnknownNameError

SMALL = (32, 48)
HOLD = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
FLAGS = {"success", "released", "on_target", "grasped", "consecutive_grasp", "moved_correct_object"}
CARROT = "vlm2vla/WidowXCarrotOnPlate-v0"


@pytest.fixture
def env() -> Iterator[gym.Env]:
    """Carrot on plate on the point robot, not yet reset."""
    env = gym.make(CARROT, backend="point", image_size=SMALL)
    yield env
    env.close()


# Gymnasium.


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_gymnasiums_checker_finds_nothing(task):
    env = gym.make(task.env_id, image_size=SMALL, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


def test_importing_the_package_registers_the_ids_and_a_fresh_process_needs_no_import():
    code = f"""
import gymnasium
env = gymnasium.make("vlm2vla_sim:{CARROT}", backend="point", image_size=(32, 48))
print(sorted(i for i in gymnasium.registry if i.startswith("vlm2vla/")), env.unwrapped.task_description)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip() == f"{sorted([OWN_TASK_ID, *(task.env_id for task in TASKS.values())])} put carrot on plate"
    )


def test_the_spaces_are_what_the_observation_and_the_action_are(env):
    assert env.action_space.shape == (7,)
    assert env.action_space.dtype == np.float32
    np.testing.assert_allclose(env.action_space.low, [-0.05] * 3 + [-0.25] * 3 + [0])
    np.testing.assert_allclose(env.action_space.high, [0.05] * 3 + [0.25] * 3 + [1])
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert set(observation) == {"pixels", "agent_pos"}
    assert observation["pixels"]["primary"].shape == (*SMALL, 3)
    assert observation["pixels"]["primary"].dtype == np.uint8
    assert observation["agent_pos"].shape == (7,)
    assert observation["agent_pos"].dtype == np.float32


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_what_lerobot_reads_is_there(task):
    env = gym.make(task.env_id, backend="point", image_size=SMALL)
    assert env.unwrapped.task == task.name
    assert env.unwrapped.task_description == task.instruction
    assert env.unwrapped._max_episode_steps == task.max_steps
    assert env.unwrapped.metadata["render_fps"] == 5
    _, info = env.reset(seed=0)
    assert info["is_success"] is False
    *_, info = env.step(HOLD)
    assert info["is_success"] is False


def test_info_says_the_same_things_after_reset_and_after_a_step(env):
    _, first = env.reset(options={"episode_id": 5})
    *_, later = env.step(HOLD)
    for info in (first, later):
        assert info["instruction"] == "put carrot on plate"
        assert info["task"] == "carrot_on_plate"
        assert info["episode_id"] == 5
        assert info["clipped"] is False
        assert {name for name in FLAGS if info[name] is False} == FLAGS
    assert set(first) == set(later)


def test_info_says_when_an_action_was_clipped(env):
    env.reset(seed=0)
    assert env.step(HOLD * [1, 1, 1, 1, 1, 1, 2])[4]["clipped"] is True
    assert env.step(np.array([0.2, 0, 0, 0, 0, 0, 1]))[4]["clipped"] is True
    assert env.step(HOLD)[4]["clipped"] is False


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_an_episode_is_cut_at_simplers_number_of_steps(task):
    env = gym.make(task.env_id, backend="point", image_size=SMALL)
    env.reset(seed=0)
    ends = [env.step(HOLD)[2:4] for _ in range(task.max_steps)]
    assert ends == [(False, False)] * (task.max_steps - 1) + [(False, True)]


def solve_early(**options) -> tuple[list[float], list[bool], list[bool]]:
    """(rewards, ends, successes) of an episode whose object lies on the target at steps 10 to 19 only."""
    env = gym.make(CARROT, backend="fakes:SolvedEarlyBackend", image_size=SMALL, **options)
    env.reset(seed=0)
    made = [env.step(HOLD)[1:] for _ in range(12 if "terminate_on_success" not in options else 10)]
    return [r for r, *_ in made], [end for _, end, *_ in made], [info["is_success"] for *_, info in made]


def test_success_is_rewarded_and_does_not_end_the_episode():
    rewards, ends, successes = solve_early()
    assert rewards == [0.0] * 9 + [1.0] * 3
    assert successes == [False] * 9 + [True] * 3
    assert not any(ends)


def test_success_ends_the_episode_where_that_is_asked_for():
    rewards, ends, _ = solve_early(terminate_on_success=True)
    assert rewards == [0.0] * 9 + [1.0]
    assert ends == [False] * 9 + [True]


def test_render_gives_the_image_that_the_policy_saw():
    env = gym.make(CARROT, backend="point", image_size=SMALL, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), observation["pixels"]["primary"])
    for _ in range(3):
        observation, *_ = env.step(np.array([0.05, 0.05, 0, 0, 0, 0, 1], np.float32))
    np.testing.assert_array_equal(env.render(), observation["pixels"]["primary"])


@pytest.mark.parametrize("backend", ["point", "mujoco"])
def test_what_is_handed_out_is_a_copy_and_painting_on_it_changes_nothing(backend):
    env = gym.make(CARROT, backend=backend, image_size=SMALL, render_mode="rgb_array")
    other = gym.make(CARROT, backend=backend, image_size=SMALL, render_mode="rgb_array")
    for made in (env, other):
        made.reset(options={"episode_id": 0})
    for _ in range(3):
        action = np.array([0.03, 0.02, 0, 0, 0, 0, 1], np.float32)
        observation, _, _, _, info = env.step(action)
        expected = other.step(action)[0]
        image = env.render()
        np.testing.assert_array_equal(image, expected["pixels"]["primary"])
        image[:] = 0
        np.testing.assert_array_equal(observation["pixels"]["primary"], expected["pixels"]["primary"])
        observation["pixels"]["primary"][:] = 0
        observation["agent_pos"][:] = 0
        np.testing.assert_array_equal(env.render(), expected["pixels"]["primary"])
        info["sent_action"][:] = 9
        for pose in (env.unwrapped.status.robot.tcp, env.unwrapped.scene_state().source.pose):
            with pytest.raises(ValueError, match="read-only"):
                pose.position[:] = 0
    for made in (env, other):
        made.close()


def test_without_a_render_mode_there_is_nothing_to_render():
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=SMALL)
    env.reset(seed=0)
    assert env.render() is None


# Forms of the observation.


@pytest.mark.parametrize(
    ("form", "size"), [("dict", SMALL), ("flat", SMALL), ("image", SMALL), ("dict", None), ("flat", None)]
)
def test_every_form_of_observation_lies_in_its_space_and_passes_gymnasiums_checker(form, size):
    env = gym.make(
        CARROT, backend="point", image_size=size, observation=form, render_mode="rgb_array" if size else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=size is None)
    env.close()


def test_the_forms_show_the_same():
    seen = {}
    for form in FORMS:
        env = gym.make(CARROT, backend="point", image_size=SMALL, observation=form)
        env.reset(options={"episode_id": 2})
        seen[form] = env.step(np.array([0.03, 0, 0, 0, 0, 0, 1], np.float32))[0]
        assert env.unwrapped.observation == form
    assert set(seen["flat"]) == {"primary", "agent_pos"}
    for image in (seen["flat"]["primary"], seen["image"]):
        np.testing.assert_array_equal(image, seen["dict"]["pixels"]["primary"])
    np.testing.assert_array_equal(seen["flat"]["agent_pos"], seen["dict"]["agent_pos"])


# A scene that the backend does not know.


def test_flags_are_unknown_where_the_scene_is_not_known():
    env = gym.make(CARROT, backend="fakes:UnseeingBackend", image_size=SMALL)
    _, first = env.reset(seed=0)
    _, reward, terminated, _, later = env.step(HOLD)
    for info in (first, later):
        assert {name: info[name] for name in [*FLAGS, "is_success", "moved_wrong_object"]} == dict.fromkeys(
            [*FLAGS, "is_success", "moved_wrong_object"]
        )
    assert (reward, terminated) == (0.0, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    with pytest.raises(SettingError, match=r"terminate_on_success=True needs a backend that knows the scene"):
        gym.make(CARROT, backend="fakes:UnseeingBackend", image_size=SMALL, terminate_on_success=True)


def test_a_vector_keeps_what_is_unknown_apart_from_what_is_false():
    envs = make_vec(CARROT, 2, mode="sync", backend="fakes:UnseeingBackend", image_size=SMALL)
    infos = envs.reset(seed=0)[1]
    assert list(infos["is_success"]) == [None, None]
    envs.close()


# Tasks of your own.

SHORT = dataclasses.replace(TASKS["stack_cube"], name="short_stack", env_id=OWN_TASK_ID, max_steps=7)


@pytest.mark.parametrize("task", [SHORT, "test_env:SHORT"])
def test_a_task_of_your_own_is_given_to_make_and_its_length_counts(task):
    env = gym.make(OWN_TASK_ID, task=task, backend="point", image_size=SMALL)
    _, info = env.reset(seed=0)
    assert info["task"] == "short_stack"
    assert [env.step(HOLD)[3] for _ in range(7)] == [False] * 6 + [True]
    again = gym.make(env.spec)
    assert again.reset(seed=0)[1]["task"] == "short_stack"


def test_a_longer_task_of_your_own_is_not_cut_short():
    longer = dataclasses.replace(SHORT, max_steps=65)
    env = gym.make(OWN_TASK_ID, task=longer, backend="point", image_size=None)
    env.reset(seed=0)
    assert [env.step(HOLD)[3] for _ in range(65)] == [False] * 64 + [True]


def test_an_environment_of_your_own_task_collects_images_like_any_other():
    env = gym.make(OWN_TASK_ID, task=SHORT, backend="point", image_size=SMALL, render_mode="rgb_array_list")
    env.reset(seed=0)
    env.step(HOLD)
    assert len(env.render()) == 2


# Episodes.


def test_every_episode_of_the_grid_can_be_asked_for(env):
    for number in (0, 7, 23):
        _, info = env.reset(options={"episode_id": number})
        assert info["episode_id"] == number
        x, y = TASKS["carrot_on_plate"].layouts[number].source_xy
        expected = TASKS["carrot_on_plate"].scene.base.from_world(np.array([x, y, 0]))
        np.testing.assert_allclose(env.unwrapped.scene_state().source.pose.position[:2], expected[:2])


def source_at(env: gym.Env) -> tuple[float, ...]:
    return tuple(env.unwrapped.scene_state().source.pose.position)


def test_without_options_the_seed_draws_one_of_simplers_episodes(env):
    drawn = [env.reset(seed=seed)[1]["episode_id"] for seed in range(60)]
    assert set(drawn) <= set(range(24))
    assert len(set(drawn)) > 15
    assert drawn == [env.reset(seed=seed)[1]["episode_id"] for seed in range(60)]


def test_random_layouts_come_from_the_seed_and_have_no_number(env):
    places = []
    for seed in (1, 1, 2):
        _, info = env.reset(seed=seed, options={"layout": "random"})
        assert info["episode_id"] == -1
        places.append(source_at(env))
    assert places[0] == places[1] != places[2]


def test_an_environment_made_for_random_layouts_draws_them_and_can_still_be_told():
    env = gym.make(CARROT, backend="point", image_size=SMALL, layouts="random")
    assert env.reset(seed=0)[1]["episode_id"] == -1
    assert env.reset(seed=0, options={"layout": "grid"})[1]["episode_id"] >= 0
    assert env.reset(options={"episode_id": 3})[1]["episode_id"] == 3


# Sentences for what goes wrong.


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"backend": "mujco"},
            UnknownNameError,
            r"No backend named 'mujco'\. Did you mean 'mujoco'\? Available: mujoco",
        ),
        ({"backend": None}, UnknownNameError, r"No backend named None\. .*Available: mujoco, simpler"),
        ({"backend": "no_such.module:Robot"}, UnknownNameError, r"No backend named 'no_such\.module:Robot'"),
        (
            {"backend": "vlm2vla_sim.testing:PointBackends"},
            UnknownNameError,
            r"No backend in vlm2vla_sim\.testing named 'PointBackends'\. Did you mean 'PointBackend'\?",
        ),
        (
            {"imagesize": SMALL},
            UnknownNameError,
            r"No option .*'mujoco' named 'imagesize'\. Did you mean 'image_size'\?",
        ),
        ({"observation": "imag"}, UnknownNameError, r"No form of observation named 'imag'\. Did you mean 'image'\?"),
        ({"observation": "image", "image_size": None}, SettingError, "'image' needs an image, and image_size=None"),
        ({"render_mode": "rgb_array", "image_size": None}, SettingError, "render_mode='rgb_array' needs an image, and"),
        ({"terminate_on_sucess": True}, UnknownNameError, r"Did you mean 'terminate_on_success'\?"),
        ({"quality": "hi"}, UnknownNameError, r"No quality named 'hi'\. .*Available: fast, high"),
        ({"quality": "hi", "backend": "point"}, UnknownNameError, r"No quality named 'hi'\. .*Available: fast, high"),
        ({"layouts": "rnadom"}, UnknownNameError, r"No kind of layouts named 'rnadom'\. Did you mean 'random'\?"),
        ({"image_size": 480}, EpisodeError, r"image_size is 480; expected \(height, width\), each a whole number"),
        ({"image_size": (480,)}, EpisodeError, r"image_size is \(480,\); expected \(height, width\)"),
        ({"image_size": (64, 64, 3)}, EpisodeError, r"image_size is \(64, 64, 3\); expected \(height, width\)"),
        ({"image_size": (8, 64)}, EpisodeError, "from 16 to 4096"),
        ({"image_size": (64, 5000)}, EpisodeError, "from 16 to 4096"),
        ({"image_size": (64.5, 64)}, EpisodeError, "a whole number"),
        ({"image_size": ("a", 64)}, EpisodeError, "a whole number"),
        ({"image_size": (float("nan"), 64)}, EpisodeError, "a whole number"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_the_way_out(options, error, sentence):
    with pytest.raises(error, match=sentence):
        gym.make(CARROT, **options)


def test_a_render_mode_it_does_not_have_is_refused():
    with pytest.raises(UnknownNameError, match=r"No render mode named 'human'\. .*Available: rgb_array"):
        WidowXEnv("carrot_on_plate", backend="point", render_mode="human")


def test_whole_numbers_of_any_kind_are_an_image_size():
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=(np.int64(32), 48.0))  # pyright: ignore
    assert env.reset(seed=0)[0] in env.observation_space


def test_a_package_missing_inside_a_backend_is_not_mistaken_for_a_wrong_name(tmp_path, monkeypatch):
    (tmp_path / "needy_backend.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExtensionError, match=r"No module named .a_package_that_is_not_there."):
        load_backend("needy_backend:Robot")


def test_a_backend_of_your_own_takes_its_own_options():
    options = {"host": "robot", "port": 1, "slow": False, "gain": 1.0, "name": "arm"}
    env = gym.make(CARROT, backend="fakes:TunableBackend", image_size=SMALL, **options)
    assert env.unwrapped.profile == "robot:1"


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"episode_id": 24}, EpisodeError, r"no episode 24: .* 0 to 23\..*'layout': 'random'"),
        ({"episode_id": -1}, EpisodeError, "no episode -1"),
        ({"episode_id": "3"}, EpisodeError, "episode_id is '3'; expected a whole number from 0 to 23"),
        ({"layout": "rand"}, UnknownNameError, r"No layout named 'rand'\. Did you mean 'random'\?"),
        ({"layout": ""}, UnknownNameError, r"No layout named ''\. Available: grid, random"),
        ({"layout": 3}, UnknownNameError, r"No layout named 3\. Available: grid, random"),
        ({"layout": ["grid"]}, UnknownNameError, r"No layout named \['grid'\]"),
        ({"episode_id": 3, "layout": "rand"}, UnknownNameError, r"No layout named 'rand'"),
        (
            {"episode_id": 3, "layout": "random"},
            SettingError,
            "ask for episode 3 of the grid and for a random layout. Leave out one of episode_id and layout",
        ),
        ({"episode_id": True}, EpisodeError, "episode_id is True; expected a whole number from 0 to 23"),
        ({"episode_id": 3.0}, EpisodeError, r"episode_id is 3\.0; expected a whole number from 0 to 23"),
        ("random", EpisodeError, "The options of reset are 'random'; expected a mapping"),
        ({"episode": 3}, UnknownNameError, r"No reset option named 'episode'\. Did you mean 'episode_id'\?"),
    ],
)
def test_a_reset_that_makes_no_sense_is_refused_with_the_way_out(env, options, error, sentence):
    with pytest.raises(error, match=sentence):
        env.reset(options=options)


def test_options_that_agree_or_are_none_are_taken(env):
    assert env.reset(options={"episode_id": 3, "layout": "grid"})[1]["episode_id"] == 3
    assert env.reset(options={"episode_id": None, "layout": "random"})[1]["episode_id"] == -1
    assert env.reset(options={"episode_id": 3, "layout": None})[1]["episode_id"] == 3


def test_a_step_before_the_first_reset_says_to_reset():
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=SMALL)
    with pytest.raises(EpisodeError, match=r"before the first reset\(\)\. Call env\.reset\(\) first"):
        env.step(HOLD)
    with pytest.raises(EpisodeError, match=r"Call env\.reset\(\) first"):
        env.scene_state()


def test_an_action_without_sense_is_refused_and_the_episode_goes_on(env):
    env.reset(seed=0)
    inner = env.unwrapped
    before = inner.status.robot.target.position
    with pytest.raises(ActionError, match="not finite"):
        inner.step(np.full(7, np.nan, np.float32))
    with pytest.raises(ActionError, match=r"shape \(6,\); expected \(7,\)"):
        inner.step(np.zeros(6, np.float32))
    np.testing.assert_array_equal(inner.status.robot.target.position, before)
    inner.step(HOLD)


def test_gymnasium_guesses_at_a_misspelt_id():
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `WidowXCarrotOnPlate`"):
        gym.make("vlm2vla/WidowXCarotOnPlate-v0")
    with pytest.raises(gym.error.NamespaceNotFound, match="Did you mean: `vlm2vla`"):
        gym.make("vlm2vl/WidowXCarrotOnPlate-v0")


def test_an_unknown_task_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match=r"No task named 'carot_on_plate'\. Did you mean 'carrot_on_plate'\?"):
        WidowXEnv("carot_on_plate")


@pytest.mark.parametrize("backend", ["point", "mujoco"])
def test_closing_twice_or_unused_is_harmless(backend):
    env = WidowXEnv("stack_cube", backend=backend, image_size=SMALL)
    env.close()
    env.reset(seed=0)
    env.close()
    env.close()


def test_registering_twice_is_harmless():
    before = dict(gym.registry)
    vlm2vla_sim.register_environments()
    assert dict(gym.registry) == before
