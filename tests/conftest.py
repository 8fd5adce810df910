"""Fixtures that several test files use."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from scenario_table import Measured, check


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell that runs a job in the background has it ignored for all below."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _read_video(path: Path) -> list[np.ndarray]:
    with path.open("rb") as file, av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def read_video() -> Callable[[Path], list[np.ndarray]]:
    """Reads a video back: its frames, each (H, W, 3) uint8 RGB."""
    return _read_video


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Callable[[Measured], None]:
    """Compares what a test with the mark `scenario` measured with its row in docs/real_robot.md."""
    mark = request.node.get_closest_marker("scenario")
    assert mark is not None, "a test that has an outcome is a scenario"
    return lambda measured: check(mark.args[0], measured)
