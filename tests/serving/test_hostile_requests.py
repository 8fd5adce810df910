"""Hostile requests to every server of ours, as a user starts it: none is accepted, and none takes it down.

Each server is a process of its own, so that its memory can be measured.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lane import need
from PIL import Image

need("remote", "starlette", "uvicorn", "websockets", "msgpack")

import msgpack  # noqa: E402
from websockets.exceptions import WebSocketException  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from vlm2vla_sim.policies.remote.arrays import pack_openpi, pack_vla_eval, to_json, unpack  # noqa: E402

KEY = "s3cret"
MODEL = """
from vlm2vla_sim.types import Stage
class Model:
    def __init__(self, options): pass
    def answer(self, questions): return [Stage(q.stage, "yes", 1, finish="stop") for q in questions]
"""
COMMANDS = {
    "act": ["serve", "--policy", "hold", "--wire", "act"],
    "chat": ["serve-model", "--model", "yes_model:Model"],
    "openpi": ["serve", "--policy", "hold", "--wire", "openpi"],
    "vla-eval": ["serve", "--policy", "hold", "--wire", "vla-eval"],
    "watch": ["watch", "session"],
}
HTTP = ("act", "chat", "watch")
MOST_MEMORY = 300
"""[MiB] that hostile requests may take, over what the server has after its first answer."""
IMAGE = np.zeros((48, 64, 3), np.uint8)


@dataclass
class Served:
    """A server in a process of its own."""

    kind: str
    process: subprocess.Popen
    port: int = 0
    key: str = KEY
    resting: float = 0.0
    """[MiB]"""

    def started(self) -> None:
        """Read from its output where it is."""
        if self.kind == "watch":
            url = self.process.stderr.readline().decode().partition(" at http://127.0.0.1:")[2].split()[0]
            port, self.key = url.split("/?token=")
        else:
            port = json.loads(self.process.stdout.readline())["url"].removesuffix("/v1").rpartition(":")[2]
        self.port = int(port)
        assert self.answers()
        self.resting = self.peak()

    @property
    def path(self) -> str:
        return {"act": "/act", "chat": "/v1/chat/completions", "watch": "/press"}.get(self.kind, "/")

    def body(self) -> bytes:
        """A right request, without its head; nothing for a handshake."""
        if self.kind == "act":
            return to_json({"image": IMAGE, "instruction": "go"})
        if self.kind == "chat":
            return chat("hello")
        return b'{"button": "start", "episode": 1}' if self.kind == "watch" else b""

    def peak(self) -> float:
        """The most memory the process has had, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def head(self, length: int | str = 0, **changes: str | None) -> bytes:
        """A head that is accepted but for `changes`: of a request with a body, or of a handshake."""
        headers: dict[str, str | None] = {"host": f"127.0.0.1:{self.port}", "authorization": f"Bearer {self.key}"}
        if self.kind in HTTP:
            headers |= {"content_type": "application/json", "content_length": str(length)}
        else:
            headers |= {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
            headers["sec_websocket_key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        lines = [f"{'POST' if self.kind in HTTP else 'GET'} {self.path} HTTP/1.1"]
        for name, value in (headers | changes).items():
            lines += [f"{name.replace('_', '-')}: {one}" for one in (value or "").split("\n") if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def status(self, request: bytes) -> int:
        """The status of the response; 0 for a connection that is closed without one."""
        with self.connect() as link:
            with contextlib.suppress(ConnectionError):
                link.sendall(request)
            return status_of(link)

    def post(self, body: bytes, **changes: str | None) -> int:
        return self.status(self.head(len(body), **changes) + body)

    def client(self) -> ClientConnection:
        headers = {"Authorization": f"Api-Key {KEY}"}
        url = f"ws://127.0.0.1:{self.port}"
        return connect(url, additional_headers=headers, compression=None, max_size=None, proxy=None, open_timeout=20)

    def send(self, message: bytes) -> None:
        """Send a message over a websocket, and wait for the response or the end of the connection."""
        with contextlib.suppress(WebSocketException, TimeoutError, OSError), self.client() as link:
            if self.kind == "openpi":
                link.recv(timeout=20)
            link.send(message)
            link.recv(timeout=20)

    def answers(self) -> bool:
        """Whether a right request is answered."""
        if self.kind in HTTP:
            return self.post(self.body()) == 200
        with self.client() as link:
            if self.kind == "openpi":
                link.recv(timeout=20)
                link.send(pack_openpi({"observation/image": IMAGE, "prompt": "go"}))
                return "actions" in unpack(link.recv(timeout=20))
            payload = {"images": {"primary": IMAGE}, "task_description": "go"}
            link.send(pack_vla_eval({"type": "observation", "payload": payload, "seq": 1, "timestamp": 0.0}))
            return unpack(link.recv(timeout=20))["type"] == "action"


def status_of(link: socket.socket) -> int:
    try:
        response = http.client.HTTPResponse(link)
        response.begin()
    except (http.client.HTTPException, ConnectionError):
        return 0
    return response.status


def chat(content) -> bytes:
    return json.dumps({"model": "base", "messages": [{"role": "user", "content": content}]}).encode()


def pictures(file: bytes, count: int, media: str = "png") -> bytes:
    url = f"data:image/{media};base64,{base64.b64encode(file).decode()}"
    return chat([{"type": "image_url", "image_url": {"url": url}}] * count)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "session").mkdir()
    (folder / "yes_model.py").write_text(MODEL)
    paths = [str(folder), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-m", "vlm2vla_sim"]
    started = {}
    for kind, words in COMMANDS.items():
        more = [] if kind == "watch" else ["--key", KEY, "--json"]
        process = subprocess.Popen(
            [*command, *words, "--port", "0", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if kind == "watch" else None,
            env=environment,
            cwd=folder,
        )
        started[kind] = Served(kind, process)
    try:
        for server in started.values():
            server.started()
        yield started
    finally:
        for server in started.values():
            server.process.kill()
            server.process.communicate()


@pytest.fixture(params=COMMANDS)
def server(request, servers):
    """A server, which is as well after the test as before it."""
    one = servers[request.param]
    yield one
    deadline = time.monotonic() + 20
    while not one.answers():
        assert time.monotonic() < deadline, "it answers no more"
    assert one.peak() - one.resting <= MOST_MEMORY


http_only = pytest.mark.parametrize("server", HTTP, indirect=True)
websocket_only = pytest.mark.parametrize("server", ["openpi", "vla-eval"], indirect=True)

FOREIGN = [
    *({"host": name} for name in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.7")),
    *({"host": name} for name in ("127.0.0.1.nip.io", "localtest.me", "127.0.0.1@evil.example", "[::ffff:10.0.0.7]")),
    *({"host": name} for name in ("evil.example\n127.0.0.1", "127.0.0.1\nevil.example", "127.0.0.1, evil.example")),
    *({"origin": page} for page in ("http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[")),
    *({"origin": page} for page in ("https://localhost.evil.example", "http://evil.example\nhttp://127.0.0.1")),
    *({"authorization": key} for key in (None, "Bearer wrong", "Bearer", f"Basic {KEY}", KEY, f"bearer\t{KEY}")),
    {"authorization": f"Bearer {KEY}\nBearer wrong"},
    {"authorization": "Bearer \xff\xfe"},
    {"authorization": None, "cookie": f"token={KEY}"},
]


def test_no_request_is_accepted_from_a_foreign_page_or_name_or_without_the_key(server):
    body = server.body()
    assert server.status(server.head(len(body)) + body) == (200 if server.kind in HTTP else 101)
    got = [(server.status(server.head(len(body), **changes) + body), changes) for changes in FOREIGN]
    assert [changes for status, changes in got if status not in (400, 401, 403)] == []


@http_only
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data", None],
)
def test_what_a_page_may_send_without_asking_is_refused(server, kind):
    assert server.post(server.body(), content_type=kind) == 415
    chunked = server.head(content_type=kind, transfer_encoding="chunked", content_length=None)
    assert server.status(chunked + b"2\r\n{}\r\n0\r\n\r\n") == 415
    assert server.post(pictures(bomb("PNG"), 40), content_type=kind) in (413, 415)


def bomb(kind: str, side: int = 60_000) -> bytes:
    """A small file whose header claims a very large image."""
    if kind == "PNG":
        parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
        chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    small = io.BytesIO()
    Image.fromarray(IMAGE).save(small, kind)
    file = bytearray(small.getvalue())
    if kind == "JPEG":
        at = file.index(b"\xff\xc0") + 5
        file[at : at + 4] = struct.pack(">HH", side, side)
    elif kind == "WEBP":  # a canvas of 16384 x 16384, with an alpha channel and the small picture
        head = b"VP8X" + struct.pack("<IB3x", 10, 0) + (16383).to_bytes(3, "little") * 2
        file = bytearray(b"RIFF" + struct.pack("<I", 4 + len(head) + len(file) - 12) + b"WEBP" + head) + file[12:]
    else:
        file[6:10] = struct.pack("<HH", side, side)
    return bytes(file)


@pytest.mark.parametrize("server", ["chat"], indirect=True)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header(server, kind):
    assert server.post(pictures(bomb(kind), 16, kind.lower())) in (400, 413)
    assert server.post(pictures(bomb(kind, 4096), 3, kind.lower())) in (400, 413)


@pytest.mark.parametrize("server", ["chat"], indirect=True)
def test_pictures_share_a_limit_and_the_largest_one_is_read_by_many_at_once(server):
    real, largest = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(real, "PNG")
    assert server.post(pictures(real.getvalue(), 40)) == 413
    Image.new("RGBA", (2048, 2048), (1, 2, 3, 4)).save(largest, "WEBP", lossless=True, method=0)
    padded = pictures(largest.getvalue() + bytes(11 * 2**20), 1, "webp")
    texts = chat("x" * (16 * 2**20 - 200))
    assert server.post(padded) == 200
    assert set(at_once([lambda: server.post(padded), lambda: server.post(texts)] * 3)) <= {200, 413, 503}


@websocket_only
def test_pictures_in_a_message_share_a_limit(server):
    file = io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(file, "PNG")
    pictures = [{"__image__": True, "format": "png", "data": file.getvalue()}] * 100
    server.send(msgpack.packb({"type": "observation", "payload": {"images": pictures}, "seq": 1}))
    huge = {"__image__": True, "format": "png", "data": bomb("PNG")}
    server.send(msgpack.packb({"type": "observation", "payload": {"images": {"primary": huge}}, "seq": 1}))


def at_once(asks: list) -> list:
    got: list = []
    threads = [threading.Thread(target=lambda ask=ask: got.append(ask())) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return got


@http_only
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 90_000, id="deep"),
        pytest.param(b'{"a":' * 90_000, id="deep objects"),
        pytest.param(b"[" * 1_000_000, id="deeper"),
        pytest.param(b"[" + b"[]," * 2_500_000 + b"0]", id="wide"),
        pytest.param(b"[" + b"1.5," * 1_800_000 + b"0]", id="many numbers"),
        pytest.param(b"1" * 1_000_000, id="a long number"),
        pytest.param(b'{"instruction": "\xff\xfe\xc3"}', id="no UTF-8"),
        pytest.param(b'"\\ud800"', id="half a character"),
        pytest.param('{"image": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"\x00" * 100_000, id="zeros"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_json_that_is_broken_or_takes_much_memory_is_refused(server, body):
    assert server.post(body) in (400, 404, 413)


@websocket_only
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x91" * 1_000_000, id="deep"),
        pytest.param((b"\xdc\xff\xff" + b"\x90" * 0xFFFF) * 100, id="wide"),
        pytest.param(b"\xdd\x00\x00\x00\x64" + (b"\xdc\xff\xff" + b"\x90" * 0xFFFF) * 100, id="wide lists in a list"),
        pytest.param(b"\xdd\x00\x01\x86\xa0" * 500, id="long lists in each other"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="a list of 4 billion"),
        pytest.param(b"\xde\xff\xff" + b"\xa1\xff\x90" * 1000, id="no UTF-8"),
        pytest.param(bytes(4 * 2**20), id="zeros"),
        pytest.param(bytes(5 * 2**20), id="too long"),
    ],
)
def test_a_message_that_is_broken_or_takes_much_memory_is_refused(server, message):
    server.send(message)


@http_only
def test_a_body_beyond_the_limit_is_refused_while_it_comes(server):
    assert server.status(server.head(2**40)) == 413
    assert server.status(server.head("9" * 5000)) in (400, 413)
    with server.connect() as link:
        link.sendall(server.head(content_length=None, transfer_encoding="chunked"))
        with contextlib.suppress(ConnectionError):
            for _ in range(64):  # chunks without an end
                link.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
        assert status_of(link) in (0, 413)


@http_only
def test_many_large_bodies_at_once(server):
    size = {"act": 4 * 2**20, "chat": 16 * 2**20, "watch": 4096}[server.kind]
    text = chat("x" * (size - 200))
    assert set(at_once([lambda: server.post(text)] * 8)) <= {0, 400, 413, 503}


@websocket_only
def test_many_large_messages_at_once(server):
    array = {"__ndarray__": True, "dtype": "|u1", "shape": [4_000_000], "data": bytes(4_000_000)}
    payload = {"images": {"primary": array}, "task_description": "go"}
    message = msgpack.packb({"type": "observation", "payload": payload, "seq": 1, "prompt": "go"})

    def flood() -> None:
        with contextlib.suppress(WebSocketException, TimeoutError, OSError), server.client() as link:
            for _ in range(3):
                link.send(message)

    at_once([flood] * 24)


def test_floods_of_headers_are_refused(server):
    many = "".join(f"x-{number}: {'y' * 100}\r\n" for number in range(5000)).encode()
    with server.connect() as link:
        with contextlib.suppress(ConnectionError):
            link.sendall(server.head()[:-2] + many)
        assert status_of(link) in (0, 400, 431)
    with server.connect() as link:
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                link.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000)
        assert status_of(link) in (0, 400, 431)


def test_a_thousand_slow_clients_leave_it_answering_within_a_second(server):
    with contextlib.ExitStack() as links:
        for number in range(1000):
            link = links.enter_context(server.connect())
            with contextlib.suppress(ConnectionError):
                if server.kind in HTTP and number % 3 == 0:
                    link.sendall(server.head(10_000) + b'{"a":')
                elif number % 3:
                    link.sendall(server.head()[:-2] + b"x: " + b"y" * (number * 7))
        seconds = []
        for _ in range(3):  # the best of three: another process may take the machine for a moment
            started = time.monotonic()
            assert server.answers()
            seconds.append(time.monotonic() - started)
    assert min(seconds) < 1
