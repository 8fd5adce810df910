"""One H.264 video per episode, written frame by frame while the episode runs, with a caption strip below the picture.

Frames kept in memory until the end are lost with the process that held them, which is just when somebody wants to see
what happened. Here every second of video is complete on disk as soon as it is over: what a killed run leaves plays.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.video.overlay import Caption, CaptionStrip

UNFINISHED = "unfinished"
"""Stands where the outcome will stand, in the name of a video that is being written or whose writer was killed."""
SMALLEST = 400
"""[px] pictures narrower than this are enlarged by a whole number, so that the text below them can be read."""
GRACE = 30.0
"""[s] how long the encoder may take to finish the last second of video."""


class EpisodeVideo:
    """The video of one episode: `add` frames, then `finish` with the outcome, or `close` to leave it unfinished."""

    def __init__(self, folder: Path, stem: str, *, frame_size: tuple[int, int], fps: int) -> None:
        """Start the encoder on `folder`/`stem`_unfinished.mp4. frame_size: (height, width) of the pictures."""
        height, width = frame_size
        self._folder, self._stem = folder, stem
        self._enlarge = -(-SMALLEST // width) if width < SMALLEST else 1
        self._strip = CaptionStrip(width * self._enlarge)
        picture_height = height * self._enlarge
        # yuv420p stores colour for blocks of 2 x 2 pixels, so both sides must be even.
        self._canvas = np.zeros((_even(picture_height + self._strip.height), _even(self._strip.width), 3), np.uint8)
        self._picture = self._canvas[:picture_height, : self._strip.width]
        self._text = self._canvas[picture_height : picture_height + self._strip.height, : self._strip.width]
        self._path = _reserve(folder, f"{stem}_{UNFINISHED}")
        self._encoder = _start_encoder(self._path, self._canvas.shape[:2], fps)
        self._status: int | None = None
        self._said = b""

    @property
    def path(self) -> Path:
        """Where the video is now."""
        return self._path

    def add(self, frame: np.ndarray, caption: Caption) -> None:
        """Append one frame, (H, W, 3) uint8 RGB, and the strip that says what is going on."""
        if self._enlarge > 1:
            frame = frame.repeat(self._enlarge, axis=0).repeat(self._enlarge, axis=1)
        self._picture[:] = frame
        self._text[:] = self._strip.draw(caption)
        pipe = self._encoder.stdin
        assert pipe is not None
        try:
            pipe.write(self._canvas.data)
            pipe.flush()
        except OSError as error:
            raise self._failed() from error

    def finish(self, outcome: str) -> Path:
        """Complete the video, put `outcome` into its name and return its path; no other video is ever replaced."""
        if self.close() != 0:
            raise self._failed()
        final = _reserve(self._folder, f"{self._stem}_{outcome}")
        _make_seekable(self._path, final)
        self._path = final
        return final

    def close(self) -> int:
        """End the encoder and return its exit status. What was added so far stays, under the unfinished name."""
        if self._status is None:
            try:
                _, self._said = self._encoder.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                self._encoder.kill()
                _, self._said = self._encoder.communicate()
            self._status = self._encoder.wait()
        return self._status

    def _failed(self) -> RunFolderError:
        return _sentence(self._path, self.close(), self._said)


def _even(length: int) -> int:
    return length + length % 2


def _reserve(folder: Path, stem: str) -> Path:
    """An empty file of our own in `folder`: `stem`.mp4, or `stem`_2.mp4, _3, … where that is taken."""
    path = folder / f"{stem}.mp4"
    number = 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.open("xb").close()
            return path
        except FileExistsError:
            number += 1
            path = folder / f"{stem}_{number}.mp4"
        except OSError as error:
            raise RunFolderError(
                f"The video {path} cannot be written: {error.strerror}. "
                "Choose a folder that you may write to (--out DIR), or leave the videos out (--no-video)."
            ) from error


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def _start_encoder(path: Path, size: tuple[int, int], fps: int) -> subprocess.Popen[bytes]:
    height, width = size
    command = [
        *(_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"),
        # zerolatency: the encoder holds no frames back, so what was added is what is on disk.
        *(
            "-c:v",
            "libx264",
            "-threads",
            "1",
            "-preset",
            "veryfast",
            "-tune",
            "zerolatency",
            "-crf",
            "20",
            "-pix_fmt",
            "yuv420p",
        ),
        # A key frame, and with it a complete fragment, every second.
        *("-g", str(fps), "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-flush_packets", "1"),
        str(path),
    ]
    # A process group of its own, because Ctrl-C is ours to handle: were it to reach the encoder too, the video would
    # end in an error.
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
    )


def _make_seekable(fragmented: Path, final: Path) -> None:
    """Copy `fragmented` into the plain form of mp4, in which every player can seek, and drop the former."""
    command = [
        *(_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", "-i", str(fragmented)),
        *("-c", "copy", "-movflags", "+faststart", str(final)),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        final.unlink(missing_ok=True)
        raise _sentence(fragmented, done.returncode, done.stderr)
    fragmented.unlink()


def _sentence(path: Path, status: int, words: bytes) -> RunFolderError:
    lines = words.decode(errors="replace").split("\n")
    # The encoder's last word is the plainest; in front of it stands which part of the encoder speaks.
    said = next((re.sub(r"^\[.*?\] *", "", line) for line in reversed(lines) if line.strip()), "")
    ended = (
        f"the encoder was killed by {signal.Signals(-status).name}" if status < 0 else f"its exit status is {status}"
    )
    free = _free_space(path.parent)
    return RunFolderError(
        f"The video {path} could not be written: {said or ended}.{free} The results so far are kept; make room and "
        "continue with --resume, choose another folder (--out DIR), or leave the videos out (--no-video)."
    )


def _free_space(folder: Path) -> str:
    try:
        room = os.statvfs(folder)
    except OSError:
        return ""
    return f" The disk has {room.f_bavail * room.f_frsize / 1e6:.0f} MB left."
