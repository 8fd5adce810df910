"""The key of an HTTP server. Programs bring it in a header, browsers in a cookie.

A browser gets the cookie from the address that the server prints, `http://HOST:PORT/?token=KEY`. The response is a
page that loads `/`, so that the key does not stay in the address bar or in the history. It is the page that asks for
`/`, and not a redirect: a browser sends a SameSite=Strict cookie only with requests that come from the site itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs

TOKEN = "token"
"""The parameter of the address."""
SCHEMES = ("Bearer", "Api-Key")
"""Of the header Authorization; clients of openpi's protocol send the second."""
WELCOME = b'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'


class ServerKey:
    """A secret without which nothing is answered."""

    def __init__(self, key: str, *, cookie: str = "") -> None:
        """key: empty for none. cookie: the name of the cookie in which a browser brings it; empty for no browsers."""
        self._key, self._cookie = key.encode(), cookie

    def accepts(self, headers: Mapping[str, Iterable[str]]) -> bool:
        """Whether a request with these headers (name in lower case -> values) brings the key, or needs none."""
        if not self._key:
            return True
        words = [value.partition(" ") for value in headers.get("authorization", ())]
        given = [key for scheme, _, key in words if scheme in SCHEMES]
        if self._cookie:
            pairs = [pair.strip().partition("=") for value in headers.get("cookie", ()) for pair in value.split(";")]
            given += [value for name, _, value in pairs if name == self._cookie]
        return any(self._is_key(value) for value in given)

    def is_in_address(self, method: str, path: str, query: bytes) -> bool:
        """Whether this is a GET of the address that was printed, with the right key."""
        if not self._key or not self._cookie or method != "GET" or path != "/" or not query:
            return False
        try:
            given = parse_qs(query.decode("ascii"), max_num_fields=4).get(TOKEN, [])
        except ValueError:
            return False
        return len(given) == 1 and self._is_key(given[0])

    def welcome(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body of the response to the address that was printed: the cookie, and on to `/`."""
        cookie = f"{self._cookie}={self._key.decode()}; Path=/; HttpOnly; SameSite=Strict"
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(WELCOME)),
            "set-cookie": cookie,
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        }
        return [(name.encode(), value.encode()) for name, value in headers.items()], WELCOME

    def _is_key(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(errors="replace"), self._key)
