"""`vlm2vla serve-model` in a process of its own: the same answers as the model in ours."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from vlm_lane import need_vlm

need_vlm()

from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR, ModelVerifier  # noqa: E402


@pytest.fixture(scope="module")
def url(tiny_folder, adapter_folder):
    """The address of a real server process, which is ended afterwards."""
    command = [sys.executable, "-m", "vlm2vla_sim", "serve-model", "--port", "0", "--idle", "120"]
    command += ["--model", str(tiny_folder), "--adapter", str(adapter_folder), "--dtype", "float32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert "at http://127.0.0.1:" in line, f"The server said {line!r}."
            yield line.split()[-1]
        finally:
            process.terminate()


@pytest.mark.parametrize("constraint", ["regex", "grammar"])
def test_base_and_adapter_answer_over_the_wire_as_they_do_in_process(
    url, tiny_folder, adapter_folder, pictures, constraint
):
    local = HfModel(HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32"))
    remote = ChatModel(ServerSettings(url, "base", "adapter", constraint=constraint))
    grammar = get_format("vlm2vla").grammar()
    questions = [
        Question("plan", "How does it move?", (pictures[0],), sampling=Sampling(max_tokens=12)),
        Question("action", "Write the motion.", (pictures[1],), grammar, Sampling(max_tokens=200)),
        Question("verify", "Is it done?", (pictures[0], pictures[1]), ANSWER_GRAMMAR),
        Question("plan", "How?", (pictures[2],), sampling=Sampling(temperature=1.0, max_tokens=12), seed=3),
    ]
    questions += [dataclasses.replace(question, adapter=False) for question in questions]
    expected = [(stage.name, stage.text, stage.tokens) for stage in local.answer(questions)]
    assert [(stage.name, stage.text, stage.tokens) for stage in remote.answer(questions)] == expected
    assert expected[:4] != expected[4:]


def test_a_verifier_can_ask_the_server(url, pictures):
    verifier = ModelVerifier(ChatModel(ServerSettings(url, "base", "adapter")), adapter=False)
    judgement = verifier.judge(pictures[0], pictures[1], current="grasp the carrot", following="")
    assert judgement.stage.text in ("advance", "retry")
    assert judgement.advance is (judgement.stage.text == "advance")


def test_the_server_tells_what_it_serves_and_honours_the_grammar(url, tiny_folder, adapter_folder):
    """The digests over the wire are those of the same folders loaded here."""
    for constraint in ("regex", "grammar"):
        said = ChatModel(ServerSettings(url, "base", "adapter", constraint=constraint)).provenance()
        assert (said["constrained"], said["constraint_key"]) == (True, f"structured_outputs.{constraint}")
    local = HfModel(HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32")).provenance()
    assert [said[key] for key in ("model_digest", "adapter_digest")] == [local["model_digest"], local["adapter_digest"]]
    assert None not in (said["model_digest"], said["adapter_digest"])
    assert said["server_version"].startswith("vlm2vla_sim/")


def test_the_end_of_an_answer_comes_over_the_wire(url, pictures):
    remote = ChatModel(ServerSettings(url, "base", "adapter"))
    action = Question("action", "Go.", (pictures[0],), get_format("vlm2vla").grammar(), Sampling(max_tokens=300))
    cut = dataclasses.replace(action, sampling=Sampling(max_tokens=4))
    assert [(stage.finish, stage.tokens == 4) for stage in remote.answer([action, cut])] == [
        ("stop", False),
        ("length", True),
    ]


def test_text_before_an_image_is_another_prompt_and_the_same_over_the_wire(url, tiny_folder, adapter_folder, pictures):
    local = HfModel(HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32"))
    prompt = "Before: then after?"
    asked = [
        Question("plan", prompt, tuple(pictures[:2]), sampling=Sampling(max_tokens=12), places=places)
        for places in ((), (0, 8), (8, 8), (8, len(prompt)))
    ]
    expected = [stage.text for stage in local.answer(asked)]
    assert [stage.text for stage in ChatModel(ServerSettings(url, "base", "adapter")).answer(asked)] == expected
    prompts = [local.prompts.encode(question) for question in asked]
    assert len({one.ids for one in prompts}) == 4
    assert len({one.images for one in prompts}) == 1


@pytest.mark.parametrize(
    ("field", "value", "language"),
    [
        ("guided_regex", "a/b|c/d", "a/b|c/d"),
        ("guided_choice", ["x.y", "(z)"], r"x\.y|\(z\)"),
        ("guided_grammar", 'start: "left" | "right"', "left|right"),
        ("structured_outputs", {"choice": ["naïve", "日本"]}, "naïve|日本"),
    ],
)
def test_older_fields_are_honoured_exactly(url, field, value, language):
    answer = post(url, **{field: value})
    assert re.fullmatch(language, answer["choices"][0]["message"]["content"])
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("field", "value"), [("guided_regex", r"(?=a)b"), ("guided_grammar", "start: ~~"), ("stop", "a")]
)
def test_what_the_decoder_refuses_is_the_client_s_fault(url, field, value):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(url, **{field: value})
    error = json.loads(refused.value.read())["error"]
    refused.value.close()
    assert refused.value.code == 400
    assert error["param"] == field
    assert error["message"].startswith(f"{field}: ")
    assert "\n" not in error["message"]


JSON = {"Content-Type": "application/json"}


def post(url: str, **fields) -> dict:
    request = {"model": "base", "messages": [{"role": "user", "content": "Say it."}], **fields}
    sent = urllib.request.Request(f"{url}/chat/completions", json.dumps(request).encode(), JSON)
    with urllib.request.urlopen(sent, timeout=60) as answer:
        return json.loads(answer.read())
