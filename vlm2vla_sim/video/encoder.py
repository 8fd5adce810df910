"""H.264 in an mp4 file, written frame by frame through imageio's PyAV plugin.

While a file is written it consists of one fragment per frame: a process that is killed leaves a file that plays up to
the last frame but one. When it is finished it is copied, without encoding again, to the plain form of mp4 with its
index in front, in which every player can seek and which can be streamed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import DataError

CODEC = "libx264"
FRAGMENTED = {"movflags": "+frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
FOR_PEOPLE = {"preset": "ultrafast", "tune": "zerolatency", "crf": "24", "threads": "1"}
"""zerolatency: the encoder holds no frames back, so that what was added is on the disk. ultrafast takes half the time
of veryfast at crf 20, for files of the same size."""
FOR_DATA_SETS = {"preset": "veryfast", "crf": "23", "bf": "0", "threads": "1"}
"""No frame out of order, as LeRobot writes them."""
DATA_SET_KEY_FRAMES = 2
"""A key frame every second frame, as LeRobot writes them: any frame is found quickly."""


class VideoEncoder:
    """One H.264 video that is being written: `add` frames, then `finish`, or `close` to keep the fragments.

    Each frame is encoded in a thread while the caller makes the next one; an error is raised by the call after it.
    Raises OSError where the file cannot be written; the caller turns it into a sentence.
    """

    def __init__(
        self, path: Path, *, size: tuple[int, int], fps: float, options: Mapping[str, str], key_frames: int
    ) -> None:
        """Open `path` for writing; what is there is replaced.

        Args:
            path: The file, whatever its name ends in.
            size: (height, width) [px] of the frames, both even: colour is stored for blocks of 2 x 2 pixels.
            fps: [Hz]
            options: Of the encoder x264.
            key_frames: Every which frame is a key frame.
        """
        import imageio.v3 as iio

        self.path, self.size = path, size
        self._file: _WholeWrites | None = _WholeWrites(path, "w")
        self._writer: Any = iio.imopen(
            self._file, "w", plugin=_plugin(), extension=".mp4", container="mp4", options=dict(FRAGMENTED)
        )
        self._writer.x264_options = dict(options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="video")
        self._pending: Future[None] | None = None
        try:
            self._writer.init_video_stream(CODEC, fps=fps, pixel_format="yuv420p", max_keyframe_interval=key_frames)
        except ValueError as error:  # UnknownCodecError: a build without x264, as some distributions make it
            self.abandon()
            raise OSError(
                errno.ENOSYS, f"This build of PyAV has no encoder {CODEC!r} (pip install --force-reinstall av)"
            ) from error

    def add(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) uint8 RGB."""
        self._wait()
        self._pending = self._thread.submit(self._writer.write_frame, frame.copy())

    def close(self) -> None:
        """Write the frames that the encoder still holds and close the file, which stays in fragments."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            try:
                self._wait()
            finally:
                # The thread ends first: with it goes what PyAV keeps for it.
                self._thread.shutdown()
                with _as_os_error():
                    self._writer.close()
        finally:
            file.close()
            self._writer.release()

    def _wait(self) -> None:
        """Until the last frame is written; OSError if it could not be."""
        pending, self._pending = self._pending, None
        if pending is not None:
            with _as_os_error():
                pending.result()

    def finish(self, final: Path) -> None:
        """Close the file and move it to `final`, in the plain form of mp4. If that fails, the fragments stay."""
        self.close()
        try:
            with _as_os_error():
                _make_seekable(self.path, final)
        except OSError:
            final.unlink(missing_ok=True)
            raise
        self.path.unlink()

    def abandon(self) -> None:
        """Stop, and leave no file."""
        with contextlib.suppress(OSError):  # what cannot be written is to be removed anyway
            self.close()
        self.path.unlink(missing_ok=True)


class DataSetVideo:
    """A video of a data set, which appears under its name when it is complete. DataError if it cannot be written."""

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float) -> None:
        """size: (height, width) [px], both even. fps: [Hz]."""
        if size[0] % 2 or size[1] % 2:
            raise DataError(f"Images of {size[0]} x {size[1]} pixels were given; expected even numbers (for H.264).")
        self._path, self._size = path, size
        draft = path.with_name(f"{path.name}.new")
        with self._told():
            self._encoder = VideoEncoder(
                draft, size=size, fps=fps, options=FOR_DATA_SETS, key_frames=DATA_SET_KEY_FRAMES
            )

    def add(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) uint8 RGB."""
        if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
            raise DataError(f"An image is {frame.dtype} {frame.shape}; expected uint8 {(*self._size, 3)}.")
        with self._told():
            self._encoder.add(frame)

    def close(self) -> None:
        """Complete the file."""
        with self._told():
            self._encoder.finish(self._path)

    def abandon(self) -> None:
        """Stop, and leave no file."""
        self._encoder.abandon()

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            yield
        except OSError as error:
            raise DataError(f"The video {self._path} could not be written: {error.strerror}.") from error


def write_video(path: Path, frames: Iterable[np.ndarray], *, size: tuple[int, int], fps: float) -> None:
    """Write `frames`, each (H, W, 3) uint8 RGB, to the data set's video `path`, or nothing at all."""
    video = DataSetVideo(path, size=size, fps=fps)
    try:
        for frame in frames:
            video.add(frame)
        video.close()
    except BaseException:
        video.abandon()
        raise


def url_of(path: Path) -> str:
    """`path` as FFmpeg takes it, whatever characters are in it: a plain name with a colon is read as a protocol."""
    return f"file:{path.absolute()}"


class _WholeWrites(io.FileIO):
    """A file without a buffer, so that a killed process loses none of it, that writes all it is given or raises."""

    def write(self, content: Any) -> int:
        rest = memoryview(content)
        count = len(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return count


@functools.cache
def _plugin() -> Any:
    """Imageio's PyAV plugin, which by itself gives the encoder no options."""
    from av.error import FFmpegError
    from imageio.plugins.pyav import PyAVPlugin

    class X264Plugin(PyAVPlugin):
        x264_options: Mapping[str, str]

        def init_video_stream(self, *args: Any, **kwargs: Any) -> None:
            super().init_video_stream(*args, **kwargs)
            assert self._video_stream is not None
            self._video_stream.codec_context.options = dict(self.x264_options)

        def close(self) -> None:
            """End the file. Imageio's own collects garbage, 30 ms a time, for filters, of which there are none here."""
            stream: Any = self._video_stream
            container: Any = self._container
            self._video_stream = None
            if stream is not None and container is not None:
                for packet in stream.encode():
                    container.mux(packet)
            if container is not None:
                container.close()
            self.request.finish()

        def release(self) -> None:
            """Drop what `close` leaves open where it fails; otherwise the garbage collector would try it again."""
            container, self._container, self._video_stream = self._container, None, None
            if container is not None:
                with contextlib.suppress(OSError, ValueError, FFmpegError):  # the file is closed already
                    container.close()

    return X264Plugin


@contextlib.contextmanager
def _as_os_error() -> Any:
    """FFmpeg's errors as OSError with its words as `strerror`."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def _make_seekable(fragments: Path, final: Path) -> None:
    """Copy the stream of `fragments` to `final`, with the index in front."""
    import av

    with (
        av.open(url_of(fragments)) as source,
        av.open(url_of(final), "w", format="mp4", options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:  # the last one is empty
                packet.stream = stream
                target.mux(packet)
