"""Packed questions score as separate conversations do, and a few updates on a tiny dataset reduce the loss."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from vlm_lane import need_vlm

need_vlm()

import pytest  # noqa: E402 - torch and transformers are needed below
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from vlm2vla_sim.errors import RunFolderError  # noqa: E402
from vlm2vla_sim.mini.model.architecture import MiniSize, make_model, make_processor  # noqa: E402
from vlm2vla_sim.mini.model.checkpoint import (  # noqa: E402
    CHECKPOINT,
    PretrainingProgress,
    load_checkpoint,
    save_checkpoint,
)
from vlm2vla_sim.mini.model.tokenizer import make_tokenizer, number_tokens  # noqa: E402
from vlm2vla_sim.mini.scenes import rendered_dataset  # noqa: E402
from vlm2vla_sim.mini.training.dense_targets import DenseHeads  # noqa: E402
from vlm2vla_sim.mini.training.packing import Packer  # noqa: E402
from vlm2vla_sim.mini.training.pretrain import pretrain  # noqa: E402
from vlm2vla_sim.mini.training.pretraining_model import answer_logits  # noqa: E402
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer  # noqa: E402
from vlm2vla_sim.mini.training.recipe import PretrainingRecipe  # noqa: E402
from vlm2vla_sim.mini.training.vocabulary import texts  # noqa: E402
from vlm2vla_sim.policies.mini import WEIGHTS  # noqa: E402

SMALL = MiniSize(hidden=64, layers=2, heads=2, feed_forward=128, vision_hidden=64, vision_layers=1)
QUESTIONS = (
    QuestionAnswer("where", "Where is the carrot?", "31, -7, 2, turned 45", period=180),
    QuestionAnswer("sum", "What is 31 minus 40?", "-9", needs_image=False),
    QuestionAnswer("colour", "What colour is the plate?", "yellow"),
)


@pytest.fixture(scope="module")
def processor() -> object:
    return make_processor(make_tokenizer(texts()), SMALL)


def test_whole_numbers_are_one_token_everywhere(processor: object) -> None:
    tokenizer = processor.tokenizer  # type: ignore[attr-defined]
    numbers = number_tokens(tokenizer)
    for text in ("[[3, 0, -8, 0, 0, 45, 1]]", "at 31, -7, 2, turned 45", "-180 and 180"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        written = [
            int(word) for word in text.replace("[", "").replace("]", "").replace(",", "").split() if word[-1:].isdigit()
        ]
        known = {token: number for number, token in numbers.items()}
        assert [known[token] for token in ids if token in known] == written


def test_packed_answers_have_the_scores_of_separate_conversations(processor: object) -> None:
    model = make_model(processor.tokenizer, SMALL).eval()  # type: ignore[attr-defined]
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    packer = Packer(processor)
    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        packed = packer.pack([QUESTIONS])
        features = model.model.get_image_features(pixels, return_dict=True)
        scores = torch.log_softmax(answer_logits(model, features, packed), -1)
        start = 0
        for one in QUESTIONS:
            content: list[dict[str, object]] = [{"type": "text", "text": one.question}]
            if one.needs_image:
                content.insert(0, {"type": "image", "image": image})
            messages = [{"role": "user", "content": content}]
            plain = processor.apply_chat_template(  # type: ignore[attr-defined]
                messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
            said = processor.tokenizer(f"{one.answer}<end_of_turn>", add_special_tokens=False)["input_ids"]  # type: ignore[attr-defined]
            length = plain["input_ids"].shape[1]
            ids = torch.cat([plain["input_ids"], torch.tensor([said])], dim=1)
            kinds = torch.cat([plain["token_type_ids"], torch.zeros(1, len(said), dtype=torch.long)], dim=1)
            given = {"pixel_values": plain["pixel_values"]} if one.needs_image else {}
            logits = model(input_ids=ids, token_type_ids=kinds, attention_mask=torch.ones_like(ids), **given).logits
            expected = torch.log_softmax(logits[0, length - 1 : -1], -1)
            torch.testing.assert_close(scores[start : start + len(said)], expected, atol=2e-4, rtol=0)
            start += len(said)
        assert start == len(packed.targets)


def test_a_question_without_an_image_scores_the_same_in_a_sequence_of_its_own(processor: object) -> None:
    model = make_model(processor.tokenizer, SMALL).eval()  # type: ignore[attr-defined]
    packer = Packer(processor)
    _, text, _ = QUESTIONS
    with torch.inference_mode():
        image = model.model.get_image_features(torch.zeros(1, 3, 224, 224), return_dict=True)
        beside = answer_logits(model, image, packer.pack([[QUESTIONS[0], text]]))[-2:]
        page = packer.pack([[text]], images=False)
        alone = answer_logits(model, None, page)
    assert page.token_ids.shape[1] < 64
    torch.testing.assert_close(alone, beside, atol=2e-4, rtol=0)


def test_a_few_updates_reduce_the_loss_and_save_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_dataset, "SHARD_SIZE", 12)
    rendered_dataset.render_shards(tmp_path / "scenes", [0, 1])
    assert list(rendered_dataset.shard_numbers(tmp_path / "scenes")) == [0, 1]
    lines: list[str] = []
    recipe = PretrainingRecipe(
        vision_updates=4, qa_updates=12, annealing_updates=3, annealing_texts=2, images=4, questions=3, warmup=2
    )
    pretrain(
        tmp_path / "scenes", tmp_path / "base", texts=list(texts()), recipe=recipe, size=SMALL, report=lines.append
    )
    vision, questions, last = ([float(line.split()[at]) for at in (2, 4)] for line in lines)
    assert math.isnan(vision[0]), "no answers in the vision phase"
    assert last[0] < questions[0] - 1.0
    assert last[1] < vision[1] - 1.0
    assert (tmp_path / "base" / "model.safetensors").is_file()
    assert (tmp_path / "base" / "recipe.json").is_file()


def test_a_stopped_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_dataset, "SHARD_SIZE", 12)
    rendered_dataset.render_shards(tmp_path / "scenes", [0])
    recipe = PretrainingRecipe(
        vision_updates=5,
        qa_updates=2,
        annealing_updates=2,
        annealing_texts=2,
        images=4,
        questions=2,
        warmup=2,
        checkpoint_every=4,
    )

    def train(tell: Callable[[str], None]) -> None:
        pretrain(tmp_path / "scenes", tmp_path / "base", texts=list(texts()), recipe=recipe, size=SMALL, report=tell)

    def stop_at_five(line: str) -> None:
        if line.startswith("5 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stop_at_five)
    assert not (tmp_path / "base" / "recipe.json").exists()
    other = dataclasses.replace(recipe, seed=9)
    with pytest.raises(RunFolderError, match=r"was made with recipe\.seed 0, not 9"):
        pretrain(tmp_path / "scenes", tmp_path / "base", texts=list(texts()), recipe=other, size=SMALL)
    lines: list[str] = []
    train(lines.append)
    assert [int(line.split()[0]) for line in lines] == [5, 8], "it did not start over"
    recorded = json.loads((tmp_path / "base" / "recipe.json").read_text())
    assert recorded["shards"] == [0]
    assert recorded["cpu_seconds"] >= float(lines[-1].split()[-1]) - 1
    assert not (tmp_path / "base" / "unfinished.safetensors").exists()
    with pytest.raises(RunFolderError, match="finished base model"):
        train(lines.append)


def test_a_checkpoint_restores_weights_and_optimizer_state(tmp_path: Path) -> None:
    def make(seed: int) -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
        torch.manual_seed(seed)
        modules = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6))
        matrices = [weight for weight in modules.parameters() if weight.ndim == 2]
        others = [weight for weight in modules.parameters() if weight.ndim == 1]
        return modules, [torch.optim.Muon(matrices, lr=0.01), torch.optim.AdamW(others, lr=0.01)]

    def step(modules: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
        modules(torch.ones(2, 6)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    one, other = make(0), make(1)
    for _ in range(3):
        step(*one)
    save_checkpoint(tmp_path, PretrainingProgress(3, 1.5, [0, 7]), *one)
    assert load_checkpoint(tmp_path, *other) == PretrainingProgress(3, 1.5, [0, 7])
    for _ in range(2):
        step(*one)
        step(*other)
    for left, right in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(left, right)
    assert load_checkpoint(tmp_path / "elsewhere", *other) == PretrainingProgress()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    heads = torch.nn.ModuleDict({"heads": torch.nn.ModuleList([DenseHeads(8)])})
    save_checkpoint(tmp_path, PretrainingProgress(3, 1.5, [0]), heads, [])
    before = {name: weight.clone() for name, weight in heads.named_parameters()}
    for other in (DenseHeads(4), torch.nn.Linear(8, 8)):
        module = torch.nn.ModuleDict({"heads": torch.nn.ModuleList([other])})
        with pytest.raises(RunFolderError, match=r"belongs to another model.*\(heads\.0\."):
            load_checkpoint(tmp_path, module, [])
    assert load_checkpoint(tmp_path, heads, []).updates == 3
    assert all(torch.equal(before[name], weight) for name, weight in heads.named_parameters())


def test_a_checkpoint_with_the_old_names_of_the_heads_is_read(tmp_path: Path) -> None:
    heads = torch.nn.ModuleDict({"heads": torch.nn.ModuleList([DenseHeads(8)])})
    wanted = {name: torch.randn_like(weight) for name, weight in heads.named_parameters()}
    old = {"class_head": "kind", "position_heads": "places", "yaw_head": "turn"}
    tensors = {}
    for name, weight in wanted.items():
        for new, before in old.items():
            name = name.replace(new, before)
        tensors[name] = weight
    save_file(tensors, tmp_path / CHECKPOINT, {"progress": '{"updates": 7, "cpu_seconds": 1.0, "shards": [2]}'})
    assert load_checkpoint(tmp_path, heads, []) == PretrainingProgress(7, 1.0, [2])
    for name, weight in heads.named_parameters():
        assert torch.equal(weight, wanted[name])


def test_the_tokenizer_made_today_is_the_shipped_one() -> None:
    shipped = json.loads((WEIGHTS / "base" / "tokenizer.json").read_text(encoding="utf-8"))
    assert json.loads(make_tokenizer(texts()).backend_tokenizer.to_str()) == shipped
