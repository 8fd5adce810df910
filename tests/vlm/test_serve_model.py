"""`vlm2vla serve-model` in a process of its own: the same answers as the model in ours."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

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
