"""Client of OpenVLA's wire protocol: POST /act, JSON with arrays as json-numpy writes them.

openvla/openvla@c8f03f4 vla-scripts/deploy.py; the servers of zhouzypaul/auto_eval@a5012f0 use the same protocol and add
POST /reset. OpenVLA-OFT's answers with a list of rows, X-VLA's with a map that holds them. OpenVLA's own server reports
every error with status 200 and the text "error", which must not be taken for an action.

The protocol has no clients. Every request names its client in a header: a `vlm2vla serve` server keeps the episodes of
clients apart by it, says so in its response to POST /reset, and is told with POST /leave that a client has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from vlm2vla_sim.errors import ServerError, WireError
from vlm2vla_sim.policies.models.http_client import HttpClient, StatusError, TransientError, with_retries
from vlm2vla_sim.policies.remote.arrays import from_json, to_json
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.observations import get, put
from vlm2vla_sim.policies.remote.wire import KEY_VARIABLE, MOST_ANSWER_BYTES, Reply, Request, Server

CLIENT = "vlm2vla-client"
"""The header that names the client, and the key under which a server that keeps clients apart repeats it."""
NO_RESET = (404, 405, 501)
"""Statuses of a server that has no /reset."""
NOTHING = b"null"
"""In place of the response of a server that has no /reset."""


def why_single(options: Any) -> str:
    """Why the server of `options`, of the policy "openvla", can be asked by one episode at a time; empty if by many."""
    wire = OpenvlaWire(options.address(), options.meaning())
    wire.start("", 0)
    wire.close()
    if not wire.mixes:
        return ""
    return (
        f"The server at {options.server} has POST /reset, so that it keeps the state of an episode, and does not tell "
        "clients apart: episodes at the same time would mix."
    )


class OpenvlaWire:
    """A `Wire` to a server with POST /act."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare the client; nothing is sent yet."""
        server.check(("http", "https"))
        self._server, self._convention, self._sleep = server, convention, sleep
        key = os.environ.get(KEY_VARIABLE, "")
        self._name = uuid.uuid4().hex
        self._known = False
        """Whether the server keeps this client's episode apart from those of others."""
        self.mixes = False
        """Whether the server has POST /reset, so that it keeps the state of an episode, and only of one."""
        self._http = HttpClient(
            server.url, timeout=server.timeout, max_bytes=MOST_ANSWER_BYTES, key=key, headers={CLIENT: self._name}
        )

    def start(self, instruction: str, seed: int) -> int:
        """POST /reset, where there is one: Octo's server keeps images, actions and the instruction between requests."""
        answer, retries = self._with_retries(lambda: self._post("reset", {}, skip=NO_RESET))
        self._known = self._name.encode() in answer
        self.mixes = answer != NOTHING and not self._known
        return retries

    def ask(self, request: Request) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        query: dict[str, Any] = dict(convention.extras)
        put(query, convention.image_key, self._array(request.image))
        put(query, convention.instruction_key, request.instruction)
        if request.proprio is not None:
            put(query, convention.proprio_key, self._array(request.proprio))
        answer, retries = self._with_retries(lambda: self._act(query))
        return Reply(answer, retries)

    def close(self) -> None:
        """See `Wire.close`. The connections belong to the process, and stay."""
        if self._known:
            self._known = False
            with contextlib.suppress(ServerError, StatusError, TransientError):  # the server forgets the client anyway
                self._post("leave", {})

    def _array(self, array: np.ndarray) -> Any:
        """As the convention's server reads it: an array of the JSON, or a text that holds one."""
        return to_json(array).decode() if self._convention.encoded else array

    def _with_retries(self, ask: Callable[[], Any]) -> tuple[Any, int]:
        server = self._server
        return with_retries(server.url, ask, retries=server.retries, backoff=server.backoff, sleep=self._sleep)

    def _act(self, query: dict[str, Any]) -> Any:
        try:
            answer = from_json(self._post("act", query))
            if isinstance(answer, str) and answer != "error":
                answer = from_json(answer)  # "double-encoded", as deploy.py calls it
        except WireError as broken:
            route = self._http.describe_route()
            raise TransientError(f"{broken}" + (f" It was asked{route}." if route else "")) from broken
        if isinstance(answer, dict):
            found = get(answer, self._convention.answer_key)
            answer = answer if found is None else found
        if answer == "error" if isinstance(answer, str) else isinstance(answer, dict):
            raise ServerError(
                f"The server at {self._server.url} answers {json.dumps(answer, default=str)[:300]} instead of an "
                "action. Its log says why; most often the unnorm_key or the convention is wrong for its model."
            )
        return answer

    def _post(self, path: str, body: dict[str, Any], *, skip: tuple[int, ...] = ()) -> bytes:
        """The response's body; `NOTHING` for a status in `skip`."""
        try:
            return self._http.post(path, to_json(body))
        except StatusError as refusal:
            if refusal.status in skip:
                return NOTHING
            raise ServerError(
                f"The server at {self._http.url}/{path} refuses the request{self._http.describe_route()} "
                f"({refusal.status}): {refusal.text}"
            ) from refusal
