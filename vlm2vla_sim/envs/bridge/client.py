"""The link to a Bridge robot server: one question at a time, each act at most once, nothing dangerous on the wire.

The robot's own client waits 0.8 s for everything and asks again. The server carries the late question out all the same,
all of them at once and out of order, and says SUCCESS to an arm that did not move. The rules here are the promises of
docs/real_robot.md; a lost answer ends the trust in the link until `resync` has restored it.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.bridge import wire
from vlm2vla_sim.envs.bridge.protocol import (
    IMAGE_SIZE,
    MAX_STEP,
    MAX_TURN,
    ServerIdentity,
    ServerStatus,
    Timeouts,
    check_host,
)
from vlm2vla_sim.envs.motion import Workspace
from vlm2vla_sim.errors import ActionError, LinkLostError, WireError, missing_extra
from vlm2vla_sim.types import Pose

SLACK = 1e-6
"""[m] of rounding that is not yet "outside"."""
STILL = 0.003
"""[m] an arm may move between two looks and count as still."""
MAX_MOVE_SECONDS = 10.0
ROBOT_FAULT = "robot_fault"
"""`LinkLostError.reason` when the link is well and the robot behind it is not."""
OBSERVATION_KEYS = ["image", "state", "full_image"]


class Link(enum.Enum):
    """How far the link can be trusted."""

    CLOSED = "closed"
    OK = "ok"
    UNKNOWN = "unknown"
    """An answer was lost: what was asked may have happened, may happen later, or never."""


@dataclass(frozen=True, eq=False)
class RawObservation:
    """One answer to "obs"."""

    state: np.ndarray
    """(7,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], gripper [0.20 closed .. 1.08 open]."""
    jpeg: bytes
    asked: float
    arrived: float
    """[s] on the client's clock."""


class BridgeClient:
    """A connection to one robot. Not for use by several threads."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        workspace: Workspace,
        allow_remote: bool = False,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before `connect`. workspace: the box that no commanded gripper position may leave."""
        self._host, self._port = check_host(host, allow_remote=allow_remote), port
        self._low, self._high = np.array(workspace.low), np.array(workspace.high)
        self._timeouts = timeouts or Timeouts()
        self._clock = clock
        self._socket: Any = None
        self._abandoned = 0
        self.link = Link.CLOSED
        self.identity: ServerIdentity | None = None

    # Asking.

    def connect(self) -> ServerIdentity:
        """Find out who answers."""
        reply = self._ask({"type": "hash"}, timeout=self._timeouts.hash, acts=False)
        self.identity = ServerIdentity.from_reply(reply, self._host, self._port)
        self.link = Link.OK
        return self.identity

    def observe(self) -> RawObservation:
        """The arm's state and the camera's picture; LinkLostError when the robot is not initialised."""
        asked = self._clock()
        reply = self._ask({"type": "obs", "keys": OBSERVATION_KEYS}, timeout=self._timeouts.obs, acts=False)
        arrived = self._clock()
        state, jpeg = (reply.get(key) for key in ("state", "full_image")) if isinstance(reply, dict) else (None, None)
        if not isinstance(state, np.ndarray) or state.shape != (7,) or not isinstance(jpeg, bytes):
            raise _fault("The robot has no state to show: it is not initialised. Was its server started anew?")
        if not np.isfinite(state).all():
            raise _fault(f"The robot reports a state that is not finite: {state.tolist()}.")
        return RawObservation(state.astype(np.float64), jpeg, asked, arrived)

    def resync(self, *, settle: float = 0.3) -> bool:
        """Restore trust after a lost answer: the server answers, nothing old is left in its queue, the arm is still.

        False when the robot behind the server is not initialised (any more); LinkLostError when nobody comes back.
        The server takes its peers' questions in turn, so that one answer more than there are questions we gave up on
        means that all of those have been dealt with. settle: [s] between two looks at the arm.
        """
        self._drop()
        end = self._clock() + self._timeouts.resync
        answers, needed, last = 0, self._abandoned + 2, None
        while self._clock() < end:
            try:
                if answers < needed:
                    self.connect()
                    answers += 1
                    continue
                look = self.observe()
            except LinkLostError as lost:
                if lost.reason == ROBOT_FAULT:
                    self._abandoned = 0
                    return False
                answers, last = 0, None
                time.sleep(settle / 10)
                continue
            if last is not None and np.abs(look.state[:3] - last.state[:3]).max() < STILL:
                self._abandoned = 0
                return True
            last = look
            time.sleep(settle)
        self._drop()
        raise LinkLostError(
            f"The robot at {self._host}:{self._port} did not come back within {self._timeouts.resync:g} s. "
            "Look at the arm, restart the server if need be, and continue the run with --resume."
        )

    # Acting.

    def init(self, env_params: dict[str, Any]) -> None:
        """Have the server build its robot; it drives to its neutral pose. "start_state" must lie in the workspace."""
        start = np.asarray(env_params["start_state"], dtype=np.float64)
        self._check(start, (7,), "start pose")
        self._check_inside(start[:3], "start pose")
        payload = {"env_params": env_params, "image_size": IMAGE_SIZE}
        self._act("init", payload, self._timeouts.init)

    def reset(self) -> None:
        """Open the gripper and drive to neutral, then to the start pose given to `init`."""
        self._act("reset", {}, self._timeouts.reset)

    def step(self, action: np.ndarray, *, before: Pose, after: Pose, blocking: bool = False) -> None:
        """One control step.

        action: (7,) in the Bridge robot's convention (`frames.action_to_bridge`). before, after: the controller's
        target now, and the one that the action makes of it.
        """
        action = np.asarray(action, dtype=np.float64)
        self._check(action, (7,), "step")
        longest = np.array([MAX_STEP] * 3 + [MAX_TURN] * 3)
        if (np.abs(action[:6]) > longest + SLACK).any() or not 0.0 <= action[6] <= 1.0:
            raise ActionError(
                f"The step {action.tolist()} is beyond +-{MAX_STEP} m, +-{MAX_TURN} rad or gripper 0 .. 1."
            )
        self._check_inside(after.position, "target", start=before.position)
        self._act("step_action", {"action": action, "blocking": blocking}, self._timeouts.step)

    def move(self, pose: Pose, seconds: float) -> None:
        """Drive to `pose` in `seconds` and wait; the controller's target then is where the arm is."""
        matrix = frames.pose_to_matrix(pose)
        self._check(matrix, (4, 4), "pose")
        self._check_inside(pose.position, "pose")
        if not 0 < seconds <= MAX_MOVE_SECONDS:
            raise ActionError(
                f"A move of {seconds} s was asked for; expected more than 0, at most {MAX_MOVE_SECONDS} s."
            )
        payload = {"pose": matrix, "duration": float(seconds), "blocking": True}
        self._act("move", payload, self._timeouts.move + seconds)

    def sleep(self) -> None:
        """Fold the arm up, on servers that know how (`"sleep" in identity.methods`)."""
        self._act("sleep", {}, self._timeouts.reset)

    def close(self) -> None:
        """Hang up; nothing is sent, the arm holds where it is. May be called twice."""
        self._drop()
        self.link = Link.CLOSED

    # Parts.

    def _check(self, numbers: np.ndarray, shape: tuple[int, ...], what: str) -> None:
        if numbers.shape != shape or not np.isfinite(numbers).all():
            raise ActionError(f"The {what} {numbers.tolist()} is not {shape} finite numbers; it was not sent.")

    def _check_inside(self, position: np.ndarray, what: str, start: np.ndarray | None = None) -> None:
        low, high = self._low, self._high
        if start is not None:  # What is outside already may stay or come back, never go further out.
            low, high = np.minimum(low, start), np.maximum(high, start)
        if (position < low - SLACK).any() or (position > high + SLACK).any():
            raise ActionError(
                f"The {what} {np.round(position, 4).tolist()} lies outside the workspace {self._low.tolist()} .. "
                f"{self._high.tolist()} [m]; it was not sent."
            )

    def _act(self, key: str, payload: dict[str, Any], timeout: float) -> None:
        if self.link is not Link.OK:
            raise LinkLostError(f"The link is {self.link.value}: nothing is sent before it is restored (reset()).")
        reply = self._ask({"type": "act", "key": key, "payload": payload}, timeout=timeout, acts=True)
        status = reply.get("status") if isinstance(reply, dict) else None
        if status == ServerStatus.SUCCESS:
            return
        if status == ServerStatus.NOT_INITIALIZED:
            raise _fault(f"The robot is not initialised, it refused {key!r}. Was it started anew?")
        if status == ServerStatus.EXECUTION_FAILURE:
            raise _fault(f"The robot could not carry out {key!r}.")
        raise self._lose(f"The robot answered {key!r} with {str(reply)[:100]!r}; expected a status.")

    def _ask(self, message: dict[str, Any], *, timeout: float, acts: bool) -> Any:
        """The answer to one question, which is sent once and never again."""
        frame = wire.encode(message)
        end = self._clock() + timeout
        zmq = _zmq()
        sent = answered = False
        try:
            socket = self._open(zmq)
            if not socket.poll(max(1, math.ceil(timeout * 1000)), zmq.POLLOUT):
                raise self._lose(f"Nobody answers at {self._host}:{self._port}; nothing was sent.")
            socket.send(frame)
            sent = True
            left = max(0, math.ceil((end - self._clock()) * 1000))
            if not socket.poll(left, zmq.POLLIN):
                raise self._lose(f"No answer to {_title(message)} within {timeout:g} s; it may still be carried out.")
            frame, answered = socket.recv(), True
            return wire.decode(frame)
        except (WireError, zmq.ZMQError) as error:
            raise self._lose(f"The answer to {_title(message)} cannot be read: {error}") from error
        except KeyboardInterrupt:
            self._lose(f"{_title(message)} was interrupted.")
            raise
        finally:
            self._abandoned += sent and not answered

    def _lose(self, message: str) -> LinkLostError:
        self._drop()
        return LinkLostError(message)

    def _open(self, zmq: Any) -> Any:
        if self._socket is None:
            self._socket = zmq.Context.instance().socket(zmq.REQ)
            # No lingering, no queue for a server that is not there: a question is asked now or not at all.
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_FRAME)
            self._socket.connect(f"tcp://{self._host}:{self._port}")
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self.link is Link.OK:
            self.link = Link.UNKNOWN


def _fault(message: str) -> LinkLostError:
    return LinkLostError(message, reason=ROBOT_FAULT)


def _title(message: dict[str, Any]) -> str:
    return repr(str(message.get("key", message["type"])))


def _zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise missing_extra("The Bridge robot's wire", "pyzmq", "robot") from error
    return zmq
