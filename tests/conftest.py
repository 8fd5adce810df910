"""Fixtures that several test files use."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell that runs a job in the background has it ignored for all below."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _read_video(path: Path) -> list[np.ndarray]:
    frames = imageio_ffmpeg.read_frames(str(path))
    width, height = next(frames)["size"]
    frames.close()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return list(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3))


@pytest.fixture
def read_video() -> Callable[[Path], list[np.ndarray]]:
    """Reads a video back: its frames, each (H, W, 3) uint8 RGB."""
    return _read_video
