"""Lets the tests of this folder skip, saying why, where the extra [remote] or the published packages are not installed.

Where VLM2VLA_REQUIRE holds the word "remote" they fail instead, so that a machine that should run them cannot be green
without.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(__file__).with_name("peers.py")
PYTHON_OF_PEERS = "VLM2VLA_PEERS"
"""Environment variable with the interpreter that has the published packages; `make test-remote` sets it."""


def _required() -> bool:
    return "remote" in os.environ.get("VLM2VLA_REQUIRE", "").replace(",", " ").split()


def need_remote() -> None:
    """Call it before anything of the extra is imported."""
    missing = [
        name for name in ("websockets", "msgpack", "starlette", "uvicorn") if importlib.util.find_spec(name) is None
    ]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: pip install 'vlm2vla_sim[remote]'"
    if _required():
        pytest.fail(f"VLM2VLA_REQUIRE asks for the remote tests, and they cannot run: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def need_peers() -> str:
    """The interpreter that has openpi-client, vla-eval and json-numpy as they are published."""
    python = os.environ.get(PYTHON_OF_PEERS, "")
    if python and Path(python).is_file():
        return python
    reason = f"needs the published packages: make test-remote ({PYTHON_OF_PEERS} is {python!r})"
    if _required():
        pytest.fail(f"VLM2VLA_REQUIRE asks for the remote tests, and they cannot run: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
    raise AssertionError("skip and fail do not return")


@contextlib.contextmanager
def serving(
    make: Callable[[], Any], wire: str, convention: str = "vlm2vla", *, port: int = 0, **limits: Any
) -> Iterator[Any]:
    """A server of ours with the policy that `make` makes."""
    from vlm2vla_sim.policies.remote.conventions import find_convention
    from vlm2vla_sim.serving.protocols import find_protocol
    from vlm2vla_sim.serving.server import Dispatcher, Limits

    protocol = find_protocol(wire)
    found = find_convention(protocol.wire or wire, convention)
    with protocol.server(Dispatcher(make, found, Limits(**({"rows": protocol.rows} | limits))), port=port) as server:
        yield server


@contextlib.contextmanager
def scripted(*connections: Callable[[Any], None]) -> Iterator[str]:
    """The address of a websocket server: its first client is treated by the first function, …; the last repeats."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve

    left = list(connections)

    def handler(connection: Any) -> None:
        treat = left.pop(0) if len(left) > 1 else left[0]
        with contextlib.suppress(ConnectionClosed, OSError):
            treat(connection)

    with serve(handler, "127.0.0.1", 0, compression=None, max_size=None, close_timeout=0.2) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
