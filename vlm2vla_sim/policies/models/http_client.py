"""The HTTP client for model servers: time and size limits, retries, proxies.

All clients of this package share it, so that the same fault costs the same number of retries on every server, and
results from two servers can be compared. The transport is httpx2, the maintained continuation of httpx, which is also
what huggingface_hub uses.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import html
import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from vlm2vla_sim.errors import ServerError, SettingError, missing_extra
from vlm2vla_sim.policies.models.proxies import find_proxy, without_password

T = TypeVar("T")

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that a retry may resolve."""
MAX_ERROR_BYTES = 4096
"""Bytes of an error response that are read."""
MAX_ERROR_TEXT = 300
"""Characters of a server's error message that are passed on."""
KEPT = 30.0
"""[s] that an idle connection is kept: a shorter time than routers and proxies allow before they drop it unsaid."""
_TITLE = re.compile(r"<(title|h1)\b[^>]*>(.*?)</\1", re.IGNORECASE | re.DOTALL)


class TransientError(Exception):
    """A fault that a retry may resolve. The message ends with a full stop."""


class StatusError(Exception):
    """A response with a status that no retry resolves."""

    def __init__(self, status: int, text: str) -> None:
        """text: the server's message; the status's standard phrase if it sends none."""
        super().__init__(f"status {status}: {text}")
        self.status, self.text = status, text


class HttpClient:
    """Sends JSON requests to one server. Threads may share the client.

    All clients of a process share their connections, which are kept between requests. A request for which a kept
    connection turns out to be closed is sent again on a new one; that is no fault of the server and counts as no retry.
    """

    def __init__(
        self, url: str, *, timeout: float, max_bytes: int, key: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Prepare the client; nothing is sent yet.

        url: the address that paths are appended to. timeout: [s] for a request, its response included. max_bytes: the
        largest response that is read. key: sent as `Authorization: Bearer KEY`. headers: sent with every request.
        SettingError for a proxy setting that cannot be used.
        """
        try:
            import httpx2
        except ModuleNotFoundError as error:
            raise missing_extra("A model on an HTTP server", "httpx2", "remote") from error
        self.url, self._timeout, self._max_bytes = url.rstrip("/"), timeout, max_bytes
        self.proxy = find_proxy(url)
        """The proxy that requests go through; empty for none."""
        self.server_header = ""
        """What the last response that was no error said in its header Server."""
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        try:
            _transport(self.proxy, os.getpid())
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            raise SettingError(
                f"The proxy {without_password(self.proxy)!r}, set for {url}, cannot be used: {error} Correct the "
                "environment variable (http_proxy, https_proxy or all_proxy), or list the host in no_proxy."
            ) from error

    def get(self, path: str) -> bytes:
        """The body of the response to GET url/path; raises as `post` does."""
        return self._request("GET", path, None)

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the response to POST url/path.

        StatusError for a status that no retry resolves, redirects included; TransientError for any other fault.
        """
        return self._request("POST", path, body)

    def describe_route(self) -> str:
        """For messages: " through the proxy ADDRESS" where there is a proxy; else an empty text."""
        return f" through the proxy {without_password(self.proxy)}" if self.proxy else ""

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        with self._faults(), contextlib.closing(self._send(method, path, body)) as response:
            if response.is_success:
                self.server_header = response.headers.get("server", "")
                return self._not_a_page(b"".join(self._bounded(response)))
            status, text = response.status_code, _error_text(response, seconds=self._timeout)
        if status in TRANSIENT_STATUSES:
            raise TransientError(f"status {status}{self.describe_route()}: {text}")
        raise StatusError(status, text)

    def _send(self, method: str, path: str, body: bytes | None) -> Any:
        """The response, its body not read yet."""
        import httpx2

        # A process that was forked must not write to the connections of its parent.
        transport = _transport(self.proxy, os.getpid())
        client = httpx2.Client(transport=transport, timeout=self._timeout, headers=self._headers)
        while True:
            events: list[str] = []
            request = client.build_request(
                method,
                f"{self.url}/{path}",
                content=body,
                extensions={"trace": lambda event, _, seen=events: seen.append(event)},
            )
            try:
                return client.send(request, stream=True)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if "connection.connect_tcp.started" in events:
                    raise  # a new connection: the fault is the server's

    def _not_a_page(self, body: bytes) -> bytes:
        """`body`, unless it is a web page: a proxy may answer with its own in place of the server."""
        if body[:64].lstrip().startswith(b"<"):
            page = _describe_page(body[:MAX_ERROR_BYTES].decode(errors="replace"))
            raise TransientError(f"it sent {page} instead of an answer{self.describe_route()}.")
        return body

    def _bounded(self, response: Any) -> Iterator[bytes]:
        deadline = time.monotonic() + self._timeout
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > self._max_bytes:
                raise TransientError(f"its answer is longer than {self._max_bytes:,} bytes.")
            if time.monotonic() > deadline:
                raise TransientError(self._too_slow())
            yield part

    def _too_slow(self) -> str:
        return f"it took longer than {self._timeout:g} s{self.describe_route()}."

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Turns httpx2's errors into TransientError."""
        import httpx2

        try:
            yield
        except httpx2.TimeoutException as slow:
            raise TransientError(self._too_slow()) from slow
        except httpx2.RemoteProtocolError as broken:  # no status line, or a body that ends early
            raise TransientError(f"it broke off{self.describe_route()} ({broken}).") from broken
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as failed:
            raise TransientError(f"{type(failed).__name__}{self.describe_route()}: {failed}.") from failed


@functools.cache
def _transport(proxy: str, process: int) -> Any:
    """The connections of this process through `proxy` ("" for none); at most as many as requests are in flight."""
    import httpx2

    del process
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT)
    # A transport of our own keeps httpx2 from reading the proxy settings a second time, by other rules.
    transport = httpx2.HTTPTransport(proxy=proxy or None, limits=limits)
    atexit.register(transport.close)
    return transport


def read_json(body: bytes, client: HttpClient) -> Any:
    """The value in `body`, a response to `client`; TransientError where it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as broken:
        raise TransientError(f"it sent broken JSON{client.describe_route()} ({broken}).") from broken


def check_url(url: str, schemes: tuple[str, ...], example: str) -> None:
    """SettingError unless `url` has one of `schemes`, a host, and no port that is not a number."""
    try:
        split = urllib.parse.urlsplit(url)
        valid = split.scheme in schemes and bool(split.hostname) and (split.port is None or split.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise SettingError(f"The server's address is {url!r}; expected one like {example}.")


def with_retries(
    url: str,
    ask: Callable[[], T],
    *,
    retries: int,
    backoff: float,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[T, int]:
    """What `ask` returns, and how many retries its TransientErrors cost.

    backoff: [s] before the first retry; each further one waits twice as long. ServerError when the retries are used up.
    """
    reason = ""
    for tried in range(retries + 1):
        if tried:
            sleep(backoff * 2 ** (tried - 1))
        try:
            return ask(), tried
        except TransientError as trouble:
            reason = str(trouble)
    raise ServerError(
        f"The server at {url} was asked {retries + 1} times. The last time: {reason} Is it running, and is this its "
        "address?"
    )


def _error_text(response: Any, *, seconds: float) -> str:
    import httpx2

    if response.is_redirect:
        return f"it redirects to {response.headers.get('location', '(nowhere)')}; give that address instead."
    read, deadline = b"", time.monotonic() + seconds
    try:
        for part in response.iter_bytes():
            read += part
            if len(read) >= MAX_ERROR_BYTES or time.monotonic() > deadline:
                break
    except httpx2.HTTPError:
        return response.reason_phrase
    return _message(read[:MAX_ERROR_BYTES].decode(errors="replace").strip()) or response.reason_phrase


def _message(text: str) -> str:
    """The message in an error response, which is in OpenAI's form, a web page, or anything else."""
    if text.startswith("<"):
        return f"it sent {_describe_page(text)}."
    try:
        said = json.loads(text)
        said = said.get("error", said)
        return str(said["message"] if isinstance(said, dict) else said)[:MAX_ERROR_TEXT]
    except (ValueError, KeyError, AttributeError, RecursionError):
        return text[:MAX_ERROR_TEXT]


def _describe_page(text: str) -> str:
    """A web page in a few words, by its title."""
    found = _TITLE.search(text)
    title = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[2])).split()) if found else ""
    return f"a web page ({title[:MAX_ERROR_TEXT]})" if title else "a web page"
