"""Requests are bounded in time and size, share connections, and a proxy is named where there is one."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ports import refusing_port

from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings
from vlm2vla_sim.policies.models.http_client import (
    HttpClient,
    StatusError,
    TransientError,
    check_url,
)
from vlm2vla_sim.policies.models.hub import _hub_fault
from vlm2vla_sim.policies.models.proxies import find_proxy, is_loopback
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.policies.remote.openvla import OpenvlaWire
from vlm2vla_sim.policies.remote.wire import Server

FAR = "http://model.example:8000/v1"
"""An address that only a proxy can resolve: the name does not exist."""


@contextlib.contextmanager
def answering(treat, tunnel=403):
    """A server whose every request is treated by `treat(handler)`; yields its port and the paths that were asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            treat(self)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_CONNECT(self):
            asked.append(f"CONNECT {self.path}")
            self.send_error(tunnel, "Forbidden by the company")

        def say(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http", "https", "all", "no", "ws", "wss", "socks"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


def client(url: str, **changes) -> HttpClient:
    return HttpClient(url, **({"timeout": 5.0, "max_bytes": 1000} | changes))


def test_a_body_is_read_up_to_the_limit_and_no_further():
    with answering(lambda handler: handler.say(200, b"x" * 1000)) as (port, _):
        assert client(f"http://127.0.0.1:{port}").get("a") == b"x" * 1000
        with pytest.raises(TransientError, match="longer than 999 bytes"):
            client(f"http://127.0.0.1:{port}", max_bytes=999).get("a")


@pytest.mark.parametrize("status", [200, 400])
def test_a_body_that_drips_is_given_up_after_the_time_limit(status):
    def drip(handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.05)

    started = time.monotonic()
    with answering(drip) as (port, _), pytest.raises((TransientError, StatusError)):
        client(f"http://127.0.0.1:{port}", timeout=0.3).get("a")
    assert time.monotonic() - started < 3


def test_a_redirect_is_not_followed_and_names_the_other_address():
    def redirect(handler) -> None:
        handler.say(301, Location="http://elsewhere.example/v1")

    with answering(redirect) as (port, asked), pytest.raises(StatusError, match=r"redirects to http://elsewhere"):
        client(f"http://127.0.0.1:{port}").get("a")
    assert asked == ["/a"]


def test_this_machine_is_never_asked_through_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(lambda handler: handler.say(200, b"here")) as (port, _):
        for host in ("127.0.0.1", "localhost"):
            assert client(f"http://{host}:{port}").get("a") == b"here"
    assert find_proxy("http://[::1]:8000") == ""
    assert find_proxy("ws://127.0.0.1:8000") == ""
    assert is_loopback("127.1.2.3")
    assert not is_loopback("10.0.0.1")


@pytest.mark.parametrize(
    "host", ["LOCALHOST", "localhost.", "model.localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"]
)
def test_no_spelling_of_this_machine_has_a_proxy(monkeypatch, host):
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for scheme in ("http", "https", "ws", "wss"):
        assert find_proxy(f"{scheme}://{host}:8000/v1") == ""
        assert find_proxy(f"{scheme}://localhost.example:8000/v1") == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("no_proxy", "url", "exempt"),
    [
        ("model.example", "http://model.example:8000", True),
        ("example", "http://model.example", True),
        (".example", "http://model.example", True),
        ("*.example", "https://model.example", True),
        ("*", "http://model.example", True),
        ("other, model.example:8000", "http://model.example:8000", True),
        ("model.example:80", "http://model.example", True),
        ("model.example:8000", "http://model.example:9000", False),
        ("del.example", "http://model.example", False),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "ws://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3:8000", False),
        ("10.1.2.3:8000", "http://10.1.2.3:8000", True),
        ("fd00::1", "http://[fd00::1]:8000", True),
        ("[fd00::1]:8000", "http://[fd00::1]:8000", True),
        ("[fd00::1]:8001", "http://[fd00::1]:8000", False),
        ("fd00::/8", "http://[fd12::1]:8000", True),
        (",", "http://model.example", False),
    ],
)
def test_no_proxy_is_read_in_every_form(monkeypatch, no_proxy, url, exempt):
    for name in ("http_proxy", "https_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert find_proxy(url) == ("" if exempt else "http://127.0.0.1:9")


def test_another_machine_is_asked_through_the_proxy_unless_no_proxy_lists_it(monkeypatch):
    with answering(lambda handler: handler.say(200, b"by proxy")) as (port, asked):
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert client(FAR).post("act", b"{}") == b"by proxy"
        assert asked == [f"{FAR}/act"]
        monkeypatch.setenv("no_proxy", "model.example")
        assert find_proxy(FAR) == ""


def begin(ask: str) -> None:
    if ask == "chat":
        ChatModel(ServerSettings(FAR, model="base", timeout=0.3, retries=0))
    else:
        OpenvlaWire(Server(FAR, timeout=0.3, retries=0), find_convention("openvla", "openvla")).start("go", 0)


@pytest.mark.parametrize("ask", ["chat", "openvla"])
@pytest.mark.parametrize(
    ("treat", "said"),
    [
        (lambda handler: handler.say(502, b"no such host"), r"status 502 through the proxy {proxy}: no such host"),
        (lambda handler: handler.say(407, b"log in"), r"through the proxy {proxy}.*407.*log in"),
        (lambda handler: handler.say(403, b"blocked"), r"through the proxy {proxy}.*403.*blocked"),
        (lambda handler: time.sleep(0.8), r"longer than 0\.3 s through the proxy {proxy}"),
        (lambda handler: setattr(handler, "close_connection", True), r"broke off through the proxy {proxy}"),
    ],
    ids=["gateway", "login", "forbidden", "slow", "hangs up"],
)
def test_behind_a_proxy_every_error_names_it_and_no_password(monkeypatch, ask, treat, said):
    with answering(treat) as (port, _):
        monkeypatch.setenv("http_proxy", f"http://me:s3cret@127.0.0.1:{port}")
        with pytest.raises((ServerError, SettingError), match=said.format(proxy=f"http://127.0.0.1:{port}")) as error:
            begin(ask)
    assert "s3cret" not in str(error.value)


PAGE = b"""<!DOCTYPE html>
<html><head><title>Access &amp; policy:
  blocked</title></head><body><script>var x = 1;</script></body></html>"""


@pytest.mark.parametrize("ask", ["chat", "openvla"])
@pytest.mark.parametrize("status", [200, 403, 407, 502])
def test_a_proxy_s_web_page_is_told_by_its_title_and_never_printed(monkeypatch, ask, status):
    with answering(lambda handler: handler.say(status, PAGE)) as (port, _):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises((ServerError, SettingError)) as error:
            begin(ask)
    assert "a web page (Access & policy: blocked)" in str(error.value)
    assert f"through the proxy http://127.0.0.1:{port}" in str(error.value)
    assert "<" not in str(error.value)


def test_a_hub_behind_a_login_page_is_not_taken_for_a_hub(monkeypatch):
    with answering(lambda handler: handler.say(200, PAGE)) as (port, _):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert "web page (Access & policy: blocked)" in _hub_fault("http://hub.example", 5.0)


def test_json_that_a_proxy_spoils_names_the_proxy(monkeypatch):
    with answering(lambda handler: handler.say(200, b'{"data": [')) as (port, _):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(ServerError, match=f"broken JSON through the proxy http://127.0.0.1:{port}"):
            begin("chat")


@pytest.mark.parametrize("status", [407, 502])
def test_a_tunnel_that_needs_a_login_or_leads_nowhere_is_named(monkeypatch, status):
    with answering(lambda handler: None, tunnel=status) as (port, _):
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@127.0.0.1:{port}")
        with pytest.raises(TransientError, match=rf"through the proxy http://127.0.0.1:{port}: {status}") as error:
            client("https://model.example/v1").get("models")
    assert "s3cret" not in str(error.value)


def test_a_proxy_that_refuses_the_tunnel_or_is_not_there_is_named(monkeypatch):
    with answering(lambda handler: None) as (port, asked):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(TransientError, match=rf"ProxyError through the proxy http://127.0.0.1:{port}: 403"):
            client("https://model.example/v1").get("models")
        assert asked == ["CONNECT model.example:443"]
    with refusing_port() as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(TransientError, match=rf"ConnectError through the proxy http://127.0.0.1:{port}.*refused"):
            client("https://model.example/v1").get("models")


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:3128", "socks5://127.0.0.1:1080"])
def test_a_proxy_that_cannot_be_used_is_a_sentence_about_the_setting(monkeypatch, proxy):
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(SettingError, match=rf"The proxy '{proxy}'.*no_proxy"):
        client(FAR)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "127.0.0.1:8000", "http://x:port", "http://[::1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(SettingError, match="expected one like http://127"):
        check_url(url, ("http", "https"), "http://127.0.0.1:8000")


class Kept:
    """Treats requests on connections that the server keeps open, and tells them apart."""

    def __init__(self, width: int = 1) -> None:
        self.seen: list[tuple[str, object]] = []
        """Path and connection of each request."""
        self.together = threading.Barrier(width, timeout=5)

    def __call__(self, handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        self.seen.append((handler.path, handler.client_address))
        self.together.wait()
        handler.say(200, b"ok")
        handler.close_connection = False

    @property
    def connections(self) -> int:
        return len({connection for _, connection in self.seen})


def test_all_clients_of_a_process_share_the_connections_that_are_kept():
    kept = Kept()
    with answering(kept) as (port, _):
        for path in ("a", "b", "c"):
            client(f"http://127.0.0.1:{port}").get(path)
            client(f"http://127.0.0.1:{port}/v1").post(path, b"{}")
    assert (len(kept.seen), kept.connections) == (6, 1)


def test_threads_have_as_many_connections_as_requests_in_flight():
    kept = Kept(width=8)  # breaks unless eight are there at the same time
    with answering(kept) as (port, _):
        one = client(f"http://127.0.0.1:{port}")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(one.get, map(str, range(24)))) == [b"ok"] * 24
    assert (len(kept.seen), kept.connections) == (24, 8)


def test_a_kept_connection_that_the_server_closes_at_the_same_moment_is_no_fault_of_the_server():
    kept = Kept()

    def once_a_connection(handler) -> None:
        if any(connection == handler.client_address for _, connection in kept.seen):
            handler.close_connection = True  # it read the request, and says nothing
        else:
            kept(handler)

    with answering(once_a_connection) as (port, asked):
        one = client(f"http://127.0.0.1:{port}")
        assert [one.post(path, b"{}") for path in ("a", "b", "c")] == [b"ok"] * 3
    assert asked == ["/a", "/b", "/b", "/c", "/c"]


def test_a_new_connection_that_is_closed_is_a_fault_of_the_server_and_not_tried_again_here():
    def hang_up(handler) -> None:
        handler.close_connection = True

    with answering(hang_up) as (port, asked), pytest.raises(TransientError, match="broke off"):
        client(f"http://127.0.0.1:{port}").get("a")
    assert asked == ["/a"]


def test_a_forked_process_leaves_the_connections_of_its_parent_alone(monkeypatch):
    kept = Kept()
    with answering(kept) as (port, _):
        one = client(f"http://127.0.0.1:{port}")
        one.get("parent")
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)  # a real fork could deadlock on the threads of the test process
            one.get("child")
        one.get("parent")
    connections = dict(kept.seen)
    assert kept.connections == 2
    assert connections["/child"] != connections["/parent"]
