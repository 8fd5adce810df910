"""Client of a BridgeData robot server: one request at a time, no action sent twice, every action checked.

The robot's own client times out after 0.8 s and sends the request again; the server then executes all of them, possibly
out of order, and reports SUCCESS even if the arm did not move. The rules here are the guarantees of docs/real_robot.md:
after a lost reply nothing is sent until `resync` has restored a known state.
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
from vlm2vla_sim.envs.bridge.protocol import (
    IMAGE_SIZE,
    MAX_STEP,
    MAX_TURN,
    ServerIdentity,
    ServerStatus,
    Timeouts,
    check_host,
)
from vlm2vla_sim.envs.robot_link import wire
from vlm2vla_sim.errors import ActionError, LinkLostError, WireError, missing_extra
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import Pose

SLACK = 1e-6
"""[m] tolerance for rounding at the limits."""
STILL = 0.003
"""[m] an arm may move between two observations and count as still."""
MAX_MOVE_SECONDS = 10.0
ROBOT_FAULT = "robot_fault"
"""`LinkLostError.reason` when the link works and the robot behind it does not."""
OBSERVATION_KEYS = ["image", "state", "full_image"]


class LinkState(enum.Enum):
    """State of the connection."""

    CLOSED = "closed"
    OK = "ok"
    UNKNOWN = "unknown"
    """A reply was lost: the request may have been executed, may be executed later, or never."""


@dataclass(frozen=True, eq=False)
class RawObservation:
    """One reply to "obs"."""

    state: np.ndarray
    """(7,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], gripper [0.20 closed .. 1.08 open]."""
    jpeg: bytes
    asked: float
    arrived: float
    """[s, client's clock] when the request was sent and when the reply arrived."""


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
        self.link = LinkState.CLOSED
        self.identity: ServerIdentity | None = None

    # Queries.

    def connect(self) -> ServerIdentity:
        """Query the server's identity."""
        reply = self._request({"type": "hash"}, timeout=self._timeouts.hash, acts=False)
        self.identity = ServerIdentity.from_reply(reply, self._host, self._port)
        self.link = LinkState.OK
        return self.identity

    def observe(self) -> RawObservation:
        """The arm's state and the camera's image; LinkLostError when the robot is not initialised."""
        asked = self._clock()
        reply = self._request({"type": "obs", "keys": OBSERVATION_KEYS}, timeout=self._timeouts.obs, acts=False)
        arrived = self._clock()
        state, jpeg = (reply.get(key) for key in ("state", "full_image")) if isinstance(reply, dict) else (None, None)
        if not isinstance(state, np.ndarray) or state.shape != (7,) or not isinstance(jpeg, bytes):
            raise _fault("The robot reports no state: it is not initialised. Was its server restarted?")
        if not np.isfinite(state).all():
            raise _fault(f"The robot reports a state that is not finite: {state.tolist()}.")
        return RawObservation(state.astype(np.float64), jpeg, asked, arrived)

    def resync(self, *, settle: float = 0.3) -> bool:
        """Restore a known state after a lost reply: the server replies, its queue is empty, the arm is still.

        The server handles requests in turn, so that one reply more than there were abandoned requests means that all of
        those have been handled.

        Args:
            settle: [s] between two observations of the arm.

        Returns:
            False when the robot behind the server is not initialised (any more).

        Raises:
            LinkLostError: the server did not reply within `Timeouts.resync`.
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
                observed = self.observe()
            except LinkLostError as lost:
                if lost.reason == ROBOT_FAULT:
                    self._abandoned = 0
                    return False
                answers, last = 0, None
                time.sleep(settle / 10)
                continue
            if last is not None and np.abs(observed.state[:3] - last.state[:3]).max() < STILL:
                self._abandoned = 0
                return True
            last = observed
            time.sleep(settle)
        self._drop()
        raise LinkLostError(
            f"The robot at {self._host}:{self._port} did not reply within {self._timeouts.resync:g} s. "
            "Check the arm, restart its server if necessary, then continue with --resume."
        )

    # Actions.

    def init(self, env_params: dict[str, Any]) -> None:
        """Initialise the robot, which drives to its neutral pose. "start_state" must lie in the workspace."""
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
        target before and after the action.
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
        """Drive to `pose` in `seconds` and wait; afterwards the controller's target is the measured pose."""
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
        """Fold the arm, on servers that have the method (`"sleep" in identity.methods`)."""
        self._act("sleep", {}, self._timeouts.reset)

    def close(self) -> None:
        """Disconnect; nothing is sent, the arm holds its position. May be called twice."""
        self._drop()
        self.link = LinkState.CLOSED

    # Internals.

    def _check(self, numbers: np.ndarray, shape: tuple[int, ...], what: str) -> None:
        if numbers.shape != shape or not np.isfinite(numbers).all():
            raise ActionError(f"The {what} {numbers.tolist()} is not {shape} finite numbers; it was not sent.")

    def _check_inside(self, position: np.ndarray, what: str, start: np.ndarray | None = None) -> None:
        low, high = self._low, self._high
        if start is not None:  # A target that is already outside may stay or come back, but not move further out.
            low, high = np.minimum(low, start), np.maximum(high, start)
        if (position < low - SLACK).any() or (position > high + SLACK).any():
            raise ActionError(
                f"The {what} {np.round(position, 4).tolist()} lies outside the workspace {self._low.tolist()} .. "
                f"{self._high.tolist()} [m]; it was not sent."
            )

    def _act(self, key: str, payload: dict[str, Any], timeout: float) -> None:
        if self.link is not LinkState.OK:
            raise LinkLostError(f"The link is {self.link.value}: nothing is sent until reset() has restored it.")
        reply = self._request({"type": "act", "key": key, "payload": payload}, timeout=timeout, acts=True)
        status = reply.get("status") if isinstance(reply, dict) else None
        if status == ServerStatus.SUCCESS:
            return
        if status == ServerStatus.NOT_INITIALIZED:
            raise _fault(f"The robot is not initialised, it refused {key!r}. Was its server restarted?")
        if status == ServerStatus.EXECUTION_FAILURE:
            raise _fault(f"The robot could not execute {key!r}.")
        raise self._lose(f"The robot replied {key!r} with {str(reply)[:100]!r}; expected a status.")

    def _request(self, message: dict[str, Any], *, timeout: float, acts: bool) -> Any:
        """The reply to one request, which is sent at most once."""
        frame = wire.encode(message)
        end = self._clock() + timeout
        zmq = _zmq()
        sent = replied = False
        try:
            socket = self._open(zmq)
            if not socket.poll(max(1, math.ceil(timeout * 1000)), zmq.POLLOUT):
                raise self._lose(f"Nothing replies at {self._host}:{self._port}; nothing was sent.")
            socket.send(frame)
            sent = True
            left = max(0, math.ceil((end - self._clock()) * 1000))
            if not socket.poll(left, zmq.POLLIN):
                raise self._lose(f"No reply to {_title(message)} within {timeout:g} s; it may still be executed.")
            frame, replied = socket.recv(), True
            return wire.decode(frame)
        except (WireError, zmq.ZMQError) as error:
            raise self._lose(f"The reply to {_title(message)} cannot be read: {error}") from error
        except KeyboardInterrupt:
            self._lose(f"{_title(message)} was interrupted.")
            raise
        finally:
            self._abandoned += sent and not replied

    def _lose(self, message: str) -> LinkLostError:
        self._drop()
        return LinkLostError(message)

    def _open(self, zmq: Any) -> Any:
        if self._socket is None:
            self._socket = zmq.Context.instance().socket(zmq.REQ)
            # No lingering, no queue for an absent server: a request is sent now or not at all.
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_FRAME)
            self._socket.connect(f"tcp://{self._host}:{self._port}")
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self.link is LinkState.OK:
            self.link = LinkState.UNKNOWN


def _fault(message: str) -> LinkLostError:
    return LinkLostError(message, reason=ROBOT_FAULT)


def _title(message: dict[str, Any]) -> str:
    return repr(str(message.get("key", message["type"])))


def _zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise missing_extra("The protocol of the BridgeData robot server", "pyzmq", "robot") from error
    return zmq
