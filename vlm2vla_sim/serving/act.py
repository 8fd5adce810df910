"""The server side of POST /act, the protocol of OpenVLA's clients and of AutoEval's public stations.

`policies/remote/openvla.py` names its sources; GET /health, POST /reset and the status codes are those of AutoEval's
template (zhouzypaul/auto_eval@3ea3ff4 auto_eval/policy_server/template_advanced.py). The protocol has no clients and no
episodes. Here a client is an address and the name that it gives in a header, if any; `OpenvlaWire` gives one. Its
episode begins with its first request, with POST /reset, or with another instruction. A client that sends no /reset and
repeats its instruction goes on with the same episode. POST /leave ends the client.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError, Vlm2VlaError, WireError
from vlm2vla_sim.policies.remote.arrays import from_json, to_json
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.observations import get
from vlm2vla_sim.policies.remote.openvla import CLIENT
from vlm2vla_sim.serving.action_stream import ActionStream
from vlm2vla_sim.serving.server import Dispatcher, ServerProtocol, sentence

ENCODED = "encoded"
"""The only key of a request that is JSON within JSON ("double-encoded")."""
SEED = "seed"
LONGEST_NAME = 80
"""Characters of a client's name that count."""
UNNORM_KEY = "unnorm_key"
"""The data set by whose statistics an OpenVLA un-normalises its actions."""
BRIDGE = ("bridge_orig", "bridge", "bridge_dataset")
"""The names of BridgeData V2 there: with another one, a client expects another robot's actions."""


def make_app(dispatcher: Dispatcher) -> Any:
    """The ASGI application."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    clients = _Clients(dispatcher)
    reading = asyncio.Lock()

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "healthy", "convention": dispatcher.convention.about})

    async def reset(request: Request) -> Response:
        clients.end_episode(_client(request))
        name = request.headers.get(CLIENT)
        return JSONResponse({"status": "reset successful"} | ({CLIENT: name} if name else {}))

    async def leave(request: Request) -> Response:
        await run_in_threadpool(clients.forget, _client(request))
        return JSONResponse({"status": "left"})

    async def act(request: Request) -> Response:
        # In threads: a decision takes seconds, and /health is answered meanwhile.
        try:
            async with reading:  # one request at a time: while it is read, it takes several times its size of memory
                body = b"".join([part async for part in request.stream()])
                query, doubly = await run_in_threadpool(_read, body, dispatcher.convention)
                del body
            actions = await run_in_threadpool(_act, clients, _client(request), query)
        except Vlm2VlaError as wrong:
            return Response(to_json({"detail": str(wrong)}), 400, media_type="application/json")
        except Exception as bug:  # the client is told, and the server goes on
            return Response(to_json({"detail": sentence(bug)}), 500, media_type="application/json")
        # A single step is sent as (7,), as AutoEval and OpenVLA's clients expect it.
        answer = to_json(actions[0] if dispatcher.limits.rows == 1 else actions)
        return Response(to_json(answer.decode()) if doubly else answer, media_type="application/json")

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/reset", reset, methods=["POST"]),
            Route("/leave", leave, methods=["POST"]),
            Route("/act", act, methods=["POST"]),
        ]
    )


PROTOCOL = ServerProtocol(rows=1, wire="openvla", app=make_app)


class _Episode:
    """The action stream of one client, and the instruction of its episode."""

    def __init__(self, stream: ActionStream) -> None:
        self.stream = stream
        self.instruction: str | None = None
        self.used = time.monotonic()
        """[s, `time.monotonic`] when its last request came."""
        self.lock = threading.Lock()


class _Clients:
    """The episodes of all clients, by address and name."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self._episodes: dict[str, _Episode] = {}
        self._lock = threading.Lock()

    def find(self, client: str) -> _Episode:
        """The episode of `client`; SettingError if there are as many clients as the limits allow.

        A client without a request for `Limits.idle` seconds is forgotten.
        """
        limits, now = self.dispatcher.limits, time.monotonic()
        with self._lock:
            for name in [name for name, episode in self._episodes.items() if now - episode.used > limits.idle]:
                self._episodes.pop(name).stream.close()
            if client not in self._episodes:
                if len(self._episodes) >= limits.connections:
                    raise SettingError(
                        f"{limits.connections} clients have an episode on this server, which is its limit "
                        f"(--connections). It forgets one after {limits.idle:g} s without a request (--idle)."
                    )
                self._episodes[client] = _Episode(self.dispatcher.open())
            self._episodes[client].used = now
            return self._episodes[client]

    def forget(self, client: str) -> None:
        """The client has ended."""
        with self._lock:
            episode = self._episodes.pop(client, None)
        if episode is not None:
            with episode.lock:  # its last decision may be in progress
                episode.stream.close()

    def end_episode(self, client: str) -> None:
        """The next request of `client` begins an episode."""
        with self._lock:
            episode = self._episodes.get(client)
        if episode is not None:
            with episode.lock:
                episode.instruction = None


def _client(request: Any) -> str:
    """A client's address, and the name that it gives."""
    return f"{'' if request.client is None else request.client.host} {request.headers.get(CLIENT, '')[:LONGEST_NAME]}"


def _act(clients: _Clients, client: str, query: dict[str, Any]) -> np.ndarray:
    """The next control steps for `client`, (T, width) float32 in the client's convention."""
    dispatcher, convention = clients.dispatcher, clients.dispatcher.convention
    episode = clients.find(client)
    with episode.lock:
        instruction = get(query, convention.instruction_key)
        if episode.instruction is None or instruction != episode.instruction:
            episode.instruction = None
            dispatcher.start(episode.stream, instruction, query.get(SEED))
        actions, _ = dispatcher.answer(
            episode.stream,
            get(query, convention.image_key),
            get(query, convention.proprio_key) if convention.proprio else None,
        )
        episode.instruction = instruction
    return actions


def _read(body: bytes, convention: Convention) -> tuple[dict[str, Any], bool]:
    """The request, and whether it was doubly encoded; SettingError or WireError for anything this server has not."""
    query = from_json(body)
    doubly = isinstance(query, dict) and ENCODED in query
    if doubly:
        if set(query) != {ENCODED} or not isinstance(query[ENCODED], str):
            raise WireError(f"A request with {ENCODED!r} holds nothing else; its value is a text with JSON.")
        query = from_json(query[ENCODED])
    if not isinstance(query, dict):
        raise WireError(f"The request is a {type(query).__name__}; expected an object.")
    for key in (convention.image_key, convention.instruction_key):
        if key not in query:
            raise SettingError(f"The request has no {key!r}, only: {', '.join(sorted(map(str, query))[:20])}.")
    known = {
        convention.image_key,
        convention.instruction_key,
        convention.proprio_key,
        SEED,
        UNNORM_KEY,
        *dict(convention.extras),
    }
    if unknown := sorted(str(key) for key in query if key not in known):
        raise SettingError(
            f"This server does not know {', '.join(unknown[:20])}; it reads {', '.join(sorted(known - {''}))}."
        )
    if query.get(UNNORM_KEY) not in (None, *BRIDGE):
        raise SettingError(
            f"{UNNORM_KEY} is {query[UNNORM_KEY]!r}; the actions of this server are those of a WidowX in BridgeData V2 "
            f"({', '.join(BRIDGE)})."
        )
    return query, doubly
