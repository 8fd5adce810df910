"""A zero-shot model on our own chat server, over a socket: a reader of the prompt solves the twin's tasks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from lane import need

need("remote", "starlette", "uvicorn", "httpx2")

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.evaluation.episode import run_episode  # noqa: E402
from vlm2vla_sim.evaluation.results import summarize  # noqa: E402
from vlm2vla_sim.evaluation.settings import RunSettings  # noqa: E402
from vlm2vla_sim.evaluation.setup import make_env, make_policy, widowx  # noqa: E402
from vlm2vla_sim.policies.spec import PolicySpec  # noqa: E402
from vlm2vla_sim.serving.model_server import ModelServer, ServedModel  # noqa: E402
from vlm2vla_sim.types import Outcome  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))
from zero_shot_reader import ZeroShotReader  # noqa: E402


@pytest.mark.parametrize(("task", "episode"), [("stack_cube", 3), ("eggplant_in_basket", 5)])
def test_what_the_prompt_says_is_enough_to_solve_the_task(tmp_path, capsys, task, episode):
    """The model knows of the robot what the prompt says, of the objects their pixels; its answers have chatter."""
    few = tmp_path / "few"
    more = {}
    if task == "stack_cube":
        command = ["zero-shot-examples", "--out", str(few), "--tasks", task, "--decisions", "2", "--json"]
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out) == {"folder": str(few), "examples": 2, "failed": 0}
        more = {"examples": str(few), "overlay": "grid", "history": 1}
    env = make_env(RunSettings(), task)
    model = ZeroShotReader(widowx(env).scene_state, lambda: widowx(env).geometry.camera)
    with ModelServer(ServedModel(model, "base")) as server:
        options = {"model": "base", "server": server.url, "zero_shot": True, "prices": "1/2", **more}
        spec = PolicySpec("vlm", options=options)
        result = run_episode(env, make_policy(env, spec), episode_id=episode, spec=spec)
    env.close()
    assert result.outcome is Outcome.SUCCESS
    assert result.parse_failures == 0
    assert model.asked >= 4
    assert all("It was sent to" in prompt for prompt in model.prompts)
    assert model.prompts[-1].count("A good answer:\nScene: ") == (2 if more else 0)
    overall = summarize([result]).overall
    assert overall.tokens
    assert (overall.prompt_tokens, overall.cost, overall.currency) == (None, None, "USD"), "this server does not say"
