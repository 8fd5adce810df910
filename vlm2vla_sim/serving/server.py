"""A websocket server for policies of ours: what the wires share, and what keeps a server from being a nuisance.

It listens on loopback unless told otherwise in as many words, reads messages up to a size, talks to so many at a time,
lets no web page in, hangs up on those who fall silent, and stops when it is told to or when nobody asks any more.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.errors import SettingError, Vlm2VlaError, missing_extra
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.models.http_client import is_loopback
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.convert import read_proprio, write_deltas
from vlm2vla_sim.serving.action_stream import Move, Session

GOING_AWAY, BROKEN, TRY_LATER = 1001, 1011, 1013
"""Websocket close codes."""
LONGEST_INSTRUCTION = 2000
SMALLEST, LARGEST = 16, 4096
"""Sides of a picture [pixels]."""
GRACE = 10.0
"""[s] that a decision under way is waited for when the server stops."""
HEALTH = {"/healthz": "OK\n", "/health": '{"status": "ok"}\n'}
"""What openpi's servers and vla-eval's answer to a plain GET."""


@dataclass(frozen=True)
class Limits:
    """What a server does at most."""

    message: int = 16 * 2**20
    """[bytes] of one message; a picture of 640 x 480 has 0.9 MiB."""
    connections: int = 16
    """Clients at the same time."""
    idle: float = 1800.0
    """[s] without a question after which a client is left, and the server stops."""
    rows: int = 0
    """Control steps in an answer; 0 for all those of a decision."""

    def __post_init__(self) -> None:
        if self.message < 1024 or self.connections < 1 or self.rows < 0 or not self.idle > 0 or math.isnan(self.idle):
            raise SettingError(
                f"Messages of up to {self.message} bytes, {self.connections} connections, {self.rows} rows and "
                f"{self.idle} s of silence were asked for; expected 1024 bytes or more, 1 or more, 0 or more, and more "
                "than 0 s."
            )


class Desk:
    """Where the wires get what they need: sessions, answers, and the one policy at a time that may think."""

    def __init__(self, make: Callable[[], Policy], convention: Convention, limits: Limits) -> None:
        if convention.absolute:
            raise SettingError(f"A policy of ours moves by changes, not to poses ({convention.about}).")
        self.convention, self.limits = convention, limits
        self.last_asked = time.monotonic()
        self._make = make
        # One accelerator, one thought at a time; and policies are not made for threads.
        self._thinking = threading.Lock()

    def open(self) -> Session:
        """A session of its own for a new client."""
        with self._thinking:
            return Session(self._make(), rows=self.limits.rows)

    def start(self, session: Session, instruction: Any, seed: Any) -> None:
        """Begin an episode; SettingError for what is no instruction."""
        if not isinstance(instruction, str) or not 0 < len(instruction.strip()) <= LONGEST_INSTRUCTION:
            raise SettingError(
                f"The instruction is {str(instruction)[:80]!r}; expected a text of 1 to {LONGEST_INSTRUCTION} "
                f"characters under {self.convention.instruction_key!r}."
            )
        number = seed if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 else 0
        with self._thinking:
            session.reset(instruction, number)

    def answer(self, session: Session, image: Any, state: Any) -> tuple[np.ndarray, Move]:
        """The next steps in the client's convention, and what they are in ours."""
        self.last_asked = time.monotonic()
        observation: dict[str, Any] = {"pixels": {"primary": check_image(image)}}
        if state is not None and self.convention.proprio:
            observation["agent_pos"] = read_proprio(state, self.convention)
        with self._thinking:
            move = session.next(observation)
        self.last_asked = time.monotonic()
        return write_deltas(move.steps, self.convention), move


class Talk(Protocol):
    """A wire, from the server's side: talks to one client until it has gone."""

    def __call__(self, connection: Any, desk: Desk) -> None:
        """connection: `send`, `recv(timeout=)`, `close(code, reason)`; ConnectionClosed and TimeoutError may pass."""
        ...


class PolicyServer:
    """Serves until `stop`, or until nobody has asked for as long as its limits say. A context manager."""

    def __init__(self, talk: Talk, desk: Desk, *, host: str = "127.0.0.1", port: int = 0, expose: bool = False) -> None:
        """Bind to `host`; port 0 takes a free one, which `url` tells. Without `expose`, only to loopback."""
        if not (expose or is_loopback(host)):
            raise SettingError(
                f"The server would listen on {host}, where others on the network can ask it, without a key. Leave the "
                "host at 127.0.0.1 and forward the port (ssh -L), or say so: --expose."
            )
        try:
            from websockets.sync.server import serve
        except ModuleNotFoundError as error:
            raise missing_extra("`vlm2vla serve`", "websockets", "remote") from error
        self.desk = desk
        self._talk = talk
        self._seats = threading.BoundedSemaphore(desk.limits.connections)
        silent = logging.getLogger("vlm2vla_sim.serving.websockets")
        silent.setLevel(logging.CRITICAL + 1)  # a port scan is no news
        try:
            self._server = serve(
                self._receive,
                host,
                port,
                origins=[None],  # browsers name the page they come from; no page has any business here
                compression=None,
                max_size=desk.limits.message,
                process_request=_health,
                ping_interval=None,  # a simulator that steps does not answer pings
                close_timeout=1,
                logger=silent,
            )
        except OSError as taken:
            raise SettingError(f"The server cannot listen on {host}:{port}: {taken.strerror or taken}.") from taken
        address, port = self._server.socket.getsockname()[:2]
        self.url = f"ws://{f'[{address}]' if ':' in address else address}:{port}"
        """What a client is given."""
        self._loop = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> PolicyServer:
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, told: threading.Event) -> bool:
        """Until `told` is set, or nobody has asked for too long; whether it was told."""
        while not told.wait(0.2):
            if time.monotonic() - self.desk.last_asked > self.desk.limits.idle:
                return False
        return True

    def stop(self) -> bool:
        """Hang up and stop listening; whether everything ended within `GRACE`."""
        closing = threading.Thread(target=self._server.shutdown, daemon=True)
        closing.start()
        closing.join(GRACE)
        return not closing.is_alive()

    def _receive(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        if not self._seats.acquire(blocking=False):
            connection.close(TRY_LATER, f"{self.desk.limits.connections} clients are being served; try later.")
            return
        try:
            with contextlib.suppress(ConnectionClosed):
                self._talk(connection, self.desk)
        except TimeoutError:
            connection.close(GOING_AWAY, f"No question for {self.desk.limits.idle:g} s.")
        except Exception as error:  # the border: no policy could be made for this client
            with contextlib.suppress(ConnectionClosed):
                connection.send(sentence(error))
                connection.close(BROKEN, "The previous message says why.")
        finally:
            self._seats.release()


def sentence(error: Exception) -> str:
    """What a client is told of `error`; a fault of ours is also written down here, with where it happened."""
    if isinstance(error, Vlm2VlaError):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def check_image(image: Any) -> np.ndarray:
    """`image`, (H, W, 3) uint8 RGB; SettingError for anything else."""
    if not isinstance(image, np.ndarray):
        raise SettingError(f"The picture is {type(image).__name__}; expected an array (H, W, 3) of uint8.")
    sides = image.shape[:2]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not _are_sides(sides):
        raise SettingError(
            f"The picture has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB, {SMALLEST} to "
            f"{LARGEST} pixels a side."
        )
    return image


def _are_sides(sides: tuple[int, ...]) -> bool:
    return all(SMALLEST <= side <= LARGEST for side in sides)


def _health(connection: Any, request: Any) -> Any:
    said = HEALTH.get(request.path)
    return None if said is None else connection.respond(HTTPStatus.OK, said)
