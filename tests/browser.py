"""Headless Chromium for tests of pages, through its driver's own protocol (W3C WebDriver)."""

from __future__ import annotations

import base64
import http.client
import io
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,800",
]


ENTER, ESCAPE, RIGHT = "\ue007", "\ue00c", "\ue014"


class Browser:
    """Headless Chromium."""

    def __init__(self, profile: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._session = ""
        self._width = 0
        options = {"args": [*CHROMIUM, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = f"/session/{self._until(lambda: self._call('POST', '/session', wanted))['sessionId']}"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, self._session + path, None if body is None else json.dumps(body))
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(answer["message"][:300])
        return answer

    def _until(self, attempt: Callable[[], Any], seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                return attempt()
            except (ConnectionError, AssertionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})
        if url.startswith("http") and self._width:
            self.wait(f"innerWidth === {self._width}")

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def resize(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """Show pages as on a screen of this size [CSS pixels]; those that are opened afterwards too."""
        self._width = width
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=phone)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def keys(self, text: str, element_id: str = "") -> None:
        """Press keys, in an element or wherever the cursor is. Special keys are those of WebDriver, as ENTER."""
        if element_id:
            self._call("POST", f"/element/{self._find(element_id)}/value", {"text": text})
            return
        strokes = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def run(self, script: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        def attempt() -> None:
            assert self.run(f"return Boolean({condition})"), f"not within {seconds} s: {condition}"

        self._until(attempt, seconds)

    def click(self, element_id: str) -> None:
        """Click an element, once nothing lies over it: the page may just be changing."""
        self._until(lambda: self._call("POST", f"/element/{self._find(element_id)}/click", {}), 5.0)

    def _find(self, element_id: str) -> str:
        found = self._call("POST", "/element", {"using": "css selector", "value": f"#{element_id}"})
        return next(iter(found.values()))

    def screenshot(self) -> np.ndarray:
        picture = Image.open(io.BytesIO(base64.b64decode(self._call("GET", "/screenshot"))))
        return np.asarray(picture.convert("RGB"))

    def close(self) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(10)
