"""A hub that cannot be reached is told within seconds; what an earlier download left in the cache is used."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ports import refusing_port

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub: pip install 'vlm2vla_sim[vlm]'")

from huggingface_hub import constants

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models import hub

NAME = "google/gemma-3-12b-it"
COMMANDS = {
    "evaluate": ["evaluate", "--policy", "vlm", "--model", NAME, "--backend", "point", "--episodes", "1"],
    "rollout": ["rollout", "--policy", "vlm", "--model", NAME, "--backend", "point"],
    "serve": ["serve", "--model", NAME],
    "serve-model": ["serve-model", "--model", NAME],
    "vqa": ["vqa", "--model", NAME, "--adapter", "adapter", "--questions", "questions"],
    "logprob": ["logprob", "--model", NAME],
    "train": ["train", "labels", "--model", NAME, "--out", "trained"],
}


@pytest.fixture
def fresh(monkeypatch, tmp_path) -> Iterator[Path]:
    """A cache that holds nothing; the hub is online as far as the settings go."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub._hub_fault.cache_clear()
    yield tmp_path / "cache"
    hub._hub_fault.cache_clear()


@contextlib.contextmanager
def refused() -> Iterator[str]:
    with refusing_port() as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def blackholed() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@contextlib.contextmanager
def answering(status: int) -> Iterator[str]:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(("place", "said"), [(refused, "refused"), (blackholed, r"no answer within 0\.5 s|longer")])
def test_a_hub_that_is_out_of_reach_is_one_sentence_in_time(fresh, monkeypatch, place, said):
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.5)
    with place() as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        started = time.monotonic()
        for _ in range(3):  # model, processor, adapter: the hub is asked once
            with pytest.raises(SettingError, match=rf"{NAME}.*hub at {endpoint} cannot be used: .*({said})"):
                hub.locate(NAME)
        assert time.monotonic() - started < 2


def test_a_name_that_never_resolves_does_not_hold_the_process(fresh, monkeypatch):
    asleep = threading.Event()
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(hub.HttpClient, "get", lambda *_: asleep.wait(20))
    started = time.monotonic()
    with pytest.raises(SettingError, match=r"no answer within 0\.3 s"):
        hub.locate(NAME)
    assert time.monotonic() - started < 2
    asleep.set()


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_hub_that_answers_anything_is_left_to_transformers(fresh, monkeypatch, status):
    with answering(status) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        assert hub.locate(NAME) == NAME


def test_offline_mode_asks_nobody(fresh, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "ENDPOINT", "http://unused.invalid")
    with pytest.raises(SettingError, match="HF_HUB_OFFLINE is set"):
        hub.locate(NAME)


def test_what_is_in_the_cache_is_used_without_the_hub(fresh, monkeypatch):
    folder = fresh / "models--google--gemma-3-12b-it"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    with refused() as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        assert Path(hub.locate(NAME)) == snapshot


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "a/b/c", "runs/my adapter", "C:\\models\\gemma"])
def test_what_cannot_be_a_hub_name_is_told_without_asking(fresh, monkeypatch, name):
    monkeypatch.setattr(constants, "ENDPOINT", "http://unused.invalid")
    with pytest.raises(SettingError, match=re.escape(repr(name))):
        hub.locate(name)


def test_a_folder_is_a_folder(tmp_path):
    assert hub.locate(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_loads_a_model_says_so_within_ten_seconds(command, tmp_path):
    for name in ("labels", "questions", "adapter"):
        (tmp_path / name).mkdir()
    question = {"category": "colour", "question": "Which colour?", "answers": ["red"], "images": []}
    (tmp_path / "questions" / "questions.jsonl").write_text(json.dumps(question) + "\n")
    with blackholed() as endpoint:
        online = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
        environment = {**online, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "vlm2vla_sim", *COMMANDS[command]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        spent = time.monotonic() - started
    assert done.returncode == 1, done.stderr
    assert f"{NAME!r} is not a folder here and not in the cache" in done.stderr
    assert "Traceback" not in done.stderr
    assert spent < 15, f"took {spent:.1f} s"
