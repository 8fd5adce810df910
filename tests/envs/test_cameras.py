"""Cameras of your own: they stand where they are told, and what cannot be honoured is refused."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim import Camera, make_vec
from vlm2vla_sim.envs.cameras import read_cameras
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import EpisodeError, SettingError, UnknownNameError

AT = (0.3, -0.6, 0.4)


@pytest.mark.parametrize(
    ("position", "look_at", "axes"),
    [
        ((0, 0, 0.2), (1, 0, 0.2), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ((0.3, -0.6, 0.1), (0.3, 0, 0.1), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
        ((0.3, 0, 0.9), (0.3, 0, 0), [[0, 0, -1], [0, 1, 0], [1, 0, 0]]),
        ((0, 0, 1), (1, 0, 0), np.array([[1, 0, -1], [0, 2**0.5, 0], [1, 0, 1]]) / 2**0.5),
    ],
)
def test_a_camera_looks_where_it_is_told_and_is_level(position, look_at, axes):
    """axes: where the camera looks, its left and its up, base frame."""
    np.testing.assert_allclose(Camera(position, look_at=look_at).axes().T, axes, atol=1e-9)


def test_a_quaternion_is_taken_as_it_is():
    """Half a turn about z: it looks backward."""
    np.testing.assert_allclose(Camera(AT, quaternion=(0, 0, 0, -1)).axes().T, [[-1, 0, 0], [0, -1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({}, SettingError, "needs either look_at or quaternion; neither of them was given"),
        ({"look_at": (0, 0, 0), "quaternion": (1, 0, 0, 0)}, SettingError, "both were given"),
        ({"look_at": AT}, SettingError, r"looks at \(0\.3, -0\.6, 0\.4\), which is where it stands"),
        ({"look_at": (0, 0)}, SettingError, r"Camera\.look_at is \(0, 0\); expected 3 finite numbers"),
        ({"look_at": (0, 0, float("nan"))}, SettingError, r"Camera\.look_at is .*expected 3 finite numbers"),
        ({"look_at": "plate"}, SettingError, r"Camera\.look_at is 'plate'; expected 3 finite numbers"),
        ({"quaternion": (1, 1, 0, 0)}, SettingError, "expected w, x, y, z of unit length"),
        ({"look_at": (0, 0, 0), "fovy": 0}, SettingError, r"Camera\.fovy is 0; expected 1 to 170 degrees"),
        ({"look_at": (0, 0, 0), "fovy": float("nan")}, SettingError, r"Camera\.fovy is nan"),
        ({"look_at": (0, 0, 0), "fovy": "45"}, SettingError, r"Camera\.fovy is '45'"),
        ({"look_at": (0, 0, 0), "size": (4, 4)}, EpisodeError, r"Camera\.size is \(4, 4\); expected \(height, width\)"),
    ],
)
def test_a_camera_that_makes_no_sense_is_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        Camera(AT, **options)


@pytest.mark.parametrize(
    ("cameras", "size", "sentence"),
    [
        ({"side": Camera(AT, look_at=(0, 0, 0))}, None, "image_size=None renders no images"),
        ([Camera(AT, look_at=(0, 0, 0))], (32, 48), "expected a mapping such as"),
        ({"primary": Camera(AT, look_at=(0, 0, 0))}, (32, 48), "called 'primary'; expected letters, digits"),
        ({"agent_pos": Camera(AT, look_at=(0, 0, 0))}, (32, 48), "none of primary, pixels, agent_pos"),
        ({"my side": Camera(AT, look_at=(0, 0, 0))}, (32, 48), "called 'my side'"),
        ({"side": "/dev/video0"}, (32, 48), "'side' is '/dev/video0'; a simulated scene takes a vlm2vla_sim.Camera"),
        ({"side": {"at": AT}}, (32, 48), "'side' has at; expected position and others of position, look_at"),
    ],
)
def test_cameras_that_cannot_be_honoured_are_refused(cameras, size, sentence):
    with pytest.raises(SettingError, match=sentence):
        read_cameras(cameras, size)


def test_a_camera_may_come_from_a_settings_file_and_gets_the_environments_size():
    read = read_cameras({"side": {"position": [0.3, -0.6, 0.4], "look_at": [0.3, 0, 0]}}, (32, 48))
    assert read == {"side": Camera(AT, look_at=(0.3, 0.0, 0.0), size=(32, 48))}


# On the twin.

CARROT = TASKS["carrot_on_plate"]
SIDE = Camera((0.3, -0.7, 0.35), look_at=(0.3, 0.0, 0.0), size=(96, 128))
TOP = Camera((0.3, 0.0, 0.9), look_at=(0.3, 0.0, 0.0))


def make(**options) -> gym.Env:
    return gym.make(CARROT.env_id, image_size=(48, 64), **options)


def test_a_camera_of_your_own_is_in_the_observation_and_in_its_space():
    env = make(cameras={"side": SIDE, "top": TOP})
    observation, _ = env.reset(options={"episode_id": 0})
    assert observation in env.observation_space
    assert {name: image.shape for name, image in observation["pixels"].items()} == {
        "primary": (48, 64, 3),
        "side": (96, 128, 3),
        "top": (48, 64, 3),
    }
    plain = make()
    expected, _ = plain.reset(options={"episode_id": 0})
    np.testing.assert_array_equal(observation["pixels"]["primary"], expected["pixels"]["primary"])
    for made in (env, plain):
        made.close()


@pytest.mark.parametrize("episode_id", [0, 7])
def test_what_is_looked_at_is_in_the_middle_and_up_is_up(episode_id):
    """The carrot is the only orange object."""
    env = make()
    env.reset(options={"episode_id": episode_id})
    carrot = env.unwrapped.scene_state().source.pose.position
    env.close()
    above = carrot + np.array([0, 0, 0.5])
    cameras = {
        "centred": Camera(tuple(above), look_at=tuple(carrot), fovy=30, size=(96, 96)),
        # From above, image up is the base's x axis and image left its y axis.
        "behind": Camera(tuple(above - [0.08, 0, 0]), look_at=tuple(carrot - [0.08, 0, 0]), fovy=30, size=(96, 96)),
        "right_of": Camera(tuple(above - [0, 0.08, 0]), look_at=tuple(carrot - [0, 0.08, 0]), fovy=30, size=(96, 96)),
    }
    env = make(cameras=cameras)
    images = env.reset(options={"episode_id": episode_id})[0]["pixels"]
    env.close()
    seen = {}
    for name in cameras:
        image = images[name]
        red, green, blue = (image[..., k].astype(int) for k in range(3))
        rows, columns = np.nonzero((red > green + 60) & (green > blue + 45))
        assert len(rows) > 30, name
        seen[name] = np.array([rows.mean(), columns.mean()])
    # The leaves at one end are not orange.
    np.testing.assert_allclose(seen["centred"], [48, 48], atol=8)
    shift = 0.08 / (0.5 * np.tan(np.radians(15))) * 48
    np.testing.assert_allclose(seen["behind"] - seen["centred"], [-shift, 0], atol=2)
    np.testing.assert_allclose(seen["right_of"] - seen["centred"], [0, -shift], atol=2)


def test_a_flat_observation_has_a_key_for_each_camera_and_an_image_takes_no_other_camera():
    env = make(cameras={"side": SIDE}, observation="flat")
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"primary", "side", "agent_pos"}
    assert observation in env.observation_space
    env.close()
    with pytest.raises(SettingError, match="of the camera 'primary' alone; side would be left out"):
        make(cameras={"side": SIDE}, observation="image")


def test_cameras_go_through_the_spec_and_into_processes():
    env = make(cameras={"side": SIDE})
    again = gym.make(env.spec)
    np.testing.assert_array_equal(
        env.reset(options={"episode_id": 0})[0]["pixels"]["side"],
        again.reset(options={"episode_id": 0})[0]["pixels"]["side"],
    )
    for made in (env, again):
        made.close()
    envs = make_vec(CARROT.env_id, 1, image_size=(48, 64), cameras={"side": SIDE})
    assert envs.reset(seed=0)[0]["pixels"]["side"].shape == (1, 96, 128, 3)
    envs.close()


def test_a_backend_without_such_cameras_refuses_them():
    with pytest.raises(UnknownNameError, match=r"No option of the backend 'point' named 'cameras'"):
        make(backend="point", cameras={"side": SIDE})
