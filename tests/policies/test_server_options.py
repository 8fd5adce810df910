"""The options of a policy on a server: each one is used, or refused; without a grammar nothing asks for one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chat_servers import answering, completion

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext
from vlm2vla_sim.policies.base import provenance
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE
from vlm2vla_sim.policies.vlm import VlmOptions, assemble

SEEN = {"pixels": {"primary": np.zeros((8, 8, 3), np.uint8)}, "agent_pos": np.zeros(8)}
ROW = "[[0, 0, -8, 1]]"


def say(request):
    """A server without structured outputs, whose model knows what to write."""
    prompt = request["messages"][0]["content"][-1]["text"]
    if "advance" in prompt:
        return completion("retry")
    return completion("Hello!" if prompt == "Say hello." else ROW if "[" in prompt else "1. grasp the carrot")


def loop(url, **options):
    context = PolicyContext("carrot_on_plate", 60, get_format("vlm2vla"))
    return assemble(VlmOptions(server=url, model="base", **options), context)


def act_twice(policy):
    policy.reset("put carrot on plate")
    return [policy.act(SEEN), policy.act(SEEN)]


@pytest.mark.parametrize("options", [{"constrained": False}, {"constraint": "off"}])
def test_a_server_that_ignores_grammars_is_used_only_without_one_and_the_results_say_so(options):
    with answering(say) as (url, asked):
        with pytest.raises(SettingError, match="does not honour a grammar"):
            loop(url)
        asked.clear()
        policy = loop(url, **options)
        probed = {part["text"] for request in asked for part in request["messages"][0]["content"] if "text" in part}
        assert probed == {"Say hello."}, "pictures and thinking are probed, and no grammar"
        asked.clear()
        first, second = act_twice(policy)
        said = provenance(policy)
    assert first.action == second.action == ROW
    assert second.stages[0].name == "verify"
    keys = {key for request in asked for key in request}
    assert keys == {"model", "messages", "temperature", "top_p", "max_tokens", "seed", "chat_template_kwargs"}
    limits = {r["max_tokens"] for r in asked if "advance" in r["messages"][0]["content"][-1]["text"]}
    assert limits == {128}, "a verifier that is free to write is given room for it"
    assert max(request["max_tokens"] for request in asked) == 256, "as is an action"
    assert (said["model"]["constrained"], said["model"]["constraint_key"]) == (False, None)


def test_a_server_that_honours_the_old_field_gets_every_grammar_in_it():
    def old(request):
        if regex := request.get("guided_regex"):
            return completion(NONSENSE[0] if NONSENSE[0] in regex else "retry" if "advance" in regex else ROW)
        return (400, "Unknown field structured_outputs") if "structured_outputs" in request else say(request)

    with answering(old) as (url, asked):
        policy = loop(url)
        act_twice(policy)
    assert provenance(policy)["model"]["constraint_key"] == "guided_regex"
    assert provenance(policy)["verifier"]["constraint_key"] == "guided_regex"
    sent = [request["guided_regex"] for request in asked[2:] if "guided_regex" in request]
    assert (len(sent), set(sent)) == (3, {get_format("vlm2vla").grammar().regex, "(advance|retry)"})


@pytest.mark.parametrize(
    ("option", "value"),
    [("dtype", "bfloat16"), ("device_map", "auto"), ("quantization", "4bit"), ("compile", True), ("threads", 2)],
)
def test_an_option_of_the_weights_is_refused_on_a_server(option, value):
    with pytest.raises(SettingError, match=f"option {option} is {value!r}, but the weights are on a server"):
        VlmOptions(server="http://127.0.0.1:8000/v1", model="base", **{option: value})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"constraint": "grammar"}, "there is no server"),
        ({"constraint": "off"}, "there is no server"),
        ({"timeout": 5.0}, "there is no server"),
        ({"verifier_server": "http://127.0.0.1:8000/v1"}, "the verifier is adapter"),
        ({"verifier_model": "judge", "verifier": "truth"}, "the verifier is truth"),
    ],
)
def test_an_option_of_a_server_is_refused_without_one(options, why):
    with pytest.raises(SettingError, match=why):
        VlmOptions(model="some/model", **options)


def test_the_time_limit_is_the_verifier_server_s_too():
    given = {"verifier": "server", "verifier_server": "http://127.0.0.1:8000/v1", "verifier_model": "judge"}
    assert VlmOptions(model="some/model", timeout=5.0, **given).timeout == 5.0
    with answering(say) as (url, _):
        policy = loop(url, constrained=False, timeout=0.5, **given | {"verifier_server": url, "verifier_model": "base"})
    assert policy._verifier._model.settings.timeout == 0.5


def test_a_run_on_a_server_writes_what_was_used_or_nothing_at_all(tmp_path, capsys):
    command = [
        "evaluate",
        "--policy",
        "vlm",
        "--model",
        "base",
        "--tasks",
        "carrot_on_plate",
        "--episodes",
        "1",
        "--no-video",
    ]
    with answering(say) as (url, _):
        command += ["--episodes", "1", "--server", url, "--out", str(tmp_path / "run")]
        assert main(command) == 1
        assert "structured_outputs.regex: ignored (it answered 'Hello!')" in capsys.readouterr().err
        assert not (tmp_path / "run").exists(), "no episode was scored"
        assert main([*command, "--policy-options", "constrained=false", "max_attempts=1"]) == 0
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    (result,) = map(json.loads, (tmp_path / "run" / "results.jsonl").read_text().splitlines())
    assert settings["provenance"] == result["provenance"]
    used = result["provenance"]["model"]
    assert [used[key] for key in ("server", "constrained", "server_version")] == [url, False, "StubServer"]


def test_an_own_model_may_read_any_option():
    assert VlmOptions(model="my.module:MODEL", timeout=5.0, dtype="bfloat16").timeout == 5.0
