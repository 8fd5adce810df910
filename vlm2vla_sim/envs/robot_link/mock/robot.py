"""What a mock server needs of its robot, and what is kept of each action for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.errors import missing_extra


class MockRobot(Protocol):
    """A server without its socket. Any exception but an `ActionError` is one of the real server's crashes."""

    def reply(self, message: Any, frame: bytes, port: int) -> dict[str, Any]:
        """The reply to one request, decoded and as it came."""
        ...

    def forget(self) -> None:
        """The server was restarted."""
        ...

    def crash(self) -> float:
        """An exception inside the server; [s] for which its port is then closed, if it comes back at all."""
        ...

    def disturb(self) -> None:
        """Something else moves the arm far away."""
        ...


@dataclass(frozen=True, eq=False)
class ExecutedAction:
    """An action as it was executed, for tests."""

    key: str
    numbers: np.ndarray
    """The commanded step, pose or start; empty for other actions."""
    target: np.ndarray
    """(3,) [m] position of the controller's target afterwards."""
    raw: bytes
    """The frame of the request."""


def jpeg(image: np.ndarray) -> bytes:
    """The servers' JPEG of an RGB image, encoded as if it were BGR: red and blue are exchanged in the file."""
    try:
        import cv2
    except ImportError as error:
        raise missing_extra("The mock server", "opencv-python-headless", "robot") from error
    return cv2.imencode(".jpg", image)[1].tobytes()
