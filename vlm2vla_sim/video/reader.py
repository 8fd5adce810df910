"""Reads videos: what they hold, single frames when they are asked for, and whether every frame can be decoded.

The images of a data set take a hundred times the space of its numbers, so that frames are decoded only when they are
needed. `VideoFrames.check` finds a file that is damaged in its middle before training reads it. Needs
PyAV, which comes with the base package.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import DataError
from vlm2vla_sim.video.encoder import url_of

WINDOW = 16
"""Frames decoded at once: decoding starts at a key frame, so single frames would be decoded many times."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about itself."""

    codec: str
    height: int
    """[px]"""
    width: int
    """[px]"""
    fps: float
    """[Hz] on average."""


class VideoFrames:
    """The frames `first` .. `first + count - 1` of a file, decoded when they are asked for; a few of them are kept.

    Indexing gives (H, W, 3) uint8 RGB. It raises DataError if the file is missing, is no video, or lacks the frame.
    """

    def __init__(self, path: Path, *, first: int, count: int, fps: float) -> None:
        """fps: [Hz] what the data set says; `check` compares it with the file."""
        self.path, self._first, self._count, self._fps = path, first, count, fps
        self._window: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(f"Frame {index} of {self._count} was asked for.")
        start = index - index % WINDOW
        if self._window is None or self._window[0] != start:
            self._window = start, self._decode(start, min(WINDOW, self._count - start))
        return self._window[1][index - start]

    def check(self) -> None:
        """Decode every frame and keep none; DataError if one is missing or broken, or they come at another rate."""
        found, problem = 0, ""
        with _open(self.path) as (container, stream):
            fps = _info(stream).fps
            if abs(fps - self._fps) > 0.01:
                raise DataError(f"{self.path.name} has {fps:g} frames a second; its data set says {self._fps:g}.")
            try:
                for frame in itertools.islice(_frames(container, stream, self._first, fps), self._count):
                    if frame.is_corrupt:
                        problem = problem or f"frame {self._first + found} is damaged"
                    found += 1
            except _ffmpeg_error() as error:
                problem = error.strerror
        if found != self._count or problem:
            why = f": {problem}" if problem else ""
            raise DataError(f"{self.path.name} holds {found} of {self._count} frames that can be read{why}.")

    def whole_file(self, codec: str) -> Path | None:
        """The file, if it holds these frames and no others, in `codec` ("h264") and as 8-bit 4:2:0; else None."""
        with _open(self.path) as (_, stream):
            info, pixels = _info(stream), stream.codec_context.pix_fmt
            same = (info.codec, pixels, stream.frames) == (codec, "yuv420p", self._count)
            return self.path if same and self._first == 0 and abs(info.fps - self._fps) <= 0.01 else None

    def _decode(self, start: int, count: int) -> np.ndarray:
        """(count, H, W, 3) uint8 RGB, from the frame `start` of these on."""
        images: list[np.ndarray] = []
        problem, convert = "", _Converter()
        with _open(self.path) as (container, stream):
            try:
                frames = _frames(container, stream, self._first + start, self._fps)
                for frame in itertools.islice(frames, count):
                    images.append(convert(frame))
            except _ffmpeg_error() as error:
                problem = f": {error.strerror}"
        if len(images) != count:
            raise DataError(
                f"{self.path} gives {len(images)} of the {count} frames from {self._first + start} on{problem}."
            )
        return np.stack(images)


class _Converter:
    """Frame -> (H, W, 3) uint8 RGB, in one thread: PyAV's shared reformatter starts threads, which no fork survives."""

    def __init__(self) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._reformat = VideoReformatter().reformat
        # PyAV 15 and 16, which lerobot needs, start no threads and have no word for it.
        self._one_thread = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}

    def __call__(self, frame: Any) -> np.ndarray:
        return self._reformat(frame, format="rgb24", **self._one_thread).to_ndarray()


def read_info(path: Path) -> VideoInfo:
    """What the header of `path` says; DataError for what is no video."""
    with _open(path) as (_, stream):
        return _info(stream)


def read_overview(path: Path, count: int) -> tuple[VideoInfo, list[np.ndarray]]:
    """The header of `path`, and up to `count` frames spread over it: the first, the last, and key frames between them.

    Each is (H, W, 3) uint8 RGB. A video that was not finished gives the frames that it has. DataError for what is no
    video or holds no frame.
    """
    convert = _Converter()
    with _open(path) as (container, stream):
        info = _info(stream)
        try:
            chosen = _spread(container, stream, count, info.fps) if stream.frames else _spread_slowly(path, count)
            images = [convert(frame) for frame in chosen]
        except _ffmpeg_error() as error:
            raise DataError(f"{path.name} cannot be decoded: {error.strerror}.") from error
    if not images:
        raise DataError(f"{path.name} is no video that can be read: it holds no frame.")
    return info, images


def _spread(container: Any, stream: Any, count: int, fps: float) -> Iterator[Any]:
    """Frames of a finished video, whose header says how many there are."""
    last = stream.frames - 1
    for number in dict.fromkeys(round(n) for n in np.linspace(0, last, count)):
        if number == last:
            container.seek(0, stream=stream)
            yield from itertools.islice(_frames(container, stream, number, fps), 1)
        else:
            container.seek((stream.start_time or 0) + round(number / fps / stream.time_base), stream=stream)
            yield from itertools.islice(container.decode(stream), 1)


def _spread_slowly(path: Path, count: int) -> Iterator[Any]:
    """Frames of a video without an index: it is read twice, from its start."""
    with _open(path) as (container, stream):
        total = sum(packet.size > 0 for packet in container.demux(stream))
    numbers = {round(n) for n in np.linspace(0, max(total - 1, 0), count)}
    with _open(path) as (container, stream):
        yield from (frame for number, frame in enumerate(container.decode(stream)) if number in numbers)


def _info(stream: Any) -> VideoInfo:
    codec = stream.codec_context
    return VideoInfo(codec.codec.canonical_name, codec.height, codec.width, float(stream.average_rate or 0))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    """The file and its video stream, to be decoded in one thread, with every damage an error."""
    import av
    from av.error import FFmpegError

    if not path.is_file():
        raise DataError(f"The video {path} is missing.")
    try:
        container = av.open(url_of(path))
    except FFmpegError as error:
        raise DataError(f"{path.name} is no video that can be read: {error.strerror}.") from error
    with container:
        if not container.streams.video:
            raise DataError(f"{path.name} is no video that can be read: it holds no video stream.")
        stream = container.streams.video[0]
        # One thread: readers of many files use the other cores for other files.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream


def _frames(container: Any, stream: Any, first: int, fps: float) -> Iterator[Any]:
    """The decoded frames from number `first` on; fps: [Hz] that numbers are turned into times with."""
    # Half a frame early: what is shown at or after that moment is the frame that is meant.
    begin = Fraction(2 * first - 1, 2) / Fraction(fps).limit_denominator(65535)
    earliest = (stream.start_time or 0) + begin / stream.time_base
    if first:
        container.seek(max(0, int(earliest)), stream=stream)
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts >= earliest:
            yield frame


def _ffmpeg_error() -> Any:
    from av.error import FFmpegError

    return FFmpegError
