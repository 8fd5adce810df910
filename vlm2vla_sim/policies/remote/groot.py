"""Client of GR00T's wire protocol: ZeroMQ requests, msgpack with arrays as files of NumPy's.

NVIDIA/Isaac-GR00T@ade260e gr00t/policy/server_client.py, for a server that was started with --use-sim-policy-wrapper
(gr00t_policy.py Gr00tSimPolicyWrapper): images and states of a batch of one, each state a key of its own, and an answer
with a key for each of the action's numbers. The server answers one client at a time and keeps no state of an episode.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from vlm2vla_sim.errors import ServerError, SettingError, WireError, missing_extra
from vlm2vla_sim.policies.models.http_client import TransientError, with_retries
from vlm2vla_sim.policies.remote.arrays import pack_groot, unpack
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.wire import KEY_VARIABLE, MOST_ANSWER_BYTES, Reply, Request, Server

STATES = ("x", "y", "z", "roll", "pitch", "yaw", "pad", "gripper")
"""The states of GR00T's configuration for Bridge, which "bridge8" holds in this order."""
ACTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")


class GrootWire:
    """A `Wire` to a GR00T server."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare the client; nothing is sent yet."""
        server.check(("tcp",))
        if convention.proprio_length not in (0, len(STATES)) or convention.width != len(ACTIONS):
            raise SettingError(
                f"GR00T's protocol has the states {', '.join(STATES)} and the actions {', '.join(ACTIONS)}, and the "
                f"convention ({convention.about}) {convention.proprio_length} and {convention.width} numbers."
            )
        self._server, self._convention, self._sleep = server, convention, sleep
        self._socket: Any = None
        self._open = contextlib.ExitStack()
        self.greeting: dict[str, Any] = {}

    def start(self, instruction: str, seed: int) -> int:
        """Reset the server's policy."""
        answer, retries = self._call("reset", {"options": None})
        self.greeting = answer if isinstance(answer, dict) else {}
        return retries

    def ask(self, request: Request) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        frames = request.image if request.image.ndim == 4 else request.image[None]
        observation: dict[str, Any] = dict(convention.extras)
        observation |= {
            str(convention.image_key): np.ascontiguousarray(frames)[None],
            str(convention.instruction_key): [request.instruction],
        }
        if request.proprio is not None:
            for name, number in zip(STATES, request.proprio, strict=True):
                observation[f"{convention.proprio_key}.{name}"] = np.full((1, 1, 1), number, np.float32)
        answer, retries = self._call("get_action", {"observation": observation, "options": None})
        return Reply(self._rows(answer), retries)

    def close(self) -> None:
        """See `Wire.close`."""
        self._socket = None
        self._open.close()

    # Parts.

    def _rows(self, answer: Any) -> np.ndarray:
        """(T, 7) of an answer [actions, information]; ServerError for one without them."""
        actions = answer[0] if isinstance(answer, list) and answer and isinstance(answer[0], dict) else {}
        columns = [actions.get(f"{self._convention.answer_key}.{name}") for name in ACTIONS]
        found = [column for column in columns if isinstance(column, np.ndarray) and column.dtype.kind in "fiu"]
        if len(found) < len(ACTIONS) or len({column.size for column in found}) > 1 or found[0].ndim != 3:
            told = str({key: np.shape(value) for key, value in actions.items()}) if actions else repr(answer)
            names = ", ".join(f"{self._convention.answer_key}.{name}" for name in ACTIONS)
            raise ServerError(
                f"The server at {self._server.url} answers with {told[:300]}; expected {names} of "
                "one shape (1, T, 1). Was it started with --use-sim-policy-wrapper, for Bridge?"
            )
        return np.column_stack([column.reshape(-1) for column in found])

    def _call(self, endpoint: str, data: dict[str, Any]) -> tuple[Any, int]:
        server, request = self._server, {"endpoint": endpoint, "data": data}
        if key := os.environ.get(KEY_VARIABLE, ""):
            request["api_token"] = key
        message = pack_groot(request)
        answer, retries = with_retries(
            server.url,
            lambda: self._exchange(message),
            retries=server.retries,
            backoff=server.backoff,
            sleep=self._sleep,
        )
        if isinstance(answer, dict) and "error" in answer:
            raise ServerError(f"The server at {server.url} refuses the request: {str(answer['error'])[:300]}")
        return answer, retries

    def _exchange(self, message: bytes) -> Any:
        """The answer to `message`; TransientError without one in time, with the socket closed: it would come later."""
        try:
            import zmq
        except ModuleNotFoundError as error:
            raise missing_extra("The policy 'groot'", "pyzmq", "groot") from error
        try:
            socket = self._connected(zmq)
            socket.send(message)
            if not socket.poll(1000 * self._server.timeout):
                raise TransientError(f"it took longer than {self._server.timeout:g} s.")
            return unpack(socket.recv())
        except zmq.ZMQError as broken:
            self.close()
            raise TransientError(f"ZeroMQ: {broken}.") from broken
        except WireError as broken:
            self.close()
            raise TransientError(f"it sent: {broken}") from broken
        except TransientError:
            self.close()
            raise

    def _connected(self, zmq: Any) -> Any:
        if self._socket is None:
            context = zmq.Context()
            self._open.callback(context.term)
            self._socket = context.socket(zmq.REQ)
            self._open.callback(self._socket.close, linger=0)
            self._socket.setsockopt(zmq.MAXMSGSIZE, MOST_ANSWER_BYTES)
            self._socket.connect(self._server.url)
        return self._socket
