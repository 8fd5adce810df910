"""Texts are scored as the model itself scores them, with and without eyes, and forgetting is told of a real adapter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import cast

import numpy as np
import pytest
from labelled_fakes import make_labelled
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402
import transformers  # noqa: E402

from vlm2vla_sim.analysis.logprob import (  # noqa: E402
    CONTEXTS,
    labelled_actions,
    score_formats,
    scripted_actions,
    summarise,
)
from vlm2vla_sim.analysis.questions import VqaQuestion, write_questions  # noqa: E402
from vlm2vla_sim.analysis.scorer import Scorer  # noqa: E402
from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.random_model import make_tokenizer  # noqa: E402

ANSWERS = ["[[3, 0, -8, 1], [0, 0, 0, 0]]", "move up 3 cm", "x"]


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A tiny Gemma 3 without eyes, whose layers see 32 tokens back: fewer than the prompt has."""
    tokenizer = make_tokenizer()
    config = transformers.Gemma3TextConfig(
        vocab_size=2048, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, sliding_window=32, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Gemma3ForCausalLM(config)
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, 0.0, 2 * weight.shape[-1] ** -0.5)
    folder = tmp_path_factory.mktemp("blind")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def together(scorer: Scorer, ids: torch.Tensor, answer: list[int], **more) -> np.ndarray:
    """The same scores, read in one go."""
    whole = torch.cat([ids, torch.tensor([answer])], dim=1)
    with torch.inference_mode():
        scores = scorer.model(input_ids=whole, **more).logits[0].float().log_softmax(-1)
    places = torch.arange(ids.shape[1] - 1, whole.shape[1] - 1)
    return scores[places, torch.tensor(answer)].double().numpy()


@pytest.mark.parametrize("prompt", ["Write the motion of the gripper. " * 8, ""])
def test_a_model_without_eyes_scores_each_answer_as_it_would_in_one_go(blind, prompt):
    scorer = Scorer(str(blind), dtype="float32")
    marks = scorer.score(Question("action", prompt), ANSWERS)
    ids = torch.tensor([scorer._prompt_ids(prompt)])
    for answer, mark in zip(ANSWERS, marks, strict=True):
        tokens = scorer.tokenizer(answer, add_special_tokens=False)["input_ids"]
        np.testing.assert_allclose(mark, together(scorer, ids, tokens), atol=1e-4)
    assert not np.allclose(marks[0].mean(), marks[1].mean())


def test_a_model_with_eyes_scores_what_it_sees(tiny_folder, pictures):
    scorer = Scorer(str(tiny_folder), dtype="float32")
    first, second = (scorer.score(Question("action", "Write.", (picture,)), ANSWERS) for picture in pictures[:2])
    assert abs(first[0].sum() - second[0].sum()) > 1e-3, "another picture, another score"
    seen = dict(scorer._hf.inputs([Question("action", "Write.", (pictures[0],))]))
    tokens = scorer.tokenizer(ANSWERS[0], add_special_tokens=False)["input_ids"]
    kinds = torch.cat([seen.pop("token_type_ids"), torch.zeros((1, len(tokens)), dtype=torch.long)], dim=1)
    expected = together(scorer, seen["input_ids"], tokens, pixel_values=seen["pixel_values"], token_type_ids=kinds)
    np.testing.assert_allclose(first[0], expected, atol=1e-4)


def test_the_base_model_is_scored_with_the_adapter_off(tiny_folder, adapter_folder, pictures):
    both = Scorer(str(tiny_folder), str(adapter_folder), dtype="float32")
    base = Scorer(str(tiny_folder), dtype="float32")
    off = Question("action", "Write.", (pictures[0],), adapter=False)
    on = Question("action", "Write.", (pictures[0],))
    np.testing.assert_allclose(both.score(off, ANSWERS)[0], base.score(off, ANSWERS)[0], atol=1e-5)
    assert not np.allclose(both.score(on, ANSWERS)[0], base.score(on, ANSWERS)[0], atol=1e-3)
    with pytest.raises(SettingError, match=r"The model .no/such. is not a folder here"):
        Scorer("no/such")


def test_every_format_writes_the_same_motions_and_the_sums_are_those_of_the_tokens(blind):
    spoken = list(scripted_actions(1))
    assert len({one.episode for one in spoken}) == 4
    scored = score_formats(Scorer(str(blind), dtype="float32"), spoken)
    lines = {(one.format, one.context): one for one in summarise(scored)}
    assert set(lines) == {(name, c) for name in ("vlm2vla", "prose", "integers", "tokens") for c in CONTEXTS}
    for one in lines.values():
        assert one.actions == len(spoken)
        assert one.per_action.value == pytest.approx(one.per_token.value * one.tokens)
        assert one.per_token.low <= one.per_token.value <= one.per_token.high < 0
    written = {name: [one.text for one in scored if one.format == name] for name in ("vlm2vla", "tokens")}
    assert not any(character.isdigit() for text in written["tokens"] for character in text)
    assert all(re.match(r"\[\[-?\d", text) for text in written["vlm2vla"])


def test_the_command_leaves_numbers_texts_and_a_picture_for_each_context(blind, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["logprob", "--model", str(blind), "--episodes", "1", "--formats", "vlm2vla", "prose"]
    assert main([*words, "--contexts", "rules", "nothing", "--out", str(out)]) == 0
    assert "nats" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "logprob.json",
        "actions.jsonl",
        "density_rules.png",
        "density_nothing.png",
    }
    saved = json.loads((out / "logprob.json").read_text())
    assert len((out / "actions.jsonl").read_text().splitlines()) == saved["actions"] * 4
    digest = hashlib.sha256((blind / "model.safetensors").read_bytes()).hexdigest()
    assert saved["provenance"]["model_digest"] == digest
    assert main([*words, "--out", str(out)]) == 1


def test_vqa_tells_what_a_real_adapter_forgot(ending_folder, ending_adapter, pictures, tmp_path, capsys):
    """The base model's own answers are the right ones, so it retains all, and its adapter less."""
    base = HfModel(HfSettings(str(ending_folder), dtype="float32"))
    asked = [Question("vqa", f"What is {k}?", (pictures[k % 6],), sampling=Sampling(max_tokens=64)) for k in range(12)]
    said = [stage.text if stage.finish == "stop" else "" for stage in base.answer(asked)]
    kept = [(q, text) for q, text in zip(asked, said, strict=True) if any(c.isalnum() for c in text)]
    assert len(kept) >= 6
    questions = (VqaQuestion(f"half {k % 2}", q.prompt, (text,), q.images) for k, (q, text) in enumerate(kept))
    write_questions(questions, tmp_path / "questions")
    words = ["vqa", "--model", str(ending_folder), "--questions", str(tmp_path / "questions"), "--dtype", "float32"]
    words += ["--max-tokens", "64", "--json"]
    assert main([*words, "--adapter", str(ending_adapter), "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    found, used = told["retention"], told["provenance"]
    assert used["base"]["model_digest"] == used["tuned"]["model_digest"]
    assert used["tuned"]["adapter_keys"] == 42
    assert [line["base"]["value"] for line in found] == [1.0] * 3
    assert found[-1]["retention"]["value"] < 0.7
    assert len((tmp_path / "out" / "answers.jsonl").read_text().splitlines()) == len(kept)
    assert main([*words, "--tuned", str(ending_folder)]) == 0
    assert json.loads(capsys.readouterr().out)["retention"][-1]["retention"]["value"] == 1.0


def test_the_actions_of_failed_demonstrations_are_not_scored():
    labelled = make_labelled(0)
    failed = dataclasses.replace(labelled, trajectory=dataclasses.replace(labelled.trajectory, success=False))
    assert [one.episode for one in labelled_actions([failed, labelled])] == ["fake/00000"] * len(labelled.phases)
    with pytest.raises(SettingError, match="no actions to score"):
        score_formats(cast("Scorer", None), list(labelled_actions([failed])))
