"""Pictures in mp4 files: written frame by frame, read back when they are asked for, and checked without being kept.

A data set's pictures are a hundred times its numbers. Decoded ahead they fill the memory, and a file that is broken in
its middle is found by whoever trains on it at night. All decoding goes through the ffmpeg that `imageio-ffmpeg` brings.
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import DataError

WINDOW = 16
"""Frames decoded at once: asked one by one, each would cost a process of its own."""
PATIENCE = 120.0
"""[s] for one call of ffmpeg."""
_STREAM = re.compile(r"Stream #\S+.*?: Video: (?P<codec>\w+).*?, (?P<width>\d+)x(?P<height>\d+)")
_RATE = re.compile(r"([\d.]+) fps")


@dataclass(frozen=True)
class Film:
    """What a file says about itself."""

    codec: str
    height: int
    width: int
    fps: float


class Mp4Writer:
    """One H.264 file, made under the name it is given; not finished until `close`."""

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float) -> None:
        """size: (height, width) [px], both even: colour is stored for blocks of 2 x 2 pixels."""
        if size[0] % 2 or size[1] % 2:
            raise DataError(f"Pictures of {size[0]} x {size[1]} pixels were given; expected even numbers (for H.264).")
        self._path, self._size = path, size
        command = [
            *(_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", f"{fps:g}", "-i", "-"),
            # A key frame every second frame, and none out of order, as LeRobot writes them: any frame is found quickly.
            *("-c:v", "libx264", "-threads", "1", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"),
            *("-g", "2", "-bf", "0", "-movflags", "+faststart", str(path)),
        ]
        self._encoder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
        )
        self._closed = False

    def add(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) uint8 RGB."""
        if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
            raise DataError(f"A picture is {frame.dtype} {frame.shape}; expected uint8 {(*self._size, 3)}.")
        assert self._encoder.stdin is not None
        try:
            self._encoder.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            raise self._failed() from error

    def close(self) -> None:
        """Finish the file; DataError when it could not be written."""
        if self._closed:
            return
        self._closed = True
        _, said = self._encoder.communicate(timeout=PATIENCE)
        if self._encoder.returncode != 0:
            raise DataError(f"The video {self._path} could not be written: {_last_line(said)}")

    def abandon(self) -> None:
        """Stop, and leave nothing behind."""
        self._closed = True
        self._encoder.kill()
        self._encoder.communicate()
        self._path.unlink(missing_ok=True)

    def _failed(self) -> DataError:
        self._closed = True
        _, said = self._encoder.communicate(timeout=PATIENCE)
        return DataError(f"The video {self._path} could not be written: {_last_line(said)}")


def write_mp4(path: Path, frames: Iterable[np.ndarray], *, size: tuple[int, int], fps: float) -> None:
    """Write `frames`, each (H, W, 3) uint8 RGB, to `path`, or nothing at all."""
    writer = Mp4Writer(path, size=size, fps=fps)
    try:
        for frame in frames:
            writer.add(frame)
        writer.close()
    except BaseException:
        writer.abandon()
        raise


class Mp4Pictures:
    """The frames `first` .. `first + count - 1` of a file, as `Pictures`; a few of them are kept."""

    def __init__(self, path: Path, *, first: int, count: int, fps: float) -> None:
        """fps: [Hz] what the data set says; `check` compares it with the file."""
        self.path, self._first, self._count, self._fps = path, first, count, fps
        self._window: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(f"Picture {index} of {self._count} was asked for.")
        start = index - index % WINDOW
        if self._window is None or self._window[0] != start:
            self._window = start, self._decode(start, min(WINDOW, self._count - start))
        return self._window[1][index - start]

    def check(self) -> None:
        """Decode every frame and keep none; DataError if one is missing or broken, or they come at another rate."""
        command = [*self._input(0), "-frames:v", str(self._count), "-vf", "scale=8:8", *_RAW_GRAY]
        raw, said = _run(command, self.path)
        film = _read_film(said, self.path)
        if abs(film.fps - self._fps) > 0.01:
            raise DataError(f"{self.path.name} has {film.fps:g} pictures a second; its data set says {self._fps:g}.")
        complaints = [line for line in said.splitlines() if re.search(r"\[(error|fatal|panic)\]", line)]
        found = len(raw) // 64
        if found != self._count or complaints:
            why = f": {_plain(complaints[0])}" if complaints else ""
            raise DataError(f"{self.path.name} holds {found} of {self._count} pictures that can be read{why}.")

    def _decode(self, start: int, count: int) -> np.ndarray:
        film = read_film(self.path)
        raw, said = _run([*self._input(start), "-frames:v", str(count), *_RAW_RGB], self.path)
        size = film.height * film.width * 3
        if len(raw) != count * size:
            raise DataError(
                f"{self.path} gives {len(raw) // size} of the {count} pictures from {self._first + start} on. "
                f"{_last_line(said.encode())}"
            )
        return np.frombuffer(raw, np.uint8).reshape(count, film.height, film.width, 3)

    def _input(self, start: int) -> list[str]:
        frame = self._first + start
        # Half a frame early: what begins at or after that moment is the frame that is meant.
        seek = ["-ss", f"{(frame - 0.5) / self._fps:.6f}"] if frame else []
        # One thread each: whoever reads many files has other work for the other cores.
        return [_ffmpeg(), "-hide_banner", "-loglevel", "level+info", "-threads", "1", *seek, "-i", str(self.path)]


_RAW_RGB = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-")
_RAW_GRAY = ("-f", "rawvideo", "-pix_fmt", "gray", "-fps_mode", "passthrough", "-")


@functools.lru_cache(maxsize=256)
def read_film(path: Path) -> Film:
    """What the header of `path` says; DataError for what is no video."""
    _, said = _run(
        [_ffmpeg(), "-hide_banner", "-loglevel", "level+info", "-i", str(path), "-f", "null", "-t", "0", "-"], path
    )
    return _read_film(said, path)


def _read_film(said: str, path: Path) -> Film:
    stream = next((line for line in said.splitlines() if _STREAM.search(line)), "")
    found, rate = _STREAM.search(stream), _RATE.search(stream)
    if found is None or rate is None:
        raise DataError(f"{path.name} is no video that can be read: {_last_line(said.encode())}")
    return Film(found["codec"], int(found["height"]), int(found["width"]), float(rate[1]))


def _run(command: list[str], path: Path) -> tuple[bytes, str]:
    """What a call of ffmpeg wrote, and what it said."""
    if not path.is_file():
        raise DataError(f"The video {path} is missing.")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired as slow:
        raise DataError(f"{path.name} could not be decoded within {PATIENCE:g} s.") from slow
    return done.stdout, done.stderr.decode(errors="replace")


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return _plain(lines[-1]) if lines else "ffmpeg did not say why."


def _plain(line: str) -> str:
    """A line of ffmpeg's without which part of it speaks."""
    return re.sub(r"\[[^\]]*\]\s*", "", line).strip()


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
