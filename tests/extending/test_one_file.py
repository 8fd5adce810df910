"""A policy, an action format, a verifier, a server protocol and its client are one file each, outside the package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from extension_lane import environment

from vlm2vla_sim.evaluation.results import read_results

FAST = ["--backend", "point", "--image-size", "48", "64"]


def with_task(words, task):
    """The words of a command, for one task in place of its own ones."""
    at = words.index("--tasks")
    after = next((index for index in range(at + 1, len(words)) if words[index].startswith("--")), len(words))
    return [*words[:at], "--tasks", task, *words[after:]]


def results(folder):
    return read_results(next(folder.rglob("results.jsonl")))


def test_a_policy(page, run, tmp_path):
    rollout, evaluate = page("add_a_policy")
    done = run(*rollout, *FAST, "--no-video")
    assert done.returncode == 0, done.stderr
    assert "move down 3 cm, open gripper" in done.stdout
    assert "hold still to the end" in done.stdout, "it stops above the table"
    done = run(*with_task(evaluate, "stack_cube"), *FAST, "--no-video", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert [result.policy for result in results(tmp_path / "out")] == ["my_policy:LowerPolicy"] * 2


def test_an_action_format_that_solves_episodes_through_prompts_and_grammar(page, run, tmp_path):
    rollout, evaluate = page("add_an_action_format")
    done = run(*rollout, *FAST, "--no-video")
    assert done.returncode == 0, done.stderr
    assert "z-" in done.stdout
    done = run(*evaluate, *FAST, "--tasks", "carrot_on_plate", "--no-video", "--out", "out")
    assert done.returncode == 0, done.stderr
    episodes = results(tmp_path / "out")
    assert [episode.action_format for episode in episodes] == ["my_format:LetterFormat"] * 2
    assert not any(episode.parse_failures for episode in episodes)


def test_the_formats_grammar_and_reader_agree(page, run, tmp_path):
    page("add_an_action_format")
    (tmp_path / "check.py").write_text(
        "import re, numpy as np\n"
        "from vlm2vla_sim import get_format\n"
        "form = get_format('my_format:LetterFormat')\n"
        "rng = np.random.default_rng(0)\n"
        "for _ in range(200):\n"
        "    rows = np.zeros((rng.integers(1, 33), 7))\n"
        "    rows[:, :3] = rng.integers(-50, 51, (len(rows), 3)) / 100\n"
        "    rows[:, 6] = rng.integers(0, 2, len(rows))\n"
        "    text = form.write(rows)\n"
        "    assert re.fullmatch(form.grammar().regex, text), text\n"
        "    assert np.allclose(form.read(text).deltas, rows, atol=1e-6)\n"
    )
    done = subprocess.run([sys.executable, "check.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


MODEL = '''
"""A text model that says what a grammar's example would be."""

from vlm2vla_sim.types import Stage

ANSWERS = {"subtasks": "1. move down\\n2. stay", "plan": "move down", "action": "[[0, 0, -1, 1]]", "verify": "retry"}


class ScriptedModel:
    def __init__(self, options):
        assert options.sampling == "greedy"

    def answer(self, questions):
        return [Stage(question.stage, ANSWERS[question.stage]) for question in questions]
'''


def test_a_verifier_and_a_text_model(page, run, tmp_path):
    page("add_a_verifier")
    (tmp_path / "my_model.py").write_text(MODEL)
    options = ["sampling=greedy", "verifier=my_verifier:ChangeVerifier", "max_attempts=2"]
    done = run(
        "evaluate", "--policy", "vlm", "--model", "my_model:ScriptedModel", "--policy-options", *options, *FAST,
        "--tasks", "carrot_on_plate", "--episodes", "1", "--no-video", "--out", "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = results(tmp_path / "out")
    said = [stage["text"] for decision in result.decisions for stage in decision["stages"] if stage["name"] == "verify"]
    assert said
    assert all("(change" in text for text in said)


def test_a_text_model(page, run):
    (rollout,) = [words for words in page("evaluate_your_vlm") if "my_model:FixedModel" in words]
    done = run(*rollout, *FAST, "--no-video", "--format", "vlm2vla")
    assert done.returncode == 0, done.stderr
    assert "move down 1 cm, open gripper" in done.stdout


def test_a_text_model_that_does_not_say_whether_its_answers_are_whole(page, run, tmp_path):
    (rollout,) = [words for words in page("evaluate_your_vlm") if "my_model:FixedModel" in words]
    silent = (tmp_path / "my_model.py").read_text().replace(', finish="stop")', ")")
    (tmp_path / "my_model.py").write_text(silent)
    done = run(*rollout, *FAST, "--no-video")
    assert done.returncode == 0, "a closed list shows where it ends"
    (tmp_path / "my_model.py").write_text(silent.replace("[[0, 0, -1, 1]]", "move down 1 cm, open gripper"))
    done = run(*rollout, *FAST, "--no-video", "--format", "prose")
    assert done.returncode == 1
    assert "texts of the format 'prose' do not show where they end" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_model_is_served(run, tmp_path):
    httpx2 = pytest.importorskip("httpx2", reason="needs httpx2: pip install 'vlm2vla_sim[remote]'")
    for name in ("starlette", "uvicorn"):
        pytest.importorskip(name, reason=f"needs {name}: pip install 'vlm2vla_sim[remote]'")
    (tmp_path / "my_model.py").write_text(MODEL.replace('assert options.sampling == "greedy"', "pass"))
    command = [sys.executable, "-m", "vlm2vla_sim", "serve-model", "--model", "my_model:ScriptedModel"]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            line = server.stdout.readline()
            assert line, server.stderr.read()
            with httpx2.Client(trust_env=False) as client:
                models = client.get(f"{json.loads(line)['url']}/models").json()
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert [model["id"] for model in models["data"]] == ["base"]
    done = run("serve-model", "--model", "my_model:ScriptedModel", "--max-batch", "3")
    assert "is your own model" in done.stderr


@pytest.mark.parametrize("convention", ["vlm2vla", "my_convention:MILLIMETRES"])
def test_a_server_protocol_and_its_client(page, run, tmp_path, convention):
    pytest.importorskip("websockets", reason="needs websockets: pip install 'vlm2vla_sim[remote]'")
    serve, rollout = page("add_a_server_protocol")
    (tmp_path / "my_policy.py").write_text(
        "import numpy as np\n"
        "from vlm2vla_sim.types import ActionChunk, Decision\n"
        "class Turn:\n"
        "    def __init__(self, context): pass\n"
        "    def reset(self, instruction, seed=0): pass\n"
        "    def act(self, observation):\n"
        "        rows = np.array([[0.02, 0, 0, 0, 0, 0.1, 0]])\n"
        "        return Decision('turn', 'turn and close', 'my text', ActionChunk(rows, 'my text'))\n"
    )
    assert serve[:3] == ["serve", "--policy", "hold"]
    served = ["serve", "--policy", "my_policy:Turn", *serve[3:], "--port", "0", "--json", "--convention", convention]
    with subprocess.Popen(
        [sys.executable, "-m", "vlm2vla_sim", *served],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            line = server.stdout.readline()
            assert line, server.stderr.read()
            url = json.loads(line)["url"]
            words = [url if word == "ws://127.0.0.1:8000" else word for word in rollout]
            words = [convention if word == "vlm2vla" else word for word in words]
            done = run(*words, *FAST, "--no-video")
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert done.returncode == 0, done.stderr
    assert "says  my text" in done.stdout
    assert "move forward 2 cm, rotate counterclockwise 5.73 degrees, close gripper" in done.stdout


def test_what_is_not_a_protocol_or_not_a_verifier_is_one_sentence(run, tmp_path):
    (tmp_path / "mine.py").write_text("NUMBER = 3\n\n\ndef nothing(context):\n    return None\n")
    for words, said in (
        (["serve", "--policy", "hold", "--wire", "mine:NUMBER"], "expected a ServerProtocol"),
        (["serve", "--policy", "hold", "--wire", "mine:MISSING"], "No wire in mine named 'MISSING'"),
        (["rollout", "--policy", "hold", "--format", "mine:NUMBER", *FAST], "has no name, resolution"),
        (["rollout", "--policy", "mini", "--policy-options", "verifier=mine:NUMBER", *FAST], "expected a function or"),
        (["rollout", "--policy", "remote", "--server", "ws://127.0.0.1:9", *FAST], "wire=package.module:NAME"),
    ):
        done = run(*words)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
