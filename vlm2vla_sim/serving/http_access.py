"""Who may use a server, by the headers of a request: the same rules for HTTP and for the handshake of a websocket.

A request names this machine in its Host header, so that no DNS name that was rebound to it is served, and comes from no
page of another site.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

ONCE = ("host", "origin", "content-length", "content-type", "authorization")
"""Headers that a request has once, or not at all."""


class Access:
    """The names of a server, and the check of a request's Host and Origin."""

    def __init__(self, *, hosts: Iterable[str] = (), exposed: bool = False) -> None:
        """hosts, exposed: as for `http_gate.HttpGate`."""
        self._exposed = exposed
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        if exposed:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def refusal(self, headers: Mapping[str, Sequence[str]]) -> tuple[int, str] | None:
        """Status and sentence for a request that is refused. headers: all values of each, by its name in lower case."""
        if any(len(headers.get(name, ())) > 1 for name in ONCE):
            return 400, "A header that may be there once is there twice."
        host = next(iter(headers.get("host", ())), "")
        if not self._is_here(_split(f"//{host}")[1]):
            return 403, f"The Host header is {host[:80]!r}, which is no name of this server (--allow-host adds one)."
        origin = next(iter(headers.get("origin", ())), None)
        if origin is not None and _split(origin)[0] != host.lower():
            return 403, f"Pages of {origin[:80]!r} may not use this server."
        return None

    def _is_here(self, name: str) -> bool:
        """Whether `name`, of a Host header, means this machine and not a name that was rebound to it."""
        if name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._exposed or address.is_loopback


def _split(url: str) -> tuple[str, str]:
    """Host with port, and host, of an address, in lower case; empty if it cannot be read."""
    try:
        split = urlsplit(url)
        return split.netloc.lower(), (split.hostname or "").lower()
    except ValueError:
        return "", ""
