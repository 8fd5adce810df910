"""A second camera, with files as devices: colours, size, the newest image and never an old one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from lane import need

need("robot", "cv2", "zmq", "lz4")
import cv2  # noqa: E402
from robot_bench import bench  # noqa: E402

from vlm2vla_sim.cli.robot_flags import read_cameras  # noqa: E402
from vlm2vla_sim.envs.bridge.backend import BridgeBackend  # noqa: E402
from vlm2vla_sim.envs.cameras import Camera  # noqa: E402
from vlm2vla_sim.envs.robot_link.cameras import DeviceCamera  # noqa: E402
from vlm2vla_sim.envs.tasks import TASKS  # noqa: E402
from vlm2vla_sim.errors import LinkLostError, SettingError  # noqa: E402


@pytest.fixture
def still(tmp_path):
    path = tmp_path / "wrist.png"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = (20, 90, 200)  # BGR: orange on the left
    cv2.imwrite(str(path), image)
    return str(path)


@pytest.fixture
def film(tmp_path):
    """Twenty images, each brighter than the one before, at 20 a second."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    return str(path)


def test_a_camera_shows_true_colours_in_the_size_that_was_asked_for(still):
    camera = DeviceCamera(still, size=(96, 128))
    image = camera.read_latest()
    camera.close()
    assert image.shape == (96, 128, 3)
    np.testing.assert_allclose(image[48, 20], [200, 90, 20], atol=3)
    np.testing.assert_allclose(image[48, 110], [0, 0, 0], atol=3)


def test_the_newest_picture_is_handed_out_and_not_the_next_in_the_queue(film):
    camera = DeviceCamera(film, size=(48, 64))
    first = camera.read_latest().mean()
    time.sleep(0.45)
    later = camera.read_latest().mean()
    camera.close()
    assert later > first + 45  # five images or more have been passed over


def test_a_camera_that_stopped_is_not_read_from(film):
    camera = DeviceCamera(film, size=(48, 64))
    time.sleep(1.4)
    with pytest.raises(LinkLostError, match="newest frame of the camera") as caught:
        camera.read_latest(max_age_ms=100)
    camera.close()
    assert caught.value.reason == "camera_stale"


def test_a_picture_handed_out_is_the_readers_own(still):
    camera = DeviceCamera(still, size=(48, 64))
    camera.read_latest()[:] = 7
    assert camera.read_latest().max() > 7
    camera.close()
    camera.close()


def test_a_camera_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(SettingError, match="no camera"):
        DeviceCamera("/dev/video99", size=(48, 64))
    (tmp_path / "notes.txt").write_text("not a film")
    with pytest.raises(SettingError, match="cannot be opened"):
        DeviceCamera(str(tmp_path / "notes.txt"), size=(48, 64))


def test_a_second_camera_is_part_of_the_observation(still):
    with bench() as stage:
        env = stage.env(cameras={"wrist": still})
        observation, _ = env.reset(options={"episode_id": 0})
        assert env.observation_space.contains(observation)
        assert set(observation["pixels"]) == {"primary", "wrist"}
        np.testing.assert_allclose(observation["pixels"]["wrist"][48, 20], [200, 90, 20], atol=3)
        env.close()


def test_cameras_are_named_on_the_command_line():
    assert read_cameras(("wrist=/dev/video2", "side=3")) == {"wrist": "/dev/video2", "side": "3"}
    for bad in ("wrist", "=3", "primary=1", "a b=1"):
        with pytest.raises(SettingError, match="NAME=DEVICE"):
            read_cameras((bad,))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cameras": {"side": "/dev/video2"}, "image_size": None}, "image_size=None reads no images"),
        (
            {"cameras": {"side": Camera((0.3, -0.6, 0.4), look_at=(0.3, 0, 0))}},
            r"'side' is Camera.*; the backend 'bridge' takes a device or file",
        ),
    ],
)
def test_a_camera_that_a_real_robot_cannot_have_is_refused(options, sentence):
    with pytest.raises(SettingError, match=sentence):
        BridgeBackend(TASKS["carrot_on_plate"], **options)
