"""Addresses of either family, a link that is slow, and images that are not what was expected."""

from __future__ import annotations

import time

import gymnasium as gym
import numpy as np
import pytest
from lane import need

need("robot", "zmq", "lz4", "cv2")

import cv2  # noqa: E402
from robot_bench import CARROT, Bench, TruthOnce, bench, in_thread  # noqa: E402

from vlm2vla_sim.envs.bridge.client import BridgeClient  # noqa: E402
from vlm2vla_sim.envs.bridge.mock import robot as mock_robot  # noqa: E402
from vlm2vla_sim.envs.bridge.mock.server import MockServer  # noqa: E402
from vlm2vla_sim.envs.robot_link.endpoint import find_listener, is_loopback, read_address, show_address  # noqa: E402
from vlm2vla_sim.envs.robot_link.freshness import too_old  # noqa: E402
from vlm2vla_sim.envs.robot_link.images import ImageReader, decode_jpeg  # noqa: E402
from vlm2vla_sim.envs.robot_link.mock.fault_proxy import FaultProxy  # noqa: E402
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts  # noqa: E402
from vlm2vla_sim.envs.tasks import get_task  # noqa: E402
from vlm2vla_sim.errors import LinkLostError, SettingError  # noqa: E402

STEP = np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32)


# Addresses.


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("127.0.0.1", 5556, ("127.0.0.1", 5556)),
        ("::1", 5556, ("::1", 5556)),
        ("[::1]", 5556, ("::1", 5556)),
        ("[::1]:7000", 5556, ("::1", 7000)),
        ("robot.lab:7000", 5556, ("robot.lab", 7000)),
        ("robot.lab:7000", 7000, ("robot.lab", 7000)),
        (" fe80::1%eth0 ", 5556, ("fe80::1%eth0", 5556)),
    ],
)
def test_a_host_is_read_with_and_without_its_port(host, port, expected):
    assert read_address(host, port, default_port=5556) == expected
    shown = show_address(*expected)
    assert read_address(shown, expected[1]) == expected, "what is shown can be given"


@pytest.mark.parametrize(
    "host", ["", "[::1", "[::1]7000", "[robot]", "::1::2", "a b", "tcp://x", "robot:", "r:x", "r:0"]
)
def test_what_is_no_address_is_refused(host):
    with pytest.raises(SettingError, match=r"The host|The port"):
        read_address(host, 5556, default_port=5556)


def test_two_different_ports_are_refused():
    with pytest.raises(SettingError, match="Two ports were given: 7000 in the host '\\[::1\\]:7000', and 7001"):
        read_address("[::1]:7000", 7001, default_port=5556)


def test_every_loopback_is_this_machine_and_nothing_else_is():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "fd00::1", "robot.lab", "localhost.evil.org")))


def test_a_server_on_ipv6_only_is_driven_through_a_proxy_on_ipv6_with_its_ground_truth():
    server, end_server = in_thread(
        lambda: MockServer(get_task("carrot_on_plate"), host="::1", port=0, truth_port=0, image_size=(96, 128))
    )
    proxy, end_proxy = in_thread(lambda: FaultProxy(server.port, host="::1", target_host="::1"))
    try:
        assert server.address == f"tcp://[::1]:{server.port}"
        assert server.truth_address == f"tcp://[::1]:{server.truth_port}"
        assert find_listener("localhost", server.port) == "::1", "nobody listens on 127.0.0.1"
        shared = {"image_size": (96, 128), "period": 0.0, "max_frame_age": 30.0, "frame_timeout": 30.0}
        for host in ("::1", f"[::1]:{proxy.port}", "localhost"):
            port = {} if host.endswith(f":{proxy.port}") else {"port": server.port}
            made = gym.make(CARROT, backend="bridge", host=host, truth=server.truth_address, **port, **shared)
            made.reset(seed=0)
            *_, truncated, info = made.step(STEP)
            assert not truncated
            assert info["is_success"] is False, "the ground truth was read"
            assert f"at {show_address(host.strip('[]').split(']')[0], proxy.port if not port else server.port)}" in (
                made.unwrapped.profile
            )
            made.close()
        assert TruthOnce(server.truth_address).ask(type="block", on=False) == {"ok": True}
    finally:
        end_proxy()
        end_server()


def test_a_mock_server_listens_on_this_machine_only():
    for host in ("0.0.0.0", "::", "192.168.1.7"):
        with pytest.raises(SettingError, match="this machine alone"):
            MockServer(get_task("carrot_on_plate"), host=host, port=0)


# Slow links.


def test_a_slow_link_is_reported_as_one_and_not_as_a_camera_that_stands_still(stage, monkeypatch):
    made = stage.env(direct=True, timeouts=Timeouts(), max_frame_age=0.15, frame_timeout=0.2)
    made.reset(options={"episode_id": 0})
    reply = stage.server.robot.reply
    slow = {"obs": 0.3, "hash": 0.0}

    def late(message, *args):
        time.sleep(slow.get(message["type"], 0.0))
        return reply(message, *args)

    monkeypatch.setattr(stage.server.robot, "reply", late)
    info = made.step(STEP)[4]
    assert info["reason"] == "link_slow"
    assert "An observation takes 0.3" in info["fault"]
    assert "the images are slow" in info["fault"]
    assert "cable" not in info["fault"]
    slow["hash"] = 0.3
    made.unwrapped._backend._restore_link()
    assert "the network is slow" in made.step(STEP)[4]["fault"]
    made.close()


def test_old_images_over_a_fast_link_are_the_cameras():
    lost = too_old(4.0, trip=0.1, limit=0.5, waited=3.0, round_trip=lambda: pytest.fail("the link is not slow"))
    assert (lost.reason, "cable" in str(lost)) == ("camera_stale", True)
    assert too_old(9.0, trip=1.0, limit=0.5, waited=3.0, round_trip=lambda: 0.9).reason == "link_slow"


# Images.


@pytest.fixture(scope="module")
def stage():
    with bench() as made:
        yield made


def encode(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def test_images_of_another_size_or_with_one_channel_are_converted_and_that_is_said_once(capsys):
    reader = ImageReader((96, 128))
    scene = np.zeros((96, 128, 3), np.uint8)
    scene[:, 64:] = (200, 90, 20)
    assert np.abs(reader.read(encode(scene)).astype(int) - scene).max() < 40
    assert reader.converted == ""
    grey = reader.read(encode(scene[..., 0]))
    assert grey.shape == (96, 128, 3)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert grey[48, 100, 2] == pytest.approx(200, abs=4)
    assert reader.converted == "128 x 96 grey to 128 x 96 RGB"
    for _ in range(3):
        large = reader.read(encode(np.repeat(np.repeat(scene, 2, axis=0), 2, axis=1)))
        assert large.shape == (96, 128, 3)
        np.testing.assert_allclose(large[48, 100], (200, 90, 20), atol=4)
        assert reader.converted == "256 x 192 to 128 x 96 RGB"
    wide = reader.read(encode(np.repeat(scene, 2, axis=1)))
    np.testing.assert_allclose(wide[48, 100], (200, 90, 20), atol=4)
    assert reader.converted == "256 x 96 to 128 x 96 RGB, which stretches them"
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "The camera's images are converted: 128 x 96 grey to 128 x 96 RGB.",
        "The camera's images are converted: 256 x 192 to 128 x 96 RGB.",
        "The camera's images are converted: 256 x 96 to 128 x 96 RGB, which stretches them.",
    ]


def make_cmyk() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("CMYK", (128, 96)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"", "is empty"),
        (b"\xff\xd8" + bytes(50), "cannot be decoded"),
        (encode(np.zeros((96, 128, 3), np.uint8))[:-30], "is cut off"),
        (encode(np.zeros((4, 128, 3), np.uint8)), "is 128 x 4 pixels"),
        (make_cmyk(), "has the channels CMYK"),
        (cv2.imencode(".png", np.zeros((96, 128, 4), np.uint8))[1].tobytes(), "cannot be decoded"),
    ],
    ids=["empty", "noise", "cut off", "tiny", "four channels", "png"],
)
def test_what_is_no_image_of_a_camera_is_refused(image, sentence):
    with pytest.raises(LinkLostError, match=f"The camera's image {sentence}") as caught:
        decode_jpeg(image)
    assert caught.value.reason == "camera_stale"


def test_a_policy_is_shown_no_array_in_place_of_a_jpeg_and_info_says_what_was_converted(stage: Bench, monkeypatch):
    made = stage.env(direct=True, timeouts=Timeouts(), max_frame_age=30.0, frame_timeout=30.0)
    assert made.reset(options={"episode_id": 0})[1]["image_converted"] == ""
    monkeypatch.setattr(mock_robot, "jpeg", lambda image: encode(image[..., 1]))
    observation, *_, info = made.step(STEP)
    assert info["image_converted"] == "128 x 96 grey to 128 x 96 RGB"
    shown = observation["pixels"]["primary"]
    assert (shown[..., 0] == shown[..., 2]).all()
    for image, words in ((np.zeros((96, 128), np.float32), r"an array \(96, 128\) float32"), (None, "none")):
        monkeypatch.setattr(mock_robot, "jpeg", lambda _, image=image: image)
        client = BridgeClient("127.0.0.1", stage.server.port, workspace=get_task("carrot_on_plate").setup.workspace)
        client.connect()
        with pytest.raises(LinkLostError, match=f"The robot's image is {words}; expected a JPEG"):
            client.observe()
        client.close()
    made.close()
