"""Runs the operator's page for one session: on loopback, or exposed to the network; with a token in either case."""

from __future__ import annotations

import math
import socket
import threading
from pathlib import Path

from vlm2vla_sim.evaluation.operator.live_files import LiveFiles
from vlm2vla_sim.serving.http_gate import HttpLimits
from vlm2vla_sim.serving.http_key import TOKEN
from vlm2vla_sim.serving.http_server import HttpServer
from vlm2vla_sim.serving.watch.app import EVENTS, make_app

LIMITS = HttpLimits(body=4096, waiting=2**20, head_time=10, body_time=5, requests=16, streams=8, idle=math.inf)


class WatchServer:
    """Serves the page of one session. A context manager."""

    def __init__(self, run: Path, port: int = 0, *, expose: bool = False) -> None:
        """Bind; port 0 takes a free one.

        expose: listen on all addresses of this machine, not only on loopback. RunFolderError without a folder `run`;
        SettingError if the port cannot be used.
        """
        self.files = LiveFiles(run)
        self._closing = threading.Event()
        token = self.files.token()
        self._http = HttpServer(
            make_app(self.files, self._closing),
            LIMITS,
            host="0.0.0.0" if expose else "127.0.0.1",
            port=port,
            expose=expose,
            key=token,
            pages=True,
            streams=[EVENTS],
        )
        self.port = int(self._http.url.rpartition(":")[2])
        self.url = f"http://{address_of_this_machine() if expose else '127.0.0.1'}:{self.port}/?{TOKEN}={token}"
        """The address of the page, with its token."""

    def __enter__(self) -> WatchServer:
        self._http.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.stop()

    def wait(self) -> None:
        """Wait for ever; Ctrl-C ends it."""
        self._http.wait(threading.Event())


def address_of_this_machine() -> str:
    """The IPv4 address by which others on the network reach this machine; its name where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only chooses the interface. RFC 5737: an address of nobody.
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()
