"""Gymnasium's RecordVideo around sentences records every control step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo

from vlm2vla_sim import LanguageActions
from vlm2vla_sim.envs.tasks import TASKS

ID = TASKS["carrot_on_plate"].env_id
SIZE = (64, 96)
SENTENCES = ("move right 10 cm", "close gripper", "move up 5 cm, open gripper")

# MoviePy 1.0 is the newest that accepts the pinned Pillow; importing it warns.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("SyntaxWarning", "DeprecationWarning")]


def make(render_mode: str = "rgb_array") -> LanguageActions:
    return LanguageActions(gym.make(ID, backend="point", image_size=SIZE, render_mode=render_mode))


def play(env: gym.Env) -> int:
    """Carry out the sentences; the number of images of the episode, that of the reset included."""
    env.reset(options={"episode_id": 0})
    steps = sum(env.step(sentence)[4]["steps"] for sentence in SENTENCES)
    env.close()
    return 1 + steps


@pytest.mark.parametrize("render_mode", ["rgb_array", "rgb_array_list"])
def test_every_control_step_is_a_frame(tmp_path: Path, read_video: Callable, render_mode: str):
    frames = play(RecordVideo(make(render_mode), str(tmp_path / "videos")))
    assert frames == 1 + 4 + 3 + 5
    video = read_video(tmp_path / "videos" / "rl-video-episode-0.mp4")
    assert len(video) == frames
    seen = images()
    for number, (frame, image) in enumerate(zip(video, seen, strict=True)):
        nearest = min(range(frames), key=lambda k: np.abs(frame.astype(int) - seen[k]).mean())
        assert np.array_equal(seen[nearest], image), f"frame {number} shows step {nearest}"


def images() -> list[np.ndarray]:
    """The images of the same episode, one for each control step."""
    env = gym.make(ID, backend="point", image_size=SIZE, render_mode="rgb_array")
    seen = [env.reset(options={"episode_id": 0})[0]["pixels"]["primary"]]
    to_the_right, up = np.array([0, -0.025, 0, 0, 0, 0, 1]), np.array([0, 0, 0.025, 0, 0, 0, 0])
    closing, opening = np.array([0, 0, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 0, 1])
    for action in [to_the_right] * 4 + [closing] * 3 + [up] * 2 + [opening] * 3:
        seen.append(env.step(action.astype(np.float32))[0]["pixels"]["primary"])
    return seen


@pytest.mark.parametrize("prefix", ["100 % %03d", "a:b", "-lead", 'it\'s "so"', "grüße 胡萝卜", "x" * 200])
def test_folder_and_prefix_may_be_any_name(tmp_path: Path, monkeypatch, read_video: Callable, prefix: str):
    monkeypatch.chdir(tmp_path)
    frames = play(RecordVideo(make(), f"./{prefix}", name_prefix=prefix))
    assert len(read_video(tmp_path / prefix / f"{prefix}-episode-0.mp4")) == frames


def test_wrappers_in_between_and_a_second_recorder_get_every_frame_too(tmp_path: Path, read_video: Callable):
    inner = RecordVideo(RecordEpisodeStatistics(make()), str(tmp_path / "inner"))
    frames = play(RecordVideo(inner, str(tmp_path / "outer")))
    for folder in ("inner", "outer"):
        assert len(read_video(tmp_path / folder / "rl-video-episode-0.mp4")) == frames


def test_a_recorder_inside_records_every_control_step_once(tmp_path: Path, read_video: Callable):
    env = gym.make(ID, backend="point", image_size=SIZE, render_mode="rgb_array")
    frames = play(LanguageActions(RecordVideo(env, str(tmp_path / "videos"))))
    assert len(read_video(tmp_path / "videos" / "rl-video-episode-0.mp4")) == frames


def test_a_recorder_that_does_not_record_this_episode_stays_empty(tmp_path: Path):
    play(RecordVideo(make(), str(tmp_path / "videos"), episode_trigger=lambda episode: False))
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_video_of_fixed_length_ends_where_gymnasium_ends_it(tmp_path: Path, read_video: Callable):
    play(RecordVideo(make(), str(tmp_path / "videos"), video_length=6))
    env = gym.make(ID, backend="point", image_size=SIZE, render_mode="rgb_array")
    whole = RecordVideo(env, str(tmp_path / "plain"), video_length=6)
    whole.reset(options={"episode_id": 0})
    for _ in range(10):
        whole.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
    whole.close()
    lengths = [len(read_video(tmp_path / folder / "rl-video-episode-0.mp4")) for folder in ("videos", "plain")]
    assert lengths[0] == lengths[1]
