"""A video shows what the camera saw and says what went on, plays after any kind of end, and replaces no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.video.overlay import Caption, CaptionStrip
from vlm2vla_sim.video.writer import EpisodeVideo

CAPTION = Caption("carrot_on_plate ep 3", "put carrot on plate", step=0, steps=60)


def picture(height: int, width: int, number: int) -> np.ndarray:
    """A smooth picture with a bar that moves with `number`: (height, width, 3) uint8 RGB."""
    rows, columns = np.mgrid[0:height, 0:width]
    frame = np.stack([255 * rows / height, 255 * columns / width, 0 * rows + 90], axis=-1).astype(np.uint8)
    frame[:, number * width // 20 : (number + 1) * width // 20] = (250, 250, 250)
    return frame


def film(folder: Path, count: int, *, size=(480, 640), stem="ep0003_carrot_on_plate") -> EpisodeVideo:
    video = EpisodeVideo(folder, stem, frame_size=size, fps=5)
    for number in range(count):
        video.add(picture(*size, number), CAPTION)
    return video


def test_the_pictures_come_back_as_the_camera_saw_them_in_order_above_the_caption(tmp_path, read_video):
    path = film(tmp_path, 12).finish("success")
    frames = read_video(path)
    assert len(frames) == 12
    strip = CaptionStrip(640).draw(CAPTION)
    assert frames[0].shape == (480 + len(strip), 640, 3)
    for number, frame in enumerate(frames):
        difference = np.abs(frame[:480].astype(int) - picture(480, 640, number))
        assert difference.mean() < 3, "lossy, but the same picture"
        assert np.abs(frame[480:].astype(int) - strip).mean() < 3


def test_red_is_red_and_the_top_is_on_top(tmp_path, read_video):
    video = EpisodeVideo(tmp_path, "colours", frame_size=(480, 640), fps=5)
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:100, :100] = (220, 20, 20)
    frame[-100:, -100:] = (20, 20, 220)
    video.add(frame, CAPTION)
    (seen,) = read_video(video.finish("done"))
    np.testing.assert_allclose(seen[50, 50], (220, 20, 20), atol=8)
    np.testing.assert_allclose(seen[430, 590], (20, 20, 220), atol=8)


@pytest.mark.parametrize("size", [(224, 224), (127, 203), (16, 16), (481, 641), (720, 1280)])
def test_every_picture_size_makes_a_video_that_holds_the_whole_picture(tmp_path, read_video, size):
    (seen,) = read_video(film(tmp_path, 1, size=size).finish("failure"))
    height, width = size
    enlarged = -(-400 // width) if width < 400 else 1
    shown = seen[: height * enlarged : enlarged, : width * enlarged : enlarged]
    assert shown.shape == (height, width, 3)
    assert np.abs(shown.astype(int) - picture(height, width, 0)).mean() < 6
    assert seen.shape[0] % 2 == seen.shape[1] % 2 == 0


def test_it_is_h264_that_every_player_plays_at_five_frames_a_second_and_can_be_streamed(tmp_path):
    import imageio_ffmpeg

    path = film(tmp_path, 11).finish("success")
    described = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True
    ).stderr
    assert "h264" in described
    assert "yuv420p" in described
    assert "5 fps" in described
    assert "Duration: 00:00:02.20" in described
    content = path.read_bytes()
    assert content.find(b"moov") < content.find(b"mdat"), "the index is in front"
    assert b"moof" not in content, "one piece, in which every player can seek"


def test_the_name_says_how_it_ended_and_no_video_is_replaced(tmp_path):
    names = [film(tmp_path, 1).finish("success").name for _ in range(3)]
    assert names == [
        "ep0003_carrot_on_plate_success.mp4",
        "ep0003_carrot_on_plate_success_2.mp4",
        "ep0003_carrot_on_plate_success_3.mp4",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_video_that_is_not_finished_says_so_and_plays(tmp_path, read_video):
    video = film(tmp_path, 7)
    video.close()
    video.close()
    assert video.path.name == "ep0003_carrot_on_plate_unfinished.mp4"
    assert len(read_video(video.path)) == 7


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_video import film
video = film(Path({folder!r}), 23)
print(video._encoder.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("encoder_too", [False, True])
def test_a_process_killed_in_the_middle_leaves_a_video_that_plays(tmp_path, read_video, encoder_too):
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        encoder = int(child.stdout.readline())
        (path,) = tmp_path.iterdir()
        try:
            if encoder_too:
                _wait_for(lambda: path.stat().st_size > 1000 and len(read_video(path)) == 20)  # whole seconds
                os.kill(encoder, signal.SIGKILL)
        finally:
            child.kill()
    expected = 20 if encoder_too else 23  # An encoder that outlives us writes everything it was given.
    _wait_for(lambda: len(read_video(path)) == expected)
    for number, frame in enumerate(read_video(path)):
        assert np.abs(frame[:480].astype(int) - picture(480, 640, number)).mean() < 3


def _wait_for(holds, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.05)


def test_a_file_that_can_grow_no_further_is_a_sentence_and_what_was_written_plays(tmp_path, read_video):
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import numpy as np
        from test_video import CAPTION, EpisodeVideo
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        video = EpisodeVideo(Path({str(tmp_path)!r}), "ep0000", frame_size=(480, 640), fps=5)
        noise = np.random.default_rng(0)
        try:
            for _ in range(200):
                video.add(noise.integers(0, 256, (480, 640, 3), np.uint8), CAPTION)
            video.finish("success")
        except Exception as error:
            print(type(error).__name__, error)
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert child.stdout.startswith("RunFolderError The video ")
    assert "ep0000_unfinished.mp4 could not be written: the encoder was killed by SIGXFSZ." in child.stdout
    assert "--resume" in child.stdout
    (path,) = tmp_path.iterdir()
    assert len(read_video(path)) >= 5


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"ep0_unfinished\.mp4 cannot be written: Not a directory.*--no-video"):
        EpisodeVideo(tmp_path / "file" / "videos", "ep0", frame_size=(64, 64), fps=5)


def test_what_the_encoder_says_is_passed_on(tmp_path):
    video = film(tmp_path, 1)
    video._encoder.kill()
    with pytest.raises(RunFolderError, match=r"killed by SIGKILL\. The disk has \d+ MB left"):
        video.finish("success")
