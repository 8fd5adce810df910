"""The client's side of a link to a robot server: one request at a time, no action sent twice, every action checked.

The robots' own clients time out after 0.8 s and send the request again; a server then executes all of them, possibly
out of order, and reports success even if the arm did not move. The rules here are the guarantees of docs/real_robot.md:
after a lost reply nothing is sent until `resync` has restored a known state. The servers listen on a ZMQ REP socket and
handle requests in turn; `wire` reads and writes them.
"""

from __future__ import annotations

import abc
import enum
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlm2vla_sim.envs.motion import MAX_STEP, MAX_TURN
from vlm2vla_sim.envs.robot_link import wire
from vlm2vla_sim.envs.robot_link.endpoint import read_address, show_address, zmq_address
from vlm2vla_sim.envs.robot_link.endpoint_lock import EndpointLock
from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT, ServerIdentity, ServerKind, Timeouts, check_host
from vlm2vla_sim.errors import ActionError, LinkLostError, WireError, missing_extra
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import Pose

SLACK = 1e-6
"""[m] tolerance for rounding at the limits."""
STILL = 0.003
"""[m] an arm may move between two observations and count as still."""


class LinkState(enum.Enum):
    """State of the connection."""

    CLOSED = "closed"
    OK = "ok"
    UNKNOWN = "unknown"
    """A reply was lost: the request may have been executed, may be executed later, or never."""


@dataclass(frozen=True, eq=False)
class RawObservation:
    """One reply to a request for an observation."""

    state: np.ndarray
    """(7,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], gripper [BridgeData's reading: of a WidowX
    0.20 closed .. 1.08 open]."""
    jpeg: bytes
    """The main camera's image."""
    asked: float
    arrived: float
    """[s, client's clock] when the request was sent and when the reply arrived."""
    more: Mapping[str, bytes] = field(default_factory=dict)
    """JPEGs of the server's further cameras, by the server's names."""


class RobotLink(abc.ABC):
    """A connection to one robot. Not for use by several threads."""

    server: ServerKind
    """Set by every subclass."""
    prepare_may_reset = False
    """Whether `prepare` may have driven the arm to its start: it is looked at then, before it is driven there."""

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
        host, self._port = read_address(host, port, default_port=self.server.port)
        self._host = check_host(host, self._port, allow_remote=allow_remote)
        self._where = show_address(host, self._port)
        self.lock = EndpointLock(host, self._port)
        """Held while this client may move the robot; taken by its backend, released by `close`."""
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
        self.identity = ServerIdentity.from_reply(reply, self._host, self._port, self.server)
        self.link = LinkState.OK
        return self.identity

    def round_trip(self) -> float:
        """[s] that a request without an image takes."""
        asked = self._clock()
        self.connect()
        return self._clock() - asked

    @abc.abstractmethod
    def observe(self) -> RawObservation:
        """The arm's state and the camera's image; LinkLostError when the robot cannot say."""

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
            f"The robot at {self._where} did not reply within {self._timeouts.resync:g} s. "
            "Check the arm, restart its server if necessary, then continue with --resume."
        )

    def controller_target(self, measured: Pose) -> Pose:
        """The controller's target after a `reset` or a `move`: on most servers where the arm is."""
        return measured

    # Actions: what every server carries out, each in its own words.

    @abc.abstractmethod
    def prepare(self, settings: Any) -> None:
        """Make a server that was just found, or started anew, ready to move; settings: those of its backend."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Open the gripper and drive to the start pose of the settings given to `prepare`."""

    @abc.abstractmethod
    def step(self, action: np.ndarray, *, before: Pose, after: Pose, blocking: bool = False) -> None:
        """One control step.

        action: (7,) `frames.action_to_bridge` of the motion. before, after: the controller's target before and after.
        """

    @abc.abstractmethod
    def move(self, pose: Pose, seconds: float) -> None:
        """Drive to `pose` in `seconds`, or more slowly, and wait; afterwards it is the controller's target."""

    @abc.abstractmethod
    def sleep(self) -> bool:
        """Fold the arm, on servers that can; False, and nothing is sent, on others."""

    def close(self) -> None:
        """Disconnect; nothing is sent, the arm holds its position. May be called twice."""
        self._drop()
        self.link = LinkState.CLOSED
        self.lock.release()

    def check_step(self, action: np.ndarray, *, before: Pose, after: Pose) -> np.ndarray:
        """`action` (7,) as float64; ActionError for one that is not to be sent."""
        action = np.asarray(action, dtype=np.float64)
        self._check(action, (7,), "step")
        longest = np.array([MAX_STEP] * 3 + [MAX_TURN] * 3)
        if (np.abs(action[:6]) > longest + SLACK).any() or not 0.0 <= action[6] <= 1.0:
            raise ActionError(
                f"The step {action.tolist()} is beyond +-{MAX_STEP} m, +-{MAX_TURN} rad or gripper 0 .. 1."
            )
        self._check_inside(after.position, "target", start=before.position)
        return action

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

    def _act(self, key: str, payload: Any, timeout: float) -> Any:
        """The reply to one action, which is sent at most once."""
        if self.link is not LinkState.OK:
            raise LinkLostError(f"The link is {self.link.value}: nothing is sent until reset() has restored it.")
        return self._request({"type": "act", "key": key, "payload": payload}, timeout=timeout, acts=True)

    def _request(self, message: dict[str, Any], *, timeout: float, acts: bool) -> Any:
        """The reply to one request, which is sent at most once."""
        frame = wire.encode(message)
        end = self._clock() + timeout
        zmq = _zmq()
        sent = replied = False
        try:
            socket = self._open(zmq)
            if not socket.poll(max(1, math.ceil(timeout * 1000)), zmq.POLLOUT):
                raise self._lose(f"Nothing replies at {self._where}; nothing was sent.")
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
            address = zmq_address(self._host, self._port)
            self._socket = zmq.Context.instance().socket(zmq.REQ)
            # No lingering, no queue for an absent server: a request is sent now or not at all.
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_FRAME)
            self._socket.setsockopt(zmq.IPV6, 1)
            self._socket.connect(address)
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self.link is LinkState.OK:
            self.link = LinkState.UNKNOWN


def fault(message: str) -> LinkLostError:
    """The error for a robot that does not do what it should, behind a link that works."""
    return LinkLostError(message, reason=ROBOT_FAULT)


def _title(message: dict[str, Any]) -> str:
    return repr(str(message.get("key", message["type"])))


def _zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise missing_extra("The protocol of a robot server", "pyzmq", "robot") from error
    return zmq
