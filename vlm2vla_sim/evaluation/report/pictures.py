"""The pictures of a report: a filmstrip of each video, and the videos that are put into the page."""

from __future__ import annotations

import base64
import functools
import io
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import DataError
from vlm2vla_sim.evaluation.report.runs import Episode
from vlm2vla_sim.types import Outcome
from vlm2vla_sim.video.overlay import OverlayRenderer
from vlm2vla_sim.video.reader import read_overview

FRAMES = 4
"""Frames of a filmstrip."""
WIDTH = 160
"""[px] of a frame of a filmstrip."""
QUALITY = 68
"""Of its JPEG: about 11 kB a filmstrip."""
EMBED = ("auto", "always", "never")


@dataclass(frozen=True)
class Filmstrip:
    """Frames of one video side by side."""

    jpeg: str
    """Base64; empty where the video cannot be read."""
    frames: int
    shape: float
    """Width of a frame over its height."""
    fps: float
    """[Hz] of the video."""
    problem: str = ""
    """Why there is no picture."""


def filmstrip(path: Path) -> Filmstrip:
    """Of the video `path`, without the strip of text below its images."""
    try:
        info, frames = read_overview(path, FRAMES)
    except DataError as error:
        return Filmstrip("", 0, 4 / 3, 0.0, str(error))
    frames = [_without_text(frame) for frame in frames]
    height, width = frames[0].shape[:2]
    return Filmstrip(_jpeg(frames, round(WIDTH * height / width)), len(frames), width / height, info.fps)


def _without_text(frame: np.ndarray) -> np.ndarray:
    height = frame.shape[0] - _height_of_text(frame.shape[1])
    return frame[:height] if height > 0 else frame


@functools.cache
def _height_of_text(width: int) -> int:
    return OverlayRenderer(width).height


def _jpeg(frames: Sequence[np.ndarray], height: int) -> str:
    from PIL import Image

    strip = Image.new("RGB", (WIDTH * len(frames), height))
    for number, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((WIDTH, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        strip.paste(small, (WIDTH * number, 0))
    file = io.BytesIO()
    strip.save(file, format="JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def choose_embedded(episodes: Sequence[Episode], embed: str, limit: float) -> set[int]:
    """The numbers of the episodes whose videos go into the page.

    Args:
        episodes: those of the report.
        embed: "always" all, "never" none, "auto" those of failures and then of others, as long as they fit.
        limit: [bytes] of all videos in the page together, for "auto".
    """
    videos = {number: video for number, episode in enumerate(episodes) if (video := episode.video) is not None}
    if embed != "auto":
        return set(videos) if embed == "always" else set()
    chosen: set[int] = set()
    room = limit
    for number in sorted(videos, key=lambda n: episodes[n].result.outcome is Outcome.SUCCESS):
        size = videos[number].stat().st_size
        if size <= room:
            chosen.add(number)
            room -= size
    return chosen


def encode_video(path: Path) -> str:
    """The file as base64."""
    return base64.b64encode(path.read_bytes()).decode()


def link(path: Path, page: Path) -> str:
    """The address of `path` relative to the page's folder."""
    relative = os.path.relpath(path.resolve(), page.resolve().parent)
    return urllib.parse.quote(relative.replace(os.sep, "/"))
