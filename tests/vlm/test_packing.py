"""Packed rows: the same loss as padded ones, and none sees another. Merged adapters and quantized base models."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_fakes import make_labelled
from vlm_lane import need_train

need_train()

import torch  # noqa: E402
from policies.families import make_family  # noqa: E402

from vlm2vla_sim.data.examples.folder import read_examples, write_examples  # noqa: E402
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings, to_chat  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.training import lora, memory, packing  # noqa: E402
from vlm2vla_sim.training.packing import PackingCollator, fill, row_masks  # noqa: E402
from vlm2vla_sim.training.settings import TrainSettings, preset  # noqa: E402


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """34 rows, of one and two images."""
    folder = tmp_path_factory.mktemp("packing") / "rows"
    made = ExampleMaker(ExampleSettings(get_format("vlm2vla"), stages=("subtasks", "plan", "action", "verify")))
    write_examples(made.make(make_labelled(k) for k in range(2)), folder)
    return folder


def tiny(model: Path, **changed) -> TrainSettings:
    return preset("small", str(model), **{"batch": 8, "per_device": 8, "learning_rate": 2e-3, **changed})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_rows_fill_a_sequence_in_their_order():
    assert fill([3, 3, 3, 9, 1], 7) == [[0, 1], [2], [3], [4]]
    assert fill([2, 2, 2], 6) == [[0, 1, 2]]


def test_masks_of_gemma_are_by_row_by_image_and_by_window():
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    images = torch.tensor([[False, True, True, True, True, False]])  # an image ends one row and begins the next
    masks = row_masks(positions, images & (positions != 0), window=2)
    full = masks["full_attention"][0, 0].int().tolist()
    assert full == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]
    assert masks["sliding_attention"][0, 0].int().tolist()[2] == [0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("name", ["gemma3", "smolvlm", "qwen3-vl"])
def test_packed_rows_have_the_loss_of_padded_ones_and_do_not_see_each_other(rows, name):
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    made = make_family(name)
    model: Any = made.model
    padded = DataCollatorForVisionLanguageModeling(made.processor, completion_only_loss=True)
    packed = PackingCollator(model, padded, 600)
    examples = list(read_examples(rows))[:6]

    def told(batch: dict) -> list[torch.Tensor]:
        """Log-probabilities of the tokens that are taught, of each row."""
        with torch.no_grad():
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            scores = model(**inputs, use_cache=False).logits.log_softmax(-1)  # as in training
        taught = batch["labels"][:, 1:] != -100
        ids = batch["labels"][:, 1:].clamp(min=0)
        return scores[:, :-1].gather(-1, ids[..., None])[..., 0][taught]

    together = packed([to_chat(example) for example in examples])
    assert 1 < together["input_ids"].shape[0] < len(examples), "several rows in a sequence, and several sequences"
    assert "attention_mask" not in together
    alone = torch.cat([told(padded([to_chat(example)])) for example in examples])
    torch.testing.assert_close(told(together), alone, atol=2e-4, rtol=1e-4)
    # Another first row changes nothing in those behind it.
    other = to_chat(examples[0])
    other["images"] = [image.transpose(0) for image in other["images"]]
    changed = told(packed([other, *(to_chat(example) for example in examples[1:])]))
    first = len(told(padded([to_chat(examples[0])])))
    assert not torch.equal(changed[:first], told(together)[:first])
    assert torch.equal(changed[first:], told(together)[first:])


def test_a_training_on_packed_rows_is_the_one_on_padded_rows(tiny_folder, rows, tmp_path):
    for name, is_packed in (("padded", False), ("packed", True)):
        lora.train(tiny(tiny_folder, packing=is_packed, epochs=0.6), rows, tmp_path / name)
    one, two = (losses(tmp_path / name) for name in ("padded", "packed"))
    assert len(two) == 3
    np.testing.assert_allclose(two, one, atol=5e-4)
    ends = [json.loads((tmp_path / name / "training.json").read_text())["result"] for name in ("padded", "packed")]
    assert ends[1]["final_loss"] == pytest.approx(ends[0]["final_loss"], abs=5e-4)


def test_what_cannot_keep_rows_apart_is_refused(tiny_folder, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "BY_MASK", ())
    with pytest.raises(SettingError, match=r"Rows of a 'gemma3' model cannot be packed: .* Leave out --packing\."):
        lora.train(tiny(tiny_folder, packing=True), rows, tmp_path / "out")
    # What transformers does by positions alone is wrong for its image tokens: the trial sees it.
    monkeypatch.setattr(packing, "BY_POSITION", ("gemma3",))
    with pytest.raises(SettingError, match=r"the loss of 4 rows is \S+ packed and \S+ padded"):
        lora.train(tiny(tiny_folder, packing=True), rows, tmp_path / "out")
    assert not list(tmp_path.iterdir())


# QLoRA.


def test_a_quantized_base_takes_less_memory_and_its_adapter_is_trained_alone(tiny_folder):
    paper, four = (memory.estimate(preset("paper", "google/gemma-3-12b-it", quantization=q)) for q in ("", "4bit"))
    assert four.trained == paper.trained
    assert four.weights == pytest.approx(8.04e9, rel=0.02), "12.2 G weights; the embedding, 1.0 G, is bfloat16"
    assert four.weights < 0.4 * paper.weights
    with pytest.raises(SettingError, match="Quantized weights cannot be trained"):
        tiny(tiny_folder, quantization="4bit", method="full")


def test_without_bitsandbytes_it_is_one_sentence(tiny_folder, rows, tmp_path, monkeypatch, capsys):
    from vlm2vla_sim.cli.main import main

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else found(name))
    words = f"train {rows} --model {tiny_folder} --out {tmp_path / 'out'} --quantization 4bit"
    assert main(words.split()) == 1
    assert capsys.readouterr().err == (
        "vlm2vla train: A model in 4bit needs the package 'bitsandbytes', which is not installed. Install it: "
        "pip install 'vlm2vla_sim[quantization]'\n"
    )
    assert not list(tmp_path.iterdir())
    assert main([*words.split(), "--launch", "fsdp", "--processes", "2"]) == 1
    assert "is not sharded by --launch fsdp" in capsys.readouterr().err
