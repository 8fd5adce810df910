"""OpenVLA's wire: POST /act, JSON with arrays as json-numpy writes them.

openvla/openvla@c8f03f4 vla-scripts/deploy.py, and zhouzypaul/auto_eval@a5012f0, whose servers speak the same and in
addition have POST /reset. OpenVLA's own server answers every error with status 200 and the word "error": a client that
does not look would move the arm by it.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from vlm2vla_sim.errors import ServerError, WireError
from vlm2vla_sim.policies.models.chat_api import WORTH_ANOTHER_TRY
from vlm2vla_sim.policies.models.http_client import TryAgainError, opener_for, persist, read_bounded
from vlm2vla_sim.policies.remote.arrays import from_json, to_json
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.wire import KEY_VARIABLE, MOST_ANSWER_BYTES, Reply, Server, Sight

NO_RESET = (404, 405, 501)
"""Statuses with which a server says that it has no /reset."""


class OpenvlaWire:
    """A `Wire` to a server with /act."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Nothing is sent yet."""
        server.check(("http", "https"))
        self._server, self._convention, self._sleep = server, convention, sleep
        self._opener = opener_for(server.url)

    def start(self, instruction: str, seed: int) -> int:
        """POST /reset, where there is one: Octo's server keeps pictures, actions and even the instruction."""
        _, retries = self._persist(lambda: self._post("reset", {}, skip=NO_RESET))
        return retries

    def ask(self, sight: Sight) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        question: dict[str, Any] = dict(convention.extras)
        question |= {convention.image_key: sight.image, convention.instruction_key: sight.instruction}
        if sight.proprio is not None:
            question[convention.proprio_key] = sight.proprio
        answer, retries = self._persist(lambda: self._act(question))
        return Reply(answer, retries)

    def close(self) -> None:
        """Nothing stays open."""

    def _persist(self, ask: Callable[[], Any]) -> tuple[Any, int]:
        server = self._server
        return persist(server.url, ask, retries=server.retries, backoff=server.backoff, sleep=self._sleep)

    def _act(self, question: dict[str, Any]) -> Any:
        try:
            answer = from_json(self._post("act", question))
            if isinstance(answer, str) and answer != "error":
                answer = from_json(answer)  # "double-encoded", as deploy.py calls it
        except WireError as broken:
            raise TryAgainError(f"{broken}") from broken
        if answer == "error" if isinstance(answer, str) else isinstance(answer, dict):
            raise ServerError(
                f"The server at {self._server.url} answers {json.dumps(answer, default=str)[:300]} in place of an "
                "action. Its log says why; most often the unnorm_key or the convention is wrong for its model."
            )
        return answer

    def _post(self, path: str, body: dict[str, Any], *, skip: tuple[int, ...] = ()) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE, ""):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self._server.url.rstrip('/')}/{path}"
        request = urllib.request.Request(url, data=to_json(body), headers=headers)
        try:
            with self._opener.open(request, timeout=self._server.timeout) as response:
                return read_bounded(response, most=MOST_ANSWER_BYTES, seconds=self._server.timeout)
        except urllib.error.HTTPError as refusal:
            with refusal:
                if refusal.code in skip:
                    return b""
                said = refusal.read(4096).decode(errors="replace").strip()[:300] or refusal.reason
            if refusal.code in WORTH_ANOTHER_TRY:
                raise TryAgainError(f"status {refusal.code}: {said}") from refusal
            raise ServerError(f"The server at {url} refuses the question ({refusal.code}): {said}") from refusal
        except (OSError, EOFError, http.client.HTTPException) as failed:
            reason = getattr(failed, "reason", failed)
            if isinstance(failed, TimeoutError) or isinstance(reason, TimeoutError):
                raise TryAgainError(f"it took longer than {self._server.timeout:g} s.") from failed
            raise TryAgainError(f"{type(failed).__name__}: {reason}.") from failed
