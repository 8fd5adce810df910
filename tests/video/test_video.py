"""A video shows what the camera saw with the overlay below it, plays after any kind of end, and replaces no other."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from vlm2vla_sim.errors import DataError, RunFolderError
from vlm2vla_sim.video import encoder
from vlm2vla_sim.video.encoder import DataSetVideo, write_video
from vlm2vla_sim.video.overlay import Overlay, OverlayRenderer
from vlm2vla_sim.video.reader import VideoFrames, read_info
from vlm2vla_sim.video.writer import EpisodeVideo

OVERLAY = Overlay("carrot_on_plate ep 3", "put carrot on plate", step=0, steps=60)


def image(height: int, width: int, number: int) -> np.ndarray:
    """A smooth image with a bar that moves with `number`: (height, width, 3) uint8 RGB."""
    rows, columns = np.mgrid[0:height, 0:width]
    frame = np.stack([255 * rows / height, 255 * columns / width, 0 * rows + 90], axis=-1).astype(np.uint8)
    frame[:, number * width // 20 : (number + 1) * width // 20] = (250, 250, 250)
    return frame


def record(folder: Path, count: int, *, size=(480, 640), stem="ep0003_carrot_on_plate") -> EpisodeVideo:
    video = EpisodeVideo(folder, stem, frame_size=size, fps=5)
    for number in range(count):
        video.add(image(*size, number), OVERLAY)
    return video


def test_the_pictures_come_back_as_the_camera_saw_them_in_order_above_the_overlay(tmp_path, read_video):
    path = record(tmp_path, 12).finish("success")
    frames = read_video(path)
    assert len(frames) == 12
    strip = OverlayRenderer(640).draw(OVERLAY)
    assert frames[0].shape == (480 + len(strip), 640, 3)
    for number, frame in enumerate(frames):
        difference = np.abs(frame[:480].astype(int) - image(480, 640, number))
        assert difference.mean() < 3, "lossy, but the same image"
        assert np.abs(frame[480:].astype(int) - strip).mean() < 3


def test_red_is_red_and_the_top_is_on_top(tmp_path, read_video):
    video = EpisodeVideo(tmp_path, "colours", frame_size=(480, 640), fps=5)
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:100, :100] = (220, 20, 20)
    frame[-100:, -100:] = (20, 20, 220)
    video.add(frame, OVERLAY)
    (seen,) = read_video(video.finish("done"))
    np.testing.assert_allclose(seen[50, 50], (220, 20, 20), atol=8)
    np.testing.assert_allclose(seen[430, 590], (20, 20, 220), atol=8)


@pytest.mark.parametrize("size", [(224, 224), (127, 203), (16, 16), (481, 641), (720, 1280)])
def test_every_picture_size_makes_a_video_that_holds_the_whole_image(tmp_path, read_video, size):
    (seen,) = read_video(record(tmp_path, 1, size=size).finish("failure"))
    height, width = size
    enlarged = -(-400 // width) if width < 400 else 1
    shown = seen[: height * enlarged : enlarged, : width * enlarged : enlarged]
    assert shown.shape == (height, width, 3)
    assert np.abs(shown.astype(int) - image(height, width, 0)).mean() < 6
    assert seen.shape[0] % 2 == seen.shape[1] % 2 == 0


def test_it_is_h264_that_every_player_plays_at_five_frames_a_second_and_can_be_streamed(tmp_path):
    path = record(tmp_path, 11).finish("success")
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
    names = [record(tmp_path, 1).finish("success").name for _ in range(3)]
    assert names == [
        "ep0003_carrot_on_plate_success.mp4",
        "ep0003_carrot_on_plate_success_2.mp4",
        "ep0003_carrot_on_plate_success_3.mp4",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_video_that_is_not_finished_says_so_and_plays(tmp_path, read_video):
    video = record(tmp_path, 7)
    video.close()
    video.close()
    assert video.path.name == "ep0003_carrot_on_plate_unfinished.mp4"
    assert len(read_video(video.path)) == 7


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_video import record
video = record(Path({folder!r}), 23)
print("recorded", flush=True)
time.sleep(600)
"""


def test_a_process_killed_in_the_middle_leaves_a_video_that_plays_up_to_the_last_frame_but_one(tmp_path, read_video):
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "recorded\n"
        (path,) = tmp_path.iterdir()
        _wait_for(lambda: len(read_video(path)) == 22)  # the last frame is encoded in a thread
        child.kill()
    frames = read_video(path)
    assert len(frames) == 22
    for number, frame in enumerate(frames):
        assert np.abs(frame[:480].astype(int) - image(480, 640, number)).mean() < 3
    assert len(_read_elsewhere(path)) == 22


def _wait_for(holds, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.05)


def _read_elsewhere(path: Path) -> list[np.ndarray]:
    """The frames of a video as another build of FFmpeg decodes them."""
    size = imageio_ffmpeg.read_frames(str(path.absolute()))
    width, height = next(size)["size"]
    size.close()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path.absolute())]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return list(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3))


def test_another_build_of_ffmpeg_decodes_the_same_pixels(tmp_path, read_video):
    path = record(tmp_path, 12).finish("success")
    np.testing.assert_array_equal(_read_elsewhere(path), read_video(path))


NAMES = [
    "2026-11-28T04:25",
    "-leading -y",
    "100 % of it, %03d",
    'it\'s a "name"',
    "grüße 胡萝卜 🥕",
    "http:",
    "a#b?c&d=e",
    "x" * 190,
]


@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_works_for_writing_and_reading(tmp_path, monkeypatch, name, absolute):
    monkeypatch.chdir(tmp_path)
    folder = (tmp_path if absolute else Path()) / name
    path = record(folder, 5, size=(48, 64), stem=name).finish("success")
    assert path == folder / f"{name}_success.mp4"
    frames = VideoFrames(path, first=0, count=5, fps=5)
    frames.check()
    assert read_info(path).codec == "h264"
    assert frames[4].shape == (read_info(path).height, read_info(path).width, 3)
    data = folder / f"{name}.mp4"
    write_video(data, [np.full((32, 32, 3), 40 * k, np.uint8) for k in range(5)], size=(32, 32), fps=5)
    assert [round(float(VideoFrames(data, first=0, count=5, fps=5)[k].mean()) / 40) for k in range(5)] == list(range(5))
    assert sorted(found.name for found in folder.iterdir()) == sorted([path.name, data.name])


def test_a_file_that_can_grow_no_further_is_a_sentence_and_what_was_written_plays(tmp_path):
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import numpy as np
        from test_video import OVERLAY, EpisodeVideo
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        video = EpisodeVideo(Path({str(tmp_path)!r}), "ep0000", frame_size=(480, 640), fps=5)
        noise = np.random.default_rng(0)
        try:
            for _ in range(200):
                video.add(noise.integers(0, 256, (480, 640, 3), np.uint8), OVERLAY)
            video.finish("success")
        except Exception as error:
            print(type(error).__name__, error)
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert child.stdout.startswith("RunFolderError The video ")
    assert "ep0000_unfinished.mp4 could not be written: File too large. The disk has" in child.stdout
    assert not child.stderr
    assert "--resume" in child.stdout
    (path,) = tmp_path.iterdir()
    assert len(_read_elsewhere(path)) >= 5


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"ep0_unfinished\.mp4 cannot be written: Not a directory.*--no-video"):
        EpisodeVideo(tmp_path / "file" / "videos", "ep0", frame_size=(64, 64), fps=5)


class FullDisk(io.FileIO):
    """A file on a disk that has room for 5000 more bytes."""

    room = 5000

    def write(self, content) -> int:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


def test_a_full_disk_is_a_sentence_while_writing_and_at_the_end(tmp_path, monkeypatch, read_video):
    monkeypatch.setattr(encoder, "_WholeWrites", FullDisk)
    video = EpisodeVideo(tmp_path, "a", frame_size=(480, 640), fps=5)
    said = r"a_unfinished\.mp4 could not be written: No space left on device\. The disk has \d+ MB left\..*--no-video"
    video.add(image(480, 640, 0), OVERLAY)
    video.add(image(480, 640, 1), OVERLAY)
    with pytest.raises(RunFolderError, match=said):  # of the frame before, which was encoded meanwhile
        video.add(image(480, 640, 2), OVERLAY)
    video.close()
    with pytest.raises(DataError, match=r"b\.mp4 could not be written: No space left on device\."):
        write_video(tmp_path / "b.mp4", [image(480, 640, k) for k in range(20)], size=(480, 640), fps=5)
    assert [path.name for path in tmp_path.iterdir()] == ["a_unfinished.mp4"]


def test_a_video_that_cannot_be_completed_is_a_sentence_and_its_fragments_stay(tmp_path, monkeypatch, read_video):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    video = record(tmp_path, 7)
    monkeypatch.setattr(encoder, "_make_seekable", fail)
    with pytest.raises(RunFolderError, match="could not be written: No space left on device"):
        video.finish("success")
    (path,) = tmp_path.iterdir()
    assert path.name == "ep0003_carrot_on_plate_unfinished.mp4"
    assert len(read_video(path)) == 7


def test_an_abandoned_video_leaves_nothing(tmp_path):
    video = DataSetVideo(tmp_path / "a.mp4", size=(32, 32), fps=5)
    video.add(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"An image is uint8 \(32, 30, 3\); expected uint8 \(32, 32, 3\)"):
        video.add(np.zeros((32, 30, 3), np.uint8))
    video.abandon()
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="expected even numbers"):
        DataSetVideo(tmp_path / "a.mp4", size=(31, 32), fps=5)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_frame_is_refused_by_the_check_and_when_it_is_read(tmp_path, seed):
    path = tmp_path / "a.mp4"
    write_video(path, [image(120, 160, k) for k in range(20)], size=(120, 160), fps=5)
    VideoFrames(path, first=0, count=20, fps=5).check()
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    if seed % 2:
        del content[int(rng.integers(len(content) // 3, len(content) - 50)) :]
    else:
        begin = content.find(b"mdat") + 1000
        at = int(rng.integers(begin, len(content) - 400))
        content[at : at + 300] = rng.bytes(300)
    path.write_bytes(bytes(content))
    frames = VideoFrames(path, first=0, count=20, fps=5)
    with pytest.raises(DataError, match=r"a\.mp4 (holds \d+ of 20 frames|is no video)"):
        frames.check()
    with pytest.raises(DataError, match=r"a\.mp4 (gives \d+ of the \d+ frames|is no video)"):
        np.stack([frames[k] for k in range(20)])
