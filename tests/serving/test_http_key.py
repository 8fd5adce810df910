"""The key of our HTTP servers in a browser, and responses without an end."""

from __future__ import annotations

import contextlib
import http.client
import time

import pytest
from lane import need

need("remote", "uvicorn")

from test_http_gate import ask, connect, head  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.serving.http_gate import HttpLimits  # noqa: E402
from vlm2vla_sim.serving.http_server import HttpServer  # noqa: E402

KEY = "s3cret-of_this-server"


async def endless(scope, receive, send):
    """Answers at once; on /events, with a part now and nothing more until the client has gone."""
    is_stream = scope["path"] == "/events"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": is_stream})
    while is_stream:
        if (await receive())["type"] == "http.disconnect":
            return


def get(server: HttpServer, path: str = "/", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    with connect(server) as link:
        link.sendall(head(server, path=path, **headers))
        response = http.client.HTTPResponse(link)
        response.begin()
        return response, response.read()


def test_a_browser_gets_the_key_as_a_cookie_from_the_printed_address():
    with HttpServer(endless, key=KEY, pages=True) as server:
        name = f"vlm2vla_{server.url.rpartition(':')[2]}"
        welcome, page = get(server, f"/?token={KEY}")
        assert welcome.status == 200
        assert welcome.getheader("x-app") is None, "the application does not see the address"
        assert welcome.getheader("set-cookie") == f"{name}={KEY}; Path=/; HttpOnly; SameSite=Strict"
        assert b'content="0; url=/"' in page
        assert ask(server, head(server, cookie=f"other=1; {name}={KEY}")) == 200
        assert ask(server, head(server, authorization=f"Bearer {KEY}")) == 200
        refused = ["", f"{name}=", f"{name}={KEY}x", f"{name}={KEY[:-1]}", f"vlm2vla_1={KEY}", f"{name}=\xff"]
        for cookie in refused:
            assert ask(server, head(server, cookie=cookie)) == 401, cookie
        for path in (
            "/",
            "/?token=",
            f"/?token={KEY}x",
            f"/?token={KEY}&token={KEY}",
            f"/x?token={KEY}",
            "/?token=%ff",
        ):
            assert ask(server, head(server, path=path)) == 401, path
        assert ask(server, head(server, "POST", f"/?token={KEY}")) == 401
        assert ask(server, head(server, path=f"/?token={KEY}", host="evil.example")) == 403
        assert ask(server, head(server, path=f"/?token={KEY}", origin="http://evil.example")) == 403


def test_a_person_is_refused_with_a_page_and_a_program_with_json():
    with HttpServer(endless, key=KEY, pages=True) as server:
        response, body = get(server, accept="text/html,*/*")
        assert (response.status, response.getheader("content-type")) == (401, "text/html; charset=utf-8")
        assert b"open the address that the server printed" in body
        response, body = get(server, "/", host="<b>.example", accept="text/html")
        assert response.status == 403
        assert b"<b>" not in body
        assert get(server)[0].getheader("content-type") == "application/json"


def test_without_pages_a_key_in_the_address_or_a_cookie_is_none():
    with HttpServer(endless, key=KEY) as server:
        assert ask(server, head(server, path=f"/?token={KEY}")) == 401
        assert ask(server, head(server, cookie=f"={KEY}")) == 401


def test_streams_are_limited_and_take_no_room_from_requests():
    limits = HttpLimits(streams=2, requests=1)
    with HttpServer(endless, limits, streams=["/events"]) as server, contextlib.ExitStack() as links:
        for _ in range(2):
            link = links.enter_context(connect(server))
            link.sendall(head(server, path="/events"))
            assert b"200 OK" in link.recv(1000)
        assert ask(server, head(server)) == 200
        assert ask(server, head(server, path="/events")) == 503
        links.close()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with connect(server) as link:
                link.sendall(head(server, path="/events"))
                if b"200 OK" in link.recv(1000):
                    return
        pytest.fail("a stream whose client has gone is never given to another")


def test_no_stream_at_all_is_no_limit():
    with pytest.raises(SettingError, match="0 streams"):
        HttpLimits(streams=0)
