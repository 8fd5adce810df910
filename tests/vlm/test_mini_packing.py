"""Packed questions score as separate conversations do, and a few updates on a tiny album bring the loss down."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from vlm_lane import need_vlm

need_vlm()

import pytest  # noqa: E402 - torch and transformers are needed below
import torch  # noqa: E402

from vlm2vla_sim.errors import RunFolderError  # noqa: E402
from vlm2vla_sim.mini.model.checkpoint import Progress, keep, resume  # noqa: E402
from vlm2vla_sim.mini.model.model import MiniSize, make_model, make_processor, make_tokenizer, number_tokens  # noqa: E402
from vlm2vla_sim.mini.scenes import rendered_dataset  # noqa: E402
from vlm2vla_sim.mini.training.packing import Packer, Turn  # noqa: E402
from vlm2vla_sim.mini.training.pretrain import answers, pretrain  # noqa: E402
from vlm2vla_sim.mini.training.recipe import Recipe  # noqa: E402
from vlm2vla_sim.mini.training.vocabulary import texts  # noqa: E402

SMALL = MiniSize(hidden=64, layers=2, heads=2, feed_forward=128, vision_hidden=64, vision_layers=1)
TURNS = (
    Turn("Where is the carrot?", "31, -7, 2, turned 45", period=180),
    Turn("What is 31 minus 40?", "-9", sees=False),
    Turn("What colour is the plate?", "yellow"),
)


@pytest.fixture(scope="module")
def processor() -> object:
    return make_processor(make_tokenizer(texts()), SMALL)


def test_whole_numbers_are_one_token_wherever_they_stand(processor: object) -> None:
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
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    packer = Packer(processor)
    with torch.inference_mode():
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        packed = packer.pack([TURNS])
        scores = torch.log_softmax(answers(model, model.model.get_image_features(pixels, return_dict=True), packed), -1)
        start = 0
        for turn in TURNS:
            content = [{"type": "text", "text": turn.question}]
            if turn.sees:
                content.insert(0, {"type": "image", "image": picture})
            messages = [{"role": "user", "content": content}]
            plain = processor.apply_chat_template(  # type: ignore[attr-defined]
                messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
            said = processor.tokenizer(f"{turn.answer}<end_of_turn>", add_special_tokens=False)["input_ids"]  # type: ignore[attr-defined]
            length = plain["input_ids"].shape[1]
            ids = torch.cat([plain["input_ids"], torch.tensor([said])], dim=1)
            kinds = torch.cat([plain["token_type_ids"], torch.zeros(1, len(said), dtype=torch.long)], dim=1)
            given = {"pixel_values": plain["pixel_values"]} if turn.sees else {}
            logits = model(input_ids=ids, token_type_ids=kinds, attention_mask=torch.ones_like(ids), **given).logits
            expected = torch.log_softmax(logits[0, length - 1 : -1], -1)
            torch.testing.assert_close(scores[start : start + len(said)], expected, atol=2e-4, rtol=0)
            start += len(said)
        assert start == len(packed.targets)


def test_a_text_that_needs_no_picture_scores_the_same_on_a_page_of_its_own(processor: object) -> None:
    model = make_model(processor.tokenizer, SMALL).eval()  # type: ignore[attr-defined]
    packer = Packer(processor)
    blind = Turn("What is 31 minus 40?", "-9", sees=False)
    with torch.inference_mode():
        image = model.model.get_image_features(torch.zeros(1, 3, 224, 224), return_dict=True)
        beside = answers(model, image, packer.pack([[TURNS[0], blind]]))[-2:]
        page = packer.pack([[blind]], pictures=False)
        alone = answers(model, None, page)
    assert page.ids.shape[1] < 64
    torch.testing.assert_close(alone, beside, atol=2e-4, rtol=0)


def test_a_few_updates_bring_the_loss_down_and_leave_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_dataset, "SHARD", 12)
    rendered_dataset.fill(tmp_path / "album", [0, 1])
    assert list(rendered_dataset.numbers(tmp_path / "album")) == [0, 1]
    lines: list[str] = []
    recipe = Recipe(looks=4, updates=12, settles=3, pages=2, pictures=4, questions=3, warmup=2)
    pretrain(tmp_path / "album", tmp_path / "base", texts=list(texts()), recipe=recipe, size=SMALL, report=lines.append)
    looked, spoke, last = ([float(line.split()[at]) for at in (2, 4)] for line in lines)
    assert math.isnan(looked[0]), "at first nothing is said"
    assert last[0] < spoke[0] - 1.0
    assert last[1] < looked[1] - 1.0
    assert (tmp_path / "base" / "model.safetensors").is_file()
    assert (tmp_path / "base" / "recipe.json").is_file()


def test_a_stopped_run_goes_on_with_every_weight_and_moment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered_dataset, "SHARD", 12)
    rendered_dataset.fill(tmp_path / "album", [0])
    recipe = Recipe(looks=5, updates=2, settles=2, pages=2, pictures=4, questions=2, warmup=2, keep_every=4)

    def train(tell: Callable[[str], None]) -> None:
        pretrain(tmp_path / "album", tmp_path / "base", texts=list(texts()), recipe=recipe, size=SMALL, report=tell)

    def stop_at_five(line: str) -> None:
        if line.startswith("5 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stop_at_five)
    assert not (tmp_path / "base" / "recipe.json").exists()
    lines: list[str] = []
    train(lines.append)
    assert [int(line.split()[0]) for line in lines] == [5, 8], "it did not begin again"
    recorded = json.loads((tmp_path / "base" / "recipe.json").read_text())
    assert recorded["shards"] == [0]
    assert recorded["cpu_seconds"] >= float(lines[-1].split()[-1]) - 1
    assert not (tmp_path / "base" / "unfinished.safetensors").exists()
    with pytest.raises(RunFolderError, match="finished base"):
        train(lines.append)


def test_what_is_kept_is_what_is_resumed(tmp_path: Path) -> None:
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
    keep(tmp_path, Progress(3, 1.5, [0, 7]), *one)
    assert resume(tmp_path, *other) == Progress(3, 1.5, [0, 7])
    for _ in range(2):
        step(*one)
        step(*other)
    for left, right in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(left, right)
    assert resume(tmp_path / "elsewhere", *other) == Progress()
