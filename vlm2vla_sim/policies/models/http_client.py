"""What our clients of other people's servers share: who is this machine, how much is read, what is tried again.

Each client with its own idea of a time-out or of a retry would count the same fault differently, and results from two
servers could not be compared.
"""

from __future__ import annotations

import ipaddress
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from vlm2vla_sim.errors import ServerError

Answer = TypeVar("Answer")


class TryAgainError(Exception):
    """What may be gone the next time."""


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, and can be reached from nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def opener_for(url: str) -> urllib.request.OpenerDirector:
    """Opens `url` the way this machine is set up, except that a proxy cannot reach this machine's own loopback."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_loopback(host) else []))


def read_bounded(response: Any, *, most: int, seconds: float) -> bytes:
    """The body of `response`; TryAgainError when it has more than `most` bytes, or takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    parts, size = [], 0
    while part := response.read(65536):
        parts.append(part)
        size += len(part)
        if size > most:
            raise TryAgainError(f"its answer is longer than {most:,} bytes.")
        if time.monotonic() > deadline:
            raise TryAgainError(f"it took longer than {seconds:g} s.")
    return b"".join(parts)


def persist(
    url: str,
    ask: Callable[[], Answer],
    *,
    retries: int,
    backoff: float,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Answer, int]:
    """What `ask` returns, and how many times it had to be asked again because of a TryAgainError.

    backoff: [s] before the first retry; it doubles with each further one. ServerError when the retries are used up.
    """
    reason = ""
    for tried in range(retries + 1):
        if tried:
            sleep(backoff * 2 ** (tried - 1))
        try:
            return ask(), tried
        except TryAgainError as trouble:
            reason = str(trouble)
    raise ServerError(
        f"The server at {url} was asked {retries + 1} times. The last time: {reason} Is it running, and is this its "
        "address?"
    )
