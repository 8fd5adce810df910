"""`vlm2vla watch`: a local web page that shows a running session and has the operator's buttons.

It reads the files of `live_view.LiveView` and appends button presses to another; the session runs with or
without a viewer. Only this machine can reach the page, and only the page itself can press a button: no other page in
the same browser can stop a robot or label an episode.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.operator.live_view import BUTTONS, FOLDER, FRAME, STATE, WANTED
from vlm2vla_sim.evaluation.operator.prompts import BUTTONS as MEANINGS
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile

HEADER = "X-Vlm2vla"
"""A header that a page of another origin cannot send without a CORS preflight request."""
MAX_BODY = 1000
HOSTS = ("127.0.0.1", "localhost")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>vlm2vla: watch</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
 body { margin: 0; font: 16px/1.45 system-ui, sans-serif; background: #f4f4f2; color: #1c1c1c; }
 header { padding: 10px 20px; background: #22303c; color: #fff; display: flex; gap: 24px; align-items: baseline; }
 header b { font-size: 18px; } main { display: flex; flex-wrap: wrap; gap: 20px; padding: 20px; }
 img { display: block; max-width: 100%; height: auto; border: 1px solid #bbb; background: #ddd; }
 figure { margin: 0; flex: 1 1 480px; max-width: 720px; } figcaption { color: #555; font-size: 14px; padding-top: 4px; }
 section { flex: 1 1 320px; min-width: 300px; } dt { color: #666; font-size: 13px; margin-top: 10px; }
 dd { margin: 0; min-height: 1.4em; overflow-wrap: anywhere; } #action { font-family: ui-monospace, monospace; }
 #question { font-weight: 600; min-height: 1.5em; margin: 14px 0 8px; }
 button { font: inherit; padding: 10px 18px; margin: 0 6px 6px 0; border: 0; border-radius: 6px; color: #fff; }
 button:disabled { opacity: .35; } #success { background: #1a7f37; } #failure { background: #9a3412; }
 #redo { background: #4b5563; } #start { background: #1d4ed8; }
 #stop, #stop_episode { background: #b91c1c; }
 #stopped { font-weight: 600; color: #b91c1c; min-height: 1.5em; }
 #old { display: none; background: #b91c1c; color: #fff; padding: 6px 20px; } #said { color: #555; min-height: 1.5em; }
</style></head><body>
<header><b id="instruction">no session yet</b><span id="episode"></span><span id="phase"></span></header>
<div id="old" role="alert"></div>
<main>
 <figure><img id="frame" alt="what the camera sees" width="640" height="480">
  <figcaption>camera, step <span id="step">0</span></figcaption></figure>
 <section>
  <div id="question"></div>
  <button id="start">Start</button><button id="success">Success</button><button id="failure">Failure</button>
  <button id="redo">Redo</button>
  <div><button id="stop_episode">Stop episode</button><button id="stop">Stop session</button></div>
  <div id="stopped" role="status"></div><div id="said"></div>
  <figure id="wish" hidden><img id="wanted" alt="the wanted scene" width="320">
   <figcaption>wanted scene</figcaption></figure>
  <dl><dt>subtask</dt><dd id="subtask"></dd><dt>plan</dt><dd id="plan"></dd><dt>action</dt><dd id="action"></dd>
  <dt>motion</dt><dd id="motion"></dd><dt>status</dt><dd id="info"></dd></dl>
 </section>
</main>
<script>
 "use strict";
 const by = id => document.getElementById(id);
 const usable = { scene: ["start"], judge: ["success", "failure", "redo"] };
 const stops = ["stop", "stop_episode"];  // at any time
 let state = {}, shown = 0;
 async function look() {
   try {
     state = await (await fetch("state", { cache: "no-store" })).json();
     for (const key of ["instruction", "phase", "step", "subtask", "plan", "action", "motion", "question"])
       by(key).textContent = state[key] ?? "";
     if (!state.instruction) by("instruction").textContent = "waiting for the first episode";
     by("episode").textContent =
       state.episodes ? `episode ${state.episode + 1} of ${state.episodes}, ${state.who}` : "";
     by("info").textContent = Object.entries(state.info || {}).filter(([, v]) => v !== "" && v !== false)
       .map(([k, v]) => `${k}: ${typeof v === "number" && !Number.isInteger(v) ? v.toFixed(3) : v}`).join(", ");
     for (const button of document.querySelectorAll("button"))
       button.disabled = !(usable[state.phase] || []).includes(button.id) &&
         !(stops.includes(button.id) && state.phase && state.phase !== "over");
     by("stopped").textContent = state.stop || "";
     by("wish").hidden = state.phase !== "scene";
     const age = state.now - state.time;
     by("old").style.display = age > 3 && state.phase === "running" ? "block" : "none";
     by("old").textContent = `No update for ${age.toFixed(0)} s: the image is old.`;
     if (state.time !== shown) { shown = state.time; by("frame").src = "frame.jpg?" + shown;
       if (state.phase === "scene") by("wanted").src = "wanted.jpg?" + shown; }
   } catch (error) { by("old").style.display = "block"; by("old").textContent = "The watch server does not answer."; }
   setTimeout(look, 200);
 }
 for (const button of document.querySelectorAll("button")) button.onclick = async () => {
   const body = JSON.stringify({ button: button.id, episode: state.episode });
   const answer = await fetch("press", { method: "POST", headers: { "HEADER": "1" }, body });
   by("said").textContent = answer.ok ? `sent: ${button.id}` : `not accepted: ${await answer.text()}`;
 };
 look();
</script></body></html>
""".replace("HEADER", HEADER)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WatchServer  # pyright: ignore[reportIncompatibleVariableOverride] - the only server with this handler

    def do_GET(self) -> None:
        """The page, the state and two images; every other path is refused."""
        if not self._is_local():
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(200, "text/html; charset=utf-8", PAGE.encode())
        elif path == "/state":
            self._send(200, "application/json", self.server.state())
        elif path in (f"/{FRAME}", f"/{WANTED}"):
            self._send_file(self.server.live / path[1:])
        else:
            self._send(404, "text/plain", b"Not found.")

    def do_POST(self) -> None:
        """A button press."""
        if not self._is_local():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/press" or not self.headers.get(HEADER) or not length.isdigit() or int(length) > MAX_BODY:
            self._send(403, "text/plain", b"Only this page's own buttons can be pressed.")
            return
        try:
            press = json.loads(self.rfile.read(int(length)))
            button, episode = press["button"], press["episode"]
        except (ValueError, KeyError, TypeError):
            self._send(400, "text/plain", b"Not a button of this page.")
            return
        if button not in MEANINGS or type(episode) is not int:
            self._send(400, "text/plain", b"Not a button of this page.")
            return
        try:
            self.server.press(button, episode)
        except OSError as error:
            self._send(507, "text/plain", f"The press could not be written ({error.strerror}).".encode())
            return
        self._send(200, "application/json", b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the page makes five requests a second."""

    def _is_local(self) -> bool:
        """Whether the Host header names this machine; a page whose DNS name was rebound to it sends its own."""
        if (self.headers.get("Host") or "").rpartition(":")[0] in HOSTS:
            return True
        self._send(403, "text/plain", b"This page is for this machine only.")
        return False

    def _send_file(self, path: Path) -> None:
        try:
            self._send(200, "image/jpeg", path.read_bytes())
        except OSError:
            self._send(404, "text/plain", b"No image yet.")

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)


class WatchServer(http.server.ThreadingHTTPServer):
    """Serves the folder of one session on the loopback address."""

    daemon_threads = True

    def __init__(self, run: Path, port: int = 0) -> None:
        """Port 0 takes a free one. The session may start later; its folder must exist."""
        if not run.is_dir():
            raise RunFolderError(f"There is no folder {run}. Start the session first, or name its folder (--out).")
        self.live = run / FOLDER
        self._lock = threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise SettingError(f"The port {port} cannot be used ({error}). Choose another (--port).") from error

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.server_port}/"

    def state(self) -> bytes:
        """`state.json` with the current time, so that the page can compute its age without its own clock."""
        try:
            state = json.loads((self.live / STATE).read_bytes())
        except (OSError, ValueError):
            state = {"phase": "", "time": time.time()}
        return json.dumps(state | {"now": time.time()}).encode()

    def press(self, button: str, episode: int) -> None:
        """Hand a button press to the session; OSError if it could not be written.

        A stop sets a byte of a file that the session has made. All else, and a stop where there is no such file, is
        appended as one line, or not at all.
        """
        meaning = MEANINGS[button]
        line = (json.dumps({"button": button, "episode": episode, "time": time.time()}) + "\n").encode()
        with self._lock:
            if isinstance(meaning, Stop):
                with contextlib.suppress(FileNotFoundError):
                    StopFile(self.live / StopFile.NAME).press(meaning)
                    return
            self.live.mkdir(exist_ok=True)
            with (self.live / BUTTONS).open("ab", buffering=0) as file:
                before = file.tell()
                if file.write(line) < len(line):
                    file.truncate(before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that is closed while it is answered is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
