"""One H.264 video per episode, written frame by frame while the episode runs, with an overlay strip below the image.

Frames kept in memory until the end would be lost if the process is killed, which is when the video is needed most. Here
every frame is on disk as soon as the next one is added, so that the video of a killed run can be played.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.video.encoder import FOR_PEOPLE, VideoEncoder
from vlm2vla_sim.video.overlay import Overlay, OverlayRenderer

UNFINISHED = "unfinished"
"""Stands in place of the outcome in the name of a video that is being written or whose process was killed."""
MIN_WIDTH = 400
"""[px] images narrower than this are enlarged by a whole number, so that the text below them can be read."""


class EpisodeVideo:
    """The video of one episode: `add` frames, then `finish` with the outcome, or `close` to leave it unfinished."""

    def __init__(self, folder: Path, stem: str, *, frame_size: tuple[int, int], fps: int) -> None:
        """Start the video `folder`/`stem`_unfinished.mp4; RunFolderError if it cannot be written.

        frame_size: (height, width) of the images [px]. fps: [Hz]
        """
        height, width = frame_size
        self._folder, self._stem = folder, stem
        self._enlarge = -(-MIN_WIDTH // width) if width < MIN_WIDTH else 1
        self._overlay = OverlayRenderer(width * self._enlarge)
        image_height = height * self._enlarge
        # yuv420p stores colour for blocks of 2 x 2 pixels, so both sides must be even.
        self._canvas = np.zeros((_even(image_height + self._overlay.height), _even(self._overlay.width), 3), np.uint8)
        self._image = self._canvas[:image_height, : self._overlay.width]
        self._strip = self._canvas[image_height : image_height + self._overlay.height, : self._overlay.width]
        self._path = _reserve(folder, f"{stem}_{UNFINISHED}")
        try:
            size = (self._canvas.shape[0], self._canvas.shape[1])
            # A key frame every second.
            self._encoder = VideoEncoder(self._path, size=size, fps=fps, options=FOR_PEOPLE, key_frames=fps)
        except OSError as error:
            raise self._failed(error) from error

    @property
    def path(self) -> Path:
        """Where the video is now."""
        return self._path

    def add(self, frame: np.ndarray, overlay: Overlay) -> None:
        """Append one frame, (H, W, 3) uint8 RGB, with `overlay` below it."""
        if self._enlarge > 1:
            frame = frame.repeat(self._enlarge, axis=0).repeat(self._enlarge, axis=1)
        self._image[:] = frame
        self._strip[:] = self._overlay.draw(overlay)
        try:
            self._encoder.add(self._canvas)
        except OSError as error:
            self.close()
            raise self._failed(error) from error

    def finish(self, outcome: str) -> Path:
        """Complete the video, put `outcome` into its name and return its path; no other video is ever replaced."""
        final = _reserve(self._folder, f"{self._stem}_{outcome}")
        try:
            self._encoder.finish(final)
        except OSError as error:
            final.unlink(missing_ok=True)
            raise self._failed(error) from error
        self._path = final
        return final

    def close(self) -> None:
        """Stop. What was added so far stays, under the unfinished name."""
        with contextlib.suppress(OSError):  # the last frame may be missing: the video is called unfinished
            self._encoder.close()

    def discard(self) -> None:
        """Stop and remove the video."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"The video {self._path} could not be written: {error.strerror or error}.{_free_space(self._folder)} "
            "The results so far are kept; free some space and continue with --resume, choose another folder "
            "(--out DIR), or leave the videos out (--no-video)."
        )


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


def _free_space(folder: Path) -> str:
    try:
        return f" The disk has {shutil.disk_usage(folder).free / 1e6:.0f} MB left."
    except OSError:
        return ""
