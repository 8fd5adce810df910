"""Gemma 4 and Qwen3-VL answer with caches as transformers' `generate` does; other families say that they have none."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_continuous import answer_joining_at_random, questions
from vlm_lane import make_adapter, need_vlm

need_vlm()

import torch  # noqa: E402
from policies.families import make_family, save_family  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.cached_text import cached_text  # noqa: E402
from vlm2vla_sim.policies.models.hf_decode import Counts  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402

BLOCKS = {"use_bidirectional_attention": "vision", "sliding_window": 24}
"""Of Gemma 4's larger sizes: the tokens of an image attend to one another, within a window shorter than the image."""


@pytest.fixture(scope="module", params=["qwen3-vl", "gemma4", "gemma4 with image blocks"])
def models(request, tmp_path_factory) -> tuple[HfModel, HfModel]:
    """The model with caches and three rows, and the same weights decoded by `generate`; both with an adapter."""
    folder = save_family(request.param.split()[0], tmp_path_factory.mktemp("family"))
    if "blocks" in request.param:
        change_text_config(folder, BLOCKS)
    adapter = make_adapter(folder, tmp_path_factory.mktemp("adapter"), scale=0.5)
    cached = HfModel(HfSettings(str(folder), str(adapter), dtype="float32", max_batch=3))
    plain = copy.copy(cached)
    plain.decoder = None
    return cached, plain


@pytest.fixture
def sizes() -> list[np.ndarray]:
    """Pictures whose tokens lie in grids of several shapes."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((48, 64), (96, 32), (40, 40), (24, 90))]


def change_text_config(folder: Path, values: dict[str, object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"] |= values
    path.write_text(json.dumps(config))


def test_answers_that_join_and_leave_at_random_are_those_of_generate(models, sizes):
    cached, plain = models
    assert cached.continuous
    asked = [replace(question, sampling=Sampling(max_tokens=12)) for question in questions(sizes, 12)]
    for question in asked:
        ids = plain.inputs([question])["input_ids"][0].tolist()
        assert list(cached.prompts.encode(question).ids) == ids
    alone = [plain.answer([question])[0].text for question in asked]
    assert len(set(alone)) > 6
    assert [stage.text for stage in cached.answer(asked)] == alone
    cached.decoder.clear()
    assert answer_joining_at_random(cached, asked, 1) == alone


def test_an_image_is_encoded_once_and_a_shared_beginning_is_computed_once(models, sizes):
    cached, plain = models
    cached.decoder.clear()
    cached.decoder.counts = counts = Counts()
    text, image = "What is in the image? Answer for the gripper: ", sizes[0]
    asked = [
        Question("plan", text + word, (image,), None, Sampling(max_tokens=3)) for word in ("plan.", "act.", "end.")
    ]
    asked.append(Question("verify", "Before and after", (image, sizes[1]), sampling=Sampling(max_tokens=3)))
    prompts = [cached.prompts.encode(question) for question in asked]
    for number, question in enumerate(asked):
        assert cached.answer([question])[0].text == plain.answer([question])[0].text
        assert counts.images == (1 if number < 3 else 2)
    kept = sum(isinstance(key, tuple) for key in prompts[0].keys)
    assert counts.reused >= 3 * kept
    assert counts.read + counts.reused == sum(len(prompt.ids) for prompt in prompts)
    assert cached.tokens(replace(asked[0], adapter=False)) != cached.tokens(asked[0])  # nothing is shared with it
    assert counts.images == 2


def test_positions_in_the_grids_of_images_are_those_of_transformers(sizes):
    made = make_family("qwen3-vl")
    model = HfModel(HfSettings("qwen3-vl"), loaded=made)
    question = Question("plan", "Before and after: what moved?", tuple(sizes))
    inputs, prompt = model.inputs([question]), model.prompts.encode(question)
    assert len({rows / columns for rows, columns in prompt.grids}) > 1
    theirs, ahead = made.model.model.get_rope_index(**{name: inputs[name] for name in inputs if name != "pixel_values"})
    text = cached_text(made.model)
    assert text is not None
    ours = text.positions(prompt)
    assert ours is not None
    count = len(prompt.ids)
    assert torch.equal(ours(0, count), theirs[:, 0])
    later = torch.arange(count, count + 5) + ahead[0]
    assert torch.equal(ours(count - 2, 7), torch.cat([theirs[:, 0, -2:], later.expand(3, -1)], 1))


def test_a_model_with_caches_is_silent_and_another_says_how_it_is_decoded(capsys):
    for name, decoding in (("gemma4", "cached"), ("mistral3", "generate")):
        model = HfModel(HfSettings(name), loaded=make_family(name))
        assert model.provenance()["decoding"] == decoding
        assert model.continuous is (decoding == "cached")
        told = capsys.readouterr().err
        said = [line for line in told.splitlines() if "decoded by transformers' generate" in line]
        assert len(said) == (decoding == "generate"), told
        assert all(line.startswith("Mistral3ForConditionalGeneration is ") for line in said)
    plain = HfModel(HfSettings("gemma4", fast=False), loaded=make_family("gemma4"))
    assert plain.provenance()["decoding"] == "generate"
    assert "generate" not in capsys.readouterr().err  # it was asked for


def test_what_the_caches_would_compute_otherwise_is_left_to_generate():
    model = make_family("gemma4").model
    assert cached_text(model) is not None
    model.config.text_config.use_bidirectional_attention = "all"
    assert cached_text(model) is None
    model = make_family("qwen3-vl").model
    model.config.text_config.rope_parameters["rope_type"] = "dynamic"
    assert cached_text(model) is None
    model = make_family("qwen3-vl").model
    model.lm_head.to("meta")
    assert cached_text(model) is None


def test_a_step_that_fails_leaves_transformers_its_own_attention(models, sizes, monkeypatch):
    cached, plain = models
    asked = Question("action", "Go.", (sizes[2],), get_format("vlm2vla").grammar(), Sampling(max_tokens=8))
    before = cached.first_scores(asked)
    monkeypatch.setattr("vlm2vla_sim.policies.models.module_text._Rows.attend", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cached.answer([asked])
    monkeypatch.undo()
    assert np.array_equal(cached.first_scores(asked), before)
    assert cached.answer([asked])[0].text == plain.answer([asked])[0].text


def test_the_adapter_is_off_as_peft_turns_it_off_and_on_again_after_an_error(models, sizes):
    cached, _ = models
    asked = Question("plan", "Go.", (sizes[0],))
    inputs = cached.inputs([asked])
    with torch.inference_mode(), cached.model.disable_adapter():
        base = cached.model(**inputs, logits_to_keep=1).logits[0, -1].double().log_softmax(0).numpy()
    on = cached.first_scores(asked)

    def fail_without_it() -> None:
        with cached._adapter(on=False):
            assert np.array_equal(cached.first_scores(replace(asked, adapter=False)), base)
            raise KeyError("a step")

    with pytest.raises(KeyError, match="a step"):
        fail_without_it()
    assert np.array_equal(cached.first_scores(asked), on)
    assert not np.array_equal(on, base)


def test_the_mark_of_an_image_in_an_instruction_is_refused(models, sizes):
    cached, _ = models
    mark = cached.processor.image_token
    with pytest.raises(SettingError, match="Take the mark out of the instruction"):
        cached.answer([Question("plan", f"Look at {mark} now", (sizes[0],))])
