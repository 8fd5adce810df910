"""`vlm2vla serve` and `--policy openpi --server URL --convention NAME`, as a person uses them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from remote_lane import need_remote, serving

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy

need_remote()

from websockets.sync.client import connect  # noqa: E402

SERVE = [sys.executable, "-m", "vlm2vla_sim", "serve", "--port", "0", "--json"]


def hold():
    return load_policy("hold", PolicyContext("", 0, get_format("vlm2vla")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_it_prints_where_it_is_and_stops_cleanly_when_told(number):
    with subprocess.Popen(
        [*SERVE, "--policy", "hold"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            told = json.loads(run.stdout.readline())
            assert (told["serving"], told["wire"], told["convention"]) == ("hold", "openpi", "vlm2vla")
            assert told["url"].startswith("ws://127.0.0.1:")
            with connect(told["url"], proxy=None) as client:
                assert client.recv(timeout=5)
                run.send_signal(number)
                started = time.monotonic()
                said, complaints = run.communicate(timeout=20)
            assert time.monotonic() - started < 8
        finally:
            run.kill()
    assert json.loads(said.splitlines()[-1]) == {"stopped": "by a signal"}
    assert complaints == ""
    assert run.returncode == 0


def test_it_stops_by_itself_when_nobody_asks():
    done = subprocess.run([*SERVE, "--policy", "hold", "--idle", "0.3"], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout.splitlines()[-1]) == {"stopped": "no request for 0.3 s"}
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "scripted"], "reads the simulator's ground truth"),
        (["--policy", "oracle"], "reads the simulator's ground truth"),
        (
            ["--policy", "hold", "--wire", "grpc"],
            "No wire named 'grpc'. Available: openpi, vla-eval, act, package.module:NAME",
        ),
        (["--policy", "hold", "--convention", "octo"], "No convention of the wire 'openpi' named 'octo'"),
        (["--policy", "hold", "--host", "0.0.0.0"], "--expose"),
        (["--policy", "hold", "--expose"], "--expose lets other machines use this server. Give --key KEY"),
        (["--policy", "hold", "--expose", "--key", ""], "or --no-key to let everybody"),
        (["--policy", "hold", "--key", "k", "--no-key"], "--key and --no-key were both given"),
        (["--policy", "hold", "--rows", "-2"], "-2 rows"),
        ([], "The policy 'vlm' needs a model"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(words, said, capsys):
    assert main(["serve", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_model_is_not_exposed_without_a_key_or_a_word(capsys):
    assert main(["serve-model", "--model", "nobody/nothing", "--expose"]) == 1
    assert "--expose lets other machines use this server" in capsys.readouterr().err


def test_a_baseline_is_evaluated_by_server_and_convention_and_leaves_what_every_policy_leaves(tmp_path, capsys):
    out = tmp_path / "run"
    with serving(hold, "openpi") as server:
        words = ["evaluate", "--policy", "openpi", "--server", server.url, "--convention", "vlm2vla"]
        more = ["--backend", "point", "--tasks", "stack_cube", "--episodes", "2", "--image-size", "48", "64"]
        assert main([*words, *more, "--out", str(out)]) == 0
        assert main(["trace", str(out), "1"]) == 0
    (first, second) = read_results(out / "results.jsonl")
    assert first.policy == second.policy == "openpi"
    settings = json.loads((out / "settings.json").read_text())
    assert settings["policy_options"] == {"server": server.url, "convention": "vlm2vla"}
    assert len(list((out / "videos").glob("*.mp4"))) == 2
    said = capsys.readouterr().out
    assert re.search(r"REMOTE    1 x 7 numbers   \(\d+\.\d\d s\)", said)
    assert "ACTION    [[0, 0, 0, 1]]" in said, "a server of ours says its policy's own words"


def test_a_server_that_is_gone_ends_the_run_in_one_sentence(tmp_path, capsys):
    with serving(hold, "openpi") as server:
        pass
    words = ["evaluate", "--policy", "openpi", "--server", server.url, "--convention", "widowx", "--backend", "point"]
    more = ["--policy-options", "retries=0", "--tasks", "stack_cube", "--episodes", "1", "--no-video"]
    assert main([*words, *more, "--out", str(tmp_path / "run")]) == 1
    assert "asked 1 times" in capsys.readouterr().err


def test_a_policy_on_a_server_says_what_it_needs(capsys):
    assert main(["rollout", "--policy", "openvla", "--backend", "point"]) == 1
    assert "--server http://127.0.0.1:8000" in capsys.readouterr().err
    assert main(["rollout", "--policy", "openvla", "--server", "http://127.0.0.1:9", "--backend", "point"]) == 1
    names = "vlm2vla, openvla, ecot, openvla-oft, octo, spatialvla, molmoact, xvla, autoeval"
    assert f"--convention with one of: {names}; " in capsys.readouterr().err


def test_the_help_names_the_wires_and_the_conventions_example(capsys):
    assert main(["serve", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "openpi, vla-eval, act" in said
    assert "pi0-bridge or simpler" in said
    assert "Accept requests from the network; needs --key or --no-key" in said
