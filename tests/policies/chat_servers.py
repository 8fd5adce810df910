"""Chat servers on real sockets whose answers a test chooses, for faults that no real server can be made to show."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings


def completion(text, finish="stop", **more) -> dict:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "finish_reason": finish}], **more}


@contextlib.contextmanager
def answering(say, models=None, version=None, header="StubServer"):
    """Answers each chat request with `say(request)`: a dictionary, or status and text. Yields url and requests."""
    asked: list[dict] = []
    listed = {"data": models or [{"id": "base"}, {"id": "lora", "parent": "base"}]}

    class Handler(BaseHTTPRequestHandler):
        def version_string(self):
            return header

        def do_GET(self):
            if self.path == "/v1/models":
                self.send(200, json.dumps(listed))
            elif self.path == "/version" and version:
                self.send(200, json.dumps({"version": version}))
            else:
                self.send(404, "no such path")

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            said = say(asked[-1])
            self.send(*((200, json.dumps(said)) if isinstance(said, dict) else said))

        def send(self, status, text):
            data = text if isinstance(text, bytes) else text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
        server.shutdown()


def client(url, **settings) -> ChatModel:
    given = {"model": "base", "timeout": 5, "retries": 1} | settings
    return ChatModel(ServerSettings(url, **given), sleep=lambda _: None)
